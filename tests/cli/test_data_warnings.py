"""Check what ``nfref fit`` says about data and about what it found."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import main
from nfref.cli.data_warnings import about_columns
from nfref.tables.schema.columns import Continuous, Count
from tests.cli.commands import COLUMNS, SMALL, in_process, people, succeeds, write_people


@pytest.mark.thorough
def test_ties_collapse_the_mixture_and_are_said_to(tmp_path):
    rows = np.random.default_rng(0).standard_normal((2000, 2))
    for k in range(8):  # each in less than a tenth of the rows, on no rounding grid
        rows[k::12, 1] = np.sqrt(k)
    write_people(tmp_path / "t.csv", rows=rows, header=("a", "b"))
    output = succeeds("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert "(collapsed)" in output
    assert "the mixture's" in output and "shrunk onto repeated values" in output


def test_a_flow_far_below_the_gaussian_is_said_to_be(tmp_path):
    mixing = np.array([[1, 2, 0], [0, 1e-4, 1], [1, 0, 0]])
    write_people(tmp_path / "t.csv", rows=people(400) @ mixing)
    output = succeeds(
        "fit",
        "t.csv",
        "--flow",
        "planar",
        "--layers",
        "1",
        "--epochs",
        "1",
        "--lr",
        "1e-12",
        cwd=tmp_path,
    )
    assert "note: it is worse than the Gaussian by" in output


def test_duplicates_are_noticed(tmp_path):
    write_people(tmp_path / "t.csv", rows=np.concatenate([people(50), people(50)[:7]]))
    noticed = succeeds("fit", "t.csv", *SMALL, "--verbose", cwd=tmp_path)
    assert "57 rows" in noticed and "7 rows equal to an earlier one" in noticed


def test_codes_with_zeros_in_front_are_named(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{code:05d},{day},{x}" for code, day, x in zip(
        rng.choice([501, 90210, 10001], 60), rng.integers(0, 30, 60), rng.random(60)
    )]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["zip,day,x", *lines]))
    said = "'zip' has zeros in front, as codes have, and is read as a number: --column zip=category"
    fit = ("fit", "t.csv", "--flow", "gaussian", "--verbose")
    output = succeeds(*fit, cwd=tmp_path)
    assert said in output and output.count("in front") == 1
    each = [f"{k:05d}{line[5:]}" for k, line in enumerate(rng.permutation(lines))]
    (tmp_path / "each.csv").write_text("\n".join(["zip,day,x", *each]))
    output = succeeds("fit", "each.csv", "--flow", "gaussian", "--verbose", cwd=tmp_path)
    assert "and is read as a number: --without zip leaves it out" in output
    output = succeeds(*fit, "--column", "zip=category", "--out", "m.npz", cwd=tmp_path)
    assert "in front" not in output
    codes = {line[:5] for line in lines}
    samples = succeeds("sample", "m.npz", "-n", 20, cwd=tmp_path).splitlines()[1:]
    assert {line[:5] for line in samples} <= codes


def test_three_lines_say_what_was_found(tmp_path):
    """Rows, columns and supports; --verbose says more, and an option undoes a support."""
    rows = people(200)
    rows[:, 2] = np.random.default_rng(0).lognormal(0, 1, 200)
    write_people(tmp_path / "t.csv", rows=rows)
    short, long, asked = (
        succeeds("fit", "t.csv", "--members", "0", *more, cwd=tmp_path).split("the model will")[0]
        for more in ((), ("--verbose",), ("--column", "age=real"))
    )
    assert short.count("\n") == 3 and "200 rows, 3 columns" in short
    assert "columns: 3 of real numbers" in short and "notes: --verbose)" in short
    assert "'age' positive;" in short and "--column" in short
    assert "'age' positive" in long and "--verbose" not in long
    assert "'age' positive" not in asked


def test_a_value_that_repeats_is_noticed(tmp_path):
    rows = people(60)
    rows[:30, 2] = 7.5
    write_people(tmp_path / "t.csv", rows=rows)
    output = succeeds("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert "1 with a value that many rows share ('age' 7.5)" in output


def test_linearly_dependent_columns_are_refused_by_name(tmp_path):
    rows = people(60)
    write_people(
        tmp_path / "t.csv",
        rows=np.concatenate([rows, rows[:, :1] + rows[:, 2:]], axis=1),
        header=(*COLUMNS, "sum"),
    )
    done = in_process("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert done.returncode == 2 and "--without sum leaves the column out" in done.stderr


def test_names_of_rows_are_noticed(tmp_path):
    """Row numbers ascend, with gaps."""
    rows = people(60)
    number = 1000.0 + np.cumsum(1 + np.arange(60) % 3)
    rows = np.column_stack([number, np.exp(rows[:, 0] / 50), rows[:, 2] - 40])
    write_people(tmp_path / "t.csv", rows=rows, header=("number", "charges", "change"))
    output = succeeds("fit", "t.csv", *SMALL, "--verbose", cwd=tmp_path)
    assert "'number' holds different whole numbers in order" in output


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_index_of_pandas_is_noted_without_verbose(tmp_path, shuffled):
    frame = pd.DataFrame(people(60), columns=COLUMNS)
    frame = frame.sample(frac=1, random_state=0) if shuffled else frame
    frame.to_csv(tmp_path / "t.csv")
    done = in_process("fit", "t.csv", "--members", 0, cwd=tmp_path)
    assert done.stderr == "nfref: note: 'x1' only numbers the rows: --without x1 leaves it out\n"
    done = in_process("fit", "t.csv", "--members", 0, "--without", "x1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_wide_tables_take_is_said_or_refused(tmp_path, monkeypatch, capsys):
    """Ten thousand columns once took the command for hours, without a line."""
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.random.default_rng(0).standard_normal((20, 2001)))
    assert main(["fit", "t.npy", "--members", "0", "--out", "m.npz"]) == 2
    output, error = capsys.readouterr()
    assert error.startswith(
        "nfref: error: t.npy: columns: expected at most 2,000 real ones, got 2,001, whose "
        "densities take 4 minutes or more; leave columns out, or fit their principal components"
    )
    assert error.count("\n") == 1 and not (tmp_path / "m.npz").exists()
    columns = [Continuous(f"x{k}") for k in range(1000)]
    assert [*about_columns(columns, ())] == [
        "1,000 real columns: the simple densities take about 0.5 minutes of a processor, before "
        "any flow, and an eighth of that for half of the columns"
    ]
    assert not [*about_columns(columns[:500], ())]
    counts = [Count(f"n{k}") for k in range(200)]
    (line,) = about_columns(counts, ())
    assert line.endswith("'n49' count and 150 more")
