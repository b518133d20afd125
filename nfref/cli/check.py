"""``nfref check package.module:object --dim 3``: the oracle from the shell."""

import importlib
import json
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from importlib import metadata
from operator import attrgetter

import numpy as np

from nfref.cli.arguments import UsageError, count, floats, names, positive
from nfref.runtime.annotations import Any
from nfref.runtime.files import check_writable

# With --density, options for flows alone would be ignored.
NOT_OF_TABLES = ("context", "event_shape", "support", "domain", "codomain")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref check``."""
    add = parser.add_argument
    add("object", metavar="MODULE:OBJECT", nargs="?", help="what to check, as package.module:name")
    add("--process", metavar="COMMAND", help="a program to check (docs/process_protocol.rst)")
    add("--density", metavar="TABLE", help="OBJECT is a density of the rows of this file")
    add("--discrete", metavar="NAME,NAME", type=names, help="the discrete columns of TABLE")
    add("--dim", metavar="D", type=count(1), help="number of coordinates")
    add("--event-shape", metavar="C,H,W", type=_shape, help="of events, instead of --dim")
    add("--make", action="store_true", help="OBJECT is a function that makes the flow")
    add("--dtype", choices=("float64", "float32"), default="float64", help="default: float64")
    add("--domain", metavar="LOW:HIGH", type=_interval, help="bounds of z, inf allowed")
    add("--codomain", metavar="LOW:HIGH", type=_interval, help="bounds of x, inf allowed")
    limit = "time limit of one property (default: 20)"
    add("--seconds", metavar="T", type=positive, default=20.0, help=limit)
    add("--skip", metavar="NAME,NAME", type=names, default=(), help="properties to leave out")
    add("--context", metavar="C", help="number of context features, or a .npy file of rows (M, C)")
    add("--support", metavar="MODULE:FUNCTION", help="where the density of rows is positive")
    add("-v", action="store_true", help="print the table of all properties, even if all pass")
    add("--json", action="store_true", help="print the report as JSON instead of a table")
    add("--badge", metavar="FILE", help="write the verdict as JSON for a badge of shields.io")


def _interval(text):
    ends = floats(text, ":")
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentTypeError(f"expected LOW:HIGH with LOW < HIGH, got {text!r}")
    return ends


def _shape(text):
    sizes = text.split(",")
    if not all(size.strip().isdigit() and int(size) for size in sizes):
        raise ArgumentTypeError(f"expected sizes such as 3,8,8, got {text!r}")
    return tuple(int(size) for size in sizes)


def load(name: str) -> Any:
    """Import the object that "package.module:name" names; the current folder comes first.

    Raises
    ------
    UsageError
        If there is no such object.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise UsageError(f"MODULE:OBJECT: expected package.module:object, got {name!r}")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        thing = importlib.import_module(module)
    except Exception as error:
        raise UsageError(f"{module}: cannot be imported: {type(error).__name__}: {error}") from None
    try:
        return attrgetter(path)(thing)
    except AttributeError:
        raise UsageError(f"{module}: expected an object {path!r}, found none") from None


def run(options: Namespace) -> int:
    """Check every property of a flow or density.

    The properties are log-determinants against numerical Jacobians, round trips, batches, dtypes,
    hidden state. OBJECT is a flow of nfref, a transform or distribution of another library, a
    module with forward and inverse, a pair of functions of arrays, or a dictionary of arguments.
    With --density it is the density of a table: an estimator, a distribution, a copula; its
    columns with only whole numbers are discrete, or those of --discrete. With --process, the
    command checks a program in any language, which answers lines of JSON, instead of OBJECT. With
    --make, OBJECT takes no arguments and makes the flow; the command calls it again to check the
    first calls of a new flow in training mode. The function of --support takes rows (N, D) and
    returns (N,) bool.

    Exit status: 0 no property failed and all that apply were judged; 1 a property failed; 3 none
    failed, but one could not be judged and --skip does not name it; 2 a mistake in the command.

    example:
      nfref check my_package.flows:model --dim 3 --dtype float32
    """
    from nfref.oracle import DENSITY_PROPERTIES, FLOW_PROPERTIES, TABLE_PROPERTIES, process, records
    from nfref.oracle.report import EXIT_STATUS

    for name in options.skip:
        if name not in {**FLOW_PROPERTIES, **DENSITY_PROPERTIES, **TABLE_PROPERTIES}:
            raise UsageError(f"--skip: expected names of properties, got {name!r}; -v lists them")
    if (options.object is None) == (options.process is None):
        both = options.object is not None
        raise UsageError("give MODULE:OBJECT or --process COMMAND" + ", not both" * both)
    if options.badge is not None:
        check_writable(options.badge)
    subject, start = options.object or options.process, time.process_time()
    try:
        if options.process is not None:
            with process.started(options.process, options.seconds) as thing:
                report = _report(options, thing, subject)
                thing.end()
        else:
            report = _report(options, load(subject), subject)
    except process.ProcessFailed as error:
        raise UsageError(f"{subject}: {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{subject}: {error}") from None
    library, version = _library_of(subject)
    record = records.record(
        report, library=library, version=version, flow=subject, dtype=options.dtype
    )
    if options.badge is not None:
        records.write_badge(options.badge, [record])
    if options.json:
        print(json.dumps(record, indent=1))
    elif report.ok and not options.v:
        print(f"{report.heading}\n{report.counts}\n{time.process_time() - start:.1f} s of CPU")
        print("-v prints the table of all properties")
    else:
        print(report)
    return EXIT_STATUS[report.verdict]


def _report(options, thing, subject):
    """Check an object, or a program that was started."""
    from nfref.oracle import adapters, check_density, check_flow

    rng = np.random.default_rng(0)
    common = dict(rng=rng, seconds=options.seconds, skip=options.skip, subject=subject)
    if options.density is not None:
        return _of_table(options, thing, common)
    context = _context(options.context, rng)
    support = None if options.support is None else load(options.support)
    dtype = np.dtype(options.dtype)
    if options.process is not None:
        thing = thing.functions()
    dim = _dim(options, thing, subject)
    common |= dict(dim=dim, dtype=dtype, context=context, support=support, domain=options.domain)
    adapt = dict(rng=rng, dtype=dtype, context=context, event_shape=options.event_shape)
    made = _made(options.object, thing) if options.make else thing
    found = dict(adapters.of(made, **adapt))
    if "log_prob" in found:
        return check_density(**{**common, **found})
    if options.make:
        found.setdefault("make", adapters.maker(thing, **adapt))
    return check_flow(**{**common, "codomain": options.codomain, **found})


def _of_table(options, thing, common):
    """Check the density of a table."""
    from nfref.oracle import check_estimator_density
    from nfref.tables.reading import read_table

    for name in NOT_OF_TABLES:
        if value := getattr(options, name):
            asked = f"--{name.replace('_', '-')}"
            raise UsageError(f"{asked}: expected none with --density, got {value}")
    table = read_table(options.density)
    dim = len(table.columns)
    if options.dim not in (None, dim):
        raise UsageError(
            f"--dim: expected {dim}, as {options.density} has columns, got {options.dim}"
        )
    discrete: list[int] | None = None
    if options.discrete is not None:
        discrete = []
        for name in options.discrete:
            if name not in table.columns:
                raise UsageError(f"--discrete: expected columns of {options.density}, got {name!r}")
            discrete.append(table.columns.index(name))
    if options.process is not None:
        thing = thing.density()
    elif options.make:
        thing = _made(options.object, thing)
    return check_estimator_density(thing, table.values, discrete=discrete, **common)


def _library_of(subject):
    """Return name and version of the object's distribution; (name, None) if it is unknown."""
    name = subject.partition(":")[0].partition(".")[0]
    try:
        return name, metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, None


def _dim(options, thing, subject):
    """Return the number of coordinates, which --event-shape or a dictionary may give."""
    if options.event_shape is not None:
        size, where = int(np.prod(options.event_shape)), "the size of --event-shape"
    elif isinstance(thing, dict) and "dim" in thing:
        size, where = thing["dim"], f"as {subject} says"
    elif options.dim is not None:
        return options.dim
    else:
        raise UsageError("--dim: expected a number of coordinates, or --event-shape, got none")
    if options.dim not in (None, size):
        raise UsageError(f"--dim: expected {size}, {where}, got {options.dim}")
    return size


def _made(name, construct):
    if not callable(construct):
        raise UsageError(
            f"{name}: expected a function without arguments, with --make, got "
            f"{type(construct).__name__}"
        )
    try:
        return construct()
    except Exception as error:
        raise UsageError(f"{name}: cannot be called: {type(error).__name__}: {error}") from None


def _context(text, rng):
    """Read rows of context from a file, or sample them, (M, C); None without context."""
    if text is None:
        return None
    if text.isdigit() and int(text):
        return rng.standard_normal((8, int(text)))
    if text.endswith(".npy"):
        return np.load(text, allow_pickle=False)
    raise UsageError(f"--context: expected a number of features or a .npy file, got {text!r}")
