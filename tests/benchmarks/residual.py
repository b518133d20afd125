"""Measure bias, noise and cost of the log-determinant's estimators, by number of terms.

    python -m tests.benchmarks.residual [--dim 8] [--hidden 16] [--draws 10000]

The case is one row of data and one residual block that compresses by nearly as much as it may,
where the series converges most slowly, for a few coefficients. ``bias`` is the mean over draws less
the exact log-determinant (with its standard error if there are draws), ``noise`` the standard
deviation of one draw, ``passes`` the mean number of passes of the network, ``q`` the probability of
another term. ``radius`` is the spectral radius of the Jacobian. If its square is above q, the noise
grows with the draws for ever, and a standard error means little.
"""

import argparse

import numpy as np

import nfref
from nfref.flows import residual


def block_at(coefficient, dim, hidden, seed=0):
    """(block, parameters, one row): W_2 = -W_1^T with equal singular values, slopes near 1."""
    rng = np.random.default_rng(seed)
    block = nfref.ResidualBlock(dim, (hidden,), coefficient=coefficient)
    params = block.init(rng)
    basis = np.linalg.qr(rng.standard_normal((hidden, dim)))[0]
    for layer, weight in zip(params["net"], (basis.T, -basis)):
        layer["weight"] = weight
    params["net"][0]["bias"] = 1 + rng.uniform(0, 2, hidden)
    return block, params, rng.standard_normal((1, dim))


def radius(block, params, x):
    _, slopes = residual.residual(block.normalised(params), x)
    jacobian = residual.jacobian(block.normalised(params), slopes, x)
    return np.max(np.abs(np.linalg.eigvals(jacobian)))


def line(name, q, terms, count, estimates, exact, passes):
    bias, noise = np.mean(estimates) - exact, np.std(estimates)
    error = f"+- {noise / np.sqrt(len(estimates)):.1e}" if noise else ""
    print(
        f"{name:<10}{q:>4}{terms:>6}{count or 'exact':>9}{bias:>12.1e} {error:<12}{noise:>9.1e}"
        f"{passes:>9.1f}"
    )


def table(coefficient, arguments):
    block, params, x = block_at(coefficient, arguments.dim, arguments.hidden)
    exact = block.inverse(params, x)[1][0]
    rows = np.repeat(x, arguments.draws, axis=0)
    print(
        f"\nc = {coefficient}, L = {block.lipschitz:.3f}, radius "
        f"{radius(block, params, x):.3f}, D = {arguments.dim}, log det {exact:.4f}"
    )
    print(
        f"{'estimator':<10}{'q':>4}{'terms':>6}{'probes':>9}{'bias':>12} {'':<12}{'noise':>9}"
        f"{'passes':>9}"
    )
    for estimator, q, count in (
        ("series", "", 0),
        ("series", "", 1),
        ("roulette", 0.5, 0),
        ("roulette", 0.9, 0),
        ("roulette", 0.5, 1),
    ):
        for terms in (0, 2, 5, 10, 20)[estimator == "series" :]:
            flow = nfref.ResidualBlock(
                arguments.dim,
                (arguments.hidden,),
                estimator=estimator,
                coefficient=coefficient,
                terms=terms,
                continuation=q or 0.5,
            )
            flow = flow.with_probes(np.random.default_rng(terms), arguments.draws, count)
            drawn = estimator == "roulette" or count
            estimates = flow.inverse(params, rows if drawn else x)[1]
            passes = terms + (np.mean(flow.counts) if estimator == "roulette" else 0)
            line(estimator, q, terms, count, estimates, exact, passes * (count or arguments.dim))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--draws", type=int, default=10_000)
    arguments = parser.parse_args()
    for coefficient in (0.7, 0.83, 0.97):
        table(coefficient, arguments)


if __name__ == "__main__":
    main()
