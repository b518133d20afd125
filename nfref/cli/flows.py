"""The flows that ``nfref fit --flow`` offers, with what it takes where nothing is said."""

from dataclasses import dataclass
from functools import partial
from typing import Callable

import numpy as np

import nfref
from nfref.cli.arguments import UsageError
from nfref.continuous.dynamics import EXACT_LAYERS


@dataclass(frozen=True)
class Choice:
    """A flow by name: its constructor ``build(dim, layers, hidden)`` and its defaults.

    ``layers`` or ``hidden`` is None where a flow has none to choose.
    """

    build: Callable
    layers: int
    hidden: tuple
    learning_rate: float


# Tables hold outliers. Beyond the data a relu network goes on growing, and a single row far
# out can cost a thousand nats; a tanh network levels off, and scores better on average too.
SMOOTH = {"activation": "tanh"}

FLOWS = {
    "planar": Choice(lambda dim, layers, hidden: nfref.Planar(dim, layers), 32, None, 5e-3),
    "nice": Choice(partial(nfref.NICE, **SMOOTH), 6, (128, 128), 1e-3),
    "realnvp": Choice(partial(nfref.RealNVP, **SMOOTH), 8, (64, 64), 1e-3),
    "maf": Choice(partial(nfref.MAF, **SMOOTH), 5, (128, 128), 1e-3),
    "iaf": Choice(partial(nfref.IAF, **SMOOTH), 5, (64, 64), 1e-3),
    "cnf": Choice(lambda dim, layers, hidden: continuous(dim, hidden), None, (64, 64), 1e-3),
    "fm": Choice(lambda dim, layers, hidden: continuous(dim, hidden), None, (128, 128), 1e-3),
}


def continuous(dim, hidden):
    """A CNF with the exact trace where that has a closed form."""
    return nfref.CNF(dim, hidden, trace="exact" if len(hidden) <= EXACT_LAYERS else "brute")


def default_flow(dim):
    """The name of the flow taken where none is asked for.

    MAF fits tables best; of one column it makes no more than a Gaussian, which planar bends.
    """
    return "maf" if dim > 1 else "planar"


def build_flow(name, dim, layers=None, hidden=None):
    """A flow of the registry; None stands for its default.

    Raises
    ------
    UsageError
        If the flow cannot be made of these.
    """
    choice = FLOWS[name]
    if hidden is not None and choice.hidden is None:
        raise UsageError(f"--hidden: expected none with --flow {name}, which has no hidden "
                         f"layers; got {','.join(map(str, hidden))}")
    if layers is not None and choice.layers is None:
        raise UsageError(f"--layers: expected none with --flow {name}, which has no layers to "
                         f"count; got {layers}")
    if hidden is None and choice.hidden is not None:
        # An autoregressive network needs about one unit a column to tell columns apart.
        hidden = tuple(max(width, dim) for width in choice.hidden)
    try:
        flow = choice.build(dim, layers or choice.layers, hidden)
        flow.init(np.random.default_rng(0))     # a stack makes its layers only when asked
        return flow
    except (TypeError, ValueError) as error:
        raise UsageError(f"--flow {name}: {error}") from None
