"""Outliers: groups that mask themselves, recognised rows, and why a row is odd."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nfref
from nfref.tables.queries.outlier_measures import Neighbours, log_tails, shortfall, tails_of
from nfref.tables.schema.column_inference import find_columns


def two_groups(rng):
    """Two small tight groups, one between clusters, and one beyond them."""
    centres = 6 * rng.standard_normal((4, 5))
    x = centres[rng.integers(4, size=800)] + rng.standard_normal((800, 5))
    between = centres.mean(axis=0) + 0.2 * rng.standard_normal((15, 5))
    beyond = 1.8 * centres[0] + 0.2 * rng.standard_normal((15, 5))
    return np.concatenate([x, between, beyond]), np.arange(800 + 30) >= 800


def area(scores, odd):
    """Return how often an odd row scores below another."""
    rank = stats.rankdata(-scores)
    n, m = np.sum(odd), np.sum(~odd)
    return (np.sum(rank[odd]) - n * (n + 1) / 2) / (n * m)


def grouped(seed=0):
    """400 rows of six columns, and 40 in a tight group far out."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.standard_normal((400, 6)) @ (np.eye(6) + 0.3), 5 + 0.1 * rng.standard_normal((40, 6))]
    )
    return rows, np.arange(440) >= 400


@pytest.mark.thorough
def test_a_group_does_not_mask_itself():
    """The group has the highest density of all; trimming and tails find it."""
    rows, odd = grouped()
    found = nfref.FlowOutlierDetector("mixture", random_state=0).fit(rows)
    assert area(found.training_scores_, odd) > 0.99 and 80 <= found.n_trimmed_ <= 90
    untrimmed = nfref.FlowOutlierDetector(
        "mixture", trimming=0, criterion="density", random_state=0
    ).fit(rows)
    assert area(untrimmed.training_scores_, odd) < 0.1 and untrimmed.n_trimmed_ == 0


@pytest.mark.thorough
def test_tight_groups_between_others_are_trimmed():
    """Groups are components of high density; no single cell of theirs is far out."""
    rows, odd = two_groups(np.random.default_rng(1))
    found = nfref.FlowOutlierDetector("mixture", random_state=0).fit(rows)
    assert area(found.training_scores_, odd) > 0.85


def test_rows_that_were_fitted_to_are_known_again():
    """Rows are recognised by content at any position; densities not fitted to them score them."""
    mix = np.random.default_rng(2).standard_normal((8, 8))
    rows = np.random.default_rng(0).standard_normal((60, 8)) @ mix
    found = nfref.FlowOutlierDetector(
        "gaussian", trimming=0, criterion="density", random_state=0
    ).fit(rows)
    np.testing.assert_array_equal(found.score_samples(rows[::-1]), found.training_scores_[::-1])
    inside = nfref.FlowDensity.score_samples(found, rows)
    apart = inside - found.training_scores_
    assert apart.mean() > 5 * np.std(apart) / np.sqrt(60) > 0
    others = np.random.default_rng(1).standard_normal((9, 8)) @ mix
    np.testing.assert_array_equal(
        found.score_samples(others), nfref.FlowDensity.score_samples(found, others)
    )


def test_tails_are_counted_among_the_rows_that_were_kept():
    rows = np.random.default_rng(0).standard_normal((200, 2))
    columns = find_columns(("a", "b"), list(rows.T))
    tails = tails_of(columns, list(rows.T), None, ())
    at = np.array([[0.3, 9.0]])
    below = (1 + np.sum(rows[:, 0] <= 0.3)) / 201
    above = (1 + np.sum(rows[:, 0] >= 0.3)) / 201
    expected = np.log(2 * min(below, above)) + np.log(2 / 201)
    assert log_tails(columns, tails, list(at.T))[0] == pytest.approx(expected)


def test_a_score_counts_how_cells_go_together():
    """For a bivariate normal law the score is the copula's log-density, by scipy."""
    law = stats.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]])
    rows = law.rvs(2000, random_state=0)
    found = nfref.FlowOutlierDetector("gaussian", trimming=0, random_state=0).fit(rows)
    at = np.array([[0.5, -0.1], [1.5, 1.2]])
    together = law.logpdf(at) - stats.norm.logpdf(at).sum(axis=1)
    log_prob = nfref.FlowDensity.score_samples(found, at)
    np.testing.assert_allclose(
        log_prob - found._measures.log_margins(list(at.T)), together, atol=0.1
    )
    measures = (
        log_prob,
        log_prob - found._measures.log_margins(list(at.T)),
        log_tails(found.columns_, found._measures.tails, list(at.T)),
        found._measures.neighbours.nearness(found.columns_, list(at.T), ()),
    )
    expected = shortfall(measures, found._measures.usual)
    np.testing.assert_array_equal(found.score_samples(at), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_to_a_share_of_the_rows(weighted):
    """Against a sort of all distances; copies count as often as they occur."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((80, 2))
    weight = rng.integers(1, 4, 80).astype(float) if weighted else np.ones(80)
    columns = find_columns(("a", "b"), list(rows.T))
    found = Neighbours.of(columns, list(rows.T), weight, (), 0.25)
    at = rng.standard_normal((7, 2))
    unit = np.stack([column.encode(rows[:, k])[0] for k, column in enumerate(columns)], axis=1)
    own = np.stack([column.encode(at[:, k])[0] for k, column in enumerate(columns)], axis=1)
    middle = np.median(np.repeat(unit, weight.astype(int), axis=0), axis=0)
    scale = np.sqrt(np.average((unit - middle) ** 2, axis=0, weights=weight))
    distance = np.repeat(
        np.linalg.norm((own[:, None] - unit) / scale, axis=2), weight.astype(int), axis=1
    )
    k = int(np.ceil(0.25 * np.sum(weight)))
    expected = -np.sort(distance, axis=1)[:, k - 1]
    np.testing.assert_allclose(found.nearness(columns, list(at.T), ()), expected, rtol=1e-12)
    some = found.nearness(columns, [np.array([np.nan, at[0, 0]]), at[:2, 1]], ())
    assert np.all(np.isfinite(some))


def test_labels_differ_or_do_not():
    town = np.repeat(np.array(["a", "b"], object), [30, 10])
    columns = find_columns(("x", "town"), [np.arange(40.0), town])
    found = Neighbours.of(columns, [np.arange(40.0), town], None, (), 0.5)
    near = found.nearness(columns, [np.full(2, 15.0), np.array(["a", "b"], object)], ())
    assert near[0] > near[1]


def test_why_a_row_is_odd():
    """Two related columns disagree, a label does not fit, or a cell is missing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(500)
    y = x + 0.1 * rng.standard_normal(500)
    found = nfref.FlowOutlierDetector(
        "gaussian", criterion="conditional", trimming=0, random_state=0
    ).fit(np.stack([x, y, rng.random(500)], axis=1))
    surprise = found.surprise([[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]])
    assert np.all(surprise[0, :2] > 7) and abs(surprise[0, 2]) < 2
    assert np.all(np.abs(surprise[1]) < 2)
    assert np.all(found.predict([[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]]) == [-1, 1])
    data = pd.DataFrame({"town": np.where(x > 0, "Aix", "Bonn"), "x": x, "y": y})
    found = nfref.FlowOutlierDetector("mixture", effort="quick", trimming=0, random_state=0).fit(
        data
    )
    odd = pd.DataFrame({"town": ["Bonn", "Aix"], "x": [1.5, 1.5], "y": [1.5, 1.5]})
    surprise = found.surprise(odd)
    assert surprise[0, 0] > 3 > surprise[1, 0]
    assert np.isnan(found.surprise(odd.assign(x=np.nan))[:, 1]).all()


def test_rows_that_are_equal_but_for_three_are_not_trimmed_to_one():
    rows = np.append(np.ones((100, 2)), np.random.default_rng(0).standard_normal((3, 2)), axis=0)
    found = nfref.FlowOutlierDetector("mixture", contamination=0.03, random_state=0).fit(rows)
    assert found.n_trimmed_ < 3 and found.predict(rows)[:100].tolist() == [1] * 100


def test_usual_surprise_goes_by_content():
    rng = np.random.default_rng(0)
    rows, weight = rng.standard_normal((150, 2)), rng.integers(1, 4, 150)
    repeated = rng.permutation(np.repeat(rows, weight, axis=0))
    one, other = (
        nfref.FlowOutlierDetector("gaussian", criterion="conditional", random_state=0).fit(
            x, sample_weight=counts
        )
        for x, counts in ((rows, weight), (repeated, None))
    )
    assert one.surprise(rows).tobytes() == other.surprise(rows).tobytes()
    np.testing.assert_allclose(
        one.decision_function(rows), other.decision_function(rows), rtol=1e-12
    )


def test_a_table_without_a_whole_row_tells_surprise():
    rows = np.random.default_rng(0).standard_normal((40, 3))
    rows[np.arange(40), np.arange(40) % 3] = np.nan
    found = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(rows)
    surprise = found.surprise(np.array([[9.0, 0, 0], [0, 0, np.nan]]))
    assert surprise[0, 0] > 5 > np.max(np.abs(surprise[1, :2])) and np.isnan(surprise[1, 2])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"criterion": "x"}, "criterion: expected one of combined, density, conditional, got"),
        ({"trimming": 0.7}, "trimming: expected a number in .0, 0.5., got 0.7"),
        ({"trimming": "half"}, "trimming: expected a number"),
        ({"contamination": None}, "contamination: expected a number"),
        ({"contamination": 0.0}, "contamination: expected a number"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.FlowOutlierDetector(**options).fit(grouped()[0])
