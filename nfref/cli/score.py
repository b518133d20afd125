"""``nfref score``: log-likelihoods, a batch of rows at a time, on one machine or several."""

import logging
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from nfref.cli import arguments
from nfref.cli.arguments import UsageError
from nfref.cli.data import files, say_remark
from nfref.cli.model_rows import check_of_table, check_output, for_model, loaded_model, tables_for
from nfref.cli.streams import note, printable, row_bar
from nfref.runtime.abandonable import Call
from nfref.runtime.annotations import Iterator
from nfref.runtime.checks import plural
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model
from nfref.tables.queries.answers import Marginal
from nfref.tables.queries.scoring import in_new_process, log_prob, marginal_of, stacked
from nfref.tables.reading import TableError, write_table
from nfref.training.gradient import ONE_AT_A_TIME

LEAST = 5  # least likely rows that are shown with --out
SHOWN = 6  # most columns that are shown
COLUMNS = ("log_likelihood", "standard_error", "effective_draws")
WAIT = 8  # seconds that the scheduler of a cluster has to answer


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref score``."""
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument(
        "data",
        metavar="DATA",
        type=arguments.table_path,
        help="a file, - for standard input, a pattern of files, or the name of built-in data",
    )
    arguments.add_header(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the scores here, in the format of the suffix, and print the mean and the "
        f"{LEAST} least likely rows",
    )
    parser.add_argument(
        "--errors",
        action="store_true",
        help="write also the standard error of each score, 0 if it is exact, and the effective "
        "number of samples, inf if it is exact",
    )
    parser.add_argument(
        "--unknown",
        choices=("-inf",),
        help="score a row with a category that the model does not know as -inf (nan if the column "
        "is given), as --unknown=-inf; without it such a row is an error",
    )
    parser.add_argument(
        "--weights", metavar="COLUMN", help="this column holds the weights of rows in the mean"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="the scheduler of a cluster that scores the files"
    )


def run(options: Namespace) -> None:
    """Print the log-likelihood of every row of DATA in nats.

    Then it prints their mean and, with --out, the least likely rows. Columns are matched by name
    if model and DATA have names, otherwise by position.

    Rows with empty cells are scored by their known cells. The score is exact if it has a
    closed form, otherwise a mean over samples; --errors writes its standard error. A model that
    was fitted with --given scores the other columns given these.

    Rounded values are dequantised: the command averages the density over the rounding cell, which
    is one rounding step wide. If the cell is narrow, the density at the value itself is nearly the
    same, and the command uses it.

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
    for name in ("errors", "unknown"):
        if getattr(options, name):
            check_of_table(model, options.model, f"--{name}")
    scored = (_by_cluster if options.dask else _by_this_process)(model, paths, options)
    summary = Summary()
    names = COLUMNS if options.errors else COLUMNS[:1]
    blocks = (
        np.stack((part.log_prob, part.error, part.effective)[: len(names)], axis=1)
        for part in summary.of(scored, options.out)
    )
    if options.out:
        write_table(options.out, names, blocks)
    else:
        for block in blocks:
            sys.stdout.writelines(",".join(cells) + "\n" for cells in block.astype(str).tolist())
    if options.weights and not summary.weight > 0:
        raise UsageError(
            f"--weights: {options.data}: column {options.weights!r}: expected one "
            "above 0, got zero in every row"
        )
    for line in summary.notes(options):
        note(line)
    print(f"mean log-likelihood: {summary.mean:.6f} nats")
    if options.out:
        print("\n".join(summary.lines(several=len(paths) > 1)))


# A batch ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored(Marginal):
    """Scores of a batch of rows.

    ``weight`` (N,) is the weight of rows, ``incomplete`` the number of rows with empty cells, and
    ``least`` holds (score, number of the row in its file, its cells) of the least likely ones.
    """

    weight: np.ndarray
    incomplete: int
    least: list[tuple[float, int, str]]


def scored_batches(model: Model, path: str, options: Namespace, alone: bool) -> Iterator[Scored]:
    """Yield the scores of a file or of built-in data, a batch of rows at a time.

    ``alone`` says that this is the only file: kernels need not be loaded for a few rows.
    """
    first = 0
    for data in tables_for(model, path, options.header, options.weights):
        data, weight = data.weighed(options.weights, first)
        cells, sure = for_model(data, model)
        say_remark(data, sure or first)
        values = stacked(cells)
        with in_new_process(model.density, model.params, values, None, alone and not first):
            if isinstance(model.density, TableDensity):
                found = _marginal(model.density, values, path, first, options.unknown)
            else:
                found = Marginal.exact(log_prob(model.density, model.params, values))
        known = np.sum(~np.isnan(found.log_prob))  # NaN is sorted behind all numbers
        least = [
            (
                float(found.log_prob[k]),
                first + k + 1,
                _shown(values[k], model.columns or data.columns),
            )
            for k in np.argsort(found.log_prob, kind="stable")[: min(LEAST, known)]
        ]
        weight = np.ones(len(values)) if weight is None else weight
        incomplete = int(np.sum(np.any(np.isnan(data.values), axis=1)))
        yield Scored(found.log_prob, found.error, found.effective, weight, incomplete, least)
        first += len(values)


def _marginal(density, values, path, first, unknown):
    """Return the Marginal of rows; those of an unknown category get -inf if they may be there."""
    values, score_of = values.copy(), {-np.inf: np.zeros(len(values), bool)}
    for k, column in enumerate(density.columns):
        if column.kind == "category":
            labels = {*column.labels, None}
            strange = np.array([cell not in labels and cell == cell for cell in values[:, k]], bool)
            if unknown:
                values[strange, k] = column.labels[0]
            kind = np.nan if column.name in density.given else -np.inf
            score_of[kind] = score_of.get(kind, False) | strange
    advice = ""
    if not unknown and any(map(np.any, score_of.values())):
        advice = "; --unknown=-inf gives such rows -inf"
    try:
        found = marginal_of(density, values, first + 1, None)
    except ValueError as error:
        raise UsageError(f"{path}: {error}{advice}") from None
    for score, rows in score_of.items():
        found.log_prob[rows], found.error[rows], found.effective[rows] = score, 0, np.inf
    return found


def _shown(cells, names):
    """Return the first cells of a row as text."""
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
    """A summary of all rows, gathered batch by batch."""

    def __init__(self):
        self.rows, self.impossible, self.unknown, self.incomplete, self.error = 0, 0, 0, 0, 0.0
        self._weights, self._sums, self._least = [], [], []

    def of(self, scored: Iterator[tuple[str, Scored]], shown: object) -> Iterator[Scored]:
        """Yield the batches of files and gather them; count rows on a terminal if ``shown``."""
        with row_bar(shown, unit_scale=True) as bar:
            for path, part in scored:
                bar.update(len(part.log_prob))
                self._add(path, part)
                yield part

    def _add(self, path, part):
        self.rows += len(part.log_prob)
        self.impossible += int(np.sum(part.log_prob == -np.inf))
        self.unknown += int(np.sum(np.isnan(part.log_prob)))
        self.incomplete += part.incomplete
        self.error = max(self.error, float(np.max(part.error)))
        counts = part.weight > 0  # a weight of 0 times -inf counts as 0
        self._weights.append(float(np.sum(part.weight)))
        self._sums.append(np.sum(part.weight[counts] * part.log_prob[counts], dtype=np.float64))
        least = [(score, row, path, text) for score, row, text in part.least]
        self._least = sorted(self._least + least, key=lambda one: one[0])[:LEAST]

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

    def notes(self, options: Namespace) -> Iterator[str]:
        """Yield a line for each kind of row that has no plain score."""
        if self.incomplete:
            yield (
                f"{self.incomplete:,} of {self.rows:,} rows have empty cells, and score the "
                f"cells that are there; largest standard error {self.error:.3g} nats"
                + ("" if options.errors or not self.error else " (--errors writes each)")
            )
        if self.impossible:
            yield (
                f"{self.impossible} {plural('row', self.impossible)} where the model's density is "
                "zero or too small to compute"
                + (", or with an unknown category" if options.unknown else "")
                + ": -inf"
            )
        if self.unknown:
            rows = plural("row", self.unknown)
            yield f"{self.unknown} {rows} with a density that can't be computed: nan"

    def lines(self, several: bool) -> Iterator[str]:
        """Yield the least likely rows; rows have their file if there are several."""
        if self._least:
            yield (
                f"least likely of {self.rows:,} rows:"
                if self.rows > len(self._least)
                else "rows, the least likely first:"
            )
        places = [
            f"row {row:,}" + (f" of {path}" if several else "") for _, row, path, _ in self._least
        ]
        width = max(map(len, places), default=0)
        for place, (score, _, _, text) in zip(places, self._least):
            yield f"  {place:<{width}}  {score:>12.3f}  {text}"


# Where they are scored --------------------------------------------------------------------


def _by_this_process(model, paths, options):
    """Yield (path, Scored) of every batch, in order."""
    for path in paths:
        for part in scored_batches(model, path, options, len(paths) == 1):
            yield path, part


def _by_cluster(model, paths, options):
    """Yield the same, scored by the workers of Dask: a task a file, which Dask repeats if lost."""
    try:
        import distributed
    except ModuleNotFoundError:
        raise UsageError(
            "--dask: expected dask and distributed to be installed, found they are "
            "not; pip install 'nfref[dask]' brings them"
        ) from None
    logging.disable(logging.CRITICAL)  # Dask logs pages about a lost connection
    try:
        _ping(distributed, options.dask)
        client = distributed.Client(options.dask, timeout=WAIT, set_as_default=False)
    except Exception as error:  # another server may answer anything, and Dask asserts
        raise UsageError(
            f"--dask: expected the address of a scheduler, got {options.dask}: {_reason(error)}"
        ) from None
    asked = {"model": model, "options": options, "alone": len(paths) == 1}
    try:
        tasks = client.map(score_file, [*map(os.path.abspath, paths)], pure=False, **asked)
        for path, task in zip(paths, tasks):
            try:
                parts = task.result()
            except (UsageError, TableError) as error:
                raise UsageError(str(error).replace(os.path.abspath(path), path)) from None
            except distributed.KilledWorker:
                raise UsageError(f"{path}: several workers died while they scored it") from None
            except (OSError, TimeoutError, distributed.CancelledError) as error:
                reason = f"lost it before {path} was scored: {_reason(error)}"
                raise UsageError(f"--dask: scheduler {options.dask}: {reason}") from None
            task.release()
            for part in parts:
                yield path, part
    finally:
        with suppress(Exception):  # the scheduler may be gone
            client.close(timeout=2)


def _ping(distributed, address):
    """Check that a scheduler answers, in a thread: some waits of Dask have no time limit."""
    import asyncio

    async def ping():
        async with distributed.rpc(address, timeout=WAIT) as scheduler:
            await scheduler.identity()

    call = Call(lambda: asyncio.run(ping()), ())
    call.start()
    if not call.ended.wait(WAIT):
        raise TimeoutError(f"no answer within {WAIT} s")
    if call.error is not None:
        raise call.error


def score_file(path: str, model: Model, options: Namespace, alone: bool) -> list[Scored]:
    """Return :func:`scored_batches` of a file as a list: the task of a worker."""
    with ONE_AT_A_TIME:
        return list(scored_batches(model, path, options, alone))


def _reason(error):
    """Return the reason in one line: the first error of a chain has it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
