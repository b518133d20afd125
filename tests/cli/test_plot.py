"""Pictures from the command line."""

import numpy as np
import pytest

import nfref
from nfref import plots
from nfref.cli import main
from nfref.cli.plot import KINDS, plot_density
from tests.cli.commands import MAF, succeeds

OUT = ("--out", "p.png")


@pytest.mark.thorough
def test_plots(folder, tmp_path):
    model = folder / "people.npz"
    succeeds("plot", model, "--data", folder / "people.csv", "--out", "corner.png", cwd=tmp_path)
    succeeds("fit", "two-moons", *MAF, "--plot", "moons.pdf", cwd=tmp_path)
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


def test_every_kind_of_picture(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, data = str(folder / "people.npz"), str(folder / "people.csv")
    for kind in KINDS:
        assert main(["plot", model, "--data", data, "--kind", kind, "--out", f"{kind}.png"]) == 0
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["plot", model, "--kind", "calibration", "--out", "no.png"]) == 2
    assert capsys.readouterr().err == (
        "nfref: error: --data: expected rows, for --kind calibration; got none\n"
    )


def test_rows_that_a_model_was_fitted_to_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((300, 2))
    nfref.FlowDensity("gaussian", random_state=0).fit(x[:200]).save("m.npz")
    drawn = []
    monkeypatch.setattr(plots, "calibration", lambda rows, samples: drawn.append(rows))
    monkeypatch.setattr(plots, "save", lambda figure, path: None)
    for rows, told in ((x, False), (x[:200], True)):
        np.save("x.npy", rows)
        assert main(["plot", "m.npz", "--data", "x.npy", "--kind", "calibration", *OUT]) == 0
        assert ("fitted to all of these rows" in capsys.readouterr().err) == told
    scores = nfref.load_model("m.npz").density.log_prob(list(x.T))
    np.testing.assert_array_equal(drawn[0], scores[200:])
    np.testing.assert_array_equal(drawn[1], scores[:200])
