"""Activations of the networks, with derivatives that neither overflow nor change the dtype."""

import autograd.numpy as np

from nfref.runtime.tracing import defjvp, defvjp, primitive


@primitive
def relu(x):
    return np.maximum(x, 0)


# Autograd's own derivative of maximum is float64 whatever x is.
defvjp(relu, lambda ans, x: lambda g: np.where(x > 0, g, 0))


def sech_squared(x):
    """The slope of tanh: 4 e^(-2|x|) / (1 + e^(-2|x|))^2, which can neither overflow nor cancel."""
    tail = np.exp(-2 * np.abs(x))
    return 4 * tail / (1 + tail) ** 2


@primitive
def tanh(x):
    """tanh; its derivative by autograd, 1 / cosh^2, overflows from |x| = 355 (float32: 45) on."""
    return np.tanh(x)


defvjp(tanh, lambda ans, x: lambda g: g * sech_squared(x))


@primitive
def sigmoid(x):
    """1 / (1 + e^-x), which keeps its digits on both sides: sigmoid(-x) is 1 - sigmoid(x)."""
    tail = np.exp(-np.abs(x))
    return np.where(x > 0, 1, tail) / (1 + tail)


defvjp(sigmoid, lambda ans, x: lambda g: g * ans * sigmoid(-x))
defjvp(sigmoid, lambda g, ans, x: g * ans * sigmoid(-x))


@primitive
def softplus(x):
    """log(1 + e^x), exact for large |x|; its slope by autograd, e^(x - softplus x), is not."""
    return np.logaddexp(x, 0)


defvjp(softplus, lambda ans, x: lambda g: g * sigmoid(x))
defjvp(softplus, lambda g, ans, x: g * sigmoid(x))

ACTIVATIONS = {"relu": relu, "tanh": tanh, "softplus": softplus}
