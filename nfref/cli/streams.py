"""Standard output and standard error, whatever they are connected to."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Make both streams usable within the block, and restore them at its end.

    A stream that the caller closed (``>&-``) is None in Python; output to it is discarded. A
    terminal that is not UTF-8 shows other characters as escapes.
    """
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(sys.stdout or nowhere),
        contextlib.redirect_stderr(sys.stderr or nowhere),
    ):
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        yield


def is_closed() -> bool:
    """Return whether standard output was closed, so that :func:`usable` put a sink in its place."""
    return getattr(sys.stdout, "name", None) == os.devnull


@contextlib.contextmanager
def utf8_output() -> Iterator[TextIO]:
    """Yield standard output as UTF-8, so that it can be read again."""
    if not hasattr(sys.stdout, "reconfigure"):
        yield sys.stdout
        return
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    try:
        yield sys.stdout
        sys.stdout.flush()
    finally:
        with contextlib.suppress(OSError):  # the error of the write is reported already
            sys.stdout.reconfigure(encoding=encoding, errors=errors)


class TolerantStream:
    """A text stream that survives a broken output; ``problem`` is the error."""

    def __init__(self, stream):
        self._stream, self.problem = stream, None

    def write(self, text: str) -> int:
        """Write text."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._try(self._stream.flush)

    def _try(self, action, *arguments):
        if self.problem is None:
            try:
                action(*arguments)
            except OSError as error:
                self.problem = error

    def __getattr__(self, name):
        return getattr(self._stream, name)


@contextlib.contextmanager
def tolerant(needed: object = True) -> Iterator[None]:
    """Let no broken stream end the block; raise a broken standard output at its end.

    Parameters
    ----------
    needed : bool
        False leaves the streams as they are.
    """
    if not needed:
        yield
        return
    output = TolerantStream(sys.stdout)
    errors = contextlib.redirect_stderr(TolerantStream(sys.stderr))
    with contextlib.redirect_stdout(output), errors:
        yield
        output.flush()
    if output.problem is not None:
        raise output.problem


def flush_or_discard() -> None:
    """Flush both streams; discard what a broken one still holds, or Python would exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def say(line: str) -> None:
    """Print a line about the work on standard output."""
    print(line, flush=True)


def say_written(path: str, what: str = "") -> None:
    """Say that a file is written; not of a device or a pipe, which may be standard output."""
    from nfref.runtime.files import is_special

    if not is_special(path):
        say(f"wrote {path}" + (f": {what}" if what else ""))


def note(text: str, kind: str = "note: ") -> None:
    """Print a note on standard error."""
    complain(f"nfref: {kind}{text}")


def complain(text: str) -> None:
    """Print a line on standard error, if it is open."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def row_bar(shown: object = True, **options: Any) -> Any:
    """Return a progress bar that counts rows, on a terminal and if ``shown``."""
    from tqdm import tqdm

    return tqdm(unit="row", disable=None if shown else True, **options)


def printable(text: object) -> str:
    """Return text with control characters and line breaks as escapes."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in str(text)
    )
