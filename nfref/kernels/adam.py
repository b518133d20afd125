"""Adam's update in one pass over memory; the formula takes a dozen."""

import math

import numpy as np

from nfref.kernels.jit import body, kernel
from nfref.kernels.thread_pool import in_pieces
from nfref.runtime.backends import threads


def adam_update(vector, gradient, m, v, t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """See :func:`nfref.training.adam.adam_update`."""
    new = vector.copy(), m.copy(), v.copy()
    rates = np.array(rates_of(t, learning_rate, beta1, beta2, epsilon), vector.dtype)
    in_pieces(
        lambda first, last: _adam_update(gradient, rates, *new, first, last), len(vector), threads()
    )
    return new


def rates_of(t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Return the numbers that the kernel reads for step t."""
    step, unbias = learning_rate / (1 - beta1**t), 1 / (1 - beta2**t)
    return beta1, 1 - beta1, beta2, 1 - beta2, step, unbias, epsilon


@kernel
def _adam_update(gradient, rates, vector, m, v, first, last):
    update(gradient[first:last], rates, vector[first:last], m[first:last], v[first:last])


@body
def update(gradient, rates, vector, m, v):
    """Make a step for the whole vector and the moments, in place."""
    keep_m, take_m, keep_v, take_v = rates[0], rates[1], rates[2], rates[3]
    step, unbias, epsilon = rates[4], rates[5], rates[6]
    for i in range(len(vector)):
        g = gradient[i]
        m[i] = keep_m * m[i] + take_m * g
        v[i] = keep_v * v[i] + take_v * (g * g)
        vector[i] -= step * m[i] / (math.sqrt(v[i] * unbias) + epsilon)
