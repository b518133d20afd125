"""``nfref vectors``: write the golden vectors."""

from dataclasses import dataclass

from nfref.cli.arguments import Options, UsageError

DESCRIPTION = """\
Write the golden vectors: one JSON file for each small flow, with its parameters, inputs,
outputs, log-determinants and gradients to thirty digits. They are copies of the files that
ship with nfref."""


def add_commands(commands):
    """Add ``vectors`` to the command line."""
    parser = commands.add_parser(
        "vectors", description=DESCRIPTION,
        example="example:\n  nfref vectors --out vectors planar_layer real_nvp")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="which flows (default: all of them)")
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="the folder; made if it is not there")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Vectors(Options):
    """Which vectors are written, and where."""

    names: list
    out: str


def run(options):
    """Write them, naming each file as it is done."""
    from nfref.oracle import golden_vectors
    asked = Vectors.of(options)
    try:
        for path in golden_vectors.copy(asked.out, asked.names):
            print(path, flush=True)
    except ValueError as error:
        raise UsageError(str(error)) from None
