"""Plots: what is drawn is what was asked for, and nothing touches pyplot or a given input."""

import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from matplotlib.figure import Figure

import nfref
from nfref import datasets, plots
from nfref.plots.layers import steps
from nfref.plots.plane import shade


def bent():
    """A density in the plane and parameters far from the identity."""
    rng = np.random.default_rng(0)
    flow = nfref.Chain([nfref.RealNVP(2, layers=3, hidden=8), nfref.Invert(nfref.MAF(2, layers=2)),
                        nfref.ElementwiseAffine(2)])
    density = nfref.Density(flow)
    params = density.init(rng)
    params["flow"] = nfref.params.tree_map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), params["flow"])
    return density, params


def drawn_points(axes):
    """All points of a scatter, (N, 2)."""
    return np.asarray(axes.collections[0].get_offsets())


def panels(figure):
    """The axes that show data: those that are no colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def test_triptych_with_data():
    density, params = bent()
    x = datasets.two_moons(np.random.default_rng(1), 300)
    figure = plots.triptych(density, params, x=x, rng=np.random.default_rng(2), n=500)
    target, samples, log_density = panels(figure)
    assert [axes.get_title() for axes in panels(figure)] == ["target: data", "samples",
                                                             "log-density"]
    assert np.array_equal(drawn_points(target), x)
    assert np.array_equal(drawn_points(samples),
                          density.sample(params, np.random.default_rng(2), 500))
    assert target.get_xlim() == samples.get_xlim() == log_density.get_xlim()
    assert target.get_ylim() == samples.get_ylim() == log_density.get_ylim()
    assert target.get_xlabel() == "$x_1$" and target.get_ylabel() == "$x_2$"


def test_triptych_with_log_target_and_without_target():
    density, params = bent()
    limits = ((-4, 4), (-4, 4))
    figure = plots.triptych(density, params, log_target=datasets.rings.log_prob, limits=limits,
                            rng=np.random.default_rng(2), n=100)
    assert panels(figure)[0].get_title() == "target: log-density" and len(figure.axes) == 5
    assert panels(figure)[0].get_xlim() == (-4, 4)
    figure = plots.triptych(density, params, rng=np.random.default_rng(2), n=100,
                            columns=("mass", "charge"))
    assert [axes.get_xlabel() for axes in panels(figure)] == ["mass", "mass"]


def test_shade_shows_the_log_density_of_each_cell():
    axes = Figure().subplots()
    image = shade(axes, datasets.eight_gaussians.log_prob, ((-4, 4), (-3, 5)), nats=10)
    edges_x, edges_y = np.linspace(-4, 4, 201), np.linspace(-3, 5, 201)
    x, y = (edges_x[150] + edges_x[151]) / 2, (edges_y[40] + edges_y[41]) / 2
    values = image.get_array().reshape(200, 200)                # rows are y, columns are x
    assert values[40, 150] == datasets.eight_gaussians.log_prob([[x, y]])[0]
    assert np.isclose(image.norm.vmax - image.norm.vmin, 10)
    assert image.norm.vmax == values.max()


def test_shade_outside_of_the_support():
    axes = Figure().subplots()
    image = shade(axes, datasets.checkerboard.log_prob, ((-6, 6), (-6, 6)))
    values = image.get_array()
    assert values.max() == -np.log(32) and np.all(np.isfinite(values))
    assert np.any(values < image.norm.vmin) and not np.ma.is_masked(values)
    # Data bounded by a logit have no latent outside of their bounds.
    density = nfref.Density(nfref.Logit((0, 0), (1, 1)))
    image = shade(axes, lambda x: density.log_prob(density.init(np.random.default_rng(0)), x),
                  ((-1, 2), (-1, 2)))
    assert np.ma.is_masked(image.get_array())
    with pytest.raises(ValueError, match="log-density: expected a finite value within the limits"):
        shade(axes, datasets.checkerboard.log_prob, ((5, 6), (5, 6)))


def test_triptych_of_columns_with_different_units():
    """Two scales are kept where one column spreads over thousands and the other over ones."""
    flow = nfref.Standardise([0.0, 0.0], [1000.0, 1.0])
    density = nfref.Density(flow)
    figure = plots.triptych(density, density.init(np.random.default_rng(0)),
                            rng=np.random.default_rng(0), n=400)
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
    returned = plots.warped_grid(density.flow, params["flow"], limits=((-2, 2), (-1, 1)), lines=5,
                                 points=30, axes=axes)
    assert returned is axes
    curves = [line.get_xydata() for line in axes.lines if len(line.get_xydata())]
    assert len(curves) == 10
    second = np.stack([np.full(30, -1.0), np.linspace(-1, 1, 30)], axis=1)  # z_1 = -1
    assert np.allclose(curves[1], density.flow.forward(params["flow"], second)[0], rtol=1e-12)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "$z_1$ constant", "$z_2$ constant"}


def test_steps_are_the_flow_taken_apart():
    """Applied one after the other they are forward, nested and inverted compositions included."""
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
    assert titles == ["base: StandardNormal", "1: Coupling", "2: Coupling",
                      "3: Coupling", "4: MADE$^{-1}$", "5: MADE$^{-1}$",
                      "6: ElementwiseAffine"]
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
    figure = plots.layer_strip(density, density.init(np.random.default_rng(0)),
                               np.random.default_rng(0), n=30, max_panels=5)
    numbers = [axes.get_title().split(":")[0] for axes in figure.axes]
    assert numbers == ["base", "10", "20", "30", "40"]


def test_loss_curve():
    history = {"train": [3.0, 2.0, np.inf, 1.5], "validation": [3.1, 2.2, 2.1, 2.3]}
    axes = plots.loss_curve(history, best_epoch=2)
    train, validation, best = axes.lines
    assert np.array_equal(train.get_ydata(), [3, 2, np.nan, 1.5], equal_nan=True)
    assert np.array_equal(validation.get_xydata(), np.stack([range(4), [3.1, 2.2, 2.1, 2.3]], 1))
    assert np.all(np.equal(best.get_xdata(), 2))
    assert "nats per row" in axes.get_ylabel() and axes.get_xlabel() == "epoch"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "train", "validation", "best epoch: 2"]


def test_loss_curve_is_not_squashed_by_its_first_epoch():
    values = np.concatenate([[1e6], 2 + 0.95 ** np.arange(99)])
    axes = plots.loss_curve({"train": values})
    assert len(axes.lines) == 1 and axes.get_ylim()[1] < 4
    assert len(plots.loss_curve({"train": []}).lines) == 1
    with pytest.raises(ValueError, match="history: expected the key 'train'"):
        plots.loss_curve({"loss": [1.0]})


def test_corner():
    rng = np.random.default_rng(5)
    data, samples = rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) + 1
    figure = plots.corner(data, samples, ("a", "b", "c"))
    grid = {(axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start): axes
            for axes in figure.axes}
    assert sorted(grid) == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    drawn = grid[2, 1].collections[0].get_offsets()
    both = np.concatenate([data, samples])[:, [1, 2]]
    assert np.array_equal(np.sort(drawn, axis=0), np.sort(both, axis=0))
    colours = grid[2, 1].collections[0].get_facecolors()
    of_data = np.array([np.any(np.all(row == data[:, [1, 2]], axis=1)) for row in drawn])
    assert len(np.unique(colours[of_data], axis=0)) == len(np.unique(colours[~of_data], axis=0)) \
        == 1 and not np.array_equal(colours[of_data][0], colours[~of_data][0])
    assert [grid[2, j].get_xlabel() for j in range(3)] == ["a", "b", "c"]
    assert [grid[i, 0].get_ylabel() for i in range(3)] == ["a", "b", "c"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["data", "samples"]


def test_corner_of_a_wide_table_says_what_it_shows():
    samples = np.random.default_rng(6).normal(size=(30, 7))
    figure = plots.corner(None, samples, max_columns=3)
    assert figure.get_suptitle() == "columns 1 to 3 of 7"
    assert len(figure.axes) == 6 and figure.axes[-1].get_xlabel() == "$x_{3}$"
    assert len(plots.corner(samples[:, :1], samples[:, :1]).axes) == 1


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


def test_given_figures_and_axes_are_drawn_on():
    density, params = bent()
    rng = np.random.default_rng(0)
    axes, figures = Figure().subplots(), [Figure() for _ in range(3)]
    assert plots.loss_curve({"train": [1.0, 2.0]}, axes=axes) is axes
    assert plots.triptych(density, params, rng=rng, n=20, figure=figures[0]) is figures[0]
    assert plots.layer_strip(density, params, rng, n=20, figure=figures[1]) is figures[1]
    table = rng.normal(size=(20, 2))
    assert plots.corner(table, table, figure=figures[2]) is figures[2]
    assert all(figure.axes for figure in figures)


def test_float32_and_odd_inputs():
    density, params = bent()
    params = nfref.params.cast(params, np.float32)
    x = datasets.banana(np.random.default_rng(0), 40)
    before = x.copy()
    rng = np.random.default_rng(0)
    plots.triptych(density, params, x=x.astype(np.float32), rng=rng, n=20)
    plots.triptych(density, params, x=np.round(x).astype(int), rng=rng, n=20)
    with_gap = np.append(x, [[np.nan, 1.0]], axis=0)
    figure = plots.triptych(density, params, x=with_gap, rng=rng, n=100)
    assert len(drawn_points(figure.axes[0])) == 40
    plots.corner(np.ones((5, 2)), x)                            # a constant column is a line
    assert np.array_equal(x, before)


@pytest.mark.parametrize("call, message", [
    (lambda d, p, r: plots.triptych(nfref.Density(nfref.Planar(3)), {},
                                    rng=r), "triptych: expected dim 2, got 3"),
    (lambda d, p, r: plots.warped_grid(nfref.Planar(1), {}), "warped_grid: expected dim 2, got 1"),
    (lambda d, p, r: plots.layer_strip(nfref.Density(nfref.Planar(3)),
                                       {}, r), "layer_strip: expected dim 2, got 3"),
    (lambda d, p, r: plots.triptych(d, p, x=np.zeros((4, 3)), rng=r),
     r"x: expected shape \(N, 2\), got \(4, 3\)"),
    (lambda d, p, r: plots.triptych(d, p, x=np.full((4, 2), np.nan), rng=r),
     "x: expected at least one finite row, got none in 4"),
    (lambda d, p, r: plots.triptych(d, p, x=np.zeros((4, 2)), log_target=anp.sum, rng=r),
     "triptych: expected x or log_target, got both"),
    (lambda d, p, r: plots.triptych(d, p, rng=r, n=0), "n: expected at least 1, got 0"),
    (lambda d, p, r: plots.corner(np.zeros((4, 3)), np.zeros((4, 2))),
     "data: expected as many columns as samples, got 3 and 2"),
    (lambda d, p, r: plots.corner(None, np.zeros(4)), r"samples: expected shape \(N, D\), got"),
    (lambda d, p, r: plots.corner(None, np.zeros((4, 2)), ["a"]), "columns: expected 2 names"),
    (lambda d, p, r: plots.save(Figure(), "picture.docx"), "path: expected a suffix among .*png"),
    (lambda d, p, r: plots.save(Figure(), "picture"), "path: expected a suffix among"),
])
def test_bad_arguments_are_named(call, message):
    density, params = bent()
    with pytest.raises(ValueError, match=message) as error:
        call(density, params, np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_rng_is_required():
    density, params = bent()
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        plots.triptych(density, params)


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("pdf", b"%PDF"),
                                           ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_save(tmp_path, suffix, start):
    path = tmp_path / f"picture.{suffix}"
    plots.save(plots.loss_curve({"train": [2.0, 1.0]}).figure, path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_save_leaves_the_old_file_where_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    figure = Figure()
    monkeypatch.setattr(figure, "savefig", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.save(figure, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_pyplot_is_never_imported():
    code = ("import sys, numpy as np, nfref; nfref.plots.loss_curve({'train': [1.0, 2.0]}); "
            "nfref.plots.corner(None, np.ones((3, 2))); "
            "sys.exit('matplotlib.pyplot' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
