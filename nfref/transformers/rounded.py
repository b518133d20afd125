"""The transformer of integer discrete flows: a shift by a whole number.

Source: Hoogeboom, Peters, van den Berg, Welling 2019, arXiv:1905.07376.

    x = z + round(t),    whole numbers to whole numbers, one to one.

A one-to-one map moves the mass of a whole number unchanged: P(x) = P(z), without a determinant. So
a coupling or a MADE of such shifts is a probability of whole numbers, if its base is, such as
:class:`nfref.DiscretisedLogistic`; its ``log_prob`` is log P. On real numbers the same map has
slope 1 almost everywhere.
"""

from dataclasses import dataclass

import numpy

from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.transformers.additive import Additive


@primitive
def rounded(t: Array) -> Array:
    """Return round(t), with the derivative of t itself: it passes straight through.

    The derivative of a step is zero or does not exist; with zero no network would learn.

    Paper:   integer discrete flows: the straight-through estimator for the gradient of rounding.
    Differs: nothing.
    """
    return numpy.rint(t)


defvjp(rounded, lambda answer, t: lambda g: g)


@dataclass(frozen=True)
class Rounded(Additive):
    """A shift x = z + round(t) with log-slope zero; one number t a coordinate.

    Its gradients are those of the shift without rounding, so they are wrong on purpose. That breaks
    the contract of a transformer; ``nfref`` does not list it. To load a model file that contains
    one, import this module first.

    Paper:   integer discrete flows: integer discrete coupling, z_b = x_b + round(t(x_a)), data to
             latent.
    Differs: the sign of t; the paper's coupling leaves three quarters of the channels as they are.
    """

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return (round(t),) from raw (1, ...)."""
        return tuple(map(rounded, super().constrain(raw)))
