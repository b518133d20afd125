"""``nfref score``: log-likelihoods, a batch of rows at a time, on one machine or several."""

import itertools
import math
import os
import sys
from dataclasses import dataclass, replace

import numpy as np

from nfref.cli import arguments as arg
from nfref.cli import cluster, column_matching
from nfref.cli.arguments import Options, UsageError
from nfref.cli.data import Data, files, load
from nfref.cli.data_warnings import say_remark
from nfref.cli.inputs import check_of_table, check_output, loaded_model
from nfref.cli.streams import note, printable, row_bar
from nfref.runtime.annotations import Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model
from nfref.tables.queries.answers import Marginal
from nfref.tables.queries.scoring import in_new_process, log_prob, marginal_of, stacked
from nfref.tables.reading import batches, write_table
from nfref.training.gradient import ONE_AT_A_TIME

LEAST = 5  # default number of least likely rows that are shown
SHOWN = 6  # most columns that are shown
COLUMNS = ("log_likelihood", "standard_error", "effective_draws")


@dataclass(frozen=True)
class Scoring(Options):
    """Options of ``nfref score``."""

    model: str = arg.positional("MODEL", "a model file")
    data: str = arg.positional(
        "DATA",
        "a file, - for standard input, a pattern of files, or the name of built-in data",
        type=arg.table_path,
    )
    header: str = arg.header()
    out: str | None = arg.option(
        "write the scores here, in the format of the suffix, and print the mean", "FILE"
    )
    least: int | None = arg.option(
        f"print the K rows that are least likely (default: {LEAST} with --out, else none)",
        "K",
        arg.count(0, 10**6),
    )
    errors: bool = arg.option(
        "write also the standard error of each score, 0 if it is exact, and the effective number "
        "of samples, inf if it is exact",
        action="store_true",
    )
    cells: bool | None = arg.option(
        "average the density over the cells of rounded values, which takes sixteen times as long",
        action="store_true",
        default=None,
    )
    unknown: str | None = arg.option(
        "score a row with a category that the model does not know as -inf (nan if the column is "
        "given), as --unknown=-inf; without it such a row is an error",
        choices=("-inf",),
    )
    weights: str | None = arg.option(
        "this column of DATA holds the weights of rows in the mean", "COLUMN"
    )
    dask: str | None = arg.option("the scheduler of a cluster that scores the files", "ADDRESS")
    quiet: bool = arg.quiet()

    @property
    def shown(self) -> int:
        """The number of least likely rows to print."""
        if self.least is not None:
            return self.least
        return LEAST if self.out else 0


def run(options: Scoring) -> None:
    """Print the log-likelihood of every row of DATA in nats.

    Then it prints their mean and, with --out or --least, the least likely rows. Columns are matched
    by name if model and DATA have names, otherwise by position.

    Rows with empty cells are scored by their known cells. The score is exact if it has a
    closed form, otherwise a mean over samples; --errors writes its standard error. A model that
    was fitted with --given scores the other columns given these.

    Rounded values are dequantised: the command averages the density over the rounding cell, which
    is one rounding step wide. If the cell is narrow, the density at the value itself is nearly the
    same, and the command uses it unless you give --cells.

    DATA is read a batch of rows at a time and may be larger than memory. A pattern in quotes
    names several files, whose rows follow in the order of the files' names. With --dask each
    file is scored by a worker of a cluster, to the same bits; a file whose worker is lost is
    scored again. Workers need nfref and the same path to the files.

    example:
      nfref score wine.npz wine --out scores.csv
      nfref score model.npz big.parquet --out scores.parquet
      nfref score model.npz 'parts/*.parquet' --dask tcp://head:8786 --out scores.parquet
    """
    paths = files(options.data)
    check_output(options.out, options.model, *paths, what="scores")
    model = loaded_model(options.model)
    for name in ("errors", "cells", "unknown"):
        if getattr(options, name):
            check_of_table(model, options.model, f"--{name}")
    if options.dask:
        scored = _by_cluster(model, paths, options)
    else:
        scored = itertools.chain.from_iterable(
            scored_batches(model, path, options, len(paths) == 1) for path in paths
        )
    summary = Summary(options.shown)
    lost: list[Exception] = []
    names = COLUMNS if options.errors else COLUMNS[:1]
    blocks = (
        np.stack((part.log_prob, part.error, part.effective)[: len(names)], axis=1)
        for part in _until_lost(summary.of(scored, options.out), lost)
    )
    if options.out:
        write_table(options.out, names, blocks)
    else:
        for block in blocks:
            sys.stdout.writelines(",".join(cells) + "\n" for cells in block.astype(str).tolist())
    if lost:
        raise UsageError(
            f"{lost[0]}; {options.out or 'what was written'} holds the scores of the "
            f"first {summary.rows:,} rows"
        )
    if options.weights and not summary.weight > 0:
        raise UsageError(
            f"--weights: {options.data}: column {options.weights!r}: expected one "
            "above 0, got zero in every row"
        )
    if summary.incomplete:
        note(
            f"{summary.incomplete:,} of {summary.rows:,} rows have empty cells, and score the "
            f"cells that are there; largest standard error {summary.error:.3g} nats"
            + ("" if options.errors or not summary.error else " (--errors writes each)")
        )
    if summary.impossible:
        rows = plural("row", summary.impossible)
        note(
            f"{summary.impossible} {rows} where the model's density is zero or too small to compute"
            + (", or with an unknown category" if options.unknown else "")
            + ": -inf"
        )
    if summary.unknown:
        rows = plural("row", summary.unknown)
        note(f"{summary.unknown} {rows} with a density that can't be computed: nan")
    print("\n".join(summary.lines(several=len(paths) > 1)))


# A batch ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unlikely:
    """An unlikely row: its score, its file, its number from 1, and its cells."""

    log_prob: float
    path: str
    row: int
    text: str


@dataclass(frozen=True)
class Scored(Marginal):
    """Scores of a batch of rows, and its least likely rows.

    ``weight`` (N,) is the weight of rows, and ``incomplete`` the number of rows with empty cells.
    """

    least: list
    weight: np.ndarray
    incomplete: int


def scored_batches(model: Model, path: str, options: Scoring, alone: bool) -> Iterator[Scored]:
    """Yield the scores of a file, a batch of rows at a time.

    Parameters
    ----------
    model : nfref.tables.files.model_file.Model
    path : str
        A file or the name of built-in data.
    options : Scoring
    alone : bool
        True if this is the only file: kernels need not be loaded for a few rows.

    Yields
    ------
    Scored

    Raises
    ------
    UsageError
        If the model cannot score such rows.
    """
    first = 0
    for data in tables_for(model, path, options.header, options.weights):
        data, weight = data.weighed(options.weights, first)
        cells, sure = column_matching.for_model(data, model)
        say_remark(data, sure or first)
        values = stacked(cells)
        early = alone and not first
        with in_new_process(model.density, model.params, values, options.cells, early):
            if isinstance(model.density, TableDensity):
                found = _marginal(model.density, values, path, first, options)
            else:
                found = Marginal.exact(log_prob(model.density, model.params, values))
        known = np.sum(~np.isnan(found.log_prob))  # NaN is sorted behind all numbers
        worst = [
            Unlikely(float(found.log_prob[k]), path, first + k + 1, _shown(values[k], model, data))
            for k in np.argsort(found.log_prob, kind="stable")[: min(options.shown, known)]
        ]
        weight = np.ones(len(values)) if weight is None else weight
        incomplete = int(np.sum(np.any(np.isnan(data.values), axis=1)))
        yield Scored(found.log_prob, found.error, found.effective, worst, weight, incomplete)
        first += len(values)


def _marginal(density, values, path, first, options):
    """Return the Marginal of rows; those of an unknown category get -inf if they may be there."""
    values, score_of = values.copy(), {-np.inf: np.zeros(len(values), bool)}
    for k, column in enumerate(density.columns):
        if column.kind == "category":
            labels = {*column.labels, None}
            strange = np.array([cell not in labels and cell == cell for cell in values[:, k]], bool)
            if options.unknown:
                values[strange, k] = column.labels[0]
            kind = np.nan if column.name in density.given else -np.inf
            score_of[kind] = score_of.get(kind, False) | strange
    advice = ""
    if not options.unknown and any(map(np.any, score_of.values())):
        advice = "; --unknown=-inf gives such rows -inf"
    try:
        found = marginal_of(density, values, first + 1, options.cells)
    except ValueError as error:
        raise UsageError(f"{path}: {error}{advice}") from None
    for score, rows in score_of.items():
        found.log_prob[rows], found.error[rows], found.effective[rows] = score, 0, np.inf
    return found


def tables_for(
    model: Model, path: str, header: str, weights: str | None = None, optional: Sequence[str] = ()
) -> Iterator[Data]:
    """Yield the rows of DATA as :class:`nfref.cli.data.Data`, a batch at a time."""
    texts = column_matching.texts_for(model, (weights,))
    keep = column_matching.known_to(model, (weights,), optional)
    if not os.path.exists(path):  # built-in data, or an error
        yield load(path, header, texts, keep=keep)
        return
    of_table = isinstance(model.density, TableDensity)
    for table in batches(path, header, texts, keep=keep, may_be_empty=of_table):
        yield Data(path, table)


def _shown(cells, model, data):
    names = model.columns or data.columns
    shown = [
        f"{name} empty"
        if cell is None or cell != cell
        else f"{name}={cell:.6g}"
        if isinstance(cell, (float, np.floating))
        else f"{name}={cell}"
        for name, cell in zip(names[:SHOWN], cells)
    ]
    return printable(", ".join(shown)) + (", ..." if len(names) > SHOWN else "")


# All of them ------------------------------------------------------------------------------


class Summary:
    """A summary of all rows, gathered batch by batch.

    Parameters
    ----------
    most : int
        How many of the least likely rows are kept.
    """

    def __init__(self, most):
        self.most, self.rows, self.impossible, self.unknown = most, 0, 0, 0
        self.incomplete, self.error, self._weights, self._sums, self.least = 0, 0.0, [], [], []

    def of(self, scored: Iterator[Scored], shown: object) -> Iterator[Scored]:
        """Yield the same batches and gather them; count rows on a terminal if ``shown``."""
        with row_bar(shown, unit_scale=True) as bar:
            for part in scored:
                bar.update(len(part.log_prob))
                self._add(part)
                yield part

    def _add(self, part):
        self.rows += len(part.log_prob)
        self.impossible += int(np.sum(part.log_prob == -np.inf))
        self.unknown += int(np.sum(np.isnan(part.log_prob)))
        self.incomplete += part.incomplete
        self.error = max(self.error, float(np.max(part.error)))
        counts = part.weight > 0  # a weight of 0 times -inf counts as 0
        self._weights.append(float(np.sum(part.weight)))
        self._sums.append(np.sum(part.weight[counts] * part.log_prob[counts], dtype=np.float64))
        self.least = sorted(self.least + part.least, key=lambda one: one.log_prob)[: self.most]

    @property
    def weight(self) -> float:
        """Return the total weight."""
        return math.fsum(self._weights)

    @property
    def mean(self) -> float:
        """Return the mean of all rows; NaN or -inf if one row has it."""
        if not all(map(math.isfinite, self._sums)):
            return float(np.sum(self._sums))
        return math.fsum(self._sums) / self.weight

    def lines(self, several: bool) -> Iterator[str]:
        """Yield the lines to print; rows have their file if there are several."""
        yield f"mean log-likelihood: {self.mean:.6f} nats"
        if self.least:
            yield (
                f"least likely of {self.rows:,} rows:"
                if self.rows > len(self.least)
                else "rows, the least likely first:"
            )
        places = [f"row {one.row:,}" + (f" of {one.path}" if several else "") for one in self.least]
        width = max(map(len, places), default=0)
        for place, one in zip(places, self.least):
            yield f"  {place:<{width}}  {one.log_prob:>12.3f}  {one.text}"


# A cluster --------------------------------------------------------------------------------


def _by_cluster(model, paths, options):
    """Yield the same batches in the same order, scored by workers of Dask."""
    asked = {"model": model, "asked": options, "alone": len(paths) == 1}
    for path, parts in zip(paths, cluster.results(options.dask, score_file, paths, **asked)):
        for part in parts:
            yield replace(part, least=[replace(one, path=path) for one in part.least])


def _until_lost(parts, lost):
    """Yield parts until the cluster is lost; ``lost`` takes the error if some came."""
    some = False
    try:
        for part in parts:
            some = True
            yield part
    except cluster.ClusterLost as error:
        if not some:
            raise
        lost.append(error)


def score_file(path: str, model: Model, asked: Scoring, alone: bool) -> list[Scored]:
    """Return :func:`scored_batches` of a file as a list: the task of a worker."""
    with ONE_AT_A_TIME:
        return list(scored_batches(model, path, asked, alone))
