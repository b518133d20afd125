"""How well a score tells rows that do not belong from rows that do."""

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
        P(score outside > score inside) + P(equal) / 2: 1/2 for a coin, 1 if every row outside
        scores above every row inside, below 1/2 if the score points the wrong way.
    error : float
        Its standard error.
    """

    value: float
    error: float


def auroc(inside: Array, outside: Array) -> Auroc:
    """The area under the ROC of a score, by ranks, with a standard error.

    For every row outside, V is the share of rows inside that score lower (equal ones count half);
    the area is the mean of V. The share W of rows outside that score higher than a row inside has
    the same mean, and the variance of the area is var(V) / n_outside + var(W) / n_inside (DeLong,
    DeLong and Clarke-Pearson 1988, Biometrics 44).

    Parameters
    ----------
    inside : (N,) array
        Scores of rows that belong, lower if the score is right. Infinite ones are in order.
    outside : (M,) array
        Scores of rows that do not.

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
    """The share of values below each of ``at``, those equal to it counted half."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, at, "left") + np.searchsorted(ordered, at, "right")) / (
        2 * len(values)
    )


def _scores(name, scores):
    values = as_array(name, scores)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name}: expected shape (N,) with N at least 2, got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{name}: expected numbers, got NaN")
    return values
