"""check_flow: every property of one flow, from plain callables."""

import numpy as np

from nfref.checks import check_callable
from nfref.oracle.checks import behaviour
from nfref.oracle.checks import global_checks
from nfref.oracle.checks import knots
from nfref.oracle.checks import local
from nfref.oracle.checks.arguments import checked_setting
from nfref.oracle.instruments.calling import CallFailed, NotThere, Stopwatch, Subject
from nfref.oracle.instruments.kinks import both_sides, find_kinks
from nfref.oracle.instruments.measurement import measure_direction
from nfref.oracle.instruments.points import Box, Probes, as_domain, make_probes
from nfref.oracle.report import Report, failed, not_applicable, passed


def check_flow(forward=None, inverse=None, *, dim, rng, context=None, dtype=np.float64,
               domain=None, codomain=None, seconds=20.0, accuracy=0.0, skip=(),
               stop_early=False, subject="flow"):
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
        Where the points come from.
    context : (M, C) array, optional
        Rows of context; every point is paired with one of them.
    dtype : numpy dtype
        float64 or float32: what the functions are given, and what they should return.
    domain, codomain : None, (lower, upper) or callable
        Where z and x live. None is all of R^D, so that a map onto an interval *must* name
        its codomain; ``lower`` and ``upper`` are numbers or (D,) arrays; a callable
        (rng, n) -> (n, D) draws points of a domain of another shape.
    seconds : float
        Time for one property, after which it fails as hanging.
    accuracy : float
        Absolute accuracy that values and log_det promise where an iteration or a solver finds
        them; added to the tolerances.
    skip : sequence of str
        Names of properties to leave out (see :data:`nfref.oracle.FLOW_PROPERTIES`).
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
        If an argument of the oracle itself is wrong; never because of what the callables do.
    """
    dtype, context = checked_setting(dim, rng, seconds, dtype, context)
    if forward is None and inverse is None:
        raise ValueError("forward, inverse: expected at least one callable, got None twice")
    for name, function in (("forward", forward), ("inverse", inverse)):
        if function is not None:
            check_callable(name, function)
    domains = as_domain("domain", domain, dim), as_domain("codomain", codomain, dim)
    check = _Check(dim, rng, context, dtype, domains, seconds, accuracy)
    rows = []
    with np.errstate(all="ignore"):     # what overflows is judged, not warned of
        for row in check.rows(forward, inverse):
            if row.name in skip:
                continue
            rows.append(row)
            if stop_early and row.failed:
                break
    return Report(f"{subject}, D = {dim}, {dtype}", tuple(rows))


class _Check:
    """One run of check_flow: makes the rows in order, from cheap and local to global."""

    def __init__(self, dim, rng, context, dtype, domains, seconds, accuracy):
        self.dim, self.rng, self.context, self.dtype = dim, rng, context, dtype
        self.domains, self.accuracy = domains, accuracy
        self.stopwatch = Stopwatch(seconds)
        self.contexts = 1 if context is None else len(context)

    def rows(self, forward, inverse):
        subjects = {name: Subject(name, function, self.dim, self.context, self.dtype,
                                  self.stopwatch)
                    for name, function in (("forward", forward), ("inverse", inverse))
                    if function is not None}
        measurements, kinks = {}, {}
        for name in ("forward", "inverse"):
            if name in subjects:
                yield from self.measure_at(name, subjects, measurements, kinks)
        for name, measured in measurements.items():
            for make, label in ((local.log_det_matches, "log_det"),
                                (local.complex_step_matches, "complex_step")):
                yield self.timed(make, f"{label}_{name}", measured)
        holds = yield from self.round_trips(subjects, measurements)
        for name, measured in measurements.items():
            yield from self.one_direction(name, measured, subjects, kinks.get(name, []), holds)
        for name, subject in subjects.items():
            for make, label in ((behaviour.shapes, "shapes"), (behaviour.dtypes, "dtypes"),
                                (behaviour.input_unchanged, "input_unchanged")):
                yield make(f"{label}_{name}", subject)
        yield from self.globally(subjects, measurements)

    def timed(self, make, name, *arguments):
        """A row, with a fresh time budget; a property never raises."""
        self.stopwatch.restart()
        try:
            return make(name, *arguments)
        except CallFailed as error:
            return failed(name, "no answer", str(error))

    def measure_at(self, name, subjects, measurements, kinks):
        """Does it answer at all, in the bulk and far out? Then measure it."""
        subject = subjects[name]
        there, back = self.domains if name == "forward" else self.domains[::-1]
        probes = make_probes(self.rng, there, self.dim, self.dtype, self.contexts)
        self.stopwatch.restart()
        middle = Probes(*(part[probes.bulk] for part in
                          (probes.rows, probes.context_row, probes.bulk, probes.tail)))
        try:
            subject.first_answer = subject(middle.rows, middle.context_row)
        except NotThere as error:
            yield not_applicable(f"answers_{name}", str(error))
            del subjects[name]
            return
        except CallFailed as error:
            yield failed(f"answers_{name}", "no answer in the middle of its domain", str(error))
            return
        subject.has_log_det = subject.first_answer[1] is not None
        yield passed(f"answers_{name}", f"{len(middle)} rows"
                     + ("" if subject.has_log_det else "; values alone, no log_det"))
        self.stopwatch.restart()
        try:
            subject(probes.rows, probes.context_row)
            yield passed(f"answers_far_{name}", f"{len(probes)} rows, out to "
                         f"{np.max(np.abs(probes.rows)):.3g}")
        except CallFailed as error:
            yield failed(f"answers_far_{name}", "no answer in the tails or at the edges",
                         str(error))
            probes = middle
        if isinstance(there, Box):
            self.stopwatch.restart()
            kinks[name], probes = self.with_kinks(subject, there, probes)
        self.stopwatch.restart()
        for candidates in (probes, middle):
            try:
                measurements[name] = measure_direction(subject, there, back, candidates,
                                                       self.accuracy)
                return
            except CallFailed as error:
                trouble = str(error)
        yield failed(f"log_det_{name}", "no answer near points where it had answered", trouble)

    def with_kinks(self, subject, domain, probes):
        """The kinks of a direction, and its probes with points on both sides of each."""
        def evaluate(rows, context_row):
            values, log_det = subject(rows, context_row)
            parts = [values] if log_det is None else [values, log_det[:, None]]
            return np.concatenate(parts, axis=1).astype(np.float64)

        bulk = probes.bulk
        try:
            kinks = find_kinks(evaluate, domain, self.rng, probes.rows[bulk],
                               probes.context_row[bulk])
        except CallFailed:
            return [], probes           # what it does not answer is reported by other rows
        distance = 1e-3 if self.dtype == np.float64 else 1e-2
        if kinks:
            rows, context_row = both_sides(kinks, domain, distance)
            probes = probes.join(rows, context_row)
        return kinks, probes

    def round_trips(self, subjects, measurements):
        """Both round trips; returns whether they hold."""
        names = {"forward": ("round_trip_z", "log_dets_cancel_z"),
                 "inverse": ("round_trip_x", "log_dets_cancel_x")}
        if len(subjects) < 2:
            for pair in names.values():
                yield not_applicable(pair[0], "one direction only")
            return False
        holds = True
        for name, other in (("forward", "inverse"), ("inverse", "forward")):
            if name not in measurements:
                holds = False
                continue
            self.stopwatch.restart()
            for row in local.round_trip(*names[name], measurements[name], subjects[other],
                                        measurements.get(other)):
                holds &= not row.failed and row.verdict == "pass" or row.name != names[name][0]
                yield row
        return holds

    def one_direction(self, name, measured, subjects, kinks, holds):
        other = subjects.get("inverse" if name == "forward" else "forward")
        yield self.timed(behaviour.finite, f"finite_{name}", measured)
        yield self.timed(local.precise, f"precision_{name}", measured)
        yield self.timed(local.keeps_orientation, f"orientation_{name}", measured, holds)
        if self.dim == 1 and isinstance(measured.domain, Box):
            yield self.timed(local.monotone, f"monotone_{name}", measured.subject, measured.domain,
                             int(measured.probes.context_row[0]))
        yield self.timed(behaviour.stays_inside, f"stays_inside_{name}", measured)
        yield self.timed(behaviour.row_independence, f"row_independence_{name}", measured, self.rng)
        yield self.timed(behaviour.permutation, f"permutation_{name}", measured, self.rng)
        yield self.timed(behaviour.repeatable, f"repeatable_{name}", measured)
        yield self.timed(behaviour.no_memory, f"no_memory_{name}", measured, other, self.rng)
        yield self.timed(behaviour.answers_stay, f"answers_stay_{name}", measured)
        yield self.timed(behaviour.empty_batch, f"empty_batch_{name}", measured.subject, self.dim)
        yield self.timed(knots.knots, f"knots_{name}", measured, kinks)
        yield self.timed(knots.continuity, f"continuity_{name}", measured, kinks)

    def globally(self, subjects, measurements):
        """Under a simple base density on z: samples come back as they went, and mass is one."""
        there, back = self.domains
        if not (isinstance(there, Box) and isinstance(back, Box)):
            yield not_applicable("normalised", "a domain is known by samples only")
            return
        self.stopwatch.restart()
        z = there.sample_base(self.rng, 2000).astype(self.dtype)
        context_row = np.zeros(len(z), dtype=int)
        x = None
        if "forward" in measurements:
            try:
                x = subjects["forward"](z, context_row)[0].astype(np.float64)
            except CallFailed as error:
                yield failed("samples", "no answer for samples of a base density", str(error))
        if x is not None and "inverse" in measurements:
            yield self.timed(self.samples_return, "samples", subjects["inverse"], measurements,
                             z, x)
        if "inverse" not in measurements or measurements["inverse"].log_det is None:
            yield not_applicable("normalised", "needs an inverse with log_det")
            return
        if self.dtype != np.float64:
            yield not_applicable("normalised", "asked of float64 alone")
            return
        if x is None:
            x = back.from_line(3 * self.rng.standard_normal((2000, self.dim)))

        def log_prob(rows):
            z, log_det = subjects["inverse"](rows, np.zeros(len(rows), dtype=int))
            return there.log_base(z) + log_det

        yield self.timed(global_checks.normalised, "normalised", log_prob, back, x, self.rng)

    def samples_return(self, name, inverse, measurements, z, x):
        """Samples x of the pushed-forward base follow the base again after the inverse."""
        there, back = self.domains
        measured = measurements["forward"]
        _, meaningful = local.way_back(measured, measurements["inverse"])
        lost = np.sum(~meaningful[measured.probes.bulk])
        if lost:
            return not_applicable(name, f"conditioning leaves no digits at {lost} of "
                                        f"{np.sum(measured.probes.bulk)} points of the bulk")
        again = inverse(x.astype(self.dtype), np.zeros(len(x), dtype=int))[0].astype(np.float64)
        # What was rounded onto an end of its interval cannot come back.
        edge = ~back.contains(x.astype(self.dtype).astype(np.float64))
        return global_checks.ks_row(name, there.base_cdf(np.where(edge[:, None], z, again)),
                                    "forward, then inverse, then the base's distribution function")
