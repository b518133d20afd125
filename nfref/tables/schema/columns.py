"""Columns: which values each can take, and the real numbers that densities are fitted to.

A column is continuous or discrete. A continuous one lies on a *support*: the line, a half-line, an
interval or a circle. A fixed map of known slope takes the support to the line. So a density of real
rows is a density on the support, with mass 1 there and nothing outside:

    support       y                          log dy/dx
    real          x                          0
    low:inf       log(x - low)               -log(x - low)
    -inf:high     -log(high - x)             -log(high - x)
    low:high      log(x - low) - log(high - x)
                                             log(high - low) - log(x - low) - log(high - x)
    period P      as low:low + P, of x moved there by whole periods; low is the middle of the
                  widest gap between values

Then come robust units, and the long tails of a real column are compressed:

    t = (y - m) / s      m the median of y, s its interquartile range over 1.349, a normal's
    u = t  for |t| <= T,     sign(t) (T + log(1 + |t| - T))  beyond      with T = 5

with slope 1 and 1 / (1 + |t| - T). A value a million s out is at 18.8 there: it does not distort a
fit, and its density is still that of t. Subtracting m first keeps the digits of values that are
large and close together.

Two kinds of values repeat (:mod:`nfref.tables.schema.repeated_values`). Rounded values are
dequantised while densities are fitted, and samples are rounded again. An *atom* is a value that
many rows share, such as the zeros of amounts. It is a discrete part of its column: the column has a
code, which says "continuous" or which atom, and a density only where it is continuous.

A discrete column is a *category*, one of a few labels, or a *count*, a whole number. Its values are
encoded as numbers; each has a probability (:mod:`nfref.tables.densities.latent_classes`).
"""

import math
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Iterable, Sequence
from nfref.runtime.checks import one_line, require, shortened
from nfref.runtime.configuration import Configuration
from nfref.runtime.serialization import LARGEST as LARGEST_WHOLE
from nfref.tables.schema.repeated_values import (
    atom_numbers,
    find_rounding_grid,
    from_noise,
    nearest,
    to_noise,
)

TAIL = 5.0  # T: robust standard deviations beyond which tails are compressed
LIGHT = 6.5  # farthest value of a column that needs no compression: normal values end below
IQR_OF_NORMAL = 1.3489795003921634
WIDE = 0.25  # robust standard deviations of a cell above which a density varies within it
LARGEST = 709.0  # exp of it is a finite float; samples are clipped there
DISCRETE = ("category", "count")
EXACT = 2.0**53  # float64 holds every whole number up to here


class ColumnError(ValueError):
    """A column that cannot be used as it is; or several of a table, in one error.

    Attributes
    ----------
    column : str
        Its name.
    what : str
        The expected values, and the given one.
    useless : bool
        True if it adds nothing to the others, so that the remedy is to leave it out.
    labels : bool
        True if it can be used as a category, if you ask for that.
    where : str
        The place of the given value in a file; empty if it is not known.
    others : tuple of ColumnError
        The errors of further columns.
    """

    def __init__(
        self,
        column: str,
        what: str,
        useless: bool = False,
        labels: bool = False,
        where: str = "",
        others: tuple["ColumnError", ...] = (),
    ) -> None:
        super().__init__(column, what, useless, labels, where, others)
        self.column, self.what, self.useless, self.labels = column, what, useless, labels
        self.others = others
        self.reason = f"{where}{where and ', '}column {column!r}: {what}"

    def __str__(self) -> str:
        text = self.reason
        if self.useless:
            text += "; leave it out"
        if self.labels:
            takes = f"columns={{{self.column!r}: 'category'}} takes its texts as labels"
            text += f"; leave it out, or {takes}"
        if not self.others:
            return text
        return f"{self.several}: {'; '.join([text, *map(str, self.others)])}"

    @property
    def several(self) -> str:
        """The start of a message about this column and others."""
        return f"expected columns that can be fitted, got {1 + len(self.others)} that cannot"


def each_column(columns: Iterable[Any], use: Callable[[Any], Any]) -> list[Any]:
    """Return ``use(column)`` for each column; one error is about all that it refuses.

    Raises
    ------
    ColumnError
        If ``use`` raised some.
    """
    found, errors = [], []
    for column in columns:
        try:
            found.append(use(column))
        except ColumnError as error:
            errors.append(error)
    if errors:
        raise together(errors)
    return found


def together(errors: Iterable[ColumnError]) -> ColumnError:
    """Return one error about several columns."""
    first, *others = errors
    return ColumnError(*first.args[:-1], tuple(others))


# Formulas ---------------------------------------------------------------------------------


def compress_tails(t: Array, tail: float) -> tuple[Array, Array]:
    """Return u = t within [-T, T], sign(t) (T + log(1 + |t| - T)) beyond, and log du/dt."""
    beyond = np.log1p(np.maximum(np.abs(t) - tail, 0))
    return np.clip(t, -tail, tail) + np.sign(t) * beyond, -beyond


def expand_tails(u: Array, tail: float) -> Array:
    """Return t = u within [-T, T], sign(u) (T + exp(|u| - T) - 1) beyond."""
    beyond = np.expm1(np.minimum(np.maximum(np.abs(u) - tail, 0), LARGEST))
    return np.clip(u, -tail, tail) + np.sign(u) * beyond


def to_line(x: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return y and log dy/dx of a support, elementwise; an end may be -inf or inf.

    The ends may be arrays, all finite or none.
    """
    has_low, has_high = np.isfinite(low).all(), np.isfinite(high).all()
    if has_low and has_high:
        below, above = np.log(x - low), np.log(high - x)
        return below - above, np.log(high - low) - below - above
    if has_low:
        below = np.log(x - low)
        return below, -below
    if has_high:
        above = np.log(high - x)
        return -above, -above
    return x, np.zeros_like(x)


def from_line(y: Array, low: float, high: float) -> Array:
    """Return x strictly inside a support, elementwise."""
    if np.isfinite(low) and np.isfinite(high):
        # Measured from the nearer end, to keep digits.
        part = (high - low) * np.exp(-np.logaddexp(0, np.abs(y)))
        x = np.where(y < 0, low + part, high - part)
    elif np.isfinite(low):
        x = low + np.exp(np.minimum(y, LARGEST))
    elif np.isfinite(high):
        x = high - np.exp(np.minimum(-y, LARGEST))
    else:
        x = y
    return np.clip(x, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))


# Columns ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Continuous(Configuration):
    """A column of real numbers.

    Parameters
    ----------
    name : str
    low, high : float
        The ends of its support, which no row reaches; -inf and inf without an end.
    period : float or None
        high - low, if the support is a circle.
    middle, scale : float
        m and s, in the units of y.
    first : float or None
        On a circle, where the turn begins in which samples are given; low if None.
    step : float or None
        Step of the rounding grid (:mod:`nfref.tables.schema.repeated_values`), if there is one.
    offset : float
        A point of that grid.
    atoms : tuple of float
        Values that have a probability of their own.
    """

    name: str
    low: float = -np.inf
    high: float = np.inf
    period: float | None = None
    middle: float = 0.0
    scale: float = 1.0
    first: float | None = None
    step: float | None = None
    offset: float = 0.0
    atoms: tuple = ()

    @property
    def codes(self) -> "Category":
        """The column of its codes: 0 where it is continuous, then the atoms."""
        return Category(self.name, ("continuous", *self.atoms))

    @property
    def dequantised(self) -> bool:
        """True if some values are spread over cells while densities are fitted."""
        return self.step is not None or bool(self.atoms)

    def code(self, x: Array) -> Array:
        """Return the code of each value, (N,)."""
        return atom_numbers(self._turned(x), self._turned(self.atoms))

    @property
    def kind(self) -> str:
        """The support in words."""
        if self.period is not None:
            return f"period {self.period:g}"
        if np.isinf(self.low) and np.isinf(self.high):
            return "real"
        return f"{self.low:g}:{self.high:g}"

    @cached_property
    def tail(self) -> float:
        """T; infinite for a support with an end, whose own map compresses tails."""
        return TAIL if self.kind == "real" else np.inf

    @cached_property
    def log_scale(self) -> float:
        """The logarithm of s."""
        return np.log(self.scale)

    @cached_property
    def level(self) -> tuple[float, float]:
        """Values between which u varies by less than ``WIDE`` over every cell.

        Nearer to an end, or at an atom, it may vary by more.
        """
        nowhere = math.inf, -math.inf
        if self.atoms:
            return nowhere
        step = self.step or 0.0
        # dy/dx has to stay below this in the whole cell. Compressed tails are less steep.
        steepest = 0.9 * WIDE * self.scale / step if step else math.inf
        if self.kind == "real":
            return (-math.inf, math.inf) if steepest > 1 else nowhere
        near = 2 / steepest
        return self.low + near + step, self.high - near - step

    def encode(self, x: Array) -> tuple[Array, Array]:
        """Return (u, log du/dx), (N,) each; rows outside the support have slope -inf and u 0.

        At an atom u is noise, 0 in the middle of the cell, and the slope takes its density away.
        """
        x = self._turned(x)
        inside = (x > self.low) & (x < self.high)
        with np.errstate(all="ignore"):
            y, log_slope = to_line(x, self.low, self.high)
            u, log_tail = compress_tails((y - self.middle) / self.scale, self.tail)
            log_slope = log_slope + log_tail - self.log_scale
        u, log_slope = np.where(inside, u, 0.0), np.where(inside, log_slope, -np.inf)
        code = self.code(x) if self.atoms else None
        for place, atom in enumerate(self._turned(self.atoms), 1):
            here = code == place
            u[here], log_slope[here] = to_noise(x[here], atom)
        return u, log_slope

    def slopes(self, x: Array) -> tuple[Array, Array]:
        """Return du/dx and the derivative of log du/dx, (N,) each, of values inside the support."""
        x = self._turned(x)
        y, log_slope = to_line(x, self.low, self.high)
        t = (y - self.middle) / self.scale
        _, log_tail = compress_tails(t, self.tail)
        below, above = x - self.low, self.high - x
        own = 1 / above - 1 / below
        # log du/dt falls by one for each unit of u in the tails.
        of_tail = np.where(np.abs(t) > self.tail, -np.sign(t) * np.exp(log_tail), 0.0)
        slope = np.exp(log_slope + log_tail) / self.scale
        return slope, own + of_tail * np.exp(log_slope) / self.scale

    def _turned(self, x):
        """Return x; on a circle moved by whole periods into the support."""
        x = np.asarray(x, np.float64)
        if self.period is None:
            return x
        x = self.low + np.mod(x - self.low, self.period)
        return np.clip(x, np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf))

    def decode(self, u: Array) -> Array:
        """Return x, (N,), strictly inside the support."""
        with np.errstate(all="ignore"):
            y = self.middle + self.scale * expand_tails(np.asarray(u, np.float64), self.tail)
            largest = np.finfo(np.float64).max
            y = np.clip(y, -largest, largest)
            return from_line(y, self.low, self.high)

    def sampled(self, u: Array, code: Array | None = None) -> Array:
        """Return x, (N,), for sampled u: rounded, and on a circle in the turn of the data.

        ``code`` (N,) says where it is an atom instead.
        """
        found = self.rounded(self.decode(u))
        if code is None:
            return self.wrapped(found)
        # The rows of an atom are in its code: rounding adds none.
        side = np.where(self.decode(u) < found, -1.0, 1.0) * (self.step or 0.0)
        for step in (side, -side):
            found = np.where(self.code(found) > 0, self.rounded(found + step), found)
        found = np.where(code > 0, np.array([0.0, *self.atoms])[code.astype(np.int64)], found)
        return self.wrapped(found)

    def rounded(self, x: Array) -> Array:
        """Return the points of the grid next to x, inside the support; x itself without a grid."""
        if self.step is None:
            return x
        ends = (self.low, self.high) if self.period is None else (-np.inf, np.inf)
        return nearest(x, self.step, self.offset, *ends)

    def spread(self, x: Array, part: Array) -> Array:
        """Return x, (N,), moved to the ``part`` of its cell, which ends with the support.

        Without a grid and atoms this is x itself.
        """
        if not self.atoms:
            return self._spread(x, part)
        code = self.code(x)
        atom = np.array([0.0, *self.atoms])[code]
        return np.where(code > 0, from_noise(atom, part), self._spread(x, part))

    def _spread(self, x, part):
        """Return values moved within the cells of the grid."""
        if self.step is None:
            return x
        x = np.asarray(x, np.float64)
        middle, half = self.rounded(x), self.step / 2
        below, above = middle - half, middle + half
        if self.period is None:
            below, above = np.maximum(below, self.low), np.minimum(above, self.high)
        inside = below + part * (above - below)
        return np.clip(inside, np.nextafter(below, above), np.nextafter(above, below))

    def has_cell(self, x: Array) -> Array:
        """Return whether values are in a cell of the grid or of an atom, (N,) of bool."""
        return np.full(len(x), self.step is not None) | (self.code(x) > 0)

    def wrapped(self, x: Array) -> Array:
        """Return x; on a circle moved by whole periods to the turn of the data."""
        if self.first is None or self.period is None:
            return x
        x = self.first + np.mod(x - self.first, self.period)
        return np.minimum(x, np.nextafter(self.first + self.period, self.first))

    def in_units_of(self, x: Array, weight: Array | None) -> "Continuous":
        """Return the same support and atoms with the robust units and rounding grid of values x.

        Values at atoms do not count; without others the units stay.
        """
        rest = self.code(x) == 0
        if not np.any(rest):
            return self
        x, weight = x[rest], None if weight is None else weight[rest]
        y = to_line(self._turned(x), self.low, self.high)[0]
        middle, scale = robust_units(y, weight)
        with np.errstate(over="ignore"):
            far = np.max(np.abs(y - middle)) / scale
        if self.tail < far <= LIGHT:  # compressed, they would bend relations between columns
            scale = scale * far / self.tail
        step, offset = find_rounding_grid(x) or (None, 0.0)
        return replace(self, middle=middle, scale=scale, step=step, offset=offset)

    def _check(self):
        circle = self.period is not None
        require(isinstance(self.name, str), "name: expected text")
        require(
            self.low < self.high
            and 0 < self.scale < math.inf
            and math.isfinite(self.middle)
            and (self.first is None or circle and math.isfinite(self.first))
            and (
                self.period is None
                or 0 < self.period < math.inf
                and math.isfinite(self.low + self.high)
            )
            and (self.step is None or 0 < self.step < math.inf)
            and math.isfinite(self.offset)
            and all(isinstance(atom, float) and math.isfinite(atom) for atom in self.atoms)
            and len(set(self.atoms)) == len(self.atoms),
            f"column {self.name!r}: expected a support and units, got others",
        )


def alike(columns: Sequence["Column"], places: Sequence[int]) -> list[tuple[list[int], Continuous]]:
    """Return (places, column) of groups of continuous columns that have the same kind of map.

    The column of a group has (n, 1) arrays of numbers, so it encodes rows (n, N) of n columns by
    one call. Columns with atoms or a period are in no group.
    """
    groups: dict[tuple[bool, bool], list[tuple[int, Continuous]]] = {}
    for k in places:
        one = columns[k]
        if isinstance(one, Continuous) and not one.atoms and one.period is None:
            kind = math.isfinite(one.low), math.isfinite(one.high)
            groups.setdefault(kind, []).append((k, one))
    found = []
    for group in groups.values():
        joined = copy(group[0][1])
        for name in ("low", "high", "middle", "scale", "tail", "log_scale"):
            numbers = [getattr(one, name) for _, one in group]
            if None not in numbers:
                joined._set(**{name: np.array(numbers, np.float64)[:, None]})
        found.append(([k for k, _ in group], joined))
    return found


@dataclass(frozen=True)
class Category(Configuration):
    """A column of labels.

    Parameters
    ----------
    name : str
    labels : tuple
        The values it can take, in order; the code of a value is its place among these.
    """

    name: str
    labels: tuple

    kind = "category"

    def __post_init__(self):
        super().__post_init__()
        if any(isinstance(label, int) and abs(label) >= LARGEST_WHOLE for label in self.labels):
            what = "whole numbers below 2^128, got a larger one; text is one way to write them"
            raise ColumnError(self.name, f"expected labels that a file can hold, {what}")
        for label in self.labels:
            if isinstance(label, str) and any("\ud800" <= letter <= "\udfff" for letter in label):
                what = f"text without surrogates, got {shortened(label)}"
                raise ColumnError(self.name, f"expected labels that a file can hold, {what}")

    def encode(self, values: Array, first: int = 0) -> Array:
        """Return codes (N,); ``first`` is the number of the first row in messages."""
        place = {label: k for k, label in enumerate(self.labels)}
        try:
            return np.array([place[plain(value)] for value in values], np.int64)
        except KeyError:
            row = next(k for k, value in enumerate(values) if plain(value) not in place)
            more = ", ..." if len(self.labels) > 5 else ""
            known = ", ".join(map(shortened, self.labels[:5])) + more
            what = f"expected one of the {len(self.labels)} categories {known}"
            got = f"{shortened(plain(values[row]))} in row {row + first}"
            raise ColumnError(self.name, f"{what}, got {got}") from None

    def decode(self, codes: Array) -> Array:
        """Return labels (N,)."""
        labels = np.array(self.labels)
        if labels.tolist() != list(self.labels):  # NumPy turns numbers beside text into text
            labels = np.array(self.labels, object)
        return labels[np.asarray(codes).astype(np.int64)]

    sampled = decode

    def _check(self):
        require(isinstance(self.name, str), "name: expected text")
        require(
            len(set(self.labels)) == len(self.labels) > 0
            and all(
                isinstance(label, (str, bool, int, float)) and label == label
                for label in self.labels
            ),
            f"column {self.name!r}: expected labels that differ, of text or numbers",
        )


@dataclass(frozen=True)
class Count(Configuration):
    """A column of whole numbers from ``low`` to ``high``; each is its own code."""

    name: str
    low: float = -np.inf
    high: float = np.inf

    kind = "count"

    def encode(self, values: Array) -> Array:
        """Return whole numbers (N,) in float64; NaN for all that are none of the column."""
        values = np.asarray(values, np.float64)
        possible = (values == np.round(values)) & (values >= self.low) & (values <= self.high)
        return np.where(possible, values, np.nan)

    def decode(self, codes: Array) -> Array:
        """Return whole numbers (N,)."""
        return np.round(codes)

    sampled = decode

    @property
    def bounds(self) -> str:
        """The ends in words that follow "whole numbers"; empty without one."""
        if np.isfinite(self.high):
            return f" from {self.low:g} to {self.high:g}"
        return f" of at least {self.low:g}" if np.isfinite(self.low) else ""

    def _check(self):
        require(isinstance(self.name, str), "name: expected text")
        require(
            self.low < math.inf, f"column {self.name!r}: expected a least number, got {self.low}"
        )
        require(
            self.low < self.high,
            f"column {self.name!r}: expected a largest number above {self.low}, got {self.high}",
        )


Column: TypeAlias = Continuous | Category | Count


def is_whole(column: Column) -> bool:
    """Return whether samples of a column are whole numbers that 64 bits can hold.

    Tails without a bound reach beyond 2^63.
    """
    if isinstance(column, Count):
        return True
    if isinstance(column, Category):
        return all(type(label) is int for label in column.labels)
    if column.step is None or not np.isfinite([column.low, column.high]).all():
        return False
    return all(float(number).is_integer() for number in (column.step, column.offset, *column.atoms))


def plain(value: Any) -> Any:
    """Return a label as a plain Python value, so that NumPy's and pandas' labels equal it."""
    return value.item() if isinstance(value, np.generic) else value


def robust_units(y: Array, weight: Array | None = None) -> tuple[float, float]:
    """Return the median, and the interquartile range as a standard deviation.

    If half of the values or more are equal, wider ranges are used, then the standard deviation.
    """
    order = np.argsort(y, kind="stable")
    y = y[order]
    mass = np.cumsum(np.ones(len(y)) if weight is None else np.asarray(weight)[order])

    def quantile(q):
        return y[min(np.searchsorted(mass, q * mass[-1] * (1 - 1e-12)), len(y) - 1)]

    for part, width in ((0.25, IQR_OF_NORMAL), (0.1, 2.5631031310892007), (0.02, 4.107497821)):
        scale = (quantile(1 - part) - quantile(part)) / width
        if scale > 0:
            return float(quantile(0.5)), float(scale)
    middle = float(quantile(0.5))
    share = np.diff(mass, prepend=0) / mass[-1]
    scale = np.sqrt(share @ (y - middle) ** 2)
    return middle, float(scale) if scale > 0 else 1.0


# Finding out ------------------------------------------------------------------------------


def is_frame(X: Any) -> bool:
    """Return whether X is a DataFrame that narwhals knows: pandas, polars, pyarrow and others."""
    if not hasattr(X, "collect_schema") and not hasattr(X, "columns"):
        return False
    import narwhals

    try:
        frame = narwhals.from_native(X)
    except TypeError:
        return False
    except ValueError as error:  # two columns have one name
        raise ValueError(f"X: {one_line(error)}") from None
    if isinstance(frame, narwhals.LazyFrame):
        raise TypeError(
            f"X: expected a table in memory, got a {type(X).__name__}; "
            f"X.{'collect' if hasattr(X, 'collect') else 'compute'}() makes it one"
        )
    return True


def as_numbers(name: str, values: Any, first: int = 0) -> Array:
    """Return finite float64 numbers; ``first`` is the number of the first row in messages."""
    try:
        numbers = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        bad = next(value for value in values if not _is_number(value))
        raise ColumnError(name, f"expected numbers, got {shortened(plain(bad))}") from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        what = f"expected finite numbers, got {numbers[bad[0]]} in row {bad[0] + first}"
        raise ColumnError(name, what)
    return numbers


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_missing(values: Any) -> Array:
    """Return which cells are missing, (N,) of bool: NaN, None and the like."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind != "O":
        return np.zeros(len(values), bool)
    return np.array([value is None or value != value for value in values.tolist()], bool)


def with_gaps(table: Iterable[Any]) -> Array:
    """Return which rows of a list of columns' values have a missing cell, (N,) of bool."""
    return np.any([is_missing(values) for values in table], axis=0)


def missing_cells_of(column: Column, rows: int) -> Array:
    """Return a column of missing cells: None for a category, else NaN."""
    return np.full(rows, None, object) if column.kind == "category" else np.full(rows, np.nan)
