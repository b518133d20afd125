"""A density: a base density, and the flow that it is pushed through."""

from dataclasses import dataclass
from functools import cached_property

import numpy

from nfref.bases.base import Base
from nfref.bases.standard_normal import StandardNormal
from nfref.flow import Flow, check_flow
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import context_of, in_parts, merge_rows
from nfref.runtime.checks import as_context, as_rows, check_count, check_rng
from nfref.runtime.configuration import Configuration
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
            self._set(base=StandardNormal(self.flow.dim))
        if not isinstance(self.base, Base):
            raise TypeError(f"Density: expected base to be a Base, got {type(self.base).__name__}")
        if self.base.dim != self.flow.dim:
            raise ValueError(
                "Density: expected base and flow of the same dim, "
                f"got {self.base.dim} and {self.flow.dim}"
            )

    @property
    def dim(self):
        return self.flow.dim

    @property
    def context_dim(self):
        return self.flow.context_dim

    def init(self, rng: Generator) -> Any:
        """Draw parameters: ``{"base": ..., "flow": ...}``.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        check_rng(rng)
        return {"base": self.base.init(rng), "flow": self.flow.init(rng)}

    def log_prob(self, params: dict[str, Any], x: Array, context: Array | None = None) -> Array:
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
        return in_parts(
            lambda part: (self._log_prob(params, x[part], context_of(context, part)),),
            len(x),
            self.dim,
        )[0]

    def _log_prob(self, params, x, context):
        finite = numpy.isfinite(getval(x))
        if finite.all():  # of all numbers at once: by rows it takes fifteen times as long
            return self._log_prob_of_finite(params, x, context)
        finite = finite.all(axis=1)
        found = self._log_prob_of_finite(params, x[finite], context_of(context, finite))
        nowhere = numpy.where(numpy.isnan(getval(x)[~finite]).any(axis=1), numpy.nan, -numpy.inf)
        return merge_rows(finite, found, nowhere.astype(found.dtype))

    def _log_prob_of_finite(self, params, x, context):
        z, log_det = dispatch.run("flow", Flow._apply, self.flow, -1, params["flow"], x, context)
        # Parameters and x are checked; what somebody's own flow makes of them is not.
        return self.base._log_prob(params["base"], as_rows("z", z, self.dim)) + log_det

    def sample(
        self, params: dict[str, Any], rng: Generator, n: int, context: Array | None = None
    ) -> Array:
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

    def sample_and_log_prob(
        self, params: dict[str, Any], rng: Generator, n: int, context: Array | None = None
    ) -> tuple[Array, Array]:
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
            own, z, given = self._checked(params, "z", z, context_of(context, part))
            x, log_det = dispatch.run("flow", Flow._apply, self.flow, 1, own["flow"], z, given)
            return x, self.base._log_prob(own["base"], z) - log_det

        x, log_prob = in_parts(draw, n, self.dim)
        return x, log_prob

    _checked = Flow._checked

    @cached_property
    def _structure(self):
        return Structure({"base": self.base._structure.shapes, "flow": self.flow._structure.shapes})
