"""check_density: a log-density, and samples that claim to follow it."""

import numpy as np

from nfref.checks import check_callable
from nfref.oracle.checks import behaviour
from nfref.oracle.checks import global_checks
from nfref.oracle.checks.arguments import checked_setting
from nfref.oracle.instruments.calling import CallFailed, Stopwatch, Subject, in_time
from nfref.oracle.instruments.measurement import measure_direction
from nfref.oracle.instruments.points import Box, Probes, as_domain, make_probes
from nfref.oracle.report import Report, failed, not_applicable, passed, show

SAMPLES = 20000


class LogProb(Subject):
    """A log-density looked at as a map to one column."""

    def __init__(self, function, context, dtype, stopwatch):
        super().__init__("log_prob", function, None, context, dtype, stopwatch)

    def __call__(self, rows, context_row):
        try:
            values, _ = super().__call__(rows, context_row)
        except CallFailed as error:
            if "of shape" in str(error):
                self.shape_faults.append(str(error))
            raise
        return values[:, None], None


def check_density(log_prob, sample=None, *, dim, rng, context=None, dtype=np.float64,
                  domain=None, seconds=20.0, skip=(), stop_early=False, subject="density"):
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
    context : (M, C) array, optional
        Whether it integrates to one and is followed is asked for the first row.
    dtype : numpy dtype
        float64 or float32.
    domain : None, (lower, upper) or callable
        Where the density lives, as for :func:`check_flow`.
    seconds : float
        Time for one property.
    skip : sequence of str
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
    dtype, context = checked_setting(dim, rng, seconds, dtype, context)
    check_callable("log_prob", log_prob)
    if sample is not None:
        check_callable("sample", sample)
    box = as_domain("domain", domain, dim)
    check = _Check(log_prob, sample, dim, rng, context, dtype, box, Stopwatch(seconds))
    rows = []
    with np.errstate(all="ignore"):
        for row in check.rows():
            if row.name not in skip:
                rows.append(row)
                if stop_early and row.failed:
                    break
    return Report(f"{subject}, D = {dim}, {dtype}", tuple(rows))


class _Check:
    """One run of check_density."""

    def __init__(self, log_prob, sample, dim, rng, context, dtype, domain, stopwatch):
        self.sample, self.dim, self.rng, self.context = sample, dim, rng, context
        self.dtype, self.domain, self.stopwatch = dtype, domain, stopwatch
        self.subject = LogProb(log_prob, context, dtype, stopwatch)

    def rows(self):
        pilot = None
        if self.sample is not None:
            pilot = yield from self.samples()
        probes = make_probes(self.rng, self.domain, self.dim, self.dtype,
                             1 if self.context is None else len(self.context))
        if pilot is not None and len(pilot) >= 24:
            # The middle of a density is where its samples are.
            chosen = pilot[:24].astype(self.dtype)
            probes = Probes(np.concatenate([chosen, probes.rows]),
                            np.concatenate([np.zeros(24, dtype=int), probes.context_row]),
                            np.concatenate([np.ones(24, dtype=bool), probes.bulk]),
                            np.concatenate([np.zeros(24, dtype=bool), probes.tail]))
        middle = Probes(*(part[probes.bulk] for part in
                          (probes.rows, probes.context_row, probes.bulk, probes.tail)))
        subject = self.subject
        self.stopwatch.restart()
        try:
            subject(middle.rows, middle.context_row)
        except CallFailed as error:
            yield failed("answers", "no answer in the middle of its domain", str(error))
            return
        yield passed("answers", f"{len(middle)} rows")
        self.stopwatch.restart()
        try:
            subject(probes.rows, probes.context_row)
            yield passed("answers_far", f"{len(probes)} rows")
        except CallFailed as error:
            yield failed("answers_far", "no answer in the tails or at the edges", str(error))
            probes = middle
        self.stopwatch.restart()
        try:
            measured = measure_direction(subject, self.domain, self.domain, probes)
        except CallFailed as error:
            yield failed("finite", "no answer near points where it had answered", str(error))
            return
        yield self.timed(behaviour.finite, "finite", measured)
        yield self.timed(behaviour.row_independence, "row_independence", measured, self.rng)
        yield self.timed(behaviour.permutation, "permutation", measured, self.rng)
        yield self.timed(behaviour.repeatable, "repeatable", measured)
        yield self.timed(behaviour.answers_stay, "answers_stay", measured)
        yield self.timed(behaviour.empty_batch, "empty_batch", subject, self.dim)
        yield behaviour.shapes("shapes", subject)
        yield behaviour.dtypes("dtypes", subject)
        yield behaviour.input_unchanged("input_unchanged", subject)
        yield from self.globally(pilot)

    def timed(self, make, name, *arguments):
        self.stopwatch.restart()
        try:
            return make(name, *arguments)
        except CallFailed as error:
            return failed(name, "no answer", str(error))

    def draw(self, rng, n):
        """n samples as an array, or `CallFailed`."""
        arguments = [rng, n]
        if self.context is not None:
            arguments.append(np.repeat(self.context[:1], n, axis=0))
        try:
            answer = in_time(self.sample, arguments, self.stopwatch.left())
        except TimeoutError:
            raise CallFailed(f"sample ran out of time: no answer within "
                             f"{self.stopwatch.seconds:g} s for n = {n}") from None
        x = np.asarray(answer)
        if x.shape != (n, self.dim) or x.dtype.kind not in "fiu":
            raise CallFailed(f"sample returned {type(answer).__name__} of shape {x.shape}, "
                             f"expected ({n}, {self.dim})")
        return x

    def samples(self):
        """Rows about the sampler; returns samples as float64, None where there are none."""
        self.stopwatch.restart()
        seed = int(self.rng.integers(2 ** 32))
        try:
            x = self.draw(np.random.default_rng(seed), SAMPLES)
            self.draw(np.random.default_rng(seed), 0)
        except CallFailed as error:
            yield failed("sample_shape", "no usable samples", str(error))
            return None
        trouble = None
        if x.dtype != self.dtype:
            trouble = f"dtype {x.dtype}, expected {self.dtype}"
        bad = np.flatnonzero(~np.all(np.isfinite(x), axis=1))
        if len(bad):
            trouble = f"sample {bad[0]} is {show(x[bad[0]])}"
        elif isinstance(self.domain, Box):
            outside = np.flatnonzero(np.any((x < self.domain.lower) | (x > self.domain.upper),
                                            axis=1))
            if len(outside):
                trouble = f"sample {outside[0]} {show(x[outside[0]])} is outside the domain"
        why = f"{len(x)} samples"
        yield failed("sample_shape", why, trouble) if trouble else passed("sample_shape", why)
        self.stopwatch.restart()
        try:
            generator = np.random.default_rng(seed)
            again, more = self.draw(generator, SAMPLES), self.draw(generator, SAMPLES)
        except CallFailed as error:
            yield failed("sample_repeatable", "a second draw got no answer", str(error))
        else:
            why = "two equal generators, then one of them again"
            if not np.array_equal(x, again):
                yield failed("sample_repeatable", why, "equal generators, different samples")
            elif np.array_equal(again, more):
                yield failed("sample_repeatable", why, "the same samples over and over")
            else:
                yield passed("sample_repeatable", why)
        x = x.astype(np.float64)
        return x[np.all(np.isfinite(x), axis=1)]

    def log_prob(self, x):
        values, _ = self.subject(x.astype(self.dtype), np.zeros(len(x), dtype=int))
        return values[:, 0].astype(np.float64)

    def globally(self, pilot):
        """Integral one, and samples where the density is."""
        if not isinstance(self.domain, Box):
            yield not_applicable("normalised", "the domain is known by samples only")
            return
        where = pilot
        if pilot is None or len(pilot) < 100:
            where = self.domain.from_line(2 * self.rng.standard_normal((2000, self.dim)))
        floor = 1e-5 if self.dtype == np.float64 else 1e-3
        self.stopwatch.restart()
        yield self.timed(global_checks.normalised, "normalised", self.log_prob, self.domain,
                         where[:4000], self.rng, floor)
        if pilot is None:
            yield not_applicable("sample_follows", "no sample function")
        elif len(pilot) < 1000:
            yield not_applicable("sample_follows", "too few finite samples")
        else:
            yield self.timed(follows, "sample_follows", self.log_prob, self.domain, pilot,
                             self.rng)


def follows(name, log_prob, domain, x, rng):
    """Samples against log_prob: through its distribution function at D = 1, else by features."""
    pilot, tested = x[:len(x) // 5], x[len(x) // 5:]
    if pilot.shape[1] == 1:
        return _probability_transform(name, log_prob, domain, pilot, tested)
    return _features(name, log_prob, domain, pilot, tested, rng)


def _probability_transform(name, log_prob, domain, pilot, tested):
    """u = F(x) is uniform; F is the integral of exp(log_prob) between grid points."""
    integral, edges, mass = global_checks.line_integral(log_prob, domain, pilot)
    if not integral.error < 1e-3:
        return not_applicable(name, f"cannot be integrated well enough: {integral.how}")
    cumulative = np.concatenate([[0], np.cumsum(mass)]) / np.sum(mass)
    u = np.interp(tested[:, 0], edges, cumulative)
    return global_checks.uniform_row(name, u, "distribution function of log_prob at the samples")


def _features(name, log_prob, domain, pilot, tested, rng, count=24):
    """Means of cosines of random projections: over samples, and under the density.

    The second by self-normalised importance sampling, so that a wrong constant in log_prob,
    which is another property, does not count here.
    """
    dim = pilot.shape[1]
    proposal = global_checks.Proposal.around(pilot, rng)
    # Where the samples do not follow the density, it may lie farther out than they do.
    for wider in (1, 3):
        proposal = global_checks.Proposal(proposal.centers, wider * proposal.root)
        y = proposal.sample(rng, 20000 * wider)
        inside = domain.contains(y)
        log_weight = np.full(len(y), -np.inf)
        log_weight[inside] = log_prob(y[inside]) - proposal.log_prob(y[inside])
        if np.any(np.isnan(log_weight)) or np.any(log_weight == np.inf):
            return failed(name, "log_prob is nan or inf near the samples")
        top = np.max(log_weight)
        if top == -np.inf:
            return failed(name, "log_prob is -inf everywhere near the samples")
        weight = np.exp(log_weight - top)
        weight /= np.sum(weight)
        effective = 1 / np.sum(weight ** 2)
        covered = effective >= 400 and np.max(weight) <= 0.02
        if covered:
            break
    if not covered:
        return not_applicable(name, "importance sampling covers the density too badly: "
                                    f"effective {effective:.0f} of {len(y)} rows")
    center, scale = np.mean(pilot, axis=0), np.std(pilot, axis=0) + 1e-300
    direction = rng.standard_normal((dim, count)) * rng.uniform(0.3, 2.5, count) / np.sqrt(dim)
    direction[:, :dim] = np.eye(dim)[:, :count] * 1.5
    phase = np.tile([0.0, np.pi / 2], count)[:count]

    def feature(rows):
        return np.cos((rows - center) / scale @ direction + phase)

    ours, theirs = feature(y), feature(tested)
    mean = weight @ ours
    variance = weight ** 2 @ (ours - mean) ** 2 + np.var(theirs, axis=0) / len(tested)
    z = np.abs(mean - np.mean(theirs, axis=0)) / np.sqrt(variance)
    k = int(np.argmax(z))
    why = f"z-scores of {count} bounded features, effective {effective:.0f} rows"
    if z[k] > global_checks.SIGMAS:
        return failed(name, why, f"feature {k}: {np.mean(theirs[:, k]):.4f} over samples, "
                      f"{mean[k]:.4f} under log_prob", float(z[k]), global_checks.SIGMAS)
    return passed(name, why, float(z[k]), global_checks.SIGMAS)
