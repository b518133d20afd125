"""Wrong samplers and wrong log-densities of a fitted flow, and which of them the oracle sees.

``python -m tests.oracle.fitted [--dims 3 5 8 16] [--seeds 3] [--match TEXT]`` fits a MAF to a
curved, skewed, correlated density with two modes, puts each of ``FAULTS`` into it, and prints at
each D in how many seeds it is found (f), missed (.) or inconclusive (?), and by which property;
the flow itself, at the end, is right.
"""

import argparse
import time
import warnings
from functools import cache

import numpy as np

import nfref
from nfref.oracle import check_density
from nfref.training import fit

ROWS = 3000


def data(dim, rng, n=ROWS):
    """Two bent clouds, one skewed coordinate in three, all correlated."""
    z = rng.standard_normal((n, dim))
    z[:, 1] += 0.5 * z[:, 0] ** 2
    z[:, 2::3] = np.expm1(0.5 * z[:, 2::3])
    z[rng.random(n) < 0.3, 0] += 4.0
    return (
        z
        @ (
            np.eye(dim)
            + 0.5 * np.random.default_rng(dim).standard_normal((dim, dim)) / np.sqrt(dim)
        ).T
    )


@cache
def fitted(dim):
    """(density, params) of a MAF, and those after a tenth of its training."""
    rng = np.random.default_rng(100 + dim)
    x = data(dim, rng)
    density = nfref.Density(nfref.MAF(dim, layers=3, hidden=(24, 24)))
    start = density.init(np.random.default_rng(0))
    runs = [
        fit(density, start, x, rng=np.random.default_rng(1), epochs=epochs, progress=False).params
        for epochs in (25, 3)
    ]
    return density, *runs


class Wrong:
    """log_prob and sample of the fitted flow, with ways to change them.

    ``latent(z, rng)`` changes the rows of the base, ``after(x, rng)`` what is drawn.
    """

    def __init__(self, dim, latent=None, after=None, log_prob=None, draw=None):
        self.density, self.params, self.early = fitted(dim)
        self.dim, self.latent, self.after, self.changed = dim, latent, after, log_prob
        self.draw = draw

    def push(self, z):
        return self.density.flow.forward(self.params["flow"], z)[0]

    def sample(self, rng, n):
        if self.draw is not None:
            return self.draw(self, rng, n)
        z = rng.standard_normal((n, self.dim))
        if self.latent is not None and n:
            z = self.latent(z, rng)
        x = self.push(z)
        return x if self.after is None or not n else self.after(x, rng)

    def right_log_prob(self, x):
        return self.density.log_prob(self.params, x)

    def log_prob(self, x):
        found = self.right_log_prob(x)
        if self.changed is None:
            return found
        z, log_det = self.density.flow.inverse(self.params["flow"], x)
        return self.changed(found, z, log_det, x)


def _latent(change):
    return lambda dim: Wrong(dim, latent=change)


def _after(change):
    return lambda dim: Wrong(dim, after=change)


def _log_prob(change):
    return lambda dim: Wrong(dim, log_prob=change)


def _column(j, change):
    def act(x, rng):
        x = x.copy()
        x[:, j] = change(x[:, j], rng)
        return x

    return act


def _cut(limit):
    def act(z, rng):
        from scipy.special import ndtr, ndtri

        low = ndtr(-limit)
        return ndtri(low + (1 - 2 * low) * ndtr(z))

    return act


def _clipped(x, rng):
    """At three standard deviations, as generators are that must not leave what was seen."""
    center, spread = np.mean(x, axis=0), np.std(x, axis=0)
    return np.clip(x, center - 3 * spread, center + 3 * spread)


def _around(x, factor):
    return np.mean(x, axis=0) + factor * (x - np.mean(x, axis=0))


def _mixture(z, rng, share, width):
    return np.where(rng.random((len(z), 1)) < share, width * z, z)


FAULTS = {
    # The base.
    "base scaled by 1.05": _latent(lambda z, g: 1.05 * z),
    "base scaled by 0.95": _latent(lambda z, g: 0.95 * z),
    "tempered: base scaled by 1.1": _latent(lambda z, g: 1.1 * z),
    "base moved by 0.1 in one column": _latent(_column(0, lambda c, g: c + 0.1)),
    "base cut at 3 sd": _latent(_cut(3.0)),
    "base cut at 2 sd": _latent(_cut(2.0)),
    "base t with 10 degrees": _latent(lambda z, g: g.standard_t(10, z.shape)),
    "base Laplace": _latent(lambda z, g: g.laplace(size=z.shape) / np.sqrt(2)),
    "base correlated by 0.1": _latent(
        lambda z, g: np.concatenate(
            [z[:, :1], 0.1 * z[:, :1] + np.sqrt(0.99) * z[:, 1:2], z[:, 2:]], axis=1
        )
    ),
    "5 % of the base twice as wide": _latent(lambda z, g: _mixture(z, g, 0.05, 2.0)),
    # What is drawn.
    "samples scaled by 1.05": _after(lambda x, g: _around(x, 1.05)),
    "samples scaled by 0.97": _after(lambda x, g: _around(x, 0.97)),
    "one column scaled by 1.1": _after(
        _column(-1, lambda c, g: np.mean(c) + 1.1 * (c - np.mean(c)))
    ),
    "one column moved by 0.1 sd": _after(_column(-1, lambda c, g: c + 0.1 * np.std(c))),
    "clipped at 3 sd": _after(_clipped),
    "rounded to 1 decimal": _after(lambda x, g: np.round(x, 1)),
    "noise of 0.2 sd": _after(
        lambda x, g: x + 0.2 * np.std(x, axis=0) * g.standard_normal(x.shape)
    ),
    "two columns exchanged": _after(lambda x, g: x[:, [1, 0, *range(2, x.shape[1])]]),
    "a column drawn by itself": _after(_column(1, lambda c, g: g.permutation(c))),
    "weights: one cloud 3 % too heavy": lambda dim: Wrong(dim, draw=_too_heavy),
    "drawn from an earlier epoch": lambda dim: Wrong(
        dim, draw=lambda self, g, n: self.density.sample(self.early, g, n)
    ),
    "each second row repeats": _after(lambda x, g: np.repeat(x, 2, axis=0)[: len(x)]),
    # log_prob.
    "log_prob + 0.03 (weights sum to 1.03)": _log_prob(lambda f, z, ld, x: f + np.log(1.03)),
    "log_prob + 0.1": _log_prob(lambda f, z, ld, x: f + 0.1),
    "log_det missing": _log_prob(lambda f, z, ld, x: f - ld),
    "log_prob times 0.95": _log_prob(lambda f, z, ld, x: 0.95 * f),
    "log_prob of standardised rows": lambda dim: Wrong(
        dim, log_prob=lambda f, z, ld, x: f + 0.5 * x.shape[1] * np.log(1.5)
    ),
}


def _too_heavy(self, rng, n):
    """Rows beyond the valley between the clouds are kept oftener than others."""
    x = self.push(rng.standard_normal((2 * n + 100, self.dim)))
    beyond = x[:, 0] > np.quantile(x[:, 0], 0.7)
    kept = x[beyond | (rng.random(len(x)) < 0.87)]
    return kept[:n]


def judge(make, dim, seed, **options):
    wrong = make(dim)
    return check_density(
        wrong.log_prob, wrong.sample, dim=dim, rng=np.random.default_rng(seed), **options
    )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.fitted", description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[3, 5, 8, 16])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--match", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = {**FAULTS, "(right)": lambda dim: Wrong(dim)}
    totals = dict.fromkeys(options.dims, 0)
    print(f"{'fault':<40}" + "".join(f"{f'D = {dim}':>8}" for dim in options.dims))
    for name, make in cases.items():
        if options.match not in name:
            continue
        words, by, seconds = [], set(), []
        for dim in options.dims:
            start = time.process_time()
            reports = [
                judge(make, dim, seed, stop_early=name != "(right)")
                for seed in range(options.seeds)
            ]
            seconds.append((time.process_time() - start) / options.seeds)
            letters = {"failed": "f", "inconclusive": "?", "ok": "."}
            words.append("".join(letters[report.verdict] for report in reports))
            totals[dim] += words[-1] == "f" * options.seeds and name != "(right)"
            by |= {row.name for report in reports for row in report.failures[:1]}
            by |= {
                f"{row.name}?"
                for report in reports
                for row in report.undecided[:1]
                if not report.failures
            }
        print(
            f"{name:<40}"
            + "".join(f"{word:>8}" for word in words)
            + f"  {np.median(seconds):5.1f} s  {', '.join(sorted(by))}",
            flush=True,
        )
    print(
        f"{'always found, of ' + str(len(FAULTS)):<40}"
        + "".join(f"{totals[dim]:>8}" for dim in options.dims)
    )


if __name__ == "__main__":
    main()
