"""Shares of a whole, one left out: their sum has a limit, in scores, samples and gaps."""

import numpy as np
import pytest

import nfref
from nfref.tables.fitting.supports import choose_supports
from nfref.tables.queries.missing_cells import log_marginal, sample_given
from nfref.tables.schema.column_inference import find_columns


def shares(rng, n, alpha=(1.0, 2.0, 0.7)):
    """All parts of a whole but the last."""
    return rng.dirichlet(alpha, n)[:, :-1]


def limit_of(rows, names="abcd", **options):
    table = list(rows.T)
    columns = find_columns(names[: len(table)], table)
    return choose_supports(columns, table, 0, **options).limit


@pytest.fixture(scope="module")
def fitted():
    rows = shares(np.random.default_rng(0), 600)
    return nfref.FlowDensity("gaussian", random_state=0).fit(rows)


def test_a_limit_is_found_where_many_rows_should_lie_beyond_it():
    rng = np.random.default_rng(1)
    found = limit_of(shares(rng, 500, (1, 2, 0.7, 3)))
    assert found.names == ("a", "b", "c") and found.limit == pytest.approx(1)
    # Per cent, rounded, beside a column that is no part.
    soil = np.c_[np.round(100 * shares(rng, 500)), 4 + 3 * rng.random(500)]
    found = limit_of(soil)
    assert found.names == ("a", "b") and 100 < found.limit <= 101 + 1e-6


@pytest.mark.parametrize("rows", [50, pytest.param(400, marks=pytest.mark.thorough), 3000])
def test_columns_that_are_no_shares_have_no_limit(rows):
    rng = np.random.default_rng(2)
    for table in (
        rng.random((rows, 3)),
        0.45 * rng.random((rows, 2)),
        100 * rng.beta(2, 5, (rows, 4)),
        np.exp(rng.standard_normal((rows, 3))),
    ):
        assert limit_of(table) is None


def test_asking_for_real_numbers_and_given_columns_have_no_limit():
    rows = shares(np.random.default_rng(3), 500)
    assert limit_of(rows, asked={"a": "real"}) is None
    assert limit_of(rows, given=("a",)) is None
    assert limit_of(rows) is not None


def test_the_density_integrates_to_one_within_the_limit_and_is_zero_beyond(fitted):
    assert fitted.density_.limit is not None
    edges = np.linspace(0, 1, 801)
    middle = (edges[1:] + edges[:-1]) / 2
    grid = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
    log_prob = fitted.score_samples(grid)
    beyond = grid.sum(axis=1) > 1 + 1e-9
    assert np.all(log_prob[beyond] == -np.inf) and np.any(log_prob[~beyond] > -np.inf)
    # Cells on the diagonal count half; the map's tails below 0 and above 1 do not exist.
    weight = np.where(np.isclose(grid.sum(axis=1), 1), 0.5, 1.0)
    assert np.sum(weight * np.exp(log_prob)) * (edges[1]) ** 2 == pytest.approx(1, abs=0.02)


def test_no_sample_is_beyond_the_limit(fitted):
    drawn = fitted.sample(5000)
    assert len(drawn) == 5000 and np.all(drawn.sum(axis=1) <= 1 + 1e-9)
    rows = np.round(100 * shares(np.random.default_rng(4), 600))
    rounded = nfref.FlowDensity("gaussian", random_state=0).fit(rows).sample(5000)
    assert np.max(rounded.sum(axis=1)) <= 101


def test_gaps_know_the_limit(fitted):
    density = fitted.density_
    a = np.array([0.2, 0.6, 0.9])
    found = log_marginal(density, [a, np.full(3, np.nan)], draws=20_000)
    b = (np.arange(20_000) + 0.5) / 20_000
    exact = [np.mean(np.exp(fitted.score_samples(np.c_[np.full(len(b), x), b]))) for x in a]
    np.testing.assert_allclose(np.exp(found.log_prob), exact, rtol=0.05)
    drawn = sample_given(density, {"x1": 0.6}, np.random.default_rng(0), 500)
    assert np.all(drawn[1] <= 0.4 + 1e-9)
    filled = fitted.impute(np.array([[0.6, np.nan]] * 50), random_state=0)
    assert np.all(filled.sum(axis=1) <= 1 + 1e-9)
    with pytest.raises(ValueError, match="given: expected values with 'x1' [+] 'x2' at most 1"):
        sample_given(density, {"x1": 0.7, "x2": 0.6}, np.random.default_rng(0), 5)


def test_a_saved_density_keeps_its_limit(fitted, tmp_path):
    fitted.save(tmp_path / "m.npz")
    loaded = nfref.FlowDensity.load(tmp_path / "m.npz")
    rows = shares(np.random.default_rng(5), 20)
    assert loaded.density_.limit == fitted.density_.limit
    np.testing.assert_array_equal(loaded.score_samples(rows), fitted.score_samples(rows))
    np.testing.assert_array_equal(
        loaded.sample(7, random_state=1), fitted.sample(7, random_state=1)
    )
