"""The area under the ROC of a score that separates rows outside a distribution from rows inside."""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.checks import as_array


@dataclass(frozen=True)
class Auroc:
    """The area under the receiver operating characteristic.

    Attributes
    ----------
    value : float
        P(score outside > score inside) + P(equal) / 2: 1/2 for chance, 1 if every row outside
        scores above every row inside, below 1/2 if the score has the wrong sign.
    error : float
        The standard error of the area.
    """

    value: float
    error: float


def auroc(inside: Array, outside: Array) -> Auroc:
    """Return the area under the ROC of a score, by ranks, with a standard error.

    For every row outside, V is the share of rows inside that score lower (equal scores count half);
    the area is the mean of V. For every row inside, W is the share of rows outside that score
    higher; its mean is the same. The variance of the area is var(V) / n_outside + var(W) / n_inside
    (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44).

    Parameters
    ----------
    inside : (N,) array
        Scores of rows that belong; a good score is lower for them. Infinite scores are allowed.
    outside : (M,) array
        Scores of rows that do not belong.

    Returns
    -------
    Auroc

    Raises
    ------
    ValueError, TypeError
        If there are fewer than two rows on a side, or NaN among the scores.
    """
    inside, outside = _scores("inside", inside), _scores("outside", outside)
    above = _share_below(inside, outside)
    below = 1 - _share_below(outside, inside)
    variance = np.var(above, ddof=1) / len(outside) + np.var(below, ddof=1) / len(inside)
    return Auroc(float(above.mean()), float(np.sqrt(variance)))


def _share_below(values, at):
    """Return the share of values below each of ``at``; equal values count half."""
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, at, side) for side in ("left", "right"))
    return (below + upto) / (2 * len(values))


def _scores(name, scores):
    values = as_array(name, scores)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name}: expected shape (N,) with N at least 2, got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{name}: expected numbers, got NaN")
    return values
