"""Score untuned flows on tables, by default on the white wines.

    python -m tests.benchmarks.tables [--flows maf nsf] [--seeds 3] [--file PARTS.npz]

Each flow has 5 layers of 128x128 hidden units, an NSF 8 bins in autoregressive layers, and is
fitted with the defaults of ``nfref.fit``, in float32. The wines are 3,961 distinct rows: 80 % to
train on, 10 % that decide when to stop, and 10 % that are scored. Log-likelihoods are in the units
of standardised columns (mean 0 and variance 1 on the training part), as in published comparisons,
in nats per row with their standard error over the test rows.

The networks use tanh. A few wines lie ten and more standard deviations out, where a relu network
keeps growing: a MAF's log-scales reach their bound there, and single test rows cost hundreds of
nats (``--activation relu`` shows it). A tanh network levels off.
"""

import argparse
import time

import numpy as np

import nfref
from nfref.datasets import wine
from nfref.tables.densities.gaussian import Gaussian

LAYERS, HIDDEN, BINS = 5, (128, 128), 8
FLOWS = {
    "maf": lambda dim, **options: nfref.MAF(dim, LAYERS, HIDDEN, **options),
    "nsf": lambda dim, **options: nfref.NSF(dim, LAYERS, HIDDEN, BINS, **options),
}


def parts_of_wine(rng):
    """Return the table in random order, split 80/10/10."""
    values, _ = wine()
    values = values[rng.permutation(len(values))]
    tenth = len(values) // 10
    return values[2 * tenth :], values[:tenth], values[tenth : 2 * tenth]


def parts_of_spikes(rng):
    """Sample 36,000, 4,000 and 4,000 rows of nine columns: six clusters with narrow columns.

    In half of the rows or in all, some columns are nearly functions of others, narrow about a
    value, or close to an end.
    """
    rows, dim = 44_000, 9
    spread = rng.standard_normal((6, dim, dim)) / 3
    cluster = rng.integers(6, size=rows)
    x = 2 * rng.standard_normal((6, dim))[cluster] + np.einsum(
        "nij,nj->ni", spread[cluster], rng.standard_normal((rows, dim))
    )
    curved, spiked = rng.random(rows) < 0.5, rng.random(rows) < 0.4
    x[:, 1] = np.where(curved, np.sin(2 * x[:, 0]) + 0.02 * rng.standard_normal(rows), x[:, 1])
    x[:, 2] = np.where(spiked, 0.5 + 0.01 * rng.standard_normal(rows), x[:, 2])
    x[:, 3] = np.abs(x[:, 3]) + 0.01 * rng.standard_exponential(rows)
    x[:, 4] = x[:, 5] * x[:, 6] + 0.05 * x[:, 4]
    return np.split(x, [36_000, 40_000])


def parts_of_file(path):
    """Arrays ``train``, ``val`` and ``test`` of an npz file."""
    with np.load(path) as arrays:
        return tuple(arrays[name].astype(np.float64) for name in ("train", "val", "test"))


def measure(flow, units, train, validation, test, seed, progress=False):
    """Return (log-likelihoods of test rows under the flow, the fit's own message)."""
    density = nfref.Density(nfref.Chain([flow, units]))
    rng = np.random.default_rng(seed)
    train32, validation32 = train.astype(np.float32), validation.astype(np.float32)
    result = nfref.fit(
        density, density.init(rng), train32, rng, validation=validation32, progress=progress
    )
    return density.log_prob(result.params, test), result.message


def shown(scores):
    return f"{np.mean(scores):8.3f} +- {np.std(scores, ddof=1) / np.sqrt(len(scores)):.3f}"


def main():
    parser = argparse.ArgumentParser(description="Flows on a table.")
    parser.add_argument("--flows", nargs="*", default=list(FLOWS), choices=FLOWS)
    parser.add_argument("--seeds", type=int, default=3, help="how many splits and starts")
    parser.add_argument("--file", help="an npz with train, val and test instead of own splits")
    parser.add_argument("--activation", default="tanh", choices=("tanh", "relu", "softplus"))
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    means = {name: [] for name in options.flows}
    print(f"seed  {'flow':6}{'test nats':20}{'full Gaussian':20}seconds")
    for seed in range(options.seeds):
        parts = (
            parts_of_file(options.file)
            if options.file
            else parts_of_wine(np.random.default_rng([seed, 0]))
        )
        train, _, test = parts
        units = nfref.Standardise.of(train)
        # Densities are in the units of the data; this converts them to standardised columns.
        jacobian = np.sum(np.log(units.std))
        gaussian = Gaussian.fit(train).log_prob(test) + jacobian
        for name in options.flows:
            start = time.perf_counter()
            flow = FLOWS[name](train.shape[1], activation=options.activation)
            scores, message = measure(flow, units, *parts, [seed, 1], options.progress)
            scores = scores + jacobian
            means[name].append(np.mean(scores))
            print(
                f"{seed:4}  {name:6}{shown(scores):20}{shown(gaussian):20}"
                f"{time.perf_counter() - start:6.0f}  {message}",
                flush=True,
            )
    for name, values in means.items():
        print(f"{name}: mean over seeds {np.mean(values):.3f} nats")


if __name__ == "__main__":
    main()
