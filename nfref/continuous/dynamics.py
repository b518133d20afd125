r"""The right-hand side of a continuous flow: velocity, trace of its Jacobian, penalties.

Sources: Chen et al. 2018, arXiv:1806.07366 (neural ODE, instantaneous change of variables);
Grathwohl et al. 2019, arXiv:1810.01367 (FFJORD); Finlay et al. 2020, arXiv:2002.02798 (RNODE).

A point moves with velocity dz/dt = f(z, t, c). The log-determinant of the resulting map
grows with the trace of the Jacobian (neural ODE, theorem 1, eq. 8):

    .. math::

        \frac{d}{dt} \log \left|\det \frac{dz(t)}{dz(0)}\right|
            = \operatorname{tr} \frac{\partial f}{\partial z}.

f is an MLP that reads the row u = [z, t, c]. In this file layers are counted from one.
A = W_1[:D] are the rows of the first weight that multiply z, s is the activation, and
d_l = s'(u_l) are the *slopes* of hidden layer l, (N, H_l).  Then

    .. math::

        f &= s(\ldots s(u W_1 + b_1) \ldots) W_L + b_L, \\
        \frac{df}{dz} &= A \operatorname{diag}(d_1) W_2 \operatorname{diag}(d_2) \cdots W_L
            \qquad (\text{row convention: } dz \to dz \, df/dz).

Three traces have one signature, (net, slopes, fixed) -> (N,). ``fixed`` holds the constants of
one solve: probes, or a matrix of the weights.
"""

from typing import NamedTuple

import autograd.numpy as np

from nfref.networks.activations import sech_squared
from nfref.runtime.annotations import Any, Array, DTypeLike, Sequence

# Activations ------------------------------------------------------------------------------


def tanh(a: Array) -> tuple[Array, Array]:
    """Return (s, s') = (tanh a, sech^2 a)."""
    return np.tanh(a), sech_squared(a)


def softplus(a: Array) -> tuple[Array, Array]:
    """Return (s, s') = (log(1 + e^a), e^(a - s)); the slope is the logistic function of a."""
    h = np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))
    return h, np.exp(a - h)


ACTIVATIONS = {"tanh": tanh, "softplus": softplus}

# The second derivative s'' from s and s'.
CURVATURES = {"tanh": lambda h, d: -2 * h * d, "softplus": lambda h, d: d * np.exp(-h)}


# Velocity and its derivative --------------------------------------------------------------


def first_layer(
    net: list[dict[str, Array]], t: float | Array, z: Array, context: Array | None
) -> Array:
    """Return u W_1 + b_1 for u = [z, t, c], without building u."""
    weight, dim = net[0]["weight"], z.shape[1]
    a = z @ weight[:dim] + (t * weight[dim] + net[0]["bias"])
    return a if context is None else a + context @ weight[dim + 1 :]


def velocity(
    net: list[dict[str, Array]],
    t: float | Array,
    z: Array,
    context: Array | None = None,
    activation: str = "tanh",
) -> tuple[Array, list[Array]]:
    """Return f(z, t, c) and the slopes of the hidden layers.

    Parameters
    ----------
    net : list of {"weight", "bias"}
        As made by :func:`nfref.networks.mlp.init_mlp`, with D + 1 + C inputs and D outputs.
    t : float
    z : (N, D) array
    context : (N, C) array, optional
    activation : {"tanh", "softplus"}

    Returns
    -------
    f : (N, D) array
    slopes : list of (N, H_l) arrays
        s'(u_l), one for each hidden layer.
    """
    activate = ACTIVATIONS[activation]
    a = first_layer(net, t, z, context)
    slopes = []
    for k in range(1, len(net)):
        h, slope = activate(a)
        slopes.append(slope)
        a = h @ net[k]["weight"] + net[k]["bias"]
    return a, slopes


def vector_jacobian(net: list[dict[str, Array]], slopes: Sequence[Array], v: Array) -> Array:
    """Return v^T (df/dz)^T for rows v: the derivative of f by hand, last layer first.

    Entry i of a row is sum_o v_o df_o/dz_i = v W_L^T diag(d_{L-1}) ... diag(d_1) A^T.
    Shapes: v (..., N, D) or (..., 1, D). Returns (..., N, D). Cost: one pass.
    """
    dim = v.shape[-1]
    for k in range(len(net) - 1, 0, -1):
        v = (v @ net[k]["weight"].T) * slopes[k - 1]
    return v @ net[0]["weight"][:dim].T


# Three traces -----------------------------------------------------------------------------


class Fixed(NamedTuple):
    """The constants of one solve.

    ``probes``: (K, N, D) random vectors. ``matrix``: of :func:`trace_matrix`. ``gram``: of
    :func:`norm_matrix`. Each may be None.
    """

    probes: Any = None  # arrays, for the traces and norms that read them
    matrix: Any = None
    gram: Any = None


def basis(dim: int, dtype: DTypeLike) -> Array:
    """Return the D basis vectors as probes, (D, 1, D)."""
    return np.eye(dim, dtype=dtype)[:, None, :]


def brute_trace(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return tr df/dz = sum_i e_i^T (df/dz) e_i over the basis vectors. Cost: D passes."""
    e = basis(net[-1]["bias"].shape[0], net[-1]["bias"].dtype)
    return np.sum(vector_jacobian(net, slopes, e) * e, axis=(0, 2))


def hutchinson_trace(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return the mean of e^T (df/dz) e over probes with E e e^T = I (FFJORD, section 3.1, eq. 7).

    Cost: K passes. It is unbiased. With S = (J + J^T) / 2, one probe has the variance
    2 |S|_F^2 (Gaussian) or 2 (|S|_F^2 - sum_i S_ii^2) (Rademacher): the diagonal adds no
    variance to Rademacher probes.
    """
    e = fixed.probes
    return np.sum(vector_jacobian(net, slopes, e) * e, axis=(0, 2)) / len(e)


def trace_matrix(net: list[dict[str, Array]]) -> Array:
    """Return the part of the exact trace that depends only on the weights, once per solve.

    1. df/dz = A diag(d_1) W_2 diag(d_2) W_3 has the trace
       sum_{i,j,k} A_ij d1_j W2_jk d2_k W3_ki.
    2. Only A and W_3 carry the index i: sum_i W3_ki A_ij = (W_3 A)_kj.
    3. So tr df/dz = sum_jk d1_j M_jk d2_k with M = W_2 * (W_3 A)^T, elementwise.
    4. With one hidden layer W_2 is missing: tr = sum_j d1_j m_j, m = diag(W_2' A), where W_2'
       is the last weight. With none, tr = tr A.

    Returns
    -------
    (H_1, H_2), (H_1,) or () array, for two, one or no hidden layers
    """
    dim = net[-1]["bias"].shape[0]
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        return np.trace(first)
    if len(net) == 2:
        return np.sum(last * first.T, axis=1)
    return net[1]["weight"] * (last @ first).T


def exact_trace(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return tr df/dz = d_1 M d_2^T of each row: one H x H product, for any D.

    For up to two hidden layers; see :func:`trace_matrix` for the derivation.
    """
    matrix = fixed.matrix
    if not slopes:
        return matrix
    if len(slopes) == 1:
        return slopes[0] @ matrix
    return np.sum((slopes[0] @ matrix) * slopes[1], axis=1)


TRACES = {"exact": exact_trace, "hutchinson": hutchinson_trace, "brute": brute_trace}
EXACT_LAYERS = 2  # the exact trace has a closed form up to this many hidden layers


# Penalties of RNODE -----------------------------------------------------------------------


def kinetic_energy(f: Array) -> Array:
    """Return |f|^2 of each row, the kinetic energy of RNODE."""
    return np.sum(f * f, axis=1)


def brute_norm(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return |df/dz|_F^2 = sum_i |e_i^T df/dz|^2 over the basis vectors. Cost: D passes."""
    e = basis(net[-1]["bias"].shape[0], net[-1]["bias"].dtype)
    return np.sum(vector_jacobian(net, slopes, e) ** 2, axis=(0, 2))


def hutchinson_norm(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return the mean of |e^T df/dz|^2 over the probes, unbiased for |df/dz|_F^2 (RNODE)."""
    return np.sum(vector_jacobian(net, slopes, fixed.probes) ** 2, axis=(0, 2)) / len(fixed.probes)


def norm_matrix(net: list[dict[str, Array]]) -> Array:
    """Return the part of the exact Frobenius norm that depends only on the weights.

    1. With one hidden layer df/dz = A diag(d) W, so |df/dz|_F^2 = tr W^T diag(d) A^T A diag(d) W.
    2. = sum_jk d_j (A^T A)_jk (W W^T)_kj d_k = d P d^T with P = (A^T A) * (W W^T).

    With two hidden layers the same sum has four indices and nothing left to factor.

    Returns
    -------
    (H, H) array, or () for no hidden layer, where it is |A|_F^2
    """
    dim = net[-1]["bias"].shape[0]
    first, last = net[0]["weight"][:dim], net[-1]["weight"]
    if len(net) == 1:
        return np.sum(first**2)
    return (first.T @ first) * (last @ last.T)


def exact_norm(net: list[dict[str, Array]], slopes: list[Array], fixed: Fixed) -> Array:
    """Return |df/dz|_F^2 = d P d^T of each row, for at most one hidden layer."""
    if not slopes:
        return fixed.gram
    return np.sum((slopes[0] @ fixed.gram) * slopes[0], axis=1)


NORMS = {"exact": exact_norm, "hutchinson": hutchinson_norm, "brute": brute_norm}


# The joint right-hand side ----------------------------------------------------------------


def right_hand_side(
    net: list[dict[str, Array]],
    t: float,
    state: Array,
    context: Array | None = None,
    fixed: Fixed = Fixed(),
    activation: str = "tanh",
    trace: str = "exact",
    norm: str | None = None,
) -> Array:
    """Return the derivative of the state [z, log_det] or [z, log_det, kinetic, jacobian].

    d/dt [z, log_det, kinetic, jacobian] = [f, tr df/dz, |f|^2, |df/dz|_F^2]. Only z is read
    from the state; the other columns are integrals along the path.

    Parameters
    ----------
    net : list of {"weight", "bias"}
    t : float
    state : (N, D + 1) or (N, D + 3) array
    context : (N, C) array, optional
    fixed : Fixed
    activation : {"tanh", "softplus"}
    trace : {"exact", "hutchinson", "brute"}
    norm : {"exact", "hutchinson", "brute"}, optional
        Method for the Frobenius norm; None omits both penalties.

    Returns
    -------
    array like ``state``
    """
    dim = net[-1]["bias"].shape[0]
    f, slopes = velocity(net, t, state[:, :dim], context, activation)
    nothing = np.zeros(len(f), dtype=f.dtype)
    columns = [f, (TRACES[trace](net, slopes, fixed) + nothing)[:, None]]
    if norm is not None:
        columns.append(kinetic_energy(f)[:, None])
        columns.append((NORMS[norm](net, slopes, fixed) + nothing)[:, None])
    return np.concatenate(columns, axis=1)
