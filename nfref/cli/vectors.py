"""``nfref vectors``: write the golden vectors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from nfref.cli import arguments as arg
from nfref.cli.arguments import Options, UsageError, blamed


@dataclass(frozen=True)
class Vectors(Options):
    """Options of ``nfref vectors``."""

    names: Sequence | None = arg.positional("NAME", "which flows (default: all of them)", nargs="*")
    out: str = arg.option("the folder; made if it is not there", "DIR", required=True)


def run(asked: Vectors) -> None:
    """Write the golden vectors: one JSON file for each small flow.

    Each holds the parameters, inputs, outputs, log-determinants and gradients of the flow to thirty
    digits. The files are copies of those that ship with nfref.

    example:
      nfref vectors --out vectors planar_layer real_nvp
    """
    from nfref.oracle import golden_vectors

    if not asked.out or os.path.exists(asked.out) and not os.path.isdir(asked.out):
        raise UsageError(f"--out: expected a folder, got {asked.out!r}")
    with blamed(""):
        for path in golden_vectors.copy(asked.out, asked.names):
            print(path, flush=True)
