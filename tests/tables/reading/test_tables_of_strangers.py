"""Tables from strangers: text, row numbers, rounded values, files in other encodings."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import main
from nfref.tables.files.model_file import load_model
from nfref.tables.reading import read_table

N = 400


def mixed(n=N):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "name": [f"p{k}" for k in range(n)],
            "city": rng.choice(["Rome", "Oslo", "São Paulo"], n),
            "income": rng.lognormal(10, 1, n),
            "married": rng.choice(["yes", "no"], n),
            "temp": np.round(2 * rng.normal(20, 3, n)) / 2,
        }
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    output, errors = capsys.readouterr()
    return status, output, errors


def fails(capsys, *arguments):
    status, _, errors = run(capsys, *arguments)
    assert status == 2 and errors.count("\n") == 1, errors
    return errors


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_text_that_repeats_is_a_category_and_other_columns_can_be_left_out(folder, capsys, kind):
    data, name = mixed(), f"t.{kind}"
    data.to_csv(name, index=False) if kind == "csv" else data.to_parquet(name)
    errors = fails(capsys, "fit", name, "--flow", "mixture", "--out", "m.npz")
    assert "column 'name': expected labels that repeat, got 400 different ones" in errors
    assert "--without name leaves the column out" in errors
    status, output, errors = run(capsys, "fit", name, "--without", "name", "--flow", "mixture")
    assert status == 0 and "city (category: " in output and "married (category: " in output
    assert "'id' numbers the rows: --without id leaves it" in errors
    assert "rounded to 0.5" in output and "a density can" not in errors
    status, _, errors = run(
        capsys, "fit", name, "--without", "id,name", "--flow", "mixture", "--out", "m.npz",
        "--column", "income=real", "--column", "temp=real",
    )  # fmt: skip
    assert status == 0
    density = load_model("m.npz").density
    assert [column.kind for column in density.columns] == ["category", "real", "category", "real"]
    # The same file again, with the columns that the model does not know.
    note = "nfref: note: columns that the model does not know are not used: 'id', 'name'\n"
    expected = density.log_prob(
        [data[name].to_numpy() for name in ("city", "income", "married", "temp")]
    )
    status, output, errors = run(capsys, "score", "m.npz", name)
    assert status == 0 and errors == note
    np.testing.assert_allclose(
        [float(line) for line in output.splitlines()[:-1]], expected, atol=1e-9
    )
    data[["name", "city", "married", "temp"]].to_csv("part.csv", index=False)
    status, output, errors = run(capsys, "predict", "m.npz", "part.csv", "--column", "income")
    assert status == 0 and "'name'" in errors and len(output.splitlines()) == N + 1
    status, _, errors = run(capsys, "impute", "m.npz", "part.csv", "--out", "whole.csv")
    assert status == 0 and "São Paulo" in (folder / "whole.csv").read_text(encoding="utf-8")
    status, _, errors = run(capsys, "plot", "m.npz", "--data", name, "--out", "m.png")
    assert status == 0 and errors == note


def test_a_file_without_all_columns_is_refused_as_before(folder, capsys):
    data = mixed()[["income", "temp"]]
    data.to_csv("t.csv", index=False)
    assert run(capsys, "fit", "t.csv", "--flow", "mixture", "--out", "m.npz")[0] == 0
    data.rename(columns={"temp": "heat"}).assign(more=1).to_csv("other.csv", index=False)
    assert "missing: 'temp'; extra: 'heat', 'more'" in fails(capsys, "score", "m.npz", "other.csv")
    np.save("t.npy", np.ones((5, 3)))
    assert "other 3" in fails(capsys, "score", "m.npz", "t.npy").replace("got 3", "other 3")


@pytest.mark.parametrize(
    "cells, message",
    [
        (["1,234.5", "2,345.6"], "thousands are not set apart by commas"),
        (
            ["59.3%", "12%"],
            "expected a number, got '59.3%' (numbers are written without a unit: remove it); "
            "--without a leaves the column out, --column a=category takes its texts as",
        ),
        (["2024-01-01", "2024-01-02"], "got '2024-01-01' (write dates and times as numbers"),
        (["1/3/24 9:30", "12:30"], "got '1/3/24 9:30' (write dates and times as numbers"),
        (["1,5", "2,5"], "decimals are written with a point"),
        (
            ["\N{MINUS SIGN}3.5", "4"],
            "got '\N{MINUS SIGN}3.5' (a minus sign is written as a hyphen)",
        ),
        (["$3", "€ 4"], "expected a number, got '$3'"),
    ],
)
def test_text_that_begins_as_a_number_is_no_category(folder, capsys, cells, message):
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": np.resize(cells, 50), "b": rng.standard_normal(50)}).to_csv(
        "t.csv", index=False
    )
    errors = fails(capsys, "fit", "t.csv", "--flow", "mixture")
    assert message in errors and "--without a leaves the column out" in errors
    assert run(capsys, "fit", "t.csv", "--flow", "mixture", "--without", "a")[0] == 0


def test_one_message_names_all_columns_that_are_refused(folder, capsys):
    """Dates, shares, names of rows, a constant and free text, with the options that mend it."""
    rng, rows = np.random.default_rng(0), range(60)
    pd.DataFrame(
        {
            "when": [f"2024-01-{1 + k % 28:02d}" for k in rows],
            "share": [f"{k} %" for k in rows],
            "id": [f"A{k}" for k in rows],
            "age": rng.normal(40, 10, 60),
            "land": "NO",
            "remark": [f"text {k}, more" for k in rows],
            "sex": rng.choice(["f", "m"], 60),
        }
    ).to_csv("t.csv", index=False)
    errors = fails(capsys, "fit", "t.csv", "--flow", "mixture")
    assert (
        "expected columns that can be fitted, got 5 that cannot (--without "
        "when,share,id,land,remark leaves these columns out, --column when=category "
        "--column share=category --column id=category --column remark=category take" in errors
    )
    for words in (
        "column 'when': expected a number, got '2024-01-01' (write dates and times as numbers",
        "row 1 (line 2), column 'share': expected a number, got '0 %' (numbers are written without",
        "column 'id': expected labels that repeat, got 60 different ones in 60 rows",
        "column 'land': expected values that differ, got 'NO' in every row",
    ):
        assert words in errors
    left_out = ("--without", "when,share,id,land,remark")
    assert run(capsys, "fit", "t.csv", "--flow", "mixture", *left_out)[0] == 0
    labels = ("--without", "share,id,land,remark", "--column", "when=category")
    assert run(capsys, "fit", "t.csv", "--flow", "mixture", *labels)[0] == 0
    for name, words in (
        ("sex", "column 'sex': expected numbers, got '"),
        ("when", "row 1 (line 2), column 'when': expected a number, got '2024-01-01' (write"),
    ):
        errors = fails(capsys, "fit", "t.csv", "--flow", "mixture", "--weights", name)
        assert f"--weights: t.csv: {words}" in errors


def test_one_message_names_bad_cells_wherever_they_are(folder, capsys):
    """Below the first 200 rows, and in the second of two files."""
    cells = np.random.default_rng(0).standard_normal((600, 4)).astype(str).astype(object)
    pd.DataFrame(cells, columns=[*"abcd"]).to_csv("0.csv", index=False)
    cells[300, 1], cells[400, 2], cells[500, 3] = "n/k", "2024-01-02", "1,234"
    pd.DataFrame(cells, columns=[*"abcd"]).to_csv("t.csv", index=False)
    for arguments in (("t.csv",), ("*.csv",)):
        errors = fails(capsys, "fit", *arguments, "--flow", "mixture")
        assert "t.csv: expected columns that can be fitted, got 3 that cannot (--with" in errors
        for words in (
            "row 301 (line 302), column 'b': expected a number, got 'n/k'",
            "row 401 (line 402), column 'c': expected a number, got '2024-01-02' (write dates",
            "row 501 (line 502), column 'd': expected a number, got '1,234' (thousands",
        ):
            assert words in errors
    assert "row 501" in fails(capsys, "fit", "t.csv", "--weights", "d", "--without", "b,c")
    assert run(capsys, "fit", "t.csv", "--flow", "mixture", "--without", "b,c,d")[0] == 0


def test_a_line_above_the_names_is_named(folder, capsys):
    (folder / "t.csv").write_text("My table\na,b\n1,2\n3,4\n")
    assert fails(capsys, "fit", "t.csv") == (
        "nfref: error: t.csv: row 1 (line 2): expected 1 column, got 2; line 1 is taken as names: "
        "'My table'\n"
    )


def test_columns_that_are_left_out_have_to_be_there(folder, capsys):
    mixed()[["income", "temp"]].to_csv("t.csv", index=False)
    assert "--without: expected a column of t.csv, got 'x'" in fails(
        capsys, "fit", "t.csv", "--without", "x"
    )
    assert "--without: expected other columns beside 'income', 'temp', got none" in fails(
        capsys, "fit", "t.csv", "--without", "income,temp"
    )
    assert "got 'x'" in fails(capsys, "fit", "wine", "--without", "x")


def test_utf_16_is_named(folder, capsys):
    (folder / "t.csv").write_text("a,b\n1,2\n", encoding="utf-16")
    assert "t.csv: expected UTF-8 text, got UTF-16 (iconv" in fails(capsys, "fit", "t.csv")


def test_figures_of_a_row_far_out_stay_in_their_column(folder, capsys):
    data = np.random.default_rng(0).standard_normal((300, 2))
    data[:60, 0] *= 1e25
    np.savetxt("t.csv", data, delimiter=",")
    _, output, _ = run(capsys, "fit", "t.csv", "--flow", "mixture")
    assert max(map(len, output.split("test nats per row")[1].splitlines()[1:])) <= 80


@pytest.mark.parametrize("delimiter, name", [("|", "t.csv"), (" ", "t.txt"), ("   ", "t.txt")])
def test_bars_and_spaces_delimit(folder, capsys, delimiter, name):
    rows = np.random.default_rng(0).standard_normal((50, 3))
    np.savetxt(name, rows, delimiter=delimiter)
    np.testing.assert_array_equal(read_table(name).values, rows)
    (folder / name).write_text(delimiter.join("abc") + "\n" + (folder / name).read_text())
    assert read_table(name).columns == ("a", "b", "c")


def test_a_table_of_categories_alone_has_the_probabilities_of_its_rows(folder, capsys):
    """No combination is held out completely, because the fit would never see it."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 3000)
    b = np.where(rng.random(3000) < 0.9, a, 1 - a)
    data = pd.DataFrame(
        {
            "a": np.array(["no", "yes"])[a],
            "b": np.array(["low", "high"])[b],
            "c": rng.integers(0, 3, 3000),
        }
    )
    data.to_csv("t.csv", index=False)
    status, output, _ = run(capsys, "fit", "t.csv", "--out", "m.npz")
    assert status == 0 and "12 distinct rows, and 300 copies kept for the test" in output
    density = load_model("m.npz").density
    seen = data.value_counts(normalize=True)
    cells = [np.array(part, object if k < 2 else float) for k, part in enumerate(zip(*seen.index))]
    found = np.exp(density.log_prob(cells))
    # The share s of 2,430 copies has the standard error (s / 2430)^1/2: allow four of them.
    assert np.all(np.abs(found - seen) < 4 * np.sqrt(seen / 2430) + 0.003)
    entropy = seen @ np.log(seen)
    figure = float(output.split("latent classes")[1].split()[0])
    assert abs(figure - entropy) < 0.2
