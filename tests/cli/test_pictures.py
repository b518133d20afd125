"""Pictures from the command line."""

from tests.cli.commands import SMALL, succeeds


def test_plots(folder, tmp_path):
    model = folder / "people.npz"
    succeeds("plot", model, "--data", folder / "people.csv", "--out", "corner.png", cwd=tmp_path)
    succeeds("fit", "two-moons", *SMALL, "--plot", "moons.pdf", cwd=tmp_path)
    assert (tmp_path / "corner.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "moons.pdf").read_bytes().startswith(b"%PDF")
