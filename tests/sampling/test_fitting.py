"""Fits of annealed samplers: gradients by differences, Gaussians found, and how they end."""

from dataclasses import replace

import autograd.numpy as np
import pytest

import nfref
from nfref.sampling.fitting import _Fit
from nfref.training.adam import Adam
from tests.sampling.test_annealing import LOG_Z, log_gaussian, mixture, sampler_of
from tests.training.cases import same_bits

METHODS = ("craft", "aft", "snf")


def fitted(method, kernel=nfref.Langevin(0.5), target=log_gaussian, seed=0, **options):
    sampler = sampler_of(kernel, 4, flow=nfref.ElementwiseAffine(2), **options.pop("sampler", {}))
    options = {"steps": 60, "batch_size": 200, "learning_rate": 0.05, **options}
    start = sampler.init(np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    found = nfref.fit_annealed(
        sampler, start, target, rng, method=method, progress=False, **options
    )
    return sampler, start, found


@pytest.mark.parametrize("kernel", [nfref.Langevin(0.5), nfref.Metropolis(0.7)])
@pytest.mark.parametrize("method", METHODS)
def test_a_gaussian_is_found(method, kernel):
    sampler, start, found = fitted(method, kernel)
    before = sampler.estimate(start, log_gaussian, np.random.default_rng(9), 4000)
    # The few rows of "aft" are fitted too well; random walks mix slowly.
    best = 3800 if method != "aft" and kernel._drifts else 3000
    assert before.effective < 1500 and found.evidence.effective > best
    later = sampler.estimate(found.params, log_gaussian, np.random.default_rng(8), 20_000)
    assert abs(later.value - LOG_Z) < 3 * later.error < 0.1
    assert found.stopped == "epochs"
    if method != "aft":
        assert len(found.history["train"]) == 60
        assert abs(found.history["train"][-1] + LOG_Z) < 0.1
        assert np.all(found.params["log_step"] > start["log_step"])  # they accept too often
    else:
        assert len(found.history["train"]) == len(found.history["validation"]) == 240


@pytest.mark.parametrize("method", METHODS)
def test_resampling_in_training(method):
    _, _, found = fitted(method, target=mixture, sampler={"resample": 0.6})
    assert abs(found.evidence.value - np.log(3)) < 3.5 * found.evidence.error < 0.5


def case(kernel, seed=0):
    """Return a fit at random flows, and its random numbers anew at each call."""
    sampler = sampler_of(kernel, 3, flow=nfref.ElementwiseAffine(2))
    fit = _Fit(sampler, sampler.init(np.random.default_rng(0)), mixture, None, 20, Adam(0.1))
    flows = 0.2 * np.random.default_rng(seed).standard_normal(fit.flows.shape)

    def again():
        fit.rng = np.random.default_rng(5)
        fit.log_step = np.full(3, np.log(kernel.step))
        return fit

    return again, flows


def differences(value, flows, h=1e-6):
    found = np.zeros(flows.size)
    for i in range(flows.size):
        shift = h * (np.arange(flows.size) == i).reshape(flows.shape)
        found[i] = (value(flows + shift) - value(flows - shift)) / (2 * h)
    return found


def test_the_gradient_of_the_mean_work_by_differences():
    """Through flows and Langevin steps, whose forces have gradients of their own."""
    again, flows = case(nfref.Langevin(0.3, 2, adjusted=False))
    loss, gradient = again()._snf(flows)
    exact = differences(lambda flows: again()._snf(flows)[0], flows)
    assert np.isfinite(loss) and np.allclose(gradient, exact, atol=1e-7)
    assert np.min(np.abs(gradient)) > 1e-4


def test_the_gradient_of_one_level_by_differences():
    """CRAFT differentiates each level by its own flow; the rows that come to it are fixed."""
    again, flows = case(nfref.Langevin(0.3, 2))
    _, gradient = again()._craft(flows)
    last = differences(
        lambda own: again()._craft(np.concatenate([flows[:2], own[None]]))[0], flows[2]
    )
    assert np.allclose(gradient[-4:], last, atol=1e-7)
    fit = again()
    rows = fit._first_rows()
    first = differences(lambda own: fit._level(own, rows, 0)[0], flows[0])
    assert np.allclose(gradient[:4], first, atol=1e-7)


def test_the_objective_of_a_level_by_hand():
    """Rows count by their weights; those of weight 0 do not count, whatever they gain."""
    again, flows = case(nfref.Langevin(0.3))
    fit = again()
    rows = fit._first_rows()
    log_weights = np.random.default_rng(6).standard_normal(20)
    log_weights[3] = -np.inf
    loss, _, moved = fit._level(flows[1], replace(rows, log_weights=log_weights), 1)
    shares = np.exp(log_weights) / np.sum(np.exp(log_weights))
    flow = fit.path.sampler.flow
    x, log_det = flow.forward(fit.unflatten(flows[1]), rows.x)
    log_q = nfref.StandardNormal(2).log_prob
    before = 2 / 3 * log_q({}, rows.x) + 1 / 3 * mixture(rows.x)
    after = 1 / 3 * log_q({}, x) + 2 / 3 * mixture(x)
    assert np.isclose(loss, np.sum(shares * (before - after - log_det)), rtol=1e-13)
    assert np.array_equal(moved.x, x) and moved.log_weights[3] == -np.inf


@pytest.mark.parametrize("method", METHODS)
def test_reproducible_in_the_dtype_of_the_parameters(method):
    _, _, first = fitted(method, steps=4)
    _, _, second = fitted(method, steps=4)
    assert same_bits(first, second)
    sampler = sampler_of(nfref.Langevin(0.5), 4, flow=nfref.ElementwiseAffine(2))
    start = nfref.params.cast(sampler.init(np.random.default_rng(0)), np.float32)
    found = nfref.fit_annealed(
        sampler, start, mixture, np.random.default_rng(1), method=method, steps=3, progress=False
    )
    assert nfref.params.dtype_of(found.params) == np.float32


def at_call(number, action):
    calls = []

    def log_target(x):
        calls.append(1)
        return action(x) if len(calls) == number else mixture(x)

    return log_target


def interrupt(x):
    raise KeyboardInterrupt


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_fit_returns_the_latest(method):
    _, _, found = fitted(method, target=at_call(61, interrupt), steps=40)
    assert found.stopped == "interrupted" and found.evidence is not None
    done = len(found.history["train"])
    assert 1 <= done < 40 and found.best_epoch == done - 1
    if method != "aft":
        _, _, short = fitted(method, target=mixture, steps=done, schedule=None)
        _, _, cut = fitted(method, target=at_call(61, interrupt), steps=40, schedule=None)
        assert nfref.params.count(short.params) == nfref.params.count(cut.params)
        for one, other in zip(
            nfref.params.leaves(short.params["flows"]), nfref.params.leaves(cut.params["flows"])
        ):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_energies_that_fail_later_end_the_fit_or_the_way(method):
    _, _, found = fitted(
        method, nfref.Metropolis(0.7), at_call(200, lambda x: 0 * x[:, 0] + np.nan)
    )
    assert found.stopped in ("epochs", "non-finite") and len(found.history["train"]) > 1
    with pytest.raises(ValueError, match="log_target: expected numbers below infinity, got nan"):
        fitted(method, target=lambda x: mixture(x) * np.nan)


def test_without_a_flow_only_steps_are_fitted():
    sampler = sampler_of(nfref.Langevin(0.01), 6)
    start = sampler.init(np.random.default_rng(0))
    found = nfref.fit_annealed(
        sampler, start, mixture, np.random.default_rng(1), steps=150, progress=False
    )
    assert np.all(found.params["log_step"] > np.log(0.1)) and found.params["flows"] == [{}] * 6
    assert np.all(start["log_step"] == np.log(0.01))
    before = sampler.estimate(start, mixture, np.random.default_rng(2), 4000)
    assert found.evidence.effective > 1.3 * before.effective


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "smc"}, "method: expected one of craft, aft, snf; got 'smc'"),
        ({"method": "aft"}, "method: expected 'craft' for a sampler without a flow, got 'aft'"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"sampler": nfref.Langevin(0.1)}, "sampler: expected an AnnealedSampler, got Langevin"),
        ({"rng": 3}, "rng: expected a numpy.random.Generator"),
    ],
)
def test_bad_arguments_get_one_line(change, message):
    sampler = sampler_of(nfref.Langevin(0.1))
    given = {
        "sampler": sampler,
        "params": sampler.init(np.random.default_rng(0)),
        "log_target": mixture,
        "rng": np.random.default_rng(1),
        "progress": False,
    }
    with pytest.raises((ValueError, TypeError), match=message):
        nfref.fit_annealed(**{**given, **change})
