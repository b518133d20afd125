"""Mixtures: against formulas, scipy.stats, known mixtures, and scikit-learn."""

import numpy as np
import pytest
from scipy import stats

from nfref.tables.densities import mixture, mixture_em
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.mixture import GaussianMixture, Size, sizes
from nfref.tables.densities.mixture_em import OWN_PART, TIED


def correlated(rng, n, scales=(1.0, 10.0, 0.1)):
    mix = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.2, 0.4]])
    return (rng.standard_normal((n, 3)) @ mix.T + [1, -2, 30]) * scales


def test_one_component_is_the_gaussian_up_to_the_floor():
    x = correlated(np.random.default_rng(2), 300)
    mixture = GaussianMixture.fit(x, 1, np.random.default_rng(0))
    assert mixture.components == 1
    std = np.std(x, axis=0)
    covariance = mixture.choleskys[0] @ mixture.choleskys[0].T
    expected = np.cov(x.T, bias=True) + OWN_PART * np.diag(std**2)
    np.testing.assert_allclose(
        covariance / np.outer(std, std), expected / np.outer(std, std), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(mixture.log_prob(x), Gaussian.fit(x).log_prob(x), atol=1e-3)


def known_mixture(rng, n):
    """Three Gaussians in the plane: rows and their true log-density."""
    weights, means = np.array([0.5, 0.3, 0.2]), np.array([[0, 0], [6, 0], [0, 50.0]])
    covariances = np.array([[[1, 0.5], [0.5, 2]], [[0.5, 0], [0, 9]], [[2, -1], [-1, 4.0]]])
    part = rng.choice(3, size=n, p=weights)
    x = np.array([rng.multivariate_normal(means[k], covariances[k]) for k in part])
    log_prob = np.logaddexp.reduce(
        [
            np.log(w) + stats.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(weights, means, covariances)
        ]
    )
    return x, log_prob, weights, means, covariances


def test_em_finds_a_known_mixture():
    x, truth, weights, means, covariances = known_mixture(np.random.default_rng(3), 4000)
    mixture = GaussianMixture.fit(x, 3, np.random.default_rng(0))
    order = np.argsort(-mixture.log_weights)
    np.testing.assert_allclose(np.exp(mixture.log_weights[order]), weights, atol=0.03)
    np.testing.assert_allclose(mixture.means[order], means, atol=0.4)
    factors = mixture.choleskys[order]
    np.testing.assert_allclose(factors @ factors.transpose(0, 2, 1), covariances, atol=1.0)
    # A maximum-likelihood fit beats the truth on its own rows, by half a nat per parameter.
    gain = np.sum(mixture.log_prob(x) - truth)
    assert 0 < gain < 17 + 4 * np.sqrt(17)


@pytest.mark.parametrize("dim", [1, 3, 8, 12])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_few_rows_have_the_same_bits_as_many(rows, dim, monkeypatch):
    rng = np.random.default_rng(dim)
    x = rng.standard_normal((400, dim)) @ rng.standard_normal((dim, dim))
    found = GaussianMixture.fit(x, 5, rng)
    together = found.log_prob(x[:rows])
    monkeypatch.setattr(mixture, "FEW_NUMBERS", 0)
    assert np.array_equal(found.log_prob(x[:rows]), together)
    assert np.array_equal(found.log_prob(x)[:rows], together)


def test_the_log_density_is_that_of_scipy():
    x = known_mixture(np.random.default_rng(4), 500)[0]
    mixture = GaussianMixture.fit(x, 4, np.random.default_rng(0))
    expected = np.logaddexp.reduce(
        [
            log_weight + stats.multivariate_normal(mean, factor @ factor.T).logpdf(x)
            for log_weight, mean, factor in zip(
                mixture.log_weights, mixture.means, mixture.choleskys
            )
        ]
    )
    np.testing.assert_allclose(mixture.log_prob(x), expected, rtol=1e-10)
    assert np.sum(np.exp(mixture.log_weights)) == pytest.approx(1, abs=1e-12)


def test_em_never_lowers_the_likelihood():
    x = known_mixture(np.random.default_rng(5), 300)[0]
    scores = [
        np.mean(
            GaussianMixture.fit(
                x,
                5,
                np.random.default_rng(1),
                prior_rows=0,
                starts=1,
                iterations=steps,
                tolerance=-1,
            ).log_prob(x)
        )
        for steps in (1, 2, 4, 8, 16)
    ]
    assert np.all(np.diff(scores) > -1e-6)


def test_validation_chooses_the_number_of_components():
    rng = np.random.default_rng(6)
    x, validation = known_mixture(rng, 2000)[0], known_mixture(rng, 1000)[0]
    assert GaussianMixture.choose(x, validation, np.random.default_rng(0)).components in (3, 4)
    gaussian, more = correlated(rng, 2000), correlated(rng, 1000)
    chosen = GaussianMixture.choose(gaussian, more, np.random.default_rng(0))
    new = correlated(rng, 5000)
    assert chosen.components < 4
    assert np.mean(chosen.log_prob(new) - Gaussian.fit(gaussian).log_prob(new)) > -0.01
    few = GaussianMixture.choose(x[:8], validation, np.random.default_rng(0))
    assert few.components <= 2


def test_the_same_generator_gives_the_same_bits():
    x = known_mixture(np.random.default_rng(7), 300)[0]
    one, other = (GaussianMixture.fit(x, 3, np.random.default_rng(5)) for _ in range(2))
    assert one.choleskys.tobytes() == other.choleskys.tobytes()


def test_copies_and_constant_columns_are_survived():
    x = np.repeat(np.random.default_rng(8).standard_normal((3, 2)), 5, axis=0)
    x = np.concatenate([x, np.full((15, 1), 7.0)], axis=1)
    for components in (1, 3, 5):
        mixture = GaussianMixture.fit(x, components, np.random.default_rng(0))
        assert np.all(np.isfinite(mixture.log_prob(x)))


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_components_are_as_narrow_as_their_rows(eps):
    """Rows on two parallel planes depend on each other within a component alone."""
    rng = np.random.default_rng(9)
    x, plane = rng.standard_normal((600, 2)), rng.integers(2, size=600)
    x = np.column_stack([x, np.sum(x, axis=1) + 3 * plane + eps * rng.standard_normal(600)])
    truth = -1.5 * (1 + np.log(2 * np.pi)) - np.log(2 * eps)
    found = GaussianMixture.fit(x, 2, np.random.default_rng(0))
    assert np.mean(found.log_prob(x)) > truth - 0.1


# The prior, starts, factors ----------------------------------------------------------------


def test_covariances_are_the_likeliest_under_the_prior():
    """At EM's end they solve (n_k + v) S_k = n_k C_k + v S_0, with n, C and S_0 recomputed."""
    rng = np.random.default_rng(20)
    x = known_mixture(rng, 200)[0]
    x = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
    weight = rng.integers(1, 4, len(x))
    found = GaussianMixture.fit(x, 3, rng, weight=weight, iterations=5000, tolerance=1e-13)
    covariances = found.choleskys @ found.choleskys.transpose(0, 2, 1)
    joint = np.stack(
        [
            log_weight + stats.multivariate_normal(mean, covariance).logpdf(x)
            for log_weight, mean, covariance in zip(found.log_weights, found.means, covariances)
        ]
    )
    shares = np.exp(joint - np.logaddexp.reduce(joint, axis=0)) * weight
    n = np.sum(shares, axis=1)
    np.testing.assert_allclose(np.exp(found.log_weights), n / np.sum(n), rtol=1e-5)
    part = n / np.sum(n) * n / (n + 4)
    shared = np.linalg.inv(np.einsum("k,kij->ij", part, np.linalg.inv(covariances)))
    for k, share in enumerate(shares):
        own = np.cov(x.T, aweights=share, bias=True)
        np.testing.assert_allclose(
            (n[k] + 4) * covariances[k], n[k] * own + 4 * shared, rtol=1e-3, atol=1e-4
        )


def test_components_of_few_rows_do_not_ruin_new_rows():
    """Fit twelve components to 100 rows in three columns."""
    rng = np.random.default_rng(21)
    x, new = rng.standard_normal((2, 100, 3))
    by_prior, by_likelihood = (
        np.mean(GaussianMixture.fit(x, 12, np.random.default_rng(0), prior_rows=rows).log_prob(new))
        for rows in (None, 0)
    )
    truth = np.mean(stats.multivariate_normal(np.zeros(3)).logpdf(new))
    assert truth > by_prior > by_likelihood + 3


def test_several_starts_find_what_one_misses():
    rng = np.random.default_rng(22)
    middles = rng.uniform(-20, 20, (9, 2))
    x = middles[rng.integers(9, size=900)] + rng.standard_normal((900, 2))
    score = {
        starts: [
            np.mean(
                GaussianMixture.fit(x, 9, np.random.default_rng(seed), starts=starts).log_prob(x)
            )
            for seed in range(8)
        ]
        for starts in (1, 5)
    }
    assert np.mean(score[5]) > np.mean(score[1]) + 0.02


@pytest.mark.parametrize("apart", [1e2, 1e4, 1e6, 1e9])
def test_clusters_far_apart_cost_nothing(apart):
    """Two clusters have unit width, one 1e-3: the fit is near the truth at any distance."""
    rng = np.random.default_rng(23)

    def drawn(n):
        part = rng.integers(3, size=n)
        x = rng.standard_normal((n, 2)) * np.array([1, 1, 1e-3])[part][:, None]
        log_prob = np.sum(stats.norm.logpdf(x, scale=np.array([1, 1, 1e-3])[part][:, None]), axis=1)
        return x + apart * np.array([[0, 0], [1, 0.3], [1, -0.5]])[part], log_prob - np.log(3)

    x, (new, truth) = drawn(400)[0], drawn(2000)
    found = GaussianMixture.choose(x[80:], x[:80], rng)
    assert np.mean(found.log_prob(new) - truth) > -0.06 and not found.collapsed


def test_values_that_repeat_are_not_rewarded():
    """Nine rows of ten hold the same number: a component there is at least ``TIED`` wide."""
    rng = np.random.default_rng(24)
    x = np.stack(
        [np.where(rng.random(300) < 0.9, 0.0, rng.standard_normal(300)), rng.standard_normal(300)],
        axis=1,
    )
    found = GaussianMixture.fit(x, 2, rng)
    assert found.collapsed == 1
    spread = np.sqrt(np.sum(found.choleskys[np.argmax(found.log_weights), 0] ** 2))
    assert TIED * np.std(x[:, 0]) * 0.9 < spread < 0.2


def test_factors_are_those_of_factor_analysis():
    """The likelihood is scikit-learn's, and is nearer to the truth than all covariances are."""
    from sklearn.decomposition import FactorAnalysis

    rng = np.random.default_rng(25)
    loadings = rng.standard_normal((2, 12))
    x, new = (
        rng.standard_normal((n, 2)) @ loadings + 0.5 * rng.standard_normal((n, 12))
        for n in (60, 2000)
    )
    found = GaussianMixture.fit(x, 1, rng, factors=2, iterations=500, tolerance=1e-7)
    theirs = FactorAnalysis(2, tol=1e-8, max_iter=5000).fit(x)
    assert np.mean(found.log_prob(x)) == pytest.approx(theirs.score(x), abs=1e-3)
    assert np.mean(found.log_prob(new)) > np.mean(Gaussian.fit(x).log_prob(new)) + 0.3


def test_as_good_as_scikit_learn_on_a_sine():
    """On 2,000 rows along a sine, validation chooses the number; scikit-learn has sixteen."""
    from sklearn.mixture import GaussianMixture as Theirs

    rng = np.random.default_rng(26)

    def sine(n):
        x = rng.uniform(-4, 4, n)
        return np.stack([x, np.sin(2 * x) + 0.1 * rng.standard_normal(n)], axis=1)

    x, new = sine(2000), sine(4000)
    found = GaussianMixture.choose(x[400:], x[:400], rng)
    theirs = Theirs(16, random_state=0).fit(x)
    assert found.components >= 12
    assert np.mean(found.log_prob(new)) > theirs.score(new) - 0.02


def test_rows_beyond_those_of_the_starts_are_learnt_from(monkeypatch):
    x = known_mixture(np.random.default_rng(27), 3000)[0]
    whole, some = (GaussianMixture.fit(x, 3, np.random.default_rng(0)) for _ in range(2))
    monkeypatch.setattr(mixture_em, "ROWS_OF_A_START", 10_000)
    monkeypatch.setattr(mixture_em, "AT_ONCE", 100)  # a component at a time
    whole = GaussianMixture.fit(x, 3, np.random.default_rng(0))
    assert np.mean(some.log_prob(x)) == pytest.approx(np.mean(whole.log_prob(x)), abs=2e-3)


def test_sizes_are_what_rows_can_carry():
    assert [size.components for size in sizes(80, 2)[0]] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert sizes(5000, 2)[0][-1] == Size(32) and len(sizes(5000, 2)) == 1
    few = sizes(40, 20)
    assert few[0] == [Size(1)] and [ladder[0].factors for ladder in few[1:]] == [1, 2, 4, 8]
    assert [ladder[0].factors for ladder in sizes(20, 20)] == [1, 2, 4, 8]
    assert sizes(2, 2) == [[Size(1)]] and sizes(1, 1) == [[Size(1)]]
    assert all(any(sizes(rows, dim)) for rows in range(1, 9) for dim in (1, 2, 3, 5, 9, 40))
    assert str(Size(3)) == "mixture of 3" and str(Size(2, 4)) == "mixture of 2, factors 4"


@pytest.mark.parametrize("factors", [None, 1])
def test_tables_that_are_fitted_together_are_fitted_as_if_alone(factors):
    """Tables with fewer rows are filled up with copies of weight zero, and each ends by itself."""
    rng = np.random.default_rng(7)
    tables = [rng.standard_normal((n, 3)) ** 3 for n in (90, 60, 91)]
    weights = [None, rng.uniform(0.5, 2.0, 60), None]
    together = GaussianMixture.fit_each(
        tables, 3, [np.random.default_rng(k) for k in range(3)], weights=weights, factors=factors
    )
    for k, (x, weight, found) in enumerate(zip(tables, weights, together)):
        alone = GaussianMixture.fit(x, 3, np.random.default_rng(k), weight=weight, factors=factors)
        np.testing.assert_allclose(found.log_prob(x), alone.log_prob(x), rtol=1e-9)
