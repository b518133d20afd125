"""Compare the table's rows with those of another version, to find changes that make one slower.

    python -m tests.benchmarks.against FOLDER [--rounds 13] [--only realnvp maf nsf ...]

FOLDER is a checkout of the other version. Both run in processes of their own and take turns, a row
at a time: calls for 0.15 s each, so that a busy moment of the machine slows both. The output is
medians of milliseconds and the median of the ratios of neighbours.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from tests.benchmarks.ours import cases

TURN = 0.15  # seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument(
        "--only", nargs="*", default=[""], help="words that a row's name starts with"
    )
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer()
        return
    sides = [answering(os.path.abspath(given.folder)), answering(os.getcwd())]
    print(f"{'work (ms)':52}{'before':>9}{'now':>9}{'ratio':>7}")
    for case in cases():
        if not case.name.lower().startswith(tuple(given.only)):
            continue
        pairs = [[asked(side, case.name) for side in sides] for _ in range(given.rounds)]
        before, now = map(statistics.median, zip(*pairs))
        ratio = statistics.median(one / other for other, one in pairs)
        print(f"{case.name:52}{before:9.2f}{now:9.2f}{ratio:7.2f}", flush=True)
    for side in sides:
        side.stdin.close()


def answering(folder):
    """Start a process that imports the version in a folder, and runs this file's :func:`answer`."""
    paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, __file__, folder, "--answer"],
        cwd=folder,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def asked(side, name):
    """Milliseconds of one turn."""
    print(name, file=side.stdin, flush=True)
    return float(side.stdout.readline())


def answer():
    """Time rows by name, on request."""
    known, calls = {case.name: case for case in cases()}, {}
    for line in sys.stdin:
        name = line.strip()
        if name not in calls:
            known[name].backends = ("numba",)
            calls[name] = known[name].ours()["numba"]
            calls[name]()
        call, count = calls[name], 0
        call()
        start = time.perf_counter()
        while time.perf_counter() - start < TURN:
            call()
            count += 1
        steps = count * getattr(call, "steps", 1)
        print(1e3 * (time.perf_counter() - start) / steps, flush=True)


if __name__ == "__main__":
    main()
