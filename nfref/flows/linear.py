"""Linear flows: permutations, a fixed matrix, a learned matrix in full and in LU form.

Sources: Glow (Kingma and Dhariwal 2018, arXiv:1807.03039), section 3.2; Oliva et al. 2018,
arXiv:1801.09819 (TAN: the LU form).

A linear map has the same Jacobian everywhere, so all rows share one log-determinant. The
full form computes it with D^3 operations per call; the LU form reads it off a diagonal.
"""

import numbers
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.runtime.checks import as_array, check_count, check_permutation, check_rng

# Formulas ---------------------------------------------------------------------------------


@primitive
def permute(z: Array, order: Array) -> Array:
    """Return x_i = z_order[i]. The Jacobian is a permutation matrix: log |det| = 0.

    Shapes: z (N, D); order (D,) int. Returns (N, D).
    """
    return z[:, order]


# The inverse of a permutation is its transpose.
defvjp(permute, lambda x, z, order: lambda g: permute(g, np.argsort(order)))


def linear_forward(z: Array, weight: Array) -> tuple[Array, Array]:
    """Return x = W z and log |det dx/dz| = log |det W|; the determinant may be negative.

    Shapes: z (N, D); weight (D, D). Returns (N, D) and (N,).
    """
    return z @ weight.T, np.linalg.slogdet(weight)[1] + np.zeros(len(z), dtype=z.dtype)


def linear_inverse(x: Array, weight: Array) -> tuple[Array, Array]:
    """Return z = W^-1 x and log |det dz/dx| = -log |det W|.

    Shapes: x (N, D); weight (D, D). Returns (N, D) and (N,).
    """
    z = np.linalg.solve(weight, x.T).T
    return z, -np.linalg.slogdet(weight)[1] + np.zeros(len(x), dtype=x.dtype)


def lu_linear_forward(
    z: Array, permutation: Array, lower: Array, upper: Array, log_diagonal: Array
) -> tuple[Array, Array]:
    """Return x = P L U z and log |det dx/dz| = sum_i log |u_ii|.

    P puts row permutation[i] of L U z at place i; L has a unit diagonal. The log |u_ii| are
    arguments, so that they are known even if u_ii overflows or underflows.

    Paper:   Glow v2, section 3.2: W = P L (U + diag(s)), log |det W| = sum log |s|, data to latent.
    Differs: U is strictly upper triangular there and has its diagonal here; W takes z to x.

    Shapes: z (N, D); permutation (D,) int; lower, upper (D, D); log_diagonal (D,). Returns (N, D)
    and (N,).
    """
    x = permute(z @ upper.T @ lower.T, permutation)
    return x, np.sum(log_diagonal) + np.zeros(len(z), dtype=z.dtype)


def lu_linear_inverse(
    x: Array, permutation: Array, lower: Array, upper: Array, log_diagonal: Array
) -> tuple[Array, Array]:
    """Return z = U^-1 L^-1 P^T x by two triangular solves, and log |det| = -sum_i log |u_ii|.

    Shapes as for :func:`lu_linear_forward`. Returns (N, D) and (N,).
    """
    rows = permute(x, np.argsort(permutation))
    z = solve_triangular(upper, solve_triangular(lower, rows, True), False)
    return z, -np.sum(log_diagonal) + np.zeros(len(x), dtype=x.dtype)


@primitive
def solve_triangular(matrix: Array, rows: Array, lower: bool) -> Array:
    """Return the y that solves A y = r, for every row r; a zero on the diagonal is divided by.

    LAPACK solves for one row in another order than for several; BLAS does not. So the solution of a
    row does not depend on the other rows, to the last bit.

    Shapes: matrix (D, D), triangular; rows (N, D); lower, a bool. Returns (N, D).
    """
    from scipy.linalg import get_blas_funcs  # slow to import, so only on use

    return get_blas_funcs("trsm", (matrix, rows))(1, matrix, rows.T, lower=lower).T


# From A dy = dr - dA y:  r_bar = A^-T y_bar,  A_bar = -r_bar y^T inside A's triangle.
defvjp(
    solve_triangular,
    lambda y, matrix, rows, lower: (
        lambda g: -(np.tril if lower else np.triu)(solve_triangular(matrix.T, g, not lower).T @ y)
    ),
    lambda y, matrix, rows, lower: lambda g: solve_triangular(matrix.T, g, not lower),
)


# Making matrices --------------------------------------------------------------------------


def random_rotation(rng: Generator, dim: int) -> Array:
    """Return a uniformly random orthogonal matrix; its determinant is 1 or -1.

    It is the Q of a Gaussian matrix, with the signs that make R's diagonal positive.

    Parameters
    ----------
    rng : numpy.random.Generator
    dim : int

    Returns
    -------
    (dim, dim) array
    """
    q, r = np.linalg.qr(check_rng(rng).standard_normal((dim, dim)))
    return q * np.sign(np.diag(r))


def random_pivots(rng: Generator, dim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a random order and random signs, the fixed parts of the LU form.

    ``LULinear(dim, *random_pivots(rng, dim))`` has a determinant of either sign.

    Parameters
    ----------
    rng : numpy.random.Generator
    dim : int

    Returns
    -------
    permutation : tuple of int, length dim
    signs : tuple of 1 and -1, length dim
    """
    check_rng(rng)
    signs = rng.choice([-1, 1], check_count("dim", dim))
    return (tuple(int(place) for place in rng.permutation(dim)), tuple(int(sign) for sign in signs))


def pack_lu(lower: Array, upper: Array) -> Array:
    """Return L, U as one matrix: L below the diagonal, U above, log |u_ii| on it.

    Shapes: lower, upper (D, D). Returns (D, D).
    """
    return np.tril(lower, -1) + np.triu(upper, 1) + np.diag(np.log(np.abs(np.diag(upper))))


def unpack_lu(packed: Array, signs: Array) -> tuple[Array, Array]:
    """Return L with ones and U with signs_i exp(packed_ii) on the diagonal: W is never singular.

    Shapes: packed (D, D); signs (D,). Returns two (D, D).
    """
    lower = np.tril(packed, -1) + np.eye(len(packed), dtype=packed.dtype)
    upper = np.triu(packed, 1) + np.diag(signs * np.exp(np.diag(packed)))
    return lower, upper


# Flows ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permutation(Flow):
    """A fixed permutation x_i = z_order[i]. Its log-determinant is zero; it has no parameters.

    Parameters
    ----------
    order : sequence of int
        Each of 0 ... D-1 once. :func:`nfref.random_orders` makes random ones.
    """

    order: Sequence[int]

    _twin = "permutation"
    _converters = {"order": check_permutation}

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return len(self.order)

    def _forward(self, params, z, context):
        return permute(z, np.array(self.order)), np.zeros(len(z), dtype=z.dtype)

    def _inverse(self, params, x, context):
        return permute(x, np.argsort(self.order)), np.zeros(len(x), dtype=x.dtype)


def check_matrix(name: str, matrix: Any) -> tuple[tuple[float, ...], ...]:
    """Return an invertible (D, D) matrix as a tuple of rows."""
    matrix = as_array(name, matrix).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"{name}: expected shape (D, D), got {matrix.shape}")
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    condition = np.linalg.cond(matrix)
    if not condition * np.finfo(matrix.dtype).eps < 1:
        raise ValueError(
            f"{name}: expected an invertible matrix, got one that is singular to "
            f"working precision (condition number {condition:.1e})"
        )
    return tuple(tuple(row) for row in matrix.tolist())


@dataclass(frozen=True)
class FixedLinear(Flow):
    """A map x = W z with a fixed matrix W, whose determinant may be negative; no parameters.

    Parameters
    ----------
    matrix : (D, D) array or nested sequence
        Invertible. Kept as a tuple of tuples.
    """

    matrix: Array | Sequence[Sequence[float]]

    _twin = "fixed_linear"
    _converters = {"matrix": check_matrix}

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return len(self.matrix)

    @cached_property
    def _weight(self):
        return np.array(self.matrix)

    def _forward(self, params, z, context):
        return linear_forward(z, self._weight.astype(np.finfo(z.dtype).dtype))

    def _inverse(self, params, x, context):
        return linear_inverse(x, self._weight.astype(np.finfo(x.dtype).dtype))


@dataclass(frozen=True)
class Linear(Flow):
    """A map x = W z + b with one learned matrix W; starts as a random rotation with b = 0.

    W may become singular; that of :class:`LULinear` cannot.

    Parameters
    ----------
    dim : int
    bias : bool, default True
        True to add a bias b.
    """

    dim: int
    bias: bool = True

    _twin = "linear"

    def _init(self, rng):
        params = {"weight": random_rotation(rng, self.dim)}
        return {**params, "bias": np.zeros(self.dim)} if self.bias else params

    def _forward(self, params, z, context):
        x, log_det = linear_forward(z, params["weight"])
        return (x + params["bias"] if self.bias else x), log_det

    def _inverse(self, params, x, context):
        return linear_inverse(x - params["bias"] if self.bias else x, params["weight"])


@dataclass(frozen=True)
class LULinear(Flow):
    """A map x = P L U z + b with learned L and U; starts as a random rotation with b = 0.

    The one parameter beside b is the (D, D) matrix ``lu``, packed as in LAPACK: L below
    the diagonal, U above, and log |u_ii| on it. P and the signs of U's diagonal are fixed;
    together they determine the sign of the determinant.

    Paper:   Glow v2, section 3.2: P is that of the LU decomposition of the random rotation that
             training starts from.
    Differs: P is configuration and comes first. The start is a random rotation. Its rows are
             reordered to fit P and its columns change sign to fit the signs; so it is still a
             rotation.

    Parameters
    ----------
    dim : int
    permutation : sequence of int, optional
        P as the order of rows: x_i = (L U z)_permutation[i]. In natural order if omitted.
    signs : sequence of 1 and -1, optional
        Signs of U's diagonal; all 1 if omitted. :func:`random_pivots` makes random ones of both.
    bias : bool, default True
        True to add a bias b.
    """

    dim: int
    permutation: Sequence[int] | None = None
    signs: Sequence[int] | None = None
    bias: bool = True

    _twin = "lu_linear"

    def __post_init__(self):
        super().__post_init__()
        permutation = range(self.dim) if self.permutation is None else self.permutation
        signs: tuple[Any, ...] = (1,) * self.dim if self.signs is None else tuple(self.signs)
        if len(signs) != self.dim or not all(
            isinstance(sign, numbers.Real) and abs(sign) == 1 for sign in signs
        ):
            raise ValueError(f"signs: expected {self.dim} numbers 1 or -1, got {signs}")
        self._set(
            permutation=check_permutation("permutation", permutation, self.dim),
            signs=tuple(int(sign) for sign in signs),
        )

    def _init(self, rng):
        from scipy.linalg import lu  # slow to import, so only on use

        _, lower, upper = lu(random_rotation(rng, self.dim))
        # Changing the sign of columns of P L U, not rows, changes U's signs and keeps a rotation.
        upper = upper * (self.signs * np.sign(np.diag(upper)))
        params = {"lu": pack_lu(lower, upper)}
        return {**params, "bias": np.zeros(self.dim)} if self.bias else params

    @cached_property
    def _order(self):
        return np.array(self.permutation)

    def factors(self, params: dict[str, Array]) -> tuple[Array, Array]:
        """Return (L, U), each (D, D)."""
        return unpack_lu(params["lu"], np.array(self.signs, params["lu"].dtype))

    def _forward(self, params, z, context):
        x, log_det = lu_linear_forward(z, self._order, *self.factors(params), np.diag(params["lu"]))
        return (x + params["bias"] if self.bias else x), log_det

    def _inverse(self, params, x, context):
        rows = x - params["bias"] if self.bias else x
        return lu_linear_inverse(rows, self._order, *self.factors(params), np.diag(params["lu"]))
