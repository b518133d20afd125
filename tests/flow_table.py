"""The table of flows: every flow that the contract in ``tests/contract/__init__.py`` is held over.

One line adds a flow: a name, and an :class:`Entry` with a constructor of (dim, context_dim).
What it allows (dims, context) and what is known about it (a log-determinant that must be
zero, zeros of the Jacobian, a bounded domain) stands in the same line.
"""

from dataclasses import dataclass

import numpy as np

import nfref

DIMS = (1, 2, 3, 5, 8)
CONTEXT_DIM = 2


@dataclass(frozen=True)
class Entry:
    """A flow, what it allows and what is known about it.

    Parameters
    ----------
    make : callable
        (dim, context_dim) -> Flow.
    dims : sequence of int
        The dims it allows, of those that the contract tries.
    context : bool
        Whether it can take a context.
    log_det : "varies", "constant", "zero", or a callable (dim, context_dim) -> one of them
        Whether the log-determinant depends on the row, and whether it must be zero.
    pattern : callable, optional
        flow -> (D, D) bool array: which entries of dx/dz are not zero. The others must be
        exactly zero, and the inverse must have the same pattern.
    ignores_context : callable, optional
        flow -> (D,) bool array: the coordinates that no context can move; none if omitted.
    data_rows : callable, optional
        (rng, n, dim) -> rows inside of the flow's domain; normal rows if omitted.
    reach : float
        How far out latent rows still have to come back.
    precision : float
        Relative error the flow itself claims, such as an ODE solver's tolerance; one rounding
        error unless given.
    integrable : bool
        Whether its density at D <= 2 is cheap and smooth enough for quadrature on a grid.
    costly : bool
        Whether it is so slow that, where it can take a context, it is tried only with one.
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

    def kind(self, dim, context_dim):
        """Its log-determinant at these sizes: "varies", "constant" or "zero"."""
        return self.log_det(dim, context_dim) if callable(self.log_det) else self.log_det


def random_params(flow, rng, size=1.0):
    """Parameters far from the identity, which is where ``init`` starts most flows.

    Noise is added to every array that ``init`` makes: of unit gain for matrices, of standard
    deviation 1/2 for vectors, times ``size``. Variances are multiplied instead, so that they
    stay positive.
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


# Constructors and facts that take more than a line ------------------------------------------


def hidden(dim):
    return (dim + 3,)


def random_order(dim):
    return tuple(int(place) for place in np.random.default_rng(dim).permutation(dim))


def diagonal(flow):
    return np.eye(flow.dim, dtype=bool)


def coupled(flow):
    """Row i of dx/dz: itself, and where i changes, the coordinates that stay."""
    stays = np.array(flow.mask)
    return np.eye(flow.dim, dtype=bool) | (~stays[:, None] & stays[None, :])


def stays(flow):
    """The coordinates that a coupling leaves alone."""
    if hasattr(flow, "mask"):
        return np.array(flow.mask)
    return np.arange(flow.dim) < flow.kept * flow.shape[1] * flow.shape[2]


def autoregressive(flow):
    """Row i of dx/dz: itself and the coordinates that come before it."""
    order = np.array(flow.order)
    return order[:, None] >= order[None, :]


def constant_at_one(dim, context_dim):
    """An autoregressive map of one coordinate has nothing to look at but a context."""
    return "constant" if dim == 1 and not context_dim else "varies"


def made(order=lambda dim: None, transformer=nfref.Affine(), degrees="even"):
    return lambda dim, context_dim: nfref.MADE(dim, hidden(dim), transformer, order(dim),
                                               context_dim, "tanh", degrees)


def coupling(transformer, parity=0):
    return lambda dim, context_dim: nfref.Coupling(
        nfref.alternating_mask(dim, parity), transformer, hidden(dim), context_dim, "tanh")


def half_mask(dim):
    """The first half stays: with odd dims the halves differ in size."""
    return tuple(i < dim // 2 for i in range(dim))


def bounds(dim):
    """Bounds of a Logit: every third column, from the second on, is free."""
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
    return nfref.Standardise(tuple(0.2 * i - 0.5 for i in range(dim)),
                             tuple(0.3 + 0.1 * i for i in range(dim)))


def units(dim, context_dim):
    """A flow on bounded data, in the data's own units."""
    return nfref.Chain((nfref.MAF(dim, 2, hidden(dim), context_dim=context_dim, activation="tanh"),
                        standardise(dim), nfref.Logit(*bounds(dim))))


def mixed(dim, context_dim):
    """Chains and turned flows inside of each other; only one member takes the context."""
    inner = nfref.Chain((nfref.ElementwiseAffine(dim),
                         nfref.Invert(nfref.Planar(dim, 2, context_dim))))
    return nfref.Chain((inner, nfref.Scale(dim),
                        nfref.Invert(nfref.MADE(dim, hidden(dim), activation="tanh"))))


def maf(**options):
    def make(dim, context_dim):
        orders = {"orders": nfref.random_orders(np.random.default_rng(dim), dim, 2)}
        return nfref.MAF(dim, 2, hidden(dim), context_dim=context_dim,
                         **{"activation": "tanh", **orders, **options})
    return make


def nsf(**options):
    """A spline flow; at its ends it is the identity, so random rows have to lie within them."""
    return lambda dim, context_dim: nfref.NSF(dim, 2, hidden(dim), 4, context_dim=context_dim,
                                              activation="tanh", bound=6.0, **options)


def image(dim):
    """A (C, H, W) shape with ``dim`` numbers in it."""
    return {4: (1, 2, 2), 8: (2, 2, 2), 16: (1, 4, 4)}.get(dim, (dim, 1, 1))


def random_matrix(dim):
    """Of negative determinant, and not near singular."""
    rng = np.random.default_rng(dim)
    rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    matrix = rotation * rng.uniform(1.2, 2, dim)
    return matrix * np.where(np.arange(dim) == 0, -np.sign(np.linalg.det(matrix)), 1)


def lu_linear(dim, context_dim):
    return nfref.LULinear(dim, *nfref.random_pivots(np.random.default_rng(dim), dim))


def glow(permutation):
    def make(dim, context_dim):
        return nfref.Glow(image(dim), levels=2 if dim == 16 else 1, steps=2, hidden=(3,),
                          context_dim=context_dim, permutation=permutation, activation="tanh")
    return make


# The table ----------------------------------------------------------------------------------

COUPLING_DIMS = (2, 3, 5, 8)

FLOWS = {
    "Scale": Entry(lambda d, c: nfref.Scale(d), log_det="constant", pattern=diagonal),
    "ElementwiseAffine": Entry(lambda d, c: nfref.ElementwiseAffine(d), log_det="constant",
                               pattern=diagonal),
    "Standardise": Entry(lambda d, c: standardise(d), log_det="constant", pattern=diagonal),
    "Logit": Entry(lambda d, c: nfref.Logit(*bounds(d)), pattern=diagonal,
                   data_rows=rows_in_bounds, reach=12.0),
    "BatchNorm": Entry(lambda d, c: nfref.BatchNorm(d), log_det="constant", pattern=diagonal),
    "PlanarLayer": Entry(nfref.PlanarLayer, context=True),
    "Planar": Entry(lambda d, c: nfref.Planar(d, 3, c), context=True),
    "Invert(Planar)": Entry(lambda d, c: nfref.Invert(nfref.Planar(d, 2, c)), context=True),
    "Coupling, additive": Entry(
        coupling(nfref.Additive(), parity=1),
        dims=COUPLING_DIMS, context=True, log_det="zero", pattern=coupled, ignores_context=stays),
    "Coupling": Entry(
        coupling(nfref.Affine()),
        dims=COUPLING_DIMS, context=True, pattern=coupled, ignores_context=stays),
    "Coupling, tanh": Entry(
        coupling(nfref.Affine("tanh")),
        dims=COUPLING_DIMS, context=True, pattern=coupled, ignores_context=stays),
    "Coupling, gate": Entry(
        coupling(nfref.Affine("gate")),
        dims=COUPLING_DIMS, context=True, pattern=coupled, ignores_context=stays),
    "Coupling, halves": Entry(
        lambda d, c: nfref.Coupling(half_mask(d), nfref.Affine(), hidden(d), c, "softplus"),
        dims=COUPLING_DIMS, context=True, pattern=coupled, ignores_context=stays),
    "NICE": Entry(lambda d, c: nfref.NICE(d, 3, hidden(d), c, "tanh"), dims=COUPLING_DIMS,
                  context=True, log_det="constant"),
    "RealNVP": Entry(lambda d, c: nfref.RealNVP(d, 3, hidden(d), c, "tanh"), dims=COUPLING_DIMS,
                     context=True),
    "RealNVP, relu": Entry(lambda d, c: nfref.RealNVP(d, 2, hidden(d), c), dims=COUPLING_DIMS,
                           context=True, integrable=False),
    "RealNVP, batch norm": Entry(
        lambda d, c: nfref.RealNVP(d, 2, hidden(d), c, "tanh", batch_norm=True),
        dims=COUPLING_DIMS, context=True),
    "MADE": Entry(made(), context=True, log_det=constant_at_one, pattern=autoregressive),
    "MADE, reversed": Entry(made(lambda d: tuple(reversed(range(d)))), context=True,
                            log_det=constant_at_one, pattern=autoregressive),
    "MADE, random order": Entry(made(random_order), context=True, log_det=constant_at_one,
                                pattern=autoregressive),
    "MADE, additive": Entry(made(transformer=nfref.Additive()), context=True, log_det="zero",
                            pattern=autoregressive),
    "MADE, exp": Entry(made(transformer=nfref.Affine("exp")), context=True,
                       log_det=constant_at_one, pattern=autoregressive),
    "MAF": Entry(maf(orders="alternate"), context=True, log_det=constant_at_one),
    "MAF, relu": Entry(maf(activation="relu"), context=True, log_det=constant_at_one,
                       integrable=False),
    "MAF, batch norm": Entry(maf(batch_norm=True), context=True, log_det=constant_at_one),
    "MADE, spline": Entry(made(transformer=nfref.RationalQuadratic(4, 6.0)), context=True,
                          log_det=constant_at_one, pattern=autoregressive, integrable=False),
    "NSF": Entry(nsf(), context=True, log_det=constant_at_one, integrable=False),
    "NSF, coupling": Entry(nsf(coupling=True), dims=COUPLING_DIMS, context=True,
                           integrable=False),
    "NSF, LU": Entry(nsf(coupling=True, linear="lu"), dims=(2, 5), context=True, costly=True,
                     integrable=False),
    "IAF": Entry(lambda d, c: nfref.IAF(d, 2, hidden(d), context_dim=c, activation="tanh"),
                 context=True, log_det=constant_at_one),
    "Permutation": Entry(lambda d, c: nfref.Permutation(random_order(d)), log_det="zero"),
    "FixedLinear": Entry(lambda d, c: nfref.FixedLinear(random_matrix(d)), log_det="constant"),
    "Linear": Entry(lambda d, c: nfref.Linear(d), log_det="constant"),
    "LULinear": Entry(lu_linear, log_det="constant"),
    "ActNorm": Entry(lambda d, c: nfref.ActNorm(image(d)), log_det="constant", pattern=diagonal),
    "ChannelAffine": Entry(lambda d, c: nfref.ChannelAffine(image(d)), log_det="constant",
                           pattern=diagonal),
    "InvertibleConv, LU": Entry(lambda d, c: nfref.InvertibleConv(image(d)), log_det="constant"),
    "InvertibleConv, full": Entry(lambda d, c: nfref.InvertibleConv(image(d), "full"),
                                  log_det="constant"),
    "Squeeze": Entry(lambda d, c: nfref.Squeeze(image(d)), dims=(4, 8, 16), log_det="zero"),
    "ChannelCoupling": Entry(lambda d, c: nfref.ChannelCoupling(image(d), (3,), c, "tanh"),
                             dims=COUPLING_DIMS, context=True, ignores_context=stays),
    "SplitPrior": Entry(lambda d, c: nfref.SplitPrior(image(d), (), c, "tanh"),
                        dims=COUPLING_DIMS, context=True, ignores_context=stays),
    "ChannelCoupling, sigmoid": Entry(
        lambda d, c: nfref.ChannelCoupling(image(d), (3,), c, "tanh", nfref.Affine("sigmoid")),
        dims=COUPLING_DIMS, context=True, ignores_context=stays),
    "Glow, LU": Entry(glow("lu"), dims=(4, 16), context=True, costly=True),
    "Glow, full": Entry(glow("full"), dims=(8,), context=True, costly=True),
    "CNF": Entry(lambda d, c: nfref.CNF(d, (4, 4), c, rtol=1e-9, atol=1e-9), dims=(2,),
                 context=True, precision=1e-8, reach=10.0, integrable=False, costly=True),
    "CNF, fixed steps": Entry(
        lambda d, c: nfref.CNF(d, (4,), c, solver="rk4", steps=30, gradient="direct"),
        dims=(1,), precision=1e-7, reach=3.0),
    "Chain in data units": Entry(units, context=True, data_rows=rows_in_bounds, reach=3.0),
    "Chain of Invert": Entry(mixed, context=True),
}


def cases(names=None, dims=None):
    """(name, dim, context_dim) for everything the table allows, or for some names or dims."""
    return [(name, dim, context_dim)
            for name, entry in FLOWS.items() if names is None or name in names
            for dim in entry.dims if dims is None or dim in dims
            for context_dim in (0, CONTEXT_DIM)[entry.costly and entry.context:1 + entry.context]]
