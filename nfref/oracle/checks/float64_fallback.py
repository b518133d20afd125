"""Arguments of the wrong kind of subject, and float32 properties that a float64 twin decides."""

import functools
from dataclasses import replace

import numpy as np

from nfref.oracle.instruments.guarded_calls import NO_ANSWER, Stopwatch, Subject
from nfref.oracle.instruments.probes import Box, as_domain
from nfref.oracle.report import INCONCLUSIVE, PASS, Report
from nfref.runtime.annotations import Callable

ROWS = 512  # on which float32 and float64 are compared
ROUNDING = 0.1  # nats, the largest difference of float32 with which the twin may decide


def of_flows(check: Callable[..., Report]) -> Callable[..., Report]:
    """Let ``check_flow`` refuse a density, and ask a twin.

    ``own`` holds the domains and the accuracy that the flow itself names; the caller's go first. A
    ``note`` is a line for the report. A ``twin`` is the same flow in float64, as
    ``{"forward": ..., "inverse": ...}``. It decides the properties that cannot be judged in
    float32, if float32 stays close to it.
    """

    @functools.wraps(check)
    def ask(*functions, twin=None, note="", own=None, **given):
        given = _with_own(given, own)
        if "log_prob" in given:
            words = "this is a density; expected check_density(**arguments), got check_flow"
            raise TypeError(f"log_prob: {words}")
        gradient = given.get("gradient")
        if gradient is not None and not _is_pair(gradient):
            words = "expected (forward, inverse), each a function or None"
            raise TypeError(f"gradient: {words}, got {type(gradient).__name__}")
        report = replace(check(*functions, **given), note=note)
        single = np.dtype(given.get("dtype", np.float64)) == np.float32
        if not (twin and single and report.undecided and not report.failures):
            return report
        given.update(zip(("forward", "inverse"), functions))
        gap = _largest_gap(given, twin)
        if not gap < ROUNDING:
            return report
        given.update(twin, dtype=np.float64, rng=np.random.default_rng(0), gradient=None, make=None)
        given["skip"] = tuple(row.name for row in report.rows if row.verdict != INCONCLUSIVE)
        return _decided(report, check(**given), gap)

    return ask


def of_densities(check: Callable[..., Report]) -> Callable[..., Report]:
    """Let ``check_density`` refuse a flow, and put a ``note`` into its report."""

    @functools.wraps(check)
    def ask(*functions, note="", own=None, **given):
        given = _with_own(given, own)
        given.pop("twin", None)
        wrong = sorted({"forward", "inverse"} & set(given))
        if wrong:
            words = "this is a flow; expected check_flow(**arguments), got check_density; "
            words += "a density is log_prob and sample, as adapters.of(distribution) makes them"
            raise TypeError(f"{' and '.join(wrong)}: {words}")
        gradient = given.get("gradient")
        if isinstance(gradient, (tuple, list)):
            words = "expected one function of rows, the derivative of log_prob"
            raise TypeError(f"gradient: {words}, got {type(gradient).__name__}")
        return replace(check(*functions, **given), note=note)

    return ask


def _with_own(given, own):
    """Return the arguments with those that the subject itself names where the caller gives none."""
    missing = {name: own[name] for name in own or {} if given.get(name) is None}
    return {**given, **missing}


def _is_pair(gradient):
    pair = isinstance(gradient, (tuple, list)) and len(gradient) == 2
    return pair and all(part is None or callable(part) for part in gradient)


def _decided(report, exact, gap):
    """Return the report, with the twin's float64 rows in place of those not judged."""
    theirs = {row.name: row for row in exact.rows if row.verdict != INCONCLUSIVE}
    rows = []
    for row in report.rows:
        if row.verdict == INCONCLUSIVE and row.name in theirs:
            row = theirs[row.name]
            why = f"judged in float64; float32 differs by {gap:.1g} at most in {ROWS} rows"
            verdict = row.verdict if row.verdict != "not applicable" else PASS
            row = replace(row, why=f"{why}; {row.why}", verdict=verdict)
        rows.append(row)
    return replace(report, rows=tuple(rows))


def _largest_gap(given, twin):
    """Return the largest difference of values (relative) and log_det; inf without an answer."""
    dim, context, gap = given["dim"], given.get("context"), 0.0
    which = np.arange(ROWS) % (1 if context is None else len(context))
    for name, domain in (("forward", "domain"), ("inverse", "codomain")):
        if given.get(name) is None or name not in twin:
            continue
        box = as_domain(domain, given.get(domain), dim)
        if not isinstance(box, Box):
            return np.inf
        rows = box.from_line(np.random.default_rng(0).standard_normal((ROWS, dim)))
        rows, answers = rows.astype(np.float32), []
        for function, dtype in ((given[name], np.float32), (twin[name], np.float64)):
            contexts = None if context is None else np.asarray(context, dtype)
            subject = Subject(name, function, dim, contexts, dtype, Stopwatch(20.0))
            try:
                answers.append(subject.numbers(rows.astype(dtype), which))
            except NO_ANSWER:
                return np.inf
        found, exact = answers
        width = min(found.shape[1], exact.shape[1])
        size = 1 + np.where(np.arange(width) < dim, np.abs(exact[:, :width]), 0)
        gap = max(gap, float(np.max(np.abs(found[:, :width] - exact[:, :width]) / size)))
    return gap
