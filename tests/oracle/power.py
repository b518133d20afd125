"""What the oracle sees and what it does not, by size of the fault, and in what time.

``python -m tests.oracle.power [--seeds 5] [--match TEXT]`` prints the two tables of
``docs/oracle.rst``. The first is of constant offsets of a log-density: the largest tolerance of the
property "normalised" over the seeds, in nats, by kind of density and dimension; an offset above it
fails. The second puts one fault into a right flow or density in four dimensions, larger and larger:
at which sizes it is caught with no seed, with some, with all, and how long a check that catches it
takes (seconds of CPU, median; it stops at the first failure). ``--samplers`` prints a third table
alone, wrong samplers by dimension, and how often they are found; ``tests.oracle.fitted`` has those
of a fitted flow.
"""

import argparse
import time
import warnings

import numpy as np
from scipy import stats

import nfref
from nfref.oracle import check_density, check_flow
from tests.oracle.sound import SOUND

KINDS = ("normal", "t, 2 degrees", "Cauchy", "exponential", "beta", "lognormal")
OTHERS = ("funnel", "modes", "hole", "banana")
DIMS = (1, 2, 4, 10, 20)
DIM = 4


def offset_cases():
    for kind in KINDS:
        yield kind, {dim: SOUND.get(f"{kind} density, D = {dim}") for dim in DIMS}
    for kind in OTHERS:
        yield kind, {dim: SOUND.get(f"{kind}, D = {dim}") for dim in DIMS}


def print_offsets(seeds):
    times = {dim: [] for dim in DIMS}
    print(f"{'density':<16}" + "".join(f"{f'D = {dim}':>11}" for dim in DIMS))
    for kind, builds in offset_cases():
        words = []
        for dim, build in builds.items():
            if build is None:
                words.append("")
                continue
            rows = []
            for seed in seeds:
                start = time.process_time()
                rows.append(
                    check_density(
                        **build(np.random.default_rng(seed)), rng=np.random.default_rng(seed)
                    )["normalised"]
                )
                times[dim].append(time.process_time() - start)
            known = all(row.verdict == "pass" for row in rows)
            words.append(f"{max(row.tolerance for row in rows):.2g}" if known else "not judged")
        print(f"{kind:<16}" + "".join(f"{word:>11}" for word in words), flush=True)
    print(f"{'seconds a check':<16}" + "".join(f"{np.median(times[dim]):>11.1f}" for dim in DIMS))


# Faults of one size -------------------------------------------------------------------------


def flow(change):
    """Arguments of check_flow for RealNVP whose answers go through ``change``.

    change(state, direction, z, x, log_det) -> log_det, with log_det that of forward and ``state``
    a dictionary that lives as long as the flow.
    """

    def build(rng):
        right, state = nfref.RealNVP(DIM, layers=2, hidden=(8,)), {}
        params = nfref.params.tree_map(
            lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), right.init(rng)
        )

        def forward(z):
            x, log_det = right.forward(params, z)
            return x, change(state, z, x, log_det)

        def inverse(x):
            z, log_det = right.inverse(params, x)
            return z, -change(state, z, x, -log_det)

        return dict(forward=forward, inverse=inverse, dim=DIM)

    return build


def density(sample=None, gradient=None):
    """Arguments of check_density for the standard normal."""

    def build(rng):
        more = {} if gradient is None else {"gradient": gradient}
        return dict(
            log_prob=lambda x: np.sum(stats.norm.logpdf(x), axis=1),
            sample=sample or (lambda g, n: g.standard_normal((n, DIM))),
            dim=DIM,
            **more,
        )

    return build


def off_where(condition):
    """log_det off by one nat in those rows."""
    return flow(lambda state, z, x, log_det: log_det + condition(z, x))


def later(calls):
    def change(state, z, x, log_det):
        state["calls"] = state.get("calls", 0) + 1
        return log_det + (state["calls"] > calls)

    return flow(change)


# Name: (sizes from small to large, as they are printed; size -> what builds the arguments). Where
# a larger number is a smaller fault, the numbers fall.
FAULTS = {
    "log_det off by a constant, nats": (
        (1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9),
        lambda size: flow(lambda state, z, x, log_det: log_det + size),
    ),
    "log_det times 1 + s, s": (
        (1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9),
        lambda size: flow(lambda state, z, x, log_det: log_det * (1 + size)),
    ),
    "log_det with a wave of amplitude, nats": (
        (1e-13, 1e-12, 1e-11, 1e-10, 1e-9),
        lambda size: flow(lambda state, z, x, log_det: log_det + size * np.sin(20 * z[:, 0])),
    ),
    "one nat off in a region of mass": (
        (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1),
        lambda mass: off_where(lambda z, x: np.abs(z[:, 0] - 0.5) < mass / 2 / stats.norm.pdf(0.5)),
    ),
    "one nat off beyond z_1 =": (
        (10000, 1000, 100, 30, 10, 5, 3, 2),
        lambda reach: off_where(lambda z, x: z[:, 0] > reach),
    ),
    "one nat off from row": (
        (50000, 20000, 10000, 5000, 1000, 100),
        lambda row: off_where(lambda z, x: np.arange(len(z)) >= row),
    ),
    "one nat off at one batch size": (
        (9973, 4096, 3000, 2048, 1000, 511, 128, 100, 64, 17, 2),
        lambda rows: off_where(lambda z, x: len(z) == rows),
    ),
    "one nat off after a number of calls": ((100000, 10000, 3000, 1000, 300, 100, 10), later),
    "sampler: scale times 1 + s, s": (
        (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2),
        lambda size: density(lambda g, n: (1 + size) * g.standard_normal((n, DIM))),
    ),
    "sampler: moved by": (
        (0.003, 0.01, 0.02, 0.05, 0.1, 0.2),
        lambda size: density(lambda g, n: size + g.standard_normal((n, DIM))),
    ),
    "gradient times 1 + s, s": (
        (1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8),
        lambda size: density(gradient=lambda x: -x * (1 + size)),
    ),
}


# Samplers of closed densities by dimension ----------------------------------------------------


def student(degrees, dim):
    """(log-density, sampler) of the t distribution of so many degrees and dimensions."""
    made = stats.multivariate_t(np.zeros(dim), np.eye(dim), df=degrees)
    return (
        lambda x: made.logpdf(x).reshape(len(x)),
        lambda g, n: np.reshape(made.rvs(max(n, 1), random_state=g), (-1, dim))[:n],
    )


def two_modes(share, dim):
    def log_prob(x):
        return (
            np.logaddexp(*(np.sum(-0.5 * (x - m) ** 2, axis=1) for m in (-2, 2)))
            - np.log(2)
            - dim / 2 * np.log(2 * np.pi)
        )

    def sample(g, n):
        return np.where(g.random((n, 1)) < share, -2.0, 2.0) + g.standard_normal((n, dim))

    return log_prob, sample


def of_normal(change):
    """The standard normal, with what is drawn changed: change(z, rng)."""
    return lambda dim: (
        lambda x: np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=1),
        lambda g, n: change(g.standard_normal((n, dim)), g),
    )


def cut(z, g):
    while np.any(np.abs(z) > 3):
        z = np.where(np.abs(z) > 3, g.standard_normal(z.shape), z)
    return z


SAMPLERS = {
    "variance 5 % too large": of_normal(lambda z, g: np.sqrt(1.05) * z),
    "variance 10 % too large": of_normal(lambda z, g: np.sqrt(1.1) * z),
    "tempered: scale 1.1": of_normal(lambda z, g: 1.1 * z),
    "one column 1.1 times as wide": of_normal(
        lambda z, g: np.concatenate([1.1 * z[:, :1], z[:, 1:]], axis=1)
    ),
    "one column moved by 0.05 sd": of_normal(
        lambda z, g: np.concatenate([z[:, :1] + 0.05, z[:, 1:]], axis=1)
    ),
    "cut at 3 sd": of_normal(cut),
    "clipped at 3 sd": of_normal(lambda z, g: np.clip(z, -3, 3)),
    "t with 4 degrees for 5": lambda dim: (student(5, dim)[0], student(4, dim)[1]),
    "modes 0.55 to 0.45 for even": lambda dim: (two_modes(0.5, dim)[0], two_modes(0.55, dim)[1]),
    "log_prob + log 1.03": lambda dim: (
        lambda x: of_normal(None)(dim)[0](x) + np.log(1.03),
        lambda g, n: g.standard_normal((n, dim)),
    ),
    "(right: normal)": of_normal(lambda z, g: z),
    "(right: t with 5 degrees)": lambda dim: student(5, dim),
    "(right: two modes)": lambda dim: two_modes(0.5, dim),
}


def print_samplers(seeds, dims=(1, 2, 4, 8, 16, 32)):
    """Letters by seed: f found, ? inconclusive, . not seen."""
    print(f"{'sampler':<32}" + "".join(f"{f'D = {dim}':>8}" for dim in dims) + "  seconds")
    letters = {"failed": "f", "inconclusive": "?", "ok": "."}
    for name, pair in SAMPLERS.items():
        words, times = [], []
        for dim in dims:
            start = time.process_time()
            reports = [
                check_density(*pair(dim), dim=dim, rng=np.random.default_rng(seed))
                for seed in seeds
            ]
            times.append((time.process_time() - start) / len(reports))
            words.append("".join(letters[report.verdict] for report in reports))
        print(
            f"{name:<32}" + "".join(f"{word:>8}" for word in words) + f"{np.median(times):>9.1f}",
            flush=True,
        )


def caught(build, seed):
    """Whether a fault is rejected, and the seconds of CPU that it took."""
    rng = np.random.default_rng(seed)
    arguments = build(rng)
    check = check_density if "log_prob" in arguments else check_flow
    start = time.process_time()
    report = check(**arguments, rng=rng, stop_early=True)
    return bool(report.failures), time.process_time() - start


def print_faults(seeds, match):
    print(f"{'fault':<40}{'never':>18}{'sometimes':>18}{'always':>18}{'seconds':>9}")
    for name, (sizes, build_of) in FAULTS.items():
        if match not in name:
            continue
        groups, times = {"never": [], "sometimes": [], "always": []}, []
        for size in sizes:
            outcomes = [caught(build_of(size), seed) for seed in seeds]
            hits = sum(hit for hit, _ in outcomes)
            group = "always" if hits == len(outcomes) else "sometimes" if hits else "never"
            groups[group].append(size)
            times += [seconds for hit, seconds in outcomes if hit]
        print(
            f"{name:<40}"
            + "".join(f"{_span(group):>18}" for group in groups.values())
            + (f"{np.median(times):>9.1f}" if times else ""),
            flush=True,
        )


def _span(sizes):
    if len(sizes) < 3:
        return ", ".join(f"{size:g}" for size in sizes)
    return f"{sizes[0]:g} to {sizes[-1]:g}"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.power", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--match", default="", help="only faults whose name has this")
    parser.add_argument("--samplers", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.samplers:
        print_samplers(range(options.seeds))
        return
    if not options.match:
        print_offsets(range(options.seeds))
        print()
    print_faults(range(options.seeds), options.match)


if __name__ == "__main__":
    main()
