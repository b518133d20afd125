"""The contract that every flow keeps.

A flow is an invertible map between latent variables z and data x with a known
log-determinant. ``forward`` maps z to x (sampling), ``inverse`` maps x to z (density).
Both return the log absolute determinant of the Jacobian *of the direction just
taken*. With the base density p_Z, the change of variables reads

    log p_X(x) = log p_Z(z) + log |det dz/dx|,    (z, log |det dz/dx|) = inverse(x).

Flow objects are frozen configuration (sizes, masks, options). Parameters live outside of
them, in nested dicts and lists of arrays. ``init`` makes them, and they come first in every
call.

How to read a call: ``forward`` and ``inverse`` check the arguments once and bring them to one
dtype. Then they call ``_forward`` or ``_inverse``, where a flow does its work, or the compiled
twin of it (``nfref/runtime/dispatch.py`` decides). A flow calls the flows inside it by
``_forward`` and ``_inverse``, without checks. A density checks at its own entry and calls its
flow and base in the same way. Parameters must have the shapes that ``init`` makes; a flow learns
these shapes at its first call.
"""

from functools import cached_property

import autograd.numpy as np

from nfref.runtime import dispatch
from nfref.runtime.annotations import Any, Array, Generator, Params
from nfref.runtime.checks import as_context, as_rows, check_rng
from nfref.runtime.configuration import Configuration
from nfref.runtime.param_schema import Structure


class Flow(Configuration):
    """An invertible map with an explicit log-determinant.

    A subclass is a frozen dataclass. It has ``dim`` (D, the number of coordinates), may
    have ``context_dim`` (C, the width of the context, 0 for none), and implements
    ``_init(rng)``, ``_forward(params, z, context)`` and ``_inverse(params, x, context)``.

    Attributes
    ----------
    dim : int
        Number of coordinates D of x, and of z unless ``latent_dim`` says otherwise.
    context_dim : int
        Number of context features C that condition the map; 0 for an unconditional flow.
    _twin : str
        The name of the compiled twin, where there is one. A subclass does not inherit it,
        because it may compute something else.
    """

    dim: int
    context_dim = 0

    @property
    def latent_dim(self) -> int:
        """The number of coordinates of z: D, or fewer for an injective flow."""
        return self.dim

    def init(self, rng: Generator) -> Any:
        """Return initial parameters, some of them random.

        Parameters
        ----------
        rng : numpy.random.Generator

        Returns
        -------
        params : nested dicts and lists of float64 arrays
        """
        return self._init(check_rng(rng))

    def forward(
        self, params: Params, z: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
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

    def inverse(
        self, params: Params, x: Array, context: Array | None = None
    ) -> tuple[Array, Array]:
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

    def members(self, direction: int = 1) -> list[tuple["Flow", int, tuple]]:
        """Return the flows that this flow is composed of, in order of execution.

        Parameters
        ----------
        direction : {1, -1}
            1 for ``forward``, -1 for ``inverse``.

        Returns
        -------
        list of (flow, direction, path)
            No member is composed of others. ``path`` leads from the parameters of the whole to
            those of the member, see :func:`nfref.runtime.params.at_path`. Applying the members
            one after the other applies the whole flow; their log-determinants add up.
        """
        return [(self, direction, ())]

    def _init(self, rng):
        return {}

    def _forward(self, params, z, context):
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def _inverse(self, params, x, context):
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")

    def _apply(self, direction, params, rows, context):
        """Apply ``_forward`` (direction 1) or ``_inverse`` (-1), with a context if it takes one."""
        formula = self._forward if direction == 1 else self._inverse
        return formula(params, rows, context_for(self, context))

    def _checked(self, params, name, rows, context):
        rows = as_rows(name, rows, self.latent_dim if name == "z" else self.dim)
        context = as_context(context, self.context_dim, rows)
        dtype = np.finfo(rows.dtype).dtype
        return self._structure.checked(params, dtype), rows, context

    @cached_property
    def _structure(self):
        return Structure.made_by(self._init)


def check_flow(name: str, value: Any) -> Flow:
    """Return the flow itself; raise a TypeError for anything else."""
    if not isinstance(value, Flow):
        raise TypeError(f"{name}: expected a flow, got {type(value).__name__}")
    return value


def check_square(name: str, value: Any) -> Flow:
    """Return a flow whose z has as many coordinates as its x."""
    flow = check_flow(name, value)
    if flow.latent_dim != flow.dim:
        raise ValueError(
            f"{name}: expected a flow with as many latent as data coordinates, "
            f"got {flow.latent_dim} and {flow.dim}"
        )
    return flow


def context_for(flow: Flow, context: Array | None) -> Array | None:
    """Return the context for one member of a composition: None if that member takes none."""
    return context if flow.context_dim else None


def maps_as(flow: Flow, kind: type[Flow]) -> bool:
    """Return whether a flow still has the maps of its superclass ``kind``."""
    return type(flow)._forward is kind._forward and type(flow)._inverse is kind._inverse
