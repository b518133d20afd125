"""Arguments of the wrong kind of subject, and float32 properties that a float64 twin decides."""

import functools
from dataclasses import replace

import numpy as np

from nfref.oracle.instruments.guarded_calls import CallFailed, StillRunning, in_time
from nfref.oracle.instruments.probes import Box, as_domain
from nfref.oracle.report import INCONCLUSIVE, PASS, Report
from nfref.runtime.annotations import Any, Callable

ROWS = 512  # on which float32 and float64 are compared
ROUNDING = 0.1  # nats, the largest difference of float32 with which the twin may decide


def of_flows(check: Callable[..., Any]) -> Any:
    """Let ``check_flow`` refuse a density, and ask a twin.

    A ``twin`` is the same flow in float64, as ``{"forward": ..., "inverse": ...}``. It decides the
    properties that cannot be judged in float32, if float32 stays close to it.

    Parameters
    ----------
    check : callable
    """

    @functools.wraps(check)
    def ask(*functions, twin=None, **given):
        if "log_prob" in given:
            raise TypeError(
                "log_prob: this is a density; expected check_density(**arguments), got check_flow"
            )
        gradient = given.get("gradient")
        if gradient is not None and not _is_pair(gradient):
            raise TypeError(
                "gradient: expected (forward, inverse), each a function or None, got "
                f"{type(gradient).__name__}"
            )
        report = check(*functions, **given)
        if (
            twin
            and report.undecided
            and not report.failures
            and np.dtype(given.get("dtype", np.float64)) == np.float32
        ):
            return _by_twin(
                check, report, dict(zip(("forward", "inverse"), functions), **given), twin
            )
        return report

    return ask


def of_densities(check: Callable[..., Any]) -> Any:
    """Let ``check_density`` refuse a flow.

    Parameters
    ----------
    check : callable
    """

    @functools.wraps(check)
    def ask(*functions, **given):
        given.pop("twin", None)
        wrong = sorted({"forward", "inverse"} & set(given))
        if wrong:
            raise TypeError(
                f"{' and '.join(wrong)}: this is a flow; expected "
                "check_flow(**arguments), got check_density; a density is "
                "log_prob and sample, as adapters.of(distribution) makes them"
            )
        if isinstance(given.get("gradient"), (tuple, list)):
            raise TypeError(
                "gradient: expected one function of rows, the derivative of log_prob, "
                f"got {type(given['gradient']).__name__}"
            )
        return check(*functions, **given)

    return ask


def _is_pair(gradient):
    return (
        isinstance(gradient, (tuple, list))
        and len(gradient) == 2
        and all(part is None or callable(part) for part in gradient)
    )


def _by_twin(check, report, given, twin):
    """Return the report, with the twin's float64 rows in place of those not judged."""
    gap = _largest_gap(given, twin)
    if not gap < ROUNDING:
        return report
    exact = check(
        **{
            **given,
            **twin,
            "dtype": np.float64,
            "rng": np.random.default_rng(0),
            "gradient": None,
            "make": None,
        }
    )
    rows = []
    for row in report.rows:
        theirs = next((one for one in exact.rows if one.name == row.name), None)
        if row.verdict == INCONCLUSIVE and theirs is not None and theirs.verdict != INCONCLUSIVE:
            row = replace(
                theirs,
                why=f"judged in float64; float32 differs by {gap:.1g} at most in {ROWS} rows; "
                f"{theirs.why}",
                verdict=theirs.verdict if theirs.verdict != "not applicable" else PASS,
            )
        rows.append(row)
    return Report(report.subject, tuple(rows), report.skipped)


def _largest_gap(given, twin):
    """Return the largest difference of float32 and float64.

    The difference of values is relative to their size, that of log_det is in nats.
    """
    rng, gap = np.random.default_rng(0), 0.0
    for name, domain in (("forward", "domain"), ("inverse", "codomain")):
        if given.get(name) is None or name not in twin:
            continue
        box = as_domain(domain, given.get(domain), given["dim"])
        if not isinstance(box, Box):
            return np.inf
        rows = box.from_line(rng.standard_normal((ROWS, given["dim"]))).astype(np.float32)
        context = given.get("context")
        more = () if context is None else (np.resize(context, (ROWS, np.shape(context)[1])),)
        try:
            with np.errstate(all="ignore"):
                ours = in_time(
                    given[name],
                    (rows, *(part.astype(np.float32) for part in more)),
                    given.get("seconds", 20.0),
                )
                theirs = in_time(
                    twin[name], (rows.astype(np.float64), *more), given.get("seconds", 20.0)
                )
        except (CallFailed, StillRunning):
            return np.inf
        for one, other in zip(_parts(ours), _parts(theirs)):
            scale = 1 + np.abs(other) if other.ndim > 1 else 1.0
            gap = max(gap, float(np.max(np.abs(one - other) / scale)))
    return gap


def _parts(answer):
    parts = answer if isinstance(answer, (tuple, list)) else (answer,)
    return [np.asarray(part, dtype=np.float64) for part in parts if part is not None]
