"""Densities and flows in the plane: triptychs, shades of a log-density, warped grids."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import nfref
from nfref import datasets, plots
from nfref.plots.plane import shade
from tests.plots.drawing import bent, drawn_points, panels


def test_triptych_with_data():
    density, params = bent()
    x = datasets.two_moons(np.random.default_rng(1), 300)
    figure = plots.triptych(density, params, x, np.random.default_rng(2), n=500)
    target, samples, log_density = panels(figure)
    assert [axes.get_title() for axes in panels(figure)] == [
        "target: data",
        "samples",
        "log-density",
    ]
    assert np.array_equal(drawn_points(target), x)
    assert np.array_equal(
        drawn_points(samples), density.sample(params, np.random.default_rng(2), 500)
    )
    assert target.get_xlim() == samples.get_xlim() == log_density.get_xlim()
    assert target.get_ylim() == samples.get_ylim() == log_density.get_ylim()
    assert target.get_xlabel() == "$x_1$" and target.get_ylabel() == "$x_2$"


def test_triptych_with_log_target_and_without_target():
    density, params = bent()
    limits = ((-4, 4), (-4, 4))
    figure = plots.triptych(
        density,
        params,
        log_target=datasets.rings.log_prob,
        limits=limits,
        rng=np.random.default_rng(2),
        n=100,
    )
    assert panels(figure)[0].get_title() == "target: log-density" and len(figure.axes) == 5
    assert panels(figure)[0].get_xlim() == (-4, 4)
    figure = plots.triptych(
        density, params, rng=np.random.default_rng(2), n=100, columns=("mass", "charge")
    )
    assert [axes.get_xlabel() for axes in panels(figure)] == ["mass", "mass"]


def test_shade_shows_the_log_density_of_each_cell():
    axes = Figure().subplots()
    image = shade(axes, datasets.eight_gaussians.log_prob, ((-4, 4), (-3, 5)), nats=10)
    edges_x, edges_y = np.linspace(-4, 4, 201), np.linspace(-3, 5, 201)
    x, y = (edges_x[150] + edges_x[151]) / 2, (edges_y[40] + edges_y[41]) / 2
    values = image.get_array().reshape(200, 200)  # rows are y, columns are x
    assert values[40, 150] == datasets.eight_gaussians.log_prob([[x, y]])[0]
    assert np.isclose(image.norm.vmax - image.norm.vmin, 10)
    assert image.norm.vmax == values.max()


def test_shade_outside_of_the_support():
    axes = Figure().subplots()
    image = shade(axes, datasets.checkerboard.log_prob, ((-6, 6), (-6, 6)))
    values = image.get_array()
    assert values.max() == -np.log(32) and np.all(np.isfinite(values))
    assert np.any(values < image.norm.vmin) and not np.ma.is_masked(values)
    # Nothing is drawn where a density is not a number.
    image = shade(axes, lambda x: np.where(x[:, 0] < 0, np.nan, -x[:, 0]), ((-1, 2), (-1, 2)))
    assert np.ma.is_masked(image.get_array())
    with pytest.raises(ValueError, match="log-density: expected a finite value within the limits"):
        shade(axes, datasets.checkerboard.log_prob, ((5, 6), (5, 6)))


def test_triptych_of_columns_with_different_units():
    """Each column keeps its scale if one spreads over thousands and the other over ones."""
    flow = nfref.Standardise([0.0, 0.0], [1000.0, 1.0])
    density = nfref.Density(flow)
    figure = plots.triptych(
        density, density.init(np.random.default_rng(0)), rng=np.random.default_rng(0), n=400
    )
    (low_x, high_x), (low_y, high_y) = panels(figure)[0].get_xlim(), panels(figure)[0].get_ylim()
    assert high_x - low_x > 500 * (high_y - low_y)


def test_triptych_of_a_conditional_density():
    density = nfref.Density(nfref.RealNVP(2, layers=2, context_dim=1))
    params = density.init(np.random.default_rng(0))
    figure = plots.triptych(density, params, rng=np.random.default_rng(0), n=50, context=[0.5])
    assert len(panels(figure)) == 2
    strip = plots.layer_strip(density, params, np.random.default_rng(0), n=50, context=[0.5])
    assert len(strip.axes) == 3


def test_warped_grid_is_the_image_of_a_grid():
    density, params = bent()
    axes = Figure().subplots()
    returned = plots.warped_grid(
        density.flow, params["flow"], limits=((-2, 2), (-1, 1)), lines=5, points=30, axes=axes
    )
    assert returned is axes
    curves = [line.get_xydata() for line in axes.lines if len(line.get_xydata())]
    assert len(curves) == 10
    second = np.stack([np.full(30, -1.0), np.linspace(-1, 1, 30)], axis=1)  # z_1 = -1
    assert np.allclose(curves[1], density.flow.forward(params["flow"], second)[0], rtol=1e-12)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "$z_1$ constant",
        "$z_2$ constant",
    }


def test_rng_is_required():
    density, params = bent()
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        plots.triptych(density, params)


def test_a_column_of_labels_has_them_as_ticks_and_a_support_ends_the_axis():
    from nfref.plots import PlottedColumn

    class Rows:
        """A density of a label and a positive number."""

        dim, context_dim = 2, 0

        def sample(self, params, rng, n, context=None):
            return np.stack([rng.integers(2, size=n), rng.exponential(size=n)], axis=1)

        def log_prob(self, params, x, context=None):
            return -x[:, 1]

    columns = PlottedColumn("town", ("Oslo", "Rome")), PlottedColumn("income", low=0)
    rows = Rows().sample(None, np.random.default_rng(0), 200)
    figure = plots.triptych(Rows(), None, rows, rng=np.random.default_rng(0), columns=columns)
    figure.draw_without_rendering()
    for axes in figure.axes[:3]:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Oslo", "Rome"]
        assert axes.get_xlim() == (-0.5, 1.5) and axes.get_ylim()[0] >= 0
    for axes in figure.axes[:2]:
        dots = np.asarray(axes.collections[0].get_offsets())
        assert len(np.unique(dots[:, 0])) == len(dots)
        # Samples and jitter of one generator would be a pattern.
        for town in (0, 1):
            some = dots[np.round(dots[:, 0]) == town, 0] - town
            assert np.min(some) < -0.3 and np.max(some) > 0.3
