"""The contract: what every flow promises, as plain functions that measure how well it is kept.

A :class:`~tests.finite_differences.case.FlowCase` is a flow at given parameters and rows. Each
check takes a subject and returns a :class:`~tests.finite_differences.case.Finding`: the largest
error it met and the tolerance at that place. ``examine`` runs them all. No check knows how any flow
works.

``python -m tests.finite_differences`` prints the largest errors per flow as a table; so does
``pytest -s tests/finite_differences/test_contract.py -k table``.
"""

from functools import cache

import numpy as np

from tests import flow_table
from tests.finite_differences.case import Finding, FlowCase, gravest
from tests.finite_differences.entry import array_kinds, entry_errors, purity, shapes_and_dtypes
from tests.finite_differences.maps import (
    extreme_inputs,
    gradients,
    log_det_against_autograd,
    log_det_against_differences,
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
    gradients,
)


def measure(check, subject):
    """The check's finding; an exception is a finding too."""
    try:
        return check(subject)
    except Exception as error:
        name = check.__doc__.split("\n")[0]
        return Finding(check.__name__, np.inf, 0.0, f"{type(error).__name__}: {error} ({name})")


def examine(subject, checks=CHECKS):
    """All findings on a subject, in the order of ``CHECKS``."""
    return [measure(check, subject) for check in checks]


def subject_of(flow, seed=0, n=7, entry=None, size=1.0):
    """A flow at random parameters (of this size) and rows; ``entry`` says what is known of it."""
    rng = np.random.default_rng(seed)
    entry = entry or flow_table.Entry(None)
    draw = entry.data_rows or (lambda rng, n, dim: 1.5 * rng.standard_normal((n, dim)))
    z = 1.5 * rng.standard_normal((n, flow.dim))
    x = draw(rng, n, flow.dim)
    context = rng.standard_normal((n, flow.context_dim)) if flow.context_dim else None
    for _ in range(20):
        subject = FlowCase(
            flow,
            flow_table.random_params(flow, rng, size),
            z,
            x,
            context,
            entry.kind(flow.dim, flow.context_dim),
            None if entry.pattern is None else entry.pattern(flow),
            None if entry.ignores_context is None else entry.ignores_context(flow),
            entry.precision,
            entry.reach,
            seed,
        )
        # Log-determinants that happen to be near zero prove little: draw again.
        if measure(log_det_kind, subject).ok:
            break
    return subject


@cache
def from_table(name, dim, context_dim=0, seed=0, size=1.0):
    """The subject of one line of the table of flows; made once, so that what it measures is too."""
    entry = flow_table.flows()[name]
    return subject_of(entry.make(dim, context_dim), seed, entry=entry, size=size)


def error_table(dims=None, seeds=(0,)):
    """The largest errors per flow, as text: error, and error / tolerance in brackets."""
    columns = (
        round_trip,
        log_det_against_differences,
        log_det_against_autograd,
        log_dets_cancel,
        single_precision,
        rows_independent,
    )
    heads = ("round trip", "log-det FD", "log-det AD", "cancel", "float32", "row alone")
    lines = [f"{'largest contract errors':<24}" + "".join(f"{head:>17}" for head in heads)]
    for name in flow_table.flows():
        subjects = [
            from_table(*case, seed=seed)
            for seed in seeds
            for case in flow_table.cases([name], dims)
        ]
        cells = []
        for check in columns if subjects else ():
            finding = gravest([measure(check, subject) for subject in subjects])
            cells.append(f"{finding.error:>10.1e} ({finding.share:.2f})")
        if cells:
            lines.append(f"{name:<24}" + "".join(cells))
    return "\n".join(lines)
