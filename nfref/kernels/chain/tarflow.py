"""A block of TarFlow on a block of rows, from data to latent, and its derivative.

:mod:`nfref.flows.images.tarflow` and :mod:`nfref.networks.attention` have the formulas. Numbers of
tokens stand feature by feature, T rows of a block for each, so that a dense layer over all tokens
is one product. theta: the arrays of the network in the order of its parameters. Tape: tokens, h,
what each layer needs on the way back, the raw outputs moved on by a token, E rows a coordinate;
the context last.
"""

import math
from collections import namedtuple

from nfref.kernels.chain.block_rows import (
    add_multiple,
    add_product,
    add_row,
    add_row_sums,
    clear,
    clear_row,
    copy_row,
    units_of,
)
from nfref.kernels.chain.network import add_bias
from nfref.kernels.chain.transformers import OPERANDS, decode, transform_all, transform_all_vjp
from nfref.kernels.jit import body, called_kernel, reduction
from nfref.kernels.simd.elementary import exp, exp_neg
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

EPSILON = 1e-5  # of the layer norm
ROOT_HALF, DENSITY_AT_ZERO = 0.5**0.5, (2 * math.pi) ** -0.5

# The operands: T, W, C, heads, layers, hidden units, the features of a context, and the places of
# all numbers, token after token in the order of the network.
Tokens = namedtuple("Tokens", "length width channels heads depth hidden context places")

# Places of the numbers of one layer on the tape: normalised h with 1/std, and their result, twice;
# queries, keys and values; attention's weights and their mixture; the hidden units before gelu, Phi
# of them, and after.
Kept = namedtuple(
    "Kept", "first normed query key value weights mixed second second_normed before phi after end"
)

# Cotangents on the way back: flat numbers to work in, and those of theta.
Back = namedtuple("Back", "g theta")


@body
def decode_tokens(chain, pc):
    code, k = chain.code, pc + OPERANDS
    n = code[k] * code[k + 1]
    places = decode(chain, pc, k + 7, n, n, n)
    sizes = code[k], code[k + 1], code[k + 2], code[k + 3], code[k + 4], code[k + 5], code[k + 6]
    return Tokens(*sizes, places)


@body
def kept(own, at):
    """Return the places on the tape of what a layer keeps, from ``at`` on."""
    one, hidden = own.length * ROWS, own.hidden * own.length * ROWS
    stream = own.channels * one
    query = at + 2 * stream + one
    weights = query + 3 * stream
    mixed = weights + own.heads * own.length * one
    second = mixed + stream
    before = second + 2 * stream + one
    attention = query, query + stream, query + 2 * stream, weights, mixed
    units = before, before + hidden, before + 2 * hidden, before + 3 * hidden
    return Kept(at, query - stream, *attention, second, before - stream, *units)


@body
def numbers_of_layer(own):
    """Return how many parameters a layer has."""
    c, hidden = own.channels, own.hidden
    return 4 * c + 4 * (c * c + c) + c * hidden + hidden + hidden * c + c


@body
def dense(own, storage, at, fan_in, fan_out, h, out, keep):
    """Compute out = keep * out + W^T h + b for all tokens, both on the tape."""
    tape, at, width = storage.tape, storage.at + at, own.length * ROWS
    times(storage.theta, at, fan_out, fan_in, fan_out, tape, h, tape, out, width, keep)
    add_bias(storage.theta, at + fan_in * fan_out, fan_out, tape, out, width)


@body
def dense_vjp(own, storage, at, fan_in, fan_out, h, cotangents, g_at, out, keep):
    """Turn the cotangent at ``g_at`` into that of h, at ``out``; add to that of theta."""
    at, width, g, g_theta = storage.at + at, own.length * ROWS, cotangents.g, cotangents.theta
    add_outer(storage.tape, h, fan_in, g, g_at, fan_out, g_theta, at, fan_out, width)
    add_row_sums(g, g_at, fan_out, g_theta, at + fan_in * fan_out, width)
    times_transposed(storage.theta, at, fan_out, fan_in, fan_out, g, g_at, g, out, keep, width)


@body
def normalise_tokens(own, storage, at, h, normal_at, out):
    """Compute the layer norm: (h - mean) / std, 1 / std, and the result with gain and offset."""
    c, length, tape, theta = own.channels, own.length, storage.tape, storage.theta
    at, number = storage.at + at, storage.tape.dtype.type
    h, normal = units_of(tape, h, c * length), units_of(tape, normal_at, c * length)
    scale = units_of(tape, normal_at + c * length * ROWS, length)
    out = units_of(tape, out, c * length)
    share, epsilon = number(1 / c), number(EPSILON)
    for t in range(length):
        clear_row(scale, t)
        for j in range(c):
            add_row(h, j * length + t, scale, t)
        for j in range(c):
            for r in range(ROWS):
                normal[j * length + t, r] = h[j * length + t, r] - scale[t, r] * share
        clear_row(scale, t)
        for j in range(c):
            add_product(normal, j * length + t, normal, j * length + t, scale, t)
        for r in range(ROWS):
            scale[t, r] = number(1) / math.sqrt(scale[t, r] * share + epsilon)
        for j in range(c):
            for r in range(ROWS):
                normal[j * length + t, r] *= scale[t, r]
                out[j * length + t, r] = (
                    normal[j * length + t, r] * theta[at + j] + (theta[at + c + j])
                )


@body
def normalise_tokens_vjp(own, storage, at, normal_at, back, g_at, out, sums):
    """Add scale (e - mean e) to the cotangent of h at ``out``.

    e = y - n mean(y n) and y = gain g, where n is the normalised h. Two rows are free at ``sums``.
    The function overwrites g.
    """
    c, length, theta = own.channels, own.length, storage.theta
    at, g, number = storage.at + at, back.g, back.g.dtype.type
    normal = units_of(storage.tape, normal_at, c * length)
    scale = units_of(storage.tape, normal_at + c * length * ROWS, length)
    add_row_sums(g, g_at, c, back.theta, at + c, length * ROWS)
    total, out = units_of(g, sums, 2), units_of(g, out, c * length)
    g = units_of(g, g_at, c * length)
    share = number(1 / c)
    add_products(length, normal, g, c, back.theta, at)
    for t in range(length):
        clear(total)
        for j in range(c):
            for r in range(ROWS):
                g[j * length + t, r] *= theta[at + j]
                total[0, r] += g[j * length + t, r] * normal[j * length + t, r]
        # With few channels a cotangent nearly cancels; this order loses the fewest digits.
        for j in range(c):
            for r in range(ROWS):
                g[j * length + t, r] -= normal[j * length + t, r] * (total[0, r] * share)
                total[1, r] += g[j * length + t, r]
        for j in range(c):
            for r in range(ROWS):
                out[j * length + t, r] += scale[t, r] * (g[j * length + t, r] - total[1, r] * share)


@reduction
def add_products(length, normal, g, features, g_theta, at):
    """Add the gradient of the scales of a layer norm, summed over tokens and rows."""
    for j in range(features):
        total = g.dtype.type(0)
        for t in range(length):
            for r in range(ROWS):
                total += normal[j * length + t, r] * g[j * length + t, r]
        g_theta[at + j] += total


@body
def attend(own, tape, place):
    """Compute weights w_ts of each head and their mixture, row by row of data."""
    c, length, per_head = own.channels, own.length, own.channels // own.heads
    q, k = units_of(tape, place.query, c * length), units_of(tape, place.key, c * length)
    v, mixed = units_of(tape, place.value, c * length), units_of(tape, place.mixed, c * length)
    weights = units_of(tape, place.weights, own.heads * length * length)
    scale = tape.dtype.type(per_head**-0.5)
    for head in range(own.heads):
        for t in range(length):
            first, row = head * per_head, (head * length + t) * length
            for s in range(t + 1):
                clear_row(weights, row + s)
                for j in range(first, first + per_head):
                    add_product(q, j * length + t, k, j * length + s, weights, row + s)
            # The rows of later tokens are free: mixed holds the largest, then the sum.
            most = first * length + t
            copy_row(weights, row, mixed, most)
            for s in range(1, t + 1):
                for r in range(ROWS):
                    mixed[most, r] = max(mixed[most, r], weights[row + s, r])
            for s in range(t + 1):
                for r in range(ROWS):
                    weights[row + s, r] = exp_neg((mixed[most, r] - weights[row + s, r]) * scale)
            clear_row(mixed, most)
            for s in range(t + 1):
                add_row(weights, row + s, mixed, most)
            for s in range(t + 1):
                for r in range(ROWS):
                    weights[row + s, r] /= mixed[most, r]
            for j in range(first, first + per_head):
                clear_row(mixed, j * length + t)
                for s in range(t + 1):
                    add_product(weights, row + s, v, j * length + s, mixed, j * length + t)


@body
def attend_vjp(own, tape, place, g, g_mixed, g_query, g_weights):
    """Fill the cotangents of queries, keys and values, which follow each other."""
    c, length, per_head = own.channels, own.length, own.channels // own.heads
    q, k = units_of(tape, place.query, c * length), units_of(tape, place.key, c * length)
    v = units_of(tape, place.value, c * length)
    weights = units_of(tape, place.weights, own.heads * length * length)
    scale, step = g.dtype.type(per_head**-0.5), c * length * ROWS
    half = g.dtype.type(0.5)
    g_w, g_mixed = units_of(g, g_weights, length + 1), units_of(g, g_mixed, c * length)
    g_q, g_k = units_of(g, g_query, c * length), units_of(g, g_query + step, c * length)
    g_v = units_of(g, g_query + 2 * step, c * length)
    clear(g_q)
    clear(g_k)
    clear(g_v)
    for head in range(own.heads):
        for t in range(length):
            first, row = head * per_head, (head * length + t) * length
            for s in range(t + 1):
                clear_row(g_w, s)
                for j in range(first, first + per_head):
                    add_product(g_mixed, j * length + t, v, j * length + s, g_w, s)
                    add_product(weights, row + s, g_mixed, j * length + t, g_v, j * length + s)
                # Subtract the common part first: that of a weight near one.
                for r in range(ROWS):
                    common = (s == 0) | (weights[row + s, r] > half)
                    g_w[length, r] = g_w[s, r] if common else g_w[length, r]
            for s in range(t + 1):
                for r in range(ROWS):
                    g_w[s, r] -= g_w[length, r]
            clear_row(g_w, length)
            for s in range(t + 1):
                add_product(weights, row + s, g_w, s, g_w, length)
            for s in range(t + 1):
                for r in range(ROWS):
                    g_w[s, r] = scale * weights[row + s, r] * (g_w[s, r] - g_w[length, r])
                for j in range(first, first + per_head):
                    add_product(g_w, s, k, j * length + s, g_q, j * length + t)
                    add_product(g_w, s, q, j * length + t, g_k, j * length + s)


@called_kernel
def tokens_to_latent(chain, pc, storage, block):
    """Transform every coordinate, with parameters computed from the tokens before its own."""
    own = decode_tokens(chain, pc)
    c, length, width, tape, u = own.channels, own.length, own.width, storage.tape, block.u
    x_at = storage.tape_at
    h_at = x_at + width * length * ROWS
    seen, h = units_of(tape, x_at, width * length), units_of(tape, h_at, c * length)
    places = own.places
    for k in range(places.count):
        copy_row(u, places.rows[k], seen, places.rows[places.count + k])
    dense(own, storage, 0, width, c, x_at, h_at, 0)
    at = width * c + c
    for t in range(length):
        for j in range(c):
            for r in range(ROWS):
                h[j * length + t, r] += storage.theta[storage.at + at + t * c + j]
    at += length * c
    see_context(own, storage, at, block.context, h)
    at += own.context * c
    place_at = h_at + c * length * ROWS
    for _ in range(own.depth):
        place = kept(own, place_at)
        place_at = place.end
        normalise_tokens(own, storage, at, h_at, place.first, place.normed)
        at += 2 * c
        for k in range(3):
            out = place.query + k * c * length * ROWS
            dense(own, storage, at + k * (c * c + c), c, c, place.normed, out, 0)
        attend(own, tape, place)
        dense(own, storage, at + 3 * (c * c + c), c, c, place.mixed, h_at, 1)
        at += 4 * (c * c + c)
        normalise_tokens(own, storage, at, h_at, place.second, place.second_normed)
        at += 2 * c
        dense(own, storage, at, c, own.hidden, place.second_normed, place.before, 0)
        gelu(own, tape, place)
        at += (c + 1) * own.hidden
        dense(own, storage, at, own.hidden, c, place.after, h_at, 1)
        at += (own.hidden + 1) * c
    outputs = places.outputs // length
    dense(own, storage, at, c, outputs, h_at, place_at, 0)
    raw = units_of(tape, place_at, outputs * length)
    for j in range(outputs):
        for t in range(length - 1, 0, -1):
            copy_row(raw, j * length + t - 1, raw, j * length + t)
        clear_row(raw, j * length)
    transform_all(places, tape, place_at, 0, places.count, block, ROWS)


@body
def place_of_context(own, at):
    """Return the start of the context on the tape."""
    transformer = own.places.transformer
    each = own.width * (1 + transformer.raw_rows + transformer.tape_rows) + own.channels
    return at + own.length * each * ROWS + own.depth * kept(own, 0).end


@body
def see_context(own, storage, at, context, h):
    """Add the context's contribution to every token of h."""
    c, length = own.channels, own.length
    seen = units_of(storage.tape, place_of_context(own, storage.tape_at), own.context)
    for k in range(own.context):
        copy_row(context, k, seen, k)
        for j in range(c):
            weight = storage.theta[storage.at + at + k * c + j]
            for t in range(length):
                add_multiple(weight, context, k, h, j * length + t)


@body
def gelu(own, tape, place):
    """Set ``after`` to GELU(``before``), and keep the normal cdf of ``before``."""
    count = own.hidden * own.length
    before, phi = units_of(tape, place.before, count), units_of(tape, place.phi, count)
    after, number = units_of(tape, place.after, count), tape.dtype.type
    for j in range(count):
        for r in range(ROWS):
            phi[j, r] = number(0.5) * math.erfc(number(-ROOT_HALF) * before[j, r])
            after[j, r] = before[j, r] * phi[j, r]


@body
def gelu_vjp(own, tape, place, g, g_at):
    """Multiply g by Phi(x) + x e^(-x^2/2) / sqrt(2 pi)."""
    count = own.hidden * own.length
    before, phi = units_of(tape, place.before, count), units_of(tape, place.phi, count)
    g, number = units_of(g, g_at, count), tape.dtype.type
    for j in range(count):
        for r in range(ROWS):
            x = before[j, r]
            g[j, r] *= phi[j, r] + x * exp(number(-0.5) * x * x) * number(DENSITY_AT_ZERO)


@called_kernel
def tokens_to_latent_vjp(chain, pc, storage, cotangents, scratch):
    """Go back through the transformer, then through the layers."""
    own = decode_tokens(chain, pc)
    c, length, width, tape, g = own.channels, own.length, own.width, storage.tape, cotangents.u
    back, places = Back(scratch, cotangents.theta), own.places
    stream, outputs = c * length * ROWS, places.outputs // length
    h_at = storage.tape_at + width * length * ROWS
    layers_at = h_at + stream
    layer = kept(own, 0).end
    raw_at = layers_at + own.depth * layer
    g_h, g_query, g_mixed = 0, stream, 4 * stream
    g_hidden = 5 * stream
    g_out = g_hidden + own.hidden * length * ROWS
    g_seen = g_out + outputs * length * ROWS
    free = g_seen + width * length * ROWS
    g_raw, n = units_of(scratch, g_out, places.outputs), places.count
    transform_all_vjp(places, tape, raw_at, 0, n, cotangents, g_raw, ROWS)
    for j in range(outputs):
        for t in range(length - 1):
            copy_row(g_raw, j * length + t + 1, g_raw, j * length + t)
        clear_row(g_raw, j * length + length - 1)
    first_layer = (width + 1 + length + own.context) * c
    at = first_layer + own.depth * numbers_of_layer(own)
    dense_vjp(own, storage, at, c, outputs, h_at, back, g_out, g_h, 0)
    for k in range(own.depth - 1, -1, -1):
        place = kept(own, layers_at + k * layer)
        at = first_layer + (k + 1) * numbers_of_layer(own) - (own.hidden + 1) * c
        dense_vjp(own, storage, at, own.hidden, c, place.after, back, g_h, g_hidden, 0)
        gelu_vjp(own, tape, place, scratch, g_hidden)
        at -= (c + 1) * own.hidden
        dense_vjp(own, storage, at, c, own.hidden, place.second_normed, back, g_hidden, g_mixed, 0)
        at -= 2 * c
        normalise_tokens_vjp(own, storage, at, place.second, back, g_mixed, g_h, free)
        at -= c * c + c
        dense_vjp(own, storage, at, c, c, place.mixed, back, g_h, g_mixed, 0)
        attend_vjp(own, tape, place, scratch, g_mixed, g_query, free)
        at -= 3 * (c * c + c)
        for j in range(3):
            here, g_at = at + j * (c * c + c), g_query + j * stream
            dense_vjp(own, storage, here, c, c, place.normed, back, g_at, g_mixed, min(j, 1))
        at -= 2 * c
        normalise_tokens_vjp(own, storage, at, place.first, back, g_mixed, g_h, free)
    for t in range(length):
        for j in range(c):
            offset = storage.at + (width + 1 + t) * c + j
            add_row_sums(scratch, (j * length + t) * ROWS, 1, back.theta, offset)
    from_context = first_layer - own.context * c
    see_context_vjp(own, storage, from_context, back, free, cotangents.context)
    dense_vjp(own, storage, 0, width, c, storage.tape_at, back, g_h, g_seen, 0)
    g_tokens = units_of(scratch, g_seen, width * length)
    for k in range(n):
        add_row(g_tokens, places.rows[places.count + k], g, places.rows[k])


@reduction
def see_context_vjp(own, storage, at, back, free, g_context):
    """Go back; the cotangent of h is the first of all, and ``free`` is a free row."""
    c, length, at = own.channels, own.length, storage.at + at
    seen = units_of(storage.tape, place_of_context(own, storage.tape_at), own.context)
    g_h, g = units_of(back.g, 0, c * length), units_of(back.g, free, 1)
    for j in range(c if own.context > 0 else 0):
        clear_row(g, 0)
        for t in range(length):
            add_row(g_h, j * length + t, g, 0)
        for k in range(own.context):
            weight, total = storage.theta[at + k * c + j], g.dtype.type(0)
            for r in range(ROWS):
                total += g[0, r] * seen[k, r]
                g_context[k, r] += weight * g[0, r]
            back.theta[at + k * c + j] += total
