"""Calibration: test whether p(x | c) gives every event its true probability.

Source: Talts et al. 2018, arXiv:1804.06788, for the ranks.

If x follows p(. | c), some functions of x and p have a known law, for any c:

- the probability integral transform, u_i = P(X_i <= x_i | x_1 ... x_{i-1}, c), is uniform on
  (0, 1), independently for every i;
- the rank of t(x, c) among t of L samples of p(. | c) is uniform on 0 ... L, for any function t.

So a histogram of either over test rows is flat, up to chance. A histogram that is high in the
middle means that p is too wide, high at both ends that it is too narrow, a slope that it is
shifted. A flat histogram proves little: a p(x) that ignores the context is calibrated, too.
Calibration complements the likelihood and does not replace it.
"""

from dataclasses import dataclass

import numpy as np

from nfref.bases.standard_normal import StandardNormal
from nfref.density import Density
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.batching import context_of
from nfref.runtime.checks import (
    as_array,
    as_context,
    as_rows,
    check_count,
    check_finite_rows,
    check_rng,
)

BLOCK = 2**16  # rows sampled at once


def pit(density: Density, params: Params, x: Array, context: Array | None = None) -> Array:
    """Return the probability integral transform of rows, u = Phi(z) with z = inverse(x).

    If dz/dx is lower triangular with a positive diagonal, this is
    u_i = P(X_i <= x_i | x_1 ... x_{i-1}, c). That holds for :class:`nfref.MADE` in natural order
    and for every increasing flow of one dimension. With another ``order``, the columns before i
    are those before it in that order. For any other flow u is not a distribution function of
    columns of x, but it is still uniform and independent if the density is right.

    Parameters
    ----------
    density : Density
        A density over a :class:`nfref.StandardNormal`.
    params : nested dicts and lists of arrays
    x : (N, D) array
    context : (N, C) array, optional

    Returns
    -------
    (N, D) array
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value.
    """
    from scipy.special import ndtr  # slow to import, so only on use

    if not isinstance(density.base, StandardNormal):
        raise TypeError(
            f"density: expected one over a StandardNormal, got a {type(density.base).__name__}"
        )
    checked = density._structure.checked(params)
    return ndtr(density.flow.inverse(checked["flow"], x, context)[0])


def ranks(
    density: Density,
    params: Params,
    x: Array,
    rng: Generator,
    context: Array | None = None,
    draws: int = 99,
    statistic: Callable[..., Any] | None = None,
) -> Array:
    """Return how many of L samples of p(. | c) have a smaller t than the row itself.

    Paper:   Talts et al., theorem 1: for theta from the prior, y from p(y | theta) and L samples of
             p(. | y), the rank of f(theta) is uniform on 0 ... L for every f.
    Differs: nothing; x is the paper's theta, c its y, and t its f.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    x : (N, D) array
        Rows of the true law, one for each context.
    rng : numpy.random.Generator
    context : (N, C) array, optional
    draws : int, default 99
        L, the number of samples for each row.
    statistic : callable, optional
        t: (x (M, D), context (M, C) or None) -> (M,) or (M, K) array. The columns of x if omitted.
        With the log-density as t, the ranks test the highest-density regions: they estimate the
        mass where the density is lower than at x.

    Returns
    -------
    (N, K) array of int
        Each in 0 ... L; K = 1 for a statistic of shape (M,), D for the columns.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value.
    """
    check_rng(rng)
    check_count("draws", draws)
    x = check_finite_rows("x", as_rows("x", x, density.dim))
    context = as_context(context, density.context_dim, x)
    measure = (lambda rows, given: rows) if statistic is None else statistic
    found = []
    for start in range(0, len(x), max(1, BLOCK // draws)):
        rows = slice(start, start + max(1, BLOCK // draws))
        given = context_of(context, rows)
        own = _columns(measure(x[rows], given), len(x[rows]))
        repeated = None if given is None else np.repeat(given, draws, axis=0)
        samples = density.sample(params, rng, draws * len(own), repeated)
        others = _columns(measure(samples, repeated), len(samples)).reshape(len(own), draws, -1)
        found.append(np.sum(others < own[:, None], axis=1))
    return np.concatenate(found) if found else np.zeros((0, density.dim), int)


def _columns(values, count):
    values = np.asarray(values)
    if values.ndim not in (1, 2) or len(values) != count:
        raise ValueError(
            f"statistic: expected shape ({count},) or ({count}, K), got {values.shape}"
        )
    return values.reshape(count, -1)


@dataclass(frozen=True)
class Uniformity:
    """The result of a test of uniformity, column by column.

    Attributes
    ----------
    statistic : (K,) array
    pvalue : (K,) array
        The probability of a statistic at least as large under the uniform law.
    """

    statistic: Array
    pvalue: Array


def uniformity(u: Array) -> Uniformity:
    """Apply the Kolmogorov-Smirnov test to each column: max |F_N(u) - u| and its p-value.

    Parameters
    ----------
    u : (N, K) array
        In [0, 1], for example from :func:`pit`.

    Returns
    -------
    Uniformity
        ``statistic`` is the largest distance of the empirical distribution function from u.

    Raises
    ------
    ValueError, TypeError
        If there are no rows, or numbers outside [0, 1].
    """
    from scipy.stats import kstest  # slow to import, so only on use

    u = as_array("u", u)
    if u.ndim != 2 or not len(u):
        raise ValueError(f"u: expected shape (N, K) with N at least 1, got {u.shape}")
    if not np.all((u >= 0) & (u <= 1)):
        raise ValueError("u: expected numbers in [0, 1], got others")
    tests = [kstest(column, "uniform") for column in u.T]
    return Uniformity(
        np.array([test.statistic for test in tests]), np.array([test.pvalue for test in tests])
    )


def rank_uniformity(ranks: Array, draws: int, bins: int = 20) -> Uniformity:
    """Apply Pearson's chi-squared test to ranks in 0 ... L, column by column.

    Parameters
    ----------
    ranks : (N, K) array of int
        For example from :func:`ranks`.
    draws : int
        L.
    bins : int, default 20
        Number of equal parts of 0 ... L; a divisor of L + 1.

    Returns
    -------
    Uniformity
        ``statistic`` is sum (n_b - N/bins)^2 / (N/bins), with bins - 1 degrees of freedom.

    Raises
    ------
    ValueError, TypeError
        If bins does not divide L + 1, if a rank is not in 0 ... L, or if there are fewer than
        five rows per bin, for which the p-value is unreliable.
    """
    from scipy.stats import chisquare  # slow to import, so only on use

    check_count("draws", draws)
    check_count("bins", bins, minimum=2)
    if (draws + 1) % bins:
        raise ValueError(f"bins: expected a divisor of draws + 1 = {draws + 1}, got {bins}")
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or ranks.dtype.kind not in "iu":
        raise ValueError(
            f"ranks: expected an (N, K) array of int, got {ranks.dtype} of shape {ranks.shape}"
        )
    if len(ranks) < 5 * bins:
        raise ValueError(
            f"ranks: expected at least {5 * bins} rows for {bins} bins, got {len(ranks)}"
        )
    if np.min(ranks) < 0 or np.max(ranks) > draws:
        raise ValueError(f"ranks: expected 0 ... {draws}, got {np.min(ranks)} ... {np.max(ranks)}")
    parts = ranks * bins // (draws + 1)
    tests = [chisquare(np.bincount(column, minlength=bins)) for column in parts.T]
    return Uniformity(
        np.array([test.statistic for test in tests]), np.array([test.pvalue for test in tests])
    )
