r"""Planar flows.

Source: Rezende and Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.1.

The map stretches space along one direction u by an amount that depends on w . z alone:

    .. math::

        x = z + \hat u \tanh(w \cdot z + b), \qquad
        \det \frac{dx}{dz} = 1 + w \cdot \hat u \, \tanh'(w \cdot z + b).

It is a diffeomorphism exactly when w . u_hat > -1; at -1 it is still one to one, but its
inverse has no derivative. The inverse needs one root of one scalar equation per row, for any D.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Composition
from nfref.networks.activations import sech_squared, softplus, tanh
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.runtime.checks import check_count

# Formulas ---------------------------------------------------------------------------------


def constrain_u(u: Array, w: Array) -> tuple[Array, Array]:
    """Return u_hat with w . u_hat > -1, and the distance of that product from -1.

    u_hat = u + (m(w . u) - w . u) w / |w|^2 with m(a) = -1 + log(1 + e^a), so that
    w . u_hat = m(w . u). The distance 1 + w . u_hat = log(1 + e^(w . u)) is returned
    separately, because computing it from u_hat would lose all digits when it is small.

    Paper:   Rezende and Mohamed v6, appendix A.1: the same in the same letters.
    Differs: where w = 0 the paper divides by zero; here u_hat = u, and the map is a
             translation for any distance.

    Shapes: u, w (D,) or (N, D). Returns u_hat like u, slack (1,) or (N, 1).
    """
    w_u = np.sum(w * u, axis=-1, keepdims=True)
    w_w = np.sum(w * w, axis=-1, keepdims=True)
    moves = w_w > 0
    slack = np.where(moves, softplus(w_u), 1)
    u_hat = u + np.where(moves, slack - 1 - w_u, 0) * w / np.where(moves, w_w, 1)
    return u_hat, slack


def planar_slope(a: Array, slack: Array) -> Array:
    """Return 1 + w . u_hat tanh'(a) = tanh(a)^2 + slack sech(a)^2: no cancellation.

    With tanh' = sech^2 = 1 - tanh^2 and slack = 1 + w . u_hat. Elementwise.
    """
    # sech^2 keeps its digits where 1 - tanh^2 has none left.
    return tanh(a) ** 2 + slack * sech_squared(a)


def planar_forward(z: Array, u_hat: Array, slack: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """Return x = z + u_hat tanh(w . z + b), and log det dx/dz by :func:`planar_slope`.

    Paper:   Rezende and Mohamed v6, section 4.1: f(z) = z + u h(w^T z + b), det = 1 + u^T psi(z)
             with psi(z) = h'(w^T z + b) w, latent to data as here; h is tanh, u is u_hat.
    Differs: nothing but the form of the determinant, which here has no difference in it.

    Shapes: z (N, D); u_hat, w (D,) or (N, D); slack, b (1,) or (N, 1). Returns (N, D), (N,).
    """
    a = np.sum(w * z, axis=1, keepdims=True) + b
    return z + u_hat * tanh(a), np.log(planar_slope(a, slack))[:, 0]


def planar_inverse(x: Array, u_hat: Array, slack: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """Return z = x - u_hat tanh(a), where a = w . z + b solves one scalar equation.

    1. Multiply x = z + u_hat tanh(w . z + b) by w and add b:  r = a + (w . u_hat) tanh(a)
       with r = w . x + b.
    2. Insert w . u_hat = slack - 1:  r = (a - tanh a) + slack tanh a, where both terms
       have the sign of a and grow with it. :func:`planar_root` solves this.

    Shapes as for :func:`planar_forward`. Returns (N, D) and (N,).
    """
    r = np.sum(w * x, axis=1, keepdims=True) + b
    a = planar_root(r, slack + np.zeros_like(r))
    return x - u_hat * tanh(a), -np.log(planar_slope(a, slack))[:, 0]


def minus_tanh(a: Array) -> Array:
    """Return a - tanh(a) for a >= 0 without cancellation.

    Lambert's fraction tanh(a) = a / (1 + K), K = a^2 / (3 + a^2 / (5 + a^2 / (7 + ...))),
    gives a - tanh(a) = a K / (1 + K), a product of positive numbers. Up to a = 1 nine
    levels are exact to the last digit; beyond 1 the plain difference is.
    """
    square = np.minimum(a, 1) ** 2
    fraction = np.zeros_like(a)
    for odd in range(19, 1, -2):
        fraction = square / (odd + fraction)
    return np.where(a < 1, a * fraction / (1 + fraction), a - np.tanh(a))


@primitive
def planar_root(r: Array, slack: Array) -> Array:
    """Return the a that solves (a - tanh a) + slack tanh a = r, for slack > 0, elementwise.

    Newton's method, with a bisection for each step that would leave the bracket. The
    left-hand side is odd, so |r| is solved and the sign restored. |(slack - 1) tanh a| <=
    |slack - 1| and a slope of at least min(slack, 1) give the bracket. From the end where
    the curve bends away (the upper end for slack < 1, the lower end for slack > 1) Newton's
    steps never overshoot. A row stops after a step of a few ulp: below that, rounding would
    keep it moving back and forth. It is then fixed, so its digits do not depend on how long
    other rows take.
    """
    solvable = np.isfinite(r)
    target = np.where(solvable, np.abs(r), 0)
    low = np.maximum(target - np.maximum(slack - 1, 0), 0)
    with np.errstate(all="ignore"):  # slack may be as small as doubles get
        high = np.fmin(target + np.maximum(1 - slack, 0), target / np.minimum(slack, 1))
    a = np.where(slack < 1, high, low)
    moves = solvable
    ulp = np.finfo(a.dtype).eps
    for _ in range(200):
        excess = minus_tanh(a) + slack * np.tanh(a) - target
        low = np.where(excess <= 0, a, low)
        high = np.where(excess >= 0, a, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = a - excess / planar_slope(a, slack)
        inside = (newton >= low) & (newton <= high)
        new = np.where(moves, np.where(inside, newton, 0.5 * (low + high)), a)
        moves = moves & (np.abs(new - a) > 4 * ulp * np.abs(new))
        a = new
        if not np.any(moves):
            break
    return np.where(solvable, np.copysign(a, r), r)


# Implicit differentiation of (a - tanh a) + slack tanh a = r:
#   planar_slope da + tanh(a) dslack = dr.
defvjp(
    planar_root,
    lambda a, r, slack: lambda g: g / planar_slope(a, slack),
    lambda a, r, slack: lambda g: -g * tanh(a) / planar_slope(a, slack),
)


# Layer and stack --------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanarLayer(Flow):
    """One planar map (Rezende and Mohamed, section 4.1).

    Parameters
    ----------
    dim : int
    context_dim : int, default 0
        With a context, u, w and b are affine functions of it, one set per row, as from an
        inference network (Rezende and Mohamed, section 4.2).
    """

    dim: int
    context_dim: int = 0

    _twin = "planar"

    def _init(self, rng):
        # Small w and u keep the start near the identity; w = 0 exactly would have no gradient.
        limit = 1 / np.sqrt(self.dim)
        params = {
            "u": rng.uniform(-limit, limit, self.dim) * 0.1,
            "w": rng.uniform(-limit, limit, self.dim),
            "b": np.zeros(1),
        }
        if self.context_dim:
            params["from_context"] = np.zeros((self.context_dim, 2 * self.dim + 1))
        return params

    def constrained(
        self, params: dict[str, Array], context: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        """Return (u_hat, slack, w, b) of the formulas; with a context, one set per row."""
        u, w, b = params["u"], params["w"], params["b"]
        if self.context_dim:
            change = context @ params["from_context"]
            u = u + change[:, : self.dim]
            w = w + change[:, self.dim : 2 * self.dim]
            b = b + change[:, 2 * self.dim :]
        return (*constrain_u(u, w), w, b)

    def _forward(self, params, z, context):
        return planar_forward(z, *self.constrained(params, context))

    def _inverse(self, params, x, context):
        return planar_inverse(x, *self.constrained(params, context))


@dataclass(frozen=True)
class Planar(Composition):
    """A stack of planar layers.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 16
        Number K of planar maps.
    context_dim : int, default 0
        Context features C, see :class:`PlanarLayer`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.Planar(2, layers=4)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.ones((3, 2)))
    >>> np.allclose(flow.inverse(params, x)[0], 1, rtol=1e-12)
    True
    """

    dim: int
    layers: int = 16
    context_dim: int = 0

    _converters = {"layers": check_count}

    @cached_property
    def flows(self) -> tuple[PlanarLayer, ...]:
        """The planar layers."""
        return (PlanarLayer(self.dim, self.context_dim),) * self.layers
