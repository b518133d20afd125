"""The density of a table as plain descriptions and arrays, and back: what a model file holds of it.

A description is made of dicts, lists, numbers and strings; a flow in it stays a ``Density``, which
:mod:`nfref.tables.model_file` describes. ``forms`` says of every array what shape it has to have, before
any is read. Whatever does not fit is a ValueError of one line.
"""

import math

import numpy as np

from nfref.tables.closed_form import Gaussian, GaussianMixture, Wide
from nfref.tables.columns import Category, Continuous, Count
from nfref.tables.density import TableDensity, check_given, places_of
from nfref.tables.discrete import LatentClasses, Normal, Numbers, Table
from nfref.tables.pool import FittedFlow, Pool, Regressed
from nfref.tables.regression import MixtureRegression

# Columns ----------------------------------------------------------------------------------


def column_to_plain(column):
    """A column as a dict."""
    if isinstance(column, Category):
        return {"kind": "category", "name": column.name, "labels": list(column.labels)}
    if isinstance(column, Count):
        return {"kind": "count", "name": column.name, "low": _or_none(column.low)}
    return {"kind": "continuous", "name": column.name, "low": _or_none(column.low),
            "high": _or_none(column.high), "period": column.period, "middle": column.middle,
            "scale": column.scale, "first": column.first}


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
    # Older files have none.
    first = None if plain.get("first") is None else float(plain["first"])
    _require(low < high and 0 < scale < math.inf and math.isfinite(middle)
             and (first is None or period is not None and math.isfinite(first))
             and (period is None or 0 < period < math.inf and math.isfinite(low + high)),
             f"column {name!r}: expected a support and units, got others")
    return Continuous(name, low, high, period, middle, scale, first)


def _require(fine, message):
    if not fine:
        raise ValueError(message)


# Densities --------------------------------------------------------------------------------


def to_plain(table):
    """(description, arrays) of a :class:`TableDensity`; both are nested."""
    description = {"columns": [column_to_plain(column) for column in table.columns]}
    arrays = {}
    if table.given:
        description["given"] = list(table.given)
    if table.centre is not None:
        arrays["discrete"] = {"centre": table.centre, "scale": table.scale}
    if table.discrete is not None:
        description["classes"] = len(table.discrete.log_weights)
        description["seen"] = [len(part.seen) if isinstance(part, Numbers) else None
                               for part in table.discrete.parts]
        arrays["discrete"] = {
            "log_weights": table.discrete.log_weights, **arrays["discrete"],
            "parts": [{name: getattr(part, name) for name in FIELDS[type(part)]}
                      for part in table.discrete.parts]}
    if table.pool is not None:
        described = [_member_to_plain(member) for member in table.pool.members]
        description["members"] = [{"name": name, **plain} for name, (plain, _)
                                  in zip(table.pool.names, described)]
        arrays["members"] = [own for _, own in described]
        arrays["weights"] = table.pool.weights
    return description, arrays


FIELDS = {Table: ("log_prob",), Normal: ("middle", "spread"),
          Numbers: ("seen", "log_prob", "table", "middle", "scale")}


def _member_to_plain(member):
    if isinstance(member, Regressed):
        plain, arrays = _member_to_plain(member.density)
        return {**plain, "regressed": True}, {**arrays, "slopes": member.slopes}
    if isinstance(member, MixtureRegression):
        plain, arrays = _member_to_plain(member.joint)
        return {**plain, "kind": "mixture regression"}, {**arrays, "slopes": member.slopes}
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
    """(columns, D, C, coded, G): all; how many the pool is of, and numbers that it is given; those
    that have codes; how many of them are real."""
    columns = tuple(column_from_plain(plain) for plain in description["columns"])
    names = [column.name for column in columns]
    _require(0 < len(names) == len(set(names)), "columns: expected names that differ")
    given = check_given(description.get("given"), names)
    coded, pooled = places_of(columns, given)
    coded = tuple(columns[k] for k in coded)
    width = sum(len(column.labels) if column.kind == "category" else 1 for column in coded)
    real = sum(isinstance(column, Continuous) for column in coded)
    return columns, len(pooled), width, coded, real


def _is_of_classes(description, coded):
    """Whether some column with a code is not given."""
    given = description.get("given", ())
    return any(column.name not in given for column in coded)


def forms(description, init):
    """Nested zeros of the shapes that the arrays have to have.

    ``init(density)`` makes parameters of a flow's density.
    """
    _, dim, width, coded, real = sizes(description)
    found = {}
    if coded:
        found["discrete"] = {"centre": _shape(len(coded)), "scale": _shape(len(coded))}
    if _is_of_classes(description, coded):
        classes = _count(description, "classes")
        parts = []
        for column, seen in zip(coded, description["seen"], strict=True):
            if isinstance(column, Continuous):
                parts.append({name: _shape(classes) for name in FIELDS[Normal]})
            elif column.kind == "category":
                parts.append({"log_prob": _shape(classes, len(column.labels))})
            else:
                _require(isinstance(seen, int) and seen > 0, "seen: expected a number above 0")
                parts.append({"seen": _shape(seen), "log_prob": _shape(classes, seen),
                              **{name: _shape(classes) for name in ("table", "middle", "scale")}})
        found["discrete"] = {"log_weights": _shape(classes), **found["discrete"], "parts": parts}
    if dim:
        members = description["members"]
        _require(isinstance(members, list) and members, "members: expected at least one")
        found["members"] = [_member_form(plain, dim, width, real, init) for plain in members]
        found["weights"] = _shape(len(members))
    return found


def _shape(*sizes):
    return np.broadcast_to(0.0, sizes)      # takes no memory, however large a file says it is


def _count(plain, name):
    value = plain.get(name)
    _require(isinstance(value, int) and 0 < value < 2 ** 40, f"{name}: expected a whole number")
    return value


def _member_form(plain, dim, width, real, init):
    kind = plain.get("kind")
    _require(isinstance(plain.get("name"), str), "members: expected a name each")
    if kind == "gaussian":
        form = {"mean": _shape(dim), "cholesky": _shape(dim, dim)}
    elif kind == "mixture regression":
        count, both = _count(plain, "components"), real + dim
        _require(real > 0, "members: expected a regression where real columns are given")
        return {"log_weights": _shape(count), "means": _shape(count, both),
                "choleskys": _shape(count, both, both), "slopes": _shape(width - real, both)}
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
    columns, dim, _, coded, _ = sizes(description)
    given = tuple(description.get("given", ()))
    model, centre, scale, pool = None, None, None, None
    if coded:
        centre, scale = arrays["discrete"]["centre"], arrays["discrete"]["scale"]
        _require(np.all(scale > 0), "scale: expected numbers above 0")
    if _is_of_classes(description, coded):
        own = arrays["discrete"]
        parts = tuple(_part_from_plain(column, part) for column, part in zip(coded, own["parts"]))
        known = tuple(j for j, column in enumerate(coded) if column.name in given)
        model = LatentClasses(own["log_weights"], parts, known)
        for part in parts:
            if isinstance(part, Normal):
                _require(np.all(part.spread > 0), "spread: expected numbers above 0")
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
    return TableDensity(columns, model, pool, centre, scale, given)


def _part_from_plain(column, arrays):
    kind = (Normal if isinstance(column, Continuous) else
            Table if column.kind == "category" else Numbers)
    own = [arrays[name] for name in FIELDS[kind]]
    return Numbers(column.low, *own) if kind is Numbers else kind(*own)


def _member_from_plain(plain, arrays, dim):
    kind = plain["kind"]
    if kind == "flow":
        return FittedFlow(plain["density"], arrays["params"])
    if kind == "gaussian":
        density = Gaussian(arrays["mean"], arrays["cholesky"])
        _require(np.all(np.diag(density.cholesky) > 0), "cholesky: expected a diagonal above 0")
    elif kind in ("mixture", "mixture regression"):
        density = GaussianMixture(arrays["log_weights"], arrays["means"], arrays["choleskys"],
                                  int(plain.get("collapsed", 0)))
        _require(np.all(np.einsum("kdd->kd", density.choleskys) > 0),
                 "choleskys: expected diagonals above 0")
        if kind == "mixture regression":
            return MixtureRegression(density, arrays["slopes"])
    else:
        density = Wide(dim, float(plain["freedom"]))
    return Regressed(density, arrays["slopes"]) if "slopes" in arrays else density
