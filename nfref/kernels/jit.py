"""How kernels are compiled: lazily, without the GIL, kept on disk (``nfref.kernels.cache``).

Two kinds: a ``kernel`` is called from Python and cached, a ``body`` is called by kernels
and becomes part of them. Products and sums may be contracted to fused multiply-adds, which
rounds once instead of twice; nothing else about floating point is relaxed.

Compiled code owns no memory: what it works on and in comes from Python, which keeps it until
the kernel returns. Otherwise Numba counts the references to the owner of every array, by an
atomic instruction up and down around each call of a body and each slice; where a body is one
row of a block, that takes as long as its arithmetic. So kernels allocate nothing (to compile
one that does is an error), and bodies return no arrays.
"""

from contextlib import suppress

import numba
from numba.core import event
from numba.extending import overload

from nfref.kernels.announce import announce
from nfref.kernels.cache import Cache
from nfref.kernels.libraries import BodyCompiler, Flags, KernelCompiler

OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}

# What is part of kernels needs no wrapper for calls from Python.
PART = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def body(function):
    """Compile what kernels call."""
    return _part(function, PART)


def reduction(function):
    """A body whose sums may be taken in any order, as in BLAS, so that they fill the registers."""
    return _part(function, {**PART, "fastmath": {"contract", "reassoc"}})


def overloaded(function):
    """``numba.extending.overload`` of what kernels call, as a body."""
    return overload(function, jit_options={**PART, "pipeline_class": BodyCompiler})


def _part(function, options):
    compiled = numba.njit(**options, pipeline_class=BodyCompiler)(function)
    if numba.config.DISABLE_JIT:
        return compiled
    compiled._compiler._customize_flags = Flags

    def keep(result):
        compiled.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments, **named):
        raise TypeError(f"{function.__name__}: expected to be called by a kernel, "
                        "got a call from Python")

    # Without a wrapper a call from Python would end the process; so none is made known.
    compiled.add_overload, compiled._compile_for_args = keep, refuse
    return compiled


def kernel(function):
    """Compile on first call and keep the result on disk, where that is possible."""
    compiled = numba.njit(**OPTIONS, pipeline_class=KernelCompiler)(function)
    if numba.config.DISABLE_JIT:
        return compiled
    compiled._compiler._customize_flags = Flags
    # What a function took from another one's variables is not in its source.
    if function.__closure__ is None:
        with suppress(OSError, SyntaxError, ValueError):    # no sources: zipped, or bytecode alone
            compiled._cache = Cache(function)
    return compiled


def address(compiled, signature):
    """Where compiled code finds a kernel as a C function of these argument types."""
    compiled.compile(signature)
    result = compiled.overloads[signature]
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


class _Announcement(event.Listener):
    """Says once that something is being compiled, to whom has asked to be told."""

    def on_start(self, happening):
        function = getattr(happening.data.get("dispatcher"), "py_func", None)
        if getattr(function, "__module__", "").startswith("nfref.kernels"):
            announce()

    def on_end(self, happening):
        pass


event.register("numba:compile", _Announcement())
