"""``nfref check package.module:object --dim 3``: the oracle from the shell."""

import contextlib
import importlib
import inspect
import io
import json
import os
import sys
import time
from argparse import ArgumentTypeError
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from nfref.cli import arguments as arg
from nfref.cli.arguments import Options, UsageError
from nfref.runtime.annotations import Any
from nfref.runtime.files import check_writable


def _interval(text):
    ends = arg.floats(text, ":")
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ArgumentTypeError(f"expected LOW:HIGH with LOW < HIGH, got {text!r}")
    return ends


def _shape(text):
    sizes = text.split(",")
    if not all(size.strip().isdigit() and int(size) for size in sizes):
        raise ArgumentTypeError(f"expected sizes such as 3,8,8, got {text!r}")
    return tuple(int(size) for size in sizes)


@dataclass(frozen=True)
class Question(Options):
    """Options of ``nfref check``."""

    object: str | None = arg.positional(
        "MODULE:OBJECT", "what to check, as package.module:name.of.attribute", nargs="?"
    )
    process: str | None = arg.option(
        "instead of OBJECT: a program in any language that answers lines of JSON "
        "(docs/process_protocol.rst)",
        "COMMAND",
    )
    density: str | None = arg.option(
        "OBJECT is a density of the rows of this file: an estimator, a distribution, a copula",
        "TABLE",
    )
    discrete: str | None = arg.option(
        "with --density: the discrete columns (default: those with only whole numbers in the "
        "table and among samples)",
        "NAME,NAME",
    )
    dim: int | None = arg.option("number of coordinates", "D", arg.count(1))
    event_shape: tuple | None = arg.option(
        "the object takes events of this shape; --dim is the product of its sizes", "C,H,W", _shape
    )
    make: bool = arg.option(
        "OBJECT is a function without arguments that makes the flow; it is called again, to "
        "check the first calls of a new flow in training mode",
        action="store_true",
    )
    dtype: str = arg.option("precision", choices=("float64", "float32"), default="float64")
    seed: int = arg.option("the same seed checks the same points", "S", arg.count(0), default=0)
    domain: tuple | None = arg.option(
        "bounds of z, inf allowed (default: all numbers)", "LOW:HIGH", _interval
    )
    codomain: tuple | None = arg.option(
        "bounds of x, inf allowed (default: all numbers)", "LOW:HIGH", _interval
    )
    seconds: float = arg.option("time limit of one property", "T", arg.positive, default=20.0)
    accuracy: float = arg.option(
        "absolute accuracy that a solver or iteration inside the flow promises (default: 0)",
        "A",
        arg.positive,
        default=0.0,
    )
    skip: str = arg.option("properties to leave out", "NAME,NAME", default="")
    context: str | None = arg.option(
        "the object takes a context: the number C of its features, for sampled rows, or a .npy "
        "file of rows (M, C)",
        "C",
    )
    support: str | None = arg.option(
        "a function of rows (N, D) that returns (N,) bool: where the density is positive",
        "MODULE:FUNCTION",
    )
    stochastic: bool = arg.option(
        "log_det is a random estimate: judge its mean", action="store_true"
    )
    v: bool = arg.option(
        "print the table of all properties, even if all pass", prefix="-", action="store_true"
    )
    json: bool = arg.option("print the report as JSON instead of a table", action="store_true")
    badge: str | None = arg.option(
        "write a badge of the verdict: JSON in the endpoint format of shields.io", "FILE"
    )
    library: str | None = arg.option(
        "the installed package that OBJECT belongs to, for the report (default: the package of "
        "MODULE)",
        "NAME",
    )

    @property
    def subject(self) -> str:
        """The name of the subject in the report."""
        return self.object or self.process or ""


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


def check(options: Question) -> int:
    """Check every property of a flow or density.

    The properties are log-determinants against numerical Jacobians, round trips, batches, dtypes,
    hidden state. OBJECT is a flow of nfref, a transform or distribution of another library, a
    module with forward and inverse, a pair of functions of arrays, or a dictionary of arguments.
    With --density it is the density of a table; with --process, the command checks a program
    instead of OBJECT.

    Exit status: 0 no property failed and all that apply were judged; 1 a property failed; 3 none
    failed, but one could not be judged and --skip does not name it; 2 a mistake in the command.

    example:
      nfref check my_package.flows:model --dim 3 --dtype float32
    """
    from nfref.oracle import DENSITY_PROPERTIES, FLOW_PROPERTIES, TABLE_PROPERTIES, process, records
    from nfref.oracle.report import EXIT_STATUS

    skip = tuple(name for name in options.skip.split(",") if name)
    for name in skip:
        if name not in {**FLOW_PROPERTIES, **DENSITY_PROPERTIES, **TABLE_PROPERTIES}:
            raise UsageError(f"--skip: expected names of properties, got {name!r}; -v lists them")
    if (options.object is None) == (options.process is None):
        both = options.object is not None
        raise UsageError("give MODULE:OBJECT or --process COMMAND" + ", not both" * both)
    if options.badge is not None:
        check_writable(options.badge)
    rng, start = np.random.default_rng(options.seed), time.process_time()
    try:
        if options.process is not None:
            with process.started(options.process, options.seconds) as thing:
                report = _report(options, thing, skip, rng)
                thing.end()
        else:
            report = _report(options, load(options.subject), skip, rng)
    except process.ProcessFailed as error:
        raise UsageError(f"{options.process}: {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{options.subject}: {error}") from None
    library, version = _library(options)
    record = records.record(
        report, library=library, version=version, flow=options.subject, dtype=options.dtype
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


def _report(options, thing, skip, rng):
    """Check an object, or a program that was started."""
    from nfref.oracle import adapters, check_density, check_flow

    if options.density is not None:
        return _of_table(options, thing, skip, rng)
    context = _context(options.context, rng)
    support = None if options.support is None else load(options.support)
    dtype = np.dtype(options.dtype)
    if options.process is not None:
        thing = thing.functions()
    dim = _dim(options, thing)
    common = dict(
        dim=dim,
        rng=rng,
        dtype=dtype,
        seconds=options.seconds,
        skip=skip,
        subject=options.subject,
        context=context,
        support=support,
        domain=options.domain,
    )
    adapt = dict(rng=rng, dtype=dtype, context=context, event_shape=options.event_shape)
    made = _made(options.object, thing) if options.make else thing
    arguments = dict(adapters.of(made, **adapt))
    if "forward" in arguments and not ({"inverse", "log_prob"} & set(arguments)):
        check_is_a_map(options.subject, arguments["forward"], options, dim, context)
    if "log_prob" in arguments:
        return check_density(**{**common, **arguments})
    if options.make:
        arguments.setdefault("make", adapters.maker(thing, **adapt))
    common |= {"codomain": options.codomain, "stochastic": options.stochastic}
    chosen = {"accuracy": options.accuracy} if options.accuracy else {}
    return check_flow(**{**common, **arguments, **chosen})


# With --density, options for flows alone would be ignored.
NOT_OF_TABLES = ("context", "event_shape", "support", "domain", "codomain", "stochastic")


def _of_table(options, thing, skip, rng):
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
        for name in options.discrete.split(","):
            if name not in table.columns:
                raise UsageError(f"--discrete: expected columns of {options.density}, got {name!r}")
            discrete.append(table.columns.index(name))
    if options.process is not None:
        thing = thing.density()
    elif options.make:
        thing = _made(options.object, thing)
    return check_estimator_density(
        thing,
        table.values,
        rng=rng,
        discrete=discrete,
        skip=skip,
        seconds=options.seconds,
        subject=options.subject,
    )


def _library(options):
    """Return name and version of the object's distribution; (name, None) if it is unknown."""
    from importlib import metadata

    name = options.library or options.subject.partition(":")[0].partition(".")[0]
    try:
        return name, metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, None


def _dim(options, thing):
    """Return the number of coordinates, which --event-shape or a dictionary may give."""
    if options.event_shape is not None:
        size, where = int(np.prod(options.event_shape)), "the size of --event-shape"
    elif isinstance(thing, dict) and "dim" in thing:
        size, where = thing["dim"], f"as {options.subject} says"
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


def check_is_a_map(name: str, function: Any, options: Question, dim: int, context: Any) -> None:
    """Check that a function takes rows and returns values at all.

    A function such as ``os.system`` is not a faulty flow but a mistake. The oracle judges
    everything else that a function does wrong, and how long it takes.

    Raises
    ------
    UsageError
        If it does not.
    """
    from nfref.oracle.instruments.guarded_calls import CallFailed, StillRunning, in_time
    from nfref.oracle.instruments.probes import as_domain

    domain: Any = as_domain("domain", options.domain, dim)
    rows = domain.from_line(np.zeros((2, dim)))
    given = [rows.astype(options.dtype), *([] if context is None else [context[[0, 0]]])]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = in_time(function, given, options.seconds)
    except StillRunning:
        return
    except CallFailed as error:
        if not isinstance(error.__cause__, (TypeError, SystemExit)):
            return
        got = f"one that {error}"
        if _takes_nothing(function):
            got = "one that takes no arguments (say --make if it makes the flow)"
    else:
        values = answer[0] if isinstance(answer, (tuple, list)) and answer else answer
        if np.ndim(values):
            return
        got = f"one that returned {type(answer).__name__}"
    raise UsageError(
        f"{name}: expected a function of rows (N, {dim}) that returns values "
        f"(N, {dim}), with log_det (N,) or without; got {got}"
    )


def _takes_nothing(function):
    try:
        return not inspect.signature(function).parameters
    except (TypeError, ValueError):  # compiled functions may have no signature
        return False


def _context(text, rng):
    """Read rows of context from a file, or sample them, (M, C); None without context."""
    if text is None:
        return None
    if text.isdigit() and int(text):
        return rng.standard_normal((8, int(text)))
    if text.endswith(".npy"):
        return np.load(text, allow_pickle=False)
    raise UsageError(f"--context: expected a number of features or a .npy file, got {text!r}")
