"""The digits of the spline of the sphere near what it keeps: the poles and the longitude pi."""

import numpy as np
import pytest

from tests.high_precision.configurations import configurations
from tests.high_precision.high_precision import truth

ULP = 2.0**-52
NEAR_POLES = [(1e-9, 2e-9, 1.0), (3e-5, -1e-6, -1.0), (-1e-12, 1e-12, 4.0)]
NEAR_PI = [(-1.0, 1e-9, 0.5), (-1.0, -1e-6, -0.3), (-1.0, 1e-12, 1e-12)]


def both(row, direction):
    """Return value and log-determinant of a row, found and exact."""
    c = configurations()["sphere_spline"]
    value, log_det = getattr(c.flow, direction)(c.params, np.array([row]))
    exact, exact_log_det = truth(c.flow, c.params, np.array(row), direction)
    return value[0], log_det[0], np.array(exact), exact_log_det


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("row", NEAR_POLES + NEAR_PI)
def test_log_determinants(row, direction):
    """Near poles they once had seven digits."""
    _, log_det, _, exact = both(row, direction)
    assert abs(log_det - exact) <= 16 * ULP


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("row", NEAR_POLES)
def test_distances_from_a_pole(row, direction):
    value, _, exact, _ = both(row, direction)
    distance = np.hypot(float(exact[0]), float(exact[1]))
    assert np.all(abs(value[:2] - exact[:2]) <= 16 * ULP * distance)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_distances_from_the_longitude_pi(direction):
    """The map has a slope there. The smaller coordinate once had an error of an ulp of the larger.

    Exact rows are no measure, for the bound of the spline is the float next to pi.
    """
    c = configurations()["sphere_spline"]
    small = np.concatenate([sign * 10.0 ** np.arange(-15, -6) for sign in (1, -1)])
    rows = np.stack([0 * small - 1, small, 0 * small + 0.5], axis=1)
    value, _ = getattr(c.flow, direction)(c.params, rows)
    np.testing.assert_allclose(value[:, 1] / small, value[0, 1] / small[0], rtol=1e-6)
