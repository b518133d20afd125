"""Write the checkpoints of ``nfref fit``."""

import contextlib
import os

from nfref.cli.streams import complain, say
from nfref.runtime.files import is_special
from nfref.tables.files import checkpoints
from nfref.tables.fitting.trainings import SearchState


class CheckpointWriter:
    """Write the checkpoints of a search.

    Checkpoints that you did not ask for are beside the model, and go when it is written. A full
    disk does not end the fit.

    Parameters
    ----------
    path : str or None
        The file of --resume.
    out : str or None
        The model file.
    asked : dict
        All that decides the bits of the fit.
    """

    def __init__(self, path, out, asked):
        self.asked = asked
        self.failed = self.written = False
        self.own = path is None and out and not is_special(out)
        self.path = f"{out}.checkpoint" if self.own else path

    def __call__(self, state: SearchState) -> None:
        """Write one."""
        if self.path is None:
            return
        try:
            checkpoints.write(self.path, state, self.asked)
            if self.own and not self.written:
                say(f"--resume {self.path} goes on from here should this process be killed")
            self.written = True
        except OSError as error:
            if not self.failed:
                complain(f"nfref: warning: {error}; the fit goes on, this checkpoint is missing")
            self.failed = True

    def done(self) -> None:
        """Remove a checkpoint that you did not ask for, once the model is written."""
        if self.own and self.written:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
