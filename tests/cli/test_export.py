"""The command ``nfref export``: one Python file, on standard output or in a file."""

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.tables.densities.pool import Pool
from nfref.tables.densities.table_density import TableDensity
from tests.cli.commands import succeeds
from tests.tables.export.families import REAL, random_flow, random_gaussian


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a model that can be exported, and one that cannot."""
    rng = np.random.default_rng(0)
    naf = random_flow(rng, nfref.Planar(3, layers=1))
    for name, member in (("model", random_gaussian(rng, 3)), ("planar", naf)):
        density = TableDensity(REAL, None, Pool((member,), np.ones(1), (name,)))
        nfref.save_model(tmp_path / f"{name}.npz", density)
    return tmp_path


def test_a_model_becomes_a_file(folder):
    printed = succeeds("export", "model.npz", cwd=folder)
    told = succeeds("export", "model.npz", "--out", "density.py", "--to", "python", cwd=folder)
    assert told == "wrote density.py\n"
    assert (folder / "density.py").read_text() == printed
    names = {"__name__": "density", "__file__": "density.py"}
    exec(compile(printed, "density.py", "exec"), names)
    assert names["COLUMNS"] == ("a", "b", "c") and names["WRITTEN_BY"].startswith("nfref ")
    succeeds("export", "model.npz", "--out", "other.py", "--weights", "beside", cwd=folder)
    assert {path.name for path in folder.iterdir()} == {
        *("model.npz", "planar.npz", "density.py", "other.py", "other.weights.npz")
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["planar.npz", "--out", "no.py"], "planar.npz: member 'planar': expected "),
        (["model.npz", "--out", "model.npz"], "--out: expected a file of its own"),
        (["model.npz", "--out", "no.txt"], "--out: no.txt: expected a file named .py"),
        (["model.npz", "--weights", "beside"], "--weights: expected --out FILE with 'beside'"),
        (["model.npz", "--to", "rust"], "--to: invalid choice: 'rust'"),
        (["no.npz"], "no.npz: expected a model file, found none there"),
        (["model.npz", "--out", "no/density.py"], "no/density.py: folder "),
    ],
)
def test_what_cannot_be_written_is_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert main(["export", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"nfref: error: {message}") and said.err.count("\n") == 1
    assert not said.out and len(list(folder.iterdir())) == 2
