"""The uniform density of the sphere."""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import at_least


def log_area_of_sphere(dim: int) -> float:
    """Return the log of the area of the unit sphere of D numbers, 2 pi^(D/2) / Gamma(D/2)."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def check_on_sphere(z: Array) -> None:
    """Raise ValueError unless each row has the length 1, up to rounding."""
    lengths = numpy.hypot.reduce(getval(z), axis=1)  # squares may overflow
    bad = np.flatnonzero(~(np.abs(lengths - 1) < np.finfo(lengths.dtype).eps ** 0.5))
    if len(bad):
        raise ValueError(
            f"z: expected points of the unit sphere, got a row of length {lengths[bad[0]]:.6g} "
            f"in row {bad[0]}"
        )


@dataclass(frozen=True)
class UniformSphere(Base):
    """The uniform density of the unit sphere of D numbers, with respect to its area.

    Parameters
    ----------
    dim : int
        D, at least 2; the sphere has D - 1 dimensions.
    """

    dim: int

    _converters = {"dim": at_least(2)}

    def _log_prob(self, params, z):
        check_on_sphere(z)
        return np.zeros(len(z), getval(z).dtype) - log_area_of_sphere(self.dim)

    def _sample(self, params, rng, n):
        z = rng.standard_normal((n, self.dim))
        return z / np.sqrt(np.sum(z * z, axis=1, keepdims=True))

    def entropy(self, params: dict[str, Array]) -> float:
        """Return the log of the area, in nats."""
        return log_area_of_sphere(self.dim)
