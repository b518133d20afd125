"""Compare steps of few rows, many in one call, with steps one by one.

    python -m tests.benchmarks.small_steps [--rounds 5]

Both fit 448 rows of 10 columns in batches of 64, float32, in turns. The output is processor
milliseconds per step, the medians of the rounds, including the shuffling of the rows and 112 rows
to score after every epoch.
"""

import argparse
import statistics
import time

import numpy as np

import nfref
from nfref.runtime import dispatch

EPOCHS, BATCHES, DIM = 40, 7, 10
FLOWS = {
    "NSF": nfref.NSF(DIM, 3, (32, 32)),
    "MAF": nfref.MAF(DIM, 3, (32,)),
    "RealNVP": nfref.RealNVP(DIM, 4, (32,)),
}


def milliseconds(flow, in_one_call):
    """Return processor milliseconds per step."""
    density, x = nfref.Density(flow), np.random.default_rng(0).standard_t(3, (560, DIM))
    params, usual = density.init(np.random.default_rng(0)), dispatch.TWINS["steps"]
    if not in_one_call:
        dispatch.TWINS["steps"] = usual._replace(worth_it=np.inf)
    started = time.process_time()
    try:
        nfref.fit(
            density,
            params,
            x[:448].astype("f"),
            np.random.default_rng(0),
            validation=x[448:],
            epochs=EPOCHS,
            batch_size=64,
            patience=None,
            progress=False,
        )
    finally:
        dispatch.TWINS["steps"] = usual
    return 1e3 * (time.process_time() - started) / (EPOCHS * BATCHES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for name, flow in FLOWS.items():
        found = [
            [milliseconds(flow, in_one_call) for in_one_call in (True, False)]
            for _ in range(rounds + 1)
        ][1:]  # the first one compiles
        one, each = map(statistics.median, zip(*found))
        print(
            f"{name:8} in one call {one:.3f} ms, by itself {each:.3f} ms, ratio {each / one:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
