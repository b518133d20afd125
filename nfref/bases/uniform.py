"""The uniform density on a box."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.runtime.annotations import Params, Sequence
from nfref.runtime.checks import as_array


@dataclass(frozen=True)
class Uniform(Base):
    """The uniform density on a box; log p is -inf outside it.

    Parameters
    ----------
    lower, upper : sequence of float, length D
        Corners of the box, which belong to it.
    periodic : bool, default False
        True to identify opposite sides of the box, as on a torus. Then every row has a place in the
        box, and log p is the same everywhere.
    """

    lower: Sequence[float]
    upper: Sequence[float]
    periodic: bool = False

    _converters = {"lower": as_array, "upper": as_array}

    def __post_init__(self):
        super().__post_init__()
        lower, upper = np.asarray(self.lower), np.asarray(self.upper)
        if lower.ndim != 1 or lower.shape != upper.shape or not len(lower):
            raise ValueError(
                "Uniform: expected lower and upper of one length D of at least 1, "
                f"got shapes {lower.shape} and {upper.shape}"
            )
        if not np.all((lower < upper) & np.isfinite(upper - lower)):
            raise ValueError(
                f"Uniform: expected finite lower < upper, got {lower.tolist()} and {upper.tolist()}"
            )
        self._set(lower=tuple(lower.tolist()), upper=tuple(upper.tolist()))

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return len(self.lower)

    def _log_prob(self, params, z):
        lower, upper = np.asarray(self.lower, z.dtype), np.asarray(self.upper, z.dtype)
        inside = np.all((z >= lower) & (z <= upper), axis=1) | self.periodic
        return np.where(inside, np.asarray(-self.entropy(params), z.dtype), -np.inf)

    def _sample(self, params, rng, n):
        return rng.uniform(self.lower, self.upper, (n, self.dim))

    def entropy(self, params: Params) -> float:
        """Return the log of the volume of the box, in nats."""
        return float(np.sum(np.log(np.subtract(self.upper, self.lower))))
