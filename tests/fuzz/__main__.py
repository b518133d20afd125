"""python -m tests.fuzz: run every attack, and print a table of how they ended."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.fuzz import KINDS, case
from tests.fuzz.case import attack


def run(kind, seed, number):
    """Return (counts of outcomes, failures as lines) of ``number`` cases of one kind."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    counts, failures = Counter(), []
    for one in KINDS[kind][0](rng, number):
        with tempfile.TemporaryDirectory() as folder:
            outcome, why = attack(one, Path(folder))
        counts[outcome] += 1
        if outcome == "failed":
            failures.append(f"{one.name}: {why}")
    return counts, failures


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="of the usual number of cases")
    parser.add_argument("--kind", choices=tuple(KINDS), action="append")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="times twenty seconds until a case hangs, on a machine that is busy",
    )
    options = parser.parse_args()
    case.SECONDS *= options.patience
    failed = []
    print(f"{'kind':<12}{'cases':>8}{'success':>9}{'refused':>9}{'failed':>8}{'seconds':>9}")
    for kind in options.kind or KINDS:
        began = time.perf_counter()
        counts, failures = run(kind, options.seed, round(options.times * KINDS[kind][1]))
        failed += failures
        print(
            f"{kind:<12}{sum(counts.values()):>8}{counts['success']:>9}{counts['refused']:>9}"
            f"{counts['failed']:>8}{time.perf_counter() - began:>9.0f}",
            flush=True,
        )
    for line in failed:
        print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
