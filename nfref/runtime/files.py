"""Write files so that a reader never sees an incomplete one.

A file is written under a temporary name beside its target (a part), then moved over the target. A
process that is killed in the meantime leaves its part behind.
"""

import contextlib
import os
import stat
import tempfile
import threading
import time
from typing import BinaryIO

from nfref.runtime.annotations import Iterator, PathLike

try:
    import fcntl
except ImportError:  # Windows: no process waits for another one
    fcntl = None  # type: ignore[assignment]

PART = (".nfref-", ".part")  # start and end of a part's name


def is_special(path: PathLike) -> bool:
    """Return whether ``path`` names a device, or what is there is a pipe or no regular file."""
    if os.path.dirname(path) in ("/dev", "/dev/fd"):  # /dev/stdout may lead to a regular file
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _target_of(path):
    """Return the file that links lead to; a pipe behind /dev/stdout has no other name."""
    return os.fspath(path) if is_special(path) else os.path.realpath(path)


def _mode(path):
    """Return the permissions of the file to replace, or those of a new file."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` at the end of the block.

    After an error or an interrupt before that, the target stays as it was. Links are followed; a
    device or a pipe is written directly.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    binary file
    """
    target = _target_of(path)
    if is_special(target):
        with _named(path), open(target, "wb") as file:
            yield file
        return
    check_writable(path)
    with _named(path):
        descriptor, part = tempfile.mkstemp(PART[1], PART[0], os.path.dirname(target))
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, _mode(target))
            os.replace(part, target)
        except BaseException:
            os.unlink(part)
            raise


def check_writable(path: PathLike, size: int = 0) -> None:
    """Check that a file of ``size`` bytes can be written at ``path``, before long work.

    Raises
    ------
    OSError
        One line that names the path.
    """
    target = _target_of(path)
    folder = os.path.dirname(target)
    if not os.path.basename(os.fspath(path)):
        raise IsADirectoryError(f"{path}: expected a file to write, got a folder")
    with _named(path):
        try:
            kind = os.stat(target)  # this too finds a name that is too long
        except (FileNotFoundError, NotADirectoryError):
            kind = None
    if kind is not None:
        if stat.S_ISDIR(kind.st_mode):
            raise IsADirectoryError(f"{path}: expected a file to write, got a folder")
        if not os.access(target, os.W_OK):
            raise PermissionError(
                f"{path}: expected a file that can be written, got one without write permission"
            )
        if is_special(target):
            return
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise FileNotFoundError(f"{path}: {folder} is not a folder")
        raise FileNotFoundError(f"{path}: folder {folder} does not exist")
    try:
        file = tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise type(error)(
            f"{path}: expected a folder to write into, got {folder} ({error.strerror})"
        ) from None
    with file, _named(path):
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


@contextlib.contextmanager
def _named(path):
    """Let the system's errors name the file, not its part."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # the message is one line already
            raise
        raise type(error)(f"{path}: {error.strerror}") from None


# One process at a time --------------------------------------------------------------------


class Turn:
    """The right of one process at a time to make a file; it ends with the process.

    If another process has the right, it waits up to ``seconds`` for it. It goes on without the
    right where locks do not work: in a folder that cannot be written, on a file system without
    locks.
    """

    def __init__(self, path: PathLike, seconds: float) -> None:
        folder = os.path.dirname(path)
        self._path = self._lock_of(path)
        self._descriptor: int | None = None
        self._ending = threading.Lock()
        end = time.monotonic() + seconds
        if fcntl is None:
            return
        with contextlib.suppress(OSError):
            os.makedirs(folder, 0o700, exist_ok=True)
            while self._descriptor is None and time.monotonic() < end:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                if _lock(descriptor):
                    self._descriptor = descriptor
                else:
                    os.close(descriptor)
                    time.sleep(0.05)

    @staticmethod
    def _lock_of(path):
        """Return the file that a process locks to have the turn."""
        folder, name = os.path.split(path)
        return os.path.join(folder, name.join(PART))

    def end(self) -> None:
        """Pass the right on to another process. Several threads may call this."""
        with self._ending:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(descriptor)


def _lock(descriptor):
    """Lock a file, and return whether this succeeded and nobody has removed the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return os.fstat(descriptor).st_nlink > 0
