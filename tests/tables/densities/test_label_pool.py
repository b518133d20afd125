"""Labels given other columns: the pool, its files, and predictions of estimators."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.tables.densities import label_pool
from nfref.tables.densities.label_models import LabelTrees, log_softmax
from nfref.tables.densities.label_pool import LabelPool


def products(n=600, seed=0):
    """Return a label that depends on a product of columns, and a weakly informative town."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    town = rng.choice(["Aix", "Bonn"], n)
    odds = 4 * x[:, 0] * x[:, 1] + np.where(town == "Aix", 1.0, -1.0)
    label = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "town": town, "label": label}), odds


@pytest.fixture(scope="module")
def model():
    return nfref.FlowDensity("gaussian", given=["a", "b", "town"], random_state=0).fit(
        products()[0]
    )


@pytest.mark.thorough
def test_trees_ask_about_features_that_are_there(model):
    """There are four features: two numbers and a town of two names."""

    def pool(place):
        tree = LabelTrees(np.array([[[place, 0.0]]]), np.zeros((1, 2, 2)), np.zeros(2))
        return replace(found, networks=((tree,),), weights=np.array([0.5, 0.5]))

    found = model.density_.discrete
    codes = model.density_.encode([products(5)[0][name].to_numpy() for name in products()[0]])[0]
    assert np.all(np.isfinite(pool(3.0).log_prob(codes)))
    for place in (4.0, -1.0, 0.5):
        with pytest.raises(ValueError, match="networks: expected those of its features"):
            pool(place)._check()


@pytest.mark.thorough
def test_labels_follow_what_is_given(model):
    """They are nearer to the true odds and likelier than class shares; rows sum to one."""
    assert isinstance(model.density_.discrete, LabelPool)
    new, odds = products(400, seed=1)
    found = model.predict_proba(new)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    true = 1 / (1 + np.exp(-odds))
    assert np.mean(np.abs(found[:, 1] - true)) < 0.12
    own = np.log(found[np.arange(400), (new.label == "yes").astype(int)])
    np.testing.assert_allclose(model.score_samples(new), own, atol=1e-9)
    codes = model.density_.encode([new[name].to_numpy() for name in new])[0]
    assert own.mean() > model.density_.discrete.classes.log_prob(codes).mean() + 0.05
    np.testing.assert_array_equal(model.predict(new), np.where(found[:, 1] > 0.5, "yes", "no"))
    np.testing.assert_array_equal(model.predict(new.assign(label=new.label[0])), model.predict(new))
    without = new.drop(columns="label")
    np.testing.assert_array_equal(model.predict_proba(without), found)
    for wrong, named in (
        (without.drop(columns="a"), "yet now missing"),
        (without.assign(c=0), "unseen at fit time"),
    ):
        with pytest.raises(ValueError, match=named):
            model.predict(wrong)


@pytest.mark.thorough
def test_members_are_pooled_by_their_mean_and_their_product(model):
    """Compute it candidate by candidate, as in the formula."""
    pool, new = model.density_.discrete, products(50, seed=4)[0]
    codes = model.density_.encode([new[name].to_numpy() for name in new])[0]
    features, members = pool._features(codes), []
    for label in range(2):
        asked = np.where(np.arange(codes.shape[1]) == pool.target, label, codes)
        members.append(
            [np.exp(pool.classes.log_prob(asked))]
            + [
                np.mean(
                    [np.exp(network.log_probs(features)[:, label]) for network in member], axis=0
                )
                for member in pool.networks
            ]
        )
    members = np.array(members)  # (labels, members, rows)
    mean = np.einsum("lkn,k->nl", members, pool.weights)
    product = np.prod(members ** pool.weights[:, None], axis=1).T
    product /= product.sum(axis=1, keepdims=True)
    assert 0 < pool.linear < 1 <= pool.power and len(pool.networks) > 1
    pooled = (pool.linear * mean + (1 - pool.linear) * product) ** pool.power
    np.testing.assert_allclose(
        model.predict_proba(new), pooled / pooled.sum(axis=1, keepdims=True), rtol=1e-9
    )


@pytest.mark.parametrize("sure, power", [(0.5, 2.0), (1.0, 1.0), (2.0, 1.0)])
def test_a_pool_that_is_not_sure_enough_becomes_surer(sure, power):
    """The odds of many rows are a power of the true odds; the pool never becomes less sure."""
    rng = np.random.default_rng(0)
    odds = rng.standard_normal((20_000, 3))
    label = np.argmax(odds + rng.gumbel(size=odds.shape), axis=1)
    found = label_pool._power(log_softmax(sure * odds), (np.arange(20_000), label), np.ones(20_000))
    assert found == pytest.approx(power, rel=0.05) and found >= 1


def test_few_rows_do_not_make_a_pool_much_surer():
    """Five right rows change r by no more than the prior and their gain allow."""
    log_probs = log_softmax(np.tile([0.0, 1.0], (5, 1)))
    found = label_pool._power(log_probs, (np.arange(5), np.ones(5, np.int64)), np.ones(5))
    slope = 5 * found / (1 + np.exp(found))  # of the log-likelihood by log r
    expected = np.log(found) / label_pool.POWER_SPREAD**2
    assert 1 < found < 1.5 and slope == pytest.approx(expected, rel=1e-3)


def test_files_hold_networks(model, tmp_path):
    new = products(20, seed=2)[0]
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(
        nfref.FlowDensity.load(tmp_path / "model.npz").predict_proba(new), model.predict_proba(new)
    )


@pytest.mark.thorough
def test_samples_of_labels_follow_their_probabilities(model):
    rows = pd.concat([products(1, seed=3)[0]] * 2000, ignore_index=True)
    share = np.mean(
        model.impute(rows.assign(label=None).astype({"label": object}), random_state=0).label
        == "yes"
    )
    expected = model.predict_proba(rows[:1])[0, 1]
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000)


def test_what_is_predicted_of_numbers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(500)
    rows = np.stack([x, 2 * x + 0.5 * rng.standard_normal(500)], axis=1)
    model = nfref.FlowDensity("gaussian", random_state=0).fit(rows)
    np.testing.assert_allclose(model.predict([[1.0, np.nan]]), 2.0, atol=0.15)
    np.testing.assert_array_equal(model.predict(rows[:3], "x2"), model.predict(rows[:3]))
    found, error = model.predict_quantiles(rows[:3], levels=(0.1, 0.9), return_error=True)
    np.testing.assert_array_equal(found, model.quantile(rows[:3], "x2", (0.1, 0.9)))
    assert np.all(error == 0) and not hasattr(model, "predict_proba")
    with pytest.raises(ValueError, match="column: expected columns among 'x1', 'x2'; got 'x3'"):
        model.predict(rows, "x3")
    frame = pd.DataFrame(rows, columns=["a", "b"]).assign(c=np.where(x > 0, "u", "v"))
    model = nfref.FlowDensity("gaussian", random_state=0).fit(frame)
    with pytest.raises(ValueError, match="column: expected a category, got 'a'"):
        model.predict_proba(frame, "a")
