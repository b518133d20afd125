"""Tables that cannot be used: one line that says why, exit 2, nothing written."""

import numpy as np
import pytest

from nfref.cli import main

ROWS = np.round(np.random.default_rng(0).standard_normal((40, 2)), 4).tolist()
PLAIN = [f"{a},{b}" for a, b in ROWS]


def fit(path, lines, *options, encoding="utf-8"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    out = str(path.parent / "m.npz")
    return main(["fit", str(path), "--flow", "mixture", "--out", out, *options])


@pytest.mark.parametrize(
    "lines, options, encoding, message",
    [
        (
            ["a,b", *(f'"{a}",{b}'.replace(".", ",", 1) for a, b in ROWS)],
            (),
            "utf-8",
            "(decimals are written with a point; with a comma if semicolons or tabs delimit, and "
            "the first 200 rows leave no doubt); --without a leaves the column out\n",
        ),
        (["a,b", *PLAIN], (), "utf-16", "expected UTF-8 text, got UTF-16"),
        (
            ["a,b", *(f'"{k},000",{k}' for k in range(1, 40))],
            (),
            "utf-8",
            "(thousands are not set apart by commas",
        ),
        (
            ["a,b", *(f"{a},{b} kg" for a, b in ROWS)],
            (),
            "utf-8",
            "kg' (numbers are written without a unit: remove it); --without b leaves the column "
            "out, --column b=category takes its texts as labels\n",
        ),
        (["a,a", *PLAIN], (), "utf-8", "expected columns of different names, got 'a' 2 times"),
        (
            ["a,b,w", *(f"{line},-1" for line in PLAIN)],
            ("--weights", "w"),
            "utf-8",
            "column 'w': expected finite numbers of at least 0, got -1",
        ),
        (
            ["a,b,w", *(f"{line},0" for line in PLAIN)],
            ("--weights", "w"),
            "utf-8",
            "column 'w': expected one above 0",
        ),
    ],
)
def test_one_line_and_nothing_is_written(tmp_path, capsys, lines, options, encoding, message):
    assert fit(tmp_path / "t.csv", lines, *options, encoding=encoding) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1 and message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_mark_of_byte_order_is_no_part_of_a_name(tmp_path, capsys):
    assert fit(tmp_path / "t.csv", ["a,b", *PLAIN], encoding="utf-8-sig") == 0
    assert "columns: a (rounded to 0.0001), b (rounded" in capsys.readouterr().out


def test_more_columns_than_rows(tmp_path, capsys):
    rows = np.random.default_rng(1).standard_normal((12, 60))
    lines = [",".join(f"c{k}" for k in range(60)), *(",".join(map(str, row)) for row in rows)]
    assert fit(tmp_path / "t.csv", lines) == 0
    assert "shrunk gaussian" in capsys.readouterr().out


def test_ties_are_named(tmp_path, capsys):
    assert fit(tmp_path / "t.csv", ["a,b", *PLAIN, *(f"0.123456789,{b}" for _, b in ROWS)]) == 0
    assert "atoms 0.123457)" in capsys.readouterr().out
