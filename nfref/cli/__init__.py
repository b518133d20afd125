"""The command ``nfref``: fit a density to a table, score and draw rows, look at the picture.

Exit status 0 where all went well; 2 with one line ``nfref: error: ...`` for anything wrong
with what was asked for, in which case nothing is written; 130 after Ctrl-C, SIGTERM or SIGHUP
where there was nothing to keep; 141 where whoever read the output has gone.
"""

import os
import sys
from importlib import import_module

from nfref import __version__
from nfref.cli.arguments import Parser, UsageError
from nfref.cli.interrupts import handled
from nfref.cli.streams import complain, discard_output, printable, usable

LONGEST = 700  # characters of a message, whatever a stranger's file holds

DESCRIPTION = """\
Normalizing flows for tables of numbers: the density of your data, in nats, as a model file
that scores rows and draws new ones.

DATA is a file (.csv, .tsv, .txt, .npy, .npz, .parquet) or the name of built-in data
(nfref datasets). A file of that name comes first. Log-likelihoods are always in the units
of the data as given."""

EXAMPLE = """\
example:
  nfref fit wine --out wine.npz
  nfref score wine.npz wine
  nfref sample wine.npz -n 5"""


# Command -> the module that knows it, which is imported when it is asked for, and its line of help.
COMMANDS = {
    "fit": ("fit", "fit a density to a table"),
    "score": ("score", "log-likelihood of every row"),
    "sample": ("use", "draw new rows"),
    "plot": ("use", "a picture of a model"),
    "info": ("use", "what a model file holds, or what nfref runs on"),
    "datasets": ("use", "list the built-in data"),
    "quantile": ("predict", "quantiles of a column given others"),
    "predict": ("predict", "a column given the others, for every row"),
    "impute": ("predict", "fill empty cells"),
    "report": ("report", "a page about a model and data"),
    "vectors": ("vectors", "write numbers to hold any implementation to"),
    "check": ("check", "point the oracle at a flow or a density"),
    "completion": ("completion", "complete commands and options in a shell"),
}


class Commands:
    """The commands of a parser: ``choices`` by name, each with its line of help."""

    def __init__(self, parsers):
        self._parsers, self.choices = parsers, parsers.choices

    def add(self, name, run=None, *options, **about):
        """Add a command: ``run`` is called with its Options, of these classes."""
        parser = self._parsers.add_parser(name, help=COMMANDS[name][1], **about)
        for one in options:
            one.add_to(parser)
        if run is not None:
            parser.set_defaults(run=lambda found: run(*(one.of(found) for one in options)))


def load(arguments):
    """Import what the command that is asked for needs, and say which commands have their options.

    That is all of them for ``completion``, and none where no command is named.
    """
    asked = [name for name in arguments[:1] if name in COMMANDS]
    asked = list(COMMANDS) if asked == ["completion"] else asked
    for name in asked:
        import_module(f"nfref.cli.{COMMANDS[name][0]}")
    return asked


def parser(asked=tuple(COMMANDS)):
    """The command line as an argparse parser; commands have options in modules that are asked."""
    root = Parser("nfref", DESCRIPTION, EXAMPLE)
    root.add_argument("--version", action="version", version=f"nfref {__version__}")
    commands = Commands(
        root.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    )
    modules = {COMMANDS[name][0] for name in asked}
    for name, (module, _) in COMMANDS.items():
        if module not in modules:
            commands.add(name)
        elif name not in commands.choices:
            import_module(f"nfref.cli.{module}").add_commands(commands)
    return root


def main(arguments=None):
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        What stands behind ``nfref``; ``sys.argv[1:]`` if omitted.

    Returns
    -------
    int
        The exit status.
    """
    with handled(), usable():
        try:
            return _run(arguments)
        except BrokenPipeError:
            # Whoever read our output, such as head, has seen enough.
            discard_output()
            return 141
        except KeyboardInterrupt:
            complain("nfref: interrupted")
            return 130
        except MemoryError as error:
            complain(f"nfref: error: out of memory: {_one_line(error) or 'too much was asked for'}")
            return 2
        except SystemExit:  # after --help, for which nothing else is to be imported
            raise
        except _expected() as error:
            complain(f"nfref: error: {_one_line(error)}")
            return 2
        finally:
            try:
                sys.stdout.flush()
            except (OSError, ValueError):
                discard_output()


def _expected():
    """The errors that are one line; some of them are imported only now that there is one."""
    from nfref.continuous.solve import SolverError
    from nfref.tables.files.archives import ArchiveError
    from nfref.tables.reading import TableError

    return UsageError, TableError, ArchiveError, OSError, SolverError


def _run(arguments):
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = parser(load(arguments)).parse_args(arguments)
    if not hasattr(chosen, "run"):
        raise UsageError("expected a command such as fit, got none; nfref --help lists them")
    # Read when pyarrow is loaded; its own keeps what it has freed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _check_backend()
    from nfref.kernels.compile_notice import when_compiling

    when_compiling(
        lambda: complain(
            "nfref: compiling kernels, once for this version and this machine; it takes a while"
        )
    )
    status = chosen.run(chosen)
    sys.stdout.flush()
    return status or 0


def _check_backend():
    """That the backend named in the environment is there, before any work is done."""
    from nfref.runtime.backends import chosen

    try:
        chosen()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from None


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        # All files are named where they are opened; what has no name is where we print to.
        error = f"{error.filename or 'standard output'}: {error.strerror}"
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
