"""Layers that set themselves from data: when they see it, and what they keep."""

import autograd.numpy as anp
import numpy as np
import pytest

import nfref
from nfref.flows.data_dependent import Adaptive
from nfref.runtime import params as trees
from nfref.training import fitting as train
from nfref.training import gradient
from tests.training.cases import fit, rows


def test_batch_norm_keeps_its_running_statistics_apart_from_adam():
    density = nfref.Density(nfref.BatchNorm(2, momentum=0.5))
    params = density.init(np.random.default_rng(0))
    x = rows(64)
    vector, unflatten = trees.flatten(params)
    _, slope = gradient.loss_and_gradient(nfref.in_training(density), unflatten, vector, x)
    slope = unflatten(slope)["flow"]
    assert not slope["running_mean"].any() and not slope["running_variance"].any()
    assert slope["log_scale"].any()

    # One batch an epoch: after the first look the statistics are those of all rows.
    result = fit(density, params, x, validation=None, batch_size=64, epochs=3, patience=None)
    assert np.allclose(result.params["flow"]["running_mean"], x.mean(axis=0), rtol=1e-13)
    assert np.allclose(result.params["flow"]["running_variance"], x.var(axis=0), rtol=1e-13)


def test_running_statistics_follow_the_batches():
    density = nfref.Density(nfref.BatchNorm(1, momentum=0.5))
    params = density.init(np.random.default_rng(0))
    means = []

    def objective(density, params, x, context, rng):
        means.append(float(np.mean(x)))
        return -anp.mean(density.log_prob(params, x))

    result = fit(
        density,
        params,
        rows(40, dim=1),
        validation=None,
        batch_size=10,
        epochs=1,
        objective=objective,
        data_dependent_init=False,
        average=0.0,
    )
    expected = 0.0
    for mean in means:
        expected = 0.5 * expected + 0.5 * mean
    assert np.isclose(result.params["flow"]["running_mean"][0], expected)


@pytest.mark.parametrize("context_dim", [0, 1])
@pytest.mark.parametrize("held_out", [True, False])
def test_batch_norm_of_maf_is_evaluated_with_the_training_set(held_out, context_dim):
    """MAF, appendix B: validation and result use mean and variance of all training rows."""
    density = nfref.Density(nfref.MAF(2, 3, (8,), batch_norm=True, context_dim=context_dim))
    params = density.init(np.random.default_rng(0))
    # Squares let some epoch score better than the start, which is good for Gaussian rows.
    x, validation = rows(300) ** 2, rows(50, seed=1) ** 2
    given = {"context": x[:, :1] ** 2, "validation_context": validation[:, :1] ** 2}
    given = given if context_dim else {"context": None, "validation_context": None}
    if not held_out:
        validation = given["validation_context"] = None
    states = []
    with nfref.backend("numpy"):  # tests of twins fit couplings with batch norm
        result = fit(
            density,
            params,
            x,
            validation=validation,
            batch_size=50,
            epochs=4,
            learning_rate=0.01,
            callback=states.append,
            **given,
        )
    assert np.array_equal(trees.flatten(states[-1].best_params)[0], trees.flatten(result.params)[0])
    assert not np.array_equal(trees.flatten(states[-1].best_params)[0], states[-1].best)
    u, own = x, result.params["flow"]
    for layer, theta in list(zip(density.flow.flows, own))[::-1]:
        if isinstance(layer, nfref.BatchNorm):
            np.testing.assert_allclose(theta["running_mean"], u.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(theta["running_variance"], u.var(axis=0), rtol=1e-12)
        u = layer.inverse(theta, u, given["context"] if layer.context_dim else None)[0]
    if held_out:
        score = -train.mean_log_prob(
            density, result.params, validation, given["validation_context"]
        )
        # The start is a candidate; if it is returned, no epoch scored better.
        best = min(result.history["validation"])
        assert score < best if result.best_epoch is None else score == best


def test_only_flows_that_evaluate_with_the_training_set_pay_for_it():
    asked = []

    class Watcher(Adaptive, nfref.ElementwiseAffine):
        def _adapt(self, params, x, context, stage):
            asked.append((stage, len(x)))
            return params

    x = rows(60)

    def stages(*layers):
        asked.clear()
        density = nfref.Density(nfref.Chain((*layers, Watcher(2))))
        fit(
            density,
            density.init(np.random.default_rng(0)),
            x,
            validation=x,
            batch_size=30,
            epochs=2,
            patience=None,
        )
        return [entry for entry in asked if entry[1] > 1]

    assert stages() == [("start", 60)]
    assert stages(nfref.BatchNorm(2)) == [("start", 60)] + 4 * [("batch", 30)]
    whole = nfref.BatchNorm(2, statistics="training set")
    # Counts cover the scores of the start and of two epochs, and the result.
    assert stages(whole) == [("start", 60)] + 4 * [("evaluation", 60)]


class Looker(Adaptive, nfref.ElementwiseAffine):
    """A layer that sets itself by the first rows it sees, like actnorm."""

    def _adapt(self, params, x, context, stage):
        if stage != "start":
            return params
        return {"shift": np.mean(x, axis=0), "log_scale": np.log(np.std(x, axis=0))}


def test_first_look_happens_once_and_only_when_asked_for():
    density = nfref.Density(Looker(2))
    params = density.init(np.random.default_rng(0))
    x = rows(100)
    result = fit(density, params, x, validation=x, learning_rate=1e-14, epochs=1)
    assert np.allclose(result.params["flow"]["shift"], x.mean(axis=0))
    kept = fit(
        density, params, x, validation=x, learning_rate=1e-14, epochs=1, data_dependent_init=False
    )
    assert np.allclose(kept.params["flow"]["shift"], 0, atol=1e-12)
