"""Check once, before the first kernel is loaded, that the installed Numba can compile kernels."""

from functools import cache
from importlib import import_module

from nfref.kernels import numba_internals


@cache
def kernels_work() -> bool:
    """Check that kernels can be compiled and agree with the formulas."""

    def trial():
        for name in numba_internals.NEEDED:
            getattr(numba_internals, name)
        if not numba_internals.is_tested():
            import_module("nfref.kernels.self_test").run()

    return numba_internals.works("vectors of LLVM's", "formulas compute, which takes longer", trial)
