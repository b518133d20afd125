"""The flows that ``nfref fit --flow`` offers, with what it takes where nothing is said."""

import os
from dataclasses import dataclass
from typing import Callable

import numpy as np

import nfref
from nfref.cli.arguments import UsageError
from nfref.continuous.dynamics import EXACT_LAYERS


@dataclass(frozen=True)
class Choice:
    """A flow by name: its constructor and what it takes where nothing is said.

    ``layers`` or ``hidden`` is None where a flow has none to choose.
    """

    constructor: Callable
    layers: int = None
    hidden: tuple = None
    learning_rate: float = 1e-3

    def build(self, dim, layers, hidden):
        sizes = {"layers": layers, "hidden": hidden}
        options = {name: size for name, size in sizes.items() if getattr(self, name) is not None}
        if self.constructor is nfref.CNF and len(hidden) > EXACT_LAYERS:
            options["trace"] = "brute"      # the exact trace has no closed form
        return self.constructor(dim, **options)


def families():
    """name -> Choice of every flow of nfref that says in ``for_tables`` how it fits them."""
    found = vars(nfref)         # and not getattr, which would import matplotlib and SciPy
    return {name.lower(): Choice(kind, **kind.for_tables) for name, kind in sorted(found.items())
            if hasattr(kind, "for_tables")}


# Flow matching trains a CNF of its own size.
FLOWS = {**families(), "fm": Choice(nfref.CNF, hidden=(128, 128))}


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
    check_memory(name, dim, layers or choice.layers, hidden)
    try:
        flow = choice.build(dim, layers or choice.layers, hidden)
        flow.init(np.random.default_rng(0))     # a stack makes its layers only when asked
        return flow
    except (TypeError, ValueError) as error:
        raise UsageError(f"--flow {name}: {error}") from None


# Size -------------------------------------------------------------------------------------

# Parameters, their average, the best, two moments, the gradient and two passing copies.
COPIES = 8
MOST_LAYERS = 10_000        # of which each has arrays and functions of its own


def check_memory(name, dim, layers, hidden):
    """That training such a flow fits into the memory of this machine, before any is taken."""
    needed = COPIES * 8 * parameters(dim, layers, hidden)
    there = memory()
    if needed > there:
        raise UsageError(f"--flow {name}: expected one that this machine's {_size(there)} of "
                         f"memory can train, got one of about "
                         f"{needed // (COPIES * 8):,} parameters for {dim:,} columns, which "
                         f"takes {_size(needed)}; fewer --layers, smaller --hidden or --flow "
                         "planar take less")


def parameters(dim, layers, hidden):
    """About how many parameters a flow has: those of its networks, or of planar layers."""
    if hidden is None:
        return (layers or 1) * (2 * dim + 1)
    widths = (dim, *hidden, 2 * dim)
    return (layers or 1) * sum(below * above + above for below, above in zip(widths, widths[1:]))


def memory():
    """Bytes of memory that this process may take."""
    there = [float("inf")]
    if hasattr(os, "sysconf"):
        there.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        import resource
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            there.append(limit)
    except ImportError:         # Windows
        pass
    return min(there)


def _size(count):
    return f"{count / 2 ** 30:,.1f} GiB"
