"""The additive transformer on a block of rows: see :mod:`nfref.transformers.additive`."""

from nfref.kernels.jit import called_kernel

TAPE_ROWS = 0


@called_kernel
def shift(transformer, direction, u, raw, tape, place, log_det, columns):
    """Compute x = z + t, or z = x - t, in place."""
    for r in range(columns):
        u[place.u, r] += direction * raw[place.raw, r]


@called_kernel
def shift_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns):
    """Keep the cotangent of u, which is that of the value; fill that of t."""
    for r in range(columns):
        g_raw[place.raw, r] = direction * g[place.u, r]
