"""The additive transformer on a block of rows: see :mod:`nfref.transformers.additive`."""

from nfref.kernels.jit import body

TAPE_ROWS = 0


@body
def shift(direction, u, raw, place, columns):
    """Compute x = z + t, or z = x - t, in place."""
    for r in range(columns):
        u[place.u, r] += direction * raw[place.raw, r]


@body
def shift_vjp(direction, g, place, g_raw, columns):
    """Keep the cotangent of u, which is that of the value; fill that of t."""
    for r in range(columns):
        g_raw[place.raw, r] = direction * g[place.u, r]
