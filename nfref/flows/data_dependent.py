"""Layers that keep statistics of the data among their parameters.

Actnorm and batch norm keep means and scales of the rows that pass through them, residual blocks the
singular vectors of their weights. Gradients do not learn these. At the stages of a fit
:func:`adapt` lets a flow compute them from rows, and in between :func:`in_training` returns the
flow as it acts on training batches.
"""

from functools import cached_property, partial
from typing import TypeGuard

from nfref.density import Density
from nfref.flow import Flow, context_for
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Params, Sequence
from nfref.runtime.batching import in_blocks
from nfref.runtime.checks import check_choice

STAGES = ("start", "batch", "evaluation")


class Adaptive(Flow):
    """A flow that learns from rows, or holds flows that may.

    A subclass implements ``_adapt(params, x, context, stage)``, which returns the same object if
    it learns nothing at that stage, and ``_in_training()`` if it acts differently on batches. If
    it learns only from the mean and variance of the rows, it implements
    ``_with_moments(params, mean, variance, stage)``.
    """

    _keeps_statistics = True
    _with_moments: Any = None

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
) -> Any:
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
        Stage of a fit, which decides the layers that learn. "start", before training: actnorm and
        batch norm start from the rows. "batch", after a training step on the rows: batch norm
        mixes them into its running statistics, and a residual block updates the singular vectors
        of its weights. "evaluation", before scoring or sampling, with all training rows: batch
        norm with the statistics of the training set takes them, each layer from the rows as they
        reach it in evaluation.

    Returns
    -------
    params : nested dicts and lists of arrays
        The new parameters; the same object if no layer learns at this stage.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or does not hold numbers.
    """
    check_choice("stage", stage, STAGES)
    checked, x, context = flow._checked(params, "x", x, context)
    if not isinstance(flow, Density):
        return adapted(flow, checked, x, context, stage)
    found = adapted(flow.flow, checked["flow"], x, context, stage)
    return checked if found is checked["flow"] else {**checked, "flow": found}


def in_training(flow: Any) -> Any:
    """Return a flow or density as it acts on training batches.

    The result is the flow itself, unless batch norm or a residual block is inside.
    """
    if isinstance(flow, Density):
        inner = in_training(flow.flow)
        return flow if inner is flow.flow else Density(inner, flow.base)
    return flow._in_training() if isinstance(flow, Adaptive) else flow


def adapted(flow: Flow, params: Any, x: Array, context: Array | None, stage: str) -> Any:
    """Apply :func:`adapt` to a flow inside another, without checks."""
    return flow._adapt(params, x, context, stage) if isinstance(flow, Adaptive) else params


def keeps_statistics(flow: Flow) -> TypeGuard[Adaptive]:
    """Return whether :func:`adapt` could change any parameters of a flow."""
    return isinstance(flow, Adaptive) and flow._keeps_statistics


# Compositions -----------------------------------------------------------------------------


class AdaptiveMembers(Adaptive):
    """Flows one after the other, some of which may learn from rows."""

    flows: Sequence[Flow]
    _chained: Callable[[Sequence[Flow]], Flow]

    def _adapt(self, params, x, context, stage):
        if (found := self._adapt_by_moments(params, x, context, stage)) is not None:
            return found
        found = list(params)
        for k, flow in reversed(list(enumerate(self.flows))):
            own = context_for(flow, context)
            found[k] = adapted(flow, params[k], x, own, stage)
            if not any(map(keeps_statistics, self.flows[:k])):
                break
            # The next flow gets the rows that the adapted flow returns at this stage.
            x = (
                in_blocks(partial(_latent, flow, found[k]), x, own)  # to bound the memory
                if stage == "evaluation"
                else _latent(in_training(flow), found[k], x, own)
            )
        unchanged = all(new is old for new, old in zip(found, params))
        return params if unchanged else found

    def _adapt_by_moments(self, params, x, context, stage):
        """Adapt batch norms in one pass of a twin; return None if that is not possible."""
        norms = [(flow, path) for flow, _, path in self.members(-1) if keeps_statistics(flow)]
        if (
            stage == "evaluation"
            or not len(x)
            or not norms
            or any(norm._with_moments is None for norm, _ in norms)
        ):
            return None
        moments = dispatch.run(
            "batch_moments", lambda *_: None, in_training(self), params, x, context
        )
        if moments is None or {path for _, path in norms} != set(moments):
            return None
        for norm, path in norms:
            own = trees.at_path(params, path)
            params = trees.with_part(
                params, path, norm._with_moments(own, *moments[path][:, : norm.dim], stage)
            )
        return params

    @property
    def _keeps_statistics(self):
        return any(map(keeps_statistics, self.flows))

    def _in_training(self):
        return self._training

    @cached_property
    def _training(self):
        members = tuple(map(in_training, self.flows))
        unchanged = all(new is old for new, old in zip(members, self.flows))
        return self if unchanged else self._chained(members)


def _latent(flow, params, x, context=None):
    return dispatch.run("flow", Flow._apply, flow, -1, params, x, context)[0]
