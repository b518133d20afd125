"""Typicality: test whether a batch of rows is as probable as samples of the density.

Source: Nalisnick, Matsukawa, Teh, Lakshminarayanan 2019, arXiv:1906.02994.

The mean of -log p(x) over samples of a density p is near its entropy H, and nearer for more
samples. A batch whose mean is far from H is atypical, on either side: rows that are *too* probable
are as suspect as rows that are too improbable. A single row tells little, since -log p varies among
samples of p itself. A batch of other rows with the same mean passes the test.

All functions take log p of rows in nats, from any density.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Generator
from nfref.runtime.checks import as_array, check_count, check_rng


@dataclass(frozen=True)
class TypicalityTest:
    """The result of a test of typicality, batch by batch.

    Attributes
    ----------
    gap : (B,) array
        The distance of the mean of -log p from the entropy, in nats.
    pvalue : (B,) array
        The probability of a gap at least as large among batches of rows that follow the density;
        at least 1 / (draws + 1).
    """

    gap: Array
    pvalue: Array


def typicality_gap(log_prob: Array, training: Array) -> Array:
    """Return | -1/M sum_m log p(x_m) - H | of batches of M rows.

    Parameters
    ----------
    log_prob : (B, M) array
        log p of the rows of B batches, in nats; with M = 1 every row is a batch.
    training : (N,) array
        log p of the rows that the density was fitted to. Minus their mean is the estimate of H.

    Returns
    -------
    (B,) array
        In nats; infinite if a row has density zero.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value.
    """
    return np.abs(_batches(log_prob).mean(axis=1) - np.mean(_finite("training", training)))


def typicality_test(
    log_prob: Array, training: Array, validation: Array, rng: Generator, draws: int = 1000
) -> TypicalityTest:
    """Test by bootstrap whether gaps are larger than those of batches of validation rows.

    It samples K batches of M validation rows with replacement. Their gaps estimate the law of the
    gap for batches that follow the density. As in the paper, only likelihoods of the model are
    needed. Only the introduction of the paper could be read, so details may differ.

    Parameters
    ----------
    log_prob : (B, M) array
        log p of the rows of B batches, in nats.
    training : (N,) array
        log p of the rows that the density was fitted to.
    validation : (V,) array
        log p of other rows of the same law, at least M.
    rng : numpy.random.Generator
    draws : int, default 1000
        K.

    Returns
    -------
    TypicalityTest

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value.
    """
    check_rng(rng)
    check_count("draws", draws)
    gap = typicality_gap(log_prob, training)
    size = np.shape(log_prob)[1]
    validation = _finite("validation", validation)
    if len(validation) < size:
        raise ValueError(
            f"validation: expected at least the {size} rows of a batch, got {len(validation)}"
        )
    means = np.array([rng.choice(validation, size).mean() for _ in range(draws)])
    usual = np.sort(np.abs(means - np.mean(training)))
    as_large = draws - np.searchsorted(usual, gap, side="left")
    return TypicalityTest(gap, (1 + as_large) / (1 + draws))


def _batches(log_prob):
    batches = as_array("log_prob", log_prob)
    if batches.ndim != 2 or not batches.shape[1]:
        raise ValueError(
            f"log_prob: expected shape (B, M) with M at least 1, got {np.shape(log_prob)}"
        )
    if np.isnan(batches).any():
        raise ValueError("log_prob: expected numbers, got NaN")
    return batches


def _finite(name, log_prob):
    values = as_array(name, log_prob)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name}: expected shape (N,) with N at least 1, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return values
