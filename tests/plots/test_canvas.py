"""Check what all plots share: given figures, odd input, files, and no use of pyplot."""

import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from matplotlib.figure import Figure

import nfref
from nfref import datasets, plots
from tests.plots.drawing import bent, drawn_points


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
    plots.corner(np.ones((5, 2)), x)  # a constant column is a line
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda d, p, r: plots.triptych(nfref.Density(nfref.Planar(3)), {}, rng=r),
            "triptych: expected dim 2, got 3",
        ),
        (
            lambda d, p, r: plots.warped_grid(nfref.Planar(1), {}),
            "warped_grid: expected dim 2, got 1",
        ),
        (
            lambda d, p, r: plots.layer_strip(nfref.Density(nfref.Planar(3)), {}, r),
            "layer_strip: expected dim 2, got 3",
        ),
        (
            lambda d, p, r: plots.triptych(d, p, x=np.zeros((4, 3)), rng=r),
            r"x: expected shape \(N, 2\), got \(4, 3\)",
        ),
        (
            lambda d, p, r: plots.triptych(d, p, x=np.full((4, 2), np.nan), rng=r),
            "x: expected at least one finite row, got none in 4",
        ),
        (
            lambda d, p, r: plots.triptych(d, p, x=np.zeros((4, 2)), log_target=anp.sum, rng=r),
            "triptych: expected x or log_target, got both",
        ),
        (lambda d, p, r: plots.triptych(d, p, rng=r, n=0), "n: expected at least 1, got 0"),
        (
            lambda d, p, r: plots.corner(np.zeros((4, 3)), np.zeros((4, 2))),
            "data: expected as many columns as samples, got 3 and 2",
        ),
        (lambda d, p, r: plots.corner(None, np.zeros(4)), r"samples: expected shape \(N, D\), got"),
        (lambda d, p, r: plots.corner(None, np.zeros((4, 2)), ["a"]), "columns: expected 2 names"),
        (
            lambda d, p, r: plots.save(Figure(), "picture.docx"),
            "path: expected a suffix among .*png",
        ),
        (lambda d, p, r: plots.save(Figure(), "picture"), "path: expected a suffix among"),
    ],
)
def test_bad_arguments_are_named(call, message):
    density, params = bent()
    with pytest.raises(ValueError, match=message) as error:
        call(density, params, np.random.default_rng(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "suffix, start", [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")]
)
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
    code = (
        "import sys, numpy as np, nfref; nfref.plots.loss_curve({'train': [1.0, 2.0]}); "
        "nfref.plots.corner(None, np.ones((3, 2))); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
