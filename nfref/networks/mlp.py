"""The plain network that feeds the flows: a multilayer perceptron.

It is a function of (params, x). Parameters are a list with one ``{"weight": (in, out), "bias":
(out,)}`` for each layer, which computes x @ weight + bias. The last layer starts at zero, so that
a flow starts as the identity.
"""

import autograd.numpy as np

from nfref.networks.activations import ACTIVATIONS
from nfref.runtime.annotations import Array, Generator, Sequence


def init_mlp(rng: Generator, sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Return initial parameters of a network with widths ``sizes``: input, hidden ..., output.

    Hidden layers are uniform in +-1/sqrt(fan_in), weights and biases; the last is zero.
    """
    layers = [
        uniform_layer(rng, 1 / np.sqrt(max(fan_in, 1)), fan_in, fan_out)
        for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1])
    ]
    layers.append({"weight": np.zeros((sizes[-2], sizes[-1])), "bias": np.zeros(sizes[-1])})
    return layers


def uniform_layer(rng: Generator, limit: float, fan_in: int, fan_out: int) -> dict[str, Array]:
    """Return weights and biases of a layer, uniform in +-``limit``."""
    return {
        "weight": rng.uniform(-limit, limit, (fan_in, fan_out)),
        "bias": rng.uniform(-limit, limit, fan_out),
    }


def mlp(params: list[dict[str, Array]], x: Array, activation: str = "relu") -> Array:
    """Return h_{L-1} W_L + b_L, where h_0 = x and h_l = a(h_{l-1} W_l + b_l).

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


def angles_as_points(x: Array, periodic: Sequence[int]) -> Array:
    """Replace angles by points of the unit circle: [other columns, cosines, sines].

    A network that reads points cannot tell an angle from the same angle plus a full turn.

    Parameters
    ----------
    x : (N, D) array
    periodic : tuple of int
        The columns of angles in radians, in rising order; an empty tuple leaves x as it is.

    Returns
    -------
    (N, D + A) array, for A angles
    """
    if not periodic:
        return x
    angles = x[:, list(periodic)]
    return np.concatenate(
        [x[:, real_columns(x.shape[1], periodic)], np.cos(angles), np.sin(angles)], axis=1
    )


def real_columns(dim: int, periodic: Sequence[int]) -> list[int]:
    """Return the columns of 0 ... ``dim``-1 that are not angles."""
    return [column for column in range(dim) if column not in periodic]


def with_context(x: Array, context: Array | None) -> Array:
    """Return the input of a conditioner: [x, context], or x alone."""
    return x if context is None else np.concatenate([x, context], axis=1)
