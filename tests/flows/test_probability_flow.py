"""The probability flow: score and trace by autograd, p_s by quadrature, closed likelihoods."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, jacobian
from scipy import stats

import nfref
from nfref.flows import probability_flow as pf
from nfref.objectives.flow_matching import variance_preserving_path
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry

CONTRACT = {
    "ProbabilityFlow": Entry(
        lambda d, c: nfref.ProbabilityFlow(d, 2, beta_max=4.0, rtol=1e-9, atol=1e-9),
        dims=(2,),
        precision=1e-7,
        reach=10.0,
        integrable=False,
    )
}
test_contract = contract_test(CONTRACT)

MIXTURE = {
    "logits": np.array([0.3, -0.2, 0.0]),
    "means": np.array([[-1.5, 0.4], [1.0, 1.2], [0.3, -1.0]]),
    "log_scales": np.log([[0.3, 0.5], [0.4, 0.2], [0.6, 0.25]]),
}


def exact_density(flow, params):
    """Return the flow on its own p_1, and the parameters of both."""
    return (
        nfref.Density(flow, nfref.NormalMixture(flow.dim, flow.components)),
        {"base": flow.diffused(params, 1.0), "flow": params},
    )


# Formulas ---------------------------------------------------------------------------------


def test_schedule_is_that_of_flow_matching_turned_around():
    """Compare with flow matching's variance-preserving path, written from another paper."""
    for s in (1e-4, 0.2, 0.7, 1.0):
        beta, alpha, variance = pf.noise_schedule(s)
        theirs = variance_preserving_path(np.array([1 - s]))
        assert alpha == pytest.approx(theirs[0][0], rel=1e-12)
        assert variance == pytest.approx(theirs[1][0] ** 2, rel=1e-9)
        assert beta == pytest.approx(2 * theirs[2][0] / theirs[0][0], rel=1e-12)


def test_score_and_trace_are_the_derivatives_of_the_log_density():
    y = np.random.default_rng(0).standard_normal((20, 2)) * 2
    score, trace = pf.score_and_trace(
        y, MIXTURE["logits"], MIXTURE["means"], np.exp(2 * MIXTURE["log_scales"])
    )

    def log_prob(y):
        return nfref.NormalMixture(2, 3).log_prob(MIXTURE, y)

    np.testing.assert_allclose(score, elementwise_grad(log_prob)(y), rtol=1e-11, atol=1e-11)
    for row, got in zip(y, trace):
        hessian = jacobian(lambda v: elementwise_grad(log_prob)(v[None])[0])(row)
        assert got == pytest.approx(np.trace(hessian), rel=1e-9, abs=1e-9)


def test_trace_does_not_cancel_far_away():
    """Only the widest component is left at |y| = 1e8; the trace is that of its precision."""
    variances = np.exp(2 * MIXTURE["log_scales"])
    score, trace = pf.score_and_trace(
        np.array([[1e8, 1e8]]), MIXTURE["logits"], MIXTURE["means"], variances
    )
    assert np.all(np.isfinite(score))
    assert trace[0] == pytest.approx(-np.min(np.sum(1 / variances, axis=1)), rel=1e-14)


@pytest.mark.parametrize("s", [0.05, 0.3, 1.0])
def test_diffused_density_is_the_convolution_by_quadrature(s):
    """p_s(y) = integral of p_0(u) N(y; alpha u, 1 - alpha^2) du, on the line."""
    flow = nfref.ProbabilityFlow(1, 3)
    params = {name: value[..., :1] if value.ndim == 2 else value for name, value in MIXTURE.items()}
    mixture = nfref.NormalMixture(1, 3)
    _, alpha, variance = pf.noise_schedule(s)
    u = np.linspace(-6, 6, 6001)
    p_0 = np.exp(mixture.log_prob(params, u[:, None]))
    y = np.linspace(-2, 2, 9)
    kernel = stats.norm.pdf(y[:, None], alpha * u, variance**0.5)
    found = np.exp(mixture.log_prob(flow.diffused(params, s), y[:, None]))
    np.testing.assert_allclose(found, (kernel * p_0).sum(axis=1) * (u[1] - u[0]), rtol=1e-10)


def test_velocity_keeps_the_density_by_the_continuity_equation():
    """dp/dt + div(p v) = 0: d log p/dt + v . grad log p + div v = 0, by differences in t."""
    flow, mixture = nfref.ProbabilityFlow(2, 3), nfref.NormalMixture(2, 3)
    y = np.random.default_rng(1).standard_normal((30, 2))
    for t in (0.1, 0.5, 0.9):
        velocity, divergence = pf.velocity_and_trace(t, y, *MIXTURE.values())

        def log_prob(t, y=y):
            return mixture.log_prob(flow.diffused(MIXTURE, 1 - t), y)

        h = 1e-4
        change = (
            8 * (log_prob(t + h) - log_prob(t - h)) - (log_prob(t + 2 * h) - log_prob(t - 2 * h))
        ) / (12 * h)
        slope = elementwise_grad(lambda y: log_prob(t, y))(y)
        left = change + np.sum(velocity * slope, axis=1) + divergence
        np.testing.assert_allclose(left, 0, atol=1e-7 * (1 + np.abs(change).max()))


# Likelihood -------------------------------------------------------------------------------


def test_likelihood_is_that_of_the_mixture():
    flow = nfref.ProbabilityFlow(2, 3, rtol=1e-10, atol=1e-10)
    density, params = exact_density(flow, MIXTURE)
    mixture = nfref.NormalMixture(2, 3)
    x = mixture.sample(MIXTURE, np.random.default_rng(2), 300)
    np.testing.assert_allclose(density.log_prob(params, x), mixture.log_prob(MIXTURE, x), atol=1e-8)
    error = []
    for tolerance in (1e-4, 1e-7):
        looser, params = exact_density(
            nfref.ProbabilityFlow(2, 3, rtol=tolerance, atol=tolerance), MIXTURE
        )
        error.append(np.abs(looser.log_prob(params, x) - mixture.log_prob(MIXTURE, x)).max())
    assert error[1] < error[0] / 30


@pytest.mark.thorough
def test_standard_normal_start_is_off_by_what_the_diffusion_leaves():
    """The gap log N(z) - log p_1(z) is below 0.02 nats here; it is still a density."""
    flow = nfref.ProbabilityFlow(2, 3, rtol=1e-5, atol=1e-5)
    mixture, density = nfref.NormalMixture(2, 3), nfref.Density(flow)
    axis = np.linspace(-3.4, 3.4, 52)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_prob = density.log_prob({"base": {}, "flow": MIXTURE}, grid)
    assert np.exp(log_prob).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)
    z, _ = flow.inverse(MIXTURE, grid)
    start = nfref.StandardNormal(2).log_prob({}, z)
    exact = mixture.log_prob(flow.diffused(MIXTURE, 1.0), z)
    gap = log_prob - mixture.log_prob(MIXTURE, grid)
    inside = np.exp(mixture.log_prob(MIXTURE, grid)) > 1e-3
    np.testing.assert_allclose(gap[inside], (start - exact)[inside], atol=1e-3)
    assert 1e-4 < np.abs(gap[inside]).max() < 0.03


def test_one_normal_has_a_closed_form():
    """x = m + sigma (z - alpha m) / sqrt(alpha^2 sigma^2 + 1 - alpha^2): normal to normal."""
    flow = nfref.ProbabilityFlow(2, 1, rtol=1e-10, atol=1e-10)
    params = {
        "logits": np.zeros(1),
        "means": np.array([[1.0, -2.0]]),
        "log_scales": np.log([[0.3, 2.0]]),
    }
    z = np.random.default_rng(3).standard_normal((50, 2))
    _, alpha, variance = pf.noise_schedule(1.0)
    sigma, mean = np.array([0.3, 2.0]), params["means"]
    scale = sigma / np.sqrt(alpha**2 * sigma**2 + variance)
    x, log_det = flow.forward(params, z)
    np.testing.assert_allclose(x, mean + scale * (z - alpha * mean), atol=1e-7)
    np.testing.assert_allclose(log_det, np.sum(np.log(scale)), atol=1e-7)


def test_single_precision_on_a_ridge_keeps_its_digits_whatever_stands_beside_it():
    """Far out the shares of two normals change, a difference of large squares."""
    flow = nfref.ProbabilityFlow(2, 2, beta_max=4.0)
    params = {
        "logits": np.array([0.63, 0.4]),
        "means": np.array([[0.0, -0.1], [-0.3, -2.7]]),
        "log_scales": np.array([[0.48, -0.15], [-0.16, -0.39]]),
    }
    single = {name: value.astype(np.float32) for name, value in params.items()}
    rng = np.random.default_rng(6)
    x = rng.uniform(-10, 10, (200, 2)).astype(np.float32)
    x[0] = 9.52, -7.22
    exact = flow.inverse(
        {name: value.astype(float) for name, value in single.items()}, x.astype(float)
    )
    for rows in (slice(0, 1), slice(0, 3), slice(None)):
        for found, expected in zip(flow.inverse(single, x[rows]), exact):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected[rows], rtol=3e-7, atol=1e-6)


def test_samples_follow_the_mixture():
    """Each coordinate's distribution function of 2,000 samples is uniform (Kolmogorov, Smirnov)."""
    density, params = exact_density(nfref.ProbabilityFlow(2, 3), MIXTURE)
    x = density.sample(params, np.random.default_rng(4), 2000)
    weights = np.exp(MIXTURE["logits"]) / np.sum(np.exp(MIXTURE["logits"]))
    for i in range(2):
        u = (
            stats.norm.cdf(
                x[:, i, None], MIXTURE["means"][:, i], np.exp(MIXTURE["log_scales"][:, i])
            )
            @ weights
        )
        assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_gradient_by_the_adjoint_is_that_of_the_mixture():
    """Differentiate log p in logits, means and scales, through p_1 and the solve together."""
    flow = nfref.ProbabilityFlow(2, 3, rtol=1e-10, atol=1e-10)
    mixture = nfref.NormalMixture(2, 3)
    density, _ = exact_density(flow, MIXTURE)
    x = mixture.sample(MIXTURE, np.random.default_rng(5), 20)

    def through_the_flow(params):
        return anp.mean(density.log_prob({"base": flow.diffused(params, 1.0), "flow": params}, x))

    ours = grad(through_the_flow)(MIXTURE)
    theirs = grad(lambda params: anp.mean(mixture.log_prob(params, x)))(MIXTURE)
    for name in MIXTURE:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)


def test_rows_that_cannot_be_followed_are_lost_alone():
    flow = nfref.ProbabilityFlow(2, 3)
    x = np.array([[0.1, 0.2], [np.nan, 0.0], [1.0, -np.inf], [-0.5, 0.3]])
    z, log_det = flow.inverse(MIXTURE, x)
    alone, alone_log_det = flow.inverse(MIXTURE, x[[0, 3]])
    np.testing.assert_array_equal(z[[0, 3]], alone)
    np.testing.assert_array_equal(log_det[[0, 3]], alone_log_det)
    assert np.all(np.isnan(z[[1, 2]])) and np.all(np.isnan(log_det[[1, 2]]))


def test_what_it_refuses():
    for name in ("beta_min", "beta_max", "rtol", "atol"):
        with pytest.raises(ValueError, match=f"{name}: expected a finite number above 0"):
            nfref.ProbabilityFlow(2, 3, **{name: 0.0})
    with pytest.raises(ValueError, match="components: expected"):
        nfref.ProbabilityFlow(2, 0)
