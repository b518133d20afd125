"""Flows made of flows: one after the other, and inverted."""

from dataclasses import dataclass, fields, replace

import autograd.numpy as np

from nfref.flow import Flow, check_flow, check_square, context_for, maps_as
from nfref.flows.data_dependent import Adaptive, AdaptiveMembers, in_training
from nfref.runtime.annotations import Any, Iterable, Sequence


class Composition(AdaptiveMembers):
    """Flows one after the other; a subclass provides them as the tuple ``flows``.

    ``forward`` applies them in list order, ``inverse`` in reverse order, and the
    log-determinants add up: det(J_K ... J_1) = det J_K ... det J_1. Parameters are the
    list of the members' parameters.
    """

    flows: Sequence[Flow]

    def members(self, direction: int = 1) -> list[tuple[Flow, int, tuple]]:
        """Return the members' members, in the order of execution; see :meth:`Flow.members`."""
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

    def _chained(self, flows):
        return Chain(flows)


def with_fields_of(whole: Any, kind: Any, **own: Any) -> Any:
    """Return a flow of this kind: the fields that it shares with ``whole``, and its own ones."""
    shared = {field.name for field in fields(whole)} & {field.name for field in fields(kind)}
    return kind(**{name: getattr(whole, name) for name in shared} | own)


def check_flows(name: str, flows: Iterable[Any]) -> tuple[Flow, ...]:
    """Return flows as a tuple."""
    return tuple(check_flow(name, flow) for flow in flows)


@dataclass(frozen=True, init=False)
class Chain(Composition):
    """A chain of flows, itself a flow: ``forward`` applies the members in list order.

    Parameters
    ----------
    flows : sequence of Flow
        At least one, all of the same ``dim``; the last one may be injective. All flows that take a
        context have the same ``context_dim``. ``Chain(one, other)`` is ``Chain([one, other])``.
    """

    flows: Sequence[Flow]

    _converters = {"flows": check_flows}

    def __init__(self, *members: Any, flows: Iterable[Flow] = ()) -> None:
        one_list = len(members) == 1 and not isinstance(members[0], Flow)
        self._set(flows=members[0] if one_list else members or flows)
        self.__post_init__()

    def __post_init__(self):
        super().__post_init__()
        if not self.flows:
            raise ValueError("Chain: expected at least one flow, got none")
        for flow in self.flows[:-1]:
            check_square("Chain, before its last member", flow)
        dims = [flow.latent_dim for flow in self.flows]
        if len(set(dims)) != 1:
            raise ValueError(f"Chain: expected flows of one common dim, got dims {dims}")
        contexts = {flow.context_dim for flow in self.flows} - {0}
        if len(contexts) > 1:
            raise ValueError(
                f"Chain: expected flows of one common context_dim, got {sorted(contexts)}"
            )

    @property
    def dim(self) -> int:
        """The number of coordinates D of x."""
        return self.flows[-1].dim

    @property
    def latent_dim(self) -> int:
        """The number of coordinates of z; only an injective last flow makes it less than D."""
        return self.flows[-1].latent_dim

    @property
    def context_dim(self) -> int:
        """The number of context features C of the flows that take a context."""
        return max(flow.context_dim for flow in self.flows)


class Wrapped(Flow):
    """A flow around another one, ``flow``, with its context and its parameters."""

    flow: Flow

    @property
    def context_dim(self) -> int:
        """The number of context features C of the flow inside."""
        return self.flow.context_dim

    def _init(self, rng):
        return self.flow._init(rng)

    def _in_training(self):
        inner = in_training(self.flow)
        return self if inner is self.flow else replace(self, flow=inner)


@dataclass(frozen=True)
class Invert(Wrapped, Adaptive):
    """An inverted flow: its ``forward`` is the other's ``inverse``.

    It passes no :func:`nfref.adapt` on: data rows reach the inner flow on its latent side. So batch
    norm and the other layers inside that learn from rows keep their statistics.

    Parameters
    ----------
    flow : Flow
    """

    flow: Flow

    _converters = {"flow": check_square}

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return self.flow.dim

    def members(self, direction: int = 1) -> list[tuple[Flow, int, tuple]]:
        """Return the flow's members, in the other direction."""
        if not maps_as(self, Invert):
            return super().members(direction)
        return self.flow.members(-direction)

    def _forward(self, params, z, context):
        return self.flow._inverse(params, z, context)

    def _inverse(self, params, x, context):
        return self.flow._forward(params, x, context)

    _keeps_statistics = False
