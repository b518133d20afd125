"""A density of the rows of a table, which nfref fitted: this file and NumPy are all it needs.

    log_prob(rows)              log-density of rows (N, D), in the order of COLUMNS; see UNITS
    inverse(rows, member)       rows in the latent of one member of the pool, and log |det dz/dx|
    sample(noise, given)        rows made of numbers between 0 and 1 (N, NOISE), independent ones
    encode(table)               rows of numbers from columns by name; a label becomes its place
    decode(rows)                and back
    namespace(jax.numpy)        the same functions on arrays of JAX, or of torch: differentiable

``python FILE --test`` compares the scores of some rows with those that nfref wrote.

log p(row) = log P(d) + log sum_k w_k p_k(u | d) + sum_j log du_j/dx_j: d are labels, counts and
atoms, u the continuous columns in robust units. A score is that of the row itself, not averaged
over the cells of rounded values. It is -inf outside of the supports, NaN for impossible values of
columns that the density is given. Everything is computed in float64.

The names and numbers of the model are data: the text below, and the weights at the end.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

DESCRIPTION = r"""{"columns": []}"""

ABOUT: dict[str, Any] = json.loads(DESCRIPTION)
COLUMNS = tuple(column["name"] for column in ABOUT["columns"])
GIVEN = tuple(column["name"] for column in ABOUT["columns"] if column["given"])
LABELS = {one["name"]: one["labels"] for one in ABOUT["columns"] if one["kind"] == "category"}
UNITS = ABOUT.get("units")
CHECKSUM = ABOUT.get("checksum")  # SHA-256 of the weights
WRITTEN_BY = ABOUT.get("written_by")
MEMBERS = ABOUT.get("members", [])  # (name, weight) of each density of the pool
NOISE = ABOUT.get("noise", 0)  # numbers of noise that a sampled row takes

xp: Any = np  # the array module; namespace() makes a copy of this file with another
Array = Any
LOG_TWO_PI = math.log(2 * math.pi)
FEW_COLUMNS = 12  # JAX takes minutes to compile steps by columns for more
BLOCK = 4096  # rows at a time, so that memory stays small
TOLERANCE = 1e-9  # largest error of --test, as a part of a score above 1


# What you call ----------------------------------------------------------------------------


def log_prob(rows: Array) -> Array:
    """Return the log-density in nats, (N,), of rows (N, D)."""
    return _in_blocks(_log_prob, _checked("rows", rows, len(COLUMNS)))


def inverse(rows: Array, member: int | str | None = None) -> tuple[Array, Array]:
    """Return z (N, E) and log |det dz/dx| (N,) of rows, for one member of the pool.

    ``member`` is a name among MEMBERS, the first of that name, or its place there; without it the
    one of largest weight that has a latent: a flow or a Gaussian. Its log-density of the
    continuous columns, given the others, is log N(z; 0, 1) + log |det dz/dx|.
    """
    part, rows = MODEL["members"][_place_of(member)], _checked("rows", rows, len(COLUMNS))
    with np.errstate(all="ignore"):
        codes, u, log_slope = encoded(rows)
        z, log_det = member_to_latent(part, u, context_of(codes))
    return z, log_det + log_slope


def sample(noise: Array, given: Array | None = None) -> Array:
    """Return rows (N, D) made of numbers between 0 and 1 (N, NOISE).

    ``given`` (N, G) holds the values of GIVEN. If a sum of columns has a limit, rows beyond it are
    NaN: leave them out.
    """
    noise = xp.clip(_checked("noise", noise, NOISE), 1e-16, 1 - 1e-16)
    known = _checked("given", given, len(GIVEN)) if GIVEN else noise[:, :0]
    if len(known) != len(noise):
        raise ValueError(f"given: expected {len(noise)} rows, got {len(known)}")
    return _in_blocks(_sample, xp.concatenate([noise, known], axis=1))


def encode(table: Any) -> Array:
    """Return rows (N, D) from a dict of columns or a DataFrame; a label becomes its place."""
    found = []
    for name in COLUMNS:
        if name not in table:
            raise ValueError(f"table: expected column {name!r}, got none")
        values = list(table[name])
        if name in LABELS:
            places = {label: k for k, label in enumerate(LABELS[name])}
            strange = [value for value in values if value not in places]
            if strange:
                raise ValueError(
                    f"column {name!r}: expected one of {len(places)} labels, got {strange[0]!r}"
                )
            values = [places[value] for value in values]
        found.append(_numbers(f"column {name!r}", values))
    return np.stack(found, axis=1)


def decode(rows: Array) -> dict[str, Any]:
    """Return the columns of rows (N, D) by name, with labels."""
    rows = np.asarray(rows)
    return {
        name: [LABELS[name][int(place)] for place in values] if name in LABELS else values
        for name, values in zip(COLUMNS, rows.T)
    }


def namespace(module: Any) -> Any:
    """Return this file once more, with the functions of another array module, JAX's or torch.

    JAX computes in float32 unless its option ``jax_enable_x64`` is set first.
    """
    spec: Any = importlib.util.spec_from_file_location(f"{__name__}_{module.__name__}", __file__)
    copy: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.xp = module
    copy.MODEL = copy.load()
    return copy


def _numbers(name, values):
    """Return numbers in float64."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected numbers, got others") from None


def _checked(name, values, width):
    """Return (N, width) numbers; NumPy's are checked to be finite."""
    values = _numbers(name, values) if xp is np else values
    shape = getattr(values, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] != width:
        raise ValueError(f"{name}: expected shape (N, {width}), got {shape}")
    if xp is np and not np.all(np.isfinite(values)):
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name}: expected finite numbers, got {values[row, column]} in row {row}, "
            f"column {column}"
        )
    return values


def _in_blocks(function, rows):
    """Return function(rows); NumPy computes a block of rows at a time, and warns of nothing."""
    if xp is not np:
        return function(rows)
    with np.errstate(all="ignore"):
        starts = range(0, max(len(rows), 1), BLOCK)
        return np.concatenate([function(rows[start : start + BLOCK]) for start in starts])


def _place_of(member):
    """Return the place of a member of the pool that has a latent."""
    parts, names = MODEL["members"], [name for name, _ in MEMBERS]
    having = [k for k, part in enumerate(parts) if has_latent(part)]
    if member is None and having:
        return max(having, key=lambda k: MEMBERS[k][1])
    place = names.index(member) if member in names else member
    if place not in having:
        raise ValueError(
            f"member: expected one with a latent, {[names[k] for k in having]}, got {member!r}"
        )
    return place


# Rows -------------------------------------------------------------------------------------


def _log_prob(rows):
    codes, u, log_slope = encoded(rows)
    total = log_slope + log_discrete(codes) + log_limit(rows)
    return total if u is None else total + log_pool(u, context_of(codes))


def encoded(rows: Array) -> tuple[list[Array], Array, Array]:
    """Return (codes (N,) of each column that has one, u (N, E) or None, log-slope (N,))."""
    codes, us, total = {}, [], 0.0 * rows[:, 0]
    for k, column in enumerate(ABOUT["columns"]):
        x = rows[:, k]
        if column["kind"] != "real":
            codes[k], log_slope = code_of(column, x)
        else:
            codes[k], log_slope = to_units(column, x)
            if not column["given"]:
                us.append(codes[k])
                codes[k] = atom_of(column, x)
        if column["given"]:  # it has no density of its own, and none of the others for -inf
            log_slope = xp.where(log_slope > -math.inf, 0.0, math.nan) * xp.ones_like(x)
        total = total + log_slope
    u = xp.stack(us, axis=1) if us else None
    return [codes[k] for k in ABOUT["coded"]], u, total


def _sample(both):
    noise, given = both[:, :NOISE], both[:, NOISE:]
    columns, known = ABOUT["columns"], iter(given.T)
    values = [next(known) if column["given"] else None for column in columns]
    codes = [
        None
        if values[k] is None
        else (to_units if columns[k]["kind"] == "real" else code_of)(columns[k], values[k])[0]
        for k in ABOUT["coded"]
    ]
    codes = sampled_codes(noise, codes)
    code_at = dict(zip(ABOUT["coded"], codes))
    us = iter(sampled_pool(noise, context_of(codes)).T if MODEL["members"] else ())
    for k, column in enumerate(columns):
        if not column["given"]:
            code = code_at.get(k)
            values[k] = sampled_value(column, next(us), code) if column["kind"] == "real" else code
    rows = xp.stack(values, axis=1)
    return rows + xp.where(log_limit(rows) > -math.inf, 0.0, math.nan)[:, None]


def log_limit(rows: Array) -> Array:
    """Return the log of the factor of a limited sum, (N,): -inf beyond the limit."""
    limit, total = ABOUT.get("limit"), 0.0 * rows[:, 0]
    if limit is None:
        return total
    for k in limit["places"]:
        total = total + rounded(ABOUT["columns"][k], rows[:, k])
    return xp.where(total <= limit["most"], 0.0 * total - limit["log_mass"], -math.inf)


# Columns ----------------------------------------------------------------------------------


def code_of(column: Any, x: Array) -> tuple[Array, Array]:
    """Return (code, 0, or -inf where it is impossible) of labels' places or counts, (N,)."""
    least, most = column["least"], column["most"]
    possible = (x == xp.round(x)) & (x >= least) & (x <= most)
    some = min(max(least, 0.0), most)
    return xp.where(possible, x, some), xp.where(possible, 0.0 * x, -math.inf)


def to_units(column: Any, x: Array) -> tuple[Array, Array]:
    """Return (u, log du/dx), (N,): the map of the support, robust units, compressed tails.

    At an atom u is noise, whose density the slope takes away.
    """
    x = turned(column, x)
    inside = (x > column["low"]) & (x < column["high"])
    # Values outside become one inside, so that no derivative is NaN.
    y, log_slope = to_line(column, xp.where(inside, x, column["inner"]))
    t, tail = (y - column["middle"]) / column["scale"], column["tail"]
    beyond = xp.log1p(xp.clip(xp.abs(t) - tail, 0, None))
    u = xp.clip(t, -tail, tail) + xp.sign(t) * beyond
    log_slope = log_slope - beyond - math.log(column["scale"])
    u, log_slope = xp.where(inside, u, 0.0), xp.where(inside, log_slope, -math.inf)
    for _, atom, cell in column.get("atoms", []):
        # The noise steps from float to float: its derivative is that of a rounded number, 0.
        part = 0.5 + 0.5 * xp.round(2.0**40 * xp.clip((x - atom) / cell, -1, 1)) / 2.0**40
        noise, here = normal_quantile(xp.clip(part, 0.5**21, 1 - 0.5**21)), xp.abs(x - atom) <= cell
        u = xp.where(here, noise, u)
        log_slope = xp.where(here, 0.5 * (noise**2 + LOG_TWO_PI), log_slope)
    return u, log_slope


def to_line(column: Any, x: Array) -> tuple[Array, Array]:
    """Return (y, log dy/dx) of values inside the support: real, half-line, interval or circle."""
    low, high, soft = column["low"], column["high"], column.get("soft")
    if soft is not None:  # a half-line whose map is the identity far from its end
        share = -xp.expm1(-(x - low) / soft)
        tiny = share == 0  # a subnormal distance, divided by a large ``soft``
        log_share = xp.log(xp.where(tiny, xp.ones_like(share), share))
        log_share = xp.where(tiny, xp.log(x - low) - math.log(soft), log_share)
        return x - low + soft * log_share, -log_share
    if low > -math.inf and high < math.inf:
        below, above = xp.log(x - low), xp.log(high - x)
        return below - above, math.log(high - low) - below - above
    if low > -math.inf:
        return xp.log(x - low), -xp.log(x - low)
    if high < math.inf:
        return -xp.log(high - x), -xp.log(high - x)
    return x, 0.0 * x


def from_units(column: Any, u: Array) -> Array:
    """Return x, (N,), strictly inside the support."""
    low, high, tail, soft = (column.get(name) for name in ("low", "high", "tail", "soft"))
    beyond = xp.expm1(xp.clip(xp.abs(u) - tail, 0, 709.0))
    t = xp.clip(u, -tail, tail) + xp.sign(u) * beyond
    y = xp.clip(column["middle"] + column["scale"] * t, -sys.float_info.max, sys.float_info.max)
    if soft is not None:
        x = low + soft * softplus(y / soft)
    elif low > -math.inf and high < math.inf:
        part = (high - low) * xp.exp(-softplus(xp.abs(y)))  # from the nearer end
        x = xp.where(y < 0, low + part, high - part)
    elif low > -math.inf:
        x = low + xp.exp(xp.clip(y, None, 709.0))
    else:
        x = high - xp.exp(xp.clip(-y, None, 709.0)) if high < math.inf else y
    return between(column, x)


def between(column: Any, x: Array) -> Array:
    """Return x, moved to the nearest number strictly inside the support."""
    low, high = column["low"], column["high"]
    least = math.nextafter(low, math.inf)
    if xp is not np and low == 0:  # JAX takes smaller numbers for 0
        least = sys.float_info.min
    return xp.clip(x, least, math.nextafter(high, -math.inf))


def turned(column: Any, x: Array) -> Array:
    """Return x; on a circle moved by whole periods into the support."""
    if "period" not in column:
        return x
    return between(column, column["low"] + (x - column["low"]) % column["period"])


def atom_of(column: Any, x: Array) -> Array:
    """Return the number of the atom at each value, from 1 on; 0 for none. (N,)."""
    x = turned(column, x)
    code = 0.0 * x
    for number, (_, atom, cell) in enumerate(column.get("atoms", []), 1):
        code = xp.where(xp.abs(x - atom) <= cell, float(number), code)
    return code


def rounded(column: Any, x: Array) -> Array:
    """Return the points of the column's rounding grid next to x; x itself without a grid."""
    if "step" not in column:
        return x
    step, offset = column["step"], column["offset"]
    if column["alone"]:  # one cell, in columns of old models
        return xp.where(xp.abs(x - offset) < step, offset, x)
    k = xp.clip(xp.round((x - offset) / step), *column["ends"])
    found = offset + step * xp.where(xp.abs(k) < 2.0**52, k, 0.0)
    if column["digits"] is not None:
        found = xp.round(found, decimals=column["digits"])
    return xp.where(xp.abs(k) < 2.0**52, found, x)


def sampled_value(column: Any, u: Array, code: Array | None) -> Array:
    """Return x, (N,), of sampled u: rounded, at its atom, in the turn of the data."""
    exact = from_units(column, u)
    x = rounded(column, exact)
    if code is not None:  # the rows of an atom are in its code: rounding adds none
        side = column.get("step", 0.0) * xp.where(exact < x, -1.0, xp.ones_like(x))
        for step in (side, -side):
            x = xp.where(atom_of(column, x) > 0, rounded(column, x + step), x)
        for number, (atom, _, _) in enumerate(column.get("atoms", []), 1):
            x = xp.where(code == number, atom, x)
    if "turn" not in column:
        return x
    first, last = column["turn"]
    return xp.clip(first + (x - first) % column["period"], None, last)


# Discrete columns: latent classes, or a pool of models of one label -------------------------


def log_discrete(codes: list[Array]) -> Array:
    """Return log P of the codes that are not given, (N,)."""
    model = MODEL["discrete"]
    if model is None:
        return 0.0
    if "networks" in model:
        target = whole(codes[model["target"]])[:, None]
        return take(log_labels(model, codes), target)
    given = model["given"]
    found = log_sum(joint(model, codes, range(len(codes))))
    return found - log_sum(joint(model, codes, given)) if given else found


def joint(classes: Any, codes: list[Any], places: Any) -> Array:
    """Return log pi_r prod_j P_jr of the columns at some places, (N, R)."""
    total = classes["log_weights"][None, :]
    for j in places:
        part, code = classes["parts"][j], codes[j]
        if "seen" in part:
            total = total + log_count(part, code)
        elif "spread" in part:  # a real column that is given
            z = xp.clip((code[:, None] - part["middle"]) / part["spread"], -1e100, 1e100)
            total = total - 0.5 * z**2 - xp.log(part["spread"]) - 0.5 * LOG_TWO_PI
        else:
            total = total + part["log_prob"].T[whole(code)]
    return total


def log_count(part: Any, x: Array) -> Array:
    """Return log P of whole numbers, (N, R): a table of those seen, and a Student t in cells."""
    place = xp.clip(xp.searchsorted(part["seen"], x), 0, len(part["seen"]) - 1)
    known = (part["seen"][place] == x)[:, None]
    seen = xp.where(known, part["log_prob"].T[place], -math.inf)
    t, half = (x[:, None] - part["middle"]) / part["scale"], 0.5 / part["scale"]
    narrow = half < 1e-4 * xp.abs(t)  # both ends agree in all digits there
    cell = t_below(-xp.abs(t) + half) - t_below(-xp.abs(t) - half)
    flat = student(t, 4.0) + xp.log(2 * half)
    cells = xp.where(narrow, flat, xp.log(xp.where(narrow, 1.0, cell))) - part["log_whole"]
    return xp.logaddexp(xp.log(part["table"]) + seen, xp.log1p(-part["table"]) + cells)


def log_labels(model: Any, codes: list[Any]) -> Array:
    """Return log P of every label of the one column that is not given, (N, L).

    P ~ (a mean + (1 - a) product)^r of latent classes, networks and trees.
    """
    classes = model["classes"]
    gates = log_normalised(joint(classes, codes, classes["given"]))
    own = classes["parts"][model["target"]]["log_prob"]
    found = [xp.log(xp.exp(gates) @ xp.exp(own))]
    features = features_of(model["features"], [codes[j] for j in classes["given"]])
    for models in model["networks"]:
        parts = [log_normalised(logits(one, features)) for one in models]
        found.append(log_sum(xp.stack(parts, axis=2)) - math.log(len(parts)))
    weights, linear = model["weights"], model["linear"]
    pooled = log_sum(xp.stack(found, axis=2) + xp.log(weights))
    if linear < 1:
        product = log_normalised(xp.stack(found, axis=2) @ weights)
        pooled = xp.logaddexp(math.log(linear) + pooled, math.log1p(-linear) + product)
    return log_normalised(model["power"] * pooled) if model["power"] != 1 else pooled


def logits(model: Any, features: Array) -> Array:
    """Return the logits of labels, (N, L), of a network or of oblivious trees."""
    if "direct" in model:
        inner, outer = model["inner"], model["outer"]
        h = xp.tanh(features @ inner[:-1] + inner[-1])
        return features @ model["direct"] + h @ outer[:-1] + outer[-1]
    total = model["start"]
    for asked, edge, value in zip(model["asked"], model["edge"], model["value"]):
        leaf = 0  # its number has a bit for each answer, the first the lowest
        for bit, (feature, level) in enumerate(zip(asked, edge)):
            leaf = leaf + 2**bit * (features[:, feature] > level)
        total = total + value[leaf]
    return total


def sampled_codes(noise: Array, codes: list[Any]) -> list[Array]:
    """Return the codes (N,) of all columns that have one; those given are known, others None."""
    model, used = MODEL["discrete"], NOISE - sum(code is None for code in codes)
    if model is None:
        return codes
    if "networks" in model:
        label = choose(log_labels(model, codes), noise[:, used])
        return [label * xp.ones_like(noise[:, 0]) if one is None else one for one in codes]
    log_gates = joint(model, codes, model["given"]) + 0.0 * noise[:, :1]
    chosen, found = choose(log_gates, noise[:, 2]), []
    for part, code in zip(model["parts"], codes):
        if code is None:
            code, used = sampled_code(part, chosen, noise[:, used]), used + 1
        found.append(code)
    return found


def sampled_code(part: Any, chosen: Array, p: Array) -> Array:
    """Return a label's place or a count, (N,), in the chosen class."""
    log_table = part["log_prob"][chosen]
    if "seen" not in part:
        return choose(log_table, p) * xp.ones_like(p)
    share = part["table"][chosen]
    seen = part["seen"][choose(log_table, xp.clip(p / share, None, 1 - 1e-16))]
    below, rest = part["below"][chosen], (p - share) / (1 - share)
    t = t_quantile(xp.clip(below + part["within"][chosen] * rest, 1e-12, 1 - 1e-12))
    drawn = xp.round(part["middle"][chosen] + part["scale"][chosen] * t)
    return xp.where(p < share, seen, xp.clip(drawn, part["low"], part["high"]))


# The pool of the continuous columns ---------------------------------------------------------


def context_of(codes: list[Array]) -> Array | None:
    """Return what the pool is told of the other columns, (N, C)."""
    return features_of(MODEL["features"], codes) if codes else None


def features_of(columns: list[Any], codes: list[Array]) -> Array:
    """Return a 1 for each label, and numbers in units, (N, C)."""
    found = []
    for column, code in zip(columns, codes):
        if column is None:  # a real column
            found.append(code[:, None])
        elif "places" in column:
            found.append((code[:, None] == column["places"]) * xp.ones_like(column["places"]))
        else:
            z = (code[:, None] - column["centre"]) / column["scale"]
            found.append(xp.clip(z, -5.0, 5.0))
    return xp.concatenate(found, axis=1)


def log_pool(u: Array, context: Array | None) -> Array:
    """Return log sum_k w_k p_k(u | context), (N,)."""
    found = xp.stack([member_log_prob(part, u, context) for part in MODEL["members"]], axis=1)
    return log_sum(xp.log(MODEL["weights"]) + xp.where(xp.isnan(found), -math.inf, found))


def sampled_pool(noise: Array, context: Array | None) -> Array:
    """Return u (N, E): each row from the member that the first noise chooses."""
    chosen = choose(xp.log(MODEL["weights"]) + 0.0 * noise[:, :1], noise[:, 0])
    p, ps = noise[:, 1], noise[:, 3 : 3 + ABOUT["pooled"]]
    found = 0.0 * ps
    for k, part in enumerate(MODEL["members"]):
        if xp is np:  # a member makes its own rows; elsewhere all of them
            own = np.flatnonzero(chosen == k)
            given = None if context is None else context[own]
            found[own] = member_sample(part, p[own], ps[own], given)
        else:
            u = member_sample(part, p, ps, context)
            found = xp.where((chosen == k)[:, None], u, found)
    return found


def has_latent(part: Any) -> bool:
    """Return whether rows of a member are the image of standard normal ones."""
    inner = part["density"] if part["kind"] == "regressed" else part
    return inner["kind"] in ("flow", "grouped") or (
        inner["kind"] == "mixture" and len(inner["means"]) == 1
    )


def member_log_prob(part: Any, u: Array, context: Array | None) -> Array:
    """Return log p_k(u | context), (N,), of one member of the pool."""
    kind = part["kind"]
    if kind == "regressed":
        return member_log_prob(part["density"], u - context @ part["slopes"], None)
    if kind == "wide":
        return xp.sum(log_wide(part, u), axis=1)
    if kind == "mixture":
        return log_sum(part["log_weights"] + normals(part, u)[0])
    if kind == "regression":
        g, rest = centred(part, u, context)
        log_gates = part["log_weights"] + normals(part, g)[0]
        both = xp.concatenate([g, rest], axis=1)
        return log_sum(part["log_weights"] + normals(part, both)[0]) - log_sum(log_gates)
    z, log_det = member_to_latent(part, u, context)
    return log_det - 0.5 * xp.sum(z**2, axis=1) - 0.5 * z.shape[1] * LOG_TWO_PI


def member_to_latent(part: Any, u: Array, context: Array | None) -> tuple[Array, Array]:
    """Return z (N, E) and log |det dz/du| (N,) of a member that has a latent."""
    if part["kind"] == "regressed":
        return member_to_latent(part["density"], u - context @ part["slopes"], None)
    if part["kind"] == "flow":
        return flow_inverse(part, u, context)
    group = 0.0 * u[:, 0]
    if part["kind"] == "grouped":
        group, u = group_of(part, context), u - context @ part["slopes"]
    log_normal, z = normals(part, u)
    z = xp.stack(z, axis=2)  # (N, K, E)
    chosen, log_det = 0.0, 0.0
    for k in range(len(part["means"])):
        own = group == k
        chosen = xp.where(own[:, None], z[:, k], chosen)
        log_det = xp.where(own, -part["log_diagonal"][k], log_det)
    return chosen, log_det


def member_sample(part: Any, p: Array, ps: Array, context: Array | None) -> Array:
    """Return u (N, E) of uniform numbers: p (N,) chooses a component, ps (N, E) make the row."""
    kind = part["kind"]
    if kind == "regressed":
        return member_sample(part["density"], p, ps, None) + context @ part["slopes"]
    if kind == "wide":
        return wide_quantile(part, ps)
    z = normal_quantile(ps)
    if kind == "flow":
        return flow_forward(part, z, context)
    if kind == "grouped":
        chosen = whole(group_of(part, context))
        return from_normal(part, chosen, z) + context @ part["slopes"]
    if kind == "mixture":
        return from_normal(part, choose(part["log_weights"] + 0.0 * p[:, None], p), z)
    g, shift = centred(part, 0.0 * z, context)
    log_normal, known = normals(part, g)
    chosen = choose(part["log_weights"] + log_normal, p)
    known = [take(one, chosen[:, None]) for one in known]
    both = xp.concatenate([xp.stack(known, axis=1), z], axis=1)
    return from_normal(part, chosen, both)[:, len(known) :] - shift


# Gaussians: one, mixtures, one a group, regression by a mixture -----------------------------


def normals(part: Any, x: Array) -> tuple[Array, list[Array]]:
    """Return log N(x; m_k, L_k L_k^T) (N, K), and z_k = L_k^-1 (x - m_k) by columns.

    If x has fewer columns than m_k, it is the marginal density of these first ones.
    """
    dim = x.shape[1]
    means, factors = part["means"][:, :dim], part["choleskys"][:, :dim, :dim]
    z: list[Array] = []
    at_once = xp is not np and dim > FEW_COLUMNS
    if at_once:
        solved = xp.linalg.solve(factors, x.T[None] - means[:, :, None])  # (K, D, N)
        z = [solved[:, j].T for j in range(dim)]
    total, log_diagonal = 0.0, 0.0
    for j in range(dim):
        if not at_once:
            rest = x[:, j, None] - means[:, j]
            for k in range(j):
                rest = rest - factors[:, j, k] * z[k]
            z.append(rest / factors[:, j, j])
        total = total + z[j] ** 2
        log_diagonal = log_diagonal + xp.log(factors[:, j, j])
    return -0.5 * total - log_diagonal - 0.5 * dim * LOG_TWO_PI, z


def from_normal(part: Any, chosen: Array, z: Array) -> Array:
    """Return m_k + L_k z, (N, D), of the chosen components (N,)."""
    return part["means"][chosen] + xp.sum(part["choleskys"][chosen] * z[:, None, :], axis=2)


def group_of(part: Any, context: Array) -> Array:
    """Return the number of the group of each context, (N,), from 1 on; 0 for all others."""
    found = 0.0 * context[:, 0]
    for k, pattern in enumerate(part["patterns"], 1):
        own = 1.0 - xp.sum(xp.abs(context[:, part["labels"]] - pattern), axis=1)
        found = xp.where(own == 1.0, float(k), found)
    return found


def centred(part: Any, u: Array, context: Array) -> tuple[Array, Array]:
    """Return the real columns that are given, and u, without what features of the others add."""
    features, known = context[:, : len(part["slopes"])], context[:, len(part["slopes"]) :]
    slopes, count = part["slopes"], known.shape[1]
    return known - features @ slopes[:, :count], u - features @ slopes[:, count:]


# The wide density: Student t up to a reach, and a power law beyond --------------------------


def student(x: Array, v: float) -> Array:
    """Return log t(x) with v degrees of freedom; elementwise."""
    constant = math.lgamma((v + 1) / 2) - math.lgamma(v / 2) - 0.5 * math.log(v * math.pi)
    return constant - (v + 1) / 2 * xp.log1p(x * x / v)


def log_wide(part: Any, x: Array) -> Array:
    """Return log p of each number: t(min(|x|, R)) max(|x| / R, 1)^-12 / Z; elementwise."""
    size, reach = xp.abs(x), part["reach"]
    near = student(xp.clip(size, None, reach), part["freedom"])
    return near - 12 * xp.log(xp.clip(size / reach, 1.0, None)) - math.log(part["mass"])


def wide_quantile(part: Any, p: Array) -> Array:
    """Return the numbers at quantiles, for 3 degrees of freedom; elementwise.

    P(t > a) = (s - sin s) / (2 pi) with a = sqrt(3) / tan(s / 2); Newton's steps find s.
    """
    tail = part["mass"] * xp.clip(xp.where(p < 0.5, p, 1 - p), None, 0.5)
    beyond, far = part["beyond"], tail < part["beyond"]
    area = 2 * math.pi * xp.where(far, part["of_t"], tail - beyond + part["of_t"])
    s = (6 * area) ** (1 / 3)
    for _ in range(12):
        s = s - (s - xp.sin(s) - area) / (1 - xp.cos(s))
    inner = math.sqrt(3) / xp.tan(0.5 * s)
    outer = part["reach"] * (beyond / tail) ** (1 / 11)
    return xp.sign(p - 0.5) * xp.where(far, outer, inner)


# Flows --------------------------------------------------------------------------------------


def flow_inverse(part: Any, x: Array, context: Array | None) -> tuple[Array, Array]:
    """Return z (N, E) and log |det dz/dx| (N,): data to latent, layer by layer."""
    total = 0.0
    for layer in part["layers"]:
        x, log_slope = LAYERS[layer["kind"]][0](layer, x, context)
        total = total + xp.sum(log_slope, axis=1)
    return x, total


def flow_forward(part: Any, z: Array, context: Array | None) -> Array:
    """Return x (N, E): latent to data."""
    for layer in reversed(part["layers"]):
        z = LAYERS[layer["kind"]][1](layer, z, context)
    return z


def made_inverse(layer: Any, x: Array, context: Array | None) -> tuple[Array, Array]:
    """Return z_i = T^-1(x_i; h_i(x_<i)) and log dz_i/dx_i: one pass of the network."""
    inverse = TRANSFORMERS[layer["transformer"]["kind"]][0]
    return inverse(layer["transformer"], x, raw_of(layer, x, context))


def made_forward(layer: Any, z: Array, context: Array | None) -> Array:
    """Return x_i = T(z_i; h_i(x_<i)): after pass k, the first k coordinates are right."""
    forward, x = TRANSFORMERS[layer["transformer"]["kind"]][1], xp.zeros_like(z)
    for _ in range(z.shape[1]):
        x = forward(layer["transformer"], z, raw_of(layer, x, context))
    return x


def coupling_inverse(layer: Any, x: Array, context: Array | None) -> tuple[Array, Array]:
    """Return z_b = T^-1(x_b; h(x_a)) and log dz/dx; the coordinates a stay."""
    stay = x[:, layer["stay"]]
    inverse = TRANSFORMERS[layer["transformer"]["kind"]][0]
    changed, log_slope = inverse(
        layer["transformer"], x[:, layer["change"]], raw_of(layer, stay, context)
    )
    return xp.concatenate([stay, changed], axis=1)[:, layer["back"]], log_slope


def coupling_forward(layer: Any, z: Array, context: Array | None) -> Array:
    """Return x_b = T(z_b; h(z_a)), where z_a = x_a."""
    stay = z[:, layer["stay"]]
    forward = TRANSFORMERS[layer["transformer"]["kind"]][1]
    changed = forward(layer["transformer"], z[:, layer["change"]], raw_of(layer, stay, context))
    return xp.concatenate([stay, changed], axis=1)[:, layer["back"]]


def scale_inverse(layer: Any, x: Array, context: Array | None) -> tuple[Array, Array]:
    """Return z = (x - t) exp(-s) and log dz/dx, a fixed t and s for each coordinate."""
    return (x - layer["shift"]) * xp.exp(-layer["log_scale"]), -layer["log_scale"] + 0.0 * x


def scale_forward(layer: Any, z: Array, context: Array | None) -> Array:
    """Return x = z exp(s) + t."""
    return z * xp.exp(layer["log_scale"]) + layer["shift"]


def raw_of(layer: Any, x: Array, context: Array | None) -> Array:
    """Return the P numbers for each coordinate to change, (P, N, E): a network's outputs.

    The network's weights are zero where an autoregressive one must not look.
    """
    h = x if context is None or not layer["context"] else xp.concatenate([x, context], axis=1)
    *inner, last = layer["net"]
    for one in inner:
        h = ACTIVATIONS[layer["activation"]](h @ one["weight"] + one["bias"])
    h = h @ last["weight"] + last["bias"]
    size = layer["transformer"]["size"]
    width = h.shape[1] // size
    return xp.stack([h[:, k * width : (k + 1) * width] for k in range(size)], axis=0)


LAYERS = {
    "made": (made_inverse, made_forward),
    "coupling": (coupling_inverse, coupling_forward),
    "scale": (scale_inverse, scale_forward),
}


# Maps of one coordinate, with parameters from a network -------------------------------------


def additive_inverse(about: Any, x: Array, raw: Array) -> tuple[Array, Array]:
    """Return z = x - t and log dz/dx = 0."""
    return x - raw[0], 0.0 * x


def additive_forward(about: Any, z: Array, raw: Array) -> Array:
    """Return x = z + t."""
    return z + raw[0]


def affine_inverse(about: Any, x: Array, raw: Array) -> tuple[Array, Array]:
    """Return z = (x - t) exp(-s) and log dz/dx = -s."""
    log_scale = log_scale_of(about, raw[1])
    return (x - raw[0]) * xp.exp(-log_scale), -log_scale


def affine_forward(about: Any, z: Array, raw: Array) -> Array:
    """Return x = z exp(s) + t."""
    return z * xp.exp(log_scale_of(about, raw[1])) + raw[0]


def log_scale_of(about: Any, raw: Array) -> Array:
    """Return the log-scale s of a raw number: bounded, by a tanh, by a sigmoid, or itself."""
    if about["scale"] == "bounded":
        return raw / xp.sqrt(1 + (raw / about["bound"]) ** 2)
    if about["scale"] == "tanh":
        return about["factor"] * xp.tanh(raw)
    return softplus(-(raw + about["offset"])) if about["scale"] == "sigmoid" else raw


def spline_inverse(about: Any, x: Array, raw: Array) -> tuple[Array, Array]:
    """Return z = g(x) and log g'(x): rational-quadratic in [-B, B], the identity outside."""
    inside = xp.abs(x) < about["bound"]
    v = xp.where(inside, x, 0.0)
    knots, heights, s, d = knots_of(about, raw)
    (left, right, low, high), (s, d0, d1) = bin_of(v, knots, heights, s, d)
    a, b = (v - left) / (right - left), (right - v) / (right - left)
    z = low + (high - low) * a * (s * a + d0 * b) / (s * (a * a + b * b) + (d0 + d1) * a * b)
    return xp.where(inside, z, x), xp.where(inside, log_slope_in_bin(a, b, s, d0, d1), 0.0)


def spline_forward(about: Any, z: Array, raw: Array) -> Array:
    """Return x = g^-1(z): a quadratic equation for a : b, in sums of positive terms."""
    inside = xp.abs(z) < about["bound"]
    v = xp.where(inside, z, 0.0)
    knots, heights, s, d = knots_of(about, raw)
    (left, right, low, high), (s, d0, d1) = bin_of(v, heights, knots, s, d)
    a, b = (v - left) / (right - left), (right - v) / (right - left)
    c = b * d0 - a * d1
    outer = xp.sqrt(c * c + 4 * a * b * s * s) + xp.abs(c)
    one, other = xp.where(c < 0, outer, 2 * a * s), xp.where(c < 0, 2 * b * s, outer)
    return xp.where(inside, low + (high - low) * one / (one + other), z)


def knots_of(about: Any, raw: Array) -> tuple[Array, Array, Array, Array]:
    """Return (x_k, y_k, s_k, d_k): knots, mean slopes of bins, slopes at knots; axis 0 is k."""
    bins, bound = about["bins"], about["bound"]
    ends = bound * xp.ones_like(raw[:1])
    knots, parts = [], []
    for some, least in (
        (raw[:bins], about["min_width"]),
        (raw[bins : 2 * bins], about["min_height"]),
    ):
        weights = xp.exp(some - xp.amax(some, axis=0))
        part = least + (1 - bins * least) * (weights / xp.sum(weights, axis=0))
        inner = bound * (2 * xp.cumsum(part, axis=0)[:-1] - 1)
        knots.append(xp.concatenate([-ends, inner, ends], axis=0))
        parts.append(part)
    least, one = about["min_slope"], xp.ones_like(raw[:1])
    slopes = least + softplus(raw[2 * bins :] + math.log(math.expm1(1 - least)))
    return (*knots, parts[1] / parts[0], xp.concatenate([one, slopes, one], axis=0))


def bin_of(v: Array, ends: Array, others: Array, s: Array, d: Array) -> tuple[Any, Any]:
    """Return the knots of the bin of v among ``ends``, in both, and its s, d0, d1."""
    below = xp.concatenate([xp.ones_like(ends[:1]), 1.0 * (v >= ends[1:-1])], axis=0)
    above = xp.concatenate([below[1:], xp.zeros_like(ends[:1])], axis=0)
    own = below - above  # 1 in the bin that holds v

    def pick(values):
        return xp.sum(values * own, axis=0)

    places = pick(ends[:-1]), pick(ends[1:]), pick(others[:-1]), pick(others[1:])
    return places, (pick(s), pick(d[:-1]), pick(d[1:]))


def log_slope_in_bin(a: Array, b: Array, s: Array, d0: Array, d1: Array) -> Array:
    """Return log q / m^2, with q = d1 a^2 + 2 s a b + d0 b^2, m = a^2 + b^2 + (d0 + d1) a b / s.

    Near 1 by log1p of the difference, in which no 1 cancels.
    """
    q = d1 * a * a + 2 * s * a * b + d0 * b * b
    m = a * a + b * b + (d0 + d1) * a * b / s
    e = ((d0 - s) + (d1 - s)) * a * b / s
    above = (d1 - 1) * a * a + 2 * (s - 1) * a * b + (d0 - 1) * b * b - e * (2 + e)
    far = (q / (m * m) < 0.5) | (m > 2.0**30)
    near = xp.log1p(xp.where(far, 0.0, above / (m * m)))
    return xp.where(far, xp.log(q) - 2 * xp.log(m), near)


TRANSFORMERS = {
    "additive": (additive_inverse, additive_forward),
    "affine": (affine_inverse, affine_forward),
    "spline": (spline_inverse, spline_forward),
}


# Small functions ----------------------------------------------------------------------------


def softplus(x: Array) -> Array:
    """Return log(1 + e^x); elementwise."""
    return xp.logaddexp(x, xp.zeros_like(x))


def relu(x: Array) -> Array:
    """Return max(x, 0); elementwise."""
    return xp.clip(x, 0.0, None)


ACTIVATIONS = {"tanh": lambda x: xp.tanh(x), "relu": relu, "softplus": softplus}


def log_sum(x: Array) -> Array:
    """Return log sum exp over the last axis."""
    most = xp.amax(x, axis=-1)
    most = xp.where(most > -math.inf, most, 0.0)
    return most + xp.log(xp.sum(xp.exp(x - most[..., None]), axis=-1))


def log_normalised(x: Array) -> Array:
    """Return x less its log_sum: logarithms of shares along the last axis."""
    return x - log_sum(x)[..., None]


def choose(log_weights: Array, p: Array) -> Array:
    """Return a place for each row of log-weights (N, K), by a number between 0 and 1, (N,)."""
    edges = xp.cumsum(xp.exp(log_normalised(log_weights)), axis=1)
    return xp.sum(p[:, None] * edges[:, -1:] >= edges[:, :-1], axis=1)


def whole(x: Array) -> Array:
    """Return whole numbers as integers, which can be places in an array."""
    return x.astype(int) if hasattr(x, "astype") else x.long()


def take(values: Array, place: Array) -> Array:
    """Return the entry of each row (N, K) at its place (N, 1)."""
    if hasattr(values, "gather"):
        return values.gather(1, place)[:, 0]
    return xp.take_along_axis(values, place, axis=1)[:, 0]


def t_below(t: Array) -> Array:
    """Return P(T < t) of Student t with 4 degrees of freedom, t at most about 0; elementwise.

    (1 + s)^2 (2 - s) / 4 with s = t / sqrt(4 + t^2), and 1 + s without cancellation.
    """
    s = t / xp.sqrt(4 + t * t)
    above = xp.where(t < 0, 4 / (4 + t * t) / (1 - xp.where(t < 0, s, 0.0)), 1 + s)
    return above * above * (2 - s) / 4


def t_quantile(p: Array) -> Array:
    """Return the t with P(T < t) = p, 4 degrees of freedom; elementwise."""
    root = xp.sqrt(4 * p * (1 - p))
    return 2 * xp.sign(p - 0.5) * xp.sqrt(xp.cos(xp.arccos(root) / 3) / root - 1)


def normal_quantile(p: Array) -> Array:
    """Return the z with P(Z < z) = p of a standard normal; elementwise.

    Wichura's algorithm AS 241 (1988), as in the module statistics: three rational functions.
    """
    q = p - 0.5
    tail = xp.where(xp.abs(q) <= 0.425, 0.25, xp.where(q < 0, p, 1 - p))
    r = xp.sqrt(-xp.log(tail))
    middle = q * _ratio(0.180625 - xp.where(xp.abs(q) <= 0.425, q, 0.0) ** 2, *CENTRAL)
    far = xp.where(r <= 5, _ratio(r - 1.6, *MIDDLE), _ratio(r - 5.0, *FAR))
    return xp.where(xp.abs(q) <= 0.425, middle, xp.sign(q) * far)


def _ratio(r, above, below):
    """Return the ratio of two polynomials, whose first coefficients are those of the highest."""
    top = bottom = 0.0
    for one, other in zip(above, below):
        top, bottom = top * r + one, bottom * r + other
    return top / bottom


def _coefficients(text):
    """Return the rows of numbers of a text."""
    return [list(map(float, row.split())) for row in text.split(";")]


CENTRAL = _coefficients(
    "2509.0809287301227 33430.57558358813 67265.7709270087 45921.95393154987 "
    "13731.69376550946 1971.5909503065513 133.14166789178438 3.3871328727963665 ; "
    "5226.495278852854 28729.085735721943 39307.89580009271 21213.794301586597 "
    "5394.196021424751 687.1870074920579 42.31333070160091 1.0"
)
MIDDLE = _coefficients(
    "0.0007745450142783414 0.022723844989269184 0.2417807251774506 1.2704582524523684 "
    "3.6478483247632045 5.769497221460691 4.630337846156546 1.4234371107496835 ; "
    "1.0507500716444169e-09 0.0005475938084995345 0.015198666563616457 0.14810397642748008 "
    "0.6897673349851 1.6763848301838038 2.053191626637759 1.0"
)
FAR = _coefficients(
    "2.0103343992922881e-07 2.7115555687434876e-05 0.0012426609473880784 0.026532189526576124 "
    "0.29656057182850487 1.7848265399172913 5.463784911164114 6.657904643501103 ; "
    "2.0442631033899397e-15 1.421511758316446e-07 1.8463183175100548e-05 0.0007868691311456133 "
    "0.014875361290850615 0.1369298809227358 0.599832206555888 1.0"
)


# The weights ----------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    """Return the model: nested dicts and lists of arrays of xp."""
    beside = ABOUT.get("beside")
    if beside is None:
        data = base64.b64decode(WEIGHTS)
    else:
        try:
            data = Path(__file__).with_name(beside).read_bytes()
        except OSError as error:
            raise ValueError(f"{beside}: expected the weights, got {error.strerror}") from None
    if CHECKSUM is None:  # no model yet
        return {"members": []}
    found = hashlib.sha256(data).hexdigest()
    if found != CHECKSUM:
        name = beside or "WEIGHTS"
        raise ValueError(f"{name}: expected the checksum {CHECKSUM[:16]}..., got {found[:16]}...")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        named = dict(arrays)
    return _built(json.loads(named.pop("model").tobytes()), named)


def _built(part, arrays):
    """Return a part of the model; floats become arrays of xp, whole numbers stay NumPy's."""
    if isinstance(part, list):
        return [_built(one, arrays) for one in part]
    if not isinstance(part, dict):
        return part
    if "array" in part:
        array = arrays[part["array"]]
        return xp.asarray(array.astype(np.float64)) if array.dtype.kind == "f" else array
    return {name: _built(one, arrays) for name, one in part.items()}


def test() -> int:
    """Print the worst error of the golden rows, and return 1 if it is too large, else 0."""
    expected = MODEL["golden_scores"]
    found = log_prob(MODEL["golden_rows"])
    with np.errstate(invalid="ignore"):
        error = np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    worst = np.max(np.where(same, 0.0, np.where(np.isnan(error), math.inf, error)))
    print(f"{len(expected)} rows: worst error {worst:.2g}, allowed {TOLERANCE:.2g}")
    return int(worst > TOLERANCE)


WEIGHTS = """"""

try:
    MODEL = load()
except ValueError as problem:
    if __name__ != "__main__":
        raise
    sys.exit(f"{Path(__file__).name}: {problem}")

if __name__ == "__main__":
    if sys.argv[1:] != ["--test"]:
        print(f"usage: python {Path(__file__).name} --test", file=sys.stderr)
        sys.exit(2)
    sys.exit(test())
