"""Densities in closed form: against formulas, scipy.stats, and known mixtures."""

import numpy as np
import pandas
import pytest
from scipy import integrate, stats

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Regressed, ridge_slopes
from nfref.tables.densities.wide import Wide
from tests.tables.densities.test_mixture import known_mixture


def correlated(rng, n, scales=(1.0, 10.0, 0.1)):
    mix = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.2, 0.4]])
    return (rng.standard_normal((n, 3)) @ mix.T + [1, -2, 30]) * scales


def test_gaussian_is_the_one_of_scipy():
    x = correlated(np.random.default_rng(0), 200)
    other = stats.multivariate_normal(np.mean(x, axis=0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(
        Gaussian.fit(x).log_prob(x[:20] + 1e-4), other.logpdf(x[:20] + 1e-4), rtol=1e-9
    )


def test_gaussian_maximises_the_likelihood():
    x = correlated(np.random.default_rng(1), 100)
    best = Gaussian.fit(x)
    # In closed form: -(D/2)(1 + log 2 pi) - log det L.
    closed = -1.5 * (1 + np.log(2 * np.pi)) - np.sum(np.log(np.diag(best.cholesky)))
    assert np.mean(best.log_prob(x)) == pytest.approx(closed, rel=1e-12)
    for factor in (0.99, 1.01):
        assert np.mean(Gaussian(best.mean, factor * best.cholesky).log_prob(x)) < closed


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12.0).reshape(4, 3),  # columns differ by 1
        np.random.default_rng(0).standard_normal((3, 3)),  # fewer than D + 1 rows
        np.ones((5, 1)),
    ],
)
def test_gaussian_without_full_rank_says_so(x):
    with pytest.raises(ValueError, match="x: expected columns that are linearly independent"):
        Gaussian.fit(x)


def nearly_dependent(rng, eps, rows=400):
    """Three columns, and one that follows from them up to eps, on scales of their own."""
    x = rng.standard_normal((rows, 3))
    y = x @ [1, 2, 3] + eps * rng.standard_normal(rows)
    return np.column_stack([x, y]) * [1, 1e3, 1e-3, 1] + [0, 5, 0, 1]


def highest_log_likelihood(x):
    """Of a Gaussian, from the triangle of the centred rows."""
    upper = np.linalg.qr((x - np.mean(x, axis=0)) / np.sqrt(len(x)), mode="r")
    return -x.shape[1] / 2 * (1 + np.log(2 * np.pi)) - np.sum(np.log(np.abs(np.diag(upper))))


@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_columns_that_nearly_depend_on_each_other_keep_their_digits(eps):
    x = nearly_dependent(np.random.default_rng(6), eps)
    weight = np.random.default_rng(7).integers(1, 4, len(x))
    repeated = np.repeat(x, weight, axis=0)
    best = highest_log_likelihood(repeated)
    for density in (
        Gaussian.fit(x, weight),
        GaussianMixture.fit(x, 1, np.random.default_rng(0), weight=weight),
        GaussianMixture.fit(x, 2, np.random.default_rng(0), weight=weight),
    ):
        # a second component may fit chance, and costs the prior a little
        assert -0.05 < np.mean(density.log_prob(repeated)) - best < 0.1
        drawn = (density.sample(np.random.default_rng(1), 2000) - [0, 5, 0, 1]) / [1, 1e3, 1e-3, 1]
        assert np.std(drawn[:, 3] - drawn[:, :3] @ [1, 2, 3]) == pytest.approx(eps, rel=0.15)


@pytest.mark.parametrize("eps", [1e-4, 1e-8])
def test_a_row_beyond_five_deviations_bends_no_relation(eps):
    """Compressed, one such value in a hundred tables cost 10 nats a row."""
    x = nearly_dependent(np.random.default_rng(6), eps)
    x[0, 0] = 5.6
    x[0, 3] = 1 + x[0, 0] + 2 * (x[0, 1] - 5) / 1e3 + 3 * x[0, 2] / 1e-3
    model = nfref.FlowDensity("gaussian", random_state=0).fit(x)
    lost = highest_log_likelihood(x) - np.mean(model.score_samples(x))
    assert model.columns_[0].encode(x[:1, 0])[0] == pytest.approx(5) and lost < 0.05


def test_a_column_that_nearly_follows_from_the_context_keeps_its_digits():
    rng = np.random.default_rng(8)
    for eps in (1e-2, 1e-6, 1e-9):
        context, noise = rng.standard_normal((400, 3)), rng.standard_normal((400, 1))
        x = context @ np.array([[1.0], [2], [3]]) + eps * noise
        found = Regressed.fit(Gaussian.fit, x, context)
        best = highest_log_likelihood(np.concatenate([context, x], axis=1))
        best -= highest_log_likelihood(context)
        assert np.mean(found.log_prob(x, context)) == pytest.approx(best, abs=0.01)
    # With fewer rows than slopes the ridge stays 1.
    context, x = rng.standard_normal((5, 9)), rng.standard_normal((5, 2))
    centred = context - np.mean(context, axis=0)
    np.testing.assert_allclose(
        ridge_slopes(context, x),
        np.linalg.solve(centred.T @ centred + np.eye(9), centred.T @ x),
        atol=1e-12,
    )


def test_bad_arguments():
    x = np.random.default_rng(0).standard_normal((5, 2))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="components: expected at most 5, one a row; got 6"):
        GaussianMixture.fit(x, 6, rng)
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        GaussianMixture.fit(x, 1, 0)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\), got \(5, 3\)"):
        Gaussian.fit(x).log_prob(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        Gaussian.fit(np.array([[1.0], [np.nan], [3.0]]))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, D\) with rows, got \(0, 2\)"):
        Gaussian.fit(np.zeros((0, 2)))


# Weights, few rows, samples ---------------------------------------------------------------


def same_density(one, other, x):
    np.testing.assert_allclose(one.log_prob(x), other.log_prob(x), rtol=0, atol=1e-11)


def test_whole_weights_are_repeated_rows():
    rng = np.random.default_rng(9)
    x, weight = correlated(rng, 60), rng.integers(0, 4, 60)
    x, weight = x[weight > 0], weight[weight > 0]
    repeated = np.repeat(x, weight, axis=0)
    same_density(Gaussian.fit(x, weight), Gaussian.fit(repeated), x)
    same_density(Gaussian.shrunk(x, weight), Gaussian.shrunk(repeated), x)
    one = GaussianMixture.fit(x, 1, np.random.default_rng(0), weight=weight)
    same_density(one, GaussianMixture.fit(repeated, 1, np.random.default_rng(0)), x)


def test_shrinkage_is_that_of_schaefer_and_strimmer():
    """Compare entry by entry; shrinkage is near zero for many rows, and complete for noise."""
    x = correlated(np.random.default_rng(10), 12, (1, 1, 1))
    z = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
    r, noise = np.corrcoef(x.T), 0
    for i in range(3):
        for j in range(3):
            if i != j:
                products = z[:, i] * z[:, j]
                noise += np.sum((products - r[i, j]) ** 2) / 12 / 11
    shrinkage = noise / (np.sum(r**2) - 3)
    found = Gaussian.shrunk(x)
    covariance = found.cholesky @ found.cholesky.T
    std = np.sqrt(np.diag(covariance))
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(
        (covariance / np.outer(std, std))[off], ((1 - shrinkage) * r)[off], rtol=1e-12
    )
    many = correlated(np.random.default_rng(11), 50_000, (1, 1, 1))
    np.testing.assert_allclose(
        Gaussian.shrunk(many).log_prob(many[:9]), Gaussian.fit(many).log_prob(many[:9]), atol=2e-3
    )


@pytest.mark.parametrize("rows, dim", [(1, 3), (2, 1), (3, 50), (40, 40)])
def test_a_shrunk_gaussian_of_any_number_of_rows(rows, dim):
    rng = np.random.default_rng(12)
    x = rng.standard_normal((rows, dim))
    new = Gaussian.shrunk(x).log_prob(rng.standard_normal((500, dim)))
    truth = -0.5 * dim * (1 + np.log(2 * np.pi))
    assert np.mean(new) > truth - 3.0 * dim


def test_samples_come_from_their_density():
    """-log p(x) has the same mean under samples as by quadrature of the density itself."""
    rng = np.random.default_rng(13)
    x = known_mixture(rng, 500)[0]
    for density in (Gaussian.fit(x), GaussianMixture.fit(x, 3, rng)):
        drawn = density.sample(rng, 20_000)
        # Importance weights of another sample, whose density is known, have mean 1.
        wide = stats.multivariate_t(np.mean(x, axis=0), 3 * np.cov(x.T), df=5, seed=rng)
        points = wide.rvs(40_000)
        weight = np.exp(density.log_prob(points) - wide.logpdf(points))
        for function in (lambda x: x[:, 0], lambda x: np.abs(x[:, 1] - 20), density.log_prob):
            expected, came = weight * function(points), function(drawn)
            error = np.hypot(stats.sem(expected), stats.sem(came))
            assert abs(np.mean(expected) - np.mean(came)) < 4.5 * error


def test_the_wide_density_is_student_t():
    x = np.random.default_rng(14).standard_normal((20, 3)) * [1, 10, 1e6]
    expected = np.sum(stats.t(3).logpdf(x), axis=1)
    np.testing.assert_allclose(Wide(3).log_prob(x), expected, rtol=1e-12)
    drawn = Wide(2).sample(np.random.default_rng(15), 5000)
    assert stats.kstest(drawn[:, 1], stats.t(3).cdf).pvalue > 1e-4


@pytest.mark.parametrize("reach", [2.0, 8.0, np.inf])
def test_the_wide_density_its_mass_and_its_quantiles_agree(reach):
    """The mass is 1 by quadrature, piece by piece; normal numbers keep their quantiles."""
    wide, ends = Wide(1, reach=reach), np.array([-200.0, -20.0, -8.0, -2.0, 0.5, 3.0, 9.0, 1e3])
    below = wide.below(ends)
    for (low, high), mass in zip(zip(ends, ends[1:]), np.diff(below)):
        inner = [end for end in (-reach, reach) if low < end < high]
        found = integrate.quad(
            lambda x: np.exp(wide.log_column(x)),
            low,
            high,
            epsabs=0,
            epsrel=1e-12,
            limit=200,
            points=inner or None,
        )[0]
        assert found == pytest.approx(mass, rel=1e-9)
    normal = np.array([-9.0, -4.0, -2.0, 0.0, 1e-3, 2.0, 5.0])
    found = wide.of_normal(normal)
    np.testing.assert_allclose(
        wide.below(-np.abs(found)), stats.norm.cdf(-np.abs(normal)), rtol=1e-9
    )
    np.testing.assert_array_equal(np.sign(found), np.sign(normal))


def groups_of_labels(rng, n):
    """Return rows (n, 2), one-hot contexts (n, 4) of two categories, and the groups' moments."""
    first, second = rng.integers(3, size=n), rng.integers(2, size=n)
    context = np.concatenate([np.eye(2)[second], np.eye(3)[first]], axis=1)
    means = np.array([[0.0, 0.0], [2.0, -1.0], [-1.0, 3.0]])
    factors = np.array([[[1.0, 0.0], [0.9, 0.4]], [[0.3, 0.0], [0.0, 0.5]], [[1.4, 0], [-1, 0.4]]])
    noise = np.einsum("nij,nj->ni", factors[first], rng.standard_normal((n, 2)))
    return (means[first] + noise) * (1 - 0.5 * second)[:, None], context


def test_a_gaussian_per_group_finds_the_moments_of_groups():
    rng = np.random.default_rng(0)
    x, context = groups_of_labels(rng, 6000)
    found = GroupedGaussian.fit(x, context)
    assert len(found.patterns) == 6
    drawn = found.sample(np.random.default_rng(1), len(x), context)
    for group in np.unique(found.groups(context)):
        here = found.groups(context) == group
        np.testing.assert_allclose(np.mean(drawn[here], 0), np.mean(x[here], 0), atol=0.12)
        np.testing.assert_allclose(np.cov(drawn[here].T), np.cov(x[here].T), atol=0.15)
        exact = stats.multivariate_normal(np.mean(x[here], 0), np.cov(x[here].T)).logpdf(x[here])
        np.testing.assert_allclose(
            np.mean(found.log_prob(x[here], context[here])), np.mean(exact), atol=0.01
        )
    # An unknown combination of labels has the Gaussian of all groups.
    other = np.zeros((1, 5))
    assert found.groups(other)[0] == 0 and np.isfinite(found.log_prob(x[:1], other)[0])


def test_few_rows_of_a_group_are_shrunk_and_one_group_is_none():
    rng = np.random.default_rng(0)
    x, context = groups_of_labels(rng, 40)
    test, asked = groups_of_labels(np.random.default_rng(1), 4000)
    grouped = np.mean(GroupedGaussian.fit(x, context).log_prob(test, asked))
    linear = np.mean(Regressed.fit(Gaussian.shrunk, x, context).log_prob(test, asked))
    assert grouped > linear + 0.2
    assert GroupedGaussian.fit(x, None) is None
    assert GroupedGaussian.fit(x, np.tile([1.0, 0.0], (40, 1))) is None


def test_weights_count_as_copies_in_groups():
    rng = np.random.default_rng(0)
    x, context = groups_of_labels(rng, 100)
    weight = rng.integers(1, 4, 100)
    one = GroupedGaussian.fit(x, context, weight.astype(float))
    other = GroupedGaussian.fit(np.repeat(x, weight, axis=0), np.repeat(context, weight, axis=0))
    np.testing.assert_allclose(one.choleskys, other.choleskys, atol=1e-8)
    np.testing.assert_allclose(one.means, other.means, atol=1e-8)


def test_a_gaussian_per_group_is_a_candidate_with_marginals_in_closed_form():
    """Rows of normal groups: nearly all weight, exact scores of gaps, and the same from a file."""
    x, context = groups_of_labels(np.random.default_rng(0), 800)
    rows = pandas.DataFrame(x, columns=["a", "b"]).assign(
        first=np.array(list("pqr"))[np.argmax(context[:, 2:], axis=1)],
        second=np.array(list("uv"))[np.argmax(context[:, :2], axis=1)],
    )
    density = nfref.FlowDensity("mixture", random_state=0).fit(rows)
    assert density.weights_["gaussian per group"] > 0.9
    gaps = rows[:6].copy()
    gaps.loc[0:2, "a"], gaps.loc[3:5, "first"] = np.nan, None
    scores, error = density.score_samples(gaps), density.standard_errors(gaps)
    assert np.all(error == 0)
    u = np.linspace(-12, 12, 6001)
    line = pandas.concat([gaps[:1]] * len(u)).assign(a=u)
    whole = np.trapezoid(np.exp(density.score_samples(line)), u)
    assert np.log(whole) == pytest.approx(scores[0], abs=1e-4)
