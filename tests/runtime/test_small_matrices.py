"""Determinants, their gradients and solutions of many small matrices: formulas and twins."""

import inspect
import math
from fractions import Fraction

import autograd
import autograd.numpy as anp
import mpmath
import numba
import numpy as np
import pytest
from autograd.test_util import check_grads

import nfref
from nfref.kernels.simd import lanes
from nfref.kernels.simd import small_matrices as twins
from nfref.runtime import dispatch, small_matrices
from nfref.runtime.small_matrices import log_abs_det, solve

# Kernels that are not compiled, for coverage, get fewer and smaller matrices.
COMPILED = not numba.config.DISABLE_JIT
DTYPES = [np.float64, np.float32]
DIMS = [1, 2, 3, 8, 17, 33, pytest.param(64, marks=pytest.mark.thorough)] if COMPILED else [1, 2, 5]
COUNTS = [0, 1, 7, 1000] if COMPILED else [0, 1, 9]
BACKENDS = ["numpy", "numba"]


def problem(n, dim, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n, dim, dim)).astype(dtype),
        rng.standard_normal((n, dim)).astype(dtype),
    )


def inverse(matrices):
    """Return A^-1 from the gradient of log_abs_det: d log|det A| / dA = A^-T."""
    return anp.transpose(autograd.elementwise_grad(log_abs_det)(matrices), (0, 2, 1))


def exact_log_abs_det(matrix):
    """Eliminate in rational numbers."""
    rows = [[Fraction(float(entry)) for entry in row] for row in matrix]
    det = Fraction(1)
    for k in range(len(rows)):
        pivot = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if pivot is None:
            return -math.inf
        rows[k], rows[pivot] = rows[pivot], rows[k]
        det *= rows[k][k]
        for i in range(k + 1, len(rows)):
            ratio = rows[i][k] / rows[k][k]
            rows[i] = [a - ratio * b for a, b in zip(rows[i], rows[k])]
    return math.log(abs(det.numerator)) - math.log(det.denominator)


# Values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_solutions_are_as_exact_as_the_condition_allows(name, dtype, dim):
    for n in COUNTS:
        matrices, rows = problem(n, dim, dtype)
        with nfref.backend(name):
            y, inverses, values = solve(matrices, rows), inverse(matrices), log_abs_det(matrices)
        assert y.shape == rows.shape and inverses.shape == matrices.shape and values.shape == (n,)
        assert y.dtype == inverses.dtype == values.dtype == dtype
        if n == 0:
            continue
        # Backward stable: A y = r up to rounding of A y itself; determinants in relative terms.
        exact = matrices.astype(np.float64)
        eps = np.finfo(dtype).eps
        scale = np.linalg.norm(exact, axis=(1, 2))
        wrong = np.linalg.norm(np.einsum("nij,nj->ni", exact, y) - rows, axis=1)
        assert np.all(wrong <= 4 * dim * eps * scale * np.linalg.norm(y, axis=1))
        wrong = np.linalg.norm(exact @ inverses - np.eye(dim), axis=(1, 2))
        assert np.all(wrong <= 4 * dim * eps * scale * np.linalg.norm(inverses, axis=(1, 2)))
        errors = np.abs(values - np.linalg.slogdet(exact)[1])
        assert np.all(errors <= 4 * dim * eps * np.linalg.cond(exact) + 2 * eps * np.abs(values))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_determinants_of_whole_numbers_are_those_of_exact_arithmetic(name, dtype):
    rng = np.random.default_rng(3)
    for dim in (1, 2, 3, 5, 9):
        matrices = rng.integers(-9, 10, (20, dim, dim)).astype(dtype)
        with nfref.backend(name):
            values = log_abs_det(matrices)
        exact = np.array([exact_log_abs_det(matrix) for matrix in matrices])
        finite = np.isfinite(exact)
        condition = np.linalg.cond(matrices[finite].astype(np.float64))
        errors = np.abs(values[finite] - exact[finite])
        assert np.all(errors <= 4 * dim * np.finfo(dtype).eps * condition)


@pytest.mark.parametrize("name", BACKENDS)
def test_zeros_on_the_diagonal_need_pivots(name):
    rng = np.random.default_rng(1)
    orders = [rng.permutation(6) for _ in range(30)]
    matrices = np.stack([np.eye(6)[order] for order in orders]) * np.arange(1.0, 7.0)
    with nfref.backend(name):
        assert np.allclose(log_abs_det(matrices), math.log(720), rtol=1e-15)
        assert np.allclose(inverse(matrices) @ matrices, np.eye(6), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_of_very_different_size_need_pivots_too(name):
    matrices = np.array([[[1e-20, 1.0], [1.0, 1.0]]] * 3)
    with nfref.backend(name):
        assert np.allclose(solve(matrices, np.array([[1.0, 2.0]] * 3)), 1.0, rtol=1e-15)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e300])
def test_determinants_beyond_the_range_of_the_dtype(name, scale):
    matrices = np.eye(40 if COMPILED else 9)[None] * scale
    exact = matrices.shape[1] * math.log(scale)
    with nfref.backend(name):
        assert np.allclose(log_abs_det(matrices), exact, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_only_move_the_exponents(dtype):
    matrices, rows = problem(9, 5, dtype)
    limit = np.finfo(dtype).maxexp - 10
    with nfref.backend("numba"):
        solutions = solve(matrices, rows)
        for power in (-limit, -90, 0, 90, limit):
            scaled = solve(np.ldexp(matrices, power), np.ldexp(rows, power))
            assert np.array_equal(scaled, solutions)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logarithm_is_good_to_an_ulp(dtype):
    rng = np.random.default_rng(2)
    info = np.finfo(dtype)
    numbers = np.concatenate(
        [
            np.exp(rng.uniform(np.log(info.tiny), np.log(info.max), 2000)),
            rng.uniform(0.5, 2.0, 2000),
            1 + rng.uniform(-1e-3, 1e-3, 2000),
            [1.0, info.tiny, info.max, info.smallest_subnormal],
        ]
    ).astype(dtype)
    signs = rng.choice(np.array([-1, 1], dtype), len(numbers))
    with nfref.backend("numba"):
        values = log_abs_det((signs * numbers)[:, None, None])
        extreme = log_abs_det(np.array([0, np.inf, -np.inf, np.nan], dtype)[:, None, None])
    with mpmath.workdps(30):
        errors = [
            abs(float(mpmath.log(float(number)) - float(value)))
            for number, value in zip(numbers, values)
        ]
    assert np.all(np.array(errors) <= np.spacing(np.abs(values)))
    assert np.array_equal(extreme, [-np.inf, np.inf, np.inf, np.nan], equal_nan=True)


@pytest.mark.parametrize("name", BACKENDS)
def test_singular_matrices_stay_alone_and_are_named(name):
    matrices, rows = problem(20, 4)
    matrices[5, 2] = 0
    matrices[11, :, 1] = 0
    matrices[13] = 0
    singular = np.isin(np.arange(20), (5, 11, 13))
    with nfref.backend(name):
        values = log_abs_det(matrices)
        assert np.array_equal(values == -np.inf, singular)
        assert np.array_equal(values[~singular], log_abs_det(matrices[~singular]))
        with pytest.raises(
            ValueError,
            match="matrices: expected invertible matrices, got a singular one at index 5",
        ):
            solve(matrices, rows)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_nan_stays_in_its_matrix(name):
    matrices, rows = problem(20, 5)
    matrices[7, 2, 3] = np.nan
    matrices[8] = np.nan
    others = ~np.isin(np.arange(20), (7, 8))
    with nfref.backend(name):
        results = log_abs_det(matrices), solve(matrices, rows), inverse(matrices)
        clean = (
            log_abs_det(matrices[others]),
            solve(matrices[others], rows[others]),
            inverse(matrices[others]),
        )
    for result, expected in zip(results, clean):
        assert np.isnan(result[7]).any() and np.isnan(result[8]).all()
        assert np.array_equal(result[others], expected)


def test_any_number_of_threads_and_neighbours_gives_the_same_bits():
    dim = 6
    n = 4 * twins.CHUNK // dim**2 + 3 if COMPILED else 70
    matrices, rows = problem(n, dim)
    results = []
    for threads in (1, 2, 5):
        with nfref.backend("numba", threads=threads):
            results.append((log_abs_det(matrices), solve(matrices, rows), inverse(matrices)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))
    with nfref.backend("numba"):
        for k in (0, 8, n - 1):
            assert log_abs_det(matrices[k : k + 1])[0] == results[0][0][k]
            assert np.array_equal(inverse(matrices[k : k + 1])[0], results[0][2][k])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", range(1, 9))
def test_unusual_pivots_beside_a_matrix_change_no_bit_of_its_determinant(dim, dtype):
    matrices, _ = problem(64, dim, dtype)
    unusual = matrices.copy()
    limit = np.finfo(dtype).maxexp - 10
    unusual[1::2] = np.ldexp(unusual[1::2], np.resize([-limit, limit], 32)[:, None, None])
    with nfref.backend("numba"):
        usual, beside = log_abs_det(matrices), log_abs_det(unusual)
    assert np.array_equal(beside[::2], usual[::2])
    moved = (np.resize([-limit, limit], 32) * dim * np.log(2)).astype(dtype)
    np.testing.assert_allclose(
        beside[1::2] - moved, usual[1::2], rtol=0, atol=4 * np.finfo(dtype).eps * abs(moved[0])
    )


def test_inputs_of_any_layout_are_left_as_they_are():
    matrices, rows = problem(9, 5)
    turned = np.ascontiguousarray(matrices.transpose(0, 2, 1)).transpose(0, 2, 1)
    kept = matrices.copy()
    with nfref.backend("numba"):
        assert np.array_equal(log_abs_det(matrices), log_abs_det(turned))
        assert np.array_equal(solve(matrices, rows), solve(turned, rows[::-1][::-1]))
        matrices.flags.writeable = False
        inverse(matrices)
    assert np.array_equal(matrices, kept)


def test_large_matrices_and_complex_numbers_take_the_formula():
    large, _ = problem(2, twins.LARGEST + 1)
    turning = np.exp(1j * np.arange(8.0).reshape(2, 2, 2) ** 2)
    with nfref.backend("numba"):
        assert np.array_equal(log_abs_det(large), np.linalg.slogdet(large)[1])
        rows = turning[:, 0]
        assert np.array_equal(
            solve(turning, rows), np.linalg.solve(turning, rows[:, :, None])[:, :, 0]
        )


def test_unasked_calls_choose_by_size(monkeypatch):
    monkeypatch.delenv("NFREF_BACKEND", raising=False)
    taken = []
    monkeypatch.setattr(dispatch, "_load", lambda place: lambda *arrays: taken.append(place))
    log_abs_det(problem(10, 3)[0])
    assert taken == []
    log_abs_det(problem(5000, 8)[0])
    assert taken == [dispatch.TWINS["log_abs_det"].numba]


# Derivatives ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_twins_are_those_of_the_formulas(dtype):
    matrices, rows = problem(11, 5, dtype)
    weights, _ = problem(11, 5, dtype, seed=1)
    cases = [
        (lambda a: anp.sum(anp.sin(log_abs_det(a))), (matrices,)),
        (lambda a, r: anp.sum(weights[:, 0] * solve(a, r)), (matrices, rows)),
        (lambda a: anp.sum(weights * inverse(a)), (matrices,)),
    ]
    # A rounding error in the inverse grows with each of the two inverses of its derivative.
    growth = np.linalg.cond(matrices.astype(np.float64)).max() ** 2
    for function, arguments in cases:
        for number in range(len(arguments)):
            slopes = []
            for name in BACKENDS:
                with nfref.backend(name):
                    slopes.append(autograd.grad(function, number)(*arguments))
            formula, twin = slopes
            assert twin.dtype == dtype
            size = np.max(np.abs(formula))
            assert np.max(np.abs(twin - formula)) <= np.finfo(dtype).eps * growth * size


def test_derivatives_of_twins_against_finite_differences_to_second_order():
    matrices, rows = problem(3, 3)
    matrices = matrices + 3 * np.eye(3)
    with nfref.backend("numba"):
        check_grads(log_abs_det, modes=["rev"], order=2)(matrices)
        check_grads(twins.inverse, modes=["rev"], order=2)(matrices)
        check_grads(solve, argnum=0, modes=["rev"], order=2)(matrices, rows)
        check_grads(solve, argnum=1, modes=["rev"], order=2)(matrices, rows)


# Checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4), (3, 0, 0)])
def test_shapes_are_checked(shape):
    for function in (log_abs_det, lambda a: solve(a, np.zeros((3, 2)))):
        with pytest.raises(ValueError, match=r"matrices: expected shape \(N, D, D\)"):
            function(np.zeros(shape))


def test_rows_and_numbers_are_checked():
    matrices, rows = problem(4, 3)
    with pytest.raises(ValueError, match=r"rows: expected shape \(4, 3\), got \(4, 2\)"):
        solve(matrices, rows[:, :2])
    with pytest.raises(TypeError, match="matrices: expected numbers"):
        log_abs_det([[["a"]]])
    assert log_abs_det([[[2, 0], [0, 3]]]).dtype == np.float64
    assert solve(matrices.astype(np.float32), rows).dtype == np.float32


@pytest.mark.parametrize("name", ["log_abs_det", "solve"])
def test_twins_are_called_like_the_formulas(name):
    twin, formula = getattr(twins, name).fun, getattr(small_matrices, "_" + name)
    assert inspect.signature(twin) == inspect.signature(formula)


# Lanes ------------------------------------------------------------------------------------


@numba.njit
def split(flat, mantissas, exponents):
    lanes.store(mantissas, 0, lanes.mantissa(lanes.load(flat, 0)))
    lanes.store(exponents, 0, lanes.exponent(lanes.load(flat, 0)))


@numba.njit
def pick(flat, place, out):
    lanes.store(out, 0, lanes.load_at(flat, 2, lanes.load(place, 0)))


@numba.njit
def transpose(flat, out):
    lanes.transpose(flat, 1, 21, out, 0, len(out) // 16)


def aligned(values, dtype, size=None):
    """Values, repeated, in an array that starts on a boundary of lanes."""
    size = lanes.width_of(dtype) if size is None else size
    memory = np.zeros(size + lanes.width_of(dtype), dtype)
    start = -(memory.ctypes.data // memory.itemsize) % lanes.width_of(dtype)
    flat = memory[start : start + size]
    flat[:] = np.resize(np.array(values, dtype), len(flat))
    return flat


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_lane_picks_its_own_number(dtype):
    width = lanes.width_of(dtype)
    places = np.random.default_rng(0).integers(0, 5, width)
    out = aligned([0], dtype)
    pick(aligned(np.arange(6 * width), dtype, 6 * width), aligned(places, dtype), out)
    assert np.array_equal(out, 2 + places * width + np.arange(width))


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_transposed(dtype):
    width = lanes.width_of(dtype)
    flat = np.arange(1.0 + 21 * width, dtype=dtype)
    out = aligned([-1], dtype, 16 * width)  # vectors a width apart
    transpose(flat, out)
    rows = flat[1:].reshape(width, 21)[:, :width]
    assert np.array_equal(out[: width**2].reshape(width, width), rows.T)
    assert np.all(out[width**2 :] == -1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mantissa_and_exponent_of_every_kind_of_number(dtype):
    info = np.finfo(dtype)
    flat = aligned(
        [0.0, 1.0, -3.0, info.tiny, -info.smallest_subnormal, info.max, np.inf, np.nan], dtype
    )
    mantissas, exponents = aligned([0], dtype), aligned([0], dtype)
    split(flat, mantissas, exponents)
    finite = np.isfinite(flat)
    units, powers = np.frexp(flat[finite])
    zero = units == 0
    assert np.array_equal(mantissas[finite], 2 * units)
    assert np.array_equal(exponents[finite], np.where(zero, 0, powers - 1))
    assert np.array_equal(mantissas[~finite], flat[~finite], equal_nan=True)
    assert not exponents[~finite].any()
