"""An answer does not depend on earlier calls, nor on calls of other threads."""

import contextlib
import sys
import threading
import time

import numpy as np

from nfref.oracle.checks.batches import agree, unchanged
from nfref.oracle.instruments import guarded_calls
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, CallFailed, Timer
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, held, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Callable, Generator, Sequence
from nfref.runtime.checks import plural

CALLS = 256  # calls of a few rows each, before the first ones are repeated
SECONDS = 0.5  # for all of them
FIRST = 32  # rows of the first batch of a new flow
ROUNDS, GROUPS, ROWS = 24, 12, 64  # calls of each thread in a group; groups; rows of a call


def repeatable(name: str, measured: Measurement) -> Row:
    """Check that the same call gives the same answer, and a batch moved by 1e-9 another one."""
    index = np.arange(len(measured.probes))
    # No noise is allowed here: a random answer would excuse itself by its own noise.
    how = "when the same call was made again"
    row = agree(name, measured, index, measured.asked(index), how, strict=True)
    return row if row.failed or measured.dtype != np.float64 else _by_rounded_rows(row, measured)


def _by_rounded_rows(row, measured):
    """Return the row, or a failure if a cache finds a batch by its rounded rows."""
    subject, probes, domain = measured.subject, measured.probes, measured.domain
    index = np.flatnonzero(probes.bulk & measured.finite)
    rows, context_row = probes.rows[index], probes.context_row[index]
    step = 1e-9 * np.maximum(np.abs(rows), 1)
    moved = rows + np.where(domain.upper - rows < rows - domain.lower, -step, step)  # from an end
    here = subject.numbers(rows, context_row)
    there = subject.numbers(moved, context_row)
    derivatives = np.nan_to_num(measured.derivatives.jacobian[index, : here.shape[1]])
    due = np.abs(np.einsum("pkj,pj->pk", derivatives, moved - rows))
    due = due > 3e4 * np.finfo(np.float64).eps * (np.abs(here) + 1e-3)
    if np.sum(due) < 4 or np.mean((there == here)[due]) <= 0.75:
        return row
    both = subject.numbers(np.concatenate([rows, moved]), np.tile(context_row, 2))
    if np.mean((both[: len(rows)] == both[len(rows) :])[due]) > 0.5:
        return row  # the same within one batch: the row on precision judges it
    where = f"{subject.name} at {show(rows[0])}: {show(here[0])}, and the same bits when it is "
    where += "moved: does a cache round its rows?"
    return failed(row.name, "a batch, then the same moved by 1e-9", where)


def call_often(name: str, measured: Measurement, rng: Generator) -> Row:
    """Call the subject until it was called some hundred times, and compare all answers."""
    subject, index = measured.subject, np.flatnonzero(measured.probes.bulk)[:8]
    most, seconds = subject.stopwatch.budget(SECONDS), Timer()
    row = passed(name, "")
    while subject.calls < CALLS and seconds() < most and not row.failed:
        some = rng.choice(index, size=min(3, len(index)), replace=False)
        how = f"in call {subject.calls + 1} than in an early one"
        row = agree(name, measured, some, measured.asked(some), how)
    return row


def many_calls(
    name: str, measured: Measurement, rng: Generator, others: Sequence[Measurement] = ()
) -> Row:
    """Check that the first answers still hold after many calls, and that all in between agreed.

    ``others`` are measurements of subjects that may share a state, such as the other direction of a
    flow. They are called as often before the first answers are asked for again.
    """
    for other in others:
        with contextlib.suppress(*NO_ANSWER):  # its own row reports the failure
            call_often(name, other, rng)
    row = call_often(name, measured, rng)
    if not row.failed:
        everything = np.arange(len(measured.probes))
        how = f"after {measured.subject.calls} calls"
        row = agree(name, measured, everything, measured.asked(everything), how)
    return row if row.failed else _asked_again(name, measured, row)


def _asked_again(name, measured, row):
    """Repeat calls that were made for other properties, whose rows were new then."""
    subject = measured.subject
    most, seconds = subject.stopwatch.budget(SECONDS), Timer()
    noise = np.median(measured.derivatives.noise, axis=0)
    for call, rows, context_row, answers in subject.past.copy():
        if seconds() > most:
            break
        if len(rows) * subject.seconds_a_row() > most:
            continue
        try:
            again = subject.numbers(rows, context_row)
        except CallFailed as error:
            return failed(name, f"call {call}, made again, got no answer", str(error))
        if again.shape != answers.shape or not len(again):
            continue
        size = 1 + np.abs(answers) + np.median(np.nan_to_num(np.abs(answers)), axis=0)
        allowed = measured.slack * size + measured.accuracy + 10 * noise[: answers.shape[1]]

        def describe(p):
            how = f"the same row got another answer when call {call} was made again"
            at = f"{show(rows[p])}, row {p} of {len(rows)} (counted from 0)"
            return f"{how}: {subject.name} at {at}: {show(answers[p])}, then {show(again[p])}"

        found = unchanged(name, answers, again, allowed, row.why, describe)
        if found.failed:
            return found
    return row


def two_threads(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check that two threads at once get the answers of one.

    On a busy machine one thread's call may be over before the other's begins. So groups of rounds
    follow, for a moment. They end when both threads ran at once half of the time, in six times as
    many rounds as a group has.
    """
    if not guarded_calls.may_be_called_from_two_threads():
        return not_applicable(name, "Numba's workqueue layer allows one thread at a time")
    subject, probes = measured.subject, measured.probes
    known = measured.answered(least=2)
    seconds, most = Timer(), subject.stopwatch.budget(4 * SECONDS)
    rounds = int(np.clip(most * subject.calls / max(subject.seconds, 1e-9) / 8, 6, ROUNDS))
    rows = int(np.clip(most / subject.seconds_a_row() / (2 * rounds), 4, ROWS))
    # All may share working memory, or batches of one size: half of the rounds have equal sizes.
    sizes = ([3 * rows // 4, rows] * (rounds // 2), [rows] * 2 * (rounds // 2))
    batches = [[rng.choice(known, size=size) for size in each] for each in sizes]
    at_once = 0
    for group in range(1, GROUPS + 1):
        try:
            spans, answers = _at_once(subject, probes, batches)
        except guarded_calls.StillRunning as error:
            subject.stopwatch.running += error.calls
            why = "two threads at once: no answer in time, which may be a deadlock; alone a row "
            return inconclusive(name, f"{why}took {subject.seconds_a_row():.2g} s")
        except CallFailed as error:
            return failed(name, "two threads at once", f"{subject.name} {error}")
        for indices, parts in zip(batches, answers):
            for index, answer in zip(indices, parts):
                answer = subject.read(answer, probes.rows[index])
                row = agree(name, measured, index, answer, "while another thread called, too")
                if row.failed:
                    return row
        begun, done = np.array(spans).transpose(1, 0, 2)
        shared = done.min(axis=0) - begun.max(axis=0)
        at_once += np.sum(shared > np.min(done - begun, axis=0) / 2)
        if at_once >= 6 * rounds or seconds() > most:
            break
    return passed(name, f"{2 * rounds * group} calls from two threads", row.error, row.tolerance)


def _at_once(subject, probes, batches):
    """Return (start and end of each call, its answer), with one thread for each list of batches."""
    start = threading.Barrier(2, timeout=max(subject.stopwatch.left(), 0.01))

    def ask(indices):
        # The arguments are made before, so that the two calls run at the same time.
        asked = ((probes.rows[index], probes.context_row[index]) for index in indices)
        arguments = [subject.arguments(*rows) for rows in asked]
        times, answers = np.empty((2, len(arguments))), []
        try:
            for k, given in enumerate(arguments):
                start.wait()
                times[0, k] = time.perf_counter()
                answers.append(subject.function(*given))
                times[1, k] = time.perf_counter()
        except threading.BrokenBarrierError:
            return times, answers  # the other thread's call raised
        except BaseException:
            start.abort()
            raise
        return times, answers

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # switch threads often, as on a busy machine
    try:
        asked = [(ask, (indices,)) for indices in batches]
        calls = guarded_calls.together(asked, subject.stopwatch.left())
        return zip(*[call.result() for call in calls])
    finally:
        sys.setswitchinterval(interval)


def first_call(
    name: str, make: Callable[..., dict] | None, direction: str, measured: Measurement, count: int
) -> Row:
    """Check the first call of a fresh flow, with ``count`` rows, and the same call again.

    Some layers choose their parameters, or their mode, by the first batch (activation
    normalisation, batch statistics). If they are wrong anywhere, it is there: the standard
    deviation of one row is zero. ``make`` returns the arguments of ``check_flow`` for a fresh flow.
    The rows are those of a flow that is not fresh any more.
    """
    if make is None:
        return not_applicable(name, "no make= was given")
    probes = measured.probes
    index = measured.answered(probes.bulk)[:count]
    try:
        function = make().get(direction)
    except Exception as error:
        return failed(name, "make() raised an error", f"{type(error).__name__}: {error}")
    if function is None:
        return not_applicable(name, "a new flow lacks this direction")
    subject = measured.subject.apart(function=function)
    rows, context_row = probes.rows[index], probes.context_row[index]
    count_of_rows = f"{len(index)} {plural('row', len(index))}"
    why = f"a new flow, called twice with {count_of_rows}"
    try:
        first = subject(rows, context_row)
        again = subject(rows, context_row)
    except CallFailed as error:
        return failed(name, why, str(error))
    for values in first:
        if values is not None and not np.all(np.isfinite(values)):
            bad = np.argwhere(~np.isfinite(values))[0][0]
            return failed(name, why, f"{direction} at {show(rows[bad])}: {show(values[bad])}")
    how = f"in the second call of a new flow with {count_of_rows}"
    return agree(name, measured, index, again, how, first=first, strict=True)


def parameters_unchanged(name: str, before: list[bytes] | None, after: list[bytes] | None) -> Row:
    """Check that the parameters are the same bytes before and after all calls."""
    if before is None or after is None:
        return not_applicable(name, "no parameters were named")
    changed = [k for k, (old, new) in enumerate(zip(before, after)) if old != new]
    changed += range(*sorted((len(before), len(after))))
    where = f"{len(changed)} of {len(before)} arrays changed, the first is number "
    why = f"{len(before)} arrays, bytes compared before and after the whole check"
    return held(name, why, f"{where}{changed[0]}" if changed else "")
