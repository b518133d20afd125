"""An answer does not depend on earlier calls, nor on calls of other threads."""

import sys
import threading
import time

import numpy as np

from nfref.oracle.checks.batches import agree, unchanged
from nfref.oracle.instruments.guarded_calls import (
    NO_ANSWER,
    CallFailed,
    StillRunning,
    columns,
    may_be_called_from_two_threads,
    together,
)
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Any, Generator, Sequence

CALLS = 256  # calls of a few rows each, before the first ones are repeated
SECONDS = 0.5  # for all of them
ROUNDS, GROUPS = 24, 12  # calls of each thread in a group; groups


def repeatable(name: str, measured: Measurement) -> Row:
    """Check that the same call gives the same answer."""
    index = np.arange(len(measured.probes))
    # No noise is allowed here: a random answer would excuse itself by its own noise.
    how = "when the same call was made again"
    return agree(name, measured, index, measured.asked(index), how, strict=True)


def no_memory(name: str, measured: Measurement, other: Any, rng: Generator) -> Row:
    """Check the answer after calls with other rows and calls of the other direction.

    That finds caches.
    """
    probes = measured.probes
    index = measured.answered(probes.bulk, least=2)
    half, rest = index[: len(index) // 2], index[len(index) // 2 :][: len(index) // 2]
    # Compared with its own answer: another row compares it with that in a larger batch.
    first, second = measured.asked(half), measured.asked(rest)
    measured.asked(index[::-1])
    if other is not None:
        other(measured.values[index].astype(measured.dtype), probes.context_row[index])
    row = agree(
        name, measured, half, measured.asked(half), "after calls of both directions", first=first
    )
    moves = np.ptp(measured.values[index], axis=0).max() > 0
    if not row.failed and moves and np.array_equal(first[0], second[0]):
        row = failed(
            name,
            "a batch, then other rows as many",
            f"{measured.subject.name} at "
            f"{show(probes.rows[half[0]])} and at {show(probes.rows[rest[0]])}: "
            f"both {show(first[0][0])}: does a cache use the size of the batch as its key?",
        )
    return row if row.failed else _moved_a_little(row, measured, index)


def _moved_a_little(row, measured, index):
    """Return the row, or a failure if a batch moved by 1e-9 gets the answer of the batch before.

    That is a cache by rounded rows, for example.
    """
    subject, probes = measured.subject, measured.probes
    if measured.dtype != np.float64:
        return row
    rows, context_row = probes.rows[index], probes.context_row[index]
    moved = _nudged(rows, measured.domain)
    subject(rows, context_row)
    there = columns(*subject(moved, context_row)).astype(np.float64)
    log_det = measured.log_det if there.shape[1] > measured.values.shape[1] else None
    here = columns(measured.values, log_det)[index]
    due = _should_change(measured)[index, : here.shape[1]]
    if np.sum(due) >= 4 and np.mean((there == here)[due]) > 0.75:
        both = np.concatenate([rows, moved])
        both = columns(*subject(both, np.tile(context_row, 2)))
        if np.mean((both[: len(rows)] == both[len(rows) :])[due]) > 0.5:
            return row  # the same within one batch: the row on precision judges it
        return failed(
            row.name,
            "a batch, then the same moved by 1e-9",
            f"{subject.name} at {show(rows[0])}: {show(here[0])}, and the same bits when "
            "it is moved: does a cache round its rows?",
        )
    return row


def _nudged(rows, domain):
    """Return rows moved by 1e-9, relative to large numbers.

    The step leads away from an end that is near.
    """
    step = 1e-9 * np.maximum(np.abs(rows), 1)
    return rows + np.where(domain.upper - rows < rows - domain.lower, -step, step)


def _should_change(measured):
    """Return (P, K) bool: answers that :func:`_nudged` should change by many roundings."""
    rows = measured.probes.rows
    step = _nudged(rows, measured.domain) - rows
    due = np.einsum("pkj,pj->pk", np.nan_to_num(measured.derivatives.jacobian), step)
    size = np.abs(measured.derivatives.value)
    return np.abs(due) > 3e4 * np.finfo(np.float64).eps * (size + 1e-3)


def call_often(measured: Measurement, rng: Generator) -> None:
    """Call the subject until it was called some hundred times in the whole check."""
    subject, index = measured.subject, np.flatnonzero(measured.probes.bulk)[:8]
    start = subject.stopwatch.left()
    most = min(SECONDS * subject.stopwatch.patience, start / 2)
    while subject.calls < CALLS and start - subject.stopwatch.left() < most:
        measured.asked(rng.choice(index, size=min(3, len(index)), replace=False))


def many_calls(
    name: str, measured: Measurement, rng: Generator, others: Sequence[Measurement] = ()
) -> Row:
    """Check that the first answers still hold after many calls, and that all in between agreed.

    ``others`` are measurements of subjects that may share a state, such as the other direction of a
    flow. They are called as often before the first answers are asked for again.
    """
    subject, probes = measured.subject, measured.probes
    for other in others:
        try:
            call_often(other, rng)
        except NO_ANSWER:
            pass  # its own row reports the failure
    call_often(measured, rng)
    subject(probes.rows, probes.context_row)
    cache = subject.answer_cache
    slots = cache.slot_of(probes.rows, probes.context_row)
    points = np.flatnonzero(slots >= 0)
    points = points[np.argsort(-cache.distance[slots[points]], kind="stable")]
    if not len(points):
        return inconclusive(name, "no answer to compare with")
    dim = measured.values.shape[1]

    def split(answers):
        return answers[:, :dim], answers[:, dim] if answers.shape[1] > dim else None

    row = agree(
        name,
        measured,
        points,
        split(cache.worst[slots[points]]),
        f"in {subject.calls} calls, each compared with the first",
        first=split(cache.first[slots[points]]),
    )
    if not row.failed:
        return _asked_again(name, measured, row)
    words = [cache.words[slot] for slot in slots[points] if cache.words[slot]]
    return failed(
        name,
        row.why,
        f"{row.where}; first seen in {words[0] if words else '?'}",
        row.error,
        row.tolerance,
    )


def _asked_again(name, measured, row):
    """Repeat calls that were made for other properties, whose rows were new then."""
    subject = measured.subject
    start = subject.stopwatch.left()
    most = min(SECONDS * subject.stopwatch.patience, start / 2)
    noise = np.median(measured.derivatives.noise, axis=0)
    for call, rows, context_row, answers in subject.past.copy():
        if start - subject.stopwatch.left() > most:
            break
        if len(rows) * subject.seconds_a_row() > most:
            continue
        try:
            again = columns(*subject(rows, context_row)).astype(np.float64)
        except CallFailed as error:
            return failed(name, f"call {call}, made again, got no answer", str(error))
        if again.shape != answers.shape or not len(again):
            continue
        size = 1 + np.abs(answers) + np.median(np.nan_to_num(np.abs(answers)), axis=0)
        allowed = measured.slack * size + measured.accuracy + 10 * noise[: answers.shape[1]]
        found = unchanged(
            name,
            answers,
            again,
            allowed,
            row.why,
            lambda p: (
                f"the same row got another answer when call {call} was made again: "
                f"{subject.name} at {show(rows[p])}, row {p} of {len(rows)} (counted from 0): "
                f"{show(answers[p])}, then {show(again[p])}"
            ),
        )
        if found.failed:
            return found
    return row


def two_threads(name: str, measured: Measurement, rng: Generator) -> Row:
    """Check that two threads at once get the answers of one.

    On a busy machine one thread's call may be over before the other's begins. So groups of rounds
    follow, for a moment. They end when both threads ran at once half of the time, in six times as
    many rounds as a group has.
    """
    if not may_be_called_from_two_threads():
        return not_applicable(name, "Numba's workqueue layer allows one thread at a time")
    subject, probes = measured.subject, measured.probes
    known = measured.answered(least=2)
    patience = 4 * SECONDS * subject.stopwatch.patience
    rounds = int(np.clip(patience * subject.calls / max(subject.seconds, 1e-9) / 8, 6, ROUNDS))
    # All may share working memory, or batches of one size: half of the rounds have equal sizes.
    batches = [
        [rng.choice(known, size=size) for _ in range(rounds // 2) for size in pair]
        for pair in ((47, 64), (64, 64))
    ]
    at_once, until = 0, time.monotonic() + patience
    for group in range(1, GROUPS + 1):
        try:
            spans, answers = _at_once(subject, probes, batches)
        except StillRunning as error:
            subject.stopwatch.running += error.calls
            return inconclusive(
                name,
                "two threads at once: no answer in time, which may be a "
                f"deadlock; alone a row took {subject.seconds_a_row():.2g} s",
            )
        except CallFailed as error:
            return failed(name, "two threads at once", f"{subject.name} {error}")
        for indices, parts in zip(batches, answers):
            for index, answer in zip(indices, parts):
                row = agree(
                    name,
                    measured,
                    index,
                    subject.read(answer, probes.rows[index]),
                    "while another thread called, too",
                )
                if row.failed:
                    return row
        begun, done = np.array(spans).transpose(1, 0, 2)
        shared = done.min(axis=0) - begun.max(axis=0)
        at_once += np.sum(shared > np.min(done - begun, axis=0) / 2)
        if at_once >= 6 * rounds or time.monotonic() > until:
            break
    return passed(name, f"{2 * rounds * group} calls from two threads", row.error, row.tolerance)


def _at_once(subject, probes, batches):
    """Return (start and end of each call, its answer), with one thread for each list of batches."""
    start = threading.Barrier(2, timeout=max(subject.stopwatch.left(), 0.01))

    def ask(indices):
        # The arguments are made before, so that the two calls run at the same time.
        arguments = [
            subject.arguments(probes.rows[index], probes.context_row[index]) for index in indices
        ]
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
        calls = together([(ask, (indices,)) for indices in batches], subject.stopwatch.left())
        return zip(*[call.result() for call in calls])
    finally:
        sys.setswitchinterval(interval)


def parameters_unchanged(name: str, before: Any, after: Any) -> Row:
    """Check that the parameters are the same bytes before and after all calls."""
    if before is None:
        return not_applicable(name, "no parameters were named")
    changed = [k for k, (old, new) in enumerate(zip(before, after)) if old != new]
    if len(before) != len(after) or changed:
        return failed(
            name,
            "bytes compared before and after the whole check",
            f"{len(changed)} of {len(before)} arrays changed, the first is number "
            f"{changed[0] if changed else min(len(before), len(after))}",
        )
    return passed(name, f"{len(before)} arrays, bytes compared before and after the whole check")
