"""Columns of a file that the model does not know: one rule for all commands that read rows."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import main
from tests.cli.commands import in_process, succeeds

NAMES = ["code", "when", "note"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of a and b, and a table that holds other columns too."""
    folder = tmp_path_factory.mktemp("unknown")
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": rng.standard_normal(60), "b": rng.standard_normal(60)}).round(3)
    data.to_csv(folder / "known.csv", index=False)
    succeeds(
        "fit", "known.csv", "--flow", "mixture", "--effort", "quick", "--column", "a=real",
        "--column", "b=real", "--out", "m.npz", cwd=folder,
    )  # fmt: skip
    data.loc[3, "a"] = None
    data.insert(0, "code", [f"{k:03}" for k in range(60)])
    data.insert(2, "when", "2024-01-02 10:00+01:00")
    data["note"] = ["", "1_000", '"so"', "NA", "1.50", "=1"] * 10
    data.to_csv(folder / "more.csv", index=False)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "m.npz", "more.csv"),
        ("predict", "m.npz", "more.csv", "--column", "b"),
        ("plot", "m.npz", "--data", "more.csv", "--out", "p.png"),
        ("impute", "m.npz", "more.csv", "--out", "i.csv"),
    ],
)
def test_whatever_they_hold_one_note_names_them(place, arguments):
    done = in_process(*arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if "does not know" in line]
    done = "written as they are" if arguments[0] == "impute" else "not used"
    assert notes == [
        f"nfref: note: columns that the model does not know are {done}: 'code', 'when', 'note'"
    ]


def test_impute_writes_them_as_they_are(place):
    succeeds("impute", "m.npz", "more.csv", "--out", "i.csv", cwd=place)
    before, after = (
        pd.read_csv(place / name, dtype=str, keep_default_na=False)
        for name in ("more.csv", "i.csv")
    )
    assert list(after) == list(before) == ["code", "a", "when", "b", "note"]
    pd.testing.assert_frame_equal(after[NAMES], before[NAMES])
    assert before.a[3] == "" and np.isfinite(float(after.a[3]))


def test_impute_writes_numbers_where_a_format_holds_no_text(place):
    table = pd.read_csv(place / "more.csv")[["a", "b"]].assign(id=np.arange(60), part=0.25)
    table.loc[5, "part"] = None
    table.to_csv(place / "numbers.csv", index=False)
    succeeds("impute", "m.npz", "numbers.csv", "--out", "i.npy", cwd=place)
    found = np.load(place / "i.npy")
    np.testing.assert_array_equal(found[:, 2:], table[["id", "part"]])
    succeeds("impute", "m.npz", "numbers.csv", "--out", "i.parquet", cwd=place)
    found = pd.read_parquet(place / "i.parquet")
    np.testing.assert_array_equal(found[["id", "part"]], table[["id", "part"]])
    table.assign(id=2**53 + 1).to_csv(place / "long.csv", index=False)
    succeeds("impute", "m.npz", "long.csv", "--out", "i.parquet", cwd=place)
    assert set(pd.read_parquet(place / "i.parquet")["id"]) == {str(2**53 + 1)}


def test_columns_of_a_parquet_are_passed_through(place):
    table = pd.read_csv(place / "more.csv")
    table["when"], table["id"] = pd.to_datetime(table["when"]), np.arange(60)
    table.to_parquet(place / "more.parquet")
    succeeds("impute", "m.npz", "more.parquet", "--out", "i.csv", cwd=place)
    found = pd.read_csv(place / "i.csv")
    assert list(found["id"]) == list(range(60))
    assert list(pd.to_datetime(found["when"])) == list(table["when"])


def test_a_column_that_is_missing_is_named_before_them(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    pd.read_csv("more.csv").drop(columns="b").to_csv("less.csv", index=False)
    assert main(["score", "m.npz", "less.csv", "--out", "no.csv"]) == 2
    said = capsys.readouterr().err
    assert "'b'" in said.splitlines()[-1] and "number" not in said
