"""Time a fresh process until it has a good fit: RealNVP on eight Gaussians, and other libraries.

    python -m tests.benchmarks.end_to_end [--rounds 3] [--only nfref flowjax zuko nflows]

Every library gets the same rows and the same rule: 16 coupling layers of 2x64 hidden units in
float32, Adam with a learning rate of 2e-3 that falls to zero along a cosine in 60 epochs, and
batches of 512. Each epoch ends with a score of the validation rows. Training stops when this score
is within 0.05 nats of the true density's score.

Whole processes are timed in turns, imports and compiling included. nfref finds its compiled kernels
on disk, as it does from the second run on. The table shows medians of wall seconds, processor
seconds (because machines are shared) and epochs; 60* means that 60 epochs did not satisfy the rule.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time

LAYERS, HIDDEN = 16, (64, 64)
RATE, BATCH, EPOCHS, GAP = 2e-3, 512, 60, 0.05
ROWS = 50_000
STEPS = EPOCHS * (ROWS // BATCH)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(SCRIPTS))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        SCRIPTS[given.run](given.data)
        return
    names = [name for name in given.only if importlib.util.find_spec(name) is not None]
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "rows.npz")
        draw(data)
        measure("nfref", data)  # compiles what is not on disk yet
        times = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                times[name].append(measure(name, data))
                print(f"{name}: {times[name][-1][0]:.2f} s", file=sys.stderr, flush=True)
    print(f"{'':10}{'wall (s)':>10}{'cpu (s)':>10}{'epochs':>10}{'x nfref, wall':>16}{'cpu':>8}")
    medians = {
        name: [statistics.median(column) for column in zip(*rounds)]
        for name, rounds in times.items()
    }
    for name, (wall, cpu, epochs) in medians.items():
        ours = medians.get("nfref", (wall, cpu))
        print(
            f"{name:10}{wall:10.2f}{cpu:10.2f}{shown(epochs):>10}{wall / ours[0]:16.1f}"
            f"{cpu / ours[1]:8.1f}"
        )


def shown(epochs):
    return f"{EPOCHS}*" if epochs > EPOCHS else f"{epochs:.0f}"


def draw(path):
    import numpy as np

    from nfref.datasets import eight_gaussians

    rng = np.random.default_rng(0)
    train, validation = eight_gaussians(rng, ROWS), eight_gaussians(rng, 4000)
    floor = -np.mean(eight_gaussians.log_prob(validation))
    np.savez(
        path, train=train.astype(np.float32), validation=validation.astype(np.float32), floor=floor
    )


def measure(name, data):
    """(wall seconds, processor seconds, epochs) of a process."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.end_to_end", "--run", name, "--data", data],
        check=True,
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - start, os.times()
    cpu = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    return wall, cpu, int(done.stdout.split()[-1])


def train(data, step, score):
    """Run the loop that all share; print the epochs it takes."""
    import numpy as np

    with np.load(data) as arrays:
        rows, validation, floor = arrays["train"], arrays["validation"], float(arrays["floor"])
    rng = np.random.default_rng(1)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(rows))[: len(rows) // BATCH * BATCH].reshape(-1, BATCH)
        for batch in order:
            step(rows[batch])
        if score(validation) < floor + GAP:
            print(epoch + 1)
            return
    print(EPOCHS + 1)


# Scripts -------------------------------------------------------------------------------------


def _nfref(data):
    import numpy as np

    import nfref
    from nfref.runtime import params as trees
    from nfref.training.adam import Adam
    from nfref.training.gradient import loss_and_gradient

    density = nfref.Density(nfref.RealNVP(2, LAYERS, HIDDEN, activation="relu"))
    params = trees.cast(density.init(np.random.default_rng(2)), np.float32)
    vector, unflatten = trees.flatten(params)
    adam = Adam(RATE, "cosine", steps=STEPS)
    state = adam.start(vector)

    def step(rows):
        nonlocal vector, state
        _, gradient = loss_and_gradient(density, unflatten, vector, rows)
        vector, state = adam.step(vector, gradient, state)

    train(data, step, lambda rows: -density.log_prob(unflatten(vector), rows).mean())


def _flowjax(data):
    import equinox as eqx
    import optax

    from tests.benchmarks.peers import flowjax_flow

    flow = flowjax_flow("RealNVP", 2, LAYERS, HIDDEN)
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    state = optimiser.init(eqx.filter(flow, eqx.is_inexact_array))
    score = eqx.filter_jit(lambda flow, x: -flow.log_prob(x).mean())

    @eqx.filter_jit
    def update(flow, state, x):
        slope = eqx.filter_grad(lambda flow: -flow.log_prob(x).mean())(flow)
        change, state = optimiser.update(slope, state)
        return eqx.apply_updates(flow, change), state

    def step(rows):
        nonlocal flow, state
        flow, state = update(flow, state, rows)

    train(data, step, lambda rows: float(score(flow, rows)))


def _torch(data, log_prob, parameters):
    import torch

    optimiser = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)

    def step(rows):
        optimiser.zero_grad()
        (-log_prob(torch.from_numpy(rows)).mean()).backward()
        optimiser.step()
        schedule.step()

    def score(rows):
        with torch.no_grad():
            return float(-log_prob(torch.from_numpy(rows)).mean())

    train(data, step, score)


def _zuko(data):
    import torch
    import zuko

    torch.manual_seed(0)
    flow = zuko.flows.RealNVP(2, transforms=LAYERS, hidden_features=HIDDEN)
    _torch(data, lambda x: flow().log_prob(x), flow.parameters())


def _nflows(data):
    import torch

    from tests.benchmarks.peers import nflows_flow

    torch.manual_seed(0)
    flow = nflows_flow("RealNVP", 2, LAYERS, HIDDEN)
    _torch(data, flow.log_prob, flow.parameters())


SCRIPTS = {"nfref": _nfref, "flowjax": _flowjax, "zuko": _zuko, "nflows": _nflows}

if __name__ == "__main__":
    main()
