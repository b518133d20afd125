"""Whether kernels can be had with the Numba at hand: asked once, before the first is loaded."""

from functools import cache
from importlib import import_module

from nfref.kernels import numba_internals


@cache
def kernels_work():
    """Whether kernels can be compiled, and compute what formulas do."""

    def trial():
        for name in numba_internals.NEEDED:
            getattr(numba_internals, name)
        if not numba_internals.is_tested():
            import_module("nfref.kernels.self_test").run()

    return numba_internals.works("vectors of LLVM's", "formulas compute, which takes longer", trial)
