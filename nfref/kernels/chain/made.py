"""The masked network of MADE on a block of rows, with the transformer it feeds.

Coordinates stand in their autoregressive order, context before them, hidden units by rising
degree (as :func:`nfref.networks.masked.made_masks` makes them), outputs by place, the P of a
place together. So every masked weight is block-triangular: what a unit sees is a prefix of the
layer below. Places are divided into groups; ``group_ends[0]`` are the places where groups end,
``group_ends[l]`` the numbers of units of hidden layer l that belong to the groups so far.
Products run over the blocks of groups, and skip what the mask makes zero.

There are two orders of the same work. *Parallel*: all places are known, and the layers follow each
other. *Sequential*: groups have one place each. As soon as a place is known, the units that wait
for it are computed, once. So the slow direction costs one sweep and not D passes. The inputs of
the next ``AHEAD`` places from all places before are summed for all of them at once, because a
product of a few rows reads its inputs again for each row. The derivative of each order runs it
backwards.

theta: the network. Tape: its layers, then E rows for each place, which belong to the transformer.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import (
    add_row,
    add_row_sums,
    add_rows,
    copy_row,
    copy_rows,
    matrix_of,
    units_of,
)
from nfref.kernels.chain.network import (
    IDENTITY,
    activate,
    activate_vjp,
    rows_before,
    weight_at,
    width_of,
)
from nfref.kernels.chain.transformers import OPERANDS, decode, transform_all, transform_all_vjp
from nfref.kernels.jit import body, called_kernel
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

AHEAD = 16  # places

# The masked network: its activation, widths (input to output) and outputs a place, and where groups
# end.
Net = namedtuple("Net", "activation widths size group_ends")

# The operands: whether the sweep is sequential, as the network reads what comes out; the masked
# network; and the places in its order.
Made = namedtuple("Made", "sequential net places")


@body
def decode_made(chain, pc):
    """Read a transformer, sequential, activation, three lengths, widths, places and group_ends."""
    code, sequential = chain.code, pc + OPERANDS
    lengths = sequential + 2
    n_widths, dim, n_ends = code[lengths], code[lengths + 1], code[lengths + 2]
    widths = lengths + 3
    order = widths + n_widths
    ends = order + 2 * dim
    group_ends = matrix_of(code, ends, n_widths - 1, n_ends)
    places = decode(chain, pc, order, dim, 1, dim)
    size = places.transformer.raw_rows
    net = Net(code[sequential + 1], code[widths:order], size, group_ends)
    return Made(code[sequential], net, places)


@body
def units_in(net, layer, group, end):
    """Return the first unit of groups ``group`` to ``end`` in a layer, and their number."""
    size, row = (net.size, 0) if layer == len(net.widths) - 1 else (1, layer)
    first = size * net.group_ends[row, group]
    return first, size * net.group_ends[row, end] - first


@body
def n_context_of(net):
    return net.widths[0] - net.group_ends[0, -1]


@body
def known_before(net, layer, group):
    """Return the number of units in the layer below before the start of a group of places."""
    context = n_context_of(net) if layer == 1 else 0
    return context + net.group_ends[layer - 1, group]


@body
def units_seen(net, layer, group):
    """Return the number of units in the layer below that a group of ``layer`` sees.

    Of inputs, these are the places before its last one.
    """
    return known_before(net, layer, group + 1) - (1 if layer == 1 else 0)


@body
def add_seen(net, storage, layer, group, end, known, seen, keep):
    """Sum the inputs of units from ``group`` to ``end``, over units ``known`` to ``seen`` below.

    keep : 1 to add to the present sums, 0 to overwrite them
    """
    theta, tape, columns = storage.theta, storage.tape, storage.columns
    before, fan_out, fan_in = net.widths[layer - 1], net.widths[layer], seen - known
    first, units = units_in(net, layer, group, end)
    weight = storage.at + weight_at(net.widths, layer) + first + known * fan_out
    width = width_of(columns)
    below = storage.tape_at + rows_before(net.widths, layer - 1, width)
    h, out = below + known * width, below + (before + first) * width
    times(theta, weight, fan_out, fan_in, units, tape, h, tape, out, width, keep, columns)


@body
def group_forward(net, storage, layer, group, start):
    """Compute the units of one group in a layer, from the prefix of the layer below.

    The sums already contain the part before the group ``start``, unless that is 0.
    """
    widths, width = net.widths, width_of(storage.columns)
    first, units = units_in(net, layer, group, group + 1)
    if units == 0:
        return
    known = known_before(net, layer, start) if start > 0 else 0
    add_seen(
        net, storage, layer, group, group + 1, known, units_seen(net, layer, group), min(start, 1)
    )
    bias = storage.at + weight_at(widths, layer) + widths[layer - 1] * widths[layer] + first
    out = storage.tape_at + rows_before(widths, layer, width) + first * width
    activation = net.activation if layer < len(widths) - 1 else IDENTITY
    activate(activation, bias, units, storage, out, storage.columns)


@body
def group_vjp(net, storage, layer, group, g):
    """Compute the cotangent of one group in hidden ``layer``, from the suffix that sees it."""
    widths = net.widths
    first, units = units_in(net, layer, group, group + 1)
    if units == 0:
        return
    above, _ = units_in(net, layer + 1, group, group + 1)
    weight = storage.at + weight_at(widths, layer + 1) + first * widths[layer + 1] + above
    here = rows_before(widths, layer) + first * ROWS
    g_at, count = rows_before(widths, layer + 1) + above * ROWS, widths[layer + 1] - above
    theta, stride, columns = storage.theta, widths[layer + 1], storage.columns
    times_transposed(theta, weight, stride, units, count, g, g_at, g, here, 0, ROWS, columns)
    activate_vjp(net.activation, units, storage, storage.tape_at + here, g, here, columns)


@body
def weights_vjp(net, storage, g, g_theta):
    """Add the gradient of the masked weights and biases to g_theta."""
    widths, tape, columns = net.widths, storage.tape, storage.columns
    for layer in range(1, len(widths)):
        weight, fan_out = storage.at + weight_at(widths, layer), widths[layer]
        h, here = storage.tape_at + rows_before(widths, layer - 1), rows_before(widths, layer)
        for group in range(net.group_ends.shape[1] - 1):
            first, units = units_in(net, layer, group, group + 1)
            seen, g_at, at = units_seen(net, layer, group), here + first * ROWS, weight + first
            add_outer(tape, h, seen, g, g_at, units, g_theta, at, fan_out, ROWS, columns)
        bias = weight + widths[layer - 1] * fan_out
        add_row_sums(g, here, fan_out, g_theta, bias, ROWS, columns)


@called_kernel
def made(chain, pc, storage, block):
    """Transform every coordinate, with parameters computed from those at the places before it."""
    operands = decode_made(chain, pc)
    net, places, sequential, u = operands.net, operands.places, operands.sequential, block.u
    widths, ends, columns, order = net.widths, net.group_ends, storage.columns, places.rows
    last, width = len(widths) - 1, width_of(columns)
    groups = ends.shape[1] - 1
    n_context = n_context_of(net)
    seen = matrix_of(storage.tape, storage.tape_at, widths[0], width)
    copy_rows(n_context, block.context, 0, seen, 0, columns)
    for k in range(places.count):
        copy_row(u, order[k], seen, n_context + k, columns)
    raw_at = storage.tape_at + rows_before(widths, last, width)
    for step in range(groups * last):
        layer, group = (
            (step % last, step // last) if sequential else (step // groups, step % groups)
        )
        start = group // AHEAD * AHEAD if sequential else 0
        if 0 < start == group:
            end, known = min(group + AHEAD, groups), known_before(net, layer + 1, group)
            add_seen(net, storage, layer + 1, group, end, 0, known, 0)
        group_forward(net, storage, layer + 1, group, start)
        if layer + 1 < last:
            continue
        # The outputs of this group stand: its coordinates can be transformed. Those of a single row
        # wait for the last one, to go side by side.
        first, end = ends[0, group], ends[0, group + 1]
        if columns == 1 and not sequential:
            first, end = 0, end if group == groups - 1 else 0
        transform_all(places, storage.tape, raw_at, first, end, block, columns)
        for place in range(first, end if sequential else first):
            copy_row(u, order[place], seen, n_context + place, columns)


@called_kernel
def made_vjp(chain, pc, storage, cotangents, g_tape):
    """Go back. Sequential: the last place first; its cotangent is complete, then its inputs are.

    g_tape : scratch for the cotangents of the network's layers
    """
    operands = decode_made(chain, pc)
    net, places, sequential = operands.net, operands.places, operands.sequential
    widths, ends, order = net.widths, net.group_ends, places.rows
    g, tape, last = cotangents.u, storage.tape, len(widths) - 1
    groups, columns = ends.shape[1] - 1, storage.columns
    n_context = n_context_of(net)
    g_seen = units_of(g_tape, n_context * ROWS, places.count)
    raw_at = storage.tape_at + rows_before(widths, last)
    g_raw = units_of(g_tape, rows_before(widths, last), widths[-1])
    for step in range(groups * (last + 1)):
        down, group = (
            (step % (last + 1), step // (last + 1))
            if sequential
            else (step // groups, step % groups)
        )
        group = groups - 1 - group
        first, end = ends[0, group], ends[0, group + 1]
        if down == 0:
            transform_all_vjp(places, tape, raw_at, first, end, cotangents, g_raw, columns)
        elif down < last:
            group_vjp(net, storage, last - down, group, g_tape)
        else:
            # Units of this group see the places before its last one. In the sequential order
            # that is the place whose cotangent this group completes.
            if sequential:
                first, end = max(first - 1, 0), end - 1
            inputs_vjp(net, storage, group, n_context + first, end - first, g_tape)
            for place in range(first, end):
                add_row(g_seen, place, g, order[place], columns)
    inputs_vjp(net, storage, 0, 0, n_context, g_tape)
    add_rows(n_context, units_of(g_tape, 0, n_context), 0, cotangents.context, 0, columns)
    weights_vjp(net, storage, g_tape, cotangents.theta)


@body
def inputs_vjp(net, storage, group, first, count, g_tape):
    """Compute the cotangents of ``count`` inputs, which units from ``group`` on see."""
    above, fan_out, theta, g = net.group_ends[1, group], net.widths[1], storage.theta, g_tape
    weight, units, columns = storage.at + first * fan_out + above, fan_out - above, storage.columns
    g_at, out = rows_before(net.widths, 1) + above * ROWS, first * ROWS
    times_transposed(theta, weight, fan_out, count, units, g, g_at, g, out, 0, ROWS, columns)
