"""A test of samples against their density: deform the density.

Stein's identity E[div f + f . grad log p] = 0 states that moving p a little along any field f does
not change its integral. It needs a smooth p that vanishes at all edges, and its terms have no
variance where the score has none. Its form in finite steps needs nothing. For every p, every
one-to-one map m of the space with Jacobian determinant J, and a(r) = 1 / (1 + exp(-r)),

    E_p[a(r_+)] = E_p[a(r_-)],     r_+ = log p(m(x)) + log J(x) - log p(x),

with ``r_-`` the same for the inverse of m. Both sides are int p p_m / (p + p_m), where m maps the
density p_m onto p: one side over x, the other over m(x). That is bridge sampling (see
:mod:`nfref.oracle.instruments.importance`) between p and a copy of it, whose two constants are
equal. For a small step, m(x) = x + e f(x), the difference ``a(r_+) - a(r_-)`` is e / 2 times
Stein's integrand, which is the score of the samples' likelihood under that deformation. So no test
is more sensitive to a sampler that is off by a little along f. Also

    E[a(r) (h(x') - h(x))] = 0,     x' = x + d,   d from any symmetric distribution

for every function h: this is the change of the mean of h in one step of Barker's sampler. It
reveals mass in the wrong region, and columns whose dependence is lost. The same holds if x' is
independent of x, with a density q, and r = log p(x') - log q(x') - log p(x) + log q(x). This
compares pieces of which one is much narrower than the other.

All terms lie between -1 and 1, so the level of the tests holds on heavy tails, at edges and at
jumps. The mean of n terms with standard deviation s is rejected beyond

    t s / sqrt(n) + t^2 / (2 n),     t^2 = 2 log(2 F / level) for F such tests,

the form of Bernstein's inequality with the measured variance. A sum of symmetric terms, divided by
its own norm, exceeds the first part with probability 2 exp(-t^2 / 2) at most, for every
distribution of the terms. The second part covers terms so rare that the sample for the variance may
hold none: terms of rate c / n are all missed with probability exp(-c).
"""

from dataclasses import dataclass

import numpy as np

from nfref.oracle.instruments.importance import LEVEL, Proposal, _logistic, _middle_half
from nfref.runtime.annotations import Array, Callable, Generator

STEP = 0.1  # the step that measures the size of log-ratios
LARGEST = 0.5
WAVES = 24  # along the columns, and along other directions if there are fewer columns
SHIFTS, SINGLE = 16, 40  # most shifts of columns; maps of single columns and random directions
SOME, LEVELS = 400, (0.05, 0.25, 0.5, 0.75, 0.95)  # pilot rows; quantiles of log p at these
BLOCK = 2048  # rows whose waves fit in the processor's cache
STARTS, MODES, VALLEY = 48, 5, 0.5  # rows at which modes are looked for; modes; nats between them
TESTS = 400  # F, more than the tests of any one density
T = float(np.sqrt(2 * np.log(2 * TESTS / LEVEL)))


@dataclass(frozen=True)
class Frame:
    """Coordinates in which a density is about standard: x = center + root u."""

    center: np.ndarray
    root: np.ndarray

    def to(self, x: Array) -> Array:
        """Return the coordinates u of rows x."""
        return np.linalg.solve(self.root, (x - self.center).T).T

    def back(self, u: Array) -> Array:
        """Return the rows x of coordinates u."""
        return self.center + u @ self.root.T


@dataclass(frozen=True)
class Map:
    """A one-to-one map: (u, step) -> (image, log J); minus the step gives the inverse."""

    name: str
    frame: Frame
    move: Callable[..., tuple[Array, Array]]

    def __call__(self, x: Array, step: float) -> tuple[Array, Array]:
        """Return the image of rows x and the logarithm of the Jacobian determinant."""
        u, log_jacobian = self.move(self.frame.to(x), step)
        return self.frame.back(u), log_jacobian


def _stretch(which, beyond):
    """Return a move that scales the distance from +-beyond by exp(step) in some coordinates."""

    def move(u, step):
        part = u[:, which]
        excess = np.maximum(np.abs(part) - beyond, 0)
        u = u.copy()
        u[:, which] = part + np.sign(part) * excess * np.expm1(step)
        return u, step * np.sum(excess > 0, axis=1)

    return move


def _power(u, step):
    """Map the radius r to sinh(exp(step) asinh(r)): far out, a power of it."""
    radius = np.sqrt(np.sum(u**2, axis=1) / u.shape[1])
    radius = np.maximum(radius, 1e-100)
    angle = np.arcsinh(radius)
    image = np.sinh(np.exp(step) * angle)
    ratio = image / radius
    slope = step + 0.5 * np.log1p(image**2) - 0.5 * np.log1p(radius**2)
    return u * ratio[:, None], slope + (u.shape[1] - 1) * np.log(ratio)


def _linear(matrix):
    """Return the move exp(step matrix) for a matrix with trace zero: a shear or a rotation."""
    from scipy.linalg import expm

    return lambda u, step: (u @ expm(step * matrix).T, np.zeros(len(u)))


def _shift(direction):
    return lambda u, step: (u + step * direction, np.zeros(len(u)))


def column_shifts(pilot: Array) -> list[Map]:
    """Return shifts of the first columns, each alone."""
    each = _each(pilot)
    columns = enumerate(np.eye(pilot.shape[1])[:SHIFTS])
    return [Map(f"shift of column {j}", each, _shift(row)) for j, row in columns]


def _each(pilot):
    center = np.median(pilot, axis=0)
    spread = np.median(np.abs(pilot - center), axis=0) / 0.6745 + 1e-300
    return Frame(center, np.diag(spread))


def maps_around(pilot: Array, rng: Generator) -> list[Map]:
    """Return maps of several widths and directions, the most sensitive first.

    ``pilot`` are other samples than those of the test.
    """
    dim = pilot.shape[1]
    center, root = _middle_half(pilot)
    whole = Frame(center, root)
    each = _each(pilot)
    size = np.abs(each.to(pilot))
    everything = np.arange(dim)
    far = {share: np.quantile(size, share, axis=0) for share in (0.9, 0.98)}
    found = [
        Map("scale", whole, _stretch(everything, 0.0)),
        *(
            Map(f"scale beyond the {share:.0%} closest", each, _stretch(everything, far[share]))
            for share in far
        ),
        Map("tail", whole, _power),
        Map("scale of each column", each, _stretch(everything, 0.0)),
        Map("tail of each column", each, _power),
    ]
    single = []
    for j in rng.permutation(dim):
        one, direction = np.array([j]), np.eye(dim)[j]
        single += [
            Map(f"scale of column {j}", each, _stretch(one, 0.0)),
            Map(f"shift of column {j}", each, _shift(direction)),
            Map(f"tails of column {j}", each, _stretch(one, far[0.98][j])),
        ]
    for _ in range(dim if dim > 1 else 0):
        matrix = rng.standard_normal((dim, dim)) / np.sqrt(dim)
        matrix -= np.trace(matrix) / dim * np.eye(dim)
        single += [
            Map("a linear combination", whole, _linear(matrix)),
            Map("a direction", whole, _shift(rng.standard_normal(dim) / np.sqrt(dim))),
        ]
    chosen = np.sort(rng.permutation(len(single))[:SINGLE])
    return found + [single[k] for k in chosen]


def step_of(made: Map, log_density: Callable[..., Array], pilot: Array, at_pilot: Array) -> float:
    """Return the step for which most log-ratios at the pilot are about one: they say the most."""
    moved, log_jacobian = made(pilot, STEP)
    ratio = np.abs(log_density(moved) + log_jacobian - at_pilot)
    ratio = ratio[np.isfinite(ratio) & (ratio > 1e-9)]
    typical = float(np.quantile(ratio, 0.75)) if len(ratio) > 20 else 1.0
    return float(np.clip(STEP / max(typical, 1e-9), 1e-4, LARGEST))


def terms(made: Map, step: float, log_density: Callable, x: Array, at_x: Array) -> Array:
    """Return ``a(r_+) - a(r_-)`` (N,), with mean zero if the samples follow the density."""
    sides = []
    for sign in (1.0, -1.0):
        moved, log_jacobian = made(x, sign * step)
        sides.append(_acceptance(log_density(moved) + log_jacobian, at_x))
    return sides[0] - sides[1]


def _acceptance(there, here):
    with np.errstate(invalid="ignore"):
        ratio = there - here
    return np.where(np.isnan(ratio), 0.0, _logistic(np.nan_to_num(ratio, nan=0.0)))


def modes_of(pilot: Array, log_density: Callable[..., Array], rng: Generator) -> Array:
    """Return (K, D) middles of modes between which the density is lower, the highest first.

    A middle is the mean of the neighbours of a row, and then of the neighbours of that mean.
    """
    spread = np.std(pilot, axis=0) + 1e-300
    scaled = pilot / spread
    middles = pilot[rng.permutation(len(pilot))[:STARTS]]
    for share in (0.1, 0.02, 0.02):
        near, count = middles / spread, max(int(share * len(pilot)), 12)
        square = np.sum(scaled**2, axis=1) - 2 * near @ scaled.T
        closest = np.argpartition(square, min(count, len(pilot) - 1), axis=1)[:, :count]
        middles = np.mean(pilot[closest], axis=1)
    level = log_density(middles)
    kept: list[int] = []
    for k in np.argsort(-level):
        step = np.array([0.25, 0.5, 0.75])[:, None] * (middles[kept] - middles[k])[:, None]
        between = (middles[k] + step).reshape(-1, pilot.shape[1])
        lowest = log_density(between).reshape(-1, 3).min(axis=1) if kept else np.zeros(0)
        if np.isfinite(level[k]) and np.all(lowest < level[k] - VALLEY) and len(kept) < MODES:
            kept.append(k)
    return middles[kept]


def maps_of_modes(modes: Array, pilot: Array) -> list[Map]:
    """Return translations from mode to mode, and one scaling within balls around all of them.

    A translation compares the shares of the samples that two modes have.
    """
    if len(modes) < 2:
        return []
    each = _each(pilot)
    middles = each.to(modes)
    distance = np.linalg.norm(middles[:, None] - middles, axis=2)
    radii = 0.5 * np.min(distance + np.where(np.eye(len(modes)) > 0, np.inf, 0), axis=1)
    pairs = [(i, j) for i in range(len(modes)) for j in range(i)]
    return [
        Map("scale within modes", each, _within_balls(middles, radii)),
        *(Map("shares", each, _shift(middles[i] - middles[j])) for i, j in pairs),
    ]


def _within_balls(centers, radii):
    """Return a move within disjoint balls: part t of a radius becomes t e^s / (1 - t + t e^s)."""

    def move(u, step):
        offset = u[:, None] - centers
        part = np.linalg.norm(offset, axis=2) / radii
        ball = np.argmin(part, axis=1)
        row = np.arange(len(u))
        part, offset = part[row, ball], offset[row, ball]
        inside = (part < 1) & (part > 0)
        whole = 1 - part + part * np.exp(step)
        ratio = np.where(inside, np.exp(step) / whole, 1.0)
        log_jacobian = u.shape[1] * np.log(ratio) - np.where(inside, np.log(np.abs(whole)), 0.0)
        return centers[ball] + offset * ratio[:, None], log_jacobian

    return move


def jump_moments(
    jump: float | Proposal,
    pilot: Array,
    log_density: Callable,
    x: Array,
    at_x: Array,
    rng: Generator,
) -> tuple[Array, Array]:
    """Return mean and standard deviation (K,) of the terms a(r) (h(x') - h(x)) of all rows.

    x' - x is the difference of two pilot rows times ``jump``, or x' is a row of the proposal. h are
    half of the waves, and of these shifted, along the columns and other directions, and whether
    log p is above a level.
    """
    dim, center = pilot.shape[1], np.median(pilot, axis=0)
    scale = np.subtract(*np.quantile(pilot, [0.84, 0.16], axis=0)) / 2 + 1e-300
    way = rng.standard_normal((dim, WAVES)) / np.sqrt(dim) * rng.uniform(0.3, 2.5, WAVES)
    way[:, :dim] = 1.5 * np.eye(dim)[:, :WAVES]
    levels = np.quantile(log_density(pilot[:SOME]), LEVELS, method="nearest")
    if isinstance(jump, Proposal):
        there = jump.sample(rng, len(x))
        at_there = log_density(there)
        accepted = _acceptance(at_there - jump.log_prob(there), at_x - jump.log_prob(x))
    else:
        first, second = rng.integers(len(pilot), size=(2, len(x)))
        there = x + jump * (pilot[first] - pilot[second])
        at_there = log_density(there)
        accepted = _acceptance(at_there, at_x)
    moves = np.flatnonzero(accepted)
    total = np.zeros((2, 2 * WAVES + len(LEVELS)))
    for start in range(0, len(moves), BLOCK):
        some = moves[start : start + BLOCK]
        old, new = ((rows[some] - center) / scale @ way for rows in (x, there))
        waves = np.cos(new) - np.cos(old), np.sin(new) - np.sin(old)
        above = ((log_p[some, None] > levels).astype(float) for log_p in (at_there, at_x))
        change = np.concatenate([*np.multiply(0.5, waves), np.subtract(*above)], axis=1)
        values = accepted[some, None] * change
        total += np.sum(values, axis=0), np.sum(values * values, axis=0)
    mean, square = total / len(x)
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def excess(mean: Array, spread: Array, n: int, lost: float = 0.0) -> Array:
    """Return means of n terms in tolerances; rounding moved a share ``lost``.

    ``spread`` is the standard deviation of the terms.
    """
    allowed = T * spread / np.sqrt(n) + T**2 / (2 * n) + lost
    return np.abs(mean) / allowed
