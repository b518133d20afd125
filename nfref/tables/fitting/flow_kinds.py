"""The flows that can be fitted to tables, by name, with their defaults."""

import inspect
import math
import os
from dataclasses import dataclass, field, replace

import numpy as np

from nfref.continuous.dynamics import EXACT_LAYERS
from nfref.flows.autoregressive import IAF, MAF, random_orders
from nfref.flows.continuous import CNF
from nfref.flows.coupling import NICE, RealNVP
from nfref.flows.neural_autoregressive import NAF
from nfref.flows.neural_spline import NSF
from nfref.flows.planar import Planar
from nfref.objectives.flow_matching import FlowMatching
from nfref.objectives.path_penalties import PathLikelihood
from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.memory_limit import address_space

# Layers of a flow and units of a hidden layer grow with the rows, so that seconds grow smoothly.
# Three layers serve below 1,250 rows, four below 1,750, five beyond.
LAYERS, MORE_LAYERS_FROM = 3, (1250, 1750)
# Units follow the square root of the rows, in multiples that fill the registers of a kernel. Beyond
# ENOUGH they grow more slowly: on eleven tables of 8,200 to 15,000 rows, 80 units took 0.62 of the
# seconds of 128 and gained 0.01 nats in the mean (-0.22 to 0.18); 64 took 0.5 and lost 0.22 on one
# of them. Beyond 25,000 rows, 80 units gained 0.03 and 0.02 nats on two tables and lost 0.2 on one.
UNITS, ENOUGH, UNITS_BEYOND = 1.6, 80, 0.64
MULTIPLE, LEAST_WIDTH, MOST_WIDTH = 16, 32, 128
# Rows below which the columns of a spline share the largest bound, at least NEAREST_OF_FEW robust
# units; and their most bins. On CCPP, within 3.4 units, a flow of bound 8 lost 0.17 and 0.24 nats
# against bound 4. With 150 rows four bins gained 0.03 nats over eight.
FEW, NEAREST_OF_FEW, BINS_OF_FEW = 1000, 4.0, 8
# More rows: each column has a bound of its own, so that more bins lie where its values are. On
# tables of 2,250 x 7 and 1,557 x 11 that gained 0.6 and 2.5 nats over one bound for all and 16
# bins, at 0.75 of the cost; on seven tables of 150 rows it lost up to 0.5.
BINS = 12
REACH = 1.2  # times the 99.9 % quantile of a column
# A spline maps [-b, b] onto itself, so a normal base loses the probability that it has beyond b,
# 0.3 % of 3. Bounds as near as the values lost 0.8 and 0.35 nats (2,000 and 15,000 rows) on a table
# of 16 columns, four of which lie within 2 units. Bounds of 4 gained no more, and lost 0.3 nats on
# a table of rounded columns.
NEAREST = 3.0
# Arrays as large as the parameters: these, their average, the best, two moments, the gradient, and
# two temporary copies.
COPIES = 8


@dataclass(frozen=True)
class FlowKind:
    """A kind of flow, which becomes a flow once rows and columns are known.

    Parameters
    ----------
    name : str
    constructor : callable
        (dim, context_dim=..., and those of layers, hidden, orders that it takes) -> Flow.
    layers : int or None
        None lets the number of rows decide.
    hidden : tuple of int or None
        Widths of hidden layers; None means two of ``width``, or as many units as there are columns:
        an autoregressive network needs about one unit a column to tell columns apart.
    width : int or None
        None lets the number of rows decide.
    learning_rate : float
        Of Adam.
    patience : float
        Early stopping waits this many times sqrt(rows) steps, and at least six epochs.
    steps : int
        Most steps of an epoch for which batches have 64 rows; beyond, they have 128. Kernels that
        always compute 128 rows take as long for 64.
    options : dict
        Other arguments of the constructor.
    objective : callable or None
        What is minimised instead of the negative log-likelihood, as for :func:`nfref.fit`.
    """

    name: str
    constructor: Callable[..., Any]
    layers: int | None = None
    hidden: tuple | None = None
    width: int | None = None
    learning_rate: float = 1e-3
    patience: float = 4.0
    steps: int = 128
    options: dict = field(default_factory=dict)
    objective: Callable[..., Any] | None = None

    def takes(self, option: str) -> bool:
        """Return whether the constructor has an argument of that name."""
        return option in inspect.signature(self.constructor).parameters

    def reaching(self, u: Array) -> "FlowKind":
        """Return the kind with splines that reach beyond 99.9 % of each column of rows (N, D).

        Beyond its bound a spline is the identity, so a column is normal there, of the scale that it
        has near zero. For few rows all columns share the largest bound: more bins would fit noise.
        """
        if self.constructor is not NSF or "bound" in self.options:
            return self
        reach = REACH * np.quantile(np.abs(u), 0.999, axis=0)
        if len(u) < FEW:
            bound: Any = max(NEAREST_OF_FEW, float(np.max(reach)))
            bins = min(BINS_OF_FEW, math.ceil(BINS_OF_FEW * bound / (2 * NEAREST_OF_FEW)))
        else:
            bound, bins = tuple(np.maximum(reach, NEAREST).tolist()), BINS
        return replace(self, options={**self.options, "bound": bound, "bins": bins})

    def made(self, rows: int, dim: int, context_dim: int, rng: Generator) -> Any:
        """Return the flow for these numbers of rows and columns; ``rng`` samples orders."""
        options = {"context_dim": context_dim, **self.options}
        if self.takes("layers"):
            options["layers"] = self.layers or layers_for(rows)
        if self.takes("hidden"):
            width = self.width or width_for(rows)
            options["hidden"] = self.hidden or (max(width, dim + context_dim),) * 2
        if self.takes("orders") and dim > 2:
            options["orders"] = random_orders(rng, dim, options["layers"])
        if self.constructor is CNF and len(options["hidden"]) > EXACT_LAYERS:
            options["trace"] = "brute"  # the exact trace has no closed form here
        # A MAF of one column is only a Gaussian.
        constructor = NSF if self.constructor is MAF and dim == 1 else self.constructor
        check_memory(dim, options.get("layers", 1), options.get("hidden"))
        return constructor(dim, **options)


def layers_for(rows: int) -> int:
    """Return the number of layers of a flow for this number of training rows."""
    return LAYERS + sum(rows >= more for more in MORE_LAYERS_FROM)


def width_for(rows: int) -> int:
    """Return the units of a hidden layer for this number of training rows."""
    root = math.sqrt(rows)
    units = min(UNITS * root, max(ENOUGH, UNITS_BEYOND * root))
    width = MULTIPLE * round(units / MULTIPLE)
    return min(max(width, LEAST_WIDTH), MOST_WIDTH)


FLOWS = {
    kind.name: kind
    for kind in (
        FlowKind("cnf", CNF, width=64, steps=32),
        FlowKind("fm", CNF, width=128, steps=32, objective=FlowMatching()),
        FlowKind("iaf", IAF, layers=5, width=64),
        FlowKind("maf", MAF, learning_rate=5e-3, patience=2.0),
        FlowKind("naf", NAF, layers=3, width=64),
        FlowKind("nice", NICE, layers=6, width=128),
        FlowKind("nsf", NSF, learning_rate=5e-3, patience=2.0),
        FlowKind("planar", Planar, layers=32, learning_rate=5e-3, steps=32),
        FlowKind("realnvp", RealNVP, layers=8, width=64),
    )
}
# What "auto" tries, in order. Tanh or relu units do better by up to a nat, depending on the table,
# and early epochs do not tell which. A MAF costs a fraction of a spline flow. In it relu gives rows
# far out shifts without bound.
SEARCHED = (
    FLOWS["nsf"],
    replace(FLOWS["nsf"], name="nsf relu", options={"activation": "relu"}),
    FLOWS["maf"],
)


def flow_kind(
    name: str,
    *,
    layers: int | None = None,
    hidden: tuple[int, ...] | None = None,
    rtol: float | None = None,
    trace: str | None = None,
    regularise: Any = None,
) -> Any:
    """Return a kind of flow with these options; None keeps its own.

    Parameters
    ----------
    name : str
        One of ``FLOWS``.
    layers : int, optional
    hidden : tuple of int, optional
    rtol : float, optional
        Tolerance of the solver, relative and absolute.
    trace : {"exact", "hutchinson", "brute"}, optional
        The trace that a continuous flow is trained with; scores are exact with each.
    regularise : (float, float), optional
        Weights of the kinetic and the Jacobian penalty of a continuous flow.

    Raises
    ------
    ValueError
        If that kind does not take the option.
    """
    kind = FLOWS[name]
    likelihood = kind.objective is None and kind.takes("trace")
    for option, value, taken in (
        ("layers", layers, kind.takes("layers")),
        ("hidden", hidden, kind.takes("hidden")),
        ("rtol", rtol, kind.takes("rtol")),
        ("trace", trace, likelihood),
        ("regularise", regularise, likelihood),
    ):
        if value is not None and not taken:
            raise ValueError(f"{option}: expected none with flow {name}, which has no use for it")
    if trace == "exact" and len(hidden or ()) > EXACT_LAYERS:
        raise ValueError(
            f"trace: expected 'brute' or 'hutchinson' for more than {EXACT_LAYERS} "
            f"hidden layers, got 'exact' with {len(hidden or ())}"
        )
    if rtol is not None:
        kind = replace(kind, options={**kind.options, "rtol": rtol, "atol": rtol})
    if trace or regularise:
        kind = replace(kind, objective=PathLikelihood(*(regularise or (0.0, 0.0)), trace=trace))
    return replace(kind, layers=layers or kind.layers, hidden=hidden)


# Memory -----------------------------------------------------------------------------------


def check_memory(dim: int, layers: int, hidden: tuple[int, ...] | None) -> None:
    """Check before training that such a flow fits into the memory of this machine."""
    widths = (dim, *hidden, 2 * dim) if hidden else (1, 2 * dim)
    numbers = layers * sum(below * above + above for below, above in zip(widths, widths[1:]))
    needed, there = COPIES * 8 * numbers, memory()
    if needed > there:
        raise ValueError(
            f"expected one that this machine's {size_of(there)} of memory can train, "
            f"got one of about {numbers:,} parameters for {dim:,} columns, which "
            f"takes {size_of(needed)}; fewer layers or smaller hidden ones take less"
        )


def memory() -> float:
    """Return the bytes of memory that this process may use."""
    there = address_space()
    if hasattr(os, "sysconf"):
        there = min(there, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return there


def size_of(count: float) -> str:
    """Format a byte count."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count:,} bytes"
