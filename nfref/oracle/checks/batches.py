"""A row's answer is its own: other rows, their number, its place and the layout do not matter."""

from dataclasses import replace

import numpy as np

from nfref.oracle.instruments.guarded_calls import Answer, CallFailed, columns
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, passed, show, verdict
from nfref.runtime.annotations import Array, Callable, Generator

# Sizes at which code for batches fails: those of the tiles, vectors and threads of a machine.
_POWERS = [2**k + step for k in range(3, 14) for step in (-1, 0, 1)]
_PRIMES = [37, 61, 97, 101, 127, 251, 257, 509, 521, 997, 1009, 2003, 4999]
_ROUND = [100, 200, 250, 500, 1000, 2000, 5000, 10000]
_KINDS = [1, 2, 3, 5, 7, *_POWERS, *_PRIMES, *_ROUND]
SIZES = [*_KINDS, *(n for n in range(1, 101) if n not in _KINDS[5:])]
SECONDS = 1.0  # for all sizes
ENTRIES = 1 << 21  # numbers in one batch


def agree(
    name: str,
    measured: Measurement,
    index: Array,
    answer: Answer,
    how: str,
    first: Answer | None = None,
    strict: bool = False,
) -> Row:
    """Compare two computations of the same rows, up to rounding.

    The ``answer``, (values, log_det), is compared with the measured one of the points ``index``, or
    with ``first``, an answer for the same rows. Measured noise is allowed too, as far as it is no
    larger than rounding, and not if ``strict``. ``how`` completes "the same row got another
    answer".
    """
    if first is None:
        log_det = None if measured.log_det is None else measured.log_det[index]
        first = measured.values[index], log_det
    subject, why = measured.subject.name, f"rounding; {how}"
    if (answer[1] is None) != (first[1] is None):
        return failed(name, why, f"{subject} returns log_det for some batches only")
    old, new = (columns(*one).astype(np.float64) for one in (first, answer))
    allowed = measured.tolerance[:, : old.shape[1]]
    if not strict:
        noise = measured.derivatives.noise[:, : old.shape[1]]
        allowed = allowed + np.minimum(10 * noise, allowed)

    def describe(k):
        parts = (shown(one[k], answer[1] is not None) for one in (old, new))
        at = show(measured.probes.rows[index[k]])
        return f"the same row got another answer {how}: {subject} at {at}: {', then '.join(parts)}"

    return unchanged(name, old, new, allowed[index], why, describe, measured.probes.bulk[index])


def shown(answer: Array, with_log_det: bool) -> str:
    """Return the answer to a row as text; its last number may be log_det."""
    if not with_log_det:
        return show(answer)
    return f"{show(answer[:-1])}, log_det {answer[-1]:.9g}"


def unchanged(
    name: str,
    old: Array,
    new: Array,
    allowed: Array,
    why: str,
    describe: Callable[..., str],
    bulk: Array | bool = False,
) -> Row:
    """Return the verdict on (P, K) answers that must equal the ``old`` ones where finite.

    In the ``bulk``, (P,) bool, an answer that was not finite must not become finite either. Far out
    it may: there rounding decides whether a number overflows.
    """
    freed = np.isfinite(new) & ~np.isfinite(old) & np.reshape(bulk, (-1, 1))
    same = (new == old) | ~np.isfinite(old) & ~freed
    error = np.where(same, 0.0, np.abs(new - old))
    allowed = np.where(np.isfinite(allowed), allowed, np.inf)
    return verdict(name, error, np.where(freed, 0.0, allowed), why, describe)


def or_state(row: Row, measured: Measurement) -> Row:
    """Return a failed row with a hint if the first call of all gets another answer by now."""
    if not row.failed:
        return row
    everything = np.arange(len(measured.probes))
    again = agree(row.name, measured, everything, measured.asked(everything), "in a later call")
    if not again.failed:
        return row
    return replace(row, hint=f"answers change from call to call: {again.where}")


def row_independence(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check that a row's answer does not depend on the other rows, their number or order."""
    probes = measured.probes
    middle = measured.answered(probes.bulk)[:8]
    # Rows with all entries far out: every branch but that of the tails gets no row.
    far = np.flatnonzero(probes.tail & measured.finite)
    far = far[np.argsort(-np.min(np.abs(probes.rows[far]), axis=1))[:4]]
    batches = [
        *(("alone", middle[k : k + 1]) for k in range(len(middle[:4]))),
        ("among tails only", far),
        (f"among {len(middle) - 1} others", middle),
    ]
    outcomes = [(how, index, measured.asked(index)) for how, index in batches if len(index)]
    # The other rows are many more, and some repeat.
    others = rng.choice(np.flatnonzero(probes.bulk), size=61)
    values, log_det = measured.asked(np.concatenate([others, middle]))
    answer = values[61:], None if log_det is None else log_det[61:]
    outcomes.append(("among 61 others", middle, answer))
    order = rng.permutation(len(probes))
    outcomes.append(("at another place", order, measured.asked(order)))
    for how, index, answer in outcomes:
        row = agree(name, measured, index, answer, f"{how} than among {len(probes) - 1} others")
        if row.failed:
            return or_state(row, measured)
    return row


def batch_sizes(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check batches of many sizes, in which each row stands at early, middle and late places."""
    probes, subject = measured.probes, measured.subject
    known = measured.answered()
    asked = []
    for size in SIZES:
        if size * probes.rows.shape[1] > ENTRIES:
            continue
        if subject.stopwatch.spent() > subject.stopwatch.budget(SECONDS):
            break
        index = rng.choice(known, size=size)
        try:
            answer = measured.asked(index)
        except CallFailed as error:
            return failed(name, "some batches get no answer", f"a batch of {size}: {error}")
        asked.append(size)
        how = f"in a batch of {size} rows than in one of {len(probes)}"
        row = agree(name, measured, index, answer, how)
        if row.failed:
            return or_state(row, measured)
    return passed(name, f"{len(asked)} sizes from 1 to {max(asked, default=0)}, rows at any place")


def _read_only(array):
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


LAYOUTS = {
    "every other row of an array": lambda array: np.repeat(array, 2, axis=0)[::2],
    "every other column of an array": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "Fortran order": lambda array: np.array(array, order="F"),
    "read-only": _read_only,
}


def memory_layout(name: str, measured: Measurement) -> Row:
    """Check that the same numbers in another memory layout get the same answers."""
    probes = measured.probes
    index = np.arange(len(probes))
    for how, arrange in LAYOUTS.items():
        try:
            answer = measured.subject(probes.rows, probes.context_row, arrange)
        except CallFailed as error:
            return failed(name, f"input as {how}", str(error))
        row = agree(name, measured, index, answer, f"with input as {how}")
        if row.failed:
            return or_state(row, measured)
    return passed(name, "input as " + ", ".join(LAYOUTS), row.error, row.tolerance)
