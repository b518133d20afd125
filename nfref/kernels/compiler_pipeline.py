"""The compilation of kernels by Numba: each step once.

Numba optimises every function it compiles twice, and turns it into machine code with everything
that it calls; and it does so again in each function that calls it. Functions that only kernels call
are optimised several times that way, on every level from the innermost loop up. That was most of
the compile time. So a body stays unoptimised until the kernel is complete. The kernel takes over
all code that its bodies call, and is optimised as one.

The rest of the time is Numba's own Python. Half of its passes look for things that bodies and
kernels do not use (closures, ``with``, array expressions, parallel loops), and the last one marks
where variables end, for the counts of references that code here does not have. After each of them
Numba analyses the whole function again.
"""

import gc
from contextlib import contextmanager
from functools import partial

from numba import types

from nfref.kernels.numba_internals import (
    JITCodeLibrary,
    PassManager,
    compiler,
    typed_passes,
    untyped_passes,
)
from nfref.runtime.annotations import Any

PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.DeadBranchPrune,  # branches that depend on an argument that is None
    untyped_passes.GenericRewrites,  # tuple[0], constant in the source
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.AnnotateTypes,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)


class Flags(compiler.Flags):
    """Numba's options of one compilation, compared by those that are set.

    Numba compares them each time that it looks for the meaning of an operator, and would compare
    all forty.
    """

    def __hash__(self):
        return hash(tuple(sorted(self._values)))

    def __eq__(self, other):
        return isinstance(other, Flags) and self._values == other._values


class PartLibrary(JITCodeLibrary):
    """The common part of the code of kernels and bodies."""

    def _optimize_functions(self, module):
        # Numba makes new passes for each function, even for one that is only declared here.
        module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)


class KernelLibrary(PartLibrary):
    """The code of a kernel and of all bodies in it."""

    _linking_libraries: Any

    def finalize(self):
        for library in with_all_used(self._linking_libraries):
            self._final_module.link_in(module_of(library), preserve=True)
        self._linking_libraries = []
        super().finalize()

    def _optimize_final_module(self):
        # Numba's first pass looks for needless counts of references; there are none.
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class BodyLibrary(PartLibrary):
    """The unoptimised code of a body, without the functions that it calls."""

    def finalize(self):
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self):
        """Return the code with everything that it calls.

        Code outside of kernels takes over its callees itself.
        """
        whole = module_of(self).clone()
        for library in with_all_used(self._linking_libraries):
            whole.link_in(module_of(library), preserve=True)
        return whole


def module_of(library):
    """Return the code of a library; of a body alone."""
    return JITCodeLibrary._get_module_for_linking(library)


def with_all_used(libraries):
    """Return these libraries and those of all that their bodies call, each once."""
    found = list(libraries)
    for library in found:  # grows on the way
        if isinstance(library, BodyLibrary):
            found += (used for used in library._linking_libraries if used not in found)
    return list(dict.fromkeys(found))


class KernelCompiler(compiler.CompilerBase):
    """Compile the source of a kernel to machine code."""

    library: type[PartLibrary] = KernelLibrary

    def define_pipelines(self):
        passes = PassManager("kernel")
        for one in PASSES:
            passes.add_pass(one, one.__name__)
        passes.finalize()
        return [passes]

    def compile_extra(self, function):
        state = self.state
        state.library = self.library(state.targetctx.codegen(), function.__qualname__)
        state.library.enable_object_caching()
        state.targetctx.get_function = partial(found_function, state.targetctx.get_function)
        state.targetctx.get_abi_sizeof = partial(size_of, state.targetctx.get_abi_sizeof)
        with no_collection():
            return super().compile_extra(function)


class CalledCompiler(KernelCompiler):
    """The same compiler without a result that Python can call."""

    def compile_extra(self, function):
        def executable(library, *others):
            # Numba identifies functions by their callable, if it is one of C. This always fails.
            library._ensure_finalized()
            return {}.__getitem__

        self.state.targetctx.get_executable = executable
        return super().compile_extra(function)


class BodyCompiler(CalledCompiler):
    """The compiler of bodies."""

    library = BodyLibrary


def found_function(find, function, signature, **first):
    """Return what Numba finds; at once for arrays, which are no other type's view as an array.

    Numba asks at each access, and looks for new libraries whenever it finds nothing.
    """
    if function == "__array__" and isinstance(signature.args[0], types.Array):
        raise NotImplementedError
    return find(function, signature, **first)


SIZES: dict = {}


def size_of(find, kind):
    """Return the bytes of a type of LLVM's, which Numba would parse as a module each time."""
    if (name := str(kind)) not in SIZES:
        SIZES[name] = find(kind)
    return SIZES[name]


@contextmanager
def no_collection():
    """Switch garbage collection off while millions of small objects are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
