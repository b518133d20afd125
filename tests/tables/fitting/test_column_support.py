"""The bounds that one column could have: which ends are natural."""

import numpy as np

from nfref.tables.fitting.column_support import natural_ends
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
