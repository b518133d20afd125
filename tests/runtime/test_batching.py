"""Many rows in parts: the same answers, and memory that does not grow with the rows."""

import tracemalloc

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import nfref
from nfref.kernels.simd.matmul import ROWS
from nfref.runtime import batching
from nfref.runtime import params as trees


def fixed(context_dim=0, dtype=np.float64):
    density = nfref.Density(
        nfref.RealNVP(2, 2, (8,), context_dim=context_dim), base=nfref.NormalMixture(2, 3)
    )
    rng = np.random.default_rng(0)
    moved = trees.tree_map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(np.shape(leaf)), density.init(rng)
    )
    return density, trees.cast(moved, np.dtype(dtype))


def test_parts_are_whole_blocks_and_every_row_once():
    seen = []

    def function(part):
        seen.append(part)
        return np.arange(part.start, part.stop), np.zeros((part.stop - part.start, 2), np.float32)

    for n in (0, 1, batching.BLOCK, 10**6 + 1):
        seen.clear()
        rows, zeros = batching.in_parts(function, n, 8)
        np.testing.assert_array_equal(rows, np.arange(n))
        assert zeros.shape == (n, 2) and zeros.dtype == np.float32
        assert all(part.start % batching.ALIGNED == 0 for part in seen)
        assert all((part.stop - part.start) * 8 <= batching.NUMBERS for part in seen)
    assert len(seen) == 8
    assert batching.ALIGNED % ROWS == 0


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("context_dim", [0, 2])
def test_parts_change_no_answer_and_no_derivative(monkeypatch, backend, context_dim):
    density, params = fixed(context_dim)
    x = 2 * np.random.default_rng(1).standard_normal((1000, 2))
    x[3, 1], x[700, 0] = np.nan, np.inf
    context = np.random.default_rng(2).standard_normal((1000, 2)) if context_dim else None
    good = np.all(np.isfinite(x), axis=1)

    def answers():
        with nfref.backend(backend):
            own = None if context is None else context[good]
            slope = grad(lambda p: anp.mean(density.log_prob(p, x[good], own)))(params)
            return [density.log_prob(params, x, context), trees.leaves(slope)]

    whole = answers()
    monkeypatch.setattr(batching, "NUMBERS", 300)
    monkeypatch.setattr(batching, "BLOCK", 128)
    for found, expected in zip(answers()[1], whole[1]):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(answers()[0], whole[0], rtol=1e-13, atol=1e-13)
    x, log_prob = density.sample_and_log_prob(params, np.random.default_rng(3), 1000, context)
    assert x.shape == (1000, 2)
    np.testing.assert_allclose(density.log_prob(params, x, context), log_prob, atol=1e-9)


def test_memory_beside_the_result_does_not_grow(monkeypatch):
    density, params = fixed(dtype=np.float32)
    monkeypatch.setattr(batching, "NUMBERS", 2 * batching.BLOCK)

    def held(call):
        tracemalloc.start()
        result = call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most - sum(array.nbytes for array in result)

    # From the third block on, the previous block's results are held during the next one.
    with nfref.backend("numpy"):
        few, many = (
            [
                held(lambda: [density.log_prob(params, x)]),
                held(lambda: density.sample_and_log_prob(params, np.random.default_rng(0), len(x))),
            ]
            for x in (np.zeros((k * batching.BLOCK, 2), np.float32) for k in (4, 40))
        )
    assert np.all(np.array(many) < 1.05 * np.array(few))
