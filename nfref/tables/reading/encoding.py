"""Open a text file: read through gzip, and name any other encoding or kind of file."""

import contextlib
import gzip
import io
import zlib

from nfref.runtime.annotations import Any, Iterator
from nfref.runtime.files import is_special
from nfref.tables.reading.table import TableError

HEAD = 4096  # bytes that decide the encoding
LONGEST_LINE = 1 << 26  # characters: a small gzip file may hold a line without end
GZIP = b"\x1f\x8b"
# First bytes of a file -> its kind, and what turns it into UTF-8 text.
KINDS = {
    b"\xff\xfe\0\0": ("UTF-32", "iconv -f UTF-32 -t UTF-8"),
    b"\0\0\xfe\xff": ("UTF-32", "iconv -f UTF-32 -t UTF-8"),
    b"\xff\xfe": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16", "iconv -f UTF-16 -t UTF-8"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"),
    b"\xfd7zXZ\0": ("xz", "xz -d"),
    b"BZh": ("bzip2", "bzip2 -d"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
    b"PK\x03\x04": ("a zip archive or an Excel file", "unzip or saving it as csv"),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "saving it as csv"),
    b"PAR1": ("parquet", "naming it .parquet or saving it as csv"),
    b"\x93NUMPY": ("a NumPy array", "naming it .npy or saving it as csv"),
    b"SQLite format 3": ("a SQLite database", "saving a table as csv"),
    b"\x89HDF": ("HDF5", "saving a table as csv"),
}


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Yield the lines of a file of UTF-8 text, which gzip may have compressed.

    Raises
    ------
    TableError
        If it is anything else.
    """
    try:
        with _uncompressed(path) as file:
            head = file.peek(HEAD)[:HEAD]
            for kind, remedy in filter(None, [_kind(head), _unmarked(head)]):
                raise TableError(
                    f"{path}: expected UTF-8 text, got {kind} ({remedy} turns it into text)"
                )
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            yield _short_lines(path, text) if isinstance(file, gzip.GzipFile) else text
    except UnicodeDecodeError as error:
        byte = error.object[error.start : error.start + 1]
        raise TableError(
            f"{path}: expected UTF-8 text, got byte 0x{byte.hex()}"
            f"{_undecodable_line(path)}{_in_windows_1252(byte)}"
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise TableError(f"{path}: expected a complete gzip file, got a damaged one") from None


@contextlib.contextmanager
def _uncompressed(path):
    """Yield the file as bytes."""
    with open(path, "rb") as file:
        if file.peek(len(GZIP))[: len(GZIP)] == GZIP:
            with gzip.GzipFile(fileobj=file) as inner:
                yield inner
        else:
            yield file


def _kind(head):
    return next((found for start, found in KINDS.items() if head.startswith(start)), None)


def _unmarked(head):
    """Return the kind of text with zero bytes in one half or three quarters of all places.

    A single one is a mistake in UTF-8 text.
    """
    zeros = [place for place in range(len(head)) if not head[place]]
    if len(zeros) > len(head) / 2:
        return "UTF-32", f"iconv -f UTF-32{'LE' if head[0] else 'BE'} -t UTF-8"
    for place, order in ((1, "LE"), (0, "BE")):
        if len(zeros) > max(1, len(head) / 16) and all(zero % 2 == place for zero in zeros):
            return "UTF-16", f"iconv -f UTF-16{order} -t UTF-8"
    return None


def _short_lines(path, text):
    number = 0
    while line := text.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise TableError(
                f"{path}: line {number}: expected fewer than {LONGEST_LINE:,} characters, got more"
            )
        yield line


def _undecodable_line(path):
    """Return " in line N" for a file that can be read again; "" for a pipe."""
    if is_special(path):
        return ""
    with _uncompressed(path) as file:
        for line, content in enumerate(file, 1):
            try:
                content.decode()
            except UnicodeDecodeError:
                return f" in line {line}"
    return ""


def _in_windows_1252(byte):
    """Return how Windows, the likeliest source, reads the byte."""
    character = byte.decode("cp1252", "ignore")
    if not character.isprintable() or not character:
        return ""
    remedy = "iconv -f WINDOWS-1252 -t UTF-8 turns it into UTF-8"
    return f", which is {character!r} in Windows-1252 ({remedy})"
