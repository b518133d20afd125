r"""Exponential maps of the sphere: each point walks along a great circle, as a potential says.

Source: Rezende et al. (tori and spheres) 2020, arXiv:2002.02428.

A point x of the sphere has the velocity v, the gradient along the sphere of a potential with K
centres :math:`\mu_k`, weights :math:`\alpha_k > 0` of a sum below one, and sharpness
:math:`\beta_k > 0`. It walks for the time one:

    .. math::

        \phi(x) &= \sum_k \frac{\alpha_k}{\beta_k} e^{\beta_k (x \cdot \mu_k - 1)}, \qquad
            v = \sum_k \alpha_k e^{\beta_k (x \cdot \mu_k - 1)} (\mu_k - (x \cdot \mu_k) x), \\
        z &= F(x) = \cos |v| \, x + \frac{\sin |v|}{|v|} v .

For one centre the angle a from it becomes :math:`a - \alpha e^{\beta (\cos a - 1)} \sin a`, which
grows with a, since :math:`\cos a - \beta \sin^2 a \le 1` and :math:`\alpha < 1`.

Rows of any length walk in the direction that they have, :math:`x \to |x| \, F(x / |x|)`. Along x
this is an isometry, so its determinant on the space is that of F on the sphere. With
:math:`P = I - x x^T` and A the derivative of v,

    .. math::

        \log |\det| &= \log \left|\det (F' P + F x^T)\right|, \\
        F' &= c \, I + q A + \left(\frac{c - q}{|v|^2} v - q x\right) v^T A, \qquad
            c = \cos |v|, \; q = \frac{\sin |v|}{|v|}.

Cost: one determinant of a (D, D) matrix for each row from data to latent; a few times that for
the way back, by Newton's method.

Paper:   Rezende et al. (tori and spheres), the exponential-map flow of the sphere with the radial
         potential.
Differs: paper: latent to data; here data to latent, as for density estimation.
"""

from dataclasses import dataclass
from math import factorial

import autograd.numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.flow import Flow
from nfref.flows.radial import length
from nfref.flows.sphere import direction
from nfref.networks.activations import softmax
from nfref.runtime import small_matrices
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp_argnums, primitive
from nfref.runtime.checks import at_least, check_count

# Coefficients of (-s^2)^k in cos s, sin s / s, and of its powers in (cos s - sin s / s) / s^2.
COSINE = [1 / factorial(2 * k) for k in range(12)]
SINC = [1 / factorial(2 * k + 1) for k in range(12)]
REST = [-2 * k / factorial(2 * k + 1) for k in range(1, 12)]
STEPS, HALVINGS = 100, 20  # of Newton's method; 5 steps are usual

# Formulas ---------------------------------------------------------------------------------


def power_series(coefficients: list[float], square: Array) -> Array:
    """Return sum_k a_k (-s^2)^k, elementwise; s is a speed, below one, so twelve terms do."""
    total = 0.0 * square + coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = coefficient - square * total
    return total


def potential(raw_centres: Array, logits: Array, log_sharpness: Array) -> tuple[Array, ...]:
    """Return mu (K, D) of length 1, alpha (K,) of a sum below 1, and beta (K,)."""
    centres = raw_centres / length(raw_centres)
    shares = softmax(np.concatenate([logits, np.zeros(1, logits.dtype)]))
    return centres, shares[:-1], np.exp(log_sharpness)


def velocity(x: Array, centres: Array, weights: Array, sharpness: Array) -> tuple[Array, Array]:
    """Return v (N, D) and A, its derivative with respect to x along the sphere, (N, D, D)."""
    c = x @ centres.T
    e = weights * np.exp(sharpness * (c - 1))
    pull = e @ centres
    along = np.sum(e * c, axis=1, keepdims=True)
    steep = (e * sharpness)[:, :, None] * (centres - x[:, None] * c[:, :, None])
    derivative = np.einsum("nki,kj->nij", steep, centres)
    identity = np.eye(x.shape[1], dtype=x.dtype)
    derivative = derivative - along[:, :, None] * identity - x[:, :, None] * pull[:, None]
    return pull - along * x, derivative


def walk(x: Array, centres: Array, weights: Array, sharpness: Array) -> tuple[Array, Array]:
    """Return F(x) of points of the sphere, (N, D), and F' P + F x^T, (N, D, D)."""
    v, a = velocity(x, centres, weights, sharpness)
    square = np.sum(v * v, axis=1, keepdims=True)
    c, q, rest = (power_series(terms, square) for terms in (COSINE, SINC, REST))
    image = c * x + q * v
    identity = np.eye(x.shape[1], dtype=x.dtype)
    turned = (rest * v - q * x)[:, :, None] * (v[:, None] @ a)
    derivative = c[:, :, None] * identity + q[:, :, None] * a + turned
    across = identity - x[:, :, None] * x[:, None]
    return image, derivative @ across + image[:, :, None] * x[:, None]


@primitive
def start_of_walk(z: Array, raw_centres: Array, logits: Array, log_sharpness: Array) -> Array:
    """Return the row x whose walk ends at z, by Newton's method, halved where it does not help.

    A row is done one step after the distance from z has fallen to rounding.

    Raises
    ------
    ArithmeticError
        If a row is not done after 100 steps.
    """
    h = potential(raw_centres, logits, log_sharpness)
    radius = length(z)
    moves = np.isfinite(radius) & (radius > 0)
    x = target = direction(np.where(moves, z, 1))
    image, matrix = walk(x, *h)
    for _ in range(STEPS):
        gap = length(target - image)
        last = gap <= 64 * np.finfo(z.dtype).eps
        step = small_matrices.solve(matrix, target - image)
        share = np.ones_like(gap)
        for _ in range(HALVINGS):
            new = x + share * step
            new = new / length(new)
            image, matrix = walk(new, *h)
            worse = moves & ~last & (length(target - image) >= gap)
            if not np.any(worse):
                break
            share = np.where(worse, share / 2, share)
        x = np.where(moves, new, x)
        moves = moves & ~last
        if not np.any(moves):
            return np.where(np.isfinite(radius), radius * x, np.nan)
    raise ArithmeticError(
        f"forward: expected the start of every walk within {STEPS} steps, got "
        f"{np.sum(moves)} rows without"
    )


def _start_vjp(argnums, x, arguments, _):
    """Differentiate |x| F(x / |x|; h) = z: M dx = dz - df, with M = F' P + F x^T."""
    _, *raw = arguments
    radius, x = length(x), direction(x)

    def vjp(cotangent):
        matrix = walk(x, *potential(*raw))[1]
        pulled = small_matrices.solve(np.transpose(matrix, (0, 2, 1)), cotangent)
        pull_back, _ = make_vjp(lambda given: radius * walk(x, *potential(*given))[0])(
            traced_tuple(tuple(raw))
        )
        back = pull_back(-pulled)
        return [pulled if argnum == 0 else back[argnum - 1] for argnum in argnums]

    return vjp


defvjp_argnums(start_of_walk, _start_vjp)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExponentialMap(Flow):
    """Points of a sphere walk along great circles; rows keep their lengths.

    Parameters
    ----------
    dim : int
        D, at least 2: rows are points of the sphere in D - 1 dimensions, times a length.
    centres : int, default 8
        K.

    Notes
    -----
    Parameters in ``params``: ``centres`` (K, D), of any length above zero; ``logits`` (K,), of the
    weights beside a rest whose logit is 0; ``log_sharpness`` (K,). One map moves each point by less
    than one radian; a :class:`nfref.Chain` of them goes further.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.ExponentialMap(3)
    >>> z, log_det = flow.inverse(flow.init(np.random.default_rng(0)), np.eye(3))
    >>> (z**2).sum(axis=1)
    array([1., 1., 1.])
    """

    dim: int
    centres: int = 8

    _converters = {"dim": at_least(2), "centres": check_count}

    def _init(self, rng):
        return {
            "centres": rng.standard_normal((self.centres, self.dim)),
            "logits": np.full(self.centres, -np.log(self.centres)),
            "log_sharpness": np.zeros(self.centres),
        }

    def _forward(self, params, z, context):
        raw = params["centres"], params["logits"], params["log_sharpness"]
        x = start_of_walk(z, *raw)
        return x, -small_matrices.log_abs_det(walk(direction(x), *potential(*raw))[1])

    def _inverse(self, params, x, context):
        h = potential(params["centres"], params["logits"], params["log_sharpness"])
        image, matrix = walk(direction(x), *h)
        return length(x) * image, small_matrices.log_abs_det(matrix)
