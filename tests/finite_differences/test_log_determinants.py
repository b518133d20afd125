"""Every flow's log-determinants against finite differences of its map.

The comparison needs no calculus. It moves each coordinate of a row z by small steps h, sees how
far x = forward(z) moves, and so measures the Jacobian:

    J_ij  =  (x_i(z + h e_j) - x_i(z - h e_j)) / 2h  +  O(h^2),    log_det  =  log|det J|.

Richardson's extrapolation of nine steps h removes the O(h^2) and estimates what error is left.
``inverse`` is compared in the same way. The parameters are random, so no flow is the identity. ::

    python -m pytest tests/finite_differences/test_log_determinants.py
"""

import numpy as np
import pytest

from tests import flow_table
from tests.finite_differences import numerics
from tests.finite_differences.case import DIRECTIONS, DOUBT, ROUNDING, gravest, not_blind, worst
from tests.finite_differences.subjects import case_id, from_table


def pytest_generate_tests(metafunc):
    """Compare every flow of the table at every size, without and with a context.

    The plain run leaves out the sizes between others.
    """
    table = flow_table.flows()
    cases = [
        pytest.param(
            *case,
            id=case_id(*case),
            marks=pytest.mark.thorough if flow_table.shows_least(table[case[0]], *case[1:]) else (),
        )
        for case in flow_table.cases()
    ]
    metafunc.parametrize("name, dim, context_dim", cases)


def test_log_determinant(name, dim, context_dim):
    finding = log_det_against_differences(from_table(name, dim, context_dim))
    assert finding.ok, finding


def log_det_against_differences(subject):
    """Compare both log-determinants with log|det J|, J by Richardson's extrapolation."""
    findings = []
    for direction in DIRECTIONS:
        value_response, log_det_response = subject.rounding_response(direction)
        jacobian, error = numerics.numerical_jacobian(
            subject.repeated(direction, 0),
            subject.rows(direction),
            # One batch holds all steps, so a solver's error is smooth; rounding alone is noise.
            value_response * (numerics.EPS / subject.precision),
        )
        _, log_det = subject.run(direction)
        _, expected = np.linalg.slogdet(jacobian)
        tolerance = DOUBT * numerics.log_det_slack(jacobian, error) + ROUNDING * log_det_response
        difference = np.abs(log_det - expected)
        findings.append(worst("log-det, differences", difference, tolerance, direction))
        findings.append(not_blind("log-det, differences", tolerance, log_det))
    return gravest(findings)
