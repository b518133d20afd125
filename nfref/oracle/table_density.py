"""check_estimator_density: check the density of a table, whatever fitted it.

:func:`nfref.oracle.check_density` checks the density of the continuous columns, in units in which
the table has about mean zero and width one. Discrete columns are summed out.
:mod:`nfref.oracle.checks.tables` and :mod:`nfref.oracle.checks.refit_invariance` check what a table
has beyond rows of numbers: units, categories, orders of columns, weights and fits. Their rows stand
first in the report, because they name causes.
"""

import re
from dataclasses import replace
from functools import partial

import numpy as np

from nfref.oracle.adapters.estimator_protocol import as_numbers
from nfref.oracle.adapters.estimators import estimator
from nfref.oracle.checks import refit_invariance, tables
from nfref.oracle.checks.base_check import checked_setting, checked_skip, reported
from nfref.oracle.checks.constants import NEAR, nearest
from nfref.oracle.checks.density import check_density
from nfref.oracle.checks.properties import DENSITY_PROPERTIES
from nfref.oracle.checks.sampler import affordable
from nfref.oracle.checks.tables import TABLE_PROPERTIES
from nfref.oracle.instruments.guarded_calls import CallFailed, StillRunning, Stopwatch, in_time
from nfref.oracle.instruments.importance import BERNSTEIN, SIGMAS
from nfref.oracle.instruments.probes import Box, as_domain
from nfref.oracle.instruments.units import InUnits, units_of
from nfref.oracle.report import Report, Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Any, Array, Callable, Generator, Iterator, Sequence

MOST_VALUES = 200  # combinations of discrete values in the sum for each row
# Estimators may refuse a batch of no rows, and answer in a dtype of their own.
NOT_ASKED = ("empty_batch", "sample_empty", "dtypes", "parameters_unchanged")
UNSEEDED = ("sample_repeatable", "sample_generator")


def check_estimator_density(
    thing: Any,
    table: Array | None = None,
    *,
    rng: Generator,
    discrete: Sequence[int] | None = None,
    refit: bool = True,
    seconds: float = 20.0,
    skip: Sequence[str] = (),
    stop_early: bool = False,
    subject: str | None = None,
) -> Report:
    """Check an estimator, a distribution or functions that give log p of rows.

    >>> import numpy as np
    >>> from scipy import stats
    >>> from nfref.oracle import check_estimator_density
    >>> check_estimator_density(stats.norm(3, 20), rng=np.random.default_rng(0)).ok
    True

    Parameters
    ----------
    thing : object
        An estimator, a distribution, a copula, a chain of conditional densities, or functions:
        :mod:`nfref.oracle.adapters.estimators` lists what is understood.
    table : (N, D) array, optional
        Rows to which it was fitted, or to which a copy will be fitted. If omitted, samples of it.
    rng : numpy.random.Generator
    discrete : sequence of int, optional
        Columns whose values have probabilities. If omitted, columns of whole numbers, both in
        the table and among the samples.
    refit : bool
        True to fit copies to changed tables, of at most 400 rows.
    seconds : float
        Time for one property.
    skip : sequence of str
        Names of properties to leave out (:data:`nfref.oracle.TABLE_PROPERTIES` and
        :data:`nfref.oracle.DENSITY_PROPERTIES`).
    stop_early : bool
        True to stop at the first failure.
    subject : str, optional

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If an argument of the oracle itself is wrong.
    """
    skip = checked_skip(skip, {**TABLE_PROPERTIES, **DENSITY_PROPERTIES})
    checked_setting(1, rng, seconds, np.float64, None)
    if table is not None:
        table = np.asarray(table)
        numbers = table.dtype.kind in "fiub" and np.all(np.isfinite(table))
        if not numbers or table.ndim != 2 or len(table) < 20:
            words = "expected at least 20 rows (N, D) of finite numbers"
            raise ValueError(f"table: {words}, got {table.dtype} of shape {table.shape}")
        table = table.astype(np.float64)
    found = estimator(thing, table)
    if table is None:
        if found.sample is None:
            raise ValueError("table: expected rows, because there is no sampler, got None")
        table = np.asarray(found.sample(rng, 1000), dtype=np.float64)
    check = _Check(found, table, rng, discrete, refit, Stopwatch(seconds), skip, stop_early)
    name = subject or getattr(type(thing), "__name__", "density")
    name = f"{name}, {len(table)} rows, D = {table.shape[1]}"
    return reported(name, check.rows(), skip, stop_early)


class _Check:
    """One run of check_estimator_density."""

    def __init__(self, found, table, rng, discrete, refit, stopwatch, skip, stop_early):
        self.estimator, self.table, self.rng = found, table, rng
        self.stopwatch, self.skip, self.stop_early = stopwatch, skip, stop_early
        dim = table.shape[1]
        self.box: Any = as_domain("domain", found.domain, dim)
        answer = as_numbers(found.log_prob(table[:2]))
        self.dtype = np.dtype(np.float32 if answer.dtype == np.float32 else np.float64)
        self.samples = np.zeros((0, dim))
        if found.sample is not None:
            count = affordable(partial(found.sample, rng))
            drawn = np.asarray(found.sample(rng, count), dtype=np.float64)
            if drawn.ndim == 2 and drawn.shape[1] == dim:
                self.samples = drawn[np.isfinite(drawn).all(axis=1)]
        self.discrete = tuple(self._whole() if discrete is None else discrete)
        for column in self.discrete:
            if not (isinstance(column, (int, np.integer)) and 0 <= column < dim):
                raise ValueError(f"discrete: expected columns from 0 to {dim - 1}, got {column!r}")
        self.continuous = [column for column in range(dim) if column not in self.discrete]
        # Values of discrete columns: those of the table and of the samples.
        both = np.concatenate([table, self.samples])
        self.levels = {column: np.unique(both[:, column]) for column in self.discrete}
        self.refit = refit

    def _whole(self):
        """Return the columns of whole numbers, both in the table and among the samples."""
        whole = [np.all(rows == np.round(rows), axis=0) for rows in (self.table, self.samples)]
        return np.flatnonzero(whole[0] & whole[1]) if len(self.samples) else []

    def log_prob(self, rows: Array) -> Array:
        """Return float64 log-densities of rows (N, D)."""
        found = as_numbers(self.estimator.log_prob(rows)).astype(np.float64)
        if found.shape != (len(rows),):
            raise ValueError(f"expected log p of shape ({len(rows)},), got {found.shape}")
        return found

    def rows(self) -> Iterator[Row]:
        """Yield all rows, causes first."""
        table, rng, found, log_prob = self.table, self.rng, self.estimator, self.log_prob
        some = table[:1000]
        free = np.isinf(self.box.lower) & np.isinf(self.box.upper)
        free[list(self.discrete)] = False
        yield self.timed("rows_of_table", tables.rows_of_table, log_prob, some)
        if np.any(free):
            yield self.timed("higher_at_rows", tables.higher_at_rows, log_prob, some, free, rng)
            given = log_prob, some, free, rng, found, self.dtype
            yield self.timed("far_out", tables.far_out, *given)
        if self.discrete and len(self.samples) and self.summable:
            given = table, self.samples, self.discrete, self.levels, log_prob
            yield self.timed("categories", tables.categories, *given)
        yield self.timed("chain_rule", tables.chain_rule, found, some)
        yield self.timed("pickled", tables.pickled, found, some[:50], estimator)
        if self.refit:
            yield from self.fitted_again(free)
        if self.discrete and (not self.continuous or not self.summable):
            yield self.timed("normalised", self.sum_of_probabilities)
        yield from self.as_density()

    def timed(self, name: str, judge: Callable, *arguments: Any) -> Row:
        """Return the row of a property, judged within the time budget."""
        if name in self.skip:
            return not_applicable(name, "skipped")
        self.stopwatch.restart()
        try:
            return in_time(judge, (name, *arguments), self.stopwatch.left())
        except StillRunning as error:
            self.stopwatch.running += error.calls
            why = f"not judged within {self.stopwatch.seconds:g} s; seconds= gives it more"
            return inconclusive(name, why)
        except CallFailed as error:
            return failed(name, "no answer", str(error))

    def fitted_again(self, free: Array) -> Iterator[Row]:
        """Yield the rows on fits to changed tables."""
        judges = {"units": refit_invariance.units, "weights": refit_invariance.weights}
        if set(judges) <= set(self.skip):
            return
        fits = refit_invariance.Fits(self.estimator, self.table, free, self.rng)
        first = self.timed("first fit", fits.comparable)
        for name, judge in judges.items():
            apart = first.verdict != "pass"
            yield replace(first, name=name) if apart else self.timed(name, judge, fits)

    # Discrete columns -----------------------------------------------------------------------

    @property
    def summable(self) -> bool:
        """True when the combinations of discrete values are few enough to be summed over."""
        count = np.prod([len(self.levels[column]) for column in self.discrete])
        return bool(count <= (MOST_VALUES if self.continuous else 20000))

    def sum_of_probabilities(self, name: str) -> Row:
        """Check that the probabilities of all discrete values sum to one."""
        if not self.summable:
            return inconclusive(name, "too many combinations of discrete values to be summed")
        options = tables.combinations(self.levels, self.discrete)
        total = float(np.sum(np.exp(self.log_prob(options))))
        why = f"sum of the probabilities of {[len(self.levels[k]) for k in self.discrete]} values"
        if not 1 - self.hidden - 1e-5 < total < 1 + 1e-5:
            return failed(name, why, f"they add up to {total:.8g}", abs(total - 1), 1e-5)
        return passed(name, why, abs(total - 1), self.hidden)

    @property
    def hidden(self) -> float:
        """The mass that values may have that did not occur.

        It is the share of the values that occurred once (Good and Turing), with an allowance for
        chance.
        """
        seen = np.concatenate([self.table, self.samples]) if len(self.samples) else self.table
        _, counts = np.unique(seen[:, list(self.discrete)], axis=0, return_counts=True)
        once = np.sum(counts == 1)
        return (once + SIGMAS * np.sqrt(once + 1) + 3 * BERNSTEIN) / len(seen)

    def summed(self, rows: Array) -> Array:
        """Return log p of the continuous columns, with the discrete ones summed out."""
        options = tables.combinations(self.levels, self.discrete)
        whole = np.empty((len(rows), len(options), self.table.shape[1]))
        whole[:, :, self.continuous] = rows[:, None]
        whole[:, :, list(self.discrete)] = options
        found = self.log_prob(whole.reshape(-1, whole.shape[2]))
        return np.logaddexp.reduce(found.reshape(len(rows), -1), axis=1)

    def beside_each_other(self, rows: Array) -> Array:
        """Return log p of rows whose discrete columns hold positions among their values."""
        whole = rows.copy()
        for column in self.discrete:
            values = self.levels[column]
            whole[:, column] = values[np.clip(rows[:, column], 0, len(values) - 1).astype(int)]
        return self.log_prob(whole)

    # As a density of continuous columns -----------------------------------------------------

    def as_density(self) -> Iterator[Row]:
        """Yield the rows of check_density."""
        columns = list(range(self.table.shape[1]))
        log_prob, left_out = self.estimator.log_prob, {*NOT_ASKED, *self.skip}
        box, table = self.box, self.table
        if self.discrete and self.continuous and self.summable:
            log_prob, columns = self.summed, self.continuous
        elif self.discrete:
            log_prob = self.beside_each_other
            left_out |= {"normalised", "sample_follows"}
            low, high = box.lower.copy(), box.upper.copy()
            for column in self.discrete:
                low[column], high[column] = 0.0, len(self.levels[column])
            box = Box(low, high)
        box = Box(box.lower[columns], box.upper[columns])
        inner = InUnits(log_prob, *units_of(table[:, columns], box))
        if np.any(np.spacing(np.abs(inner.center)) > 1e-11 * inner.scale):
            left_out.add("precision")  # a step of 1e-9 of a unit may round back
        sample = None if self.estimator.sample is None else self.sampler(inner, columns)
        if not (self.estimator.seeded and sample is not None):
            left_out |= set(UNSEEDED)
        report = check_density(
            inner,
            sample,
            dim=len(columns),
            rng=self.rng,
            dtype=self.dtype,
            domain=(inner.of(box.lower), inner.of(box.upper)),
            support=self.support(inner, table[:, columns], box),
            seconds=self.stopwatch.seconds,
            skip=tuple(left_out & set(DENSITY_PROPERTIES)),
            stop_early=self.stop_early,
        )
        yield from map(self.explained, report.rows)

    def support(self, inner: InUnits, table: Array, box: Box) -> Callable | None:
        """Return a function that is True where log p is not -inf, or None if log p is never -inf.

        Rows far out have been judged before.
        """
        rng, some = self.rng, table[:200]
        way = rng.standard_normal((len(some), 1)) * rng.standard_normal(some.shape)
        around = some + 20 * np.std(table, axis=0) * way
        around = around[box.contains(around)]
        with np.errstate(all="ignore"):
            try:
                nowhere = inner(inner.of(around)) == -np.inf
            except Exception:  # the check reports it
                return None
        if not np.any(nowhere):
            return None
        return lambda z: inner(z) != -np.inf if len(z) else np.zeros(0, dtype=bool)

    def sampler(self, inner: InUnits, columns: list[int]) -> Callable:
        """Return a sampler in the units of ``inner``; discrete values are spread over intervals."""

        def sample(rng, n):
            found = as_numbers(self.estimator.sample(rng, n)).astype(np.float64)
            if len(columns) == found.shape[1]:
                for column in self.discrete:
                    place = np.searchsorted(self.levels[column], found[:, column])
                    found[:, column] = np.minimum(place, len(self.levels[column]) - 1)
                    found[:, column] += rng.uniform(1e-9, 1, n)
            return inner.of(found[:, columns]).astype(self.dtype)

        return sample

    def explained(self, row: Row) -> Row:
        """Return a row, with the mistake that explains its failure if one does."""
        if not row.failed:
            return row
        hint = ""
        integral = re.match(r"integrates to exp\((.*)\), not 1", row.where)
        if row.name == "normalised" and integral:
            log_z = float(integral[1])
            if self.discrete and 0 < -log_z < self.hidden:
                why = f"{row.why}; values that did not occur may hold the rest"
                return passed(row.name, why, row.error, self.hidden)
            table = self.table[:, self.continuous]
            further = {
                "log p in standardised units": float(np.sum(np.log(np.std(table, axis=0)))),
                "log of the number of rows": float(np.log(len(table))),
            }
            tolerance = max(NEAR * (row.tolerance or 0.0), 0.02)
            offset, words = nearest(log_z, table.shape[1], tolerance, further)
            hint = f"log_prob is off by {offset:.4g}{words}" if words else ""
        if row.name == "sample_follows":
            hint = self.standardised_samples()
        return replace(row, hint=hint or row.hint)

    def standardised_samples(self) -> str:
        """Return a hint if samples look standardised, unlike the table; else ""."""
        mean, spread = np.mean(self.table, axis=0), np.std(self.table, axis=0)
        far = (np.abs(mean) > 0.5 * spread) & (spread > 0) | ~((0.5 < spread) & (spread < 2))
        far[list(self.discrete)] = False
        if not (np.any(far) and len(self.samples)):
            return ""
        center, width = np.mean(self.samples, axis=0), np.std(self.samples, axis=0)
        if not np.all((np.abs(center) < 0.2) & (0.7 < width) & (width < 1.4) | ~far):
            return ""
        words = "does sample() return standardised units?"
        return f"samples have mean {show(center)}, the table {show(mean)}: {words}"
