"""Writing files so that a reader never meets half of one."""

import os
import stat
import tempfile
from contextlib import contextmanager


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


@contextmanager
def replacing(path):
    """Open a binary file that takes the place of ``path`` once it is complete.

    It is written beside its target and moved over it at the end. If anything goes wrong
    before that, an interrupt included, the target stays as it was and the part is removed.
    Links are followed; a device or a pipe is written directly.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    binary file
    """
    path = os.path.realpath(path)
    if is_special(path) and not os.path.isdir(path):
        with open(path, "wb") as file:
            yield file
        return
    check_writable(path)
    folder, name = os.path.split(path)
    descriptor, part = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(part, _mode(path))
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def check_writable(path):
    """Whether a file could be written at ``path``, found out before any work is spent on it.

    Raises
    ------
    OSError
        One line that names the path.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{path}: expected a file to write, got a folder")
    if os.path.exists(target):
        if not os.access(target, os.W_OK):
            raise PermissionError(f"{path}: expected a file that can be written, "
                                  "got one without write permission")
        if is_special(target):
            return
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: expected a folder to write into, "
                                f"got {folder}, which is none")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"{path}: expected a folder to write into, "
                          f"got {folder} ({error.strerror})") from None
