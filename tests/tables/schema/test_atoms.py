"""Atoms: which values are, what the density says of them, and their share among samples."""

import numpy as np
import pandas
import pytest
from scipy import stats

import nfref
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import Continuous
from nfref.tables.schema.repeated_values import find_atoms

ROWS = 1500


def amounts(rng, n, share=0.4):
    return np.where(rng.random(n) < share, 0.0, rng.lognormal(1, 1, n))


def test_values_that_many_rows_share_are_atoms():
    rng = np.random.default_rng(0)
    x = amounts(rng, ROWS)
    assert find_atoms(x) == find_atoms(np.round(x, 2)) == (0.0,)
    assert find_atoms(np.minimum(x, 3.0)) == (0.0, 3.0)
    assert find_atoms(np.where(rng.random(ROWS) < 0.05, -9.0, x)) == (-9.0, 0.0)
    places, counts = np.unique(x, return_counts=True)
    assert find_atoms(places, counts.astype(float)) == (0.0,)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=ROWS).round(1),
        np.random.default_rng(1).poisson(2.0, ROWS),
        # every fifth income is given in thousands, and 20,000 is the most frequent
        np.where(np.arange(ROWS) % 5, 1.0, 1000.0)
        * np.round(np.random.default_rng(2).gamma(20, 1, ROWS)),
        np.append(np.random.default_rng(3).random(40), [0.3] * 9),  # few rows
        np.append(np.random.default_rng(4).random(2000), [0.3] * 12),  # less than one in a hundred
        np.repeat([0.0, 1.0, 2.0], [500, 50, 20]),  # few other values: a discrete column
        np.repeat(np.random.default_rng(5).random(100), 15),  # all repeat
    ],
)
def test_frequent_values_among_others_as_frequent_are_no_atoms(values):
    assert find_atoms(np.asarray(values, float)) == ()


def test_a_column_with_atoms_has_codes_and_a_support_for_the_rest():
    x = np.minimum(amounts(np.random.default_rng(0), ROWS), 8.0)
    (column,) = find_columns(["a"], [x], {"a": "positive"})
    assert column.atoms == (0.0, 8.0) and column.kind == "0:inf"
    np.testing.assert_array_equal(column.code(np.array([0.0, 8.0, 1.0, 7.99])), [1, 2, 0, 0])
    assert column.codes.labels == ("continuous", 0.0, 8.0)
    # the units are those of the values beside the atoms
    rest = np.log(x[(x > 0) & (x < 8)])
    assert column.middle == pytest.approx(np.median(rest), abs=1e-3)
    part = (np.arange(1000) + 0.5) / 1000
    for atom in column.atoms:
        moved = column.spread(np.full(1000, atom), part)
        u, log_slope = column.encode(moved)
        assert np.all(column.code(moved) > 0) and np.ptp(moved) < 1e-8
        np.testing.assert_allclose(u, stats.norm.ppf(part), atol=1e-3)
        np.testing.assert_allclose(log_slope, -stats.norm.logpdf(u), atol=1e-12)
    code = np.array([0, 1, 2])
    np.testing.assert_allclose(column.sampled(np.zeros(3), code), [np.exp(column.middle), 0, 8])


def test_rounding_adds_no_rows_to_an_atom():
    column = Continuous("a", scale=0.3, step=1.0, atoms=(0.0,))
    u = np.linspace(-4, 4, 101)
    drawn = column.sampled(u, np.zeros(101))
    assert not np.any(drawn == 0) and set(drawn) == {-1.0, 1.0}
    np.testing.assert_array_equal(drawn[np.abs(u) > 0], np.sign(u[np.abs(u) > 0]))
    np.testing.assert_array_equal(column.sampled(u, np.ones(101)), 0)
    above = Continuous("a", low=0.0, middle=-2.0, step=1.0, atoms=(1.0,))
    assert np.all(above.sampled(np.linspace(-1, 1, 9), np.zeros(9)) == 2)


def test_masses_and_densities_sum_to_one():
    """P(atom) plus the integral of the density is 1, beside the other cell known and without it."""
    rng = np.random.default_rng(0)
    a = amounts(rng, ROWS)
    x = np.stack([a, (a > 0) + 0.5 * rng.standard_normal(ROWS)], axis=1)
    density = nfref.FlowDensity("mixture", columns={"x1": "positive"}, random_state=0).fit(x)
    y = np.exp(np.linspace(-25, 25, 20001))
    other = np.array([-0.5, 0.3, 1.7])
    masses = np.exp(density.score_samples(np.column_stack([np.zeros(3), other]), cells=True))
    parts = [
        np.trapezoid(np.exp(density.score_samples(np.column_stack([y, np.full(len(y), b)]))), y)
        for b in other
    ]
    gaps = np.column_stack([np.full(3, np.nan), other])
    whole = density.score_samples(gaps)
    np.testing.assert_allclose(masses + parts, np.exp(whole), rtol=0.05)
    mass = np.exp(density.score_samples(np.array([[0.0, np.nan]])))[0]
    assert mass == pytest.approx(np.mean(a == 0), abs=0.01)
    # the share of an atom given the other cell, by quantiles and by imputed cells
    share = masses / np.exp(whole)
    asked = np.column_stack([np.full(3, np.nan), other])
    drawn = np.stack(density.impute(np.repeat(asked, 300, axis=0), random_state=0, draws=2))
    found = np.mean(drawn[..., 0].reshape(2, 3, 300) == 0, axis=(0, 2))
    np.testing.assert_allclose(found, share, atol=0.08)
    at = density.predict_quantiles(asked, "x1", (0.5,))[:, 0]
    np.testing.assert_array_equal(at == 0, share > 0.5)
    np.testing.assert_allclose(
        density.distribution(np.column_stack([np.zeros(3), other]), "x1"), share, atol=0.06
    )


def test_samples_have_the_shares_of_atoms_in_all_groups(tmp_path):
    """Within two standard errors of the data's, overall and in each group; no amount below 0."""
    rng = np.random.default_rng(0)
    group = rng.choice(list("abc"), ROWS, p=[0.5, 0.3, 0.2])
    share = np.array([{"a": 0.1, "b": 0.4, "c": 0.8}[one] for one in group])
    first = amounts(rng, ROWS, share)
    second = np.round(amounts(rng, ROWS, np.where(first == 0, 0.7, 0.2)), 2)
    rows = pandas.DataFrame({"group": group, "first": first, "second": second})
    density = nfref.FlowDensity(
        "mixture", columns={"first": "positive", "second": "positive"}, random_state=0
    ).fit(rows)
    drawn = density.sample(20_000, random_state=0)
    for name in ("first", "second"):
        assert np.all(drawn[name] >= 0)
        for some in (rows.group == rows.group, *(rows.group == one for one in "abc")):
            there = drawn.group.isin(rows.group[some].unique())
            expected = np.mean(rows[name][some] == 0)
            error = np.sqrt(expected * (1 - expected) * (1 / np.sum(some) + 1 / np.sum(there)))
            assert abs(np.mean(drawn[name][there] == 0) - expected) < 2 * error
    density.save(tmp_path / "model.npz")
    loaded = nfref.FlowDensity.load(tmp_path / "model.npz")
    assert loaded.columns_ == density.columns_
    assert loaded.score_samples(rows).tobytes() == density.score_samples(rows).tobytes()
    some = density.sample(500, random_state=1, given={"first": 0.0})
    assert np.all(some["first"] == 0)
    assert np.mean(some.second == 0) == pytest.approx(np.mean(second[first == 0] == 0), abs=0.07)


def test_a_given_column_has_no_atoms():
    rng = np.random.default_rng(0)
    a = amounts(rng, 400)
    x = np.stack([a, (a > 0) + 0.1 * rng.standard_normal(400)], axis=1)
    density = nfref.FlowDensity("mixture", given="x1", random_state=0).fit(x)
    assert density.columns_[0].atoms == () and density.density_.discrete is None
    assert density.score(x) > 0


def test_whether_an_amount_is_zero_given_others_is_learned():
    """Networks and trees tell it, as of a label, if all other columns are given."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 2))
    zero = x[:, 0] * x[:, 1] > 0
    rows = np.column_stack([x, np.where(zero, 0.0, rng.lognormal(size=1000))])
    density = nfref.FlowDensity("mixture", given=["x1", "x2"], effort="quick", random_state=0).fit(
        rows
    )
    asked = np.column_stack([0.7 * np.array([[1, 1], [1, -1]]), np.zeros(2)])
    masses = np.exp(density.score_samples(asked))
    assert masses[0] > 0.8 and masses[1] < 0.2
