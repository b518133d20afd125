"""Parts of Numba and llvmlite that are not documented, and that any version may change.

All of them are imported from here, and looked up on first use: a missing part takes no other along.
The tests pass with the versions in ``TESTED``. With other versions the first use of a part tries it
where the outcome is known. If that fails, nfref does without the part, which is slower and never
wrong:

``jit``            its own way to compile; without it Numba's, which takes longer
``cache``          compiled kernels on disk; without it each process compiles its own
``availability``   LLVM's vectors, and other code that is not Python; without it formulas compute
"""

import warnings
from importlib import import_module

import llvmlite
import numba
import numba.extending

from nfref.runtime.annotations import Any

# Numba's own annotations do not cover what kernels do with these.
config: Any = numba.config
intrinsic: Any = numba.extending.intrinsic
njit: Any = numba.njit
overload: Any = numba.extending.overload

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
NEEDED = "binding", "ir", "cgutils", "populate_array"  # no kernels without these


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def is_tested() -> bool:
    """Check that this version of Numba is tested, or compiles nothing."""
    return config.DISABLE_JIT or ".".join(numba.__version__.split(".")[:2]) in TESTED


def works(part, cost, trial):
    """Check that ``trial()`` of a part passes; if not, warn with the cost of doing without it."""
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
