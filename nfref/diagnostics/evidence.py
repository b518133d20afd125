"""Evidence: the log of a normaliser, with a standard error, and when neither can be believed.

The target p~ is an unnormalised density, p = p~ / Z, and q a normalised one. Each estimate of log Z
needs only log p~ - log q at draws of q, of p, or of both:

    importance sampling   Z   = E_q[p~ / q]
    harmonic mean         1/Z = E_p[q / p~]
    bridge sampling       Z   = E_q[p~ / m] / E_p[q / m],  m = s p + (1 - s) q

Draws of p must not be those that q was fitted to. The plain harmonic mean of the likelihood takes
the prior for q; its variance is usually infinite. A q that is fitted to other draws of p
removes the cause (learned harmonic mean).

No estimate sees mass of p where it has no draws: a mode missing from all draws stays missing.

Sources: Polanska, Price, Piras, Spurio Mancini, McEwen 2024, arXiv:2405.05969 (learned harmonic
mean); Meng and Wong 1996, Simulating ratios of normalizing constants via a simple identity,
Statistica Sinica 6 (bridge sampling).
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.diagnostics.chains import effective_size, rows_of_chains, size_and_error
from nfref.diagnostics.pareto import ROUNDING, as_log_weights, pareto_k, shape_and_deviation
from nfref.runtime.annotations import Array
from nfref.runtime.checks import as_array, check_positive, require

__all__ = ["Evidence", "bridge_sampling", "harmonic_mean", "importance_sampling", "pareto_k"]

LARGEST_K = 0.7  # above it, means converge too slowly for any number of draws (Vehtari et al.)
FEWEST = 50  # effective draws; with fewer the standard error is itself too uncertain
MARGIN = 50.0  # nats around all log-ratios, between which log Z lies
APART = 3.0  # standard errors between one part of the chains and the rest
# The further the density is from the target, the rarer are draws that would show a heavy tail of
# the weights. Both constants were found on mixtures of 7, 14 and 16 columns, funnels of 3 to 8,
# Student densities, a banana and a ring.
LARGEST_GAP = 0.25  # nats, for the harmonic mean
UNSEEN = 1 / 3  # share of the error of importance sampling that is added for each nat


@dataclass(frozen=True)
class Evidence:
    """An estimate of log Z, and how far to believe it.

    It is believable if Pareto k plus its standard error is at most 0.7, the effective size less its
    standard error is at least 50, no half of a chain is more than 3 standard errors from the rest
    of the draws, and for the harmonic mean KL(p || q), where q is above zero, is at most 0.25 nats.

    Attributes
    ----------
    value : float
        log Z in nats.
    error : float
        The standard error of ``value``. It counts the tail of the weights as a Pareto law with a k
        two standard errors above the fitted one, since the largest weights may be yet to come. That
        of importance sampling grows by a third for each nat of KL(p || q).
    effective : float
        How many independent draws of equal weight have a mean of the same variance, by the weights
        seen (Kong 1992); for bridge sampling the smaller number of its two sets of draws.
    effective_error : float
        The standard error of ``effective``, from the weights, the autocorrelation, and the same
        heavier tail: two of these errors below ``effective`` is the effective size under that.
        With k above 0.4 a small sample may still be off by more.
    pareto_k : float
        The shape of the right tail of the weights; moments of order 1 / k and above are infinite.
    believable : bool
    method : str
    reasons : tuple of str
        One sentence for each reason not to believe it.
    """

    value: float
    error: float
    effective: float
    effective_error: float
    pareto_k: float
    believable: bool
    method: str
    reasons: tuple[str, ...]

    def __float__(self):
        return self.value

    def __str__(self):
        found = (
            f"log Z = {self.value:.3f} +- {self.error:.3f} by {self.method} (effective size "
            f"{self.effective:.0f} +- {self.effective_error:.0f}, Pareto k {self.pareto_k:.2f})"
        )
        return found if self.believable else f"cannot tell: {'; '.join(self.reasons)}. {found}"


def importance_sampling(log_weights: Array, size: float | None = None) -> Evidence:
    """Return log Z = log E_q[p~ / q] from draws of q.

    Parameters
    ----------
    log_weights : (N,) array
        log p~ - log q; -inf where p~ is zero.
    size : float, optional
        How many independent draws they are worth; N if omitted.

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or type, or holds NaN or +inf.
    """
    log_weights = as_log_weights("log_weights", log_weights)
    mean = _log_mean(log_weights, size=len(log_weights) if size is None else size)
    weights = np.exp(log_weights - log_weights.max())
    # E_p[log p~ / q] - log Z, with the weights for p.
    seen = log_weights > -np.inf
    gap = np.average(log_weights[seen], weights=weights[seen]) - mean.value
    mean = replace(mean, error=mean.error * (1 + UNSEEN * max(gap, 0.0)))
    return _evidence("importance sampling", mean.value, mean)


def harmonic_mean(log_ratios: Array, chains: Array | None = None) -> Evidence:
    """Return log Z = -log E_p[q / p~] from draws of a Markov chain.

    Parameters
    ----------
    log_ratios : (N,) array
        log q - log p~ at draws of p that q was not fitted to, in the order of each chain; -inf
        where q is zero.
    chains : (N,) array, optional
        The label of each draw's chain; one chain if omitted.

    Returns
    -------
    Evidence
        Its error includes the autocorrelation of the ratios, by
        :func:`nfref.diagnostics.chains.effective_size`. If two blocks are held out in turn, each
        with a q of the other, the error is too small by up to sqrt(2): both see the same chance
        difference of the blocks.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or type, or holds NaN or +inf.
    """
    log_ratios = as_log_weights("log_ratios", log_ratios)
    mean = _log_mean(log_ratios, _halves(len(log_ratios), chains))
    seen = log_ratios[log_ratios > -np.inf]
    return _evidence("harmonic mean", -mean.value, mean, gap=_log_of_mean(seen) - seen.mean())


def bridge_sampling(
    log_ratios_posterior: Array,
    log_ratios_proposal: Array,
    effective: float | None = None,
    chains: Array | None = None,
) -> Evidence:
    """Return log Z = log E_q[p~ / m] - log E_p[q / m], m = s p~ / Z + (1 - s) q.

    Both averages are of bounded numbers, so neither tail of p / q can spoil them; they are
    noisy only if p and q overlap little. Z stands on both sides; it is the root of a falling
    function. s is the share of the draws of p among all draws. Correlated draws count as their
    effective size.

    Parameters
    ----------
    log_ratios_posterior : (N,) array
        log p~ - log q at draws of p that q was not fitted to, in the order of each chain.
    log_ratios_proposal : (M,) array
        The same at independent draws of q; -inf where p~ is zero.
    effective : float, optional
        The effective size of the draws of p; estimated from the terms of the average if omitted.
    chains : (N,) array, optional
        The label of each draw's chain; one chain if omitted.

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or type, or holds NaN or +inf.
    """
    from scipy.optimize import brentq  # slow to import, so only on use

    at_p = as_array("log_ratios_posterior", log_ratios_posterior)
    at_p = -as_log_weights("-log_ratios_posterior", -at_p)
    at_q = as_log_weights("log_ratios_proposal", log_ratios_proposal)
    halves = _halves(len(at_p), chains)
    if effective is not None:
        check_positive("effective", effective)
    size = _log_mean(-at_p, halves).size if effective is None else effective
    log_share, log_rest = np.log([size, len(at_q)]) - np.log(size + len(at_q))

    def log_terms(log_z):
        """Return log p~ / m at draws of q, and log q / m at draws of p, both less log Z."""
        from_q = at_q - np.logaddexp(log_share + at_q, log_rest + log_z)
        return from_q, -np.logaddexp(log_share + at_p, log_rest + log_z)

    def gap(log_z):
        """Return a falling function of log Z, zero at the estimate."""
        from_q, from_p = log_terms(log_z)
        return _log_of_mean(from_q) - _log_of_mean(from_p) - log_z

    known = np.concatenate([at_p, at_q])
    known = known[np.isfinite(known)]
    value = brentq(gap, known.min() - MARGIN, known.max() + MARGIN, xtol=1e-12)
    from_q, from_p = log_terms(value)
    means = _log_mean(from_q, size=len(at_q)), _log_mean(from_p, halves, effective)
    return _evidence("bridge sampling", value, *means)


# Means of weights ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mean:
    """The log of the mean of weights; ``error`` is relative, so it is that of the log."""

    value: float
    error: float
    size: float  # independent draws
    effective: float
    effective_error: float
    pareto_k: float
    k_error: float
    apart: float  # standard errors between the worst part and the rest


def _log_mean(log_weights, parts=(), size=None):
    """Return the mean of weights of given logs, by default at correlated draws in ``parts``."""
    weights = np.exp(log_weights - log_weights.max())
    size, size_error = _size(weights, parts) if size is None else (size, 0.0)
    k, k_error, deviation = shape_and_deviation(log_weights)
    mean, square = weights.mean(), np.mean(weights**2)
    slope = 2 * weights / mean - weights**2 / square  # of the log of the effective size
    effective = size * mean**2 / square
    seen = effective * np.std(slope) / np.sqrt(size)
    error = np.hypot(effective * size_error, max(seen, (effective - size / (1 + deviation**2)) / 2))
    log_mean, apart = _log_of_mean(log_weights), _apart(weights, parts)
    return _Mean(log_mean, deviation / np.sqrt(size), size, effective, error, k, k_error, apart)


def _log_of_mean(log_values):
    largest = log_values.max()
    return largest + np.log(np.mean(np.exp(log_values - largest)))


def _halves(n, chains):
    """Return the rows of each half of each chain."""
    halves = [half for rows in rows_of_chains(n, chains) for half in np.array_split(rows, 2)]
    shortest = min(len(half) for half in halves)
    require(shortest >= 4, f"chains: expected at least 8 draws of each, got {2 * shortest}")
    return halves


def _size(weights, parts):
    """Return the number of independent draws, at most the number of draws; and its error."""
    length = min(len(rows) for rows in parts)
    size, error = size_and_error(np.stack([weights[rows[:length]] for rows in parts]))
    return min(1, size / (length * len(parts))) * len(weights), error


def _apart(weights, parts):
    """Return the largest distance of a part's mean from the others', in standard errors.

    All parts share one variance for each draw: a part alone has too few draws to know its own.
    """
    if not parts:
        return 0.0
    counts = np.array([len(rows) for rows in parts])
    sizes = np.minimum([effective_size(weights[rows]) for rows in parts], counts)
    variance = np.mean([weights[rows].var() for rows in parts] * counts / sizes)
    sums, others = np.array([weights[rows].sum() for rows in parts]), counts.sum() - counts
    gaps = np.abs(sums / counts - (sums.sum() - sums) / others)
    errors = np.sqrt(variance * (1 / counts + 1 / others))
    return float(np.max(gaps / np.maximum(errors, ROUNDING * weights.mean())))


def _evidence(method, value, *means, gap=0.0):
    """Return the evidence of independent means of weights; the worst decides its verdict.

    ``gap`` is KL(p || q), if the method needs a bound of it.
    """
    weakest = min(means, key=lambda mean: mean.effective)
    heaviest = max(means, key=lambda mean: mean.pareto_k)
    apart = max(mean.apart for mean in means)
    reasons = []
    if heaviest.pareto_k + heaviest.k_error > LARGEST_K:
        may = "" if heaviest.pareto_k > LARGEST_K else "maybe "
        reasons.append(
            f"Pareto k is {heaviest.pareto_k:.2f} +- {heaviest.k_error:.2f}, {may}above "
            f"{LARGEST_K}: single weights dominate"
        )
    if weakest.effective - weakest.effective_error < FEWEST:
        may = "" if weakest.effective < FEWEST else "maybe "
        reasons.append(
            f"the effective size is {weakest.effective:.0f} +- {weakest.effective_error:.0f}, "
            f"{may}below {FEWEST}: the standard error is itself uncertain"
        )
    if apart > APART:
        reasons.append(
            f"a part of the chains is {apart:.1f} standard errors from the rest, above {APART:.0f}"
        )
    if gap > LARGEST_GAP:
        reasons.append(
            f"the density is {gap:.2f} nats from the target, above {LARGEST_GAP}: it may have a "
            "tail that no draw has shown"
        )
    return Evidence(
        float(value),
        float(np.sqrt(sum(mean.error**2 for mean in means))),
        float(weakest.effective),
        float(weakest.effective_error),
        heaviest.pareto_k,
        not reasons,
        method,
        tuple(reasons),
    )
