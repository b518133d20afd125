"""Batch norm: which statistics are used when, and what the log-determinant says about it."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.test_util import check_grads

import nfref
from tests.contract.numerics import assert_log_det_of_jacobians
from tests.flow_table import Entry, diagonal

CONTRACT = {
    "BatchNorm": Entry(lambda d, c: nfref.BatchNorm(d), log_det="constant", pattern=diagonal),
}


def subject(dim=3, seed=0, n=9):
    """Parameters with every entry away from its start, and rows that are not standardised."""
    rng = np.random.default_rng(seed)
    params = {"shift": rng.standard_normal(dim), "log_scale": rng.standard_normal(dim),
              "running_mean": rng.standard_normal(dim),
              "running_variance": np.exp(rng.standard_normal(dim))}
    return nfref.BatchNorm(dim), params, 2 + 3 * rng.standard_normal((n, dim))


# Evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_evaluation_log_det_uses_running_statistics(direction):
    flow, params, rows = subject()
    act = getattr(flow, direction)
    _, log_det = act(params, rows)
    assert_log_det_of_jacobians(lambda r: act(params, r)[0], rows, log_det)
    of_inverse = np.sum(params["log_scale"] - 0.5 * np.log(params["running_variance"] + 1e-5))
    sign = 1 if direction == "inverse" else -1
    np.testing.assert_allclose(log_det, sign * of_inverse, rtol=1e-13)


def test_evaluation_treats_rows_alone():
    flow, params, x = subject()
    z, log_det = flow.inverse(params, x)
    alone, alone_log_det = flow.inverse(params, x[4:5])
    np.testing.assert_array_equal(alone, z[4:5])
    np.testing.assert_array_equal(alone_log_det, log_det[4:5])
    np.testing.assert_allclose(flow.forward(params, z)[0], x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shapes_and_dtypes(dtype, n):
    flow, params, x = subject()
    for mode in (flow, flow.training()):
        z, log_det = mode.inverse(params, x[:n].astype(dtype))
        assert z.shape == (n, 3) and log_det.shape == (n,)
        assert z.dtype == log_det.dtype == dtype
        assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_det))


# Training -----------------------------------------------------------------------------------


def test_training_normalises_with_the_batch():
    flow, params, x = subject()
    z, log_det = flow.training().inverse(params, x)
    variance = np.mean((x - np.mean(x, axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(np.mean(z, axis=0), params["shift"], atol=1e-13)
    np.testing.assert_allclose(np.std(z, axis=0), np.exp(params["log_scale"])
                               * np.sqrt(variance / (variance + 1e-5)), rtol=1e-12)
    np.testing.assert_allclose(
        log_det, np.sum(params["log_scale"] - 0.5 * np.log(variance + 1e-5)), rtol=1e-13)


def test_training_differs_from_evaluation_until_statistics_agree():
    flow, params, x = subject()
    trained, trained_log_det = flow.training().inverse(params, x)
    assert np.max(np.abs(trained - flow.inverse(params, x)[0])) > 0.1
    z, log_det = flow.inverse(flow.adapt(params, x, first=True), x)
    np.testing.assert_allclose(z, trained, rtol=0, atol=1e-13)
    np.testing.assert_allclose(log_det, trained_log_det, rtol=1e-13)


def test_training_gradient_goes_through_the_statistics():
    flow, params, x = subject(n=4)
    weights = np.random.default_rng(5).standard_normal(x.shape)

    def loss(params, x):
        z, log_det = flow.training().inverse(params, x)
        return anp.sum(weights * anp.sin(z)) + anp.sum(weights[:, 0] * log_det)

    check_grads(loss, modes=["rev"], order=1)(params, x)


def test_training_has_no_forward():
    flow, params, z = subject()
    with pytest.raises(ValueError, match="BatchNorm: forward needs mode 'evaluation'"):
        flow.training().forward(params, z)
    stack = nfref.RealNVP(3, layers=2, hidden=(4,), batch_norm=True)
    stack_params = stack.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="BatchNorm: forward needs mode 'evaluation'"):
        stack.training().forward(stack_params, z)


# Running statistics -------------------------------------------------------------------------


def test_adapt_mixes_the_batch_in():
    flow, params, x = subject()
    before = {name: value.copy() for name, value in params.items()}
    new = flow.adapt(params, x)
    np.testing.assert_allclose(new["running_mean"],
                               0.9 * params["running_mean"] + 0.1 * x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(new["running_variance"],
                               0.9 * params["running_variance"] + 0.1 * x.var(axis=0), rtol=1e-14)
    for name in ("shift", "log_scale"):
        np.testing.assert_array_equal(new[name], params[name])
    for name, value in before.items():
        np.testing.assert_array_equal(params[name], value)


def test_running_statistics_come_to_those_of_the_data():
    flow, params, _ = subject()
    rng = np.random.default_rng(6)
    for _ in range(200):
        params = flow.adapt(params, 5 + 2 * rng.standard_normal((2000, 3)))
    np.testing.assert_allclose(params["running_mean"], 5, atol=0.05)
    np.testing.assert_allclose(params["running_variance"], 4, atol=0.1)


def test_adapt_in_a_chain_sees_what_the_layer_sees():
    chain = nfref.RealNVP(3, layers=3, hidden=(4,), batch_norm=True)
    rng = np.random.default_rng(7)
    params = nfref.params.tree_map(lambda leaf: leaf + 0.3 * rng.random(leaf.shape),
                                   chain.init(rng))
    x = 1 + 2 * rng.standard_normal((50, 3))
    adapted = chain.adapt(params, x)
    rows = x
    for flow, old, new in reversed(list(zip(chain.flows, params, adapted))):
        if isinstance(flow, nfref.BatchNorm):
            np.testing.assert_allclose(new["running_mean"], 0.9 * old["running_mean"]
                                       + 0.1 * rows.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(new["running_variance"], 0.9 * old["running_variance"]
                                       + 0.1 * rows.var(axis=0), rtol=1e-12)
            assert np.all(new["running_mean"] != old["running_mean"])
        else:
            assert new is old
        rows, _ = flow.training().inverse(old, rows)
    np.testing.assert_allclose(rows, chain.training().inverse(params, x)[0], atol=1e-12)


def test_a_density_is_evaluated_with_its_running_statistics():
    density = nfref.Density(nfref.MAF(2, layers=2, hidden=(4,), batch_norm=True))
    rng = np.random.default_rng(8)
    x = 3 + rng.standard_normal((400, 2))
    params = density.adapt(density.init(rng), x, first=True)
    whole = density.log_prob(params, x)
    np.testing.assert_allclose(np.concatenate([density.log_prob(params, x[:1]),
                                               density.log_prob(params, x[1:])]), whole,
                               rtol=1e-12)
    sampled, log_prob = density.sample_and_log_prob(params, rng, 5)
    np.testing.assert_allclose(density.log_prob(params, sampled), log_prob, rtol=1e-10)


def test_batches_that_say_little():
    flow, params, x = subject()
    assert flow.adapt(params, x[:0]) is params
    # One row has variance 0, and epsilon keeps the scale finite.
    z, log_det = flow.training().inverse(params, x[:1])
    np.testing.assert_allclose(z, params["shift"][None], atol=1e-12)
    np.testing.assert_allclose(log_det, np.sum(params["log_scale"]) - 1.5 * np.log(1e-5))
    single = flow.adapt(params, x[:1], first=True)
    np.testing.assert_array_equal(single["running_mean"], x[0])
    np.testing.assert_array_equal(single["running_variance"], np.zeros(3))


@pytest.mark.parametrize("arguments, message", [
    ({"momentum": 1.5}, r"momentum: expected a number in \(0, 1\], got 1.5"),
    ({"momentum": 0.0}, "momentum: expected a finite number above 0"),
    ({"epsilon": -1.0}, "epsilon: expected a finite number above 0"),
    ({"mode": "eval"}, "mode: expected one of evaluation, training; got 'eval'"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nfref.BatchNorm(3, **arguments)
