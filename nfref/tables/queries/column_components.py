"""One column given others under a closed form: a mixture of normals and Student t."""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Array, Places
from nfref.tables.densities.gaussian import LOG_TWO_PI
from nfref.tables.densities.wide import Wide
from nfref.tables.queries.marginals import ClosedForm, others

STEPS = 26  # steps of bisection


@dataclass(frozen=True)
class Components:
    """sum_k exp(l_nk) r((t - m_nk) / s_k) / s_k, r normal or wide: rows by components.

    Parameters
    ----------
    log_weights, middle : (N, K) array
        l, which need not sum to 1: their sum is the density of the known cells; and m.
    scale : (K,) array
    wide : tuple of Wide or None, length K
        None for normals.
    """

    log_weights: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    wide: tuple

    @classmethod
    def of(
        cls,
        closed: ClosedForm,
        u: Array,
        observed: Array,
        column: int,
        context: Array | None = None,
    ) -> "Components":
        """Return the components of ``column`` for rows u (N, D) with ``observed`` columns."""
        place = len(observed) + int(np.searchsorted(others(observed, u.shape[1]), column))
        log_weights, marginals = closed.joint_and_marginals(u, observed, context)
        middle, scale = [], []
        for k, (part, (z, factor)) in enumerate(zip(closed.parts, marginals)):
            if factor is None:
                middle.append(np.zeros(len(u)))
                scale.append(1.0)
            else:
                seen = len(observed)
                middle.append(part.mean[column] + z @ factor[place, :seen])
                scale.append(np.sqrt(np.sum(factor[place, seen:] ** 2)))
            if closed.slopes[k] is not None:
                middle[-1] = middle[-1] + context @ closed.slopes[k][:, column]
        return cls(
            log_weights,
            np.stack(middle, axis=1),
            np.array(scale),
            tuple(part if isinstance(part, Wide) else None for part in closed.parts),
        )

    @property
    def log_total(self) -> Array:
        """Return the log of the integral over t, (N,)."""
        return np.logaddexp.reduce(self.log_weights, axis=1)

    def at(self, rows: Places) -> "Components":
        """Return some of the rows."""
        return replace(self, log_weights=self.log_weights[rows], middle=self.middle[rows])

    def log_density(self, t: Array) -> Array:
        """Return log q(t) of t (N, G), (N, G)."""
        parts = []
        for k, wide in enumerate(self.wide):
            z = (t - self.middle[:, k, None]) / self.scale[k]
            shape = wide.log_column(z) if wide else -0.5 * (z**2 + LOG_TWO_PI)
            parts.append(self.log_weights[:, k, None] - np.log(self.scale[k]) + shape)
        return _logsumexp(parts)

    def below(self, t: Array) -> Array:
        """Return the share of the mass below t (N, G), (N, G)."""
        from scipy.special import ndtr

        shares = np.exp(self.log_weights - self.log_total[:, None])
        total = np.zeros_like(t)
        for k, wide in enumerate(self.wide):
            z = (t - self.middle[:, k, None]) / self.scale[k]
            total = total + shares[:, k, None] * (wide.below(z) if wide else ndtr(z))
        return total

    def quantiles(self, levels: Array) -> Array:
        """Return t (N, L) of levels (L,), by bisection."""
        reach = np.where([wide is None for wide in self.wide], 40.0, 1e4) * self.scale
        low = np.repeat(np.min(self.middle - reach, axis=1)[:, None], len(levels), axis=1)
        high = np.repeat(np.max(self.middle + reach, axis=1)[:, None], len(levels), axis=1)
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            less = self.below(middle) < levels
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        return 0.5 * (low + high)


def _logsumexp(parts):
    """Return log sum exp of a list of arrays of one shape, elementwise."""
    largest = np.max(parts, axis=0)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    return largest + np.log(sum(np.exp(part - largest) for part in parts))
