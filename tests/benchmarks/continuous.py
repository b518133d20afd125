"""Measure what the continuous family costs and how well it fits.

    python -m tests.benchmarks.continuous floor [--toy eight_gaussians] [--way fm|cnf] ...
    python -m tests.benchmarks.continuous trace
    python -m tests.benchmarks.continuous rnode
    python -m tests.benchmarks.continuous peers       (needs torch, zuko and torchdiffeq)

Each prints a table. On a busy machine compare columns of one run, never of two.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

import nfref
from nfref import datasets
from nfref.objectives.flow_matching import FlowMatching
from nfref.objectives.path_penalties import PathLikelihood
from tests.continuous.cases import filled


def clock(function, repeats=3):
    """Return the least wall and processor time of several calls, in seconds, and the last result.

    On a shared machine the processor time is more reliable; it counts the time of all threads.
    """
    wall = processor = np.inf
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        result = function()
        wall = min(wall, time.perf_counter() - begin[0])
        processor = min(processor, time.process_time() - begin[1])
    return wall, processor, result


# Fits against the entropy floor -----------------------------------------------------------


def standardised(cnf, rows):
    """The density of standard normal noise, the CNF, and the units of the rows."""
    units = nfref.Standardise.of(rows)
    return nfref.Density(nfref.Chain([cnf, units]))


def floor(toy, way, hidden, activation, rows, epochs, batch_size, learning_rate, pairing, seed):
    """Fit one toy one way; print nats above the floor, and the wall time."""
    rng = np.random.default_rng(seed)
    toy = getattr(datasets, toy)
    x = toy(rng, rows).astype(np.float32)
    test = toy(rng, 20_000)
    validation = toy(rng, 2000).astype(np.float32)
    cnf = nfref.CNF(2, hidden, activation=activation, rtol=1e-5, atol=1e-5)
    density = standardised(cnf, x)
    objective = FlowMatching(pairing=pairing)
    trained = density
    if way == "cnf":
        trained = standardised(replace(cnf, solver="rk4", steps=10, gradient="direct"), x)
        objective = PathLikelihood()
    begin, processor = time.perf_counter(), time.process_time()
    result = nfref.fit(
        trained,
        density.init(rng),
        x,
        rng,
        validation=validation,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="cosine",
        patience=None,
        objective=objective,
        progress=False,
    )
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    log_prob = density.log_prob(result.params, test)
    against = toy.log_prob(test) - log_prob  # paired: the floor's own noise drops out
    print(
        f"{toy.name:16s} {way:4s} hidden {hidden} {activation}: "
        f"{toy.entropy:.4f} floor, {-log_prob.mean():.4f} test nats, "
        f"{against.mean():.4f} +- {against.std() / len(test) ** 0.5:.4f} above, {seconds:.0f} s "
        f"(processor {processor:.0f} s), best epoch {result.best_epoch} of {epochs}",
        flush=True,
    )
    return density, result.params


# Exact trace against Hutchinson -----------------------------------------------------------


def trace_table(rows=2000, hidden=(64, 64), probes=20):
    """Time of one right-hand side and spread of log_prob, exact against one probe."""
    print(
        f"{rows} rows, hidden {hidden}, float64; processor ms per evaluation, "
        "std of log_prob over probes"
    )
    print("   D   velocity      exact  hutchinson      brute   std exact  std hutchinson")
    for dim in (2, 8, 32, 64):
        rng = np.random.default_rng(dim)
        flow = nfref.CNF(dim, hidden)
        params = filled(flow, rng)
        z = rng.standard_normal((rows, dim))
        state = np.concatenate([z, np.zeros((rows, 1))], axis=1)
        milliseconds = [1e3 * clock(lambda: flow.velocity(params, 0.5, z), 9)[1]]
        for trace in ("exact", "hutchinson", "brute"):
            ours = (
                flow.with_probes(rng, rows) if trace == "hutchinson" else replace(flow, trace=trace)
            )
            right = right_hand_side_of(ours, params)
            repeats = 3 if trace == "brute" else 9
            milliseconds.append(1e3 * clock(lambda: right(0.5, state), repeats)[1])
        few = z[:200]
        draws = [flow.with_probes(rng, len(few)).inverse(params, few)[1] for _ in range(probes)]
        exact = [flow.inverse(params, few)[1] for _ in range(2)]
        print(
            f"{dim:4d} {milliseconds[0]:10.2f} {milliseconds[1]:10.2f} {milliseconds[2]:11.2f} "
            f"{milliseconds[3]:10.2f} {np.std(exact, axis=0).mean():11.1g} "
            f"{np.std(draws, axis=0, ddof=1).mean():15.3f}",
            flush=True,
        )


def right_hand_side_of(flow, params):
    from nfref.flows.continuous import NeuralSystem

    system = NeuralSystem(flow, False)
    return system.bind(*system.arguments(params, None))


# RNODE ------------------------------------------------------------------------------------


def rnode(toy="two_spirals", rows=4000, epochs=40, seed=0):
    """Evaluations and test likelihood with and without the path penalties."""
    toy = getattr(datasets, toy)
    tolerances = (1e-4, 1e-5, 1e-6)
    print(f"{toy.name}: evaluations of one scoring solve (rk45) at tolerances {tolerances}, nats")
    plain = None
    for weight in (0.0, 0.005, 0.02, 0.05):
        rng = np.random.default_rng(seed)
        x, test = toy(rng, rows), toy(rng, 4000)
        cnf = nfref.CNF(2, (64,), solver="rk4", steps=8, gradient="direct")
        trained = standardised(cnf, x)
        flow = replace(cnf, solver="rk45", gradient="adjoint")
        density = standardised(flow, x)
        begin = time.process_time()
        result = nfref.fit(
            trained,
            density.init(rng),
            x,
            rng,
            validation=None,
            epochs=epochs,
            batch_size=250,
            learning_rate=0.05,
            schedule="cosine",
            patience=None,
            progress=False,
            objective=PathLikelihood(weight, weight),
        )
        seconds = time.process_time() - begin
        nats = -density.log_prob(result.params, test)
        plain = nats if plain is None else plain
        more = nats - plain
        z, _ = density.flow.flows[1].inverse({}, test)
        paths = [
            replace(flow, rtol=tolerance, atol=tolerance).trajectory(
                result.params["flow"][0], z, (1.0, 0.0)
            )
            for tolerance in tolerances
        ]
        print(
            f"  lambda {weight:5.3f}: {[path.evaluations for path in paths]} evaluations, "
            f"{nats.mean():.4f} nats, {more.mean():+.4f} +- {more.std() / len(more) ** 0.5:.4f} "
            f"against none, {seconds:.0f} s of processor",
            flush=True,
        )


# Peers ------------------------------------------------------------------------------------


def peers(dim=16, width=128, rows=5000, rounds=1):
    """log_prob's solve against zuko (exact trace) and torchdiffeq (one Hutchinson probe).

    All three follow the same velocity, the same weights in float32, rtol 1e-5, atol 1e-6.
    """
    import torch
    import torchdiffeq
    import zuko

    rng = np.random.default_rng(0)
    flow = nfref.CNF(dim, (width, width), rtol=1e-5, atol=1e-6)
    params = filled(flow, rng, gain=1.3)
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    layers = [
        [torch.tensor(layer[name], dtype=torch.float32) for name in ("weight", "bias")]
        for layer in params["net"]
    ]
    x_torch, calls = torch.tensor(x), [0]

    def velocity(t, z):
        calls[0] += 1
        h = torch.cat([z, t.reshape(1, 1).expand(len(z), 1)], dim=1)
        for weight, bias in layers[:-1]:
            h = torch.tanh(h @ weight + bias)
        return h @ layers[-1][0] + layers[-1][1]

    def with_zuko():
        transform = zuko.transforms.FreeFormJacobianTransform(
            f=velocity, t0=torch.tensor(1.0), t1=torch.tensor(0.0), atol=1e-6, rtol=1e-5, exact=True
        )
        with torch.no_grad():
            return transform.call_and_ladj(x_torch)

    def with_torchdiffeq():
        probe = torch.randint(0, 2, x_torch.shape).float() * 2 - 1

        def joint(t, state):
            with torch.enable_grad():
                z = state[0].requires_grad_(True)
                dz = velocity(t, z)
                pulled = torch.autograd.grad(dz, z, probe)[0]
            return dz.detach(), (pulled * probe).sum(dim=1)

        with torch.no_grad():
            z, log_det = torchdiffeq.odeint(
                joint,
                (x_torch, torch.zeros(rows)),
                torch.tensor([1.0, 0.0]),
                rtol=1e-5,
                atol=1e-6,
                method="dopri5",
            )
        return z[-1], log_det[-1]

    print(
        f"D {dim}, hidden 2 x {width}, {rows} rows, float32, rtol 1e-5, atol 1e-6; "
        f"torch threads {torch.get_num_threads()}"
    )
    _, truth = replace(flow, rtol=1e-8, atol=1e-8).inverse(params, x.astype(float))
    for _ in range(rounds):
        *ours, (_, log_det) = clock(lambda: flow.inverse(params, x), 3)
        evaluations = flow.trajectory(params, x, (1.0, 0.0)).evaluations
        calls[0] = 0
        *diffeq, (_, noisy) = clock(with_torchdiffeq, 3)
        diffeq_calls, calls[0] = calls[0] // 3, 0
        *exact, (_, zukos) = clock(with_zuko, 1)
        for name, (wall, processor), count, value in (
            ("nfref exact", ours, evaluations, log_det),
            ("torchdiffeq, one probe", diffeq, diffeq_calls, noisy),
            ("zuko exact", exact, calls[0], zukos),
        ):
            error = np.abs(np.asarray(value) - truth).max()
            print(
                f"  {name:24s} wall {wall:7.3f} s x {wall / ours[0]:6.2f}   processor "
                f"{processor:7.3f} s x {processor / ours[1]:6.2f}   {count:4d} evaluations   "
                f"largest error of log_det {error:.2g}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("floor", "trace", "rnode", "peers"))
    parser.add_argument("--toy", default="eight_gaussians")
    parser.add_argument("--way", choices=("fm", "cnf"), default="fm")
    parser.add_argument("--hidden", default="128,128")
    parser.add_argument("--activation", default="tanh")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pairing", default="independent")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "floor":
        hidden = tuple(int(width) for width in given.hidden.split(","))
        floor(
            given.toy,
            given.way,
            hidden,
            given.activation,
            given.rows,
            given.epochs,
            given.batch,
            given.lr,
            given.pairing,
            given.seed,
        )
    else:
        {"trace": trace_table, "rnode": rnode, "peers": peers}[given.what]()


if __name__ == "__main__":
    main()
