"""TarFlow, section 2.2: one token after the other, from the tokens before it.

There is no mask: the network gets the known tokens, and its output at the last of them parametrises
the next.
"""

import mpmath as mp

from nfref.flows.images.tarflow import TarFlow, TarFlowBlock
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import dot
from tests.high_precision.maps.transformers import transform


def linear(parameters, values):
    columns = zip(*exact(parameters["weight"]))
    return [bias + dot(column, values) for column, bias in zip(columns, exact(parameters["bias"]))]


def layer_norm(parameters, values):
    mean = mp.fsum(values) / len(values)
    variance = mp.fsum((value - mean) ** 2 for value in values) / len(values)
    return [
        (value - mean) / mp.sqrt(variance + mp.mpf(1e-5)) * gain + offset
        for value, gain, offset in zip(
            values, exact(parameters["gain"]), exact(parameters["offset"])
        )
    ]


def attention_of_the_last(parameters, tokens, heads):
    """Return the attention output of the last token, which attends to all."""
    query = linear(parameters["query"], tokens[-1])
    keys = [linear(parameters["key"], token) for token in tokens]
    values = [linear(parameters["value"], token) for token in tokens]
    width, gathered = len(query) // heads, []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        weights = [mp.exp(dot(query[own], key[own]) / mp.sqrt(width)) for key in keys]
        gathered += [
            dot(weights, [value[c] for value in values]) / mp.fsum(weights)
            for c in range(len(query))[own]
        ]
    return linear(parameters["output"], gathered)


def plus(a, b):
    return [p + q for p, q in zip(a, b)]


def last_output(params, tokens, heads, context):
    """Return the network's output at the last of the given tokens."""
    given = (
        [dot(column, context) for column in zip(*exact(params["from_context"]))]
        if context
        else [mp.mpf(0)] * params["position"].shape[1]
    )
    h = [
        plus(plus(linear(params["embed"], token), exact(params["position"])[t]), given)
        for t, token in enumerate(tokens)
    ]
    for layer in params["layers"]:
        normed = [layer_norm(layer["norm"], token) for token in h]
        h = [
            plus(h[t], attention_of_the_last(layer["attention"], normed[: t + 1], heads))
            for t in range(len(h))
        ]
        for t, token in enumerate(h):
            hidden = [
                value * mp.ncdf(value)
                for value in linear(layer["mlp"][0], layer_norm(layer["mlp_norm"], token))
            ]
            h[t] = plus(token, linear(layer["mlp"][1], hidden))
    return linear(params["output"], h[-1])


def block(flow, params, z, context):
    width, size = flow.width, flow.transformer.size
    places = [list(range(t * width, (t + 1) * width)) for t in range(flow.length)]
    x, known = [None] * flow.dim, []
    for place in reversed(places) if flow.reverse else places:
        raw = (
            last_output(params["net"], known, flow.heads, context)
            if known
            else [mp.mpf(0)] * (size * width)
        )
        for w, i in enumerate(place):
            x[i] = transform(flow, params, i, raw[w::width], z[i])
        known.append([x[i] for i in place])
    return x


MAPS = {TarFlowBlock: block, TarFlow: chain}

CONFIGURATIONS = {
    "tarflow_block": TarFlowBlock(3, channels=3, heads=3, expansion=1, reverse=True, context_dim=1),
    "tarflow": TarFlow(2, layers=2, channels=2, heads=1, expansion=1),
}
