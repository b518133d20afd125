"""Parts of Numba and llvmlite that are not documented, and that any version may change.

All of them are imported from here. ``nfref/runtime/backends.py`` names the versions of Numba that
have them; with others the formulas compute everything.
"""

from typing import Any

import llvmlite
import numba
import numba.extending
from llvmlite import binding as binding
from llvmlite import ir as ir
from numba.core import cgutils as cgutils
from numba.core import compiler as compiler
from numba.core import typed_passes as typed_passes
from numba.core import untyped_passes as untyped_passes
from numba.core.codegen import JITCodeLibrary as JITCodeLibrary
from numba.core.compiler import CompileResult as CompileResult
from numba.core.compiler_machinery import PassManager as PassManager
from numba.core.serialize import dumps as dumps
from numba.np.arrayobj import populate_array as populate_array

# Numba's own annotations do not cover what kernels do with these.
config: Any = numba.config
intrinsic: Any = numba.extending.intrinsic
njit: Any = numba.njit
overload: Any = numba.extending.overload

VERSIONS = numba.__version__, llvmlite.__version__
