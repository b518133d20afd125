"""Write tables in every format, whole or not at all."""

import csv
import io
import os
import re
import shutil
import stat

import numpy as np
import pytest

from nfref.runtime.files import check_writable, replacing
from nfref.tables.reading import TableError, read_table, write_table
from nfref.tables.reading.read import READERS, read_quietly
from nfref.tables.reading.write import writer

ROWS = np.array([[1.0, -2.5], [3e-5, 4.0], [5.0, 0.1]])
NAMES = ("a", "b c", "d")


def written(folder, name, content):
    path = folder / name
    path.write_text(content)
    return path


def random_rows(n):
    return np.random.default_rng(0).standard_normal((n, 3))


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


@pytest.mark.parametrize("kind", [*READERS, ".CSV.gz"])
def test_what_is_written_in_batches_reads_back(tmp_path, kind):
    values, path = random_rows(100), tmp_path / f"t{kind}"
    for dtype in (np.float64, np.float32, object):
        write_table(path, NAMES, [part.astype(dtype) for part in (values[:30], values[30:])])
        found = read_table(path)
        expected = values.astype(np.float32) if dtype is np.float32 else values
        np.testing.assert_array_equal(found.values.astype(expected.dtype), expected)
        assert found.columns == (("x1", "x2", "x3") if kind[:3] == ".np" else NAMES)
    once = path.read_bytes()
    write_table(path, NAMES, [values.astype(object)])
    assert path.read_bytes() == once or kind in (".npz", ".parquet")
    write_table(path, NAMES, [])  # no rows
    with pytest.raises(TableError, match="expected .*rows"):
        read_table(path)


@pytest.mark.parametrize("kind", READERS)
def test_text_is_written_where_the_format_holds_it(tmp_path, kind):
    path = tmp_path / f"t{kind}"
    texts = np.array([[1, "a;\t,b"], [2.5, "7"], [3, "true"]], object)
    if kind in (".npy", ".npz"):
        path.write_bytes(b"old")
        for refusal in (
            lambda: write_table(path, NAMES[:2], [texts]),
            lambda: writer(path, has_text=True),
        ):
            with pytest.raises(TableError, match="t.np. ?: expected a format that holds text"):
                refusal()
        assert path.read_bytes() == b"old"
        return
    write_table(path, NAMES[:2], [texts[:1], texts[1:]])
    found = read_quietly(path, texts=NAMES[1:2])
    assert found.cells()[0].tolist() == [1, 2.5, 3]
    assert found.cells()[1].tolist() == texts[:, 1].tolist()


@pytest.mark.parametrize("name", ["s.xlsx", "s", "s.gz", "s.csv.zst", "s.npz.gz", "s.json"])
def test_other_formats_are_refused_with_those_that_work(tmp_path, name):
    expected = re.escape(f"{name}: expected a file named .csv, .tsv, .txt, .csv.gz, ")
    for refusal in (
        lambda: write_table(tmp_path / name, NAMES, [random_rows(3)]),
        lambda: read_table(tmp_path / name),
    ):
        with pytest.raises(TableError, match=expected + ".*.npy, .npz, .parquet, got "):
            refusal()
    assert not list(tmp_path.iterdir())


def test_a_fault_on_the_way_leaves_the_old_file(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"old")

    def broken():
        yield random_rows(10)
        raise TableError("no more")

    with pytest.raises(TableError, match="no more"):
        write_table(tmp_path / "t.parquet", NAMES, broken())
    assert (tmp_path / "t.parquet").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


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
