"""A density: a base density pushed through a flow."""

from dataclasses import dataclass
from functools import cached_property

import numpy

from nfref.bases.base import Base
from nfref.bases.standard_normal import StandardNormal, standard_normal_log_prob
from nfref.flow import Flow, check_flow
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Generator, Params, Sequence
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import context_of, in_parts, merge_rows
from nfref.runtime.checks import as_context, as_rows, check_count, check_rng
from nfref.runtime.configuration import Configuration
from nfref.runtime.frozen_params import frozen, once
from nfref.runtime.param_schema import Structure


@dataclass(frozen=True)
class Density(Configuration):
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
    base: Any = None

    _converters = {"flow": check_flow}

    def __post_init__(self):
        super().__post_init__()
        if self.base is None:
            self._set(base=StandardNormal(self.flow.latent_dim))
        if not isinstance(self.base, Base):
            raise TypeError(f"Density: expected base to be a Base, got {type(self.base).__name__}")
        if self.base.dim != self.latent_dim:
            raise ValueError(
                "Density: expected base and flow of the same dim, "
                f"got {self.base.dim} and {self.latent_dim}"
            )

    @property
    def dim(self) -> int:
        """The number of columns D of x."""
        return self.flow.dim

    @property
    def latent_dim(self) -> int:
        """The number of columns of z: D, or fewer for an injective flow."""
        return self.flow.latent_dim

    @property
    def context_dim(self) -> int:
        """The number of context features C; 0 for an unconditional density."""
        return self.flow.context_dim

    def init(self, rng: Generator) -> dict[str, Any]:
        """Return initial parameters ``{"base": ..., "flow": ...}``.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        check_rng(rng)
        return {"base": self.base.init(rng), "flow": self.flow.init(rng)}

    def log_prob(self, params: Params, x: Array, context: Array | None = None) -> Array:
        """Return the log-density of data rows, in nats.

        Parameters
        ----------
        params : dict
            As made by :meth:`init`.
        x : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N,) array
            log p(x) = log p_Z(z) + log |det dz/dx|. Rows with NaN score NaN; rows with an
            infinity and no NaN score -inf. Neither reaches the flow.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        checked, x, context = self._checked(params, "x", x, context)
        return in_parts(
            lambda part: (self._log_prob(checked, x[part], context_of(context, part)),),
            len(x),
            self.dim,
        )[0]

    def _log_prob(self, params, x, context):
        finite = numpy.isfinite(getval(x))
        if finite.all():  # over all numbers at once: by rows it takes fifteen times as long
            return self._log_prob_of_finite(params, x, context)
        finite = finite.all(axis=1)
        found = self._log_prob_of_finite(params, x[finite], context_of(context, finite))
        nowhere = numpy.where(numpy.isnan(getval(x)[~finite]).any(axis=1), numpy.nan, -numpy.inf)
        return merge_rows(finite, found, nowhere.astype(found.dtype))

    def _log_prob_of_finite(self, params, x, context):
        z, log_det = dispatch.run("flow", Flow._apply, self.flow, -1, params["flow"], x, context)
        # Parameters and x are checked, but not the rows that a user's own flow returns.
        return self.base._log_prob(params["base"], as_rows("z", z, self.latent_dim)) + log_det

    def sample(self, params: Params, rng: Generator, n: int, context: Array | None = None) -> Array:
        """Return ``n`` samples.

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
        return self._sampled(params, rng, n, context, scored=False)[0]

    def sample_and_log_prob(
        self, params: Params, rng: Generator, n: int, context: Array | None = None
    ) -> tuple[Array, Array]:
        """Return ``n`` samples and their log-densities, without inverting the flow.

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
            If an argument has the wrong shape or type.
        """
        return self._sampled(params, rng, n, context, scored=True)

    def _sampled(self, params, rng, n, context, scored):
        """Return (samples,), or (samples, log-densities): not every base has a formula for them."""
        check_rng(rng)
        check_count("n", n, minimum=0)
        checked = self._structure.checked(params)
        dtype = trees.dtype_of(checked)
        context = as_context(context, self.context_dim, numpy.empty((n, 0), dtype))

        def samples(part):
            z = self.base.sample(checked["base"], rng, part.stop - part.start, dtype=dtype)
            own, z, given = self._checked(checked, "z", z, context_of(context, part))
            x, log_det = dispatch.run("flow", Flow._apply, self.flow, 1, own["flow"], z, given)
            return (x, self.base._log_prob(own["base"], z) - log_det) if scored else (x,)

        return in_parts(samples, n, self.dim)

    _checked = Flow._checked

    @cached_property
    def _structure(self):
        return Structure({"base": self.base._structure.shapes, "flow": self.flow._structure.shapes})


def log_probs(
    densities: Sequence[Density], params: Params, x: Array, context: Array | None = None
) -> Array:
    """Return the log-densities of the same rows under several densities, (K, N), to the same bits.

    Arguments are checked. ``params``, one for each, are frozen and belong to these densities alone.
    """
    found = None
    if numpy.isfinite(x).all() and all(type(one.base) is StandardNormal for one in densities):
        flows, own = once(params, "flows", lambda: _flows_of(densities, params))
        found = dispatch.run("inverses", _one_by_one, flows, own, x, context)
    if found is None:
        return numpy.stack([one._log_prob(own, x, context) for one, own in zip(densities, params)])
    z, log_det = found
    return standard_normal_log_prob(z) + log_det


def _flows_of(densities, params):
    return [one.flow for one in densities], frozen([own["flow"] for own in params])


def _one_by_one(flows, params, x, context):
    """Leave it to the call of each flow, which chooses its formula or its twin."""


def check_density(name: str, value: Any) -> Density:
    """Return the density itself; raise a TypeError for anything else."""
    if not isinstance(value, Density):
        advice = "; nfref.Density(flow) makes one" if isinstance(value, Flow) else ""
        raise TypeError(f"{name}: expected a Density, got {type(value).__name__}{advice}")
    return value


def check_unconditional(name: str, value: Any) -> Base | Density:
    """Return a Base or a Density without a context."""
    if not isinstance(value, (Base, Density)):
        raise TypeError(f"{name}: expected a Base or a Density, got {type(value).__name__}")
    if context_dim := getattr(value, "context_dim", 0):
        raise ValueError(f"{name}: expected one without a context, got context_dim {context_dim}")
    return value
