"""A model as facts that people read, and nested dicts and lists of arrays to compute with."""

from dataclasses import replace

import numpy as np

from nfref.flows.elementwise import Logit
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any
from nfref.runtime.backends import backend
from nfref.runtime.checks import plural
from nfref.tables.densities.pool import FittedFlow
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.export.plain_parts import (
    DISCRETE,
    MEMBERS,
    described,
    described_columns,
    described_features,
    described_flow,
    flow_columns,
)
from nfref.tables.files.model_file import Model
from nfref.tables.queries.scoring import AsDensity, log_prob
from nfref.tables.reading.table import numbered_columns

GOLDEN = 20  # rows whose scores the file holds, to compare with


def plain_model(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (facts and columns, the arrays to compute with, golden rows and their scores)."""
    made = _of_table if isinstance(model.density, TableDensity) else _of_flow
    about, tree, rows, score = made(model)
    about["units"] = _units(about["columns"], about["pooled"])
    with backend("numpy"):
        return about, {**tree, "golden_rows": rows, "golden_scores": score()}


def _of_flow(model):
    """Describe a flow alone as a pool of one member."""
    density, params = model.density, trees.cast(model.params, np.float64)
    first = density.flow.members(-1)[0][0]
    ends = first if type(first) is Logit else None
    about = {
        "columns": flow_columns(model.columns or numbered_columns(density.dim), ends),
        "coded": [],
        "pooled": density.dim,
        "noise": 3 + density.dim,
        "members": [["flow", 1.0]],
    }
    tree = {
        "discrete": None,
        "features": [],
        "members": [described_flow("flow", density, params, skip=int(ends is not None))],
        "weights": np.ones(1),
    }
    rows = density.sample(params, np.random.default_rng(0), GOLDEN)
    return about, tree, rows, lambda: log_prob(density, params, rows)


def _of_table(model):
    """Describe the density of a table."""
    density = _in_float64(model.density)
    coded, pooled = density.places
    names = [column.name for column in density.columns]
    members = density.pool.members if pooled else ()
    shares = list(zip(density.pool.names, density.pool.weights.tolist())) if pooled else []
    about = {
        "columns": described_columns(density),
        "coded": coded,
        "pooled": len(pooled),
        "noise": 3 + len(pooled) + sum(names[k] not in density.given for k in coded),
        "members": shares,
    }
    if density.limit is not None:
        about["limit"] = {
            "places": [names.index(name) for name in density.limit.names],
            "most": density.limit.limit,
            "log_mass": density.limit.log_mass,
        }
    tree = {
        "discrete": density.discrete and described("discrete", density.discrete, DISCRETE),
        "features": described_features(density.coded_columns, density.centre, density.scale),
        "members": [
            described(f"member {name!r}", member, MEMBERS)
            for (name, _), member in zip(shares, members)
        ],
        "weights": np.array([share for _, share in shares]),
    }
    rng = np.random.default_rng(0)
    codes, u = density.pilot(rng, GOLDEN), np.zeros((GOLDEN, 0))
    if pooled:
        u = density.pool.sample(rng, GOLDEN, density.context(codes))
    table = density.sampled(codes, u)
    return about, tree, AsDensity(density).numbers(table), lambda: density.log_prob(table)


def _in_float64(density):
    """Return the density without members of weight 0, its flows in float64 as in the file."""
    if density.pool is None:
        return density
    used = density.pool.used
    members = tuple(
        replace(member, params=trees.cast(member.params, np.float64))
        if isinstance(member, FittedFlow)
        else member
        for member in used.members
    )
    return replace(density, pool=replace(used, members=members))


def _units(columns, continuous):
    """Return the units of a score in words."""
    given = sum(column["given"] for column in columns)
    discrete = len(columns) - continuous - given
    parts = [
        f"a density of {_columns(continuous)} in their own units" if continuous else "",
        f"a probability of {_columns(discrete)}" if discrete else "",
    ]
    text = "nats: log of " + " times ".join(filter(None, parts))
    return text + (f", given {_columns(given)}" if given else "")


def _columns(count):
    return f"{count} {plural('column', count)}"
