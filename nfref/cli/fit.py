"""``nfref fit``: from a table to a model file, and how good the model is."""

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np

from nfref.cli import notes
from nfref.cli.arguments import DATA, HEADER, NAMES, SEED, UsageError, blamed, positive
from nfref.cli.data import Data, files, load_to_fit, refusal, say_remark
from nfref.cli.model_rows import check_target
from nfref.cli.plot import FORMATS, plot_density
from nfref.cli.streams import complain, note, say, tolerant
from nfref.cli.test_rows import Part, ScoredRows, Split, table_lines
from nfref.runtime.files import check_writable, is_special
from nfref.runtime.interrupts import keeping
from nfref.tables.densities.table_density import check_given
from nfref.tables.files import checkpoints
from nfref.tables.files.model_file import save_model
from nfref.tables.fitting.effort import EFFORTS
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.flow_kinds import FLOWS
from nfref.tables.fitting.plan import BUDGET, Plan, TableFit
from nfref.tables.fitting.results import Fitted, Progress
from nfref.tables.fitting.supports import choose_supports
from nfref.tables.fitting.trainings import SearchState
from nfref.tables.queries.scoring import AsDensity
from nfref.tables.schema.column_inference import asked_support, find_columns
from nfref.tables.schema.columns import ColumnError
from nfref.tables.schema.distinct_rows import KEPT_KEYS, as_text, keys_of

MODEL_BYTES = 2**22  # free space for a model file, which is smaller but for very many columns
SIMPLE = ("gaussian", "mixture")  # plans without flows


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref fit``."""
    add = parser.add_argument
    add("data", **DATA, help="a file, - for standard input, a pattern in quotes, built-in data")
    add("--out", metavar="MODEL.npz", help="write the model here")
    add("--plot", metavar="FIG.png", help="plot data and samples here")
    add(
        "--flow",
        type=str.lower,
        choices=("auto", *SIMPLE, *FLOWS),
        default="auto",
        help="auto (default) tries several kinds; gaussian and mixture no flow; a name this alone",
    )
    add(
        "--effort",
        choices=tuple(EFFORTS),
        default="default",
        help="how much the fit may cost: about ten seconds, a minute, or as long as it helps",
    )
    limit = f"time limit of the fit (default: {BUDGET:g} for auto, none for one flow)"
    add("--time", metavar="SECONDS", type=positive, help=limit)
    add("--given", **NAMES, help="fit the density of the other columns given these")
    add(
        "--column",
        metavar="NAME=SUPPORT",
        type=support,
        action="append",
        default=[],
        help="the values of column NAME: real, positive, LOW:HIGH, 'period P', count or category; "
        "may be repeated (text that repeats is a category by default)",
    )
    add("--without", **NAMES, help="leave these columns out")
    add("--weights", metavar="COLUMN", help="this column holds the weights of rows")
    add("--header", **HEADER)
    add("--seed", **SEED, help="of the test rows, folds, parameters and batches (default: 0)")
    add("--resume", metavar="FILE.npz", help="write checkpoints here, and continue from this one")


def support(text: str) -> tuple[str, str]:
    """Read NAME=SUPPORT as (name, support)."""
    name, equals, kind = text.rpartition("=")
    if not (name and kind):
        raise ArgumentTypeError(
            f"expected NAME=SUPPORT, as in age=positive or share=0:1, got {text!r}"
        )
    try:
        asked_support(name, kind)
    except ColumnError as error:
        raise ArgumentTypeError(error.what) from None
    return name, kind


def run(options: Namespace) -> None:
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

    DATA may be larger than memory: the command reads it once. If it has more than a million rows,
    or 2^23 numbers, the command uses a random sample of so many, which is the same however the rows
    are divided into files.

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
      nfref fit wine --flow maf --out wine.npz --plot wine.png
      nfref fit shares.csv --column share=0:1 --out shares.npz
      nfref fit wine --resume half.npz --out wine.npz
    """
    _check_targets(options)
    data = load_to_fit(options)
    keep = Checkpoints(options, data)
    plan = replace(_plan(options), checkpoint=keep, resume=keep.last()).begun()
    task = Task.of(data, options)
    # If the reader of the output has gone, the model is still wanted.
    with tolerant(options.out or options.plot), keeping() as signals:
        if options.out:
            check_writable(options.out, MODEL_BYTES)
        task.describe()
        if not options.out:
            say("the model will not be kept: --out MODEL.npz writes it to a file")
        fitted = task.fit(plan, options.seed)
        tests = ScoredRows.of(fitted.density, task.split.test(task.data.table.cells()))
        if fitted.tried[-1].message:
            say(f"pool: {fitted.tried[-1].message}")
        problem = _write_model(options.out, task, fitted, tests, options) if options.out else None
        if options.out and problem is None:
            keep.done()
            say(f"wrote {options.out}")
        if options.resume and signals.came:
            say(f"--resume {options.resume} continues from here")
        if signals.came and options.out and options.plot:
            say(
                f"{options.plot} is not drawn after an interrupt: nfref plot "
                f"{quote(options.out)} --data {quote(options.data)} --out {quote(options.plot)}"
            )
        elif options.plot:
            problem = _plot(options.plot, task.data, fitted.density) or problem
        table = table_lines(task.data, task.split, fitted, tests, not signals.came)
        if signals.came:  # later signals wait for it
            table = iter(list(table))
    for line in table:
        print(line)
    if problem is not None:
        raise problem


# Before the fit ---------------------------------------------------------------------------


def _check_targets(options):
    """Check that every output can be written, before any work."""
    taken = {os.path.realpath(path): "DATA" for path in files(options.data)}
    for name, path, formats in (
        ("--out", options.out, [".npz"]),
        ("--plot", options.plot, FORMATS),
        ("--resume", options.resume, [".npz", ".checkpoint"]),
    ):
        if path is not None:
            check_target(name, path, taken, formats)
            taken[os.path.realpath(path)] = name


def _plan(options):
    """Return the Plan that the options ask for, without callbacks."""
    several, simple = options.flow == "auto", options.flow in SIMPLE
    return Plan(
        options.flow,
        members=None if several else 0 if simple else 1,
        time_budget=options.time or (BUDGET if several else None),
        simple=several or simple,
        effort=options.effort,
    )


class Checkpoints:
    """The checkpoints of a fit.

    Those that you did not ask for are beside the model, and go when it is written. A full disk does
    not end the fit.
    """

    def __init__(self, options: Namespace, data: Data) -> None:
        self.failed = self.written = False
        self.own = options.resume is None and options.out and not is_special(options.out)
        self.path = f"{options.out}.checkpoint" if self.own else options.resume
        rows = hashlib.sha256(np.ascontiguousarray(data.values).data).hexdigest()
        decisive = ("seed", "flow", "effort", "given", "column", "weights")
        asked = {"search": checkpoints.SEARCH, "DATA": rows}
        asked |= {f"--{name}": getattr(options, name) for name in decisive}
        self.asked = json.loads(json.dumps(asked))  # as it is read back

    def last(self) -> SearchState | None:
        """Return the state to continue from; None if there is none."""
        if self.own or self.path is None or not os.path.exists(self.path):
            return None
        with blamed("--resume: "):
            return checkpoints.read(self.path, self.asked)

    def __call__(self, state: SearchState) -> None:
        """Write one."""
        if self.path is None:
            return
        try:
            checkpoints.write(self.path, state, self.asked)
            if self.own and not self.written:
                say(f"--resume {self.path} goes on from here should this process be killed")
            self.written = True
        except OSError as error:
            if not self.failed:
                complain(f"nfref: warning: {error}; the fit goes on, this checkpoint is missing")
            self.failed = True

    def done(self) -> None:
        """Remove a checkpoint that you did not ask for, once the model is written."""
        if self.own and self.written:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


@dataclass(frozen=True)
class Task:
    """A table that is ready to be fitted.

    ``weight`` is that of all rows, or None if each counts once; ``supports`` says which supports
    were chosen.
    """

    data: Data
    weight: np.ndarray | None
    split: Split
    columns: tuple
    given: tuple
    supports: list[str]

    @classmethod
    def of(cls, data: Data, options: Namespace) -> "Task":
        """Prepare DATA as it was read: weights, test rows, columns."""
        data, weight = data.weighed(options.weights)
        with blamed(f"{data.name}: "):
            split = Split.of(data.values, weight, options.seed)
        if options.weights in options.given:
            words = "expected other columns than that of --weights"
            raise UsageError(f"--given: {words}, got {options.weights!r}")
        with blamed("--"):
            given = check_given(options.given, data.columns)
        columns = _columns(data, options.column, given, weight)
        split = split.for_columns(columns, data.table.cells(), given, options.seed)
        train = split.train(data.table.cells())
        supports = choose_supports(
            columns,
            train.table,
            asked=dict(options.column),
            given=given,
            weight=train.weight,
            ends=_ends(data),
        )
        return cls(data, weight, split, supports.columns, given, supports.notes)

    def describe(self) -> None:
        """Print what was found: rows, columns and supports, and notes on standard error."""
        say_remark(self.data, self.data.table.named and not self.data.table.doubtful)
        for line in notes.notes_on(self.data, self.columns, self.given):
            note(line)
        say(f"{notes.sizes_of(self.data, self.weight)}; {self.split}")
        say(notes.summary_of(self.columns, self.given))
        for line in notes.about_supports(self.supports):
            say(line)

    def fit(self, plan: Plan, seed: int) -> Fitted:
        """Fit the rows that are not kept for the test."""
        part = self.split.train(self.data.table.cells())
        weight = None if np.all(part.weight == 1) else part.weight
        progress = Progress(say, shown=True)
        with blamed(f"{self.data.name}: "):
            return fit_table(
                TableFit(
                    self.columns, part.table, plan, seed, weight, progress=progress,
                    given=self.given,
                )
            )  # fmt: skip


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
            say_remark(data, sure=data.table.named)
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


def _write_model(path, task, fitted, tests, options):
    """Write the model, with notes about its fit.

    Return the problem if it could not be written, after an attempt to save it elsewhere.
    """
    data, (mean, error) = task.data, tests.mean()
    test = task.split.test(data.table.cells()).whole
    info = {
        "flow": options.flow,
        "data": options.data,
        "seed": options.seed,
        "rows": {
            "train": fitted.distinct - fitted.held_out,
            "validation": fitted.held_out,
            "test": task.split.tests,
        },
        "tested": ""
        if task.split.of_copies or not len(test)
        else as_text(keys_of(fitted.density, test.at(slice(KEPT_KEYS)).table)),
        "candidates": [
            {"name": one.name, "weight": one.weight, "message": one.message, "history": one.history}
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


def _plot(path, data, density):
    """Write the picture and return a problem with it: the model is written anyway."""
    cells = data.table.cells()
    cells = Part(cells, np.ones(len(cells[0]))).whole.table
    shown = AsDensity(density, cells)
    try:
        plot_density("--plot", path, shown, None, data.columns, shown.numbers(cells))
    except UsageError as error:
        return error
    say(f"wrote {path}")
    return None
