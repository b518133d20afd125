"""The largest weights of importance sampling, as draws of a generalised Pareto law.

Sources: Vehtari, Simpson, Gelman, Yao, Gabry 2024, arXiv:1507.02646 (Pareto k); Zhang and Stephens
2009, A new and efficient estimation method for the generalized Pareto distribution, Technometrics
51(3) (its fit).
"""

import numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.checks import as_array

ROUNDING = 1e-10  # spread of the largest weights, of the largest of all, that may be rounding
FEWEST = 5  # weights in a tail


def pareto_k(log_weights: Array) -> float:
    """Return the shape k of the law of the largest weights.

    Moments of order 1 / k and above are infinite. The tail holds the largest min(N / 5,
    3 sqrt(N)) weights, less the largest weight below it.

    Parameters
    ----------
    log_weights : (N,) array
        -inf is a weight of zero.

    Returns
    -------
    float
        NaN for fewer than 21 weights; -inf if the weights of the tail are equal up to rounding.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or type, or holds NaN or +inf.
    """
    return shape_and_deviation(as_log_weights("log_weights", log_weights))[0]


def shape_and_deviation(log_weights: Array) -> tuple[float, float, float]:
    """Return Pareto k, its standard error, and the deviation of the weights over their mean.

    A sample whose largest weights are yet to come has too small a deviation. So the tail counts as
    the Pareto law with a k two standard errors above its fit, where that is more.
    """
    weights = np.exp(np.sort(log_weights) - np.max(log_weights))
    seen = float(np.std(weights) / np.mean(weights))
    count = int(np.ceil(min(len(weights) / 5, 3 * np.sqrt(len(weights)))))
    if count < FEWEST:
        return np.nan, 0.0, seen
    start = weights[-count - 1]
    tail = np.maximum(weights[-count:] - start, np.finfo(float).tiny)
    if tail[-1] < ROUNDING:
        return -np.inf, 0.0, seen
    k, scale = _fit(tail)
    error = (1 + max(k, 0)) / np.sqrt(count)
    heavy = min(k + 2 * error, 10)  # with more, the tail's weights overflow
    levels = (np.arange(count) + 0.5) / count
    weights[-count:] = start + scale * np.expm1(-heavy * np.log1p(-levels)) / heavy
    return k, error, max(seen, float(np.std(weights) / np.mean(weights)))


def _fit(tail):
    """Return shape and scale of a rising tail.

    Theta is -k / scale. Its estimate is the mean over a grid, with the likelihood as weight. The
    prior of Vehtari et al. counts like ten more weights with k = 1/2.
    """
    count = len(tail)
    grid = 30 + int(np.sqrt(count))
    quartile = tail[int(count / 4 + 0.5) - 1]
    theta = 1 / tail[-1] + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * quartile)
    shape = np.mean(np.log1p(-theta[:, None] * tail), axis=1)
    log_likelihood = count * (np.log(-theta / shape) - shape - 1)
    likelihood = np.exp(log_likelihood - log_likelihood.max())
    best = np.sum(theta * likelihood) / likelihood.sum()
    k = np.mean(np.log1p(-best * tail))
    return float((count * k + 10 * 0.5) / (count + 10)), float(-k / best)


def as_log_weights(name: str, log_weights: Array) -> Array:
    """Return logs of weights, (N,) in float64, none NaN or +inf and not all -inf."""
    values = as_array(name, log_weights)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name}: expected shape (N,) with N at least 2, got {values.shape}")
    bad = np.flatnonzero(~(values < np.inf))
    if len(bad):
        raise ValueError(
            f"{name}: expected numbers below infinity, got {values[bad[0]]} in row {bad[0]}"
        )
    if values.max() == -np.inf:
        raise ValueError(f"{name}: expected one above -inf, got -inf in each of {len(values)} rows")
    return values.astype(np.float64)
