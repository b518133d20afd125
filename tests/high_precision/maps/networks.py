"""The networks that feed the flows, one number at a time."""

import mpmath as mp

from tests.high_precision.calculus import exact


def dot(a, b):
    return mp.fsum(p * q for p, q in zip(a, b))


def activate(name, value):
    if name == "relu":
        return value if value > 0 else mp.mpf(0)
    return mp.tanh(value) if name == "tanh" else mp.log(1 + mp.exp(value))


def read_by_network(coordinates, periodic):
    """Return a conditioner's inputs: plain numbers, then cosines, then sines of the angles."""
    angles = [coordinates[i] for i in periodic]
    return (
        [value for i, value in enumerate(coordinates) if i not in periodic]
        + [mp.cos(angle) for angle in angles]
        + [mp.sin(angle) for angle in angles]
    )


def network(params, inputs, activation, sees=lambda layer, source, target: True):
    """Apply an MLP; ``sees(layer, source, target)`` selects its connections."""
    values = inputs
    for layer, parameters in enumerate(params):
        weight, bias = exact(parameters["weight"]), exact(parameters["bias"])
        values = [
            bias[t]
            + mp.fsum(value * weight[s][t] for s, value in enumerate(values) if sees(layer, s, t))
            for t in range(len(bias))
        ]
        if layer + 1 < len(params):
            values = [activate(activation, value) for value in values]
    return values


def convolution(parameters, pixels):
    """Convolve an image, a dict {(row, column): list of channels}, zero outside.

    With an edge there is one more input channel: 0 in the image, 1 outside. A log-gain g multiplies
    by exp(3 g).
    """
    bias = exact(parameters["bias"])
    weight, edge, log_gain = (
        exact(parameters[name]) if name in parameters else default
        for name, default in (("weight", None), ("edge", None), ("log_gain", [0] * len(bias)))
    )
    reach = (len(edge or weight or [0]) - 1) // 2
    result = {}
    for i, j in pixels:
        terms = [[value] for value in bias]
        for a in range(-reach, reach + 1):
            for b in range(-reach, reach + 1):
                inside = (i + a, j + b) in pixels
                for e, collected in enumerate(terms):
                    if inside:
                        collected.append(
                            mp.fsum(
                                value * weight[a + reach][b + reach][c][e]
                                for c, value in enumerate(pixels[i + a, j + b])
                            )
                        )
                    elif edge is not None:
                        collected.append(edge[a + reach][b + reach][e])
        result[i, j] = [mp.fsum(term) * mp.exp(3 * g) for term, g in zip(terms, log_gain)]
    return result


def activated(name, pixels):
    return {place: [activate(name, value) for value in values] for place, values in pixels.items()}


def convolution_network(params, pixels, activation):
    """Apply convolutions with activations between them."""
    for parameters in params[:-1]:
        pixels = activated(activation, convolution(parameters, pixels))
    return convolution(params[-1], pixels)


def normalised_convolution(parameters, pixels):
    """Apply a convolution with the weights g v / |v| of each output."""
    v, length = exact(parameters["direction"]), exact(parameters["length"])
    norms = [
        mp.sqrt(mp.fsum(numbers[e] ** 2 for row in v for place in row for numbers in place))
        for e in range(len(length))
    ]
    weight = [
        [
            [
                [value * g / norm for value, g, norm in zip(numbers, length, norms)]
                for numbers in place
            ]
            for place in row
        ]
        for row in v
    ]
    return convolution({"weight": weight, "bias": parameters["bias"]}, pixels)


def residual_network(params, pixels, activation):
    """Apply RealNVP's blocks one after the other; add up the outputs of the skips."""

    def plus(one, other):
        return {place: [a + b for a, b in zip(one[place], other[place])] for place in one}

    h = normalised_convolution(params["first"], pixels)
    total = normalised_convolution(params["skip"], h)
    for block in params["blocks"]:
        inner = normalised_convolution(block["first"], activated(activation, h))
        h = plus(h, normalised_convolution(block["second"], activated(activation, inner)))
        total = plus(total, normalised_convolution(block["skip"], h))
    return normalised_convolution(params["last"], activated(activation, total))
