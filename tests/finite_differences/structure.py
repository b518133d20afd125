"""Checks of dependence: zeros of the Jacobian, rows, context, and the kind of log-det."""

import numpy as np

from tests.finite_differences import numerics
from tests.finite_differences.case import DIRECTIONS, ROUNDING, Finding, facts, gravest, worst
from tests.finite_differences.numerics import EPS


def sparsity(subject):
    """Check that the Jacobian is exactly zero where the entry claims it, and nowhere else."""
    if subject.pattern is None:
        return Finding("Jacobian sparsity", 0.0, 0.0, "no zeros claimed")
    findings = []
    for direction in DIRECTIONS:
        rows = subject.rows(direction)
        jacobian = subject.jacobian(direction)
        exact = np.zeros((len(rows), subject.flow.dim))
        numeric, _ = numerics.numerical_jacobian(
            subject.repeated(direction, 0), rows, exact, count=2
        )
        for how, matrix in (("autograd", jacobian), ("differences", numeric)):
            outside = np.max(np.abs(matrix * ~subject.pattern), initial=0.0)
            findings.append(
                Finding(
                    "Jacobian sparsity",
                    float(outside),
                    0.0,
                    f"{direction}, {how}: an entry that must be zero",
                )
            )
            silent = subject.pattern & np.all(matrix == 0, axis=0)
            findings.append(
                Finding(
                    "Jacobian sparsity",
                    float(np.sum(silent)),
                    0.0,
                    f"{direction}, {how}: entries that are zero in every row",
                )
            )
    return gravest(findings)


def rows_independent(subject):
    """Check that the result of a row depends on that row and its context alone.

    It has the same bits when the other rows change, because a batch of the same shape takes the
    same operations. For a single row BLAS may use another kernel (matrix-vector instead of
    matrix-matrix), which adds in another order. There it is equal up to rounding, that of the row
    that rounds most: the knots of a spline have errors in units of its bound, also where the value
    is near zero and responds little.
    """
    findings = []
    for direction in DIRECTIONS:
        rows, context = subject.rows(direction), subject.context
        whole = subject.run(direction)
        response = subject.rounding_response(direction)
        n = len(rows)
        exact = subject.precision == EPS
        for i in range(n):
            mixed = np.roll(rows, 1, axis=0)
            mixed[i] = rows[i]
            other = subject.run(direction, mixed)
            single = getattr(subject.flow, direction)(
                subject.params, rows[i : i + 1], None if context is None else context[i : i + 1]
            )
            for part in (0, 1):
                findings.append(
                    worst(
                        "rows independent",
                        np.abs(other[part][i] - whole[part][i]),
                        0.0 if exact else ROUNDING * response[part][i],
                        f"{direction}: row {i} when others change",
                    )
                )
                findings.append(
                    worst(
                        "rows independent",
                        np.abs(single[part][0] - whole[part][i]),
                        ROUNDING * np.max(response[part], axis=0),
                        f"{direction}: row {i} alone",
                    )
                )
    return gravest(findings)


def context_matters(subject):
    """Check that every context feature moves every coordinate of its row, and no other row."""
    if subject.context is None:
        return Finding("context", 0.0, 0.0, "none")
    statements = []
    varies = subject.log_det == "varies"
    ignores_context = subject.ignores_context
    if ignores_context is None:
        ignores_context = np.zeros(subject.flow.dim, bool)
    for direction in DIRECTIONS:
        whole = subject.run(direction)
        for feature in range(subject.context.shape[1]):
            reached = np.zeros(subject.flow.dim, bool)
            for i in range(len(subject.context)):
                context = subject.context.copy()
                context[i, feature] += 0.5
                moved = subject.run(direction, context=context)
                others = np.arange(len(context)) != i
                same = [
                    np.allclose(a[others], b[others], rtol=0, atol=ROUNDING * np.max(response))
                    if subject.precision > EPS
                    else np.array_equal(a[others], b[others])
                    for a, b, response in zip(whole, moved, subject.rounding_response(direction))
                ]
                what = f"{direction}: context[{i}, {feature}]"
                statements += [
                    (np.any(whole[0][i] != moved[0][i]), f"{what} has no effect"),
                    (
                        not varies or abs(whole[1][i] - moved[1][i]) > 1e-10,
                        f"{what} has no effect on the log-det",
                    ),
                    (all(same), f"{what} moves other rows"),
                ]
                reached |= whole[0][i] != moved[0][i]
            statements.append(
                (
                    np.array_equal(reached, ~ignores_context),
                    f"{direction}: feature {feature} moves coordinates {np.flatnonzero(reached)}",
                )
            )
    return facts("context", statements)


def log_det_kind(subject):
    """Check that the log-determinant is exactly zero where it must be, and far from zero elsewhere.

    At zero the other checks of log-determinants would detect little.
    """
    statements = []
    for direction in DIRECTIONS:
        _, log_det = subject.run(direction)
        size, spread = np.max(np.abs(log_det)), np.ptp(log_det)
        if subject.log_det == "zero":
            statements.append((size == 0, f"{direction}: {size} where zero is exact"))
            continue
        statements.append((size > 0.1, f"{direction}: at most {size:.3g}, too near zero"))
        if subject.log_det == "varies":
            statements.append((spread > 0.05, f"{direction}: spread over rows of {spread:.3g}"))
    return facts("log-det not zero", statements)
