r"""Sylvester flows.

Source: van den Berg, Hasenclever, Tomczak and Welling 2018, arXiv:1803.05649.

These are planar flows with M directions at once. Points move within the span of the M columns
of Q,

    .. math::

        x = z + Q R_1 \tanh(R_2 Q^T z + b), \qquad
        \det \frac{dx}{dz} = \prod_i (1 + R_{1,ii} R_{2,ii} \tanh'_i),

with orthonormal columns Q (D, M) and upper triangular R1, R2 (M, M). The determinant is
Sylvester's identity det(I + A B) = det(I + B A): with A = Q R1 tanh' and B = R2 Q^T, the D x D
matrix I + A B has the determinant of the M x M matrix I + R2 Q^T Q R1 tanh', which is
triangular, because Q^T Q = I and triangular matrices multiply to triangular ones.

It is a diffeomorphism exactly when every R1_ii R2_ii > -1. The inverse needs M roots of scalar
equations per row, for any D, one after the other.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Composition, with_fields_of
from nfref.flows.planar import planar_root, planar_slope
from nfref.networks.activations import softplus, tanh
from nfref.runtime.annotations import Any, Array
from nfref.runtime.autograd_internals import defvjp, getval, primitive
from nfref.runtime.checks import check_count, one_of

# Formulas: the parameters ------------------------------------------------------------------


def constrain_diagonals(d1: Array, d2: Array) -> tuple[Array, Array, Array]:
    """Return R1_ii = tanh(d1_i), R2_ii = tanh(d2_i), and the slack 1 + R1_ii R2_ii.

    With the logistic function s, tanh d = 2 s(2 d) - 1 and

        slack = 1 + tanh(d1) tanh(d2) = 2 (s(2 d1) s(2 d2) + s(-2 d1) s(-2 d2)),

    a sum of positive terms that keeps its digits where the product is near -1.

    Paper:   van den Berg et al. 2018: r_ii r~_ii > -1 / max h' makes the map invertible.
    Differs: the paper requires r_ii r~_ii > -1; the diagonals as tanh of free numbers, which
             bounds the product on both sides, are those of the published code. The slack does
             not appear there.

    Elementwise. Returns three arrays like the arguments.
    """
    both = np.exp(-softplus(-2 * d1) - softplus(-2 * d2))
    neither = np.exp(-softplus(2 * d1) - softplus(2 * d2))
    return tanh(d1), tanh(d2), 2 * (both + neither)


def triangular(matrix: Array, diagonal: Array) -> Array:
    """Return the upper triangular matrix with the upper triangle of ``matrix`` and that diagonal.

    Shapes: matrix (M, M) or (N, M, M); diagonal (M,) or (N, M). Returns like matrix.
    """
    identity = np.eye(matrix.shape[-1], dtype=getval(matrix).dtype)
    return np.triu(matrix, 1) + diagonal[..., None] * identity


def svd(a: Array) -> tuple[Array, Array, Array]:
    """Return U, S, V^T of each matrix; NaN if it holds NaN or infinity, which LAPACK rejects."""
    with np.errstate(invalid="ignore"):
        lost = np.sum(0 * a, axis=(-2, -1), keepdims=True)  # zero, or NaN
    u, s, v_t = np.linalg.svd(np.where(np.isfinite(a), a, 0), full_matrices=False)
    return u + lost, s + lost[..., 0], v_t + lost


@primitive
def polar_factor(a: Array) -> Array:
    """Return the nearest matrix with orthonormal columns: Q = U V^T for a = U S V^T.

    Paper:   van den Berg et al. 2018, orthogonal Sylvester flows: the limit of
             Q <- Q (I + (I - Q^T Q) / 2), from a start with |Q^T Q - I| < 1.
    Differs: the paper and its code stop near the limit, so that Q^T Q = I and with it the
             determinant are only as accurate as their threshold; here it is exact.

    Shapes: a (D, M) or (N, D, M) with M <= D, of full rank. Returns like a.
    """
    u, _, v_t = svd(a)
    return u @ v_t


def polar_factor_vjp(g: Array, q: Array, a: Array) -> Array:
    """Return the vjp of :func:`polar_factor`.

    1. a = Q P with P = Q^T a = V S V^T symmetric. Differentiate and multiply by Q^T:
       W P + P W = Q^T da - da^T Q for the skew matrix W = Q^T dQ.
    2. The part of dQ outside the span of the columns of Q is (I - Q Q^T) da P^-1. So
       dQ = Q W + (I - Q Q^T) da P^-1.
    3. The operator W -> W P + P W is its own transpose. With its inverse Y of Q^T g, the sum
       of g * dQ is that of (Q (Y - Y^T) + (I - Q Q^T) g P^-1) * da. In V's basis Y is
       V^T Q^T g V with entry ij divided by S_i + S_j.

    It also holds for equal singular values; its own derivative needs different ones.
    """

    def t(m):
        return np.swapaxes(m, -1, -2)

    _, s, v_t = svd(a)
    g_v = g @ t(v_t)
    inside = t(q) @ g_v
    y = t(v_t) @ ((v_t @ inside) / (s[..., :, None] + s[..., None, :])) @ v_t
    return q @ (y - t(y)) + ((g_v - q @ inside) / s[..., None, :]) @ v_t


defvjp(polar_factor, lambda q, a: lambda g: polar_factor_vjp(g, q, a))


def reflection_product(v: Array) -> Array:
    """Return Q = H_1 H_2 ... with Householder reflections H_k = I - 2 v_k v_k^T / |v_k|^2.

    Paper:   van den Berg et al. 2018, Householder Sylvester flows: the same.
    Differs: where v_k = 0 the paper divides by zero; here H_k = I.

    Shapes: v (H, D) or (N, H, D). Returns (D, D) or (N, D, D).
    """
    v_v = np.sum(v * v, axis=-1, keepdims=True)
    v_scaled = 2 * v / np.where(v_v > 0, v_v, 1)
    q = np.eye(v.shape[-1], dtype=getval(v).dtype)
    for k in range(v.shape[-2]):
        q = q - (q @ v[..., k, :, None]) @ v_scaled[..., k, None, :]
    return q


# Formulas: the map -------------------------------------------------------------------------


def times(matrix: Array, rows: Array) -> Array:
    """Return the product of a matrix with each row: one matrix for all rows, or one per row.

    Shapes: matrix (I, J) or (N, I, J); rows (N, J). Returns (N, I).
    """
    return np.einsum("...ij,...j->...i", matrix, rows)


def sylvester_forward(
    z: Array, q: Array, r1: Array, r2: Array, slack: Array, b: Array
) -> tuple[Array, Array]:
    """Return x = z + Q R1 tanh(a), a = R2 Q^T z + b, and log det dx/dz.

    Paper:   van den Berg et al. 2018: z' = z + Q R h(R~ Q^T z + b) and
             det = det(I + diag(h') R~ R), latent to data as here; R is R1, R~ is R2, h is tanh.
    Differs: nothing but the form of the determinant's factors, see
             :func:`nfref.flows.planar.planar_slope`. M directions cost M D + M^2
             multiplications a row.

    Shapes: z (N, D); q (D, M), r1, r2 (M, M), slack, b (M,), or each with N rows in front, where
    slack_i = 1 + R1_ii R2_ii. Returns (N, D) and (N,).
    """
    a = times(r2, times(np.swapaxes(q, -1, -2), z)) + b
    log_det = np.sum(np.log(planar_slope(a, slack)), axis=1)
    return z + times(q, times(r1, tanh(a))), log_det


def sylvester_inverse(
    x: Array, q: Array, r1: Array, r2: Array, slack: Array, b: Array
) -> tuple[Array, Array]:
    """Return z = x - Q R1 tanh(a), where :func:`sylvester_root` solves for a.

    The part orthogonal to Q stays, so only Q^T x has to be inverted.

    Shapes as for :func:`sylvester_forward`. Returns (N, D) and (N,).

    Raises
    ------
    ValueError
        If a slack is not above zero: then the map is not one to one, or its inverse has no
        derivative.
    """
    a = sylvester_root(times(np.swapaxes(q, -1, -2), x), r1, r2, slack, b)
    log_det = np.sum(np.log(planar_slope(a, slack)), axis=1)
    return x - times(q, times(r1, tanh(a))), -log_det


def sylvester_root(t: Array, r1: Array, r2: Array, slack: Array, b: Array) -> Array:
    """Return a = R2 y + b for the y that solves y + R1 tanh(R2 y + b) = t, last coordinate first.

    1. R1 and R2 are upper triangular, so equation i contains only y_i and later ones:
       y_i + R1_ii tanh(R2_ii y_i + c) = e  with  c = b_i + sum_{k>i} R2_ik y_k  and
       e = t_i - sum_{k>i} R1_ik tanh(a_k).
    2. Multiply by R2_ii and add c: a_i + R1_ii R2_ii tanh(a_i) = R2_ii e + c, the equation of
       a planar flow with w . u_hat = R1_ii R2_ii, which planar_root solves to a few ulp; its
       gradient is the implicit function theorem's.
    3. y_i = e - R1_ii tanh(a_i), which needs no division by R2_ii.

    The paper has no inverse; M coordinates cost M scalar roots and M^2 multiplications a row.

    Shapes: t (N, M); others as for :func:`sylvester_forward`. Returns (N, M).
    """
    check_invertible(slack)
    n, m = t.shape
    y = a = h = np.zeros((n, 0), dtype=t.dtype)
    for i in reversed(range(m)):
        c = b[..., i, None] + np.sum(r2[..., i, i + 1 :] * y, axis=1, keepdims=True)
        e = t[:, i, None] - np.sum(r1[..., i, i + 1 :] * h, axis=1, keepdims=True)
        right = r2[..., i, i, None] * e + c
        a_i = planar_root(right, slack[..., i, None] + np.zeros_like(right))
        h_i = tanh(a_i)
        y = np.concatenate([e - r1[..., i, i, None] * h_i, y], axis=1)
        a = np.concatenate([a_i, a], axis=1)
        h = np.concatenate([h_i, h], axis=1)
    return a


def check_invertible(slack: Array) -> None:
    """Check that every R1_ii R2_ii is above -1."""
    if np.any(getval(slack) <= 0):
        lowest = np.nanmin(getval(slack))
        raise ValueError(
            "params: expected R1_ii R2_ii > -1 for a Sylvester flow to have an "
            f"inverse, got 1 + R1_ii R2_ii = {lowest:.3g}"
        )


# Layer and stack --------------------------------------------------------------------------

KINDS = ("orthogonal", "householder", "triangular")


@dataclass(frozen=True)
class SylvesterLayer(Flow):
    """One Sylvester map (van den Berg et al. 2018).

    Parameters
    ----------
    dim : int
        D, at least 1.
    kind : {"orthogonal", "householder", "triangular"}, default "orthogonal"
        The form of Q: the nearest orthonormal columns of a free matrix, a product of
        reflections, or the identity.
    bottleneck : int, optional
        Number M of directions, at most D; D if omitted. Only "orthogonal" can have fewer than D.
    reflections : int, default 8
        Number H of reflections of "householder".
    reverse : bool, default False
        True if the Q of "triangular" reverses the order of the coordinates.
    context_dim : int, default 0
        With a context, every parameter is an affine function of it, one set per row, as from an
        inference network.
    """

    dim: int
    kind: str = "orthogonal"
    bottleneck: int | None = None
    reflections: int = 8
    reverse: bool = False
    context_dim: int = 0

    _twin = "sylvester"
    _converters = {"kind": one_of(KINDS), "bottleneck": check_count, "reflections": check_count}

    def __post_init__(self):
        super().__post_init__()
        bottleneck = self.dim if self.bottleneck is None else self.bottleneck
        self._set(bottleneck=bottleneck)
        if bottleneck > self.dim:
            raise ValueError(f"bottleneck: expected at most dim = {self.dim}, got {bottleneck}")
        if self.kind != "orthogonal" and bottleneck != self.dim:
            raise ValueError(
                f"bottleneck: expected dim = {self.dim} for kind {self.kind!r}, got {bottleneck}"
            )
        if self.reverse and self.kind != "triangular":
            raise ValueError(f"reverse: expected False for kind {self.kind!r}, got True")

    def _init(self, rng):
        d, m = self.dim, self.bottleneck
        limit = 1 / np.sqrt(m)
        # A small R1 keeps the start near the identity.
        params = {
            "r1": rng.uniform(-limit, limit, (m, m)) * 0.1,
            "r2": rng.uniform(-limit, limit, (m, m)),
            "b": np.zeros(m),
        }
        if self.kind == "orthogonal":
            params["q"] = rng.standard_normal((d, m))
        elif self.kind == "householder":
            params["v"] = rng.standard_normal((self.reflections, d))
        if self.context_dim:
            params["from_context"] = {
                name: np.zeros((self.context_dim, *value.shape)) for name, value in params.items()
            }
        return params

    def constrained(
        self, params: dict[str, Any], context: Array | None
    ) -> tuple[Array, Array, Array, Array, Array]:
        """Return (q, r1, r2, slack, b) of the formulas; with a context, one set per row.

        Only the upper triangles of ``params["r1"]`` and ``params["r2"]`` count.
        """
        if self.context_dim:
            params = {
                name: params[name] + np.tensordot(context, change, 1)
                for name, change in params["from_context"].items()
            }
        free1, free2 = params["r1"], params["r2"]
        d1, d2, slack = constrain_diagonals(
            np.diagonal(free1, axis1=-1, axis2=-2), np.diagonal(free2, axis1=-1, axis2=-2)
        )
        r1, r2 = triangular(free1, d1), triangular(free2, d2)
        return self._columns(params), r1, r2, slack, params["b"]

    check_invertible = staticmethod(check_invertible)

    def _columns(self, params):
        if self.kind == "orthogonal":
            return polar_factor(params["q"])
        if self.kind == "householder":
            return reflection_product(params["v"])
        identity = np.eye(self.dim, dtype=getval(params["b"]).dtype)
        return identity[::-1] if self.reverse else identity

    def _forward(self, params, z, context):
        return sylvester_forward(z, *self.constrained(params, context))

    def _inverse(self, params, x, context):
        return sylvester_inverse(x, *self.constrained(params, context))


@dataclass(frozen=True)
class Sylvester(Composition):
    """A stack of Sylvester layers.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 4
        Number K of Sylvester maps.
    kind : {"orthogonal", "householder", "triangular"}, default "orthogonal"
        See :class:`SylvesterLayer`. The orders of "triangular" layers alternate; the first is that
        of the coordinates.
    bottleneck : int, optional
    reflections : int, default 8
    context_dim : int, default 0
        See :class:`SylvesterLayer`.
    """

    dim: int
    layers: int = 4
    kind: str = "orthogonal"
    bottleneck: int | None = None
    reflections: int = 8
    context_dim: int = 0

    _converters = {**SylvesterLayer._converters, "layers": check_count}

    def __post_init__(self):
        super().__post_init__()
        self._layer(0)

    def _layer(self, k):
        reverse = self.kind == "triangular" and k % 2 == 1
        return with_fields_of(self, SylvesterLayer, reverse=reverse)

    @cached_property
    def flows(self) -> tuple[SylvesterLayer, ...]:
        """The Sylvester layers."""
        return tuple(self._layer(k) for k in range(self.layers))
