"""What constant offset of a log-density the oracle sees, by kind of density and dimension.

``python -m tests.oracle.power [--seeds 3]`` prints the table of ``docs/oracle.rst``: the largest
tolerance of the property "normalised" over the seeds, in nats. An offset above it fails.
"""

import argparse
import warnings

import numpy as np

from nfref.oracle import check_density
from tests.oracle.sound import SOUND

KINDS = ("normal", "t, 2 degrees", "Cauchy", "exponential", "beta", "lognormal")
OTHERS = ("funnel", "modes", "hole", "banana")
DIMS = (1, 2, 4, 10, 20)


def cases():
    for kind in KINDS:
        yield kind, {dim: SOUND.get(f"{kind} density, D = {dim}") for dim in DIMS}
    for kind in OTHERS:
        yield kind, {dim: SOUND.get(f"{kind}, D = {dim}") for dim in DIMS}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.power", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore")
    print(f"{'density':<16}" + "".join(f"{f'D = {dim}':>10}" for dim in DIMS))
    for kind, builds in cases():
        words = []
        for build in builds.values():
            if build is None:
                words.append("")
                continue
            rows = [check_density(**build(np.random.default_rng(seed)),
                                  rng=np.random.default_rng(seed))["normalised"]
                    for seed in seeds]
            known = all(row.verdict == "pass" for row in rows)
            words.append(f"{max(row.tolerance for row in rows):.2g}" if known else "not judged")
        print(f"{kind:<16}" + "".join(f"{word:>11}" for word in words), flush=True)


if __name__ == "__main__":
    main()
