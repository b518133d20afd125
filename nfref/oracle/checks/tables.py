"""Properties of the density of a table: categories and factors.

:mod:`nfref.oracle.checks.refit_invariance` checks fits to changed tables.
"""

import itertools
import pickle
from dataclasses import replace

import numpy as np

from nfref.oracle.adapters.estimator_protocol import parameters_of
from nfref.oracle.adapters.estimators import Estimator
from nfref.oracle.checks.array_contract import last_finite
from nfref.oracle.checks.normalisation import MISTAKES
from nfref.oracle.instruments.importance import BERNSTEIN, SIGMAS
from nfref.oracle.report import Row, failed, held, judged, not_applicable, passed, show
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence

TABLE_PROPERTIES = {
    "rows_of_table": "every row of the table has a finite log-density, the same among few and many",
    "higher_at_rows": "rows of the table are more probable than rows far away from them",
    "far_out": "far from the table log p is no nan and does not underflow",
    "categories": "discrete columns: samples have the table's values, as often as log p says",
    "chain_rule": "log p is the sum of its factors in the order of columns that was asked for",
    "pickled": "after pickling the answers are the same",
    "units": "a column times c moves log p by -log c",
    "weights": "two equal rows count as one row of weight two",
}

MISSED = 0.01  # largest share of samples with values that no row of the table has
LOWEST = {"float64": -700.0, "float32": -80.0}  # the log of a number that is about to underflow


def rows_of_table(name: str, log_prob: Callable, table: Array) -> Row:
    """Check that every row of the table has a finite log-density, the same among few and many.

    Here discrete columns differ from row to row; the checks of a density keep or sum them out.
    """
    found = log_prob(table)
    for k in np.flatnonzero(~np.isfinite(found)):
        where = f"log p is {found[k]} at row {k}, {show(table[k])}"
        return failed(name, f"{len(table)} rows", where)
    for few in (1, 5):
        again = log_prob(table[:few])
        for k in np.flatnonzero(~np.isclose(again, found[:few], rtol=1e-4, atol=1e-4)):
            where = f"log p of row {k}, {show(table[k])}, is {found[k]:.6g} among {len(table)} "
            where += f"rows and {again[k]:.6g} among {few}"
            return failed(name, f"{len(table)} rows", where)
    return passed(name, f"{len(table)} rows")


def _far(rng, table, free, distances):
    """Return rows of the table, and rows at these distances from them in the ``free`` columns."""
    spread = np.where(free, np.std(table, axis=0), 0.0)
    direction = rng.standard_normal((len(distances), table.shape[1]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    start = table[rng.integers(len(table), size=len(distances))]
    return start, start + np.asarray(distances)[:, None] * direction * spread


def higher_at_rows(name: str, log_prob: Callable, table: Array, free: Array, rng: Generator) -> Row:
    """Check that the density is higher in the table than all around it."""
    _, far = _far(rng, table, free, np.repeat([10.0, 20.0, 30.0], 20))
    near, away = np.median(log_prob(table)), np.median(log_prob(far))
    why = f"median log p of the table {near:.4g}, 10 to 30 standard deviations away {away:.4g}"
    words = "the density is lower at the table than far away: is log p negated, or p inverted?"
    return judged(name, why, words, float(max(away - near, 0)), 0.0)


def far_out(
    name: str,
    log_prob: Callable,
    table: Array,
    free: Array,
    rng: Generator,
    estimator: Estimator,
    dtype: np.dtype[Any],
) -> Row:
    """Check that far from the table log p is no nan and does not underflow."""
    start, far = _far(rng, table, free, np.repeat([5.0, 30.0, 100.0, 1e4], 4))
    found = log_prob(far)
    for k in np.flatnonzero(~np.isfinite(found)):
        if found[k] != -np.inf:
            where = f"log p is {found[k]} at {show(far[k])}"
            return failed(name, "log p is neither nan nor +inf", where)
        way = far[k] - start[k]
        last = last_finite(lambda t, k=k, way=way: log_prob((start[k] + t * way)[None]))[1][0]
        overflows = last < -(float(np.finfo(dtype).max) ** 0.9)  # -inf is log p, rounded
        if last < LOWEST[dtype.name] and not overflows and not estimator.of_probabilities:
            where = f"log p falls to {last:.4g} and is -inf at {show(far[k])}"
            return failed(name, "the logarithm of a probability that underflows", where)
    zero = np.sum(found == -np.inf)
    note = f"; the density is zero at {zero} of them" if zero else ""
    return passed(name, f"{len(far)} rows up to 10,000 standard deviations away{note}")


def categories(
    name: str,
    table: Array,
    samples: Array,
    discrete: Sequence[int],
    levels: dict[int, Array],
    log_prob: Callable,
) -> Row:
    """Check that values of discrete columns occur as often as the table and log p say.

    If rows (x, v) follow p, [v = k] - p(v = k | x) has mean zero for each k. So has its product
    with any bounded function of x, such as the side of each other column's median. A sampled value
    that no row of the table has is no fault if log p gives it that probability.
    """
    strange = ""
    for column in discrete:
        known, sampled = np.unique(table[:, column]), samples[:, column]
        new = ~np.isin(sampled, known)
        if np.mean(new) > MISSED + 21 / len(table):
            strange = f"column {column}: samples have {sampled[new][0]:.6g}, which is not among "
            strange += f"its values {show(known)}"
        both = np.union1d(known, np.unique(sampled))
        of_table = np.array([np.mean(table[:, column] == value) for value in both])
        of_samples = np.array([np.mean(sampled == value) for value in both])
        apart = [0.5 * np.sum(np.abs(np.roll(of_samples, k) - of_table)) for k in (0, 1, -1)]
        chance = 2 * np.sqrt(len(both) / len(table))
        if apart[0] > 0.1 + chance and min(apart[1:]) < 0.25 * apart[0]:
            where = f"off by one: {show(of_samples)} of the samples, {show(of_table)} of the table"
            return failed(name, f"column {column}: the share of each value", where)
    some = samples[:2000]
    options = combinations(levels, discrete)
    terms = np.stack([log_prob(_with(some, discrete, one)) for one in options], axis=1)
    hit = np.all(some[:, None, list(discrete)] == options, axis=2)
    others = np.delete(some, list(discrete), axis=1)
    sides = np.sign(others - np.median(others, axis=0))
    sides = np.concatenate([np.ones((len(some), 1)), sides], axis=1)

    def compared(terms):
        """Return the shares by log p, and how far each is from that of the samples."""
        share = np.exp(terms - np.logaddexp.reduce(terms, axis=1)[:, None])
        spread = np.sqrt(np.mean(share * (1 - share), axis=0) / len(some)) + BERNSTEIN / len(some)
        return share, np.abs(sides.T @ (hit - share)) / len(some) / spread

    share, z = compared(terms)
    side, k = np.unravel_index(np.argmax(z), z.shape)
    why = f"shares of {len(options)} values in {len(some)} samples, against log p"
    why += f"; {strange}" * bool(strange)
    if not z[side, k] < SIGMAS:
        kept = sides[:, side] > 0
        beside = np.delete(np.arange(table.shape[1]), list(discrete))
        words = f", where column {beside[side - 1]} is above its median" if side else ""
        where = f"{strange}; " * bool(strange) + f"{show(options[k])}: {np.mean(hit[kept, k]):.4f} "
        where += f"of the samples, {np.mean(share[kept, k]):.4f} by log p{words}"
        row = failed(name, why, where, float(z[side, k]), SIGMAS)
        for words, undone in MISTAKES.items():
            with np.errstate(all="ignore"):
                fits = np.max(compared(undone(terms, table.shape[1]))[1]) < SIGMAS
            if fits:
                return replace(row, hint=f"log_prob is {words}")
        return row
    return passed(name, why, float(z[side, k]), SIGMAS)


def combinations(levels: dict[int, Array], discrete: Sequence[int]) -> Array:
    """Return (K, discrete columns): every combination of the columns' ``levels``."""
    return np.array(list(itertools.product(*(levels[column] for column in discrete))))


def _with(rows, columns, values):
    rows = rows.copy()
    rows[:, list(columns)] = values
    return rows


def chain_rule(name: str, estimator: Estimator, table: Array) -> Row:
    """Check that log p is the sum of log p(column | columns before it), for every order."""
    if estimator.conditional is None:
        return not_applicable(name, "no conditional densities are offered")
    rows, worst, natural = table[:50], 0.0, tuple(range(table.shape[1]))
    orders, takes_order = [estimator.order or natural], "order" in parameters_of(estimator.log_prob)
    if takes_order:
        orders = [natural, natural[::-1], natural[1:] + natural[:1]]
    for order in orders:
        given = {"order": order} if takes_order else {}
        joint = estimator.log_prob(rows, **given)
        given = [estimator.conditional(rows, column, order[:k]) for k, column in enumerate(order)]
        factors = np.array(given, dtype=float)
        total = np.sum(factors, axis=0)
        error = np.abs(np.asarray(joint, dtype=float) - total) / (1 + np.abs(total))
        k = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
        if not error[k] < 1e-5:
            words = f"log p {joint[k]:.8g}, its factors add up to {total[k]:.8g}"
            for column in range(len(order)):
                other = total - factors[0] + estimator.conditional(rows, column, ())
                if np.allclose(joint, other, rtol=1e-5):
                    words += f"; the first factor is that of column {column}, not of {order[0]}"
            where = f"{words}, at {show(rows[k])}"
            return failed(name, f"order {list(order)}", where, float(error[k]), 1e-5)
        worst = max(worst, float(error[k]))
    return passed(name, f"{len(orders)} orders of {table.shape[1]} columns", worst, 1e-5)


def pickled(name: str, estimator: Estimator, table: Array, remake: Callable) -> Row:
    """Check that an estimator gives the same answers after pickling."""
    if estimator.object is None:
        return not_applicable(name, "functions are not pickled")
    try:
        again = pickle.loads(pickle.dumps(estimator.object))
    except Exception as error:
        return not_applicable(name, f"cannot be pickled: {type(error).__name__}")
    before, after = (np.asarray(one.log_prob(table)) for one in (estimator, remake(again)))
    k = int(np.argmax(before != after))
    where = f"log p was {before[k]:.12g} and is {after[k]:.12g} at {show(table[k])}"
    equal = np.array_equal(before, after, equal_nan=True)
    return held(name, f"{len(table)} rows, to the bit", "" if equal else where)
