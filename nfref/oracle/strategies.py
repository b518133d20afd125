"""Hypothesis strategies: rows, parameters and batch sizes for tests of flows.

    from hypothesis import given
    from nfref.oracle import strategies

    @given(strategies.rows(dim=3))
    def test_round_trip(z): ...

They need ``hypothesis``, which is no dependency of nfref.
"""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nfref.flow import Flow
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, DTypeLike

# Sizes at which code for batches fails: none, one, and each side of the sizes of tiles.
_SIZES = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129]


def batch_sizes(largest: int = 129) -> Any:
    """Return numbers of rows: small ones, powers of two and their neighbours."""
    return st.sampled_from([n for n in _SIZES if n <= largest]) | st.integers(0, largest)


def numbers(dtype: DTypeLike = np.float64, reach: float = 30.0) -> Any:
    """Return finite numbers of the dtype: the bulk, zero, tiny ones, and up to ``reach``."""
    width: Any = 8 * np.dtype(dtype).itemsize
    reach = float(np.asarray(reach, dtype))
    wide = st.floats(-reach, reach, width=width, allow_nan=False, allow_subnormal=False)
    return st.floats(-3, 3, width=width, allow_subnormal=False) | wide


def rows(dim: int, dtype: DTypeLike = np.float64, sizes: Any = None, reach: float = 30.0) -> Any:
    """Return (N, dim) arrays of rows.

    Parameters
    ----------
    dim : int
    dtype : numpy dtype
    sizes : strategy of int, optional
        For N; :func:`batch_sizes` if omitted.
    reach : float
        Largest absolute value.
    """
    sizes = batch_sizes() if sizes is None else sizes
    return sizes.flatmap(lambda n: arrays.arrays(dtype, (n, dim), elements=numbers(dtype, reach)))


def parameters(flow: Flow, reach: float = 1.5, dtype: DTypeLike = np.float64) -> Any:
    """Return parameters of a flow of nfref.

    They are those of ``init``, with each entry moved by up to ``reach``.

    Parameters
    ----------
    flow : nfref.Flow
    reach : float
    dtype : numpy dtype
    """

    def moved(seed):
        rng = np.random.default_rng(seed)
        made = flow.init(rng)
        return trees.tree_map(
            lambda leaf: (leaf + rng.uniform(-reach, reach, leaf.shape)).astype(dtype), made
        )

    return st.integers(0, 2**32 - 1).map(moved)
