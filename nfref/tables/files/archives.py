"""Archives: a description and its arrays in an .npz with a digest.

Model files and checkpoints are archives; ``docs/model_files.rst`` specifies them byte for byte. An
archive is written whole and read without trust. It is not compressed, so its members take as much
memory as it takes on disk; twice that where float32 stands for float64. What an archive says about
itself is compared with its size before anything of that size is allocated, nothing is unpickled,
and a writer first rebuilds the content as a reader would.
"""

import contextlib
import hashlib
import json
import math
import os
import zipfile
from typing import IO

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, PathLike, Sequence
from nfref.runtime.checks import one_line, require, shortened
from nfref.runtime.files import is_special, replacing
from nfref.runtime.serialization import check_sizes, describe, own_classes, rebuild

TOO_MANY = 1000  # members beyond those that the header names; each takes 0.2 ms
DTYPES = [np.dtype(name) for name in ("float32", "float64", "int64")]


class ArchiveError(ValueError):
    """An archive that cannot be used; the message is one line."""


def save(
    path: PathLike,
    kind: str,
    version: int,
    content: dict[str, Any],
    make: Callable[..., Any] = dict,
) -> None:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    path : path-like
    kind : str
        The name of the format.
    version : int
    content : dict of str to whatever :func:`nfref.runtime.serialization.describe` takes
    make : callable
        As in :func:`load`: content that cannot be read is not written.
    """
    description, arrays = describe(content)
    arrays = {name: _native(name, array) for name, array in arrays.items()}
    # Flows are trained in float32 and scored in float64: such arrays hold float32 numbers.
    widened = [name for name, array in arrays.items() if _is_float32(array)]
    stored = arrays | {name: arrays[name].astype(np.float32) for name in widened}
    header = {"format": kind, "version": version, "widened": widened, **description}
    encoded = _encoded(header)
    _made(header, stored, encoded.size, make, own_classes(content))
    write_archive(path, encoded, stored)


def load(
    path: PathLike,
    what: str,
    kind: str,
    version: int,
    make: Callable[..., Any] = dict,
    classes: Sequence[type] = (),
) -> Any:
    """Read an archive.

    Parameters
    ----------
    path : path-like
    what : str
        The name of such a file in messages: "model file".
    kind, version : str, int
        As in :func:`save`.
    make : callable
        Called with the content as keywords.
    classes : sequence of classes
        As for :func:`nfref.runtime.serialization.rebuild`.

    Raises
    ------
    ArchiveError
        If there is no such file, if it is damaged or of another kind or version, or if its parts do
        not fit together.
    """
    with _opened(path, what) as file:
        header, arrays, length = _read(file, what, kind, version)
        return _made(header, arrays, length, make, classes)


def _made(header, arrays, length, make, classes):
    content = {key: value for key, value in header.items() if key not in ("format", "version")}
    arrays = {**arrays}
    try:
        for name in content.pop("widened", []):
            require(
                name in arrays and arrays[name].dtype == np.float32,
                f"widened: expected names of float32 arrays, got {shortened(name)}",
            )
            arrays[name] = arrays[name].astype(np.float64)
        check_sizes(content, arrays, length)
        return make(**rebuild(content, arrays, classes))
    except Exception as error:  # the content of an unknown file may fail in any way
        raise ArchiveError(one_line(error)) from None


# Writing ----------------------------------------------------------------------------------


def write_archive(path: PathLike, header: dict[str, Any] | Array, arrays: dict[str, Array]) -> None:
    """Write arrays by name with their header and digest; equal contents give equal files.

    Parameters
    ----------
    path : path-like
    header : dict or (L,) array of uint8
        Anything that JSON can hold, or that as bytes.
    arrays : dict of str to array
    """
    encoded = _encoded(header) if isinstance(header, dict) else header
    members = {"header": encoded, **arrays}
    with replacing(path) as file:
        write_npz(file, {**members, "digest": digest(members)})


def write_npz(
    file: IO[bytes], arrays: dict[str, Array], compression: int = zipfile.ZIP_STORED
) -> None:
    """Write arrays by name into a binary file; equal arrays give equal files."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            about = zipfile.ZipInfo(f"{name}.npy")  # it has a fixed date
            about.compress_type = compression
            with archive.open(about, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _is_float32(array):
    if array.dtype != np.float64:
        return False
    with np.errstate(all="ignore"):  # what overflows is not float32
        single = array.astype(np.float32).astype(np.float64)
    return np.array_equal(single.view(np.int64), array.view(np.int64))


def _encoded(header):
    return np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)


def digest(arrays: dict[str, Array]) -> Array:
    """Return the SHA-256 of arrays in the order of their names, as (32,) bytes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array))  # type: ignore[arg-type]
    return np.frombuffer(total.digest(), np.uint8)


# Reading ----------------------------------------------------------------------------------


def _read(file, what, kind, version):
    """Return (header, arrays, bytes of the header) if the digest agrees."""
    length = os.fstat(file.fileno()).st_size
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ArchiveError("expected arrays that are not compressed, got compressed ones")
    if sum(member.file_size for member in members) > length:
        raise ArchiveError("expected members as large as the file, got larger ones")
    names = [member.filename.removesuffix(".npy") for member in members]
    of_npy = all(member.filename.endswith(".npy") for member in members)
    if not of_npy or len(set(names)) < len(names):
        raise ArchiveError("expected arrays of different names, got another kind of archive")
    # The header says how many arrays there are, before each of them takes time.
    first = {name: member for name, member in zip(names, members) if name == "header"}
    forms = {name: _form(archive, member) for name, member in first.items()}
    encoded = _array(archive, "header") if _is_bytes(forms.get("header")) else np.zeros(0, np.uint8)
    header = _header(encoded, what, kind, version)
    if len(names) > encoded.tobytes().count(b'"array"') + TOO_MANY:
        raise ArchiveError(f"expected the arrays that the header names, got {len(names):,} members")
    forms |= {name: _form(archive, member) for name, member in zip(names, members)}
    arrays = {name: _array(archive, name) for name in names if name != "header"}
    if not _is_bytes(forms.get("digest")):
        raise ArchiveError("digest: expected one of header and arrays, got none")
    written = arrays.pop("digest")
    if not np.array_equal(written, digest({"header": encoded, **arrays})):
        raise ArchiveError(
            "digest: expected that of header and arrays, got another: "
            "they were not written together"
        )
    return header, {name: _native(name, array) for name, array in arrays.items()}, encoded.size


def _form(archive, member):
    """Return (shape, dtype) of an array from its header, if its size agrees."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            raise ArchiveError("expected plain arrays, got pickled objects, which are never loaded")
        if (
            dtype.subdtype is not None
            or dtype.names
            or any(size < 0 for size in shape)
            or math.prod(shape) * dtype.itemsize != member.file_size - stream.tell()
        ):
            raise ArchiveError("expected a complete file, got a truncated or damaged one")
    return shape, dtype


def _is_bytes(form):
    return form is not None and len(form[0]) == 1 and form[1] == np.uint8


def _array(archive, name):
    with archive.open(f"{name}.npy") as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # zipfile compares the checksum at the end
    return array


def _native(name, array):
    """Return the array in the byte order of this machine."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in DTYPES:
        raise ArchiveError(
            f"{one_line(name, 60)}: expected floats of 32 or 64 bits or whole "
            f"numbers of 64, got dtype {array.dtype}"
        )
    return array.astype(dtype, copy=False)


def _header(encoded, what, kind, version):
    """Return the JSON object in the header, if kind and version are right."""
    foreign = ArchiveError(f"expected a {what} that nfref wrote, got an .npz of another kind")
    try:
        header = json.loads(encoded.tobytes().decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise foreign from None
    if not isinstance(header, dict) or header.get("format") != kind:
        raise foreign
    found = header.get("version")
    if type(found) is not int or found != version:
        raise ArchiveError(
            f"expected format version {version}, got {shortened(found)}: another nfref wrote it"
        )
    return header


def _refuse(constant):
    raise ValueError(f"expected JSON, got {constant}")


@contextlib.contextmanager
def _opened(path, what):
    """Open an archive; any error in the block becomes an ArchiveError with the path."""
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
            yield file
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ArchiveError(f"{path}: expected a {what}, found none there") from None
    except MemoryError:
        raise
    except OSError as error:
        raise ArchiveError(
            f"{path}: expected a readable file, got {error.strerror or error}"
        ) from None
    except Exception:  # zipfile, zlib, struct and tokenize raise errors of their own
        raise ArchiveError(
            f"{path}: expected a complete {what}, got a truncated or damaged one"
        ) from None
