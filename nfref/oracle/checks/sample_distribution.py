"""Samples follow a density: no value repeats, and no deformation of the density fits better.

``docs/oracle.rst`` lists what each test detects.
"""

from operator import attrgetter
from typing import NamedTuple

import numpy as np

from nfref.oracle.checks.normalisation import Whole, checked
from nfref.oracle.instruments import density_deformation
from nfref.oracle.instruments.density_deformation import Map
from nfref.oracle.instruments.guarded_calls import Timer
from nfref.oracle.instruments.importance import Proposal, bumps_by_neighbours
from nfref.oracle.report import Row, failed, inconclusive, passed, show
from nfref.runtime.annotations import Array

FEWEST, DRAWS = 6, 16000  # maps, even if they are slow; samples
SUSPECT = 0.3  # of the tolerance; beyond it more samples decide
JUMPS = (1.0, 0.3)  # of the distance between two samples
MORE = 200000
STRONG, LONGER = 0.55, 8  # of the tolerance, which right samples hardly reach; times as long
# Faults of scale below this must be detectable; otherwise the row is inconclusive.
COARSE = 0.2
REPEATS = 20  # of one value in a column; chance makes two or three, in float32
FEW = 3  # samples outside of the support
NEAR, CLOSE = 1e-2, 1e-9  # distances from an end of an interval, in standard deviations
POWER = 0.4  # least power of the distance with which the mass near an end falls


class Tried(NamedTuple):
    """A test by one deformation: a map and its step, or a jump, which has no step."""

    excess: float  # the largest mean of its terms, in tolerances
    made: Map | float | Proposal
    step: float | None
    spread: Array  # standard deviation of the terms
    samples: int


EXCESS = attrgetter("excess")


def follows(name: str, whole: Whole) -> Row:
    """Check that samples follow the density up to a constant, which is another property."""
    if not len(whole.samples) + len(whole.left_out):
        return inconclusive(name, "no sample function, or too few samples in its time")
    x = whole.samples[:DRAWS]
    at_x = checked(whole.log_density(x), x)
    row = _nowhere(name, whole, x[at_x == -np.inf])
    if row is None and (len(whole.samples) < 1000 or len(whole.pilot) < 100):
        return inconclusive(name, "too few finite samples")
    return row or _atoms(name, whole) or _moved(name, whole, x, at_x)


def _nowhere(name, whole, outside):
    """Return a failed row if samples lie on an end of their interval or outside of the support.

    Rounding puts a sample onto an end only if much of the mass is so near to it that no number lies
    between. It puts samples outside of the support only so little that a step inward leads back.
    """
    if len(whole.left_out):
        outside = np.concatenate([outside, whole.left_out])
    why = f"{len(whole.samples) + len(whole.pilot)} samples"
    for j in range(outside.shape[1] if whole.box is not None and len(outside) else 0):
        for end, inward in ((whole.box.lower[j], 1), (whole.box.upper[j], -1)):
            there = outside[outside[:, j] == end]
            if len(there) >= REPEATS and _holds_nothing(whole, there[:200], j, inward):
                words = f"{len(there)} of them are {end:.9g} in column {j}, the end of its interval"
                return failed(name, why, f"{words}, near which there is hardly any mass: clipped")
    for row in whole.pilot[:8]:
        outside = outside[whole.log_density(outside + 1e-3 * (row - outside)) == -np.inf]
    if len(outside) >= FEW:
        where = f"log_prob is -inf at {len(outside)} of them, as at {show(outside[0])}"
        return failed(name, why, where)
    return None


def _holds_nothing(whole, rows, j, inward):
    """Check that the mass near an end of column j falls as a power of the distance."""
    end, spread, center = rows[0, j], np.std(whole.pilot[:, j]), np.median(whole.pilot, axis=0)
    eps = np.finfo(np.float32 if np.array_equal(rows, rows.astype(np.float32)) else float).eps
    far, near = NEAR * spread, max(CLOSE * spread, 1e4 * float(eps) * abs(end))
    aside = (rows == whole.box.lower) | (rows == whole.box.upper)
    rows = np.where(aside, rows + 1e-3 * (center - rows), rows)  # other columns are clipped, too
    found = []
    for distance in (far, near):
        rows[:, j] = end + inward * distance
        found.append(whole.log_density(rows))
    change = np.median(found[1] - found[0])
    return near < 0.1 * far and 1 + change / np.log(near / far) > POWER


def _atoms(name, whole):
    """Return a failed row if one value of a column repeats, with few values beside it."""
    samples = np.concatenate([whole.pilot, whole.samples])
    if np.array_equal(samples, samples.astype(np.float16)):
        distinct = [len(np.unique(column)) for column in samples.T]
        if max(distinct) > 10 * REPEATS:
            return failed(name, f"{len(samples)} samples", "all of them are float16 numbers")
    single = np.array_equal(samples, samples.astype(np.float32))
    eps = float(np.finfo(np.float32 if single else np.float64).eps)
    for j, column in enumerate(samples.T):
        column = np.sort(column)
        values, counts = np.unique(column, return_counts=True)
        often = counts >= REPEATS
        width = np.maximum(64 * eps * np.abs(values[often]), 1e-12 * np.ptp(column))
        first, end = values[often] - width, values[often] + width
        within = np.searchsorted(column, end, side="right") - np.searchsorted(column, first)
        alone = np.flatnonzero(within < 1.25 * counts[often])
        if len(alone):
            k = alone[np.argmax(counts[often][alone])]
            where = f"{counts[often][k]} of them are {values[often][k]:.9g} in column {j}: clipped"
            where += ", or drawn from a list; a density gives no single value any mass"
            return failed(name, f"{len(samples)} samples", where)
    return None


def _moved(name, whole, x, at_x):
    """Deform the density by many maps (:mod:`~nfref.oracle.instruments.density_deformation`)."""
    rng, some = whole.rng, whole.pilot[:400]
    at_some = whole.log_density(some)
    seconds, found, coarse = Timer(), [], np.inf
    modes = density_deformation.modes_of(whole.pilot, whole.log_density, rng)
    for made in [
        *density_deformation.maps_of_modes(modes, whole.pilot),
        *density_deformation.maps_around(whole.pilot, rng),
    ]:
        step = 1.0
        if made.name != "shares":
            step = density_deformation.step_of(made, whole.log_density, some, at_some)
        found.append(_tried(whole, made, step, x, at_x))
        spread = max(float(found[-1].spread), 1e-12)
        if made.name.startswith("scale"):
            coarse = min(coarse, step * density_deformation.T / (2 * spread * np.sqrt(len(x))))
        if found[-1].excess > 1 or (seconds() > whole.seconds and len(found) >= FEWEST):
            break
    for jump in (*JUMPS, bumps_by_neighbours(whole.pilot, rng)):
        if max(found, key=EXCESS).excess > 1 or seconds() > 2 * whole.seconds:
            break
        found.append(_tried(whole, jump, None, x, at_x))
    worst = max(found, key=EXCESS)
    if SUSPECT < worst.excess <= 1 and whole.draw is not None:
        suspects = sorted((tried for tried in found if tried.excess > SUSPECT), key=EXCESS)[-3:]
        worst = max([worst, *_with_more(whole, suspects)], key=EXCESS)
    why = f"{len(found)} deformations of log_prob, {worst.samples} samples, the worst in units of "
    why += f"its tolerance; a scale of {1 + coarse:.3g} is detected"
    if worst.excess > 1:
        where = _words(whole, *_by_place(whole, worst, x, at_x))
        return failed(name, why, where, worst.excess, 1.0)
    if not coarse < COARSE:
        return inconclusive(name, f"{why}, but no smaller one", "", worst.excess, 1.0)
    return passed(name, why, worst.excess, 1.0)


def _tried(whole, made, step, x, at_x):
    """Test one deformation; a jump has no step."""
    if step is None:
        given = whole.pilot, whole.log_density, x, at_x, whole.rng
        mean, spread = density_deformation.jump_moments(made, *given)
    else:
        values = density_deformation.terms(made, step, whole.log_density, x, at_x)
        mean, spread = np.asarray(np.mean(values)), np.asarray(np.std(values))
    # Beside the samples that were rounded onto an end, as many have few digits left.
    excess = density_deformation.excess(mean, spread, len(x), 3 * whole.lost)
    return Tried(float(np.max(excess)), made, step, spread, len(x))


def _with_more(whole, suspects):
    """Test the suspects again, with as many new samples as there is time for."""
    seconds = Timer()
    x = whole.draw(DRAWS)
    drawn = seconds()
    at_x = checked(whole.log_density(x), x)
    needed = drawn + (2 * len(suspects) + 1) * (seconds() - drawn)
    strong = suspects[-1].excess > STRONG
    there_is = whole.seconds * (LONGER if strong else 1)
    affordable = int(there_is / max(needed, 1e-9) * len(x))
    if affordable > 2 * DRAWS:
        x = np.concatenate([x, whole.draw(min(affordable, MORE) - DRAWS)])
        at_x = np.concatenate([at_x, checked(whole.log_density(x[len(at_x) :]), x[len(at_x) :])])
    for suspect in suspects:
        yield _tried(whole, suspect.made, suspect.step, x, at_x)


def _by_place(whole, worst, x, at_x):
    """Return (map, step) of the worst test, or of a worse shift, which also looks like a width."""
    found, some = [worst], whole.pilot[:400]
    at_some = whole.log_density(some)
    for made in density_deformation.column_shifts(whole.pilot):
        step = density_deformation.step_of(made, whole.log_density, some, at_some)
        found.append(_tried(whole, made, step, x, at_x))
    worst = max(found, key=EXCESS)
    return worst.made, worst.step


def _words(whole, made, step, rounds=6):
    """Return the message for a rejected map: by how much it has to move the samples."""
    if step is None or made.name == "shares":
        return "samples visit regions in other shares than log_prob: mixture weights?"
    x, due = whole.samples[: DRAWS // 2], 0.0
    for _ in range(rounds):
        there, _ = made(x, due)
        given = whole.log_density, there, whole.log_density(there)
        values = density_deformation.terms(made, step, *given)
        # The mean over the variance is a Newton step.
        newton = np.mean(values) * step / (2 * max(float(np.var(values)), 1e-12))
        due += float(np.clip(newton, -0.5, 0.5))
    if "scale" in made.name or "tail" in made.name:
        words = f"about {np.exp(-due):.3g} times as far out as log_prob says"
        return f"{made.name}: samples are {words}"
    if made.name.startswith("shift of "):
        name = made.name.removeprefix("shift of ")
        return f"{name} is shifted by {-due:.2g} standard deviations, according to log_prob"
    return f"{made.name}: samples are off by about {-due:.2g} standard deviations, by log_prob"
