"""check_flow: check every property of one flow that is given as plain callables."""

import contextlib

import numpy as np

from nfref.oracle.checks import (
    array_contract,
    context,
    hidden_state,
    knots,
    log_det,
    normalisation,
    round_trip,
)
from nfref.oracle.checks.base_check import Check, check_callables
from nfref.oracle.checks.float64_fallback import of_flows
from nfref.oracle.checks.properties import FLOW_PROPERTIES
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, Subject, Timer, no_answer
from nfref.oracle.instruments.kinks import Kink, both_sides
from nfref.oracle.instruments.measurement import Measurement, measure_direction
from nfref.oracle.instruments.probes import Box, Domain, as_domain, make_probes
from nfref.oracle.report import PASS, Report, Row, inconclusive, not_applicable
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Iterator, Sequence

DERIVATIVES = 1.0  # seconds for the derivatives of a direction
FEWEST = 2500  # samples of a base that are enough for bridge sampling
WHOLE, LONGEST = 1.0, 8.0  # seconds for all samples; the most for FEWEST
OTHER = {"forward": "inverse", "inverse": "forward"}


@of_flows
def check_flow(
    forward: Callable[..., Any] | None = None,
    inverse: Callable[..., Any] | None = None,
    *,
    dim: int,
    rng: Generator,
    context: Array | None = None,
    context_moves: Array | None = None,
    dtype: DTypeLike = np.float64,
    domain: Any = None,
    codomain: Any = None,
    support: Callable[..., Any] | None = None,
    gradient: Any = (None, None),
    make: Callable[..., dict[str, Any]] | None = None,
    parameters: Any = None,
    stochastic: bool = False,
    seconds: float = 20.0,
    accuracy: float = 0.0,
    skip: Sequence[str] = (),
    stop_early: bool = False,
    subject: str = "flow",
) -> Report:
    """Check a flow that is given as one or two plain functions.

    Parameters
    ----------
    forward : callable, optional
        z (N, D) -> (x, log_det) or x alone, with log_det = log |det dx/dz| of shape (N,).
        With a context it is called ``forward(z, context)``.
    inverse : callable, optional
        x (N, D) -> (z, log_det) or z alone, log_det of *this* direction.
    dim : int
        D.
    rng : numpy.random.Generator
        Generator of the points.
    context : (M, C) array, optional
        Rows of context; every point is paired with one of them.
    context_moves : (C, D) bool array, optional
        True if a feature of the context must change a coordinate.
    dtype : numpy dtype
        float64 or float32: the dtype of arguments and results.
    domain, codomain : None, (lower, upper) or callable
        The domains of z and x. None is all of R^D, so a map onto an interval *must* name
        its codomain. ``lower`` and ``upper`` are numbers or (D,) arrays. A callable
        (rng, n) -> (n, D) samples points of a domain of another shape.
    support : callable, optional
        x (N, D) -> (N,) bool: the rows of the codomain with a density; with a context it may
        take both. The integral of the density calls the inverse there alone. A codomain of
        another shape than a box needs it.
    gradient : (forward, inverse), optional
        Rows (N, D) -> (N, D): the derivative of each direction's log_det by its rows, as the
        library computes it; either one None. With a context it takes both, and may return
        two derivatives, the second (N, C) by the context.
    make : callable, optional
        Without arguments, returns such arguments (``forward``, ``inverse``) for a flow that was
        just made, as :func:`nfref.oracle.adapters.maker` does. Its first call is checked.
    parameters : nested arrays, or a function that returns them, optional
        Parameters that must be the same after all calls.
    stochastic : bool
        True if log_det is a random estimate: its mean is judged, its noise reported.
    seconds : float
        Time for one property, after which it is inconclusive; longer if more processes want
        to run than there are cores.
    accuracy : float
        Absolute accuracy of values and log_det that an iteration or a solver finds; added to
        the tolerances.
    skip : sequence of str
        Names of properties to leave out (see :data:`nfref.oracle.FLOW_PROPERTIES`). A property
        that cannot be judged makes the report inconclusive until it is skipped by name.
    stop_early : bool
        Stop after the first failure.
    subject : str
        A name for the report.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If an argument of the oracle itself is wrong; never because of the callables.
    """
    check = _Check(dim, rng, context, dtype, support, seconds, skip, FLOW_PROPERTIES)
    if forward is None and inverse is None:
        raise ValueError("forward, inverse: expected at least one callable, got None twice")
    check_callables(forward=forward, inverse=inverse, support=support, make=make)
    domains = as_domain("domain", domain, dim), as_domain("codomain", codomain, dim)
    pair = gradient or (None, None)
    check.given(domains, pair, make, context_moves, accuracy, stochastic)
    return check.report(subject, check.rows(forward, inverse), parameters, stop_early)


class _Check(Check):
    """One run of check_flow: it makes the rows in order, from cheap and local to global."""

    def given(self, domains, gradient, make, context_moves, accuracy, stochastic):
        """Store the arguments of ``check_flow``."""
        self.domains, self.make, self.context_moves = domains, make, context_moves
        self.gradient = dict(zip(("forward", "inverse"), gradient))
        self.accuracy, self.stochastic = accuracy, stochastic

    def rows(self, forward: Callable | None, inverse: Callable | None) -> Iterator[Row]:
        """Yield all rows."""
        subjects = {
            name: Subject(name, function, self.dim, self.context, self.dtype, self.stopwatch)
            for name, function in (("forward", forward), ("inverse", inverse))
            if function is not None
        }
        measurements: dict[str, Measurement] = {}
        kinks: dict[str, list[Kink]] = {}
        for name, subject in subjects.items():
            subject.has_log_det = not self.stochastic
            yield from self.measure(name, subjects, measurements, kinks)
        subjects = {name: subject for name, subject in subjects.items() if subject.is_there}
        for name, measured in measurements.items():
            yield from self.by_itself(measured, f"_{name}")
        for name, measured in measurements.items():
            judge, *more = (log_det.log_det_matches,)
            if self.stochastic:
                judge, more = log_det.unbiased, [subjects[name].apart(has_log_det=True)]
            yield self.timed(judge, f"log_det_{name}", measured, *more)
        for name, measured in measurements.items():
            end, found = f"_{name}", kinks.get(name, [])
            given = measured, self.gradient[name], found, self.context_moves, end
            yield from self.of_its_values(*given)
            yield self.timed(array_contract.stays_inside, f"stays_inside{end}", measured)
            yield self.timed(knots.knots, f"knots{end}", measured, found)
        holds = yield from self.round_trips(subjects, measurements)
        for name, measured in measurements.items():
            yield self.timed(log_det.keeps_orientation, f"orientation_{name}", measured, holds)
            yield from self.as_it_is_used(measured, f"_{name}")
            for label, count in (("first_row", 1), ("first_batch", hidden_state.FIRST)):
                given = self.make, name, measured, count
                yield self.timed(hidden_state.first_call, f"{label}_{name}", *given)
        for name, measured in measurements.items():
            others = [other for other in measurements.values() if other is not measured]
            yield self.timed(hidden_state.many_calls, f"history_{name}", measured, self.rng, others)
        for name, subject in subjects.items():
            yield from self.of_all_calls(subject, f"_{name}")
        yield self.globally(subjects, measurements)

    def measure(
        self,
        name: str,
        subjects: dict[str, Subject],
        measurements: dict[str, Measurement],
        kinks: dict[str, list[Kink]],
    ) -> Iterator[Row]:
        """Yield rows on the answers in the bulk and far out; measure the direction."""
        subject = subjects[name]
        there, back = self.domains if name == "forward" else self.domains[::-1]
        probes = make_probes(self.rng, there, self.dim, self.dtype, self.contexts)
        probes = yield from self.answered(subject, probes, f"_{name}", there)
        if probes is None:
            return
        middle = probes.only(probes.bulk)
        # A call takes as long as its slowest row, which may be one in the tails. The first call may
        # have compiled; a cache would answer the same rows at once.
        self.stopwatch.restart()
        timer = Timer()
        with contextlib.suppress(*NO_ANSWER):  # the measurement reports a missing answer
            subject(probes.rows[::-1], probes.context_row[::-1])
        count = DERIVATIVES * len(probes) / max(timer(), 1e-9)
        if isinstance(there, Box):
            kinks[name] = knots.kinks_of(subject, there, probes, self.rng)
            if kinks[name]:
                distance = 1e-3 if self.dtype == np.float64 else 1e-2
                probes = probes.join(*both_sides(kinks[name], there, distance))
            if subject.has_log_det:
                self.stopwatch.restart()
                with contextlib.suppress(*NO_ANSWER):
                    given = subject, there, self.rng, self.dim, self.contexts
                    probes = probes.join(*log_det.suspects(*given))
        for candidates in (probes.affordable(count), middle.affordable(count)):
            try:
                given = candidates, self.accuracy, count
                measurements[name] = measure_direction(subject, there, back, *given)
                return
            except NO_ANSWER as error:
                trouble = error
        yield no_answer(f"log_det_{name}", "no answer near points that had one", trouble)

    def round_trips(
        self, subjects: dict[str, Subject], measurements: dict[str, Measurement]
    ) -> Any:
        """Yield rows on the way there and back; return True if they hold."""
        holds = len(measurements) == 2
        for name, measured in measurements.items():
            self.stopwatch.restart()
            start, context_row = measured.probes.rows, measured.probes.context_row
            if isinstance(measured.domain, Box):
                every = list(subjects.values())
                given = every, measured, measured.domain, self.rng, self.contexts
                start, context_row = round_trip.rows_for(*given)
            label = f"round_trip_{'z' if name == 'forward' else 'x'}"
            other = subjects.get(OTHER[name])
            row = self.timed(round_trip.round_trip, label, measured, other, start, context_row)
            holds &= row.verdict == PASS
            yield row
        return holds

    def globally(self, subjects: dict[str, Subject], measurements: dict[str, Measurement]) -> Row:
        """Return the row on the mass of the flow's density, with a simple base density on z."""
        there, back = self.domains
        if self.stochastic:
            return not_applicable("normalised", "log_det is random")
        if not isinstance(there, Box):
            return inconclusive("normalised", "the domain of z is known by samples only")
        if getattr(measurements.get("inverse"), "log_det", None) is None:
            return inconclusive("normalised", "needs an inverse with log_det")
        if not isinstance(back, Box) and self.support is None:
            why = "the codomain is known by samples only; support= says where it is"
            return inconclusive("normalised", why)
        self.stopwatch.restart()
        row = None
        others = context.others(self.context)
        seconds = WHOLE / (1 + len(others))
        count = min(
            round_trip.affordable([subject], seconds, FEWEST, 20000, self.dim)
            for subject in subjects.values()
        )
        if count <= FEWEST:
            others = others[:1]  # it is slow: the farthest row of the context is enough
        z = there.sample_base(self.rng, count).astype(self.dtype)
        samples = "forward" in measurements
        samples = samples and FEWEST * subjects["forward"].seconds_a_row() < LONGEST
        for k in (0, *others):
            x = np.zeros((0, self.dim))
            if samples:
                try:
                    x = subjects["forward"](z, np.full(len(z), k))[0].astype(np.float64)
                except NO_ANSWER as error:
                    if row is None:
                        return no_answer("normalised", "no answer for samples of a base", error)
                    continue
            found = self.mass(subjects["inverse"], there, back, x, k, count)
            row = found if row is None else context.worse(row, found, k)
        return row or inconclusive("normalised", "no samples")

    def mass(
        self, inverse: Subject, there: Box, back: Domain, x: Array, context_row: int, draws: int
    ) -> Row:
        """Return the row on the mass for one row of the context; samples ``x`` may be none."""

        def log_prob(rows):
            z, logs = inverse(rows.astype(self.dtype), np.full(len(rows), context_row))
            z = z.astype(np.float64)
            # The base has no density where z overflows, even if log_det overflows too.
            return np.where(np.any(np.isinf(z), axis=1), -np.inf, there.log_base(z) + logs)

        spread = 0.0 if len(x) else 3.0
        whole = self.whole(log_prob, back, x, spread, context_row, draws=draws)
        floor = self.floor + self.accuracy
        return self.timed(normalisation.normalised, "normalised", whole, floor)
