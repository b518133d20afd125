"""CUDA twins: in the simulator, compiled without a device, and on a device if there is one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

ROOT = Path(__file__).parents[2]
CHECKS = re.findall(r"^def (check_\w+)", (ROOT / "tests/kernels/cuda_checks.py").read_text(), re.M)


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NFREF_BACKEND": "", **environment},
        timeout=600,
    )


# In the simulator -------------------------------------------------------------------------


def test_every_check_in_the_simulator():
    done = run_python("-m", "tests.kernels.cuda_checks", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["passed", check] for check in CHECKS
    ], done.stdout


def test_without_a_device_every_way_in_is_a_runtime_error_in_one_line():
    code = (
        "import numpy as np, nfref\n"
        "from nfref.kernels.cuda import coupling, small_matrices\n"
        "rows = np.zeros((2, 2))\n"
        "for call in (lambda: coupling.affine_coupling(1, rows, rows, rows),\n"
        "             lambda: small_matrices.log_abs_det(np.zeros((2, 2, 2))),\n"
        "             lambda: nfref.backend('cuda').__enter__()):\n"
        "    try:\n"
        "        call()\n"
        "    except RuntimeError as problem:\n"
        "        print(problem)\n"
    )
    done = run_python("-c", code, NUMBA_ENABLE_CUDASIM="0", CUDA_VISIBLE_DEVICES="")
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(line.startswith("backend: expected a CUDA device for 'cuda'") for line in lines)


# Compiled without a device ----------------------------------------------------------------


def no_compiler():
    """Why nothing can be compiled for a device here, or an empty string."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    from numba import cuda

    try:
        cuda.compile_ptx(lambda: None, (), cc=(8, 0))
    except Exception as problem:
        return f"numba-cuda finds no compiler: {str(problem).splitlines()[0]}"
    return ""


def kernels():
    """(name, function, signature) of every kernel in both dtypes."""
    from numba import boolean, float32, float64, int64, types

    from nfref.kernels.cuda import coupling, sigmoid_mixture, small_matrices

    found = []
    for number in (float32, float64):
        rows, vector, stack = number[:, ::1], number[::1], number[:, :, ::1]
        for name, kernel, arrays, settings in (
            ("affine", coupling.affine_kernel, [rows] * 2, [int64]),
            ("additive", coupling.additive_kernel, [rows], [int64]),
            ("spline", coupling.spline_kernel, [stack] * 4, [int64, number, boolean]),
            (
                "mixture",
                sigmoid_mixture.mixture_kernel,
                [*[rows] * 2, *[stack] * 3],
                [int64, boolean],
            ),
        ):
            given = types.Tuple(arrays), types.Tuple(settings)
            found.append((f"{name} {number}", kernel.py_func, (rows, *given, rows, vector)))
        found.append(
            (
                f"log_abs_det {number}",
                small_matrices.log_abs_det_of(np.dtype(str(number))),
                (stack, vector),
            )
        )
    return found


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_every_kernel_compiles_to_ptx_without_a_device(capability):
    reason = no_compiler()
    if reason:
        pytest.skip(reason)
    from numba import cuda

    for name, function, signature in kernels():
        ptx, _ = cuda.compile_ptx(function, signature, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx, name
        assert (".f64" in ptx) == ("float64" in name), f"{name}: of the wrong dtype"
        assert not re.search(r"(div|rem)\.[su]64", ptx), f"{name}: a division of whole numbers"
        assert ("shfl.sync.bfly" in ptx) == ("additive" not in name), name
        assert ".local" not in ptx, f"{name}: registers spilt to local memory"


# On a device ------------------------------------------------------------------------------


def device_missing():
    from numba import config, cuda

    return config.ENABLE_CUDASIM or not cuda.is_available()


@pytest.mark.gpu
@pytest.mark.parametrize("check", CHECKS)
def test_on_a_device(check):
    if device_missing():
        pytest.skip("no CUDA device")
    from tests.kernels import cuda_checks

    cuda_checks.CHECKS[check]()


@pytest.mark.gpu
def test_arrays_of_another_library_are_used_where_they_lie():
    if device_missing():
        pytest.skip("no CUDA device")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch without CUDA")
    from nfref.kernels.cuda import coupling, small_matrices

    z, shift, log_scale = torch.randn(3, 100, 5, device="cuda", dtype=torch.float64)
    x, log_det = coupling.affine_coupling(1, z, shift, log_scale)
    assert torch.allclose(torch.as_tensor(x, device="cuda"), z * log_scale.exp() + shift)
    assert torch.allclose(torch.as_tensor(log_det, device="cuda"), log_scale.sum(1))
    matrices = torch.randn(50, 7, 7, device="cuda", dtype=torch.float64)
    values = torch.as_tensor(small_matrices.log_abs_det(matrices), device="cuda")
    assert torch.allclose(values, torch.linalg.slogdet(matrices)[1], rtol=1e-9, atol=1e-9)
