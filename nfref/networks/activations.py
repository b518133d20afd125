"""Activations of the networks, with derivatives that neither overflow nor change the dtype."""

import autograd.numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defjvp, defvjp, getval, notrace_primitive, primitive


@primitive
def relu(x: Array) -> Array:
    """Return max(x, 0). Elementwise."""
    return np.maximum(x, 0)


# Autograd's own derivative of maximum is float64 for any dtype of x.
defvjp(relu, lambda ans, x: lambda g: np.where(x > 0, g, 0))


def sech_squared(x: Array) -> Array:
    """Return the slope of tanh, 4 e^(-2|x|) / (1 + e^(-2|x|))^2: no overflow, no cancellation."""
    tail = np.exp(-2 * np.abs(x))
    return 4 * tail / (1 + tail) ** 2


@primitive
def tanh(x: Array) -> Array:
    """Return tanh x; autograd's own derivative, 1 / cosh^2, overflows above 355 (float32: 45)."""
    return np.tanh(x)


defvjp(tanh, lambda ans, x: lambda g: g * sech_squared(x))


@primitive
def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e^-x), exact on both sides: sigmoid(-x) is 1 - sigmoid(x)."""
    tail = np.exp(-np.abs(x))
    return np.where(x > 0, 1, tail) / (1 + tail)


defvjp(sigmoid, lambda ans, x: lambda g: g * ans * sigmoid(-x))
defjvp(sigmoid, lambda g, ans, x: g * ans * sigmoid(-x))


@primitive
def softplus(x: Array) -> Array:
    """Return log(1 + e^x), exact for large |x|; autograd's slope e^(x - softplus x) is not."""
    return np.logaddexp(x, 0)


defvjp(softplus, lambda ans, x: lambda g: g * sigmoid(x))
defjvp(softplus, lambda g, ans, x: g * sigmoid(x))


@primitive
def where(condition: Array, one: Array, other: Array) -> Array:
    """Return ``one`` where the condition holds, ``other`` elsewhere."""
    return np.where(condition, one, other)


# Autograd's own derivative of where is float64 for any dtype of the arguments.
defvjp(
    where,
    lambda ans, condition, one, other: lambda g: where(condition, g, np.zeros_like(g)),
    lambda ans, condition, one, other: lambda g: where(condition, np.zeros_like(g), g),
    argnums=(1, 2),
)


@notrace_primitive
def largest(raw: Array) -> Array:
    """Return the largest along axis 0; autograd may hold it constant, as softmax ignores it."""
    return np.max(raw, axis=0)


@primitive
def softmax(raw: Array) -> Array:
    """Return e^raw_k / sum_j e^raw_j along axis 0. Shapes: raw (K, ...). Returns (K, ...)."""
    weights = np.exp(raw - largest(raw))
    return weights / np.sum(weights, axis=0)


def softmax_vjp(parts: Array, g: Array) -> Array:
    """Return p_k (g_k - sum_j p_j g_j), with g shifted by its value at the largest part.

    So nothing cancels if one part is nearly 1.
    """
    most = np.argmax(getval(parts), axis=0) == np.arange(len(parts)).reshape(
        (-1,) + (1,) * (parts.ndim - 1)
    )
    g = g - np.sum(where(most, g, np.zeros_like(getval(parts))), axis=0)
    return parts * (g - np.sum(parts * g, axis=0))


defvjp(softmax, lambda ans, raw: lambda g: softmax_vjp(ans, g))
defjvp(softmax, lambda g, ans, raw: softmax_vjp(ans, g))

ACTIVATIONS = {"relu": relu, "tanh": tanh, "softplus": softplus}
