"""Batch norm: which statistics are used when, and their log-determinant."""

import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.test_util import check_grads

import nfref
from tests.finite_differences.contract import contract_test
from tests.finite_differences.numerics import assert_log_det_of_jacobians
from tests.flow_table import Entry, diagonal

CONTRACT = {
    "BatchNorm": Entry(lambda d, c: nfref.BatchNorm(d), log_det="constant", pattern=diagonal)
}
test_contract = contract_test(CONTRACT)


def subject(dim=3, seed=0, n=9):
    """Parameters with every entry away from its start, and rows that are not standardised."""
    rng = np.random.default_rng(seed)
    params = {
        "shift": rng.standard_normal(dim),
        "log_scale": rng.standard_normal(dim),
        "running_mean": rng.standard_normal(dim),
        "running_variance": np.exp(rng.standard_normal(dim)),
    }
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
    for mode in (flow, nfref.in_training(flow)):
        z, log_det = mode.inverse(params, x[:n].astype(dtype))
        assert z.shape == (n, 3) and log_det.shape == (n,)
        assert z.dtype == log_det.dtype == dtype
        assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_det))


# Training -----------------------------------------------------------------------------------


def test_training_normalises_with_the_batch():
    flow, params, x = subject()
    z, log_det = nfref.in_training(flow).inverse(params, x)
    variance = np.mean((x - np.mean(x, axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(np.mean(z, axis=0), params["shift"], atol=1e-13)
    np.testing.assert_allclose(
        np.std(z, axis=0),
        np.exp(params["log_scale"]) * np.sqrt(variance / (variance + 1e-5)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        log_det, np.sum(params["log_scale"] - 0.5 * np.log(variance + 1e-5)), rtol=1e-13
    )


def test_training_differs_from_evaluation_until_statistics_agree():
    flow, params, x = subject()
    trained, trained_log_det = nfref.in_training(flow).inverse(params, x)
    assert np.max(np.abs(trained - flow.inverse(params, x)[0])) > 0.1
    z, log_det = flow.inverse(nfref.adapt(flow, params, x, stage="start"), x)
    np.testing.assert_allclose(z, trained, rtol=0, atol=1e-13)
    np.testing.assert_allclose(log_det, trained_log_det, rtol=1e-13)


def test_training_gradient_goes_through_the_statistics():
    flow, params, x = subject(n=4)
    weights = np.random.default_rng(5).standard_normal(x.shape)

    def loss(params, x):
        z, log_det = nfref.in_training(flow).inverse(params, x)
        return anp.sum(weights * anp.sin(z)) + anp.sum(weights[:, 0] * log_det)

    check_grads(loss, modes=["rev"], order=1)(params, x)


def test_training_has_no_forward():
    flow, params, z = subject()
    with pytest.raises(ValueError, match="BatchNorm: forward needs mode 'evaluation'"):
        nfref.in_training(flow).forward(params, z)
    stack = nfref.RealNVP(3, layers=2, hidden=(4,), batch_norm=True)
    stack_params = stack.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="BatchNorm: forward needs mode 'evaluation'"):
        nfref.in_training(stack).forward(stack_params, z)


# Running statistics -------------------------------------------------------------------------


def test_adapt_mixes_the_batch_in():
    flow, params, x = subject()
    before = {name: value.copy() for name, value in params.items()}
    new = nfref.adapt(flow, params, x)
    np.testing.assert_allclose(
        new["running_mean"], 0.9 * params["running_mean"] + 0.1 * x.mean(axis=0), rtol=1e-14
    )
    np.testing.assert_allclose(
        new["running_variance"], 0.9 * params["running_variance"] + 0.1 * x.var(axis=0), rtol=1e-14
    )
    for name in ("shift", "log_scale"):
        np.testing.assert_array_equal(new[name], params[name])
    for name, value in before.items():
        np.testing.assert_array_equal(params[name], value)


def test_running_statistics_come_to_those_of_the_data():
    flow, params, _ = subject()
    rng = np.random.default_rng(6)
    for _ in range(200):
        params = nfref.adapt(flow, params, 5 + 2 * rng.standard_normal((2000, 3)))
    np.testing.assert_allclose(params["running_mean"], 5, atol=0.05)
    np.testing.assert_allclose(params["running_variance"], 4, atol=0.1)


def test_adapt_in_a_chain_sees_what_the_layer_sees():
    chain = nfref.RealNVP(3, layers=3, hidden=(4,), batch_norm=True)
    rng = np.random.default_rng(7)
    params = nfref.params.tree_map(
        lambda leaf: leaf + 0.3 * rng.random(leaf.shape), chain.init(rng)
    )
    x = 1 + 2 * rng.standard_normal((50, 3))
    adapted = nfref.adapt(chain, params, x)
    rows = x
    for flow, old, new in reversed(list(zip(chain.flows, params, adapted))):
        if isinstance(flow, nfref.BatchNorm):
            np.testing.assert_allclose(
                new["running_mean"], 0.9 * old["running_mean"] + 0.1 * rows.mean(axis=0), rtol=1e-12
            )
            np.testing.assert_allclose(
                new["running_variance"],
                0.9 * old["running_variance"] + 0.1 * rows.var(axis=0),
                rtol=1e-12,
            )
            assert np.all(new["running_mean"] != old["running_mean"])
        else:
            assert new is old
        rows, _ = nfref.in_training(flow).inverse(old, rows)
    np.testing.assert_allclose(rows, nfref.in_training(chain).inverse(params, x)[0], atol=1e-12)


# Statistics of the training set -------------------------------------------------------------


def moved(flow, seed):
    rng = np.random.default_rng(seed)
    return nfref.params.tree_map(lambda leaf: leaf + 0.3 * rng.random(leaf.shape), flow.init(rng))


@pytest.mark.parametrize(
    "flow",
    [
        nfref.MAF(2, 3, (4,), batch_norm=True, context_dim=1),
        nfref.Chain(
            (
                nfref.RealNVP(2, 2, (4,), batch_norm="training set"),
                nfref.Standardise((1.0, 2.0), (3.0, 0.5)),
                nfref.MAF(2, 2, (4,), batch_norm=True, context_dim=1),
            )
        ),
    ],
)
def test_every_layer_evaluates_with_the_statistics_of_all_training_rows(flow):
    """MAF, appendix B. More rows than one block; the log-determinant is that of such a map."""
    rng = np.random.default_rng(10)
    x, context = 1 + 2 * rng.standard_normal((5000, 2)), rng.standard_normal((5000, 1))
    start = moved(flow, 10)
    params = nfref.adapt(flow, start, x, context, "evaluation")
    u, layers = x, 0
    for layer, _, path in flow.members(-1):
        own, before = (nfref.params.at_path(tree, path) for tree in (params, start))
        if isinstance(layer, nfref.BatchNorm):
            layers += 1
            m = np.array([math.fsum(column) for column in u.T]) / len(u)
            v = np.array([math.fsum(column) for column in (u.T - m[:, None]) ** 2]) / len(u)
            np.testing.assert_allclose(own["running_mean"], m, rtol=0, atol=1e-13)
            np.testing.assert_allclose(own["running_variance"], v, rtol=1e-13)
            u = (u - own["running_mean"]) / np.sqrt(
                own["running_variance"] + layer.epsilon
            ) * np.exp(own["log_scale"]) + own["shift"]
        else:
            assert own is before
            u = layer.inverse(own, u, context if layer.context_dim else None)[0]
    assert layers == (3 if isinstance(flow, nfref.MAF) else 4)
    z, log_det = flow.inverse(params, x[:5], context[:5])
    np.testing.assert_allclose(z, u[:5], rtol=0, atol=1e-12)
    # On its own rows the map of a training batch is the same, if the batch is the training set.
    np.testing.assert_allclose(
        nfref.in_training(flow).inverse(params, x, context)[0], u, atol=1e-11
    )
    for n in range(5):
        assert_log_det_of_jacobians(
            lambda r: flow.inverse(params, r, np.repeat(context[n : n + 1], len(r), axis=0))[0],
            x[n : n + 1],
            log_det[n : n + 1],
        )
    again = nfref.adapt(flow, params, x, context, "evaluation")
    for once, twice in zip(nfref.params.leaves(params), nfref.params.leaves(again)):
        np.testing.assert_array_equal(once, twice)


def test_who_learns_when():
    x = 3 + np.random.default_rng(11).standard_normal((40, 2))
    learns = {}
    for statistics in ("running", "training set"):
        flow = nfref.BatchNorm(2, statistics=statistics)
        params = flow.init(np.random.default_rng(0))
        learns[statistics] = [
            stage
            for stage in ("start", "batch", "evaluation")
            if nfref.adapt(flow, params, x, stage=stage) is not params
        ]
    assert learns == {"running": ["start", "batch"], "training set": ["start", "evaluation"]}
    norm = nfref.ActNorm((2, 1, 1))
    chain = nfref.Chain((nfref.BatchNorm(2, statistics="training set"), norm))
    params = nfref.adapt(chain, chain.init(np.random.default_rng(0)), x, stage="start")
    later = nfref.adapt(chain, params, 2 * x, stage="evaluation")
    assert later[1] is params[1] and later[0] is not params[0]
    with pytest.raises(ValueError, match="^stage: expected one of start, batch, evaluation; got "):
        nfref.adapt(chain, params, x, stage=True)


def test_running_statistics_inside_hand_evaluated_rows_on():
    """A layer with running statistics comes before one with the training set's: they don't mix."""
    running = nfref.BatchNorm(2)
    chain = nfref.Chain((nfref.BatchNorm(2, statistics="training set"), running))
    x = 3 + 2 * np.random.default_rng(12).standard_normal((50, 2))
    params = moved(chain, 12)
    adapted = nfref.adapt(chain, params, x, stage="evaluation")
    assert adapted[1] is params[1]
    seen = running.inverse(params[1], x)[0]
    np.testing.assert_allclose(adapted[0]["running_mean"], seen.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(adapted[0]["running_variance"], seen.var(axis=0), rtol=1e-13)


def test_sums_of_float32_rows_do_not_lose_digits():
    flow = nfref.BatchNorm(1, statistics="training set")
    x = (1000 + np.random.default_rng(13).standard_normal((200_000, 1))).astype(np.float32)
    params = nfref.params.cast(flow.init(np.random.default_rng(0)), np.float32)
    adapted = nfref.adapt(flow, params, x, stage="evaluation")
    mean, variance = adapted["running_mean"], adapted["running_variance"]
    assert mean.dtype == variance.dtype == np.float32
    assert mean[0] == np.float32(math.fsum(x[:, 0].astype(float)) / len(x))
    np.testing.assert_allclose(variance[0], np.var(x.astype(float)), rtol=1e-7)


@pytest.mark.parametrize(
    "stack, default", [(nfref.RealNVP, "running"), (nfref.MAF, "training set")]
)
def test_stacks_take_the_statistics_of_their_paper_unless_told(stack, default):
    def statistics(batch_norm):
        return {
            layer.statistics
            for layer in stack(2, 2, (4,), batch_norm=batch_norm).flows
            if isinstance(layer, nfref.BatchNorm)
        }

    assert statistics(True) == {default} and statistics(False) == set()
    assert all(statistics(word) == {word} for word in ("running", "training set"))
    with pytest.raises(ValueError, match="^batch_norm: expected one of running, training set; "):
        stack(2, 2, (4,), batch_norm="batch")


def test_a_density_is_evaluated_with_its_running_statistics():
    density = nfref.Density(nfref.MAF(2, layers=2, hidden=(4,), batch_norm="running"))
    rng = np.random.default_rng(8)
    x = 3 + rng.standard_normal((400, 2))
    params = nfref.adapt(density, density.init(rng), x, stage="start")
    whole = density.log_prob(params, x)
    np.testing.assert_allclose(
        np.concatenate([density.log_prob(params, x[:1]), density.log_prob(params, x[1:])]),
        whole,
        rtol=1e-12,
    )
    sampled, log_prob = density.sample_and_log_prob(params, rng, 5)
    np.testing.assert_allclose(density.log_prob(params, sampled), log_prob, rtol=1e-10)


def test_batches_that_say_little():
    flow, params, x = subject()
    assert nfref.adapt(flow, params, x[:0]) is params
    # One row has variance 0, and epsilon keeps the scale finite.
    z, log_det = nfref.in_training(flow).inverse(params, x[:1])
    np.testing.assert_allclose(z, params["shift"][None], atol=1e-12)
    np.testing.assert_allclose(log_det, np.sum(params["log_scale"]) - 1.5 * np.log(1e-5))
    single = nfref.adapt(flow, params, x[:1], stage="start")
    np.testing.assert_array_equal(single["running_mean"], x[0])
    np.testing.assert_array_equal(single["running_variance"], np.zeros(3))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"momentum": 1.5}, r"momentum: expected a number in \(0, 1\], got 1.5"),
        ({"momentum": 0.0}, "momentum: expected a finite number above 0"),
        ({"epsilon": -1.0}, "epsilon: expected a finite number above 0"),
        ({"mode": "eval"}, "mode: expected one of evaluation, training; got 'eval'"),
        ({"statistics": "all"}, "statistics: expected one of running, training set; got 'all'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        nfref.BatchNorm(3, **arguments)
