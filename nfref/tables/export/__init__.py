"""One Python file of a fitted density, which needs NumPy alone; ``nfref export`` writes it.

:mod:`~nfref.tables.export.plain_data` turns the model into plain data,
:mod:`~nfref.tables.export.density_template` is the text of the file.
"""

import base64
import hashlib
import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from nfref.flows.elementwise import Logit
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, PathLike
from nfref.runtime.backends import backend
from nfref.runtime.checks import check_choice
from nfref.runtime.files import check_writable, replacing
from nfref.runtime.serialization import describe
from nfref.tables.densities.pool import FittedFlow
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.export.plain_data import (
    DISCRETE,
    MEMBERS,
    described,
    described_columns,
    described_features,
    described_flow,
    flow_columns,
)
from nfref.tables.files.archives import write_npz
from nfref.tables.files.model_file import Model, load_model
from nfref.tables.queries.scoring import AsDensity, log_prob
from nfref.tables.reading.table import numbered_columns

GOLDEN = 20  # rows whose scores the file holds, to compare with


def export(model: Any, path: PathLike, *, to: str = "python", weights: str = "inside") -> None:
    """Write a fitted density as one Python file that needs NumPy alone.

    Parameters
    ----------
    model : Model, path-like or estimator
        A model, the path of its file, or a fitted :class:`nfref.FlowDensity`. Pools of Gaussians,
        mixtures, the wide density, MAF, NICE, NSF and RealNVP are exported, and such flows alone.
    path : path-like
        The file to write, whole or not at all.
    to : {"python"}
    weights : {"inside", "beside"}
        Put the weights into the file, or into NAME.weights.npz beside it.

    Raises
    ------
    ValueError
        If a part of the model cannot be exported; nothing is written.
    """
    check_choice("to", to, ("python",))
    check_choice("weights", weights, ("inside", "beside"))
    beside = Path(path).with_suffix(".weights.npz")
    text, data = python_file(model, beside.name if weights == "beside" else None)
    check_writable(path)
    if weights == "beside":
        with replacing(beside) as file:
            file.write(data)
    with replacing(path) as file:
        file.write(text.encode("ascii"))


def python_file(model: Any, beside: str | None = None) -> tuple[str, bytes]:
    """Return the text of the file, and the weights as an .npz, which the text holds too.

    If ``beside`` names a file, the text reads that instead.
    """
    model = _model_of(model)
    about, tree = _described(model)
    description, arrays = describe(tree)
    stored = {"model": np.frombuffer(json.dumps(description).encode(), np.uint8)}
    stored |= {name: _smallest(array) for name, array in arrays.items()}
    file = io.BytesIO()
    write_npz(file, stored, zipfile.ZIP_DEFLATED)
    data = file.getvalue()
    writer = model.info.get("written_by", {})
    about |= {
        "written_by": ", ".join(f"{name} {version}" for name, version in writer.items()),
        "checksum": hashlib.sha256(data).hexdigest(),
        "beside": beside,
    }
    encoded = "" if beside else "\n" + base64.encodebytes(data).decode()
    text = Path(__file__).with_name("density_template.py").read_text(encoding="utf-8")
    text = text.replace('WEIGHTS = """"""', f'WEIGHTS = """{encoded}"""', 1)
    # JSON escapes as a raw literal does, so no name ends it; and all of it is ASCII.
    return text.replace(r'r"""{"columns": []}"""', f'r"""{_as_json(about)}"""', 1), data


def _as_json(about):
    """Return JSON with a line for each column."""
    lines = [json.dumps(column) for column in about["columns"]]
    rest = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}"
        for name, value in about.items()
        if name != "columns"
    )
    return '{"columns": [\n' + ",\n".join(lines) + "\n],\n" + rest + "}"


def _smallest(array):
    """Return the array, in float32 if that loses nothing."""
    with np.errstate(all="ignore"):
        single = array.astype(np.float32) if array.dtype.kind == "f" else array
    return single if np.array_equal(single, array) else array


def _model_of(model):
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        return load_model(model)
    density = getattr(model, "density_", model)
    if not isinstance(density, TableDensity):
        raise TypeError(
            "model: expected a model, the path of its file or a fitted estimator, "
            f"got {type(model).__name__}"
        )
    from nfref import __version__

    return Model(density, None, info={"written_by": {"nfref": __version__}})


def _described(model):
    """Return (facts and columns, the model's tree of arrays)."""
    density = model.density
    if isinstance(density, TableDensity):
        return _of_table(density)
    params = trees.cast(model.params, np.float64)
    first = density.flow.members(-1)[0][0]
    ends = first if type(first) is Logit else None
    rows = density.sample(params, np.random.default_rng(0), GOLDEN)
    about = {
        "columns": flow_columns(model.columns or numbered_columns(density.dim), ends),
        "units": _units(density.dim, 0, 0),
        "coded": [],
        "pooled": density.dim,
        "noise": 3 + density.dim,
        "limit": None,
        "members": [["flow", 1.0]],
    }
    return about, {
        "discrete": None,
        "features": [],
        "members": [described_flow("flow", density, params, skip=int(ends is not None))],
        "weights": np.ones(1),
        **_golden(rows, lambda: log_prob(density, params, rows)),
    }


def _of_table(density):
    coded, pooled = density.places
    pool = density.pool and density.pool.used
    names = [column.name for column in density.columns]
    own = sum(column.name not in density.given for column in density.coded_columns)
    limit = density.limit
    about = {
        "columns": described_columns(density),
        "units": _units(
            len(pooled), len(names) - len(pooled) - len(density.given), len(density.given)
        ),
        "coded": coded,
        "pooled": len(pooled),
        "noise": 3 + len(pooled) + own,
        "limit": limit
        and {
            "places": [names.index(name) for name in limit.names],
            "limit": limit.limit,
            "log_mass": limit.log_mass,
        },
        "members": [[name, float(w)] for name, w in zip(pool.names, pool.weights)] if pool else [],
    }
    tree = {
        "discrete": density.discrete and described("discrete", density.discrete, DISCRETE),
        "features": described_features(density.coded_columns, density.centre, density.scale),
        "members": [
            described(f"member {name!r}", member, MEMBERS)
            for name, member in zip(pool.names, pool.members)
        ]
        if pool
        else [],
        "weights": pool.weights if pool else np.zeros(0),
    }
    exact = _in_float64(density)
    rng = np.random.default_rng(0)
    codes = exact.pilot(rng, GOLDEN)
    u = pool.sample(rng, GOLDEN, exact.context(codes)) if pool else np.zeros((GOLDEN, 0))
    table = exact.sampled(codes, u)
    return about, {
        **tree,
        **_golden(AsDensity(exact).numbers(table), lambda: exact.log_prob(table)),
    }


def _in_float64(density):
    """Return the density with flows that compute in float64, as the file does."""
    if density.pool is None:
        return density
    members = tuple(
        replace(member, params=trees.cast(member.params, np.float64))
        if isinstance(member, FittedFlow)
        else member
        for member in density.pool.members
    )
    return replace(density, pool=replace(density.pool, members=members))


def _golden(rows, scores):
    """Return rows of numbers and their scores by the formulas."""
    with backend("numpy"):
        return {"golden_rows": rows, "golden_scores": scores()}


def _units(continuous, discrete, given):
    """Return the units of a score in words."""
    parts = [
        f"density of {continuous} continuous columns in their own units" if continuous else "",
        f"probability of {discrete} discrete ones" if discrete else "",
    ]
    text = "nats: log of the " + " times the ".join(filter(None, parts))
    return text + (f", given {given} columns" if given else "")
