"""Affine and additive coupling on the device: twins of :mod:`nfref.flows.coupling`.

Each number is read once and written once, so memory sets the pace. A row belongs to 1 ... 32
lanes of a warp, whose columns lie side by side in memory; the log-determinant is added up
between the lanes, without a second pass.

Arrays are host arrays, whose results come back to the host, or lie on the device already, and
then the results stay there. Float32 and float64; all arguments have one dtype.
"""

import math

from numba import cuda

from nfref.kernels.cuda.arrays import from_device, launch, to_device
from nfref.kernels.cuda.warp import ALL, block_for, lanes_for

# The twins ----------------------------------------------------------------------------------


def affine_coupling_forward(z, shift, log_scale):
    """See :func:`nfref.transformers.affine.affine_forward`."""
    return _run(affine_forward_kernel, z, shift, log_scale)


def affine_coupling_inverse(x, shift, log_scale):
    """See :func:`nfref.transformers.affine.affine_inverse`."""
    return _run(affine_inverse_kernel, x, shift, log_scale)


def additive_coupling_forward(z, shift):
    """See :func:`nfref.transformers.additive.additive_forward`."""
    return _run(additive_forward_kernel, z, shift)


def additive_coupling_inverse(x, shift):
    """See :func:`nfref.transformers.additive.additive_inverse`."""
    return _run(additive_inverse_kernel, x, shift)


def _run(kernel, *arrays):
    arrays, on_host = to_device(*arrays)
    n, dim = arrays[0].shape
    out = cuda.device_array((n, dim), arrays[0].dtype)
    log_det = cuda.device_array((n,), arrays[0].dtype)
    launch(kernel, *block_for(n, lanes_for(dim)), *arrays, out, log_det)
    return from_device(on_host, out, log_det)


# The kernels --------------------------------------------------------------------------------
# A block of threads is (lanes, rows). Loops are written out, because the length of a range
# takes a division of whole numbers, which costs more than all the rest of a short row.


def affine_forward(z, shift, log_scale, x, log_det):
    """x = z e^s + t,  log |det dx/dz| = sum s."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    total = z.dtype.type(0)
    if row < z.shape[0]:
        j = cuda.threadIdx.x
        while j < z.shape[1]:
            s = log_scale[row, j]
            x[row, j] = z[row, j] * math.exp(s) + shift[row, j]
            total += s
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < z.shape[0]:
        log_det[row] = total


def affine_inverse(x, shift, log_scale, z, log_det):
    """z = (x - t) e^-s,  log |det dz/dx| = -sum s."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    total = x.dtype.type(0)
    if row < x.shape[0]:
        j = cuda.threadIdx.x
        while j < x.shape[1]:
            s = log_scale[row, j]
            z[row, j] = (x[row, j] - shift[row, j]) * math.exp(-s)
            total -= s
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < x.shape[0]:
        log_det[row] = total


def additive_forward(z, shift, x, log_det):
    """x = z + t,  log |det dx/dz| = 0."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < z.shape[0]:
        j = cuda.threadIdx.x
        while j < z.shape[1]:
            x[row, j] = z[row, j] + shift[row, j]
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            log_det[row] = 0


def additive_inverse(x, shift, z, log_det):
    """z = x - t,  log |det dz/dx| = 0."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < x.shape[0]:
        j = cuda.threadIdx.x
        while j < x.shape[1]:
            z[row, j] = x[row, j] - shift[row, j]
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            log_det[row] = 0


affine_forward_kernel = cuda.jit(affine_forward)
affine_inverse_kernel = cuda.jit(affine_inverse)
additive_forward_kernel = cuda.jit(additive_forward)
additive_inverse_kernel = cuda.jit(additive_inverse)
