"""A flow under examination, and the finding of a check.

Tolerances are measured. ``numerics.rounding_response`` measures how far a result moves when every
input moves by one rounding error. A computation that rounds at every step may be off by
``ROUNDING`` times that. A numerical derivative may be off by ``DOUBT`` times its own error
estimate. A tolerance above ``BLIND`` is a failure, because that check would accept anything.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_vjp

import nfref
from tests.finite_differences import numerics
from tests.finite_differences.numerics import EPS

ROUNDING = 16.0  # rounding errors of a computation, in units of the measured response to one
DOUBT = 4.0  # errors of an extrapolation, in units of its own estimate
BLIND = 1e-4  # largest tolerance of a float64 comparison, relative to 1 + |value|
DIRECTIONS = ("forward", "inverse")


@dataclass(frozen=True)
class Finding:
    """The result of a check: ``error`` and ``tolerance`` at the worst place."""

    check: str
    error: float
    tolerance: float
    detail: str = ""

    @property
    def ok(self):
        return bool(self.error <= self.tolerance)  # False for NaN

    @property
    def share(self):
        """The error in units of the tolerance; infinite if the check fails."""
        if not self.ok:
            return np.inf
        return self.error / self.tolerance if self.error else 0.0

    def __str__(self):
        verdict = "ok" if self.ok else "BROKEN"
        return (
            f"{self.check}: {verdict}, error {self.error:.3g}, tolerance {self.tolerance:.3g}"
            f"{', ' if self.detail else ''}{self.detail}"
        )


@dataclass(frozen=True)
class FlowCase:
    """A flow at given parameters and rows, and the facts that its entry in the table states."""

    flow: nfref.Flow
    params: object
    z: np.ndarray
    x: np.ndarray
    context: np.ndarray = None
    log_det: str = "varies"
    pattern: np.ndarray = None
    ignores_context: np.ndarray = None
    precision: float = EPS
    reach: float = 1e3
    seed: int = 0

    def rows(self, direction):
        return self.z if direction == "forward" else self.x

    def run(self, direction, rows=None, params=None, context=None):
        rows = self.rows(direction) if rows is None else rows
        params = self.params if params is None else params
        context = self.context if context is None else context
        return getattr(self.flow, direction)(params, rows, context)

    def repeated(self, direction, part):
        """Return the function (rows, repeats) -> (M, E) that ``numerical_jacobian`` takes."""

        def function(rows, repeats):
            context = None if self.context is None else np.repeat(self.context, repeats, axis=0)
            return getattr(self.flow, direction)(self.params, rows, context)[part]

        return function

    @cached_property
    def _responses(self):
        return {}

    def rounding_response(self, direction):
        """Return the measured rounding of (value, log_det) at the rows of this subject."""
        if direction not in self._responses:

            def function(params, rows, context):
                return getattr(self.flow, direction)(params, rows, context)

            self._responses[direction] = numerics.rounding_response(
                function, self.params, self.rows(direction), self.context, self.precision
            )
        return self._responses[direction]

    def slope(self, direction):
        """Return the gradient (N, D) of each row's log-determinant with respect to that row."""

        def total(rows):  # 0 * rows keeps a constant log-det differentiable
            return anp.sum(self.run(direction, rows)[1]) + anp.sum(0 * rows)

        return grad(total)(self.rows(direction))

    def jacobian(self, direction, rows=None):
        """Return the Jacobians (N, E, D) by one backward pass over E copies of every row."""
        rows = self.rows(direction) if rows is None else rows
        outputs = (self.x if direction == "forward" else self.z).shape[1]
        function, copies = self.repeated(direction, 0), np.repeat(rows, outputs, axis=0)
        vjp, _ = make_vjp(lambda rows: function(rows, outputs))(copies)
        return vjp(np.tile(np.eye(outputs), (len(rows), 1))).reshape(len(rows), outputs, -1)


def measure(check, subject):
    """Return the check's finding; an exception is a finding too."""
    try:
        return check(subject)
    except Exception as error:
        name = check.__doc__.split("\n")[0]
        return Finding(check.__name__, np.inf, 0.0, f"{type(error).__name__}: {error} ({name})")


def worst(check, error, tolerance, detail="", where="row"):
    """Return the finding at the place of the largest error / tolerance; NaN counts as worst."""
    error, tolerance = np.broadcast_arrays(np.asarray(error, float), np.asarray(tolerance, float))
    if error.size == 0:
        return Finding(check, 0.0, 0.0, detail)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / tolerance)
    place = np.unravel_index(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
    at = f"{where} {place[0] if len(place) == 1 else tuple(map(int, place))}" if place else ""
    return Finding(check, float(error[place]), float(tolerance[place]), f"{detail} {at}".strip())


def gravest(findings):
    """Return the finding with the largest error in units of its tolerance."""
    return max(findings, key=lambda finding: finding.share)


def facts(check, statements):
    """Return a finding from pairs: a statement that must be true, and the fault if it is false."""
    broken = [text for holds, text in statements if not holds]
    return Finding(check, float(len(broken)), 0.0, "; ".join(broken[:3]))


def not_blind(check, tolerance, value):
    """Check that no tolerance is above BLIND, relative to 1 + |value|."""
    limit = BLIND * (1 + np.abs(value))
    return worst(
        check,
        np.where(tolerance <= limit, 0.0, tolerance),
        limit,
        "the tolerance is too wide to detect a fault,",
    )
