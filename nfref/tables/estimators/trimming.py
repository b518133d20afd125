"""Trim the least likely rows, so that a density is not fitted to outliers.

A density that is fitted to outliers takes them for normal: a group of them is a component of a
mixture. So the fit is *trimmed*, as robust covariances are (Rousseeuw 1984): first by nearness,
then by nearness and a density of the rows that are left. The smallest components of its mixture,
which together hold no more rows than the contamination, do not count: a tight group of outliers is
one.
"""

from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Array
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Regressed
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import TableFit
from nfref.tables.queries.answers import log_marginal
from nfref.tables.queries.outlier_measures import (
    Neighbours,
    quantile_of_copies,
    shortfall,
    some_distinct_rows,
    usual_of,
)

DRAWS = 200  # samples for rows with gaps
FITTED_ROWS = 1000  # distinct rows that the trimming density is fitted to
LEAST_ROWS = 30  # below 30 rows, or three a column, nothing is trimmed


def kept_rows(fit: TableFit, share: float, contamination: float) -> Array:
    """Return which rows are left after trimming the least likely ones, (N,) of bool.

    Parameters
    ----------
    fit : TableFit
        Of all rows, by simple densities.
    share : float
        The share of rows to trim; nearness alone trims half of it.
    contamination : float
        The share of rows that are outliers.
    """
    every = np.ones(len(fit.table[0]), bool)
    rows = len(every) if fit.weight is None else np.sum(fit.weight)
    if share == 0 or (1 - share) * rows < max(LEAST_ROWS, 3 * len(fit.columns)):
        return every
    near = _trimmed(fit, every, share / 2, [_nearness(fit, every, contamination)])
    if near is None:
        return every
    # A density of all rows would take groups of outliers for normal.
    log_prob = _out_of_fold(fit, near, contamination)
    both = _trimmed(fit, near, share, [_nearness(fit, near, contamination), log_prob])
    return near if both is None else both


def _trimmed(fit, kept, share, measures):
    """Return the rows without a share of the lowest; None if those left are all equal.

    Measures count by how far they are below the median of the ``kept`` rows.
    """
    weight = None if fit.weight is None else fit.weight[kept]
    scores = shortfall(measures, [usual_of(measure[kept], weight) for measure in measures])
    left = scores >= quantile_of_copies(scores, fit.weight, share)
    says_nothing = all(len(set(values[left].tolist())) == 1 for values in fit.table)
    return None if says_nothing else left


def _nearness(fit, kept, contamination):
    """Return how near the ``kept`` rows are to each row, (N,)."""
    rows = fit.at(kept)
    neighbours = Neighbours.of(rows.columns, rows.table, rows.weight, rows.given, contamination)
    return neighbours.nearness(fit.columns, fit.table, fit.given)


def _out_of_fold(fit, kept, contamination):
    """Return out-of-fold log-likelihoods of all rows, by densities of the kept rows."""
    part = some_distinct_rows(fit.columns, fit.table, fit.given, FITTED_ROWS)
    part = part[kept[part]]
    found = fit_table(fit.at(part))
    density, scores = found.density, np.full(len(kept), np.nan)
    scores[part[found.unseen.places]] = found.unseen.log_prob
    others = np.ones(len(kept), bool)
    others[part[found.unseen.places]] = False
    if np.any(others):
        scores[others] = log_marginal(density, fit.at(others).table, DRAWS).log_prob
    if density.pool is None:
        return scores
    large = replace(density, pool=_of_large_components(density.pool, contamination))
    return np.minimum(scores, log_marginal(large, fit.table, DRAWS).log_prob)


def _of_large_components(pool, share):
    """Return the pool without the smallest components of its mixtures, up to a share of rows.

    A group of outliers is a component, and its density is high.
    """

    def large(member):
        if isinstance(member, Regressed):
            return replace(member, density=large(member.density))
        if not isinstance(member, GaussianMixture):
            return member
        order = np.argsort(member.log_weights)
        kept = order[np.cumsum(np.exp(member.log_weights[order])) > share]
        weights = member.log_weights[kept]
        return replace(
            member,
            log_weights=weights - np.logaddexp.reduce(weights),
            means=member.means[kept],
            choleskys=member.choleskys[kept],
        )

    return replace(pool, members=tuple(map(large, pool.members)))
