"""check_density: a log-density, and samples that claim to follow it."""

from functools import partial

import numpy as np

from nfref.oracle.checks import (batches, behaviour, context, follows, global_checks, history,
                                 local, own_gradient)
from nfref.oracle.checks.arguments import bytes_of, checked_setting, checked_skip
from nfref.oracle.checks.properties import DENSITY_PROPERTIES
from nfref.oracle.checks.questions import of_densities
from nfref.oracle.checks.sampler import Sampler
from nfref.oracle.instruments.calling import NO_ANSWER, CallFailed, Stopwatch, Subject, no_answer
from nfref.oracle.instruments.measurement import measure_direction
from nfref.oracle.instruments.points import Box, Probes, as_domain, make_probes
from nfref.oracle.report import Report, inconclusive, passed
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Sequence
from nfref.runtime.checks import check_callable


class LogProb(Subject):
    """A log-density looked at as a map to one column."""

    def __init__(self, function: Any, context: Any, dtype: Any, stopwatch: Any) -> None:
        super().__init__("log_prob", function, None, context, dtype, stopwatch)

    def read(self, answer, rows):
        try:
            values, _ = super().read(answer, rows)
        except CallFailed as error:
            if "of shape" in str(error):
                self.shape_faults.append(str(error))
            raise
        return values[:, None], None


@of_densities
def check_density(log_prob: Callable[..., Any], sample: Callable[..., Any] | None = None, *,
                  dim: int, rng: Generator, gradient: Callable[..., Any] | None = None,
                  context: Array | None = None, dtype: DTypeLike = np.float64, domain: Any = None,
                  support: Callable[..., Any] | None = None, parameters: Any = None,
                  seconds: float = 20.0, skip: Sequence[str] = (), stop_early: bool = False,
                  subject: str = "density") -> Report:
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
        Whether it integrates to one and is followed is asked for the first row, and for those
        that are farthest out, whose samples are drawn in one batch.
    dtype : numpy dtype
        float64 or float32.
    domain : None, (lower, upper) or callable
        Where the density lives, as for :func:`check_flow`.
    support : callable, optional
        x (N, D) -> (N,) bool: where inside of the domain the density is not zero. log_prob is
        asked there alone when it is integrated.
    parameters : nested arrays, or a function that returns them, optional
        What must be the same after all calls.
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
    dtype, given = checked_setting(dim, rng, seconds, dtype, context)
    skip = checked_skip(skip, DENSITY_PROPERTIES)
    check_callable("log_prob", log_prob)
    for name, function in (("sample", sample), ("gradient", gradient), ("support", support)):
        if function is not None:
            check_callable(name, function)
    box = as_domain("domain", domain, dim)
    check = _Check(log_prob, sample, dim, rng, given, dtype, box, support, Stopwatch(seconds))
    check.gradient = gradient
    before = bytes_of(parameters)
    rows, skipped = [], []

    def all_rows():
        yield from check.rows()
        yield history.parameters_unchanged("parameters_unchanged", before, bytes_of(parameters))

    with np.errstate(all="ignore"):
        for row in all_rows():
            if row.name in skip:
                skipped.append(row.name)
                continue
            rows.append(row)
            if stop_early and row.failed:
                break
    return Report(f"{subject}, D = {dim}, {dtype}", tuple(rows), tuple(skipped))


class _Check:
    """One run of check_density."""

    gradient: Any

    def __init__(self, log_prob, sample, dim, rng, given, dtype, domain, support, stopwatch):
        self.dim, self.rng, self.context = dim, rng, given
        self.dtype, self.domain, self.stopwatch = dtype, domain, stopwatch
        self.support = support
        self.subject = LogProb(log_prob, given, dtype, stopwatch)
        self.sampler = None if sample is None else Sampler(sample, dim, given, dtype,
                                                           self.contains_closed, stopwatch)

    def contains_closed(self, x):
        """Samples may lie on an end of their interval."""
        if not isinstance(self.domain, Box):
            return np.ones(len(x), dtype=bool)
        return np.all((x >= self.domain.lower) & (x <= self.domain.upper), axis=1)

    def rows(self):
        samples = np.zeros((0, self.dim))
        if self.sampler is not None:
            samples = yield from self.sampler.rows(self.rng)
        probes = self.probes(samples)
        middle = probes.only(probes.bulk)
        subject = self.subject
        self.stopwatch.restart()
        try:
            answer = subject(middle.rows, middle.context_row)
        except NO_ANSWER as error:
            yield no_answer("answers", "no answer in the middle of its domain", error)
            return
        subject.learn(middle.rows, middle.context_row, *answer)
        yield passed("answers", f"{len(middle)} rows")
        self.stopwatch.restart()
        try:
            subject.learn(probes.rows, probes.context_row,
                          *subject(probes.rows, probes.context_row))
            yield passed("answers_far", f"{len(probes)} rows")
        except NO_ANSWER as error:
            yield no_answer("answers_far", "no answer in the tails or at the edges", error)
            probes = middle
        self.stopwatch.restart()
        try:
            measured = measure_direction(subject, self.domain, self.domain, probes)
        except NO_ANSWER as error:
            yield no_answer("finite", "no answer near points where it had answered", error)
            return
        yield self.timed(history.repeatable, "repeatable", measured)
        yield self.timed(behaviour.answers_stay, "answers_stay", measured)
        yield self.timed(history.no_memory, "no_memory", measured, None, self.rng)
        if self.context is not None:
            yield self.timed(context.is_not_remembered, "context_memory", measured)
        yield self.timed(batches.row_independence, "row_independence", measured, self.rng)
        yield self.timed(batches.permutation, "permutation", measured, self.rng)
        yield self.timed(behaviour.finite, "finite", measured)
        yield self.timed(local.keeps_digits, "precision", measured)
        yield self.timed(own_gradient.by_rows, "gradient", measured, self.gradient, self.rng)
        yield self.timed(behaviour.empty_batch, "empty_batch", subject, self.dim)
        if self.context is not None:
            yield self.timed(context.is_read, "context_read", measured)
            yield self.timed(context.keeps_precision, "context_precision", measured)
            yield self.timed(own_gradient.by_context, "context_gradient", measured, self.gradient)
        yield self.timed(batches.batch_sizes, "batch_sizes", measured, self.rng)
        yield self.timed(batches.memory_layout, "memory_layout", measured)
        yield self.timed(history.two_threads, "threads", measured, self.rng)
        yield self.timed(history.many_calls, "history", measured, self.rng)
        yield behaviour.shapes("shapes", subject)
        yield behaviour.dtypes("dtypes", subject)
        yield behaviour.input_unchanged("input_unchanged", subject)
        yield from self.globally(samples)

    def probes(self, samples):
        """Points of the domain; the middle of a density is where its samples are."""
        probes = make_probes(self.rng, self.domain, self.dim, self.dtype,
                             1 if self.context is None else len(self.context))
        chosen = samples[:24].astype(self.dtype)
        if isinstance(self.domain, Box):
            chosen = chosen[self.domain.contains(chosen.astype(np.float64))]
        if len(chosen):
            count = len(chosen)
            probes = Probes(np.concatenate([chosen, probes.rows]),
                            np.concatenate([np.zeros(count, dtype=int), probes.context_row]),
                            np.concatenate([np.ones(count, dtype=bool), probes.bulk]),
                            np.concatenate([np.zeros(count, dtype=bool), probes.tail]))
        if self.support is not None:
            probes = probes.only(np.asarray(self.support(probes.rows), dtype=bool))
        return probes

    def timed(self, make, name, *arguments):
        self.stopwatch.restart()
        try:
            return make(name, *arguments)
        except NO_ANSWER as error:
            return no_answer(name, "no answer", error)

    def contains(self, rows):
        inside = np.ones(len(rows), dtype=bool)
        if isinstance(self.domain, Box):
            inside = self.domain.contains(rows.astype(self.dtype).astype(np.float64))
        if self.support is not None:
            inside[inside] = np.asarray(self.support(rows[inside]), dtype=bool)
        return inside

    def log_prob(self, x, context_row=0):
        values, _ = self.subject(x.astype(self.dtype), np.full(len(x), context_row))
        return values[:, 0].astype(np.float64)

    def more(self, count, context_row=0):
        """About so many new samples, those inside of the domain."""
        x = self.sampler.draw(self.rng.spawn(1)[0], count, np.full(count, context_row))
        x = x.astype(np.float64)
        x = x[np.isfinite(x).all(axis=1)]
        return x[self.contains(x)]

    def globally(self, samples):
        """Integral one, and samples where the density is: for one context, then for others."""
        if not isinstance(self.domain, Box) and self.support is None:
            why = "the domain is known by samples only; support= says where it is"
            yield inconclusive("sample_follows", why)
            yield inconclusive("normalised", why)
            return
        rows = self.as_a_whole(samples, 0, 1.0)
        others = context.others(self.context)
        if len(others) and self.sampler is not None and len(samples):
            each = global_checks.DRAWS // 2
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
                rows = [context.worse(*pair, k) for pair in zip(rows, self.as_a_whole(
                    x[inside & (context_row == k)], k, 1 / len(others)))]
        yield from rows

    def as_a_whole(self, samples, context_row, seconds):
        """[sample_follows, normalised] for one row of the context."""
        lost = global_checks.share_at_an_end(self.domain, samples)
        inside = self.contains(samples)
        left_out = samples[~inside & self.contains_closed(samples)]
        samples = samples[inside]
        pilot, tested = samples[:len(samples) // 5], samples[len(samples) // 5:]
        if len(pilot) < 100 and isinstance(self.domain, Box):
            pilot = self.domain.from_line(2 * self.rng.standard_normal((2000, self.dim)))
            tested = samples[:0]
        whole = global_checks.Whole(partial(self.log_prob, context_row=context_row), self.contains,
                                    self.domain if isinstance(self.domain, Box) else None,
                                    pilot, tested, self.rng, lost,
                                    partial(self.more, context_row=context_row), seconds,
                                    left_out)
        floor = 1e-5 if self.dtype == np.float64 else 2e-3
        row = self.timed(follows.follows, "sample_follows", whole)
        return [row, self.timed(global_checks.normalised, "normalised", whole, floor,
                                not row.failed)]
