"""The density of a table by ``nfref.FlowDensity`` and by others: likelihood and time, in one run.

    python -m tests.benchmarks.densities [--file PARTS.npz] [--seeds 0 1] [--only NAME ...]
    python -m tests.benchmarks.densities --rows 50 150 700 [--draws 5] [--before FOLDER] [...]

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

With ``--rows`` it is learning curves: of so many rows, drawn ``--draws`` times from training and
validation rows together, the last fifth validates where somebody needs that. The test rows stay the
same, and the units those of the whole training part. Printed are the mean over the draws, how much
more FlowDensity has, with the standard error of the paired differences, and the seconds of the
processors for one fit. *before* is FlowDensity of another source folder, to compare versions; the
best of *gaussian*, *mixture* and *kernels* is the best simple density.
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
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--before", help="a folder with another version of the package")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options)
        return
    from tests.benchmarks.tables import parts_of_file, parts_of_wine  # of this version
    names = [name for name in options.only
             if importlib.util.find_spec(NEEDS.get(name, "sklearn")) is not None
             and (name != "before" or options.before)]
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "rows.npz")
        for seed in options.seeds:
            parts = (parts_of_file(options.file) if options.file
                     else parts_of_wine(np.random.default_rng([seed, 0])))
            train, validation, test = standardised(*parts)
            np.savez(data, train=train, val=validation, test=test)
            if options.rows:
                curves(data, names, options)
                continue
            print(f"{options.file or 'wine'}, seed {seed}: {len(train):,} + {len(validation):,} "
                  f"+ {len(test):,} rows, {train.shape[1]} columns")
            print(f"{'':16}{'test nats':>10}{'+-':>7}{'wall (s)':>10}{'cpu (s)':>10}", flush=True)
            if "FlowDensity" in names:
                measure("warm up", data, seed, options)
            for name in names:
                (found,) = measure(name, data, seed, options)
                print(line(name, found), flush=True)


def curves(data, names, options):
    """For every number of rows, how everybody does on several draws of them."""
    for count in options.rows:
        print(f"{options.file or 'wine'}, {count} rows, {options.draws} draws\n{'':16}"
              f"{'test nats':>10}{'FlowDensity':>14}{'+-':>7}{'cpu (s)':>10}", flush=True)
        ours = None
        for name in names:
            found = measure(name, data, 0, options, count)
            means = np.array([one["mean"] for one in found])
            ours = means if ours is None else ours
            apart = ours - means
            print(f"{name:16}{np.mean(means):10.3f}{np.mean(apart):+14.3f}"
                  f"{np.std(apart, ddof=1) / np.sqrt(len(apart)):7.3f}"
                  f"{np.mean([one['cpu'] for one in found]):10.2f}", flush=True)


def drawn(train, validation, count, draw):
    """Some rows of both parts together, in two parts."""
    rows = np.concatenate([train, validation])
    some = rows[np.random.default_rng([draw, count]).permutation(len(rows))[:count]]
    return some[count // 5:], some[:count // 5]


def standardised(train, *others):
    """The parts in units in which the columns of the first have mean 0 and variance 1."""
    mean, std = np.mean(train, axis=0), np.std(train, axis=0)
    return [(part - mean) / std for part in (train, *others)]


def line(name, found):
    return (f"{name:16}{found['mean']:10.3f}{found['error']:7.3f}{found['wall']:10.1f}"
            f"{found['cpu']:10.1f}  {found['remark']}")


def measure(name, data, seed, options, count=0):
    """What a contender finds in a process of its own: of all rows, or of draws of so many."""
    threads = {f"{name}_NUM_THREADS": "2" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    threads["OMP_WAIT_POLICY"] = "passive"
    start = "import runpy"
    if name == "before":        # the package from there, the benchmark from here
        start = (f"import sys; sys.path.insert(0, {options.before!r}); import nfref; "
                 "del sys.path[0]; import runpy")
    done = subprocess.run(
        [sys.executable, "-c", f"{start}; runpy.run_module('tests.benchmarks.densities', "
         "run_name='__main__', alter_sys=True)", "--run", name, "--file", data, "--seed", str(seed),
         "--minutes", str(options.minutes), "--draws", str(options.draws if count else 1),
         "--rows", str(count)],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads})
    return json.loads(done.stdout.splitlines()[-1])


def run(options):
    """In that process: fit and score, and print what it took."""
    with np.load(options.file) as arrays:
        train, validation, test = (arrays[name] for name in ("train", "val", "test"))
    contender = {**CONTENDERS, "warm up": _warm_up}[options.run]
    (count,), found = options.rows, []
    for draw in range(options.draws):
        parts = drawn(train, validation, count, draw) if count else (train, validation)
        fit = contender(*parts, options.seed + draw, 60 * options.minutes)
        start, cpu = time.perf_counter(), time.process_time()
        scores, remark = fit(test)
        found.append({"mean": float(np.mean(scores)), "wall": time.perf_counter() - start,
                      "cpu": time.process_time() - cpu, "remark": remark,
                      "error": float(np.std(scores, ddof=1) / np.sqrt(len(scores)))})
    print(json.dumps(found))


# Contenders: each imports, and gives the function test -> (log-likelihoods, remark) -----------


def _flow_density(train, validation, seed, seconds, **options):
    import nfref
    rows = np.concatenate([train, validation])

    def fit(test):
        density = nfref.FlowDensity(random_state=seed, **options).fit(rows)
        scores, members = density.density_.parts(list(test.T))
        others = scores - density.density_.pool.pooled(members)
        members = density.density_.pool.by_name(members) + others[:, None]
        best = int(np.argmax(np.mean(members, axis=0)))
        apart = scores - members[:, best]
        return scores, (f"best member {density.candidates_[best].name} "
                        f"{np.mean(members[:, best]):.3f}, pool "
                        f"{np.mean(apart):+.3f} +- {np.std(apart) / np.sqrt(len(apart)):.3f}")
    return fit


def _before(train, validation, seed, seconds):
    import nfref
    rows = np.concatenate([train, validation])

    def fit(test):
        density = nfref.FlowDensity(random_state=seed).fit(rows)
        return density.score_samples(test), f"of {os.path.dirname(nfref.__file__)}"
    return fit


def _gaussian(train, validation, seed, seconds):
    from scipy.stats import multivariate_normal
    rows = np.concatenate([train, validation])

    def fit(test):
        return multivariate_normal(np.mean(rows, axis=0), np.cov(rows.T)).logpdf(test), ""
    return fit


def _warm_up(train, validation, seed, seconds):
    """Compiles what is not on disk yet."""
    return _flow_density(train, validation, seed, seconds, epochs=1)


def _mixture(train, validation, seed, seconds):
    from sklearn.mixture import GaussianMixture

    def fit(test):
        tried = [GaussianMixture(count, max_iter=500, random_state=seed).fit(train)
                 for count in COMPONENTS if count <= len(train)]
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
    "before": _before,
    "gaussian": _gaussian,
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
