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
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from nfref import __version__
from nfref.cli import environment
from nfref.cli.arguments import Parser, UsageError
from nfref.cli.streams import complain, flush_or_discard, note, printable, silenced, usable
from nfref.runtime.interrupts import handled

LONGEST = 700  # most characters of a message, whatever a file holds

# Command -> module and function that run it, and its line of help. The module is imported when the
# command is used. The function's docstring is the help, and its arguments are Options.
COMMANDS = {
    "fit": ("fit:run", "fit a density to a table"),
    "score": ("score:run", "print the log-likelihood of every row"),
    "sample": ("sample:sample", "sample new rows"),
    "plot": ("plot:plot", "plot a model"),
    "info": ("info:info", "describe a model file, or the environment"),
    "quantile": ("predict:quantile", "print quantiles of a column given others"),
    "predict": ("predict:predict", "predict a column from the others, for every row"),
    "impute": ("predict:fill", "fill empty cells"),
    "check": ("check:check", "check a flow or a density with the oracle"),
}


def load(arguments: Sequence[str]) -> list[str]:
    """Import the module of the command that is asked for, and return the command in a list."""
    asked = [name for name in arguments[:1] if name in COMMANDS]
    for name in asked:
        function_of(name)
    return asked


def function_of(name: str) -> Callable[..., Any]:
    """Return the function that runs a command."""
    module, _, function = COMMANDS[name][0].partition(":")
    return getattr(import_module(f"nfref.cli.{module}"), function)


def parser(asked: Sequence[str] = tuple(COMMANDS)) -> Parser:
    """Return the argparse parser of the command line; ``asked`` names the commands with options."""
    root = Parser("nfref", __doc__ or "")
    root.add_argument("--version", action="version", version=f"nfref {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, (_, words) in COMMANDS.items():
        run = function_of(name) if name in asked else None
        text = inspect.getdoc(run) if run else ""
        command = commands.add_parser(name, text=text or "", help=words)
        if run is not None:
            _add_options(command, run)
    return root


def _add_options(command, run):
    """Add the Options that a function takes, with which it is then called."""
    kinds = [one.annotation for one in inspect.signature(run).parameters.values()]
    for kind in kinds:
        kind.add_to(command)
    command.set_defaults(run=lambda found: run(*(kind.of(found) for kind in kinds)))


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
    environment.check()
    from nfref.kernels.compile_notice import when_compiling

    notice = "compiling kernels, once for this version and this machine; it takes a while"
    when_compiling(lambda: note(notice, ""))
    with silenced(getattr(chosen, "quiet", False)):
        status = chosen.run(chosen)
    sys.stdout.flush()
    return status or 0


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        # Every file is named where it is opened, so an error without a name is about stdout.
        error = f"{error.filename or 'standard output'}: {error.strerror}"
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
