"""Flows made of flows: one after the other, and turned around."""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow, check_flow, context_for, maps_as
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.data_dependent import Adaptive, adapted, in_training, keeps_statistics
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any
from nfref.runtime.batching import in_blocks


class Composition(Adaptive):
    """Flows one after the other; a subclass provides them as the tuple ``flows``.

    ``forward`` applies them in list order, ``inverse`` in reverse order, and the
    log-determinants add up: det(J_K ... J_1) = det J_K ... det J_1. Parameters are the
    list of the members' parameters.
    """

    flows: tuple

    def members(self, direction: int = 1) -> list[Any]:
        if not maps_as(self, Composition):
            return super().members(direction)
        return [
            (member, sign, (k, *path))
            for k, flow in list(enumerate(self.flows))[::direction]
            for member, sign, path in flow.members(direction)
        ]

    def _init(self, rng):
        return [flow._init(rng) for flow in self.flows]

    def _forward(self, params, z, context):
        total = np.zeros(len(z), dtype=z.dtype)
        for k, flow in enumerate(self.flows):
            z, log_det = flow._forward(params[k], z, context_for(flow, context))
            total = total + log_det
        return z, total

    def _inverse(self, params, x, context):
        total = np.zeros(len(x), dtype=x.dtype)
        for k, flow in reversed(list(enumerate(self.flows))):
            x, log_det = flow._inverse(params[k], x, context_for(flow, context))
            total = total + log_det
        return x, total

    def _adapt(self, params, x, context, stage):
        if (found := self._with_moments(params, x, context, stage)) is not None:
            return found
        found = list(params)
        for k, flow in reversed(list(enumerate(self.flows))):
            own = context_for(flow, context)
            found[k] = adapted(flow, params[k], x, own, stage)
            if not any(map(keeps_statistics, self.flows[:k])):
                break
            # The next flow sees these rows as the adapted flow hands them on at this stage.
            x = (
                _latent_in_blocks(flow, found[k], x, own)
                if stage == "evaluation"
                else _latent(in_training(flow), found[k], x, own)
            )
        unchanged = all(new is old for new, old in zip(found, params))
        return params if unchanged else found

    def _with_moments(self, params, x, context, stage):
        """:meth:`_adapt` where only batch norms learn, all in one pass; None elsewhere."""
        norms = [member for member in self.members(-1) if keeps_statistics(member[0])]
        if (
            stage == "evaluation"
            or not len(x)
            or not norms
            or not all(isinstance(norm, BatchNorm) for norm, _, _ in norms)
        ):
            return None
        moments = dispatch.run(
            "batch_moments", lambda *_: None, in_training(self), params, x, context
        )
        if moments is None or {path for _, _, path in norms} != set(moments):
            return None
        for norm, _, path in norms:
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
        return self if unchanged else Chain(members)


def _latent(flow, params, x, context):
    return dispatch.run("flow", Flow._apply, flow, -1, params, x, context)[0]


def _latent_in_blocks(flow, params, x, context):
    """z of all rows of a training set, a block of rows at a time to bound the memory."""
    return in_blocks(lambda x, context=None: _latent(flow, params, x, context), x, context)


def check_flows(name, flows):
    """Flows as a tuple."""
    return tuple(check_flow(name, flow) for flow in flows)


@dataclass(frozen=True)
class Chain(Composition):
    """A chain of flows is a flow: members are applied in list order in ``forward``.

    Parameters
    ----------
    flows : sequence of Flow
        At least one, all of the same ``dim``, and those that take a context of the same
        ``context_dim``.
    """

    flows: tuple

    _converters = {"flows": check_flows}

    def __post_init__(self):
        super().__post_init__()
        if not self.flows:
            raise ValueError("Chain: expected at least one flow, got none")
        dims = [flow.dim for flow in self.flows]
        if len(set(dims)) != 1:
            raise ValueError(f"Chain: expected flows of one common dim, got dims {dims}")
        contexts = {flow.context_dim for flow in self.flows} - {0}
        if len(contexts) > 1:
            raise ValueError(
                f"Chain: expected flows of one common context_dim, got {sorted(contexts)}"
            )

    @property
    def dim(self):
        return self.flows[0].dim

    @property
    def context_dim(self):
        return max(flow.context_dim for flow in self.flows)


@dataclass(frozen=True)
class Invert(Adaptive):
    """A flow turned around: its ``forward`` is the other's ``inverse``.

    It passes no :func:`nfref.adapt` on: data rows reach the inner flow on its latent side, so batch
    norm and the other layers inside that learn from rows keep what they have.

    Parameters
    ----------
    flow : Flow
    """

    flow: Flow

    _converters = {"flow": check_flow}

    @property
    def dim(self):
        return self.flow.dim

    @property
    def context_dim(self):
        return self.flow.context_dim

    def members(self, direction: int = 1) -> list[Any]:
        if not maps_as(self, Invert):
            return super().members(direction)
        return self.flow.members(-direction)

    def _init(self, rng):
        return self.flow._init(rng)

    def _forward(self, params, z, context):
        return self.flow._inverse(params, z, context)

    def _inverse(self, params, x, context):
        return self.flow._forward(params, x, context)

    _keeps_statistics = False

    def _in_training(self):
        inner = in_training(self.flow)
        return self if inner is self.flow else Invert(inner)
