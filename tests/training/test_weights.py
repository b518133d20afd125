"""Weighted rows count as if repeated."""

import numpy as np
import pytest

import nfref
from nfref.runtime import params as trees
from tests.training.cases import fit, normal, rows


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("flow", [nfref.MAF(2, 2, (8,)), nfref.NSF(2, 1, (8,), 4)])
def test_whole_weights_are_repeated_rows(backend, flow):
    """One batch of all rows takes the same steps, in float64 to rounding."""
    density = nfref.Density(flow)
    params, x = density.init(np.random.default_rng(0)), rows(60)
    weight = np.arange(60) % 2 + 3 * (x[:, 0] > 3)
    options = {"validation": rows(20, seed=1), "batch_size": 1000, "epochs": 20}
    with nfref.backend(backend):
        weighted = fit(density, params, x, sample_weight=weight, **options)
        scaled = fit(density, params, x, sample_weight=0.37 * weight, **options)
        repeated = fit(density, params, np.repeat(x, weight, axis=0), **options)
        plain = fit(density, params, x, **options)
    vectors = [trees.flatten(result.params)[0] for result in (repeated, weighted, scaled)]
    assert np.max(np.abs(vectors[1] - vectors[0])) < 1e-12
    assert np.max(np.abs(vectors[2] - vectors[0])) < 1e-12
    assert abs(plain.history["train"][0] - repeated.history["train"][0]) > 0.1
    np.testing.assert_allclose(weighted.history["train"], repeated.history["train"], rtol=1e-12)
    np.testing.assert_allclose(
        weighted.history["validation"], repeated.history["validation"], rtol=1e-12
    )


def test_the_weighted_fit_of_a_normal_is_the_weighted_mean():
    density, params = normal()
    x, rng = rows(300), np.random.default_rng(2)
    weight = rng.gamma(1.0, size=300)
    result = fit(
        density,
        params,
        x,
        sample_weight=weight,
        validation=None,
        epochs=800,
        batch_size=300,
        learning_rate=0.05,
        schedule="cosine",
        average=0,
    )
    mean = weight @ x / np.sum(weight)
    std = np.sqrt(weight @ (x - mean) ** 2 / np.sum(weight))
    np.testing.assert_allclose(result.params["flow"]["shift"], mean, rtol=1e-5)
    np.testing.assert_allclose(np.exp(result.params["flow"]["log_scale"]), std, rtol=1e-5)


def test_held_out_rows_keep_their_weights():
    density, params = normal()
    x, held_out, weight = rows(50), rows(30, seed=3), np.arange(30) % 3
    score = fit(density, params, x, validation=held_out, validation_weight=weight, epochs=1)
    again = fit(density, params, x, validation=np.repeat(held_out, weight, axis=0), epochs=1)
    assert score.history["validation"] == pytest.approx(again.history["validation"], rel=1e-13)
    # A held-out fraction keeps its weights; rows of weight 0 are ignored.
    one = fit(density, params, x, sample_weight=np.arange(50) % 2, epochs=2)
    other = fit(density, params, x[1::2], epochs=2)
    np.testing.assert_allclose(one.history["validation"], other.history["validation"], rtol=1e-12)


@pytest.mark.parametrize(
    "weight, message",
    [
        (np.ones(3), r"sample_weight: expected shape \(20,\), one a row; got \(3,\)"),
        (-np.arange(20.0), "sample_weight: expected finite numbers of at least 0, got -1 in row 1"),
        (
            np.full(20, np.nan),
            "sample_weight: expected finite numbers of at least 0, got nan in row 0",
        ),
        (np.zeros(20), "sample_weight: expected one above 0, got zero in each of 20 rows"),
    ],
)
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        fit(*normal(), rows(20), sample_weight=weight)


def test_weights_where_they_have_no_meaning():
    with pytest.raises(ValueError, match="sample_weight: expected None with an objective"):
        fit(*normal(), rows(20), sample_weight=np.ones(20), objective=lambda *_: 0.0)
    with pytest.raises(ValueError, match="validation_weight: expected None unless validation"):
        fit(*normal(), rows(20), validation_weight=np.ones(2))
