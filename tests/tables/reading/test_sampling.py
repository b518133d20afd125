"""A sample of rows in one pass: uniform, and the same for any division into batches."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nfref.tables.reading import TableError, batches, read_table, sample, write_table
from nfref.tables.reading.sampling import STREAM, Reservoir, sample_rows


def drawn(total, most, seed, cuts=()):
    """Places of the rows that a reservoir keeps of rows 0 ... total - 1."""
    reservoir, rows = Reservoir(most, seed), np.arange(total, dtype=np.float64)[:, None]
    for part in np.split(rows, cuts):
        reservoir.add(part)
    assert reservoir.total == total
    return reservoir.rows()[:, 0].astype(int)


@pytest.mark.parametrize("total, most", [(1000, 10), (1000, 999), (50, 50), (50, 80), (300, 1)])
def test_it_does_not_depend_on_how_rows_are_cut(total, most):
    whole = drawn(total, most, 3)
    assert len(whole) == min(total, most) and np.all(np.diff(whole) > 0)
    rng = np.random.default_rng(0)
    for _ in range(10):
        cuts = np.sort(rng.integers(0, total, 20))
        np.testing.assert_array_equal(drawn(total, most, 3, cuts), whole)


def test_the_rows_kept_are_those_of_the_lowest_keys():
    """Take all keys at once."""
    for seed in (0, 5, 2**80 + 1):
        keys = np.random.default_rng((STREAM, seed)).random(500)
        expected = np.sort(np.argsort(keys)[:40])
        np.testing.assert_array_equal(drawn(500, 40, seed, [100, 101, 350]), expected)


def test_each_row_and_each_pair_is_as_likely_as_any_other():
    """20 of 60 rows under 6,000 seeds, by chi-square: rows, neighbours, and halves of the table."""
    seeds = 6000
    kept = np.zeros((seeds, 60), bool)
    for seed in range(seeds):
        kept[seed, drawn(60, 20, seed, [17])] = True
    # Each of N rows is kept with probability M/N, two with M (M - 1) / N (N - 1).
    expected, variance = seeds / 3, seeds / 3 * 2 / 3
    counts = kept.sum(axis=0)
    assert stats.chi2.sf(np.sum((counts - expected) ** 2) / variance * 59 / 60, 59) > 1e-3
    chance = 20 * 19 / (60 * 59)
    pairs = np.sum(kept[:, :-1] & kept[:, 1:], axis=0)
    z = (pairs - seeds * chance) / np.sqrt(seeds * chance * (1 - chance))
    assert np.max(np.abs(z)) < 4.5
    first = kept[:, :30].sum(axis=1)  # hypergeometric
    table = np.bincount(first, minlength=21)
    law = stats.hypergeom(60, 30, 20).pmf(np.arange(21)) * seeds
    middle = law > 10
    found = np.append(table[middle], table[~middle].sum())
    law = np.append(law[middle], law[~middle].sum())
    assert stats.chisquare(found, law).pvalue > 1e-3


def test_seeds_draw_other_rows():
    shared = len(np.intersect1d(drawn(10_000, 1000, 0), drawn(10_000, 1000, 1)))
    assert 60 < shared < 145  # 100 are expected, with a standard deviation of 9


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".npy"])
def test_a_file_and_its_parts_give_the_same_rows(tmp_path, kind):
    rows = np.random.default_rng(0).standard_normal((3000, 3))
    names = ("a", "b", "c")

    def write(path, part):
        np.save(path, part) if kind == ".npy" else write_table(path, names, [part])

    write(tmp_path / f"all{kind}", rows)
    paths = [tmp_path / f"{k}{kind}" for k in range(3)]
    for path, part in zip(paths, np.split(rows, [1, 2000])):
        write(path, part)
    one, many = sample(tmp_path / f"all{kind}", 200, seed=1), sample(paths, 200, seed=1)
    assert one.total == many.total == 3000
    assert len(one.table.values) == 200 and np.all(np.isin(one.table.values[:, 0], rows[:, 0]))
    np.testing.assert_array_equal(many.table.values, one.table.values)
    np.testing.assert_array_equal(list(one.lowest.values()), rows.min(axis=0))
    whole = sample(tmp_path / f"all{kind}")
    np.testing.assert_array_equal(whole.table.values, read_table(tmp_path / f"all{kind}").values)


def test_columns_of_parts_are_matched_by_name_and_texts_by_themselves(tmp_path):
    frame = pd.DataFrame({"x": np.arange(6), "town": list("abcabd"), "y": np.arange(6) + 0.5})
    frame[:3].to_csv(tmp_path / "0.csv", index=False)
    frame[3:][["y", "town", "x"]].to_csv(tmp_path / "1.csv", index=False)
    found = sample([tmp_path / "0.csv", tmp_path / "1.csv"], texts=("town",))
    assert found.table.columns == ("x", "town", "y") and found.table.whole == ("x",)
    x, town, y = found.table.cells()
    assert list(x) == list(range(6)) and list(town) == list("abcabd") and y[5] == 5.5
    frame.rename(columns={"x": "z"}).to_csv(tmp_path / "2.csv", index=False)
    with pytest.raises(TableError, match="2.csv: expected the first file's 3 columns"):
        sample([tmp_path / "0.csv", tmp_path / "2.csv"], texts=("town",))


def test_whole_numbers_are_those_of_all_rows(tmp_path):
    rows = np.zeros((2000, 2))
    rows[:, 0] = np.arange(2000)
    rows[1999, 1] = 0.5
    write_table(tmp_path / "t.csv", ("a", "b"), [rows])
    found = sample(tmp_path / "t.csv", 10)
    assert found.table.whole == ("a",)


def test_what_is_held_is_a_quarter_more_than_the_sample():
    reservoir, most = Reservoir(1000, 0), 0
    for _ in range(100):
        reservoir.add(np.zeros((500, 2)))
        most = max(most, sum(len(keys) for keys, _ in reservoir._parts))
    assert most <= 1250 and reservoir.total == 50_000


def test_how_many_rows_are_drawn_without_a_word():
    assert [sample_rows(columns) for columns in (1, 8, 10, 100, 10**8)] == [
        1_000_000,
        1_000_000,
        838_860,
        83_886,
        1,
    ]


def test_batches_and_sample_see_the_same_faults(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,inf\n")
    with pytest.raises(TableError) as by_batches:
        list(batches(tmp_path / "t.csv"))
    with pytest.raises(TableError) as by_sample:
        sample(tmp_path / "t.csv")
    assert str(by_sample.value) == str(by_batches.value)
