"""Writing files so that a reader never meets half of one.

A file is written under a short name of its own beside its target and then moved over it. What
a process that was killed left behind is swept away by the next one that writes into the same
folder: whoever writes holds a lock on its part, and the lock dies with the process.
"""

import contextlib
import os
import secrets
import stat
import threading
import time

from nfref.runtime.annotations import Any, PathLike

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and so nothing swept
    fcntl = None  # type: ignore[assignment]

PART = (".nfref-", ".part")  # how the names of parts begin and end


def is_special(path):
    """Whether something that is no regular file stands there: a device, a pipe."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _mode(path):
    """Permissions of the file that is replaced, or those a new file would get."""
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
        Bytes to set aside, so that a full disk shows now.
    """

    def __init__(self, path: PathLike, size: int = 0) -> None:
        self.path = path
        self._target = os.path.realpath(path)
        self._part = None
        if is_special(self._target):
            return
        check_writable(path)
        folder = os.path.dirname(self._target)
        _sweep(folder)
        with _named(path):
            self._descriptor, self._part = _locked_part(folder)
            if size and hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(self._descriptor, 0, size)
                except OSError:
                    self.release()
                    raise

    def __fspath__(self):
        return os.fspath(self.path)

    @contextlib.contextmanager
    def writing(self):
        """The binary file; it takes the place of the target at the end of the block.

        If anything goes wrong before that, an interrupt included, the target stays as it
        was and the part is removed.
        """
        if self._part is None:
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

    def release(self):
        """Remove the part if there still is one."""
        if self._part is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._part)
            self._part = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    _descriptor: int | None = None


@contextlib.contextmanager
def reserved(path: PathLike | None, size: int = 0) -> Any:
    """Set a place aside before long work, and give it back if nothing came of it.

    Parameters
    ----------
    path : path-like or None
        None reserves nothing.
    size : int
        About how many bytes there will be.

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
def replacing(path: PathLike) -> Any:
    """Open a binary file that takes the place of ``path`` once it is complete.

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


def check_writable(path):
    """Whether a file could be written at ``path``, found out before any work is spent on it.

    Raises
    ------
    OSError
        One line that names the path.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.basename(os.fspath(path)):
        raise IsADirectoryError(f"{path}: expected a file to write, got a folder")
    with _named(path):
        try:
            kind = os.stat(target)  # this too finds a name that is too long
        except FileNotFoundError:
            kind = None
        except NotADirectoryError:
            raise FileNotFoundError(
                f"{path}: expected a folder to write into, got {folder}, which is none"
            ) from None
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
        raise FileNotFoundError(
            f"{path}: expected a folder to write into, got {folder}, which is none"
        )
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
    """Have errors of the system name the file that was meant, not the part."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # it is one line already
            raise
        raise type(error)(f"{path}: {error.strerror}") from None


# One process at a time --------------------------------------------------------------------


class Turn:
    """The right of one process at a time to make a file, which ends with the process.

    It waits for a process that has it, for so many seconds, and goes on without it where there
    is no way to tell: a folder that cannot be written, a file system without locks.
    """

    def __init__(self, path, seconds):
        folder, name = os.path.split(path)
        self._path, self._descriptor = os.path.join(folder, name.join(PART)), None
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

    def end(self):
        """Let another process have it. Several threads may say so."""
        with self._ending:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(descriptor)


# Parts ------------------------------------------------------------------------------------


def _locked_part(folder):
    """(descriptor, path) of a new file that this process holds a lock on."""
    while True:
        path = os.path.join(folder, secrets.token_hex(6).join(PART))
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600
        )
        if _lock(descriptor):
            return descriptor, path
        os.close(descriptor)  # a sweeper was faster, and has removed it


def _lock(descriptor):
    """Whether the file is ours now: locked, and not removed in the meantime."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return os.fstat(descriptor).st_nlink > 0


def _sweep(folder):
    """Remove the parts that no process holds."""
    if fcntl is None:
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
