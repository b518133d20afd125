"""The density of a table by ``nfref.FlowDensity`` and by others: likelihood and time, in one run.

    python -m tests.benchmarks.densities [--file PARTS.npz] [--seeds 0 1] [--only NAME ...]

Without a file it is the white wines, split as :mod:`tests.benchmarks.tables` does; a file holds
``train``, ``val`` and ``test``. Columns are standardised on the training part. Everybody gets the
same training and validation rows and is scored on the same test rows, in a process of its own, one
after the other, with two threads, which wait without spinning: on a busy machine PyTorch's would
take twenty times as long otherwise. Timed are fit and scoring without imports; compiled kernels
are on disk, as they are from the second run on. Printed are nats per row with the standard error
over test rows, seconds of the clock and of the processors.

The protocol, fixed before anything was measured:

- *FlowDensity*: defaults; training and validation rows together, of which it holds out its own.
- *mixture*: scikit-learn's, full covariances, 1 to 64 components by the validation likelihood.
- *kernels*: scikit-learn's ``KernelDensity`` on training and validation rows, its bandwidth by
  5-fold cross-validation; on 10,000 rows where there are more, and taken to N rows by the
  rate (N / 10,000)^(-1 / (D + 4)).
- *zuko NSF*, *zuko MAF*: 5 transforms of 2x128 units, the size that FlowDensity's flows have; the
  rest as zuko has it (relu, 8 bins, bound 5). Adam 1e-3, batches of 256, until 20 epochs bring no
  better validation likelihood; the best epoch counts.
- *zuko NSF, small*: the same with the numbers that zuko has by default, 3 transforms of 2x64.
- *denmarf*: its defaults (a MAF of 32 blocks, 1,000 epochs), but 80 % of the rows to train on and
  10 % to validate, where it would take 50 % and 40 %.

zuko and denmarf end after ``--minutes``: zuko after the epoch, denmarf by so many epochs as fit in.
FlowDensity has no limit. Its *best member* is the one that does best on the test rows, which
nobody could know; the difference of the pool from it is paired, row by row.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests.benchmarks.tables import parts_of_file, parts_of_wine

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
BANDWIDTHS = tuple(0.05 * 1.25 ** np.arange(16))
KERNEL_ROWS = 10_000
EPOCHS, PATIENCE, BATCH, RATE = 1000, 20, 256, 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", help="an npz with train, val and test")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options)
        return
    names = [name for name in options.only
             if importlib.util.find_spec(NEEDS.get(name, "sklearn")) is not None]
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "rows.npz")
        for seed in options.seeds:
            parts = (parts_of_file(options.file) if options.file
                     else parts_of_wine(np.random.default_rng([seed, 0])))
            train, validation, test = standardised(*parts)
            np.savez(data, train=train, val=validation, test=test)
            print(f"{options.file or 'wine'}, seed {seed}: {len(train):,} + {len(validation):,} "
                  f"+ {len(test):,} rows, {train.shape[1]} columns")
            print(f"{'':16}{'test nats':>10}{'+-':>7}{'wall (s)':>10}{'cpu (s)':>10}", flush=True)
            if "FlowDensity" in names:
                measure("warm up", data, seed, options.minutes)
            for name in names:
                print(line(name, measure(name, data, seed, options.minutes)), flush=True)


def standardised(train, *others):
    """The parts in units in which the columns of the first have mean 0 and variance 1."""
    mean, std = np.mean(train, axis=0), np.std(train, axis=0)
    return [(part - mean) / std for part in (train, *others)]


def line(name, found):
    return (f"{name:16}{found['mean']:10.3f}{found['error']:7.3f}{found['wall']:10.1f}"
            f"{found['cpu']:10.1f}  {found['remark']}")


def measure(name, data, seed, minutes):
    """What a contender finds in a process of its own."""
    threads = {f"{name}_NUM_THREADS": "2" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    threads["OMP_WAIT_POLICY"] = "passive"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.densities", "--run", name, "--file", data,
         "--seed", str(seed), "--minutes", str(minutes)],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads})
    return json.loads(done.stdout.splitlines()[-1])


def run(options):
    """In that process: fit and score, and print what it took."""
    parts = parts_of_file(options.file)
    contender = {**CONTENDERS, "warm up": _warm_up}[options.run]
    fit = contender(*parts[:2], options.seed, 60 * options.minutes)
    start, cpu = time.perf_counter(), time.process_time()
    scores, remark = fit(parts[2])
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"mean": float(np.mean(scores)), "wall": wall, "cpu": cpu, "remark": remark,
                      "error": float(np.std(scores, ddof=1) / np.sqrt(len(scores)))}))


# Contenders: each imports, and gives the function test -> (log-likelihoods, remark) -----------


def _flow_density(train, validation, seed, seconds, **options):
    import nfref
    rows = np.concatenate([train, validation])

    def fit(test):
        density = nfref.FlowDensity(random_state=seed, **options).fit(rows)
        scores, members = density.density_.parts(list(test.T))
        others = scores - density.density_.pool.pooled(members)
        members = members + others[:, None]
        best = int(np.argmax(np.mean(members, axis=0)))
        apart = scores - members[:, best]
        return scores, (f"best member {density.density_.pool.names[best]} "
                        f"{np.mean(members[:, best]):.3f}, pool "
                        f"{np.mean(apart):+.3f} +- {np.std(apart) / np.sqrt(len(apart)):.3f}")
    return fit


def _warm_up(train, validation, seed, seconds):
    """Compiles what is not on disk yet."""
    return _flow_density(train, validation, seed, seconds, epochs=1)


def _mixture(train, validation, seed, seconds):
    from sklearn.mixture import GaussianMixture

    def fit(test):
        tried = [GaussianMixture(count, max_iter=500, random_state=seed).fit(train)
                 for count in COMPONENTS]
        best = max(tried, key=lambda one: one.score(validation))
        return best.score_samples(test), f"{best.n_components} components"
    return fit


def _kernels(train, validation, seed, seconds):
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity
    rows = np.random.default_rng(seed).permutation(np.concatenate([train, validation]))

    def fit(test):
        some = rows[:KERNEL_ROWS]
        search = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=KFold(5), refit=False)
        width = search.fit(some).best_params_["bandwidth"]
        width *= (len(rows) / len(some)) ** (-1 / (rows.shape[1] + 4))
        return (KernelDensity(bandwidth=width).fit(rows).score_samples(test),
                f"bandwidth {width:.3f}")
    return fit


def _zuko(kind, transforms, hidden):
    def contender(train, validation, seed, seconds):
        import torch
        import zuko

        def fit(test):
            began = time.perf_counter()
            torch.manual_seed(seed)
            flow = getattr(zuko.flows, kind)(train.shape[1], transforms=transforms,
                                             hidden_features=hidden)
            optimiser = torch.optim.Adam(flow.parameters(), lr=RATE)
            rows, held_out, test = (torch.from_numpy(part.astype(np.float32))
                                    for part in (train, validation, test))
            best, kept, since, remark = -np.inf, None, 0, ""
            for epoch in range(EPOCHS):
                for batch in torch.randperm(len(rows)).split(BATCH):
                    loss = -flow().log_prob(rows[batch]).mean()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                with torch.no_grad():
                    score = float(flow().log_prob(held_out).mean())
                since += 1
                if score > best:
                    best, since = score, 0
                    kept = {name: value.clone() for name, value in flow.state_dict().items()}
                remark = f"{epoch + 1} epochs"
                if since >= PATIENCE:
                    break
                if time.perf_counter() - began > seconds:
                    remark += ", cut"
                    break
            flow.load_state_dict(kept)
            with torch.no_grad():
                return flow().log_prob(test).double().numpy(), remark
        return fit
    return contender


def _denmarf(train, validation, seed, seconds):
    from denmarf import DensityEstimate
    rows = np.random.default_rng(seed).permutation(np.concatenate([train, validation]))
    shares = {"p_train": 0.8, "p_test": 0.1, "verbose": False}

    def fit(test):
        start = time.perf_counter()
        DensityEstimate(seed=seed, use_cuda=False).fit(rows, num_epochs=2, **shares)
        epochs = int(min(1000, max(1, 2 * seconds / (time.perf_counter() - start))))
        found = DensityEstimate(seed=seed, use_cuda=False).fit(rows, num_epochs=epochs, **shares)
        return found.score_samples(test), f"{epochs} epochs" + (", cut" if epochs < 1000 else "")
    return fit


CONTENDERS = {
    "FlowDensity": _flow_density,
    "mixture": _mixture,
    "kernels": _kernels,
    "zuko NSF": _zuko("NSF", 5, (128, 128)),
    "zuko NSF, small": _zuko("NSF", 3, (64, 64)),
    "zuko MAF": _zuko("MAF", 5, (128, 128)),
    "denmarf": _denmarf,
}
NEEDS = {"zuko NSF": "zuko", "zuko NSF, small": "zuko", "zuko MAF": "zuko", "denmarf": "denmarf"}

if __name__ == "__main__":
    main()
