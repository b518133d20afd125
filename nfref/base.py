"""Base densities: where the latent variable z of a flow comes from.

Like a flow, a base is frozen configuration; its parameters, if it has any, come first in
every call.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
from autograd.tracer import getval

from nfref import params as trees
from nfref.checks import as_array, as_rows, check_count, check_rng
from nfref.networks.activations import softplus

LOG_TWO_PI = float(np.log(2 * np.pi))


def standard_normal_log_prob(e):
    """log N(e; 0, 1) = -|e|^2 / 2 - (D/2) log 2 pi over the last axis, of length D."""
    return -0.5 * np.sum(e ** 2, axis=-1) - 0.5 * e.shape[-1] * LOG_TWO_PI


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
        return self._log_prob(trees.checked(params, self._shapes, np.finfo(z.dtype).dtype), z)

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
        params = trees.checked(params, self._shapes)
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
    def _shapes(self):
        return trees.shapes_made_by(self._init)

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


@dataclass(frozen=True)
class DiagonalNormal(Base):
    """A normal with learned location and scales: z_i = m_i + exp(s_i) e_i, e standard normal.

    It starts as the standard normal. Samples are differentiable in the parameters.

    Parameters
    ----------
    dim : int

    Notes
    -----
    Parameters in ``params``: ``location`` m and ``log_scale`` s, each (D,).
    """

    dim: int

    def __post_init__(self):
        check_count("dim", self.dim)

    def _init(self, rng):
        return {"location": np.zeros(self.dim), "log_scale": np.zeros(self.dim)}

    def _log_prob(self, params, z):
        e = (z - params["location"]) * np.exp(-params["log_scale"])
        return standard_normal_log_prob(e) - np.sum(params["log_scale"])

    def _sample(self, params, rng, n):
        e = rng.standard_normal((n, self.dim))
        return params["location"] + np.exp(params["log_scale"]) * e

    def entropy(self, params):
        return 0.5 * self.dim * (1 + LOG_TWO_PI) + np.sum(params["log_scale"])


@dataclass(frozen=True)
class FullNormal(Base):
    """A normal with learned location and covariance: z = m + L e, e standard normal.

    L is lower triangular with a positive diagonal, so that every parameter gives a valid
    covariance L L^T and every covariance has one L. It starts as the standard normal.
    Samples are differentiable in the parameters.

    Parameters
    ----------
    dim : int

    Notes
    -----
    Parameters in ``params``: ``location`` m (D,); ``log_diagonal`` (D,), log L_ii; ``lower``
    (D, D), of which the part strictly below the diagonal is that of L and the rest unused.
    """

    dim: int

    def __post_init__(self):
        check_count("dim", self.dim)

    def _init(self, rng):
        return {"location": np.zeros(self.dim), "log_diagonal": np.zeros(self.dim),
                "lower": np.zeros((self.dim, self.dim))}

    def factor(self, params):
        """The Cholesky factor L, (D, D)."""
        return np.tril(params["lower"], -1) + np.diag(np.exp(params["log_diagonal"]))

    def _log_prob(self, params, z):
        # A general solve: autograd's triangular one would bring all of scipy to every import.
        e = np.linalg.solve(self.factor(params), (z - params["location"]).T).T
        return standard_normal_log_prob(e) - np.sum(params["log_diagonal"])

    def _sample(self, params, rng, n):
        return params["location"] + rng.standard_normal((n, self.dim)) @ self.factor(params).T

    def entropy(self, params):
        return 0.5 * self.dim * (1 + LOG_TWO_PI) + np.sum(params["log_diagonal"])


@dataclass(frozen=True)
class Logistic(Base):
    """The standard logistic in every coordinate: p(z_i) = s(z_i) s(-z_i), s the sigmoid.

    The prior that NICE (Dinh et al. 2014, arXiv:1410.8516), section 3.4, prefers for its better
    behaved gradient: that of log p is -tanh(z_i / 2), within (-1, 1) however far z_i is out.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def __post_init__(self):
        check_count("dim", self.dim)

    def _log_prob(self, params, z):
        return -np.sum(softplus(z) + softplus(-z), axis=1)      # log s(z) = -softplus(-z)

    def _sample(self, params, rng, n):
        return rng.logistic(size=(n, self.dim))

    def entropy(self, params):
        return 2.0 * self.dim


@dataclass(frozen=True)
class Uniform(Base):
    """The uniform density on a box; log p is -inf outside of it.

    Parameters
    ----------
    lower, upper : sequence of float, length D
        Corners of the box, which belong to it.
    """

    lower: tuple
    upper: tuple

    def __post_init__(self):
        lower, upper = as_array("lower", self.lower), as_array("upper", self.upper)
        if lower.ndim != 1 or lower.shape != upper.shape or not len(lower):
            raise ValueError("Uniform: expected lower and upper of one length D of at least 1, "
                             f"got shapes {lower.shape} and {upper.shape}")
        if not np.all((lower < upper) & np.isfinite(upper - lower)):
            raise ValueError("Uniform: expected finite lower < upper, "
                             f"got {lower.tolist()} and {upper.tolist()}")
        object.__setattr__(self, "lower", tuple(lower.tolist()))
        object.__setattr__(self, "upper", tuple(upper.tolist()))

    @property
    def dim(self):
        return len(self.lower)

    def _log_prob(self, params, z):
        lower, upper = np.asarray(self.lower, z.dtype), np.asarray(self.upper, z.dtype)
        inside = np.all((z >= lower) & (z <= upper), axis=1)
        return np.where(inside, np.asarray(-self.entropy(params), z.dtype), -np.inf)

    def _sample(self, params, rng, n):
        return rng.uniform(self.lower, self.upper, (n, self.dim))

    def entropy(self, params):
        return float(np.sum(np.log(np.subtract(self.upper, self.lower))))


@dataclass(frozen=True)
class NormalMixture(Base):
    """A mixture of diagonal normals with learned weights, means and scales.

        log p(z) = log sum_k exp(log w_k + log N(z; m_k, exp(s_k))),  w = softmax(logits)

    It starts with equal weights, unit scales and means drawn from the standard normal.

    Parameters
    ----------
    dim : int
    components : int
        How many normals K.

    Notes
    -----
    Parameters in ``params``: ``logits`` (K,), ``means`` m and ``log_scales`` s, each (K, D).
    """

    dim: int
    components: int

    def __post_init__(self):
        check_count("dim", self.dim)
        check_count("components", self.components)

    def _init(self, rng):
        shape = (self.components, self.dim)
        return {"logits": np.zeros(self.components), "means": rng.standard_normal(shape),
                "log_scales": np.zeros(shape)}

    def _log_prob(self, params, z):
        log_weights = params["logits"] - logsumexp(params["logits"])
        e = (z[:, None, :] - params["means"]) * np.exp(-params["log_scales"])
        log_normals = standard_normal_log_prob(e) - np.sum(params["log_scales"], axis=1)
        return logsumexp(log_weights + log_normals)

    def _sample(self, params, rng, n):
        logits = np.asarray(params["logits"], np.float64)
        k = rng.choice(self.components, size=n, p=np.exp(logits - logsumexp(logits)))
        e = rng.standard_normal((n, self.dim))
        return params["means"][k] + np.exp(params["log_scales"][k]) * e
