"""Data beside samples: calibration, likelihoods and marginals."""

import numpy as np
import pytest

from nfref import plots


def test_a_right_model_is_on_the_diagonal():
    rng = np.random.default_rng(0)
    axes = plots.calibration(rng.standard_normal(4000), rng.standard_normal(5000))
    diagonal, data = axes.lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(*data.get_xydata().T, atol=0.04)
    shifted = plots.calibration(rng.standard_normal(4000) - 3, rng.standard_normal(5000)).lines[1]
    assert np.all(shifted.get_ydata()[:-1] < 0.5)
    impossible = plots.calibration(np.full(9, np.nan), rng.standard_normal(50)).lines[1]
    assert not np.any(impossible.get_ydata())


def test_likelihoods_are_shares_of_rows():
    rng = np.random.default_rng(0)
    scores = np.append(rng.standard_normal(500), [-np.inf, np.nan])
    axes = plots.likelihoods(scores, rng.standard_normal(800))
    for patch in axes.patches:
        assert 0.98 < np.sum(patch.get_data().values) <= 1
    assert len(plots.likelihoods(np.zeros(3), np.zeros(2)).patches) == 2


def test_marginals_have_a_panel_for_each_column():
    rng = np.random.default_rng(0)
    columns = ["a", plots.PlottedColumn("town", ("Oslo", "Rome")), *"bcd"]
    rows = np.column_stack([rng.standard_normal((300, 4)), rng.integers(2, size=300)])[
        :, [0, 4, 1, 2, 3]
    ]
    figure = plots.marginals(rows, rows[:200], columns)
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "town", "b", "c", "d"]
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["Oslo", "Rome"]


@pytest.mark.parametrize("draw", [plots.calibration, plots.likelihoods])
def test_no_rows_are_an_error(draw):
    with pytest.raises(ValueError, match="sample_log_prob: expected at least one number"):
        draw(np.zeros(3), np.full(2, np.nan))
    with pytest.raises(ValueError, match="samples: expected at least one finite row"):
        plots.marginals(np.zeros((3, 1)), np.full((2, 1), np.nan), ["a"])


def test_losses_of_several_fits():
    history = {"train": [3.0, 2.0], "validation": [3.1, 2.2]}
    figure = plots.loss_curves({"maf": history, "nsf": history})
    assert [axes.get_title() for axes in figure.axes] == ["maf", "nsf"]
    with pytest.raises(ValueError, match="histories: expected the losses of a fit, got none"):
        plots.loss_curves({})
