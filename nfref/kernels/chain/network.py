"""A plain network on a block of rows: :func:`nfref.networks.mlp.mlp` and its derivative.

Everything is flat arrays with offsets; see ``matmul`` for the layout. Weights and biases follow
each other layer by layer in ``theta``, and in ``g_theta`` their gradients do. The units of a single
row stand side by side: apart, they would share few sets of a cache, and fill no register.
"""

from nfref.kernels.chain.block_rows import add_row_sums, matrix_of, units_of
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import one_minus_exp_neg, softplus, tanh, tanh_and_slope
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

RELU, TANH, SOFTPLUS, IDENTITY = range(4)
ACTIVATIONS = {"relu": RELU, "tanh": TANH, "softplus": SOFTPLUS}


@body
def width_of(columns):
    """Return how far units are apart on the tape."""
    return 1 if columns == 1 else ROWS


@body
def add_bias(theta, at, units, h, h_at, width=ROWS):
    """Add the bias to h (units, width)."""
    h = matrix_of(h, h_at, units, width)
    bias = theta[at : at + units]
    for j in range(units):
        for r in range(width):
            h[j, r] += bias[j]


@body
def activate_row(activation, bias, h):
    """Compute h = a(h + bias) for the units of a single row."""
    zero = h.dtype.type(0)
    for j in range(len(bias)):
        h[j] += bias[j]
    if activation == RELU:
        for j in range(len(bias)):
            h[j] = zero if h[j] < zero else h[j]  # so that a NaN stays one
    elif activation == TANH:
        for j in range(len(bias)):
            h[j] = tanh(h[j])
    elif activation == SOFTPLUS:
        for j in range(len(bias)):
            h[j] = softplus(h[j])


@body
def activate(activation, at, units, storage, h_at, columns):
    """Compute h = a(h + bias) on the tape, in the first columns; the biases start at theta[at]."""
    if columns == 1:
        bias, h = storage.theta[at : at + units], storage.tape[h_at : h_at + units]
        activate_row(activation, bias, h)
        return
    h = units_of(storage.tape, h_at, units)
    bias = storage.theta[at : at + units]
    zero = h.dtype.type(0)
    if activation == IDENTITY:
        for j in range(units):
            for r in range(columns):
                h[j, r] += bias[j]
    elif activation == RELU:
        for j in range(units):
            for r in range(columns):
                a = h[j, r] + bias[j]
                h[j, r] = zero if a < zero else a  # so that a NaN stays one
    elif activation == TANH and len(storage.slopes) > 0:
        slopes = units_of(storage.slopes, h_at, units)
        for j in range(units):
            for r in range(columns):
                h[j, r], slopes[j, r] = tanh_and_slope(h[j, r] + bias[j])
    elif activation == TANH:
        for j in range(units):
            for r in range(columns):
                h[j, r] = tanh(h[j, r] + bias[j])
    else:
        for j in range(units):
            for r in range(columns):
                h[j, r] = softplus(h[j, r] + bias[j])


@body
def activate_vjp(activation, units, storage, h_at, g, g_at, columns):
    """Multiply g by a'(.): 1 where h > 0, the stored slope of tanh, or 1 - e^-h."""
    h, g = units_of(storage.tape, h_at, units), units_of(g, g_at, units)
    zero = h.dtype.type(0)
    if activation == RELU:
        for j in range(units):
            for r in range(columns):
                g[j, r] = g[j, r] if h[j, r] > zero else zero
    elif activation == TANH:
        slopes = units_of(storage.slopes, h_at, units)
        for j in range(units):
            for r in range(columns):
                g[j, r] *= slopes[j, r]
    else:
        for j in range(units):
            for r in range(columns):
                g[j, r] *= one_minus_exp_neg(h[j, r])


@body
def rows_before(widths, layer, width=ROWS):
    """Return the start of the values of ``layer`` (0 is the input), from that of the input."""
    at = 0
    for k in range(layer):
        at += widths[k] * width
    return at


@body
def weight_at(widths, layer):
    """Return the start of the weight of ``layer`` (1 is the first), from that of the first."""
    at = 0
    for k in range(1, layer):
        at += (widths[k - 1] + 1) * widths[k]
    return at


@body
def mlp(widths, activation, storage):
    """Run the network whose input stands on the tape; its layers follow there, the output last.

    ``widths`` are the layer widths, input to output.
    """
    theta, at, h, h_at = storage.theta, storage.at, storage.tape, storage.tape_at
    columns, last = storage.columns, len(widths) - 2
    width = width_of(columns)
    for k in range(last + 1):
        fan_in, fan_out = widths[k], widths[k + 1]
        out_at = h_at + fan_in * width
        times(theta, at, fan_out, fan_in, fan_out, h, h_at, h, out_at, width, 0, columns)
        at += fan_in * fan_out
        activate(activation if k < last else IDENTITY, at, fan_out, storage, out_at, columns)
        at += fan_out
        h_at = out_at


@body
def mlp_vjp(widths, activation, storage, g_theta, scratch):
    """Turn the cotangent of the output (fan_out, ROWS) into that of the input; return its start.

    The tape is as :func:`mlp` left it. Each half of ``scratch`` holds the widest layer; the first
    holds the cotangent of the output. The function adds to ``g_theta``.
    """
    theta, h, columns = storage.theta, storage.tape, storage.columns
    h_at = storage.tape_at + rows_before(widths, len(widths) - 1)
    at = storage.at + weight_at(widths, len(widths))
    g_at, other_at = 0, len(scratch) // 2
    for k in range(len(widths) - 2, -1, -1):
        fan_in, fan_out = widths[k], widths[k + 1]
        at -= fan_out
        add_row_sums(scratch, g_at, fan_out, g_theta, at, ROWS, columns)
        at -= fan_in * fan_out
        h_at -= fan_in * ROWS
        add_outer(h, h_at, fan_in, scratch, g_at, fan_out, g_theta, at, fan_out, ROWS, columns)
        times_transposed(
            theta, at, fan_out, fan_in, fan_out, scratch, g_at, scratch, other_at, 0, ROWS, columns
        )
        if k > 0:
            activate_vjp(activation, fan_in, storage, h_at, scratch, other_at, columns)
        g_at, other_at = other_at, g_at
    return g_at
