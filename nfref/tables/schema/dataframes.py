"""DataFrames of any library: columns out of them, and DataFrames like them.

The same rule decides the kind of a column for a DataFrame and for a file:

- Numbers are numbers, whatever their type: floats, whole numbers, decimals, fractions, with missing
  cells or as objects. Up to 100 different whole numbers, each ten times on average, are counts; all
  other numbers are real.
- Text, truth values and categories are a category if labels repeat: at most 20 labels, or one in
  ten rows. Otherwise you have to ask for a category. Labels keep their type: 1 is not "1".
- Dates, durations, intervals, complex numbers and all else are refused, with the line that turns
  them into numbers. If you ask for a category, their text is the label.
"""

from decimal import Decimal
from numbers import Integral, Real

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import shortened
from nfref.tables.reading.table import check_name
from nfref.tables.schema.columns import ColumnError, each_column, plain

_TEMPORAL = {"Date": "dates", "Datetime": "dates", "Duration": "durations", "Time": "times of day"}
_DATES = "pandas.to_datetime({0}).pipe(lambda date: (date - date.min()).dt.total_seconds())"
_TIMES = (
    "{0}.map(lambda time: time.hour * 3600 + time.minute * 60 + time.second + "
    "time.microsecond / 1e6, na_action='ignore')"
)
# The expression that turns a column into numbers, keeps all digits and leaves missing cells
# missing: library -> type of the column, or of its objects.
_CONVERSIONS = {
    "pandas": {
        **dict.fromkeys(("Date", "Datetime"), "({0} - {0}.min()).dt.total_seconds()"),
        **dict.fromkeys(("date", "datetime", "Timestamp"), _DATES),
        "Duration": "{0}.dt.total_seconds()",
        **dict.fromkeys(("timedelta", "Timedelta"), "pandas.to_timedelta({0}).dt.total_seconds()"),
        **dict.fromkeys(("Time", "time"), _TIMES),
        "Period": "{0}.map(lambda period: period.ordinal, na_action='ignore')",
        "Interval": "{0}.map(lambda interval: interval.mid, na_action='ignore')",
        "complex": "{0}.map(lambda number: number.real)",
    },
    "polars": {
        **dict.fromkeys(("Date", "Datetime"), "({0} - {0}.min()).dt.total_microseconds()"),
        "Duration": "{0}.dt.total_microseconds()",
        "Time": "{0}.cast(int)",
    },
    "pyarrow": {
        **dict.fromkeys(("Date", "Datetime", "date"), "{0}.cast('timestamp[us]').cast('int64')"),
        "Duration": "{0}.cast('duration[us]').cast('int64')",
        "Time": "{0}.cast('time64[ns]').cast('int64')",
    },
}


def frame_columns(
    X: Any, categories: Sequence[str] = (), refused: dict[str, ColumnError] | None = None
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Return the columns of a DataFrame by the rule of this module.

    Parameters
    ----------
    X : DataFrame
    categories : sequence of str
        Names of columns that are asked to be categories.
    refused : dict, optional
        Filled with the errors of columns that hold neither numbers nor labels, name -> error. Their
        cells are missing in the result. Without it, these errors are raised.

    Returns
    -------
    columns : dict
        name -> (N,) array: numbers, NaN where they are missing; or objects, labels and None.
    whole : tuple of str
        Names of those whose type, or that of every object, is a whole number.

    Raises
    ------
    ColumnError
        If columns hold neither numbers nor labels and ``refused`` is None. It names all of them.
    ValueError
        If two names are the same as text, or no file can hold one.
    """
    import narwhals

    frame = narwhals.from_native(X, eager_only=True)
    columns: dict[str, Array] = {}
    whole = []
    lines = _CONVERSIONS.get(frame.implementation.value, {})

    def read(column):
        key, series = column
        name = str(key)
        check_name("X", name)
        if name in columns:
            raise ValueError(f"X: expected columns whose names differ as text, got {name!r} twice")
        try:
            gaps, kind = series.is_null().to_numpy(), type(series.dtype).__name__
        except ArithmeticError:  # a signalling NaN, which pandas compares
            raise ColumnError(name, "expected finite numbers, got a signalling NaN") from None
        asked = name in categories or kind in ("Categorical", "Enum")
        if kind in _TEMPORAL and not asked:
            raise _refusal(key, _TEMPORAL[kind], lines.get(kind))
        is_whole = series.dtype.is_integer()
        if kind.rstrip("0123456789") in ("Int", "UInt", "Float") and not (
            asked or "128" in kind or np.any(gaps)
        ):
            columns[name] = series.to_numpy()
        else:
            cells = [
                None if gap or isinstance(value, float) and value != value else plain(value)
                for gap, value in zip(gaps, series.to_list())
            ]
            there = [value for value in cells if value is not None]
            columns[name] = _labels(name, cells) if asked else _of_objects(key, cells, there, lines)
            is_whole |= (
                kind in ("Object", "Unknown")
                and bool(there)
                and all(isinstance(value, Integral) for value in there)
            )
        if is_whole and columns[name].dtype.kind != "O":
            whole.append(name)

    def read_or_refuse(column):
        try:
            read(column)
        except ColumnError as error:
            if refused is None:
                raise
            refused[error.column] = error
            columns[error.column] = np.full(len(frame), None, object)

    each_column(zip(frame.columns, frame.iter_columns()), read_or_refuse)
    return columns, tuple(whole)


def _of_objects(key, cells, there, lines):
    """Return numbers if all cells that are not missing are numbers, otherwise labels."""
    name = str(key)
    for value in there:
        if not (_is_number(value) or isinstance(value, (str, bool))):
            kind = type(value).__name__
            raise _refusal(key, f"objects of type {kind}", lines.get(kind))
    if not all(map(_is_number, there)):
        return _labels(name, cells)
    numbers = [np.nan if value is None else value for value in cells]
    whole = len(there) == len(cells) and all(isinstance(value, Integral) for value in there)
    try:
        return np.array(numbers, np.int64 if whole else np.float64)
    except (OverflowError, ValueError):  # a whole number beyond 64 bits, or a signalling NaN
        return np.array([_as_float(name, value) for value in numbers])


def _is_number(value):
    return isinstance(value, (Real, Decimal)) and not isinstance(value, bool)


def _as_float(name, value):
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise ColumnError(name, f"expected finite numbers, got {shortened(value)}") from None


def _labels(name, cells):
    """Return labels of the types that a Category can hold, and None."""
    labels = [None if value is None else label_of(value) for value in cells]
    found = set(map(type, labels))
    if bool in found and found & {int, float}:
        both = {label for label in labels if label in (0, 1) and not isinstance(label, bool)}
        for label in labels:
            if isinstance(label, bool) and label in both:
                raise ColumnError(name, f"expected labels that differ, got {label} and {label:d}")
    return np.array([*labels, None], object)[:-1]


def label_of(value: Any) -> Any:
    """Return a value as a label: itself, a number in float64, or its text."""
    value = plain(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return float(value) if _is_number(value) else str(value)


def _refusal(key, what, line):
    """Return the error of a column; ``key`` is its name in the DataFrame, which may be a number."""
    name = str(key)
    makes = f"{line.format(f'X[{key!r}]')} makes numbers of them, " if line else ""
    makes += f"columns={{{name!r}: 'category'}} takes their text as labels"
    return ColumnError(name, f"expected numbers or labels, got {what}; {makes}")


def with_empty_column(X: Any, name: str, order: Sequence[str]) -> Any:
    """Add an empty column of that name if it is all that X lacks of ``order``."""
    import narwhals

    frame = narwhals.from_native(X, eager_only=True)
    if set(order) ^ set(frame.columns) != {name}:
        return X
    return frame.with_columns(narwhals.lit(None).alias(name)).select(order).to_native()


def like_frame(X: Any, columns: dict[str, Array], kept: Sequence[str] = ()) -> Any:
    """Return a DataFrame of the same library as X with these columns (name -> array).

    Columns in ``kept`` and whole numbers keep the type that they have in X, if it can hold the
    values.
    """
    import narwhals

    frame = narwhals.from_native(X, eager_only=True)
    kept = [
        *kept,
        *(name for name, series in zip(columns, frame.iter_columns()) if series.dtype.is_integer()),
    ]
    columns = {
        name: _as_whole(values) if name in kept else values for name, values in columns.items()
    }
    cells = {
        name: values.tolist() if values.dtype.kind in "OU" else values
        for name, values in columns.items()
    }
    made = narwhals.from_dict(cells, backend=frame.implementation)
    pairs = zip(columns, frame.iter_columns())
    as_before = [_with_type_of(made[name], series) for name, series in pairs if name in kept]
    made = made.with_columns(as_before).to_native()
    if frame.implementation == narwhals.Implementation.PANDAS:
        made.columns = X.columns  # names need not be text
    return made


def _as_whole(values):
    """Return numbers as integers if all are whole."""
    if values.dtype.kind != "f" or not np.all(np.abs(values) < 2**53):
        return values
    whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else values


def _with_type_of(made, was):
    """Return a series with the type of another, if that type holds the same values."""
    import narwhals

    values, native, library = made.to_list(), was.to_native(), was.implementation.value
    try:
        if library == "pyarrow":  # it has more types than narwhals
            import pyarrow

            array = pyarrow.chunked_array([pyarrow.array(values, native.type)])
            found = narwhals.from_native(array, series_only=True).alias(made.name)
        elif library != "pandas":
            found = made.cast(was.dtype)
        elif hasattr(native, "cat"):  # the labels of a Categorical may have any type
            place = {label_of(value): value for value in native.cat.categories}
            own = type(native)([place[value] for value in values], dtype=native.dtype)
            return narwhals.from_native(own.rename(made.name), series_only=True)
        else:
            found = narwhals.from_native(made.to_native().astype(native.dtype), series_only=True)
    except Exception:  # each library raises errors of its own
        return made
    return found if found.to_list() == values else made
