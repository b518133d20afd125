"""CUDA twins against their formulas: in the simulator, as PTX, and on a device.

Run with ``NUMBA_ENABLE_CUDASIM=1`` the kernels run in the simulator; without it they need a
device, and the tests marked ``gpu`` skip where there is none. The plain run starts the
simulator in a process of its own.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from nfref.flows import coupling

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
HAS_COMPILER = (importlib.util.find_spec("numba_cuda") is not None
                and importlib.util.find_spec("nvidia") is not None)


def has_device():
    try:
        from numba import cuda
        return cuda.is_available()
    except Exception:  # no driver, or a driver that cannot be used
        return False


on_device = pytest.mark.skipif(not SIMULATED and not has_device(),
                               reason="no CUDA device, and no simulator asked for")


def close(one, other, dtype, ulps=8):
    one = one.copy_to_host() if hasattr(one, "copy_to_host") else one
    assert one.dtype == dtype and one.shape == other.shape
    assert np.allclose(one, other, rtol=ulps * np.finfo(dtype).eps, atol=ulps * np.finfo(dtype).eps)


@pytest.mark.skipif(SIMULATED, reason="this is the simulator")
def test_all_of_this_in_the_simulator():
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True,
        timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "passed" in done.stdout


@pytest.mark.gpu
@on_device
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(0, 2), (1, 1), (7, 2), (70, 5), (9, 33)])
def test_couplings(shape, dtype):
    from nfref.kernels import cuda as twins
    rng = np.random.default_rng(0)
    u, shift, log_scale = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    for name, arguments in (("affine_coupling_forward", (u, shift, log_scale)),
                            ("affine_coupling_inverse", (u, shift, log_scale)),
                            ("additive_coupling_forward", (u, shift)),
                            ("additive_coupling_inverse", (u, shift))):
        expected = getattr(coupling, name)(*arguments)
        for one, other in zip(getattr(twins, name)(*arguments), expected, strict=True):
            close(one, other, dtype, ulps=8 * max(shape[1], 1))


@pytest.mark.gpu
@on_device
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_determinants(dim, dtype):
    from nfref.kernels import cuda as twins
    matrices = np.random.default_rng(0).standard_normal((5, dim, dim)).astype(dtype)
    matrices[1, 0] = 0
    matrices[2, 0, 0] = 0
    sign, log_det = twins.slogdet(matrices)
    expected = np.linalg.slogdet(matrices)
    assert np.array_equal(sign, expected[0])
    close(log_det, expected[1], dtype, ulps=100)
    huge = np.full((1, 1, 1), np.finfo(dtype).max / 2, dtype) * np.eye(dim, dtype=dtype)
    close(twins.slogdet(huge)[1], np.linalg.slogdet(huge)[1], dtype)
    with pytest.raises(ValueError, match="expected at most 64 rows each, got 65"):
        twins.slogdet(np.zeros((1, 65, 65), dtype))


@pytest.mark.gpu
@on_device
def test_arrays_on_the_device_stay_there():
    from numba import cuda

    from nfref.kernels import cuda as twins
    z, shift = np.ones((3, 2)), np.full((3, 2), 0.5)
    x, log_det = twins.additive_coupling_forward(cuda.to_device(z), cuda.to_device(shift))
    assert not isinstance(x, np.ndarray) and not isinstance(log_det, np.ndarray)
    close(x, z + shift, np.float64)


@pytest.mark.skipif(SIMULATED or not HAS_COMPILER, reason="needs numba-cuda and its compiler")
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_kernels_compile_to_ptx_without_a_device(capability, kind):
    import numba
    from numba import cuda

    from nfref.kernels import cuda as twins
    kind_type = getattr(numba, kind)
    vector, matrix, stack = kind_type[::1], kind_type[:, ::1], kind_type[:, :, ::1]
    kernels = [
        (twins.affine_coupling_kernel, (numba.int64, matrix, matrix, matrix, matrix, vector)),
        (twins.additive_coupling_kernel, (numba.int64, matrix, matrix, matrix, vector)),
        (twins.SLOGDET_KERNELS[np.dtype(kind)], (stack, vector, vector))]
    for kernel, signature in kernels:
        ptx, _ = cuda.compile_ptx(kernel, signature, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx
        assert ".visible .entry" in ptx
