"""Commands that use what there is: sample, plot, info, datasets."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import nfref
from nfref.cli import column_matching
from nfref.cli.arguments import (
    Options,
    UsageError,
    blamed,
    conditions,
    count,
    header,
    option,
    positional,
    positive,
    seed,
    spreadsheet,
)
from nfref.cli.data import TOY_ROWS, load
from nfref.cli.data_warnings import about_missing, say_remark
from nfref.cli.environment import system
from nfref.cli.streams import complain, is_closed, printable, utf8_output
from nfref.flows.composition import Composition, Invert
from nfref.runtime import params as trees
from nfref.runtime.batching import BLOCK
from nfref.runtime.checks import shortened
from nfref.runtime.files import check_writable, is_special
from nfref.tables.densities.table_density import TableDensity, inside
from nfref.tables.fitting.flow_kinds import size_of
from nfref.tables.queries.missing_cells import ConditionalSampler, impute, row_given
from nfref.tables.queries.scoring import AsDensity, check_cells, draw, stacked
from nfref.tables.reading import numbered_columns, write_blocks

LABELS = 8  # of a category that are listed
FAR = 1e6  # robust standard deviations from the median, where tails are worth a note


def add_commands(commands):
    """Add the commands of this file to the command line."""
    commands.add(
        "sample",
        sample,
        Sampling,
        description="Draw rows from a model, as csv with the columns it was fitted to; with\n"
        "--given, rows in which some columns have the values that you say; with\n"
        "--given-from, rows for each row of a file, whose cells stay as they are.\n"
        "A model that was fitted with --given needs those columns.",
        example="example:\n  nfref sample wine.npz -n 1000 --seed 1 --out new.csv\n"
        "  nfref sample wine.npz -n 1000 --given alcohol=12,pH=3.1\n"
        "  nfref sample model.npz --given-from some.csv --out rows.csv",
    )
    commands.add(
        "plot",
        plot,
        Picture,
        description="Draw a model: for two columns target, samples and log-density side by\n"
        "side, else every pair of columns of data against samples.",
        example="example:\n  nfref plot wine.npz --data wine --out wine.png",
    )
    commands.add(
        "info",
        info,
        Subject,
        description="Print what a model file holds; or versions, processor, backend and the\n"
        "folder of compiled code, which may be deleted at any time.",
        example="example:\n  nfref info wine.npz\n  nfref info --system",
    )
    commands.add(
        "datasets",
        datasets,
        description="List the built-in data. The floor is the entropy in nats: no model's\n"
        "expected negative log-likelihood lies below it.",
        example="example:\n  nfref datasets",
    )


def check_there(what):
    """That there is a standard output, for commands that do nothing but write to it."""
    if is_closed():
        raise UsageError(f"standard output: expected one to write {what} to, got a closed one")


def loaded_model(path):
    """The model of a file, which has to be one without context."""
    from nfref.tables.files.model_file import load_model

    if not path:
        raise UsageError("MODEL: expected a model file, got ''")
    model = load_model(path)
    if model.density.context_dim:
        raise UsageError(
            f"{path}: expected a model without context, got one that takes "
            f"{model.density.context_dim} context columns"
        )
    return model


def check_output(out, *inputs, what=None):
    """That ``out`` can be written and is none of the files that are read; without one, that there
    is a standard output to write ``what`` to."""
    if out is None:
        if what is not None:
            check_there(what)
        return
    if not out:
        raise UsageError("--out: expected a file to write, got ''")
    check_writable(out)
    for path in inputs:
        if path is not None and os.path.realpath(out) == os.path.realpath(path):
            raise UsageError(f"--out: expected a file of its own, got {out}, which is read")


# Commands ---------------------------------------------------------------------------------


def rows_for(model, name, header, weights=None):
    """The rows of DATA without empty cells, in the order of the model's columns, and what they
    count (None for all the same); says so if names were guessed or rows left out."""
    of_table = isinstance(model.density, TableDensity)
    data, weight = load(
        name,
        header,
        column_matching.texts_of(model),
        of_table,
        column_matching.known_to(model, (weights,)),
    ).weighed(weights)
    values, sure = column_matching.for_model(data, model)
    say_remark(data, sure)
    if of_table:
        with blamed(f"{data.name}: "):
            check_cells(
                model.density, column_matching.cells_of(data, values, model), may_be_empty=True
            )
    whole = ~np.any(np.isnan(values), axis=1)
    if not np.all(whole):
        said = about_missing(model.columns or data.columns, list(values.T))
        if not np.any(whole):
            raise UsageError(f"{data.name}: expected rows without empty cells, got {said}")
        complain(f"nfref: note: {said}; these rows are left out")
    return (
        column_matching.with_text(data, values, model)[whole],
        None if weight is None else weight[whole],
    )


def table_model(path, option):
    """The model of a file, which has to be the density of a table."""
    model = loaded_model(path)
    check_of_table(model, path, option)
    return model


def check_of_table(model, path, option):
    """That a model is the density of a table, as an option asks for."""
    if not isinstance(model.density, TableDensity):
        raise UsageError(
            f"{option}: expected the density of a table, got {path}, a flow that "
            "nfref.fit has fitted"
        )


@dataclass(frozen=True)
class Sampling(Options):
    """Rows to draw."""

    model: str = positional("MODEL", "a model file")
    n: int = option(
        "how many rows; with --given-from, for each of its rows (default: 1)",
        prefix="-",
        type=count(0),
        metavar="N",
    )
    seed: int = seed("the same seed draws the same rows")
    given: Sequence = option(
        "only rows in which column NAME is VALUE, of the density of a table",
        type=conditions,
        action="extend",
        default=[],
        metavar="NAME=VALUE,NAME=VALUE",
    )
    given_from: str = option(
        "rows that hold some of the columns; empty cells are drawn too", metavar="DATA"
    )
    within: float = option(
        "draw anew where a real column without bounds lies further from its "
        "median than W robust standard deviations: tails have no moments",
        type=positive,
        metavar="W",
    )
    out: str = option("write here instead of standard output", metavar="CSV")
    spreadsheet: bool = spreadsheet()


def sample(options):
    """New rows as csv."""
    check_output(options.out, options.model, options.given_from, what="rows")
    if options.n is None and not options.given_from:
        raise UsageError("-n: expected how many rows, got none")
    model = (
        loaded_model(options.model)
        if options.within is None
        else table_model(options.model, "--within")
    )
    rng = np.random.default_rng(options.seed)
    if options.given_from:
        total, drawn = _for_each_row(model, options, rng)
    else:
        given = given_values(model, options.given, options.model)
        total, drawn = options.n, _new_rows(model, options, rng, given)
    _check_disk(options.out, total, model.density.dim)
    known = dict(options.given)
    watched = (
        []
        if options.given_from or not isinstance(model.density, TableDensity)
        else (model.density.columns)
    )
    overflown = distant = 0

    def blocks():
        nonlocal overflown, distant
        for values in drawn:
            if values.dtype.kind == "f":
                overflown += np.sum(~np.all(np.isfinite(values), axis=1))
            if watched:
                distant += np.sum(~inside(watched, values.T, FAR, known))
            yield values

    columns = model.columns or numbered_columns(model.density.dim)
    with utf8_output(options.out) as output:
        write_blocks(output, columns, blocks(), options.spreadsheet)
    if overflown:
        complain(f"nfref: note: {overflown} rows hold numbers too large to compute")
    if distant:
        complain(
            f"nfref: note: {distant:,} of {total:,} rows lie further out than {FAR:g} robust "
            "standard deviations: tails have no moments, and --within 6 draws such rows anew"
        )


def _new_rows(model, options, rng, given):
    """Blocks of rows, n of them."""
    for start in range(0, options.n, BLOCK):
        with blamed("--"):
            rows = draw(
                model.density,
                model.params,
                rng,
                min(BLOCK, options.n - start),
                given,
                options.within,
            )
        yield rows


def _for_each_row(model, options, rng):
    """(how many rows, an iterator of blocks of them) drawn for each row of --given-from."""
    if options.given:
        raise UsageError("--given: expected none with --given-from, which says what is given")
    if options.within is not None:
        raise UsageError(
            "--within: expected none with --given-from, whose rows are kept, got "
            f"{options.within:g}"
        )
    model = table_model(options.model, "--given-from")
    density, each = model.density, 1 if options.n is None else options.n
    drawn = [column.name for column in density.columns if column.name not in density.given]
    data = load(
        options.given_from,
        "auto",
        column_matching.texts_of(model),
        True,
        column_matching.known_to(model, optional=drawn),
    )
    cells, sure = column_matching.partial_cells(data, model, drawn)
    say_remark(data, sure)
    rows = len(cells[0])

    def blocks():
        sampler, step = ConditionalSampler(density), max(1, BLOCK // max(each, 1))
        for start in range(0, rows if each else 0, step):
            block = [np.repeat(values[start : start + step], each) for values in cells]
            with blamed(f"{options.given_from}: "):
                found = impute(density, block, rng, sampler=sampler)
            yield stacked(found)

    return rows * each, blocks()


def given_values(model, asked, path):
    """name -> value of --given, each of which its column can take."""
    given = dict(asked)
    if len(given) < len(asked):
        twice = next(name for k, (name, _) in enumerate(asked) if name in dict(asked[:k]))
        raise UsageError(f"--given: expected each column once, got {twice!r} twice")
    if not given and not getattr(model.density, "given", ()):
        return given
    check_of_table(model, path, "--given")
    for column in model.density.columns:  # labels that are no text
        if column.name in given and column.kind == "category":
            text = given[column.name]
            given[column.name] = next(
                (label for label in column.labels if str(label) == text), text
            )
    with blamed("--"):
        row_given(model.density, given)
    return given


def _check_disk(out, n, dim):
    """That a csv of n rows could fit where it is to be written."""
    if out is None or is_special(out):
        return
    least = 4 * n * dim  # a number has three characters or more, and a delimiter
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(out))).free
    if least > free:
        raise UsageError(
            f"-n: expected rows that fit into the {size_of(free)} free for "
            f"{out}, got {n:,}, which take {size_of(least)} or more"
        )


@dataclass(frozen=True)
class Picture(Options):
    """What is drawn, beside which rows."""

    model: str = positional("MODEL", "a model file")
    data: str = option("rows to compare with", metavar="DATA")
    header: str = header()
    out: str = option(
        "the picture; its extension says the format", metavar="FIG.png", required=True
    )


def plot(options):
    """A picture of data and samples."""
    from nfref.cli.pictures import check_format, draw

    check_output(options.out, options.model, options.data)
    check_format("--out", options.out)
    model = loaded_model(options.model)
    x = None if options.data is None else rows_for(model, options.data, options.header)[0]
    columns = model.columns or numbered_columns(model.density.dim)
    density = model.density
    if isinstance(density, TableDensity):
        if density.given and x is None:
            raise UsageError(
                "--data: expected rows, for the model is given "
                f"{', '.join(map(repr, density.given))}; got none"
            )
        cells = None if x is None else list(x.T)
        density = AsDensity(density, cells)
        x = None if x is None else density.numbers(cells)
    draw("--out", options.out, density, model.params, columns, x)


@dataclass(frozen=True)
class Subject(Options):
    """What there is to know about: one of these."""

    model: str = positional("MODEL", "a model file", nargs="?")
    system: bool = option("what nfref runs on", action="store_true")

    @classmethod
    def add_to(cls, parser):
        super().add_to(parser.add_mutually_exclusive_group(required=True))


def info(subject):
    """What a model file holds, or what nfref runs on."""
    check_there("it")
    lines = system() if subject.system else about_model(loaded_model(subject.model))
    for name, text in lines.items():
        print(printable(f"{name + ':':<12}{text}"))


def about_model(model):
    density = model.density
    if isinstance(density, TableDensity):
        lines = _about_table(density)
    else:
        columns = model.columns or numbered_columns(density.dim)
        lines = {
            "flow": _outline(density.flow),
            "base": type(density.base).__name__,
            "columns": f"{len(columns)}: {', '.join(columns)}",
            "parameters": _size(model.params),
        }
    for name, value in model.info.items():
        if name == "fit":
            try:
                lines.update(_about_fit(value))
            except (KeyError, TypeError, ValueError, AttributeError):  # somebody else's notes
                lines["fit"] = shortened(value)
        elif name == "fitted_to":  # keys of rows, for reports
            continue
        elif name == "written_by":
            lines["written by"] = ", ".join(
                f"{maker} {version}" for maker, version in value.items()
            )
        else:
            lines[name] = value
    return lines


def _about_table(density):
    """The columns by what they are, the pool by its members, each in a line of its own."""

    def listed(columns):
        return f"{len(columns)}: " + ", ".join(
            column.name if column.kind == "real" else f"{column.name} ({column.kind})"
            for column in columns
        )

    own = [column for column in density.columns if column.name not in density.given]
    lines = {"columns": listed(own)}
    if density.given:
        lines["given"] = listed([column for column in density.columns if column not in own])
    for column in density.columns:
        if column.kind == "category":
            labels = ", ".join(map(str, column.labels[:LABELS]))
            more = f", ... ({len(column.labels)} labels)" if len(column.labels) > LABELS else ""
            lines[column.name] = labels + more
    if density.discrete is not None:
        lines["classes"] = f"{len(density.discrete.log_weights)}, of the discrete columns"
    if density.pool is not None:
        shares = sorted(
            ((weight, name) for name, weight in density.pool.shares.items()), reverse=True
        )
        none = [name for weight, name in shares if weight == 0]
        lines["pool"] = f"{len(shares)} member{'s' * (len(shares) > 1)}: " + ", ".join(
            f"{name} {weight:.3f}" for weight, name in shares if weight > 0
        )
        if none:
            lines["pool"] += f"; of no weight: {', '.join(none)}"
        for k in density.pool.flows:
            flow, name = density.pool.members[k], density.pool.names[k]
            number = density.pool.names.count(name)
            lines[name] = (
                f"{number} of " * (number > 1)
                + f"{_outline(flow.density.flow)}, "
                + _size(flow.params)
            )
    return lines


def _size(params):
    return f"{trees.count(params):,} numbers in {trees.dtype_of(params)}"


def _about_fit(fit):
    """What ``nfref fit`` noted down, in lines."""
    rows, test = fit["rows"], fit["test"]
    error = test["standard_error"]
    error = "" if error is None else f", standard error {error:.3f}"
    return {
        "fitted to": f"{fit['data']}: {rows['train']:,} rows to train, "
        f"{rows['validation']:,} to validate, {rows['test']:,} to test",
        "test": f"{test['mean']:.3f} nats per row{error}",
        "training": f"seed {fit['seed']}",
    }


def _outline(flow):
    """A flow in a few words: its class, and its settings where it is no mere composition."""
    if isinstance(flow, Invert):
        return f"Invert({_outline(flow.flow)})"
    if type(flow).__name__ == "Chain":
        return " -> ".join(_outline(member) for member in flow.flows)
    settings = [
        f"{name}={getattr(flow, name)}"
        for name in ("layers", "hidden")
        if isinstance(flow, Composition) and hasattr(flow, name)
    ]
    return f"{type(flow).__name__}({', '.join(settings)})" if settings else type(flow).__name__


def datasets():
    """The built-in data."""
    check_there("them")
    values, columns = nfref.datasets.wine()
    print(f"{'name':<18}{'rows':>6}{'columns':>9}{'floor':>8}  description")
    print(
        f"{'wine':<18}{len(values):>6}{len(columns):>9}{'':>8}  "
        "white wines: physicochemical measurements, copies dropped"
    )
    for toy in nfref.datasets.TOYS.values():
        floor = "" if toy.entropy is None else f"{toy.entropy:.3f}"
        print(f"{toy.name:<18}{TOY_ROWS:>6}{toy.dim:>9}{floor:>8}  {toy.description}")
