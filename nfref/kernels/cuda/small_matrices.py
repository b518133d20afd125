"""log |det| of many small matrices on the device: a twin of :mod:`nfref.runtime.small_matrices`.

A matrix lies in shared memory and belongs to 1 ... 32 lanes of a warp, each of which works on
one row, or on two if D is above 32. Rows are never swapped: the lanes agree on the unused row
with the largest number in column k, and eliminate with it where it stands. The sign of the
permutation does not matter for |det|.

Shared memory holds D rows with an odd distance between them, so that the lanes of a column
meet in no bank. Float32 and float64, D up to ``LARGEST``.
"""

import math

import numpy as np
from numba import from_dtype

from nfref.kernels.cuda.arrays import from_device, launch, to_device
from nfref.kernels.cuda.warp import ALL, THREADS, WARP, block_for, cuda, lanes_for
from nfref.runtime.autograd_internals import Box

LARGEST = 64
SHARED = 48 * 1024  # bytes that a block gets on every device
LOG_TWO = math.log(2)


def log_abs_det(matrices):
    """See :func:`nfref.runtime.small_matrices.log_abs_det`; D is at most ``LARGEST``.

    Takes and returns host or device arrays, as the couplings do.
    """
    (matrices,), on_host = to_device(matrices)
    n, dim = matrices.shape[:2]
    dtype = np.dtype(matrices.dtype)
    out = cuda.device_array((n,), dtype)
    lanes = lanes_for(dim)
    bytes_each = dim * (dim | 1) * dtype.itemsize
    most_warps = min(THREADS // WARP, SHARED * lanes // (bytes_each * WARP))
    blocks, threads = block_for(n, lanes, most_warps)
    launch(KERNELS[dtype], blocks, threads, matrices, out, shared=threads[1] * bytes_each)
    return from_device(on_host, out)[0]


def log_abs_det_or_none(matrices):
    """Return log |det|; None for derivatives, large matrices and complex numbers."""
    if (
        isinstance(matrices, Box)
        or matrices.shape[1] > LARGEST
        or matrices.dtype not in (np.float32, np.float64)
    ):
        return None
    return log_abs_det(matrices)


def log_abs_det_of(dtype):
    """Return the kernel for one dtype, which shared memory needs at compile time."""
    number = from_dtype(dtype)

    def log_abs_det(matrices, out):
        entries = cuda.shared.array(0, number)
        n, dim = matrices.shape[0], matrices.shape[1]
        lane, lanes = cuda.threadIdx.x, cuda.blockDim.x
        mine = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
        stride = dim | 1
        base = cuda.threadIdx.y * dim * stride
        zero = number(0)
        for i in range(dim):
            j = lane
            while j < dim:
                # Lanes past the last matrix take it too, so that all keep in step.
                entries[base + i * stride + j] = matrices[min(mine, n - 1), i, j]
                j += lanes
        cuda.syncwarp()
        used = 0  # a bit for each row of this lane: whether it has been the pivot
        product, power = number(1), 0
        for k in range(dim):
            size, pivot = number(-1), dim
            i, bit = lane, 1
            while i < dim:
                candidate = abs(entries[base + i * stride + k])
                if not candidate >= zero:
                    candidate = zero  # a NaN would divide the lanes
                if used & bit == 0 and candidate > size:
                    size, pivot = candidate, i
                i, bit = i + lanes, bit * 2
            offset = lanes >> 1
            while offset > 0:
                candidate = cuda.shfl_xor_sync(ALL, size, offset)
                its_row = cuda.shfl_xor_sync(ALL, pivot, offset)
                if candidate > size or (candidate == size and its_row < pivot):
                    size, pivot = candidate, its_row
                offset >>= 1
            top = base + pivot * stride
            largest = entries[top + k]
            fraction, exponent = math.frexp(largest)
            product *= number(fraction)
            power += exponent
            i, bit = lane, 1
            while i < dim:
                if i == pivot:
                    used |= bit
                if used & bit == 0 and largest != zero:
                    row = base + i * stride
                    factor = entries[row + k] / largest
                    for j in range(k + 1, dim):
                        entries[row + j] -= factor * entries[top + j]
                i, bit = i + lanes, bit * 2
            cuda.syncwarp()
        if lane == 0 and mine < n:
            if product == zero:
                out[mine] = -math.inf
            else:
                out[mine] = math.log(abs(product)) + number(power) * number(LOG_TWO)

    return log_abs_det


KERNELS = {
    np.dtype(dtype): cuda.jit(log_abs_det_of(np.dtype(dtype))) for dtype in (np.float32, np.float64)
}
