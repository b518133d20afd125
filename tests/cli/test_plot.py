"""Pictures from the command line."""

import numpy as np
import pytest
from matplotlib.backend_bases import FigureCanvasBase

from nfref import plots
from nfref.cli.plot import USUAL, picture_formats, plot_density
from tests.cli.commands import SMALL, succeeds


@pytest.mark.thorough
def test_plots(folder, tmp_path):
    model = folder / "people.npz"
    succeeds("plot", model, "--data", folder / "people.csv", "--out", "corner.png", cwd=tmp_path)
    succeeds("fit", "two-moons", *SMALL, "--plot", "moons.pdf", cwd=tmp_path)
    assert (tmp_path / "corner.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "moons.pdf").read_bytes().startswith(b"%PDF")


def test_names_of_any_length_are_drawn_soon(tmp_path, monkeypatch):
    """A name of 100,000 characters once took a minute."""
    drawn = []
    monkeypatch.setattr(plots, "corner", lambda x, samples, columns: drawn.extend(columns))
    monkeypatch.setattr(plots, "save", lambda figure, path: None)

    class ThreeColumns:
        dim = 3

        def sample(self, params, rng, n):
            return rng.standard_normal((n, 3))

    plot_density(
        "--plot",
        tmp_path / "f.png",
        ThreeColumns(),
        None,
        ["a" * 10**5, "b" * 40, "$c"],
        np.zeros((5, 3)),
    )
    assert [column.name for column in drawn] == ["a" * 37 + "...", "b" * 40, r"\$c"]


def test_suffixes_are_those_of_matplotlib():
    known = {f".{name}" for name in FigureCanvasBase.get_supported_filetypes()}
    assert set(USUAL) <= known and picture_formats("a.PNG") == USUAL
    found = picture_formats("a.gif")
    assert found[:3] == USUAL and set(found) == known - {".pgf", ".raw", ".rgba"}
