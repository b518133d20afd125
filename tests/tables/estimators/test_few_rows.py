"""DataFrames with too few rows to fit to."""

import pandas as pd
import pytest

import nfref


@pytest.mark.parametrize("estimator", [nfref.FlowDensity(), nfref.FlowOutlierDetector()])
def test_one_row_is_no_constant_column(estimator):
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(ValueError, match=r"^X: expected at least 2 rows, got 1$"):
        estimator.fit(frame)
    with pytest.raises(ValueError, match="^X: expected at least one row and one column"):
        estimator.fit(frame[:0])
