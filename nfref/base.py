"""Base densities: where the latent variable z of a flow comes from.

Like a flow, a base is frozen configuration; its parameters, if it has any, come first in
every call.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref import params as trees
from nfref.checks import as_rows, check_count, check_rng

LOG_TWO_PI = float(np.log(2 * np.pi))


class Base:
    """A density with closed-form log-probability and exact sampling.

    A subclass is a frozen dataclass with ``dim`` and implements ``_init(rng)``,
    ``_log_prob(params, z)`` and ``_sample(params, rng, n)``.
    """

    def init(self, rng):
        """Draw parameters.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        return self._init(check_rng(rng))

    def log_prob(self, params, z):
        """Log-density in nats.

        Parameters
        ----------
        params : nested dicts and lists of arrays
        z : (N, D) array

        Returns
        -------
        (N,) array
        """
        z = as_rows("z", z, self.dim)
        return self._log_prob(trees.cast(params, np.finfo(z.dtype).dtype), z)

    def sample(self, params, rng, n, dtype=np.float64):
        """Draw ``n`` rows.

        Returns
        -------
        (n, D) array of ``dtype``
        """
        check_count("n", n, minimum=0)
        return self._sample(params, check_rng(rng), n).astype(dtype)

    def entropy(self, params):
        """Differential entropy -E log p in nats, where a closed form exists.

        Raises
        ------
        NotImplementedError
            If there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form entropy")

    def _init(self, rng):
        return {}


@dataclass(frozen=True)
class StandardNormal(Base):
    """The standard normal: log p(z) = -|z|^2 / 2 - (D/2) log 2 pi.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def __post_init__(self):
        check_count("dim", self.dim)

    def _log_prob(self, params, z):
        return -0.5 * np.sum(z ** 2, axis=1) - 0.5 * self.dim * LOG_TWO_PI

    def _sample(self, params, rng, n):
        return rng.standard_normal((n, self.dim))

    def entropy(self, params):
        return 0.5 * self.dim * (1 + LOG_TWO_PI)
