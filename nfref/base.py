"""Base densities: where the latent variable z of a flow comes from.

Like a flow, a base is frozen configuration; its parameters, if it has any, come first in
every call. This file holds the contract and the standard normal; all others stand in
``nfref/bases/``, one idea a file.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
from autograd.tracer import getval

from nfref.checks import as_rows, check_count, check_rng
from nfref.structure import Structure

LOG_TWO_PI = float(np.log(2 * np.pi))


def standard_normal_log_prob(e):
    """log N(e; 0, 1) = -|e|^2 / 2 - (D/2) log 2 pi over the last axis, of length D."""
    return -0.5 * (e ** 2).sum(axis=-1) - 0.5 * e.shape[-1] * LOG_TWO_PI


def logsumexp(a):
    """log sum_k exp(a_k) over the last axis; -inf, without a warning, where every term is.

    The largest term comes out first, so that nothing overflows.
    """
    largest = np.max(getval(a), axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(a - largest), axis=-1)) + largest[..., 0]


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

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        z = as_rows("z", z, self.dim)
        return self._log_prob(self._structure.checked(params, np.finfo(z.dtype).dtype), z)

    def sample(self, params, rng, n, dtype=np.float64):
        """Draw ``n`` rows.

        Returns
        -------
        (n, D) array of ``dtype``

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or is of another kind.
        """
        check_count("n", n, minimum=0)
        params = self._structure.checked(params)
        return self._sample(params, check_rng(rng), n).astype(dtype)

    def entropy(self, params):
        """Differential entropy -E log p in nats, where a closed form exists.

        Raises
        ------
        NotImplementedError
            If there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form entropy")

    @cached_property
    def _structure(self):
        return Structure.made_by(self._init)

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

    _twin = "standard_normal"

    def __post_init__(self):
        check_count("dim", self.dim)

    def _log_prob(self, params, z):
        return standard_normal_log_prob(z)

    def _sample(self, params, rng, n):
        return rng.standard_normal((n, self.dim))

    def entropy(self, params):
        return 0.5 * self.dim * (1 + LOG_TWO_PI)
