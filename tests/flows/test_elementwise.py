"""Elementwise flows at their edges; the contract covers the rest."""

import mpmath
import numpy as np
import pytest

import nfref
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, bounds, diagonal, rows_in_bounds, standardise

CONTRACT = {
    "Scale": Entry(lambda d, c: nfref.Scale(d), log_det="constant", pattern=diagonal),
    "ElementwiseAffine": Entry(
        lambda d, c: nfref.ElementwiseAffine(d), log_det="constant", pattern=diagonal
    ),
    "Standardise": Entry(lambda d, c: standardise(d), log_det="constant", pattern=diagonal),
    "Logit": Entry(
        lambda d, c: nfref.Logit(*bounds(d)), pattern=diagonal, data_rows=rows_in_bounds, reach=12.0
    ),
}
test_contract = contract_test(CONTRACT)


def test_logit_against_fifty_digits():
    """Check both tails, down to the last float inside the bounds."""
    flow = nfref.Logit((0.0,), (1.0,))
    z = np.array([-700.0, -300, -40, -1, 0, 1e-9, 1, 20, 36])[:, None]
    x, log_det = flow.forward({}, z)
    with mpmath.workdps(50):
        exact = [1 / (1 + mpmath.exp(-mpmath.mpf(v))) for v in z[:, 0]]
        slope = [mpmath.log(s) + mpmath.log1p(-s) for s in exact]
        np.testing.assert_allclose(x[:, 0], [float(s) for s in exact], rtol=4e-16)
        np.testing.assert_allclose(log_det, [float(s) for s in slope], rtol=4e-16)
    returned, back = flow.inverse({}, x[:7])
    np.testing.assert_allclose(returned, z[:7], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(back, -log_det[:7], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3.0, 5.0), (0.1, 0.7), (1e6, 1e6 + 1)])
def test_logit_lands_strictly_inside(low, high, dtype):
    """If x rounds to a bound, it becomes the float next to it; the log-determinant stays."""
    flow = nfref.Logit((low,), (high,))
    z = np.array([-np.inf, -1e30, -800, -90, -40, 0, 40, 90, 800, 1e30, np.inf], dtype)[:, None]
    with np.errstate(all="ignore"):
        x, log_det = flow.forward({}, z)
    assert x.dtype == log_det.dtype == dtype
    assert np.all((np.float64(x) > low) & (np.float64(x) < high))
    assert x[0, 0] == np.nextafter(dtype(low), dtype(high))
    assert x[-1, 0] == np.nextafter(dtype(high), dtype(low))
    with mpmath.workdps(50):
        for value, got in zip(z[2:9, 0], log_det[2:9]):
            slope = [1 / (1 + mpmath.exp(sign * mpmath.mpf(float(value)))) for sign in (1, -1)]
            exact = mpmath.log(mpmath.mpf(high) - mpmath.mpf(low)) + sum(map(mpmath.log, slope))
            np.testing.assert_allclose(got, float(exact), rtol=4 * np.finfo(dtype).eps)
    back, log_det = flow.inverse({}, x)
    assert np.all(np.isfinite(back)) and np.all(np.isfinite(log_det))
    np.testing.assert_array_equal(np.diff(back, axis=0) >= 0, True)


def test_logit_lets_nan_through():
    with np.errstate(invalid="ignore"):
        x, log_det = nfref.Logit((0.0,), (1.0,)).forward({}, np.array([[np.nan]]))
    assert np.isnan(x) and np.isnan(log_det)


def test_logit_leaves_free_columns_alone():
    flow = nfref.Logit((None, -1.0, None), (None, 3.0, None))
    rows = np.array([[5.0, 0.0, -7.0], [1.0, 2.9, 0.5]])
    z, log_det = flow.inverse({}, rows)
    np.testing.assert_array_equal(z[:, [0, 2]], rows[:, [0, 2]])
    share = (rows[:, 1] + 1) / 4
    np.testing.assert_allclose(z[:, 1], np.log(share / (1 - share)), rtol=1e-14)
    np.testing.assert_allclose(log_det, -np.log(4 * share * (1 - share)), rtol=1e-13)


def test_logit_of_free_columns_alone_is_the_identity():
    flow = nfref.Logit((None, None), (None, None))
    rows = np.arange(6.0).reshape(3, 2)
    for direction in (flow.forward, flow.inverse):
        value, log_det = direction({}, rows)
        np.testing.assert_array_equal(value, rows)
        np.testing.assert_array_equal(log_det, 0)


def test_standardise_keeps_the_units_of_the_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 2)) * [3.0, 0.01] + [100.0, -5.0]
    flow = nfref.Standardise.of(x)
    z, log_det = flow.inverse({}, x)
    np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.std(z, axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(log_det, -np.sum(np.log(np.std(x, axis=0))), rtol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.Standardise((0,), (0,)), "^std: expected finite numbers above 0, got"),
        (
            lambda: nfref.Standardise((0, 1), (1,)),
            "^Standardise: expected mean and std of one length",
        ),
        (
            lambda: nfref.Logit((0,), (0,)),
            "^Logit: expected lower < upper or None for both in column",
        ),
        (lambda: nfref.Logit((0,), (None,)), "^Logit: expected lower < upper or None for both"),
        (lambda: nfref.Logit((0, 1), (2,)), "^Logit: expected lower and upper of one length"),
        (lambda: nfref.Scale(0), "^dim: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
