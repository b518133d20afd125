"""What kernels take from inside Numba and llvmlite, where any version may change it.

All that these two do not document is imported from here, and looked up when it is asked for: a
part that is gone takes no other along. With versions in ``TESTED`` the tests have passed. With
all others the first use of a part tries it where the outcome is known, and does without it where
that fails, which is slower and never wrong:

``jit``        its own way to compile; without it Numba's, which takes longer
``cache``      compiled kernels on disk; without it each process compiles its own, and by itself
``trial``      vectors of LLVM's, and what else is not Python; without them formulas do everything
"""

import warnings
from importlib import import_module

import llvmlite
import numba

VERSIONS = numba.__version__, llvmlite.__version__
TESTED = "0.62", "0.68"

_PLACES = {
    "binding": "llvmlite",
    "ir": "llvmlite",
    "cgutils": "numba.core",
    "populate_array": "numba.np.arrayobj",
    "compiler": "numba.core",
    "typed_passes": "numba.core",
    "untyped_passes": "numba.core",
    "JITCodeLibrary": "numba.core.codegen",
    "PassManager": "numba.core.compiler_machinery",
    "CompileResult": "numba.core.compiler",
    "dumps": "numba.core.serialize",
}
NEEDED = "binding", "ir", "cgutils", "populate_array"  # without which there are no kernels


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def is_tested():
    """Whether the insides of this Numba are known, or it compiles nothing."""
    return numba.config.DISABLE_JIT or ".".join(numba.__version__.split(".")[:2]) in TESTED


def works(part, cost, trial):
    """Whether ``trial()`` of a part passes; where not, a warning says what doing without costs."""
    try:
        trial()
    except Exception as error:
        came = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        warnings.warn(
            f"numba: expected {part} as in {' and '.join(TESTED)}, got version "
            f"{numba.__version__} ({came}); {cost}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
