"""``nfref fit``: from a table to a model file, and how good the model is."""

import contextlib
import os
import secrets
import tempfile
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np

from nfref.cli import data_warnings
from nfref.cli.arguments import UsageError, blamed
from nfref.cli.checkpoint_writer import CheckpointWriter
from nfref.cli.data import Data, Source, refusal
from nfref.cli.fit_options import Targets, Training, asked_for
from nfref.cli.plot import plot_density
from nfref.cli.split import Part, Split
from nfref.cli.streams import complain, note, say, tolerant
from nfref.cli.test_table import ScoredRows, table_lines, whole_rows
from nfref.runtime.annotations import Iterator
from nfref.runtime.checks import plural
from nfref.runtime.files import check_writable
from nfref.runtime.interrupts import keeping
from nfref.tables.densities.table_density import check_given
from nfref.tables.files import checkpoints
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import Plan, TableFit
from nfref.tables.fitting.progress import Progress
from nfref.tables.fitting.results import Fitted
from nfref.tables.fitting.supports import Supports, choose_supports
from nfref.tables.queries.scoring import AsDensity
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import ColumnError
from nfref.tables.schema.distinct_rows import KEPT_KEYS, as_text, keys_of

MODEL_BYTES = 2**22  # free space for a model file, which is smaller but for very many columns


@dataclass(frozen=True)
class Task:
    """A table that is ready to be fitted.

    ``weight`` is that of all rows, or None if each counts once; ``copies`` is how many rows equal
    an earlier one.
    """

    data: Data
    weight: np.ndarray | None
    copies: int
    split: Split
    columns: tuple
    given: tuple
    supports: Supports

    @classmethod
    def of(cls, data: Data, source: Source, training: Training) -> "Task":
        """Prepare DATA as it was read: weights, test rows, columns."""
        copies = len(data.values) - len(np.unique(data.values, axis=0))
        data, weight = data.weighed(source.weights)
        with blamed(f"{data.name}: "):
            split = Split.of(data.values, weight, source.seed)
        if source.weights in training.given:
            words = "expected other columns than that of --weights"
            raise UsageError(f"--given: {words}, got {source.weights!r}")
        with blamed("--"):
            given = check_given(training.given, data.columns)
        columns = _columns(data, source.column, given, weight)
        split = split.for_columns(columns, data.table.cells(), given, source.seed)
        train = split.train(data.table.cells())
        supports = choose_supports(
            columns,
            train.table,
            asked=dict(source.column),
            given=given,
            weight=train.weight,
            ends=_ends(data),
        )
        return cls(data, weight, copies, split, supports.columns, given, supports)

    def lines(self, weights: str | None, verbose: bool) -> Iterator[str]:
        """Yield what to print before the fit: three lines at most, or all that was found."""
        if self.data.table.doubtful:
            complain(f"nfref: warning: {self.data.table.remark}")
        every = list(self._found(weights))
        if verbose:
            yield from every
            return
        for line in data_warnings.about_names_of_rows(self.data, self.columns):
            note(line)
        yield f"{data_warnings.sizes_of(self.data, self.weight)}; {self.split}"
        yield data_warnings.summary_of(self.data, self.columns, self.given)
        yield " ".join(
            [
                *data_warnings.about_supports(self.supports),
                f"({len(every)} {plural('note', len(every))}: --verbose)",
            ]
        )

    def _found(self, weights):
        """Yield a line for each thing that was found in the data."""
        yield from data_warnings.about_rows(
            self.data, self.split, weights, self.weight, self.copies
        )
        yield from data_warnings.about_columns(self.columns, self.given)
        yield from data_warnings.about_supports(self.supports)
        yield from data_warnings.about_ties(self.data, self.columns)
        yield from data_warnings.about_names_of_rows(self.data, self.columns)
        yield from data_warnings.about_empty_cells(self.data, self.given)

    def fit(self, plan: Plan, seed: int, progress: Progress) -> Fitted:
        """Fit the rows that are not kept for the test."""
        part = self.split.train(self.data.table.cells())
        with blamed(f"{self.data.name}: "):
            fit = TableFit(
                self.columns,
                part.table,
                plan,
                seed,
                weight=None if np.all(part.weight == 1) else part.weight,
                progress=progress,
                given=self.given,
            )
            return fit_table(fit)


def run(source: Source, training: Training, targets: Targets) -> None:
    """Fit a density to the rows of DATA by maximum likelihood.

    Several candidates are tried: Gaussians, mixtures, neural spline flows and masked
    autoregressive flows. The model is a weighted sum of them; rows that are held out decide the
    weights. nfref.FlowDensity does the same in Python. --flow NAME fits one flow alone. With
    --given the model is the density of the other columns given these. Cells may be empty: the
    command samples them several times while it fits simple densities, and fits flows to the last
    sample.

    Built-in data are wine and the toys two-moons, circles, rings, eight-gaussians, pinwheel,
    checkerboard, two-spirals, swiss-roll, sheared-gaussian, banana, gaussian-mixture and
    gaussian-grid.

    DATA may be larger than memory: the command reads it once. If it has more rows than --rows,
    the command uses a random sample, which is the same however the rows are divided into files.

    A tenth of the rows is kept for a test. Of the others, some are held out to choose the weights
    and to stop training early. The command ends with a table: the mean log-likelihood of the test
    rows under every candidate and under the pool, with its standard error, in nats per row and in
    the units of the data. Higher is better.

    Ctrl-C, SIGTERM and SIGHUP end the training and keep the best model so far. By default a fit
    with --out writes a checkpoint beside the model every minute; with --resume it writes them to
    that file, and continues from it if it is there. With the same DATA and options that gives the
    same bits as a fit that was never interrupted.

    example:
      nfref fit wine --out wine.npz
      nfref fit people.csv --given age,town --column town=category --out model.npz
      nfref fit people.csv --weights w --column age=positive --column town=category --time 60
      nfref fit wine --flow maf --layers 5 --hidden 128,128 --out wine.npz --plot wine.png
      nfref fit shares.csv --column share=0:1 --out shares.npz
      nfref fit wine --resume half.npz --out wine.npz
    """
    targets.check(source.data)
    plan, data = training.plan(), source.load()
    plan, asked = plan.begun(), asked_for(source, training, plan, data.values)
    with blamed("--resume: "):
        state = None
        if targets.resume is not None and os.path.exists(targets.resume):
            state = checkpoints.read(targets.resume, asked)
    task = Task.of(data, source, training)
    # If the reader of the output has gone, the model is still wanted.
    with tolerant(targets.out or targets.plot), keeping() as signals:
        if targets.out:
            check_writable(targets.out, MODEL_BYTES)
        for line in task.lines(source.weights, targets.verbose):
            say(line)
        if not targets.out:
            say("the model will not be kept: --out MODEL.npz writes it to a file")
        keep = CheckpointWriter(targets.resume, targets.out, asked)
        plan = replace(plan, checkpoint=keep, resume=state)
        progress = Progress(say, shown=not targets.quiet)
        fitted = task.fit(plan, source.seed, progress)
        cells = task.data.table.cells()
        tests = ScoredRows.of(fitted.density, task.split.test(cells))
        if fitted.tried[-1].message:
            say(f"pool: {fitted.tried[-1].message}")
        problem: Exception | None = None
        if targets.out:
            about = {"flow": training.name, "data": source.data, "seed": source.seed}
            problem = _write_model(targets.out, task, fitted, tests, about)
        if targets.out and problem is None:
            keep.done()
            say(f"wrote {targets.out}")
        if targets.resume and signals.came:
            say(f"--resume {targets.resume} continues from here")
        if signals.came and targets.out and targets.plot:
            say(
                f"{targets.plot} is not drawn after an interrupt: nfref plot "
                f"{quote(targets.out)} --data {quote(source.data)} --out {quote(targets.plot)}"
            )
        elif targets.plot:
            unseen = _plot(targets, task.data, fitted.density)
            problem = problem or unseen
        table = table_lines(task.data, task.split, fitted, tests, not signals.came)
        if signals.came:  # later signals wait for it
            table = iter(list(table))
    for line in table:
        print(line)
    if problem is not None:
        raise problem


# Before the fit ---------------------------------------------------------------------------


def _columns(data, asked, given, weight):
    """Find what values the columns take: as asked for by (name, support), or as they look."""
    supports = {}
    for name, kind in asked:
        if name not in data.columns:
            raise UsageError(f"--column: expected a column of {data.name}, got {name!r}")
        if name in supports:
            raise UsageError(f"--column: expected each column once, got {name!r} twice")
        supports[name] = kind
    try:
        columns = find_columns(
            data.columns,
            data.table.cells(),
            supports,
            first=1,
            labels=data.table.labels,
            given=given,
            whole=data.table.whole,
            refused=data.refused,
            warn=lambda text: note(f"{data.name}: {text}"),
            weight=weight,
        )
    except ColumnError as error:
        if not error.labels:
            data_warnings.say_remark(data, sure=data.table.named)
        raise UsageError(f"{data.name}: {refusal(error)}") from None
    except ValueError as error:
        raise UsageError(f"{data.name}: {error}") from None
    lowest = data.lowest or {}  # of all rows: those outside a sample may hold counts below zero
    return tuple(
        replace(column, low=-np.inf)
        if column.kind == "count" and lowest.get(column.name, 0) < 0
        else column
        for column in columns
    )


def _ends(data):
    """Return name -> (least, largest) value of all rows, of the test and outside a sample too."""
    values, lowest = data.values, data.lowest or {}
    pairs = zip(data.columns, np.nanmin(values, axis=0), np.nanmax(values, axis=0))
    return {name: (min(least, lowest.get(name, least)), most) for name, least, most in pairs}


# After the fit ----------------------------------------------------------------------------


def _write_model(path, task, fitted, tests, about):
    """Write the model, with notes about its fit.

    Return the problem if it could not be written, after an attempt to save it elsewhere.
    """
    from nfref.tables.files.model_file import save_model

    data, (mean, error) = task.data, tests.mean()
    test = whole_rows(task.split.test(data.table.cells()))
    info = {
        **about,
        "rows": {
            "train": fitted.distinct - fitted.held_out,
            "validation": fitted.held_out,
            "test": task.split.tests,
        },
        "tested": ""
        if task.split.of_copies or not len(test)
        else as_text(keys_of(fitted.density, test.at(slice(KEPT_KEYS)).table)),
        "candidates": [
            {
                "name": one.name,
                "weight": one.weight,
                "message": one.message,
                "history": one.history,
                "validation": {"mean": one.mean, "standard_error": _or_none(one.error)},
            }
            for one in fitted.tried
        ],
        "test": {"mean": _or_none(mean), "standard_error": _or_none(error)},
    }
    columns = data.columns if data.table.named else None
    try:
        save_model(path, fitted.density, columns=columns, info={"fit": info})
    except OSError as error:
        spare = os.path.join(tempfile.gettempdir(), f"nfref-{secrets.token_hex(4)}.npz")
        with contextlib.suppress(OSError):
            save_model(spare, fitted.density, columns=columns, info={"fit": info})
            return OSError(f"{error}; the model is in {spare} instead")
        return error
    return None


def _or_none(number):
    return None if np.isnan(number) else number


def _plot(targets, data, density):
    """Write the picture and return a problem with it: the model is written anyway."""
    cells = data.table.cells()
    cells = whole_rows(Part(cells, np.ones(len(cells[0])))).table
    shown = AsDensity(density, cells)
    try:
        plot_density("--plot", targets.plot, shown, None, data.columns, shown.numbers(cells))
    except UsageError as error:
        return error
    say(f"wrote {targets.plot}")
    return None
