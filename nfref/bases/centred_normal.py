"""The standard normal density of particles with centre of mass 0."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.bases.standard_normal import LOG_TWO_PI
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import at_least


def check_particles(particles: int, dim: int) -> None:
    """Raise ValueError unless ``particles`` divides D."""
    if dim % particles:
        raise ValueError(f"particles: expected a divisor of dim {dim}, got {particles}")


def check_centred(z: Array, particles: int) -> None:
    """Raise ValueError unless each row has its centre of mass at 0, up to rounding."""
    n, dim = z.shape
    x = getval(z).reshape(n, particles, dim // particles)
    scale = np.finfo(x.dtype).eps ** 0.5 * (1 + np.max(np.abs(x), axis=(1, 2)))
    off = np.max(np.abs(np.mean(x, axis=1)), axis=1)
    bad = np.flatnonzero(~(off < scale))
    if len(bad):
        raise ValueError(
            f"z: expected rows with centre of mass 0, got one {off[bad[0]]:.6g} off in row {bad[0]}"
        )


@dataclass(frozen=True)
class CentredNormal(Base):
    """The standard normal of the (M - 1) n-dimensional space of rows with centre of mass 0.

    log p(z) = -|z|^2 / 2 - (M - 1) n / 2 log 2 pi, with respect to the volume of that space.

    Parameters
    ----------
    dim : int
        D = M n.
    particles : int
        M, at least 2; a row holds the n coordinates of the first particle, then of the second.
    """

    dim: int
    particles: int

    _converters = {"particles": at_least(2)}

    def __post_init__(self):
        super().__post_init__()
        check_particles(self.particles, self.dim)

    @property
    def _free(self):
        """The dimension (M - 1) n of the space."""
        return self.dim - self.dim // self.particles

    def _log_prob(self, params, z):
        check_centred(z, self.particles)
        return -0.5 * np.sum(z**2, axis=1) - 0.5 * self._free * LOG_TWO_PI

    def _sample(self, params, rng, n):
        z = rng.standard_normal((n, self.particles, self.dim // self.particles))
        return (z - np.mean(z, axis=1, keepdims=True)).reshape(n, self.dim)

    def entropy(self, params: dict[str, Array]) -> float:
        """Return (M - 1) n / 2 (1 + log 2 pi), in nats."""
        return 0.5 * self._free * (1 + LOG_TWO_PI)
