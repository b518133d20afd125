"""A flow taken apart, layer by layer."""

import numpy as np

import nfref
from nfref import plots
from nfref.plots.layers import steps
from tests.plots.drawing import bent, drawn_points


def test_steps_are_the_flow_taken_apart():
    """In sequence they equal forward, for nested and inverted compositions too."""
    density, params = bent()
    flows = steps(density.flow, params["flow"])
    assert len(flows) == 3 + 2 + 1
    z = np.random.default_rng(3).normal(size=(20, 2))
    x, total = z, np.zeros(20)
    for flow, own in flows:
        x, log_det = flow.forward(own, x)
        total = total + log_det
    expected, expected_log_det = density.flow.forward(params["flow"], z)
    assert np.array_equal(x, expected) and np.allclose(total, expected_log_det, rtol=1e-13)
    back = steps(nfref.Invert(density.flow), params["flow"])
    for flow, own in back:
        x, _ = flow.forward(own, x)
    assert np.allclose(x, z, atol=1e-9)


def test_layer_strip_keeps_the_colour_of_the_base_quadrant():
    density, params = bent()
    figure = plots.layer_strip(density, params, np.random.default_rng(4), n=400)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "base: StandardNormal",
        "1: Coupling",
        "2: Coupling",
        "3: Coupling",
        "4: MADE$^{-1}$",
        "5: MADE$^{-1}$",
        "6: ElementwiseAffine",
    ]
    base, last = figure.axes[0], figure.axes[-1]
    z = density.base.sample({}, np.random.default_rng(4), 400)
    middle = np.median(z, axis=0)
    start, end = drawn_points(base), drawn_points(last)
    assert np.array_equal(start, z)
    assert np.allclose(end, density.flow.forward(params["flow"], z)[0], rtol=1e-10)
    colours = base.collections[0].get_facecolors()
    assert np.array_equal(colours, last.collections[0].get_facecolors())
    kinds = np.unique(colours, axis=0)
    assert len(kinds) == 4
    for kind in kinds:
        quadrant = z[np.all(colours == kind, axis=1)] > middle
        assert len(quadrant) > 50 and np.all(quadrant == quadrant[0])


def test_layer_strip_leaves_out_layers_of_a_long_flow_evenly():
    density = nfref.Density(nfref.Planar(2, layers=40))
    figure = plots.layer_strip(
        density,
        density.init(np.random.default_rng(0)),
        np.random.default_rng(0),
        n=30,
        max_panels=5,
    )
    numbers = [axes.get_title().split(":")[0] for axes in figure.axes]
    assert numbers == ["base", "10", "20", "30", "40"]
