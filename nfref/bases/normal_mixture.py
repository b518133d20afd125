"""A mixture of normals with learned weights, locations and scales."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.bases.standard_normal import standard_normal_log_prob
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count


def logsumexp(a: Array) -> Array:
    """Return log sum_k exp(a_k) over the last axis; -inf, without a warning, if every term is.

    The largest term is factored out, so that nothing overflows.
    """
    largest = np.max(getval(a), axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(a - largest), axis=-1)) + largest[..., 0]


@dataclass(frozen=True)
class NormalMixture(Base):
    """A mixture of diagonal normals with learned weights, means and scales.

        log p(z) = log sum_k exp(log w_k + log N(z; m_k, exp(s_k))),  w = softmax(logits)

    It starts with equal weights, unit scales and means sampled from the standard normal.

    Parameters
    ----------
    dim : int
    components : int
        Number K of normals.

    Notes
    -----
    Parameters in ``params``: ``logits`` (K,), ``means`` m and ``log_scales`` s, each (K, D).
    """

    dim: int
    components: int

    _converters = {"components": check_count}

    def _init(self, rng):
        shape = (self.components, self.dim)
        return {
            "logits": np.zeros(self.components),
            "means": rng.standard_normal(shape),
            "log_scales": np.zeros(shape),
        }

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
