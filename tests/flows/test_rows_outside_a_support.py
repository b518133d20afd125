"""Outside its support a density is zero, and other rows have their gradients."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import nfref

# Inside; on each bound; beyond each bound; and two rows inside.
ROWS = np.array([[0.25, 7.0], [0, 0], [2, 0], [-1, 0], [2.5, 0], [1.5, -3.0], [1.0, 0]])
INSIDE = np.array([True, False, False, False, False, True, True])


def bounded():
    logit = nfref.Logit((0, None), (2, None))
    return nfref.Density(
        nfref.Chain([nfref.MAF(2, 1, (8,)), nfref.Standardise((0, 0), (2, 3)), logit])
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "density", [bounded(), nfref.Density(nfref.Logit((0, None), (2, None)), nfref.Logistic(2))]
)
def test_the_log_density_is_minus_infinity_and_other_rows_stay(density, dtype, backend):
    params, x = density.init(np.random.default_rng(0)), ROWS.astype(dtype)
    with nfref.backend(backend):
        log_prob = density.log_prob(params, x)
        alone = density.log_prob(params, x[INSIDE])
    assert log_prob.dtype == dtype and np.all(np.isfinite(alone))
    np.testing.assert_array_equal(log_prob[INSIDE], alone)
    np.testing.assert_array_equal(log_prob[~INSIDE], -np.inf)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_gradients_of_other_rows_are_finite(backend):
    density = bounded()
    params = density.init(np.random.default_rng(0))

    def total(x, params):
        return anp.sum(density.log_prob(params, x))

    with nfref.backend(backend):
        by_rows = autograd.grad(total)(ROWS, params)
        alone = autograd.grad(total)(ROWS[INSIDE], params)
        by_params = autograd.grad(total, 1)(ROWS, params)
    np.testing.assert_allclose(by_rows[INSIDE], alone, rtol=1e-12)
    np.testing.assert_array_equal(by_rows[~INSIDE, 0], 0)
    assert np.all(np.isfinite(nfref.runtime.params.flatten(by_params)[0]))


def test_nan_stays_nan():
    z, log_det = nfref.Logit((0.0,), (1.0,)).inverse({}, np.array([[np.nan], [2.0]]))
    assert np.isnan(z[0, 0]) and np.isnan(log_det[0])
    assert z[1, 0] == 0 and log_det[1] == -np.inf
