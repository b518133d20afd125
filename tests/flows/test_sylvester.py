"""Sylvester flows: Q, the determinant identity, the inverse, and maps without an inverse."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads

import nfref
from nfref.flows import planar, sylvester
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.finite_differences.numerics import autograd_jacobian
from tests.flow_table import Entry, random_params

DIMS = (1, 2, 3, 5, 8)


def upper_or_lower(flow):
    """Each coordinate depends on itself and later ones, or, reversed, on earlier ones."""
    upper = np.triu(np.ones((flow.dim, flow.dim), dtype=bool))
    return upper.T if flow.reverse else upper


def layer(kind, **options):
    return lambda dim, context_dim: nfref.SylvesterLayer(
        dim, kind, context_dim=context_dim, **options
    )


CONTRACT = {
    "SylvesterLayer": Entry(
        lambda dim, context_dim: nfref.SylvesterLayer(
            dim, bottleneck=min(dim, 2), context_dim=context_dim
        ),
        context=True,
    ),
    "SylvesterLayer, householder": Entry(
        layer("householder", reflections=2), dims=(1, 2, 5), context=True, costly=True
    ),
    "SylvesterLayer, triangular": Entry(
        layer("triangular"), dims=(1, 2, 5), pattern=upper_or_lower
    ),
    "SylvesterLayer, reversed": Entry(
        layer("triangular", reverse=True),
        dims=(3,),
        context=True,
        costly=True,
        pattern=upper_or_lower,
    ),
    "Sylvester": Entry(
        lambda dim, context_dim: nfref.Sylvester(
            dim, 2, bottleneck=min(dim, 2), context_dim=context_dim
        ),
        dims=(1, 2, 8),
    ),
}
test_contract = contract_test(CONTRACT)

MAKERS = [
    pytest.param(lambda dim: nfref.SylvesterLayer(dim), id="orthogonal"),
    pytest.param(lambda dim: nfref.SylvesterLayer(dim, bottleneck=(dim + 1) // 2), id="bottleneck"),
    pytest.param(
        lambda dim: nfref.SylvesterLayer(dim, "householder", reflections=3), id="householder"
    ),
    pytest.param(lambda dim: nfref.SylvesterLayer(dim, "triangular"), id="triangular"),
    pytest.param(lambda dim: nfref.SylvesterLayer(dim, "triangular", reverse=True), id="reversed"),
]


def at_the_edge(params, size):
    """The same with diagonals tanh(size), tanh(-size): 1 + R1_ii R2_ii = 1 / cosh(size)^2."""
    m = len(params["b"])
    off = 1 - np.eye(m)
    return {
        **params,
        "r1": params["r1"] * off + size * np.eye(m),
        "r2": params["r2"] * off - size * np.eye(m),
    }


# The paper's form ---------------------------------------------------------------------------


def paper_columns(flow, theta):
    """Q: iterated, as a product, or the identity or the reversal."""
    if flow.kind == "orthogonal":
        Q = theta["q"] / np.linalg.norm(theta["q"])
        for _ in range(100):
            Q = Q @ (np.eye(Q.shape[1]) + 0.5 * (np.eye(Q.shape[1]) - Q.T @ Q))
        return Q
    if flow.kind == "householder":
        Q = np.eye(flow.dim)
        for v in theta["v"]:
            Q = Q @ (np.eye(flow.dim) - 2 * np.outer(v, v) / (v @ v))
        return Q
    return np.eye(flow.dim)[::-1] if flow.reverse else np.eye(flow.dim)


@pytest.mark.parametrize("kind", sylvester.KINDS)
def test_paper_form(kind):
    """z' = z + Q R h(R~ Q^T z + b), det(I + diag(h') R~ R), latent to data."""
    rng = np.random.default_rng(0)
    flow = nfref.Sylvester(4, 2, kind, 2 if kind == "orthogonal" else None)
    params, rows = random_params(flow, rng), rng.standard_normal((3, 4))
    x, log_det = flow.forward(params, rows)
    for n, z in enumerate(rows):
        total = 0
        for member, theta in zip(flow.flows, params):
            Q = paper_columns(member, theta)
            R, R_tilde = (
                np.triu(theta[name], 1) + np.diag(np.tanh(np.diag(theta[name])))
                for name in ("r1", "r2")
            )
            a = R_tilde @ Q.T @ z + theta["b"]
            z = z + Q @ R @ np.tanh(a)
            total += np.log(
                np.linalg.det(np.eye(len(a)) + np.diag(1 - np.tanh(a) ** 2) @ R_tilde @ R)
            )
        np.testing.assert_allclose(x[n], z, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-12, atol=1e-12)


def test_one_direction_is_a_planar_flow():
    """M = 1: x = z + q r1 tanh(r2 q . z + b), so u_hat = q r1 and w = q r2."""
    rng = np.random.default_rng(3)
    flow = nfref.SylvesterLayer(4, bottleneck=1)
    params, z = random_params(flow, rng), rng.standard_normal((6, 4))
    q = params["q"][:, 0] / np.linalg.norm(params["q"])
    r1, r2 = np.tanh(params["r1"][0]), np.tanh(params["r2"][0])
    for name, formula in (("forward", planar.planar_forward), ("inverse", planar.planar_inverse)):
        value, log_det = getattr(flow, name)(params, z)
        expected, expected_log_det = formula(z, q * r1, 1 + r1 * r2, q * r2, params["b"])
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-12, atol=1e-14)


# Both directions, every kind ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("make", MAKERS)
def test_round_trip_and_log_det(make, dim, dtype):
    """Rows from the origin to 1e3 come back; log-dets are those of the Jacobians by autograd."""
    rng = np.random.default_rng(dim)
    flow, eps = make(dim), float(np.finfo(dtype).eps)
    params = trees.cast(random_params(flow, rng), np.dtype(dtype))
    z = (rng.standard_normal((6, dim)) * np.array([[0, 1e-6, 0.3, 1, 30, 1e3]]).T).astype(dtype)
    x, log_det = flow.forward(params, z)
    back, log_det_back = flow.inverse(params, x)
    assert x.dtype == log_det.dtype == back.dtype == log_det_back.dtype == dtype
    exact = trees.cast(params, np.dtype(float))
    jacobian = autograd_jacobian(lambda rows: flow.forward(exact, rows)[0], z.astype(float))
    inverse_size = np.linalg.norm(np.linalg.inv(jacobian), axis=(1, 2))
    scale = inverse_size * (1 + np.max(np.abs(z), axis=1))
    # Far out tanh is flat: log-dets do not show an error of a, which is as large as z.
    assert np.all(np.max(np.abs(back - z), axis=1) <= 16 * eps * scale)
    near = slice(0, 4)
    np.testing.assert_allclose(
        log_det[near], np.linalg.slogdet(jacobian)[1][near], atol=64 * eps, rtol=8 * eps
    )
    assert np.all(np.abs(log_det + log_det_back)[near] <= 128 * eps * (inverse_size**2)[near])
    np.testing.assert_allclose(log_det_back[4:], -log_det[4:], atol=64 * eps * 30, rtol=8 * eps)


@pytest.mark.parametrize("size", [5.0, 14.0, 100.0, 300.0])
@pytest.mark.parametrize("make", MAKERS)
def test_nearly_folded_space_comes_back(make, size):
    """1 + R1_ii R2_ii from 2e-4 to 1e-260: rows return as far as x kept them."""
    rng = np.random.default_rng(4)
    flow = make(3)
    params = at_the_edge(random_params(flow, rng, 0.3), size)
    z = 2 * rng.standard_normal((8, 3))
    x, log_det = flow.forward(params, z)
    assert np.all(np.isfinite(log_det))
    back, log_det_back = flow.inverse(params, x)
    jacobian = autograd_jacobian(lambda rows: flow.forward(params, rows)[0], z)
    inverse_size = np.linalg.norm(np.linalg.inv(jacobian), axis=(1, 2))
    assert np.max(np.abs(back - z) / inverse_size[:, None]) <= 64 * np.finfo(float).eps
    assert np.max(np.abs(log_det + log_det_back) / inverse_size**2) <= 64 * np.finfo(float).eps


def test_what_is_orthogonal_to_q_stays():
    rng = np.random.default_rng(5)
    flow = nfref.SylvesterLayer(5, bottleneck=2)
    params, z = random_params(flow, rng), rng.standard_normal((4, 5))
    q = sylvester.polar_factor(params["q"])
    x, _ = flow.forward(params, z)
    moved = x - z
    assert np.min(np.abs(moved)) > 1e-6
    np.testing.assert_allclose(moved, moved @ q @ q.T, atol=1e-14)


def test_only_upper_triangles_count():
    rng = np.random.default_rng(6)
    flow = nfref.SylvesterLayer(3)
    params, z = random_params(flow, rng), rng.standard_normal((4, 3))
    below = np.tril(rng.standard_normal((3, 3)), -1)
    changed = {**params, "r1": params["r1"] + below, "r2": params["r2"] - below}
    for direction in ("forward", "inverse"):
        for one, other in zip(
            getattr(flow, direction)(params, z), getattr(flow, direction)(changed, z)
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", sylvester.KINDS)
def test_each_context_row_has_its_own_map(kind):
    """A row equals one mapped by the plain layer with that row's parameters."""
    rng = np.random.default_rng(1)
    flow, plain = (nfref.SylvesterLayer(3, kind, context_dim=c) for c in (2, 0))
    params = random_params(flow, rng)
    z, context = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    for direction in ("forward", "inverse"):
        value, log_det = getattr(flow, direction)(params, z, context)
        for i in range(5):
            own = {
                name: params[name] + np.tensordot(context[i], change, 1)
                for name, change in params["from_context"].items()
            }
            value_row, log_det_row = getattr(plain, direction)(own, z[i : i + 1])
            np.testing.assert_allclose(value[i], value_row[0], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(log_det[i], log_det_row[0], rtol=1e-12, atol=1e-14)


# The columns of Q ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (5, 3), (8, 8)])
def test_polar_factor(shape, dtype):
    """Orthonormal to a few ulp, and a = Q P with P symmetric and positive: the nearest such Q."""
    eps = float(np.finfo(dtype).eps)
    a = np.random.default_rng(7).standard_normal((4, *shape)).astype(dtype)
    q = sylvester.polar_factor(a)
    assert q.dtype == dtype and q.shape == a.shape
    q_t = np.swapaxes(q, 1, 2)
    np.testing.assert_allclose(
        q_t @ q, np.broadcast_to(np.eye(shape[1]), (4, *shape[1:] * 2)), atol=8 * eps
    )
    p = q_t @ a
    np.testing.assert_allclose(p, np.swapaxes(p, 1, 2), atol=32 * eps)
    assert np.all(np.linalg.eigvalsh(p) > 0)
    np.testing.assert_allclose(q @ p, a, atol=32 * eps)


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (4, 2), (3, 3)])
def test_gradient_of_the_polar_factor(shape):
    """Compare with differences, also at orthonormal columns, where singular values coincide."""
    a = np.random.default_rng(8).standard_normal((2, *shape))
    check_grads(sylvester.polar_factor, modes=["rev"], order=2)(a)
    check_grads(sylvester.polar_factor, modes=["rev"], order=1)(np.linalg.qr(a)[0])


def test_a_matrix_that_is_not_finite_leaves_the_others_alone():
    a = np.random.default_rng(9).standard_normal((3, 4, 2))
    sound = sylvester.polar_factor(a[2:])
    a[0, 1, 1], a[1, 0, 0] = np.nan, np.inf
    q = sylvester.polar_factor(a)
    assert np.all(np.isnan(q[:2]))
    np.testing.assert_array_equal(q[2:], sound)
    gradient = elementwise_grad(sylvester.polar_factor)(a)
    assert np.all(np.isnan(gradient[:2])) and np.all(np.isfinite(gradient[2]))


@pytest.mark.parametrize("count, dim", [(1, 1), (1, 3), (2, 3), (8, 5)])
def test_reflections(count, dim):
    """Q^T Q = I, det Q = (-1)^H, and v_k -> -v_k for one reflection; v may have any length."""
    v = np.random.default_rng(10).standard_normal((count, dim))
    q = sylvester.reflection_product(v)
    np.testing.assert_allclose(q.T @ q, np.eye(dim), atol=1e-14)
    assert np.linalg.det(q) == pytest.approx((-1) ** count, rel=1e-13)
    np.testing.assert_allclose(sylvester.reflection_product(v[:1]) @ v[0], -v[0], rtol=1e-13)
    np.testing.assert_allclose(sylvester.reflection_product(7 * v), q, atol=1e-14)
    check_grads(sylvester.reflection_product, modes=["rev"], order=2)(v)


def test_a_reflection_along_zero_is_none():
    v = np.array([[0.0, 0.0], [1.0, 2.0]])
    np.testing.assert_array_equal(
        sylvester.reflection_product(v), sylvester.reflection_product(v[1:])
    )
    gradient = grad(lambda v: anp.sum(sylvester.reflection_product(v)))(v)
    assert np.all(np.isfinite(gradient))


# The diagonals ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_slack_keeps_its_digits(dtype):
    """The slack 1 + tanh(d1) tanh(d2) is positive, with the error of rounding d1 and d2."""
    eps = float(np.finfo(dtype).eps)
    largest = 300.0 if dtype == np.float64 else 30.0
    values = np.array([0.0, 1e-9, 0.1, 1.0, 5.0, largest, -0.1, -1.0, -5.0, -largest], dtype)
    d1, d2 = (grid.ravel() for grid in np.meshgrid(values, values))
    r1, r2, slack = sylvester.constrain_diagonals(d1, d2)
    assert r1.dtype == r2.dtype == slack.dtype == dtype
    np.testing.assert_array_equal(r1, np.tanh(d1))
    np.testing.assert_array_equal(r2, np.tanh(d2))
    with mpmath.workdps(400):
        for a, b, s in zip(d1, d2, slack):
            exact = 1 + mpmath.tanh(mpmath.mpf(float(a))) * mpmath.tanh(mpmath.mpf(float(b)))
            assert s > 0
            assert abs(float(s) / exact - 1) <= 4 * eps * (1 + abs(float(a)) + abs(float(b)))


def test_gradient_of_the_slack():
    """tanh(d2) sech(d1)^2, at zero too."""
    d1, d2 = np.array([0.0, 0.0, 0.4, -3.0]), np.array([0.7, 0.0, -0.4, 2.0])
    by_d1 = elementwise_grad(lambda d: sylvester.constrain_diagonals(d, d2)[2])(d1)
    np.testing.assert_allclose(by_d1, np.tanh(d2) / np.cosh(d1) ** 2, rtol=1e-13, atol=1e-16)


# The root -----------------------------------------------------------------------------------


def system(rng, m, size, n=None):
    """(t, r1, r2, slack, b) of a random system, with its diagonals ``size`` from the edge."""
    shape = () if n is None else (n,)
    free1, free2 = rng.standard_normal((2, *shape, m, m))
    d1, d2, slack = sylvester.constrain_diagonals(
        np.full((*shape, m), size), np.full((*shape, m), -size)
    )
    return (
        3 * rng.standard_normal((n or 5, m)),
        sylvester.triangular(free1, d1),
        sylvester.triangular(free2, d2),
        slack,
        rng.standard_normal((*shape, m)),
    )


@pytest.mark.parametrize("size", [0.0, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("m", [1, 2, 4])
def test_root_against_fifty_digits(m, size):
    """The root is within 16 eps of the effect of rounding errors in all inputs.

    The exact root: Newton's method on all M equations at once, with derivatives by differences,
    from the float64 root.
    """
    t, r1, r2, slack, b = system(np.random.default_rng(11), m, size)
    found = sylvester.sylvester_root(t, r1, r2, slack, b)
    with mpmath.workdps(50):
        R2, B = mpmath.matrix(r2.tolist()), mpmath.matrix(b.tolist())
        R1 = mpmath.matrix(r1.tolist())
        for i in range(m):  # the diagonals whose product is exactly slack - 1
            R1[i, i] = (mpmath.mpf(float(slack[i])) - 1) / R2[i, i] if size else R1[i, i]
        for row, a in zip(t, found):
            start = mpmath.lu_solve(R2, mpmath.matrix(a.tolist()) - B) if size else None
            if start is None:  # R2 has zeros on its diagonal: y from the equation itself
                start = mpmath.matrix(row.tolist()) - R1 * mpmath.matrix(a.tolist()).apply(
                    mpmath.tanh
                )

            def residual(*y):
                y = mpmath.matrix(y)
                return list(y + R1 * (R2 * y + B).apply(mpmath.tanh) - mpmath.matrix(row.tolist()))

            y = (
                mpmath.findroot(residual, list(start))
                if m > 1
                else mpmath.matrix([mpmath.findroot(lambda y: residual(y)[0], start[0])])
            )
            exact = R2 * y + B
            h = exact.apply(mpmath.tanh)
            jacobian = mpmath.eye(m) + R1 * mpmath.diag([1 - v**2 for v in h]) * R2
            reach = (R2 * jacobian**-1).apply(abs)
            size_in = (
                mpmath.matrix(row.tolist()).apply(abs)
                + R1.apply(abs) * h.apply(abs)
                + R1.apply(abs) * (R2.apply(abs) * y.apply(abs) + B.apply(abs))
            )
            bound = reach * size_in + exact.apply(abs) + B.apply(abs)
            for got, truth, limit in zip(a, exact, bound):
                assert abs(float(got) - truth) <= 16 * np.finfo(float).eps * limit


@pytest.mark.parametrize("n", [None, 4])
def test_gradient_of_the_root(n):
    """The gradient in t is R2 (I + R1 diag(tanh') R2)^-1; all are compared with differences.

    The slack moves with r1 and r2, as it does in the flow.
    """
    t, r1, r2, _, b = system(np.random.default_rng(12), 3, 0.6, n)

    def root(t, r1, r2, b):
        slack = 1 + anp.diagonal(r1, axis1=-1, axis2=-2) * anp.diagonal(r2, axis1=-1, axis2=-2)
        return sylvester.sylvester_root(t, r1, r2, slack, b)

    check_grads(root, modes=["rev"], order=2)(t, r1, r2, b)
    by_t = autograd_jacobian(lambda t: root(t, r1, r2, b), t)
    for k, a in enumerate(root(t, r1, r2, b)):
        R1, R2 = (r if n is None else r[k] for r in (r1, r2))
        exact = R2 @ np.linalg.inv(np.eye(3) + R1 @ np.diag(1 / np.cosh(a) ** 2) @ R2)
        np.testing.assert_allclose(by_t[k], exact, rtol=1e-11, atol=1e-12)


# What is refused ----------------------------------------------------------------------------


def test_parameters_without_an_inverse_are_refused():
    """If R1_ii R2_ii <= -1, as other libraries allow, the map folds space; one line says so."""
    x, r1, r2 = np.ones((3, 2)), np.diag([1.5, 0.2]), np.diag([-1.0, 0.3])
    slack = 1 + np.diag(r1) * np.diag(r2)
    with pytest.raises(
        ValueError,
        match=r"^params: expected R1_ii R2_ii > -1 for a Sylvester flow "
        r"to have an inverse, got 1 \+ R1_ii R2_ii = -0\.5$",
    ):
        sylvester.sylvester_inverse(x, np.eye(2), r1, r2, slack, np.zeros(2))


def test_diagonals_beyond_what_doubles_hold_are_refused():
    """tanh(400) tanh(-400) is -1 to every digit, and so is 1 + that zero."""
    flow = nfref.SylvesterLayer(2)
    params = at_the_edge(flow.init(np.random.default_rng(0)), 400.0)
    with pytest.raises(ValueError, match=r"got 1 \+ R1_ii R2_ii = 0$"):
        flow.inverse(params, np.ones((1, 2)))


def test_nan_is_no_violation():
    """NaN parameters give NaN rows, here as elsewhere; NaN rows leave the others alone."""
    flow = nfref.SylvesterLayer(2, "triangular")
    params = flow.init(np.random.default_rng(0))
    x = np.array([[1.0, 2.0], [np.nan, 0.0]])
    value, log_det = flow.inverse(params, x)
    alone, log_det_alone = flow.inverse(params, x[:1])
    np.testing.assert_array_equal(value[:1], alone)
    np.testing.assert_array_equal(log_det[:1], log_det_alone)
    assert np.isnan(log_det[1])
    with np.errstate(invalid="ignore"):
        value, log_det = flow.inverse({**params, "r1": params["r1"] * np.nan}, x)
    assert np.all(np.isnan(log_det))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.Sylvester(2, layers=0), "layers: expected at least 1, got 0"),
        (lambda: nfref.Sylvester(0), "dim: expected at least 1, got 0"),
        (
            lambda: nfref.Sylvester(2, kind="givens"),
            "kind: expected one of orthogonal, householder, triangular; got 'givens'",
        ),
        (lambda: nfref.Sylvester(2, bottleneck=3), "bottleneck: expected at most dim = 2, got 3"),
        (
            lambda: nfref.SylvesterLayer(3, "triangular", bottleneck=2),
            "bottleneck: expected dim = 3 for kind 'triangular', got 2",
        ),
        (
            lambda: nfref.SylvesterLayer(3, "householder", reflections=0),
            "reflections: expected at least 1, got 0",
        ),
        (
            lambda: nfref.SylvesterLayer(3, reverse=True),
            "reverse: expected False for kind 'orthogonal', got True",
        ),
    ],
)
def test_configurations_that_are_not(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_triangular_layers_alternate():
    assert [member.reverse for member in nfref.Sylvester(3, 4, "triangular").flows] == [
        False,
        True,
        False,
        True,
    ]
