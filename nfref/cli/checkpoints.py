"""Checkpoints: where ``nfref fit`` stands after an epoch, in a file."""

import contextlib
import hashlib
import os
import time
from dataclasses import replace

import numpy as np

from nfref.cli.arguments import UsageError
from nfref.cli.streams import complain
from nfref.runtime.files import is_special
from nfref.tables import archives
from nfref.tables.archives import ArchiveError
from nfref.tables.candidates import SearchState
from nfref.training.fitting import FitState

FORMAT = "nfref checkpoint"
SEARCH = "nfref checkpoint of a search"
EVERY = 60      # seconds between checkpoints that nobody asked for
VERSION = 1


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


def write(path, state, asked, kind=FORMAT):
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
    state : FitState
    asked : dict
        From :func:`asked_for`.
    """
    archives.save(path, kind, VERSION, {"asked": asked, "state": _bare(state)})


def write_search(path, state, asked):
    """The same of a SearchState, with what :func:`asked_for_search` gives."""
    current = None if state.current is None else _bare(state.current)
    write(path, replace(state, current=current), asked, SEARCH)


def _bare(state):
    """A state without what only a fit under way can hold."""
    return replace(state, unflatten=None, evaluated=None) if isinstance(state, FitState) else state


def read(path, asked, kind=FORMAT, state=FitState):
    """The state in a checkpoint that was written by a fit which asked for the same.

    Raises
    ------
    UsageError
        If there is none, it is damaged, or it is that of another fit.
    """
    try:
        content = archives.load(path, "checkpoint", kind, VERSION)
        if not isinstance(content.get("state"), state):
            raise ArchiveError(f"{path}: expected the state of a fit, got others")
    except ArchiveError as error:
        raise UsageError(f"--resume: {error}") from None
    _check_asked(path, content.get("asked"), asked)
    return content["state"]


def read_search(path, asked):
    """The SearchState in a checkpoint; errors as of :func:`read`."""
    return read(path, asked, SEARCH, SearchState)


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
