"""Adam: the paper's algorithm, schedules, clipping, and the same bits with any thread count."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nfref.training import adam


def test_adam_is_algorithm_1():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 3))
    theta, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    optimiser = adam.Adam(learning_rate=0.1)
    vector, state = theta, optimiser.start(theta)
    for t, g in enumerate(gradients, start=1):
        vector, state = optimiser.step(vector, g, state)
        for i in range(3):  # the paper, line by line
            m[i] = 0.9 * m[i] + (1 - 0.9) * g[i]
            v[i] = 0.999 * v[i] + (1 - 0.999) * g[i] ** 2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        theta = theta - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)
        assert np.allclose(vector, theta, rtol=1e-14)
    assert state.steps == 6


def test_first_step_of_adam_is_the_learning_rate_whatever_the_gradient():
    optimiser = adam.Adam(learning_rate=0.01)
    start = np.zeros(3)
    moved, _ = optimiser.step(start, np.array([1e-3, -5.0, 0.0]), optimiser.start(start))
    assert np.allclose(moved, [-0.01, 0.01, 0], rtol=1e-4, atol=0)
    assert moved[2] == 0


def test_adam_finds_the_bottom_of_a_bowl():
    optimiser = adam.Adam(learning_rate=0.1, schedule="cosine", steps=400)
    vector = np.array([4.0, -3.0])
    state = optimiser.start(vector)
    for _ in range(400):
        vector, state = optimiser.step(vector, vector * [1.0, 30.0], state)
    assert np.all(np.abs(vector) < 1e-3)


def test_long_gradients_are_scaled_and_short_ones_left():
    assert np.allclose(adam.clip_by_norm(np.array([3.0, 4.0]), 1.0), [0.6, 0.8])
    short = np.array([0.3, 0.4])
    assert adam.clip_by_norm(short, 1.0) is short
    huge = np.full(4, 1e30, np.float32)
    assert np.allclose(adam.clip_by_norm(huge, 1.0), 0.5)
    assert adam.clip_by_norm(huge, 1.0).dtype == np.float32


BITS = """
import hashlib, sys
import numpy as np
import nfref
from nfref.training.adam import clip_by_norm
rng = np.random.default_rng(0)
print(hashlib.sha256(clip_by_norm(rng.standard_normal(1_000_003), 5.0)).hexdigest())
density = nfref.Density(nfref.NSF(4, 2, (256, 256)))
with nfref.backend(sys.argv[1]):
    result = nfref.fit(density, density.init(rng), rng.standard_normal((1200, 4)), rng, epochs=2,
                       batch_size=512, progress=False)
print(hashlib.sha256(nfref.params.flatten(result.params)[0]).hexdigest())
"""


def bits(backend, threads):
    """Return digests of a clipped gradient and of a fit with ``threads`` BLAS threads."""
    environment = {
        **os.environ,
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OPENBLAS", "MKL", "OMP")},
    }
    return subprocess.run(
        [sys.executable, "-c", BITS, backend],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()


def test_twins_give_the_same_bits_with_any_number_of_blas_threads():
    pytest.importorskip("numba")
    assert bits("numba", 1) == bits("numba", 2)


@pytest.mark.thorough
def test_formulas_give_the_same_bits_with_the_same_number_of_blas_threads():
    # Another number may add up matrix products in another order.
    one, again, two = bits("numpy", 1), bits("numpy", 1), bits("numpy", 2)
    assert one == again and one[0] == two[0]


def test_cosine_goes_from_one_to_zero():
    values = [adam.cosine_decay(t, 10) for t in range(11)]
    assert values[0] == 1 and values[5] == pytest.approx(0.5) and values[10] == 0
    assert np.all(np.diff(values) < 0)


def test_running_average_forgets_the_start_and_then_keeps_a_window():
    value = np.array([1000.0])
    for t in range(1, 200):
        value = adam.running_average(value, np.array([7.0]), 0.9, t)
    assert np.isclose(value[0], 7)
    assert adam.running_average(np.array([1.0]), np.array([2.0]), 0.9, 1000) == 0.9 + 0.2
    assert adam.running_average(np.array([1.0]), np.array([2.0]), 0.0, 1000) == 2
