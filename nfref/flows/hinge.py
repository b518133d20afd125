r"""Hinges: a smooth bend from one slope to another in each coordinate.

Source: Tabak and Vanden-Eijnden 2010. There, a series of steps moves the marginals of the data
along random orthogonal directions towards the normal. A hinge between two rotations
(:class:`nfref.FixedLinear`) is such a step.

With u = x - m, the two branches of a hyperbola are positive and share its root,

    .. math::

        \mathrm{right} = \frac{\sqrt{\mathrm{width}^2 + u^2} + u}{2}, \qquad
        \mathrm{left} = \frac{\sqrt{\mathrm{width}^2 + u^2} - u}{2},

and u = right - left, sqrt(width^2 + u^2) = right + left, right left = width^2 / 4. The hinge gives
each branch its own slope, R and L, and maps m to b:

    .. math::

        z &= b + R (\mathrm{right} - \mathrm{width}/2) - L (\mathrm{left} - \mathrm{width}/2), \\
        \frac{dz}{dx} &= \frac{R \, \mathrm{right} + L \, \mathrm{left}}
            {\mathrm{right} + \mathrm{left}}.

R right and L left are the branches of z, up to its shift. So the inverse is a hinge, too, with the
slopes 1/R and 1/L and the width sqrt(R L) width. Cost: one pass in either direction.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.flow import Flow
from nfref.runtime.annotations import Array

# Formulas ---------------------------------------------------------------------------------


def branches(u: Array, width: Array) -> tuple[Array, Array]:
    """Return right = (sqrt(w^2 + u^2) + u) / 2 and left = (sqrt(w^2 + u^2) - u) / 2, w the width.

    The larger branch is a sum; the smaller is w^2 / 4 over the larger, without cancellation.

    Shapes: u (N, D); width (D,). Returns two (N, D), above zero.
    """
    larger = 0.5 * (np.sqrt(width**2 + u**2) + np.where(u > 0, u, -u))
    smaller = 0.25 * width**2 / larger
    return np.where(u > 0, larger, smaller), np.where(u > 0, smaller, larger)


def log_mean(right: Array, left: Array, log_right: Array, log_left: Array) -> Array:
    """Return log((R right + L left) / (right + left)), from the slope with the larger weight.

    Shapes: right, left (N, D); log_right, log_left (D,). Returns (N, D).
    """
    rightmost = right > left
    log_right, log_left = log_right + np.zeros_like(right), log_left + np.zeros_like(right)
    near, far = (np.where(rightmost, log_right, log_left), np.where(rightmost, log_left, log_right))
    minor = np.where(rightmost, left, right) / (right + left)
    return near + np.log1p(minor * np.expm1(far - near))


def hinge(
    x: Array, location: Array, shift: Array, log_left: Array, log_right: Array, log_width: Array
) -> tuple[Array, Array]:
    """Return z = b + R (right - width/2) - L (left - width/2) and its log-det; x = m goes to z = b.

    dz/dx = (R right + L left) / (right + left), a mean of the two slopes.

    Paper:   Tabak and Vanden-Eijnden, section 1: data to latent; a series of steps that move
             the marginal distributions along random orthogonal directions towards normality.
    Differs: only the opening of the paper could be read. As later texts give it, its map of one
             coordinate is this one: (1 - s) x + phi sqrt(eps^2 + ((1 - s) x - x0)^2) - gamma is
             the hinge with R, L = (1 - s) (1 +- phi), m = x0 / (1 - s), width = eps / (1 - s)
             and b = x0 + phi eps - gamma. It increases for s < 1 and |phi| < 1.

    Shapes: x (N, D); all else (D,). Returns (N, D) and (N,).
    """
    width = np.exp(log_width)
    right, left = branches(x - location, width)
    z = shift + np.exp(log_right) * (right - 0.5 * width) - np.exp(log_left) * (left - 0.5 * width)
    return z, np.sum(log_mean(right, left, log_right, log_left), axis=1)


def hinge_inverse(
    z: Array, location: Array, shift: Array, log_left: Array, log_right: Array, log_width: Array
) -> tuple[Array, Array]:
    """Return x = m + right / R - left / L and its log-det, with the branches of z.

    The branches of z have the width sqrt(R L) width. Their middle, where both equal half of it,
    lies at z = b - (R - L) width/2.

    Shapes as for :func:`hinge`. Returns (N, D) and (N,).
    """
    width = np.exp(log_width)
    u = z - shift + 0.5 * width * (np.exp(log_right) - np.exp(log_left))
    half = 0.5 * (log_left + log_right)
    right, left = branches(u, np.exp(log_width + half))
    x = location + np.exp(-log_right) * right - np.exp(-log_left) * left
    return x, np.sum(log_mean(right, left, -log_right, -log_left), axis=1)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hinge(Flow):
    """One hinge for each coordinate, :func:`hinge` from data to latent.

    Parameters
    ----------
    dim : int
        D, at least 1.

    Notes
    -----
    Parameters in ``params``, all (D,): ``location`` m in the data and ``shift`` b, its image;
    ``log_left`` and ``log_right``, the logarithms of the slopes of ``inverse`` on both sides;
    ``log_width``, that of the interval over which one slope turns into the other.
    """

    dim: int

    def _init(self, rng):
        # Slope 1 on both sides and location = shift give the identity.
        location = rng.standard_normal(self.dim)
        return {
            "location": location,
            "shift": location.copy(),
            "log_left": rng.uniform(-0.1, 0.1, self.dim),
            "log_right": rng.uniform(-0.1, 0.1, self.dim),
            "log_width": np.zeros(self.dim),
        }

    def _forward(self, params, z, context):
        return hinge_inverse(z, **params)

    def _inverse(self, params, x, context):
        return hinge(x, **params)
