"""Autoregressive flows: MADE, MAF and IAF.

Sources: Germain et al. 2015, arXiv:1502.03509 (MADE); Papamakarios, Pavlakou, Murray 2017,
arXiv:1705.07057 (MAF); Kingma et al. 2016, arXiv:1606.04934 (IAF).

Coordinate i is shifted and scaled by amounts that depend on the coordinates before it:

    x_i = z_i exp(alpha_i) + mu_i,    (mu_i, alpha_i) = f_i(x_1, ..., x_{i-1}).

From x to z all (mu, alpha) are known at once: one pass of a masked network. From z to x
each coordinate has to wait for those before it: D passes.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.checks import check_choice, check_count, check_hidden, check_positive, check_rng
from nfref.flow import Composition, Flow, Invert
from nfref.flows.affine import affine_forward, affine_inverse
from nfref.flows.batch_norm import BatchNorm
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.masked import made_masks, masked_mlp
from nfref.networks.mlp import bounded, init_mlp, with_context

# Formulas ---------------------------------------------------------------------------------


def autoregressive_inverse(x, conditioner):
    """z_i = (x_i - mu_i) exp(-alpha_i),  log |det dz/dx| = -sum_i alpha_i.

    MAF, eq. 4-5. One pass. ``conditioner`` maps rows (N, D) to (mu, alpha), each (N, D),
    where row entries i depend on coordinates before i alone, which makes dz/dx triangular.
    """
    return affine_inverse(x, *conditioner(x))


def autoregressive_forward(z, conditioner):
    """x_i = z_i exp(alpha_i) + mu_i one coordinate after the other (MAF, eq. 3). D passes.

    Every pass applies the map to the x known so far. After pass k the k coordinates that
    come first are right, since they look only at coordinates that were right before; so
    after D passes all are. Where the others start does not matter.
    """
    x = np.zeros_like(z)
    for _ in range(z.shape[1]):
        mu, alpha = conditioner(x)
        x, log_det = affine_forward(z, mu, alpha)
    return x, log_det


# Orders -----------------------------------------------------------------------------------


def natural_order(dim):
    """Coordinate i comes i-th."""
    return tuple(range(dim))


def reversed_order(dim):
    """The last coordinate comes first."""
    return tuple(reversed(range(dim)))


def random_orders(rng, dim, layers):
    """One random order for each of ``layers`` layers, for ``MAF(..., orders=...)``.

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
    """One masked autoregressive layer with affine transforms (Papamakarios et al. 2017).

    With a standard normal base it is MADE with Gaussian conditionals.
    Differs from the paper: the log-scale is bounded smoothly, alpha = r / sqrt(1 + (r/B)^2)
    for the network's output r.

    Parameters
    ----------
    dim : int
        D. With D = 1 it is an elementwise affine map of learned shift and scale (functions
        of the context, if there is one).
    hidden : sequence of int
        Hidden widths, each at least the number of degrees that the masks need: D - 1, or
        D with a context.
    order : sequence of int, optional
        order[i] is the place of coordinate i in the autoregressive order; natural if omitted.
    context_dim : int
        Context features C that every shift and scale may depend on.
    activation : {"relu", "tanh", "softplus"}
    bound : float
        B: log-scales stay within (-B, B).
    """

    dim: int
    hidden: tuple = (64, 64)
    order: tuple = None
    context_dim: int = 0
    activation: str = "relu"
    bound: float = 5.0

    def __post_init__(self):
        check_count("dim", self.dim)
        check_count("context_dim", self.context_dim, minimum=0)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_positive("bound", self.bound)
        order = natural_order(self.dim) if self.order is None else tuple(map(int, self.order))
        if sorted(order) != list(range(self.dim)):
            raise ValueError(f"order: expected a permutation of 0 ... {self.dim - 1}, got {order}")
        object.__setattr__(self, "order", order)
        hidden = check_hidden(self.hidden)
        needed = self.dim if self.context_dim else self.dim - 1
        if any(width < needed for width in hidden):
            raise ValueError(f"hidden: expected at least {needed} units a layer, so that every "
                             f"coordinate can see all before it; got {hidden}")
        object.__setattr__(self, "hidden", hidden)

    @cached_property
    def masks(self):
        """(in, out) bool arrays, one a layer of the network; see :func:`made_masks`."""
        return made_masks(self.order, self.hidden, 2, self.context_dim)

    def _init(self, rng):
        return {"net": init_mlp(rng, (self.dim + self.context_dim, *self.hidden, 2 * self.dim))}

    def conditioner(self, params, context):
        """The function x -> (mu, alpha), each (N, D)."""
        def shift_and_log_scale(x):
            raw = masked_mlp(params["net"], self.masks, with_context(x, context), self.activation)
            return raw[:, :self.dim], bounded(raw[:, self.dim:], self.bound)
        return shift_and_log_scale

    def _forward(self, params, z, context):
        return autoregressive_forward(z, self.conditioner(params, context))

    def _inverse(self, params, x, context):
        return autoregressive_inverse(x, self.conditioner(params, context))


# Stacks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MAF(Composition):
    """Masked autoregressive flow: density in one pass a layer, sampling in D.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int
        Number of MADE layers.
    hidden : sequence of int
        Hidden widths of each network, see :class:`MADE`.
    orders : "alternate", "natural" or one order a layer
        "alternate" reverses the order from layer to layer. Random orders are made by
        :func:`random_orders`.
    context_dim : int
        Context features C.
    activation : {"relu", "tanh", "softplus"}
    bound : float
        Log-scales of each layer stay within (-bound, bound).
    batch_norm : bool
        Put a :class:`BatchNorm` after every layer (Papamakarios et al. 2017, section 3.4).
    """

    dim: int
    layers: int = 5
    hidden: tuple = (64, 64)
    orders: object = "alternate"
    context_dim: int = 0
    activation: str = "relu"
    bound: float = 5.0
    batch_norm: bool = False

    def __post_init__(self):
        check_count("dim", self.dim)
        check_count("layers", self.layers)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))
        if isinstance(self.orders, str):
            check_choice("orders", self.orders, ("alternate", "natural"))
            return
        orders = tuple(tuple(map(int, order)) for order in self.orders)
        if len(orders) != self.layers:
            raise ValueError(f"orders: expected {self.layers}, one a layer; got {len(orders)}")
        object.__setattr__(self, "orders", orders)

    def _order(self, layer):
        if not isinstance(self.orders, str):
            return self.orders[layer]
        reverse = self.orders == "alternate" and layer % 2 == 1
        return reversed_order(self.dim) if reverse else natural_order(self.dim)

    @cached_property
    def flows(self):
        mades = (MADE(self.dim, self.hidden, self._order(k), self.context_dim, self.activation,
                      self.bound) for k in range(self.layers))
        if not self.batch_norm:
            return tuple(mades)
        return tuple(flow for made in mades for flow in (made, BatchNorm(self.dim)))


def IAF(dim, layers=5, hidden=(64, 64), **options):  # a constructor, named like its fellows
    """Inverse autoregressive flow: sampling in one pass a layer, density in D.

    It is ``Invert(MAF(dim, layers, hidden, **options))`` and nothing more.
    Differs from the paper: z -> x is (z - mu) exp(-alpha) where Kingma et al. (2016, eq. 9)
    write sigma z + mu; the two are the same family with sigma = exp(-alpha).

    Parameters
    ----------
    dim, layers, hidden, **options
        As for :class:`MAF`.

    Returns
    -------
    Invert
    """
    return Invert(MAF(dim, layers, hidden, **options))
