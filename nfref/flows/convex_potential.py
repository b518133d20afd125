r"""Convex potential flows: the map is the gradient of a strongly convex function.

Sources: Huang, Chen, Tsirigotis, Courville 2020, arXiv:2012.05942 (CP-Flow); Amos, Xu, Kolter
2016, arXiv:1609.07152 (input-convex networks).

    .. math::

        x = \nabla F(z), \qquad F(z) = \frac{a}{2} |z|^2 + \mathrm{network}(z), \quad
            a > 0, \qquad
        \log \det \frac{dx}{dz} = \log \det F''(z).

The network is convex in z, so F'' >= a I: the map is one to one and onto, its Jacobian is
symmetric, and its determinant positive. Between two distributions exactly one map is the gradient
of a convex function, the optimal map for the squared distance (Brenier). So the density determines
the flow.

The inverse is a convex problem, z = argmin F(z) - x . z, which Newton's method solves. It is also
the gradient of a convex function, the conjugate F*(x) = max x . z - F(z).

Cost of ``forward``: D passes of the network and D^3 per row. ``inverse``: typically seventeen times
that. Density estimation needs the other direction to be fast, as in the paper: ``Invert(flow)``.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.flow import Flow
from nfref.networks.activations import sigmoid, softplus
from nfref.networks.mlp import uniform_layer, with_context
from nfref.runtime import params as trees
from nfref.runtime import small_matrices
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.autograd_internals import getval, traces_of
from nfref.runtime.checks import check_hidden

# Potential --------------------------------------------------------------------------------


def potential(net: dict[str, Any], z: Array, context: Array | None = None) -> Array:
    """Return F(z) = a/2 |z|^2 + v . z + w . h_K, with a network h_K that is convex in z.

    h_1 = s(z U_1 + b_1), h_k = s(h_{k-1} P_k + z U_k + b_k), with s(a) = log(1 + e^a), which is
    convex and increasing, and P_k >= 0, w >= 0. Sums of convex functions with nonnegative weights
    are convex, and so is s of such a sum.

    Paper:   CP-Flow, its potential: a/2 |x|^2 plus an input-convex network of softplus units, in
             the published code a = softplus of a number that starts at a = 1, P = softplus of
             free numbers over the number of inputs.
    Differs: no actnorm inside the network, no factor in front of it, which w includes already,
             and softplus where the published code offers others. A context enters by U_k and by
             v, so that F is convex in z for any context; the published code also has gates.

    Shapes: z (N, D), context (N, C); net as :meth:`ConvexPotentialFlow.constrained` makes it.
    Returns (N,).
    """
    inputs, h = with_context(z, context), None
    for layer in net["layers"]:
        h = softplus(before_activation(layer, inputs, h))
    total = net["strength"] / 2 * np.sum(z * z, axis=1) + np.sum(shift(net, context) * z, axis=1)
    return total if h is None else total + h @ net["output"]


def before_activation(layer: dict[str, Array], inputs: Array, h: Array | None) -> Array:
    """Return h_{k-1} P_k + z U_k + b_k; the first layer has no P."""
    a = inputs @ layer["weight"] + layer["bias"]
    return a if h is None else a + h @ layer["positive"]


def shift(net: dict[str, Any], context: Array | None) -> Array:
    """Return v: one for all rows, or one per row."""
    return net["shift"] if context is None else net["shift"] + context @ net["from_context"]


def gradient_and_hessian(
    net: dict[str, Any], z: Array, context: Array | None = None
) -> tuple[Array, Array]:
    """Return grad F and F'' of each row, by hand.

    1. Upwards: a_k = h_{k-1} P_k + z U_k + b_k and its Jacobian
       J_k = da_k/dz = P_k^T diag(s'(a_{k-1})) J_{k-1} + U_k^T,  J_1 = U_1^T.
    2. Downwards: g_k = dF/dh_k, with g_K = w and g_{k-1} = (g_k s'(a_k)) P_k^T. As w, s' and P are
       not negative, no g_k is negative.
    3. grad F = a z + v + sum_k (g_k s'(a_k)) U_k^T.
    4. F'' = a I + sum_k J_k^T diag(g_k s''(a_k)) J_k, since a_k is affine in z and h_{k-1}, and
       each layer counts its own curvature. Every term is positive semidefinite.

    Shapes: z (N, D), context (N, C). Returns (N, D) and (N, D, D).
    """
    dim = z.shape[1]
    inputs, h, passed = with_context(z, context), None, []
    for layer in net["layers"]:
        across = layer["weight"][:dim].T[None]
        a = before_activation(layer, inputs, h)
        if h is not None:
            _, slope, jacobian = passed[-1]
            across = across + layer["positive"].T @ (slope[:, :, None] * jacobian)
        h = softplus(a)
        passed.append((a, sigmoid(a), across))
    gradient = net["strength"] * z + shift(net, context)
    hessian = net["strength"] * np.eye(dim, dtype=z.dtype) + np.zeros((len(z), 1, 1), z.dtype)
    g = net.get("output")
    for layer, (a, slope, jacobian) in zip(net["layers"][::-1], passed[::-1]):
        curvature = g * slope * sigmoid(-a)
        hessian = hessian + np.swapaxes(jacobian, 1, 2) @ (curvature[:, :, None] * jacobian)
        gradient = gradient + (g * slope) @ layer["weight"][:dim].T
        if "positive" in layer:
            g = (g * slope) @ layer["positive"].T
    return gradient, hessian


# The convex problem -----------------------------------------------------------------------


def minimiser(
    net: dict[str, Any], x: Array, context: Array | None = None, limit: int = 300
) -> Array:
    """Return the z with grad F(z) = x, by damped Newton steps on phi(z) = F(z) - x . z from z = 0.

    With r = grad phi = grad F(z) - x and the step d = F''(z)^-1 r:

    1. phi is convex and falls along -d at the rate q = r . d >= 0, so a short enough step t d
       lowers phi by more than t q / 4. Such a step is taken, and t is multiplied by 8, up to 1;
       otherwise t is divided by 8.
    2. The remaining gain is about q / 2. Once phi in floating point does not resolve q, |r|
       replaces it: it also falls along -d, by the factor 1 - t. Full steps square the error here.
       A row is done when no step down to t = 1/512 shortens |r| by a part t/4: the rest is
       rounding.
    3. F'' >= a I bounds the error: |z - z*| <= |r| / a.

    Paper:   CP-Flow: z = argmin F(z) - x . z by an optimiser for convex functions, the published
             code by L-BFGS until its gradient is below a tolerance.
    Differs: Newton's method, because F'' is at hand; the stopping rule; an error instead of a
             wrong answer.

    Shapes: x (N, D), context (N, C), in float64. Returns (N, D), with NaN for rows that are not
    finite or have a context that is not. No gradient passes.

    Raises
    ------
    ArithmeticError
        If |r| stays above sqrt(eps) times the numbers that it is a difference of, when no step
        helps or after ``limit`` steps.
    """
    finite: Any = numpy.isfinite(x).all(axis=1)
    if context is not None:
        finite = finite & numpy.isfinite(context).all(axis=1)
        context = numpy.where(finite[:, None], context, 0)
    x = numpy.where(finite[:, None], x, 0)
    eps = numpy.finfo(x.dtype).eps

    def at(z):
        """Return z with phi, r and F'' there."""
        gradient, hessian = gradient_and_hessian(net, z, context)
        phi = potential(net, z, context) - numpy.sum(x * z, axis=1)
        return z, phi, gradient - x, hessian

    here: Any = at(numpy.zeros_like(x))
    t = numpy.ones(len(x))
    for _ in range(limit):
        z, phi, r, hessian = here
        d = small_matrices.solve(hessian, r)
        q = numpy.sum(r * d, axis=1)
        resolved = q > 64 * eps * (numpy.abs(phi) + 2 * length(x) * length(z))
        moves = (length(r) > 0) & (resolved | (t > 1e-3))
        if not moves.any():
            break
        there = at(z - t[:, None] * d)
        better = numpy.where(
            resolved, there[1] < phi - t / 4 * q, length(there[2]) < (1 - t / 4) * length(r)
        )
        taken = moves & better
        here = [
            numpy.where(taken.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(there, here)
        ]
        t = numpy.where(taken, numpy.minimum(1, 8 * t), t / 8)
    z, _, r, hessian = here
    size = length(x) + numpy.trace(hessian, axis1=1, axis2=2) * (1 + length(z))
    lost = numpy.count_nonzero(~(length(r) <= eps**0.5 * size))
    if lost:
        raise ArithmeticError(
            "inverse: expected a minimum of the potential within "
            f"{limit} Newton steps, got {lost} rows with a gradient of up to "
            f"{numpy.max(length(r)):.3g}"
        )
    return numpy.where(finite[:, None], z, numpy.nan)


def length(rows: Array) -> Array:
    """Return the length of each row."""
    return numpy.sqrt(numpy.sum(rows * rows, axis=1))


def inverse_gradient(net: dict[str, Any], x: Array, context: Array | None = None) -> Array:
    """Return the minimiser, with its derivatives.

    grad F(z; theta) = x gives dz = F''^-1 (dx - d_theta grad F). One more Newton step from the
    minimiser, with the start and F'' held fixed, has this derivative. The value of the step, a
    rounding error, is omitted. Each further step makes derivatives of one more order right: a step
    with F'' held fixed multiplies the error, of first order at the start, by a change of F'' or of
    z, also of first order. The minimum is found in float64.

    Shapes: x (N, D), context (N, C). Returns (N, D).
    """
    fixed, given = trees.tree_map(getval, net), getval(context)
    wide = trees.cast([fixed, getval(x), *([] if given is None else [given])], numpy.float64)
    z = minimiser(*wide).astype(x.dtype)
    _, hessian = gradient_and_hessian(fixed, z, given)
    for _ in range(max(1, traces_of(net, x, context))):
        step = small_matrices.solve(hessian, gradient_and_hessian(net, z, context)[0] - x)
        z = z - (step - getval(step))
    return z


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvexPotentialFlow(Flow):
    """The gradient of a strongly convex input-convex network.

    ``forward`` is the gradient, ``inverse`` the solution of a convex problem, to rounding error.
    Both log-determinants are exact, from the Hessian. A chain of two such flows is in general not
    a gradient.

    Parameters
    ----------
    dim : int
        D.
    hidden : sequence of int, default (32, 32)
        Widths H_k of the network; without any the map is x = a z + v.
    context_dim : int, default 0
        Context features C.

    Notes
    -----
    In a fit to data, ``Density(Invert(flow))`` takes one pass of the Hessian per step, and solves
    the convex problem to sample. ``Density(flow)`` does the opposite, at three times the cost per
    step (measured with 200 rows of 2 and of 8 columns). Both are exact.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.ConvexPotentialFlow(2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    hidden: Sequence[int] = (32, 32)
    context_dim: int = 0

    _converters = {"hidden": check_hidden}

    def _init(self, rng):
        inputs = self.dim + self.context_dim
        layers: list[dict[str, Array]] = []
        for k, width in enumerate(self.hidden):
            layers.append(uniform_layer(rng, inputs**-0.5, inputs, width))
            if k:
                before = self.hidden[k - 1]
                layers[k]["positive"] = rng.uniform(-1, 1, (before, width)) * before**-0.5
        params = {
            "layers": layers,
            "shift": np.zeros(self.dim),
            "strength": np.log(np.expm1(np.ones(1))),  # a = 1
        }
        if self.hidden:
            params["output"] = np.zeros(self.hidden[-1])
        if self.context_dim:
            params["from_context"] = np.zeros((self.context_dim, self.dim))
        return params

    def constrained(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the net of the formulas: P, w, a are softplus of free numbers, P and w over H."""
        layers = [
            {**layer, "positive": softplus(layer["positive"]) / len(layer["positive"])}
            if "positive" in layer
            else layer
            for layer in params["layers"]
        ]
        net = {**params, "layers": layers, "strength": softplus(params["strength"])}
        if self.hidden:
            net["output"] = softplus(params["output"]) / self.hidden[-1]
        return net

    def potential(self, params: dict[str, Any], z: Array, context: Array | None = None) -> Array:
        """Return F(z); ``forward`` is its gradient.

        Parameters
        ----------
        params : dict
        z : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N,) array
        """
        params, z, context = self._checked(params, "z", z, context)
        return potential(self.constrained(params), z, context)

    def _forward(self, params, z, context):
        with np.errstate(invalid="ignore"):  # for rows that are not finite
            x, hessian = gradient_and_hessian(self.constrained(params), z, context)
            return x, small_matrices.log_abs_det(hessian)

    def _inverse(self, params, x, context):
        net = self.constrained(params)
        with np.errstate(invalid="ignore"):
            z = inverse_gradient(net, x, context)
            return z, -small_matrices.log_abs_det(gradient_and_hessian(net, z, context)[1])
