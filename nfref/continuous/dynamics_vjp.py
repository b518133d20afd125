"""The derivative of the joint right-hand side with the exact trace, written by hand.

The adjoint solve calls it at every step. It equals the reverse-mode derivative of
:func:`nfref.continuous.dynamics.right_hand_side`, without a tape; a test compares the two.
Cost for two hidden layers: six products with H x H matrices; the value needs two.
"""

import numpy as np

from nfref.continuous.dynamics import ACTIVATIONS, CURVATURES, Fixed, first_layer
from nfref.runtime.annotations import Any, Array


def exact_vjp(
    net: list[dict[str, Array]],
    t: float,
    state: Array,
    cotangent: Array,
    context: Array | None = None,
    fixed: Fixed = Fixed(),
    activation: str = "tanh",
) -> tuple[Array, Array, Array | None, list[dict[str, Array]]]:
    """Return f, and cotangents of z, context and net for a cotangent of the right-hand side.

    The right-hand side is [f, tr df/dz] or, with at most one hidden layer, [f, tr df/dz,
    |f|^2, |df/dz|_F^2]. For a scalar E with dE = sum(g_f * df + q * dtr + ...):

    1. The cotangent's columns are g_f, q, and perhaps k and r. |f|^2 adds 2 k f to g_f.
    2. tr = d_1 M d_2^T:   g_d1 = q d_2 M^T,  g_d2 = q d_1 M,  g_M = d_1^T (q d_2).
       One hidden layer, tr = d_1 m:  g_d1 = q m,  g_m = sum_n q d_1.
    3. f = h_L W + b backwards, layer by layer:  g_u = g_h s' + g_d s''.
    4. M = W_2 * (W_3 A)^T:  with B = g_M * W_2,
       W_2 += g_M * (W_3 A)^T,  W_3 += B^T A^T,  A += W_3^T B^T.
       m_j = sum_i W_ji A_ij:  W += g_m A^T,  A += (g_m W)^T, g_m multiplying rows.
    5. |df/dz|_F^2 = d P d^T, P = (A^T A) * (W W^T), symmetric:  g_d += 2 r d P,
       g_P = d^T (r d);  A += 2 A (g_P * W W^T),  W += 2 (g_P * A^T A) W.

    Shapes: state and cotangent (N, D + 1) or (N, D + 3).

    Returns
    -------
    f : (N, D) array
    g_z : (N, D) array
    g_context : (N, C) array or None
    g_net : list of {"weight", "bias"}
    """
    dim = net[-1]["bias"].shape[0]
    z, g_f, q = state[:, :dim], cotangent[:, :dim], cotangent[:, dim : dim + 1]
    penalised = cotangent.shape[1] > dim + 1
    values, slopes, a = [], [], first_layer(net, t, z, context)
    for layer in net[1:]:
        h, slope = ACTIVATIONS[activation](a)
        values.append(h)
        slopes.append(slope)
        a = h @ layer["weight"] + layer["bias"]
    f = a
    if penalised:
        g_f = g_f + 2 * cotangent[:, dim + 1 : dim + 2] * f

    g_matrix, g_slopes = trace_vjp(slopes, fixed.matrix, q)
    if penalised and slopes:
        r_d = cotangent[:, dim + 2 :] * slopes[0]
        g_slopes[0] = g_slopes[0] + 2 * r_d @ fixed.gram
        g_gram = slopes[0].T @ r_d
    elif penalised:
        g_gram = cotangent[:, dim + 2 :].sum()
    g_net: list[Any] = [None] * len(net)
    g_a = g_f
    for k in range(len(net) - 1, 0, -1):
        h, slope = values[k - 1], slopes[k - 1]
        g_net[k] = {"weight": h.T @ g_a, "bias": g_a.sum(axis=0)}
        curvature = CURVATURES[activation](h, slope)
        g_a = (g_a @ net[k]["weight"].T) * slope + g_slopes[k - 1] * curvature

    weight = net[0]["weight"]
    g_bias = g_a.sum(axis=0)
    rows = [z.T @ g_a, t * g_bias[None, :]]
    if context is not None:
        rows.append(context.T @ g_a)
    g_net[0] = {"weight": np.concatenate(rows), "bias": g_bias}
    add_matrix_vjp(g_net, net, g_matrix, dim)
    if penalised:
        add_gram_vjp(g_net, net, g_gram, dim)
    g_context = None if context is None else g_a @ weight[dim + 1 :].T
    return f, g_a @ weight[:dim].T, g_context, g_net


def trace_vjp(slopes: list[Array], matrix: Array, q: Array) -> tuple[Array, list[Array]]:
    """Compute step 2: the cotangents of the trace's matrix and of the slopes."""
    if not slopes:
        return q.sum(), []
    if len(slopes) == 1:
        return (q * slopes[0]).sum(axis=0), [q * matrix]
    d1, q_d2 = slopes[0], q * slopes[1]
    return d1.T @ q_d2, [q_d2 @ matrix.T, q * (d1 @ matrix)]


def add_matrix_vjp(
    g_net: list[dict[str, Array]], net: list[dict[str, Array]], g_matrix: Array, dim: int
) -> None:
    """Compute step 4: add the cotangent of the trace's matrix to those of the weights."""
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        g_net[0]["weight"][:dim] += g_matrix * np.eye(dim, dtype=first.dtype)
    elif len(net) == 2:
        g_net[1]["weight"] += g_matrix[:, None] * first.T
        g_net[0]["weight"][:dim] += (g_matrix[:, None] * last).T
    else:
        g_product = (g_matrix * net[1]["weight"]).T
        g_net[1]["weight"] += g_matrix * (last @ first).T
        g_net[2]["weight"] += g_product @ first.T
        g_net[0]["weight"][:dim] += last.T @ g_product


def add_gram_vjp(
    g_net: list[dict[str, Array]], net: list[dict[str, Array]], g_gram: Array, dim: int
) -> None:
    """Compute step 5: add the cotangent of the norm's matrix to those of the weights."""
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        g_net[0]["weight"][:dim] += 2 * g_gram * first
    else:
        g_net[0]["weight"][:dim] += 2 * first @ (g_gram * (last @ last.T))
        g_net[1]["weight"] += 2 * (g_gram * (first.T @ first)) @ last
