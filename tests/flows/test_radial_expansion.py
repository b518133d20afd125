"""Radial expansions against 50-digit arithmetic, at the centre, at the edge and far out."""

import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad

import nfref
from nfref.flows import radial_expansion
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry

CONTRACT = {
    "RadialExpansion": Entry(lambda d, c: nfref.RadialExpansion(d)),
    "RadialExpansion, erf": Entry(lambda d, c: nfref.RadialExpansion(d, "erf"), dims=(1, 3)),
}
test_contract = contract_test(CONTRACT)

LOG_SLACKS = (-30.0, -7.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 3.0, 14.0)
LENGTHS = (0.0, 1e-12, 1e-6, 1e-3, 0.1, 0.99, 1.0, 5.0, 30.0, 1e3, 1e6)


def exact_length(s, log_slack, profile):
    """The length s (1 + beta f(s)) and its derivative, as the definitions have them."""
    s, beta = mpmath.mpf(float(s)), mpmath.exp(mpmath.mpf(float(log_slack))) - 1
    if profile == "erf":
        return (
            s + beta * mpmath.sqrt(mpmath.pi) / 2 * mpmath.erf(s),
            1 + beta * mpmath.exp(-(s**2)),
        )
    return (s * (1 + beta / mpmath.sqrt(1 + s**2)), 1 + beta * (1 + s**2) ** mpmath.mpf("-1.5"))


profiles = pytest.mark.parametrize("profile", radial_expansion.PROFILES)


@profiles
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("log_slack", LOG_SLACKS)
def test_map_and_log_det_keep_their_digits(log_slack, dtype, profile):
    """Within 4 ulp of the truth at D = 1 and c = 0, whether the map stretches or crushes."""
    eps = float(np.finfo(dtype).eps)
    rows = np.array([[sign * s] for s in LENGTHS for sign in (1, -1)], dtype)
    zero, a = np.zeros(1, dtype), np.array([log_slack], dtype)
    z, log_det = radial_expansion.expansion_inverse(rows, zero, zero, a, profile)
    back, log_det_back = radial_expansion.expansion_forward(z, zero, zero, a, profile)
    assert z.dtype == log_det.dtype == back.dtype == log_det_back.dtype == dtype
    with mpmath.workdps(50):
        for row, value, total, returned, total_back in zip(
            rows[:, 0], z[:, 0], log_det, back[:, 0], log_det_back
        ):
            length, slope = exact_length(abs(row), a[0], profile)
            # exp rounds its argument: one eps of a moves e^a by |a| eps.
            rounding = 4 * eps * (1 + abs(log_slack))
            assert abs(abs(float(value)) - length) <= rounding * length
            assert abs(float(total) - mpmath.log(slope)) <= rounding * (1 + abs(mpmath.log(slope)))
            if row and value:
                lost = 2 * rounding * (1 + length / slope / abs(float(row)))
                assert abs(float(returned) - float(row)) <= lost * abs(float(row))
                assert abs(float(total_back) + mpmath.log(slope)) <= 3 * lost + rounding * abs(
                    mpmath.log(slope)
                )


def test_determinant_of_the_definition():
    """det (I + beta (f I + f' v v^T / (width r))), the Jacobian written out for one row."""
    rng = np.random.default_rng(0)
    flow = nfref.RadialExpansion(4)
    params = {
        "centre": rng.standard_normal(4),
        "log_width": np.array([0.3]),
        "log_slack": np.array([1.2]),
    }
    x = rng.standard_normal((5, 4))
    z, log_det = flow.inverse(params, x)
    width, beta = np.exp(0.3), np.expm1(1.2)
    for n, v in enumerate(x - params["centre"]):
        s = np.linalg.norm(v) / width
        f, slope = (1 + s**2) ** -0.5, -s * (1 + s**2) ** -1.5
        jacobian = np.eye(4) + beta * (f * np.eye(4) + slope * np.outer(v, v) / (width**2 * s))
        np.testing.assert_allclose(z[n], x[n] + beta * f * v, rtol=1e-13)
        np.testing.assert_allclose(log_det[n], np.log(np.linalg.det(jacobian)), rtol=1e-12)


def test_nothing_moves_further_than_beta_widths_and_the_centre_not_at_all():
    flow = nfref.RadialExpansion(2)
    params = {
        "centre": np.array([3.0, -1.0]),
        "log_width": np.array([-1.0]),
        "log_slack": np.array([1.0]),
    }
    x = np.concatenate(
        [params["centre"][None], 1e3 * np.random.default_rng(1).standard_normal((200, 2))]
    )
    moved = np.linalg.norm(flow.inverse(params, x)[0] - x, axis=1)
    assert moved[0] == 0
    limit = np.expm1(1.0) * np.exp(-1.0)
    assert np.all(moved <= limit * (1 + 1e-12)) and np.max(moved) > 0.999 * limit


@profiles
@pytest.mark.parametrize("log_slack", [-3.0, 0.0, 2.0])
def test_gradient_of_the_root(log_slack, profile):
    """Compare with finite differences of the exact root, at the centre too."""
    target, a = np.array([[0.0], [1e-8], [0.3], [50.0]]), np.array([log_slack])
    square = radial_expansion.expansion_root(target, a, profile)
    by_target = elementwise_grad(radial_expansion.expansion_root, 0)(target, a, profile)
    with mpmath.workdps(40):
        for s2, slope in zip(square[:, 0], by_target[:, 0]):

            def back(u):
                if profile == "algebraic":
                    share = 1 / mpmath.sqrt(1 + u)
                else:  # Kummer's function, which is analytic at 0 and below it
                    share = mpmath.hyp1f1(0.5, 1.5, -u)
                return u * (1 + (mpmath.exp(log_slack) - 1) * share) ** 2

            assert slope == pytest.approx(float(1 / mpmath.diff(back, float(s2))), rel=1e-10)
