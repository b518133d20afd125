"""Files that commands write: in the format of the suffix, or refused before work."""

import gzip

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.cli import main
from nfref.tables.reading import read_table
from nfref.tables.reading.read import READERS, read_quietly
from tests.cli.commands import succeeds

TOWNS = np.array(["Oslo", "Rome", "=Bern"], object)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two models, of numbers and of a table with text, and rows of each."""
    folder, rng = tmp_path_factory.mktemp("formats"), np.random.default_rng(0)
    x = rng.standard_normal((120, 2))
    town = TOWNS[rng.integers(3, size=120)]
    fit = nfref.FlowDensity("gaussian", random_state=0).fit
    fit(x).save(folder / "numbers.npz")
    fit(pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "x3": town})).save(folder / "text.npz")
    return folder


@pytest.mark.parametrize("kind", READERS)
def test_what_a_command_writes_another_reads(models, kind):
    out = f"rows{kind}"
    succeeds("sample", "numbers.npz", "-n", 40, "--out", out, cwd=models)
    scored = succeeds("score", "numbers.npz", out, "--out", f"scores{kind}", cwd=models)
    printed = succeeds("score", "numbers.npz", out, cwd=models).splitlines()
    scores = read_table(models / f"scores{kind}").values[:, 0]
    np.testing.assert_array_equal(scores, np.array(printed[:-1], float))
    assert printed[-1] == scored.splitlines()[0]
    for command in (
        ("predict", "numbers.npz", out, "--column", "x1"),
        ("impute", "numbers.npz", out),
    ):
        succeeds(*command, "--out", f"more{kind}", cwd=models)
        assert len(read_table(models / f"more{kind}").values) == 40


@pytest.mark.parametrize("kind", READERS)
def test_labels_are_written_or_refused_before_work(models, kind, monkeypatch, capsys):
    monkeypatch.chdir(models)
    text = main(["sample", "text.npz", "-n", "40", "--out", f"labels{kind}"])
    if kind in (".npy", ".npz"):
        assert text == 2 and not (models / f"labels{kind}").exists()
        assert "expected a format that holds text, such as .csv" in capsys.readouterr().err
        return
    found = read_quietly(models / f"labels{kind}", texts=("x3",))
    assert set(found.cells()[2]) == set(TOWNS)
    plain = succeeds("sample", "text.npz", "-n", 40, cwd=models)
    (models / "plain.csv").write_text(plain)
    expected = read_quietly(models / "plain.csv", texts=("x3",))
    assert [cells.tolist() for cells in found.cells()] == [
        cells.tolist() for cells in expected.cells()
    ]


def test_whole_numbers_stay_whole_in_parquet(models):
    rng = np.random.default_rng(0)
    rows = {"k": rng.poisson(3, 200), "share": rng.integers(1, 99, 200), "x": rng.random(200)}
    frame = pd.DataFrame(rows)
    frame.to_csv(models / "whole.csv", index=False)
    fit = ("fit", "whole.csv", "--flow", "gaussian", "--column", "share=0:100")
    succeeds(*fit, "--out", "whole.npz", cwd=models)
    frame["id"] = range(200)
    frame.loc[:9, "k"] = np.nan
    frame.to_csv(models / "some.csv", index=False)
    for name, command in {
        "new": ("sample", "whole.npz", "-n", 9),
        "filled": ("impute", "whole.npz", "some.csv"),
    }.items():
        succeeds(*command, "--out", f"{name}.parquet", cwd=models)
        found = pd.read_parquet(models / f"{name}.parquet")
        kinds = [kind.kind for kind in found.dtypes]
        assert kinds == (["i", "i", "f", "i"] if name == "filled" else ["i", "i", "f"])


@pytest.mark.parametrize(
    "command, out, works",
    [
        ("sample numbers.npz -n 3", "s.xlsx", ".csv, .tsv, .txt, .csv.gz, "),
        ("sample numbers.npz -n 3", "s", ".csv, .tsv, .txt, .csv.gz, "),
        ("score numbers.npz toy.csv", "s.json", ".csv, .tsv, .txt, .csv.gz, "),
        ("predict numbers.npz toy.csv --column x1", "s.zst", ".csv, .tsv, .txt, .csv.gz, "),
        ("impute numbers.npz toy.csv", "s.csv.bz2", ".csv, .tsv, .txt, .csv.gz, "),
        ("plot numbers.npz", "p.html", ".png, .pdf, .svg, "),
        ("fit toy.csv", "m.csv", ".npz, "),
        ("fit toy.csv", "m", ".npz, "),
    ],
)
def test_a_suffix_of_no_format_is_refused_before_work(
    tmp_path, command, out, works, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)  # neither the model nor the data is there
    assert main([*command.split(), "--out", out]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"nfref: error: --out: {out}: expected a file named {works}")
    assert ", got " in message and not list(tmp_path.iterdir())


def test_the_same_rows_give_the_same_gzip_file(models):
    for _ in range(2):
        succeeds("sample", "numbers.npz", "-n", 9, "--out", "again.csv.gz", cwd=models)
        found = (models / "again.csv.gz").read_bytes()
        succeeds("sample", "numbers.npz", "-n", 9, "--out", "again.csv", cwd=models)
    assert found == (models / "again.csv.gz").read_bytes()
    assert gzip.decompress(found) == (models / "again.csv").read_bytes()
