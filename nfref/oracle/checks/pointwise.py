"""Properties of a flow at single points: precision and orientation."""

from dataclasses import replace

import numpy as np

from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Any, Callable


def verdict(name: str, error: Any, tolerance: Any, why: str, describe: Callable[..., str]) -> Row:
    """Return a row from (P,) or (P, K) errors and tolerances; NaN counts as infinite.

    ``describe(p)`` returns the message for point p.
    """
    error = np.where(np.isnan(error), np.inf, error)
    excess = error / np.maximum(tolerance, 1e-300)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if excess[worst] > 1:
        return failed(name, why, describe(worst[0]), float(error[worst]), float(tolerance[worst]))
    return passed(name, why, float(error[worst]), float(tolerance[worst]))


# An error above the tolerance, and below so many times the accuracy that was named, is the
# amplified error of a root search, or one more mistake.
AMPLIFIED = 1e3


def or_iterative(row: Row, accuracy: float = 0.0) -> Row:
    """Return the row; if it failed by little, inconclusive or with a hint on iterative inverses.

    It is inconclusive if the subject is known to be accurate to ``accuracy`` only.
    """
    if row.failed and row.error is not None and row.error < AMPLIFIED * accuracy:
        return inconclusive(
            row.name, f"at accuracy {accuracy:.0e}: {row.why}", row.where, row.error, row.tolerance
        )
    if row.failed and row.error is not None and 1e-13 < row.error < 1e-3:
        return replace(
            row,
            hint=f"errors near {row.error:.0e}, as from an inverse found by iteration: "
            f"if it is intended, pass accuracy={10 * row.error:.0e}",
        )
    return row


def keeps_orientation(name: str, measured: Measurement, round_trip_holds: bool) -> Row:
    """Check that the determinant has one sign.

    A continuous map whose determinant changes sign folds space. In one dimension this is
    monotonicity.
    """
    resolved = measured.resolved
    if np.sum(resolved) < 2:
        return not_applicable(name, "too few points that can be differentiated")
    signs = measured.determinants.sign[resolved]
    positive, negative = int(np.sum(signs > 0)), int(np.sum(signs < 0))
    if not positive or not negative:
        return passed(name, f"det has one sign at all {len(signs)} resolved points")
    rare = 1 if positive < negative else -1
    p = np.flatnonzero(resolved & (measured.determinants.sign == rare))[0]
    text = f"the determinant is positive at {positive} points and negative at {negative}"
    if round_trip_holds:
        return passed(name, f"{text}; the round trips hold, so the map is in pieces")
    return failed(
        name,
        "a continuous map with determinants of both signs is not invertible",
        f"{text}: the map folds, for example {measured.subject.name} at "
        f"{show(measured.probes.rows[p])}",
    )
