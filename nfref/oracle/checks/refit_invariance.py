"""Fits to changed tables: other units, weights.

Some differences of a fit are legitimate, such as a bandwidth in fixed units. The rows report them.
They fail only for what no density may do.
"""

import numpy as np

from nfref.oracle.adapters.estimators import Estimator
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Array, Generator

EXACT = 1e-6  # largest difference of two equal fits, relative to 1 + |log p|
ROWS = 400  # rows of the table in a fit
WORSE = 0.7  # nats a row, the least cost of a length in wrong units


class Fits:
    """Fits to some rows and to changed copies; ``scaled`` columns are continuous without ends."""

    def __init__(self, estimator: Estimator, table: Array, scaled: Array, rng: Generator) -> None:
        self.estimator, self.scaled, self.rng = estimator, scaled, rng
        self.rows = table[:ROWS]

    def comparable(self, name: str) -> Row:
        """Return a row that passed if two fits of the same rows, which it makes, are equal."""
        if self.estimator.fit is None:
            return not_applicable(name, "it cannot be fitted again")
        self.base, again = (self.log_prob(self.rows, self.rows) for _ in range(2))
        if same(self.base, again):
            return passed(name, "two fits of the same rows")
        apart = np.max(np.abs(self.base - again))
        why = f"two fits of the same rows differ by {apart:.2g}: random_state=?"
        return not_applicable(name, why)

    def log_prob(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        """Return log p of rows after a fit to a table."""
        return np.asarray(self.estimator.fit(table, weights).log_prob(rows), dtype=np.float64)


def same(a: Array, b: Array) -> bool:
    """Check that two arrays of log-densities are equal up to rounding."""
    with np.errstate(invalid="ignore"):
        close = np.abs(a - b) <= EXACT * (1 + np.abs(a))
    return bool(np.all(close | (a == b)))


def units(name: str, fits: Fits) -> Row:
    """Check that columns times powers of two, which lose no digit, move log p by minus the logs."""
    if not np.any(fits.scaled):
        return not_applicable(name, "no column can be scaled")
    powers = np.where(fits.scaled, np.resize([10, -7, 4, -3], len(fits.scaled)), 0)
    if np.sum(powers) == 0:
        powers[np.flatnonzero(fits.scaled)[0]] += 3
    factor, expected = 2.0**powers, -np.sum(powers) * np.log(2)
    scaled = fits.rows * factor
    try:
        moved = fits.log_prob(scaled, scaled) - fits.base
    except np.linalg.LinAlgError:  # a ValueError, but no refusal
        raise
    except (ValueError, TypeError) as error:  # options may name columns
        return not_applicable(name, f"the changed table is refused: {error}".splitlines()[0])
    why = f"columns times {show(factor)}"
    if same(fits.base + expected, fits.base + moved):
        return passed(name, why, float(np.max(np.abs(moved - expected))))
    middle = float(np.median(moved))
    words = f"log p moves by {middle:.6g}, expected {expected:.6g}"
    if np.ptp(moved) <= EXACT * (1 + np.max(np.abs(fits.base))):
        words += ": log p is in standardised units" if abs(middle) < 1e-6 else ""
        return failed(name, why, words, abs(middle - expected), 0.0)
    return _lengths(name, fits, f"the fit itself depends on units; {why}: {words} in the median")


def _lengths(name, fits, why):
    """Check that a length inside of the estimator is in the units of the table.

    If it is not, held-out rows are less probable than under one normal distribution. They are much
    less probable than after a fit to columns divided by their standard deviations.
    """
    order = fits.rng.permutation(len(fits.rows))
    some, others = fits.rows[order[::2]], fits.rows[order[1::2]]
    deviation = np.std(some, axis=0)
    scale = np.where(fits.scaled & (deviation > 0), deviation, 1.0)
    plain = _normal(some, others)
    raw = np.maximum(fits.log_prob(some, others), plain - 30)
    standard = fits.log_prob(some / scale, others / scale) - np.sum(np.log(scale))
    gain, loss = np.maximum(standard, plain - 30) - raw, plain - raw
    # Medians: a few rows beyond the ends of kernels lose everything in any units.
    for part in (gain, loss):
        surely = np.mean(part) - 4 * np.std(part) / np.sqrt(len(part))
        if not min(np.median(part), surely) > WORSE:
            return passed(name, why)
    words = f"held-out rows lose {np.median(loss):.3g} nats against one normal distribution, "
    words += f"and gain {np.median(gain):.3g} if columns are standardised first"
    if fits.estimator.lengths:
        lengths = " or ".join(fits.estimator.lengths)
        return inconclusive(name, f"{words}: is {lengths} in the units of this table?")
    where = f"a bandwidth in the wrong units: {words}"
    return failed(name, why, where, float(np.median(gain)), WORSE)


def _normal(some, others):
    """Return the log-density of ``others`` under the normal distribution of ``some`` rows."""
    from scipy.stats import multivariate_normal

    center = np.mean(some, axis=0)
    scale = np.std(some, axis=0) + 1e-300
    covariance = np.cov(((some - center) / scale).T) + 1e-6 * np.eye(some.shape[1])
    found = multivariate_normal.logpdf((others - center) / scale, cov=covariance)
    return found - np.sum(np.log(scale))


def weights(name: str, fits: Fits) -> Row:
    """Compare weights with copies: every row of a lower half counts nine times."""
    if not fits.estimator.weighted:
        return not_applicable(name, "fit takes no weights")
    rows = fits.rows[:150]
    count = np.where(rows[:, 0] < np.median(rows[:, 0]), 9, 1)
    by_weight = fits.log_prob(rows, rows, count.astype(np.float64))
    by_copies = fits.log_prob(np.repeat(rows, count, axis=0), rows)
    without = fits.log_prob(rows, rows)
    why = "weights 9 and 1, against as many copies, nats in the mean"
    apart = float(np.mean(np.abs(by_weight - by_copies)))
    if same(by_weight, by_copies):
        return passed(name, why, apart)
    if same(by_weight, without):
        return failed(name, why, "the fit ignores weights", apart, 0.0)
    if apart > 0.75 * np.mean(np.abs(without - by_copies)):
        return failed(name, why, "about as far from the copies as without weights", apart, 0.0)
    return passed(name, f"{why}; a bandwidth may count rows", apart)
