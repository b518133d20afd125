"""Loss curves."""

import numpy as np
import pytest

from nfref import plots


def test_loss_curve():
    history = {"train": [3.0, 2.0, np.inf, 1.5], "validation": [3.1, 2.2, 2.1, 2.3]}
    axes = plots.loss_curve(history, best_epoch=2)
    train, validation, best = axes.lines
    assert np.array_equal(train.get_ydata(), [3, 2, np.nan, 1.5], equal_nan=True)
    assert np.array_equal(validation.get_xydata(), np.stack([range(4), [3.1, 2.2, 2.1, 2.3]], 1))
    assert np.all(np.equal(best.get_xdata(), 2))
    assert "nats per row" in axes.get_ylabel() and axes.get_xlabel() == "epoch"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "train",
        "validation",
        "best epoch: 2",
    ]


def test_loss_curve_is_not_squashed_by_its_first_epoch():
    values = np.concatenate([[1e6], 2 + 0.95 ** np.arange(99)])
    axes = plots.loss_curve({"train": values})
    assert len(axes.lines) == 1 and axes.get_ylim()[1] < 4
    assert len(plots.loss_curve({"train": []}).lines) == 1
    with pytest.raises(ValueError, match="history: expected the key 'train'"):
        plots.loss_curve({"loss": [1.0]})
