"""How well a masked autoregressive flow with nothing tuned fits the white wine table.

    python -m tests.benchmarks.wine_maf [--seeds 3] [--file PARTS.npz] [--activation relu]

MAF with 5 layers of 128x128 hidden units and the defaults of ``nfref.fit``, in float32, on 80 %
of the 3,961 distinct rows; 10 % decide when to stop, and 10 % are scored. Log-likelihoods are
in the units of standardised columns (mean 0 and variance 1 on the training part), which are
those of published comparisons, in nats per row with their standard error over the test rows.

The networks are of tanh. A few wines lie ten and more standard deviations out, where a relu
network goes on growing: log-scales reach their bound there, and single test rows cost hundreds
of nats (``--activation relu`` shows it). A tanh network levels off.
"""

import argparse
import time

import numpy as np

import nfref
from nfref.datasets import wine
from nfref.estimator.baselines import Gaussian

TARGET = -10.5


def parts_of_wine(rng):
    """The table in random order, cut 80/10/10."""
    values, _ = wine()
    values = values[rng.permutation(len(values))]
    tenth = len(values) // 10
    return values[2 * tenth:], values[:tenth], values[tenth:2 * tenth]


def parts_of_file(path):
    """Arrays ``train``, ``val`` and ``test`` of an npz file."""
    with np.load(path) as arrays:
        return tuple(arrays[name].astype(np.float64) for name in ("train", "val", "test"))


def measure(train, validation, test, seed, activation="tanh", progress=False):
    """(Log-likelihoods of test rows under MAF, under a Gaussian, what the fit says of itself)."""
    units = nfref.Standardise.of(train)
    flow = nfref.MAF(train.shape[1], layers=5, hidden=(128, 128), activation=activation)
    density = nfref.Density(nfref.Chain([flow, units]))
    rng = np.random.default_rng(seed)
    train32, validation32 = train.astype(np.float32), validation.astype(np.float32)
    result = nfref.fit(density, density.init(rng), train32, rng, validation=validation32,
                       progress=progress)
    # The density is one of the data as given; this takes it to standardised columns.
    jacobian = np.sum(np.log(units.std))
    flow_scores = density.log_prob(result.params, test) + jacobian
    gaussian_scores = Gaussian.fit(train).log_prob(test) + jacobian
    return flow_scores, gaussian_scores, result.message


def shown(scores):
    return f"{np.mean(scores):8.3f} +- {np.std(scores, ddof=1) / np.sqrt(len(scores)):.3f}"


def main():
    parser = argparse.ArgumentParser(description="MAF on white wine.")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits and starts")
    parser.add_argument("--file", help="an npz with train, val and test instead of own splits")
    parser.add_argument("--activation", default="tanh", choices=("tanh", "relu", "softplus"))
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    means = []
    print(f"{'seed':>4}  {'MAF, test nats':20}{'full Gaussian':20}seconds")
    for seed in range(options.seeds):
        parts = (parts_of_file(options.file) if options.file
                 else parts_of_wine(np.random.default_rng([seed, 0])))
        start = time.perf_counter()
        flow_scores, gaussian_scores, message = measure(*parts, [seed, 1], options.activation,
                                                        options.progress)
        means.append(np.mean(flow_scores))
        print(f"{seed:4}  {shown(flow_scores):20}{shown(gaussian_scores):20}"
              f"{time.perf_counter() - start:6.0f}  {message}", flush=True)
    reached = "reached" if np.mean(means) >= TARGET else "missed"
    print(f"mean over seeds: {np.mean(means):.3f} nats; {TARGET} is {reached}")


if __name__ == "__main__":
    main()
