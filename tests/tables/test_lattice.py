"""Lattices: found where values lie on one, and nowhere else; values spread and brought back."""

import numpy as np
import pytest

from nfref.tables.columns import column_of
from nfref.tables.lattice import lattice_of, nearest


def rounded(rng, n, step, offset=0.0):
    return offset + step * np.round(3 * rng.standard_normal(n) / step)


LATTICES = {     # (rng, n) -> values; step; offset
    "multiples of 0.005": (lambda rng, n: np.round(rng.gamma(5, 0.1, n) / 0.005) * 0.005, 0.005, 0),
    "two decimals": (lambda rng, n: np.round(1013 + 6 * rng.standard_normal(n), 2), 0.01, 0),
    "integers": (lambda rng, n: np.round(5e4 * rng.standard_normal(n)), 1, 0),
    "inches in centimetres": (lambda rng, n: np.round(16 * rng.gamma(5, 2, n)) / 16 * 2.54,
                              0.15875, 0),
    "an offset": (lambda rng, n: rounded(rng, n, 0.25, 0.1), 0.25, 0.1),
    "Celsius of Fahrenheit": (lambda rng, n: (np.round(60 + 9 * rng.standard_normal(n)) - 32) / 1.8,
                              1 / 1.8, None),
    "decimals in float32": (lambda rng, n: rounded(rng, n, 0.01, 40).astype(np.float32), 0.01, 0),
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
}


@pytest.mark.parametrize("rows", [50, 20_000])
@pytest.mark.parametrize("name", LATTICES)
def test_lattices_are_found(name, rows):
    drawn, step, offset = LATTICES[name]
    for seed in range(5):
        values = np.asarray(drawn(np.random.default_rng([seed, rows]), rows), np.float64)
        found = lattice_of(values)
        assert found is not None and found[0] == pytest.approx(step, rel=1e-12)
        assert offset is None or found[1] == pytest.approx(offset, abs=1e-12)
        tolerance = 1e-7 if "float32" in name else 1e-14
        np.testing.assert_allclose(nearest(values, *found), values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [10, 50, 20_000])
@pytest.mark.parametrize("name", NO_LATTICES)
def test_numbers_without_a_lattice_have_none(name, rows):
    for seed in range(5 if rows > 50 else 40):
        values = NO_LATTICES[name](np.random.default_rng([seed, rows]), rows)
        assert lattice_of(values.astype(np.float64)) is None


def test_decimals_come_back_as_they_are_written():
    values = np.arange(-2000, 2000) / 200
    assert np.array_equal(nearest(values + 0.002 * np.sin(values), 0.005, 0.0), values)
    assert np.array_equal(nearest(np.array([1e300, -2e17 + 64]), 0.1, 0.0), [1e300, -2e17 + 64])


@pytest.mark.parametrize("asked, values", [
    ("positive", np.arange(1, 40)), ("0:", np.arange(1, 40) / 2 + 0.1), ("0:10", np.arange(1, 10)),
    ((None, 0), -np.arange(1, 40) * 0.25), ("real", np.arange(-9, 9) * 0.01),
    ("period 24", np.arange(24) + 0.0)])
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
    back = column.drawn(column.encode(column.spread(x, 0.01 + 0.98 * rng.random(len(x))))[0])
    np.testing.assert_allclose(back, x, rtol=1e-15)
    far = column.drawn(np.array([-1e3, -30.0, 30.0, 1e3]))
    assert np.all(column.encode(far)[1] > -np.inf)


def test_a_cell_ends_with_the_support():
    """Values a quarter of a step above the end: the cell is what is left of it."""
    column = column_of("a", np.repeat(0.25 + np.arange(20.0), 12), "0:")
    ends = column.spread(np.full(2, 0.25), np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [0, 0.75], atol=1e-300)
    assert ends[0] > 0
