"""The normal without centre of mass: its density in a frame of the space, entropy and samples."""

import numpy as np
import pytest
from scipy import stats

import nfref


@pytest.mark.parametrize("particles, n", [(2, 1), (4, 2), (13, 3)])
def test_density_is_that_of_the_coordinates_in_a_frame(particles, n):
    base = nfref.CentredNormal(particles * n, particles)
    z = base.sample({}, np.random.default_rng(0), 500)
    np.testing.assert_allclose(z.reshape(-1, particles, n).mean(axis=1), 0, atol=1e-14)
    frame = np.linalg.qr(np.eye(particles) - 1 / particles)[0][:, : particles - 1]
    inside = np.einsum("nmk,mf->nfk", z.reshape(-1, particles, n), frame).reshape(len(z), -1)
    truth = stats.norm.logpdf(inside).sum(axis=1)
    found = base.log_prob({}, z)
    np.testing.assert_allclose(found, truth, rtol=1e-12)
    assert stats.kstest(inside.ravel(), "norm").pvalue > 1e-3
    assert base.entropy({}) == pytest.approx((particles - 1) * n * stats.norm.entropy())


def test_rows_off_the_space_are_one_line():
    base = nfref.CentredNormal(4, 2)
    message = "^z: expected rows with centre of mass 0, got one 0.5 off in row 1$"
    with pytest.raises(ValueError, match=message):
        base.log_prob({}, np.array([[1.0, 0, -1, 0], [1.0, 0, 0, 0]]))
    single = np.array([[0.3, 100.1, -0.3, -100.1]], np.float32)
    assert base.log_prob({}, single).dtype == np.float32
