"""The contract that every flow keeps.

A flow is an invertible map between latent variables z and data x with a known
log-determinant. ``forward`` maps z to x (sampling), ``inverse`` maps x to z (density),
and both return the log absolute determinant of the Jacobian *of the direction just
taken*. With p_Z the base density, the change of variables reads

    log p_X(x) = log p_Z(z) + log |det dz/dx|,    (z, log |det dz/dx|) = inverse(x).

Flow objects are frozen configuration (sizes, masks, options). Parameters live outside of
them, in nested dicts and lists of arrays that ``init`` makes and that come first in every
call.

How to read a call: ``forward`` and ``inverse`` check the arguments once, bring them to one
dtype, and call ``_forward`` or ``_inverse``, where a flow does its work, or the compiled twin
of it (``nfref/dispatch.py`` decides). Flows inside other flows are called by ``_forward`` and
``_inverse``, unchecked; so are flow and base of a density, which checks all at its own entry. The
parameters have to be of the shapes that ``init`` makes, which a flow finds out at its first call.
"""

from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property

import autograd.numpy as np
import numpy
from autograd.tracer import getval

from nfref import dispatch
from nfref import params as trees
from nfref.base import Base, StandardNormal
from nfref.blocks import in_blocks, in_parts, merged
from nfref.checks import as_context, as_rows, check_choice, check_count, check_rng
from nfref.structure import Structure


class Flow:
    """An invertible map with an explicit log-determinant.

    A subclass is a frozen dataclass. It has ``dim`` (D, the number of coordinates), may
    have ``context_dim`` (C, the width of the context, 0 for none), and implements
    ``_init(rng)``, ``_forward(params, z, context)`` and ``_inverse(params, x, context)``.

    Attributes
    ----------
    dim : int
        Number of coordinates D of both z and x.
    context_dim : int
        Number of context features C that condition the map; 0 for an unconditional flow.
    _twin : str
        The name of the compiled twin, where there is one. It is read from the very class, not
        inherited, because a subclass may compute something else.
    """

    context_dim = 0

    def init(self, rng):
        """Draw parameters.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        params : nested dicts and lists of float64 arrays
        """
        return self._init(check_rng(rng))

    def forward(self, params, z, context=None):
        """Map latent rows to data rows.

        Parameters
        ----------
        params : nested dicts and lists of arrays
            As made by :meth:`init`.
        z : (N, D) array
            Latent rows. Float32 stays float32; every other real dtype becomes float64.
        context : (N, C) array, optional
            Required exactly when the flow has ``context_dim`` C > 0.

        Returns
        -------
        x : (N, D) array
        log_det : (N,) array
            log |det dx/dz|.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        return dispatch.run("flow", Flow._apply, self, 1, *self._checked(params, "z", z, context))

    def inverse(self, params, x, context=None):
        """Map data rows to latent rows.

        Parameters
        ----------
        params : nested dicts and lists of arrays
            As made by :meth:`init`.
        x : (N, D) array
            Data rows. Float32 stays float32; every other real dtype becomes float64.
        context : (N, C) array, optional
            Required exactly when the flow has ``context_dim`` C > 0.

        Returns
        -------
        z : (N, D) array
        log_det : (N,) array
            log |det dz/dx|.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        return dispatch.run("flow", Flow._apply, self, -1, *self._checked(params, "x", x, context))

    def adapt(self, params, x, context=None, moment="batch"):
        """Let layers that keep statistics of the data learn from rows.

        Nothing is changed in place. Cost: one pass from x to z.

        Parameters
        ----------
        params : nested dicts and lists of arrays
        x : (N, D) array
            Data rows.
        context : (N, C) array, optional
        moment : {"start", "batch", "evaluation"}
            When this is, and so which layers learn. "start", before training: actnorm and
            batch norm start from the rows. "batch", after a step of training on the rows: batch
            norm mixes them into its running statistics, and a residual block follows the
            singular vectors of its weights. "evaluation", before rows are scored or
            drawn, with all training rows: batch norm with the training set's statistics takes
            them, each layer from the rows as they come to it in evaluation.

        Returns
        -------
        params : nested dicts and lists of arrays
            The new parameters; the same object where no layer learns at this moment.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        check_choice("moment", moment, ("start", "batch", "evaluation"))
        params, x, context = self._checked(params, "x", x, context)
        return self._adapt(params, x, context, moment)

    def training(self):
        """The flow as it acts on training batches: itself, unless batch norm or a residual block is
        inside."""
        return self

    def members(self, direction=1):
        """The flow taken apart, down to flows that are not made of others.

        Parameters
        ----------
        direction : {1, -1}
            1 for ``forward``, -1 for ``inverse``.

        Returns
        -------
        list of (flow, direction, path)
            In the order of execution. ``path`` leads from the parameters of the whole to those
            of the member, see :func:`nfref.params.at_path`. Applied one after the other, the
            members are the whole, and their log-determinants add up.
        """
        return [(self, direction, ())]

    def __getstate__(self):
        """What is pickled: the configuration, not what was cached on the way."""
        kept = {field.name for field in fields(self)} if is_dataclass(self) else self.__dict__
        return {name: value for name, value in self.__dict__.items() if name in kept}

    def _init(self, rng):
        return {}

    def _forward(self, params, z, context):
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def _inverse(self, params, x, context):
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")

    def _apply(self, direction, params, rows, context):
        """``_forward`` (direction 1) or ``_inverse`` (-1); a context only where one is taken."""
        formula = self._forward if direction == 1 else self._inverse
        return formula(params, rows, context_for(self, context))

    def _adapt(self, params, x, context, moment):
        return params

    @property
    def _keeps_statistics(self):
        """Whether there is anything that ``_adapt`` could change."""
        return type(self)._adapt is not Flow._adapt

    def _checked(self, params, name, rows, context):
        rows = as_rows(name, rows, self.dim)
        context = as_context(context, self.context_dim, rows)
        dtype = np.finfo(rows.dtype).dtype
        return self._structure.checked(params, dtype), rows, context

    @cached_property
    def _structure(self):
        return Structure.made_by(self._init)


def context_for(flow, context):
    """The context for one member of a composition: None where that member takes none."""
    return context if flow.context_dim else None


def some(context, rows):
    """The context of some of the rows; None where there is none."""
    return None if context is None else context[rows]


def maps_as(flow, kind):
    """Whether a flow has the maps of ``kind``, or a subclass has put others in their place."""
    return type(flow)._forward is kind._forward and type(flow)._inverse is kind._inverse


def _latent_in_blocks(flow, params, x, context):
    """z of all rows of a training set, with the memory for a block of them."""
    def latent(x, context=None):
        return dispatch.run("flow", Flow._apply, flow, -1, params, x, context)[0]

    return in_blocks(latent, x, context)


class Composition(Flow):
    """Flows one after the other; a subclass provides them as the tuple ``flows``.

    ``forward`` applies them in list order, ``inverse`` in reverse order, and the
    log-determinants add up: det(J_K ... J_1) = det J_K ... det J_1. Parameters are the
    list of the members' parameters.
    """

    def members(self, direction=1):
        if not maps_as(self, Composition):
            return super().members(direction)
        return [(member, sign, (k, *path))
                for k, flow in list(enumerate(self.flows))[::direction]
                for member, sign, path in flow.members(direction)]

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

    def _adapt(self, params, x, context, moment):
        adapted = list(params)
        for k, flow in reversed(list(enumerate(self.flows))):
            own = context_for(flow, context)
            adapted[k] = flow._adapt(params[k], x, own, moment)
            if not any(member._keeps_statistics for member in self.flows[:k]):
                break
            # The next flow sees these rows as the adapted flow hands them on at this moment.
            if moment == "evaluation":
                x = _latent_in_blocks(flow, adapted[k], x, own)
            else:
                x, _ = flow.training()._inverse(adapted[k], x, own)
        unchanged = all(new is old for new, old in zip(adapted, params))
        return params if unchanged else adapted

    @property
    def _keeps_statistics(self):
        return any(flow._keeps_statistics for flow in self.flows)

    def training(self):
        members = tuple(flow.training() for flow in self.flows)
        unchanged = all(new is old for new, old in zip(members, self.flows))
        return self if unchanged else Chain(members)


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

    def __post_init__(self):
        flows = tuple(self.flows)
        object.__setattr__(self, "flows", flows)
        for flow in flows:
            if not isinstance(flow, Flow):
                raise TypeError(f"Chain: expected flows, got {type(flow).__name__}")
        if not flows:
            raise ValueError("Chain: expected at least one flow, got none")
        dims = [flow.dim for flow in flows]
        if len(set(dims)) != 1:
            raise ValueError(f"Chain: expected flows of one common dim, got dims {dims}")
        contexts = {flow.context_dim for flow in flows} - {0}
        if len(contexts) > 1:
            raise ValueError("Chain: expected flows of one common context_dim, "
                             f"got {sorted(contexts)}")

    @property
    def dim(self):
        return self.flows[0].dim

    @property
    def context_dim(self):
        return max(flow.context_dim for flow in self.flows)


@dataclass(frozen=True)
class Invert(Flow):
    """A flow turned around: its ``forward`` is the other's ``inverse``.

    It passes no :meth:`Flow.adapt` on: data rows reach the inner flow on its latent side, so batch
    norm and the other layers inside that learn from rows keep what they have.

    Parameters
    ----------
    flow : Flow
    """

    flow: Flow

    def __post_init__(self):
        if not isinstance(self.flow, Flow):
            raise TypeError(f"Invert: expected a flow, got {type(self.flow).__name__}")

    @property
    def dim(self):
        return self.flow.dim

    @property
    def context_dim(self):
        return self.flow.context_dim

    def members(self, direction=1):
        if not maps_as(self, Invert):
            return super().members(direction)
        return self.flow.members(-direction)

    def _init(self, rng):
        return self.flow._init(rng)

    def _forward(self, params, z, context):
        return self.flow._inverse(params, z, context)

    def _inverse(self, params, x, context):
        return self.flow._forward(params, x, context)

    def training(self):
        inner = self.flow.training()
        return self if inner is self.flow else Invert(inner)


@dataclass(frozen=True)
class Density:
    """A probability density: a base density pushed through a flow.

    Parameters
    ----------
    flow : Flow
        Its ``forward`` maps z to x.
    base : Base, optional
        Density of the latent variable z; standard normal if omitted.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> density = nfref.Density(nfref.RealNVP(2))
    >>> params = density.init(np.random.default_rng(0))
    >>> density.log_prob(params, np.zeros((3, 2))).shape
    (3,)
    """

    flow: Flow
    base: object = None

    def __post_init__(self):
        if not isinstance(self.flow, Flow):
            raise TypeError(f"Density: expected flow to be a Flow, got {type(self.flow).__name__}")
        if self.base is None:
            object.__setattr__(self, "base", StandardNormal(self.flow.dim))
        if not isinstance(self.base, Base):
            raise TypeError(f"Density: expected base to be a Base, got {type(self.base).__name__}")
        if self.base.dim != self.flow.dim:
            raise ValueError("Density: expected base and flow of the same dim, "
                             f"got {self.base.dim} and {self.flow.dim}")

    __getstate__ = Flow.__getstate__

    @property
    def dim(self):
        return self.flow.dim

    @property
    def context_dim(self):
        return self.flow.context_dim

    def init(self, rng):
        """Draw parameters: ``{"base": ..., "flow": ...}``.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        check_rng(rng)
        return {"base": self.base.init(rng), "flow": self.flow.init(rng)}

    def log_prob(self, params, x, context=None):
        """Log-density of data rows, in nats.

        Parameters
        ----------
        params : dict
            As made by :meth:`init`.
        x : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N,) array
            log p(x) = log p_Z(z) + log |det dz/dx|. A row that holds NaN has NaN, one that
            holds an infinity but no NaN has -inf, whatever the flow; no flow sees either.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        params, x, context = self._checked(params, "x", x, context)
        return in_parts(lambda part: (self._log_prob(params, x[part], some(context, part)),),
                        len(x), self.dim)[0]

    def _log_prob(self, params, x, context):
        finite = numpy.isfinite(getval(x))
        if finite.all():        # of all numbers at once: by rows it takes fifteen times as long
            return self._log_prob_of_finite(params, x, context)
        finite = finite.all(axis=1)
        found = self._log_prob_of_finite(params, x[finite], some(context, finite))
        nowhere = numpy.where(numpy.isnan(getval(x)[~finite]).any(axis=1), numpy.nan, -numpy.inf)
        return merged(finite, found, nowhere.astype(found.dtype))

    def _log_prob_of_finite(self, params, x, context):
        z, log_det = dispatch.run("flow", Flow._apply, self.flow, -1, params["flow"], x, context)
        # Parameters and x are checked; what somebody's own flow makes of them is not.
        return self.base._log_prob(params["base"], as_rows("z", z, self.dim)) + log_det

    def sample(self, params, rng, n, context=None):
        """Draw ``n`` rows.

        Parameters
        ----------
        params : dict
        rng : numpy.random.Generator
        n : int
        context : (n, C) array, optional
            One context row for each sample.

        Returns
        -------
        (n, D) array, in the dtype of the parameters
        """
        return self.sample_and_log_prob(params, rng, n, context)[0]

    def sample_and_log_prob(self, params, rng, n, context=None):
        """Draw ``n`` rows with their log-densities; the flow is never inverted.

        Parameters
        ----------
        params : dict
        rng : numpy.random.Generator
        n : int
        context : (n, C) array, optional

        Returns
        -------
        x : (n, D) array
        log_prob : (n,) array
            log p(x) = log p_Z(z) - log |det dx/dz|, in nats.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or is of another kind.
        """
        check_rng(rng)
        check_count("n", n, minimum=0)
        params = self._structure.checked(params)
        dtype = trees.dtype_of(params)
        context = as_context(context, self.context_dim, numpy.empty((n, 0), dtype))

        def draw(part):
            z = self.base.sample(params["base"], rng, part.stop - part.start, dtype=dtype)
            own, z, given = self._checked(params, "z", z, some(context, part))
            x, log_det = dispatch.run("flow", Flow._apply, self.flow, 1, own["flow"], z, given)
            return x, self.base._log_prob(own["base"], z) - log_det

        return in_parts(draw, n, self.dim)

    def adapt(self, params, x, context=None, moment="batch"):
        """Let the flow's statistics learn from rows; see :meth:`Flow.adapt`."""
        params, x, context = self._checked(params, "x", x, context)
        flow_params = self.flow.adapt(params["flow"], x, context, moment)
        return params if flow_params is params["flow"] else {**params, "flow": flow_params}

    def training(self):
        """The density as it acts on training batches; see :meth:`Flow.training`."""
        flow = self.flow.training()
        return self if flow is self.flow else Density(flow, self.base)

    def _checked(self, params, name, rows, context):
        return Flow._checked(self, params, name, rows, context)

    @cached_property
    def _structure(self):
        return Structure({"base": self.base._structure.shapes,
                          "flow": self.flow._structure.shapes})
