"""check_density: check a log-density and its samples."""

from dataclasses import replace
from functools import partial

import numpy as np

from nfref.oracle.checks import context, hidden_state, knots, normalisation, sample_distribution
from nfref.oracle.checks.base_check import Check, check_callables
from nfref.oracle.checks.float64_fallback import of_densities
from nfref.oracle.checks.properties import DENSITY_PROPERTIES
from nfref.oracle.checks.sampler import Sampler
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, Subject, no_answer
from nfref.oracle.instruments.measurement import measure_direction
from nfref.oracle.instruments.probes import Box, Domain, Probes, as_domain, make_probes
from nfref.oracle.report import Report, Row, inconclusive, not_applicable
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Iterator, Sequence
from nfref.runtime.checks import check_callable


@of_densities
def check_density(
    log_prob: Callable[..., Any],
    sample: Callable[..., Any] | None = None,
    *,
    dim: int,
    rng: Generator,
    gradient: Callable[..., Any] | None = None,
    context: Array | None = None,
    dtype: DTypeLike = np.float64,
    domain: Any = None,
    support: Callable[..., Any] | None = None,
    parameters: Any = None,
    seconds: float = 20.0,
    skip: Sequence[str] = (),
    stop_early: bool = False,
    subject: str = "density",
) -> Report:
    """Check a density that is given as plain functions.

    Parameters
    ----------
    log_prob : callable
        x (N, D) -> (N,) natural logarithms; ``log_prob(x, context)`` with a context.
    sample : callable, optional
        ``sample(rng, n)`` -> (n, D); ``sample(rng, n, context)`` with n rows of context.
    dim : int
        D.
    rng : numpy.random.Generator
    gradient : callable, optional
        x (N, D) -> (N, D): the derivative of log_prob by x, as the library computes it. With a
        context ``gradient(x, context)`` may return two, the second (N, C) by the context.
    context : (M, C) array, optional
        The integral and the samples are checked for the first row, and for those that are
        farthest out, whose samples come in one batch.
    dtype : numpy dtype
        float64 or float32.
    domain : None, (lower, upper) or callable
        The domain of the density, as for :func:`check_flow`.
    support : callable, optional
        x (N, D) -> (N,) bool: the rows of the domain where the density is not zero; with a
        context it may take both. The integral calls log_prob there alone.
    parameters : nested arrays, or a function that returns them, optional
        Parameters that must be the same after all calls.
    seconds : float
        Time for one property.
    skip : sequence of str
        Names of properties to leave out (see :data:`nfref.oracle.DENSITY_PROPERTIES`). Without
        ``sample`` the report is inconclusive until "sample_follows" is skipped.
    stop_early : bool
    subject : str

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If an argument of the oracle itself is wrong.
    """
    check = _Check(dim, rng, context, dtype, support, seconds, skip, DENSITY_PROPERTIES)
    check_callable("log_prob", log_prob)
    check_callables(sample=sample, gradient=gradient, support=support)
    check.given(log_prob, sample, gradient, as_domain("domain", domain, dim))
    return check.report(subject, check.rows(), parameters, stop_early)


class _Check(Check):
    """One run of check_density."""

    def given(
        self, log_prob: Callable, sample: Callable | None, gradient: Callable | None, domain: Domain
    ) -> None:
        """Store the density and its sampler."""
        self.domain, self.gradient = domain, gradient
        self.subject = Subject("log_prob", log_prob, None, self.context, self.dtype, self.stopwatch)
        given = self.dim, self.context, self.dtype, domain, self.stopwatch
        self.sampler: Any = None if sample is None else Sampler(sample, *given)

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        samples = np.zeros((0, self.dim))
        if self.sampler is not None:
            samples = yield from self.sampler.rows(self.rng)
        subject = self.subject
        probes = yield from self.answered(subject, self.probes(samples), "", self.domain)
        if probes is None:
            return
        self.stopwatch.restart()
        try:
            measured = measure_direction(subject, self.domain, self.domain, probes)
        except NO_ANSWER as error:
            yield no_answer("finite", "no answer near points that had one", error)
            return
        yield from self.by_itself(measured)
        kinks = []
        if self.gradient is not None:
            kinks = knots.kinks_of(subject, self.domain, probes, self.rng)
        yield from self.of_its_values(measured, self.gradient, kinks)
        yield from self.as_it_is_used(measured)
        yield self.timed(hidden_state.many_calls, "history", measured, self.rng)
        yield from self.of_all_calls(subject)
        yield from self.globally(samples)

    def probes(self, samples: Array) -> Probes:
        """Return points of the domain; the bulk of a density is where its samples are."""
        probes = make_probes(self.rng, self.domain, self.dim, self.dtype, self.contexts)
        chosen, context_row = samples[:24], np.zeros(min(len(samples), 24), dtype=int)
        if len(chosen) and self.contexts > 1:
            context_row = self.rng.integers(self.contexts, size=len(chosen))
            try:
                chosen = self.sampler.draw(self.rng.spawn(1)[0], len(chosen), context_row)
            except NO_ANSWER:
                context_row[:] = 0  # another row reports the failure
        chosen = chosen.astype(self.dtype)
        kept = self.domain.contains(chosen.astype(np.float64))
        chosen, context_row, middle = chosen[kept], context_row[kept], kept[kept]
        probes = Probes(chosen, context_row, middle, ~middle).before(probes)
        return probes.only(self.supports(probes.rows, probes.context_row))

    def log_prob(self, x: Array, context_row: int = 0) -> Array:
        """Return float64 log-densities for one row of the context."""
        values, _ = self.subject(x.astype(self.dtype), np.full(len(x), context_row))
        return values[:, 0].astype(np.float64)

    def more(self, count: int, context_row: int = 0) -> Array:
        """Return about ``count`` new samples, those inside of the domain."""
        x = self.sampler.draw(self.rng.spawn(1)[0], count, np.full(count, context_row))
        x = x.astype(np.float64)
        x = x[np.isfinite(x).all(axis=1)]
        return x[self.contains(self.domain, x, context_row)]

    def globally(self, samples: Array) -> Iterator[Row]:
        """Yield the rows on the integral and the samples, for one context and then for others."""
        names = ("sample_follows", "normalised")
        if not isinstance(self.domain, Box) and self.support is None:
            why = "the domain is known by samples only; support= says where it is"
            yield from (inconclusive(name, why) for name in names)
            return
        if set(names) <= set(self.skip):
            yield from (not_applicable(name, "skipped") for name in names)
            return
        rows = self.as_a_whole(samples, 0, 1.0)
        others = context.others(self.context)
        if len(others) and self.sampler is not None and len(samples):
            each = normalisation.DRAWS // 2
            context_row = self.rng.permutation(np.repeat(others, each))
            self.stopwatch.restart()
            try:
                x = self.sampler.draw(self.rng.spawn(1)[0], len(context_row), context_row)
            except NO_ANSWER as error:
                yield no_answer("sample_follows", "no samples for several contexts", error)
                return
            x = x.astype(np.float64)
            inside = np.isfinite(x).all(axis=1)
            for k in others:
                found = self.as_a_whole(x[inside & (context_row == k)], k, 1 / len(others))
                rows = [context.worse(*pair, k) for pair in zip(rows, found)]
        yield from rows

    def is_one_for_all_contexts(self, rows: Array) -> bool:
        """Return whether log_prob does not read the context."""
        others = context.others(self.context)
        if not (len(rows) and len(others)):
            return False
        self.stopwatch.restart()
        try:
            first = self.log_prob(rows, 0)
            return all(np.array_equal(self.log_prob(rows, k), first) for k in others)
        except NO_ANSWER:
            return False

    def as_a_whole(self, samples: Array, context_row: int, seconds: float) -> list[Row]:
        """Return [sample_follows, normalised] for one row of the context."""
        log_prob = partial(self.log_prob, context_row=context_row)
        given = log_prob, self.domain, samples, 2.0, context_row
        draw = partial(self.more, context_row=context_row)
        whole = self.whole(*given, draw=draw, seconds=seconds)
        # The integral needs to know if samples follow the density, even if that row is skipped.
        row = self.judged(sample_distribution.follows, "sample_follows", whole)
        mass = self.timed(normalisation.normalised, "normalised", whole, self.floor, not row.failed)
        if not mass.failed and self.support is None:
            mass = self.timed(normalisation.falls, mass.name, whole, self.dtype) or mass
        if self.support is None:
            mass = self.timed(normalisation.reads_all, mass.name, whole) or mass
        if row.failed and self.is_one_for_all_contexts(whole.pilot):
            row = replace(row, hint=f"log_prob is the same for every context: {row.where}")
        for explain in (normalisation.mistaken, normalisation.which_is_wrong):
            if row.failed and not row.hint:
                named = self.judged(explain, row.name, whole, row, mass)
                row = named if named.failed else row
        return [row, mass]
