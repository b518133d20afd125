"""One direction of a flow, measured once: values, derivatives, and their accuracy.

Every tolerance of the oracle comes from three measured things: the Jacobian, the rounding noise of
the callable, and the machine epsilon of the dtype.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.oracle.instruments.guarded_calls import Answer, CallFailed, Subject, Undecided, columns
from nfref.oracle.instruments.jacobian import Derivatives, differentiate, log_determinants
from nfref.oracle.instruments.probes import Domain, Probes, step_scale
from nfref.runtime.annotations import Any, Array

# Units in the last place that a formula may lose beyond its condition number: inner steps may be
# worse conditioned than the whole. In float64 even the larger number is far below the error of a
# wrong formula.
ULPS = {"float64": 4096, "float32": 128}
# Largest error, in nats, of the numerical estimate of a log-determinant that is called resolved.
RESOLVED = {"float64": 0.02, "float32": 0.1}
SLOW = 2.0  # times the rows for which there is time; beyond, every second step is left out


@dataclass(frozen=True)
class Measurement:
    """The measured values and derivatives of one direction at its probes."""

    subject: Subject
    domain: Domain
    codomain: Domain
    probes: Probes
    values: np.ndarray  # (P, D) float64
    log_det: Any  # (P,) float64, or None
    derivatives: Derivatives  # of the values and, last, of log_det where there is one
    determinants: Any  # LogDeterminants; None for a density
    accuracy: float = 0.0  # of values and log_det that a solver finds, absolute

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the callable."""
        return self.subject.dtype

    def asked(self, index: Array) -> Answer:
        """Return (values, log_det) of another call at the points ``index``."""
        return self.subject(self.probes.rows[index], self.probes.context_row[index])

    @cached_property
    def finite(self) -> Array:
        """Points whose values are finite, (P,) bool."""
        return np.isfinite(self.values).all(axis=1)

    def answered(self, among: Array | bool = True, least: int = 1) -> Array:
        """Return indices of finite points ``among`` some; raise `Undecided` if they are too few."""
        places = np.flatnonzero(self.finite & among)
        if len(places) < least:
            raise Undecided(f"{'no row' if least == 1 else 'too few rows'} with a finite answer")
        return places

    @property
    def slack(self) -> float:
        """ULPS times the machine epsilon."""
        return ULPS[self.dtype.name] * float(np.finfo(self.dtype).eps)

    @property
    def resolved(self) -> Array:
        """Points whose numerical log-determinant is reliable, (P,) bool."""
        return self.determinants.error < RESOLVED[self.dtype.name]

    @cached_property
    def tolerance(self) -> Array:
        """The effect that rounding may have on values and log_det, (P, K); nan where unknown.

        Rounding is relative to |y| + |J||x| + typical |y|, where 1 + D is typical for log_det.
        """
        x = np.abs(self.probes.rows.astype(np.float64))
        moved = np.einsum("pkj,pj->pk", np.abs(self.derivatives.jacobian), x)
        typical = np.median(np.nan_to_num(np.abs(self.values)), axis=0)
        if self.log_det is not None:
            typical = np.append(typical, 1 + x.shape[1])
        size = np.abs(columns(self.values, self.log_det)) + moved + typical
        return self.slack * size + self.accuracy


def measure_direction(
    subject: Subject,
    domain: Domain,
    codomain: Domain,
    probes: Probes,
    accuracy: float = 0.0,
    in_time: float = np.inf,
) -> Measurement:
    """Measure a direction at its probes, with time for ``in_time`` rows; may raise `CallFailed`."""
    values, log_det = subject(probes.rows, probes.context_row)
    has_log_det = log_det is not None

    def function(rows, owner):
        subject.stopwatch.restart()  # the time limit holds for one call, and there are many
        x, log_det = subject(rows, probes.context_row[owner])
        if (log_det is not None) != has_log_det:
            raise CallFailed(f"{subject.name} returns log_det for some inputs only")
        return columns(x, log_det).astype(np.float64)

    stride = 1 if 30 * probes.rows.size <= SLOW * in_time else 2
    scale = step_scale(domain, probes.rows)
    derivatives = differentiate(function, probes.rows, scale, accuracy, stride)
    dim, digits = values.shape[1], float(np.finfo(subject.dtype).eps) ** 0.75
    determinants = None  # a log-density has a gradient, not a square Jacobian
    if dim == probes.rows.shape[1] and subject.dim is not None:
        jacobian, error = derivatives.jacobian[:, :dim], derivatives.error[:, :dim]
        determinants = log_determinants(jacobian, error, digits)
    log_det = log_det if log_det is None else log_det.astype(np.float64)
    measured = values.astype(np.float64), log_det, derivatives, determinants, accuracy
    return Measurement(subject, domain, codomain, probes, *measured)
