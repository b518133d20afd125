"""``nfref fit`` with more rows than it takes: one sample, for any division into files."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import main
from nfref.tables.files.model_file import load_model
from nfref.tables.fitting import trainings
from nfref.tables.reading import sampling, write_table

NAMES = ("age", "share")
QUICK = ("--effort", "quick")


def rows(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.gamma(4, 10, n), rng.beta(2, 3, n)], axis=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which 300 rows are as many as a fit takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sampling, "ROWS", 300)
    return tmp_path


@pytest.mark.thorough
def test_a_sample_is_used_and_said(folder, capsys, monkeypatch):
    write_table("t.csv", NAMES, [rows()])
    assert main(["fit", "t.csv", *QUICK, "--out", "m.npz"]) == 0
    told = capsys.readouterr().out
    assert "t.csv: 300 rows, 2 columns" in told
    assert "a sample of 300 of 3,000 rows" in told
    assert sum(load_model("m.npz").info["fit"]["rows"].values()) == 300
    monkeypatch.setattr(sampling, "ROWS", 3000)
    assert main(["fit", "t.csv", "--flow", "mixture"]) == 0
    assert "a sample" not in capsys.readouterr().out


@pytest.mark.thorough
def test_files_of_any_kind_and_cut_give_the_same_bits(folder):
    data = rows()
    write_table("t.csv", NAMES, [data])
    write_table("t.parquet", NAMES, [data[:7], data[7:]])
    (folder / "parts").mkdir()
    for k, part in enumerate(np.split(data, [500, 501])):
        write_table(f"parts/{k}.parquet", NAMES, [part])
    models = []
    for k, name in enumerate(("t.csv", "t.parquet", "parts/*.parquet")):
        assert main(["fit", name, *QUICK, "--out", f"{k}.npz"]) == 0
        models.append(load_model(f"{k}.npz").density)
    scores = [model.log_prob(list(data.T)) for model in models]
    np.testing.assert_array_equal(scores[1], scores[0])
    np.testing.assert_array_equal(scores[2], scores[0])


def test_rows_outside_of_the_sample_are_looked_at(folder, capsys):
    data = rows(20_000)
    frame = pd.DataFrame(
        {"age": data[:, 0], "share": data[:, 1], "children": np.arange(20_000) % 4, "w": 1.0}
    )
    spoilt = {
        "age": (-3.0, "expected values strictly between 0 and inf, got -3 in row 19990"),
        "share": (1.5, "expected values strictly between 0 and 1, got 1.5 in row 19990"),
        "children": (0.5, "expected whole numbers, got 0.5 in row 19990"),
        "w": (-1.0, "expected finite numbers of at least 0, got -1 in row 19990"),
    }
    for name, (value, message) in spoilt.items():
        bad = frame.astype(float).copy()
        bad.loc[19_989, name] = value
        bad.to_csv("t.csv", index=False)
        assert (
            main(
                [
                    "fit",
                    "t.csv",
                    *QUICK,
                    "--column",
                    "age=positive",
                    "--column",
                    "share=0:1",
                    "--column",
                    "children=count",
                    "--weights",
                    "w",
                    "--out",
                    "m.npz",
                ]
            )
            == 2
        )
        errors = capsys.readouterr().err
        assert f"t.csv: column {name!r}: {message}" in errors and errors.count("\n") == 1
    assert not (folder / "m.npz").exists()


def test_labels_outside_of_the_sample_are_known(folder):
    """A label of one row of three thousand gets its smoothed probability, in the sample or not."""
    frame = pd.DataFrame(
        {"x": rows()[:, 0], "kind": np.array(["b", "c"])[np.arange(3000) % 2], "flag": "no"}
    )
    frame.loc[2999, ["kind", "flag"]] = "a", "yes"
    frame.to_csv("t.csv", index=False)
    frame.iloc[:3000].to_parquet("t.parquet")
    frame.loc[[2999, 0]].to_csv("rare.csv", index=False)
    densities = []
    for name in ("t.csv", "t.parquet"):
        assert main(["fit", name, *QUICK, "--flow", "mixture", "--out", "m.npz"]) == 0
        density = load_model("m.npz").density
        assert density.columns[1].labels == ("a", "b", "c")
        assert density.columns[2].labels == ("no", "yes")
        assert main(["score", "m.npz", "rare.csv", "--out", "s.csv"]) == 0
        densities.append(pd.read_csv("s.csv")["log_likelihood"].to_numpy())
        assert np.all(np.isfinite(densities[-1])) and densities[-1][0] < densities[-1][1] - 3
    np.testing.assert_array_equal(*densities)


def test_counts_below_zero_anywhere_are_possible(folder):
    frame = pd.DataFrame({"x": rows()[:, 0], "n": np.arange(3000) % 3})
    frame.loc[2999, "n"] = -4
    frame.to_csv("t.csv", index=False)
    assert main(["fit", "t.csv", *QUICK, "--flow", "mixture", "--out", "m.npz"]) == 0
    density = load_model("m.npz").density
    assert density.columns[1].kind == "count"
    assert np.isfinite(density.log_prob([np.array([30.0]), np.array([-4.0])])[0])


def test_a_checkpoint_knows_how_its_rows_were_drawn(folder, monkeypatch, capsys):
    monkeypatch.setattr(trainings, "CHECKPOINT_SECONDS", 0.0)
    write_table("t.csv", NAMES, [rows()])
    fit = ("fit", "t.csv", *QUICK)
    assert main([*fit, "--resume", "c.npz"]) == 0
    monkeypatch.setattr(sampling, "ROWS", 200)
    assert main([*fit, "--resume", "c.npz"]) == 2
    assert "expected the DATA it was written with" in capsys.readouterr().err


def test_the_first_file_says_which_columns_hold_texts(folder, capsys):
    """Numbers of one file would be taken for the places of the labels of another."""
    cells = {"numbers": [0, 1], "texts": ["no", "yes"], "nothing": [None, None]}
    for name, kinds in {"n": ("numbers", "nothing", "texts"), "t": ("texts", "nothing")}.items():
        for k, kind in enumerate(kinds):
            frame = pd.DataFrame({"age": rows(20)[:, 0], "smokes": cells[kind] * 10})
            frame.to_csv(f"{name}{k}.csv", index=False)
    assert main(["fit", "n[01].csv", *QUICK]) == main(["fit", "t?.csv", *QUICK]) == 0
    assert main(["fit", "n?.csv", *QUICK]) == 2
    message = "n2.csv: row 1 (line 2), column 'smokes': expected a number, got 'no'; --without"
    assert message in capsys.readouterr().err
    assert main(["fit", "n?.csv", *QUICK, "--column", "smokes=category"]) == 0


def test_the_whole_of_a_large_file_is_not_read_to_refuse_it(folder, capsys):
    (folder / "t.csv").write_text("share,age\n" + "5%,7\n" * 70_000 + "the end\n")
    assert main(["fit", "t.csv"]) == 2
    assert "column 'share': expected a number, got '5%'" in capsys.readouterr().err


def test_a_pattern_without_files(folder, capsys):
    assert main(["fit", "none/*.parquet"]) == 2
    assert "none/*.parquet: expected files of that pattern, found none" in capsys.readouterr().err
