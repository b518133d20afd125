"""Layers that keep statistics of the data among their parameters.

Actnorm and batch norm keep means and scales of the rows that pass through them, residual blocks the
singular vectors of their weights. These are not learned by gradients: at the stages of a fit
:func:`adapt` lets a flow compute them from rows, and in between :func:`in_training` gives the flow
as it acts on training batches.
"""

from nfref.density import Density
from nfref.flow import Flow
from nfref.runtime.annotations import Array, Params
from nfref.runtime.checks import check_choice

STAGES = ("start", "batch", "evaluation")


class Adaptive(Flow):
    """A flow that learns from rows, or holds flows that may.

    A subclass implements ``_adapt(params, x, context, stage)``, which returns the same object where
    nothing is learned at that stage, and ``_in_training()`` if it acts differently on batches.
    """

    _keeps_statistics = True

    def _adapt(self, params, x, context, stage):
        return params

    def _in_training(self):
        return self


def adapt(
    flow: Flow | Density,
    params: Params,
    x: Array,
    context: Array | None = None,
    stage: str = "batch",
) -> Params:
    """Let layers that keep statistics of the data learn from rows.

    Nothing is changed in place. Cost: one pass from x to z.

    Parameters
    ----------
    flow : Flow or Density
    params : nested dicts and lists of arrays
    x : (N, D) array
        Data rows.
    context : (N, C) array, optional
    stage : {"start", "batch", "evaluation"}
        Of a fit, and so which layers learn. "start", before training: actnorm and batch norm
        start from the rows. "batch", after a step of training on the rows: batch norm mixes them
        into its running statistics, and a residual block follows the singular vectors of its
        weights. "evaluation", before rows are scored or drawn, with all training rows: batch norm
        with the training set's statistics takes them, each layer from the rows as they come to it
        in evaluation.

    Returns
    -------
    params : nested dicts and lists of arrays
        The new parameters; the same object where no layer learns at this stage.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or does not hold numbers.
    """
    check_choice("stage", stage, STAGES)
    params, x, context = flow._checked(params, "x", x, context)
    if not isinstance(flow, Density):
        return adapted(flow, params, x, context, stage)
    found = adapted(flow.flow, params["flow"], x, context, stage)
    return params if found is params["flow"] else {**params, "flow": found}


def in_training(flow):
    """A flow or density as it acts on training batches.

    It is the flow itself, unless batch norm or a residual block is inside.
    """
    if isinstance(flow, Density):
        inner = in_training(flow.flow)
        return flow if inner is flow.flow else Density(inner, flow.base)
    return flow._in_training() if isinstance(flow, Adaptive) else flow


def adapted(flow, params, x, context, stage):
    """:func:`adapt` of a flow inside of another, without checks."""
    return flow._adapt(params, x, context, stage) if isinstance(flow, Adaptive) else params


def keeps_statistics(flow):
    """Whether there is anything that :func:`adapt` could change."""
    return isinstance(flow, Adaptive) and flow._keeps_statistics
