"""The density of a table as plain descriptions and arrays, and back: what a model file holds of it.

A description is made of dicts, lists, numbers and strings; a flow in it stays a ``Density``, which
:mod:`nfref.model_file` describes. ``forms`` says of every array what shape it has to have, before
any is read. Whatever does not fit is a ValueError of one line.
"""

import math

import numpy as np

from nfref.estimator.closed_form import Gaussian, GaussianMixture, Wide
from nfref.estimator.columns import Category, Continuous, Count
from nfref.estimator.density import TableDensity
from nfref.estimator.discrete import LatentClasses, Numbers, Table
from nfref.estimator.pool import FittedFlow, Pool, Regressed

# Columns ----------------------------------------------------------------------------------


def column_to_plain(column):
    """A column as a dict."""
    if isinstance(column, Category):
        return {"kind": "category", "name": column.name, "labels": list(column.labels)}
    if isinstance(column, Count):
        return {"kind": "count", "name": column.name, "low": _or_none(column.low)}
    return {"kind": "continuous", "name": column.name, "low": _or_none(column.low),
            "high": _or_none(column.high), "period": column.period, "middle": column.middle,
            "scale": column.scale}


def _or_none(end):
    return float(end) if math.isfinite(end) else None


def column_from_plain(plain):
    """The column of a dict that :func:`column_to_plain` made."""
    kind, name = plain.get("kind"), plain.get("name")
    _require(isinstance(name, str), "columns: expected names that are text")
    low = -math.inf if plain.get("low") is None else float(plain["low"])
    if kind == "category":
        labels = tuple(plain["labels"])
        _require(len(set(labels)) == len(labels) > 0,
                 f"column {name!r}: expected labels that differ")
        _require(all(isinstance(label, (str, bool, int, float)) for label in labels),
                 f"column {name!r}: expected labels that are text or numbers")
        return Category(name, labels)
    if kind == "count":
        return Count(name, low)
    _require(kind == "continuous", f"column {name!r}: expected a known kind, got {kind!r}")
    high = math.inf if plain["high"] is None else float(plain["high"])
    period = None if plain["period"] is None else float(plain["period"])
    middle, scale = float(plain["middle"]), float(plain["scale"])
    _require(low < high and 0 < scale < math.inf and math.isfinite(middle)
             and (period is None or 0 < period < math.inf and math.isfinite(low + high)),
             f"column {name!r}: expected a support and units, got others")
    return Continuous(name, low, high, period, middle, scale)


def _require(fine, message):
    if not fine:
        raise ValueError(message)


# Densities --------------------------------------------------------------------------------


def to_plain(table):
    """(description, arrays) of a :class:`TableDensity`; both are nested."""
    description = {"columns": [column_to_plain(column) for column in table.columns]}
    arrays = {}
    if table.discrete is not None:
        description["classes"] = len(table.discrete.log_weights)
        description["seen"] = [len(part.seen) if isinstance(part, Numbers) else None
                               for part in table.discrete.parts]
        arrays["discrete"] = {
            "log_weights": table.discrete.log_weights, "centre": table.centre,
            "scale": table.scale,
            "parts": [{name: getattr(part, name) for name in _fields_of(part)}
                      for part in table.discrete.parts]}
    if table.pool is not None:
        described = [_member_to_plain(member) for member in table.pool.members]
        description["members"] = [{"name": name, **plain} for name, (plain, _)
                                  in zip(table.pool.names, described)]
        arrays["members"] = [own for _, own in described]
        arrays["weights"] = table.pool.weights
    return description, arrays


def _fields_of(part):
    return (("log_prob",) if isinstance(part, Table)
            else ("seen", "log_prob", "table", "middle", "scale"))


def _member_to_plain(member):
    if isinstance(member, Regressed):
        plain, arrays = _member_to_plain(member.density)
        return {**plain, "regressed": True}, {**arrays, "slopes": member.slopes}
    if isinstance(member, Gaussian):
        return {"kind": "gaussian"}, {"mean": member.mean, "cholesky": member.cholesky}
    if isinstance(member, GaussianMixture):
        return ({"kind": "mixture", "components": member.components,
                 "collapsed": member.collapsed},
                {"log_weights": member.log_weights, "means": member.means,
                 "choleskys": member.choleskys})
    if isinstance(member, Wide):
        return {"kind": "wide", "freedom": member.freedom}, {}
    return {"kind": "flow", "density": member.density}, {"params": member.params}


# And back ---------------------------------------------------------------------------------


def sizes(description):
    """(columns, D, C, J): all, continuous, numbers that the pool is given, discrete."""
    columns = tuple(column_from_plain(plain) for plain in description["columns"])
    names = [column.name for column in columns]
    _require(0 < len(names) == len(set(names)), "columns: expected names that differ")
    discrete = tuple(column for column in columns if not isinstance(column, Continuous))
    width = sum(len(column.labels) if column.kind == "category" else 1 for column in discrete)
    return columns, len(columns) - len(discrete), width, discrete


def forms(description, init):
    """Nested zeros of the shapes that the arrays have to have.

    ``init(density)`` makes parameters of a flow's density.
    """
    _, dim, width, discrete = sizes(description)
    found = {}
    if discrete:
        classes = _count(description, "classes")
        parts = []
        for column, seen in zip(discrete, description["seen"], strict=True):
            if column.kind == "category":
                parts.append({"log_prob": _shape(classes, len(column.labels))})
            else:
                _require(isinstance(seen, int) and seen > 0, "seen: expected a number above 0")
                parts.append({"seen": _shape(seen), "log_prob": _shape(classes, seen),
                              **{name: _shape(classes) for name in ("table", "middle", "scale")}})
        found["discrete"] = {"log_weights": _shape(classes), "centre": _shape(len(discrete)),
                             "scale": _shape(len(discrete)), "parts": parts}
    if dim:
        members = description["members"]
        _require(isinstance(members, list) and members, "members: expected at least one")
        found["members"] = [_member_form(plain, dim, width, init) for plain in members]
        found["weights"] = _shape(len(members))
    return found


def _shape(*sizes):
    return np.broadcast_to(0.0, sizes)      # takes no memory, however large a file says it is


def _count(plain, name):
    value = plain.get(name)
    _require(isinstance(value, int) and 0 < value < 2 ** 40, f"{name}: expected a whole number")
    return value


def _member_form(plain, dim, width, init):
    kind = plain.get("kind")
    _require(isinstance(plain.get("name"), str), "members: expected a name each")
    if kind == "gaussian":
        form = {"mean": _shape(dim), "cholesky": _shape(dim, dim)}
    elif kind == "mixture":
        count = _count(plain, "components")
        form = {"log_weights": _shape(count), "means": _shape(count, dim),
                "choleskys": _shape(count, dim, dim)}
    elif kind == "wide":
        _require(0 < float(plain["freedom"]) < 1e9, "freedom: expected a number above 0")
        form = {}
    else:
        _require(kind == "flow", f"members: expected a known kind, got {kind!r}")
        density = plain["density"]
        _require(density.dim == dim and density.context_dim == width,
                 f"members: expected a flow of {dim} columns given {width} numbers, "
                 f"got {density.dim} given {density.context_dim}")
        return {"params": init(density)}
    if width or plain.get("regressed"):
        _require(bool(width and plain.get("regressed")), "members: expected slopes for a context")
        form["slopes"] = _shape(width, dim)
    return form


def from_plain(description, arrays):
    """The :class:`TableDensity` of what :func:`to_plain` made."""
    columns, dim, _, discrete = sizes(description)
    model, centre, scale, pool = None, None, None, None
    if discrete:
        own = arrays["discrete"]
        parts = tuple(Table(part["log_prob"]) if column.kind == "category"
                      else Numbers(column.low, *(part[name] for name in
                                                 ("seen", "log_prob", "table", "middle", "scale")))
                      for column, part in zip(discrete, own["parts"]))
        model, centre, scale = LatentClasses(own["log_weights"], parts), own["centre"], own["scale"]
        _require(np.all(scale > 0), "scale: expected numbers above 0")
        for part in parts:
            if isinstance(part, Numbers):
                _require(np.all(np.diff(part.seen) > 0) and np.all(part.scale > 0)
                         and np.all((part.table > 0) & (part.table < 1)),
                         "discrete: expected numbers in order and scales above 0")
    if dim:
        weights = arrays["weights"]
        _require(np.all(weights >= 0) and abs(np.sum(weights) - 1) < 1e-6,
                 "weights: expected numbers of at least 0 with sum 1")
        members = tuple(_member_from_plain(plain, own, dim)
                        for plain, own in zip(description["members"], arrays["members"]))
        pool = Pool(members, weights, tuple(plain["name"] for plain in description["members"]))
    return TableDensity(columns, model, pool, centre, scale)


def _member_from_plain(plain, arrays, dim):
    kind = plain["kind"]
    if kind == "flow":
        return FittedFlow(plain["density"], arrays["params"])
    if kind == "gaussian":
        density = Gaussian(arrays["mean"], arrays["cholesky"])
        _require(np.all(np.diag(density.cholesky) > 0), "cholesky: expected a diagonal above 0")
    elif kind == "mixture":
        density = GaussianMixture(arrays["log_weights"], arrays["means"], arrays["choleskys"],
                                  int(plain.get("collapsed", 0)))
        _require(np.all(np.einsum("kdd->kd", density.choleskys) > 0),
                 "choleskys: expected diagonals above 0")
    else:
        density = Wide(dim, float(plain["freedom"]))
    return Regressed(density, arrays["slopes"]) if "slopes" in arrays else density
