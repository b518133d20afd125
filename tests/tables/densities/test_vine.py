"""The vine against scipy's copula, integrals and its own samples; and without its package."""

import sys

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.tables.densities import vine
from nfref.tables.densities.vine import Vine
from nfref.tables.files.model_file import ModelError, load_model
from tests.tables.files.golden_models import FOLDER


@pytest.fixture
def rows():
    """Sample a Gaussian copula of three columns, one exponential and one Student t."""
    pytest.importorskip(vine.PACKAGE)
    rng, covariance = np.random.default_rng(0), [[1, 0.7, 0.2], [0.7, 1, 0.4], [0.2, 0.4, 1]]
    z = rng.multivariate_normal(np.zeros(3), covariance, 4000)
    return np.stack(
        [
            stats.expon.ppf(stats.norm.cdf(z[:, 0])),
            stats.t.ppf(stats.norm.cdf(z[:, 1]), 4),
            z[:, 2],
        ],
        axis=1,
    )


def true_log_prob(x):
    """log density of those rows by scipy."""
    margins = (stats.expon(), stats.t(4), stats.norm())
    z = np.stack([stats.norm.ppf(margin.cdf(x[:, k])) for k, margin in enumerate(margins)], axis=1)
    joint = stats.multivariate_normal(np.zeros(3), [[1, 0.7, 0.2], [0.7, 1, 0.4], [0.2, 0.4, 1]])
    return joint.logpdf(z) + sum(
        margin.logpdf(x[:, k]) - stats.norm.logpdf(z[:, k]) for k, margin in enumerate(margins)
    )


def test_it_comes_near_the_true_density(rows):
    member = Vine.fit(rows[:3000])
    lost = true_log_prob(rows[3000:]) - member.log_prob(rows[3000:])
    independent = sum(np.log(stats.gaussian_kde(rows[:3000, k])(rows[3000:, k])) for k in range(3))
    # Medians, not means: kernels end with the rows, and a row further out has almost no density.
    assert -0.03 < np.median(lost) < 0.03 and np.mean(np.abs(lost) < 0.5) > 0.9
    assert np.mean(true_log_prob(rows[3000:]) - independent) > 0.3


def test_its_mass_is_1_and_its_samples_are_its_own(rows):
    """Check by importance sampling from a wider law, and by entropy."""
    member, wide = Vine.fit(rows[:300, :2]), stats.t(3, scale=3)
    x = wide.rvs((100_000, 2), random_state=0)
    ratio = np.exp(member.log_prob(x) - wide.logpdf(x).sum(axis=1))
    assert abs(np.mean(ratio) - 1) < 4 * np.std(ratio) / np.sqrt(len(x)) < 0.05
    drawn = member.sample(np.random.default_rng(0), 5000)
    held = member.log_prob(drawn)
    entropy = ratio * np.where(ratio > 0, member.log_prob(x), 0.0)
    assert np.mean(held) == pytest.approx(np.mean(entropy[ratio > 0]) * np.mean(ratio > 0), abs=0.1)
    assert member.sample(np.random.default_rng(0), 0).shape == (0, 2)


def test_it_is_one_more_member_where_it_is_there(rows, tmp_path):
    few = np.round(rows[:120], 4)
    model = nfref.FlowDensity(members=0, flow="nsf", random_state=0).fit(few)
    assert model.weights_["vine"] > 0
    order, weight = np.random.default_rng(1).permutation(60), np.repeat([1, 2], 30)
    scores = [
        nfref.FlowDensity(members=0, flow="nsf", random_state=0)
        .fit(x, sample_weight=w)
        .score_samples(few)
        for x, w in (
            (few[:60], weight),
            (few[:60][order], weight[order]),
            (np.repeat(few[:60], weight, axis=0), None),
            (few[:60], weight * 1e-6),
        )
    ]
    for other in scores[1:]:
        np.testing.assert_array_equal(scores[0], other)
    uneven = nfref.FlowDensity(members=0, flow="nsf", random_state=0).fit(
        few, sample_weight=np.random.default_rng(2).random(120)
    )
    assert "vine" not in uneven.weights_  # it takes copies, not fractions of a row
    model.save(tmp_path / "model.npz")
    again = nfref.FlowDensity.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.score_samples(few), model.score_samples(few))
    gaps = np.where(np.arange(3) == 1, np.nan, few[:3])
    assert np.all(np.isfinite(again.score_samples(gaps))) and np.all(
        np.isfinite(again.predict_quantiles(few[:3], "x2"))
    )


def test_a_file_with_a_vine_says_what_it_takes(monkeypatch):
    monkeypatch.setitem(sys.modules, vine.PACKAGE, None)
    with pytest.raises(ModelError, match=r"no package pyvinecopulib.*nfref\[vines\]") as told:
        load_model(FOLDER / "table_vine.npz")
    assert "\n" not in str(told.value)


def test_two_rows_have_no_vine(rows):
    density = nfref.FlowDensity(random_state=0).fit(rows[:2])
    assert "vine" not in density.weights_ and np.all(np.isfinite(density.score_samples(rows[:3])))
