"""Mixtures of normals: their start, their maximum likelihood, and log-sum-exp."""

import numpy as np
import pytest

import nfref
from nfref.bases.normal_mixture import logsumexp


def test_mixture_components_start_apart():
    params = nfref.NormalMixture(2, 5).init(np.random.default_rng(0))
    assert len(np.unique(params["means"], axis=0)) == 5


@pytest.mark.thorough
def test_a_mixture_is_learned():
    """Maximum likelihood finds well-separated components within 4.5 standard errors."""
    true = {
        "logits": np.log([0.3, 0.7]),
        "means": np.array([[-3.0, 1.0], [4.0, -2.0]]),
        "log_scales": np.log([[0.5, 1.0], [1.5, 0.8]]),
    }
    base, rng, n = nfref.NormalMixture(2, 2), np.random.default_rng(13), 4000
    x = base.sample(true, rng, n)
    density = nfref.Density(nfref.Permutation((0, 1)), base)
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=60,
        batch_size=500,
        learning_rate=0.1,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    found = result.params["base"]
    order = np.argsort(found["means"][:, 0])
    weights = np.exp(found["logits"] - logsumexp(found["logits"]))[order]
    own = n * np.array([[0.3], [0.7]])
    assert abs(weights[0] - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / n)
    assert np.all(
        np.abs(found["means"][order] - true["means"])
        < 4.5 * np.exp(true["log_scales"]) / np.sqrt(own)
    )
    assert np.all(np.abs(found["log_scales"][order] - true["log_scales"]) < 4.5 / np.sqrt(2 * own))


def test_logsumexp():
    a = np.random.default_rng(12).normal(size=(5, 3)) * 10
    assert np.allclose(logsumexp(a), np.log(np.exp(a).sum(axis=1)), rtol=1e-13)
    assert np.allclose(logsumexp(a + 1e4), logsumexp(a) + 1e4, rtol=1e-14)
    assert np.array_equal(logsumexp(np.full((2, 3), -np.inf)), [-np.inf, -np.inf])
    assert logsumexp(np.array([-np.inf, 2.0])) == 2.0
