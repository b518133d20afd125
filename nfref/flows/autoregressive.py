r"""Autoregressive flows: MADE, MAF and IAF, with any transformer.

Sources: Germain et al. 2015, arXiv:1502.03509 (MADE); Papamakarios, Pavlakou, Murray 2017,
arXiv:1705.07057 (MAF); Kingma et al. 2016, arXiv:1606.04934 (IAF).

Coordinate i passes a transformer whose parameters depend on the coordinates before it:

    .. math::

        x_i = T(z_i; h_i), \qquad h_i = f_i(x_1, \ldots, x_{i-1}).

From x to z all h are known at once: one pass of a masked network. From z to x each
coordinate has to wait for those before it: D passes.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.batch_norm import check_batch_norm, with_batch_norm
from nfref.flows.composition import Composition, Invert, with_fields_of
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.masked import even_degrees, made_masks, masked_mlp, random_degrees
from nfref.networks.mlp import angles_as_points, init_mlp, with_context
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import (
    check_choice,
    check_columns,
    check_count,
    check_hidden,
    check_permutation,
    check_rng,
    one_of,
)
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer, constrained, with_own

# Formulas ---------------------------------------------------------------------------------


def autoregressive_inverse(
    x: Array, inverse: Callable[..., Any], conditioner: Callable[..., Any]
) -> tuple[Array, Array]:
    """Return z_i = T^-1(x_i; h_i(x_<i)) and log |det dz/dx| = sum_i log dT^-1/dx_i. One pass.

    ``inverse`` is the transformer's; ``conditioner`` maps rows (N, D) to h. Entries i of h depend
    only on coordinates before i, so dz/dx is triangular.

    Paper:   MAF v4, section 3.1: u_i = (x_i - mu_i) exp(-alpha_i) and the log of the
             determinant, -sum_i alpha_i; u is z.
    Differs: any transformer is allowed; the paper's is ``Affine("exp")``.

    Shapes: x (N, D). Returns (N, D) and (N,).
    """
    z, log_slope = inverse(x, conditioner(x))
    return z, np.sum(log_slope, axis=1)


def autoregressive_forward(
    z: Array,
    forward: Callable[..., Any],
    conditioner: Callable[..., Any],
    passes: int | None = None,
) -> tuple[Array, Array]:
    """Return x_i = T(z_i; h_i(x_<i)) and log |det dx/dz|, one coordinate after the other. D passes.

    Every pass applies the map to the x known so far. After pass k the first k coordinates are
    right, since they depend only on coordinates that were right before. So after D passes all are
    right, for any start. If coordinates come in groups whose members do not depend on each other,
    as many ``passes`` as groups suffice.

    Paper:   MAF v4, section 3.1: x_i = u_i exp(alpha_i) + mu_i, where mu_i and alpha_i are
             functions of x_1 ... x_{i-1}; u is z.
    Differs: as for :func:`autoregressive_inverse`.

    Shapes: z (N, D). Returns (N, D) and (N,).
    """
    x = np.zeros_like(z)
    for _ in range(z.shape[1] if passes is None else passes):
        x, log_slope = forward(z, conditioner(x))
    return x, np.sum(log_slope, axis=1)


# Orders -----------------------------------------------------------------------------------


def natural_order(dim: int) -> tuple[int, ...]:
    """Return the order in which coordinate i comes i-th."""
    return tuple(range(dim))


def random_orders(rng: Generator, dim: int, layers: int) -> tuple[tuple[int, ...], ...]:
    """Return one random order for each of ``layers`` layers, for ``MAF(..., orders=...)``.

    Parameters
    ----------
    rng : numpy.random.Generator
    dim, layers : int

    Returns
    -------
    tuple of ``layers`` tuples, each a permutation of 0 ... dim-1
    """
    check_rng(rng)
    return tuple(tuple(int(place) for place in rng.permutation(dim)) for _ in range(layers))


# Layer ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MADE(Flow):
    """One masked autoregressive layer.

    With affine transformers and a standard normal base it is MADE with Gaussian conditionals.

    Parameters
    ----------
    dim : int
        D. With D = 1 its parameters are learned numbers (functions of the context, if there
        is one).
    hidden : sequence of int, default (64, 64)
        Hidden widths, each at least the number of degrees that the masks need: D - 1, or
        D with a context.
    transformer : Transformer, default Affine()
        The map of each coordinate.
    order : sequence of int, optional
        order[i] is the place of coordinate i in the autoregressive order; natural if omitted.
    context_dim : int, default 0
        Context features C that every transformer may depend on.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    degrees : "even", "random", or one sequence of int per hidden layer, default "even"
        The number of coordinates that each hidden unit may see. "even" spreads the degrees evenly,
        so that every coordinate can depend on all before it. "random" takes random ones as in the
        paper, always the same; :func:`nfref.random_degrees` makes others.
    periodic : sequence of int, default ()
        The coordinates that are angles, in radians. The network reads their cosine and sine, so
        densities have no seam where a turn ends. The transformer of an angle has to be a map of
        the circle, :class:`nfref.MoebiusCircle` or a circular spline with bound pi.

    Examples
    --------
    >>> import nfref
    >>> first, second = nfref.MADE(3, hidden=(4,)).masks
    >>> (first @ second)[:, :3].astype(int)     # row j, column i: whether z_i depends on x_j
    array([[0, 1, 1],
           [0, 0, 1],
           [0, 0, 0]])
    """

    dim: int
    hidden: Sequence[int] = (64, 64)
    transformer: Transformer = Affine()
    order: Sequence[int] | None = None
    context_dim: int = 0
    activation: str = "tanh"
    degrees: str | Sequence[Sequence[int]] = "even"
    periodic: Sequence[int] = ()

    _twin = "made"
    _converters = {
        "hidden": check_hidden,
        "transformer": check_transformer,
        "activation": one_of(ACTIVATIONS),
    }

    def __post_init__(self):
        super().__post_init__()
        order = natural_order(self.dim) if self.order is None else self.order
        self._set(
            periodic=check_columns("periodic", self.periodic, self.dim),
            order=check_permutation("order", order, self.dim),
        )
        needed = self.dim if self.context_dim else self.dim - 1
        if any(width < needed for width in self.hidden):
            raise ValueError(
                f"hidden: expected at least {needed} units a layer, so that every "
                f"coordinate can see all before it; got {self.hidden}"
            )
        self._set(degrees=self._checked_degrees())

    def _checked_degrees(self):
        """Return "even", or degrees as numbers, random ones too: a stored flow must not change."""
        if isinstance(self.degrees, str):
            if check_choice("degrees", self.degrees, ("even", "random")) == "even":
                return self.degrees
            return random_degrees(np.random.default_rng(0), self.dim, self.hidden, self.context_dim)
        degrees = tuple(tuple(map(int, layer)) for layer in self.degrees)
        lowest = 0 if self.context_dim else 1
        highest = max(self.dim - 1, lowest)
        if tuple(map(len, degrees)) != self.hidden:
            raise ValueError(
                f"degrees: expected {self.hidden} numbers, one a hidden unit; "
                f"got {tuple(map(len, degrees))}"
            )
        if any(not lowest <= degree <= highest for layer in degrees for degree in layer):
            raise ValueError(
                f"degrees: expected whole numbers from {lowest} to {highest}, got {degrees}"
            )
        return degrees

    @cached_property
    def masks(self) -> list[Array]:
        """The (in, out) bool arrays of the network's layers; see :func:`made_masks`."""
        order: Any = self.order  # None and "random" are replaced when the layer is made
        degrees: Any = self.degrees
        if degrees == "even":
            degrees = even_degrees(self.dim, self.hidden, self.context_dim)
        return made_masks(order, degrees, self.transformer.size, self.context_dim, self.periodic)

    def _init(self, rng):
        outputs = self.transformer.size * self.dim
        read = self.dim + len(self.periodic)
        sizes = (read + self.context_dim, *self.hidden, outputs)
        return with_own(self.transformer, {"net": init_mlp(rng, sizes)}, self.dim)

    def conditioner(self, params: dict[str, Any], context: Array | None) -> Callable[..., Any]:
        """Return the function x -> h."""

        def parameters(x):
            inputs = with_context(angles_as_points(x, self.periodic), context)
            outputs = masked_mlp(params["net"], self.masks, inputs, self.activation)
            return constrained(self.transformer, params, outputs)

        return parameters

    def _forward(self, params, z, context):
        return autoregressive_forward(
            z, self.transformer.forward, self.conditioner(params, context)
        )

    def _inverse(self, params, x, context):
        return autoregressive_inverse(
            x, self.transformer.inverse, self.conditioner(params, context)
        )


# Stacks -----------------------------------------------------------------------------------


def orders_of(orders: Any, dim: int, layers: int) -> Sequence[Sequence[int]]:
    """Return one order per layer, latent side first: from "alternate", "natural" or the orders.

    In both, the layer next to the data has the natural order, for any number of layers.
    """
    if not isinstance(orders, str):
        return orders
    order, alternate = natural_order(dim), orders == "alternate"
    return tuple(order[::-1] if alternate and k % 2 else order for k in reversed(range(layers)))


def check_orders(orders: Any, layers: int) -> str | tuple[tuple[int, ...], ...]:
    """Return "alternate", "natural", or one order per layer as tuples."""
    if isinstance(orders, str):
        return check_choice("orders", orders, ("alternate", "natural"))
    orders = tuple(check_permutation("order", order) for order in orders)
    if len(orders) != layers:
        raise ValueError(f"orders: expected {layers}, one a layer; got {len(orders)}")
    return orders


@dataclass(frozen=True)
class MAF(Composition):
    """A masked autoregressive flow: density in one pass per layer, sampling in D.

    Paper:   MAF v4, section 3.1: layers of MADE, each with the order of the one before reversed,
             and the natural order next to the data (published code). Appendix B: from data to
             latent every layer is followed by a batch norm; so the first map of ``forward``
             is a batch norm, and none is next to the data.
    Differs: the default log-scale is bounded smoothly, see :class:`nfref.Affine`; the paper's is
             ``transformer=Affine("exp")``. The published code learns exp(-alpha) as exp(p/2).
             Degrees of hidden units are spread evenly; the code's default cycles through
             1 ... D-1. Statistics of batch norm: see :class:`nfref.BatchNorm`.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 5
        Number of MADE layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each network, see :class:`MADE`.
    orders : "alternate", "natural" or one order per layer, default "alternate"
        "alternate" reverses the order from layer to layer; the layer next to the data, the
        last one, has the natural order. :func:`random_orders` makes random ones.
    context_dim : int, default 0
        Context features C.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    transformer : Transformer, default Affine()
        The map of a coordinate in each layer.
    batch_norm : bool, "running" or "training set", default False
        Put a :class:`nfref.BatchNorm` on the latent side of every layer. A string names
        the statistics of evaluation; True means the paper's, "training set".
    degrees : "even", "random" or one set per layer, default "even"
        A set is one sequence of int per hidden layer, see :class:`MADE`. "random" takes a random
        set for each layer, always the same ones.
    periodic : sequence of int, default ()
        The coordinates that are angles, see :class:`MADE`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.MAF(3, layers=2)
    >>> [layer.order for layer in flow.flows]
    [(2, 1, 0), (0, 1, 2)]
    >>> z, log_det = flow.inverse(flow.init(np.random.default_rng(0)), np.zeros((5, 3)))
    >>> z.shape, log_det.shape
    ((5, 3), (5,))
    """

    dim: int
    layers: int = 5
    hidden: Sequence[int] = (64, 64)
    orders: str | Sequence[Sequence[int]] = "alternate"
    context_dim: int = 0
    activation: str = "tanh"
    transformer: Transformer = Affine()
    batch_norm: bool | str = False
    degrees: str | Sequence[Sequence[Sequence[int]]] = "even"
    periodic: Sequence[int] = ()

    _converters = {**MADE._converters, "layers": check_count, "batch_norm": check_batch_norm}

    def __post_init__(self):
        super().__post_init__()
        self._set(
            orders=check_orders(self.orders, self.layers),
            periodic=self._layer(None, "even").periodic,
        )
        self._set(degrees=self._checked_degrees())

    def _checked_degrees(self):
        """Return "even", or one set of degrees per layer as tuples."""
        degrees = self.degrees
        if isinstance(degrees, str):
            if check_choice("degrees", degrees, ("even", "random")) == "even":
                return degrees
            rng = np.random.default_rng(0)
            degrees = [
                random_degrees(rng, self.dim, self.hidden, self.context_dim)
                for _ in range(self.layers)
            ]
        if len(degrees) != self.layers:
            raise ValueError(
                f"degrees: expected {self.layers} sets, one a layer; got {len(degrees)}"
            )
        return tuple(self._layer(None, own).degrees for own in degrees)

    def _layer(self, order, degrees):
        return with_fields_of(self, MADE, order=order, degrees=degrees)

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The layers, from latent to data."""
        orders = orders_of(self.orders, self.dim, self.layers)
        degrees = (self.degrees,) * self.layers if self.degrees == "even" else self.degrees
        return with_batch_norm(self.batch_norm, map(self._layer, orders, degrees), "training set")


def IAF(dim: int, layers: int = 5, hidden: Sequence[int] = (64, 64), **options: Any) -> Invert:
    """Return an inverse autoregressive flow; a constructor of ``Invert(MAF(dim, layers, ...))``.

    Sampling takes one pass per layer, density D passes. There is no class of this name.

    Paper:   IAF v2, section 4, (10): z_t = mu_t + sigma_t z_{t-1}, noise to z, with mu_t and
             sigma_t functions of z_{t-1}; z_{t-1} is the argument of a layer's ``inverse``, z_t
             its value. The order is reversed after each step. Section 4, (13)-(14), has the
             gated form, ``transformer=Affine("gate")``.
    Differs: the default transformer is (z - mu) exp(-alpha) instead of sigma z + mu; the two are
             the same family with sigma = exp(-alpha), where mu is scaled. The first step's
             order is the natural one. The paper's h, an output of the encoder, is the context.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 5
        Number of MADE layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each network, see :class:`MADE`.
    **options
        The other options of :class:`MAF`, with its defaults: ``orders``, ``context_dim``,
        ``activation``, ``transformer``, ``batch_norm``, ``degrees``, ``periodic``. The last of the
        ``orders`` is that of the first step from the noise.

    Returns
    -------
    Invert

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.IAF(2, layers=2)
    >>> flow == nfref.Invert(nfref.MAF(2, layers=2))
    True
    """
    return Invert(MAF(dim, layers, hidden, **options))
