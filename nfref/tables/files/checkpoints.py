"""Checkpoints: files with the state of a fit after an epoch."""

from nfref.runtime.annotations import Any, PathLike
from nfref.runtime.checks import one_line
from nfref.tables.files import archives
from nfref.tables.files.archives import ArchiveError
from nfref.tables.fitting.trainings import SearchState

FORMAT, VERSION = "nfref checkpoint", 1
SEARCH = 11  # rises when a search takes another path: the bits change


def write(path: PathLike, state: SearchState, asked: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
    state : SearchState
    asked : dict
        All that decides the bits of the fit, by name, as JSON returns it; ``"DATA"`` is a digest of
        the rows.
    """
    archives.save(path, FORMAT, VERSION, {"asked": asked, "state": state})


def read(path: PathLike, asked: dict[str, Any]) -> SearchState:
    """Read the SearchState of a fit that asked for the same.

    Raises
    ------
    ArchiveError
        If there is no such file, if it is damaged, or if it belongs to another fit.
    """
    content = archives.load(path, "checkpoint", FORMAT, VERSION)
    if not isinstance(content.get("state"), SearchState):
        raise ArchiveError(f"{path}: expected the state of a fit, got others")
    written = content.get("asked")
    for name, value in asked.items():
        was = written.get(name) if isinstance(written, dict) else None
        if was != value:
            expected = {
                "DATA": "the DATA it was written with, got other rows",
                "search": "a checkpoint of this version's search, got one of an older "
                "search, with which only the nfref that wrote it goes on",
            }
            both = one_line(was, 60), one_line(value, 60)
            other = f"{name} {both[0]} as when it was written, got {both[1]}"
            raise ArchiveError(f"{path}: expected {expected.get(name, other)}")
    return content["state"]
