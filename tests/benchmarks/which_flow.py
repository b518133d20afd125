"""Compare quality and cost of every flow on one budget: the table of docs/which_flow.rst.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m tests.benchmarks.which_flow [--flows MAF CNF]

Every flow is fitted twice with the same budget, 1,000 steps of Adam with 256 rows each, in float32;
the learning rate falls from 2e-3 to zero as a cosine. No size is tuned.

``above`` is the test loss on the checkerboard less its entropy, the Kullback-Leibler divergence in
nats: 20,000 rows to train on, 20,000 new ones to score, standard error below 0.005.

``wine`` is the mean log-likelihood of 396 held-out white wines in nats, in the units of the table,
with the split of ``tests.benchmarks.tables`` and seed 0. The parameters come from the epoch that
does best on 396 other wines. The standard error is 0.3, but the rows are the same for all flows, so
differences have smaller errors.

``density`` and ``sampling`` are microseconds of processor time per row for 2,048 rows of the fitted
wine flow in float32, the best of seven calls after a call that does not count. The command above
leaves one thread, so other load on the machine matters little.
"""

import argparse
import time

import numpy as np

import nfref
from tests.benchmarks.tables import parts_of_wine

ROWS, BATCH, RATE = 20_000, 256, 2e-3
FLOWS = {
    "Planar": lambda dim: nfref.Planar(dim, layers=32),
    "RealNVP": lambda dim: nfref.RealNVP(dim),
    "NSF, coupling": lambda dim: nfref.NSF(dim, coupling=True),
    "MAF": lambda dim: nfref.MAF(dim),
    "NSF": lambda dim: nfref.NSF(dim),
    "IAF": lambda dim: nfref.IAF(dim),
    "CNF": lambda dim: nfref.CNF(dim),
}


def fitted(flow, train, validation, steps, seed):
    """Return (density, parameters) after the budget; the units are part of the flow."""
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise.of(train)]))
    rng = np.random.default_rng(seed)
    epochs = max(1, round(steps / np.ceil(len(train) / BATCH)))
    result = nfref.fit(
        density,
        density.init(rng),
        train.astype(np.float32),
        rng,
        validation=validation.astype(np.float32),
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, result.params


def mean_log_prob(density, params, rows):
    scores = [density.log_prob(params, part) for part in np.array_split(rows, 10)]
    return np.mean(np.concatenate(scores), dtype=np.float64)


def above_entropy(make, steps):
    toy = nfref.datasets.checkerboard
    rng = np.random.default_rng(0)
    train, validation, test = (toy(rng, n) for n in (ROWS, 2000, ROWS))
    density, params = fitted(make(2), train, validation, steps, 1)
    return -mean_log_prob(density, params, test) - toy.entropy


def microseconds(call, rows, repeats=7):
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e6 * min(times) / rows


def on_wine(make, steps, rows=2048):
    """(nats, microseconds a row of the density, of sampling)."""
    train, validation, test = parts_of_wine(np.random.default_rng([0, 0]))
    density, params = fitted(make(train.shape[1]), train, validation, steps, 1)
    some, rng = train[:rows].astype(np.float32), np.random.default_rng(2)
    return (
        mean_log_prob(density, params, test),
        microseconds(lambda: density.log_prob(params, some), rows),
        microseconds(lambda: density.sample(params, rng, rows), rows),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flows", nargs="*", default=list(FLOWS), choices=FLOWS)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    print(f"{'flow':<14}{'above':>8}{'wine':>9}{'density':>10}{'sampling':>10}{'seconds':>9}")
    for name in options.flows:
        start = time.perf_counter()
        above = above_entropy(FLOWS[name], options.steps)
        wine, density, sampling = on_wine(FLOWS[name], options.steps)
        print(
            f"{name:<14}{above:8.3f}{wine:9.2f}{density:10.2g}{sampling:10.2g}"
            f"{time.perf_counter() - start:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
