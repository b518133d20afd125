"""Supports chosen by the rule: which, and what samples are possible then."""

import numpy as np
import pytest

import nfref
from nfref.tables.fitting.supports import choose_supports
from nfref.tables.schema.column_inference import find_columns

N = 600


def chosen(table, **options):
    """Return name -> support of a table of columns, and the notes."""
    names = list("abcdef")[: len(table)]
    columns, notes = choose_supports(find_columns(names, table), table, **options)
    return {column.name: column.kind for column in columns}, notes


@pytest.mark.parametrize(
    "draw, kind",
    [
        (lambda rng: rng.lognormal(0, 1, N), "0:inf"),
        (lambda rng: rng.exponential(1, N), "0:inf"),
        (lambda rng: -rng.exponential(1, N), "-inf:0"),
        (lambda rng: rng.exponential(3, N).round(1), "-0.05:inf"),
        (lambda rng: rng.beta(0.5, 0.5, N), "0:1"),
        (lambda rng: 100 * rng.random(N), "0:100"),
        (lambda rng: rng.lognormal(3, 0.2, 2000), "0:inf"),
        (lambda rng: np.where(rng.random(N) < 0.3, 0, rng.exponential(1, N)), "0:inf"),
        (lambda rng: rng.lognormal(0, 1, N) - 0.5, "real"),
        (lambda rng: rng.normal(0, 1, N), "real"),
    ],
)
def test_a_column_takes_the_support_of_the_rule(draw, kind):
    kinds, notes = chosen([draw(np.random.default_rng(0))])
    named = {"0:inf": "positive", "-0.05:inf": "positive", "-inf:0": "negative"}
    assert kinds == {"a": kind}
    assert notes == ([] if kind == "real" else [f"'a' {named.get(kind, kind)}"])


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


def test_rows_decide_by_content():
    rng = np.random.default_rng(0)
    table = [rng.lognormal(0, 1, 200).round(2), rng.random(200), rng.normal(size=200)]
    table[2][5], order = np.nan, rng.permutation(200)
    weight = rng.integers(1, 4, 200).astype(float)
    one = choose_supports(find_columns("abc", table), table, weight=weight)
    repeated = [np.repeat(values, weight.astype(int))[::-1] for values in table]
    for rows, counts in ((repeated, None), ([values[order] for values in table], weight[order])):
        other = choose_supports(find_columns("abc", rows), rows, weight=counts)
        assert [column.kind for column in one[0]] == [column.kind for column in other[0]]
        assert one.notes == other.notes


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
