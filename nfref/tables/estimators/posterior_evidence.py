"""The evidence of an unnormalised posterior, by importance sampling."""

from dataclasses import replace

import numpy as np

from nfref.objectives.targets import check_values, log_density
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.checks import check_callable
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import REACH, Wide

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
