"""Call user code and turn failures into messages.

A callable may raise, return nonsense, hang, or write into its argument. `Subject` turns each of
these into a `CallFailed` with one line of text, or records it.

A call runs in a daemon thread, and the check waits for it. No thread can be killed: a call that
never ends goes on until the process ends, and one that holds the interpreter lock blocks the oracle
as well. While a call still runs, its callable is not called again: two calls at once could end the
process if compiled code is not made for that.
"""

import copy
import os
import sys
import time
import warnings
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from nfref.oracle.report import Row, failed, inconclusive, show
from nfref.runtime.abandonable import Call
from nfref.runtime.annotations import Any, Array, Callable, Sequence

KEPT = 1 << 20  # numbers of past calls that are kept to repeat them
PATIENT, HURRIED = 2.5, 0.2  # seconds of CPU of a check; the share of time for tests after that


class CallFailed(Exception):
    """The callable gave no usable answer; the message says why."""


class Raised(CallFailed):
    """The callable raised an error."""


class NotThere(Raised):
    """The callable does not exist: it raised NotImplementedError."""


class TimedOut(Exception):
    """The callable did not answer in time, or still runs an earlier call.

    This is no `CallFailed`: the time of a right answer depends on the machine.
    """


class Undecided(Exception):
    """A property cannot be judged; the message says why."""


class Inapplicable(Exception):
    """There is nothing that a property could be judged by; the message says why."""


NO_ANSWER = (CallFailed, TimedOut)
TRY_SINGLE = "if it computes in float32, check it with --dtype float32 (dtype=np.float32)"
REMEDY = "give it more time (seconds=), or an adapter that compiles it"


def no_answer(name: str, why: str, error: Exception) -> Row:
    """Return the row of a property for which a call gave no answer, or none in time."""
    if isinstance(error, TimedOut):
        return inconclusive(name, "out of time", str(error))
    return failed(name, why, str(error))


def refused(name: str, why: str, error: Exception, what: str) -> Row:
    """Return the row of a property for which a call refused ``what``: a limit, no wrong answer."""
    row = no_answer(name, why, error)
    if not isinstance(error, Raised):
        return row
    hint = f"{error}; it refuses {what}, which is a limit and no wrong answer: "
    return replace(row, hint=f"{hint}if it is intended, pass --skip {name} (skip=)")


class Timer:
    """Seconds since it was made, as an idle machine takes them.

    If more processes want to run than there are cores, each takes longer by the factor ``load``,
    but not more of a core's time. A subject may be another process, whose time is unknown. A
    verdict must not depend on the load of the machine.
    """

    def __init__(self) -> None:
        self.load, self.wall, self.cpu = load(), time.monotonic(), time.process_time()

    def __call__(self) -> float:
        """Return the seconds."""
        wall = time.monotonic() - self.wall
        return min(max(time.process_time() - self.cpu, wall / self.load), wall)


class Stopwatch:
    """The time that one property may take, and the calls that still run after it."""

    def __init__(self, seconds: float) -> None:
        self.start = time.process_time()
        self.seconds = seconds  # as an idle machine takes them
        self.running: list = []
        self.restart()

    def restart(self) -> None:
        """Start the time of the next property."""
        self.spent = Timer()
        self.end = time.monotonic() + self.spent.load * self.seconds

    def budget(self, seconds: float) -> float:
        """Return the time for a test that becomes more powerful the longer it lasts."""
        hurried = time.process_time() - self.start > PATIENT
        return min(HURRIED * seconds if hurried else seconds, self.seconds / 2)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def busy_with(self, function: Callable) -> bool:
        """Check that an earlier call still blocks this function.

        Wait for each such call once more, as long as a property may take: it may just be slow.
        """
        alone = not may_be_called_from_two_threads()
        for call in self.running:
            if not call.waited and (alone or call.function is function):
                call.waited = True
                call.join(max(self.left(), 0.0))
                self.restart()
        self.running = [call for call in self.running if call.is_alive()]
        return any(alone or call.function is function for call in self.running)

    def call(
        self,
        name: str,
        function: Callable,
        arguments: Sequence[Any],
        about: Callable[[], str] = lambda: "",
    ) -> Any:
        """Return ``function(*arguments)`` within the time that is left, or raise `TimedOut`.

        ``about`` returns what the message says of a call that takes too long.
        """
        if self.busy_with(function):
            raise TimedOut(f"{name} is not called: an earlier call still runs; {REMEDY}")
        try:
            return in_time(function, arguments, self.left())
        except StillRunning as error:
            self.running += error.calls
            raise TimedOut(f"{name} ran out of time{about()}; {REMEDY}") from None


def load() -> float:
    """Return the processes that want to run per core, averaged over a minute; 1 at least."""
    try:
        return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    except (AttributeError, OSError):  # unknown, on Windows for example
        return 1.0


class _Call(Call):
    """A call of user code, without NumPy's warnings."""

    waited = False

    def _answer(self):
        with np.errstate(all="ignore"):
            return super()._answer()

    def result(self) -> Any:
        """Return the value, or raise `Raised` if the call raised."""
        if self.error is None:
            return self.value
        text = (str(self.error).strip().splitlines() or [""])[0]
        kind = NotThere if isinstance(self.error, NotImplementedError) else Raised
        raise kind(f"raised {type(self.error).__name__}: {text[:160]}") from self.error


class StillRunning(Exception):
    """A call did not end in time; ``calls`` are the threads that still run."""

    def __init__(self, calls: list["_Call"]) -> None:
        super().__init__("no answer in time")
        self.calls = calls


def in_time(function: Callable, arguments: Sequence[Any], seconds: float) -> Any:
    """Return ``function(*arguments)``, or raise `CallFailed` or `StillRunning`."""
    return together([(function, arguments)], seconds)[0].result()


def together(calls: Sequence[tuple[Callable, Sequence[Any]]], seconds: float) -> list[_Call]:
    """Start (function, arguments) pairs at once, each in a thread, and wait for all of them."""
    threads = [_Call(function, arguments) for function, arguments in calls]
    end = time.monotonic() + max(seconds, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))
    running = [thread for thread in threads if thread.is_alive()]
    if running:
        for thread in running:
            thread.abandoned = True
        raise StillRunning(running)
    return threads


def may_be_called_from_two_threads() -> bool:
    """Return False with Numba's workqueue layer: two kernels at once abort the process."""
    numba = sys.modules.get("numba")
    if numba is None:
        return True
    try:
        return numba.threading_layer() != "workqueue"
    except ValueError:  # no parallel kernel has run yet
        return True


def _change(old, new):
    """Say where an array (N, C) was written into first, by its bits."""
    bits = f"u{old.itemsize}"
    changed = np.flatnonzero(old.ravel().view(bits) != new.ravel().view(bits))
    row, column = np.unravel_index(changed[0], old.shape)
    before, after = old.flat[changed[0]], new.flat[changed[0]]
    return f"row {row}, column {column} (counted from 0): {before:.6g} became {after:.6g}"


def columns(values: Array, log_det: Array | None) -> Array:
    """Return values, and log_det if there is one, side by side as (N, K)."""
    parts = [values if values.ndim == 2 else values[:, None]]
    return np.concatenate(parts if log_det is None else [*parts, log_det[:, None]], axis=1)


# (values, log_det) of rows; log_det is None if there is none.
Answer: TypeAlias = tuple[Array, Any]


class Subject:
    """One direction of a flow: a callable on rows that gets copies, and whose calls are recorded.

    Its name is "forward", "inverse" or "log_prob". The function takes rows (N, D), and rows of the
    context if there is one, and returns (values, log_det) or values alone. ``dim`` is the width D
    of the values; None where the answer is one number a row (a log-density).
    """

    def __init__(self, name, function, dim, context, dtype, stopwatch):
        self.name, self.function, self.dim = name, function, dim
        self.context, self.dtype, self.stopwatch = context, np.dtype(dtype), stopwatch
        self.dtype_faults, self.shape_faults, self.changed_inputs = [], [], []
        self.has_log_det, self.is_there = dim is not None, True
        self.calls, self.rows, self.seconds = 0, 0, 0.0
        self.past, self.kept = [], 0  # (number of the call, rows, context_row, answers)

    def apart(self, **changes: Any) -> "Subject":
        """Return the same callable with some attributes changed, and no past calls."""
        other = copy.copy(self)
        vars(other).update(past=[], kept=0, **changes)
        return other

    def arguments(
        self, rows: Array, context_row: Array, arrange: Callable = np.array
    ) -> list[Array]:
        """Return copies of the rows and of their context, in the memory layout of ``arrange``."""
        given = [rows] if self.context is None else [rows, self.context[context_row]]
        return [arrange(part) for part in given]

    def seconds_a_row(self) -> float:
        """Return the mean time of a row so far, in large and small batches."""
        return max(self.seconds / max(self.rows, 1), 1e-9)

    def raw(self, rows: Array, context_row: Array, arrange: Callable = np.array) -> Any:
        """Return the callable's own answer; record a call that wrote into its arguments."""
        arguments = self.arguments(rows, context_row, arrange)
        before = [argument.copy() for argument in arguments]

        def about():
            largest, usual = np.max(np.abs(rows), initial=0), 1e3 * self.seconds_a_row()
            words = f": no answer within {self.stopwatch.seconds:g} s for {len(rows)} rows"
            return f"{words}, largest entry {largest:.3g}, where others took {usual:.3g} ms each"

        seconds = Timer()
        self.calls += 1
        try:
            answer = self.stopwatch.call(self.name, self.function, arguments, about)
        except CallFailed as error:
            where = f", first {show(rows[0])}" if len(rows) else ""
            raise type(error)(f"{self.name} {error} ({len(rows)} rows{where})") from None
        self.seconds += seconds()
        self.rows += len(rows)
        for name, old, new in zip(("its input", "the context"), before, arguments):
            if old.tobytes() != new.tobytes():
                self.changed_inputs.append(f"{self.name} wrote into {name}: {_change(old, new)}")
        return answer

    def __call__(self, rows: Array, context_row: Array, arrange: Callable = np.array) -> Answer:
        """Return (values, log_det) in the working dtype; log_det is None if there is none.

        A wrong dtype or a wrong shape of log_det is recorded and repaired, so that the other
        properties can still be judged. A wrong shape of the values is an error. No rows are no
        call: a subject may refuse them, which is a property of its own.
        """
        if not len(rows):
            values = np.zeros((0, rows.shape[1] if self.dim else 1), dtype=rows.dtype)
            return values, values[:, 0] if self.has_log_det else None
        values, log_det = self.read(self.raw(rows, context_row, arrange), rows)
        if len(self.past) < 200 and self.kept + rows.size < KEPT:
            self.kept += rows.size
            answers = columns(values, log_det).astype(np.float64)
            self.past.append((self.calls, np.array(rows), context_row, answers))
        return values, log_det

    def numbers(self, rows: Array, context_row: Array) -> Array:
        """Return values and log_det, if there is one, side by side in float64, (N, K)."""
        return columns(*self(rows, context_row)).astype(np.float64)

    def read(self, answer: Any, rows: Array) -> Answer:
        """Return (values, log_det), checked and cast like :meth:`__call__`; log_prob as (N, 1)."""
        values, log_det = self.split(answer)
        if self.dim is None:
            return self._one_a_row("log-densities", values, rows)[:, None], None
        values, expected = self._array("values", values), (len(rows), self.dim)
        if values.shape != expected:
            self._wrong_shape("values", values, expected)
            raise CallFailed(self.shape_faults[-1])
        if log_det is not None:
            log_det = self._one_a_row("log_det", log_det, rows)
        return self._cast("values", values, rows.dtype), log_det

    def _one_a_row(self, what, value, rows):
        numbers = self._array(what, value)
        if numbers.shape != (len(rows),):
            self._wrong_shape(what, numbers, (len(rows),))
            if numbers.size not in (1, len(rows)):
                raise CallFailed(self.shape_faults[-1])
            numbers = np.broadcast_to(numbers.ravel(), len(rows)).copy()
        return self._cast(what, numbers, rows.dtype)

    def _wrong_shape(self, what, array, expected):
        words = f"{self.name} returned {what} of shape {array.shape}, expected {expected}"
        if array.ndim == 2 and array.shape[:1] == expected:
            words += ": take [:, 0]" if array.shape[1] == 1 else ": sum over axis 1"
        self.shape_faults.append(words)

    def split(self, answer: Any) -> Any:
        """Split an answer into (values, log_det)."""
        if answer is None or isinstance(answer, dict):
            got = "None" if answer is None else "a dict"
            expected = "(values, log_det)" if self.dim else "log-densities"
            raise CallFailed(f"{self.name} returned {got}, expected {expected}")
        parts = answer if isinstance(answer, (tuple, list)) else (answer, None)
        if not self.has_log_det:
            return (parts[0] if self.dim else answer), None
        if len(parts) != 2:
            words = f"a tuple of {len(parts)}, expected (values, log_det)"
            raise CallFailed(f"{self.name} returned {words}")
        if parts[0] is None:
            raise CallFailed(f"{self.name} returned None for the values")
        return parts

    def _array(self, what, value):
        returned = f"{self.name} returned {what}"
        try:
            array = np.asarray(value)
        except Exception as error:
            kind = type(error).__name__
            raise CallFailed(f"{returned} that NumPy cannot convert: {kind}") from None
        if array.dtype.kind not in "fiubc":
            kind = type(value).__name__
            raise CallFailed(f"{returned} of type {kind}, expected an array of numbers")
        return array

    def _cast(self, what, array, dtype):
        if array.dtype != dtype:
            words = f"{self.name} got {dtype}, returned {what} {array.dtype}"
            words += f"; {TRY_SINGLE}" * (array.dtype == np.float32)
            self.dtype_faults.append(words)
            array = array.real.astype(dtype) if array.dtype.kind == "c" else array.astype(dtype)
        return array
