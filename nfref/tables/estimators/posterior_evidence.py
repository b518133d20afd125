"""The evidence of an unnormalised posterior, by densities that were fitted to samples of it."""

from dataclasses import replace

import numpy as np

from nfref.diagnostics import evidence
from nfref.diagnostics.evidence import Evidence
from nfref.objectives.targets import check_values, log_density
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_callable
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import REACH, Wide
from nfref.tables.estimators.posterior_fit import fit_density
from nfref.tables.files.posterior_record import PosteriorRecord

INSURANCE = 0.1  # weight of the wide member in the proposal of importance sampling
OUTSIDE = 0.1  # mass of the density outside of the region of the harmonic mean
REGION_DRAWS = 2**14  # samples that find the region
# Two halves that judge each other's density share a part of their errors: the variance of their
# mean is 1 to 2 times that of independent halves, 1.1 to 1.4 times over 120 chains of a Gaussian.
SHARED = 1.5


def with_insurance(density: TableDensity) -> TableDensity:
    """Return a density with a wide member, which bounds importance weights."""
    pool, width = density.pool, len(density.coded_columns)
    assert pool is not None
    wide: Any = Wide(len(density.places[1]), reach=REACH)
    if width:
        wide = Regressed(wide, np.zeros((width, wide.dim)))
    weights = np.append((1 - INSURANCE) * pool.weights, INSURANCE)
    insured = Pool((*pool.members, wide), weights, (*pool.names, "insurance"))
    return replace(density, pool=insured)


def by_halves(
    names: Sequence[str],
    record: PosteriorRecord,
    log_target: Callable[[Array], Any] | None,
    draws: int,
    rng: Generator,
) -> Evidence:
    """Return the evidence from samples and densities that were fitted to other samples.

    Each half of the blocks, or of independent samples, is judged by a density of the other half:
    by bridge sampling with ``draws`` if there is a ``log_target``, else by the harmonic mean.
    """
    rows, log_posterior, block = record.samples, record.log_posterior, record.block
    half = rng.permutation(len(rows)) % 2 if block is None else block % 2
    if record.weights is not None:
        # The estimates are means over samples of equal weight. Copies stay in their half.
        shares = record.weights / np.sum(record.weights)
        places = np.sort(rng.choice(len(rows), int(record.effective), p=shares))
        rows, log_posterior, half = rows[places], log_posterior[places], half[places]
    ratios, at_draws = np.full(len(rows), -np.inf), []
    for k in (0, 1):
        others = half != k
        fitted = fit_density(
            record.options, names, rows[others], block=None if block is None else block[others]
        ).density
        own = np.flatnonzero(half == k)
        log_q = fitted.log_prob(list(rows[own].T))
        if log_target is None:
            least = _least_within(fitted, rng)
            within = np.where(log_q > least, log_q - np.log1p(-OUTSIDE), -np.inf)
            ratios[own] = within - log_posterior[own]
        else:
            drawn = fitted.sample(rng, draws // 2)
            at_draws.append(
                target_values(log_target, np.stack(drawn, axis=1)) - fitted.log_prob(drawn)
            )
            ratios[own] = log_posterior[own] - log_q
    label = np.arange(len(rows)) * max(record.chains, 1) // len(rows)
    of_region = 0.0
    if log_target is not None:
        found = evidence.bridge_sampling(ratios, np.concatenate(at_draws), chains=label)
    else:
        found = evidence.harmonic_mean(ratios, label)
        of_region = np.sqrt(OUTSIDE / (1 - OUTSIDE) / (2 * REGION_DRAWS))
    return replace(found, error=float(np.hypot(np.sqrt(SHARED) * found.error, of_region)))


def _least_within(density, rng):
    """Return the log-density above which a region holds 90 % of the mass.

    There q / p~ has no tail: q is not much larger than p where p itself is not small.
    """
    drawn = np.sort(density.log_prob(density.sample(rng, REGION_DRAWS)))
    return drawn[int(OUTSIDE * len(drawn))]


def target_values(function: Callable[[Array], Any], rows: Array, name: str = "log_target") -> Array:
    """Return the values of the user's function at rows, (N,), checked."""
    check_callable(name, function)
    found = np.asarray(log_density(function, rows, name), np.float64)
    check_values(rows, found, name)
    return found
