"""Properties of a flow as a function of arrays: shapes, dtypes, batches, memory, randomness."""

import numpy as np

from nfref.oracle.checks.local import verdict
from nfref.oracle.instruments.calling import CallFailed
from nfref.oracle.report import failed, not_applicable, passed, show


def _noted(name, faults, fine):
    if faults:
        return failed(name, f"{len(faults)} calls broke it", faults[0])
    return passed(name, fine)


def shapes(name, subject):
    return _noted(name, subject.shape_faults, "values (N, D), log_det (N,), in every call")


def dtypes(name, subject):
    return _noted(name, subject.dtype_faults, f"{subject.dtype} in, {subject.dtype} out")


def input_unchanged(name, subject):
    return _noted(name, subject.changed_inputs, "bytes compared before and after every call")


def finite(name, measured):
    """No NaN and no infinity, except where the answer overflows the dtype."""
    columns = [measured.values]
    if measured.log_det is not None:
        columns.append(measured.log_det[:, None])
    bad = np.flatnonzero(~np.all(np.isfinite(np.concatenate(columns, axis=1)), axis=1))
    overflows = 0
    for p in bad:
        if _overflows(measured, p):
            overflows += 1
            continue
        log_det = "" if measured.log_det is None else f", log_det {measured.log_det[p]:.6g}"
        return failed(name, f"{len(bad)} of {len(measured.probes)} points gave nan or inf",
                      f"{measured.subject.name} at {show(measured.probes.rows[p])}: "
                      f"{show(measured.values[p])}{log_det}")
    if overflows:
        return passed(name, f"{len(measured.probes)} points, of which {overflows} overflow "
                            f"{measured.dtype} in truth")
    return passed(name, f"{len(measured.probes)} points, out to the tails")


def _overflows(measured, p):
    """Whether values or log_det grow past the largest float from the middle to point p."""
    start = measured.probes.rows[measured.probes.bulk][0].astype(np.float64)
    end = measured.probes.rows[p].astype(np.float64)
    low, high = 0.0, 1.0
    largest = 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        row = (start + middle * (end - start))[None].astype(measured.dtype)
        try:
            values, log_det = measured.subject(row, measured.probes.context_row[p:p + 1])
        except CallFailed:
            return False
        if np.all(np.isfinite(values)) and (log_det is None or np.all(np.isfinite(log_det))):
            sizes = [np.max(np.abs(values)), 0 if log_det is None else np.max(np.abs(log_det))]
            low, largest = middle, float(max(sizes))
        else:
            high = middle
    return largest > float(np.finfo(measured.dtype).max) ** 0.9


def empty_batch(name, subject, dim):
    """A batch of no rows gives arrays of no rows."""
    try:
        values, log_det = subject(np.zeros((0, dim), dtype=subject.dtype), np.zeros(0, dtype=int))
    except CallFailed as error:
        return failed(name, "a batch of 0 rows is a batch", str(error))
    expected = "(0, D)" if log_det is None else "(0, D) and (0,)"
    return passed(name, f"shapes {expected}")


def _agree(name, measured, index, values, log_det, why, noise=10):
    """The same rows computed in another way, up to rounding and ``noise`` times its measure."""
    allowed = (measured.values_tolerance() + noise * measured.values_noise)[index]
    columns = np.where(np.isfinite(allowed), allowed, np.inf)
    error = np.abs(values.astype(np.float64) - measured.values[index])
    same = (values.astype(np.float64) == measured.values[index])
    error = np.where(same | ~np.isfinite(measured.values[index]), 0.0, error)
    if (log_det is None) != (measured.log_det is None):
        return failed(name, why, f"{measured.subject.name} returns log_det for some batches only")
    if log_det is not None:
        allowed = (measured.log_det_tolerance() + noise * measured.log_det_noise)[index]
        columns = np.column_stack([columns, np.where(np.isfinite(allowed), allowed, np.inf)])
        expected = measured.log_det[index]
        same = (log_det == expected) | ~np.isfinite(expected)
        error = np.column_stack([error, np.where(same, 0.0, np.abs(log_det - expected))])
    error = np.where(np.isnan(error), np.inf, error)
    worst = np.argmax(error / columns, axis=1)
    pick = (np.arange(len(error)), worst)

    def describe(k):
        p = index[k]
        first = np.append(measured.values[p],
                          [] if measured.log_det is None else measured.log_det[p])
        second = np.append(values[k], [] if log_det is None else log_det[k])
        return (f"{measured.subject.name} at {show(measured.probes.rows[p])}: first "
                f"{show(first)}, then {show(second)} (log_det last)")

    return verdict(name, error[pick], columns[pick], why, describe)


ROUNDING = "rounding: other batches may sum in another order"


def row_independence(name, measured, rng):
    """A row's answer does not depend on the other rows, nor on how many there are."""
    probes = measured.probes
    middle = np.flatnonzero(probes.bulk & np.isfinite(measured.values).all(axis=1))[:8]
    if not len(middle):
        return not_applicable(name, "no row with a finite answer")
    # Rows all of whose entries are far out: every branch but that of the tails stays empty.
    far = np.flatnonzero(probes.tail & np.isfinite(measured.values).all(axis=1))
    far = far[np.argsort(-np.min(np.abs(probes.rows[far]), axis=1))[:4]]
    outcomes = []
    try:
        for k in middle[:4]:
            alone = np.array([k])
            outcomes.append(("alone", alone,
                             measured.subject(probes.rows[alone], probes.context_row[alone])))
        if len(far):
            outcomes.append(("among tails only", far,
                             measured.subject(probes.rows[far], probes.context_row[far])))
        outcomes.append(("in a smaller batch", middle,
                         measured.subject(probes.rows[middle], probes.context_row[middle])))
        # Its companions are other rows, far more of them, and some repeated.
        others = rng.choice(np.flatnonzero(probes.bulk), size=61)
        mixed = np.concatenate([others, middle])
        values, log_det = measured.subject(probes.rows[mixed], probes.context_row[mixed])
        tail = None if log_det is None else log_det[61:]
        outcomes.append(("among other rows", middle, (values[61:], tail)))
    except CallFailed as error:
        return failed(name, "some batches get no answer", str(error))
    for how, index, (values, log_det) in outcomes:
        row = _agree(name, measured, index, values, log_det, f"{ROUNDING}; {how}")
        if row.failed:
            return row
    return row


def permutation(name, measured, rng):
    """Permuting the rows permutes the answers."""
    order = rng.permutation(len(measured.probes))
    try:
        values, log_det = measured.subject(measured.probes.rows[order],
                                           measured.probes.context_row[order])
    except CallFailed as error:
        return failed(name, "the same rows in another order get no answer", str(error))
    return _agree(name, measured, order, values, log_det, ROUNDING)


def repeatable(name, measured):
    """The same call gives the same answer."""
    index = np.arange(len(measured.probes))
    try:
        values, log_det = measured.subject(measured.probes.rows, measured.probes.context_row)
    except CallFailed as error:
        return failed(name, "the second call got no answer", str(error))
    # No noise is allowed here: that of a random answer would excuse itself.
    return _agree(name, measured, index, values, log_det, "rounding; the same call twice", noise=0)


def no_memory(name, measured, other, rng):
    """The same answer after calls with other rows and calls of the other direction (caches)."""
    probes = measured.probes
    index = np.flatnonzero(probes.bulk & np.isfinite(measured.values).all(axis=1))
    if len(index) < 2:
        return not_applicable(name, "too few rows with a finite answer")
    half = index[:len(index) // 2]
    first = measured.subject.first_answer
    if first is not None:
        # The very first call, before anything could have been remembered.
        row = _agree(name, measured, np.flatnonzero(probes.bulk), *first,
                     "rounding; the first call of all and a later one")
        if row.failed:
            return row
    try:
        measured.subject(probes.rows[index[::-1]], probes.context_row[index[::-1]])
        if other is not None:
            other(measured.values[index].astype(measured.dtype), probes.context_row[index])
        values, log_det = measured.subject(probes.rows[half], probes.context_row[half])
    except CallFailed as error:
        return failed(name, "a call in between, and no answer any more", str(error))
    return _agree(name, measured, half, values, log_det,
                  "rounding; calls of both directions in between")


def answers_stay(name, measured):
    """Arrays once returned are not written into by later calls."""
    subject, probes = measured.subject, measured.probes
    index = np.flatnonzero(probes.bulk)
    if len(index) < 2:
        return not_applicable(name, "too few rows")
    try:
        answer = subject.raw(probes.rows[index], probes.context_row[index])
        parts = [part for part in (answer if isinstance(answer, (tuple, list)) else (answer,))
                 if part is not None]
        before = [np.array(part) for part in parts]
        subject.raw(probes.rows[index[::-1]], probes.context_row[index])
    except CallFailed as error:
        return failed(name, "a repeated call got no answer", str(error))
    for old, part in zip(before, parts):
        if old.tobytes() != np.array(part).tobytes():
            return failed(name, "a buffer is used again", f"{subject.name}: "
                          f"{show(old.ravel())} became {show(np.ravel(part))}")
    return passed(name, "the arrays of one call compared after the next")


def stays_inside(name, measured):
    """Values lie in the codomain, or on its edge when they were rounded there."""
    codomain = measured.codomain
    if not hasattr(codomain, "contains") or codomain.is_everything:
        return not_applicable(name, "no bounded codomain was named")
    finite_rows = np.isfinite(measured.values).all(axis=1)
    slack = 64 * np.finfo(measured.dtype).eps
    with np.errstate(invalid="ignore"):
        low = codomain.lower - slack * np.abs(codomain.lower)
        high = codomain.upper + slack * np.abs(codomain.upper)
        outside = np.any((measured.values < low) | (measured.values > high), axis=1) & finite_rows
    if np.any(outside):
        p = np.flatnonzero(outside)[0]
        return failed(name, f"{np.sum(outside)} of {len(measured.probes)} points lead out of it",
                      f"{measured.subject.name} takes {show(measured.probes.rows[p])} to "
                      f"{show(measured.values[p])}")
    return passed(name, f"{len(measured.probes)} points")
