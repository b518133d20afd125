"""Compare missing cells sampled by ``nfref.FlowDensity.impute`` and by others: CRPS.

    python -m tests.benchmarks.gaps [--only NAME ...] [--seeds 0]

The tables are those of :mod:`tests.benchmarks.questions`. The protocol, fixed before any
measurement: seven rows of ten are fitted, the rest are tested; one cell of five is emptied in both,
at random. Every contender gives 40 samples of each empty cell of the test rows: nfref with its
defaults; scikit-learn's ``IterativeImputer`` with ``sample_posterior`` and its defaults; the values
of the cell's column in the ten nearest rows by the shared columns (``KNNImputer``'s donors); and
samples from the column alone. The table shows the CRPS of these samples, of standardised columns,
corrected for the bias of few samples (E|X - y| - E|X - X'| / 2 over pairs that differ), as the mean
over test rows. It also shows the difference from nfref's with its standard error over rows,
positive where nfref is better.
"""

import numpy as np

from tests.benchmarks.named_tables import arguments, asked_for, mean_and_error, timed
from tests.benchmarks.questions import TABLES, standardised_parts

SHARE, DRAWS, NEIGHBOURS = 0.2, 40, 10


def density(fit, test, seed):
    import nfref

    model = nfref.FlowDensity(random_state=seed).fit(fit)
    return model.impute(np.tile(test, (DRAWS, 1)), random_state=seed).reshape(DRAWS, *test.shape)


def iterative(fit, test, seed):
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    model = IterativeImputer(sample_posterior=True, random_state=seed).fit(fit)
    return np.stack([model.transform(test) for _ in range(DRAWS)])


def neighbours(fit, test, seed):
    from sklearn.metrics.pairwise import nan_euclidean_distances

    apart, drawn = nan_euclidean_distances(test, fit), np.tile(test, (NEIGHBOURS, 1, 1))
    apart = np.where(np.isnan(apart), np.inf, apart)
    for k in range(fit.shape[1]):
        there = np.flatnonzero(~np.isnan(fit[:, k]))
        nearest = there[np.argsort(apart[:, there], axis=1)[:, :NEIGHBOURS]]
        drawn[:, :, k] = fit[nearest, k].T
    return drawn


def column_alone(fit, test, seed):
    rng = np.random.default_rng(seed)
    return np.stack(
        [rng.choice(column[~np.isnan(column)], (DRAWS, len(test))) for column in fit.T], axis=2
    )


PEERS = {
    "nfref": density,
    "iterative": iterative,
    "neighbours": neighbours,
    "column alone": column_alone,
}


def crps(y, drawn):
    """Return the CRPS of every cell, (N, D), from samples (draws, N, D)."""
    count = len(drawn)
    ranks = 2 * np.arange(1, count + 1) - count - 1  # sum_ij |x_i - x_j| = 2 sum_k rank_k x_(k)
    spread = np.tensordot(ranks, np.sort(drawn, axis=0), axes=1) / (count * (count - 1))
    return np.mean(np.abs(drawn - y), axis=0) - spread


def emptied(rows, rng):
    """Empty a share of the cells, but never all of a row."""
    gaps = rng.random(rows.shape) < SHARE
    gaps[np.all(gaps, axis=1), 0] = False
    return np.where(gaps, np.nan, rows)


def main():
    options = arguments(__doc__, TABLES).parse_args()
    print(f"{'table':<10} {'':<13} {'CRPS':>8} {'nfref better by':>20} {'s':>7}")
    for name, seed, rng in asked_for(TABLES, options):
        fit, test = standardised_parts(TABLES[name](rng), rng)
        given, holed = emptied(fit, rng), emptied(test, rng)
        some = np.any(np.isnan(holed), axis=1)
        test, holed, first = test[some], holed[some], None
        for peer, draws in PEERS.items():
            drawn, seconds = timed(draws, given, holed, seed)
            loss = np.nanmean(np.where(np.isnan(holed), crps(test, drawn), np.nan), axis=1)
            first = loss if first is None else first
            print(
                f"{name:<10} {peer:<13} {loss.mean():>8.4f} {mean_and_error(loss - first):>20} "
                f"{seconds:>7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
