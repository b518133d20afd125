"""Checkpoints: where ``nfref fit`` stands after an epoch, in a file."""

import contextlib
import hashlib
import math
import os
import time

import numpy as np

from nfref.cli.arguments import UsageError
from nfref.cli.streams import complain
from nfref.runtime.files import is_special
from nfref.tables.archives import ArchiveError, one_line, opened_archive, write_archive
from nfref.tables.candidates import DoneFlow, SearchState
from nfref.training.fitting import FitState

FORMAT = "nfref checkpoint"
SEARCH = "nfref checkpoint of a search"
EVERY = 60                  # seconds between checkpoints that nobody asked for
VERSION = 1
SEARCH_VERSION = 2          # 1 had one generator for all flows
VECTORS = ("vector", "averaged", "m", "v", "best")
NUMBERS = ("steps", "best_score", "best_epoch", "history", "rng")


class Keeper:
    """Writes checkpoints: after every epoch where they were asked for, else every minute.

    Those that nobody asked for stand beside the model and go when it is written. A disk that is
    full ends no fit.

    Parameters
    ----------
    options : namespace
        Of ``nfref fit``.
    asked : dict
        From :func:`asked_for` or :func:`asked_for_search`.
    write : callable
        (path, state, asked).
    say : callable
    """

    def __init__(self, options, asked, write, say):
        self.asked, self.write, self.say = asked, write, say
        self.failed = self.written = False
        self.own = options.checkpoint is None and options.out and not is_special(options.out)
        self.path = f"{options.out}.checkpoint" if self.own else options.checkpoint
        self.last = time.monotonic()

    def __call__(self, state):
        """Write one, if it is time."""
        if self.path is None or self.own and time.monotonic() - self.last < EVERY:
            return
        try:
            self.write(self.path, state, self.asked)
            if self.own and not self.written:
                self.say(f"--resume {self.path} goes on from here should this process be killed")
            self.written = True
        except OSError as error:
            if not self.failed:
                complain(f"nfref: warning: {error}; the fit goes on, this checkpoint is missing")
            self.failed = True
        self.last = time.monotonic()

    def done(self):
        """The model is written."""
        if self.own and self.written:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def asked_for(options, name, rate, values):
    """All that decides the bits of a fit, as a dictionary; equal for a fit that goes on."""
    kept = ("layers", "hidden", "batch", "dtype", "bounded", "drop_duplicates", "trace",
            "rtol", "regularise", "weights")
    return {**_rows(options, values), "flow": name, "lr": rate, **_plain(options, kept)}


def asked_for_search(options, values):
    """The same of a search among several candidates."""
    kept = ("members", "epochs", "batch", "lr", "column", "given", "bounded",
            "drop_duplicates", "weights")
    return {**_rows(options, values), "flow": "auto", **_plain(options, kept)}


def _rows(options, values):
    """What decides which rows are fitted to; other rows of one file are drawn by another seed."""
    return {**_plain(options, ("seed", "rows")),
            "DATA": hashlib.sha256(np.ascontiguousarray(values)).hexdigest()}


def _plain(options, names):
    """Options as what JSON gives back."""
    given = {name: getattr(options, name) for name in names}
    return {name: [list(one) if isinstance(one, tuple) else one for one in value]
            if isinstance(value, (list, tuple)) else value for name, value in given.items()}


def write(path, state, asked):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
    state : FitState
    asked : dict
        From :func:`asked_for`.
    """
    header = {"format": FORMAT, "version": VERSION, "asked": asked,
              **{name: getattr(state, name) for name in NUMBERS}}
    write_archive(path, header, {name: getattr(state, name) for name in VECTORS})


def read(path, asked):
    """The state in a checkpoint that was written by a fit which asked for the same.

    Raises
    ------
    UsageError
        If there is none, it is damaged, or it is that of another fit.
    """
    try:
        with opened_archive(path, "checkpoint") as archive:
            header = archive.header(FORMAT, VERSION, "a checkpoint that nfref wrote")
            if set(archive.forms) != {"header", "digest", *VECTORS}:
                raise ArchiveError("expected the arrays of a checkpoint, got others")
            arrays = {name: archive.read(name) for name in VECTORS}
            archive.check_digest(arrays)
            state = _state(header, arrays)
    except ArchiveError as error:
        raise UsageError(f"--resume: {error}") from None
    _check_asked(path, header.get("asked"), asked)
    return state


def _check_asked(path, written, asked):
    """That a checkpoint was written by a fit which asked for the same."""
    for option, value in asked.items():
        was = written.get(option) if isinstance(written, dict) else None
        if was != value:
            if option == "DATA":
                raise UsageError(f"--resume: {path}: expected the DATA it was written with, "
                                 "got other rows")
            raise UsageError(f"--resume: {path}: expected --{option.replace('_', '-')} {was} "
                             f"as when it was written, got {value}")


def write_search(path, state, asked):
    """Write a checkpoint of a search, whole or not at all.

    Parameters
    ----------
    path : path-like
    state : SearchState
    asked : dict
        From :func:`asked_for_search`.
    """
    now = state.current
    header = {"format": SEARCH, "version": SEARCH_VERSION, "asked": asked, "seconds": state.seconds,
              "done": [{"message": flow.message, "history": flow.history, "seconds": flow.seconds}
                       for flow in state.done],
              "current": now and {name: getattr(now, name) for name in NUMBERS}}
    vectors = {} if now is None else {name: getattr(now, name) for name in VECTORS}
    write_archive(path, header, {**vectors, **{f"done{k}": flow.vector
                                               for k, flow in enumerate(state.done)}})


def read_search(path, asked):
    """The SearchState in a checkpoint; errors as of :func:`read`."""
    try:
        with opened_archive(path, "checkpoint") as archive:
            header = archive.header(SEARCH, SEARCH_VERSION,
                                    "a checkpoint that nfref wrote of --flow auto")
            if header["version"] < SEARCH_VERSION:
                raise ArchiveError(f"expected format version {SEARCH_VERSION}, got "
                                   f"{header['version']}, which an older nfref goes on from")
            done = header.get("done")
            if not isinstance(done, list):
                raise ArchiveError("expected the flows that are done, got others")
            vectors = VECTORS if header.get("current") else ()
            names = [*vectors, *(f"done{k}" for k in range(len(done)))]
            if set(archive.forms) != {"header", "digest", *names}:
                raise ArchiveError("expected the arrays of a checkpoint, got others")
            arrays = {name: archive.read(name) for name in names}
            archive.check_digest(arrays)
            try:
                current = _state(header["current"], {name: arrays[name] for name in VECTORS}
                                 ) if vectors else None
                state = SearchState(tuple(
                    DoneFlow(arrays[f"done{k}"], str(flow["message"]), dict(flow["history"]),
                             float(flow["seconds"])) for k, flow in enumerate(done)),
                    current, float(header["seconds"]))
            except (KeyError, TypeError, ValueError) as error:
                raise ArchiveError(f"expected the state of a search, got {one_line(error)}"
                                   ) from None
    except ArchiveError as error:
        raise UsageError(f"--resume: {error}") from None
    _check_asked(path, header.get("asked"), asked)
    return state


def _state(header, arrays):
    sizes = {(array.shape, array.dtype) for array in arrays.values()}
    if len(sizes) > 1 or arrays["vector"].ndim != 1:
        raise ArchiveError("expected vectors of one length and dtype, got others")
    try:
        state = FitState(**arrays, **{name: header[name] for name in NUMBERS})
        np.random.default_rng(0).bit_generator.state = state.rng
        passed = [[float(value) for value in values] for values in state.history.values()]
        if (not {"train"} <= set(state.history) <= {"train", "validation"}
                or len({len(values) for values in passed}) != 1
                or type(state.steps) is not int or math.isnan(state.best_score)
                or not (state.best_epoch is None or 0 <= int(state.best_epoch) < len(passed[0]))):
            raise ValueError("numbers that do not fit each other")
    except Exception as error:      # whatever stands in the header
        raise ArchiveError(f"expected the state of a fit, got {one_line(error)}") from None
    return state
