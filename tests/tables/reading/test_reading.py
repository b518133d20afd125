"""Read tables of every format, and refuse bad files in one line."""

import builtins
import bz2
import gzip
import os
import pickle
import re
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from nfref.runtime.batching import BLOCK
from nfref.tables.reading import Table, TableError, batches, read_table, write_table
from nfref.tables.reading.read import read_quietly
from nfref.tables.reading.table import batch_rows, match_columns

ROWS = np.array([[1.0, -2.5], [3e-5, 4.0], [5.0, 0.1]])
NAMES = ("a", "b c", "d")


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, **options):
    """The one-line error of reading ``path``, without the file's name, with which it starts."""
    with pytest.raises(TableError) as caught:
        read_quietly(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


# Text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, columns",
    [
        ("comma.csv", "a,b\n1,-2.5\n3e-5,4\n5,.1\n", "a b"),
        ("semicolon.csv", "a;b\n1;-2.5\n3e-5;4\n5;.1\n", "a b"),
        ("tab.tsv", "a\tb\n1\t-2.5\n3e-5\t4\n5\t.1\n", "a b"),
        ("bar.csv", "a|b\n1|-2.5\n3e-5|4\n5|.1\n", "a b"),
        ("spaces.txt", "a b\n1   -2.5\n3e-5 4\n 5 .1\n", "a b"),
        ("quoted.csv", '"a";"b"\n"1";-2.5\n3e-5;"4"\n5;.1\n', "a b"),
        ("windows.csv", "a,b\r\n1,-2.5\r\n3e-5,4\r\n5,.1\r\n", "a b"),
        ("old_mac.csv", "a,b\r1,-2.5\r3e-5,4\r5,.1\r", "a b"),
        ("byte_order_mark.csv", "\ufeffa,b\n1,-2.5\n3e-5,4\n5,.1\n", "a b"),
        ("utf_16.csv", "a,b\n1,-2.5\n3e-5,4\n5,.1\n".encode("utf-16"), "a b"),
        ("blank_lines.csv", "\na,b\n1,-2.5\n\n3e-5,4\n5,.1\n\n\n", "a b"),
        ("no_last_newline.csv", "a,b\n1,-2.5\n3e-5,4\n5,.1", "a b"),
        ("blanks.csv", "a, b\n1, -2.5\n 3e-5 ,4\n5, .1\n", "a b"),
        ("UPPER.CSV", "a,b\n1,-2.5\n3e-5,4\n5,.1\n", "a b"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,-2.5\n3e-5,4\n5,.1\n"), "a b"),
        ("gzip_by_any_name.csv", gzip.compress(b"a,b\n1,-2.5\n3e-5,4\n5,.1\n"), "a b"),
        ("no_gzip.csv.gz", "a,b\n1,-2.5\n3e-5,4\n5,.1\n", "a b"),
        ("no_names.csv", "1,-2.5\n3e-5,4\n5,.1\n", "x1 x2"),
        ("comment.csv", "# made by me, in 2020\n#\na,b\n1,-2.5\n3e-5,4\n5,.1\n", "a b"),
        ("savetxt.csv", "# a,b\n1,-2.5\n3e-5,4\n5,.1\n", "x1 x2"),
        ("number_names.csv", '"0","1"\n1,-2.5\n3e-5,4\n5,.1\n', "0 1"),
        ("missing_names.csv", '"#a","NA"\n1,-2.5\n3e-5,4\n5,.1\n', "#a NA"),
        ("decimal_commas.csv", "a;b\n1;-2,5\n3e-5;4\n5;,1\n", "a b"),
        ("decimal_commas.tsv", '1\t-2,5\n3e-5\t4\n5\t",1"\n', "x1 x2"),
    ],
)
def test_text(tmp_path, name, content, columns):
    path = written(tmp_path, name, content)
    table = read_table(path)
    assert table.columns == tuple(columns.split()) and table.named == (columns != "x1 x2")
    assert table.values.dtype == np.float64 and not table.doubtful
    np.testing.assert_array_equal(table.values, ROWS)
    np.testing.assert_array_equal(next(iter(batches(path))).values, ROWS)


@pytest.mark.parametrize(
    "content, columns, rows",
    [
        ("year,2019,\n1,2,3\n", ("year", "2019", "x3"), 1),
        ("0,1,2\n.5,1,2\n3,4,5\n", ("0", "1", "2"), 2),  # pandas, of unnamed columns
        ("0,1,2\n3,4,5\n", None, 2),  # whole numbers throughout
        ("2019,2020,2021\n.5,1,2\n", ("2019", "2020", "2021"), 1),
        ("0\n.5\n1.5\n", ("0",), 2),
    ],
)
def test_a_first_line_that_may_be_names_is_asked_about(tmp_path, content, columns, rows):
    path = written(tmp_path, "t.csv", content)
    with pytest.warns(UserWarning, match="line 1 is taken as .*; --header (yes|no) takes it as"):
        table = read_table(path)
    assert (table.columns if table.named else None, len(table.values)) == (columns, rows)
    assert read_table(path, "yes").named
    if content[0].isdigit():  # a first line that is not numbers can't be data
        assert len(read_table(path, "no").values) == content.count("\n")


OTHER_FORM = "(write -1234.5; or all with decimal commas where no comma delimits)"
DATE = "(write dates and times as numbers, such as days since the first)"
UNIT = "(numbers are written without a unit: remove it)"
QUOTE = "expected quotes that are closed where a cell ends, got: "
IN_B = "row 1 (line 2), column 'b': expected a number, got "
IN_X2 = "row 1 (line 1), column 'x2': expected a number, got "


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "expected a table, got an empty file or blank lines"),
        ("\n\n", "expected a table, got an empty file or blank lines"),
        ("a,b\n", "expected rows below the header, got none"),
        ("a,b\n1,tall\n", f"{IN_B}'tall'"),
        ("a,b\n1,2\n\n3,\n", "row 2 (line 4), column 'b': expected a number, got an empty cell"),
        ("a,b\n1,12_34\n", f"{IN_B}'12_34'"),
        ('a,b\n1,"t\nu"\n', r"row 1 (line 3), column 'b': expected a number, got 't\nu'"),
        (b"a,b\n1,2\0\n", rf"{IN_B}'2\x00'"),
        ("a,b\n" + 250 * "1,2\n" + "1,x\n", "row 251 (line 252), column 'b': expected a number"),
        ("1.5,tall\n1,2\n", f"{IN_X2}'tall'"),
        ("1.5,NA\n1,2\n", f"{IN_X2}'NA'"),
        ("7,?\n1,2\n", f"{IN_X2}'?'"),
        ("7,8_5\n1,2\n", f"{IN_X2}'8_5'"),
        ("7,1.2.3\n1,2\n", f"{IN_X2}'1.2.3' {OTHER_FORM}"),
        ("1.5,\n1,2\n", f"{IN_X2}an empty cell"),
        (",\n1,2\n", "row 1 (line 1), column 'x1': expected a number, got an empty cell"),
        ("NA\n1.5\n", "row 1 (line 1), column 'x1': expected a number, got 'NA'"),
        ("a\n1\n\n2\n", "line 3: expected a cell, got a blank line"),
        ("a,b\n1,2\n3\n", "row 2 (line 3): expected 2 columns, got 1"),
        ("a\n1\n2,3\n", "row 2 (line 3): expected 1 column, got 2"),
        ("a,b\n1,2\n3,4,5\n", "row 2 (line 3): expected 2 columns, got 3"),
        ("t\na,b\n", "row 1 (line 2): expected 1 column, got 2; line 1 is taken as names: 't'"),
        ("a,b\n1,nan\ninf,3\n", "expected finite numbers, got nan in row 1, column 'b'"),
        ("a,b,a\n1,2,3\n", "expected columns of different names, got 'a' 2 times"),
        ('a,b\n1,"2\n3,4\n', f"line 2: {QUOTE}unexpected end of data"),
        ("a,b\n1,2\n5," + '"6\n' + "7,8\n" * 50_000, f"line 3: {QUOTE}field larger than field"),
        ('a,b\n4,5\n"1"2,3\n', f"line 3: {QUOTE}',' expected after '\"'"),
        ('a\tb\n4\t5\n3\t"1"x\n', f"line 3: {QUOTE}'\t' expected after '\"'"),
        ("a;b\n1.5;0,5\n", f"{IN_B}'0,5' {OTHER_FORM}"),
        ("a;b\n5;1,234\n", f"{IN_B}'1,234' {OTHER_FORM}"),
        ("a;b\n5;1.234,5\n", f"{IN_B}'1.234,5' {OTHER_FORM}"),
        ("a;b\n" + 250 * "0,5;1\n" + "1.5;1\n", "row 251 (line 252), column 'a': expected a num"),
        ('a,b\n2,"1,5"\n', f"{IN_B}'1,5' {OTHER_FORM}"),
        ("a,b\n2,\N{MINUS SIGN}3.5\n", f"{IN_B}'\N{MINUS SIGN}3.5' {OTHER_FORM}"),
        ("a,b\n2,2024-01-31\n", f"{IN_B}'2024-01-31' {DATE}"),
        ("a,b\n2,9:30\n", f"{IN_B}'9:30' {DATE}"),
        ("a,b\n2,12 kg\n", f"{IN_B}'12 kg' {UNIT}"),
        ("a,b\n2,$ 3\n", f"{IN_B}'$ 3' {UNIT}"),
        (b"name,b\ncaf\xe9,1\n", r"expected UTF-8 text, got byte 0xe9 after 'name,b\ncaf' (iconv"),
        (gzip.compress(b"a,b\n1,2\n3,\xe9\n"), "expected UTF-8 text, got byte 0xe9 after"),
        (bz2.compress(b"a,b\n1,2\n"), "expected UTF-8 text, got byte 0x"),
        (gzip.compress(b"a,b\n1,2\n" * 999)[:-9], "expected a readable .csv file, got: "),
        (b"\x1f\x8b\x08 nothing", "expected a readable .csv file, got: "),
    ],
)
def test_bad_text(tmp_path, content, message):
    assert refused(written(tmp_path, "t.csv", content)).startswith(message)


def test_what_is_missing_is_accepted_on_request(tmp_path):
    path = written(tmp_path, "t.csv", "a;town;b\n0,5;Rome;1,5\nNA; Oslo ;\n1,5;;2,5\n;Rome;n/a\n")
    table = read_quietly(path, texts=(...,), may_be_empty=True)
    assert table.labels == {"town": ["Rome", "Oslo"]} and table.whole == ()
    np.testing.assert_array_equal(
        table.values, [[0.5, 0, 1.5], [np.nan, 1, np.nan], [1.5, np.nan, 2.5], [np.nan, 0, np.nan]]
    )
    assert table.cells()[1].tolist() == ["Rome", "Oslo", None, "Rome"]
    assert "expected a number, got '0,5'" not in refused(path, texts=("town",))


def test_labels_keep_commas_and_order(tmp_path):
    path = written(tmp_path, "t.csv", 'town,size\nRome,"1,5"\n"New York, NY","2,5"\n Rome ,"1,5"\n')
    table = read_quietly(path, texts=("town", "size", "county"))
    assert table.labels == {"town": ["Rome", "New York, NY"], "size": ["1,5", "2,5"]}
    assert refused(written(tmp_path, "t.csv", "town,a\nRome,1\n,2\n"), texts=("town",)) == (
        "expected finite numbers, got nan in row 2, column 'town'"
    )


def test_codes_are_told_of(tmp_path):
    path = written(tmp_path, "t.csv", "zip,k,x\n00501,01,1.5\n10001,1,2.5\n")
    table = read_quietly(path)
    assert table.padded == ("zip",) and table.whole == ("zip", "k")


def test_text_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    content = "a,b\n" + "1.5,2\n" * 50_000
    writer = threading.Thread(target=(tmp_path / "t.csv").write_text, args=(content,))
    writer.start()
    assert read_table(tmp_path / "t.csv").values.shape == (50_000, 2)
    writer.join()
    os.mkfifo(tmp_path / "t.npy")
    assert refused(tmp_path / "t.npy") == "expected a regular file, got a device or a pipe"


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


# Arrays and parquet -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_npy(tmp_path, dtype):
    values = np.asfortranarray(np.arange(6).reshape(3, 2).astype(dtype))
    np.save(tmp_path / "t.npy", values)
    np.savez(tmp_path / "one.npz", x=values, labels=np.zeros(3))
    for name in ("t.npy", "one.npz"):
        table = read_table(tmp_path / name)
        assert table.values.dtype == np.float64 and table.columns == ("x1", "x2")
        np.testing.assert_array_equal(table.values, values)


NO_ARRAY = "expected real numbers in rows and columns, got dtype "


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.npy", np.zeros(5), NO_ARRAY),
        ("t.npy", np.zeros((2, 2, 2)), NO_ARRAY),
        ("t.npy", np.zeros((0, 3)), f"{NO_ARRAY}float64 and shape (0, 3)"),
        ("t.npy", np.zeros((2, 2), complex), f"{NO_ARRAY}complex128 and shape (2, 2)"),
        ("t.npy", np.array([["a", "b"]]), f"{NO_ARRAY}<U1"),
        ("t.npy", np.array([[1, None]], object), "expected a readable .npy file, got: "),
        ("t.npy", np.array([[1.0, np.nan]]), "expected finite numbers, got nan in row 1, column"),
        ("t.npz", {"x": np.array([[1, None]], object)}, "expected a readable .npz file, got: "),
        ("t.npz", {"a": ROWS, "b": ROWS}, "expected one array of two dimensions, got a (3, 2), b"),
        ("t.npz", {}, "expected one array of two dimensions, got none"),
        ("t.npy", "a,b\n1,2\n", "expected a readable .npy file, got: "),
        ("t.npz", "a,b\n1,2\n", "expected a readable .npz file, got: "),
        ("t.parquet", "PAR1 no", "expected a readable .parquet file, got: "),
        ("t.parquet", pd.DataFrame({"b": ["x"]}), "column 'b': expected numbers, got "),
        ("t.parquet", pd.DataFrame({"a": [1.0]})[:0], "expected rows and columns, got 0 rows of 1"),
        (
            "t.parquet",
            pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
            "expected finite numbers, got nan in row 2, column 'a'",
        ),
        ("folder.csv", None, "expected a readable .csv file, got: Is a directory"),
        ("missing.csv", ..., "expected a file, found none there"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    elif isinstance(content, str):
        path.write_text(content)
    elif content is None:
        path.mkdir()
    assert refused(path).startswith(message)


@pytest.mark.parametrize("kind", [".npy", ".npz", ".parquet"])
def test_files_that_were_cut(tmp_path, kind):
    path = tmp_path / f"t{kind}"
    write_table(path, NAMES[:2], [ROWS])
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).startswith(f"expected a readable {kind} file, got: ")


def test_parquet(tmp_path):
    columns = {"b": ROWS[:, 0], "a": [1, 2, 3], "c": [True, False, True]}
    frame = pd.DataFrame(columns, index=[*"pqr"])
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.columns == ("b", "a", "c") and table.named
    np.testing.assert_array_equal(table.values, frame.to_numpy(dtype=float))
    bare = pd.DataFrame({"": [1.0, 2.0], " ": [3, 4]})
    bare.to_parquet(tmp_path / "bare.parquet", index=False)
    assert read_table(tmp_path / "bare.parquet").columns == ("x1", "x2")


def test_a_parquet_that_holds_fewer_rows_than_it_says_is_refused(tmp_path, monkeypatch):
    """For a damaged file pyarrow may return no rows and no error."""
    from pyarrow import parquet

    write_table(tmp_path / "t.parquet", ("a", "b"), [ROWS])
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", lambda *rest, **options: iter(()))
    assert refused(tmp_path / "t.parquet").endswith("parquet file, got: fewer rows than it says")


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_pyarrow(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    message = refused(written(tmp_path, "t.parquet", "PAR1"))
    assert "needs pyarrow" in message and "pip install pyarrow" in message


# Batches ----------------------------------------------------------------------------------


def random_rows(n):
    return np.random.default_rng(0).standard_normal((n, 3))


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, x=values)
    elif path.suffix == ".parquet":
        pd.DataFrame(values, columns=NAMES).to_parquet(path, row_group_size=300)
    else:
        pd.DataFrame(values, columns=NAMES).to_csv(path, index=False)


KINDS = pytest.mark.parametrize("kind", [".csv", ".npy", ".npz", ".parquet"])


@KINDS
@pytest.mark.parametrize("size", [1, 7, 1000, None])
def test_batches_are_the_table_cut(tmp_path, kind, size):
    path, values = tmp_path / f"t{kind}", random_rows(1003)
    write(path, values)
    found = list(batches(path, rows=size))
    whole = read_table(path)
    np.testing.assert_array_equal(np.concatenate([table.values for table in found]), values)
    np.testing.assert_array_equal(whole.values, values)
    assert {table.columns for table in found} == {whole.columns}
    assert {table.named for table in found} == {whole.named}
    lengths = [len(table.values) for table in found]  # whatever the row groups of a .parquet
    assert lengths[:-1] == [size] * (len(lengths) - 1) and 0 < lengths[-1] <= (size or 1003)


def test_a_batch_is_whole_blocks_of_a_million_numbers_or_fewer():
    for columns in (1, 3, 16, 17, 100, 10_000):
        assert batch_rows(columns) % BLOCK == 0
        assert batch_rows(columns) * columns <= 2**20 or batch_rows(columns) == BLOCK
    assert batch_rows(16) == 2**16


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_texts_keep_their_places_from_batch_to_batch(tmp_path, kind):
    towns = np.random.default_rng(0).choice(["Oslo", "Rome", "Bonn"], 50)
    frame = pd.DataFrame({"x": random_rows(50)[:, 0], "town": towns})
    path = tmp_path / f"t{kind}"
    frame.to_csv(path, index=False) if kind == ".csv" else frame.to_parquet(path)
    parts = [table.cells()[1] for table in batches(path, texts=("town",), rows=7)]
    assert list(np.concatenate(parts)) == list(towns)
    assert list(read_quietly(path, texts=("town",)).cells()[1]) == list(towns)


@KINDS
def test_a_fault_is_named_by_its_row_of_the_file(tmp_path, kind):
    values = random_rows(100)
    values[73, 1] = np.inf
    write(tmp_path / f"t{kind}", values)
    found = batches(tmp_path / f"t{kind}", rows=10)
    for _ in range(7):
        next(found)
    name = "b c" if kind in (".csv", ".parquet") else "x2"
    with pytest.raises(TableError, match=f"got inf in row 74, column '{name}'"):
        next(found)


# Tables -----------------------------------------------------------------------------------


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


def test_messages_are_short_whatever_the_names():
    long = tuple(f"{k}" + "n" * 10**5 for k in range(20))
    with pytest.raises(TableError) as caught:
        match_columns("t", Table(np.zeros((1, 20)), long), [name + "x" for name in long])
    assert len(str(caught.value)) < 1300
