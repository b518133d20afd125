"""Model files: bit-exact round trips, and how every kind of bad file is refused."""

import dataclasses
import importlib
import json
import math
import pickle
import pkgutil
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import nfref
from nfref import flow
from nfref.bases import base
from nfref.runtime import params as trees
from nfref.runtime.serialization import DEEPEST, describe, described_classes, rebuild
from nfref.tables.files.archives import digest, write_archive
from nfref.tables.files.model_file import VERSION, Model, ModelError, load_model, save_model

FLOWS = {
    "planar": nfref.Planar(3, layers=2, context_dim=2),
    "planar layer": nfref.PlanarLayer(3),
    "radial": nfref.Radial(3, layers=2, context_dim=2),
    "Sylvester": nfref.Sylvester(3, layers=2, bottleneck=2, context_dim=2),
    "Sylvester, triangular": nfref.Sylvester(3, 2, "triangular"),
    "NICE": nfref.NICE(3, layers=2, hidden=(4,)),
    "additive coupling": nfref.Coupling((True, False, True), nfref.Additive(), (4, 3)),
    "RealNVP": nfref.RealNVP(3, layers=2, hidden=(4,), batch_norm=True, activation="tanh"),
    "affine coupling": nfref.Coupling((True, False, False), nfref.Affine(bound=2.5), (4,)),
    "MADE": nfref.MADE(3, (4,), order=(2, 0, 1), context_dim=1),
    "MAF": nfref.MAF(3, 2, (4,), orders=((0, 2, 1), (2, 1, 0)), batch_norm=True),
    "IAF": nfref.IAF(3, 2, (4,)),
    "batch norm": nfref.BatchNorm(3, momentum=0.25),
    "scale": nfref.Scale(3),
    "affine": nfref.ElementwiseAffine(3),
    "standardise": nfref.Chain(
        [
            nfref.Scale(3),
            nfref.Standardise((0.1, 1e-300, -7), (1, 2, 1 / 3)),
            nfref.Logit((None, 0, -1), (None, 0.3, 1)),
        ]
    ),
    "linear": nfref.Chain(
        [
            nfref.Linear(3),
            nfref.LULinear(3),
            nfref.Permutation((2, 0, 1)),
            nfref.FixedLinear(((1, 2, 0), (0, 1 / 3, 1), (1, 0, 0))),
        ]
    ),
    "Glow": nfref.Glow((2, 4, 4), levels=2, steps=1, hidden=2),
    "CNF": nfref.CNF(3, (4,)),
    "CNF with probes": nfref.CNF(3, (4,)).with_probes(np.random.default_rng(0), 5),
    "residual flow with probes": nfref.ResidualFlow(3, 2, (4,), estimator="roulette").with_probes(
        np.random.default_rng(0), 5
    ),
}
BASES = {
    "normal": nfref.StandardNormal(2),
    "diagonal": nfref.DiagonalNormal(2),
    "full": nfref.FullNormal(2),
    "logistic": nfref.Logistic(2),
    "uniform": nfref.Uniform((0, -1 / 3), (1, 1 / 3)),
    "mixture": nfref.NormalMixture(2, 3),
}


def random_params(density, seed, dtype):
    """Return parameters with every number random."""
    rng = np.random.default_rng(seed)
    params = density.init(rng)
    return trees.tree_map(lambda leaf: rng.standard_normal(leaf.shape).astype(dtype), params)


def same_bits(one, other):
    ones, others = trees.leaves(one), trees.leaves(other)
    return len(ones) == len(others) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(ones, others)
    )


@pytest.fixture
def saved(tmp_path):
    """A small model in a file: (path, density, params)."""
    density = nfref.Density(nfref.MAF(2, 2, (4,)))
    params = random_params(density, 0, np.float64)
    path = tmp_path / "model.npz"
    save_model(path, density, params, columns=("a", "b"), info={"flow": "maf"})
    return path, density, params


# Round trips ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FLOWS)
def test_round_trip_is_bit_exact(tmp_path, name, dtype):
    dim = FLOWS[name].dim
    density = nfref.Density(FLOWS[name])
    columns = [f"column {k}, ü" for k in range(dim)]
    params = random_params(density, 1, dtype)
    info = {"seed": 3, "loss": [0.1, 1 / 3]}
    save_model(tmp_path / "m.npz", density, params, columns=columns, info=info)
    model = load_model(tmp_path / "m.npz")
    assert isinstance(model, Model)
    assert model.density == density
    assert model.columns == tuple(columns)
    assert {key: model.info[key] for key in info} == info
    assert same_bits(model.params, params)
    assert trees.tree_map(np.shape, model.params) == trees.tree_map(np.shape, params)


@pytest.mark.parametrize("name", BASES)
def test_bases_round_trip(tmp_path, name):
    density = nfref.Density(nfref.Scale(2), BASES[name])
    params = random_params(density, 1, np.float64)
    save_model(tmp_path / "m.npz", density, params)
    model = load_model(tmp_path / "m.npz")
    assert model.density == density and model.columns is None
    assert same_bits(model.params, params)


def every_class():
    """Return all frozen dataclasses of the package that are a Flow or a Base."""
    found = set()
    for module in pkgutil.walk_packages(nfref.__path__, "nfref."):
        if module.name.startswith(("nfref.flows", "nfref.bases", "nfref.flow", "nfref.continuous")):
            members = vars(importlib.import_module(module.name)).values()
            found |= {
                thing
                for thing in members
                if isinstance(thing, type)
                and dataclasses.is_dataclass(thing)
                and not thing.__name__.startswith("_")
                and issubclass(thing, (flow.Flow, base.Base))
            }
    return found


def test_every_flow_and_base_can_be_stored_and_nothing_of_others():
    class Stranger(nfref.Scale):
        """A flow that is not in the package."""

    known = described_classes()
    assert every_class() <= set(known.values())
    assert Stranger not in known.values() and known["Scale"] is nfref.Scale
    assert all(
        dataclasses.is_dataclass(kind) and kind.__module__.startswith("nfref.")
        for kind in known.values()
    )


def test_equal_models_are_equal_files(saved, tmp_path):
    path, density, params = saved
    save_model(tmp_path / "again.npz", density, params, columns=("a", "b"), info={"flow": "maf"})
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_numpy_reads_the_file_without_nfref(saved):
    path, _, params = saved
    with np.load(path, allow_pickle=False) as archive:
        header = json.loads(archive["header"].tobytes())
        weight = archive["params/flow/1/net/0/weight"]
    assert header["format"] == "nfref model" and header["version"] == VERSION == 1
    np.testing.assert_array_equal(weight, params["flow"][1]["net"][0]["weight"])


def test_descriptions_are_plain_and_exact():
    chain = nfref.Chain(
        [
            nfref.Invert(nfref.Scale(np.int64(2))),
            nfref.Standardise((0.1, np.float32(0.1)), (1 / 3, 5e-324)),
        ]
    )
    description, arrays = describe(chain)
    description = json.loads(json.dumps(description))
    assert description["class"] == "Chain" and not arrays
    assert rebuild(description) == chain


def test_arrays_and_numbers_that_json_has_not():
    """Arrays and infinities are stored by name; a whole number in a float field becomes a float."""
    probes = np.arange(6.0).reshape(1, 3, 2)
    things = {
        "flow": nfref.CNF(2, (4,), trace="hutchinson", probes=probes),
        "notes": [np.float32(0.5), math.inf, (1, True, None, "é")],
    }
    description, arrays = describe(things)
    assert description["flow"]["probes"] == {"array": "flow/probes"}
    assert description["notes"] == [0.5, {"float": "inf"}, [1, True, None, "é"]]
    assert list(arrays) == ["flow/probes"] and arrays["flow/probes"] is probes
    again = rebuild(json.loads(json.dumps(description)), arrays)
    assert again["flow"].probes is probes and again["flow"] == things["flow"]
    assert again["notes"] == [0.5, math.inf, [1, True, None, "é"]]
    assert np.isnan(rebuild({"float": "nan"}))
    whole = {**describe(nfref.StudentT(2, 3.0))[0], "degrees": 3}
    assert type(rebuild(whole).degrees) is float


@pytest.mark.parametrize(
    "description, arrays, message",
    [
        ({"array": "a"}, {}, "'a': expected an array of that name, got none"),
        ({"array": ["a"]}, {"a": np.zeros(1)}, "expected an array of that name"),
        (
            [{"array": "a"}, {"array": "a"}],
            {"a": np.zeros(1)},
            "'a': expected an array of that name",
        ),
        ([], {"a": np.zeros(1)}, "a: expected no such array, got one"),
        ({"float": "1e5"}, {}, "float: expected inf, -inf or nan, got '1e5'"),
        ({"class": "Scale", "dim": {"array": "a"}}, {"a": np.zeros(2)}, "Scale: expected fields"),
        ({"class": "Configuration"}, {}, "class: expected one of .*, got 'Configuration'"),
        ({"class": "Flow"}, {}, "class: expected one of .*, got 'Flow'"),
        ({"class": "Scale", "dim": 2, "more": 1}, {}, "Scale: expected fields .*more"),
        ({"class": "Scale"}, {}, "Scale: expected fields .*dim"),
    ],
)
def test_bad_references(description, arrays, message):
    with pytest.raises(ValueError, match=message):
        rebuild(description, arrays)


@pytest.mark.parametrize(
    "thing", [{"class": 1}, {"array": 1}, {"float": 1}, {1: 2}, {"a": {1}}, {"a": 1j}, len]
)
def test_what_has_no_description(thing):
    with pytest.raises(TypeError, match="expected"):
        describe(thing)


def test_what_cannot_be_stored_says_so(tmp_path):
    density = nfref.Density(nfref.Scale(2))
    params = density.init(np.random.default_rng(0))
    with pytest.raises(ModelError, match="density: expected a Density, got Scale"):
        save_model(tmp_path / "m.npz", density.flow, params)
    with pytest.raises(TypeError, match="expected a Density, got FlowDensity; its method save wr"):
        save_model(tmp_path / "m.npz", nfref.FlowDensity())
    with pytest.raises(ModelError, match="params/flow/log_scale: expected shape"):
        save_model(tmp_path / "m.npz", density, {"base": {}, "flow": {}})
    with pytest.raises(ModelError, match="columns: expected 2 names, got"):
        save_model(tmp_path / "m.npz", density, params, columns=("a",))
    with pytest.raises(ModelError, match="columns: expected 2 names, got"):
        save_model(tmp_path / "m.npz", density, params, columns="ab")
    with pytest.raises(TypeError, match="info/a: expected numbers, text, arrays or .*got object"):
        save_model(tmp_path / "m.npz", density, params, info={"a": object()})
    deep = density.flow
    for _ in range(DEEPEST):
        deep = nfref.Invert(deep)
    with pytest.raises(ModelError, match=f"expected at most {DEEPEST} descriptions"):
        save_model(tmp_path / "m.npz", nfref.Density(deep), params)
    assert not list(tmp_path.iterdir())


def test_data_frames_are_matched_by_name(saved):
    pandas = pytest.importorskip("pandas")
    model = load_model(saved[0])
    x = np.random.default_rng(0).standard_normal((5, 2))
    frame = pandas.DataFrame(x[:, ::-1], columns=["b", "a"])
    np.testing.assert_array_equal(model.rows(frame), x)
    np.testing.assert_array_equal(model.rows(x), x)
    with pytest.raises(ValueError, match="missing: 'b'; extra: 'c'"):
        model.rows(frame.rename(columns={"b": "c"}))
    with pytest.raises(ValueError, match="columns of different names, got 'a' 2 times"):
        model.rows(frame.rename(columns={"b": "a"}))
    with pytest.raises(TypeError, match="data: expected numbers"):
        model.rows(frame.astype(str) + "x")
    with pytest.raises(ValueError, match=r"data: expected shape \(N, 2\), got \(5, 1\)"):
        model.rows(x[:, :1])
    nameless = dataclasses.replace(model, columns=None)
    np.testing.assert_array_equal(nameless.rows(frame), x[:, ::-1])


# Bad files --------------------------------------------------------------------------------


def refused(path, pattern):
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def rewritten(path, change, right=True):
    """The file with its arrays changed by ``change``, which takes and returns a dict.

    ``right`` says whether it gets the digest that belongs to them.
    """
    with np.load(path) as archive:
        arrays = change(dict(archive))
    if right:
        del arrays["digest"]
        arrays["digest"] = digest(arrays)
    np.savez(path, **arrays)
    return path


def header_of(path):
    with np.load(path) as archive:
        return json.loads(archive["header"].tobytes())


def write_model(path, params, header):
    """Write a model file of any content with a right digest."""
    write_archive(path, header, describe({"params": params})[1])


def with_header(**entries):
    def change(arrays):
        header = {**json.loads(arrays["header"].tobytes()), **entries}
        return {**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)}

    return change


def test_bad_places(tmp_path):
    refused(tmp_path / "missing.npz", "expected a model file, found none there")
    refused(tmp_path, "expected a model file, got a folder")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused(tmp_path / "empty.npz", "got an empty file")


def test_other_kinds_of_file(tmp_path, saved):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    refused(tmp_path / "t.csv", "got something that is no .npz archive")
    (tmp_path / "p.npz").write_bytes(pickle.dumps({"a": 1}))
    refused(tmp_path / "p.npz", "got something that is no .npz archive")
    np.savez(tmp_path / "other.npz", x=np.zeros((3, 2)))
    refused(tmp_path / "other.npz", "got an .npz of another kind")
    np.savez(tmp_path / "header.npz", header=np.zeros(3))
    refused(tmp_path / "header.npz", "got an .npz of another kind")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "z.npz", "got another kind of archive")


def test_pickled_objects_are_never_loaded(saved):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    path, _, _ = saved
    rewritten(path, lambda arrays: {**arrays, "extra": np.array([Trap()], object)})
    refused(path, "got pickled objects, which are never loaded")


def test_truncated_anywhere(saved):
    path, _, _ = saved
    content = path.read_bytes()
    for length in (3, 50, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "got a truncated or damaged one")


def test_flipped_bits_are_noticed(saved):
    path, _, params = saved
    content = bytearray(path.read_bytes())
    place = content.index(params["flow"][0]["net"][0]["weight"].tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    refused(path, "got a truncated or damaged one")


def test_versions(saved):
    path, _, _ = saved
    for version in (VERSION + 1, 0, "new", True, None):
        refused(
            rewritten(path, with_header(version=version)),
            f"expected format version {VERSION}, got {version!r}: another nfref wrote it",
        )


def test_a_file_of_the_time_before_version_1(saved):
    """Development versions wrote the same first version, but none of its content."""
    path, _, _ = saved

    def change(arrays):
        header = json.loads(arrays["header"].tobytes())
        del header["params"]
        return with_header()(
            {**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
        )

    refused(rewritten(path, change), "params/flow/.*: expected no such array, got one")


@pytest.mark.parametrize(
    "density, pattern",
    [
        ({"class": "os.system"}, "class: expected one of nfref that .*, got 'os.system'"),
        ({"class": "Density", "base": {"class": "StandardNormal", "dim": 2}}, "Density: expected"),
        ({"class": "StandardNormal", "dim": -1}, "StandardNormal: .*dim: expected at least 1"),
        ({"class": "StandardNormal", "dim": 2}, "density: expected a Density, got StandardNormal"),
        ("MAF", "density: expected a Density, got str"),
    ],
)
def test_bad_descriptions(saved, density, pattern):
    refused(rewritten(saved[0], with_header(density=density)), pattern)


def test_arrays_have_to_fit(saved):
    path, _, params = saved
    name = "params/flow/0/net/0/bias"
    whole = path.read_bytes()
    for change, pattern in [
        (
            lambda a: {k: v for k, v in a.items() if k != name},
            f"'{name}': expected an array of that name, got none",
        ),
        (lambda a: {**a, name: np.zeros(5)}, rf"{name}: expected shape \(4,\), got \(5,\)"),
        (lambda a: {**a, name: np.zeros(4, int)}, f"{name}: expected an array of floats"),
        (
            lambda a: {**a, name: np.zeros(4, np.float16)},
            f"{name}: expected floats of 32 or 64 bits or whole numbers of 64, got dtype float16",
        ),
        (
            lambda a: {**a, name: np.zeros(4, np.float32)},
            "params: expected one dtype, got float32 and float64",
        ),
        (lambda a: {**a, "params/more": np.zeros(1)}, "params/more: expected no such array"),
        (with_header(columns=["a"]), "columns: expected 2 names"),
    ]:
        path.write_bytes(whole)
        refused(rewritten(path, change), pattern)
    path.write_bytes(whole)
    assert same_bits(load_model(path).params, params)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_have_to_be_finite(saved, value):
    path, density, params = saved
    spoilt = trees.tree_map(np.copy, params)
    spoilt["flow"][0]["net"][0]["bias"][1] = value
    message = f"params/flow/0/net/0/bias: expected finite numbers, got {value}"
    with pytest.raises(ModelError, match=message):
        save_model(path, density, spoilt)
    write_model(path, spoilt, header_of(path))
    refused(path, message)
    described = {
        **header_of(path)["density"],
        "flow": {"class": "Standardise", "mean": [{"float": str(value)}, 0.0], "std": [1.0, 1.0]},
    }
    refused(rewritten(path, with_header(density=described)), "expected finite numbers, got")
    described["flow"]["mean"] = [value, 0.0]  # NaN and Infinity are not JSON
    refused(rewritten(path, with_header(density=described)), "got an .npz of another kind")


@pytest.mark.parametrize(
    "names", [("a", "a"), ("", "b"), ("a ", "b"), ("a\0", "b"), ("\ud800", "b")]
)
def test_names_have_to_differ_and_read_back_from_text(saved, names):
    path, density, params = saved
    with pytest.raises(ModelError, match="columns: expected names that"):
        save_model(path, density, params, columns=names)
    write_model(path, params, {**header_of(path), "columns": ["a", "a"]})
    refused(path, r"columns: expected names that differ, got \['a'\] twice")


def test_header_and_arrays_belong_together(saved):
    path, _, params = saved
    whole = path.read_bytes()
    header = header_of(path)
    density = {**header["density"], "flow": {**header["density"]["flow"], "activation": "relu"}}
    refused(
        rewritten(path, with_header(density=density), right=False), "they were not written together"
    )
    path.write_bytes(whole)
    refused(
        rewritten(path, lambda a: {name: a[name] for name in a if name != "digest"}, False),
        "digest: expected one of header and arrays, got none",
    )


def nested(description, depth):
    for _ in range(depth):
        description = {"class": "Invert", "flow": description}
    return description


HUGE = {
    "layers": {"class": "MAF", "dim": 2, "layers": 10**6, "hidden": [4]},
    "more layers": {"class": "Planar", "dim": 2, "layers": 10**400},
    "hidden": {"class": "MAF", "dim": 2, "layers": 2, "hidden": [10**5, 10**5]},
    "hidden that fits": {"class": "MAF", "dim": 2, "layers": 1, "hidden": [4000, 4000, 4000]},
    "dim": {"class": "LULinear", "dim": 10**9},
    "matrix": {"class": "Linear", "dim": 4000},
    "levels": {"class": "Glow", "shape": [1, 4, 4], "levels": 10**9},
    "steps": {"class": "Glow", "shape": [1, 4, 4], "levels": 1, "steps": 10**9},
    "bins": {"class": "NSF", "dim": 2, "layers": 1, "hidden": [4], "bins": 10**9},
    "depth": nested({"class": "Scale", "dim": 2}, 200),
    "deeper": nested({"class": "Scale", "dim": 2}, 900),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_takes_little_memory_and_time(saved, name):
    path = rewritten(
        saved[0],
        with_header(
            density={
                "class": "Density",
                "flow": HUGE[name],
                "base": {"class": "StandardNormal", "dim": 2},
            }
        ),
    )
    began = time.process_time()
    tracemalloc.start()
    try:
        refused(path, "expected|got")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5


def test_what_an_archive_says_of_itself_is_not_believed(saved):
    path, _, _ = saved
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **{**arrays, "params/more": np.zeros(10**7)})
    refused(path, "expected arrays that are not compressed")
    # Change the shape in an array's own header, keeping its length.
    place = whole.index(b"(4,)", whole.index(b"net/0/bias"))
    path.write_bytes(whole[:place] + b"(9,)" + whole[place + 4 :])
    refused(path, "got a truncated or damaged one")
    path.write_bytes(b"PK" + b"(" * 100_000)
    refused(path, "got a truncated or damaged one")


@pytest.mark.parametrize(
    "change",
    [
        {"info": [1]},
        {"info": {"written_by": 3}},
        {"columns": 5},
        {"more": 1},
        {"params": None},
        {"columns": "ab"},
        {"density": None},
        {"version": True},
        {"density": {"class": ["MAF"]}},
    ],
)
def test_headers_of_other_kinds(saved, change):
    refused(rewritten(saved[0], with_header(**change)), "expected")


def test_a_failed_save_leaves_the_old_file(saved):
    path, density, params = saved
    before = path.read_bytes()
    with pytest.raises(ModelError):
        save_model(path, density, {**params, "more": np.zeros(1)})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_chain_of_many_layers_is_refused_before_they_are_made(tmp_path):
    """A megabyte of layers once took seconds."""
    description, arrays = describe(
        {
            "density": nfref.Density(nfref.Chain([nfref.Scale(2)] * 2)),
            "params": {"flow": [{"log_scale": np.zeros(2)}] * 2},
            "columns": None,
            "info": {},
        }
    )
    flow = description["density"]["flow"]
    header = {"format": "nfref model", "version": 1, **description}
    for inner in ({"class": "Scale", "dim": 2}, {"class": "Chain", "flows": []}):
        flow["flows"] = [inner] * 100_000
        write_archive(tmp_path / "m.npz", header, arrays)
        began = time.process_time()
        refused(tmp_path / "m.npz", "expected at most 4,112 parts beside 2 arrays, got more")
        assert time.process_time() - began < 3


def test_a_process_of_its_own_reads_every_member(tmp_path):
    """It reads mixtures and their regressions with only the reader imported."""
    rows = np.random.default_rng(0).standard_normal((60, 3))
    nfref.FlowDensity("mixture", given="x1", random_state=0).fit(rows).save(tmp_path / "m.npz")
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import nfref; nfref.load_model({str(tmp_path)!r} + '/m.npz').density.log_prob",
        ],
        check=True,
    )


# Classes of one's own ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shifted(nfref.Flow):
    """A flow of a user: x = z + shift, with a flow of nfref inside."""

    dim: int
    shift: tuple
    inner: nfref.Flow
    context_dim = 0

    def _init(self, rng):
        return {"own": np.zeros(self.dim), "inner": self.inner.init(rng)}

    def _forward(self, params, z, context):
        x, log_det = self.inner.forward(params["inner"], z, context)
        return x + np.array(self.shift) + params["own"], log_det

    def _inverse(self, params, x, context):
        x = x - np.array(self.shift) - params["own"]
        return self.inner.inverse(params["inner"], x, context)


def test_a_class_of_ones_own_is_stored_by_name_and_loaded_if_it_is_passed(tmp_path):
    path, rng = tmp_path / "own.npz", np.random.default_rng(0)
    density = nfref.Density(Shifted(2, (1.0, 2.0), nfref.MAF(2, 1, (4,))))
    params, x = density.init(rng), rng.standard_normal((20, 2))
    nfref.save_model(path, density, params)
    name = f"{Shifted.__module__}.Shifted"
    with pytest.raises(
        ModelError, match=f"got '{name}'; load_model.path, classes=.Shifted.. loads"
    ):
        nfref.load_model(path)
    with pytest.raises(ModelError, match=f"got '{name}'"):
        nfref.load_model(path, classes=[nfref.MAF])
    model = nfref.load_model(path, classes=[Shifted])
    assert model.density == density
    np.testing.assert_array_equal(
        model.density.log_prob(model.params, x), density.log_prob(params, x)
    )


def test_a_table_keeps_a_flow_of_ones_own(tmp_path):
    rows = np.random.default_rng(0).standard_normal((120, 2))
    flow = Shifted(2, (0.0, 0.0), nfref.MAF(2, 1, (4,)))
    model = nfref.FlowDensity(flow, members=1, epochs=2, effort="quick", random_state=0).fit(rows)
    model.save(tmp_path / "m.npz")
    again = nfref.FlowDensity.load(tmp_path / "m.npz", classes=[Shifted])
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    with pytest.raises(ModelError, match="classes="):
        nfref.FlowDensity.load(tmp_path / "m.npz")


def test_nothing_is_imported_because_a_file_names_it(tmp_path, monkeypatch):
    """A module that the file names stands on the path, and would leave a trace."""
    density = nfref.Density(Shifted(2, (1.0, 2.0), nfref.Scale(2)))
    save_model(tmp_path / "m.npz", density, density.init(np.random.default_rng(0)))
    (tmp_path / "trap.py").write_text("open('sprung', 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("trap.Shifted", "trap", "os.system", "builtins.dict", f"{__name__}.Shifted.x"):

        def change(arrays, name=name):
            header = json.loads(arrays["header"].tobytes())
            header["density"]["flow"]["class"] = name
            return {**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)}

        for classes in ((), (Shifted,)):
            with pytest.raises(ModelError, match="class: expected one of nfref"):
                nfref.load_model(rewritten(tmp_path / "m.npz", change), classes)
    assert not (tmp_path / "sprung").exists()


def test_a_class_without_a_module_cannot_be_stored(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Local(Shifted):
        pass

    density = nfref.Density(Local(2, (1.0, 2.0), nfref.Scale(2)))
    with pytest.raises(TypeError, match="density/flow: .* or a dataclass of a module, got .*Local"):
        save_model(tmp_path / "m.npz", density, density.init(np.random.default_rng(0)))
