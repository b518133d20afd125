"""Many normal numbers and their densities, computed in parts by threads."""

import numpy as np
from scipy import stats

import nfref
from nfref.bases.standard_normal import PART, normal_numbers
from nfref.runtime.dispatch import MANY

BASE = nfref.StandardNormal(7)
ROWS = MANY // 7 + 1000  # the last part is not full


def drawn(rows, seed=0):
    return BASE.sample({}, np.random.default_rng(seed), rows, np.float32)


def test_any_number_of_threads_and_each_backend_give_the_same_bits():
    rows = drawn(ROWS)
    scores = BASE.log_prob({}, rows)
    for backend, threads in (("numpy", None), ("numba", 1), ("numba", 2), ("numba", 5)):
        with nfref.backend(backend, threads=threads):
            assert np.array_equal(drawn(ROWS), rows)
            assert np.array_equal(BASE.log_prob({}, rows), scores)
    assert np.array_equal(BASE.log_prob({}, rows[-500:]), scores[-500:])
    np.testing.assert_allclose(scores, stats.norm.logpdf(rows).sum(axis=1), rtol=1e-5)


def test_few_are_those_of_the_generator_and_many_move_it_on():
    rng = np.random.default_rng(1)
    assert np.array_equal(drawn(100, 1).ravel(), rng.standard_normal(700).astype(np.float32))
    first, second = normal_numbers(rng, MANY), normal_numbers(rng, MANY)
    assert not np.intersect1d(first, second).size


def test_parts_are_normal_and_know_nothing_of_each_other():
    parts = normal_numbers(np.random.default_rng(2), 8 * PART).reshape(8, PART)
    assert len(np.unique(parts)) == parts.size
    assert min(stats.kstest(part, "norm").pvalue for part in parts) > 1e-3
    assert np.max(np.abs(np.corrcoef(parts) - np.eye(8))) < 5 / PART**0.5
