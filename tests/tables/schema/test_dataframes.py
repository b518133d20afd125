"""Check how DataFrame columns are interpreted, and the types in which they come back."""

import datetime
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow
import pytest

import nfref
from nfref.tables.schema.columns import ColumnError, Continuous
from nfref.tables.schema.dataframes import frame_columns

N = 60
K = np.arange(N)


def kinds(columns):
    """Return the kinds of columns; those of numbers are real, whatever their support."""
    return ["real" if isinstance(column, Continuous) else column.kind for column in columns]


def fitted(column, **options):
    X = pd.DataFrame({"a": column, "x": np.random.default_rng(0).standard_normal(N)})
    return X, nfref.FlowDensity("gaussian", random_state=0, **options).fit(X)


# Numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column, expected",
    [
        (pd.Series([Decimal(int(k)) / 8 for k in K]), K / 8),
        (pd.Series([Fraction(int(k), 8) for k in K]), K / 8),
        (pd.Series(K.tolist(), dtype=object), K),
        (pd.Series([1.5, None, 2] * 20, dtype=object), [1.5, np.nan, 2] * 20),
        (pd.Series([Decimal("1.5"), Decimal("NaN"), 3] * 20), [1.5, np.nan, 3] * 20),
        (K.astype(np.float16), K),
        (K.astype(np.longdouble), K),
        (pd.Series(pd.arrays.SparseArray(K * 1.0)), K),
        (pd.Series(K / 8).map(Decimal).astype(pd.ArrowDtype(pyarrow.decimal128(12, 6))), K / 8),
    ],
    ids=[
        "Decimal",
        "Fraction",
        "objects",
        "None inside",
        "Decimal NaN",
        "float16",
        "longdouble",
        "sparse",
        "arrow decimals",
    ],
)
def test_numbers_of_any_kind_are_numbers(column, expected):
    X, model = fitted(column)
    plain, other = fitted(np.asarray(expected, np.float64))
    assert kinds(model.columns_[:1]) == ["real"]
    np.testing.assert_array_equal(model.score_samples(X), other.score_samples(plain))
    assert model.sample(3, random_state=0)["a"].dtype == np.float64


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, None] * 20, dtype="Int64"),
        pd.Series([1, 2, None] * 20, dtype=object),
        pd.Series([1, 2, None] * 20, dtype="int64[pyarrow]"),
        (K % 3).astype(np.uint8),
    ],
    ids=["Int64", "objects", "arrow", "uint8"],
)
def test_whole_numbers_with_gaps_are_counts_and_come_back_whole(column):
    X, model = fitted(column)
    assert model.columns_[0].kind == "count"
    drawn = model.sample(30, random_state=0)
    assert drawn["a"].dtype == X["a"].dtype and all(value == int(value) for value in drawn["a"])
    assert isinstance(drawn["a"].tolist()[0], int)
    if X["a"].isna().any():
        assert not model.impute(X, random_state=0)["a"].isna().any()


def test_counts_beyond_what_their_type_holds_get_a_wider_one():
    from nfref.tables.schema.dataframes import like_frame

    frame = pd.DataFrame({"a": np.zeros(0, np.uint8)})
    drawn = like_frame(frame, {"a": np.array([1.0, 300.0])}, ["a"])
    assert drawn["a"].tolist() == [1, 300] and drawn["a"].dtype == np.int64


# Labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column, labels",
    [
        (pd.Series([1, "1", 2] * 20, dtype=object), (1, 2, "1")),
        (pd.Categorical([1, 2, 3] * 20, categories=[3, 2, 1, 0], ordered=True), (1, 2, 3)),
        (pd.Categorical([True, False] * 30), (False, True)),
        (K % 2 == 0, (False, True)),
        (pd.Series([True, None, False] * 20, dtype="boolean"), (False, True)),
        (["a", "b", None] * 20, ("a", "b")),
        (pd.cut(pd.Series(K), [-1, 20, 60]), ("(-1, 20]", "(20, 60]")),
        (pd.Series(["a", "b"] * 30).astype("string[pyarrow]"), ("a", "b")),
    ],
    ids=["mixed", "ordered", "categories", "bool", "boolean", "text", "intervals", "arrow"],
)
def test_labels_keep_their_types(column, labels):
    X, model = fitted(column)
    assert model.columns_[0].labels == labels
    assert [*map(type, model.columns_[0].labels)] == [*map(type, labels)]
    drawn = model.sample(20, random_state=0)
    assert drawn["a"].dtype == X["a"].dtype
    assert {*map(repr, drawn["a"])} <= {*map(repr, X["a"].dropna())}
    assert np.all(np.isfinite(model.score_samples(drawn)))


def test_numbers_that_are_asked_to_be_labels():
    X, model = fitted((K % 3).astype(np.int8), columns={"a": "category"})
    drawn = model.sample(20, random_state=0)["a"]
    assert drawn.dtype == np.int8 and set(drawn) == {0, 1, 2}
    with pytest.raises(ColumnError, match="expected one of the 3 categories 0, 1, 2, got '1'"):
        model.score_samples(X.assign(a="1"))


def test_names_that_are_no_text_come_back():
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((50, 2)))
    model = nfref.FlowDensity("gaussian", random_state=0).fit(X)
    assert model.sample(2, random_state=0).columns.tolist() == [0, 1]


@pytest.mark.parametrize(
    "column, message",
    [
        ([f"id {k}" for k in K], "expected labels that repeat, got 60 different ones in 60 rows"),
        (pd.Categorical([f"id {k}" for k in K]), "expected labels that repeat, got 60"),
        (pd.Series([True, 1, 0] * 20, dtype=object), "expected labels that differ, got True and 1"),
        (pd.Series([10**400, 1] * 30, dtype=object), "expected finite numbers, got 1000"),
        ([None] * N, "expected values, got none in 60 rows"),
    ],
    ids=["text", "categories", "True and 1", "large", "nothing"],
)
def test_columns_that_are_refused(column, message):
    with pytest.raises(ColumnError, match=f"^column 'a': {message}") as caught:
        fitted(column)
    assert "\n" not in str(caught.value)


def test_one_error_names_all_columns_that_are_refused():
    columns = {"text": [f"id {k}" for k in K], "same": 1.0, "x": K + 0.5}
    with pytest.raises(ColumnError) as caught:
        nfref.FlowDensity("gaussian", random_state=0).fit(pd.DataFrame(columns))
    assert str(caught.value) == (
        "expected columns that can be fitted, got 2 that cannot: "
        "column 'text': expected labels that repeat, got 60 different ones in 60 rows; "
        "leave it out, or columns={'text': 'category'} takes its texts as labels; "
        "column 'same': expected values that differ, got 1.0 in every row; leave it out"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_error_names_dates_beside_constants_and_texts_in_the_order_of_the_columns():
    frame = pd.DataFrame(
        {
            3: 1.0,
            7: pd.date_range("2020", periods=N),
            1: K + 0.5,
            5: [f"id {k}" for k in K],
            2: K * 1j,
        }
    )
    with pytest.raises(ColumnError, match="got 4 that cannot: ") as caught:
        nfref.FlowDensity("gaussian", random_state=0).fit(frame)
    error = caught.value
    assert [error.column, *(other.column for other in error.others)] == ["3", "7", "5", "2"]
    # the line that converts them is one that runs on this DataFrame
    assert "(X[7] - X[7].min()).dt.total_seconds() makes numbers of them" in str(error)
    # dates that are asked to be labels are not refused
    fitted = nfref.FlowDensity("gaussian", columns={"7": "category"}, random_state=0)
    with pytest.raises(ColumnError, match="got 3 that cannot: "):
        fitted.fit(frame)


def test_text_that_does_not_repeat_may_be_asked_for():
    _, model = fitted([f"id {k}" for k in K], columns={"a": "category"})
    assert len(model.columns_[0].labels) == N


# Neither ----------------------------------------------------------------------------------

OTHERS = {
    "datetime": pd.date_range("2020", periods=N),
    "zone": pd.date_range("2020", periods=N, tz="UTC"),
    "timedelta": pd.to_timedelta(K, unit="D"),
    "period": pd.period_range("2020", periods=N, freq="M"),
    "interval": pd.interval_range(0, N),
    "complex": K * (1 + 1j),
    "date": [datetime.date(2020, 1, 1) + datetime.timedelta(int(k)) for k in K],
    "time": [datetime.time(int(k) % 24) for k in K],
    "durations": pd.Series([datetime.timedelta(int(k)) for k in K], dtype=object),
    "arrow": pd.Series(pd.date_range("2020", periods=N)).astype("timestamp[us][pyarrow]"),
    "bytes": [b"%d" % k for k in K],
    "lists": [[int(k)] for k in K],
    "arrays": [np.full(2, k) for k in K],
}


def refused(X):
    """The message of a refusal."""
    with pytest.raises(ColumnError) as caught:
        nfref.FlowDensity("gaussian", random_state=0).fit(X)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_neither_number_nor_label_is_refused_with_the_line_that_converts_it(kind):
    X = pd.DataFrame({"a": OTHERS[kind], "x": np.random.default_rng(0).standard_normal(N)})
    message = refused(X)
    assert message.startswith("column 'a': expected numbers or labels, got ")
    line = re.search("; (.*) makes numbers of them", message)
    assert (line is None) == (kind in ("bytes", "lists", "arrays"))
    if line is not None:
        X["a"] = eval(line[1], {"X": X, "pandas": pd})
        columns, _ = frame_columns(X)
        assert columns["a"].dtype.kind in "fi" and len(np.unique(columns["a"])) > 20


@pytest.mark.parametrize(
    "kind",
    [
        "datetime",
        "zone",
        "timedelta",
        "period",
        "interval",
        "date",
        "time",
        "durations",
        "arrow",
        "arrow time",
    ],
)
@pytest.mark.parametrize("objects", [False, True])
def test_that_line_leaves_missing_cells_missing_and_keeps_parts_of_seconds(kind, objects):
    cells = pd.Series(
        pd.array(OTHERS["time"], dtype="time64[us][pyarrow]")
        if kind == "arrow time"
        else OTHERS[kind]
    )
    if kind in ("datetime", "zone", "timedelta"):
        cells += pd.Timedelta("250ms") * (K % 2)
    cells = cells.where(K > 1)
    X = pd.DataFrame({"a": cells.astype(object) if objects else cells})
    X["a"] = eval(re.search("; (.*) makes numbers of them", refused(X))[1], {"X": X, "pandas": pd})
    found = frame_columns(X)[0]["a"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 1]
    steps = np.diff(found[2:])
    assert np.all(np.abs(steps) < 1e9) and (
        kind not in ("datetime", "zone", "timedelta") or set(steps % 1) == {0.25, 0.75}
    )


def test_dates_that_are_asked_to_be_labels():
    days = pd.Series(pd.date_range("2020", periods=3)).repeat(20).reset_index(drop=True)
    X, model = fitted(days, columns={"a": "category"})
    drawn = model.sample(20, random_state=0)
    assert model.columns_[0].labels[0] == "2020-01-01 00:00:00"
    assert model.sample(given={"a": days[0]}, random_state=0)["a"][0] == "2020-01-01 00:00:00"
    with pytest.raises(ValueError, match=r"^given\['x'\]: expected a finite number, got 1000000"):
        model.sample(given={"x": 10**400})
    assert np.all(np.isfinite(model.score_samples(X))) and len(drawn) == 20


# Other libraries --------------------------------------------------------------------------


def test_polars():
    polars = pytest.importorskip("polars")
    noise = np.random.default_rng(0).standard_normal(N)
    numbers = {
        "decimal": polars.Series([Decimal(int(k)) / 8 for k in K]),
        "large": polars.Series((K % 3).tolist(), dtype=polars.Int128),
        "whole": polars.Series([1, None, 2] * 20),
        "fraction": polars.Series([Fraction(int(k * k), 3) for k in K], dtype=polars.Object),
        "enum": polars.Series(["a", "b"] * 30, dtype=polars.Enum(["b", "a"])),
        "truth": [True, False] * 30,
    }
    X = polars.DataFrame({**numbers, "x": noise})
    model = nfref.FlowDensity("gaussian", random_state=0).fit(X)
    assert kinds(model.columns_) == [
        "real",
        "count",
        "count",
        "real",
        "category",
        "category",
        "real",
    ]
    drawn = model.sample(5, random_state=0)
    assert [drawn[name].dtype for name in ("large", "whole", "enum", "truth")] == [
        X[name].dtype for name in ("large", "whole", "enum", "truth")
    ]
    assert np.all(np.isfinite(model.score_samples(drawn)))
    for column in (
        [datetime.timedelta(int(k)) for k in K],
        [datetime.time(int(k) % 24) for k in K],
        [datetime.date(2020, 1, 1) + datetime.timedelta(int(k)) for k in K],
    ):
        X = polars.DataFrame({"a": [None, *column[1:]], "x": noise})
        line = re.search("; (.*) makes numbers of them", refused(X))[1]
        columns, _ = frame_columns(X.with_columns(a=eval(line, {"X": X})))
        assert np.flatnonzero(np.isnan(columns["a"])).tolist() == [0]
    X = polars.DataFrame({"a": polars.Series(OTHERS["date"], dtype=polars.Object), "x": noise})
    assert "makes numbers" not in refused(X)  # pandas' hint would not help here
    with pytest.raises(TypeError, match=r"got a LazyFrame; X.collect\(\) makes it one"):
        nfref.FlowDensity("gaussian").fit(X.lazy())


@pytest.fixture
def one_round(monkeypatch):
    """Fill gaps in one round; other tests check the rest."""
    monkeypatch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 1)


def test_tables_of_pyarrow(one_round):
    X = pyarrow.table(
        {
            "x": np.random.default_rng(0).standard_normal(N),
            "text": ["a", None, "b"] * 20,
            "whole": [1, 2, None] * 20,
            "decimal": [Decimal(int(k)) / 8 for k in K],
            "truth": [True, False] * 30,
        }
    )
    model = nfref.FlowDensity("gaussian", random_state=0).fit(X)
    assert kinds(model.columns_) == ["real", "category", "count", "real", "category"]
    drawn = model.sample(5, random_state=0)
    assert isinstance(drawn, pyarrow.Table) and drawn.column_names == X.column_names
    assert drawn.schema.field("whole").type == "int64" and np.isfinite(model.score(drawn))
    for column in (
        [datetime.timedelta(int(k)) for k in K],
        [datetime.time(int(k) % 24) for k in K],
        [datetime.date(2020, 1, 1) + datetime.timedelta(int(k)) for k in K],
    ):
        for kind in KINDS_OF_PYARROW[type(column[0])]:
            X = pyarrow.table({"a": pyarrow.array([None, *column[1:]], kind)})
            line = re.search("; (.*) makes numbers of them", refused(X))[1]
            found = eval(line, {"X": X})
            assert found.type == "int64" and found.null_count == 1


KINDS_OF_PYARROW = {
    datetime.date: [pyarrow.date32(), pyarrow.date64()],
    datetime.time: [pyarrow.time32("s"), pyarrow.time64("us")],
    datetime.timedelta: [pyarrow.duration("ns")],
}


@pytest.mark.parametrize(
    "kind, cells",
    [
        (pyarrow.large_string(), "abc"),
        (pyarrow.dictionary("int8", "string"), "abc"),
        (pyarrow.dictionary("int32", pyarrow.int64(), True), [1, 2, 4]),
        (pyarrow.uint16(), [1, 2, 4]),
        (pyarrow.dictionary("int32", "double"), [0.5, 1.5, 2.0]),
    ],
    ids=str,
)
def test_labels_and_counts_of_pyarrow_keep_its_types(kind, cells):
    X = pyarrow.table(
        {"a": pyarrow.array([*cells] * 20, kind), "x": np.random.default_rng(0).standard_normal(N)}
    )
    model = nfref.FlowDensity("gaussian", random_state=0).fit(X)
    drawn = model.sample(5, random_state=0)
    assert drawn.schema.field("a").type == kind and np.isfinite(model.score(drawn))


def test_files_and_frames_go_by_one_rule(tmp_path, one_round):
    from nfref.cli import main
    from nfref.tables.files.model_file import load_model

    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "decimal": [Decimal(int(k)) / 8 for k in K],
            "truth": K % 2 == 0,
            "whole": pd.Series([1, 2, None] * 20, dtype="Int64"),
            "text": ["a", "b"] * 30,
            "label": pd.Categorical(["c", "d", "d"] * 20),
            "real": rng.standard_normal(N).astype(np.float32),
        }
    )
    X.to_parquet(tmp_path / "t.parquet")
    assert (
        main(
            [
                "fit",
                str(tmp_path / "t.parquet"),
                "--flow",
                "mixture",
                "--out",
                str(tmp_path / "m.npz"),
            ]
        )
        == 0
    )
    of_file = load_model(tmp_path / "m.npz").density.columns
    of_frame = nfref.FlowDensity("gaussian", random_state=0).fit(X).columns_
    expected = ["real", "category", "count", "category", "category", "real"]
    assert kinds(of_file) == kinds(of_frame) == expected
    X["when"] = pd.date_range("2020", periods=N)
    X.to_parquet(tmp_path / "t.parquet")
    assert main(["fit", str(tmp_path / "t.parquet"), "--flow", "mixture"]) == 2
    refused(X)


def test_samples_of_a_loaded_model_keep_their_types(tmp_path):
    _, model = fitted(["a", "b"] * 30)
    model.save(tmp_path / "m.npz")
    drawn = nfref.FlowDensity.load(tmp_path / "m.npz").sample(3, random_state=0)
    assert drawn.dtypes.iloc[1] == np.float64 and isinstance(drawn.iloc[0, 0], str)
