"""Faulty flows: mistakes of published flow code, each in a few lines.

Each is a flow with one fault, next to the sound flow, and names the check of
``tests/finite_differences/__init__.py`` that must reject it (others may, too). Users of other
libraries reported such faults: signs, branches, masks, constants, state.
"""

from dataclasses import dataclass

import autograd.numpy as np

import nfref
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.planar import PlanarLayer
from nfref.flows.radial import RadialLayer, length
from nfref.flows.sylvester import SylvesterLayer
from nfref.networks.masked import even_degrees, made_masks
from nfref.transformers.affine import affine_forward, affine_inverse
from nfref.transformers.transformer import over_rows

# Planar ---------------------------------------------------------------------------------------


class PlanarByLength(PlanarLayer):
    """u-hat divided by |w| where the paper has |w|^2: w . u_hat may fall below -1."""

    def constrained(self, params, context):
        u, w = params["u"], params["w"]
        w_u = np.sum(w * u, keepdims=True)
        slack = np.logaddexp(w_u, 0)
        u_hat = u + (slack - 1 - w_u) * w / np.sqrt(np.sum(w * w))
        return u_hat, slack, w, params["b"]


# Radial and Sylvester ---------------------------------------------------------------------------


class RadialUnconstrained(RadialLayer):
    """beta itself where the paper has beta_hat = -alpha + log(1 + e^beta): space folds."""

    def constrained(self, params, context):
        z0, alpha, _ = super().constrained(params, context)
        return z0, alpha, alpha + params["beta"] - 8  # far enough to fold where the rows are


class RadialPowerOfDim(RadialLayer):
    """(1 + beta h)^D where the determinant has ^(D-1)."""

    def _forward(self, params, z, context):
        z0, alpha, slack = self.constrained(params, context)
        x, log_det = super()._forward(params, z, context)
        r = length(z - z0)
        return x, log_det + np.log((slack + r) / (alpha + r))[:, 0]


class SylvesterOtherSide(SylvesterLayer):
    """x = z + Q R1 tanh(Q^T R2 z + b): Q on the other side of R2, so nothing is triangular."""

    def constrained(self, params, context):
        q, r1, r2, slack, b = super().constrained(params, context)
        return q, r1, q.T @ r2 @ q, slack, b


class SylvesterNotOrthonormal(SylvesterLayer):
    """Columns of length one that are not orthogonal: Q^T Q is not the identity."""

    def _columns(self, params):
        return params["q"] / np.sqrt(np.sum(params["q"] ** 2, axis=0))


# Elementwise ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeakyRelu(nfref.Flow):
    """x = a z below zero, z above: the sound flow."""

    dim: int
    slope = 0.3

    def _forward(self, params, z, context):
        return np.where(z < 0, self.slope * z, z), self._log_det(z)

    def _inverse(self, params, x, context):
        return np.where(x < 0, x / self.slope, x), -self._log_det(x)

    def _log_det(self, rows):
        return np.sum(np.where(rows < 0, np.log(self.slope), 0.0 * rows), axis=1).astype(rows.dtype)


class LeakyReluWrongBranch(LeakyRelu):
    """The log-determinant of the negative branch is that of a slope 1 - a."""

    def _log_det(self, rows):
        return np.sum(np.where(rows < 0, np.log(1 - self.slope), 0.0 * rows), axis=1).astype(
            rows.dtype
        )


class SaturatingLogit(nfref.Logit):
    """The inverse clips its argument away from the bounds, so far rows never come back."""

    def _inverse(self, params, x, context):
        margin = 1e-4 * (np.array(self.upper) - np.array(self.lower)).astype(x.dtype)
        low, high = np.array(self.lower, x.dtype) + margin, np.array(self.upper, x.dtype) - margin
        return super()._inverse(
            params, np.where(x < low, low, np.where(x > high, high, x)), context
        )


class LogitWithoutWidth(nfref.Logit):
    """The constant log(upper - lower) of the rescaling is missing, in both directions."""

    def _width(self, rows):
        return np.sum(np.log(np.array(self.upper) - np.array(self.lower))).astype(rows.dtype)

    def _forward(self, params, z, context):
        x, log_det = super()._forward(params, z, context)
        return x, log_det - self._width(z)

    def _inverse(self, params, x, context):
        z, log_det = super()._inverse(params, x, context)
        return z, log_det + self._width(x)


# Coupling -------------------------------------------------------------------------------------


class HalfFlowSwapped(nfref.Coupling):
    """Even and odd halves are put back in the wrong slots; right at D = 2, wrong beyond."""

    def _inverse(self, params, x, context):
        z, log_det = super()._inverse(params, x, context)
        return np.concatenate([z[:, 0::2], z[:, 1::2]], axis=1), log_det


class AffineInverseWrong(nfref.Coupling):
    """z = x exp(-s) - t where it is (x - t) exp(-s)."""

    def _inverse(self, params, x, context):
        kept, changed = self.halves(x)
        shift, log_scale = self.conditioner(params, kept, context)
        changed = changed * np.exp(-log_scale) - shift
        return self.joined(kept, changed), -np.sum(log_scale, axis=1)


class LogDetOfForward(nfref.Coupling):
    """The inverse returns the log-determinant of forward: the sign is wrong."""

    def _inverse(self, params, x, context):
        z, log_det = super()._inverse(params, x, context)
        return z, -log_det


class LogDetSummedOverBatch(nfref.ElementwiseAffine):
    """One log-determinant of shape (1,) for the whole batch, which broadcasts."""

    def _forward(self, params, z, context):
        return affine_forward(z, params["shift"], params["log_scale"])[0], np.sum(
            params["log_scale"], keepdims=True
        )

    def _inverse(self, params, x, context):
        return affine_inverse(x, params["shift"], params["log_scale"])[0], -np.sum(
            params["log_scale"], keepdims=True
        )


class LogDetInDouble(nfref.RealNVP):
    """The log-determinant is float64 for every input."""

    def _forward(self, params, z, context):
        x, log_det = super()._forward(params, z, context)
        return x, log_det + np.zeros(len(z))


# Linear ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolution(nfref.Flow):
    """An invertible 1x1 convolution over (C, H, W), the sound flow; its determinant is negative."""

    shape: tuple
    pixels_counted = True

    @property
    def dim(self):
        return int(np.prod(self.shape))

    def _init(self, rng):
        channels = self.shape[0]
        return {"weight": np.diag(np.where(np.arange(channels) == 0, -5.0, 4.0))}

    def _apply(self, weight, rows):
        image = rows.reshape((len(rows), self.shape[0], self.shape[1] * self.shape[2]))
        return np.einsum("ij,njp->nip", weight, image).reshape(rows.shape)

    def _log_det(self, weight, rows):
        pixels = self.shape[1] * self.shape[2] if self.pixels_counted else 1
        return pixels * np.linalg.slogdet(weight)[1] * np.ones(len(rows), rows.dtype)

    def _forward(self, params, z, context):
        return self._apply(params["weight"], z), self._log_det(params["weight"], z)

    def _inverse(self, params, x, context):
        weight = np.linalg.inv(params["weight"])
        return self._apply(weight, x), -self._log_det(params["weight"], x)


class ConvolutionOnePixel(Convolution):
    """The factor H W of the log-determinant is missing."""

    pixels_counted = False


class ConvolutionLogOfDet(Convolution):
    """log det without the absolute value: NaN where the determinant is negative."""

    def _log_det(self, weight, rows):
        with np.errstate(invalid="ignore"):
            log_det = np.log(np.linalg.det(weight))
        return self.shape[1] * self.shape[2] * log_det * np.ones(len(rows), rows.dtype)


# Masks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeFirstBlind(nfref.MADE):
    """Hidden degrees start at 1, so the first coordinate has no path from the context."""

    @property
    def masks(self):
        masks = made_masks(self.order, even_degrees(self.dim, self.hidden), 2)
        free = np.ones((self.context_dim, self.hidden[0]), dtype=bool)
        return [np.concatenate([masks[0], free]), *masks[1:]]


@dataclass(frozen=True)
class MadeTooSparse(nfref.MADE):
    """Strict where it should be "at most" between hidden layers: the nearest inputs are lost."""

    @property
    def masks(self):
        first, last = super().masks
        return [first & ~np.roll(first, 1, axis=0), last]


@dataclass(frozen=True)
class MadeSeesItself(nfref.MADE):
    """Off by one: output i also sees input i, and the Jacobian's diagonal is not exp(alpha)."""

    @property
    def masks(self):
        *others, last = super().masks
        return [*others, np.ones_like(last)]


# State ----------------------------------------------------------------------------------------


class BatchStatisticsInEvaluation(BatchNorm):
    """Score rows with the statistics of their own batch."""

    def _inverse(self, params, x, context):
        statistics = np.mean(x, axis=0), np.var(x, axis=0)
        return over_rows(*affine_inverse(x, *self._affine_of(params, *statistics)))


@dataclass(frozen=True)
class CachedLogDet(nfref.RealNVP):
    """Return the negated log-determinant of the last forward call."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "cache", {})

    def _forward(self, params, z, context):
        x, log_det = super()._forward(params, z, context)
        self.cache[len(z), z.dtype] = log_det
        return x, log_det

    def _inverse(self, params, x, context):
        z, log_det = super()._inverse(params, x, context)
        return z, -self.cache.get((len(x), x.dtype), -log_det)


class InPlace(nfref.Scale):
    """Scale the caller's own array."""

    def _forward(self, params, z, context):
        z *= np.exp(params["log_scale"])
        return z, np.sum(params["log_scale"]) * np.ones(len(z), z.dtype)


@dataclass(frozen=True)
class Times(nfref.Flow):
    """Any flow with its log-determinants multiplied by a factor."""

    flow: nfref.Flow
    factor: float

    @property
    def dim(self):
        return self.flow.dim

    @property
    def context_dim(self):
        return self.flow.context_dim

    def _init(self, rng):
        return self.flow._init(rng)

    def _forward(self, params, z, context):
        x, log_det = self.flow._forward(params, z, context)
        return x, self.factor * log_det

    def _inverse(self, params, x, context):
        z, log_det = self.flow._inverse(params, x, context)
        return z, self.factor * log_det


# All of them ----------------------------------------------------------------------------------

MASK = (True, False, True, False)
BOUNDS = ((-1.0, 0.0), (2.0, 3.0))
SMALL = {"hidden": (6,), "activation": "tanh"}

# (fault, sound flow, the check that must reject it)
FAULTY = [
    (PlanarByLength(3), PlanarLayer(3), "round_trip"),
    (RadialUnconstrained(3), RadialLayer(3), "round_trip"),
    (RadialPowerOfDim(3), RadialLayer(3), "log_det_against_differences"),
    (SylvesterOtherSide(3), SylvesterLayer(3), "log_det_against_differences"),
    (SylvesterNotOrthonormal(3), SylvesterLayer(3), "log_det_against_autograd"),
    (LeakyReluWrongBranch(3), LeakyRelu(3), "log_det_against_differences"),
    (SaturatingLogit(*BOUNDS), nfref.Logit(*BOUNDS), "extreme_inputs"),
    (LogitWithoutWidth(*BOUNDS), nfref.Logit(*BOUNDS), "log_det_against_autograd"),
    (HalfFlowSwapped(MASK, **SMALL), nfref.Coupling(MASK, **SMALL), "round_trip"),
    (AffineInverseWrong(MASK, **SMALL), nfref.Coupling(MASK, **SMALL), "round_trip"),
    (LogDetOfForward(MASK, **SMALL), nfref.Coupling(MASK, **SMALL), "log_dets_cancel"),
    (LogDetSummedOverBatch(3), nfref.ElementwiseAffine(3), "shapes_and_dtypes"),
    (
        LogDetInDouble(3, 2, (5,), 0, "tanh"),
        nfref.RealNVP(3, 2, (5,), 0, "tanh"),
        "shapes_and_dtypes",
    ),
    (ConvolutionOnePixel((2, 2, 2)), Convolution((2, 2, 2)), "log_det_against_differences"),
    (ConvolutionLogOfDet((2, 2, 2)), Convolution((2, 2, 2)), "shapes_and_dtypes"),
    (
        MadeFirstBlind(3, context_dim=2, **SMALL),
        nfref.MADE(3, context_dim=2, **SMALL),
        "context_matters",
    ),
    (MadeTooSparse(4, **SMALL), nfref.MADE(4, **SMALL), "sparsity"),
    (MadeSeesItself(3, **SMALL), nfref.MADE(3, **SMALL), "log_det_against_autograd"),
    (BatchStatisticsInEvaluation(3), BatchNorm(3), "rows_independent"),
    (CachedLogDet(3, 2, (5,), 0, "tanh"), nfref.RealNVP(3, 2, (5,), 0, "tanh"), "log_dets_cancel"),
    (InPlace(3), nfref.Scale(3), "purity"),
]
