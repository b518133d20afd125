"""``nfref score``: log-likelihoods, a batch of rows at a time, on one machine or several."""

import logging
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from nfref.cli.arguments import DATA, HEADER, MODEL, UsageError
from nfref.cli.data import files
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
    add = parser.add_argument
    add("model", **MODEL)
    add("data", **DATA, help="a file, - for standard input, a pattern in quotes, built-in data")
    add("--header", **HEADER)
    add("--out", metavar="FILE", help="write the scores here, and print the least likely rows")
    add("--errors", action="store_true", help="add standard errors and effective sample numbers")
    add("--unknown", choices=("-inf",), help="score unknown categories -inf (nan if given)")
    add("--dask", metavar="ADDRESS", help="the scheduler of a cluster that scores the files")


def run(options: Namespace) -> None:
    """Print the log-likelihood of every row of DATA in nats.

    Then it prints their mean and, with --out, the least likely rows. Columns are matched by name
    if model and DATA have names, otherwise by position.

    Rows with empty cells are scored by their known cells. The score is exact if it has a
    closed form, otherwise a mean over samples; --errors writes its standard error (0 if it is
    exact) and the effective number of samples (inf if it is exact). A model that was fitted with
    --given scores the other columns given these. A category that the model does not know is an
    error; with --unknown=-inf such a row scores -inf.

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
    names = COLUMNS if options.errors else COLUMNS[:1]
    done: list[Batch] = []

    def blocks():
        scored = (_by_cluster if options.dask else _by_this_process)(model, paths, options)
        with row_bar(options.out, unit_scale=True) as bar:
            for found, batch in scored:
                bar.update(batch.rows)
                done.append(batch)
                yield np.stack((found.log_prob, found.error, found.effective)[: len(names)], axis=1)

    if options.out:
        write_table(options.out, names, blocks())
    else:
        for block in blocks():
            sys.stdout.writelines(",".join(cells) + "\n" for cells in block.astype(str).tolist())
    _summarise(done, options, several=len(paths) > 1)


# A batch ----------------------------------------------------------------------------------


class Batch(NamedTuple):
    """A summary of the scores of a batch of rows.

    ``total`` is the sum of the scores, ``error`` the largest standard error, and ``least``
    holds (score, path, number of the row in its file, its cells) of the least likely rows.
    """

    rows: int
    impossible: int
    unknown: int
    incomplete: int
    total: float
    error: float
    least: list[tuple[float, str, int, str]]


def scored_batches(
    model: Model, path: str, options: Namespace, alone: bool
) -> Iterator[tuple[Marginal, Batch]]:
    """Yield the scores of a file or of built-in data, a batch of rows at a time.

    ``alone`` says that this is the only file: kernels need not be loaded for a few rows.
    """
    first = 0
    for data in tables_for(model, path, options.header):
        values = stacked(for_model(data, model, told=first))
        with in_new_process(model.density, model.params, values, None, alone and not first):
            if isinstance(model.density, TableDensity):
                found = _marginal(model.density, values, path, first, options.unknown)
            else:
                found = Marginal.exact(log_prob(model.density, model.params, values))
        score = found.log_prob
        unknown = int(np.sum(np.isnan(score)))  # NaN is sorted behind all numbers
        least = np.argsort(score, kind="stable")[: min(LEAST, len(score) - unknown)]
        names = model.columns or data.columns
        batch = Batch(
            len(score),
            int(np.sum(score == -np.inf)),
            unknown,
            int(np.sum(np.any(np.isnan(data.values), axis=1))),
            float(np.sum(score, dtype=np.float64)),
            float(np.max(found.error)),
            [(float(score[k]), path, first + k + 1, _shown(values[k], names)) for k in least],
        )
        yield found, batch
        first += len(values)


def _marginal(density, values, path, first, asked):
    """Return the Marginal of rows; those of an unknown category get -inf if that is asked for."""
    known, score = values.copy(), np.zeros(len(values))  # NaN if a given category is unknown
    for k, column in enumerate(density.columns):
        if column.kind == "category":
            labels = {*column.labels, None}
            strange = np.array([cell not in labels and cell == cell for cell in values[:, k]], bool)
            score[strange] += np.nan if column.name in density.given else -np.inf
            known[strange, k] = column.labels[0]
    rows = score != 0
    advice = "" if asked or not np.any(rows) else "; --unknown=-inf gives such rows -inf"
    try:
        found = marginal_of(density, known if asked else values, first + 1, None)
    except ValueError as error:
        raise UsageError(f"{path}: {error}{advice}") from None
    found.log_prob[rows], found.error[rows], found.effective[rows] = score[rows], 0, np.inf
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


def _summarise(done, options, several):
    """Print notes, the mean and, with --out, the least likely rows."""
    rows, impossible, unknown, incomplete = (sum(counts) for counts in zip(*(b[:4] for b in done)))
    error = max(batch.error for batch in done)
    if incomplete:
        note(
            f"{incomplete:,} of {rows:,} rows have empty cells, and score the cells that are "
            f"there; largest standard error {error:.3g} nats"
            + ("" if options.errors or not error else " (--errors writes each)")
        )
    if impossible:
        note(
            f"{impossible} {plural('row', impossible)} where the model's density is zero or too "
            f"small to compute{', or with an unknown category' * bool(options.unknown)}: -inf"
        )
    if unknown:
        note(f"{unknown} {plural('row', unknown)} with a density that can't be computed: nan")
    totals = [batch.total for batch in done]
    finite = all(map(math.isfinite, totals))  # one row may have NaN or -inf
    mean = math.fsum(totals) / rows if finite else float(np.sum(totals))
    print(f"mean log-likelihood: {mean:.6f} nats")
    if not options.out:
        return
    least = sorted((row for batch in done for row in batch.least), key=lambda row: row[0])[:LEAST]
    if least:
        print(
            f"least likely of {rows:,} rows:"
            if rows > len(least)
            else "rows, the least likely first:"
        )
    places = [f"row {row:,}" + f" of {path}" * several for _, path, row, _ in least]
    width = max(map(len, places), default=0)
    for place, (score, _, _, text) in zip(places, least):
        print(f"  {place:<{width}}  {score:>12.3f}  {text}")


# Where they are scored --------------------------------------------------------------------


def _by_this_process(model, paths, options):
    """Yield the scores of every batch, in order."""
    for path in paths:
        yield from scored_batches(model, path, options, len(paths) == 1)


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
            for found, batch in parts:
                yield found, batch._replace(least=[(s, path, *rest) for s, _, *rest in batch.least])
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


def score_file(
    path: str, model: Model, options: Namespace, alone: bool
) -> list[tuple[Marginal, Batch]]:
    """Return :func:`scored_batches` of a file as a list: the task of a worker."""
    with ONE_AT_A_TIME:
        return list(scored_batches(model, path, options, alone))


def _reason(error):
    """Return the reason in one line: the first error of a chain has it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
