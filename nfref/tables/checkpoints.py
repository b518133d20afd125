"""Checkpoints: where the fit of a table stands after an epoch, in a file."""

from dataclasses import replace

from nfref.runtime.annotations import Any, PathLike
from nfref.tables import archives
from nfref.tables.archives import ArchiveError
from nfref.tables.plan import SearchState

FORMAT, VERSION = "nfref checkpoint", 1


def write(path: PathLike, state: SearchState, asked: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
    state : SearchState
    asked : dict
        All that decides the bits of the fit, by name, as JSON gives it back; ``"DATA"`` stands for
        the rows.
    """
    now = state.current and replace(state.current, unflatten=None, evaluated=None)
    archives.save(path, FORMAT, VERSION, {"asked": asked, "state": replace(state, current=now)})


def read(path, asked):
    """The SearchState in a checkpoint that was written by a fit which asked for the same.

    Raises
    ------
    ArchiveError
        If there is none, it is damaged, or it is that of another fit.
    """
    content = archives.load(path, "checkpoint", FORMAT, VERSION)
    if not isinstance(content.get("state"), SearchState):
        raise ArchiveError(f"{path}: expected the state of a fit, got others")
    written = content.get("asked")
    for name, value in asked.items():
        was = written.get(name) if isinstance(written, dict) else None
        if was != value:
            raise ArchiveError(
                f"{path}: expected the DATA it was written with, got other rows" if name == "DATA"
                else f"{path}: expected {name} {was} as when it was written, got {value}")
    return content["state"]
