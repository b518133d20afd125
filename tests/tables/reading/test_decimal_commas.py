"""Decimal commas, as spreadsheets of half the world write them."""

import numpy as np
import pytest

from nfref.cli import main
from nfref.tables.reading import TableError, batches, read_table
from nfref.tables.reading.read import read_quietly

ROWS = [[0.5, -1.25], [12.0, 3e-5], [1234.5, 0.125]]


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("header", ["a{}b\n", ""])
def test_they_are_read_where_something_else_delimits(tmp_path, delimiter, header):
    lines = ["0,5;-1,25", "12;3e-5", '"1234,5";,125']
    text = header.format(delimiter) + "\n".join(lines).replace(";", delimiter) + "\n"
    path = written(tmp_path / "t.csv", text)
    table = read_table(path)
    np.testing.assert_array_equal(table.values, ROWS)
    assert table.columns == (("a", "b") if header else ("x1", "x2"))
    np.testing.assert_array_equal(next(iter(batches(path))).values, ROWS)


def test_sep_in_the_first_line(tmp_path):
    path = written(tmp_path / "t.csv", "sep=;\r\na;b\r\n0,5;2\r\n1,5;\r\n")
    table = read_quietly(path, may_be_empty=True)
    np.testing.assert_array_equal(table.values, [[0.5, 2], [1.5, np.nan]])
    assert table.whole == ("b",)


def test_labels_keep_their_commas(tmp_path):
    path = written(tmp_path / "t.csv", "a;size\n0,5;1,5\n1,5;2,5\n")
    assert read_quietly(path, texts=("size",)).labels == {"size": ["1,5", "2,5"]}


@pytest.mark.parametrize(
    "rows, cell, hint",
    [
        ("0,5;1.5\n", "0,5", "decimals are written with a point; with a comma if semicolons"),
        ("1,234;5\n", "1,234", "thousands are not set apart by commas, points or blanks; decimals"),
        ("1.234,5;6\n", "1.234,5", "thousands are not set apart"),
        (250 * "0,5;1\n" + "1.5;1\n", "1.5", "decimals are written with a comma here"),
        (250 * "0,5;1\n" + "1.500;1\n", "1.500", "thousands are not set apart"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(tmp_path, rows, cell, hint):
    """1,234 may be a thousand, and 1.500 too where others have a decimal comma."""
    path = written(tmp_path / "t.csv", "a;b\n" + rows)
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert f"got {cell!r} ({hint}" in str(caught.value)


def test_a_fit_reads_them(tmp_path, capsys):
    rows = np.random.default_rng(0).standard_normal((40, 2)).round(4)
    lines = [f"{a};{b}".replace(".", ",") for a, b in rows.tolist()]
    path = written(tmp_path / "t.csv", "\n".join(["a;b", *lines]) + "\n")
    assert main(["fit", str(path), "--flow", "mixture", "--effort", "quick"]) == 0
    assert "40 rows" in capsys.readouterr().out
