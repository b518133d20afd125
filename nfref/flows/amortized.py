r"""Amortization: a network computes the parameters of any flow from the context.

With theta the parameters of a flow f_theta, all of them as one vector,

    .. math::

        x = f_{\theta(c)}(z), \qquad \theta(c) = \theta_0 + \mathrm{network}(c),

as inference networks do for planar and radial flows (Rezende and Mohamed 2015, section 4.2). So
every family has a conditional density p(x | c), even if its own formulas take no context.

The rows of one call then have different parameters, and a formula takes one set per call. So
rows are sorted by context, and each different context costs one call of the inner flow. That is
cheap for classes and for many samples under one context. A continuous context costs one call per
row: 0.1 ms (a radial layer) to 0.5 ms (a MAF of five layers), and 4 to 9 ms with a gradient. To
train on such a context, take a flow that reads it itself, with one call for all rows.
"""

from dataclasses import dataclass, field
from functools import cached_property

import autograd.numpy as np
import numpy

from nfref.flow import Flow, check_square
from nfref.flows.data_dependent import in_training
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import init_mlp, mlp
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.autograd_internals import Box
from nfref.runtime.checks import check_count, check_hidden, one_of


def same_rows(context: Array) -> list[Array]:
    """Return the places of each different row of ``context``, (N, C), as arrays of int.

    If autograd differentiates by the context, every row is a group of its own: equal rows have
    separate gradients.
    """
    if isinstance(context, Box):
        return list(numpy.arange(len(context))[:, None])
    _, kind = numpy.unique(context, axis=0, return_inverse=True)
    kind = kind.ravel()
    order = numpy.argsort(kind, kind="stable")
    return numpy.split(order, numpy.flatnonzero(numpy.diff(kind[order])) + 1)


@dataclass(frozen=True)
class Amortized(Flow):
    """Any flow, conditioned on a context by a network that computes its parameters.

    It starts as the flow itself, for every context: the network's last layer is zero. It
    does not pass :func:`nfref.adapt` on to the flow inside.

    Parameters
    ----------
    flow : Flow
        A flow with parameters, without a context, that acts in training as in evaluation. The
        network changes all parameters, so none may be an estimate from data: the variances of
        :class:`nfref.BatchNorm` are, and so are the singular vectors of a
        :class:`nfref.ResidualBlock` unless it has ``iterations=0``.
    context_dim : int
        C, at least 1.
    hidden : sequence of int, default (32,)
        Hidden widths of the network. Its output has as many numbers as the flow has parameters.
    activation : {"relu", "tanh", "softplus"}, default "tanh"

    Notes
    -----
    Parameters in ``params``: ``flow``, theta_0 in the structure of the flow, and ``network``.
    """

    flow: Flow
    context_dim: int = field()  # without the default 0 of other flows
    hidden: Sequence[int] = (32,)
    activation: str = "tanh"

    _converters = {
        "flow": check_square,
        "context_dim": check_count,
        "hidden": check_hidden,
        "activation": one_of(ACTIVATIONS),
    }

    def __post_init__(self):
        super().__post_init__()
        if self.flow.context_dim:
            raise ValueError(
                f"flow: expected one without a context, got context_dim {self.flow.context_dim}"
            )
        if in_training(self.flow) is not self.flow:
            raise ValueError(
                "flow: expected one that is the same in training as afterwards, "
                f"got a {type(self.flow).__name__} that is not"
            )
        if not trees.count(self._template):
            raise ValueError(
                f"flow: expected one with parameters, got a {type(self.flow).__name__} without any"
            )

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return self.flow.dim

    @cached_property
    def _template(self):
        """Initial parameters of the flow, for their structure."""
        return self.flow._init(numpy.random.default_rng(0))

    def _init(self, rng):
        sizes = (self.context_dim, *self.hidden, trees.count(self._template))
        return {"flow": self.flow._init(rng), "network": init_mlp(rng, sizes)}

    def parameters(self, params: dict[str, Any], context: Array) -> list[Any]:
        """Return theta(c) for each row of the context, (N, C): a list of the flow's parameters."""
        start = [np.ravel(own) for own in trees.matching(self._template, params["flow"])]
        theta = np.concatenate(start) + mlp(params["network"], context, self.activation)
        _, unflatten = trees.flatten(self._template)
        return [unflatten(theta[n]) for n in range(len(context))]

    def _rows(self, formula, params, rows, context):
        if not len(rows):
            return formula(params["flow"], rows, None)
        groups = same_rows(context)
        thetas = self.parameters(params, context[numpy.array([group[0] for group in groups])])
        parts = [formula(theta, rows[group], None) for theta, group in zip(thetas, groups)]
        back = numpy.argsort(numpy.concatenate(groups))
        return tuple(np.concatenate(part)[back] for part in zip(*parts))

    def _forward(self, params, z, context):
        return self._rows(self.flow._forward, params, z, context)

    def _inverse(self, params, x, context):
        return self._rows(self.flow._inverse, params, x, context)
