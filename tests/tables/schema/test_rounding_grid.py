"""Rounding grids: found only where values lie on one; values are dequantised and rounded back."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.tables.densities.encoder import spread_rows
from nfref.tables.densities.pool import median
from nfref.tables.fitting.folds import folds_of_copies, point_mass_rows
from nfref.tables.schema.column_inference import column_of
from nfref.tables.schema.repeated_values import find_rounding_grid, nearest


def rounded(rng, n, step, offset=0.0):
    return offset + step * np.round(3 * rng.standard_normal(n) / step)


LATTICES = {  # (rng, n) -> values; step; offset
    "multiples of 0.005": (lambda rng, n: np.round(rng.gamma(5, 0.1, n) / 0.005) * 0.005, 0.005, 0),
    "two decimals": (lambda rng, n: np.round(1013 + 6 * rng.standard_normal(n), 2), 0.01, 0),
    "integers": (lambda rng, n: np.round(5e4 * rng.standard_normal(n)), 1, 0),
    "inches in centimetres": (
        lambda rng, n: np.round(16 * rng.gamma(5, 2, n)) / 16 * 2.54,
        0.15875,
        0,
    ),
    "an offset": (lambda rng, n: rounded(rng, n, 0.25, 0.1), 0.25, 0.1),
    "Celsius of Fahrenheit": (
        lambda rng, n: (np.round(60 + 9 * rng.standard_normal(n)) - 32) / 1.8,
        1 / 1.8,
        None,
    ),
    "decimals in float32": (lambda rng, n: rounded(rng, n, 0.01, 40).astype(np.float32), 0.01, 0),
    "amounts in cents": (lambda rng, n: np.round(rng.lognormal(7, 0.8, n), 2), 0.01, 0),
    "thirds": (lambda rng, n: np.round(30 * rng.standard_normal(n)) / 3, 1 / 3, None),
    "two values": (lambda rng, n: np.where(rng.random(n) < 0.3, 2.5, 0.0), 2.5, 0),
}
NO_LATTICES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "log-normal": lambda rng, n: rng.lognormal(0, 3, n),
    "times": lambda rng, n: 1.7e9 + 1e5 * rng.random(n),
    "normal in float32": lambda rng, n: rng.standard_normal(n).astype(np.float32),
    "uniform in float32": lambda rng, n: rng.random(n, dtype=np.float32),
    "float32 far from zero": lambda rng, n: (1000 + rng.standard_normal(n)).astype(np.float32),
    "half of them zero": lambda rng, n: np.where(rng.random(n) < 0.5, 0, rng.standard_normal(n)),
    "huge": lambda rng, n: 1e300 * rng.standard_normal(n),
    "one row far out": lambda rng, n: np.append(rng.standard_normal(n - 1), 1e20),
    "two rows farther out": lambda rng, n: np.append(rng.standard_normal(n - 2), [-1e30, 1e30]),
    "one float32 far out": lambda rng, n: np.append(rng.standard_normal(n - 1), 1e9).astype("f4"),
}


@pytest.mark.parametrize("rows", [50, 20_000])
@pytest.mark.parametrize("name", LATTICES)
def test_lattices_are_found(name, rows):
    drawn, step, offset = LATTICES[name]
    for seed in range(5):
        values = np.asarray(drawn(np.random.default_rng([seed, rows]), rows), np.float64)
        found = find_rounding_grid(values)
        assert found is not None and found[0] == pytest.approx(step, rel=1e-12)
        assert offset is None or found[1] == pytest.approx(offset, abs=1e-12)
        tolerance = 1e-7 if "float32" in name else 1e-14
        np.testing.assert_allclose(nearest(values, *found), values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [10, 50, 20_000])
@pytest.mark.parametrize("name", NO_LATTICES)
def test_numbers_without_a_lattice_have_none(name, rows):
    for seed in range(5 if rows > 50 else 40):
        values = NO_LATTICES[name](np.random.default_rng([seed, rows]), rows)
        assert find_rounding_grid(values.astype(np.float64)) is None


def test_decimals_come_back_as_they_are_written():
    values = np.arange(-2000, 2000) / 200
    assert np.array_equal(nearest(values + 0.002 * np.sin(values), 0.005, 0.0), values)
    assert np.array_equal(nearest(np.array([1e300, -2e17 + 64]), 0.1, 0.0), [1e300, -2e17 + 64])


@pytest.mark.parametrize(
    "asked, values",
    [
        ("positive", np.arange(1, 40)),
        ("0:", np.arange(1, 40) / 2 + 0.1),
        ("0:10", np.arange(1, 10)),
        ((None, 0), -np.arange(1, 40) * 0.25),
        ("real", np.arange(-9, 9) * 0.01),
        ("period 24", np.arange(24) + 0.0),
    ],
)
def test_cells_lie_in_the_support_and_values_come_back(asked, values):
    column = column_of("a", np.repeat(values.astype(np.float64), 12), asked)
    assert column.step == pytest.approx(abs(values[1] - values[0]), rel=1e-12)
    rng = np.random.default_rng(0)
    x = np.repeat(values.astype(np.float64), 500)
    for part in (rng.random(len(x)), np.zeros(len(x)), np.full(len(x), 1 - 1e-16)):
        spread = column.spread(x, part)
        u, log_slope = column.encode(spread)
        assert np.all(np.isfinite(u) & np.isfinite(log_slope))
        assert np.max(np.abs(spread - x)) <= column.step / 2
    back = column.sampled(column.encode(column.spread(x, 0.01 + 0.98 * rng.random(len(x))))[0])
    np.testing.assert_allclose(back, x, rtol=1e-15)
    far = column.sampled(np.array([-1e3, -30.0, 30.0, 1e3]))
    assert np.all(column.encode(far)[1] > -np.inf)


def test_a_cell_ends_with_the_support():
    """Values lie a quarter of a step above the end: the cell is the part within the support."""
    column = column_of("a", np.repeat(0.25 + np.arange(20.0), 12), "0:")
    ends = column.spread(np.full(2, 0.25), np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [0, 0.75], atol=1e-300)
    assert ends[0] > 0


# Densities of tables ------------------------------------------------------------------------


def gauge(rng, n):
    """Return a length in half units and a weight in tenths that follows it; most rows repeat."""
    x = np.round(2 * (10 + 2 * rng.standard_normal(n))) / 2
    return np.stack([x, np.round(x / 2 + 0.2 * rng.standard_normal(n), 1)], axis=1)


def test_values_that_come_again_are_no_gain():
    """Scores of rows, as probabilities of cells, are as near to the truth as without repeats."""
    rng = np.random.default_rng(0)
    x, new = gauge(rng, 1500), gauge(rng, 3000)
    density = nfref.FlowDensity("mixture", random_state=0).fit(x)
    assert [column.step for column in density.columns_] == [0.5, 0.1]
    of_cells = density.score_samples(new, cells=True) + np.log(0.5 * 0.1)
    cdf = stats.norm.cdf
    first = cdf((new[:, 0] - 10 + 0.25) / 2) - cdf((new[:, 0] - 10 - 0.25) / 2)
    apart = new[:, 1] - new[:, 0] / 2
    second = cdf((apart + 0.05) / 0.2) - cdf((apart - 0.05) / 0.2)
    truth = np.log(first * second)
    assert abs(np.mean(of_cells - truth)) < 0.03
    pointwise = density.score_samples(new) + np.log(0.5 * 0.1)
    assert abs(np.mean(pointwise - truth)) < 0.06
    drawn = density.sample(2000, random_state=1)
    assert np.array_equal(drawn, np.round(drawn * [2, 10]) / [2, 10])
    assert stats.ks_2samp(drawn[:, 0], new[:, 0]).pvalue > 1e-3


def test_whole_numbers_come_back_in_their_type():
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).standard_normal((60, 2))
    table = pandas.DataFrame({"age": np.round(40 + 9 * x[:, 0]).astype(np.int32), "y": x[:, 1]})
    density = nfref.FlowDensity("gaussian", random_state=0).fit(table)
    assert density.columns_[0].step == 1 and density.columns_[1].step is None
    assert density.sample(5, random_state=0).dtypes.tolist() == [np.int32, np.float64]


def test_probabilities_of_wide_cells_are_those_of_what_is_drawn():
    """Probabilities of whole numbers that are not counts agree with sums and with samples.

    Their sum over cells is the other column's density, and samples fall into cells as often.
    """
    rng = np.random.default_rng(0)
    number = rng.choice([0.0, 1.0, 4.0], 200)
    density = nfref.FlowDensity("mixture", columns={"x1": "real"}, random_state=0).fit(
        np.column_stack([number, number + rng.standard_normal(200)])
    )
    x = np.linspace(-8, 14, 111)
    numbers = np.arange(-300.0, 305.0)
    grid = np.stack(np.meshgrid(numbers, x), axis=-1).reshape(-1, 2)
    alone = np.exp(density.score_samples(np.column_stack([np.full(111, np.nan), x])))
    share, middle = (
        np.exp(density.score_samples(grid, cells=cells)).reshape(111, -1) for cells in (None, False)
    )
    np.testing.assert_allclose(np.sum(share, axis=1), alone, rtol=3e-3)
    assert np.max(np.abs(np.sum(middle, axis=1) / alone - 1)) > 0.03
    drawn = density.sample(40_000, random_state=0)[:, 0]
    for k in (0, 1, 2, 4):
        mass = np.sum(share[:, numbers == k]) * (x[1] - x[0])
        assert abs(np.mean(drawn == k) - mass) < 5 * np.sqrt(mass / 40_000)
    # Narrow cells have the density at the values.
    table = np.round(rng.standard_normal((50, 2)), 2)
    narrow = nfref.FlowDensity("gaussian", random_state=0).fit(table)
    assert [column.step for column in narrow.columns_] == [0.01, 0.01]
    np.testing.assert_array_equal(
        narrow.score_samples(table), narrow.density_.log_prob(list(table.T))
    )


def test_a_value_that_comes_again_and_again_has_a_probability():
    """Exact zeros among amounts have their share as probability, in samples too."""

    def table(rng, n):
        amount = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(size=n))
        return np.stack([amount, (amount > 0) + 0.5 * rng.standard_normal(n)], axis=1)

    x, new = table(np.random.default_rng(0), 1500), table(np.random.default_rng(1), 3000)
    density = nfref.FlowDensity("mixture", random_state=0).fit(x)
    column = density.columns_[0]
    assert column.atoms == (0.0,) and column.step is None
    zero = new[:, 0] == 0
    truth = np.log(0.6) + stats.norm.logpdf(new[zero, 1] / 0.5) - np.log(0.5)
    found = density.score_samples(new[zero], cells=True)
    assert -0.1 < np.mean(found - truth) < 0.03
    drawn = density.sample(3000, random_state=0)
    assert abs(np.mean(drawn[:, 0] == 0) - 0.6) < 0.03
    assert stats.ks_2samp(drawn[drawn[:, 0] == 0, 1], new[zero, 1]).pvalue > 1e-3
    # No other value moves.
    others = np.array([1.5, -0.3, 0.004])
    np.testing.assert_array_equal(column.spread(others, 0.9), others)
    assert 0 < column.spread(np.zeros(1), 0.9)[0] < 1e-100


@pytest.mark.parametrize("values", [[0.5] * 12 + [1.0, 2.5], [1.0] * 30 + [2.0, 4.0]])
def test_a_fold_without_the_copies_of_a_row_is_small(values):
    """Most rows are copies of one: the fold that holds it out trains on very few rows."""
    density = nfref.FlowDensity("mixture", columns={"x1": "real"}, random_state=0)
    assert np.isfinite(density.fit(np.array(values)[:, None]).score(np.array([[1.0], [2.5]])))


def test_spread_rows_go_by_content():
    """Whole weights, repeated rows and any order give the same bits; copies get unequal noise."""
    rng = np.random.default_rng(1)
    x = np.unique(gauge(rng, 200), axis=0)
    weight = rng.integers(1, 4, len(x))
    repeated = rng.permutation(np.repeat(x, weight, axis=0))
    one, other = (
        nfref.FlowDensity("mixture", random_state=0).fit(rows, sample_weight=counts)
        for rows, counts in ((x, weight), (repeated, None))
    )
    assert one.score_samples(x).tobytes() == other.score_samples(x).tobytes()
    columns = one.columns_
    row, counts, table = spread_rows(columns, list(x.T), weight.astype(float), 0)
    assert np.array_equal(np.bincount(row), weight) and np.all(counts == 1)
    assert len(np.unique(table[0])) == np.sum(weight)
    same = spread_rows(columns, list(x.T), np.full(len(x), 0.5), 0)
    assert np.array_equal(same[0], np.arange(len(x))) and np.all(same[1] == 0.5)


@pytest.mark.parametrize("digits", [2, pytest.param(16, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("columns", [1, 2])
def test_a_row_that_a_tenth_of_all_rows_equal_is_in_all_folds(digits, columns):
    """Otherwise a fold would not know its probability: zeros of one column, or of two together."""
    rng = np.random.default_rng(5)
    x = np.round(rng.lognormal(3, 1, (250, columns)), digits)
    x[:100] = 0
    density = nfref.FlowDensity("mixture", random_state=0).fit(x)
    drawn = density.sample(4000, random_state=0)
    assert np.mean(np.all(drawn == 0, axis=1)) == pytest.approx(0.35, abs=0.06)
    places, weight = np.unique(x, axis=0, return_counts=True)
    same = nfref.FlowDensity("mixture", random_state=0).fit(places, sample_weight=weight)
    assert same.score_samples(x).tobytes() == density.score_samples(x).tobytes()


def test_of_a_row_that_many_equal_a_tenth_of_the_copies_are_held_out():
    column = nfref.FlowDensity("gaussian").fit(np.array([[0.0, 1, 2, 3]]).T).columns_[0]
    values, counts = np.arange(4.0), np.array([30, 5, 1, 1])
    common = point_mass_rows((column,), [values], counts)
    assert common.tolist() == [True, True, False, False]
    assert not np.any(point_mass_rows((column,), [values], counts, given=("x1",)))
    assert not np.any(point_mass_rows((replace(column, step=None),), [values], counts))
    parts = folds_of_copies(
        np.array([0, -1, -1, -1, -1, -1, -1, -1, -1, -1]), np.repeat([0, 1], [30, 10])
    )
    assert [np.sum(parts[:30] == 0), np.sum(parts[30:] == 0)] == [3, 1]
    folds = folds_of_copies(np.arange(100) % 5, np.zeros(32, np.int64))
    assert np.ptp(np.bincount(folds)) <= 1


def test_medians_stand_beside_means():
    density = nfref.FlowDensity("mixture", random_state=0).fit(gauge(np.random.default_rng(3), 300))
    pool = density.candidates_[-1]
    unseen = density.score_samples(gauge(np.random.default_rng(4), 3000))
    assert pool.median == pytest.approx(np.median(unseen), abs=0.2)
    values, weight = np.array([3.0, -np.inf, 1.0, 2.0]), np.array([1, 1, 1, 3])
    assert median(values, weight) == np.median(np.repeat(values, weight))
    assert median(np.array([1.0, 2.0])) == 1.5


def abalones(rng, n):
    """Sample (n, 8): length, diameter, height, four weights, rings; each on a rounding grid."""
    size = 0.05 + 0.8 * rng.beta(5, 2.5, n)
    diameter = 0.8 * size * np.exp(0.04 * rng.standard_normal(n))
    height = 0.27 * size * np.exp(0.1 * rng.standard_normal(n))
    whole = 10 * size * diameter * height * np.exp(0.12 * rng.standard_normal(n))
    parts = [
        share * whole * np.exp(spread * rng.standard_normal(n))
        for share, spread in ((0.43, 0.15), (0.22, 0.18), (0.28, 0.17))
    ]
    rings = np.round(np.exp(1.3 + 1.6 * size + 0.22 * rng.standard_normal(n)))
    lengths = [np.round(200 * value) / 200 for value in (size, diameter, height)]
    weights = [np.round(2000 * value) / 2000 for value in (whole, *parts)]
    return np.stack([*lengths, *weights, rings], axis=1)


def amounts(rng, n):
    """Sample (n, 3): amounts missing in three rows of five and three of ten, and a number."""
    first = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(size=n))
    second = np.where(rng.random(n) < 0.3, 0.0, rng.normal(5.0, 1.0, n))
    return np.stack([first, second, 10 - 2 * (first > 0) + 3 * rng.standard_normal(n)], axis=1)


def told_apart(drawn, rows):
    """The cross-validated AUC of a forest that tells two sets of rows apart."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    label = np.repeat([0, 1], [len(drawn), len(rows)])
    told = cross_val_predict(
        RandomForestClassifier(200, min_samples_leaf=3, random_state=0),
        np.concatenate([drawn, rows]),
        label,
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        method="predict_proba",
    )
    return roc_auc_score(label, told[:, 1])


@pytest.mark.thorough
@pytest.mark.parametrize("table", [abalones, amounts])
def test_a_forest_hardly_tells_samples_from_rows(table):
    """On rounded numbers the AUC is 0.95 without cells; exact zeros are atoms either way."""
    rng = np.random.default_rng(5)
    train, test = table(rng, 500), table(rng, 500)
    density = nfref.FlowDensity("mixture", random_state=0).fit(train)
    columns = tuple(replace(column, step=None, offset=0.0) for column in density.columns_)
    without_cells = replace(density.density_, columns=columns)
    plain = np.stack(without_cells.sample(np.random.default_rng(0), len(train)), axis=1)
    assert told_apart(density.sample(len(train), random_state=0), test) < 0.65
    assert (told_apart(plain, test) > 0.75) == (table is abalones)
