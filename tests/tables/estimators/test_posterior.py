"""Posteriors from samples and from simulations, against closed forms and finite differences."""

import warnings

import numpy as np
import pandas
import pytest

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.pool import FittedFlow, Pool, Regressed
from nfref.tables.estimators import posterior_maps
from nfref.tables.estimators.posterior_fit import without_wide
from nfref.tables.files.model_file import ModelError

FAST = {"flow": "nsf", "members": 1, "effort": "quick"}
FACTOR = np.array([[1.0, 0.0], [0.8, 0.5]])
LOG_Z = np.log(2 * np.pi) + np.log(0.5)


def log_target(t):
    """Return the log of a Gaussian without its constant."""
    return -0.5 * np.sum(np.linalg.solve(FACTOR, t.T) ** 2, axis=0)


def chain(n=1500, seed=0, keep=0.5):
    """Return a stationary chain (n, 2) whose neighbours have correlation ``keep``."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2))
    for k in range(1, n):
        z[k] = keep * z[k - 1] + np.sqrt(1 - keep**2) * z[k]
    return z @ FACTOR.T


@pytest.fixture(scope="module")
def of_chain():
    samples = chain()
    return nfref.Posterior.from_samples(samples, ["a", "b"], **FAST)


def simulations(n, seed):
    """Return theta in the unit square, and theta with noise."""
    rng = np.random.default_rng(seed)
    theta = rng.random((n, 2))
    return theta, theta + 0.1 * rng.standard_normal((n, 2))


@pytest.fixture(scope="module")
def of_simulations():
    return nfref.Posterior.from_simulations(*simulations(1200, 1), bounds=[(0, 1), (0, 1)], **FAST)


@pytest.fixture(scope="module")
def of_bounded():
    """A posterior of a parameter above 0, one below 3, one real and one with two ends."""
    rng = np.random.default_rng(2)
    rows = np.column_stack(
        [rng.gamma(2, size=600), 3 - rng.exponential(size=600), rng.standard_t(4, 600)]
    )
    rows = np.column_stack([rows, 1 / (1 + np.exp(-rows[:, 2] - rng.standard_normal(600)))])
    bounds = {"theta1": (0, None), "theta2": (None, 3), "theta4": (0, 1)}
    return nfref.Posterior.from_samples(rows, bounds=bounds, **FAST)


def finite_difference(function, rows, step):
    return np.stack(
        [
            (function(rows + step * e) - function(rows - step * e)) / (2 * step)
            for e in np.eye(rows.shape[1])
        ],
        axis=1,
    )


# Densities --------------------------------------------------------------------------------


def test_posterior_given_an_observation_has_its_mass_inside_the_bounds(of_simulations):
    given = of_simulations.given([0.5, 0.97])
    # Trapezia over the logit; kinks of splines leave an error of the step squared, 4e-5 here.
    y, step = np.linspace(-14, 14, 561, retstep=True)
    places = 1 / (1 + np.exp(-y))
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    slopes = np.prod(grid * (1 - grid), axis=1)
    assert step**2 * np.sum(given.pdf(grid) * slopes) == pytest.approx(1, abs=1e-4)
    drawn = given.rvs(5000, 0)
    assert np.all((drawn > 0) & (drawn < 1))
    assert given.logpdf([0.5, 1.01]) == -np.inf
    # the exact posterior: normal densities around the observation, cut off at the bounds
    weights = np.exp(-np.sum((grid - [0.5, 0.97]) ** 2, axis=1) / 0.02)
    weights = weights * slopes
    exact = weights @ grid / np.sum(weights)
    np.testing.assert_allclose(given.mean(), exact, atol=0.02)


def test_density_of_samples_is_that_of_the_chain(of_chain):
    exact = log_target(of_chain.samples) - LOG_Z
    assert np.mean(exact - of_chain.logpdf(of_chain.samples)) < 0.03
    np.testing.assert_allclose(of_chain.cov(), FACTOR @ FACTOR.T, atol=0.15)
    first = of_chain.logpdf(of_chain.samples[0])
    assert isinstance(first, float)
    assert first == pytest.approx(of_chain.logpdf(of_chain.samples)[0], rel=1e-12)
    frame = pandas.DataFrame(of_chain.samples[:, ::-1], columns=["b", "a"])
    np.testing.assert_array_equal(of_chain.logpdf(frame), of_chain.logpdf(of_chain.samples))


@pytest.mark.parametrize("case", ["of_chain", "of_bounded", "of_simulations"])
def test_gradient_agrees_with_finite_differences(case, request):
    posterior = request.getfixturevalue(case)
    if posterior.observed_names:
        posterior = posterior.given([0.5, 0.9])
    rows = posterior.rvs(40, 3)
    found = posterior.grad_logpdf(rows)
    step = 1e-6 * (1 - 1e-3 * posterior.dim)
    if case == "of_bounded":  # nearer to a bound than the step nothing can be compared
        rows, found = rows[rows[:, 0] > 0.01], found[rows[:, 0] > 0.01]
    expected = finite_difference(posterior.logpdf, rows, step)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(posterior.grad_logpdf(rows[0]), found[0], rtol=1e-12)


def test_gradient_in_tails_and_near_soft_ends():
    rows = np.random.default_rng(4).exponential(size=(15, 2))
    column = nfref.FlowDensity(flow="gaussian", random_state=0).fit(rows).columns_[0]
    for one in (column, nfref.FlowDensity(flow="gaussian").fit(rows - 5).columns_[0]):
        x = one.decode(np.array([-7.0, -5.1, -1.0, 0.3, 2.0, 5.2, 8.0]))
        h = 1e-6 * np.maximum(np.abs(x - (one.low if np.isfinite(one.low) else 0)), 1e-9)
        above, below = one.encode(x + h), one.encode(x - h)
        slope, own = one.slopes(x)
        np.testing.assert_allclose(slope, (above[0] - below[0]) / (2 * h), rtol=1e-5)
        np.testing.assert_allclose(
            own, (above[1] - below[1]) / (2 * h), rtol=1e-4, atol=1e-9 * np.max(np.abs(own))
        )


def test_prior_transform_maps_the_cube_onto_the_density(of_bounded):
    # Within a piece of the cube, 1 / |det J| is the weighted density of its member.
    pool = of_bounded.density.pool
    cube = np.random.default_rng(5).uniform(0.02, 0.98, (60, 4))
    rows = posterior_maps.from_unit_cube(pool, cube)
    step = 1e-6
    jacobians = np.stack(
        [
            (
                posterior_maps.from_unit_cube(pool, cube + step * e)
                - posterior_maps.from_unit_cube(pool, cube - step * e)
            )
            / (2 * step)
            for e in np.eye(4)
        ],
        axis=2,
    )
    found = -np.linalg.slogdet(jacobians)[1]
    parts = []
    for member, weight in zip(pool.members, pool.weights):
        components = getattr(member, "log_weights", None)
        if components is None:
            parts.append(np.log(weight) + member.log_prob(rows))
        else:
            for k, log_weight in enumerate(components):
                part = Gaussian(member.means[k], member.choleskys[k])
                parts.append(np.log(weight) + log_weight + part.log_prob(rows))
    apart = np.min(np.abs(found - np.array(parts)), axis=0)
    assert np.sort(apart)[-3] < 1e-5  # at most two points are next to an edge of a piece
    np.testing.assert_allclose(
        of_bounded.prior_transform(cube[0]), of_bounded.prior_transform(cube)[0], rtol=1e-12
    )


def test_prior_transform_follows_rvs(of_simulations):
    from scipy.stats import ks_2samp

    given = of_simulations.given([0.4, 0.9])
    mapped = given.prior_transform(np.random.default_rng(6).random((4000, 2)))
    drawn = given.rvs(4000, 7)
    assert all(ks_2samp(a, b).pvalue > 1e-3 for a, b in zip(mapped.T, drawn.T))
    assert np.all(np.isfinite(given.prior_transform([[0.0, 0.0], [1.0, 1.0]])))


def test_wide_member_is_left_out_unless_it_matters():
    wide = nfref.tables.densities.wide.Wide(1)
    narrow = Gaussian(np.zeros(1), np.eye(1))
    for inner in (wide, Regressed(wide, np.zeros((2, 1)))):
        pool = Pool((narrow, inner), np.array([0.96, 0.04]), ("gaussian", "wide"))
        assert without_wide(pool).names == ("gaussian",)
        assert without_wide(pool).weights.sum() == pytest.approx(1)
    pool = Pool((narrow, wide), np.array([0.9, 0.1]), ("gaussian", "wide"))
    assert without_wide(pool).names == ("gaussian", "wide")


def test_marginal_is_the_density_of_some_parameters(of_chain):
    found = of_chain.marginal("a", draws=2000)
    assert found.names == ["a"] and found.dim == 1
    assert found.logpdf(0.3) == found.logpdf([0.3]) == found.logpdf([[0.3]])[0]
    places = np.linspace(-6, 6, 2001)
    assert np.trapezoid(found.pdf(places), places) == pytest.approx(1, abs=1e-3)
    exact = np.exp(-0.5 * places**2) / np.sqrt(2 * np.pi)
    assert np.trapezoid(np.abs(found.pdf(places) - exact), places) < 0.15


# Evidence and weights ---------------------------------------------------------------------


def test_evidence_agrees_with_the_closed_form(of_chain):
    found = of_chain.log_evidence(log_target)
    assert found.believable and str(found).startswith("log Z")
    assert found.error < 0.05
    assert abs(found.value - LOG_Z) < 4 * found.error


def test_evidence_of_weighted_samples():
    rng = np.random.default_rng(8)
    rows = 1.5 * rng.standard_normal((2000, 2)) @ FACTOR.T
    log_weights = log_target(rows) - log_target(rows / 1.5)
    posterior = nfref.Posterior.from_samples(rows, weights=np.exp(log_weights), **FAST)
    assert posterior.effective_size < 1500
    found = posterior.log_evidence(log_target)
    assert found.believable and abs(found.value - LOG_Z) < 4 * found.error


def test_evidence_of_a_target_that_is_far_away_cannot_be_told(of_chain):
    found = of_chain.log_evidence(lambda t: -0.5 * np.sum((t - 9) ** 2, axis=1) / 1e-4)
    assert not found.believable and str(found).startswith("cannot tell")


def test_whole_weights_are_a_chain_that_repeats_rows(of_chain):
    samples = chain(400)
    times = np.random.default_rng(9).integers(0, 3, 400)
    options = {"flow": "gaussian"}
    weighted = nfref.Posterior.from_samples(samples, weights=times, **options)
    repeated = nfref.Posterior.from_samples(np.repeat(samples, times, axis=0), **options)
    np.testing.assert_array_equal(weighted.samples, repeated.samples)
    assert weighted.logpdf([0.1, 0.2]) == repeated.logpdf([0.1, 0.2])


def test_reweight_multiplies_by_the_new_prior(of_chain):
    weights, found = of_chain.reweight(lambda t: -0.5 * (t[:, 0] - 1) ** 2)
    assert weights.sum() == pytest.approx(1) and found.believable
    mean = weights @ of_chain.samples
    np.testing.assert_allclose(mean, [0.5, 0.4], atol=0.12)  # a N(0, 1), times N(1, 1)
    assert abs(found.value - (-0.25 - 0.5 * np.log(2))) < 4 * found.error
    assert found.effective < 1.1 * of_chain.effective_size
    same, _ = of_chain.reweight(lambda t: t[:, 0], lambda t: t[:, 0])
    np.testing.assert_allclose(same, 1 / len(same))


# Calibration ------------------------------------------------------------------------------


def test_calibration_tells_a_right_posterior_from_a_wrong_one(of_simulations):
    theta, x = simulations(300, 10)
    right = of_simulations.calibration(theta, x)
    assert np.all(right.p_values > 1e-3)
    assert np.all(np.abs(right.coverage - right.levels) < 4.5 * right.error)
    assert right.pit.shape == (300, 2) and "coverage" in str(right)
    wrong = of_simulations.calibration(theta, x + [0.05, 0])
    assert wrong.p_values[0] < 1e-4 and wrong.p_values[1] > 1e-3
    assert "theta1" in str(wrong) and "not uniform" in str(wrong)


# Chains -----------------------------------------------------------------------------------


def test_samples_of_several_chains_are_held_out_by_stretches():
    parts = np.stack([chain(300, seed, keep=0.9) for seed in range(3)])
    posterior = nfref.Posterior.from_samples(parts, flow="gaussian")
    assert posterior.samples.shape == (900, 2)
    assert 50 < posterior.effective_size < 200
    shuffled = np.random.default_rng(0).permutation(parts.reshape(-1, 2))
    other = nfref.Posterior.from_samples(shuffled, flow="gaussian")
    assert other.effective_size > 2 * posterior.effective_size


# Files and pictures -----------------------------------------------------------------------


def test_file_gives_the_same_answers(of_chain, of_simulations, tmp_path):
    of_chain.save(tmp_path / "a.npz")
    again = nfref.Posterior.load(tmp_path / "a.npz")
    assert again.names == ["a", "b"] and repr(again) == repr(of_chain)
    np.testing.assert_array_equal(again.samples, of_chain.samples)
    np.testing.assert_array_equal(again.rvs(9, 0), of_chain.rvs(9, 0))
    assert again.log_evidence(log_target) == of_chain.log_evidence(log_target)
    assert repr(again.candidates) == repr(of_chain.candidates)
    given = of_simulations.given([0.3, 0.6])
    given.save(tmp_path / "b.npz")
    again = nfref.Posterior.load(tmp_path / "b.npz")
    assert again.logpdf([0.3, 0.5]) == given.logpdf([0.3, 0.5])
    assert nfref.load_model(tmp_path / "b.npz").columns == ("theta1", "theta2", "x1", "x2")
    nfref.FlowDensity(flow="gaussian").fit(chain(100)).save(tmp_path / "c.npz")
    with pytest.raises(ModelError, match="expected a posterior"):
        nfref.Posterior.load(tmp_path / "c.npz")


def test_plot_writes_a_picture(of_chain, of_simulations, tmp_path):
    of_chain.plot(tmp_path / "a.png", draws=200)
    given, other = of_simulations.given([[0.3, 0.6], [0.8, 0.1]])
    given.plot(tmp_path / "b.svg", other=other, draws=200)
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert b"other" in (tmp_path / "b.svg").read_bytes()
    with pytest.raises(ValueError, match="other: expected a Posterior of theta1, theta2"):
        given.plot(tmp_path / "c.png", other=of_chain)


# Bad input --------------------------------------------------------------------------------

ROWS = chain(200, keep=0.0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"samples": ROWS[:3]}, "samples: expected more than 3 of 2 parameters, got 3"),
        ({"samples": ROWS[:40]}, "samples: expected an effective size of at least 50"),
        ({"samples": np.cumsum(ROWS, axis=0)}, "samples: expected an effective size of at least"),
        ({"samples": ROWS * [1, 0]}, "column 'theta2': expected values that differ"),
        ({"samples": np.where(ROWS > 2, np.nan, ROWS)}, "samples: expected finite numbers"),
        ({"weights": np.ones(3)}, "weights: expected shape"),
        ({"weights": np.eye(200)[0] + 1e-9}, "samples: expected an effective size of at least 50"),
        ({"bounds": {"theta1": (0, 1)}}, "samples: expected 'theta1' strictly between 0 and 1"),
        ({"bounds": {"b": (0, 1)}}, "bounds: expected names among theta1, theta2, got 'b'"),
        ({"bounds": {"theta1": (1, 0)}}, r"bounds\['theta1'\]: expected low < high"),
        ({"bounds": {"theta1": 3}}, r"bounds\['theta1'\]: expected \(low, high\), got 3"),
        ({"bounds": [(0, 1)]}, "bounds: expected a dictionary"),
        ({"names": ["a"]}, "names: expected 2 of text"),
        ({"effort": "much"}, "effort: expected"),
        ({"flow": "nfs"}, "flow: expected"),
        ({"names": ["a", "a"]}, "names: expected names that differ, got 'a' twice"),
        ({"samples": ROWS + 1j}, "samples: expected real numbers, got dtype complex128"),
        ({"samples": ROWS.reshape(100, 2, 2)}, "samples: expected at least 4 steps a chain"),
    ],
)
def test_samples_that_do_not_fit_are_one_line(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        nfref.Posterior.from_samples(**{"samples": ROWS, "flow": "gaussian", **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "theta, x, message",
    [
        (np.ones((3, 2)), np.ones((4, 1)), "x: expected 3 rows, as theta has, got 4"),
        (np.ones((3, 2)), np.full((3, 1), np.nan), "theta: .* got 0 of 3 that did not fail"),
        (
            pandas.DataFrame({"x1": [1.0, 2.0]}),
            np.ones((2, 1)),
            "x: expected other names than theta has, got 'x1'",
        ),
    ],
)
def test_simulations_that_do_not_fit_are_one_line(theta, x, message):
    with pytest.raises(ValueError, match=message):
        nfref.Posterior.from_simulations(theta, x)


def test_few_simulations_of_many_columns():
    # More columns than a mixture of the parameters alone has: its sizes are those of two columns.
    theta, _ = simulations(120, 12)
    x = np.random.default_rng(13).standard_normal((120, 60)) + theta[:, :1]
    found = nfref.Posterior.from_simulations(theta, x, bounds=[(0, 1)] * 2, flow="mixture")
    assert np.all(np.isfinite(found.given(np.zeros(60)).mean()))


def test_observation_by_name(of_simulations):
    found = of_simulations.given({"x2": 0.9, "x1": 0.5})
    assert found.logpdf([0.5, 0.8]) == of_simulations.given([0.5, 0.9]).logpdf([0.5, 0.8])


def test_failed_simulations_are_left_out_and_counted():
    theta, x = simulations(300, 11)
    x[:7, 1] = np.nan
    theta[9] = np.inf
    with pytest.warns(UserWarning, match="8 of 300 simulations failed"):
        found = nfref.Posterior.from_simulations(theta, x, flow="gaussian")
    assert found.effective_size == 292


def test_observation_far_outside_is_warned_of(of_simulations):
    with pytest.warns(UserWarning, match=r"x2 = 5 is \d\.\d interquartile ranges beyond"):
        of_simulations.given([0.5, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_simulations.given([0.5, 1.1])


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda s, c: s.logpdf([0.5, 0.5]), "expected an observation first"),
        (lambda s, c: s.given([0.5]), r"observed: expected shape \(2,\)"),
        (lambda s, c: s.given([0.5, np.nan]), "observed: expected finite"),
        (lambda s, c: s.given({"x1": 0.5}), r"observed: expected 'x2', got \['x1'\]"),
        (lambda s, c: s.calibration([[1, 2]], [[1, 2]]), "theta: expected at least 50 rows"),
        (lambda s, c: c.given([0.5, 0.5]), "given: expected a posterior from simulations"),
        (lambda s, c: c.calibration([[1, 2]], [[1, 2]]), "calibration: expected a posterior"),
        (lambda s, c: c.logpdf([1, 2, 3]), r"t: expected shape \(2,\)"),
        (lambda s, c: c.logpdf([1, np.nan]), "t: expected numbers, got NaN"),
        (lambda s, c: c.prior_transform([1, 2]), r"u: expected numbers in \[0, 1\]"),
        (lambda s, c: c.marginal("z"), "names: expected some of a, b, got 'z'"),
        (lambda s, c: c.log_evidence(3), "log_target: expected a callable"),
        (
            lambda s, c: c.log_evidence(lambda t: 1 / 0),
            "log_target: expected log-densities, got ZeroDivisionError",
        ),
        (
            lambda s, c: c.log_evidence(lambda t: t),
            r"log_target: expected to return shape \(10000,\)",
        ),
        (lambda s, c: c.log_evidence(lambda t: t[:, 0] * np.nan), "log_target: expected numbers"),
        (lambda s, c: c.reweight(lambda t: t[:, 0] - np.inf), "log_weights: expected"),
    ],
)
def test_bad_questions_are_one_line(of_simulations, of_chain, act, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        act(of_simulations, of_chain)
    assert "\n" not in str(caught.value)


def test_gradient_of_an_unknown_member_is_refused(of_chain):
    member = FittedFlow(None, None)
    pool = Pool((member,), np.ones(1), ("other",))
    with pytest.raises(TypeError, match="unit cube: expected flows over a standard normal base"):
        posterior_maps.from_unit_cube(Pool((object(),), np.ones(1), ("x",)), np.zeros((1, 2)))
    assert pool.flows == [0]


def test_info_tells_of_a_posterior(of_chain, tmp_path, capsys):
    from nfref.cli import main

    of_chain.save(tmp_path / "a.npz")
    assert main(["info", str(tmp_path / "a.npz")]) == 0
    assert "posterior:  from 1,500 samples of effective size" in capsys.readouterr().out
