"""When ``nfref fit`` writes checkpoints, and where."""

import contextlib
import os
import time

from nfref.cli.streams import complain
from nfref.runtime.files import is_special
from nfref.tables.files import checkpoints

EVERY = 60  # seconds between checkpoints that nobody asked for


class CheckpointWriter:
    """Writes checkpoints: after every epoch where they were asked for, else every minute.

    Those that nobody asked for stand beside the model and go when it is written. A disk that is
    full ends no fit.

    Parameters
    ----------
    path : str or None
        Where they were asked for.
    out : str or None
        Where the model will be.
    asked : dict
        All that decides the bits of the fit.
    say : callable
    """

    def __init__(self, path, out, asked, say):
        self.asked, self.say = asked, say
        self.failed = self.written = False
        self.own = path is None and out and not is_special(out)
        self.path = f"{out}.checkpoint" if self.own else path
        self.last = time.monotonic()

    def __call__(self, state):
        """Write one, if it is time."""
        if self.path is None or self.own and time.monotonic() - self.last < EVERY:
            return
        try:
            checkpoints.write(self.path, state, self.asked)
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
