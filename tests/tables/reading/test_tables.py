"""Tables: reading them, and the refusal of every kind of bad file."""

import builtins
import csv
import io
import os
import pickle
import re
import shutil
import stat
import threading
import time
import tracemalloc

import numpy as np
import pytest

from nfref.runtime.files import check_writable, replacing
from nfref.tables.reading import Table, TableError, read_table, write_table
from nfref.tables.reading.read import read_quietly
from nfref.tables.reading.table import match_columns

ROWS = np.array([[1.0, -2.5], [3e-5, 4.0], [5.0, 0.1]])


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, pattern):
    """The one-line error of reading ``path``; it starts with the file's name."""
    with pytest.raises(TableError, match=pattern) as caught:
        read_table(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


# Text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content",
    [
        ("comma.csv", "a,b\n1,-2.5\n3e-5,4\n5,.1\n"),
        ("semicolon.csv", "a;b\n1;-2.5\n3e-5;4\n5;.1\n"),
        ("tab.tsv", "a\tb\n1\t-2.5\n3e-5\t4\n5\t.1\n"),
        ("quoted.csv", '"a";"b"\n"1";-2.5\n3e-5;"4"\n5;.1\n'),
        ("windows.csv", "a,b\r\n1,-2.5\r\n3e-5,4\r\n5,.1\r\n"),
        ("byte_order_mark.csv", "\ufeffa,b\n1,-2.5\n3e-5,4\n5,.1\n"),
        ("blank_lines.csv", "\na,b\n1,-2.5\n\n3e-5,4\n5,.1\n\n\n"),
        ("no_last_newline.csv", "a,b\n1,-2.5\n3e-5,4\n5,.1"),
        ("spaces.csv", "a, b\n1, -2.5\n 3e-5 ,4\n5, .1\n"),
        ("UPPER.CSV", "a,b\n1,-2.5\n3e-5,4\n5,.1\n"),
    ],
)
def test_text_with_names(tmp_path, name, content):
    table = read_table(written(tmp_path, name, content))
    assert table.columns == ("a", "b") and table.named
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, ROWS)


def test_text_without_names(tmp_path):
    table = read_table(written(tmp_path, "plain.csv", "1,-2.5\n3e-5,4\n5,.1\n"))
    assert table.columns == ("x1", "x2") and not table.named
    np.testing.assert_array_equal(table.values, ROWS)


def test_names_may_hold_delimiters_and_line_breaks(tmp_path):
    content = '"a; long, name";"two\nlines"\n1;2\n3;4\n'
    columns = read_table(written(tmp_path, "t.csv", content)).columns
    assert columns == ("a; long, name", "two\nlines")


def guessed(path, header="auto"):
    """Return (columns or None, rows) of a file whose first line is ambiguous; a warning says so."""
    with pytest.warns(UserWarning, match="line 1 .*; --header (yes|no) takes it as"):
        table = read_table(path, header)
    return table.columns if table.named else None, len(table.values)


@pytest.mark.parametrize(
    "content, columns, rows",
    [
        ("year,2019,\n1,2,3\n", ("year", "2019", "x3"), 1),
        ("0,1,2\n.5,1,2\n3,4,5\n", ("0", "1", "2"), 2),  # pandas, of unnamed columns
        ("0,1,2\n3,4,5\n", None, 2),  # whole numbers throughout
        ("2019,2020,2022\n.5,1,2\n", ("2019", "2020", "2022"), 1),
        ("0\n.5\n1.5\n", ("0",), 2),
        ("NA\n1.5\n", ("NA",), 1),
        ("# a,b\n1,2\n3,4\n", ("a", "b"), 2),  # numpy.savetxt
    ],
)
def test_a_first_line_that_may_be_names_is_asked_about(tmp_path, content, columns, rows):
    path = written(tmp_path, "t.csv", content)
    assert guessed(path) == (columns, rows)
    assert read_table(path, "yes").named
    if content[0].isdigit():  # a first line that is not numbers can't be data
        assert len(read_table(path, "no").values) == content.count("\n")


@pytest.mark.parametrize("first", ["1.5,tall", "1.5,NA", "7,?", "7,8_5", "7,1.2.3", "1.5,"])
def test_a_bad_cell_in_the_first_row_is_no_header(tmp_path, first):
    refused(written(tmp_path, "t.csv", f"{first}\n1,2\n"), r"row 1 \(line 1\), column 'x2'")
    refused(written(tmp_path, "t.csv", ",\n1,2\n"), r"row 1 \(line 1\), column 'x1'")


@pytest.mark.parametrize(
    "content, columns",
    [
        ("# made by me, in 2020\na,b\n1,2\n", ("a", "b")),
        ("# made\n#\na,b\n1,2\n", ("a", "b")),
        ("# three, cells, here\n1.5,2\n", ("x1", "x2")),
        ('"0","1"\n1,2\n', ("0", "1")),
        ('"#a","NA"\n1,2\n', ("#a", "NA")),
    ],
)
def test_comments_and_quoted_names_are_certain(tmp_path, content, columns):
    table = read_table(written(tmp_path, "t.csv", content))
    assert table.columns == columns and not table.doubtful
    assert table.values.shape == (1, 2)


@pytest.mark.parametrize(
    "names",
    [
        ("0", "1"),
        ("2019", "2020"),
        ("nan", "NA"),
        ("#a", "b"),
        ("a;b", "c,d"),
        ('"', "\n"),
        ("1e5", "-"),
        ("a\rb", "ä ö"),
        ("\ufeffa", "'"),
        ("x1", "=1+1"),
        ("a\tb", "1 2"),
    ],
)
def test_names_that_were_written_read_back(tmp_path, names):
    for columns in (names, names[:1]):
        write_table(tmp_path / "t.csv", columns, [ROWS[:, : len(columns)]])
        table = read_table(tmp_path / "t.csv")
        assert table.columns == tuple(name.strip() or "x2" for name in columns)
        np.testing.assert_array_equal(table.values, ROWS[:, : len(columns)])


def test_text_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    content = "a,b\n" + "1.5,2\n" * 50_000
    writer = threading.Thread(target=(tmp_path / "t.csv").write_text, args=(content,))
    writer.start()
    assert read_table(tmp_path / "t.csv").values.shape == (50_000, 2)
    writer.join()
    os.mkfifo(tmp_path / "t.npy")
    refused(tmp_path / "t.npy", "expected a regular file, got a device or a pipe")


@pytest.mark.thorough
def test_memory_of_text_is_about_that_of_its_numbers(tmp_path):
    np.savetxt(tmp_path / "t.csv", np.random.default_rng(0).random((100_000, 8)), delimiter=",")
    tracemalloc.start()
    try:
        values = read_table(tmp_path / "t.csv").values
        assert tracemalloc.get_traced_memory()[1] < 3 * values.nbytes
    finally:
        tracemalloc.stop()


def test_fifty_thousand_columns(tmp_path):
    names = [f"c{k}" for k in range(50_000)]
    write_table(tmp_path / "t.csv", names, [np.ones((3, 50_000))])
    table = read_table(tmp_path / "t.csv")
    assert match_columns("t", table, tuple(reversed(names))).shape == (3, 50_000)


def test_one_column(tmp_path):
    table = read_table(written(tmp_path, "t.csv", "height\n1.5\n2\n"))
    assert table.columns == ("height",)
    np.testing.assert_array_equal(table.values, [[1.5], [2.0]])
    refused(written(tmp_path, "gap.csv", "height\n1.5\n\n2\n"), "row 2 .*got an empty cell")


@pytest.mark.parametrize(
    "content, pattern",
    [
        ("", "expected a table, got an empty file"),
        ("\n\n", "got blank lines"),
        ("a,b\n", "expected rows below the header, got none"),
        ("a,b\n1,2\n3,tall\n", r"row 2 \(line 3\), column 'b': expected a number, got 'tall'"),
        ("a,b\n1,2\n\n3,\n", r"row 2 \(line 4\), column 'b': expected a number, got an empty cell"),
        ("1,2\n3,12_34\n", r"row 2 \(line 2\), column 'x2': expected a number, got '12_34'"),
        ("a;b\n0,5;0.7\n", r"row 1 .*got '0,5' \(decimals are written with a point; with a comma "),
        ("a,b\n1,2\n3\n", r"row 2 \(line 3\): expected 2 columns, got 1"),
        ("a\n1\n2,3\n", r"row 2 \(line 3\): expected 1 column, got 2"),
        ("a,b\n1,2\n3,4,5\n", r"row 2 \(line 3\): expected 2 columns, got 3"),
        (
            "a,b\n1,nan\ninf,3\n4,5\n",
            "got 2 that are NaN or infinite in 2 of 3 rows; the first is nan in row 1, column 'b'",
        ),
        ("a,b,a\n1,2,3\n", "expected columns of different names, got 'a' 2 times"),
        (b"a,b\n1,\xff\n", "expected UTF-8 text, got byte 0xff in line 2"),
    ],
)
def test_bad_text(tmp_path, content, pattern):
    refused(written(tmp_path, "t.csv", content), pattern)


def test_line_breaks_in_a_bad_cell_stay_out_of_the_message(tmp_path):
    refused(written(tmp_path, "t.csv", 'a,b\n1,"two\nlines"\n'), r"line 3.*got 'two\\nlines'")


# Places -----------------------------------------------------------------------------------


def test_bad_places(tmp_path):
    refused(tmp_path / "missing.csv", "expected a file, found none there")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "expected a file, got a folder")
    refused(tmp_path / "table.xlsx", r"expected a file named .csv, .tsv, .*got '.xlsx'")
    refused(tmp_path / "table", "got no extension")


# Arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_npy(tmp_path, dtype):
    values = np.asfortranarray(np.arange(6).reshape(3, 2).astype(dtype))
    np.save(tmp_path / "t.npy", values)
    table = read_table(tmp_path / "t.npy")
    assert table.values.dtype == np.float64 and table.columns == ("x1", "x2")
    np.testing.assert_array_equal(table.values, values)


@pytest.mark.parametrize(
    "array, pattern",
    [
        (np.zeros(5), r"expected a 2-D array, got shape \(5,\); reshape"),
        (np.zeros((2, 2, 2)), r"expected a 2-D array, got shape \(2, 2, 2\)$"),
        (np.zeros((0, 3)), r"expected rows and columns, got shape \(0, 3\)"),
        (np.zeros((2, 2), complex), "expected real numbers, got dtype complex128"),
        (np.array([["a", "b"]]), "expected real numbers, got dtype <U1"),
        (np.array([[1, None]], object), "got pickled objects, which are never loaded"),
        (np.array([[1.0, np.nan]]), "got 1 that are NaN or infinite"),
    ],
)
def test_bad_npy(tmp_path, array, pattern):
    np.save(tmp_path / "t.npy", array, allow_pickle=True)
    refused(tmp_path / "t.npy", pattern)


def test_damaged_arrays(tmp_path):
    np.save(tmp_path / "whole.npy", ROWS)
    np.savez(tmp_path / "whole.npz", ROWS)
    for kind in ("npy", "npz"):
        content = (tmp_path / f"whole.{kind}").read_bytes()
        refused(written(tmp_path, f"cut.{kind}", content[:-20]), f"a complete .{kind} file")
        refused(written(tmp_path, f"text.{kind}", "a,b\n1,2\n"), "expected")
    refused(
        written(tmp_path, "really.npy", (tmp_path / "whole.npz").read_bytes()),
        "expected what its name says, got an .npz file",
    )


def test_npz(tmp_path):
    np.savez(tmp_path / "one.npz", anything=ROWS)
    np.savez(tmp_path / "one_matrix.npz", x=ROWS, labels=np.zeros(3))
    for name in ("one", "one_matrix"):
        np.testing.assert_array_equal(read_table(tmp_path / f"{name}.npz").values, ROWS)
    np.savez(tmp_path / "two.npz", train=ROWS, test=ROWS[:1])
    refused(tmp_path / "two.npz", r"got train \(3, 2\), test \(1, 2\)")
    np.savez(tmp_path / "none.npz")
    refused(tmp_path / "none.npz", "got none")
    np.savez(tmp_path / "objects.npz", x=np.array([[1, None]], object))
    refused(tmp_path / "objects.npz", "got pickled objects, which are never loaded")


# Parquet ----------------------------------------------------------------------------------


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {"b": ROWS[:, 0], "a": [1, 2, 3], "c": [True, False, True]}, index=["p", "q", "r"]
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.columns == ("b", "a", "c") and table.named
    np.testing.assert_array_equal(table.values, frame.to_numpy(dtype=float))

    pandas.DataFrame({"a": [1.0], "b": ["x"]}).to_parquet(tmp_path / "text.parquet")
    refused(tmp_path / "text.parquet", "column 'b': expected numbers, got")
    bare = pandas.DataFrame({"": [1.0, 2.0], " ": [3, 4]})
    bare.to_parquet(tmp_path / "bare.parquet", index=False)
    assert read_table(tmp_path / "bare.parquet").columns == ("x1", "x2")
    pandas.DataFrame({"a": pandas.array([1, None], dtype="Int64")}).to_parquet(
        tmp_path / "gap.parquet"
    )
    refused(tmp_path / "gap.parquet", "the first is nan in row 2, column 'a'")
    refused(written(tmp_path, "bad.parquet", "PAR1 no"), "a complete .parquet file")


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_pyarrow(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    refused(written(tmp_path, "t.parquet", "PAR1"), "needs pyarrow.*pip install pyarrow")


# Checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, not_numbers", [("a,b\n1,2\n3,tall\n", True), ("a,b\n1,2\n3,inf\n", False)]
)
def test_errors_about_a_column_carry_its_name(tmp_path, text, not_numbers):
    with pytest.raises(TableError) as error:
        read_table(written(tmp_path, "t.csv", text))
    assert (error.value.column, error.value.not_numbers) == ("b", not_numbers)
    copied = pickle.loads(pickle.dumps(error.value))  # like an error from a worker
    assert (str(copied), copied.column) == (str(error.value), "b")


def test_columns_are_matched_by_name_then_by_place():
    table = Table(ROWS, ("b", "a"))
    np.testing.assert_array_equal(match_columns("t", table, ("a", "b")), ROWS[:, ::-1])
    nameless = Table(ROWS, ("x1", "x2"), named=False)
    np.testing.assert_array_equal(match_columns("t", nameless, ("a", "b")), ROWS)
    np.testing.assert_array_equal(match_columns("t", table, ("x1", "x2"), named=False), ROWS)
    with pytest.raises(TableError, match=re.escape("missing: 'c'; extra: 'a'")):
        match_columns("t", table, ("b", "c"))
    with pytest.raises(TableError, match="the model's 3 columns 'a', 'b', 'c', got 2: 'b', 'a'"):
        match_columns("t", table, ("a", "b", "c"))
    with pytest.raises(TableError, match="the model's 1 column 'a', got 2: 'b', 'a'"):
        match_columns("t", table, ("a",))
    with pytest.raises(TableError, match="the model's 3 columns"):
        match_columns("t", nameless, ("a", "b", "c"))


def test_a_table_checks_its_own_shape():
    with pytest.raises(TableError, match=r"shape \(N, 3\) for 3 columns, got \(3, 2\)"):
        Table(ROWS, ("a", "b", "c"))


# Writing ----------------------------------------------------------------------------------


def test_what_is_written_reads_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5000, 3)) * 10.0 ** rng.integers(-300, 300, (5000, 3))
    names = ("plain", "with, comma", 'with "quotes"')
    write_table(tmp_path / "t.csv", names, [values])
    table = read_table(tmp_path / "t.csv")
    assert table.columns == names
    np.testing.assert_array_equal(table.values, values)


def test_float32_is_written_with_its_own_digits():
    file = io.StringIO()
    write_table(file, ("a",), [np.array([[0.1], [1 / 3]], np.float32)])
    assert file.getvalue() == "a\n0.1\n0.33333334\n"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = written(tmp_path, "kept.csv", "old")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, raised while it writes
        with replacing(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["kept.csv"]


def test_space_for_a_file_is_looked_for_before_the_work(tmp_path):
    check_writable(tmp_path / "other", 100_000)
    with pytest.raises(OSError, match=f"{'n' * 300}: File name too long"):
        check_writable(tmp_path / ("n" * 300))
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError, match="other: (No space left on device|File too large)"):
        check_writable(tmp_path / "other", 2 * free + 2**40)
    assert os.listdir(tmp_path) == []


def test_replacing_keeps_links_and_permissions(tmp_path):
    path = written(tmp_path, "real.csv", "old")
    path.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write_table(link, ("a", "b"), [ROWS])
    assert link.is_symlink() and path.read_text().startswith("a,b\n1,-2.5")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_table(os.devnull, ("a", "b"), [ROWS])
    assert not os.path.isfile(os.devnull)


def test_a_new_file_has_the_usual_permissions(tmp_path):
    write_table(tmp_path / "t.csv", ("a", "b"), [ROWS])
    usual = written(tmp_path, "usual", "")
    assert (tmp_path / "t.csv").stat().st_mode == usual.stat().st_mode


def test_unwritable_places(tmp_path):
    with pytest.raises(OSError, match="expected a file to write, got a folder"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="folder .*missing does not exist"):
        check_writable(tmp_path / "missing" / "t.csv")
    with pytest.raises(OSError, match="folder .*missing does not exist"):
        write_table(tmp_path / "missing" / "t.csv", ("a", "b"), [ROWS])
    check_writable(tmp_path / "fine.csv")
    assert os.listdir(tmp_path) == []


def test_text_where_a_column_holds_it(tmp_path):
    """Categories keep the order of first appearance; blank cells are missing as elsewhere."""
    from nfref.tables.reading.read import read_quietly

    path = written(tmp_path, "t.csv", 'town,a\nRome,1\n"New York, NY",2\n Rome ,3\n')
    table = read_quietly(path, texts=("town", "county"))
    assert table.labels == {"town": ["Rome", "New York, NY"]}
    np.testing.assert_array_equal(table.values, [[0, 1], [1, 2], [0, 3]])
    town, a = table.cells()
    assert town.tolist() == ["Rome", "New York, NY", "Rome"] and a.tolist() == [1, 2, 3]
    assert read_table(written(tmp_path, "n.csv", "a\n1\n2\n")).cells()[0].tolist() == [1, 2]
    with pytest.raises(
        TableError,
        match=r"row 2 \(line 3\), column 'town': expected a number, got "
        "an empty cell",
    ):
        read_quietly(written(tmp_path, "blank.csv", "town,a\nRome,1\n,2\n"), texts=("town",))


# What was read without a warning ----------------------------------------------------------


@pytest.mark.parametrize("cells", ['"1"2,3', '3,"1"2', '"1.5"e3,2', '"-1"0,2', '3,"1"x'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_number_in_quotes_ends_with_them(tmp_path, cells, delimiter):
    """The csv module reads "1"2 as 12."""
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n4,5\n{cells}\n".replace(",", delimiter))
    with pytest.raises(TableError, match="line 3: expected a delimiter after a quoted number, got"):
        read_table(path)
    path.write_text('a,b\n"4","5"\n"6" ,7\n"-1.5e3",2\n'.replace(",", delimiter))
    np.testing.assert_array_equal(read_table(path).values, [[4, 5], [6, 7], [-1500, 2]])


@pytest.mark.parametrize(
    "text, width", [("1,5\n2,7\n-3,1\n", 2), ("1,234\n2,345\n", 2), ("1,234,567\n2,345,678\n", 3)]
)
def test_commas_that_may_stand_within_numbers_are_told_of(tmp_path, text, width):
    path = tmp_path / "t.csv"
    path.write_text(text)
    table = read_quietly(path)
    assert table.values.shape[1] == width and not table.doubtful
    assert table.remark.endswith(
        f"are read as {width} columns of whole numbers; decimals are "
        "written with a point, thousands without commas"
    )
    for plain in (
        text.replace("\n", ".5\n"),
        text.replace(",", ";"),
        "a" + "," * (width - 1) + "b\n" + text,
    ):
        path.write_text(plain)
        table = read_quietly(path, "yes" if plain[0] == "a" else "auto")
        assert "are read as" not in table.remark


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.tsv"])
@pytest.mark.parametrize("before, after", [("", ""), ("", "a\n1\n2\n"), ("a\n1\n", "2\n")])
def test_a_file_of_blank_lines_ends_soon(tmp_path, name, before, after):
    """20 MB of blank lines once took 24 seconds."""
    path = tmp_path / name
    path.write_text(before + "\n" * 20_000_000 + after)
    began = time.process_time()
    with pytest.raises(TableError, match="got 100,000 blank lines one after the other, up to line"):
        read_table(path)
    assert time.process_time() - began < 5
    path.write_text(before + "\n" * 1000 + (after or "3\n"))
    read_quietly(path, may_be_empty=True)


def test_text_that_a_spreadsheet_would_compute_is_guarded_on_request(tmp_path):
    rows = np.array([["=1+1", -1.5], ["@x", 2], ["-3", 4.0], [" +a", "b"]], object)
    target = io.StringIO()
    write_table(target, ["-a", "b"], [rows], guarded=True)
    assert target.getvalue() == "\"'-a\",\"b\"\n'=1+1,-1.5\n'@x,2\n-3,4\n' +a,b\n"
    plain = io.StringIO()
    write_table(plain, ["a", "b"], [rows])
    assert "'" not in plain.getvalue()


def test_messages_are_short_whatever_the_names():
    long = tuple(f"{k}" + "n" * 10**5 for k in range(20))
    with pytest.raises(TableError) as caught:
        match_columns("t", Table(np.zeros((1, 20)), long), [name + "x" for name in long])
    assert len(str(caught.value)) < 1300


def test_a_name_full_of_delimiters(tmp_path):
    """Cut at each delimiter, the closing quote opens a cell with the rest: one even row."""
    names = ("one", "2.5|a;" * 9)
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow(names)
        csv.writer(file).writerows(ROWS[:, :2].tolist())
    assert read_table(tmp_path / "t.csv").columns == names


@pytest.mark.parametrize("names", [("a\nb", "1111111111"), ("#\n#\nx", "2"), ("1\n2", "3\n4")])
def test_names_with_line_breaks(tmp_path, names):
    """A quoted record of several lines holds names, and begins at its first line."""
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow(names)
        csv.writer(file).writerows(ROWS[:, :2].tolist())
    table = read_quietly(tmp_path / "t.csv")
    assert table.columns == names and not table.doubtful
    np.testing.assert_array_equal(table.values, ROWS[:, :2])


def test_a_parquet_that_holds_fewer_rows_than_it_says_is_refused(tmp_path, monkeypatch):
    """For a damaged file pyarrow may return no rows and no error."""
    from pyarrow import parquet

    pd = pytest.importorskip("pandas")
    pd.DataFrame({"a": [1.0, 2.0]}).to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", lambda *rest, **options: iter(()))
    with pytest.raises(TableError, match="expected a complete .parquet file, got a damaged one"):
        read_table(tmp_path / "t.parquet")
