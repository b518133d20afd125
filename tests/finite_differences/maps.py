"""Checks of the map: round trips, log-determinants, precision and gradients."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp

import nfref
from nfref.runtime import params as trees
from tests.finite_differences import numerics
from tests.finite_differences.case import (
    DIRECTIONS,
    DOUBT,
    ROUNDING,
    Finding,
    facts,
    gravest,
    not_blind,
    worst,
)
from tests.finite_differences.numerics import EPS


def round_trip(subject, direction="forward"):
    """Check that inverse(forward(z)) = z and forward(inverse(x)) = x, up to rounding.

    The value of the first map is off by its rounding response r1. The Jacobian J2 of the second
    map multiplies that error, and the second map adds its own response r2:
    |second - z| <= C (|J2| r1 + r2).
    """
    back = "inverse" if direction == "forward" else "forward"
    findings = []
    for start, other in ((direction, back), (back, direction)):
        rows = subject.rows(start)
        value, _ = subject.run(start)
        returned, _ = subject.run(other, value)
        there = subject.rounding_response(start)[0]
        turned = replace(subject, **{"x" if start == "forward" else "z": value})
        jacobian = turned.jacobian(other)
        tolerance = ROUNDING * (
            np.einsum("nij,nj->ni", np.abs(jacobian), there) + turned.rounding_response(other)[0]
        )
        findings.append(
            worst("round trip", np.abs(returned - rows), tolerance, f"{start} and back")
        )
        findings.append(not_blind("round trip", tolerance, rows))
    return gravest(findings)


def log_det_against_autograd(subject):
    """Compare both log-determinants with slogdet of the Jacobian by autograd."""
    findings = []
    for direction in DIRECTIONS:
        jacobian = subject.jacobian(direction)
        _, log_det = subject.run(direction)
        response = jacobian_response(subject, direction, jacobian)
        tolerance = ROUNDING * (
            numerics.log_det_slack(jacobian, response) + subject.rounding_response(direction)[1]
        )
        findings.append(
            worst(
                "log-det, autograd",
                np.abs(log_det - numerics.log_abs_det(jacobian)),
                tolerance,
                direction,
            )
        )
        findings.append(not_blind("log-det, autograd", tolerance, log_det))
    return gravest(findings)


def jacobian_response(subject, direction, jacobian):
    """Return how far one rounding error in every input moves the entries of the Jacobian."""

    def function(params, rows, context):
        moved = replace(subject, params=params, context=context)
        return (moved.jacobian(direction, rows),)

    return numerics.rounding_response(
        function,
        subject.params,
        subject.rows(direction),
        subject.context,
        subject.precision,
        draws=2,
    )[0]


def log_dets_cancel(subject):
    """Check that log|det dx/dz| + log|det dz/dx| = 0 along a round trip.

    The point of the second log-determinant is off by the response of the first map, and the
    gradient multiplies that error: C (r1 + r2 + |grad| response of the point).
    """
    findings = []
    for start, other in (DIRECTIONS, DIRECTIONS[::-1]):
        value, there = subject.run(start)
        _, back = subject.run(other, value)
        turned = replace(subject, **{"x" if start == "forward" else "z": value})
        point_response, response_there = subject.rounding_response(start)
        tolerance = ROUNDING * (
            response_there
            + turned.rounding_response(other)[1]
            + np.sum(np.abs(turned.slope(other)) * point_response, axis=1)
        )
        findings.append(
            worst("log-dets cancel", np.abs(there + back), tolerance, f"{start} and back")
        )
    return gravest(findings)


def single_precision(subject):
    """Check that float32 gives the float64 result at the same numbers, up to float32 rounding."""
    findings = []
    single = np.dtype(np.float32)
    params = trees.cast(subject.params, single)
    context = None if subject.context is None else subject.context.astype(single)
    for direction in DIRECTIONS:
        rows = subject.rows(direction).astype(single)
        got = subject.run(direction, rows, params, context)
        exact = replace(
            subject,
            params=trees.cast(params, np.dtype(float)),
            context=None if context is None else context.astype(float),
            precision=max(subject.precision, float(np.finfo(single).eps)),
            **{"z" if direction == "forward" else "x": rows.astype(float)},
        )
        for part, a, b, response in zip(
            ("value", "log_det"), got, exact.run(direction), exact.rounding_response(direction)
        ):
            findings.append(
                worst("float32", np.abs(a - b), ROUNDING * response, f"{direction} {part}")
            )
    return gravest(findings)


def extreme_inputs(subject):
    """Check that rows from the origin to the flow's reach have finite images and come back."""
    rng = np.random.default_rng(subject.seed + 1)
    n, dim = subject.z.shape
    signs = rng.choice((-1.0, 1.0), (n, dim))
    z = signs * subject.reach * np.linspace(0, 1, n)[:, None] ** 2
    with np.errstate(all="raise", under="ignore"):
        x, log_det = subject.run("forward", z)
    far = replace(subject, z=z, x=x)
    finite = facts(
        "extreme inputs",
        [
            (np.all(np.isfinite(part)), f"not finite at |z| <= {subject.reach}")
            for part in (x, log_det)
        ],
    )
    if not finite.ok:
        return finite
    returned, back = far.run("inverse", x)
    jacobian = far.jacobian("inverse")
    point_response, log_det_response = far.rounding_response("forward")
    there, there_log_det = far.rounding_response("inverse")
    tolerance = ROUNDING * (np.einsum("nij,nj->ni", np.abs(jacobian), point_response) + there)
    cancels = ROUNDING * (
        log_det_response
        + there_log_det
        + np.sum(np.abs(far.slope("inverse")) * point_response, axis=1)
    )
    return gravest(
        [
            worst("extreme inputs", np.abs(returned - z), tolerance, "round trip"),
            worst("extreme inputs", np.abs(log_det + back), cancels, "log-dets"),
        ]
    )


def directions(count, together, rng):
    """Return directions (count, K) that move the parameters one by one, or in groups.

    Every parameter is in two groups of at most ``together``, with a random sign in each. So an
    error in one derivative shows in full. Two errors that cancel in one group are in different
    groups the second time, or have other signs.
    """
    if together == 1:
        return np.eye(count)
    columns = []
    for _ in range(2):
        signs, order = rng.choice((-1.0, 1.0), count), rng.permutation(count)
        for group in np.array_split(order, -(-count // together)):
            columns.append(np.zeros(count))
            columns[-1][group] = signs[group]
    return np.stack(columns, axis=1)


def gradients(subject, rows=2, together=1):
    """Check the gradients by all parameters: of mean log_prob, both log-dets and both values.

    Fixed random weights of the rows prevent that errors of two rows cancel. The differences move
    the parameters in groups of at most ``together``.
    """
    vector, unflatten = trees.flatten(subject.params)
    if not len(vector):
        return Finding("parameter gradients", 0.0, 0.0, "no parameters")
    context = None if subject.context is None else subject.context[:rows]
    base = nfref.StandardNormal(subject.flow.dim)
    weights = np.random.default_rng(subject.seed + 2).uniform(0.5, 1.5, (rows, subject.flow.dim))

    def quantities(vector):
        params = unflatten(vector)
        x, there = subject.flow.forward(params, subject.z[:rows], context)
        z, back = subject.flow.inverse(params, subject.x[:rows], context)
        log_prob = anp.mean(base.log_prob({}, z) + back)
        return anp.stack(
            [
                log_prob,
                anp.sum(weights[:, 0] * there),
                anp.sum(weights[:, 0] * back),
                anp.sum(weights * x),
                anp.sum(weights * z),
            ]
        )

    names = ("mean log_prob", "log-det of forward", "log-det of inverse", "x", "z")
    # The responses to one rounding error, without the error that the flow itself claims.
    share = EPS / subject.precision
    (x_moves, there_moves), (z_moves, back_moves) = (
        [share * np.sum(response[:rows]) for response in subject.rounding_response(direction)]
        for direction in ("forward", "inverse")
    )
    rounding = np.array([z_moves + back_moves, there_moves, back_moves, x_moves, z_moves])
    moved = directions(len(vector), together, np.random.default_rng(subject.seed + 3))
    numeric, error = numerics.numerical_gradient(  # a move of a group is as long as that of one
        lambda steps: quantities(vector + moved @ steps),
        np.zeros(moved.shape[1]),
        rounding,
        largest=2.0**-9 / np.sqrt(together),
    )
    vjp, _ = make_vjp(quantities)(vector)
    findings = []
    for k, name in enumerate(names):
        analytic = vjp(np.eye(len(names))[k]) @ moved
        tolerance = DOUBT * error[k] + 1e2 * subject.precision * (1 + np.abs(analytic))
        findings.append(
            worst(
                "parameter gradients", np.abs(analytic - numeric[k]), tolerance, name, "parameter"
            )
        )
        findings.append(not_blind("parameter gradients", tolerance, analytic))
    return gravest(findings)
