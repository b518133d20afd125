"""The contract rejects every faulty flow, and accepts its sound sibling."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from autograd.extend import defvjp, primitive

import nfref
from tests import finite_differences, flow_table
from tests.finite_differences import case as measured
from tests.finite_differences import faulty_flows

FAULTS = [pytest.param(*faulty, id=type(faulty[0]).__name__) for faulty in faulty_flows.FAULTY]


def entry_for(flow):
    """Return the entry with the known facts about a faulty flow."""
    if isinstance(flow, nfref.Logit):
        return flow_table.Entry(
            None,
            reach=14.0,
            data_rows=lambda rng, n, dim: rng.uniform(
                np.array(flow.lower) + 0.2, np.array(flow.upper) - 0.2, (n, dim)
            ),
        )
    if isinstance(flow, nfref.MADE):
        return flow_table.Entry(None, pattern=flow_table.triangular)
    constant = (nfref.ElementwiseAffine, nfref.Scale, nfref.BatchNorm, faulty_flows.Convolution)
    return flow_table.Entry(None, log_det="constant" if isinstance(flow, constant) else "varies")


def subject(flow):
    return finite_differences.subject_of(flow, seed=5, entry=entry_for(flow))


@pytest.mark.parametrize("fault, sound, check", FAULTS)
def test_fault_is_rejected_and_sibling_accepted(fault, sound, check):
    (named,) = (one for one in finite_differences.CHECKS if one.__name__ == check)
    assert not finite_differences.measure(named, subject(fault)).ok
    for finding in examined(sound):
        assert finding.ok, finding


@cache
def examined(flow):
    """Return all findings on a sound flow, once for all faults of it."""

    def grouped(subject):
        return finite_differences.gradients(subject, together=64)

    return finite_differences.examine(
        subject(flow),
        (
            *(
                check
                for check in finite_differences.CHECKS
                if check is not finite_differences.gradients
            ),
            grouped,
        ),
    )


@pytest.mark.parametrize(
    "factor",
    [-1, 0, 1.000001, *(pytest.param(factor, marks=pytest.mark.thorough) for factor in (-3, 7, 5))],
)
@pytest.mark.parametrize("name", ["PlanarLayer", "NICE", "RealNVP", "MAF", "IAF", "Logit"])
def test_scaled_log_det_is_rejected(name, factor):
    """Any factor is rejected: the value of the log-determinant is compared, not only its sign."""
    entry = flow_table.flows()[name]
    flow = faulty_flows.Times(entry.make(3, 0), float(factor))
    findings = [
        finite_differences.measure(check, finite_differences.subject_of(flow, entry=entry))
        for check in (
            finite_differences.log_det_against_differences,
            finite_differences.log_det_against_autograd,
        )
    ]
    assert not any(finding.ok for finding in findings), findings


def test_an_exception_is_a_finding():
    class Raises(nfref.Scale):
        def _forward(self, params, z, context):
            raise OverflowError("on purpose")

    sound = subject(nfref.Scale(2))
    finding = finite_differences.measure(
        finite_differences.round_trip, replace(sound, flow=Raises(2))
    )
    assert not finding.ok and "OverflowError: on purpose" in str(finding)


def test_a_check_that_would_accept_anything_fails():
    """A tolerance wider than BLIND is a broken finding, even around a perfect value."""
    assert measured.not_blind("some check", np.array([1e-9]), np.array([1.0])).ok
    assert not measured.not_blind("some check", np.array([1e-2]), np.array([1.0])).ok
    assert not measured.not_blind("some check", np.array([np.nan]), np.array([1.0])).ok
    assert not measured.worst("some check", np.array([0.0, np.nan]), 1.0).ok


@primitive
def halved_in_one_derivative(vector):
    return vector + 0.0


defvjp(
    halved_in_one_derivative,
    lambda value, vector: lambda g: g * np.where(np.arange(len(g)) == 2, 0.5, 1.0),
)


@pytest.mark.parametrize("together", [1, 64])
def test_one_wrong_derivative_among_many_is_found(together):
    """It is found when parameters move one by one, and in groups."""

    class Wrong(nfref.PlanarLayer):
        def constrained(self, params, context):
            return super().constrained(
                {**params, "u": halved_in_one_derivative(params["u"])}, context
            )

    case = subject(nfref.PlanarLayer(8))
    assert finite_differences.gradients(case, together=together).ok
    finding = finite_differences.gradients(replace(case, flow=Wrong(8)), together=together)
    assert not finding.ok, finding
