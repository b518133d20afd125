"""Networks that feed the flows: a plain MLP and the masked one of MADE.

Both are functions of (params, x). Parameters are a list with one
``{"weight": (in, out), "bias": (out,)}`` a layer, and x @ weight + bias is the layer.
The last layer starts at zero, so that a flow starts as the identity.
"""

import autograd.numpy as np
from autograd.extend import defvjp, primitive


@primitive
def relu(x):
    return np.maximum(x, 0)


# Autograd's own derivative of maximum is float64 whatever x is.
defvjp(relu, lambda ans, x: lambda g: g * (x > 0))


def softplus(x):
    """log(1 + e^x), exact for large |x|."""
    return np.logaddexp(x, 0)


def sech_squared(x):
    """The slope of tanh: 4 e^(-2|x|) / (1 + e^(-2|x|))^2, which can neither overflow nor cancel."""
    tail = np.exp(-2 * np.abs(x))
    return 4 * tail / (1 + tail) ** 2


@primitive
def tanh(x):
    """Autograd's own derivative of tanh, 1 / cosh^2, overflows from |x| = 355 (float32: 45) on."""
    return np.tanh(x)


defvjp(tanh, lambda ans, x: lambda g: g * sech_squared(x))

ACTIVATIONS = {"relu": relu, "tanh": tanh, "softplus": softplus}


def bounded(raw, bound):
    """Smooth odd squashing of the line onto (-bound, bound): raw / sqrt(1 + (raw/bound)^2).

    Used for log-scales. Near zero it is the identity; unlike a clamp or a tanh its slope
    (1 + (raw/bound)^2)^(-3/2) falls off slowly, so no scale is ever stuck at the bound.
    """
    return raw / np.sqrt(1 + (raw / bound) ** 2)


def init_mlp(rng, sizes):
    """Parameters of a network with layer widths ``sizes``: input, hidden ..., output.

    Hidden layers are uniform in +-1/sqrt(fan_in), weights and biases; the last is zero.
    """
    layers = []
    for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1]):
        limit = 1 / np.sqrt(max(fan_in, 1))
        layers.append({"weight": rng.uniform(-limit, limit, (fan_in, fan_out)),
                       "bias": rng.uniform(-limit, limit, fan_out)})
    layers.append({"weight": np.zeros((sizes[-2], sizes[-1])), "bias": np.zeros(sizes[-1])})
    return layers


def mlp(params, x, activation="relu"):
    """h_0 = x, h_l = a(h_{l-1} W_l + b_l), output h_{L-1} W_L + b_L.

    Parameters
    ----------
    params : list of {"weight", "bias"}
    x : (N, fan_in) array
    activation : {"relu", "tanh", "softplus"}

    Returns
    -------
    (N, fan_out) array
    """
    activate = ACTIVATIONS[activation]
    last = len(params) - 1
    for k in range(last):
        x = activate(x @ params[k]["weight"] + params[k]["bias"])
    return x @ params[last]["weight"] + params[last]["bias"]


def with_context(x, context):
    """The input of a conditioner: [x, context], or x alone."""
    return x if context is None else np.concatenate([x, context], axis=1)


def made_masks(order, hidden, outputs_per_dim, context_dim=0):
    """Masks that make an MLP autoregressive (Germain et al. 2015, eq. 8-9).

    Input i has degree ``order[i]`` + 1, context has degree 0, hidden units have degrees
    spread evenly and sorted. A hidden unit sees inputs and units of degree at most its
    own; output i sees hidden units of degree at most ``order[i]``. So output i depends on
    exactly those inputs j with order[j] < order[i], and on all of the context.

    Parameters
    ----------
    order : sequence of int
        order[i] is the place of coordinate i in the autoregressive order, 0 to D-1.
    hidden : sequence of int
        Widths of the hidden layers.
    outputs_per_dim : int
        How many outputs each coordinate has; output columns come in blocks of D.
    context_dim : int

    Returns
    -------
    list of (in, out) bool arrays, one a layer
    """
    order = np.asarray(order)
    lowest = 0 if context_dim else 1        # degree 0 sees the context alone
    levels = max(len(order) - lowest, 1)    # degrees lowest ... D-1
    degrees = [np.concatenate([order + 1, np.zeros(context_dim, dtype=int)])]
    degrees += [lowest + np.arange(width) * levels // width for width in hidden]
    masks = [below[:, None] <= above[None, :] for below, above in zip(degrees, degrees[1:])]
    masks.append(degrees[-1][:, None] <= np.tile(order, outputs_per_dim)[None, :])
    return masks


def masked_mlp(params, masks, x, activation="relu"):
    """The network of :func:`mlp` with every weight multiplied by its mask."""
    masked = [{"weight": params[k]["weight"] * mask, "bias": params[k]["bias"]}
              for k, mask in enumerate(masks)]
    return mlp(masked, x, activation)
