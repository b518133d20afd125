"""Time nfref until a table's test rows are as likely as zuko's NSF makes them.

    python -m tests.benchmarks.time_to [--file PARTS.npz ...] [--seeds 0] [--minutes 5]

The protocol, fixed before any measurement. Parts and units are those of
:mod:`tests.benchmarks.densities` (without a file the white wines), and so is zuko's NSF: 5
transforms of 2x128 units, 8 bins, Adam 1e-3, batches of 256, until 20 epochs bring no better
validation likelihood. Its time ends with its best epoch; the 20 epochs after it do not count. Then
nfref fits the NSF of :mod:`tests.benchmarks.tables`, of the same size and, as zuko's, of relu
units, with the defaults of ``nfref.fit``. Its time ends when the parameters that it would return
make the test rows as likely as zuko's did. Both run in fresh processes, one after the other,
imports included; nfref finds compiled kernels on disk, as it does from the second run on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests.benchmarks.densities import BATCH, EPOCHS, PATIENCE, RATE, standardised
from tests.benchmarks.tables import FLOWS, parts_of_file, parts_of_wine


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", nargs="*", default=[None])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--run", choices=SCRIPTS, help=argparse.SUPPRESS)
    parser.add_argument("--goal", type=float, default=np.inf, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        SCRIPTS[options.run](parts_of_file(options.file[0]), options)
        return
    print(
        f"{'table, seed':40}{'nats':>9}{'zuko (s)':>10}{'epochs':>8}{'nfref (s)':>11}"
        f"{'epochs':>8}{'ratio':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "rows.npz")
        for file in options.file:
            for seed in options.seeds:
                parts = (
                    parts_of_file(file) if file else parts_of_wine(np.random.default_rng([seed, 0]))
                )
                np.savez(data, **dict(zip(("train", "val", "test"), standardised(*parts))))
                zuko = measure("zuko", data, seed, options.minutes)
                measure("nfref", data, seed, options.minutes, -np.inf)  # compiles
                ours = measure("nfref", data, seed, options.minutes, zuko["nats"])
                there = ours["nats"] >= zuko["nats"]
                print(
                    f"{f'{file or WINE}, {seed}':40}{zuko['nats']:9.3f}{zuko['seconds']:10.1f}"
                    f"{zuko['epochs']:8}{ours['seconds']:11.1f}{ours['epochs']:8}"
                    + (
                        f"{zuko['seconds'] / ours['seconds']:7.1f}"
                        if there
                        else f"  not met, {ours['nats']:.3f}"
                    ),
                    flush=True,
                )


WINE = "white wine"


def measure(name, data, seed, minutes, goal=np.inf):
    """{"nats", "seconds" from the start of the process, "epochs"} of one process."""
    began = time.time()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.time_to",
            "--run",
            name,
            "--file",
            data,
            "--seeds",
            str(seed),
            "--minutes",
            str(minutes),
            f"--goal={goal}",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": found["at"] - began}


def told(nats, at, epochs):
    print(json.dumps({"nats": float(nats), "at": at, "epochs": epochs}))


def zuko_nsf(parts, options):
    import torch
    import zuko

    began = time.perf_counter()
    torch.manual_seed(options.seeds[0])
    train, validation, test = (torch.from_numpy(part.astype(np.float32)) for part in parts)
    flow = zuko.flows.NSF(train.shape[1], transforms=5, hidden_features=(128, 128))
    optimiser = torch.optim.Adam(flow.parameters(), lr=RATE)

    def score(rows):
        with torch.no_grad():
            return float(flow().log_prob(rows).mean())

    best, found, epochs = -np.inf, None, 0
    while epochs < EPOCHS and time.perf_counter() - began < 60 * options.minutes:
        for batch in torch.randperm(len(train)).split(BATCH):
            loss = -flow().log_prob(train[batch]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        epochs += 1
        if (now := score(validation)) > best:
            best, found = now, (score(test), time.time(), epochs)
        if epochs - found[2] >= PATIENCE:
            break
    told(*found)


class Met(Exception):
    """Raised when the test rows are likely enough."""


def nfref_nsf(parts, options):
    import nfref

    train, validation, test = (part.astype(np.float32) for part in parts)
    density = nfref.Density(FLOWS["nsf"](train.shape[1], activation="relu"))
    rng = np.random.default_rng([options.seeds[0], 1])
    found, best = None, np.inf

    def look(state):
        nonlocal found, best
        if state.best_score < best:  # a loss
            best = state.best_score
            nats = density.log_prob(state.unflatten(state.best), test).mean()
            found = nats, time.time(), len(state.history["validation"])
            if nats >= options.goal:
                raise Met

    try:
        nfref.fit(
            density,
            density.init(rng),
            train,
            rng,
            validation=validation,
            progress=False,
            callback=look,
            epochs=EPOCHS,
            time_limit=60 * options.minutes,
        )
    except Met:
        pass
    told(*found)


SCRIPTS = {"zuko": zuko_nsf, "nfref": nfref_nsf}

if __name__ == "__main__":
    main()
