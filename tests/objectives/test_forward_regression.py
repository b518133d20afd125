"""Regression of a flow on pairs: the affine map of two normals, given pairs, and bad input."""

import numpy as np
import pytest

import nfref
from nfref.objectives.forward_regression import ForwardRegression


def test_an_affine_flow_finds_the_map_of_two_normals():
    """Transport between normals of diagonal covariance is x = m + s z, so is the best flow."""
    rng = np.random.default_rng(0)
    mean, scale = np.array([1.5, -0.5]), np.array([0.4, 2.0])
    z = rng.standard_normal((2000, 2))
    density = nfref.Density(nfref.ElementwiseAffine(2))
    for objective in (ForwardRegression((z, mean + scale * z)), ForwardRegression()):
        fitted = nfref.fit(
            density,
            density.init(rng),
            mean + scale * rng.standard_normal((2000, 2)),
            rng,
            objective=objective,
            epochs=60,
            batch_size=200,
            learning_rate=0.03,
            validation=None,
            schedule="cosine",
            progress=False,
        ).params["flow"]
        given = objective.pairs is not None
        close = {"atol": 1e-3 if given else 0.06}
        np.testing.assert_allclose(fitted["shift"], mean, **close)
        np.testing.assert_allclose(fitted["log_scale"], np.log(scale), **close)


def test_the_loss_is_the_mean_square_of_the_image_and_its_partner():
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal((2, 50, 2))
    density = nfref.Density(nfref.ElementwiseAffine(2))
    params = density.init(rng)
    params["flow"]["shift"] = np.array([1.0, 0.0])
    found = ForwardRegression((z, x))(density, params, x, None, np.random.default_rng(1))
    chosen = np.random.default_rng(1).integers(50, size=50)
    off = z[chosen] + [1.0, 0.0] - x[chosen]
    assert found == pytest.approx(np.mean(np.sum(off**2, axis=1)), rel=1e-13)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^pairs: expected two \(M, D\) arrays of one shape"):
        ForwardRegression((np.zeros((3, 2)), np.zeros((2, 2))))
    rng, density = np.random.default_rng(0), nfref.Density(nfref.RealNVP(2, context_dim=1))
    with pytest.raises(ValueError, match="^context: expected none for a regression on pairs"):
        ForwardRegression()(density, density.init(rng), np.zeros((4, 2)), np.zeros((4, 1)), rng)
