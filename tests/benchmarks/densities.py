"""The density of a table by ``nfref.FlowDensity`` and by others: likelihood and time, in one run.

    python -m tests.benchmarks.densities [--file PARTS.npz | --spikes] [--seeds 0 1] [--only ...]
    python -m tests.benchmarks.densities --rows 50 150 700 [--draws 5] [--before FOLDER] [...]

Without a file it is the white wines, split as :mod:`tests.benchmarks.tables` does; a file holds
``train``, ``val`` and ``test``; ``--spikes`` makes 40,000 rows of nine columns. Columns are
standardised on the training part. Every contender gets the same training, validation and test rows,
in a process of its own, one after the other, with ``--threads`` threads. The threads wait without
spinning: otherwise PyTorch's take twenty times as long on a busy machine. The times cover fit and
scoring without imports; compiled kernels are on disk, as they are from the second run on. The table
shows nats per row with the standard error over test rows, the lead of the first density with the
standard error of the paired differences, and wall and processor seconds.

The protocol, fixed before any measurement:

- *FlowDensity*: defaults; training and validation rows together, of which it holds out its own.
- *quick*, *thorough*, *5 s*, *15 s*: FlowDensity with that effort, or that time budget in wall
  seconds. A budget of 60 s and the default are the same where the default takes less.
- *before*: the same of another source folder, to compare versions.
- *mixture*: scikit-learn's, full covariances, 1 to 64 components by the validation likelihood.
- *mixture, BIC*: the same on all rows, up to a component for ten rows and 32, the least BIC.
- *kernels*: scikit-learn's ``KernelDensity`` on training and validation rows, its bandwidth by
  5-fold cross-validation; on 10,000 rows where there are more, and taken to N rows by the
  rate (N / 10,000)^(-1 / (D + 4)).
- *vine*: pyvinecopulib's, pair copulas by local likelihood, margins by its kernels, defaults.
- *ARF*: arfpy's adversarial random forest and its leaves, defaults.
- *zuko NSF*, *zuko MAF*: 5 transforms of 2x128 units, the most that FlowDensity's flows have;
  the rest as zuko has it (relu, 8 bins, bound 5). Adam 1e-3, batches of 256, until 20 epochs bring
  no better validation likelihood; the best epoch counts.
- *zuko NSF, small*: the same with the numbers that zuko has by default, 3 transforms of 2x64.
- *single MAF*: nfref's, of that size, by ``nfref.fit`` and its defaults (Adam 1e-3, batches of
  256, patience 20), up to 200 epochs.
- *denmarf*: its defaults (a MAF of 32 blocks, 1,000 epochs), but 80 % of the rows to train on and
  10 % to validate, where it would take 50 % and 40 %.

Vine and forest are zero in places, so each is pooled with the Gaussian, which gets the weight of
one extra row. zuko and denmarf end after ``--minutes``: zuko after the epoch, denmarf by the number
of epochs that fit in. FlowDensity has its own limit, ten minutes, or ``--minutes`` if that is more.
Its *best member* is the candidate with the best test score, which is unknown in practice; the
difference of the pool from it is paired, row by row.

With ``--rows`` the output is learning curves. Training and validation rows together are subsampled
``--draws`` times to each number of rows; the last fifth validates where a contender needs it. The
first 2,000 test rows stay the same, and so do the units, those of the whole training part. Every
contender has one thread and a minute (``--threads``, ``--minutes``). Standard errors are over the
draws. The best of *gaussian*, *mixture, BIC* and *kernels*, by its mean over the draws, is the best
simple density.

``--csv`` stores every fit, in place of an earlier one of the same table, rows, draw and density, so
you can split a run: nats, the standard error over test rows of the difference from the first
density of the run, processor seconds, and remarks.
"""

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from tests.benchmarks.density_peers import CONTENDERS, NEEDS, warm_up

COLUMNS = ("table", "rows", "draw", "density", "nats", "error", "cpu", "remark")
WHOLE = (
    "FlowDensity",
    "before",
    "gaussian",
    "mixture",
    "kernels",
    "zuko NSF",
    "zuko NSF, small",
    "zuko MAF",
    "denmarf",
    "single MAF",
)
CURVES = ("FlowDensity", "before", "gaussian", "mixture, BIC", "kernels", "vine", "ARF", "zuko NSF")
TEST_ROWS = 2000  # of a learning curve


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", help="an npz with train, val and test")
    parser.add_argument("--spikes", action="store_true", help="a made table, with spikes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*", choices=CONTENDERS)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--before", help="a folder with another version of the package")
    parser.add_argument("--csv", type=Path, help="a file that keeps what is found")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.minutes = options.minutes or (1.0 if options.rows else 10.0)
    options.threads = options.threads or (1 if options.rows else 2)
    if options.run:
        run(options)
        return
    from tests.benchmarks.tables import parts_of_file, parts_of_spikes, parts_of_wine

    names = [
        name
        for name in options.only or (CURVES if options.rows else WHOLE)
        if importlib.util.find_spec(NEEDS.get(name, "sklearn")) is not None
        and (name != "before" or options.before)
    ]
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "rows.npz")
        for seed in options.seeds:
            rng = np.random.default_rng([seed, 0])
            parts = (
                parts_of_file(options.file)
                if options.file
                else parts_of_spikes(rng)
                if options.spikes
                else parts_of_wine(rng)
            )
            train, validation, test = standardised(*parts)
            np.savez(
                data, train=train, val=validation, test=test[:TEST_ROWS] if options.rows else test
            )
            if "FlowDensity" in names:
                measure("warm up", data, seed, options)
            compare(data, names, seed, options, len(train) + len(validation))


def compare(data, names, seed, options, whole):
    """Print every contender's scores on all rows, or on several samples of fewer rows."""
    table = Path(options.file).stem if options.file else "spikes" if options.spikes else "wine"
    print(
        f"{table}, seed {seed}\n{'':16}{'rows':>8}{'test nats':>10}{'+-':>7}"
        f"{f'{names[0]} more':>18}{'+-':>7}{'wall (s)':>10}{'cpu (s)':>10}",
        flush=True,
    )
    first = {}
    for name in names:
        for count, found in measure(name, data, seed, options).items():
            rows, scores = int(count) or whole, [np.array(one["scores"]) for one in found]
            apart = [a - b for a, b in zip(first.setdefault(rows, scores), scores)]
            shown = [
                np.array([np.mean(one) for one in values]) if options.rows else values[0]
                for values in (scores, apart)
            ]
            print(
                f"{name:16}{rows:8,}"
                + "".join(
                    f"{np.mean(one):{width}.3f}{error_of(one):7.3f}"
                    for one, width in zip(shown, (10, 18))
                )
                + "".join(
                    f"{np.mean([one[kind] for one in found]):10.1f}" for kind in ("wall", "cpu")
                )
                + f"  {found[-1]['remark']}",
                flush=True,
            )
            if options.csv:
                keep(
                    options.csv,
                    {
                        (table, rows, seed + draw, name): (
                            np.mean(scores[draw]),
                            error_of(apart[draw]),
                            one["cpu"],
                            one["remark"],
                        )
                        for draw, one in enumerate(found)
                    },
                )


def error_of(values):
    """The standard error of the mean; NaN of one value."""
    return np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def drawn(train, validation, count, draw):
    """Some rows of both parts together, in two parts."""
    rows = np.concatenate([train, validation])
    some = rows[np.random.default_rng([draw, count]).permutation(len(rows))[:count]]
    return some[count // 5 :], some[: count // 5]


def standardised(train, *others):
    """The parts in units in which the columns of the first have mean 0 and variance 1."""
    mean, std = np.mean(train, axis=0), np.std(train, axis=0)
    return [(part - mean) / std for part in (train, *others)]


def measure(name, data, seed, options):
    """Run a contender in its own process; return number of rows (0: all) -> its draws."""
    threads = {
        f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")
    }
    threads["OMP_WAIT_POLICY"] = "passive"
    start = "import runpy"
    if name == "before":  # the package from there, the benchmark from here
        start = (
            f"import sys; sys.path.insert(0, {options.before!r}); import nfref; "
            "del sys.path[0]; import runpy"
        )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{start}; runpy.run_module('tests.benchmarks.densities', "
            "run_name='__main__', alter_sys=True)",
            "--run",
            name,
            "--file",
            data,
            "--seed",
            str(seed),
            "--minutes",
            str(options.minutes),
            "--draws",
            str(options.draws if options.rows else 1),
            "--rows",
            *map(str, options.rows or [0]),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
    )
    return json.loads(done.stdout.splitlines()[-1])


def run(options):
    """Fit and score in that process; print scores, seconds and remarks."""
    with np.load(options.file) as arrays:
        train, validation, test = (arrays[name] for name in ("train", "val", "test"))
    contender = {**CONTENDERS, "warm up": warm_up}[options.run]
    for module in ("scipy.stats", "sklearn.mixture", NEEDS.get(options.run, "nfref")):
        importlib.import_module(module)
    found = {count: [] for count in options.rows}
    for count, draw in product(options.rows, range(options.draws)):
        parts = drawn(train, validation, count, draw) if count else (train, validation)
        fit = contender(*parts, options.seed + draw, 60 * options.minutes)
        start, cpu = time.perf_counter(), time.process_time()
        scores, remark = fit(test)
        found[count].append(
            {
                "scores": np.asarray(scores).tolist(),
                "remark": remark,
                "wall": time.perf_counter() - start,
                "cpu": time.process_time() - cpu,
            }
        )
        if options.run == "warm up":
            break
    print(json.dumps(found))


def read(path):
    """A csv as (table, rows, draw, density) -> (nats, error, cpu, remark)."""
    with open(path, newline="") as file:
        return {
            (line["table"], int(line["rows"]), int(line["draw"]), line["density"]): (
                float(line["nats"]),
                float(line["error"]),
                float(line["cpu"]),
                line["remark"],
            )
            for line in csv.DictReader(file)
        }


def keep(path, found):
    """Write the results into a csv, in place of earlier ones of the same fits."""
    found = {**(read(path) if path.exists() else {}), **found}
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        order = list(CONTENDERS).index
        for key in sorted(found, key=lambda key: (*key[:2], order(key[3]), key[2])):
            nats, error, cpu, remark = found[key]
            writer.writerow((*key, f"{nats:.4f}", f"{error:.4f}", f"{cpu:.2f}", remark))


if __name__ == "__main__":
    main()
