"""Radial flows against 50-digit arithmetic, at the centre and at the limit of invertibility."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads

import nfref
from nfref.flows import radial
from tests.finite_differences.contract import contract_test
from tests.finite_differences.numerics import autograd_jacobian
from tests.flow_table import Entry, random_params

# A density has a kink at every centre, where a grid's quadrature is slow: see the integrals below.
CONTRACT = {
    "RadialLayer": Entry(nfref.RadialLayer, context=True, integrable=False),
    "Radial": Entry(
        lambda dim, context_dim: nfref.Radial(dim, 3, context_dim), context=True, integrable=False
    ),
}
test_contract = contract_test(CONTRACT)

SLACKS = (1e-12, 1e-6, 1e-3, 0.5, 1.0, 1.5, 30.0, 1e6)
ALPHAS = (1e-6, 0.3, 1.0, 50.0)
LENGTHS = (0.0, 1e-100, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e3, 1e6)
FLOAT32_LENGTHS = (0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e3)


def exact_stretch(r, alpha, slack):
    """The length r (1 + beta h), and its derivative 1 + beta h + beta h' r, in the paper's form."""
    r, alpha = mpmath.mpf(float(r)), mpmath.mpf(float(alpha))
    beta = mpmath.mpf(float(slack)) - alpha
    h, h_slope = 1 / (alpha + r), -1 / (alpha + r) ** 2
    return r * (1 + beta * h), 1 + beta * h + beta * h_slope * r


def test_paper_form():
    """f(z) = z + beta h(alpha, r) (z - z0), with its determinant and beta_hat (4.1, A.2)."""
    rng = np.random.default_rng(0)
    flow = nfref.Radial(3, layers=2)
    params, rows = random_params(flow, rng), rng.standard_normal((3, 3))
    x, log_det = flow.forward(params, rows)
    for n, z in enumerate(rows):
        total = 0
        for theta in params:
            alpha = np.log1p(np.exp(theta["alpha"][0]))
            beta = -alpha + np.log1p(np.exp(theta["beta"][0]))
            r = np.linalg.norm(z - theta["z0"])
            h, h_slope = 1 / (alpha + r), -1 / (alpha + r) ** 2
            z = z + beta * h * (z - theta["z0"])
            total += np.log((1 + beta * h) ** 2 * (1 + beta * h + beta * h_slope * r))
        np.testing.assert_allclose(x[n], z, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-12)


def gauss_legendre(low, high, pieces=20):
    """Nodes and weights of ten points on each of the equal pieces of [low, high]."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(low, high, pieces + 1)
    half = np.diff(edges) / 2
    return ((edges[:-1] + half)[:, None] + half[:, None] * nodes).ravel(), (
        half[:, None] * weights
    ).ravel()


def test_density_of_a_line_integrates_to_one():
    """Integrate between images of neighbouring centres, where the density is smooth."""
    rng = np.random.default_rng(3)
    flow = nfref.Radial(1, 3)
    params = random_params(flow, rng)
    kinks = []
    for k, theta in enumerate(params):
        kink = theta["z0"][None]
        for member, later in zip(flow.flows[k:], params[k:]):
            kink, _ = member.forward(later, kink)
        kinks.append(kink[0, 0])
    ends = flow.forward(params, np.array([[-9.0], [9.0]]))[0][:, 0]
    total = 0
    for low, high in zip([ends[0], *sorted(kinks)], [*sorted(kinks), ends[1]]):
        x, weights = gauss_legendre(low, high)
        log_prob = nfref.Density(flow).log_prob({"base": {}, "flow": params}, x[:, None])
        total += weights @ np.exp(log_prob)
    assert total == pytest.approx(1, abs=1e-12)


def test_density_of_a_plane_integrates_to_one():
    """Integrate in polar coordinates around the one centre, where the density is smooth."""
    flow = nfref.RadialLayer(2)
    params = {"z0": np.array([0.4, -0.8]), "alpha": np.array([-1.0]), "beta": np.array([1.0])}
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    s, weights = gauss_legendre(0, 14)
    x = params["z0"] + s[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    log_prob = nfref.Density(flow).log_prob({"base": {}, "flow": params}, x.reshape(-1, 2))
    ring = np.mean(np.exp(log_prob).reshape(len(s), 64), axis=1)
    assert 2 * np.pi * (weights * s) @ ring == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("slack", SLACKS)
def test_map_and_log_det_keep_their_digits(slack, dtype):
    """Both within 4 ulp of the truth at D = 1 and z0 = 0, down to the edge and far out."""
    eps = float(np.finfo(dtype).eps)
    lengths = LENGTHS if dtype == np.float64 else FLOAT32_LENGTHS
    z = np.array([[sign * r] for r in lengths for sign in (1, -1)], dtype)
    zero = np.zeros(1, dtype)
    for alpha in ALPHAS:
        alpha, edge = np.array([alpha], dtype), np.array([slack], dtype)
        x, log_det = radial.radial_forward(z, zero, alpha, edge)
        back, log_det_back = radial.radial_inverse(x, zero, alpha, edge)
        assert x.dtype == log_det.dtype == back.dtype == log_det_back.dtype == dtype
        with mpmath.workdps(50):
            for row, value, total, returned, total_back in zip(
                z[:, 0], x[:, 0], log_det, back[:, 0], log_det_back
            ):
                length, slope = exact_stretch(abs(row), alpha[0], edge[0])
                assert abs(abs(float(value)) - length) <= 4 * eps * length
                truth = mpmath.log(slope)
                # One rounding error of the slope moves its logarithm by one eps.
                assert abs(float(total) - truth) <= 4 * eps * (1 + abs(truth))
                # One eps of x moves log |z| by d log r / d log s, and the logarithm of the
                # slope by at most twice as much.
                lost = 8 * eps * (1 + (length / slope / abs(float(row)) if row else 0))
                assert abs(float(returned) - float(row)) <= lost * abs(float(row))
                assert abs(float(total_back) + truth) <= lost + 4 * eps * abs(truth)
        np.testing.assert_array_equal(np.sign(x), np.sign(z))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_root_is_exact_to_a_few_ulp(dtype):
    """|r - exact| <= 4 eps (r + what relative changes of b and c do to it)."""
    eps = float(np.finfo(dtype).eps)
    sizes = (0.0, 1e-12, 1e-6, 0.1, 1.0, 7.0, 1e3, 1e6)
    b, c = np.array([[sign * b, c] for b in sizes for c in sizes for sign in (1, -1)], dtype).T
    found = radial.positive_root(b, c)
    assert found.dtype == dtype
    with mpmath.workdps(80):
        for r, *given in zip(found, b, c):
            b, c = (mpmath.mpf(float(number)) for number in given)
            exact = (-b + mpmath.sqrt(b**2 + 4 * c)) / 2
            assert exact**2 + b * exact - c <= mpmath.mpf(10) ** -60 * (1 + b**2 + c)
            moved = (abs(b) * exact + c) / (2 * exact + b) if exact else 0
            assert abs(float(r) - exact) <= 4 * eps * (exact + moved), (r, b, c)


@pytest.mark.parametrize("b", [-2.0, -1e-3, 0.0, 1e-3, 2.0])
def test_gradient_of_the_root(b):
    """dr/db = -r / (2 r + b), dr/dc = 1 / (2 r + b), at b = 0 too, where the branches meet."""
    b, c = np.array([b]), np.array([0.7])
    r = radial.positive_root(b, c)
    np.testing.assert_allclose(
        elementwise_grad(radial.positive_root, 0)(b, c), -r / (2 * r + b), rtol=1e-14
    )
    np.testing.assert_allclose(
        elementwise_grad(radial.positive_root, 1)(b, c), 1 / (2 * r + b), rtol=1e-14
    )


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("raw", [-27.0, 0.0, 5.0])
def test_the_centre(dim, raw):
    """The map scales by f = slack / alpha at z0, so log det = D log f; the inverse returns to z0.

    f = log(1 + e^raw) / log 2. The log-determinant has a kink in z there; the parameters' gradients
    exist and are those of D log f.
    """
    layer = nfref.RadialLayer(dim)
    params = {"z0": np.linspace(-1, 2, dim), "alpha": np.zeros(1), "beta": np.array([raw])}
    z = params["z0"][None]
    f = np.log1p(np.exp(raw)) / np.log(2)
    x, log_det = layer.forward(params, z)
    np.testing.assert_array_equal(x, z)
    np.testing.assert_allclose(log_det, dim * np.log(f), rtol=1e-14)
    back, log_det_back = layer.inverse(params, x)
    np.testing.assert_array_equal(back, z)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-14)
    np.testing.assert_allclose(
        autograd_jacobian(lambda r: layer.forward(params, r)[0], z)[0],
        f * np.eye(dim),
        rtol=1e-14,
        atol=1e-15,
    )
    np.testing.assert_allclose(
        autograd_jacobian(lambda r: layer.inverse(params, r)[0], x)[0],
        np.eye(dim) / f,
        rtol=1e-14,
        atol=1e-15,
    )
    for direction, sign in (("forward", 1), ("inverse", -1)):
        gradient = grad(lambda p: anp.sum(getattr(layer, direction)(p, z)[1]))(params)
        assert np.all(gradient["z0"] == 0)
        np.testing.assert_allclose(
            gradient["beta"], sign * dim / (1 + np.exp(-raw)) / np.log1p(np.exp(raw)), rtol=1e-12
        )
        np.testing.assert_allclose(gradient["alpha"], -sign * dim * 0.5 / np.log(2), rtol=1e-12)


def test_gradients_of_the_formulas():
    rng = np.random.default_rng(1)
    z, z0 = rng.standard_normal((2, 3)), rng.standard_normal(3)
    alpha, slack = np.array([0.8]), np.array([0.3])
    for formula in (radial.radial_forward, radial.radial_inverse):

        def joined(*arguments):
            value, log_det = formula(*arguments)
            return anp.concatenate([value, log_det[:, None]], axis=1)

        check_grads(joined, modes=["rev"], order=2)(z, z0, alpha, slack)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
def test_nearly_folded_space_comes_back(dim):
    """With slack 2e-12, rows near z0 are squeezed by as much, and return as far as x kept them."""
    rng = np.random.default_rng(2)
    layer = nfref.RadialLayer(dim)
    params = {"z0": rng.standard_normal(dim), "alpha": np.zeros(1), "beta": np.array([-27.0])}
    z = params["z0"] + rng.standard_normal((6, dim)) * np.array([[1e-9, 1e-3, 0.1, 1, 30, 1e3]]).T
    x, log_det = layer.forward(params, z)
    back, log_det_back = layer.inverse(params, x)
    # The steepest direction of the inverse is across the radius.
    r = np.linalg.norm(z - params["z0"], axis=1, keepdims=True)
    steepest = (np.log(2) + r) / (np.log1p(np.exp(-27.0)) + r)
    scale = np.max(np.abs(x) + np.abs(params["z0"]), axis=1, keepdims=True)
    assert np.all(np.abs(back - z) <= 16 * np.finfo(float).eps * scale * steepest)
    # x has an error of eps |x|, and so has r: d log det / dr is at most D / r + 1.
    lost = 16 * np.finfo(float).eps * (scale * steepest * dim / r + 1)[:, 0]
    assert np.all(np.abs(log_det + log_det_back) <= lost)


def test_equal_alpha_and_slack_are_the_identity_to_the_bit():
    layer = nfref.RadialLayer(3)
    params = {"z0": np.array([100.0, -3.0, 1e6]), "alpha": np.ones(1), "beta": np.ones(1)}
    z = np.random.default_rng(0).standard_normal((5, 3))
    for direction in ("forward", "inverse"):
        value, log_det = getattr(layer, direction)(params, z)
        np.testing.assert_array_equal(value, z)
        np.testing.assert_array_equal(log_det, 0)


def test_infinity_and_nan_stay_in_their_rows():
    layer = nfref.RadialLayer(2)
    params = layer.init(np.random.default_rng(0))
    rows = np.array([[np.nan, 0.0], [1.0, -2.0], [np.inf, 0.0]])
    for direction in ("forward", "inverse"):
        with np.errstate(invalid="ignore"):
            value, log_det = getattr(layer, direction)(params, rows)
        alone, log_det_alone = getattr(layer, direction)(params, rows[1:2])
        np.testing.assert_array_equal(value[1], alone[0])
        assert log_det[1] == log_det_alone[0]
        assert np.isnan(log_det[0]) and not np.any(np.isfinite(value[[0, 2], 0]))


def test_each_context_row_has_its_own_map():
    """A row equals one mapped by the plain layer with that row's z0, alpha, beta."""
    rng = np.random.default_rng(1)
    layer, plain = nfref.RadialLayer(3, context_dim=2), nfref.RadialLayer(3)
    params = {**layer.init(rng), "from_context": rng.standard_normal((2, 5))}
    z, context = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    x, log_det = layer.forward(params, z, context)
    for i in range(5):
        change = context[i] @ params["from_context"]
        own = {
            "z0": params["z0"] + change[:3],
            "alpha": params["alpha"] + change[3:4],
            "beta": params["beta"] + change[4:],
        }
        x_row, log_det_row = plain.forward(own, z[i : i + 1])
        np.testing.assert_allclose(x[i], x_row[0], rtol=1e-13)
        np.testing.assert_allclose(log_det[i], log_det_row[0], rtol=1e-12, atol=1e-14)


def test_configurations_that_are_not():
    with pytest.raises(ValueError, match="^layers: expected at least 1, got 0$"):
        nfref.Radial(2, layers=0)
    with pytest.raises(ValueError, match="^dim: expected at least 1, got 0$"):
        nfref.Radial(0)
