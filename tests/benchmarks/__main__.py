"""Compare nfref, with each backend, with other libraries on this machine, in one table.

    python -m tests.benchmarks [--repeats 7] [--only realnvp maf nsf cnf matrices import]

Every row times the libraries in turn, again and again, so that a busy moment of the machine slows
all of them. The table shows medians in milliseconds, and how many times faster nfref's twins are
than the fastest other library. ``sgemm`` is the share that the twins reach of the rate of a large
matrix product, measured in the same rounds, on as many threads. It counts the multiplications of a
dense network.

Below a row of a continuous flow stands how often each library called the right-hand side. The
networks have the same weights, and tolerances and the order of the method are the same.

``python -m tests.benchmarks.end_to_end`` times whole fits in fresh processes. A library that is not
installed (extra ``peers``) leaves a blank, and so does ``cuda`` without a device.
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np

from nfref.runtime.backends import BACKENDS
from tests.benchmarks import peers
from tests.benchmarks.ours import cases

REST = 0.1  # seconds
LONG = 500  # milliseconds
TURN = 50  # milliseconds of calls that are timed together
SIZE = 1536  # of the square matrices whose product gives the sgemm rate


def median_times(calls, repeats):
    """Return median milliseconds of each call; the calls take turns.

    A turn begins with a rest and, if that is short, a call that does not count. Threads of the
    library before keep spinning for a while and hold the processors, and they leave other data in
    the caches; a real training has no such turns. Short calls are repeated, as steps of training
    are.
    """
    for call in calls.values():
        call()  # compiles, on the first call
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(REST)
            expected = times[name][-1] if times[name] else LONG
            if expected < LONG:
                call()
            count = max(1, round(TURN / expected))
            start = time.perf_counter()
            for _ in range(count):
                call()
            spent = 1e3 * (time.perf_counter() - start) / count
            times[name].append(spent / getattr(call, "steps", 1))
    return {name: statistics.median(values) for name, values in times.items()}


def gemm():
    a = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    return lambda: a @ a


def import_time():
    """Median milliseconds that ``import nfref`` adds to a fresh process."""

    def run(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return 1e3 * (time.perf_counter() - start)

    pairs = [(run("import nfref"), run("pass")) for _ in range(5)]
    return statistics.median(one - other for one, other in pairs)


def cell(times, name):
    return f"{times[name]:11.2f}" if name in times else " " * 11


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Compare nfref with other libraries."
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="words that a row's name starts with")
    options = parser.parse_args()

    names = [name for name in (*BACKENDS, *peers.NAMES) if name != "numba"]
    print(
        f"{'work (ms)':50}{'numba':>12}{'x best':>9}{'sgemm':>7}"
        + "".join(f"{name:>12}" for name in names)
    )
    for case in cases():
        if options.only and not any(case.name.lower().startswith(word) for word in options.only):
            continue
        calls = {**case.ours(), **({} if case.alone else peers.calls(case))}
        if case.flops:
            calls["sgemm"] = gemm()
        times = median_times(calls, max(1, options.repeats if not case.slow else 3))
        others = [times[name] for name in peers.NAMES if name in times]
        gain = f"{min(others) / times['numba']:.2f}x" if others else ""
        share = ""
        if case.flops:
            share = f"{case.flops / times['numba'] / (2 * SIZE**3 / times['sgemm']):.0%}"
        print(
            f"{case.name:50} {cell(times, 'numba')}{gain:>9}{share:>7}"
            + "".join(" " + cell(times, name) for name in names),
            flush=True,
        )
        if case.evaluations:
            print(
                "    evaluations: "
                + ", ".join(
                    f"{name} {count}"
                    + (
                        f" (nfref is {times[name] / times['numba']:.1f}x as fast)"
                        if name in times
                        else ""
                    )
                    for name, count in case.evaluations.items()
                ),
                flush=True,
            )
    if not options.only or "import" in options.only:
        print(f"{'import nfref':50} {import_time():11.0f}")


if __name__ == "__main__":
    main()
