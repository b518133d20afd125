r"""Radial flows.

Source: Rezende and Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.2.

The map stretches space around one point z0, by a factor that depends on the distance
r = |z - z0| alone. With slack = alpha + beta_hat,

    .. math::

        x &= z_0 + (z - z_0) \frac{\mathrm{slack} + r}{\alpha + r}, \\
        \det \frac{dx}{dz} &= \left(\frac{\mathrm{slack} + r}{\alpha + r}\right)^{D-1}
            \frac{r^2 + 2 \alpha r + \alpha \, \mathrm{slack}}{(\alpha + r)^2}.

It is a diffeomorphism exactly when slack > 0. The inverse finds r from the distance of x from z0
by a quadratic equation, for any D.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Composition
from nfref.networks.activations import softplus
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.runtime.checks import check_count

FAR = 2.0**60  # squares of smaller numbers are finite in float32, too

# Formulas ---------------------------------------------------------------------------------


@primitive
def length(v: Array) -> Array:
    """Return |v|, with gradient zero at v = 0, where it has none.

    Scaling by a power of two rounds nothing. Near the edge of invertibility, squares of lengths
    may underflow to zero in float32.

    Shapes: v (N, D). Returns (N, 1).
    """
    _, exponent = np.frexp(np.max(np.abs(v), axis=1, keepdims=True))
    squares = np.ldexp(v, -exponent) ** 2
    return np.ldexp(np.sqrt(np.sum(squares, axis=1, keepdims=True)), exponent)


defvjp(length, lambda r, v: lambda g: g * v / np.where(r > 0, r, 1))


@primitive
def quotient(one: Array, other: Array) -> Array:
    """Return one / other, of one shape; its derivative takes no square of ``other``."""
    return one / other


defvjp(
    quotient,
    lambda ans, one, other: lambda g: g / other,
    lambda ans, one, other: lambda g: -g * quotient(one, other) / other,
)


def stretched(rows: Array, z0: Array, r: Array, old: Array, new: Array) -> Array:
    """Return z0 + v (new + r) / (old + r) for v = rows - z0.

    The forward map has old = alpha and new = slack, the inverse the reverse. If the factor is not
    small, the equal form rows + v (new - old) / (old + r) keeps the digits of the rows for a z0
    far away, and is the rows themselves where new = old.

    Shapes: rows (N, D); z0 (D,) or (N, D); r (N, 1); old, new (1,) or (N, 1). Returns (N, D).
    """
    v = rows - z0
    factor = quotient(new + r, old + r)
    return np.where(factor < 0.5, z0 + v * factor, rows + v * quotient(new - old + 0 * r, old + r))


def log_of_sum(change: Array, total: Array) -> Array:
    """Return log(1 + change), given total = 1 + change without cancellation. Elementwise."""
    small = total < 0.5
    return np.where(small, np.log(total), np.log1p(np.where(small, 0, change)))


def radial_log_det(r: Array, alpha: Array, slack: Array, dim: int) -> Array:
    """Return log det dx/dz of the forward map, (D - 1) log factor + log derivative.

    Across the radius every length grows by the factor (slack + r) / (alpha + r); along it by
    the derivative of r (slack + r) / (alpha + r), which is (r^2 + 2 alpha r + alpha slack) /
    (alpha + r)^2.

    Paper:   Rezende and Mohamed v6, section 4.1: h(alpha, r) = 1 / (alpha + r) and
             |det| = (1 + beta h)^(D-1) (1 + beta h + beta h' r); the first bracket is the factor,
             the second the derivative; beta is slack - alpha.
    Differs: nothing but the form. Where beta is near -alpha, 1 + beta h is a small difference
             of large numbers; there it is a quotient of sums.

    Shapes: r (N, 1); alpha, slack (1,) or (N, 1). Returns (N,).
    """
    h, beta = 1 / (alpha + r), slack - alpha
    factor = log_of_sum(beta * h, (slack + r) * h)
    # If r^2 might overflow, the derivative is 1; r becomes 1, not 0, because alpha may be 0.
    near = r < FAR
    r = np.where(near, r, 1)
    total = (r * (r + 2 * alpha) + alpha * slack) * (1 / (alpha + r)) ** 2
    derivative = log_of_sum(alpha * beta * h**2, np.where(near, total, 1))
    return ((dim - 1) * factor + derivative)[:, 0]


def radial_forward(z: Array, z0: Array, alpha: Array, slack: Array) -> tuple[Array, Array]:
    """Return x = z0 + (z - z0) (slack + r) / (alpha + r) and its log-det, with r = |z - z0|.

    Paper:   Rezende and Mohamed v6, section 4.1: f(z) = z + beta h(alpha, r) (z - z0), latent to
             data as here. Appendix A.2: beta_hat = -alpha + m(beta), m(a) = log(1 + e^a), so that
             slack = alpha + beta_hat = m(beta) > 0.
    Differs: nothing but the form. The paper has beta_hat >= -alpha; at -alpha the map is still
             one to one, but its inverse has no derivative at z0. The paper does not say how alpha
             stays positive: here it is log(1 + e^a) of a free number a, as in Pyro; in normflows
             it is |a|.

    Shapes: z (N, D); z0 (D,) or (N, D); alpha, slack (1,) or (N, 1). Returns (N, D), (N,).
    """
    r = length(z - z0)
    return stretched(z, z0, r, alpha, slack), radial_log_det(r, alpha, slack, z.shape[1])


def radial_inverse(x: Array, z0: Array, alpha: Array, slack: Array) -> tuple[Array, Array]:
    """Return z = z0 + (x - z0) (alpha + r) / (slack + r); r solves a quadratic equation.

    1. Lengths: s = |x - z0| = r (slack + r) / (alpha + r).
    2. So r^2 + (slack - s) r - alpha s = 0. The product of its roots, -alpha s, is not positive:
       r is the larger root, and :func:`positive_root` computes it without cancellation.
    3. z - z0 = (r / s) (x - z0), and r / s = (alpha + r) / (slack + r) has no 0 / 0 at z0.

    The paper gives the map of :func:`radial_forward` and no inverse.

    Shapes as for :func:`radial_forward`. Returns (N, D) and (N,).
    """
    s = length(x - z0)
    r = positive_root(slack - s, alpha * s)
    return stretched(x, z0, r, slack, alpha), -radial_log_det(r, alpha, slack, x.shape[1])


def positive_root(b: Array, c: Array) -> Array:
    """Return the r >= 0 that solves r^2 + b r - c = 0, for c >= 0. Elementwise.

    r = (-b + sqrt(b^2 + 4 c)) / 2, for b > 0 in the form 2 c / (b + sqrt(b^2 + 4 c)): both have
    sums of terms of one sign. If b^2 overflows, |b| replaces the square root.
    """
    falls = b <= 0
    size = np.where(falls, -b, b)
    near = size < FAR
    inner = np.where(near, b, 0) ** 2 + 4 * np.where(near, c, 0)
    total = size + np.where(near, np.sqrt(np.where(near, inner, 1)), size)
    return np.where(falls, total / 2, 2 * c / np.where(falls, 1, total))


# Layer and stack --------------------------------------------------------------------------


@dataclass(frozen=True)
class RadialLayer(Flow):
    """One radial map (Rezende and Mohamed, section 4.1).

    Parameters
    ----------
    dim : int
        D, at least 1.
    context_dim : int, default 0
        With a context, z0, alpha and beta are affine functions of it, one set per row, as from an
        inference network (Rezende and Mohamed, section 4.2).
    """

    dim: int
    context_dim: int = 0

    _twin = "radial"

    def _init(self, rng):
        # alpha = slack is the identity; start near it.
        params = {
            "z0": rng.standard_normal(self.dim),
            "alpha": np.zeros(1),
            "beta": rng.uniform(-0.1, 0.1, 1),
        }
        if self.context_dim:
            params["from_context"] = np.zeros((self.context_dim, self.dim + 2))
        return params

    def constrained(
        self, params: dict[str, Array], context: Array | None
    ) -> tuple[Array, Array, Array]:
        """Return (z0, alpha, slack) of the formulas; with a context, one set per row."""
        z0, alpha, beta = params["z0"], params["alpha"], params["beta"]
        if self.context_dim:
            change = context @ params["from_context"]
            z0 = z0 + change[:, : self.dim]
            alpha = alpha + change[:, self.dim : self.dim + 1]
            beta = beta + change[:, self.dim + 1 :]
        return z0, softplus(alpha), softplus(beta)

    def _forward(self, params, z, context):
        return radial_forward(z, *self.constrained(params, context))

    def _inverse(self, params, x, context):
        return radial_inverse(x, *self.constrained(params, context))


@dataclass(frozen=True)
class Radial(Composition):
    """A stack of radial layers.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 16
        Number K of radial maps.
    context_dim : int, default 0
        Context features C, see :class:`RadialLayer`.
    """

    dim: int
    layers: int = 16
    context_dim: int = 0

    _converters = {"layers": check_count}

    @cached_property
    def flows(self) -> tuple[RadialLayer, ...]:
        """The radial layers."""
        return (RadialLayer(self.dim, self.context_dim),) * self.layers
