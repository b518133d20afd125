"""Amortization: a network makes the parameters of a flow out of the context, whatever the flow.

With theta the parameters of a flow f_theta, all of them as one vector,

    x = f_theta(c)(z),    theta(c) = theta_0 + network(c),

as inference networks do for planar and radial flows (Rezende and Mohamed 2015, section 4.2). So
every family has a conditional density p(x | c), those too whose own formulas take no context.

The rows of one call have different parameters then, and a formula takes one set a call: rows are
sorted by context, and each different context costs a call of the inner flow. That is cheap for
classes and for many draws under one context; with a continuous context it is one call a row (0.4
to 1.5 ms each at D = 2), where a flow that takes a context itself has one for all rows.
"""

from dataclasses import dataclass, field
from functools import cached_property

import autograd.numpy as np
import numpy
from autograd.extend import Box

from nfref import params as trees
from nfref.checks import check_choice, check_count, check_hidden
from nfref.flow import Flow
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import init_mlp, mlp


def same_rows(context):
    """The places of each different row of ``context``, (N, C), as a list of arrays of int.

    While autograd watches the context every row stands for itself: rows that are equal have
    gradients of their own.
    """
    if isinstance(context, Box):
        return list(numpy.arange(len(context))[:, None])
    _, kind = numpy.unique(context, axis=0, return_inverse=True)
    kind = kind.ravel()
    order = numpy.argsort(kind, kind="stable")
    return numpy.split(order, numpy.flatnonzero(numpy.diff(kind[order])) + 1)


@dataclass(frozen=True)
class Amortized(Flow):
    """Any flow, conditioned on a context by a network that makes its parameters.

    It starts as the flow itself does, for every context: the network's last layer is zero. It
    passes no :meth:`Flow.adapt` on to the flow inside.

    Parameters
    ----------
    flow : Flow
        With parameters, without a context, and the same in training as afterwards: nothing that
        is estimated may stand among the parameters that the network moves, as the variances of
        :class:`nfref.BatchNorm` do, or the singular vectors of a :class:`nfref.ResidualBlock`
        unless it has ``iterations=0``.
    context_dim : int
        C, at least 1.
    hidden : sequence of int, default (32,)
        Hidden widths of the network. Its output has as many numbers as the flow has parameters.
    activation : {"relu", "tanh", "softplus"}, default "tanh"

    Notes
    -----
    Parameters in ``params``: ``flow``, theta_0 as the flow itself has it, and ``network``.
    """

    flow: Flow
    context_dim: int = field()      # not a flow's usual 0
    hidden: tuple = (32,)
    activation: str = "tanh"

    def __post_init__(self):
        if not isinstance(self.flow, Flow):
            raise TypeError(f"Amortized: expected a flow, got {type(self.flow).__name__}")
        if self.flow.context_dim:
            raise ValueError("flow: expected one without a context, "
                             f"got context_dim {self.flow.context_dim}")
        if self.flow.training() is not self.flow:
            raise ValueError("flow: expected one that is the same in training as afterwards, "
                             f"got a {type(self.flow).__name__} that is not")
        check_count("context_dim", self.context_dim)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))
        check_choice("activation", self.activation, ACTIVATIONS)
        if not self._size:
            raise ValueError("flow: expected one with parameters, "
                             f"got a {type(self.flow).__name__} without any")

    @property
    def dim(self):
        return self.flow.dim

    @cached_property
    def _packing(self):
        """How many parameters the flow has, and the function that puts a vector of them in place.
        """
        vector, unflatten = trees.flatten(self.flow._init(numpy.random.default_rng(0)))
        return len(vector), unflatten

    @property
    def _size(self):
        return self._packing[0]

    def _init(self, rng):
        sizes = (self.context_dim, *self.hidden, self._size)
        return {"flow": self.flow._init(rng), "network": init_mlp(rng, sizes)}

    def parameters(self, params, shift):
        """theta_0 + shift for one (P,) row of the network's output, nested as the flow has them."""
        return trees.tree_map(lambda own, change: own + change, params["flow"],
                              self._packing[1](shift))

    def _rows(self, formula, params, rows, context):
        if not len(rows):
            return formula(params["flow"], rows, None)
        groups = same_rows(context)
        shifts = mlp(params["network"], context[numpy.array([group[0] for group in groups])],
                     self.activation)
        parts = [formula(self.parameters(params, shifts[k]), rows[group], None)
                 for k, group in enumerate(groups)]
        back = numpy.argsort(numpy.concatenate(groups))
        return tuple(np.concatenate(part)[back] for part in zip(*parts))

    def _forward(self, params, z, context):
        return self._rows(self.flow._forward, params, z, context)

    def _inverse(self, params, x, context):
        return self._rows(self.flow._inverse, params, x, context)
