"""The flows that the checks examine, at random parameters and rows."""

from functools import cache

import numpy as np

from tests import flow_table
from tests.finite_differences.case import FlowCase, measure
from tests.finite_differences.structure import log_det_kind


def subject_of(flow, seed=0, n=7, entry=None, size=1.0):
    """Return the flow at random parameters of this size and ``n`` rows.

    ``entry`` holds what is known about the flow, an entry of the table of flows.
    """
    rng = np.random.default_rng(seed)
    entry = entry or flow_table.Entry(None)
    data_rows = entry.data_rows or (lambda rng, n, dim: 1.5 * rng.standard_normal((n, dim)))
    z = 1.5 * rng.standard_normal((n, flow.dim))
    x = data_rows(rng, n, flow.dim)
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
        # A log-determinant near zero proves little: try other parameters.
        if measure(log_det_kind, subject).ok:
            break
    return subject


@cache
def from_table(name, dim, context_dim=0, seed=0, size=1.0):
    """Return the subject of an entry of the table of flows.

    Each is made once a process, because a subject keeps the rounding that it measures.
    """
    entry = flow_table.flows()[name]
    return subject_of(entry.make(dim, context_dim), seed, entry=entry, size=size)


def case_id(name, dim, context_dim):
    """Return the name of a case in the output of pytest."""
    return f"{name}-D{dim}{'-context' if context_dim else ''}"
