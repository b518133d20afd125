"""Compare ``nfref.FlowDensity`` with others on one column given the rest: pinball loss, CRPS.

    python -m tests.benchmarks.questions [--only NAME ...] [--seeds 0]

The protocol, fixed before any measurement: seven rows of ten are fitted, the rest are tested; every
column is predicted in turn, given all others. nfref is fitted once to all columns, the others once
per column and level: quantiles of linear regression with normal residuals, of scikit-learn's
histogram gradient boosting and its quantile regression, all with their defaults. The table shows
the mean pinball loss of standardised columns over the levels 0.05, 0.1, ... 0.95; twice this loss
is the CRPS to the precision of the levels. It also shows the difference from nfref's with its
standard error over test rows, positive where nfref is better.
"""

import numpy as np
from scipy import stats

from tests.benchmarks.named_tables import arguments, asked_for, mean_and_error, split, timed

LEVELS = np.round(np.linspace(0.05, 0.95, 19), 2)
ROWS = 600


def diabetes(rng):
    from sklearn.datasets import load_diabetes

    found = load_diabetes()
    return np.column_stack([found.data[:, [0, 2, 3, 8, 9]], found.target])


def wines(rng):
    import nfref

    values = nfref.datasets.wine()[0]
    return values[rng.permutation(len(values))[:ROWS]][:, [0, 1, 4, 7, 8, 10]]


def curve(rng):
    """Sample a spread that grows, and a column that bends."""
    a, e, f = rng.standard_normal((3, ROWS))
    return np.stack([a, np.sin(2 * a) + 0.2 * np.exp(0.5 * a) * e, a**2 + 0.3 * f], axis=1)


def forked(rng):
    """Sample a column with two modes given most others."""
    a, e = rng.standard_normal((2, ROWS))
    return np.stack([a, rng.choice([-1, 1], ROWS) * (1 + 0.5 * a) + 0.2 * e], axis=1)


TABLES = {"diabetes": diabetes, "wines": wines, "curve": curve, "forked": forked}


def density(fit, test, seed):
    import nfref

    model = nfref.FlowDensity(random_state=seed).fit(fit)
    return [model.predict_quantiles(test, f"x{k + 1}", LEVELS) for k in range(fit.shape[1])]


def _each(quantiles):
    """Predict each column from the others."""

    def answer(fit, test, seed):
        return [
            quantiles(np.delete(fit, k, axis=1), fit[:, k], np.delete(test, k, axis=1), seed)
            for k in range(fit.shape[1])
        ]

    return answer


@_each
def linear(x, y, new, seed):
    from sklearn.linear_model import LinearRegression

    found = LinearRegression().fit(x, y)
    return found.predict(new)[:, None] + np.std(y - found.predict(x)) * stats.norm.ppf(LEVELS)


@_each
def boosting(x, y, new, seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    return np.stack(
        [
            HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=seed)
            .fit(x, y)
            .predict(new)
            for level in LEVELS
        ],
        axis=1,
    )


@_each
def quantile_regression(x, y, new, seed):
    from sklearn.linear_model import QuantileRegressor

    return np.stack(
        [QuantileRegressor(quantile=level, alpha=0.0).fit(x, y).predict(new) for level in LEVELS],
        axis=1,
    )


PEERS = {"nfref": density, "linear": linear, "boosting": boosting, "quantile": quantile_regression}


def pinball(y, quantiles):
    """Return the mean pinball loss over levels, (N,)."""
    off = y[:, None] - quantiles
    return np.mean(np.maximum(LEVELS * off, (LEVELS - 1) * off), axis=1)


def main():
    options = arguments(__doc__, TABLES).parse_args()
    print(f"{'table':<10} {'':<9} {'pinball':>8} {'nfref better by':>20} {'s':>7}")
    for name, seed, rng in asked_for(TABLES, options):
        fit, test = standardised_parts(TABLES[name](rng), rng)
        first = None
        for peer, answer in PEERS.items():
            found, seconds = timed(answer, fit, test, seed)
            loss = np.mean([pinball(*pair) for pair in zip(test.T, found)], axis=0)
            first = loss if first is None else first
            print(
                f"{name:<10} {peer:<9} {loss.mean():>8.4f} {mean_and_error(loss - first):>20} "
                f"{seconds:>7.1f}",
                flush=True,
            )


def standardised_parts(x, rng):
    """Return (rows to fit, rows to test), in the units of the first."""
    fit, test = (x[part] for part in split(len(x), rng))
    return [(part - fit.mean(axis=0)) / fit.std(axis=0) for part in (fit, test)]


if __name__ == "__main__":
    main()
