"""Check what ``nfref fit`` says about data and about what it found."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import main
from tests.cli.commands import COLUMNS, MAF, in_process, people, succeeds, write_people


def test_duplicates_are_counted(tmp_path):
    write_people(tmp_path / "t.csv", rows=np.concatenate([people(50), people(50)[:7]]))
    noticed = succeeds("fit", "t.csv", "--flow", "gaussian", cwd=tmp_path)
    assert "57 rows, 3 columns; 50 distinct rows, 5 of them kept for the test" in noticed


def test_codes_with_zeros_in_front_are_named(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{code:05d},{day},{x}" for code, day, x in zip(
        rng.choice([501, 90210, 10001], 60), rng.integers(0, 30, 60), rng.random(60)
    )]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["zip,day,x", *lines]))
    said = "'zip' has zeros in front, as codes have, and is read as a number: --column zip=category"
    fit = ("fit", "t.csv", "--flow", "gaussian")
    notes = in_process(*fit, cwd=tmp_path).stderr
    assert said in notes and notes.count("in front") == 1
    each = [f"{k:05d}{line[5:]}" for k, line in enumerate(rng.permutation(lines))]
    (tmp_path / "each.csv").write_text("\n".join(["zip,day,x", *each]))
    notes = in_process("fit", "each.csv", "--flow", "gaussian", cwd=tmp_path).stderr
    assert "and is read as a number: --without zip leaves it out" in notes
    notes = in_process(*fit, "--column", "zip=category", "--out", "m.npz", cwd=tmp_path).stderr
    assert "in front" not in notes
    codes = {line[:5] for line in lines}
    samples = succeeds("sample", "m.npz", "-n", 20, cwd=tmp_path).splitlines()[1:]
    assert {line[:5] for line in samples} <= codes


def test_three_lines_say_what_was_found(tmp_path):
    """Rows, columns and supports; an option undoes a support."""
    rows = people(200)
    rows[:, 2] = np.random.default_rng(0).lognormal(0, 1, 200)
    write_people(tmp_path / "t.csv", rows=rows)
    found, asked = (
        succeeds("fit", "t.csv", "--flow", "gaussian", *more, cwd=tmp_path).split("the model will")[
            0
        ]
        for more in ((), ("--column", "age=real"))
    )
    assert found == (
        "t.csv: 200 rows, 3 columns; 200 distinct rows, 20 of them kept for the test\n"
        "columns: height (rounded to 1e-05), body weight, age (0:inf)\n"
        "supports: 'age' positive; --column NAME=real undoes one\n"
    )
    assert asked == "".join(found.splitlines(keepends=True)[:2]).replace(" (0:inf)", "")


def test_a_value_that_repeats_is_noticed(tmp_path):
    rows = people(60)
    rows[:30, 2] = 7.5
    write_people(tmp_path / "t.csv", rows=rows)
    output = succeeds("fit", "t.csv", *MAF, cwd=tmp_path)
    assert "atoms 7.5)" in output


def test_linearly_dependent_columns_are_refused_by_name(tmp_path):
    rows = people(60)
    write_people(
        tmp_path / "t.csv",
        rows=np.concatenate([rows, rows[:, :1] + rows[:, 2:]], axis=1),
        header=(*COLUMNS, "sum"),
    )
    done = in_process("fit", "t.csv", *MAF, cwd=tmp_path)
    assert done.returncode == 2 and "--without sum leaves the column out" in done.stderr


def test_names_of_rows_are_noticed(tmp_path):
    """Row numbers ascend, with gaps."""
    rows = people(60)
    number = 1000.0 + np.cumsum(1 + np.arange(60) % 3)
    rows = np.column_stack([number, np.exp(rows[:, 0] / 50), rows[:, 2] - 40])
    write_people(tmp_path / "t.csv", rows=rows, header=("number", "charges", "change"))
    output = in_process("fit", "t.csv", *MAF, cwd=tmp_path).stderr
    assert "'number' numbers the rows" in output


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_index_of_pandas_is_noted(tmp_path, shuffled):
    frame = pd.DataFrame(people(60), columns=COLUMNS)
    frame = frame.sample(frac=1, random_state=0) if shuffled else frame
    frame.to_csv(tmp_path / "t.csv")
    done = in_process("fit", "t.csv", "--flow", "mixture", cwd=tmp_path)
    assert done.stderr == "nfref: note: 'x1' numbers the rows: --without x1 leaves it out\n"
    done = in_process("fit", "t.csv", "--flow", "mixture", "--without", "x1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_too_wide_tables_are_refused(tmp_path, monkeypatch, capsys):
    """Ten thousand columns once took the command for hours, without a line."""
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.random.default_rng(0).standard_normal((20, 2001)))
    assert main(["fit", "t.npy", "--flow", "mixture", "--out", "m.npz"]) == 2
    output, error = capsys.readouterr()
    assert error.startswith(
        "nfref: error: t.npy: columns: expected at most 2,000 real ones, got 2,001, whose "
        "densities take 4 minutes or more; leave columns out, or fit their principal components"
    )
    assert error.count("\n") == 1 and not (tmp_path / "m.npz").exists()
