"""A causal Transformer: the output of each token sees that token and the ones before it.

Source: the pre-norm Transformer of TarFlow's published code (Zhai et al. 2024,
arXiv:2412.06329).

    h_t = E x_t + position_t
    h   = h + attention(norm(h)),   h = h + mlp(norm(h)),   once a layer
    out_t = W h_t + b

Tokens are rows of an (N, T, C) array. Only the attention mixes them; its weights for later
tokens are zero.
"""

import autograd.numpy as np

from nfref.networks.activations import softmax
from nfref.networks.mlp import uniform_layer
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.autograd_internals import defjvp, defvjp, getval, primitive

EPSILON = 1e-5  # of the layer norm, as in PyTorch


def layer_norm(params: dict[str, Array], h: Array) -> Array:
    """Return (h - mean) / sqrt(variance + eps) * gain + offset over each token's channels."""
    centred = h - np.mean(h, axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + EPSILON) * params["gain"] + params["offset"]


@primitive
def normal_cdf(x: Array) -> Array:
    """Return Phi(x), the distribution function of the standard normal. Elementwise."""
    from scipy.special import ndtr  # slow to import, so only on use

    return ndtr(x)


def normal_density(x: Array) -> Array:
    """Return exp(-x^2 / 2) / sqrt(2 pi). Elementwise."""
    return np.exp(-0.5 * x**2) / (2 * np.pi) ** 0.5


defvjp(normal_cdf, lambda ans, x: lambda g: g * normal_density(x))
defjvp(normal_cdf, lambda g, ans, x: g * normal_density(x))


def gelu(x: Array) -> Array:
    """Return x Phi(x). Elementwise."""
    return x * normal_cdf(x)


def dense(params: dict[str, Array], h: Array) -> Array:
    """Return W h_t + b for every token, as one matrix product. (N, T, C) -> (N, T, E)."""
    n, length, channels = h.shape
    rows = np.reshape(h, (n * length, channels)) @ params["weight"] + params["bias"]
    return np.reshape(rows, (n, length, rows.shape[1]))


def causal_attention(
    params: dict[str, dict[str, Array]], h: Array, heads: int, temperature: float = 1.0
) -> Array:
    """Return out_t = P sum_{s <= t} w_ts v_s,  w_ts = softmax_s(q_t . k_s / sqrt(C / heads)).

    Queries, keys and values are linear in h; each head has its own share of the channels and
    its own weights w. A temperature divides the scores: above 1 it evens the weights out.

    Shapes: h (N, T, C). Returns (N, T, C).
    """
    n, length, channels = h.shape

    def by_head(name):  # (N, T, C) -> (N, heads, T, C / heads)
        parts = np.reshape(dense(params[name], h), (n, length, heads, channels // heads))
        return np.transpose(parts, (0, 2, 1, 3))

    q, k, v = by_head("query"), by_head("key"), by_head("value")
    scores = q @ np.transpose(k, (0, 1, 3, 2)) / ((channels // heads) ** 0.5 * temperature)
    later = np.triu(np.full((length, length), -np.inf, np.finfo(getval(h).dtype).dtype), 1)
    weights = np.moveaxis(softmax(np.moveaxis(scores + later, -1, 0)), 0, -1)
    mixed = np.transpose(weights @ v, (0, 2, 1, 3))
    return dense(params["output"], np.reshape(mixed, (n, length, channels)))


def causal_transformer(
    params: dict[str, Any],
    tokens: Array,
    heads: int,
    context: Array | None = None,
    temperature: float = 1.0,
) -> Array:
    """Apply the network at the head of this file; a context is added to every token.

    Parameters
    ----------
    params : dict
        As made by :func:`init_causal_transformer`.
    tokens : (N, T, W) array
    heads : int
    context : (N, K) array, optional
    temperature : float, default 1.0
        Temperature of the attention.

    Returns
    -------
    (N, T, E) array
        Entry t is a function of tokens 1 ... t and of the context.
    """
    h = dense(params["embed"], tokens) + params["position"]
    if context is not None:
        h = h + (context @ params["from_context"])[:, None, :]
    for layer in params["layers"]:
        normed = layer_norm(layer["norm"], h)
        h = h + causal_attention(layer["attention"], normed, heads, temperature)
        hidden = gelu(dense(layer["mlp"][0], layer_norm(layer["mlp_norm"], h)))
        h = h + dense(layer["mlp"][1], hidden)
    return dense(params["output"], h)


def init_causal_transformer(
    rng: Generator,
    length: int,
    width: int,
    channels: int,
    depth: int,
    expansion: int,
    outputs: int,
    context_dim: int = 0,
) -> Any:
    """Return initial parameters of :func:`causal_transformer`.

    Weights and biases are uniform in +-1/sqrt(fan_in), positions normal with standard deviation
    0.01; the last layer is zero, weight and bias.

    Parameters
    ----------
    rng : numpy.random.Generator
    length, width : int
        T tokens of W numbers each.
    channels : int
        C.
    depth : int
        Layers of attention and MLP.
    expansion : int
        The MLP of a layer has ``expansion`` C hidden units.
    outputs : int
        E, numbers for each token.
    context_dim : int
    """

    def linear(fan_in, fan_out):
        return uniform_layer(rng, fan_in**-0.5, fan_in, fan_out)

    def norm():
        return {"gain": np.ones(channels), "offset": np.zeros(channels)}

    params = {
        "embed": linear(width, channels),
        "position": 0.01 * rng.standard_normal((length, channels)),
    }
    if context_dim:
        params["from_context"] = linear(context_dim, channels)["weight"]
    params["layers"] = [
        {
            "norm": norm(),
            "attention": {
                name: linear(channels, channels) for name in ("query", "key", "value", "output")
            },
            "mlp_norm": norm(),
            "mlp": [linear(channels, expansion * channels), linear(expansion * channels, channels)],
        }
        for _ in range(depth)
    ]
    params["output"] = {"weight": np.zeros((channels, outputs)), "bias": np.zeros(outputs)}
    return params
