"""The contract of flows, as plain functions that measure how well a flow keeps it.

A :class:`~tests.finite_differences.case.FlowCase` is a flow at given parameters and rows. A check
takes one and returns a :class:`~tests.finite_differences.case.Finding`: the largest error, and the
tolerance at that place. ``examine`` runs all checks. No check knows the formula of any flow.

``test_log_determinants.py`` compares every flow with finite differences. ``contract.py`` makes the
tests of the whole contract; each module below ``tests/flows`` collects them for its own flows.
``test_faulty_flows.py`` checks the checks. ``python -m tests.finite_differences`` prints the
largest errors of each flow.
"""

from tests.finite_differences.case import measure
from tests.finite_differences.entry import array_kinds, entry_errors, purity, shapes_and_dtypes
from tests.finite_differences.maps import (
    extreme_inputs,
    gradients,
    log_det_against_autograd,
    log_dets_cancel,
    round_trip,
    single_precision,
)
from tests.finite_differences.structure import (
    context_matters,
    log_det_kind,
    rows_independent,
    sparsity,
)
from tests.finite_differences.subjects import from_table, subject_of
from tests.finite_differences.test_log_determinants import log_det_against_differences

__all__ = ["CHECKS", "examine", "from_table", "gradients_in_groups", "measure", "subject_of"]


def gradients_in_groups(subject):
    """Check the gradients of up to 64 parameters at a time."""
    return gradients(subject, together=64)


# The gradients, one call a parameter, are checked at fewer sizes than the others.
CHECKS = (
    shapes_and_dtypes,
    array_kinds,
    entry_errors,
    purity,
    round_trip,
    log_det_against_differences,
    log_det_against_autograd,
    log_dets_cancel,
    single_precision,
    extreme_inputs,
    sparsity,
    rows_independent,
    context_matters,
    log_det_kind,
)


def examine(subject, checks=(*CHECKS, gradients_in_groups)):
    """Return the findings of all checks on a subject, in their order."""
    return [measure(check, subject) for check in checks]
