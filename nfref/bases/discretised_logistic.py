"""A mixture of logistics over whole numbers: the mass between n - 1/2 and n + 1/2."""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.normal_mixture import logsumexp
from nfref.networks.activations import softplus
from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, check_whole


def logistic_log_mass(n: Array, location: Array, log_scale: Array) -> Array:
    """Return log (F(n + 1/2) - F(n - 1/2)), F the logistic distribution function; elementwise.

    With a and b the two arguments of s, F(n + 1/2) = s(a), the mass is s(a) s(-b) (1 - e^(b - a)),
    in which nothing cancels: a - b = exp(-log_scale).

    Paper:   integer discrete flows: discretised logistics as the base.
    Differs: nothing but the form.
    """
    narrow = np.exp(-log_scale)
    a, b = ((n - location + shift) * narrow for shift in (0.5, -0.5))
    return np.log(-np.expm1(-narrow)) - softplus(-a) - softplus(b)


@dataclass(frozen=True)
class DiscretisedLogistic(Base):
    """Whole numbers, independent, each with the mass of its cell under a mixture of logistics.

    ``log_prob`` is the logarithm of a mass, not of a density. It sums to 1 over all whole numbers,
    positive and negative. Only flows that take whole numbers to whole numbers fit it, such as a
    RealNVP of :class:`nfref.transformers.rounded.Rounded` shifts.

    Parameters
    ----------
    dim : int
    components : int, default 1
        Logistics K of each coordinate.

    Notes
    -----
    Parameters in ``params``: ``logits`` of weights, ``location`` and ``log_scale``, each (K, D).

    Examples
    --------
    >>> import numpy as np, nfref
    >>> base = nfref.DiscretisedLogistic(1)
    >>> n = np.arange(-60.0, 61.0)[:, None]
    >>> print(np.exp(base.log_prob(base.init(np.random.default_rng(0)), n)).sum().round(12))
    1.0
    """

    dim: int
    components: int = 1

    _converters = {"components": check_count}

    def _init(self, rng):
        shape = (self.components, self.dim)
        return {
            "logits": numpy.zeros(shape),
            "location": rng.standard_normal(shape),
            "log_scale": numpy.zeros(shape),
        }

    def _log_prob(self, params, z):
        check_whole("z", z)
        logits = np.transpose(params["logits"])
        log_weights = logits - logsumexp(logits)[:, None]
        masses = logistic_log_mass(z[:, None, :], params["location"], params["log_scale"])
        return np.sum(logsumexp(log_weights + np.transpose(masses, (0, 2, 1))), axis=1)

    def _sample(self, params, rng, n):
        gumbel = rng.gumbel(size=(n, self.components, self.dim))
        chosen = numpy.argmax(params["logits"] + gumbel, axis=1)
        place, columns = rng.logistic(size=(n, self.dim)), numpy.arange(self.dim)
        scale = numpy.exp(params["log_scale"])[chosen, columns]
        return numpy.rint(params["location"][chosen, columns] + scale * place)
