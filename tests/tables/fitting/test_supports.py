"""Supports chosen by held-out scores: which, why, and what samples are possible then."""

import numpy as np
import pytest

import nfref
from nfref.tables.fitting.supports import choose_supports
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import Continuous

N = 600


def chosen(table, **options):
    """Return name -> support of a table of columns, and the reasons."""
    names = list("abcdef")[: len(table)]
    columns, why, _ = choose_supports(find_columns(names, table), table, 0, **options)
    soft = {column.name for column in columns if column.soft is not None}
    return {column.name: "soft" if column.name in soft else column.kind for column in columns}, why


@pytest.mark.parametrize(
    "draw, kind",
    [
        (lambda rng: rng.lognormal(0, 1, N), "0:inf"),
        (lambda rng: rng.exponential(1, N), "0:inf"),
        (lambda rng: -rng.exponential(1, N), "-inf:0"),
        (lambda rng: rng.exponential(3, N).round(1), "-0.05:inf"),
        (lambda rng: rng.beta(0.5, 0.5, N), "0:1"),
        (lambda rng: 100 * rng.random(N), "0:100"),
        (lambda rng: 1 + rng.pareto(1.5, 2 * N), "1:inf"),
        (lambda rng: 10 * rng.beta(0.8, 0.6, N), "0:10"),
        (lambda rng: np.where(rng.random(N) < 0.3, 0, rng.exponential(1, N)), "0:inf"),
        (lambda rng: rng.lognormal(0, 1, N) - 0.5, "real"),
        (lambda rng: rng.normal(0, 1, N), "real"),
    ],
)
def test_a_column_takes_the_support_that_gains(draw, kind):
    kinds, why = chosen([draw(np.random.default_rng(0))])
    assert kinds == {"a": kind} and len(why) == (kind != "real")
    if why:
        assert why[0].gain > 0 and repr("a") in str(why[0])


def test_what_is_asked_given_or_beyond_in_other_rows_stays():
    x = np.random.default_rng(0).lognormal(0, 1, N)
    assert chosen([x], asked={"a": "real"})[0] == {"a": "real"}
    assert chosen([x], asked={"a": None})[0] == {"a": "0:inf"}
    assert chosen([x, x[::-1]], given=["a"])[0] == {"a": "real", "b": "0:inf"}
    assert chosen([x], ends={"a": (-0.1, 3.0)})[0] == {"a": "real"}
    assert chosen([x[:40]])[0] == {"a": "real"}  # too few to tell


def test_an_end_needs_evidence():
    """Temperatures of summers are far above 0: there logarithms gain by chance alone."""
    rng = np.random.default_rng(0)
    kinds = [chosen([rng.normal(20, 4, rows)])[0]["a"] for rows in 10 * [100, 1000]]
    assert kinds.count("real") >= 18


def test_sums_stay_sums_and_products_products():
    """Columns that are nearly linear in others get no logarithms; those of a product do."""
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2, 1, (2, N))
    total = (first + second) * (1 + 1e-4 * rng.standard_normal(N))
    assert set(chosen([first, second, total])[0].values()) <= {"real", "soft"}
    product = first * second * (1 + 1e-3 * rng.standard_normal(N))
    assert set(chosen([first, second, product])[0].values()) == {"0:inf"}


def test_many_rows_take_soft_ends_where_samples_would_be_impossible():
    """Two clusters, one at the end: a mixture of all columns reaches below 0, and loses little."""
    rng = np.random.default_rng(0)
    near = rng.random(3000) < 0.5
    a = np.where(near, rng.exponential(1, 3000), rng.normal(30, 2, 3000))
    b = np.where(near, 0.5 * a, 60 - a) + 0.1 * rng.standard_normal(3000)
    kinds, why = chosen([a, b])
    assert kinds == {"a": "soft", "b": "real"}
    assert why[0].impossible > 1e-3 and abs(why[0].gain) < 0.1


def test_the_soft_map_is_the_identity_but_near_its_end():
    column = Continuous("a", low=0.0, soft=0.5, middle=2.0, scale=1.3)
    x = np.array([1e-12, 1e-3, 0.1, 1, 5, 8])
    u, log_slope = column.encode(x)
    np.testing.assert_allclose(column.decode(u), x, rtol=1e-13)
    step = 1e-6 * x
    slope = (column.encode(x + step)[0] - column.encode(x - step)[0]) / (2 * step)
    np.testing.assert_allclose(np.log(slope), log_slope, atol=1e-8)
    np.testing.assert_allclose(1.3 * u[-2:] + 2, x[-2:], atol=1e-4)
    assert np.all(column.encode(np.array([0.0, -1.0]))[1] == -np.inf)
    assert np.all(column.decode(np.array([-1e3, -60.0, -1.0])) > 0)


def test_rows_decide_by_content():
    rng = np.random.default_rng(0)
    table = [rng.lognormal(0, 1, 200).round(2), rng.random(200), rng.normal(size=200)]
    table[2][5], order = np.nan, rng.permutation(200)
    weight = rng.integers(1, 4, 200).astype(float)
    one = choose_supports(find_columns("abc", table), table, 0, weight=weight)
    repeated = [np.repeat(values, weight.astype(int))[::-1] for values in table]
    for rows, counts in ((repeated, None), ([values[order] for values in table], weight[order])):
        other = choose_supports(find_columns("abc", rows), rows, 0, weight=counts)
        assert [column.kind for column in one[0]] == [column.kind for column in other[0]]
        np.testing.assert_allclose(
            [found.gain for found in one[1]], [found.gain for found in other[1]], rtol=1e-9
        )


def test_samples_are_possible_and_scores_no_worse():
    """Amounts with zeros, a share and a label: no sample is outside, and test rows gain."""
    rng = np.random.default_rng(0)

    def table(n):
        a = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(0, 0.8, n))
        return np.stack([a, rng.beta(0.7, 1, n), rng.exponential(1 + a)], axis=1)

    x, new = table(N), table(4000)
    real = dict.fromkeys(("x1", "x2", "x3"), "real")
    found, before = (
        nfref.FlowDensity("mixture", columns=columns, effort="quick", random_state=0).fit(x)
        for columns in (None, real)
    )
    assert [column.kind for column in found.columns_] == ["0:inf", "0:1", "0:inf"]
    drawn = found.sample(20_000, random_state=0)
    assert np.all(drawn >= 0) and np.all(drawn[:, 1] < 1)
    outside = before.sample(20_000, random_state=0)
    assert np.mean(np.any((outside < 0) | (outside > [np.inf, 1, np.inf]), axis=1)) > 0.05
    assert found.score(new) > before.score(new) + 0.05


def test_whole_numbers_of_an_array_have_supports_and_are_no_counts():
    x = np.random.default_rng(0).geometric(0.05, (N, 1))
    density = nfref.FlowDensity("gaussian", random_state=0).fit(x)
    assert density.columns_[0].kind == "0:inf" and density.columns_[0].step == 1


def test_detectors_keep_columns_real():
    x = np.random.default_rng(0).lognormal(0, 1, (100, 2))
    detector = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(x)
    assert {column.kind for column in detector.columns_} == {"real"}
    assert np.all(np.isfinite(detector.score_samples(-x)))


def test_few_rows_have_soft_ends_unless_a_relation_of_columns_would_bend():
    rng = np.random.default_rng(8)
    names = "abcdefgh"
    amounts = np.exp(0.7 * rng.standard_normal((120, 8)) @ (np.eye(8) + 0.3))
    columns = choose_supports(find_columns(names, list(amounts.T)), list(amounts.T), 0).columns
    assert all(column.low == 0 and column.soft is not None for column in columns)
    related = 3 * rng.random((120, 8)) ** 1.5
    related[:, 7] = related[:, :3] @ np.ones(3) + 1e-6 * rng.standard_normal(120)
    chosen = choose_supports(find_columns(names, list(related.T)), list(related.T), 0).chosen
    assert chosen == []
