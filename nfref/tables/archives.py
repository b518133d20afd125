"""Arrays by name in an .npz with a header and a digest: written whole, read without trust.

What model files and checkpoints have in common. The archive is not compressed, so that its
members take as much memory as it takes on disk; ``header`` is a JSON object as bytes, and
``digest`` the SHA-256 of all others. Everything an archive says of itself is compared with
its size before anything of that size is made.
"""

import contextlib
import hashlib
import json
import math
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from nfref.runtime.files import is_special, replacing


class ArchiveError(ValueError):
    """An archive that cannot be used; the message is one line."""


# Writing ----------------------------------------------------------------------------------


def write_archive(path, header, arrays):
    """Write arrays by name with their header and digest; equal contents are equal files.

    Parameters
    ----------
    path : path-like or nfref.runtime.files.Reservation
    header : dict
        What JSON can hold.
    arrays : dict of str to array
    """
    encoded = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    members = {"header": encoded, **arrays}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in {**members, "digest": digest(members)}.items():
            # A ZipInfo made by hand has a fixed date.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def digest(arrays):
    """SHA-256 of arrays by name, in the order of their names, as (32,) bytes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return np.frombuffer(total.digest(), np.uint8)


# Reading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """What an array's own header says of it."""

    shape: tuple
    dtype: np.dtype

    @property
    def size(self):
        return math.prod(self.shape)


class Archive:
    """An open archive: ``forms`` of its arrays by name, and the arrays one by one.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file):
        length = os.fstat(file.fileno()).st_size
        self._zip = zipfile.ZipFile(file)
        members = self._zip.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ArchiveError("expected arrays that are not compressed, got compressed ones")
        if sum(member.file_size for member in members) > length:
            raise ArchiveError("expected members as large as the file, got larger ones")
        if (not all(member.filename.endswith(".npy") for member in members)
                or len({member.filename for member in members}) < len(members)):
            raise ArchiveError("expected arrays of different names, got another kind of archive")
        self.forms = {}
        for member in members:
            self.forms[member.filename.removesuffix(".npy")] = self._form(member)

    def _form(self, member):
        with self._zip.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = read(stream)
            if dtype.hasobject:
                raise ArchiveError("expected plain arrays, got pickled objects, "
                                   "which are never loaded")
            form = Form(shape, dtype)
            if (dtype.subdtype is not None or dtype.names or any(length < 0 for length in shape)
                    or form.size * dtype.itemsize != member.file_size - stream.tell()):
                raise ArchiveError("expected a complete file, got a truncated or damaged one")
        return form

    @property
    def numbers(self):
        """How many numbers there are in all arrays but the header."""
        return sum(form.size for name, form in self.forms.items() if name != "header")

    def read(self, name):
        """The array of that name, as its form says."""
        with self._zip.open(f"{name}.npy") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read()       # to its end, where the checksum is compared
        return array

    def header(self, kind, newest, wanted):
        """The JSON object in ``header``, if it is of this kind and of a known version."""
        foreign = ArchiveError(f"expected {wanted}, got an .npz of another kind")
        form = self.forms.get("header")
        if form is None or form.dtype != np.uint8 or len(form.shape) != 1:
            raise foreign
        try:
            header = json.loads(self.read("header").tobytes().decode())
        except (ValueError, RecursionError):
            raise foreign from None
        if not isinstance(header, dict) or header.get("format") != kind:
            raise foreign
        version = header.get("version")
        if type(version) is not int or version < 1:
            raise ArchiveError(f"expected a format version, got {shortened(version)}")
        if version > newest:
            raise ArchiveError(f"expected format version {newest} or older, got {version}; "
                               "a newer nfref reads it")
        return header

    def check_digest(self, arrays):
        """That header and ``arrays`` are those that were written together."""
        if self.forms.get("digest") != Form((32,), np.dtype(np.uint8)):
            raise ArchiveError("digest: expected one of header and arrays, got none")
        if not np.array_equal(self.read("digest"),
                              digest({"header": self.read("header"), **arrays})):
            raise ArchiveError("digest: expected that of header and arrays, got another: "
                               "they were not written together")


@contextlib.contextmanager
def opened_archive(path, what):
    """Open an archive; whatever goes wrong inside the block is an ArchiveError with the path.

    Parameters
    ----------
    path : path-like
    what : str
        What is expected there, for messages: "model file".

    Yields
    ------
    Archive
    """
    path = os.fspath(path)
    try:
        if os.path.isdir(path):
            raise ArchiveError(f"expected a {what}, got a folder")
        if is_special(path):
            raise ArchiveError("expected a regular file, got a device or a pipe")
        with open(path, "rb") as file:
            start = file.read(4)
            if not start.startswith(b"PK"):
                came = "an empty file" if not start else "something that is no .npz archive"
                raise ArchiveError(f"expected an nfref {what}, got {came}")
            file.seek(0)
            yield Archive(file)
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ArchiveError(f"{path}: expected a {what}, found none there") from None
    except MemoryError:
        raise
    except OSError as error:
        raise ArchiveError(f"{path}: expected a readable file, "
                           f"got {error.strerror or error}") from None
    except Exception:       # zipfile, zlib, struct and tokenize each have their own
        raise ArchiveError(f"{path}: expected a complete {what}, "
                           "got a truncated or damaged one") from None


def one_line(error, length=300):
    """What went wrong, however long and in however many lines it is told."""
    text = " ".join(f"{error}".split()) or type(error).__name__
    return text if len(text) <= length else text[:length - 3] + "..."


def shortened(value, length=60):
    """The start of a value's repr."""
    text = repr(value)
    return text if len(text) <= length else text[:length - 3] + "..."
