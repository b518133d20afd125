"""Chains: how many independent draws the correlated draws of a Markov chain are worth.

Sources: Geyer 1992, Practical Markov chain Monte Carlo, Statistical Science 7(4), for the estimate
from one chain; Vehtari, Gelman, Simpson, Carpenter, Buerkner 2021, arXiv:1903.08008, for several.
"""

import numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import as_array, check_count, require


def effective_size(values: Array) -> Any:
    """Return the effective size of draws, by Geyer's initial monotone sequence.

    The mean of n draws of a stationary chain has the variance of n / tau independent ones,
    tau = 1 + 2 sum_t rho_t, with the autocorrelation rho_t at lag t. The sums of neighbours,
    rho_2m + rho_2m+1, are positive and fall with m in a reversible chain. The estimate of tau
    ends where they are no longer positive, and none counts for more than the one before it.

    With several chains, rho_t compares draws with the mean over all chains, so chains that
    disagree have a small effective size.

    Parameters
    ----------
    values : (N,), (N, D) or (chains, N, D) array
        N draws of each chain, in the order of the chain, N at least 4.

    Returns
    -------
    float or (D,) array
        One number for each column; at most n log10(n) for n draws of all chains. Equal draws
        count as independent.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or type, or is not finite.
    """
    values = as_array("values", values)
    require(
        values.ndim in (1, 2, 3) and values.shape[-2 if values.ndim > 1 else 0] >= 4,
        "values: expected shape (N,), (N, D) or (chains, N, D) with N at least 4, "
        f"got {values.shape}",
    )
    require(np.isfinite(values).all(), "values: expected finite numbers, got NaN or infinity")
    if values.ndim == 1:
        return size_and_error(values[None])[0]
    chains = values[None] if values.ndim == 2 else values
    return np.array([size_and_error(chains[:, :, k])[0] for k in range(chains.shape[2])])


def size_and_error(chains: Array) -> tuple[float, float]:
    """Return the effective size of (chains, N) draws of one number, and its relative error.

    A sum of m autocorrelations from n draws has the relative variance 2 (2 m + 1) / n (Madras and
    Sokal 1988, The pivot algorithm, Journal of Statistical Physics 50).
    """
    number, length = chains.shape
    total = number * length
    chains = chains / max(np.abs(chains).max(), np.finfo(float).tiny)  # squares stay finite
    within = np.mean([_autocovariance(chain) for chain in chains], axis=0)
    # The variance of all draws: of one chain, plus that of the chains' means.
    variance = within[0] + (np.var(chains.mean(axis=1), ddof=1) if number > 1 else 0)
    if variance <= (8 * np.finfo(float).eps) ** 2:
        return float(total), 0.0
    correlation = 1 - (within[0] - within) / variance
    pairs = correlation[: length // 2 * 2].reshape(-1, 2).sum(axis=1)
    last = np.flatnonzero(pairs <= 0)
    decreasing = np.minimum.accumulate(pairs[: last[0] if len(last) else None])
    size = total / max(2 * decreasing.sum() - 1, 1 / np.log10(total))
    return float(size), float(np.sqrt(2 * (4 * len(decreasing) + 1) / total))


def _autocovariance(chain):
    """Return the autocovariance of a chain at lags 0 ... N - 1, each sum divided by N."""
    length = len(chain)
    spectrum = np.fft.rfft(chain - chain.mean(), 2 * length)
    return np.fft.irfft(np.abs(spectrum) ** 2)[:length] / length


def blocks(n: int, count: int, chains: Array | None = None) -> list[Array]:
    """Return the rows of ``count`` blocks of neighbouring draws, for holding each out in turn.

    A draw resembles its neighbours, so rows held out at random have near copies among the rest.
    A block has neighbours at its two ends only. Each chain is cut into ``count`` stretches of
    equal length, up to one draw. Block k holds the stretches k of all chains.

    Parameters
    ----------
    n : int
        The number of draws, in the order of each chain.
    count : int
        The number of blocks.
    chains : (n,) array, optional
        The label of each draw's chain; one chain if omitted.

    Returns
    -------
    list of arrays of int
        Rising row numbers. Every draw is in one block.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, or a chain is shorter than ``count``.
    """
    check_count("n", n)
    check_count("count", count)
    rows = rows_of_chains(n, chains)
    shortest = min(len(own) for own in rows)
    require(
        shortest >= count,
        f"count: expected at most {shortest}, the draws of the shortest chain, got {count}",
    )
    parts = [np.array_split(own, count) for own in rows]
    return [np.sort(np.concatenate(stretches)) for stretches in zip(*parts, strict=True)]


def rows_of_chains(n: int, chains: Array | None) -> list[Array]:
    """Return the rows of each chain, in rising order; one chain without labels."""
    if chains is None:
        return [np.arange(n)]
    labels = np.asarray(chains)
    require(
        labels.shape == (n,),
        f"chains: expected shape ({n},), one label for each draw; got {labels.shape}",
    )
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
