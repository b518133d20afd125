"""The derivative of the joint right-hand side with the exact trace, written by hand.

The adjoint solve calls it at every step. It is what reverse-mode differentiation of
:func:`nfref.continuous.dynamics.right_hand_side` gives, without a tape; a test holds the
two equal. Cost for two hidden layers: six products with H x H matrices where the value
needs two.
"""

import numpy as np

from nfref.continuous.dynamics import ACTIVATIONS, CURVATURES, first_layer


def exact_vjp(net, t, state, cotangent, context=None, fixed=None, activation="tanh"):
    """f, and cotangents of z, context and net for a cotangent of the right-hand side.

    The right-hand side is [f, tr df/dz] or, with at most one hidden layer, [f, tr df/dz,
    |f|^2, |df/dz|_F^2]. For a scalar E with dE = sum(f_bar * df + q * dtr + ...):

    1. The cotangent's columns are f_bar, q, and perhaps k and r. |f|^2 adds 2 k f to f_bar.
    2. tr = d_1 M d_2^T:   d1_bar = q d_2 M^T,  d2_bar = q d_1 M,  M_bar = d_1^T (q d_2).
       One hidden layer, tr = d_1 m:  d1_bar = q m,  m_bar = sum_n q d_1.
    3. f = h_L W + b backwards, layer by layer:  u_bar = h_bar s' + d_bar s''.
    4. M = W_2 * (W_3 A)^T:  with B = M_bar * W_2,
       W_2 += M_bar * (W_3 A)^T,  W_3 += B^T A^T,  A += W_3^T B^T.
       m_j = sum_i W_ji A_ij:  W += m_bar A^T,  A += (m_bar W)^T, m_bar multiplying rows.
    5. |df/dz|_F^2 = d P d^T, P = (A^T A) * (W W^T), symmetric:  d_bar += 2 r d P,
       P_bar = d^T (r d);  A += 2 A (P_bar * W W^T),  W += 2 (P_bar * A^T A) W.

    Shapes: state and cotangent (N, D + 1) or (N, D + 3).

    Returns
    -------
    f : (N, D) array
    z_bar : (N, D) array
    context_bar : (N, C) array or None
    net_bar : list of {"weight", "bias"}
    """
    dim = net[-1]["bias"].shape[0]
    z, f_bar, q = state[:, :dim], cotangent[:, :dim], cotangent[:, dim:dim + 1]
    penalised = cotangent.shape[1] > dim + 1
    values, slopes, a = [], [], first_layer(net, t, z, context)
    for layer in net[1:]:
        h, slope = ACTIVATIONS[activation](a)
        values.append(h)
        slopes.append(slope)
        a = h @ layer["weight"] + layer["bias"]
    f = a
    if penalised:
        f_bar = f_bar + 2 * cotangent[:, dim + 1:dim + 2] * f

    matrix_bar, slope_bars = trace_vjp(slopes, fixed.matrix, q)
    if penalised and slopes:
        r_d = cotangent[:, dim + 2:] * slopes[0]
        slope_bars[0] = slope_bars[0] + 2 * r_d @ fixed.gram
        gram_bar = slopes[0].T @ r_d
    elif penalised:
        gram_bar = cotangent[:, dim + 2:].sum()
    net_bar = [None] * len(net)
    a_bar = f_bar
    for k in range(len(net) - 1, 0, -1):
        h, slope = values[k - 1], slopes[k - 1]
        net_bar[k] = {"weight": h.T @ a_bar, "bias": a_bar.sum(axis=0)}
        curvature = CURVATURES[activation](h, slope)
        a_bar = (a_bar @ net[k]["weight"].T) * slope + slope_bars[k - 1] * curvature

    weight = net[0]["weight"]
    bias_bar = a_bar.sum(axis=0)
    rows = [z.T @ a_bar, t * bias_bar[None, :]]
    if context is not None:
        rows.append(context.T @ a_bar)
    net_bar[0] = {"weight": np.concatenate(rows), "bias": bias_bar}
    add_matrix_vjp(net_bar, net, matrix_bar, dim)
    if penalised:
        add_gram_vjp(net_bar, net, gram_bar, dim)
    context_bar = None if context is None else a_bar @ weight[dim + 1:].T
    return f, a_bar @ weight[:dim].T, context_bar, net_bar


def trace_vjp(slopes, matrix, q):
    """Step 2: the cotangents of the trace's matrix and of the slopes."""
    if not slopes:
        return q.sum(), []
    if len(slopes) == 1:
        return (q * slopes[0]).sum(axis=0), [q * matrix]
    d1, q_d2 = slopes[0], q * slopes[1]
    return d1.T @ q_d2, [q_d2 @ matrix.T, q * (d1 @ matrix)]


def add_matrix_vjp(net_bar, net, matrix_bar, dim):
    """Step 4: hand the cotangent of the trace's matrix on to the weights it is made of."""
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        net_bar[0]["weight"][:dim] += matrix_bar * np.eye(dim, dtype=first.dtype)
    elif len(net) == 2:
        net_bar[1]["weight"] += matrix_bar[:, None] * first.T
        net_bar[0]["weight"][:dim] += (matrix_bar[:, None] * last).T
    else:
        product_bar = (matrix_bar * net[1]["weight"]).T
        net_bar[1]["weight"] += matrix_bar * (last @ first).T
        net_bar[2]["weight"] += product_bar @ first.T
        net_bar[0]["weight"][:dim] += last.T @ product_bar


def add_gram_vjp(net_bar, net, gram_bar, dim):
    """Step 5: hand the cotangent of the norm's matrix on to the weights it is made of."""
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        net_bar[0]["weight"][:dim] += 2 * gram_bar * first
    else:
        net_bar[0]["weight"][:dim] += 2 * first @ (gram_bar * (last @ last.T))
        net_bar[1]["weight"] += 2 * (gram_bar * (first.T @ first)) @ last
