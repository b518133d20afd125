"""The bounds that one column could have: which ends are natural."""

import numpy as np
import pytest

from nfref.tables.fitting.column_support import bounded_supports, natural_ends, round_ends
from nfref.tables.schema.column_inference import find_columns

N = 600


def test_natural_ends_are_never_those_of_the_data():
    """A bound needs values near it, and beyond a rounded value it moves by half a step."""

    def ends(values):
        (column,) = find_columns(["a"], [values])
        return list(natural_ends(column, values))

    rng = np.random.default_rng(0)
    assert ends(0.5 * rng.random(N)) == [(0, np.inf)]
    assert ends(rng.random(N) ** 0.1) == [(0, np.inf), (0, 1)]
    assert ends(rng.random(N).round(1)) == [(-0.05, np.inf), (-0.05, 1.05)]
    assert ends(rng.normal(0, 1, N)) == ends(3 - 4 * rng.random(N)) == []


@pytest.mark.parametrize(
    "draw, ends",
    [
        (lambda rng: 1 + rng.pareto(1.5, N), [(1, np.inf)]),
        (lambda rng: rng.uniform(20, 50, N), [(20, np.inf), (0, 50), (20, 50)]),
        (lambda rng: rng.uniform(-1, 3, N), [(-1, np.inf), (-np.inf, 3), (-1, 3)]),
        (lambda rng: rng.uniform(0, 10, N).round(1), [(-0.05, 10.05)]),
        (lambda rng: rng.integers(1990, 2020, N) + 0.0, []),  # years go on
        (lambda rng: rng.normal(20, 4, N), []),
        (lambda rng: rng.lognormal(0, 1, N) - 0.5, []),
        (lambda rng: rng.uniform(np.pi, 2 * np.pi, N), []),
        (lambda rng: np.append(rng.uniform(1, 2, N), [-3.0, 70.0]), []),
    ],
)
def test_round_ends_have_a_crowd_of_values_inside(draw, ends):
    values = draw(np.random.default_rng(0))
    (column,) = find_columns(["a"], [values])
    assert list(round_ends(column.in_units_of(values, np.ones(len(values))), values)) == ends


def test_numbers_of_rows_go_on_beyond_the_last():
    """A thousand rows numbered from 1 on end at a round number by chance; grades do not."""
    rng = np.random.default_rng(0)

    def ends(values):
        (column,) = find_columns(["a"], [values])
        weight = np.ones(len(values))
        column = column.in_units_of(values, weight)
        (one,) = bounded_supports([(column, values, weight, None)], 0)
        return one.column.low, one.column.high

    assert ends(rng.permutation(1000) + 1.0)[1] == np.inf
    assert ends(rng.uniform(0, 10, 1000).round(1)) == (-0.05, 10.05)
