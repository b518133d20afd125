"""CUDA twins on a device: couplings against its copy bandwidth, log |det| against torch and CuPy.

    python -m tests.benchmarks.cuda [--rounds 20]

Arrays lie on the device throughout. Times are medians of single calls between two events on
the device, the calls taking turns; a call also allocates its results. A coupling moves four
arrays (N, D) and one (N,): z, shift, log_scale in, x and log_det out; its bandwidth is printed
as a share of that of a copy on the same device. By a spline of 8 bins it reads 35 numbers for
every one of z instead of two, by a mixture of 8 units 24 or 26. Without torch or CuPy their
columns stay blank; without a device this ends with one line.
"""

import argparse
import statistics

import numpy as np
from numba import cuda

import nfref
from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.cuda import coupling, flows, small_matrices
from nfref.runtime.backends import require_cuda

COPIED = 1 << 28  # bytes of the array whose copy is the reference


def in_turns(calls, rounds):
    """Median milliseconds on the device of each call."""
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start, end = cuda.event(), cuda.event()
            cuda.synchronize()
            start.record()
            call()
            end.record()
            end.synchronize()
            times[name].append(cuda.event_elapsed_time(start, end))
    return {name: statistics.median(values) for name, values in times.items()}


def couplings(rounds):
    source = cuda.device_array(COPIED // 4, np.float32)
    target = cuda.device_array_like(source)
    print("coupling          dtype          N     D        ms      GB/s   of copy")
    for dtype in (np.float32, np.float64):
        size = np.dtype(dtype).itemsize
        for n, dim in ((1 << 24, 2), (1 << 22, 8), (1_000_003, 63), (1 << 16, 1024)):
            z, shift, log_scale = (cuda.to_device(np.zeros((n, dim), dtype)) for _ in range(3))
            times = in_turns(
                {
                    "forward": lambda: coupling.affine_coupling(1, z, shift, log_scale),
                    "inverse": lambda: coupling.affine_coupling(-1, z, shift, log_scale),
                    "additive": lambda: coupling.additive_coupling(1, z, shift),
                    "copy": lambda: target.copy_to_device(source),
                },
                rounds,
            )
            copied = 2 * COPIED / times["copy"]
            for name, arrays in (("forward", 4), ("inverse", 4), ("additive", 3)):
                rate = (arrays * n * dim + n) * size / times[name]
                print(
                    f"{name:16}{np.dtype(dtype).name:>8}{n:11d}{dim:6d}{times[name]:10.3f}"
                    f"{rate / 1e6:10.0f}{rate / copied:10.0%}",
                    flush=True,
                )
        for n, dim in ((1 << 20, 2), (1 << 18, 8)):
            for name, transformer in TRANSFORMERS.items():
                there, read = on_device(transformer, n, dim, dtype)
                twin = flows.TWINS[twin_of(transformer)]
                times = in_turns(
                    {
                        "forward": lambda: twin(transformer, 1, *there),
                        "inverse": lambda: twin(transformer, -1, *there),
                    },
                    rounds,
                )
                for direction, taken in times.items():
                    rate = ((read + 2) * n * dim + n) * size / taken
                    print(
                        f"{name:7}{direction:9}{np.dtype(dtype).name:>8}{n:11d}{dim:6d}"
                        f"{taken:10.3f}{rate / 1e6:10.0f}{rate / copied:10.0%}",
                        flush=True,
                    )


TRANSFORMERS = {
    "spline": nfref.RationalQuadratic(8),
    "NAF": nfref.DeepSigmoid(8),
    "Flow++": nfref.LogisticMixture(8),
}


def on_device(transformer, n, dim, dtype):
    """Rows and h on the device, and how many numbers of h a column has."""
    rng = np.random.default_rng(0)
    h = transformer.constrain(rng.standard_normal((transformer.size, n, dim)).astype(dtype))
    rows = rng.standard_normal((n, dim)).astype(dtype)
    there = [cuda.to_device(np.ascontiguousarray(array)) for array in h]
    return (cuda.to_device(rows), there), sum(array.size for array in h) // (n * dim)


def peers(matrices):
    found = {}
    try:
        import torch

        if torch.cuda.is_available():
            a = torch.as_tensor(matrices, device="cuda")
            found["torch"] = lambda: torch.linalg.slogdet(a)
    except ImportError:
        pass
    try:
        import cupy

        b = cupy.asarray(matrices)
        found["cupy"] = lambda: cupy.linalg.slogdet(b)
    except ImportError:
        pass
    return found


def determinants(rounds):
    print("log |det|       dtype          N     D     nfref     torch      cupy  x better  (ms)")
    for dtype in (np.float32, np.float64):
        for n, dim in ((200_000, 4), (200_000, 8), (100_000, 16), (50_000, 32), (20_000, 64)):
            matrices = np.random.default_rng(0).standard_normal((n, dim, dim)).astype(dtype)
            there = cuda.to_device(matrices)
            times = in_turns(
                {"nfref": lambda: small_matrices.log_abs_det(there), **peers(matrices)}, rounds
            )
            others = [times[name] for name in ("torch", "cupy") if name in times]
            cells = "".join(
                f"{times[name]:10.3f}" if name in times else " " * 10
                for name in ("nfref", "torch", "cupy")
            )
            gain = f"{min(others) / times['nfref']:9.1f}x" if others else ""
            print(f"{'':14}{np.dtype(dtype).name:>8}{n:11d}{dim:6d}{cells}{gain}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    try:
        require_cuda()
    except RuntimeError as problem:
        raise SystemExit(str(problem)) from None
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    print(f"{name}, compute capability {device.compute_capability}")
    couplings(given.rounds)
    determinants(given.rounds)


if __name__ == "__main__":
    main()
