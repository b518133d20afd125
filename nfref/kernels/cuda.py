"""Twins on a CUDA device: couplings in both directions with the row log-det, and log |det|.

Arrays may be host arrays or anything with ``__cuda_array_interface__`` (CuPy, PyTorch,
Numba), which is used where it lies. What comes out lies where the first argument does. Both
float32 and float64; the dtype that goes in comes out.

It needs the package numba-cuda (``pip install 'nfref[cuda]'``). With
``NUMBA_ENABLE_CUDASIM=1`` in the environment the same kernels run in Numba's simulator.
"""

import math

import numba
import numpy as np
from numba import cuda

THREADS = 256
LARGEST = 64        # of batched determinants: the matrix of a block lies in shared memory
STRIDE = 65         # from row to row there, so that a column spreads over the memory's banks


# Couplings -----------------------------------------------------------------------------------
# A block of threads is (rows, lanes): the lanes of a row take its columns in turn, so that
# neighbours read neighbouring numbers, and add up their parts of the log-determinant in
# shared memory.


def affine_coupling_kernel(sign, u, shift, log_scale, out, log_det):
    """sign 1: out = u e^s + t.  sign -1: out = (u - t) e^-s.  log_det = sign * sum s."""
    partial = cuda.shared.array(THREADS, numba.float64)
    lane, lanes, place = cuda.threadIdx.x, cuda.blockDim.x, cuda.threadIdx.y
    row = cuda.blockIdx.x * cuda.blockDim.y + place
    total = 0.0
    if row < u.shape[0]:
        for j in range(lane, u.shape[1], lanes):
            s = log_scale[row, j]
            if sign > 0:
                out[row, j] = u[row, j] * math.exp(s) + shift[row, j]
            else:
                out[row, j] = (u[row, j] - shift[row, j]) * math.exp(-s)
            total += s
    mine = place * lanes + lane
    partial[mine] = total
    cuda.syncthreads()
    half = lanes // 2
    while half > 0:
        if lane < half:
            partial[mine] += partial[mine + half]
        cuda.syncthreads()
        half //= 2
    if lane == 0 and row < u.shape[0]:
        log_det[row] = sign * partial[mine]


def additive_coupling_kernel(sign, u, shift, out, log_det):
    """out = u + sign * t; log_det = 0."""
    lane, lanes = cuda.threadIdx.x, cuda.blockDim.x
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < u.shape[0]:
        for j in range(lane, u.shape[1], lanes):
            out[row, j] = u[row, j] + sign * shift[row, j]
        if lane == 0:
            log_det[row] = 0


# Determinants --------------------------------------------------------------------------------
# One block of threads a matrix, thread i for row i; the pivot is found by halving.


def _slogdet_for(dtype):
    kind = numba.from_dtype(dtype)

    def slogdet_kernel(matrices, signs, log_dets):
        a = cuda.shared.array((LARGEST, STRIDE), kind)
        where = cuda.shared.array(LARGEST, numba.int32)
        i, n = cuda.threadIdx.x, cuda.blockIdx.x
        dim = matrices.shape[1]
        for k in range(i, dim * dim, LARGEST):
            a[k // dim, k % dim] = matrices[n, k // dim, k % dim]
        cuda.syncthreads()
        sign = 1
        product, exponent = 1.0, 0
        for k in range(dim):
            where[i] = i if k <= i < dim else k
            cuda.syncthreads()
            half = LARGEST // 2
            while half > 0:
                if i < half:
                    if abs(a[where[i + half], k]) > abs(a[where[i], k]):
                        where[i] = where[i + half]
                cuda.syncthreads()
                half //= 2
            pivot = where[0]
            if pivot != k:
                sign = -sign
                if i < dim:
                    kept = a[k, i]
                    a[k, i] = a[pivot, i]
                    a[pivot, i] = kept
            cuda.syncthreads()
            mantissa, power = math.frexp(float(a[k, k]))
            product *= mantissa
            exponent += power
            if k < i < dim and a[k, k] != 0:
                factor = a[i, k] / a[k, k]
                for j in range(k + 1, dim):
                    a[i, j] -= factor * a[k, j]
            cuda.syncthreads()
        if i == 0:
            if product == 0:
                signs[n] = 0
                log_dets[n] = -math.inf
            else:
                signs[n] = sign if product > 0 else -sign
                log_dets[n] = math.log(abs(product)) + exponent * math.log(2.0)
            if math.isnan(product):
                signs[n] = math.nan
                log_dets[n] = math.nan

    return slogdet_kernel


SLOGDET_KERNELS = {np.dtype(dtype): _slogdet_for(np.dtype(dtype))
                   for dtype in (np.float32, np.float64)}

_affine = cuda.jit(affine_coupling_kernel)
_additive = cuda.jit(additive_coupling_kernel)
_slogdet = {dtype: cuda.jit(kernel) for dtype, kernel in SLOGDET_KERNELS.items()}


# Twins ---------------------------------------------------------------------------------------


def affine_coupling_forward(z, shift, log_scale):
    """See :func:`nfref.flows.coupling.affine_coupling_forward`."""
    return _coupling(_affine, 1, z, shift, log_scale)


def affine_coupling_inverse(x, shift, log_scale):
    """See :func:`nfref.flows.coupling.affine_coupling_inverse`."""
    return _coupling(_affine, -1, x, shift, log_scale)


def additive_coupling_forward(z, shift):
    """See :func:`nfref.flows.coupling.additive_coupling_forward`."""
    return _coupling(_additive, 1, z, shift)


def additive_coupling_inverse(x, shift):
    """See :func:`nfref.flows.coupling.additive_coupling_inverse`."""
    return _coupling(_additive, -1, x, shift)


def slogdet(matrices):
    """Sign and log |det| of (N, D, D) matrices, D up to 64, as ``numpy.linalg.slogdet``."""
    a, on_host = _on_device(matrices)
    if a.shape[1] > LARGEST:
        raise ValueError(f"matrices: expected at most {LARGEST} rows each, got {a.shape[1]}")
    signs, log_dets = (cuda.device_array(a.shape[0], a.dtype) for _ in range(2))
    if a.shape[0]:
        _slogdet[np.dtype(a.dtype)][a.shape[0], LARGEST](a, signs, log_dets)
    return tuple(_back(result, on_host) for result in (signs, log_dets))


def _coupling(kernel, sign, u, *others):
    u, on_host = _on_device(u)
    others = [_on_device(other)[0] for other in others]
    out, log_det = cuda.device_array(u.shape, u.dtype), cuda.device_array(u.shape[0], u.dtype)
    if u.shape[0]:
        lanes = 1
        while lanes < min(u.shape[1], 32):
            lanes *= 2
        rows = THREADS // lanes
        kernel[-(-u.shape[0] // rows), (lanes, rows)](sign, u, *others, out, log_det)
    return _back(out, on_host), _back(log_det, on_host)


def _on_device(array):
    """The array on the device, and whether it came from the host."""
    if hasattr(array, "__cuda_array_interface__"):
        return cuda.as_cuda_array(array), False
    if hasattr(array, "copy_to_host"):      # the simulator's own arrays
        return array, False
    return cuda.to_device(np.ascontiguousarray(array)), True


def _back(array, on_host):
    return array.copy_to_host() if on_host else array
