"""Compiled kernels on disk, in the user's cache folder.

A kernel is compiled once for each combination of types, and every later process reads it from disk.
An entry is one file. Its name is a digest of everything that determines its code: the sources,
nfref, Python, Numba, the types, the processor. So nothing in the folder is ever out of date, and
any number of versions, environments and machines share it.

An entry opens with a digest of the rest, which is checked first. An entry that is empty, cut off or
altered is deleted, and its kernel compiled again. A folder that is missing, read-only, full or
another user's costs time and nothing else. If several processes need a kernel at once, one compiles
it, and the others wait and read it.

You may delete the folder at any time. ``nfref info --system`` prints its path; the environment
variable ``NUMBA_CACHE_DIR`` moves it.

Security: entries are pickles, and hold machine code. The digest protects from accidents, not from
somebody who can write to the folder: they can run any code in your name. So the folder lies among
your own files and is made for you alone (permissions 0700). Do not let ``NUMBA_CACHE_DIR`` name a
folder that others write to.
"""

import hashlib
import pickle
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from nfref.kernels import numba_internals
from nfref.kernels.compile_notice import announce
from nfref.kernels.numba_internals import config
from nfref.runtime.files import Turn, replacing

LONGEST = 300  # seconds for which a process waits for another one to compile a kernel


class Cache:
    """A cache of the compiled code of one function, as Numba's dispatcher expects it.

    The name of an entry holds the types of arguments as text. So kernels take numbers, arrays and
    pointers, and never functions, whose text does not identify their code.
    """

    cache_path = None  # Numba's statistics print it

    def __init__(self, function, *compilers):
        """Name the entries; ``compilers`` are the modules that compile it besides Numba."""
        version = sys.modules["nfref"].__version__  # kernels import no layer above them
        self.name = f"{version}-{function.__module__}.{function.__qualname__}"
        self.origin = self._turn = None
        # The source does not contain the variables of an enclosing function.
        if function.__closure__ is None:
            with suppress(OSError, SyntaxError, ValueError):  # sources zipped, or bytecode alone
                # Now, not when it is compiled: the files may have changed by then.
                self.origin = (
                    digest_of_sources(function.__module__, *compilers),
                    function.__code__.co_firstlineno,
                    sys.version,
                    *numba_internals.VERSIONS,
                )

    def path(self, signature, codegen):
        """Return the file of one entry; None if there is no folder for it, or no source."""
        where = folder()
        if where is None or self.origin is None:
            return None
        key = self.key(signature, codegen).encode()
        return where / f"{self.name}-{hashlib.sha256(key).hexdigest()}"

    def key(self, signature, codegen):
        """Return text with everything that determines the code for these types of arguments."""
        return repr((self.name, self.origin, signature, codegen.magic_tuple()))

    def load_overload(self, signature, context):
        """Return the compiled function for these types of arguments, or None."""
        path, result = self.path(signature, context.codegen()), None
        if path is not None:
            result = _read(path, context)
        if result is None:
            announce()
            if path is not None:
                self.done()
                self._turn = Turn(path, LONGEST)
                result = _read(path, context)  # another process may have compiled it
        return result

    def done(self):
        """End the turn of this process; Numba has compiled a function, or could not."""
        turn, self._turn = self._turn, None  # two threads may both take it
        if turn is not None:
            turn.end()

    def save_overload(self, signature, result):
        """Store a compiled function."""
        path = self.path(signature, result.codegen)
        if path is None or result.library.has_dynamic_globals:
            return  # such code holds addresses of this process
        payload = packed(result)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(_digest(path, payload) + payload)


def packed(result):
    """Return a compiled function as bytes."""
    return numba_internals.dumps(result._reduce())


def unpacked(payload, context):
    """Return the compiled function of packed bytes."""
    return numba_internals.CompileResult._rebuild(context, *pickle.loads(payload))


def _read(path, context):
    """Return the compiled function in an entry, or None."""
    try:
        return unpacked(_contents(path), context)
    except FileNotFoundError:
        return None
    except Exception:  # compiling helps in every case
        with suppress(OSError):
            path.unlink()
        return None


def _digest(path, payload):
    """Return a digest of an entry and its name, which also detects a renamed file."""
    return hashlib.sha256(path.name.encode() + payload).digest()


def _contents(path):
    """Return the pickle in an entry, if its digest is right."""
    data = path.read_bytes()
    size = hashlib.sha256().digest_size
    digest, payload = data[:size], data[size:]
    if digest != _digest(path, payload):
        raise ValueError(f"{path}: expected an entry as it was written, got a damaged one")
    return payload


def folder() -> Path | None:
    """Return the folder of the entries as a Path; None for a user who has no home."""
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR).absolute() / "nfref"
    try:
        path = user_cache_path("nfref", appauthor=False)
    except RuntimeError:
        return None
    # Older versions of platformdirs return "~/.cache", which is relative to the current folder.
    return path if path.is_absolute() else None


def digest_of_sources(*modules: str) -> str:
    """Return a digest of the files of modules and of all nfref files that they import at their top.

    Numba itself watches only the file that holds a kernel. Its bodies and constants stand in
    others.
    """
    names, digests = [*modules], {}
    while names:
        name = names.pop()
        if name not in digests:
            digests[name], imports = _source(name)
            # The package itself imports all names, and kernels need none of them.
            names += (used for used in imports if used.startswith("nfref.") and used in sys.modules)
    return hashlib.sha256(b"".join(digests[name] for name in sorted(digests))).hexdigest()


@cache
def _source(module):
    """Return a digest of a module's file, and the dotted names in its imports.

    A regular expression finds them: parsing thirty files takes as long as reading the kernels.
    """
    source = Path(str(sys.modules[module].__file__)).read_bytes()
    names = []
    for place, one_line, lines, whole in IMPORTS.findall(source.decode()):
        imported = (part.split(" as ")[0].strip() for part in (one_line or lines).split(","))
        names += [place, *(f"{place}.{name}" for name in imported if name)] if place else [whole]
    return hashlib.sha256(source).digest(), names


IMPORTS = re.compile(
    r"^from (nfref[\w.]*) import (?:([\w ,]+)|\(([^)]*)\))|^import (nfref[\w.]*)", re.MULTILINE
)
