"""Write files so that a reader never sees an incomplete one.

A file is written under a temporary name beside its target (a part), then moved over the target.
The writer holds a lock on its part, and the lock ends with the process. So the next process that
writes into the folder can remove the parts that killed processes left behind.
"""

import contextlib
import os
import secrets
import stat
import threading
import time
from typing import BinaryIO

from nfref.runtime.annotations import Iterator, PathLike

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows: parts are neither locked nor removed
    HAS_LOCKS = False

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


class Reservation:
    """A place on disk for a file that is written later; see :func:`reserved`.

    Parameters
    ----------
    path : path-like
    size : int
        Bytes to allocate now, so that a full disk is found before the work.
    """

    def __init__(self, path: PathLike, size: int = 0) -> None:
        self.path = path
        self._target = _target_of(path)
        self._part: str | None = None
        self._descriptor: int | None = None
        if is_special(self._target):
            return
        check_writable(path)
        folder = os.path.dirname(self._target)
        _sweep(folder)
        with _named(path):
            descriptor, self._part = _locked_part(folder)
            self._descriptor = descriptor
            if size and hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError:
                    self.release()
                    raise

    def __fspath__(self):
        return os.fspath(self.path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """Open the binary file, which replaces the target at the end of the block.

        After an error or an interrupt before that, the target stays as it was and the part is
        removed.
        """
        if self._part is None or self._descriptor is None:
            with _named(self.path), open(self._target, "wb") as file:
                yield file
            return
        try:
            with _named(self.path):
                with os.fdopen(os.dup(self._descriptor), "wb") as file:
                    yield file
                    file.flush()
                    file.truncate()
                    os.fsync(file.fileno())
                os.chmod(self._part, _mode(self._target))
                os.replace(self._part, self._target)
                self._part = None
        finally:
            self.release()

    def release(self) -> None:
        """Remove the part, if there still is one."""
        if self._part is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._part)
            self._part = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def reserved(path: PathLike | None, size: int = 0) -> Iterator[Reservation | None]:
    """Reserve a place for a file before long work, and release it if the work fails.

    Parameters
    ----------
    path : path-like or None
        None reserves nothing.
    size : int
        Approximate size of the file in bytes.

    Yields
    ------
    Reservation or None
    """
    reservation = None if path is None else Reservation(path, size)
    try:
        yield reservation
    finally:
        if reservation is not None:
            reservation.release()


@contextlib.contextmanager
def replacing(path: PathLike | Reservation) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` once it is complete.

    Links are followed; a device or a pipe is written directly.

    Parameters
    ----------
    path : path-like or Reservation

    Yields
    ------
    binary file
    """
    reservation = path if isinstance(path, Reservation) else Reservation(path)
    with reservation.writing() as file:
        yield file


def check_writable(path: PathLike) -> None:
    """Check that a file can be written at ``path``, before any work is spent on it.

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
        descriptor, part = _locked_part(folder)
    except OSError as error:
        raise type(error)(
            f"{path}: expected a folder to write into, got {folder} ({error.strerror})"
        ) from None
    os.unlink(part)
    os.close(descriptor)


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
        if not HAS_LOCKS:
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


# Parts ------------------------------------------------------------------------------------


def _locked_part(folder):
    """Return (descriptor, path) of a new file, locked by this process."""
    while True:
        path = os.path.join(folder, secrets.token_hex(6).join(PART))
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600
        )
        if _lock(descriptor):
            return descriptor, path
        os.close(descriptor)  # another process was faster and has removed it


def _lock(descriptor):
    """Lock a file, and return whether this succeeded and nobody has removed the file."""
    if not HAS_LOCKS:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return os.fstat(descriptor).st_nlink > 0


def _sweep(folder):
    """Remove the parts that no process has locked."""
    if not HAS_LOCKS:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PART[0]) and entry.name.endswith(PART[1]):
                with contextlib.suppress(OSError):
                    descriptor = os.open(entry.path, os.O_RDWR)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(entry.path)
                    finally:
                        os.close(descriptor)
