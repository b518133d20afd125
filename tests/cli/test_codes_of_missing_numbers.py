"""Numbers such as -999, which many files write for a missing one."""

import numpy as np
import pytest

from nfref.cli.data import Data
from nfref.cli.notes import about_ties
from nfref.tables.reading import Table
from nfref.tables.schema.column_inference import find_columns


def notes(values):
    names = ["a", "b"]
    rows = np.stack([values, np.random.default_rng(1).standard_normal(len(values))], axis=1)
    columns = find_columns(names, list(rows.T))
    return list(about_ties(Data("t.csv", Table(rows, names)), columns))


def values_with(code, times):
    values = np.random.default_rng(0).uniform(0, 5, 60)
    values[:times] = code
    return values


@pytest.mark.parametrize("code", [-999, 9999, -99])
@pytest.mark.parametrize("times", [2, 8, 30])
def test_a_code_is_named(code, times):
    assert [line for line in notes(values_with(code, times)) if "missing number" in line] == [
        f"'a' is {code} in {times} rows, far from all other values: if it stands for a missing "
        "number, leave these cells empty"
    ]


@pytest.mark.parametrize(
    "values",
    [
        values_with(-999, 1),  # once is an outlier
        values_with(-998, 8),
        values_with(-999.4, 8),
        np.r_[values_with(99, 8), 50.0, 100.0],  # among the others
        np.r_[np.full(30, -999.0), np.full(30, 1.0)],  # two values
    ],
)
def test_other_values_are_not(values):
    assert not [line for line in notes(values) if "missing number" in line]
