"""``nfref fit``: from a table to a model file, and how good the model is."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from shlex import quote

import numpy as np

from nfref.cli import data_warnings
from nfref.cli.arguments import (
    Options,
    UsageError,
    blamed,
    count,
    names,
    option,
    penalties,
    positive,
    widths,
)
from nfref.cli.checkpoint_writer import CheckpointWriter
from nfref.cli.data import Data, Source, files
from nfref.cli.interrupts import once
from nfref.cli.split import Part, Split
from nfref.cli.streams import complain, tolerant
from nfref.cli.test_table import dequantised, table_lines, whole_rows
from nfref.runtime.checks import one_line
from nfref.runtime.files import check_writable, is_special, reserved
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import check_given
from nfref.tables.files import checkpoints
from nfref.tables.fitting.fit import parameters_of_a_flow
from nfref.tables.fitting.flow_kinds import FLOWS, flow_kind
from nfref.tables.fitting.gaps import fit_incomplete_table
from nfref.tables.fitting.plan import BUDGET, Plan
from nfref.tables.fitting.row_fingerprints import KEPT_KEYS, as_text, keys_of
from nfref.tables.queries.scoring import AsDensity
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import ColumnError

MOST_LAYERS = 10_000  # of which each has arrays and functions of its own

DESCRIPTION = """\
Fit a density to the rows of DATA by maximum likelihood.

Several candidates are tried: a Gaussian, a mixture, neural spline and masked autoregressive
flows; the model is a weighted sum of them, with weights from rows that are held out. It is
what nfref.FlowDensity finds in Python. Or one flow alone, in the same way: --flow NAME. With
--given it is the density of the other columns given these. Cells may be empty: what may stand
there is drawn anew while simple densities are fitted, and the flows learn from the last draw.

DATA is passed over once and may be larger than memory: of a file with more rows than --rows
says, a sample is used, which the seed draws and which is the same however the file is cut.

A tenth of the rows is kept to test by, and a tenth of the others to choose and to stop by.
Last comes a small table: the mean log-likelihood of the test rows under every candidate and
under all together, in nats per row and in the units of the data, each with its standard
error. More is better. Ctrl-C ends the training and keeps the best so far; so do SIGTERM and
SIGHUP. A fit that was killed goes on where it was: --resume, and the same DATA and options,
give the same bits. Without a word a fit with --out writes a checkpoint every minute, beside
the model; with --checkpoint it does after every epoch."""

EXAMPLE = """\
example:
  nfref fit wine --out wine.npz
  nfref fit people.csv --given age,town --column town=category --out model.npz
  nfref fit people.csv --weights w --column age=positive --column town=category --time 60
  nfref fit wine --flow maf --layers 5 --hidden 128,128 --out wine.npz --plot wine.png
  nfref fit shares.csv --column share=0:1 --drop-duplicates --out shares.npz
  nfref fit wine --checkpoint half.npz --out wine.npz
  nfref fit wine --resume half.npz --out wine.npz"""


def add_commands(commands):
    """Add ``fit`` to the command line."""
    commands.add("fit", run, Source, Training, Targets, description=DESCRIPTION, example=EXAMPLE)


# What is asked for ------------------------------------------------------------------------


@dataclass(frozen=True)
class Training(Options):
    """How densities are fitted."""

    flow: str = option(
        "auto tries several; a name is one flow alone (default: auto; maf where an "
        "option is given that only one flow has)",
        choices=("auto", *FLOWS),
    )
    members: int = option(
        "how many flows auto may use (default: 4; none beside one flow alone)",
        type=count(0, 1000),
        metavar="K",
    )
    jobs: int = option(
        "train so many flows at once, each in a process; 0 is as many as there are "
        "processors (default: %(default)s)",
        type=count(0),
        default=1,
        metavar="J",
    )
    time: float = option(
        f"train for about so long (default: {BUDGET:g} for auto, any for one flow)",
        type=positive,
        metavar="SECONDS",
    )
    given: Sequence = option(
        "the density of the other columns given these",
        type=names,
        action="extend",
        default=[],
        metavar="NAME,NAME",
    )
    layers: int = option(
        "how many layers (default: the flow's own)", type=count(1, MOST_LAYERS), metavar="K"
    )
    hidden: tuple = option(
        "widths of the hidden layers, as in 64,64 (default: the flow's own)",
        type=widths,
        metavar="W,W",
    )
    trace: str = option(
        "cnf: the trace to train with (default: exact, which needs at most two "
        "hidden layers); scores are exact with either",
        choices=("exact", "hutchinson", "brute"),
    )
    rtol: float = option(
        "cnf, fm: tolerance of the solver, relative and absolute (default: 1e-05)",
        type=positive,
        metavar="R",
    )
    regularise: tuple = option(
        "cnf: weights of the two path penalties, as in 0.01,0.01 (default: none)",
        type=penalties,
        metavar="KINETIC,JACOBIAN",
    )
    epochs: int = option(
        "train for at most so many epochs (default: %(default)s)",
        type=count(1),
        default=200,
        metavar="E",
    )
    batch: int = option(
        "rows a training step (default: goes by the rows)", type=count(1), metavar="B"
    )
    lr: float = option(
        "learning rate of Adam (default: the flow's own)", type=positive, metavar="R"
    )
    dtype: str = option(
        "what flows are trained and scored in (default: trained in float32, scored in float64)",
        choices=("float64", "float32"),
    )
    drop_duplicates: bool = option(
        "keep only the first of rows that are exact copies", action="store_true"
    )

    @property
    def of_one_flow(self):
        """What is asked for that only one flow alone has a use for, by name."""
        return {
            name: value
            for name in ("layers", "hidden", "trace", "rtol", "regularise")
            if (value := getattr(self, name)) is not None
        }

    @property
    def name(self):
        """The flow that is asked for, or "auto"."""
        return self.flow or ("maf" if self.of_one_flow else "auto")

    def plan(self):
        """The Plan, which says nothing of files and signals yet."""
        several = self.name == "auto"
        if several:
            flow = "auto"
            if self.of_one_flow:
                raise UsageError(
                    f"--{next(iter(self.of_one_flow))}: expected none with --flow "
                    "auto, which tries several; --flow maf is one that takes it"
                )
        else:
            with blamed("--"):
                flow = flow_kind(self.name, **self.of_one_flow)
            if self.members is not None:
                asked = f"flow {self.flow}" if self.flow else next(iter(self.of_one_flow))
                raise UsageError(
                    f"--members: expected none beside --{asked}, which asks for one "
                    f"flow, got {self.members}"
                )
        members = (4 if several else 1) if self.members is None else self.members
        time = self.time or (BUDGET if several else None)
        return Plan(
            flow,
            members,
            self.epochs,
            self.batch,
            self.lr,
            time,
            jobs=_jobs(self.jobs),
            simple=several,
            dtype=self.dtype,
        )


def _jobs(asked):
    """How many flows are trained at once."""
    if asked == 1:
        return 1
    try:
        from joblib import effective_n_jobs
    except ModuleNotFoundError:
        raise UsageError(
            "--jobs: expected joblib to be installed, found it is not; "
            "pip install 'nfref[sklearn]' brings it"
        ) from None
    return effective_n_jobs(asked or -1)


@dataclass(frozen=True)
class Targets(Options):
    """What is written, and said."""

    out: str = option("write the model here", metavar="MODEL.npz")
    plot: str = option("draw data and samples here", metavar="FIG.png")
    checkpoint: str = option(
        "write here after every epoch what it takes to go on", metavar="FILE.npz"
    )
    resume: str = option(
        "go on from a checkpoint, and write the next ones there too unless "
        "--checkpoint names another file",
        metavar="FILE.npz",
    )
    quiet: bool = option("print nothing but the table", action="store_true")

    def checked(self, data):
        """The same, if all there is to write can be written, before any time is spent."""
        asked = replace(self, checkpoint=self.checkpoint or self.resume)
        taken = {os.path.realpath(path): "DATA" for path in files(data)}
        for name in ("out", "plot", "checkpoint"):
            path = getattr(asked, name)
            if path is None:
                continue
            check_writable(path)
            if os.path.realpath(path) in taken:
                raise UsageError(
                    f"--{name}: expected a file of its own, "
                    f"got {path}, which is {taken[os.path.realpath(path)]}"
                )
            taken[os.path.realpath(path)] = f"--{name}"
        if self.plot is not None:
            from nfref.cli.pictures import check_format

            check_format("--plot", self.plot)
        return asked

    def say(self, line):
        """A line for people."""
        if not self.quiet:
            print(line, flush=True)


def asked_for(source, training, plan, values):
    """All that decides the bits of a fit, by option; equal for a fit that goes on."""
    found = {
        "search": checkpoints.SEARCH,
        "seed": source.seed,
        "rows": source.rows,
        "DATA": hashlib.sha256(np.ascontiguousarray(values)).hexdigest(),
        "flow": training.name,
        "members": plan.members,
        "column": source.column,
        "weights": source.weights,
    }
    left = {"jobs", "time", *found, *(("epochs",) if plan.members == 1 else ())}
    found.update(
        {
            field.name: getattr(training, field.name)
            for field in fields(training)
            if field.name not in left
        }
    )
    return json.loads(
        json.dumps(
            {
                name if name in ("search", "DATA") else f"--{name.replace('_', '-')}": value
                for name, value in found.items()
            }
        )
    )


# From a file to a file --------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A table that is ready to be fitted to."""

    data: Data
    weight: np.ndarray  # of all rows, None where these are as good as each other
    copies: int
    split: Split
    columns: tuple
    given: tuple

    @classmethod
    def of(cls, data, source, training):
        """Of DATA as it was read."""
        copies = len(data.values) - len(np.unique(data.values, axis=0))
        data, weight = data.weighed(source.weights)
        with blamed(f"{data.name}: "):
            split = Split.of(data.values, weight, source.seed, training.drop_duplicates)
        given = _given(training.given, data, source.weights)
        columns = _columns(data, source.column, given)
        split = split.for_columns(columns, data.table.cells(), given, source.seed)
        return cls(data, weight, copies, split, columns, given)

    def lines(self, weights, dropped):
        """What there is to say before anything is fitted."""
        yield from data_warnings.about_rows(
            self.data, self.split, weights, self.weight, self.copies, dropped
        )
        yield from data_warnings.about_columns(self.columns, self.given)
        yield from data_warnings.about_ties(self.data, self.columns)
        yield from data_warnings.about_signs(self.data, self.columns)
        yield from data_warnings.about_empty_cells(self.data, self.given)

    def fitted(self, plan, seed, say):
        """What the plan finds."""
        part = self.split.train(self.data.table.cells())
        with blamed(f"{self.data.name}: "):
            return fit_incomplete_table(
                self.columns,
                part.table,
                plan,
                seed,
                given=self.given,
                weight=None if np.all(part.weight == 1) else part.weight,
                announce=lambda name: say(f"trying {name}"),
            )


def run(source, training, targets):
    """Fit, write, compare."""
    targets = targets.checked(source.data)
    plan, data = training.plan(), source.load(not targets.quiet)
    asked = asked_for(source, training, plan, data.values)
    with blamed("--resume: "):
        state = None if targets.resume is None else checkpoints.read(targets.resume, asked)
    task = Task.of(data, source, training)
    with blamed("--"):
        parameters = parameters_of_a_flow(
            plan, task.columns, len(task.split.places) - task.split.tests, task.given
        )
    # Whoever reads our output may have seen enough; the model is what is wanted.
    with tolerant(targets.out or targets.plot), once() as signals:
        size = 9 * (plan.members * parameters + 33 * (len(task.columns) + 1) ** 2) + 2**18
        with reserved(targets.out, size) as place, reserved(targets.plot) as picture:
            if data.table.doubtful:
                complain(f"nfref: warning: {data.table.remark}")
            for line in task.lines(source.weights, training.drop_duplicates):
                targets.say(line)
            if not targets.out:
                targets.say("the model will not be kept: --out MODEL.npz writes it to a file")
            keep = CheckpointWriter(targets.checkpoint, targets.out, asked, targets.say)

            def callback(state):
                with signals.between():
                    keep(state)

            fitted = task.fitted(
                replace(plan, progress=not targets.quiet, callback=callback, resume=state),
                source.seed,
                targets.say,
            )
            signals.hold()
            for one in fitted.tried:
                if one.message:
                    targets.say(f"{one.name}: {one.message}")
            problem = None
            if targets.out:
                about = {"flow": training.name, "data": source.data, "seed": source.seed}
                try:
                    _write_model(place, task, fitted, about)
                    keep.done()
                    targets.say(f"wrote {targets.out}")
                except Exception as error:  # whatever it is, what was fitted is not lost
                    problem = _rescued(targets.out, task, fitted, about, error)
            if targets.checkpoint and signals.came:
                targets.say(f"--resume {targets.checkpoint} goes on from here")
            problem = _draw(targets, picture, task.data, fitted.density) or problem
    for line in table_lines(task.data, task.split, fitted):
        print(line)
    if problem is not None:
        raise problem


def _given(named, data, weights):
    """Names of the columns of --given."""
    if weights in named:
        raise UsageError(f"--given: expected other columns than that of --weights, got {weights!r}")
    with blamed("--"):
        return check_given(named, data.columns)


def _columns(data, asked, given):
    """What values the columns take: as asked for by (name, support), or as they look."""
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
            warn=lambda text: complain(f"nfref: note: {data.name}: {text}"),
        )
    except ColumnError as error:
        if not error.labels:
            data_warnings.say_remark(data, sure=data.table.named)
        remedies = [f"--without {quote(error.column)} leaves it out"] * error.useless
        if error.labels:
            remedies += [
                f"--without {quote(error.column)} leaves the column out",
                f"--column {quote(error.column + '=category')} takes it anyway",
            ]
        remedy = f"; {', '.join(remedies)}" if remedies else ""
        raise UsageError(f"{data.name}: column {error.column!r}: {error.what}{remedy}") from None
    lowest = data.lowest or {}  # of a sample, of which other rows may hold counts below zero
    return tuple(
        replace(column, low=-np.inf)
        if column.kind == "count" and lowest.get(column.name, 0) < 0
        else column
        for column in columns
    )


def _write_model(place, task, fitted, about):
    """The model with what it says about its own making."""
    from nfref.tables.files.model_file import save_model

    data = task.data
    test = whole_rows(task.split.test(data.table.cells()))
    # As all densities are compared: values on lattices spread over their cells.
    spread = dequantised(fitted.density, test)
    mean, error = (
        mean_and_error(fitted.density.log_prob(spread.table), test.weight)
        if len(test)
        else (np.nan, np.nan)
    )
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
    save_model(
        place,
        fitted.density,
        columns=data.columns if data.table.named else None,
        info={"fit": info},
    )


def _rescued(out, task, fitted, about, error):
    """A model that could not be written where it was asked for is written elsewhere: the error
    that says so, or else the one that came."""
    from nfref.tables.files.model_file import save_model

    stem = os.path.splitext(os.path.basename(out))[0][:100]
    beside = () if is_special(out) else (os.path.dirname(os.path.realpath(out)),)
    for folder in (*beside, ".", None):  # None: where temporary files are
        path = None
        with contextlib.suppress(Exception):
            descriptor, path = tempfile.mkstemp(".npz", f"{stem}-rescued-", folder)
            os.close(descriptor)
            save_model(
                path,
                fitted.density,
                info={"fit": about},
                columns=task.data.columns if task.data.table.named else None,
            )
            return UsageError(f"{one_line(error)}; the model that was fitted is in {path}")
        if path is not None:
            os.unlink(path)
    return error


def _or_none(number):
    return None if np.isnan(number) else number


def _draw(targets, picture, data, density):
    """The picture; a problem with it is given back, for the model is written all the same."""
    if not targets.plot:
        return None
    from nfref.cli.pictures import draw

    cells = data.table.cells()
    cells = whole_rows(Part(cells, np.ones(len(cells[0])))).table
    shown = AsDensity(density, cells)
    try:
        draw("--plot", picture, shown, None, data.columns, shown.numbers(cells))
    except UsageError as error:
        return error
    targets.say(f"wrote {targets.plot}")
    return None
