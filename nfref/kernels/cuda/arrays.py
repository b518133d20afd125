"""Transfers of arrays to the device and back, and the launch of a kernel."""

import warnings

import numpy as np

from nfref.kernels.cuda.warp import block_for, cuda, lanes_for
from nfref.runtime.backends import require_cuda


def to_device(*arrays):
    """Return the arrays on the device, and True if the first came from the host.

    An object with ``__cuda_array_interface__`` (of CuPy, PyTorch, Numba) is used without a copy.
    """
    require_cuda()
    return [_on_device(array) for array in arrays], not _lies_there(arrays[0])


def from_device(on_host, *arrays):
    """Return the results, copied to the host if the arguments came from there."""
    return tuple(array.copy_to_host() if on_host else array for array in arrays)


def launch(kernel, blocks, threads, *arguments, shared=0):
    """Start a kernel on the default stream; ``shared`` is in bytes. No blocks, no launch."""
    if blocks == 0:
        return
    with warnings.catch_warnings():
        # The only warning here says that few blocks leave a device idle.
        warnings.simplefilter("ignore")
        configured = kernel[blocks, threads, 0, shared]
    configured(*arguments)


def run_over_rows(kernel, rows, arrays, *settings):
    """Run a kernel of :func:`nfref.kernels.cuda.coupling.over_rows`; return its two results."""
    (rows, *arrays), on_host = to_device(rows, *arrays)
    n, dim = rows.shape
    out = cuda.device_array((n, dim), rows.dtype)
    log_det = cuda.device_array((n,), rows.dtype)
    blocks = block_for(n, lanes_for(dim))
    launch(kernel, *blocks, rows, tuple(arrays), settings, out, log_det)
    return from_device(on_host, out, log_det)


def _lies_there(array):
    return hasattr(array, "__cuda_array_interface__") or hasattr(array, "__cuda_ndarray__")


def _on_device(array):
    if hasattr(array, "__cuda_ndarray__"):  # Numba's own, the simulator's among them
        return array
    if _lies_there(array):
        return cuda.as_cuda_array(array)
    return cuda.to_device(np.ascontiguousarray(array))
