"""Adam's update in one pass over memory; the formula takes a dozen."""

import math

import numpy as np

from nfref.kernels.jit import body, kernel
from nfref.kernels.rows import in_pieces
from nfref.runtime.backends import threads


def adam_update(vector, gradient, m, v, t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """See :func:`nfref.training.adam.adam_update`."""
    new = np.empty_like(vector), np.empty_like(m), np.empty_like(v)
    rates = np.array(rates_of(t, learning_rate, beta1, beta2, epsilon), vector.dtype)
    in_pieces(lambda first, last: _adam_update(vector, gradient, m, v, rates, *new, first, last),
              len(vector), threads())
    return new


def rates_of(t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """What the kernel reads of step t."""
    return (beta1, 1 - beta1, beta2, 1 - beta2, learning_rate / (1 - beta1 ** t),
            1 / (1 - beta2 ** t), epsilon)


@kernel
def _adam_update(vector, gradient, m, v, rates, new_vector, new_m, new_v, first, last):
    update(vector[first:last], gradient[first:last], m[first:last], v[first:last], rates,
           new_vector[first:last], new_m[first:last], new_v[first:last])


@body
def update(vector, gradient, m, v, rates, new_vector, new_m, new_v):
    """A step for all of the vector; the new arrays are others than those before."""
    keep_m, take_m, keep_v, take_v, step, unbias, epsilon = (
        rates[0], rates[1], rates[2], rates[3], rates[4], rates[5], rates[6])
    for i in range(len(vector)):
        g = gradient[i]
        new_m[i] = keep_m * m[i] + take_m * g
        new_v[i] = keep_v * v[i] + take_v * (g * g)
        new_vector[i] = vector[i] - step * new_m[i] / (math.sqrt(new_v[i] * unbias) + epsilon)
