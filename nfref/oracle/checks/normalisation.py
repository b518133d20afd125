"""A density as a whole: it integrates to one.

Every test rejects a correct density with probability of about 1e-9. Its row gives the smallest
constant offset of log_prob that it would have detected.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from nfref.oracle.checks.constants import NEAR, nearest
from nfref.oracle.instruments.guarded_calls import CallFailed, Undecided
from nfref.oracle.instruments.importance import BERNSTEIN, SIGMAS, Proposal, bridge, bumps
from nfref.oracle.instruments.probes import Box, Domain
from nfref.oracle.instruments.quadrature import line_integral, mass_beyond, plane_integral
from nfref.oracle.report import INCONCLUSIVE, PASS, Row, failed, inconclusive, passed, show
from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.batching import in_blocks

# Widest tolerance, in nats, with which an offset counts as judged.
WIDEST = 1.0
DRAWS = 16000
SUSPECT, MANY = 0.3, 8  # of the tolerance; times as many samples
POLE = 64  # roundings within which a pole is +inf
# If none of 4000 samples has a weight p / q above FORWARD times the mean, forward sampling misses
# less than MISSED of the mass, at level 1e-9: (1 - MISSED)^4000.
FORWARD = 50.0
MISSED = 5e-3


@dataclass(frozen=True)
class Whole:
    """A density with its support, its samples and a generator, to be examined as a whole."""

    log_prob: Callable  # (N, D) float64 rows inside of the support -> (N,) float64
    contains: Callable  # (N, D) rows -> (N,) bool: the support
    box: Box | None  # the smallest around the support; None if the domain is known by samples
    pilot: np.ndarray  # (M, D) samples that decide where to look
    samples: np.ndarray  # (N, D) samples; empty if there is no sampler
    rng: Generator
    # Upper bound of the share of the mass that no number inside of the support holds: rounding
    # puts it onto an end, or beyond all numbers.
    lost: float = 0.0
    draw: Callable | None = None  # n -> about n more samples
    seconds: float = 1.0  # for the tests that become more powerful the longer they last
    left_out: Any = ()  # (K, D) samples on an end of the box or outside of the support
    draws: int = DRAWS  # rows of a proposal; fewer if a row takes long

    def log_density(self, x: Array) -> Array:
        """Return log_prob, and -inf outside of the support."""
        inside = self.contains(x)
        found = np.full(len(x), -np.inf)
        if np.any(inside):
            found[inside] = self.log_prob(x[inside])
        poles = np.flatnonzero(found == np.inf)
        if len(poles) and self.box is not None:
            # A pole at an end comes a few roundings before it; the mass there is among ``lost``.
            away = np.minimum(x[poles] - self.box.lower, self.box.upper - x[poles])
            step = POLE * np.spacing(np.abs(x[poles]))
            at_an_end = np.any(away <= step, axis=1)
            found[poles[at_an_end]] = -np.inf
            # A pole in the middle, or where the density ends, is a single point without mass.
            poles, step = poles[~at_an_end], step[~at_an_end]
            beside = np.stack([x[poles] - step, x[poles] + step])
            if len(poles) and np.all(self.contains(beside.reshape(-1, x.shape[1]))):
                below, above = (self.log_prob(rows) for rows in beside)
                single = (below < np.inf) & (above < np.inf) & np.isfinite(np.maximum(below, above))
                found[poles[single]] = -np.inf
        return found


def share_at_an_end(domain: Domain, samples: Array) -> float:
    """Return the ``lost`` of a Whole from all its samples: the share on an end, at most."""
    if not isinstance(domain, Box) or not len(samples):
        return 0.0
    count = np.sum(domain.contains_closed(samples) & ~domain.contains(samples))
    return (count + SIGMAS * np.sqrt(count) + BERNSTEIN) / len(samples) if count else 0.0


def checked(log_prob: Array, rows: Array) -> Array:
    """Return log-densities of rows; raise CallFailed if one is nan or +inf."""
    bad = np.flatnonzero(np.isnan(log_prob) | (log_prob == np.inf))
    if len(bad):
        raise CallFailed(f"log-density is {log_prob[bad[0]]} at {rows[bad[0]][:6]}")
    return log_prob


NO_MASS = (CallFailed, Undecided)


def normalised(name: str, whole: Whole, floor: float = 1e-5, samples_follow: bool = True) -> Row:
    """Check that the density integrates to one.

    If its samples do not follow it, they only show where the density is, and missing mass is no
    failure.
    """
    if len(whole.pilot) < 100:
        return inconclusive(name, "too few finite samples to know where to integrate")
    found = _by_quadrature(whole)
    if samples_follow:
        found = found or _by_bridge(whole)
    found = found or _by_forward(whole)
    if found is None:
        why = "neither quadrature nor sampling covers the density well enough"
        why += "" if len(whole.samples) else "; a sampler would help"
        return inconclusive(name, why + "; its samples do not follow it" * (not samples_follow))
    log_z, tolerance, how = found
    # The integral may contain the mass that no number holds, or not.
    lost = whole.lost
    if not lost and whole.box is not None and whole.pilot.shape[1] == 1:
        lost = 2 * mass_beyond(whole.log_density, whole.box)
        if len(whole.samples):  # they would show more
            lost = min(lost, 3 * BERNSTEIN / max(len(whole.samples), 1000))
        elif log_z > 0:
            lost = 0.0
    tolerance = floor + tolerance - np.log1p(-min(lost, 0.99))
    if lost > floor:
        how += f", with up to {lost:.2g} of all samples on an end of the domain"
    blind = not len(whole.samples) or not samples_follow
    if blind and log_z < -tolerance and ("sampling" in how or _is_heavy(whole)):
        why = "the integral is too small, but without samples that follow the density the rest "
        return inconclusive(name, f"{why}may be anywhere", f"integrates to exp({log_z:.8g}), not 1")
    why = f"log of the integral, by {how}; an offset of {tolerance:.2g} nats would be detected"
    if abs(log_z) > tolerance:
        row = failed(name, why, f"integrates to exp({log_z:.8g}), not 1", abs(log_z), tolerance)
        offset, words = nearest(log_z, whole.pilot.shape[1], NEAR * tolerance)
        return replace(row, hint=f"log_prob is off by {offset:.4g}{words}" if words else "")
    if tolerance > WIDEST:
        return inconclusive(name, why, "", abs(log_z), tolerance)
    return passed(name, why, abs(log_z), tolerance)


SURE = 0.1
# Mistakes in the place of a log-density, and the function of it and of D that undoes each.
MISTAKES = {
    "a logarithm to base 2": lambda found, dim: found * np.log(2),
    "a logarithm to base 10": lambda found, dim: found * np.log(10),
    "the density, not its logarithm": lambda found, dim: np.log(found),
    "minus a log-density": lambda found, dim: -found,
    "twice a log-density": lambda found, dim: 0.5 * found,
    "half of a log-density": lambda found, dim: 2 * found,
    "a log-density over D": lambda found, dim: dim * found,
}


def mistaken(name: str, whole: Whole, row: Row, mass: Row) -> Row:
    """Return a failed row, with a hint if one of MISTAKES explains the integral.

    Otherwise the hint is that of the ``mass``. A constant there may be a coincidence: it alone
    does not make samples and log_prob disagree.
    """
    if mass.verdict == PASS:
        return row
    for words, undone in MISTAKES.items():

        def log_prob(x, undone=undone):
            return undone(whole.log_prob(x), x.shape[1])

        try:  # a call that is out of time ends them all
            found = normalised(name, replace(whole, log_prob=log_prob))
        except NO_MASS:
            continue
        if found.verdict == PASS and (found.tolerance or 0.0) < SURE:
            return replace(row, hint=f"log_prob is {words}")
    return replace(row, hint=mass.hint)


FEW = 16  # rows that show whether log_prob reads a column
ROUNDS, FEWEST = 4, 400  # of adaptive sampling; effective rows of the last
CLOSE, FAR = 0.1, 0.2  # nats from 0 at which a rough log-integral is about 0, and is not


def which_is_wrong(name: str, whole: Whole, row: Row, mass: Row) -> Row:
    """Return a failed row with the hint whether the sampler or log_prob is wrong.

    A log_prob that integrates to one is right, or the density of something else. Where ``mass`` is
    not known, a rough integral is enough for a hint.
    """
    log_z = 0.0 if mass.verdict == PASS else np.nan
    if mass.verdict == INCONCLUSIVE:
        try:
            log_z = _roughly(whole)
        except NO_MASS:
            pass
    words = "the sampler and log_prob disagree"
    if mass.failed or abs(log_z) > FAR:
        value = (
            mass.where.removeprefix("log_prob ")
            if mass.failed
            else f"integrates to about exp({log_z:.2g}), not 1"
        )
        words += f"; log_prob {value}, so log_prob is wrong"
    elif abs(log_z) < CLOSE:
        words += "; the integral of log_prob is 1, so the sampler is wrong, or log_prob is that of "
        words += "another density"
    return replace(row, hint=f"{words}: {row.where}")


def _roughly(whole):
    """Return log Z by importance sampling around rows that are chosen by their weights."""
    rows = whole.pilot
    for _ in range(ROUNDS):
        proposal = Proposal.around(rows, whole.rng)
        y = proposal.sample(whole.rng, DRAWS // 4)
        weight = _weights(whole, proposal, y)
        total = np.sum(weight)
        if not (np.isfinite(total) and total > 0):
            return np.nan
        rows = y[whole.rng.choice(len(y), len(y) // 2, p=weight / total)]
    few = total**2 / np.sum(weight**2) < FEWEST
    # A narrow piece that samples found and the proposal lost would be missing from the integral.
    lost = np.mean(_weights(whole, proposal, whole.pilot) > FORWARD * total / len(y)) > MISSED
    return np.nan if few or lost else np.log(total / len(y))


def _weights(whole, proposal, rows):
    return np.exp(checked(whole.log_density(rows), rows) - proposal.log_prob(rows))


def _is_heavy(whole):
    """Check that a millionth of the mass may be a thousand widths away, in any direction."""
    dim, rng = whole.pilot.shape[1], whole.rng
    aslant = rng.standard_normal((8, dim))
    directions = np.concatenate([np.eye(dim), -np.eye(dim), aslant])
    spread = np.std(whole.pilot, axis=0)
    found = whole.log_density(np.median(whole.pilot, axis=0) + 1e3 * spread * directions)
    columns = np.where(np.arange(len(directions)) < 2 * dim, 1, dim)
    mass = found + columns * np.log(1e3) + np.sum(np.log(spread))
    return bool(np.any(mass > np.log(1e-6)))


def falls(name: str, whole: Whole, dtype: np.dtype[Any]) -> Row | None:
    """Return a failed row if log_prob is too high, too far out, for mass one; else None.

    A ball of radius R has at least exp(level) times its volume as mass.
    """
    dim, last = whole.pilot.shape[1], 0.5 * np.log(float(np.finfo(dtype).max))
    if whole.box is None or not whole.box.is_everything:
        return None
    direction = whole.rng.standard_normal((16, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    log_unit = 0.5 * dim * np.log(np.pi) - math.lgamma(0.5 * dim + 1)
    level = np.median(whole.log_density(1e3 * direction))
    log_radius = (np.log(20) - level - log_unit) / dim
    if not log_radius < last:
        return None
    far = np.exp(log_radius) * direction
    for part in (0.25, 0.5, 1):
        found = whole.log_density(far * part)
        if not np.median(found) > level - 1:
            return None
    where = f"log_prob does not fall far out: {level:.6g} at radius 1000, {found[0]:.6g} at "
    where += f"{show(far[0])}: is there a floor?"
    return failed(name, "the mass of the ball inside of these rows", where)


def reads_all(name: str, whole: Whole) -> Row | None:
    """Return a failed row if log_prob does not change along a column without bounds; else None."""
    rows = whole.pilot[:FEW]
    if whole.box is None or len(rows) < FEW:
        return None
    here, spread = whole.log_density(rows), np.std(whole.pilot, axis=0)
    if not np.any(np.isfinite(here)):
        return None
    for column in range(rows.shape[1]):
        ends = whole.box.lower[column], whole.box.upper[column]
        if np.all(np.isfinite(ends)):
            continue
        far = rows.copy()
        far[:, column] += (1e3 if ends[1] == np.inf else -1e3) * spread[column]
        if np.array_equal(whole.log_density(far), here):
            where = f"log_prob does not change with column {column}, which has no bounds"
            return failed(name, f"{FEW} rows, moved by a thousand widths", where)
    return None


def _by_quadrature(whole):
    """Return (log Z, tolerance, method) in one or two dimensions; None if it is not sure."""
    dim = whole.pilot.shape[1]
    if whole.box is None or dim > 2:
        return None
    rows = np.concatenate([whole.pilot, whole.samples])
    method = line_integral if dim == 1 else plane_integral
    integral = method(whole.log_density, whole.box, whole.pilot, rows)
    if np.isnan(integral.value) or integral.value == np.inf:
        raise CallFailed(f"log-density is nan or inf where it is integrated: {integral.how}")
    if not 10 * integral.error < 0.05 * integral.value:
        return None
    return (np.log(integral.value), 10 * integral.error / min(integral.value, 1.0), integral.how)


def _by_forward(whole):
    """Integrate by forward importance sampling if the samples show that weights are bounded."""
    if whole.box is None or 0 < len(whole.samples) < 4000:
        return None
    proposal = Proposal.around(whole.pilot, whole.rng)
    y = proposal.sample(whole.rng, min(whole.draws, DRAWS))
    weight = _weights(whole, proposal, y)
    total = np.sum(weight)
    if not np.isfinite(total) or total <= 0:
        return None
    at_samples = _weights(whole, proposal, whole.samples[:4000])
    share = np.max(weight) / total
    if np.max(at_samples, initial=0) > FORWARD * total / len(y) or share > 0.005:
        return None
    spread = np.std(weight) / np.sqrt(len(y)) / np.mean(weight)
    tolerance = SIGMAS * spread + BERNSTEIN * share + MISSED
    if tolerance > 0.2:
        return None
    return np.log(np.mean(weight)), tolerance, f"forward importance sampling, {len(y)} rows"


def _by_bridge(whole):
    """Integrate by bridge sampling between the samples and bumps around the pilot."""
    x = whole.samples[:DRAWS]
    at_pilot = whole.log_density(whole.pilot)
    usable = np.isfinite(at_pilot)
    if len(x) < 1000 or np.sum(usable) < 500:
        return None
    proposal = bumps(whole.pilot[usable], at_pilot[usable], whole.rng)
    found = _between(whole, proposal, x)
    if not np.isfinite(found.tolerance):
        return None
    if SUSPECT < abs(found.log_z) / found.tolerance <= 1 and whole.draw is not None:
        # Beyond SUSPECT of the tolerance, more new samples decide.
        x = whole.draw(MANY * DRAWS)
        found = _between(whole, proposal, x)
    return found.log_z, found.tolerance, f"bridge sampling, {len(x)} samples"


def _between(whole, proposal, x):
    """Return the Bridge between a proposal and samples x."""
    y = proposal.sample(whole.rng, len(x))
    p_at_x, p_at_y = (
        checked(in_blocks(whole.log_density, rows, block=DRAWS), rows) for rows in (x, y)
    )
    return bridge(p_at_x, proposal.log_prob(x), p_at_y, proposal.log_prob(y))
