"""The flows that can be fitted to tables, by name, and what each takes where nothing is said."""

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
from nfref.runtime.annotations import Any
from nfref.runtime.memory_limit import address_space

# Rows below which networks are smaller, and steps of fewer rows.
FEWEST, FEW, SOME = 1000, 2000, 5000
# Robust units that a spline reaches at least, and its bins at most, with few rows and with more.
# On CCPP, all within 3.4 units, a flow of bound 8 had 0.17 and 0.24 nats less than of bound 4 (with
# 150 rows four bins had 0.03 more than eight); bins of one unit instead of two where columns reach
# further 0.01 to 0.15 on wine, 0.06 to 0.11 on MAGIC, 0.07 on power: rows of the training parts.
NEAREST, BINS_OF_FEW, BINS = 4.0, 8, 16
# Parameters, their average, the best, two moments, the gradient and two passing copies.
COPIES = 8


@dataclass(frozen=True)
class FlowKind:
    """A kind of flow, which becomes a flow where rows and columns are known.

    Parameters
    ----------
    name : str
    constructor : callable
        (dim, context_dim=..., and what else it takes of layers, hidden, orders) -> Flow.
    layers : int or None
        None goes by the number of rows.
    hidden : tuple of int or None
        Widths of hidden layers; None is two of ``width``, or as many units as there are columns:
        an autoregressive network needs about one a column to tell columns apart.
    width : int or None
        None goes by the number of rows.
    learning_rate : float
        Of Adam.
    patience : float
        So many times sqrt(rows) steps, and six epochs, without a better one end the part of the
        training in which rows are held out.
    options : dict
        Other arguments of the constructor.
    objective : callable or None
        What training follows instead of the likelihood, as for :func:`nfref.fit`.
    """

    name: str
    constructor: object
    layers: int | None = None
    hidden: tuple | None = None
    width: int | None = None
    learning_rate: float = 1e-3
    patience: float = 4.0
    options: dict = field(default_factory=dict)
    objective: object = None

    def takes(self, option):
        """Whether the constructor has an argument of that name."""
        return option in inspect.signature(self.constructor).parameters

    def reaching(self, u):
        """The same kind with splines that reach as far as rows (N, D) do, but for one in a thousand
        a column: beyond, a column of a spline flow is normal of the scale that it has near zero.
        Bins are a robust unit wide as they start, or two where rows are few."""
        if self.constructor is not NSF or "bound" in self.options:
            return self
        bound = max(NEAREST, 1.2 * float(np.max(np.quantile(np.abs(u), 0.999, axis=0))))
        most = BINS_OF_FEW if len(u) < FEWEST else BINS
        bins = min(most, math.ceil(most * bound / (2 * NEAREST)))
        return replace(self, options={**self.options, "bound": bound, "bins": bins})

    def made(self, rows, dim, context_dim, rng):
        """The flow for so many rows of so many columns; ``rng`` draws orders."""
        options = {"context_dim": context_dim, **self.options}
        if self.takes("layers"):
            options["layers"] = self.layers or (3 if rows < FEW else 5)
        if self.takes("hidden"):
            width = self.width or (
                32 if rows < FEWEST else 48 if rows < FEW else 96 if rows < SOME else 128
            )
            options["hidden"] = self.hidden or (max(width, dim + context_dim),) * 2
        if self.takes("orders") and dim > 2:
            options["orders"] = random_orders(rng, dim, options["layers"])
        if self.constructor is CNF and len(options["hidden"]) > EXACT_LAYERS:
            options["trace"] = "brute"  # the exact trace has no closed form
        # A MAF of one column makes no more than a Gaussian.
        constructor = NSF if self.constructor is MAF and dim == 1 else self.constructor
        check_memory(dim, options.get("layers", 1), options.get("hidden"))
        return constructor(dim, **options)


FLOWS = {
    kind.name: kind
    for kind in (
        FlowKind("cnf", CNF, width=64),
        FlowKind("fm", CNF, width=128, objective=FlowMatching()),
        FlowKind("iaf", IAF, layers=5, width=64),
        FlowKind("maf", MAF, learning_rate=5e-3, patience=2.0),
        FlowKind("naf", NAF, layers=3, width=64),
        FlowKind("nice", NICE, layers=6, width=128),
        FlowKind("nsf", NSF, learning_rate=5e-3, patience=2.0),
        FlowKind("planar", Planar, layers=32, learning_rate=5e-3),
        FlowKind("realnvp", RealNVP, layers=8, width=64),
    )
}
# What "auto" tries, in order. Whether tanh or relu units do better depends on the table, by up to
# 0.2 nats either way; in a MAF relu makes shifts without bound of rows far out.
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
    """A kind of flow with what is asked of it; None leaves what it has.

    Parameters
    ----------
    name : str
        One of ``FLOWS``.
    layers : int, optional
    hidden : tuple of int, optional
    rtol : float, optional
        Of a solver, relative and absolute.
    trace : {"exact", "hutchinson", "brute"}, optional
        That a continuous flow is trained with; scores are exact with each.
    regularise : (float, float), optional
        Weights of the kinetic and the Jacobian penalty of a continuous flow.

    Raises
    ------
    ValueError
        If that kind has no use for it.
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


def check_memory(dim, layers, hidden):
    """That training such a flow fits into the memory of this machine, before any is taken."""
    widths = (dim, *hidden, 2 * dim) if hidden else (1, 2 * dim)
    numbers = layers * sum(below * above + above for below, above in zip(widths, widths[1:]))
    needed, there = COPIES * 8 * numbers, memory()
    if needed > there:
        raise ValueError(
            f"expected one that this machine's {size_of(there)} of memory can train, "
            f"got one of about {numbers:,} parameters for {dim:,} columns, which "
            f"takes {size_of(needed)}; fewer layers or smaller hidden ones take less"
        )


def memory():
    """Bytes of memory that this process may take."""
    there = address_space()
    if hasattr(os, "sysconf"):
        there = min(there, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return there


def size_of(count):
    """So many bytes for people, in the largest unit of which there is one."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count:,} bytes"
