"""Uniform densities: where they end, and where they do not."""

import numpy as np

import nfref


def test_uniform_ends_at_its_box():
    base = nfref.Uniform([0, -1], [2, 1])
    z = np.array([[0, -1], [2, 1], [1, 0], [2.0001, 0], [1, -1.0001], [np.inf, 0]])
    expected = [-np.log(4)] * 3 + [-np.inf] * 3
    for dtype in (np.float32, np.float64):
        log_p = base.log_prob({}, z.astype(dtype))
        assert log_p.dtype == dtype and np.allclose(log_p, expected, rtol=1e-7)


def test_a_periodic_uniform_has_no_end():
    base = nfref.Uniform([-np.pi], [np.pi], periodic=True)
    z = np.array([[-np.pi], [3.2], [-50.0]])
    assert np.allclose(base.log_prob({}, z), -np.log(2 * np.pi), rtol=1e-15)
    assert np.all(np.abs(base.sample({}, np.random.default_rng(0), 100)) <= np.pi)


def test_uniform_samples_rounded_to_float32_stay_inside():
    base = nfref.Uniform([0.1], [0.3])  # neither end is a float32 number
    z = np.array([[0.1], [0.3], [np.nextafter(0.3, 0)]]).astype(np.float32)
    assert np.all(np.isfinite(base.log_prob({}, z)))
