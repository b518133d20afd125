"""How kernels are compiled: lazily, without the GIL, cached on disk where that is possible.

Two kinds: a ``kernel`` is called from Python and cached, a ``body`` is called by kernels
and becomes part of them. Products and sums may be contracted to fused multiply-adds, which
rounds once instead of twice; nothing else about floating point is relaxed.
"""

import hashlib
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import numba
from numba.core import event
from numba.core.caching import FunctionCache

from nfref.kernels.announce import announce

OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}

# What is part of kernels needs no wrapper for calls from Python.
PART = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def body(function):
    """Compile what kernels call."""
    return _part(function, PART)


def reduction(function):
    """A body whose sums may be taken in any order, as in BLAS, so that they fill the registers."""
    return _part(function, {**PART, "fastmath": {"contract", "reassoc"}})


def _part(function, options):
    compiled = numba.njit(**options)(function)
    if numba.config.DISABLE_JIT:
        return compiled

    def keep(result):
        compiled.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments, **named):
        raise TypeError(f"{function.__name__}: expected to be called by a kernel, "
                        "got a call from Python")

    # Without a wrapper a call from Python would end the process; so none is made known.
    compiled.add_overload, compiled._compile_for_args = keep, refuse
    return compiled


def kernel(function):
    """Compile on first call and keep the result on disk; without a cache folder, in memory."""
    compiled = numba.njit(**OPTIONS)(function)
    if not numba.config.DISABLE_JIT:
        with suppress(RuntimeError):    # no folder that can be written to
            compiled._cache = _Cache(function)
    return compiled


class _Cache(FunctionCache):
    """Numba's cache, with two things that it leaves out.

    It watches only the file that holds a kernel. The bodies that a kernel calls live in other
    files, and a stale copy of them must never run. And a folder that cannot be used any more
    (read-only, gone, full) costs time, not the result.
    """

    def __init__(self, function):
        super().__init__(function)
        self._cache_file._source_stamp = _digest(function.__module__)

    @contextmanager
    def _guard_against_spurious_io_errors(self):
        with suppress(OSError):
            yield


def address(compiled, signature):
    """Where compiled code finds a kernel as a C function of these argument types."""
    compiled.compile(signature)
    result = compiled.overloads[signature]
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def _digest(module):
    """A digest of a kernel's module and of all modules of this folder that it uses."""
    names, found = [module], set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        for value in vars(sys.modules[name]).values():
            used = getattr(getattr(value, "py_func", value), "__module__", None)
            if isinstance(used, str) and used.startswith("nfref.kernels."):
                names.append(used)
    digest = hashlib.sha256(numba.__version__.encode())
    for name in sorted(found):
        digest.update(Path(sys.modules[name].__file__).read_bytes())
    return digest.hexdigest()


class _Announcement(event.Listener):
    """Says once that something is being compiled, to whom has asked to be told."""

    def on_start(self, happening):
        function = getattr(happening.data.get("dispatcher"), "py_func", None)
        if getattr(function, "__module__", "").startswith("nfref.kernels"):
            announce()

    def on_end(self, happening):
        pass


event.register("numba:compile", _Announcement())
