"""Calling somebody else's function so that whatever it does becomes a sentence.

A callable may raise, return nonsense, hang, or write into its argument. `Subject` turns
each of these into a `CallFailed` with one line of text, or notes it.

Limits of the time budget: a call runs in a daemon thread that is waited for. A thread
cannot be killed, so a call that never ends goes on in the background until the process
ends, and one that holds the interpreter lock in compiled code without ever releasing it
blocks the oracle as well. Signals would work on the main thread of a Unix process only.
"""

import threading
import time
import warnings

import numpy as np

from nfref.oracle.report import show


class CallFailed(Exception):
    """The callable gave no usable answer; the message says how."""


class NotThere(CallFailed):
    """The callable says itself that it does not exist: it raised NotImplementedError."""


class Stopwatch:
    """The time that one property may take."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.restart()

    def restart(self):
        self.end = time.monotonic() + self.seconds

    def left(self):
        return self.end - time.monotonic()


def in_time(function, arguments, seconds):
    """``function(*arguments)``, or `CallFailed` when it raises or takes too long."""
    outcome = {}

    def work():
        try:
            with np.errstate(all="ignore"):
                outcome["value"] = function(*arguments)
        except BaseException as error:      # SystemExit too: it must not pass unseen
            outcome["error"] = error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(max(seconds, 0.0))
    if thread.is_alive():
        raise TimeoutError
    if "error" in outcome:
        error = outcome["error"]
        text = (str(error).strip().splitlines() or [""])[0]
        kind = NotThere if isinstance(error, NotImplementedError) else CallFailed
        raise kind(f"raised {type(error).__name__}: {text[:160]}")
    return outcome["value"]


class Subject:
    """One direction of a flow: a callable on rows, called with copies and watched.

    Parameters
    ----------
    name : str
        "forward", "inverse" or "log_prob".
    function : callable
        rows (N, D) -> (values, log_det) or values alone; with a context,
        ``function(rows, context)``.
    dim : int or None
        Width D of the values; None where the answer is one number a row (a log-density).
    context : (M, C) array or None
    dtype : numpy dtype
    stopwatch : Stopwatch
    """

    def __init__(self, name, function, dim, context, dtype, stopwatch):
        self.name, self.function, self.dim = name, function, dim
        self.context, self.dtype, self.stopwatch = context, np.dtype(dtype), stopwatch
        self.dtype_faults, self.shape_faults, self.changed_inputs = [], [], []
        self.has_log_det = dim is not None
        self.timeouts = 0
        self.first_answer = None

    def raw(self, rows, context_row):
        """The callable's own answer; notes whether it wrote into its arguments."""
        if self.timeouts >= 2:
            raise CallFailed(f"{self.name} is not called any more: it ran out of time twice")
        given = np.array(rows)
        arguments = [given]
        if self.context is not None:
            arguments.append(self.context[context_row])
        before = [argument.copy() for argument in arguments]
        try:
            answer = in_time(self.function, arguments, self.stopwatch.left())
        except TimeoutError:
            self.timeouts += 1
            raise CallFailed(f"{self.name} ran out of time: no answer within "
                             f"{self.stopwatch.seconds:g} s for {len(rows)} rows, largest entry "
                             f"{np.max(np.abs(rows), initial=0):.3g}") from None
        except CallFailed as error:
            where = f", first {show(rows[0])}" if len(rows) else ""
            raise type(error)(f"{self.name} {error} ({len(rows)} rows{where})") from None
        for name, old, new in zip(("its input", "the context"), before, arguments):
            if old.tobytes() != new.tobytes():
                self.changed_inputs.append(f"{self.name} wrote into {name}: "
                                           f"{show(old.ravel())} became {show(new.ravel())}")
        return answer

    def __call__(self, rows, context_row):
        """(values, log_det) in the working dtype, log_det None where there is none.

        A wrong dtype or a wrong shape of log_det is noted and worked around, so that the
        other properties can still be judged; a wrong shape of the values is not.
        """
        values, log_det = self.split(self.raw(rows, context_row))
        expected = (len(rows),) if self.dim is None else (len(rows), self.dim)
        values = self._array("values", values)
        if values.shape != expected:
            raise CallFailed(f"{self.name} returned values of shape {values.shape}, "
                             f"expected {expected}")
        if log_det is None:
            return self._cast("values", values, rows.dtype), None
        log_det = self._array("log_det", log_det)
        if log_det.shape != (len(rows),):
            self.shape_faults.append(f"{self.name} returned log_det of shape {log_det.shape}, "
                                     f"expected {(len(rows),)}")
            fits = log_det.size == len(rows) or log_det.size == 1
            if not fits:
                raise CallFailed(self.shape_faults[-1])
            log_det = np.broadcast_to(log_det.ravel(), len(rows)).copy()
        return (self._cast("values", values, rows.dtype),
                self._cast("log_det", log_det, rows.dtype))

    def split(self, answer):
        """An answer taken apart into (values, log_det)."""
        if answer is None:
            raise CallFailed(f"{self.name} returned None, expected "
                             + ("(values, log_det)" if self.dim else "log-densities"))
        if not self.has_log_det:
            return (answer[0] if isinstance(answer, (tuple, list)) and self.dim else answer), None
        if isinstance(answer, (tuple, list)):
            if len(answer) != 2:
                raise CallFailed(f"{self.name} returned {len(answer)} things, "
                                 "expected (values, log_det)")
            if answer[0] is None:
                raise CallFailed(f"{self.name} returned None for the values")
            return answer
        return answer, None

    def _array(self, what, value):
        try:
            array = np.asarray(value)
        except Exception as error:
            raise CallFailed(f"{self.name} returned {what} that are no array: "
                             f"{type(error).__name__}") from None
        if array.dtype.kind not in "fiubc":
            raise CallFailed(f"{self.name} returned {what} of type {type(value).__name__}, "
                             "expected an array of numbers")
        return array

    def _cast(self, what, array, dtype):
        if array.dtype != dtype:
            self.dtype_faults.append(f"{self.name} got {dtype}, returned {what} {array.dtype}")
            array = array.real.astype(dtype) if array.dtype.kind == "c" else array.astype(dtype)
        return array
