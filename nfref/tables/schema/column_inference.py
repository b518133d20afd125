"""Infer what values each column of a table takes, or check what was asked for."""

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Mapping, Sequence
from nfref.runtime.checks import shortened
from nfref.tables.schema.columns import (
    DISCRETE,
    EXACT,
    LARGEST_WHOLE,
    TAIL,
    Category,
    ColumnError,
    Continuous,
    Count,
    as_numbers,
    each_column,
    is_missing,
    plain,
    to_line,
)
from nfref.tables.schema.distinct_rows import as_counts
from nfref.tables.schema.repeated_values import find_atoms

END_ROWS, END_SHARE = 10, 0.05  # fewest rows, and least share of all, at an end of counts
FEW = 100  # different whole numbers up to which a column can be counts
FEW_LABELS = 20  # different labels up to which text is a category; or a tenth of the rows
MOST_REAL = 2000  # most real columns: the time of simple densities grows with their cube
MINUTES = 5e-10  # of a processor for the simple densities of five folds, for one column cubed
COARSEST = 1e-3  # share of a column's range up to which float64 may round its whole numbers


def find_columns(
    names: Sequence[str],
    table: Sequence[Array],
    asked: Mapping[str, Any] | None = None,
    first: int = 0,
    labels: Mapping[str, Sequence[Any]] | None = None,
    given: Sequence[str] = (),
    whole: Sequence[str] = (),
    refused: Mapping[str, ColumnError] | None = None,
    warn: Callable[[str], object] | None = None,
    weight: Array | None = None,
) -> tuple[Any, ...]:
    """Find what values the columns of a table take.

    Parameters
    ----------
    names : sequence of str
    table : sequence of (N,) arrays
        The columns' values, NaN or None where a cell is empty.
    asked : mapping, optional
        name -> support, see :func:`column_of`.
    first : int
        Number of the first row in messages.
    labels : mapping, optional
        name -> all labels of a category, if rows outside the table have more.
    given : sequence of str
        Columns that the density does not cover.
    whole : sequence of str
        Columns whose type holds whole numbers alone: counts, if they look like it.
    refused : mapping, optional
        name -> error of each column that was already found to hold neither numbers nor labels.
    warn : callable, optional
        Called with a sentence if float64 rounds whole numbers.
    weight : (N,) array, optional
        Weights of the rows.

    Returns
    -------
    tuple of Continuous, Category or Count

    Raises
    ------
    ColumnError
        If columns are refused, are constant, do not fit what was asked for, or have labels that
        hardly repeat. It names all of these. Otherwise, if one is an exact linear function of
        others (unless all of these are given).
    ValueError
        If what was asked for is not a support, or names no column; if there are too many real
        columns.
    """
    asked, labels, refused = dict(asked or {}), labels or {}, refused or {}
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(
            f"columns: expected names among {', '.join(map(repr, names))}; got {unknown[0]!r}"
        )
    missing = [is_missing(values) for values in table]

    def column(cells):
        name, values, gap = cells
        if name in refused:
            raise refused[name]
        there = values[~gap]
        if not len(there):
            raise ColumnError(name, f"expected values, got none in {len(gap)} rows", useless=True)
        if name in whole:
            rounded = rounding_of(name, there)
            if rounded and warn is not None:
                warn(rounded)
            if name not in asked and are_counts(there):
                there = there.astype(np.int64)
        elif name not in asked and values.dtype.kind in "OU":
            _check_labels_repeat(name, there, labels.get(name, ()))
        own = None if weight is None else weight[~gap]
        return column_of(name, there, asked.get(name), own, first, labels.get(name, ()))

    found = each_column(zip(names, table, missing), column)
    real = sum(isinstance(one, Continuous) for one in found)
    if real > MOST_REAL:
        raise ValueError(
            f"columns: expected at most {MOST_REAL:,} real ones, got {real:,}, whose densities "
            f"take {minutes_of_real(real):,.0f} minutes or more; leave columns out, or fit their "
            "principal components"
        )
    _check_continuous_independent(found, table, missing, given)
    return tuple(found)


def minutes_of_real(columns: int) -> float:
    """Return about how many minutes of a processor the simple densities of real columns take."""
    return MINUTES * columns**3


def labels_repeat(distinct: int, rows: int) -> bool:
    """Return whether the different texts of a column are few enough for labels of a category."""
    return distinct <= max(FEW_LABELS, rows / 10)


def _check_labels_repeat(name, values, labels):
    """Check that text that was not declared a category has labels that repeat."""
    distinct = len({*map(plain, values.tolist()), *labels})
    if not labels_repeat(distinct, len(values)):
        got = f"{distinct:,} different ones in {len(values):,} rows"
        raise ColumnError(name, f"expected labels that repeat, got {got}", labels=True)


def _check_continuous_independent(columns, table, missing, given):
    """Check the rows in which all continuous columns have a value."""
    places = [k for k, column in enumerate(columns) if isinstance(column, Continuous)]
    if all(columns[k].name in given for k in places):
        return
    whole = ~np.any([missing[k] for k in places], axis=0)
    if np.any(whole):
        check_independent([columns[k] for k in places], [table[k][whole] for k in places])


def column_of(
    name: str,
    values: Array,
    asked: str | tuple[Any, ...] | None = None,
    weight: Array | None = None,
    first: int = 0,
    labels: Sequence[Any] = (),
) -> Any:
    """Return the column that values belong to: as asked for, or as they look.

    Parameters
    ----------
    name : str
    values : (N,) array
        Numbers, or anything that is equal or not.
    asked : str, tuple or None
        "real"; "positive"; "LOW:HIGH" or (low, high), with -inf, inf or None for an end without
        bound; "period P" or ("period", P); "count"; "category". With None text, truth values and
        pandas' categories are categories; up to 100 different whole numbers of an integer type,
        each ten times on average, are counts, with bounds if many rows hold the least and the
        largest; all other numbers are real.
    weight : (N,) array, optional
    first : int
        Number of the first row in messages.
    labels : sequence
        Labels of a category that other rows have.

    Raises
    ------
    ColumnError
        If the values do not lie on the support; if all are the same.
    """
    values = np.asarray(values)
    support = asked_support(name, asked, values)
    if support == "category":
        every = {*map(plain, values.tolist()), *labels}
        column = Category(name, tuple(sorted(every, key=lambda label: (str(type(label)), label))))
        _check_varies(name, len(column.labels) > 1, values)
        return column
    numbers = as_numbers(name, values, first)
    _check_varies(name, np.any(numbers != numbers[0]), values)
    if support == "count":
        check_support(name, support, numbers, first)
        least, most = float(np.min(numbers)), float(np.max(numbers))
        if asked is None and _end_there(numbers, weight):
            return Count(name, least, most)
        return Count(name, 0.0 if least >= 0 else -np.inf)
    atoms = find_atoms(numbers, weight)
    check_support(name, support, np.where(np.isin(numbers, atoms), np.nan, numbers), first)
    if support[0] == "period":
        low, period = _widest_gap(numbers, support[1]), support[1]
        return Continuous(
            name, low, low + period, period, first=_turn_of(numbers, period), atoms=atoms
        ).in_units_of(numbers, weight)
    low, high = support
    with np.errstate(all="ignore"):
        y = to_line(numbers[~np.isin(numbers, atoms)], low, high)[0]
    if not np.all(np.isfinite(y)) or np.all(y == y[0]):
        what = "expected bounds near the values, so that their logits differ"
        raise ColumnError(name, f"{what}, got {low:g} and {high:g}")
    with np.errstate(all="ignore"):
        column = Continuous(name, low, high, atoms=atoms).in_units_of(numbers, weight)
        u, log_slope = column.encode(numbers)
    if not (0 < column.scale < np.inf and np.all(np.isfinite(u + log_slope))):
        got = f"values up to {np.max(np.abs(numbers)):g}"
        raise ColumnError(name, f"expected values whose spread float64 can hold, got {got}")
    return column


def check_support(name: str, support: Any, values: Array, first: int = 0) -> None:
    """Check that every number but NaN lies on a support (:func:`asked_support`).

    The rows of a table may come in pieces: ``first`` is the number of the first row of this one.
    """
    for fits, expected in _demands(support, values):
        bad = np.flatnonzero(~(fits | np.isnan(values)))
        if len(bad):
            got = f"{values[bad[0]]:g} in row {bad[0] + first}"
            raise ColumnError(name, f"expected {expected}, got {got}")


def _demands(support, values):
    """Yield each demand of a support: which values meet it, and its words."""
    if support == "category":
        return
    if support == "count":
        yield values == np.round(values), "whole numbers"
        yield np.abs(values) < EXACT, "whole numbers below 2^53"
    elif support[0] == "period":
        yield (
            np.spacing(np.abs(values)) < 1e-6 * support[1],
            f"values that a period of {support[1]:g} can tell apart",
        )
    else:
        low, high = support
        yield (values > low) & (values < high), f"values strictly between {low:g} and {high:g}"


def are_counts(values: Array) -> bool:
    """Check that whole numbers look like counts: few values, each ten times on average."""
    distinct = len(np.unique(values))
    return (
        1 < distinct <= FEW
        and 10 * distinct <= len(values)
        and np.max(np.abs(values.astype(np.float64))) < EXACT
    )


def _end_there(numbers, weight):
    """Return whether counts seem to have bounds: many rows hold the least and the largest one.

    Such are answers from 1 to 5, and columns of 0 and 1. Counts without a bound fall to one row.
    """
    values, place = np.unique(numbers, return_inverse=True)
    rows = np.bincount(place, as_counts(weight))
    share = 0.0 if len(values) == 2 else END_SHARE * np.sum(rows)
    return bool(min(rows[0], rows[-1]) >= max(END_ROWS, share))


def rounding_of(name: str, values: Array) -> str:
    """Say how float64 rounds the whole numbers of a column without gaps; "" if it does not.

    Raises
    ------
    ColumnError
        If it rounds away the differences between them.
    """
    numbers = values.astype(np.float64)
    largest = np.max(np.abs(numbers), initial=0.0)
    if not EXACT <= largest < LARGEST_WHOLE:  # beyond, floats are written like whole numbers
        return ""
    step = np.spacing(largest)
    if step > COARSEST * np.ptp(numbers):
        what = "expected whole numbers that float64 can tell apart, got some near "
        what += f"{largest:.6g}, where it rounds to multiples of {step:g}; subtracting "
        raise ColumnError(name, f"{what}the least of them makes them smaller")
    return (
        f"column {name!r}: whole numbers beyond 2^53 are rounded, here to multiples of "
        f"{step:g} at most"
    )


def asked_support(name: str, asked: Any, values: Any = None) -> Any:
    """Return "category", "count", ("period", P) or (low, high); if not asked, from the values."""
    if asked is None:
        if values.dtype.kind in "bOUST":
            return "category"
        return "count" if values.dtype.kind in "iu" and are_counts(values) else (-np.inf, np.inf)
    if isinstance(asked, str) and asked in DISCRETE:
        return asked
    words = list(asked) if isinstance(asked, (tuple, list)) else []
    if isinstance(asked, str):
        words = asked.split()
    if words == ["real"]:
        return -np.inf, np.inf
    if words == ["positive"]:
        return 0.0, np.inf
    try:
        if words[0] == "period":
            period = float(words[1])
            if len(words) == 2 and 0 < period < np.inf:
                return "period", period
        elif isinstance(asked, str):
            words = asked.split(":")
        if len(words) == 2:
            low, high = (
                end if word in (None, "") else float(word)
                for word, end in zip(words, (-np.inf, np.inf))
            )
            if low < high:
                return low, high
    except (TypeError, ValueError, IndexError):
        pass
    what = "expected real, positive, LOW:HIGH, period P, count or category"
    raise ColumnError(name, f"{what}; got {shortened(asked)}")


def _check_varies(name, varies, values):
    if not varies:
        what = f"expected values that differ, got {shortened(plain(values[0]))} in every row"
        raise ColumnError(name, what, useless=True)


def _widest_gap(numbers, period):
    """Return the middle of the widest gap between values on a circle."""
    turned = np.unique(np.mod(numbers, period))
    gaps = np.diff(turned, append=turned[0] + period)
    k = np.argmax(gaps)
    return float(turned[k] + gaps[k] / 2)


def _turn_of(numbers, period):
    """Return where a turn begins that holds all values: 0, -P/2, else the smallest value.

    0 if they take more than one turn.
    """
    least, most = float(np.min(numbers)), float(np.max(numbers))
    for first in (0.0, -period / 2, least):
        if first <= least and most <= first + period:
            return first
    return 0.0


def check_independent(columns: Sequence[Continuous], values: list[Any]) -> None:
    """Check that no column is exactly a linear function of others, if there are rows to tell.

    Parameters
    ----------
    columns : sequence of Continuous
    values : list of (N,) arrays
    """
    if len(columns) < 2:
        return
    u = np.stack([column.encode(x)[0] for column, x in zip(columns, values)], axis=1)
    x = np.stack([np.asarray(x, np.float64) for x in values], axis=1)
    near = x[np.all(np.abs(u) < TAIL, axis=1)]  # one row far out would hide all others
    if len(np.unique(near, axis=0)) <= 2 * len(columns):
        return
    ulp = np.spacing(np.max(np.abs(near), axis=0))
    z = near - near[0]
    largest = np.max(np.abs(z), axis=0)
    if not np.all((largest > 0) & (largest < np.inf)):
        return
    z = z / largest
    z = z - np.mean(z, axis=0)
    size = np.sqrt(np.mean(z**2, axis=0))
    _, singular, directions = np.linalg.svd(z / size, full_matrices=False)
    # What rounding leaves: half an ulp of the largest number in each entry; where that is nearly
    # all there is, it proves nothing.
    rounding = len(columns) * max(4 * np.max(ulp / largest / size), 1e-13)
    if singular[-1] > min(rounding, 0.01) * np.sqrt(len(z)):
        return
    null = directions[-1] / size / largest
    used = np.flatnonzero(np.abs(directions[-1]) > 1e-6)
    last = used[-1]
    factors = [(-null[k] / null[last], columns[k].name) for k in used[:-1]]
    terms = " ".join(f"{'-' if by < 0 else '+'} {abs(by):.6g} * {name!r}" for by, name in factors)
    terms = terms.removeprefix("+ ")
    what = f"expected values that other columns do not determine, got {terms} + a constant"
    raise ColumnError(columns[last].name, what, useless=True)
