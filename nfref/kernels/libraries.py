"""When compiled code is optimised: once, in the kernel that it becomes part of.

Numba optimises every function it compiles twice, and turns it into machine code, with all that
it calls; and once more in each function that calls it. What only kernels call is
optimised several times that way, on every level from the innermost loop up, which was most of the
time that compiling took.
"""

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class KernelLibrary(JITCodeLibrary):
    """The code of a kernel and of all bodies in it.

    Numba's first pass is there to find references that are counted in vain; there are none.
    """

    def _optimize_final_module(self):
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class BodyLibrary(JITCodeLibrary):
    """The code of a body as it was written, which kernels take over."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


class KernelCompiler(Compiler):
    """Numba's own, with the library of a kernel."""

    library = KernelLibrary

    def compile_extra(self, function):
        state = self.state
        state.library = self.library(state.targetctx.codegen(), function.__qualname__)
        state.library.enable_object_caching()
        return super().compile_extra(function)


class BodyCompiler(KernelCompiler):
    """Numba's own, with nothing in the end that could be called."""

    library = BodyLibrary

    def compile_extra(self, function):
        # Numba tells functions apart by what can be called of them.
        self.state.targetctx.get_executable = lambda library, *others: library
        return super().compile_extra(function)
