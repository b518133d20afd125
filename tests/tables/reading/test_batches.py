"""Read and score files a batch of rows at a time."""

import re

import numpy as np
import pandas as pd
import pytest

from nfref.runtime.batching import BLOCK
from nfref.tables.reading import TableError, batches, read_table, write_table
from nfref.tables.reading.batches import batch_rows
from nfref.tables.reading.read import READERS, read_quietly
from nfref.tables.reading.write import WRITERS, writer

NAMES = ("a", "b c", "d")


def rows(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3))


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, x=values)
    elif path.suffix == ".parquet":
        pd.DataFrame(values, columns=NAMES).to_parquet(path, row_group_size=300)
    else:
        pd.DataFrame(values, columns=NAMES).to_csv(path, index=False)


@pytest.mark.parametrize("kind", [".csv", ".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("size", [1, 7, 1000, None])
def test_batches_are_the_table_cut(tmp_path, kind, size):
    path, values = tmp_path / f"t{kind}", rows(1003)
    write(path, values)
    found = list(batches(path, rows=size))
    whole = read_table(path)
    np.testing.assert_array_equal(np.concatenate([table.values for table in found]), values)
    np.testing.assert_array_equal(whole.values, values)
    assert {table.columns for table in found} == {whole.columns}
    assert {table.named for table in found} == {whole.named}
    if kind != ".parquet":  # batches of a .parquet may cross its row groups or not
        lengths = [len(table.values) for table in found]
        assert lengths[:-1] == [size] * (len(lengths) - 1) and 0 < lengths[-1] <= (size or 1003)


def test_a_batch_is_whole_blocks_of_a_million_numbers_or_fewer():
    for columns in (1, 3, 16, 17, 100, 10_000):
        assert batch_rows(columns) % BLOCK == 0
        assert batch_rows(columns) * columns <= 2**20 or batch_rows(columns) == BLOCK
    assert batch_rows(16) == 2**16


def test_batches_of_a_parquet_do_not_follow_its_row_groups(tmp_path):
    """Bits do not depend on how a file was written."""
    lengths = []
    for size in (100, 700, 5000):
        pd.DataFrame(rows(2000)).rename(columns=str).to_parquet(
            tmp_path / "t.parquet", row_group_size=size
        )
        lengths.append([len(table.values) for table in batches(tmp_path / "t.parquet", rows=512)])
    assert lengths == [[512, 512, 512, 464]] * 3


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_texts_keep_their_places_from_batch_to_batch(tmp_path, kind):
    towns = np.random.default_rng(0).choice(["Oslo", "Rome", "Bonn"], 50)
    frame = pd.DataFrame({"x": rows(50)[:, 0], "town": towns})
    path = tmp_path / f"t{kind}"
    frame.to_csv(path, index=False) if kind == ".csv" else frame.to_parquet(path)
    parts = [table.cells()[1] for table in batches(path, texts=("town",), rows=7)]
    assert list(np.concatenate(parts)) == list(towns)
    assert list(read_quietly(path, texts=("town",)).cells()[1]) == list(towns)


@pytest.mark.parametrize("kind", [".csv", ".npy", ".npz", ".parquet"])
def test_a_fault_is_named_by_its_row_of_the_file(tmp_path, kind):
    values = rows(100)
    values[73, 1] = np.inf
    write(tmp_path / f"t{kind}", values)
    found = batches(tmp_path / f"t{kind}", rows=10)
    for _ in range(7):
        next(found)
    name = "b c" if kind in (".csv", ".parquet") else "x2"
    with pytest.raises(TableError, match=f"the first is inf in row 74, column '{name}'"):
        next(found)


def test_a_spoilt_cell_far_down_is_named_by_its_row(tmp_path):
    write(tmp_path / "t.csv", rows(100))
    with open(tmp_path / "t.csv", "a") as file:
        file.write("1,x,3\n")
    with pytest.raises(TableError, match=r"row 101 \(line 102\), column 'b c': expected a number"):
        list(batches(tmp_path / "t.csv", rows=10))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.npy", np.ones(3), "expected a 2-D array, got shape"),
        ("t.npy", np.float64(1), "expected a 2-D array, got shape"),
        ("t.npy", np.ones((0, 3)), "expected rows and columns"),
        ("t.npy", np.array([["a"]]), "expected real numbers"),
        ("none.npy", None, "expected a file, found none there"),
        ("t.xls", None, "expected a file named .csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    if content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(TableError, match=message):
        next(batches(tmp_path / name))


def test_every_format_that_is_read_is_written():
    assert set(WRITERS) == set(READERS)


@pytest.mark.parametrize("kind", [*READERS, ".CSV.gz"])
def test_what_is_written_in_batches_reads_back(tmp_path, kind):
    values, path = rows(100), tmp_path / f"t{kind}"
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
    with pytest.raises(TableError, match="expected rows"):
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
        lambda: write_table(tmp_path / name, NAMES, [rows(3)]),
        lambda: read_table(tmp_path / name),
    ):
        with pytest.raises(TableError, match=expected + ".*.npy, .npz, .parquet, got "):
            refusal()
    assert not list(tmp_path.iterdir())


def test_a_fault_on_the_way_leaves_the_old_file(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"old")

    def broken():
        yield rows(10)
        raise TableError("no more")

    with pytest.raises(TableError, match="no more"):
        write_table(tmp_path / "t.parquet", NAMES, broken())
    assert (tmp_path / "t.parquet").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
