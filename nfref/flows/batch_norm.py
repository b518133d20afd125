"""Batch norm as a flow layer.

Sources: Dinh et al. 2016, arXiv:1605.08803 (RealNVP); Papamakarios et al. 2017,
arXiv:1705.07057 (MAF).

It is an elementwise affine map whose shift and scale come partly from statistics of the
data. Both the statistics and the mode are explicit. The mean and variance of evaluation are
parameters and change only through :func:`nfref.adapt`. :func:`nfref.in_training` returns the
layer as it acts on training batches, with the statistics of the batch itself.
"""

from dataclasses import dataclass, replace

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.data_dependent import Adaptive
from nfref.flows.elementwise import AffineFlow
from nfref.runtime.annotations import Any, Array, Iterable
from nfref.runtime.checks import check_choice, check_positive, one_of
from nfref.transformers.affine import affine_inverse
from nfref.transformers.transformer import over_rows

# Formula ----------------------------------------------------------------------------------


def batch_norm_affine(
    mean: Array, variance: Array, shift: Array, log_scale: Array, epsilon: float
) -> tuple[Array, Array]:
    """Return batch norm as an affine map x = z exp(s) + t, as (t, s).

    z = (x - m) (v + eps)^(-1/2) exp(gamma) + beta, solved for x:
    s = log(v + eps)/2 - gamma,  t = m - beta exp(s).

    Paper:   RealNVP v3, section 3.7, (17): (x - mu) / sqrt(sigma^2 + eps), data to latent, with
             (18) for its determinant. MAF v4, appendix B, adds gamma and beta; exp(gamma)
             is exp(log_gamma) in its published code.
    Differs: nothing from MAF; RealNVP's has no gamma and beta, which are 0 at the start.

    Shapes: all (D,) but epsilon. Returns (D,) and (D,).
    """
    scale = 0.5 * np.log(variance + epsilon) - log_scale
    return mean - shift * np.exp(scale), scale


def column_moments(x: Array) -> tuple[Array, Array]:
    """Return mean and variance (with 1/N) of the columns, summed in float64, in the dtype of x.

    Shapes: x (N, D) with N of at least 1. Returns (D,) and (D,).
    """
    x64 = x.astype(np.float64)
    return np.mean(x64, axis=0).astype(x.dtype), np.var(x64, axis=0).astype(x.dtype)


# Flow -------------------------------------------------------------------------------------

STATISTICS = ("running", "training set")


@dataclass(frozen=True)
class BatchNorm(AffineFlow, Adaptive):
    """Batch norm with explicit statistics and an explicit mode.

    In evaluation it uses ``params["running_mean"]`` and ``params["running_variance"]``, and
    its log-determinant is that of a fixed affine map. In training, ``inverse`` uses the mean
    and variance of the batch. Its log-determinant then treats them as constants, as in the
    papers: rows depend on each other through them, and the map has no forward direction.
    A batch without rows has no statistics and leaves the running ones as they are.

    Paper:   RealNVP v3, section 3.7; MAF v4, appendix B. Both put one on the latent side of
             every layer, so one is next to the base and none next to the data;
             :func:`with_batch_norm` does.
    Differs: RealNVP trains with running averages over recent batches; here a training batch
             is normalised by its own statistics, as in MAF. In evaluation RealNVP uses running
             averages, MAF the mean and variance of the whole training set: ``statistics``.

    Parameters
    ----------
    dim : int
        D.
    momentum : float, default 0.1
        Weight of a new batch in the running statistics, in (0, 1].
    epsilon : float, default 1e-05
        Added to the variance.
    mode : {"evaluation", "training"}, default "evaluation"
        :func:`nfref.in_training` returns the layer in the mode "training".
    statistics : {"running", "training set"}, default "running"
        The statistics that ``adapt`` keeps for evaluation in ``params["running_mean"]`` and
        ``params["running_variance"]``, with 1/N as in the batch. "running" mixes in those of every
        batch at the stage "batch". "training set" takes those of the rows at the stage
        "evaluation", which should be the whole training set; :func:`nfref.fit` does that before it
        scores validation rows and for its result. Both start from the rows of the stage "start".
    """

    dim: int
    momentum: float = 0.1
    epsilon: float = 1e-5
    mode: str = "evaluation"
    statistics: str = "running"

    _twin = "batch_norm"
    _converters = {
        "momentum": check_positive,
        "epsilon": check_positive,
        "mode": one_of(("evaluation", "training")),
        "statistics": one_of(STATISTICS),
    }

    def __post_init__(self):
        super().__post_init__()
        if self.momentum > 1:
            raise ValueError(f"momentum: expected a number in (0, 1], got {self.momentum}")

    def _init(self, rng):
        return {
            "shift": np.zeros(self.dim),
            "log_scale": np.zeros(self.dim),
            "running_mean": np.zeros(self.dim),
            "running_variance": np.ones(self.dim),
        }

    def _affine(self, params, dtype):
        return self._affine_of(params, params["running_mean"], params["running_variance"])

    def _affine_of(self, params, mean, variance):
        return batch_norm_affine(mean, variance, params["shift"], params["log_scale"], self.epsilon)

    def _forward(self, params, z, context):
        if self.mode == "training":
            raise ValueError(
                "BatchNorm: forward needs mode 'evaluation', got 'training', where "
                "the statistics of the data batch are not known yet"
            )
        return super()._forward(params, z, context)

    def _inverse(self, params, x, context):
        if self.mode == "evaluation" or not len(x):
            return super()._inverse(params, x, context)
        affine = self._affine_of(params, np.mean(x, axis=0), np.var(x, axis=0))
        return over_rows(*affine_inverse(x, *affine))

    def _adapt(self, params, x, context, stage):
        return self._with_moments(params, *column_moments(x), stage) if len(x) else params

    def _with_moments(self, params, mean, variance, stage):
        """Apply :meth:`_adapt` to rows with this mean and variance."""
        if stage not in ("start", "batch" if self.statistics == "running" else "evaluation"):
            return params
        weight = self.momentum if stage == "batch" else 1.0
        return {
            **params,
            "running_mean": (1 - weight) * params["running_mean"] + weight * mean,
            "running_variance": (1 - weight) * params["running_variance"] + weight * variance,
        }

    def _in_training(self):
        return replace(self, mode="training")


# In stacks ----------------------------------------------------------------------------------


def check_batch_norm(name: str, value: Any) -> bool | str:
    """Return False, True or one of ``STATISTICS``."""
    return value if isinstance(value, bool) else check_choice(name, value, STATISTICS)


def with_batch_norm(
    batch_norm: bool | str, layers: Iterable[Flow], default: str
) -> tuple[Flow, ...]:
    """Return ``layers`` as a tuple, each with a batch norm on its latent side if there is one.

    ``batch_norm`` is False for none, the statistics of evaluation, or True for ``default``.
    """
    if not batch_norm:
        return tuple(layers)
    statistics = default if batch_norm is True else batch_norm
    return tuple(
        flow for layer in layers for flow in (BatchNorm(layer.dim, statistics=statistics), layer)
    )
