"""A row's answer is its own: other rows, their number, its place and the layout do not matter."""

import numpy as np

from nfref.oracle.checks.pointwise import verdict
from nfref.oracle.instruments.guarded_calls import CallFailed, columns
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, passed, show
from nfref.runtime.annotations import Any, Array, Callable, Generator

# Sizes at which code for batches fails: those of the tiles, vectors and threads of a machine.
_POWERS = [2**k + step for k in range(3, 14) for step in (-1, 0, 1)]
_PRIMES = [37, 61, 97, 101, 127, 251, 257, 509, 521, 997, 1009, 2003, 4999]
_ROUND = [100, 200, 250, 500, 1000, 2000, 5000, 10000]
SIZES = (
    [1, 2, 3, 5, 7]
    + _POWERS
    + _PRIMES
    + _ROUND
    + [n for n in range(1, 101) if n not in _POWERS + _PRIMES + _ROUND]
)
SECONDS = 1.0  # for all sizes
ENTRIES = 1 << 21  # numbers in one batch


def agree(
    name: str,
    measured: Measurement,
    index: Array,
    answer: Any,
    why: str,
    noise: float = 10,
    first: Any = None,
    how: str = "",
) -> Row:
    """Compare two computations of the same rows, up to rounding and ``noise`` times its measure.

    The ``answer``, (values, log_det), is compared with the measured one of the points ``index``, or
    with ``first``, an answer for the same rows.
    """
    if first is None:
        first = (
            measured.values[index],
            None if measured.log_det is None else measured.log_det[index],
        )
    if (answer[1] is None) != (first[1] is None):
        return failed(name, why, f"{measured.subject.name} returns log_det for some batches only")
    old, new = (columns(*one).astype(np.float64) for one in (first, answer))
    allowed = measured.values_tolerance + noise * measured.values_noise
    if answer[1] is not None:
        allowed = columns(allowed, measured.log_det_tolerance + noise * measured.log_det_noise)

    def describe(k):
        return (
            f"{how}{measured.subject.name} at {show(measured.probes.rows[index[k]])}: first "
            f"{show(old[k])}, then {show(new[k])}"
            + ("" if answer[1] is None else " (log_det last)")
        )

    return unchanged(name, old, new, allowed[index], why, describe)


def unchanged(
    name: str, old: Array, new: Array, allowed: Array, why: str, describe: Callable[..., str]
) -> Row:
    """Return the verdict on (P, K) answers that must equal the ``old`` ones where finite."""
    error = np.where((new == old) | ~np.isfinite(old), 0.0, np.abs(new - old))
    return verdict(name, error, np.where(np.isfinite(allowed), allowed, np.inf), why, describe)


ROUNDING = "rounding: other batches may sum in another order"


def row_independence(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check that a row's answer does not depend on the other rows or on their number."""
    probes = measured.probes
    middle = measured.answered(probes.bulk)[:8]
    # Rows with all entries far out: every branch but that of the tails gets no row.
    far = np.flatnonzero(probes.tail & measured.finite)
    far = far[np.argsort(-np.min(np.abs(probes.rows[far]), axis=1))[:4]]
    batches = [
        *(("alone", middle[k : k + 1]) for k in range(len(middle[:4]))),
        ("among tails only", far),
        ("in a smaller batch", middle),
    ]
    outcomes = [(how, index, measured.asked(index)) for how, index in batches if len(index)]
    # The other rows are many more, and some repeat.
    others = rng.choice(np.flatnonzero(probes.bulk), size=61)
    values, log_det = measured.asked(np.concatenate([others, middle]))
    outcomes.append(
        ("among 61 others", middle, (values[61:], None if log_det is None else log_det[61:]))
    )
    for how, index, answer in outcomes:
        words = f"the same row got another answer {how}: "
        row = agree(name, measured, index, answer, f"{ROUNDING}; {how}", how=words)
        if row.failed:
            return row
    return row


def permutation(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check that permuted rows get permuted answers."""
    order = rng.permutation(len(measured.probes))
    return agree(name, measured, order, measured.asked(order), ROUNDING)


def batch_sizes(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check batches of many sizes.

    They are made of the same rows again and again, so that each row stands at early, middle and
    late places.
    """
    probes, subject = measured.probes, measured.subject
    known = measured.answered()
    asked = []
    start = subject.stopwatch.left()
    for size in SIZES:
        if size * probes.rows.shape[1] > ENTRIES:
            continue
        if start - subject.stopwatch.left() > min(SECONDS * subject.stopwatch.load, 0.5 * start):
            break
        index = rng.choice(known, size=size)
        try:
            answer = measured.asked(index)
        except CallFailed as error:
            return failed(name, "some batches get no answer", f"a batch of {size}: {error}")
        asked.append(size)
        row = agree(name, measured, index, answer, f"{ROUNDING}; a batch of {size} rows")
        if row.failed:
            return row
    return passed(name, f"{len(asked)} sizes, 1 to {max(asked, default=0)}, every place in them")


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
        row = agree(name, measured, index, answer, f"rounding; input as {how}")
        if row.failed:
            return row
    return passed(name, "input as " + ", ".join(LAYOUTS), row.error, row.tolerance)
