"""The table of flows: every flow that the contract in ``tests/finite_differences`` examines.

Each module ``tests/flows/test_NAME.py`` has a part of it, ``CONTRACT``: names, each with an
:class:`Entry`. An entry has the constructor (dim, context_dim) -> Flow, the sizes it allows, and
known facts: a log-determinant that must be zero, zeros of the Jacobian, a bounded domain.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np

import nfref

DIMS = (1, 2, 3, 5, 8)
COUPLING_DIMS = DIMS[1:]
# Images of one pixel, and one of 2 x 3: a single pixel shows no fault in how pixels are counted.
IMAGE_DIMS = (1, 2, 3, 12)
CONTEXT_DIM = 2
FOLDER = Path(__file__).with_name("flows")


@dataclass(frozen=True)
class Entry:
    """A flow: its constructor, the sizes it allows, and known facts.

    Parameters
    ----------
    make : callable
        (dim, context_dim) -> Flow.
    dims : sequence of int
        The dims that the contract examines.
    context : bool
        True if it can take a context.
    log_det : "varies", "constant", "zero", or a callable (dim, context_dim) -> one of them
        How the log-determinant depends on the row; "zero" is exact.
    pattern : callable, optional
        flow -> (D, D) bool array, true where dx/dz is not zero. The other entries must be
        exactly zero, and the inverse must have the same pattern.
    ignores_context : callable, optional
        flow -> (D,) bool array: the coordinates that no context can move; none if omitted.
    data_rows : callable, optional
        (rng, n, dim) -> rows inside of the flow's domain; normal rows if omitted.
    reach : float
        Largest coordinate of latent rows that must come back.
    precision : float
        Relative error that the flow itself claims, such as an ODE solver's tolerance; one
        rounding error if omitted.
    integrable : bool
        True if the density at D <= 2 is cheap and smooth enough for quadrature on a grid.
    costly : bool
        True if it is slow. Then it is examined with a context only, if it takes one.
    plain : int, optional
        The dim of the plain run, one of ``dims``; the largest of up to four if omitted.
    """

    make: object
    dims: tuple = DIMS
    context: bool = False
    log_det: object = "varies"
    pattern: object = None
    ignores_context: object = None
    data_rows: object = None
    reach: float = 1e3
    precision: float = float(np.finfo(np.float64).eps)
    integrable: bool = True
    costly: bool = False
    plain: int = None

    def kind(self, dim, context_dim):
        """Return the kind of log-determinant at these sizes: "varies", "constant" or "zero"."""
        return self.log_det(dim, context_dim) if callable(self.log_det) else self.log_det


def random_params(flow, rng, size=1.0):
    """Return parameters far from the identity, where ``init`` starts most flows.

    Every array that ``init`` makes gets noise times ``size``: of unit gain for matrices, of
    standard deviation 1/2 for vectors. Variances are multiplied instead, so that they stay
    positive.
    """

    def moved(name, node):
        if isinstance(node, dict):
            return {key: moved(key, value) for key, value in node.items()}
        if isinstance(node, list):
            return [moved(name, value) for value in node]
        if "variance" in name:
            return node * np.exp(size * rng.standard_normal(node.shape))
        gain = 0.5 if node.ndim < 2 else (node.size / node.shape[-1]) ** -0.5
        return node + size * gain * rng.standard_normal(node.shape)

    return moved("", flow.init(rng))


# Constructors and facts of more than a line ------------------------------------------


def hidden(dim):
    return (dim + 3,)


def random_order(dim):
    return tuple(int(place) for place in np.random.default_rng(dim).permutation(dim))


def diagonal(flow):
    return np.eye(flow.dim, dtype=bool)


def stays(flow):
    """Return the coordinates that a coupling does not change."""
    if hasattr(flow, "mask"):
        return np.array(flow.mask)
    return np.arange(flow.dim) < flow.kept * flow.shape[1] * flow.shape[2]


def triangular(flow):
    """Return the pattern of dx/dz in which row i has itself and the coordinates before it."""
    order = np.array(flow.order)
    return order[:, None] >= order[None, :]


def constant_at_one(dim, context_dim):
    """Return the kind of a triangular map: one coordinate depends on nothing but a context."""
    return "constant" if dim == 1 and not context_dim else "varies"


def made(order=lambda dim: None, transformer=nfref.Affine(), degrees="even"):
    return lambda dim, context_dim: nfref.MADE(
        dim, hidden(dim), transformer, order(dim), context_dim, "tanh", degrees
    )


def bounds(dim):
    """Return bounds of a Logit: every third column, from the second on, has none."""
    lower = tuple(None if i % 3 == 1 else -1.0 - i for i in range(dim))
    upper = tuple(None if low is None else 2.5 for low in lower)
    return lower, upper


def rows_in_bounds(rng, n, dim):
    rows = rng.standard_normal((n, dim))
    for i, (low, high) in enumerate(zip(*bounds(dim))):
        if low is not None:
            rows[:, i] = rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low), n)
    return rows


def standardise(dim):
    return nfref.Standardise(
        tuple(0.2 * i - 0.5 for i in range(dim)), tuple(0.3 + 0.1 * i for i in range(dim))
    )


def image(dim):
    """Return a shape (C, H, W) of ``dim`` numbers."""
    shapes = {4: (1, 2, 2), 8: (2, 2, 2), 12: (2, 2, 3), 16: (1, 4, 4), 24: (1, 4, 6)}
    return shapes.get(dim, (dim, 1, 1))


# The table ----------------------------------------------------------------------------------


def modules():
    """Return all modules of tests below ``tests/flows``."""
    found = walk_packages([str(FOLDER)], "tests.flows.")
    return [import_module(module.name) for module in found if ".test_" in module.name]


@cache
def flows():
    """Return name -> Entry, from the ``CONTRACT`` of every module below ``tests/flows``."""
    table = {}
    for module in modules():
        found = getattr(module, "CONTRACT", {})
        assert not table.keys() & found.keys(), f"{module.__name__}: {table.keys() & found.keys()}"
        table.update(found)
    return table


def cases(names=None, dims=None):
    """Return (name, dim, context_dim) for all that the table allows, or for some names or dims."""
    return [
        case
        for case in cases_of(flows())
        if (names is None or case[0] in names) and (dims is None or case[1] in dims)
    ]


def cases_of(entries):
    """Return (name, dim, context_dim) for all that some entries of the table allow."""
    return [
        (name, dim, context_dim)
        for name, entry in entries.items()
        for dim in entry.dims
        for context_dim in (0, CONTEXT_DIM)[entry.costly and entry.context : 1 + entry.context]
    ]


def shows_least(entry, dim, context_dim):
    """Return whether a case of a flow of many dims is one of those that show least."""
    return len(entry.dims) > 3 and (dim == 5 or dim in (3, 8) and entry.context and not context_dim)
