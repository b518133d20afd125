"""check_flow: check every property of one flow that is given as plain callables."""

import numpy as np

from nfref.oracle.checks import (
    array_contract,
    context,
    first_calls,
    hidden_state,
    knots,
    library_gradient,
    log_det,
    normalisation,
    pointwise,
    sweep,
    uniform,
)
from nfref.oracle.checks.arguments import check_callables, checked_setting, checked_skip
from nfref.oracle.checks.base_check import Check
from nfref.oracle.checks.float64_fallback import of_flows
from nfref.oracle.checks.properties import FLOW_PROPERTIES
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, Subject, columns, no_answer
from nfref.oracle.instruments.kinks import Kink, both_sides, find_kinks
from nfref.oracle.instruments.measurement import Measurement, measure_direction
from nfref.oracle.instruments.probes import Box, Probes, as_domain, make_probes
from nfref.oracle.report import PASS, Report, Row, inconclusive, not_applicable
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Iterator, Sequence

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
    reference: Any = None,
    gradient: Any = (None, None),
    make: Callable[..., Any] | None = None,
    parameters: Any = None,
    smooth: bool = False,
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
        x (N, D) -> (N,) bool: the rows of the codomain with a density. The integral of the
        density calls the inverse there alone. A codomain of another shape than a box needs it.
    reference : (forward, inverse), optional
        The same flow in float64, either one None, to which float32 answers are compared.
    gradient : (forward, inverse), optional
        Rows (N, D) -> (N, D): the derivative of each direction's log_det by its rows, as the
        library computes it; either one None. With a context it takes both, and may return
        two derivatives, the second (N, C) by the context.
    make : callable, optional
        Without arguments, returns such arguments (``forward``, ``inverse``) for a flow that was
        just made, as :func:`nfref.oracle.adapters.maker` does. Its first call is checked.
    parameters : nested arrays, or a function that returns them, optional
        Parameters that must be the same after all calls.
    smooth : bool
        True makes a jump of the log-density, at a knot for instance, a failure.
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
    dtype, given = checked_setting(dim, rng, seconds, dtype, context)
    skip = checked_skip(skip, FLOW_PROPERTIES)
    if forward is None and inverse is None:
        raise ValueError("forward, inverse: expected at least one callable, got None twice")
    check_callables(forward=forward, inverse=inverse, support=support, make=make)
    check = _Check(dim, rng, given, dtype, support, seconds, skip)
    check.given(
        (as_domain("domain", domain, dim), as_domain("codomain", codomain, dim)),
        reference or (None, None),
        gradient or (None, None),
        make,
        context_moves,
        accuracy,
        smooth,
        stochastic,
    )
    return check.report(subject, check.rows(forward, inverse), parameters, stop_early)


class _Check(Check):
    """One run of check_flow: it makes the rows in order, from cheap and local to global."""

    def given(
        self,
        domains: Any,
        reference: Any,
        gradient: Any,
        make: Any,
        context_moves: Array | None,
        accuracy: float,
        smooth: bool,
        stochastic: bool,
    ) -> None:
        """Store the arguments of ``check_flow``."""
        self.domains, self.make, self.context_moves = domains, make, context_moves
        self.reference = dict(zip(("forward", "inverse"), reference))
        self.gradient = dict(zip(("forward", "inverse"), gradient))
        self.accuracy, self.smooth, self.stochastic = accuracy, smooth, stochastic

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
            yield from self.by_itself(measured, subjects.get(OTHER[name]), f"_{name}")
        for name, measured in measurements.items():
            if self.stochastic:
                yield self.timed(
                    log_det.unbiased,
                    f"log_det_{name}",
                    subjects[name].apart(has_log_det=True),
                    measured,
                )
                continue
            for make, label in (
                (log_det.log_det_matches, "log_det"),
                (log_det.complex_step_matches, "complex_step"),
            ):
                yield self.timed(make, f"{label}_{name}", measured)
        holds = yield from self.round_trips(subjects, measurements)
        for name, measured in measurements.items():
            yield from self.one_direction(name, measured, kinks.get(name, []), holds)
        yield from self.sweeps(subjects, measurements)
        for name, measured in measurements.items():
            yield from self.as_it_is_used(measured, f"_{name}")
            for label, count in (("first_row", 1), ("first_batch", first_calls.ROWS)):
                yield self.timed(
                    first_calls.first_call, f"{label}_{name}", self.make, name, measured, count
                )
        for name, measured in measurements.items():
            others = [other for other in measurements.values() if other is not measured]
            yield self.timed(hidden_state.many_calls, f"history_{name}", measured, self.rng, others)
        for name, subject in subjects.items():
            yield from self.of_all_calls(subject, f"_{name}")
        yield from self.globally(subjects, measurements)

    def measure(
        self,
        name: str,
        subjects: Any,
        measurements: dict[str, Measurement],
        kinks: dict[str, list[Kink]],
    ) -> Iterator[Row]:
        """Yield rows on the answers in the bulk and far out; measure the direction."""
        subject = subjects[name]
        there, back = self.domains if name == "forward" else self.domains[::-1]
        probes = yield from self.answered(
            subject, make_probes(self.rng, there, self.dim, self.dtype, self.contexts), f"_{name}"
        )
        if probes is None:
            return
        middle = probes.only(probes.bulk)
        if isinstance(there, Box):
            self.stopwatch.restart()
            kinks[name], probes = self.with_kinks(subject, there, probes)
            if subject.has_log_det:
                self.stopwatch.restart()
                try:
                    probes = probes.join(
                        *log_det.suspects(subject, there, self.rng, self.dim, self.contexts)
                    )
                except NO_ANSWER:
                    pass  # other rows report the failure
        self.stopwatch.restart()
        for candidates in (probes.affordable(), middle.affordable()):
            try:
                measurements[name] = measure_direction(
                    subject, there, back, candidates, self.accuracy
                )
                return
            except NO_ANSWER as error:
                trouble = error
        yield no_answer(f"log_det_{name}", "no answer near points where it had answered", trouble)

    def with_kinks(
        self, subject: Subject, domain: Any, probes: Probes
    ) -> tuple[list[Kink], Probes]:
        """Return the kinks of a direction, and its probes with points on both sides of each."""

        def evaluate(rows, context_row):
            return columns(*subject(rows, context_row)).astype(np.float64)

        bulk = probes.bulk
        try:
            kinks = find_kinks(
                evaluate, domain, self.rng, probes.rows[bulk], probes.context_row[bulk]
            )
        except NO_ANSWER:
            return [], probes  # other rows report the failure
        distance = 1e-3 if self.dtype == np.float64 else 1e-2
        if kinks:
            probes = probes.join(*both_sides(kinks, domain, distance))
        return kinks, probes

    def round_trips(self, subjects: Any, measurements: dict[str, Measurement]) -> Any:
        """Yield the rows of both round trips; return True if they hold."""
        names = {
            "forward": ("round_trip_z", "log_dets_cancel_z"),
            "inverse": ("round_trip_x", "log_dets_cancel_x"),
        }
        if len(subjects) < 2:
            for pair in names.values():
                yield not_applicable(pair[0], "one direction only")
            return False
        holds = True
        for name, other in OTHER.items():
            if name not in measurements:
                holds = False
                continue
            self.stopwatch.restart()
            try:
                rows = pointwise.round_trip(
                    *names[name], measurements[name], subjects[other], measurements.get(other)
                )
            except NO_ANSWER as error:
                rows = [no_answer(names[name][0], "no answer", error)]
            holds &= rows[0].verdict == PASS
            yield from rows
        return holds

    def one_direction(
        self, name: str, measured: Measurement, kinks: Sequence[Kink], holds: bool
    ) -> Iterator[Row]:
        """Yield the rows on the values and log-determinants of one direction."""
        yield self.timed(array_contract.finite, f"finite_{name}", measured)
        yield self.timed(pointwise.precise, f"precision_{name}", measured)
        yield self.timed(pointwise.keeps_orientation, f"orientation_{name}", measured, holds)
        if self.dim == 1 and isinstance(measured.domain, Box):
            yield self.timed(
                pointwise.monotone,
                f"monotone_{name}",
                measured.subject,
                measured.domain,
                int(measured.probes.context_row[0]),
            )
        yield self.timed(array_contract.stays_inside, f"stays_inside_{name}", measured)
        yield self.timed(
            array_contract.empty_batch, f"empty_batch_{name}", measured.subject, self.dim
        )
        yield self.timed(
            library_gradient.by_rows, f"gradient_{name}", measured, self.gradient[name], self.rng
        )
        yield self.timed(knots.knots, f"knots_{name}", measured, kinks)
        yield self.timed(knots.continuity, f"continuity_{name}", measured, kinks, self.smooth)
        yield from self.of_its_context(
            measured, self.gradient[name], self.context_moves, f"_{name}"
        )

    def sweeps(self, subjects: Any, measurements: dict[str, Measurement]) -> Iterator[Row]:
        """Yield rows on many rows and their images, and on the reference."""
        for name, measured in measurements.items():
            if not isinstance(measured.domain, Box):
                yield not_applicable(f"sweep_{name}", "the domain is known by samples only")
                continue
            self.stopwatch.restart()
            start = sweep.rows_for(
                list(subjects.values()), measured.domain, self.rng, self.dim, self.dtype
            )
            yield self.timed(
                sweep.sweep, f"sweep_{name}", measured, subjects.get(OTHER[name]), start
            )
            yield self.timed(
                sweep.against_reference, f"reference_{name}", measured, self.reference[name], start
            )

    def globally(self, subjects: Any, measurements: dict[str, Measurement]) -> Iterator[Row]:
        """Yield the rows on the flow as a whole.

        With a simple base density on z, samples that go forward and back follow the base again, and
        the mass is one.
        """
        there, back = self.domains
        if not isinstance(there, Box):
            yield inconclusive("normalised", "the domain of z is known by samples only")
            return
        self.stopwatch.restart()
        x = None
        if "forward" in measurements:
            count = min(
                sweep.affordable([subject], 2.0, 2000, 20000, self.dim)
                for subject in subjects.values()
            )
            z = there.sample_base(self.rng, count).astype(self.dtype)
            try:
                x = subjects["forward"](z, np.zeros(len(z), dtype=int))[0]
            except NO_ANSWER as error:
                yield no_answer("samples", "no answer for samples of a base density", error)
        if x is not None and "inverse" in measurements:
            yield self.timed(
                self.samples_return,
                "samples",
                subjects["inverse"],
                measurements,
                z[:2000].astype(np.float64),
                x[:2000],
            )
        elif len(measurements) < 2:
            yield not_applicable("samples", "one direction only")
        if self.stochastic:
            yield not_applicable("normalised", "log_det is random")
        elif "inverse" not in measurements or measurements["inverse"].log_det is None:
            yield inconclusive("normalised", "needs an inverse with log_det")
        elif not isinstance(back, Box) and self.support is None:
            yield inconclusive(
                "normalised", "the codomain is known by samples only; support= says where it is"
            )
        else:
            rows = self.as_a_density(subjects["inverse"], there, back, x, 0)
            for k in context.others(self.context):
                if x is not None:
                    self.stopwatch.restart()
                    try:
                        x = subjects["forward"](z, np.full(len(z), k))[0]
                    except NO_ANSWER:
                        continue  # other rows report the failure
                found = self.as_a_density(subjects["inverse"], there, back, x, k)
                rows = [context.worse(*pair, k) for pair in zip(rows, found)]
            yield from rows

    def as_a_density(
        self, inverse: Subject, there: Any, back: Any, x: Array | None, context_row: int
    ) -> list[Row]:
        """Return [normalised], and [panels] in one dimension, for one row of the context."""

        def latent(rows):
            z, logs = inverse(rows.astype(self.dtype), np.full(len(rows), context_row))
            return z.astype(np.float64), logs

        def log_prob(rows):
            z, logs = latent(rows)
            # The base has no density where z overflows, even if log_det overflows too.
            return np.where(np.any(np.isinf(z), axis=1), -np.inf, there.log_base(z) + logs)

        whole = self.whole(
            log_prob,
            back,
            np.zeros((0, self.dim)) if x is None else x.astype(np.float64),
            3.0 * (x is None),
        )
        rows = [
            self.timed(normalisation.normalised, "normalised", whole, self.floor + self.accuracy)
        ]
        if self.dim == 1 and isinstance(back, Box) and len(whole.pilot) >= 100:
            rows.append(
                self.timed(
                    normalisation.panels,
                    "panels",
                    whole,
                    lambda rows: there.base_cdf(latent(rows)[0]),
                    self.floor / 10 + self.accuracy,
                    float(np.finfo(self.dtype).eps),
                )
            )
        return rows

    def samples_return(
        self, name: str, inverse: Subject, measurements: dict[str, Measurement], z: Array, x: Array
    ) -> Row:
        """Check that samples x of the pushed-forward base follow the base after the inverse."""
        there, back = self.domains
        measured = measurements["forward"]
        _, meaningful = pointwise.way_back(measured, measurements["inverse"])
        lost = 1 - np.mean(meaningful[measured.probes.bulk])
        if lost > 0.25:
            return inconclusive(name, f"conditioning leaves no digits at {lost:.0%} of the bulk")
        # A number that was rounded onto an end of its interval cannot come back.
        inside = back.contains(x.astype(np.float64))
        again = z.copy()
        again[inside] = inverse(x[inside], np.zeros(np.sum(inside), dtype=int))[0]
        return uniform.ks_row(
            name,
            there.base_cdf(again),
            "forward, then inverse, then the base's distribution function",
            lost,
        )
