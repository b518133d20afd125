"""Checks of a posterior: its evidence by importance sampling, and its calibration.

Calibration is about the ranks of true parameters, and the coverage of regions.
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.diagnostics.calibration import rank_uniformity
from nfref.objectives.targets import check_values, log_density
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import check_callable
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import REACH, Wide

LEVELS = np.arange(1, 10) / 10
INSURANCE = 0.1  # weight of the wide member in the proposal of importance sampling


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


def target_values(function: Callable[[Array], Any], rows: Array, name: str = "log_target") -> Array:
    """Return the values of the user's function at rows, (N,), checked."""
    check_callable(name, function)
    found = np.asarray(log_density(function, rows, name), np.float64)
    check_values(rows, found, name)
    return found


@dataclass(frozen=True)
class Calibration:
    """The ranks of true parameters, and the coverage of regions (Talts et al. 2018).

    Attributes
    ----------
    names : tuple of str
        The parameters, and "log-density" last.
    ranks : (M, D + 1) array of int
        The rank of each true value among the samples, and last that of its log-density.
    draws : int
        The number of samples, L.
    p_values : (D + 1,) array
        The p-values of a test that the ranks are uniform on 0 ... L.
    coverage : (9,) array
        The share of true parameters within the regions of highest density of ``levels``.
    levels : (9,) array
        0.1, 0.2, ... 0.9: what the coverage should be.
    error : (9,) array
        The standard error of the coverage if it is right.
    """

    names: tuple
    ranks: Array
    draws: int
    p_values: Array
    coverage: Array
    levels: Array
    error: Array

    @classmethod
    def of(cls, names: Sequence[str], ranks: Array, draws: int) -> "Calibration":
        """Return the calibration of ranks, those of the log-density last."""
        tests = rank_uniformity(ranks, draws, bins=10)
        # the mass of the region of higher density, uniform if the posterior is right
        mass = 1 - (ranks[:, -1] + 0.5) / (draws + 1)
        coverage = np.mean(mass[:, None] <= LEVELS, axis=0)
        error = np.sqrt(LEVELS * (1 - LEVELS) / len(ranks))
        return cls(
            (*names, "log-density"), ranks, draws, tests.pvalue, coverage, LEVELS.copy(), error
        )

    @property
    def pit(self) -> Array:
        """The probability integral transform of each parameter, (M, D), from the ranks."""
        return (self.ranks[:, :-1] + 0.5) / (self.draws + 1)

    def __str__(self) -> str:
        lines = [f"ranks of {len(self.ranks)} simulations among {self.draws} samples"]
        lines += [
            f"  {name:24} p = {p:.3g}{'   not uniform' if p < 0.01 / len(self.names) else ''}"
            for name, p in zip(self.names, self.p_values)
        ]
        lines.append("coverage of the regions of highest density")
        lines += [
            f"  {level:.0%} {share:7.1%} +- {error:.1%}"
            for level, share, error in zip(self.levels, self.coverage, self.error)
        ]
        return "\n".join(lines)
