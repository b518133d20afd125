"""The points at which a map is probed: the bulk, the tails, the origin, the edges of its domain."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator

# Numbers in all numerical Jacobians together; one takes some thirty times D^2.
NUMBERS = 1 << 20
FEWEST = 6
ENOUGH, LONGER = 12, 4  # up to ENOUGH points, derivatives may take LONGER times the time


@dataclass(frozen=True)
class Box:
    """A domain that is a product of open intervals; each end may be infinite."""

    lower: np.ndarray  # (D,) float64
    upper: np.ndarray  # (D,) float64

    @property
    def is_everything(self) -> bool:
        """True when the box is all of R^D."""
        return not np.any(np.isfinite([self.lower, self.upper]))

    @property
    def _columns(self) -> tuple[Array, ...]:
        """Masks (D,): coordinates with no end, with a lower one, with an upper one, and with both.

        They lie on a line, a half line that rises or falls, and an interval.
        """
        low, high = np.isfinite(self.lower), np.isfinite(self.upper)
        return ~low & ~high, low & ~high, ~low & high, low & high

    def from_line(self, t: Array) -> Array:
        """Map rows of R^D into the box, coordinate by coordinate, monotonically."""
        x, t = np.array(t, dtype=np.float64), np.clip(t, -30, 30)
        _, rising, falling, both = self._columns
        low, high = self.lower, self.upper
        x[:, rising] = low[rising] + np.exp(t[:, rising])
        x[:, falling] = high[falling] - np.exp(-t[:, falling])
        x[:, both] = low[both] + (high - low)[both] * (1 / (1 + np.exp(-t[:, both])))
        return x

    def contains(self, x: Array) -> Array:
        """Return (N,) bool: rows strictly inside."""
        return np.all((x > self.lower) & (x < self.upper), axis=1)

    def contains_closed(self, x: Array) -> Array:
        """Return (N,) bool: rows inside or on an end of an interval."""
        return np.all((x >= self.lower) & (x <= self.upper), axis=1)

    def log_base(self, z: Array) -> Array:
        """Return the log of a density: normal on a line, exponential on a half line, or uniform."""
        line, rising, falling, both = self._columns
        total = np.sum(-0.5 * z[:, line] ** 2 - 0.5 * np.log(2 * np.pi), axis=1)
        total -= np.sum(z[:, rising] - self.lower[rising], axis=1)
        total -= np.sum(self.upper[falling] - z[:, falling], axis=1)
        total -= np.sum(np.log((self.upper - self.lower)[both]))
        return np.where(self.contains(z), total, -np.inf)

    def sample_base(self, rng: Generator, n: int) -> Array:
        """Return samples of that density, as quantiles of uniforms so that ends are left out."""
        from scipy.special import ndtri

        z = rng.uniform(1e-12, 1 - 1e-12, (n, len(self.lower)))
        line, rising, falling, both = self._columns
        z[:, line] = ndtri(z[:, line])
        z[:, rising] = self.lower[rising] - np.log1p(-z[:, rising])
        z[:, falling] = self.upper[falling] + np.log1p(-z[:, falling])
        z[:, both] = self.lower[both] + (self.upper - self.lower)[both] * z[:, both]
        return z


@dataclass(frozen=True)
class SampledDomain:
    """A domain known only by a function that samples it; no row is known to lie outside."""

    draw: Callable[[Generator, int], Array]

    is_everything = False
    lower, upper = -np.inf, np.inf

    def contains(self, x: Array) -> Array:
        """Return (N,) bool: True for every row."""
        return np.ones(len(x), dtype=bool)


Domain: TypeAlias = Box | SampledDomain


def as_domain(name: str, domain: Any, dim: int) -> Domain:
    """Return the domain for None (all of R^D), a pair (lower, upper), or a sampling function."""
    if domain is None:
        return Box(np.full(dim, -np.inf), np.full(dim, np.inf))
    if callable(domain):
        return SampledDomain(domain)
    try:
        ends = (np.asarray(end, dtype=np.float64) for end in domain)
        lower, upper = (np.broadcast_to(end, (dim,)) for end in ends)
    except (TypeError, ValueError):
        words = f"expected None, a pair (lower, upper) of numbers or ({dim},) arrays, or a "
        words += f"function (rng, n) -> (n, {dim}), got {domain!r}"
        raise ValueError(f"{name}: {words}") from None
    if not np.all(lower < upper):
        raise ValueError(f"{name}: expected lower < upper, got {lower} and {upper}")
    return Box(lower, upper)


@dataclass(frozen=True)
class Probes:
    """The points at which one direction is probed."""

    rows: np.ndarray  # (P, D)
    context_row: np.ndarray  # (P,): the row of the context for each point
    bulk: np.ndarray  # (P,) bool: points from the middle of the domain
    tail: np.ndarray  # (P,) bool: points far out

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, chosen: Array) -> "Probes":
        """Return some of these points."""
        return Probes(*(part[chosen] for part in vars(self).values()))

    def affordable(self, rows: float) -> "Probes":
        """Return the points for which there is time: a part of each kind, half from the bulk."""
        dim = self.rows.shape[1]
        in_time = rows / (30 * dim)
        in_time = int(max(in_time, min(ENOUGH, LONGER * in_time)))
        most = max(FEWEST, min(NUMBERS // dim**2, in_time))
        if len(self) <= most:
            return self
        kept = np.zeros(len(self), dtype=bool)
        for kind in (self.bulk, self.tail, ~self.bulk & ~self.tail):
            index = np.flatnonzero(kind)
            least = most / 2 if kind is self.bulk else 0
            share = min(int(np.ceil(max(most * len(index) / len(self), least))), len(index))
            kept[index[np.linspace(0, len(index) - 1, share).astype(int)] if share else []] = True
        return self.only(kept)

    def join(self, rows: Array, context_row: Array) -> "Probes":
        """Return these probes and more points, which are neither bulk nor tail."""
        neither = np.zeros(len(rows), dtype=bool)
        return self.before(Probes(rows.astype(self.rows.dtype), context_row, neither, neither))

    def before(self, other: "Probes") -> "Probes":
        """Return these probes, then others."""
        return Probes(*map(np.concatenate, zip(vars(self).values(), vars(other).values())))


def make_probes(
    rng: Generator, domain: Box | SampledDomain, dim: int, dtype: DTypeLike, contexts: int
) -> "Probes":
    """Return points of a domain, with ``contexts`` rows of context.

    The bulk is standard normal. Wide points are three times as wide. Tails are single coordinates
    at +-8 and whole rows at radius 30, 100 and 1000. Further points are the origin, points very
    near it, and points with single coordinates at zero. In a bounded domain all of these are first
    squeezed into it, so the tails become its edges.
    """
    few = max(2, min(8, 64 // dim))
    bulk = rng.standard_normal((3 * few, dim))
    if isinstance(domain, SampledDomain):
        rows = np.asarray(domain.draw(rng, 6 * few), dtype=dtype)
        if rows.shape != (6 * few, dim):
            words = f"expected the sampler to return shape {(6 * few, dim)}, got {rows.shape}"
            raise ValueError(f"domain: {words}")
        everything = np.ones(len(rows), dtype=bool)
        return Probes(rows, rng.integers(contexts, size=len(rows)), everything, ~everything)
    wide = 3 * rng.standard_normal((2 * few, dim))
    axes = 8 * np.concatenate([np.eye(dim), -np.eye(dim)])[: 4 * few]
    axes = axes + 0.3 * rng.standard_normal(axes.shape)
    directions = rng.standard_normal((9, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    far = np.repeat([30.0, 100.0, 1000.0], 3)[:, None] * directions
    near = np.concatenate([np.zeros((1, dim)), 1e-8 * directions[:1], 1e-3 * directions[1:2]])
    partly = rng.standard_normal((2, dim)) * (rng.random((2, dim)) < 0.5)
    rows = np.concatenate([bulk, wide, axes, far, near, partly])
    rows = domain.from_line(rows).astype(dtype)
    index = np.arange(len(rows))
    is_bulk = index < len(bulk)
    is_tail = (index >= len(bulk) + len(wide)) & (index < len(rows) - len(near) - len(partly))
    # Rounding to the dtype may have put a point onto an end of its interval.
    inside = domain.contains(rows.astype(np.float64))
    context_row = rng.integers(contexts, size=len(rows))
    return Probes(rows[inside], context_row[inside], is_bulk[inside], is_tail[inside])


def wide_rows(domain: Box, rng: Generator, count: int, dim: int, dtype: DTypeLike) -> Array:
    """Return at most ``count`` rows of a box: the bulk, and up to four times as wide."""
    rows = rng.standard_normal((count, dim)) * rng.choice([1.0, 1.0, 2.0, 4.0], (count, 1))
    rows = domain.from_line(rows).astype(dtype)
    return rows[domain.contains(rows.astype(np.float64))]


def step_scale(domain: Domain, rows: Array) -> Array:
    """Return the largest steps for differentiation: about the size, or 1, within the domain."""
    rows = rows.astype(np.float64)
    if isinstance(domain, SampledDomain):
        return np.maximum(np.abs(rows), 0.1) * 0.01
    margin = np.minimum(rows - domain.lower, domain.upper - rows)
    return np.minimum(np.maximum(np.abs(rows), 1.0), margin)
