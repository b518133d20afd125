"""``nfref vectors``: write the golden vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

from nfref.cli.arguments import Options, blamed, option, positional
from nfref.runtime.annotations import Any

DESCRIPTION = """\
Write the golden vectors: one JSON file for each small flow, with its parameters, inputs,
outputs, log-determinants and gradients to thirty digits. They are copies of the files that
ship with nfref."""


def add_commands(commands: Any) -> None:
    """Add ``vectors`` to the command line."""
    commands.add(
        "vectors",
        run,
        Vectors,
        description=DESCRIPTION,
        example="example:\n  nfref vectors --out vectors planar_layer real_nvp",
    )


@dataclass(frozen=True)
class Vectors(Options):
    """Options of ``nfref vectors``."""

    names: Sequence | None = positional("NAME", "which flows (default: all of them)", nargs="*")
    out: str = option("the folder; made if it is not there", "DIR", required=True)


def run(asked: Vectors) -> None:
    """Write the vectors, and name each file as it is done."""
    from nfref.oracle import golden_vectors

    with blamed(""):
        for path in golden_vectors.copy(asked.out, asked.names):
            print(path, flush=True)
