"""The first flow of a plan, before any row is looked at: its parameters, and its kernels."""

from contextlib import suppress

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Sequence
from nfref.tables.densities.encoder import coded_columns, feature_count, places_of
from nfref.tables.fitting.flow_search import FLOW_ROWS
from nfref.tables.fitting.flow_training import compile_ahead, density_of
from nfref.tables.fitting.folds import UnitRows, fold_numbers, make_folds
from nfref.tables.fitting.plan import Plan

ROWS_TO_COMPILE_FOR = 20_000  # beyond, a few seconds sooner make no difference


def parameters_of_a_flow(
    plan: Plan, columns: Sequence[Any], rows: int, given: Sequence[str] = ()
) -> int:
    """Count the parameters of the first flow of a plan in all folds; 0 if it has no flow.

    Raises
    ------
    ValueError
        If the flow cannot be made for these columns, or a plan of flows alone has no column for
        them.
    """
    dim, context_dim = _dims_of_flows(columns, given)
    if plan.kinds and not dim and not plan.simple:
        raise ValueError(
            f"flow {plan.kinds[0].name}: expected a column of real numbers, got "
            "categories and counts alone"
        )
    if not (plan.kinds and dim):
        return 0
    rng = np.random.default_rng(0)
    density = density_of(plan.kinds[0], rows, dim, context_dim, rng)
    return trees.count(density.init(rng)) * (int(np.max(fold_numbers(rows, 0.1, plan))) + 1)


def compile_kernels(plan: Plan, columns: Sequence[Any], rows: int, given: Sequence[str]) -> None:
    """Start to compile the kernels of a fit, if they are missing."""
    dim, context_dim = _dims_of_flows(columns, given)
    if plan.kinds and dim and FLOW_ROWS <= rows <= ROWS_TO_COMPILE_FOR:
        u, context = np.zeros((rows, dim)), np.zeros((rows, context_dim)) if context_dim else None
        folds = make_folds(UnitRows(u, context), fold_numbers(rows, 0.1, plan))
        with suppress(ValueError):  # the fit itself says so
            compile_ahead(folds[0], plan)


def _dims_of_flows(columns, given):
    """Return how many columns flows have, and how many numbers are their context."""
    return len(places_of(columns, given)[1]), feature_count(coded_columns(columns, given))
