"""The command ``nfref``: fit a density to a table, score and draw rows, look at the picture.

Exit status 0 where all went well; 2 with one line ``nfref: error: ...`` for anything wrong
with what was asked for, in which case nothing is written; 130 after Ctrl-C, SIGTERM or SIGHUP
where there was nothing to keep; 141 where whoever read the output has gone.
"""

import os
import sys

from nfref import __version__
from nfref.cli import check as oracle
from nfref.cli import completion, fit, predict, report, score, use, vectors
from nfref.cli.arguments import Parser, UsageError
from nfref.cli.interrupts import handled
from nfref.cli.streams import complain, discard_output, printable, usable
from nfref.continuous.solve import SolverError
from nfref.kernels.announce import when_compiling
from nfref.runtime.backends import chosen as chosen_backend
from nfref.tables.archives import ArchiveError
from nfref.tables.reading import TableError

LONGEST = 700               # characters of a message, whatever a stranger's file holds

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


def parser():
    """The whole command line as an argparse parser."""
    root = Parser("nfref", DESCRIPTION, EXAMPLE)
    root.add_argument("--version", action="version", version=f"nfref {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for module in (fit, score, use, predict, report, vectors, oracle, completion):
        module.add_commands(commands)
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
        except (UsageError, TableError, ArchiveError, OSError, SolverError) as error:
            complain(f"nfref: error: {_one_line(error)}")
            return 2
        finally:
            try:
                sys.stdout.flush()
            except (OSError, ValueError):
                discard_output()


def _run(arguments):
    chosen = parser().parse_args(arguments)
    if not hasattr(chosen, "run"):
        raise UsageError("expected a command such as fit, got none; nfref --help lists them")
    # Read when pyarrow is loaded; its own keeps what it has freed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _check_backend()
    when_compiling(_say_compiling)
    status = chosen.run(chosen)
    sys.stdout.flush()
    return status or 0


def _check_backend():
    """That the backend named in the environment is there, before any work is done."""
    try:
        chosen_backend()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from None


def _say_compiling():
    complain("nfref: compiling kernels, once for this version and this machine; it takes a while")


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        # All files are named where they are opened; what has no name is where we print to.
        error = f"{error.filename or 'standard output'}: {error.strerror}"
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= LONGEST else text[:LONGEST - 3] + "..."
