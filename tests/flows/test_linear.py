"""Linear flows: log-determinants against differences, LU against its dense matrix."""

import numpy as np
import pytest

import nfref
from nfref.flows import linear
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_order

NEGATIVE = ((0.0, 1.0, 2.0), (2.0, 0.3, 1.0), (1.0, -0.5, -0.2))  # determinant -1.2
PIVOTS = ((2, 0, 3, 1), (1, -1, 1, 1))  # a 4-cycle: determinant > 0


def random_matrix(dim):
    """Return a matrix of negative determinant that is well conditioned."""
    rng = np.random.default_rng(dim)
    rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    matrix = rotation * rng.uniform(1.2, 2, dim)
    return matrix * np.where(np.arange(dim) == 0, -np.sign(np.linalg.det(matrix)), 1)


def lu_linear(dim, context_dim):
    return nfref.LULinear(dim, *nfref.random_pivots(np.random.default_rng(dim), dim))


CONTRACT = {
    "Permutation": Entry(lambda d, c: nfref.Permutation(random_order(d)), log_det="zero"),
    "FixedLinear": Entry(lambda d, c: nfref.FixedLinear(random_matrix(d)), log_det="constant"),
    "Linear": Entry(lambda d, c: nfref.Linear(d), log_det="constant"),
    "LULinear": Entry(lu_linear, log_det="constant"),
}
test_contract = contract_test(CONTRACT)


def moved(flow, seed=0):
    """Parameters away from where ``init`` starts, with rows to act on."""
    rng = np.random.default_rng(seed)
    params = nfref.params.tree_map(
        lambda leaf: leaf + 0.4 * rng.standard_normal(leaf.shape), flow.init(rng)
    )
    return params, rng.standard_normal((7, flow.dim))


def dense(flow, params):
    """P L U written out entry by entry, from the packed parameters."""
    dim = flow.dim
    lower, upper = np.eye(dim), np.zeros((dim, dim))
    for i in range(dim):
        for j in range(dim):
            if i > j:
                lower[i, j] = params["lu"][i, j]
            elif i < j:
                upper[i, j] = params["lu"][i, j]
            else:
                upper[i, i] = flow.signs[i] * np.exp(params["lu"][i, i])
    rows_in_order = [(lower @ upper)[place] for place in flow.permutation]
    return np.array(rows_in_order)


# Permutation --------------------------------------------------------------------------------


def test_permutation_takes_coordinates_in_order():
    flow = nfref.Permutation((2, 0, 3, 1))  # not its own inverse
    z = np.array([[10.0, 11.0, np.nan, 13.0]])
    x, log_det = flow.forward({}, z)
    np.testing.assert_array_equal(x, [[np.nan, 10.0, 13.0, 11.0]])
    np.testing.assert_array_equal(flow.inverse({}, x)[0], z)
    np.testing.assert_array_equal(log_det, [0.0])
    assert flow.init(np.random.default_rng(0)) == {}


@pytest.mark.parametrize("order", [(), (0, 0), (1, 2), (0.5, 1.5), (0, 1, 3)])
def test_permutation_refuses(order):
    with pytest.raises(ValueError, match="order: expected a permutation of"):
        nfref.Permutation(order)


# Fixed matrix -------------------------------------------------------------------------------


def test_fixed_matrix_with_negative_determinant():
    matrix = np.array(NEGATIVE)
    flow = nfref.FixedLinear(matrix)
    assert np.linalg.det(matrix) < 0
    assert flow == nfref.FixedLinear(NEGATIVE) and hash(flow) == hash(nfref.FixedLinear(NEGATIVE))
    z = np.random.default_rng(1).standard_normal((5, 3))
    x, log_det = flow.forward({}, z)
    for row in range(5):
        np.testing.assert_allclose(x[row], matrix @ z[row], rtol=1e-15, atol=1e-15)
    by_rule = sum(
        matrix[0, i] * (matrix[1, i - 2] * matrix[2, i - 1] - matrix[1, i - 1] * matrix[2, i - 2])
        for i in range(3)
    )
    np.testing.assert_allclose(log_det, np.log(-by_rule), rtol=1e-14)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (((1.0, 2.0), (2.0, 4.0)), "singular"),
        (((1.0, 1.0), (1.0, 1.0 + 1e-16)), "singular"),
        (((0.0,),), "singular"),
        (((1.0, 2.0, 3.0), (0.0, 1.0, 0.0)), r"shape \(D, D\), got \(2, 3\)"),
        (np.zeros((0, 0)), r"shape \(D, D\), got \(0, 0\)"),
        (((1.0, np.nan), (0.0, 1.0)), "finite"),
        (((1.0, 2.0), (1.0,)), "different lengths"),
    ],
)
def test_fixed_matrix_refuses(matrix, message):
    with pytest.raises(ValueError, match=f"matrix: expected.*{message}"):
        nfref.FixedLinear(matrix)


def test_fixed_matrix_refuses_text():
    with pytest.raises(TypeError, match="matrix: expected numbers"):
        nfref.FixedLinear((("a", "b"), ("c", "d")))


# LU form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_lu_form_is_its_dense_matrix(seed):
    rng = np.random.default_rng(seed)
    flow = nfref.LULinear(5, *nfref.random_pivots(rng, 5))
    params, rows = moved(flow, seed)
    full = {"weight": dense(flow, params), "bias": params["bias"]}
    for direction in ("forward", "inverse"):
        value, log_det = getattr(flow, direction)(params, rows)
        expected, expected_log_det = getattr(nfref.Linear(5), direction)(full, rows)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(log_det, expected_log_det, rtol=0, atol=1e-13)


def test_pivots_decide_the_sign_of_the_determinant():
    signs_seen = set()
    for seed in range(20):
        flow = nfref.LULinear(4, *nfref.random_pivots(np.random.default_rng(seed), 4))
        params, _ = moved(flow, seed)
        expected = np.linalg.det(np.eye(4)[list(flow.permutation)]) * np.prod(flow.signs)
        assert np.sign(np.linalg.det(dense(flow, params))) == np.sign(expected)
        signs_seen.add(float(np.sign(expected)))
    assert signs_seen == {-1.0, 1.0}


def test_starts_are_rotations():
    determinants = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        flow = nfref.LULinear(6, *nfref.random_pivots(rng, 6))
        weights = [dense(flow, flow.init(rng)), nfref.Linear(6).init(rng)["weight"]]
        for weight in weights:
            np.testing.assert_allclose(weight @ weight.T, np.eye(6), atol=1e-13)
        determinants.append(np.linalg.det(weights[1]))
    assert min(determinants) < 0 < max(determinants)


def test_packing_is_undone_by_unpacking():
    rng = np.random.default_rng(2)
    lower = np.tril(rng.standard_normal((4, 4)), -1) + np.eye(4)
    upper = np.triu(rng.standard_normal((4, 4)))
    again = linear.unpack_lu(linear.pack_lu(lower, upper), np.sign(np.diag(upper)))
    np.testing.assert_array_equal(again[0], lower)
    np.testing.assert_allclose(again[1], upper, rtol=1e-15)


@pytest.mark.parametrize("lower", [True, False])
def test_triangular_solve_ignores_nothing_it_should_see(lower):
    rng = np.random.default_rng(3)
    matrix = (np.tril if lower else np.triu)(rng.standard_normal((4, 4))) + 2 * np.eye(4)
    rows = rng.standard_normal((6, 4))
    solved = linear.solve_triangular(matrix, rows, lower)
    np.testing.assert_allclose(solved @ matrix.T, rows, atol=1e-13)
    # A row that is not finite changes no other row.
    rows[2] = np.nan
    spoiled = linear.solve_triangular(matrix, rows, lower)
    np.testing.assert_allclose(np.delete(spoiled, 2, 0), np.delete(solved, 2, 0), rtol=1e-14)
    assert np.all(np.isnan(spoiled[2]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"permutation": (0, 1)}, "permutation: expected a permutation of 0 ... 2"),
        ({"permutation": (0, 1, 1)}, "permutation: expected a permutation of 0 ... 2"),
        ({"signs": (1, 1)}, "signs: expected 3 numbers 1 or -1"),
        ({"signs": (1, 0, 1)}, "signs: expected 3 numbers 1 or -1"),
    ],
)
def test_lu_form_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nfref.LULinear(3, **arguments)


def test_pivots_need_a_generator():
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        nfref.random_pivots(0, 3)
