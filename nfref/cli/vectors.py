"""``nfref vectors``: write the golden vectors."""

from dataclasses import dataclass

from nfref.cli.arguments import Options, UsageError

DESCRIPTION = """\
Write the golden vectors: one JSON file for each small flow, with its parameters, inputs,
outputs, log-determinants and gradients to thirty digits. The bytes are the same every time.
They are computed digit by digit, which takes some minutes for all of them. The same files
ship with nfref."""


def add_commands(commands):
    """Add ``vectors`` to the command line."""
    parser = commands.add_parser(
        "vectors", help="write numbers to hold any implementation to", description=DESCRIPTION,
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
    asked = Vectors.of(options)
    try:
        from nfref.oracle.truth import vectors
    except ModuleNotFoundError as error:
        raise UsageError(f"vectors: expected {error.name} to be installed, found it is not; "
                         "pip install 'nfref[oracle]' brings it") from None
    try:
        for path in vectors.write(asked.out, asked.names):
            print(path, flush=True)
    except ValueError as error:
        raise UsageError(str(error)) from None
