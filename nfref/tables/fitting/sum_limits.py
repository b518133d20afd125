"""Find a limit of the sum of some columns.

Shares of a whole, all but one, have a sum of at most 1 or 100
(:mod:`nfref.tables.densities.limited_sum`). Columns above 0 have that limit if the largest sum of
their values is below it and near, and far more than ``EXPECTED`` rows should lie beyond it by the
mixture of all columns. Of several sets of columns the one that this holds for most clearly counts.
"""

from itertools import product

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.fitting.column_support import EXPECTED, NEAR, UPPER_ENDS
from nfref.tables.fitting.cross_fit import CrossFit

SUMMED = 10  # most columns whose subsets are summed; more are summed as a whole
ROUNDING = 1e-9  # of sums, as a share
SAMPLES = 20_000  # of the mixture of all columns


def find_limited_sum(
    fit: CrossFit, places: Sequence[int], table: Sequence[Array], weight: Array
) -> LimitedSum | None:
    """Return the LimitedSum of some columns of a fit; None if no sum has an upper end.

    Parameters
    ----------
    fit : CrossFit
        Of all columns.
    places : sequence of int
        The columns that are above 0.
    table : sequence of (N,) arrays
        Values of all columns, NaN where a cell is empty.
    weight : (N,) array
        Weight of each row.
    """
    if len(places) < 2:
        return None
    values = np.stack([table[k] for k in places], axis=1)
    steps = np.array([fit.columns[k].step or 0.0 for k in places])
    sets = (
        np.ones((1, len(places)))
        if len(places) > SUMMED
        else np.array([one for one in product((0.0, 1.0), repeat=len(places)) if sum(one) > 1])
    )
    largest = np.max(np.nan_to_num(values) @ sets.T, axis=0)
    sampled: Any = None
    for end in UPPER_ENDS:
        limits = end * (1 + ROUNDING) + sets @ steps / 2
        possible = (largest <= limits) & (largest >= NEAR * end)
        if not np.any(possible):
            continue
        if sampled is None:
            sampled = fit.sample(SAMPLES)[:, places]
        beyond = np.mean(sampled @ sets[possible].T > limits[possible], axis=0) * np.sum(weight)
        most = int(np.argmax(beyond))
        if beyond[most] >= EXPECTED + np.log(np.sum(possible)):
            chosen = np.flatnonzero(sets[possible][most]).tolist()
            names = tuple(fit.columns[places[k]].name for k in chosen)
            return LimitedSum(names, float(limits[possible][most]))
    return None
