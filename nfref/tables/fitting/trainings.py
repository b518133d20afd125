"""Trainings of flows: their records, and the threads that run them.

A training is one flow on one fold. The threads take trainings in the order of a list, and their
results are asked for in that order; so the number of threads changes nothing but the time.
A checkpoint is the list of records.
"""

import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import interrupts
from nfref.runtime.annotations import Any, Callable, Sequence
from nfref.runtime.backends import one_thread
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.training.fit_state import FitState

CHECKPOINT_SECONDS = 60.0  # between two checkpoints
Key = tuple[str, int]  # a kind of flow by its name, and a fold


@dataclass(frozen=True)
class Training(Configuration):
    """The record of a training: in progress with a ``state``, or ended with a ``vector``.

    Attributes
    ----------
    name : str
        The name of the candidate.
    fold : int
    state : FitState or None
        Of the part with early stopping.
    vector : (P,) array or None
        The parameters, flat: the best by the held-out rows.
    final : (P,) array or None
        The parameters after training continued: with all rows, or, of one fold, those of the last
        epoch.
    history : dict of list of float
        The loss after every epoch.
    epochs : int
        The epochs of both parts of the training.
    seconds : float
    stopped, message : str
        Why training ended, in one word (see :class:`nfref.training.loop.FitResult`) and in one
        line.
    """

    name: str
    fold: int
    state: Any = None
    vector: Any = None
    final: Any = None
    history: Any = None
    epochs: int = 0
    seconds: float = 0.0
    stopped: str = ""
    message: str = ""

    @property
    def key(self) -> Key:
        """The name and the fold."""
        return self.name, self.fold

    def _check(self):
        require(
            isinstance(self.name, str)
            and isinstance(self.fold, int)
            and isinstance(self.message, str)
            and isinstance(self.stopped, str)
            and isinstance(self.state, (FitState, type(None)))
            and (self.state is None) != (self.vector is None)
            and self.seconds >= 0,
            "expected a state, or how training ended",
        )
        if self.vector is not None:
            check_floats("vector", self.vector, None)
            check_floats("final", self.final, *np.shape(self.vector))
            require(isinstance(self.history, dict), "history: expected lists by name")


@dataclass(frozen=True)
class SearchState(Configuration):
    """A checkpoint: all that it takes to continue a search.

    Simple densities are not part of it: they are fitted again, in seconds, to the same bits.

    Attributes
    ----------
    trainings : tuple of Training
    folds : int
        The number of folds. A time budget decides it, and a fit may be resumed with another.
    seconds : float
        Spent so far.
    """

    trainings: tuple
    folds: int
    seconds: float

    def _check(self):
        require(
            all(isinstance(one, Training) for one in self.trainings)
            and self.folds >= 1
            and self.seconds >= 0,
            "expected records of trainings",
        )


class Queue:
    """Trainings that threads take in the order in which they are added.

    Leaving the ``with`` statement stops all trainings.

    Parameters
    ----------
    train : callable
        (key, known, after_epoch) -> result, None without one. ``known`` is the record of an earlier
        fit, or None. ``after_epoch(state)`` raises KeyboardInterrupt if the training has to end.
    threads : int
        With several, each training has one thread for its kernels.
    records : sequence of Training
        Of an earlier fit.
    checkpoint : callable
        Called with all records, at most once in ``CHECKPOINT_SECONDS``, and when a signal ends the
        fit.
    """

    def __init__(
        self,
        train: Callable[[Key, Training | None, Callable[[FitState], None]], Any],
        threads: int,
        records: Sequence[Training],
        checkpoint: Callable[[tuple[Training, ...]], object],
    ) -> None:
        self._train, self._checkpoint = train, checkpoint
        self._context = one_thread() if threads > 1 else copy_context()
        self._pool = ThreadPoolExecutor(threads, "training")
        self._records = {one.key: one for one in records}
        self._futures: dict[Key, Future] = {}
        self._dropped: set[Key] = set()
        self._stopped = threading.Event()
        self._lock, self._written = threading.Lock(), time.monotonic()

    def __enter__(self) -> "Queue":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        if interrupts.came() and self._records:
            self._write()

    def add(self, keys: Sequence[Key]) -> None:
        """Put trainings behind those that are there."""
        for key in keys:
            self._futures[key] = self._pool.submit(self._context.copy().run, self._run, key)

    def drop(self, keys: Sequence[Key]) -> None:
        """Begin these trainings no more; those that run end after their epoch."""
        self._dropped.update(keys)
        for key in keys:
            self._futures[key].cancel()

    def result(self, key: Key) -> Any:
        """Wait for a training and return its result; None if it has none."""
        future = self._futures[key]
        while not future.done():
            wait([future], 0.2)  # on Windows, Ctrl-C cannot end a wait without a timeout
        try:
            return future.result()
        except CancelledError:
            return None

    def keep(self, training: Training) -> None:
        """Keep a record, and write a checkpoint if it is time."""
        with self._lock:
            self._records[training.key] = training
            if time.monotonic() - self._written >= CHECKPOINT_SECONDS:
                self._write()

    def _run(self, key):
        """Make a training in a thread."""
        if self._stopped.is_set() or key in self._dropped or interrupts.came():
            return None
        last = time.monotonic()

        def after_epoch(state):
            nonlocal last
            came = interrupts.came()
            if came or time.monotonic() - last >= CHECKPOINT_SECONDS:
                last = time.monotonic()
                stored = replace(state, unflatten=None, evaluated=None)
                self.keep(Training(*key, state=stored))
            if came or self._stopped.is_set() or key in self._dropped:
                raise KeyboardInterrupt

        return self._train(key, self._records.get(key), after_epoch)

    def _write(self):
        """Write a checkpoint of all records."""
        self._checkpoint(tuple(self._records.values()))
        self._written = time.monotonic()
