"""Neural spline flows: couplings or autoregressive layers with rational-quadratic splines.

Source: Durkan, Bekasov, Murray, Papamakarios 2019, arXiv:1906.04032 (NSF).

The spline is in nfref/transformers/rational_quadratic.py, the formulas of the layers are in
nfref/flows/coupling.py and nfref/flows/autoregressive.py. Cost: a coupling takes one pass of its
network in either direction, an autoregressive layer one from x to z and D from z to x.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.flow import Flow
from nfref.flows.autoregressive import MADE, check_orders, natural_order, orders_of
from nfref.flows.composition import Composition
from nfref.flows.coupling import Coupling, check_can_couple
from nfref.flows.linear import LULinear
from nfref.runtime.annotations import Sequence
from nfref.runtime.checks import check_count, one_of
from nfref.transformers.rational_quadratic import RationalQuadratic, check_bound


@dataclass(frozen=True)
class NSF(Composition):
    """A neural spline flow.

    It transforms each coordinate within [-B, B] and is the identity outside.

    Paper:   NSF v2, section 3.1: the spline, with linear tails. Its two flows are that of
             couplings and the autoregressive one, data to latent. The published code puts a
             linear map before each of them and one after the last.
    Differs: paper: B = 3; here 8, which fits standardised tables better.
             Code (nsf): the linear maps are a random permutation times a learned L U, which
             starts as the identity. Here ``orders`` stand for permutations, and ``linear="lu"``
             gives learned maps that start as random rotations, the last of them next to the
             base. Its networks are residual, with dropout and batch norm; here they are plain.

    Parameters
    ----------
    dim : int
        D; for couplings at least 2.
    layers : int, default 5
        Number of spline layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each network, see :class:`nfref.MADE` for the autoregressive ones.
    bins : int, default 8
        K, the bins of each spline.
    coupling : bool, default False
        True for couplings, False for autoregressive layers.
    context_dim : int, default 0
        Context features C.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    bound : float or sequence of float, default 8.0
        B: splines act within [-B, B]. Tables have rows many standard deviations out, and a
        spline does not change these beyond B. Autoregressive layers take one B for each
        coordinate too.
    orders : "alternate", "natural" or one order per layer, default "alternate"
        For autoregressive layers as for :class:`nfref.MAF`. A coupling keeps every second
        coordinate of its order and changes the others: the layer next to the data keeps those at
        the places 1, 3, ..., the next one those at 0, 2, ..., and so on alternately. For couplings
        both "alternate" and "natural" give every layer the natural order.
    linear : {"none", "lu"}, default "none"
        "lu" puts a :class:`nfref.LULinear` on either side of every layer.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.NSF(2, layers=2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    layers: int = 5
    hidden: Sequence[int] = (64, 64)
    bins: int = 8
    coupling: bool = False
    context_dim: int = 0
    activation: str = "tanh"
    bound: float | Sequence[float] = 8.0
    orders: str | Sequence[Sequence[int]] = "alternate"
    linear: str = "none"

    _converters = {
        **MADE._converters,
        "layers": check_count,
        "linear": one_of(("none", "lu")),
        "bound": check_bound,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.coupling:
            check_can_couple("NSF", self.dim)
        self._set(orders=check_orders(self.orders, self.layers))
        if isinstance(self.bound, tuple) and (self.coupling or len(self.bound) != self.dim):
            expected = "one number for couplings" if self.coupling else f"{self.dim} numbers"
            raise ValueError(f"bound: expected {expected}, got {len(self.bound)}")
        self._layer(natural_order(self.dim), 1)

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The spline layers and the linear maps beside them, from latent to data."""
        orders = (
            orders_of(self.orders, self.dim, self.layers)
            if not self.coupling or not isinstance(self.orders, str)
            else (natural_order(self.dim),) * self.layers
        )
        splines = [self._layer(order, self.layers - k) for k, order in enumerate(orders)]
        if self.linear == "none":
            return tuple(splines)
        mixing = LULinear(self.dim)
        return (mixing, *(flow for spline in splines for flow in (spline, mixing)))

    def _layer(self, order, number):
        """Return the spline layer that is ``number``-th from the data, counted from 1."""
        spline = RationalQuadratic(self.bins, self.bound)
        if not self.coupling:
            return MADE(self.dim, self.hidden, spline, order, self.context_dim, self.activation)
        mask = np.array(order) % 2 == number % 2
        return Coupling(mask, spline, self.hidden, self.context_dim, self.activation)
