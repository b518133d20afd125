"""Sorting and the maximum as layers; each is exact from data to latent.

Source: Nielsen, Jaini, Hoogeboom, Winther, Welling 2020, arXiv:2007.02731.

As with :mod:`nfref.bases.absolute_value`, the way from data to latent is a function, and a coin
decides the way back:

    z = sort x,   x a random order of z:     log p(x) = log p(z) - log D!
    z = max x,    x = z - d at all places but one, at random; d > 0 from a density r:
                                             log p(x) = log p(z) - log D + log r(z - others)

From latent to data, x = sort z: the D! orders of x are its possible z, each with volume factor 1,
p(x) = sum over orders of p_Z(order of x). Slices need no layer of their own: from data to latent a
slice is a split, p(x) = p(x_1) p(x_2 | x_1), as in :class:`nfref.SplitPrior`; from latent to data
it is augmentation, a bound, as in :func:`nfref.flows.augmented.marginal_log_prob`.
"""

from dataclasses import dataclass
from itertools import permutations
from math import lgamma

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.normal_mixture import logsumexp
from nfref.density import Density, check_unconditional
from nfref.runtime.autograd_internals import getval

MOST = 7  # most coordinates whose D! orders are added up


class _Sort(Base):
    """The common part of both directions."""

    density: Base | Density

    _converters = {"density": check_unconditional}

    @property
    def dim(self) -> int:
        """The number of coordinates D of the density."""
        return self.density.dim

    def _init(self, rng):
        return {"density": self.density.init(rng)}


@dataclass(frozen=True)
class InferenceSort(_Sort):
    """A density of exchangeable rows: x is a random order of sorted rows z; likelihood exact.

    Paper:   SurVAE, sorting as an inference surjection, -log D! in its published code.
    Differs: nothing.

    Parameters
    ----------
    density : Base or Density
        The density of sorted rows, without a context; such as a :class:`GenerativeSort`.
    """

    density: Base | Density

    def _log_prob(self, params, z):
        ordered = np.sort(z, axis=1)
        return self.density.log_prob(params["density"], ordered) - lgamma(self.dim + 1)

    def _sample(self, params, rng, n):
        return rng.permuted(self.density.sample(params["density"], rng, n), axis=1)


@dataclass(frozen=True)
class GenerativeSort(_Sort):
    """A density of rows in increasing order, x = sort z; exact, by D! evaluations a row.

    Paper:   SurVAE, sorting as a generative surjection: a bound with a guessed order.
    Differs: the sum over all orders, for at most 7 coordinates, instead of the bound.

    Parameters
    ----------
    density : Base or Density
        The density of z, without a context.
    """

    density: Base | Density

    def _log_prob(self, params, z):
        if self.dim > MOST:
            raise ValueError(
                f"GenerativeSort: expected at most {MOST} coordinates to add up the orders of, "
                f"got {self.dim}"
            )
        inside = numpy.all(numpy.diff(getval(z), axis=1) >= 0, axis=1)
        orders = numpy.array(list(permutations(range(self.dim))))
        images = np.reshape(z[:, orders], (len(z) * len(orders), self.dim))
        every = np.reshape(self.density.log_prob(params["density"], images), (len(z), len(orders)))
        return np.where(inside, logsumexp(every), -np.inf)

    def _sample(self, params, rng, n):
        return numpy.sort(self.density.sample(params["density"], rng, n), axis=1)


@dataclass(frozen=True)
class InferenceMax(Base):
    """A density of rows by their maximum, and by how far the others are below it; exact.

    Paper:   SurVAE, max pooling as an inference surjection: the maximum, a uniform place, and a
             density of the differences to the others, in their order.
    Differs: one maximum a row.

    Parameters
    ----------
    density : Base or Density
        The density of the maximum: one coordinate, without a context.
    drops : Base or Density
        The density of the D - 1 differences, with all its mass above zero, without a context.
    """

    density: Base | Density
    drops: Base | Density

    _converters = {"density": check_unconditional, "drops": check_unconditional}

    def __post_init__(self):
        super().__post_init__()
        if self.density.dim != 1:
            raise ValueError(f"density: expected one coordinate, got {self.density.dim}")

    @property
    def dim(self) -> int:
        """The number of coordinates D: the maximum and the drops."""
        return 1 + self.drops.dim

    def _init(self, rng):
        return {"density": self.density.init(rng), "drops": self.drops.init(rng)}

    def _log_prob(self, params, z):
        n, place = len(z), numpy.argmax(getval(z), axis=1)
        rest = numpy.arange(self.dim) != place[:, None]
        largest = np.reshape(z[~rest], (n, 1))
        drops = largest - np.reshape(z[rest], (n, self.dim - 1))
        at_top = self.density.log_prob(params["density"], largest) - float(np.log(self.dim))
        return at_top + self.drops.log_prob(params["drops"], drops)

    def _sample(self, params, rng, n):
        largest = self.density.sample(params["density"], rng, n)
        drops = self.drops.sample(params["drops"], rng, n)
        rest = numpy.arange(self.dim) != rng.integers(self.dim, size=(n, 1))
        x = numpy.broadcast_to(largest, (n, self.dim)).copy()
        x[rest] -= drops.ravel()
        return x
