"""Rows in units in which a table has about mean zero and width one."""

import numpy as np

from nfref.oracle.adapters.estimator_protocol import as_numbers
from nfref.oracle.instruments.probes import Box
from nfref.runtime.annotations import Array, Callable


def units_of(rows: Array, box: Box) -> tuple[Array, Array]:
    """Return center and scale of rows, by powers of two; 0 and 1 if they are about that already.

    A column with an end keeps its place, because its numbers are measured from that end.
    """
    low, center, high = np.quantile(rows, [0.16, 0.5, 0.84], axis=0)
    spread = 0.5 * (high - low)
    spread = np.where(spread > 0, spread, np.std(rows, axis=0))
    scale = np.where(spread > 0, 2.0 ** np.round(np.log2(np.maximum(spread, 1e-300))), 1.0)
    as_it_is = (spread > 0.25) & (spread < 4) & (np.abs(center) < 3 * spread)
    ends = np.isfinite(box.lower) | np.isfinite(box.upper)
    scale = np.where(as_it_is | (np.isfinite(box.lower) & np.isfinite(box.upper)), 1.0, scale)
    return np.where(as_it_is | ends, 0.0, center), scale


class InUnits:
    """log p of rows z, evaluated at center + scale z, with the memory layout of z."""

    def __init__(self, log_prob: Callable[[Array], Array], center: Array, scale: Array) -> None:
        self.log_prob, self.center, self.scale = log_prob, center, scale
        self.unchanged = not np.any(center) and np.all(scale == 1)

    def of(self, x: Array) -> Array:
        """Return the z of rows in the units of the table."""
        return (x - self.center) / self.scale

    def __call__(self, z: Array) -> Array:
        """Return the log-density of rows z."""
        if self.unchanged:
            x = z
        else:
            x = _like(z)
            x[...] = self.center + self.scale * z
        before, writeable = x.copy(), z.flags.writeable
        x.flags.writeable = writeable and x.flags.writeable
        found = as_numbers(self.log_prob(x))
        if not self.unchanged and x.tobytes() != before.tobytes():
            z[...] = self.of(x)  # it wrote into its argument
        return found + np.sum(np.log(self.scale)).astype(found.dtype)


def _like(z):
    """Return an empty float64 array with the memory layout of ``z``: its order and its gaps."""
    if z.flags.c_contiguous or z.flags.f_contiguous:
        return np.empty_like(z, dtype=np.float64)
    return np.empty((2 * len(z), z.shape[1]))[::2]
