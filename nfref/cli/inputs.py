"""DATA on the command line: a file or built-in data, checked and cut into parts."""

import glob
import os
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np

import nfref
from nfref.cli.arguments import UsageError
from nfref.cli.streams import complain
from nfref.flows.composition import Chain
from nfref.flows.elementwise import Logit
from nfref.flows.units import in_units_of
from nfref.runtime import params as trees
from nfref.runtime.blocks import in_blocks
from nfref.runtime.checks import as_weight, check_weights
from nfref.tables.columns import ColumnError, asked_support, check_support
from nfref.tables.conditional import Marginal, impute, log_marginal, sample_given
from nfref.tables.density import TableDensity, check_can_be_given
from nfref.tables.frames import gaps as find_gaps
from nfref.tables.reading import (READERS, Table, TableError, check_varies, match_columns,
                                  numbered_columns, quoted_names, read_quietly, sample, text_at)
from nfref.tables.reading.read import only
from nfref.tables.reading.sampling import sample_rows

TOY_ROWS = 5000


@dataclass(frozen=True)
class Data:
    """A table with the name it was asked for by, and the density it was drawn from if known.

    Where it is a sample, ``total`` is how many rows it was drawn from, and ``lowest`` (name ->
    value) holds the lowest values of these.
    """

    name: str
    table: Table
    truth: object = None
    total: int = None
    lowest: dict = None

    @property
    def values(self):
        return self.table.values

    @property
    def columns(self):
        return self.table.columns


def load(name, header="auto", texts=(), gaps=False, keep=None):
    """The data of that name: of a file if there is one, built in otherwise.

    ``header`` says of a text file whether its first line holds names, and ``texts`` names the
    columns that hold text. With ``gaps`` cells of a file may be empty. ``keep`` says which columns
    are read, as for :func:`nfref.tables.reading.batches`.

    A built-in toy is always the same 5,000 rows, so that a score can be repeated.
    """
    if not name:
        raise UsageError("DATA: expected a file or the name of built-in data, got ''")
    known = name.replace("-", "_")
    if os.path.exists(name) or (known != "wine" and known not in nfref.datasets.TOYS):
        if not os.path.exists(name) and os.path.splitext(name)[1].lower() not in READERS:
            raise UsageError(f"{name}: expected a file or the name of built-in data "
                             "(nfref datasets lists them), found neither")
        try:
            return Data(name, read_quietly(name, header, texts, gaps, keep))
        except TableError as error:
            raise UsageError(str(error)) from None
    if known == "wine":
        values, columns = nfref.datasets.wine()
        return Data(name, only(Table(values, columns), keep))
    toy = nfref.datasets.TOYS[known]
    table = Table(toy(np.random.default_rng(0), TOY_ROWS), numbered_columns(toy.dim), named=False)
    return Data(name, table, toy if toy.entropy is not None else None)


def files(data):
    """The files that DATA names: itself, or those of a pattern."""
    if os.path.exists(data) or not glob.has_magic(data):
        return [data]
    found = sorted(path for path in glob.glob(data, recursive=True) if os.path.isfile(path))
    if not found:
        raise UsageError(f"{data}: expected files of that pattern, found none")
    return found


def load_to_fit(options, texts=(), gaps=False):
    """The data that ``fit`` is asked for: all rows, or a sample where they are too many.

    Whether the rows that are not in the sample fit the supports and weights that were asked for
    is looked at as they pass.
    """
    paths = files(options.data)
    if len(paths) == 1 and not os.path.exists(paths[0]):       # built in, or an error
        return load(options.data, options.header, texts, gaps, _without(options))
    most = options.rows
    asked = [(name, asked_support(name, kind)) for name, kind in options.column]
    asked += [(name, (low, high)) for name, low, high in options.bounded]
    faults = []

    def look(path, table, first, total):
        bar.update(len(table.values))
        if not faults:
            try:
                _check_asked(path, table, first, asked, options.weights)
            except UsageError as error:
                faults.append(error)
        # Of rows that are all kept whoever uses them says what is wrong.
        if faults and total > (most or sample_rows(len(table.columns))):
            raise faults[0]

    from tqdm import tqdm
    try:
        with tqdm(unit="row", unit_scale=True, delay=2, disable=options.quiet or None) as bar:
            found = sample(paths, most, options.seed, options.header, texts, gaps,
                           _without(options), look)
    except TableError as error:
        raise UsageError(_with_remedy(error, gaps)) from None
    part = found.total > len(found.places)
    return Data(options.data, found.table, total=found.total if part else None,
                lowest=found.lowest if part else None)


def _without(options):
    """Which columns are read: all but those of --without."""
    without = [name for some in options.without for name in some]
    if not without:
        return None

    def keep(columns, named):
        for name in without:
            if name not in columns:
                raise UsageError(f"--without: expected a column of {options.data}, got {name!r}")
        kept = [name for name in columns if name not in without]
        if not kept:
            raise UsageError(f"--without: expected other columns beside "
                             f"{', '.join(map(repr, without))}, got none")
        return kept

    return keep


def _with_remedy(error, several):
    """The message of a TableError, and what options do about a column that holds no numbers."""
    name = error.not_numbers
    if name is None:
        return str(error)
    label = f"--column {quote(name + '=category')} takes its texts as labels, " if several else ""
    return f"{error}; {label}--without {quote(name)} leaves the column out"


def say_sample(say, data):
    """Of how many rows the data are a sample, if they are one."""
    if data.total is not None:
        say(f"these are a sample of {len(data.values):,} of {data.total:,} rows (--rows N takes "
            "more or fewer)")


def check_batch_weights(path, column, weight, first):
    """That a column of a batch can be weights; ``first`` rows lie before these."""
    try:
        check_weights(f"{path}: column {column!r}", weight, first + 1)
    except ValueError as error:
        raise UsageError(f"--weights: {error}") from None


def _check_asked(path, table, first, asked, weights):
    """That the columns of a batch are as they were asked for; ``first`` rows lie before these."""
    at = {name: k for k, name in enumerate(table.columns)}
    if weights in at:
        check_batch_weights(path, weights, table.values[:, at[weights]], first)
    for name, support in asked:
        if name in at:
            try:
                check_support(name, support, table.values[:, at[name]], first + 1)
            except ColumnError as error:
                raise UsageError(f"{path}: {error}") from None


def without_weights(data, column):
    """(data without that column, its values as weights of the rows); (data, None) for None."""
    if column is None:
        return data, None
    if column not in data.columns:
        raise UsageError(f"--weights: expected a column of {data.name}, got {column!r}")
    if len(data.columns) == 1:
        raise UsageError(f"--weights: expected other columns beside {column!r}, got none")
    k = data.columns.index(column)
    try:
        weight = as_weight(f"{data.name}: column {column!r}", data.values[:, k], len(data.values),
                           first=1)
    except ValueError as error:
        raise UsageError(f"--weights: {error}") from None
    return replace(data, table=replace(
        data.table, values=np.delete(data.values, k, axis=1),
        columns=data.columns[:k] + data.columns[k + 1:])), weight


def duplicates(values):
    """How many rows are exact copies of an earlier one."""
    return len(values) - len(np.unique(values, axis=0))


def repeated_values(data, least=0.2):
    """(column, value, share) of columns in which one value fills a share of the rows."""
    found = []
    for column, values in zip(data.columns, data.values.T):
        distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        if not len(counts):
            continue
        k = np.argmax(counts)
        if 1 < counts[k] and counts[k] >= least * len(values):
            found.append((column, distinct[k], counts[k] / len(values)))
    return found


def without_duplicates(data):
    """The data with the first of each set of equal rows, in their order."""
    _, first = np.unique(data.values, axis=0, return_index=True)
    kept = data.values[np.sort(first)]
    return replace(data, table=replace(data.table, values=kept))


@dataclass(frozen=True)
class Parts:
    """Rows to train on (80 %), to choose by (10 %) and to judge by (10 %)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    weights: tuple = (None, None, None)


def split(data, rng, weight=None):
    """Training, validation and test parts, drawn at random; each good enough for its use.

    Raises
    ------
    UsageError
        If there are too few rows, or a column that is constant.
    """
    dim = data.values.shape[1]
    held_out = _tenth(len(data.values))
    if len(data.values) - 2 * held_out < dim + 1:
        needed = next(rows for rows in range(dim + 1, 2 * dim + 10)
                      if rows - 2 * _tenth(rows) >= dim + 1)
        raise UsageError(f"{data.name}: expected at least {needed} rows for {dim} columns (D + 1 "
                         f"to train on, a tenth to validate, a tenth to test), "
                         f"got {len(data.values)}")
    try:
        check_varies(data.name, data.table)
        order = rng.permutation(len(data.values))
        test, validation, train = (np.sort(part) for part in
                                   np.split(order, [held_out, 2 * held_out]))
        parts = Parts(*(data.values[part] for part in (train, validation, test)),
                      weights=tuple(None if weight is None else weight[part]
                                    for part in (train, validation, test)))
        check_varies(f"{data.name}, training part", replace(data.table, values=parts.train))
    except TableError as error:
        raise UsageError(str(error)) from None
    return parts


def _tenth(rows):
    return max(1, round(rows / 10))


def check_dtype(data, dtype):
    """That the columns can be told apart and standardised in ``dtype``."""
    with np.errstate(over="ignore"):
        std = np.std(data.values, axis=0)
        size = np.max(np.abs(data.values), axis=0)
        step = np.spacing(size.astype(dtype)).astype(np.float64)
    for column, column_std, column_size, column_step in zip(data.columns, std, size, step):
        if not np.isfinite(column_std):
            raise UsageError(f"{data.name}: column {column!r}: expected a standard deviation "
                             f"that float64 can hold, got values up to {column_size:g}")
        if not column_step < 1e-3 * column_std:
            raise UsageError(f"{data.name}: column {column!r}: expected values that {dtype} can "
                             f"tell apart, got values up to {column_size:g} with a standard "
                             f"deviation of {column_std:g}"
                             + ("; --dtype float64 can" if dtype == "float32" else ""))


def bounds(data, bounded, dtype):
    """(lower, upper) of every column, None where it has no bounds.

    Parameters
    ----------
    data : Data
    bounded : sequence of (name, low, high)
        As given by --bounded.
    dtype : str
        In which values have to lie between their bounds.
    """
    lower, upper = [None] * len(data.columns), [None] * len(data.columns)
    for name, low, high in bounded:
        if name not in data.columns:
            raise UsageError(f"--bounded: expected a column of {data.name} "
                             f"({', '.join(data.columns)}), got {name!r}")
        k = data.columns.index(name)
        if lower[k] is not None:
            raise UsageError(f"--bounded: expected each column once, got {name!r} twice")
        lower[k], upper[k] = low, high
        try:
            check_support(name, (low, high), data.values[:, k].astype(dtype), first=1)
        except ColumnError as error:
            raise UsageError(f"--bounded: {error}") from None
    return tuple(lower), tuple(upper)


def with_units(flow, parts, lower, upper):
    """The flow in the units of the training part.

    Raises
    ------
    UsageError
        If bounds are so far away that the logits of the values are all the same.
    """
    try:
        with np.errstate(all="ignore"):
            return in_units_of(flow, parts.train, lower, upper)
    except ValueError as error:
        raise UsageError("--bounded: expected bounds near the values, so that their logits "
                         f"differ; {error}") from None


def limits(density):
    """(lower, upper), (D,) each, of what a model fitted with --bounded can draw; inf if not."""
    lower = np.full(density.dim, -np.inf)
    upper = np.full(density.dim, np.inf)
    members = density.flow.flows if isinstance(density.flow, Chain) else ()
    if members and isinstance(members[-1], Logit):
        for k, (low, high) in enumerate(zip(members[-1].lower, members[-1].upper)):
            if low is not None:
                lower[k], upper[k] = low, high
    return lower, upper


class AsDensity:
    """The density of a table with the calls of one that has parameters: what pictures take.

    Its rows are numbers: of a category the place of each label. Where columns are given, those of
    its samples are those of rows of ``cells``.
    """

    context_dim = 0

    def __init__(self, table, cells=None):
        self.table, self.dim, self.cells = table, table.dim, cells

    def numbers(self, cells):
        """Rows of numbers (N, D) for a list of columns' values."""
        return np.stack([column.encode(values) if column.kind == "category" else values
                         for column, values in zip(self.table.columns, cells)],
                        axis=1).astype(np.float64)

    def log_prob(self, params, x, context=None):
        cells = []
        for column, values in zip(self.table.columns, x.T):
            if column.kind == "category":       # a picture asks between labels too
                values = column.decode(np.clip(np.round(values), 0, len(column.labels) - 1))
            cells.append(values)
        return self.table.log_prob(cells)

    def sample(self, params, rng, n, context=None):
        return self.numbers(sample_like(self.table, self.cells, rng, n))


def sample_like(density, cells, rng, n):
    """A list of columns' values of n rows; where columns are given, with those of rows of cells."""
    if not density.given:
        return density.sample(rng, n)
    rows = rng.integers(len(cells[0]), size=n)
    return impute(density, [values[rows] if column.name in density.given else empty(column, n)
                            for column, values in zip(density.columns, cells)], rng)


def empty(column, n):
    """n cells of a column without a value."""
    return (np.full(n, None, object) if column.kind == "category" else np.full(n, np.nan))


def draw(density, params, rng, n, given=None):
    """``n`` rows of a density, strictly between the bounds of bounded columns.

    ``given`` (name -> value) are columns of a :class:`TableDensity` with values that are known.
    """
    if isinstance(density, TableDensity):
        return np.stack([np.asarray(values, object) if values.dtype.kind in "OU" else values
                         for values in (sample_given(density, given, rng, n) if given
                                        else density.sample(rng, n))], axis=1)
    with np.errstate(all="ignore"):
        return density.sample(params, rng, n)


def log_prob(density, params, x):
    """log p(x) in the dtype of the parameters, a block of rows at a time.

    It is -inf where the density is zero: outside of the bounds of a bounded column, or too
    far out for its logarithm to be a number. It is NaN where it can't be computed.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    x : (N, D) array
        Of the density of a table, rows that :func:`check_cells` has seen.

    Returns
    -------
    (N,) array
    """
    if isinstance(density, TableDensity):
        return in_blocks(lambda rows: density.log_prob(list(rows.T)), x)
    dtype = trees.dtype_of(params)
    with np.errstate(all="ignore"):
        x = x.astype(dtype)
        lower, upper = (ends.astype(dtype) for ends in limits(density))
        outside = np.any((x <= lower) | (x >= upper), axis=1)
        # Rows outside go in as an infinity, which no flow sees.
        x = np.where(outside[:, None], np.inf, x).astype(dtype, copy=False)
        return in_blocks(lambda *rows: density.log_prob(params, *rows), x)


def log_prob_with_gaps(density, x, name, first=1, filler=None):
    """The Marginal of rows of a :class:`TableDensity` of which cells may be empty.

    Parameters
    ----------
    density : TableDensity
    x : (N, D) array
    name : str
        What messages call the table.
    first : int
        From where messages count rows.
    filler : callable, optional
        Gives a Filler of that density where one is needed.

    Raises
    ------
    UsageError
        If a cell holds what its column cannot take, or a column that is given is empty.
    """
    check_cells(name, density, x.T, first)
    rows = np.any([find_gaps(values) for values in x.T], axis=0)
    found = Marginal(np.empty(len(x)), np.zeros(len(x)), np.full(len(x), np.inf))
    try:
        if not np.all(rows):
            found.log_prob[~rows] = in_blocks(lambda some: density.log_prob(list(some.T)), x[~rows])
        if np.any(rows):
            part = log_marginal(density, list(x[rows].T), filler=filler and filler())
            for field in ("log_prob", "error", "effective"):
                getattr(found, field)[rows] = getattr(part, field)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    return found


def for_model(data, model):
    """(values, sure): the data in the order of the model's columns, and whether names say so."""
    columns = model.columns or numbered_columns(model.density.dim)
    named = columns != numbered_columns(model.density.dim)
    try:
        return (match_columns(data.name, data.table, columns, named),
                data.table.named and (named or data.columns == columns))
    except TableError as error:
        raise UsageError(str(error)) from None


def known_to(model, also=(), optional=()):
    """Which columns are read: the model's and ``also``, where a file with names holds all of the
    model's but ``optional`` ones; all columns else, and whoever reads says what is missing."""
    names, told = model.columns, []

    def keep(columns, named):
        if not named or names is None or names == numbered_columns(model.density.dim):
            return columns
        needed = set(names) - set(optional) | set(also) - {None}
        if not needed <= set(columns):
            return columns
        extra = [name for name in columns if name not in names and name not in also]
        if extra and not told:
            complain("nfref: note: columns that the model does not know are not used: "
                     f"{quoted_names(extra)}")
            told.append(True)
        return [name for name in columns if name not in extra]

    return keep


def texts_of(model):
    """Names of the model's columns whose cells are text."""
    return tuple(column.name for column in getattr(model.density, "columns", ())
                 if column.kind == "category" and isinstance(column.labels[0], str))


def with_text(data, values, model):
    """The values with the text itself where they hold the places of it."""
    columns = cells_of(data, values, model)
    return np.stack([part.astype(object) for part in columns], axis=1)


def cells_of(data, values, model):
    """Values in the order of the model's columns as a list of columns: numbers, or text."""
    return [text_at(data.table.labels[column.name], part) if column.name in data.table.labels
            else part for column, part in zip(model.density.columns, values.T)]


def partial_cells(data, model, optional=(), extra=False, first=1):
    """(cells, sure) like :func:`for_model` and :func:`cells_of`; ``optional`` columns may be absent
    from the data, and are empty then; with ``extra`` the data may have columns besides. Messages
    count rows from ``first``."""
    names, there = model.columns or numbered_columns(model.density.dim), data.columns
    if extra and data.table.named and model.columns:
        kept = [k for k, name in enumerate(data.columns) if name in names]
        data = replace(data, table=replace(data.table, values=data.values[:, kept], columns=tuple(
            data.columns[k] for k in kept)))
    absent = [name for name in names if name not in data.columns]
    needed = [name for name in absent if name not in optional]
    if needed and data.table.named and model.columns:
        raise UsageError(f"{data.name}: expected a column {needed[0]!r}, got "
                         f"{quoted_names(there)}")
    if absent and set(absent) <= set(optional):
        table = data.table
        values = np.concatenate([table.values, np.full((len(table.values), len(absent)), np.nan)],
                                axis=1)
        labels = {**table.labels, **{name: [] for name in absent if name in texts_of(model)}}
        data = replace(data, table=replace(table, values=values, labels=labels,
                                           columns=table.columns + tuple(absent)))
    values, sure = for_model(data, model)
    cells = cells_of(data, values, model)
    check_cells(data.name, model.density, cells, first)
    return cells, sure


def check_cells(name, density, cells, first=1, gaps=False):
    """That cells hold labels that the model knows, or nothing, and columns that are given what
    they can take; with ``gaps`` these may be empty too. Messages count rows from ``first``."""
    for column, values in zip(density.columns, cells):
        missing = find_gaps(values)
        try:
            if column.kind == "category":
                _check_labels(column, values, missing, first)
            if column.name not in density.given:
                continue
            if np.any(missing) and not gaps:
                raise ColumnError(column.name, "expected a value in every row, for the others are "
                                  f"given it; got none in row {np.argmax(missing) + first}")
            check_can_be_given(column, values, first)
        except ColumnError as error:
            raise UsageError(f"{name}: {error}") from None


def _check_labels(column, values, missing, first):
    labels = set(column.labels)
    bad = next((k for k, value in enumerate(values) if not missing[k] and value not in labels),
               None)
    if bad is not None:
        column.encode(values[bad:bad + 1], first=first + bad)


def about_gaps(columns, cells):
    """"N of M rows have empty cells: ..." of a list of columns' values; nothing where none has."""
    missing = [find_gaps(values) for values in cells]
    rows = int(np.sum(np.any(missing, axis=0)))
    if not rows:
        return ""
    counts = ", ".join(f"{name!r} {np.sum(gap):,}" for name, gap in zip(columns, missing)
                       if np.any(gap))
    have = "row has" if rows == 1 else "rows have"
    return f"{rows:,} of {len(missing[0]):,} {have} empty cells: {counts}"
