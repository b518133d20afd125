"""``nfref fit``: flows, columns and options."""

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.tables.files.model_file import load_model
from nfref.tables.reading import read_table
from tests.cli.commands import (
    MAF,
    REAL,
    in_process,
    nfref_command,
    people,
    succeeds,
    table_of,
    write_people,
)


def test_the_same_seed_gives_the_same_file(folder):
    """Include a fit in another process."""
    nfref_command("fit", "people.csv", "--flow", "realnvp", *REAL, "--out", "again.npz", cwd=folder)
    assert (folder / "again.npz").read_bytes() == (folder / "people.npz").read_bytes()


def test_bounded_columns(folder, tmp_path):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.beta(0.5, 0.5, 100), rng.standard_normal(100)], axis=1)
    write_people(tmp_path / "t.csv", rows=rows, header=("share", "gain"))
    succeeds("fit", "t.csv", *MAF, "--column", "share=0:1", "--out", "m.npz", cwd=tmp_path)
    succeeds("sample", "m.npz", "-n", "2000", "--out", "new.csv", cwd=tmp_path)
    shares = read_table(tmp_path / "new.csv").values[:, 0]
    assert np.all((shares > 0) & (shares < 1))

    write_people(
        tmp_path / "out.csv", rows=np.array([[0.5, 0.0], [1.5, 0.0]]), header=("share", "gain")
    )
    done = in_process("score", "m.npz", "out.csv", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[1:] == [
        "-inf",
        "mean log-likelihood: -inf nats",
    ]
    assert done.stderr.startswith("nfref: note: 1 row where") and done.stderr.count("\n") == 1


def test_one_column(tmp_path):
    write_people(tmp_path / "t.csv", rows=people()[:, :1], header=("height",))
    output = succeeds("fit", "t.csv", *MAF, "--out", "m.npz", "--plot", "m.png", cwd=tmp_path)
    assert "maf" in output and "NSF" in succeeds("info", "m.npz", cwd=tmp_path)
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name",
    [
        "planar",
        "nice",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("maf", "iaf")),
    ],
)
def test_the_other_flows(folder, name):
    output = succeeds("fit", "people.csv", "--flow", name, "--time", "1", "--seed", "5", cwd=folder)
    assert next(iter(table_of(output))) == name


@pytest.mark.parametrize("asked, name", [("gaussian", "gaussian"), ("MixTure", "mixture")])
def test_simple_densities_are_asked_for_as_in_python(tmp_path, asked, name):
    rows = people()
    write_people(tmp_path / "t.csv", rows=rows)
    succeeds("fit", "t.csv", "--flow", asked, "--out", "m.npz", cwd=tmp_path)
    names = load_model(tmp_path / "m.npz").density.pool.shares
    expected = nfref.FlowDensity(name, random_state=0).fit(rows).density_.pool.shares
    assert not any("flow" in one or "nsf" in one for one in names)
    assert ("mixture" in " ".join(names)) == (name == "mixture")
    assert list(names)[:3] == list(expected)[:3]


def test_names_of_flows_in_any_case(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path / "t.csv", rows=people(60))
    for flow in ("NICE", "nice"):
        assert main(["fit", "t.csv", "--flow", flow, "--out", f"{flow}.npz"]) == 0
    assert (tmp_path / "NICE.npz").read_bytes() == (tmp_path / "nice.npz").read_bytes()
    fit = nfref.FlowDensity("NICE", members=1, epochs=1, random_state=0).fit(people(60))
    assert fit.get_params()["flow"] == "NICE"
