"""The check that rows are points of the unit sphere."""

import numpy as np
import pytest

import nfref


@pytest.mark.parametrize("size", [1e200, 1e-200])
@pytest.mark.parametrize("base", [nfref.UniformSphere(3), nfref.VonMisesFisher(3, 2.0)])
def test_a_message_has_the_length_of_a_row_of_any_size(base, size):
    """Squares of such numbers are infinite or zero."""
    rows = size * np.array([[2.0, 3.0, 6.0]])
    with pytest.raises(
        ValueError, match=f"got a row of length {7 * size:g} in row 0".replace("+", r"\+")
    ):
        base.log_prob(base.init(np.random.default_rng(0)), rows)
