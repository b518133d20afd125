"""The standard normal, the base of most flows."""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.runtime import dispatch
from nfref.runtime.annotations import Array, Generator, Params
from nfref.runtime.autograd_internals import isbox

LOG_TWO_PI = float(np.log(2 * np.pi))
PART = 1 << 15  # numbers that one thread processes at a time


def standard_normal_log_prob(e: Array) -> Array:
    """Return log N(e; 0, 1) = -|e|^2 / 2 - (D/2) log 2 pi over the last axis, of length D."""
    return -0.5 * (e**2).sum(axis=-1) - 0.5 * e.shape[-1] * LOG_TWO_PI


def normal_numbers(rng: Generator, count: int) -> Array:
    """Return (count,) standard normal numbers; threads may generate parts at the same time.

    If there are many, each part has a stream of its own: ``rng`` generates a seed, and part k has
    the numbers of that generator after k + 1 jumps, each of more than 2^126 steps. So the bits
    depend on ``rng`` and ``count``, and not on threads.
    """
    if count < dispatch.MANY:
        return rng.standard_normal(count)
    streams, numbers = numpy.random.PCG64(rng.integers(1 << 63, size=2)), numpy.empty(count)

    def generate(k):
        part = numbers[k * PART : (k + 1) * PART]
        numpy.random.Generator(streams.jumped(k + 1)).standard_normal(out=part)

    dispatch.for_each(generate, -(-count // PART), count)
    return numbers


@dataclass(frozen=True)
class StandardNormal(Base):
    """The standard normal: log p(z) = -|z|^2 / 2 - (D/2) log 2 pi.

    Parameters
    ----------
    dim : int
    """

    dim: int

    _twin = "standard_normal"

    def _log_prob(self, params, z):
        if isbox(z) or z.size < dispatch.MANY:
            return standard_normal_log_prob(z)
        rows, found = max(PART // self.dim, 1), np.empty(len(z), z.dtype)

        def score(k):
            part = slice(k * rows, (k + 1) * rows)
            found[part] = standard_normal_log_prob(z[part])

        dispatch.for_each(score, -(-len(z) // rows), z.size)
        return found

    def _sample(self, params, rng, n):
        return normal_numbers(rng, n * self.dim).reshape(n, self.dim)

    def entropy(self, params: Params) -> float:
        """Return D/2 (1 + log 2 pi), in nats."""
        return 0.5 * self.dim * (1 + LOG_TWO_PI)
