"""Compare many small matrices at once: twins, LAPACK through NumPy, and torch.

    python -m tests.benchmarks.small_matrices [--n 20000] [--dtype float64] [--threads 1]

The libraries take turns in every round. The table shows medians in milliseconds, and the median
over rounds of how many times longer the better of the two takes. ``read`` is the time of adding up
the entries, one pass through memory. Without torch its columns stay blank.
"""

import argparse
import statistics
import time

import numpy as np
from autograd import grad

import nfref
from nfref.runtime import small_matrices


def in_turns(calls, rounds):
    """Milliseconds of each call in each round."""
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def torch_calls(matrices, rows, work, threads):
    try:
        import torch
    except ImportError:
        return {}
    if threads is not None:
        torch.set_num_threads(threads)
    a, r = torch.tensor(matrices), torch.tensor(rows)

    def gradient():
        leaf = a.clone().requires_grad_(True)
        torch.linalg.slogdet(leaf)[1].sum().backward()
        return leaf.grad

    return {
        "torch": {
            "log|det|": lambda: torch.linalg.slogdet(a),
            "its gradient": gradient,
            "solve": lambda: torch.linalg.solve(a, r),
        }[work]
    }


def our_calls(matrices, rows, work, threads):
    function = {
        "log|det|": lambda: small_matrices.log_abs_det(matrices),
        "its gradient": lambda: grad(lambda a: small_matrices.log_abs_det(a).sum())(matrices),
        "solve": lambda: small_matrices.solve(matrices, rows),
    }[work]

    def by(name):
        def call():
            with nfref.backend(name, threads=threads):
                return function()

        return call

    return {"numba": by("numba"), "numpy": by("numpy")}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--dims", type=int, nargs="*", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--work", nargs="*", default=["log|det|", "its gradient", "solve"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of the twins and of torch; all if omitted")
    given = parser.parse_args()
    print(f"{given.n} matrices, {given.dtype}")
    print(f"{'work':14}{'D':>4}{'numba':>10}{'numpy':>10}{'torch':>10}{'read':>10}{'x better':>10}")
    for work in given.work:
        for dim in given.dims:
            rng = np.random.default_rng(dim)
            matrices = rng.standard_normal((given.n, dim, dim)).astype(given.dtype)
            rows = rng.standard_normal((given.n, dim)).astype(given.dtype)
            calls = {
                **our_calls(matrices, rows, work, given.threads),
                **torch_calls(matrices, rows, work, given.threads),
                "read": matrices.sum,
            }
            times = in_turns(calls, given.rounds)
            peers = [times[name] for name in ("numpy", "torch") if name in times]
            ratio = statistics.median(
                min(others) / ours for ours, *others in zip(times["numba"], *peers)
            )
            cells = [
                f"{statistics.median(times[name]):10.2f}" if name in times else " " * 10
                for name in ("numba", "numpy", "torch", "read")
            ]
            print(f"{work:14}{dim:4d}" + "".join(cells) + f"{ratio:9.1f}x", flush=True)


if __name__ == "__main__":
    main()
