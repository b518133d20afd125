"""Autoregressive flows whose transformers are monotone networks.

Sources: Huang, Krueger, Lacoste, Courville 2018, arXiv:1804.00779 (NAF); Wehenkel, Louppe 2019,
arXiv:1908.05164 (UMNN).

The monotone maps are in nfref/transformers/deep_sigmoid.py and monotone_integral.py, the
autoregressive formulas in nfref/flows/autoregressive.py. Cost: from x to z one pass per layer, in
closed form or by one quadrature; from z to x D passes, each with a root search.
"""

from dataclasses import dataclass
from functools import cached_property

from nfref.flows.autoregressive import MADE, check_orders, orders_of
from nfref.flows.composition import Composition, with_fields_of
from nfref.runtime.annotations import Sequence
from nfref.runtime.checks import check_count
from nfref.transformers.deep_sigmoid import DeepSigmoid
from nfref.transformers.monotone_integral import MonotoneIntegral
from nfref.transformers.transformer import Transformer


class _Stack(Composition):
    """Layers of MADE with the transformer of a subclass."""

    hidden: Sequence[int]
    activation: str
    layers: int
    orders: str | Sequence[Sequence[int]]
    _transformer: Transformer

    _converters = {**MADE._converters, "layers": check_count}

    def __post_init__(self):
        super().__post_init__()
        self._set(orders=check_orders(self.orders, self.layers))
        self._layer(None)

    @cached_property
    def flows(self) -> tuple[MADE, ...]:
        return tuple(map(self._layer, orders_of(self.orders, self.dim, self.layers)))

    def _layer(self, order):
        return with_fields_of(self, MADE, transformer=self._transformer, order=order)


@dataclass(frozen=True)
class NAF(_Stack):
    """A neural autoregressive flow: each coordinate passes a mixture of sigmoids and a logit.

    Density takes one pass per layer, without a search; sampling takes roots enclosed for any z.

    Paper:   NAF: its deep sigmoidal flow, conditioned on the coordinates before, with the order
             reversed from layer to layer as in MAF.
    Differs: paper: networks are those of :class:`nfref.MADE`. Code (torchkit): the numbers a
             coordinate takes come from a further layer, which the coordinates share, and its
             networks are conditional MADEs with ELU. See :class:`nfref.DeepSigmoid` for the rest.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 5
        Number of layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each network, see :class:`nfref.MADE`.
    units : int, default 8
        J, the sigmoids of each transformer.
    context_dim : int, default 0
        Context features C.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    orders : "alternate", "natural" or one order per layer, default "alternate"
        As for :class:`nfref.MAF`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.NAF(2, layers=2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> z, log_det = flow.inverse(params, np.zeros((3, 2)))
    >>> z.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    layers: int = 5
    hidden: Sequence[int] = (64, 64)
    units: int = 8
    context_dim: int = 0
    activation: str = "tanh"
    orders: str | Sequence[Sequence[int]] = "alternate"

    @property
    def _transformer(self):
        return DeepSigmoid(self.units)


@dataclass(frozen=True)
class UMNN(_Stack):
    """An autoregressive flow: each coordinate passes the integral of a positive network.

    A new flow is the identity. Density takes one quadrature per coordinate, sampling takes roots.

    Paper:   UMNN: UMNN-MAF, its monotonic networks conditioned on the coordinates before, data to
             latent.
    Differs: see :class:`nfref.MonotoneIntegral`. The order is reversed from layer to layer.

    Parameters
    ----------
    dim : int
        D, at least 1.
    layers : int, default 3
        Number of layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each conditioner, see :class:`nfref.MADE`.
    units : int, default 8
        J, the hidden units of each integrand.
    nodes : int, default 64
        n: each integral takes n + 1 values of the integrand; even, and at least 8 B.
    bound : float, default 8.0
        B: outside [-B, B] the maps are lines.
    context_dim : int, default 0
        Context features C.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
        Activation of the conditioner.
    orders : "alternate", "natural" or one order per layer, default "alternate"
        As for :class:`nfref.MAF`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.UMNN(2, layers=2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> z, log_det = flow.inverse(params, np.zeros((3, 2)))
    >>> z.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    layers: int = 3
    hidden: Sequence[int] = (64, 64)
    units: int = 8
    nodes: int = 64
    bound: float = 8.0
    context_dim: int = 0
    activation: str = "tanh"
    orders: str | Sequence[Sequence[int]] = "alternate"

    @property
    def _transformer(self):
        return MonotoneIntegral(self.units, self.nodes, self.bound)
