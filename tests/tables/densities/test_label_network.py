"""A label given other columns: its network, its files, and predictions of estimators."""

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.tables.densities.label_network import LabelNetwork, Network


def one_hot(label, count):
    return np.eye(count)[label]


def test_without_hidden_units_it_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((300, 4)), rng.uniform(0.5, 2.0, 300)
    label = np.argmax(x[:, :3] + rng.gumbel(size=(300, 3)), axis=1)
    found = Network.fit(x, one_hot(label, 3), weight, 0, 2.0, rng)
    expected = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, label, weight)
    np.testing.assert_allclose(np.exp(found.log_probs(x)), expected.predict_proba(x), atol=2e-3)


def test_hidden_units_are_at_a_mode():
    """The posterior's slope is zero there, by differences along random directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 2))
    label = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = Network.fit(x, one_hot(label, 2), np.ones(80), 4, 1.0, rng)

    def loss(direct, inner, outer):
        log_probs = Network(direct, inner, outer).log_probs(x)
        return -np.sum(log_probs[np.arange(80), label]) + 0.5 * (
            np.sum(direct**2) + np.sum(inner[:-1] ** 2) + np.sum(outer[:-1] ** 2)
        )

    at = [found.direct, found.inner, found.outer]
    for _ in range(5):
        way = [1e-4 * rng.standard_normal(part.shape) for part in at]
        slope = (
            loss(*(a + w for a, w in zip(at, way))) - loss(*(a - w for a, w in zip(at, way)))
        ) / 2e-4
        assert abs(slope) < 0.02 * loss(*at)
    assert np.mean(np.argmax(found.log_probs(x), axis=1) == label) > 0.9


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


def test_labels_follow_what_is_given(model):
    """They are nearer to the true odds and likelier than class shares; rows sum to one."""
    network = model.density_.discrete
    assert isinstance(network, LabelNetwork) and network.networks[0].inner.shape[1] > 0
    new, odds = products(400, seed=1)
    found = model.predict_proba(new)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    true = 1 / (1 + np.exp(-odds))
    assert np.mean(np.abs(found[:, 1] - true)) < 0.12
    own = np.log(found[np.arange(400), (new.label == "yes").astype(int)])
    np.testing.assert_allclose(model.score_samples(new), own, atol=1e-9)
    share = np.mean(products()[0].label == "yes")
    assert own.mean() > np.mean(np.log(np.where(new.label == "yes", share, 1 - share))) + 0.05
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


def test_the_model_is_the_mean_of_its_networks(model):
    """Compute it network by network, with the features written out."""
    density, new = model.density_, products(50, seed=4)[0]
    numbers = [
        np.clip((new[one.name] - one.middle) / one.scale, -5, 5) for one in density.columns[:2]
    ]
    f = np.stack([new.town == "Aix", new.town == "Bonn", *numbers], axis=1)
    networks = density.discrete.networks
    mean = np.mean([np.exp(one.log_probs(f.astype(float))) for one in networks], axis=0)
    np.testing.assert_allclose(model.predict_proba(new), mean, rtol=1e-9)


def test_a_row_is_held_out_of_the_network_that_scores_it():
    """Labels of noise: rows score no better than new ones, though a network could learn each."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((60, 20))).add_prefix("x")
    frame["label"] = rng.choice(["no", "yes"], 60)
    model = nfref.FlowDensity("gaussian", given=list(frame)[:-1], random_state=0).fit(frame)
    new = frame.assign(label=rng.choice(["no", "yes"], 60))
    assert model.score(new) > -0.9


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
    found = model.predict_quantiles(rows[:3], levels=(0.1, 0.9))
    np.testing.assert_array_equal(found, model.predict_quantiles(rows[:3], "x2", (0.1, 0.9)))
    assert not hasattr(model, "predict_proba")
    with pytest.raises(ValueError, match="column: expected columns among 'x1', 'x2'; got 'x3'"):
        model.predict(rows, "x3")
    frame = pd.DataFrame(rows, columns=["a", "b"]).assign(c=np.where(x > 0, "u", "v"))
    model = nfref.FlowDensity("gaussian", random_state=0).fit(frame)
    with pytest.raises(ValueError, match="column: expected a category, got 'a'"):
        model.predict_proba(frame, "a")
