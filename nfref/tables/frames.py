"""Tables as they are handed over: arrays, DataFrames of any library; and rows that repeat."""

import numpy as np

from nfref.runtime.annotations import Array
from nfref.tables.reading.sampling import GOLDEN, mixed


def is_frame(X):
    """Whether something is a DataFrame, of pandas, polars or another library narwhals knows."""
    if not hasattr(X, "columns") and not hasattr(X, "collect_schema"):
        return False
    import narwhals
    try:
        narwhals.from_native(X, eager_only=True)
    except TypeError:
        return False
    return True


def frame_columns(X):
    """name -> (N,) array of a DataFrame; text and categories become arrays of objects.

    Missing cells are NaN among numbers, which are float64 then, and None among all else.
    """
    import narwhals
    frame = narwhals.from_native(X, eager_only=True)
    found = {}
    for name, column in zip(frame.columns, frame.iter_columns()):
        missing = column.is_null().to_numpy()
        values = column.to_numpy()
        if not np.any(missing) and (column.dtype.is_numeric() or column.dtype == narwhals.Boolean):
            found[str(name)] = values
        elif column.dtype.is_numeric():
            found[str(name)] = np.array([np.nan if gap else value for gap, value
                                         in zip(missing, values.tolist())], np.float64)
        else:
            text = column.dtype != narwhals.Boolean
            found[str(name)] = np.array(
                [None if gap or value != value else str(value) if text else value
                 for gap, value in zip(missing, values.tolist())], object)
    return found


def like_frame(X, columns):
    """A DataFrame of the same library as X, with these columns (name -> array)."""
    import narwhals
    frame = narwhals.from_native(X, eager_only=True)
    return narwhals.from_dict({name: values.tolist() if values.dtype.kind in "OU" else values
                               for name, values in columns.items()},
                              backend=frame.implementation).to_native()


# Cells that are missing -------------------------------------------------------------------


def is_missing(values):
    """Which cells of a column are missing, (N,): NaN, None and the like."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), bool)
    return np.array([value is None or value != value for value in values.tolist()], bool)


# Rows that repeat -------------------------------------------------------------------------


def distinct_rows(values: Array, weight: Array | None, seed: int) -> tuple[Array, Array]:
    """One of each set of equal rows, with how often it is there, in an order of its own.

    The order looks random, and is decided by the content of rows and ``seed`` alone: not by how
    they stand in the table, nor by whether a row repeats or has a weight. So parts that are
    cut from it hold no copies of each other's rows, and whole weights make the same parts as
    repeated rows do.

    Parameters
    ----------
    values : (N, D) array
    weight : (N,) array or None
        What each row counts, above 0.
    seed : int

    Returns
    -------
    places : (M,) array
        Of the rows that are kept.
    weight : (M,) array
        What they count with their copies.
    """
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)      # + 0.0 makes -0.0 0.0
    keys = np.full(len(values), seed % 2 ** 64, np.uint64)
    for column in bits.T:
        keys = mixed(keys + GOLDEN ^ column)
    order = np.argsort(keys, kind="stable")
    ordered = bits[order]
    first = np.ones(len(order), bool)
    first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    starts = np.flatnonzero(first)
    weight = np.ones(len(order)) if weight is None else np.asarray(weight, np.float64)[order]
    return order[starts], np.add.reduceat(weight, starts)
