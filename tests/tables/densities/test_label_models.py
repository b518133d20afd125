"""Networks and trees of a label, against scikit-learn and the definition of a mode."""

import numpy as np
import pytest

from nfref.tables.densities import label_models
from nfref.tables.densities.label_models import LabelledRows, LabelNetwork, LabelTrees


def test_without_hidden_units_it_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((300, 4)), rng.uniform(0.5, 2.0, 300)
    label = np.argmax(x[:, :3] + rng.gumbel(size=(300, 3)), axis=1)
    found = LabelNetwork.fit(LabelledRows(x, label, weight, 3), 0, 2.0, rng)
    expected = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, label, weight)
    np.testing.assert_allclose(np.exp(found.log_probs(x)), expected.predict_proba(x), atol=2e-3)


def test_hidden_units_are_at_a_mode():
    """The posterior's slope is zero there, by differences along random directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 2))
    label = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = LabelNetwork.fit(LabelledRows(x, label, np.ones(80), 2), 4, 1.0, rng)

    def loss(direct, inner, outer):
        log_probs = LabelNetwork(direct, inner, outer).log_probs(x)
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


def test_a_tree_takes_the_question_that_gains_most(monkeypatch):
    """Compare a tree of one question with all questions, by the formulas of Newton's step."""
    monkeypatch.setattr(label_models, "EDGES", 100)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((60, 3)), rng.uniform(0.5, 2.0, 60)
    label = np.where(x[:, 1] > 0.4, rng.integers(3, size=60), 0)
    tree = LabelTrees.fit(LabelledRows(x, label, weight, 3), 1, 1, 2.0, rng)
    start = np.array([weight[label == y].sum() + 1 for y in range(3)]) / (weight.sum() + 3)

    def steps(above):
        """(The gain of a question, the steps on both sides of it.)"""
        gain, found = 0.0, []
        for side in (~above, above):
            slope = np.array(
                [np.sum(weight[side] * ((label[side] == y) - start[y])) for y in range(3)]
            )
            step = slope / (start * (1 - start) * weight[side].sum() + 2.0)
            gain, found = gain + slope @ step, [*found, step]
        return gain, found

    gains = [steps(x[:, j] > edge)[0] for j in range(3) for edge in x[:, j]]
    ((place, edge),) = tree.asked[0]
    gain, found = steps(x[:, int(place)] > edge)
    assert gain == pytest.approx(max(gains), rel=1e-9)
    np.testing.assert_allclose(tree.value[0], label_models.RATE * np.array(found), rtol=1e-9)
    new = rng.standard_normal((20, 3))
    odds = start * np.exp(tree.value[0][(new[:, int(place)] > edge) * 1])
    np.testing.assert_allclose(
        np.exp(tree.log_probs(new)), odds / odds.sum(axis=1, keepdims=True), rtol=1e-12
    )


def test_trees_find_fields_of_a_board_and_networks_do_not():
    def board(n, rng):
        x = rng.uniform(0, 4, (n, 4))
        return x, np.sum(np.floor(x[:, :2]), axis=1).astype(int) % 2

    rng = np.random.default_rng(0)
    (x, label), (new, own) = board(800, rng), board(2000, rng)
    rows = LabelledRows(x, label, np.ones(800), 2)
    loss = [
        -np.mean(found.log_probs(new)[np.arange(2000), own])
        for found in (LabelTrees.fit(rows, 100, 4, 1.0, rng), LabelNetwork.fit(rows, 24, 1.0, rng))
    ]
    assert loss[0] < 0.45 < 0.5 < loss[1]


def test_trees_of_nothing_to_ask_know_how_frequent_labels_are():
    rows = LabelledRows(np.ones((9, 2)), np.array([0] * 7 + [1] * 2), np.ones(9), 3)
    found = LabelTrees.fit(rows, 100, 4, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(
        np.exp(found.log_probs(np.zeros((2, 2)))), [[7 / 9, 2 / 9, 0]] * 2, atol=0.06
    )
