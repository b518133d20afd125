"""Model files and checkpoints from strangers: other headers, arrays, bytes, archives."""

import copy
import functools
import io
import json
import tempfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np

import nfref
from nfref.runtime import params as trees
from nfref.runtime.serialization import describe
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files import checkpoints
from nfref.tables.files.archives import ArchiveError, write_archive
from nfref.tables.files.model_file import load_model, save_model
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import Plan, TableFit
from nfref.tables.fitting.trainings import SearchState
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import Count
from tests.fuzz.case import Case, refused, require
from tests.tables.files.golden_models import ASKED, FOLDER

FLOWS = (
    nfref.MAF(2, 2, (4,)),
    nfref.RealNVP(2, 1, (4,), batch_norm=True),
    nfref.Planar(2, 2),
    nfref.NSF(2, 1, (4,), bins=3),
    nfref.Glow((1, 4, 4), 1, 1, (2,)),
    nfref.CNF(2, (4,)),
    nfref.Chain(
        [
            nfref.LULinear(2),
            nfref.Standardise((0.0, 1.0), (1.0, 2.0)),
            nfref.Logit((0, None), (1, None)),
        ]
    ),
)
# Tables by columns, given columns, and the number of context columns of a flow of the rest.
TABLES = (("abcd", (), 3), ("abcd", ("b", "c"), 4), ("ab", (), 0), ("cd", (), 0))
NAMES = (
    *(type(flow).__name__ for flow in FLOWS),
    *(f"a table of {columns}, {len(given)} given" for columns, given, _ in TABLES),
    "a checkpoint",
)
CHECKPOINT = len(NAMES) - 1
VALUES = (0, -1, 1, 3, 10 ** 6, 10 ** 9, 2 ** 63, 10 ** 400, -10 ** 20, 0.5, 1e308, float("nan"),
          float("inf"), True, None, "", "MAF", "os.system", "\x00", "relu", [], [1], [0, 1], [[]],
          [10 ** 5, 10 ** 5], {}, {"class": "Scale", "dim": 2}, {"class": "Density"},
          {"class": "Linear", "dim": 10 ** 5}, {"class": "Chain", "flows": []},
          {"array": "density/pool/weights"}, {"array": "params/flow/0"}, {"array": "header"},
          {"array": None}, {"array": ["x"]}, {"float": "nan"}, {"float": "inf"}, {"float": 1},
          {"class": "Pool", "members": [], "weights": None, "names": []},
          {"class": "Wide", "dim": 2, "freedom": 3.0}, {"class": "Count", "name": "n", "low": 0.0},
          {"class": "Category", "name": "c", "labels": [1, "a", True]})  # fmt: skip
WAYS = (
    "header",
    "header",
    "header",
    "header",
    "array",
    "array",
    "bytes",
    "bytes",
    "cut",
    "archive",
    "text",
)
MEMORY = 2**26  # bytes that loading a small file may take at any time


def cases(rng, number):
    """Changed copies of small model files, with a right digest or the old one."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        way, which = str(one.choice(WAYS)), int(one.integers(len(NAMES)))
        yield Case(
            f"model files: {way} of {NAMES[which]}",
            lambda folder, one=one, way=way, which=which: load(folder, one, way, which),
        )


@functools.cache
def whole(which):
    """(bytes, header, arrays) of a model file, or of a checkpoint."""
    if which == CHECKPOINT:
        with np.load(FOLDER / "checkpoint.npz") as archive:
            arrays = {name: archive[name] for name in archive.files if name != "digest"}
        header = json.loads(arrays.pop("header").tobytes())
        return (FOLDER / "checkpoint.npz").read_bytes(), header, arrays
    if which < len(FLOWS):
        density = nfref.Density(FLOWS[which])
        params = density.init(np.random.default_rng(0))
        columns = [f"c{k}" for k in range(density.dim)]
    else:
        density, params, columns = table(*TABLES[which - len(FLOWS)]), None, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        save_model(path, density, params, columns=columns, info={"fit": {"rows": {"train": 1}}})
        with np.load(path) as archive:
            header = json.loads(archive["header"].tobytes())
        content = path.read_bytes()
    return content, header, describe({"density": density, "params": params})[1]


def table(names, given, context_dim):
    """The density of a small table: an interval and a real column, labels and counts; one flow."""
    rng = np.random.default_rng(0)
    columns = {
        "a": rng.random(320),
        "b": rng.normal(0, 2, 320),
        "c": rng.integers(0, 3, 320),
        "d": rng.choice(["x", "y"], 320),
    }
    columns = [columns[name] for name in names]
    kinds = find_columns(tuple(names), columns, {"a": (0, 1)} if "a" in names else {})
    flow = nfref.MAF(1 if given else 2, 1, (2,), context_dim=context_dim)
    plan = Plan(flow, members=1, epochs=1)
    return fit_table(TableFit(kinds, columns, plan, 0, given=given)).density


def load(folder, rng, way, which):
    content, header, arrays = whole(which)
    path = folder / "m.npz"
    change(path, rng, way, content, copy.deepcopy(header), dict(arrays))
    return outcome(
        path,
        arrays,
        way in ("bytes", "cut"),
        read_checkpoint if which == CHECKPOINT else load_model,
    )


def read_checkpoint(path):
    return checkpoints.read(path, ASKED)


def outcome(path, arrays, same, reader=load_model):
    """Return how reading ends; with ``same`` only what was written may come out."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = reader(path)
    except ArchiveError as error:
        require(str(error).startswith(str(path)), f"no name in {error}")
        return refused(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        require(peak < MEMORY, f"{peak / 2**20:.0f} MiB")
    if same:
        found = describe(
            {"state": model}
            if reader is read_checkpoint
            else {"density": model.density, "params": model.params}
        )[1]
        require(
            all(np.array_equal(found[name], arrays[name]) for name in arrays), "other parameters"
        )
    if reader is read_checkpoint:
        require(isinstance(model, SearchState), "something else than a state")
        return "success"
    if isinstance(model.density, TableDensity):
        return used(model.density)
    with np.errstate(all="ignore"):
        rows = model.density.sample(model.params, np.random.default_rng(0), 2)
    require(
        rows.shape == (2, model.density.dim)
        and trees.dtype_of(model.params) in (np.float32, np.float64),
        "samples of another shape",
    )
    return "success"


def used(density):
    """Check that a table's density scores rows, and samples if nothing is given."""
    rows = [
        np.full(2, max(one.low, 0.0)) if isinstance(one, Count) else one.sampled(np.zeros(2))
        for one in density.columns
    ]
    with np.errstate(all="ignore"):
        require(density.log_prob(rows).shape == (2,), "scores of another shape")
        if not density.given:
            drawn = density.sample(np.random.default_rng(0), 2)
            require([len(values) for values in drawn] == [2] * density.dim, "other samples")
    return "success"


def change(path, rng, way, content, header, arrays):
    """Write a changed file."""
    if way in ("bytes", "cut", "text"):
        content = bytearray(content)
        if way == "bytes":
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        elif way == "cut":
            content = content[: rng.integers(len(content))]
        else:
            content = rng.bytes(100) if rng.random() < 0.5 else b"PK\x03\x04" + rng.bytes(200)
        path.write_bytes(content)
        return
    if way == "header":
        for _ in range(rng.integers(1, 3)):
            change_value(header, rng)
    if way == "array":
        change_array(arrays, rng)
    if way == "archive":
        other_archive(path, rng, header, arrays)
        return
    write_archive(path, header, arrays)
    if rng.random() < 0.2:  # keep the digest of the original file
        restored = {name: value for name, value in read(path).items() if name != "digest"}
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in {**restored, "digest": np.zeros(32, np.uint8)}.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, value, allow_pickle=True)
                archive.writestr(f"{name}.npy", member.getvalue())


def read(path):
    with np.load(path, allow_pickle=True) as archive:
        return dict(archive)


def places(thing, found=()):
    """Return (container, key) of everything inside nested dicts and lists."""
    found = list(found)
    for key in list(thing) if isinstance(thing, dict) else range(len(thing)):
        found.append((thing, key))
        if isinstance(thing[key], (dict, list)):
            found += places(thing[key])
    return found


def change_value(header, rng):
    every = places(header)
    named = [(container, key) for container, key in every if key == "array"]
    if named and rng.random() < 0.1:  # one array in the place of another
        (one, _), (other, _) = (named[k] for k in rng.integers(len(named), size=2))
        one["array"] = other["array"]
        return
    container, key = every[rng.integers(len(every))]
    value = VALUES[rng.integers(len(VALUES))]
    if rng.random() < 0.15:
        for _ in range(int(rng.choice([3, 60, 300]))):
            value = {"class": "Invert", "flow": value} if rng.random() < 0.9 else [value]
    if rng.random() < 0.1:
        del container[key]
    elif rng.random() < 0.1 and isinstance(container, dict):
        container[str(rng.choice(["layers", "hidden", "dim", "bins", "more"]))] = value
    else:
        container[key] = value


def change_array(arrays, rng):
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    way = rng.integers(9)
    if way == 0:
        del arrays[name]
    elif way == 1:
        arrays["params/more"] = array
    elif way == 2:
        arrays[name] = array.astype(rng.choice(["f2", "i8", "c16", "U3", "bool", ">f8", "f4"]))
    elif way == 3:
        arrays[name] = np.concatenate([array.ravel(), array.ravel()])
    elif way == 4:
        arrays[name] = array.reshape(*array.shape, 1)
    elif way == 5:
        arrays[name] = np.full(array.shape, rng.choice([np.nan, np.inf, -np.inf]))
    elif way == 6:
        arrays[name] = np.float64(1.0)
    elif way == 7:
        arrays[name] = np.zeros((0,) * array.ndim)
    else:
        arrays[f"{name}/../../up"] = arrays.pop(name)


def other_archive(path, rng, header, arrays):
    """Write an archive that numpy might write, or one with a false header."""
    encoded = np.frombuffer(json.dumps(header).encode(), np.uint8)
    way = rng.integers(6)
    if way == 0:
        np.savez_compressed(path, header=encoded, **arrays)
    elif way == 1:
        np.savez_compressed(path, header=encoded, big=np.zeros(10**7), **arrays)
    elif way == 2:
        np.savez(path, header=np.array([{"a": 1}], object), **arrays)
    elif way == 3:
        np.savez(path, **arrays)
    elif way == 4:
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("header.npy", "header.npy", "../up.npy", "readme.txt"):
                archive.writestr(name, b"hello")
    else:
        shape = str(rng.choice(["(10000000000,)", "(-1,)", "(2, 2", "()", "(1" + ",1" * 60 + ")"]))
        form = "{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + ", }"
        raw = b"\x93NUMPY\x01\x00" + len(form).to_bytes(2, "little") + form.encode()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.npy", raw)
