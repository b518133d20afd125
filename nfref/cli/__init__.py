"""Normalizing flows for tables of numbers.

The commands fit the density of your data and write it as a model file, which scores rows, in
nats, and samples new ones.

DATA is a file (.csv, .tsv, .txt, also with .gz; .npy, .npz, .parquet) or the name of
built-in data (nfref fit --help lists them); a file of that name comes first. Log-likelihoods are
in the units of the data.

example:
  nfref fit wine --out wine.npz
  nfref score wine.npz wine
  nfref sample wine.npz -n 5
"""

import inspect
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from nfref import __version__
from nfref.cli.arguments import Parser, UsageError
from nfref.cli.streams import complain, flush_or_discard, note, printable, usable
from nfref.runtime.interrupts import handled

LONGEST = 700  # most characters of a message, whatever a file holds

# Command -> its line of help. Each has a module of its name, imported when it is used. Its
# ``add_arguments(parser)`` declares the options, ``run(options)`` does the work, and the docstring
# of ``run`` is the help.
COMMANDS = {
    "fit": "fit a density to a table",
    "score": "print the log-likelihood of every row",
    "sample": "sample new rows",
    "plot": "plot a model",
    "info": "describe a model file, or the environment",
    "quantile": "print quantiles of a column given others",
    "predict": "predict a column from the others, for every row",
    "impute": "fill empty cells",
    "check": "check a flow or a density with the oracle",
}
LEAST = {"NUMBA_NUM_THREADS": 1, "SOURCE_DATE_EPOCH": 0}  # read by Numba, and by Matplotlib


def load(arguments: Sequence[str]) -> list[str]:
    """Import the module of the command that is asked for, and return the command in a list."""
    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked:
        import_module(f"nfref.cli.{name}")
    return asked


def parser(asked: Sequence[str] = tuple(COMMANDS)) -> Parser:
    """Return the argparse parser of the command line; ``asked`` names the commands with options."""
    root = Parser("nfref", __doc__ or "")
    root.add_argument("--version", action="version", version=f"nfref {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, words in COMMANDS.items():
        if name not in asked:
            commands.add_parser(name, text="", help=words)
            continue
        module = import_module(f"nfref.cli.{name}")
        command = commands.add_parser(name, text=inspect.getdoc(module.run) or "", help=words)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        The words after ``nfref``; ``sys.argv[1:]`` if omitted.

    Returns
    -------
    int
        The exit status: 0 after success; 2 with one line ``nfref: error: ...`` for a mistake in
        what was asked for, and then nothing is written; 130 after Ctrl-C, SIGTERM or SIGHUP with
        nothing to keep; 141 if the reader of the output has gone. ``nfref check`` adds 1 and 3.
    """
    with handled(), usable():
        try:
            return _run(arguments)
        except BrokenPipeError:
            return 141  # the reader of the output, such as head, has seen enough
        except KeyboardInterrupt:
            complain("nfref: interrupted")
            return 130
        except MemoryError as error:
            complain(f"nfref: error: out of memory: {_one_line(error) or 'too much was asked for'}")
            return 2
        except SystemExit:  # after --help, which needs no further import
            raise
        except _expected() as error:
            complain(f"nfref: error: {_one_line(error)}")
            return 2
        finally:
            flush_or_discard()


def _expected():
    """Return the errors that are printed as one line; imported only when there is one."""
    from nfref.continuous.solve import SolverError
    from nfref.tables.files.archives import ArchiveError
    from nfref.tables.reading import TableError

    return UsageError, TableError, ArchiveError, OSError, SolverError


def _run(arguments):
    arguments = sys.argv[1:] if arguments is None else arguments
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        import argcomplete

        argcomplete.autocomplete(parser())
    chosen = parser(load(arguments)).parse_args(arguments)
    if not hasattr(chosen, "run"):
        raise UsageError("expected a command such as fit, got none; nfref --help lists them")
    # pyarrow reads this when it is loaded. Its own pool does not return freed memory.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Matplotlib cannot be imported where this names a backend that is not there, as in Jupyter's
    # shell. Pictures need none: they are Agg figures.
    os.environ["MPLBACKEND"] = "agg"
    check_environment()
    from nfref.kernels.compile_notice import when_compiling

    notice = "compiling kernels, once for this version and this machine; it takes a while"
    when_compiling(lambda: note(notice, ""))
    status = chosen.run(chosen)
    sys.stdout.flush()
    return status or 0


def check_environment() -> None:
    """Check variables of the environment that libraries read while they are imported."""
    from nfref.runtime.backends import chosen, vector_bytes

    for name, least in LEAST.items():
        value = os.environ.get(name) or "1"
        if not value.isdecimal() or int(value) < least:
            raise UsageError(f"{name}: expected at least {least}, got {value}")
    for library in ("numba", "tqdm"):
        names = [name for name in os.environ if name.startswith(f"{library.upper()}_")]
        try:
            with warnings.catch_warnings(), suppress(ImportError, OSError):
                warnings.filterwarnings("error", "Environment variable")
                if names:
                    import_module(library)
        except (ValueError, RuntimeWarning) as error:
            problem = f"expected values that {library} can read; {str(error).splitlines()[0]}"
            raise UsageError(f"{', '.join(names)}: {problem}") from None
    try:
        chosen(), vector_bytes()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from None


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        # Every file is named where it is opened, so an error without a name is about stdout.
        error = f"{error.filename or 'standard output'}: {error.strerror}"
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
