"""The effective number of rows does not depend on the unit of weights."""

import numpy as np
import pytest

from nfref.runtime.checks import as_weight
from nfref.tables.schema.distinct_rows import as_counts, effective_rows


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200])
def test_weights_of_any_size(size):
    assert effective_rows(size * np.array([1.0, 1.0, 2.0]), 3) == pytest.approx(16 / 6)


def test_a_part_of_the_rows_may_have_tiny_weights():
    """A report compares rows that the model was not fitted to, whatever the others weigh."""
    weight = as_counts(as_weight("w", [1.0, 1e-200, 1e-200], 3))
    assert effective_rows(weight[1:], 2) == 2
