"""Corner plots: tables column by column."""

import numpy as np
import pytest

from nfref import plots


def test_corner():
    rng = np.random.default_rng(5)
    data, samples = rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) + 1
    figure = plots.corner(data, samples, ("a", "b", "c"))
    grid = {
        (axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start): axes
        for axes in figure.axes
    }
    assert sorted(grid) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    drawn = grid[2, 1].collections[0].get_offsets()
    both = np.concatenate([data, samples])[:, [1, 2]]
    assert np.array_equal(np.sort(drawn, axis=0), np.sort(both, axis=0))
    colours = grid[2, 1].collections[0].get_facecolors()
    of_data = np.array([np.any(np.all(row == data[:, [1, 2]], axis=1)) for row in drawn])
    assert len(np.unique(colours[of_data], axis=0)) == len(
        np.unique(colours[~of_data], axis=0)
    ) == 1 and not np.array_equal(colours[of_data][0], colours[~of_data][0])
    assert [grid[2, j].get_xlabel() for j in range(3)] == ["a", "b", "c"]
    assert [grid[i, 0].get_ylabel() for i in range(3)] == ["a", "b", "c"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["data", "samples"]


def test_corner_of_a_wide_table_says_what_it_shows():
    samples = np.random.default_rng(6).normal(size=(30, 7))
    figure = plots.corner(None, samples, max_columns=3)
    assert figure.get_suptitle() == "columns 1 to 3 of 7"
    assert len(figure.axes) == 6 and figure.axes[-1].get_xlabel() == "$x_{3}$"
    assert len(plots.corner(samples[:, :1], samples[:, :1]).axes) == 1


@pytest.mark.thorough
def test_labels_of_twelve_columns_do_not_meet():
    rng = np.random.default_rng(7)
    names = [f"a rather long name {k}" for k in range(12)]
    figure = plots.corner(None, rng.normal(size=(20, 12)) * 1e4, names, max_points=5)
    figure.draw_without_rendering()
    page = figure.bbox
    left = [axes.yaxis.label.get_window_extent() for axes in figure.axes if axes.get_ylabel()]
    assert len(left) == 12
    for box in left + [axes.xaxis.label.get_window_extent() for axes in figure.axes[-12:]]:
        assert box.x0 >= page.x0 - 1 and box.y0 >= page.y0 - 1 and box.x1 <= page.x1 + 1
    for above, below in zip(left, left[1:]):
        assert below.y1 < above.y0


def test_labels_counts_and_supports_of_columns():
    rng = np.random.default_rng(8)
    columns = [
        plots.PlottedColumn("town", ("Oslo", "a rather long name", "$5")),
        plots.PlottedColumn("kids", whole=True, low=0),
        plots.PlottedColumn("income", low=0),
    ]
    rows = np.stack([rng.integers(3, size=80), rng.poisson(1, 80), rng.exponential(size=80)], 1)
    figure = plots.corner(rows, rows[:50], columns)
    figure.draw_without_rendering()
    grid = {
        (axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start): axes
        for axes in figure.axes
    }
    ticks = grid[2, 0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["Oslo", "a rather lo\u2026", r"\$5"]
    assert all(float(tick.get_position()[0]) == k for k, tick in enumerate(ticks))
    assert grid[2, 2].get_xlim()[0] >= 0 and grid[2, 0].get_ylim()[0] >= 0
    assert grid[2, 1].get_xlim()[0] == -0.5
    assert len(grid[0, 0].patches) == 6  # a bar of data and one of samples for each label
    heights = [bar.get_height() for bar in grid[0, 0].patches[:3]]
    np.testing.assert_allclose(heights, np.bincount(rows[:, 0].astype(int)) / 80)
    dots = np.asarray(grid[1, 0].collections[0].get_offsets())
    assert np.all(np.abs(dots - np.round(dots)) <= 0.35 + 1e-12)
    assert len(np.unique(dots[:, 0])) == len(dots)  # none is hidden
    wide = plots.PlottedColumn("n", whole=True)
    assert len(plots.corner(None, rows[:, :1] * 1e6, [wide]).axes[0].patches) == 1
