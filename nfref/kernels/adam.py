"""Adam's update in one pass over memory; the formula takes a dozen."""

import math

import numpy as np

from nfref.kernels.jit import kernel


def adam_update(vector, gradient, m, v, t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """See :func:`nfref.adam.adam_update`."""
    new = np.empty_like(vector), np.empty_like(m), np.empty_like(v)
    rates = np.array([beta1, 1 - beta1, beta2, 1 - beta2, learning_rate / (1 - beta1 ** t),
                      1 / (1 - beta2 ** t), epsilon], vector.dtype)
    _adam_update(vector, gradient, m, v, rates, *new)
    return new


@kernel
def _adam_update(vector, gradient, m, v, rates, new_vector, new_m, new_v):
    keep_m, take_m, keep_v, take_v, step, unbias, epsilon = (
        rates[0], rates[1], rates[2], rates[3], rates[4], rates[5], rates[6])
    for i in range(len(vector)):
        g = gradient[i]
        first = keep_m * m[i] + take_m * g
        second = keep_v * v[i] + take_v * (g * g)
        new_m[i] = first
        new_v[i] = second
        new_vector[i] = vector[i] - step * first / (math.sqrt(second * unbias) + epsilon)
