r"""Marginal splines: a monotone cubic in each coordinate, through knots that rows give.

Source: Laparra, Camps-Valls, Malo 2011, arXiv:1602.00229 (RBIG).

Gaussianization takes each coordinate of the data to a normal, turns the coordinates, and begins
again. Here the map of a coordinate has knots (x_k, z_k): x_k is the quantile of the rows at the
probability :math:`\Phi(z_k)`. Between knots it is the cubic of
:mod:`nfref.transformers.cubic_spline` with Steffen's slopes, outside it is a tangent,

    .. math::

        z = g(x), \qquad g(x_k) = z_k, \qquad
            \log |\det| = \sum_i \log g_i'(x_i).

The slope at an end is the mean slope of the outer bin. Cost: O(K) per number from x to z; about
ten times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   RBIG, its marginal Gaussianization: the distribution function of each coordinate, then the
         normal's quantiles; data to latent, followed by an orthonormal transform
         (:class:`nfref.FixedLinear`).
Differs: paper: leaves the estimate of the distribution function open. Here it is a smooth curve
         through few quantiles.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import at_least
from nfref.transformers.cubic_spline import cubic_curve, ends_of_bin, steffen_slopes
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import over_rows

# Formulas ---------------------------------------------------------------------------------


def knots(
    x_first: Array, z_first: Array, log_widths: Array, log_heights: Array
) -> tuple[Array, Array, Array, Array]:
    """Return (x_k, z_k, s_k, d_k): knots, mean slopes of the bins, and slopes at the knots.

    Shapes: x_first, z_first (D,), logarithms (K, D). Returns (K+1, 1, D), (K+1, 1, D), (K, 1, D)
    and (K+1, 1, D).
    """
    widths, heights = np.exp(log_widths), np.exp(log_heights)
    s = np.exp(log_heights - log_widths)
    d = np.concatenate([s[:1], steffen_slopes(widths, s), s[-1:]], axis=0)
    x = np.concatenate([x_first[None], x_first + np.cumsum(widths, axis=0)], axis=0)
    z = np.concatenate([z_first[None], z_first + np.cumsum(heights, axis=0)], axis=0)
    return x[:, None], z[:, None], s[:, None], d[:, None]


def curve_and_tangents(x: Array, x_k: Array, z_k: Array, s: Array, d: Array) -> tuple[Array, Array]:
    """Return g(x) and log g'(x): a tangent outside of the knots. Elementwise."""
    c = np.minimum(np.maximum(x, x_k[0]), x_k[-1])
    z, log_slope = cubic_curve(c, x_k, z_k, s, d)
    return z + np.exp(log_slope) * (x - c), log_slope


def ends_of_curve(z: Array, x_k: Array, z_k: Array, s: Array, d: Array) -> tuple[Array, Array]:
    """Return two numbers that enclose x: the knots of its bin, or its place on a tangent."""
    left, right = ends_of_bin(z, x_k, z_k, s, d)
    before, after = z < z_k[0], z > z_k[-1]
    low = np.where(before, x_k[0] + (z - z_k[0]) / d[0], left)
    return low, np.where(after, x_k[-1] + (z - z_k[-1]) / d[-1], right)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MarginalSpline(Flow):
    """A monotone cubic spline in each coordinate, with its tangents outside of the knots.

    A new one is the identity. :class:`nfref.DualAscent` of kind "spline" fits it to rows.

    Parameters
    ----------
    dim : int
        D, at least 1.
    bins : int, default 8
        K, at least 2.
    """

    dim: int
    bins: int = 8

    _converters = {"bins": at_least(2)}

    def _init(self, rng):
        step = np.log(np.full((self.bins, self.dim), 6 / self.bins))
        first = np.full(self.dim, -3.0)
        return {"x_first": first, "z_first": first, "log_widths": step, "log_heights": step}

    def _forward(self, params, z, context):
        h = knots(**params)
        return over_rows(*inverse_by_root(curve_and_tangents, ends_of_curve, z, *h))

    def _inverse(self, params, x, context):
        return over_rows(*curve_and_tangents(x, *knots(**params)))


def quantile_spline(x: Array, bins: int) -> tuple[MarginalSpline, dict[str, Any]]:
    """Return the spline that takes the quantiles of each column to those of the normal.

    The knots lie evenly in z, at most 2.5 far out, with K rows or more beyond the last. A bin
    is at least a millionth of its column's range wide, where rows coincide.

    Shapes: x (N, D). Returns the flow and its parameters.
    """
    from scipy.special import ndtr, ndtri  # slow to import, so only on use

    farthest = min(2.5, -ndtri(min(bins / len(x), 0.25)))
    z = np.linspace(-farthest, farthest, bins + 1)
    at = np.quantile(x, ndtr(z), axis=0)
    widths = np.maximum(np.diff(at, axis=0), 1e-6 * np.ptp(x, axis=0))
    return MarginalSpline(x.shape[1], bins), {
        "x_first": at[0],
        "z_first": np.full(x.shape[1], z[0]),
        "log_widths": np.log(widths),
        "log_heights": np.log(np.full_like(widths, z[1] - z[0])),
    }
