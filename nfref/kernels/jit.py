"""The compilation of kernels: lazy, without the GIL, cached on disk (``nfref.kernels.cache``).

There are three kinds: Python calls a ``kernel``; kernels call a ``called_kernel`` by its address,
and a ``body``, which becomes part of them. Kernels are cached. Products and sums may be contracted
to fused multiply-adds, which round once instead of twice. Nothing else about floating point is
relaxed.

Compiled code owns no memory. All its arrays come from Python, which keeps them until the kernel
returns. Otherwise Numba counts the references to the owner of every array, by an atomic instruction
up and down around each call of a body and each slice. If a body is one row of a block, that takes
as long as its arithmetic. So kernels allocate nothing (a kernel that does is a compile error), and
bodies return no arrays.
"""

from functools import partial, wraps

from numba import types
from numba.extending import lower_builtin, type_callable

import nfref.kernels.registers  # noqa: F401  chooses the processor before anything is compiled
from nfref.kernels import cache, compiler_pipeline
from nfref.kernels.compiler_pipeline import BodyCompiler, CalledCompiler, KernelCompiler
from nfref.kernels.numba_internals import cgutils, config, njit, overload
from nfref.runtime import abandonable

# The first three are documented. Besides them: no counting of references, and no wrappers for calls
# from C, nor from Python where only kernels call: a fifth to a third of the code of these kernels.
OPTIONS = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "_nrt": False,
    "no_cfunc_wrapper": True,
}
ANY_ORDER = {"fastmath": {"contract", "reassoc"}}
PART = {**OPTIONS, "no_cpython_wrapper": True}


def body(function):
    """Compile a function that kernels call."""
    return _part(function, {})


def reduction(function):
    """Compile a body whose sums may be taken in any order, as in BLAS.

    So they fill the registers.
    """
    return _part(function, ANY_ORDER)


def overloaded(function):
    """Apply ``numba.extending.overload`` to a function that kernels call, as a body."""
    return overload(function, jit_options={**PART, "pipeline_class": BodyCompiler})


def compiles(function):
    """Make a decorator: the decorated function is ``function`` in kernels, for all types."""

    def register(compiled):
        return overloaded(function)(wraps(compiled)(lambda *arguments, **named: compiled))

    return register


def emits(function, signature, *kinds):
    """Make a decorator: the decorated function emits LLVM code for ``function`` in kernels.

    ``signature`` maps the types of the arguments to Numba's signature; the values are cast to its
    types. ``kinds`` are the types of the arguments, if ``function`` does other things with others.
    """
    type_callable(function)(lambda context: signature)
    return lower_builtin(function, *(kinds or [types.VarArg(types.Any)]))


def _part(function, options):
    compiled = _for_kernels(function, BodyCompiler, options)
    if not config.DISABLE_JIT:
        # Numba would compile it once for each number that a caller writes out.
        compile_ = compiled.compile
        compiled.compile = lambda signature: compile_(tuple(map(types.unliteral, signature)))
    return compiled


def _for_kernels(function, compiler, options):
    """Compile without a wrapper for calls from Python."""
    compiled = _compiled(function, compiler, {**PART, **options})
    if config.DISABLE_JIT:
        return compiled

    def keep(result):
        compiled.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments, **named):
        raise TypeError(
            f"{function.__name__}: expected to be called by a kernel, got a call from Python"
        )

    # A call from Python would end the process; so the dispatcher gets no entry.
    compiled.add_overload, compiled._compile_for_args = keep, refuse
    return compiled


def kernel(function, **options):
    """Compile on first call and keep the result on disk, if that is possible."""
    return _cached(function, _compiled(function, KernelCompiler, {**OPTIONS, **options}))


def called_kernel(function, **options):
    """Compile a kernel that others call by its :func:`address`; keep the result on disk."""
    return _cached(function, _for_kernels(function, CalledCompiler, options))


def called_reduction_kernel(function):
    """Compile a called kernel whose sums may be taken in any order, see :func:`reduction`."""
    return called_kernel(function, **ANY_ORDER)


def _cached(function, compiled):
    if not config.DISABLE_JIT:
        compiled._cache = cache.Cache(function, compiler_pipeline.__name__)
        compile_ = compiled.compile

        def compile(signature):
            try:
                return compile_(signature)
            finally:
                compiled._cache.done()

        compiled.compile = partial(abandonable.call, compile)
    return compiled


def _compiled(function, compiler, options):
    """Compile by a class of ``compiler_pipeline``."""
    compiled = njit(**options, pipeline_class=compiler)(function)
    if not config.DISABLE_JIT:
        compiled._compiler._customize_flags = compiler_pipeline.Flags
    return compiled


def caller(name, expected):
    """Make ``call(at, arguments)``, which calls the kernel at an address; it returns nothing.

    ``expected`` maps the types of the arguments to those that the kernel is compiled for. Nothing
    else would check them. In Python the kernel itself stands in the place of its address.
    """

    def call(at, arguments):
        at(*arguments)

    def signature(at, arguments):
        kinds = expected(arguments)
        if tuple(map(types.unliteral, arguments)) != kinds:
            raise TypeError(f"{name}: expected {kinds}, got {tuple(arguments)}")
        return types.void(types.intp, types.Tuple(kinds))

    @emits(call, signature)
    def generate(context, builder, signature, values):
        at, arguments = values
        kinds, convention = tuple(signature.args[1]), context.call_conv
        function = convention.get_function_type(types.none, kinds).as_pointer()
        given = cgutils.unpack_tuple(builder, arguments)
        convention.call_function(builder, builder.inttoptr(at, function), types.none, kinds, given)
        return context.get_dummy_value()

    return call


def address(compiled, signature):
    """Return the address of a kernel for these argument types, for calls by Numba's convention.

    Without compilation it is the function itself.
    """
    if config.DISABLE_JIT:
        return compiled
    if signature not in compiled.overloads:  # to compile takes a thread, even where nothing is left
        compiled.compile(signature)
    result = compiled.overloads[signature]
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
