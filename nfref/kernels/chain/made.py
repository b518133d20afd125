"""The masked network of MADE on a block of rows, with the affine map it feeds.

Coordinates stand in their autoregressive order, context before them, hidden units by rising
degree (as :func:`nfref.networks.masked.made_masks` makes them), outputs in pairs (mu, raw) by
place. So every masked weight is block-triangular: what a unit sees is a prefix of the layer
below. Places are divided into groups; ``cuts[0]`` are the places where groups end,
``cuts[l]`` the numbers of units of hidden layer l that belong to the groups so far.
Products run over the blocks of groups, and skip what the mask makes zero.

Two orders of the same work. *Parallel*: all places are known, layer by layer. *Sequential*:
groups of one place each; as soon as a place is known the units that wait for it are
computed, once, so that the slow direction costs one sweep and not D passes. The derivative
of each runs the same order backwards.
"""

from nfref.kernels.chain.coupling import affine, affine_back
from nfref.kernels.chain.network import (activate, activate_back, add_bias, add_row_sums, copy_row,
                                         units_of)
from nfref.kernels.jit import body
from nfref.kernels.simd.products import ROWS, add_outer, times, times_transposed


@body
def _start(widths, layer):
    """Where the weight of ``layer`` (1 is the first) stands, counted from the first one."""
    at = 0
    for k in range(1, layer):
        at += (widths[k - 1] + 1) * widths[k]
    return at


@body
def _rows(widths, layer):
    """Where the values of ``layer`` (0 is the input) stand, counted from the input."""
    at = 0
    for k in range(layer):
        at += widths[k] * ROWS
    return at


@body
def _forward_group(layer, group, cuts, n_context, theta, at, widths, activation, h, h_at):
    """The units of one group in one layer, from the prefix of the layer below that they see."""
    last = len(widths) - 1
    if layer == 1 and last > 1:
        seen = n_context + cuts[0, group + 1] - 1
    else:
        seen = cuts[layer - 1, group + 1]
    if layer == last:
        first, units = 2 * cuts[0, group], 2 * (cuts[0, group + 1] - cuts[0, group])
    else:
        first, units = cuts[layer, group], cuts[layer, group + 1] - cuts[layer, group]
    if units == 0:
        return
    weight = at + _start(widths, layer)
    bias = weight + widths[layer - 1] * widths[layer] + first
    out = h_at + _rows(widths, layer) + first * ROWS
    times(theta, weight + first, widths[layer], seen, units,
          h, h_at + _rows(widths, layer - 1), h, out)
    if layer == last:
        add_bias(theta, bias, units, h, out)
    else:
        activate(activation, theta, bias, units, h, out)


@body
def _back_group(layer, group, cuts, theta, at, widths, activation, h, h_at, g):
    """The cotangent of one group's units in hidden ``layer``, from the suffix that sees them."""
    last = len(widths) - 1
    first, units = cuts[layer, group], cuts[layer, group + 1] - cuts[layer, group]
    if units == 0:
        return
    above = 2 * cuts[0, group] if layer + 1 == last else cuts[layer + 1, group]
    weight = at + _start(widths, layer + 1) + first * widths[layer + 1] + above
    here = _rows(widths, layer) + first * ROWS
    times_transposed(theta, weight, widths[layer + 1], units, widths[layer + 1] - above,
                     g, _rows(widths, layer + 1) + above * ROWS, g, here, 0)
    activate_back(activation, units, h, h_at + here, g, here)


@body
def _weight_gradients(cuts, n_context, at, widths, h, h_at, g, g_theta):
    last = len(widths) - 1
    for layer in range(1, last + 1):
        weight = at + _start(widths, layer)
        for group in range(cuts.shape[1] - 1):
            if layer == 1:
                seen = n_context + cuts[0, group + 1] - 1
            else:
                seen = cuts[layer - 1, group + 1]
            if layer == last:
                first, units = 2 * cuts[0, group], 2 * (cuts[0, group + 1] - cuts[0, group])
            else:
                first, units = cuts[layer, group], cuts[layer, group + 1] - cuts[layer, group]
            add_outer(h, h_at + _rows(widths, layer - 1), seen,
                      g, _rows(widths, layer) + first * ROWS, units,
                      g_theta, weight + first, widths[layer])
        add_row_sums(g, _rows(widths, layer), widths[layer], g_theta,
                     weight + widths[layer - 1] * widths[layer])


@body
def _transform(direction, place, bound, order, u, log_det, tape, outputs, extras):
    """The affine map of the coordinate at ``place``; its raw output becomes its log-scale."""
    out = units_of(tape, outputs + 2 * place * ROWS, 2)
    extra = units_of(tape, extras + 3 * place * ROWS, 3)
    affine(direction, u[order[place]], out[0], out[1], bound, extra[0], extra[1], extra[2],
           log_det)


@body
def _transform_back(direction, place, order, g, g_log_det, tape, extras, g_tape, g_outputs):
    g_out = units_of(g_tape, g_outputs + 2 * place * ROWS, 2)
    extra = units_of(tape, extras + 3 * place * ROWS, 3)
    affine_back(direction, g[order[place]], g_log_det, extra[0], extra[1], extra[2],
                g_out[0], g_out[1])


@body
def made(sequential, direction, bound, order, cuts, widths, activation, theta, at, u, context,
         log_det, tape, tape_at):
    """``order[p]`` is the coordinate at place p. Tape: layers, then 3 rows for each place."""
    last = len(widths) - 1
    groups = cuts.shape[1] - 1
    n_context = len(context)
    outputs = tape_at + _rows(widths, last)
    extras = tape_at + _rows(widths, last + 1)
    seen = units_of(tape, tape_at, n_context + len(order))
    for k in range(n_context):
        copy_row(context, k, seen, k)
    for k in range(len(order)):
        copy_row(u, order[k], seen, n_context + k)
    for step in range(groups * last):
        layer, group = (step % last, step // last) if sequential else (step // groups,
                                                                       step % groups)
        _forward_group(layer + 1, group, cuts, n_context, theta, at, widths, activation,
                       tape, tape_at)
        if layer + 1 < last:
            continue
        # The outputs of this group stand: its coordinates can be transformed.
        for place in range(cuts[0, group], cuts[0, group + 1]):
            _transform(direction, place, bound, order, u, log_det, tape, outputs, extras)
            if sequential:
                copy_row(u, order[place], seen, n_context + place)


@body
def made_back(sequential, direction, order, cuts, widths, activation, theta, at, g, g_context,
              g_log_det, tape, tape_at, g_theta, g_tape):
    """Sequential: the last place first; its cotangent is complete, then what it sees is."""
    last = len(widths) - 1
    groups = cuts.shape[1] - 1
    n_context = len(g_context)
    g_outputs = _rows(widths, last)
    g_seen = units_of(g_tape, n_context * ROWS, len(order))
    extras = tape_at + _rows(widths, last + 1)
    for step in range(groups * (last + 1)):
        down, group = (step % (last + 1), step // (last + 1)) if sequential else (step // groups,
                                                                                  step % groups)
        group = groups - 1 - group
        first, end = cuts[0, group], cuts[0, group + 1]
        if down == 0:
            for place in range(first, end):
                _transform_back(direction, place, order, g, g_log_det, tape, extras, g_tape,
                                g_outputs)
        elif down < last:
            _back_group(last - down, group, cuts, theta, at, widths, activation,
                        tape, tape_at, g_tape)
        else:
            # Units of this group see the places before its last one. In the sequential order
            # that is the place whose cotangent this group completes.
            if sequential:
                first, end = max(first - 1, 0), end - 1
            _back_to_places(group, first, end, n_context, cuts, theta, at, widths, g_tape)
            for place in range(first, end):
                for r in range(ROWS):
                    g[order[place], r] += g_seen[place, r]
    _back_to_context(g_context, theta, at, widths, g_tape)
    _weight_gradients(cuts, n_context, at, widths, tape, tape_at, g_tape, g_theta)


@body
def _back_to_places(group, first, end, n_context, cuts, theta, at, widths, g_tape):
    """The cotangent of the places from ``first`` to ``end``: units from ``group`` on see them."""
    above = cuts[1, group]
    row = n_context + first
    times_transposed(theta, at + row * widths[1] + above, widths[1], end - first,
                     widths[1] - above, g_tape, _rows(widths, 1) + above * ROWS,
                     g_tape, row * ROWS, 0)


@body
def _back_to_context(g_context, theta, at, widths, g_tape):
    n_context = len(g_context)
    times_transposed(theta, at, widths[1], n_context, widths[1],
                     g_tape, _rows(widths, 1), g_tape, 0, 0)
    for k in range(n_context):
        for r in range(ROWS):
            g_context[k, r] += g_tape[k * ROWS + r]
