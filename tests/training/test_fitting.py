"""Fitting: that it finds what there is to find, and how it ends."""

import dataclasses
import os
import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest

import nfref
from nfref.continuous.solve import SolverError
from nfref.flows.statistics import Adaptive
from nfref.runtime import params as trees
from nfref.training import adam
from nfref.training import fitting as train
from nfref.training import gradient

LOG_TWO_PI = np.log(2 * np.pi)


def normal(dim=2):
    """A density with one exact best fit: a normal with independent coordinates."""
    density = nfref.Density(nfref.ElementwiseAffine(dim))
    return density, density.init(np.random.default_rng(0))


def rows(n=400, dim=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)) * 2 + 3


def fit(density, params, x, seed=0, **options):
    options = {"epochs": 3, "batch_size": 64, "progress": False, **options}
    return nfref.fit(density, params, x, np.random.default_rng(seed), **options)


def same_bits(first, second):
    return (first.history == second.history
            and np.array_equal(trees.flatten(first.params)[0], trees.flatten(second.params)[0]))


# Adam -------------------------------------------------------------------------------------


def test_adam_is_algorithm_1():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 3))
    theta, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    optimiser = adam.Adam(learning_rate=0.1)
    vector, state = theta, optimiser.start(theta)
    for t, g in enumerate(gradients, start=1):
        vector, state = optimiser.step(vector, g, state)
        for i in range(3):                                      # the paper, line by line
            m[i] = 0.9 * m[i] + (1 - 0.9) * g[i]
            v[i] = 0.999 * v[i] + (1 - 0.999) * g[i] ** 2
        m_hat, v_hat = m / (1 - 0.9 ** t), v / (1 - 0.999 ** t)
        theta = theta - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)
        assert np.allclose(vector, theta, rtol=1e-14)
    assert state.steps == 6


def test_first_step_of_adam_is_the_learning_rate_whatever_the_gradient():
    optimiser = adam.Adam(learning_rate=0.01)
    start = np.zeros(3)
    moved, _ = optimiser.step(start, np.array([1e-3, -5.0, 0.0]), optimiser.start(start))
    assert np.allclose(moved, [-0.01, 0.01, 0], rtol=1e-4, atol=0)
    assert moved[2] == 0


def test_adam_finds_the_bottom_of_a_bowl():
    optimiser = adam.Adam(learning_rate=0.1, schedule="cosine", steps=400)
    vector = np.array([4.0, -3.0])
    state = optimiser.start(vector)
    for _ in range(400):
        vector, state = optimiser.step(vector, vector * [1.0, 30.0], state)
    assert np.all(np.abs(vector) < 1e-3)


def test_long_gradients_are_scaled_and_short_ones_left():
    assert np.allclose(adam.clip_by_norm(np.array([3.0, 4.0]), 1.0), [0.6, 0.8])
    short = np.array([0.3, 0.4])
    assert adam.clip_by_norm(short, 1.0) is short
    huge = np.full(4, 1e30, np.float32)
    assert np.allclose(adam.clip_by_norm(huge, 1.0), 0.5)
    assert adam.clip_by_norm(huge, 1.0).dtype == np.float32


BITS = """
import hashlib, sys
import numpy as np
import nfref
from nfref.training.adam import clip_by_norm
rng = np.random.default_rng(0)
print(hashlib.sha256(clip_by_norm(rng.standard_normal(1_000_003), 5.0)).hexdigest())
density = nfref.Density(nfref.RealNVP(4, 2, (256, 256)))
with nfref.backend(sys.argv[1]):
    result = nfref.fit(density, density.init(rng), rng.standard_normal((1200, 4)), rng, epochs=2,
                       batch_size=512, progress=False)
print(hashlib.sha256(nfref.params.flatten(result.params)[0]).hexdigest())
"""


def bits(backend, threads):
    """Digests of a clipped gradient and of a fit in a process with so many BLAS threads."""
    environment = {**os.environ, **{f"{library}_NUM_THREADS": str(threads)
                                    for library in ("OPENBLAS", "MKL", "OMP")}}
    return subprocess.run([sys.executable, "-c", BITS, backend], env=environment, check=True,
                          capture_output=True, text=True).stdout.split()


def test_twins_give_the_same_bits_with_any_number_of_blas_threads():
    assert bits("numba", 1) == bits("numba", 2)


def test_formulas_give_the_same_bits_with_the_same_number_of_blas_threads():
    # With another number the products of matrices may be added up in another order.
    one, again, two = bits("numpy", 1), bits("numpy", 1), bits("numpy", 2)
    assert one == again and one[0] == two[0]


def test_cosine_goes_from_one_to_zero():
    values = [adam.cosine_decay(t, 10) for t in range(11)]
    assert values[0] == 1 and values[5] == pytest.approx(0.5) and values[10] == 0
    assert np.all(np.diff(values) < 0)


def test_running_average_forgets_the_start_and_then_keeps_a_window():
    value = np.array([1000.0])
    for t in range(1, 200):
        value = adam.running_average(value, np.array([7.0]), 0.9, t)
    assert np.isclose(value[0], 7)
    assert adam.running_average(np.array([1.0]), np.array([2.0]), 0.9, 1000) == 0.9 + 0.2
    assert adam.running_average(np.array([1.0]), np.array([2.0]), 0.0, 1000) == 2


# Gradient ---------------------------------------------------------------------------------


def test_loss_and_gradient_are_those_of_autograd_on_the_nested_parameters():
    from autograd import value_and_grad

    from nfref.objectives.divergences import negative_log_likelihood
    density = nfref.Density(nfref.MAF(3, 2, (8,)))
    rng = np.random.default_rng(0)
    params = trees.tree_map(lambda leaf: rng.standard_normal(leaf.shape), density.init(rng))
    x = rng.standard_normal((10, 3))
    vector, unflatten = trees.flatten(params)
    loss, slope = gradient.loss_and_gradient(density, unflatten, vector, x)
    expected = value_and_grad(lambda params: negative_log_likelihood(density, params, x))(params)
    assert loss == expected[0]
    assert np.array_equal(slope, trees.flatten(expected[1])[0])


def test_a_parameter_used_twice_gets_both_gradients():
    vector, unflatten = trees.flatten([np.array([[1.0, 2.0]]), np.array(3.0)])
    value, slope = gradient.value_and_gradient(
        lambda p: anp.sum(p[0] ** 2) * p[1] + anp.sum(p[0]), unflatten, vector)
    assert value == 18
    assert np.allclose(slope, [7, 13, 5])


# What a fit finds -------------------------------------------------------------------------


def test_it_finds_the_maximum_likelihood_normal():
    density, params = normal()
    x = rows(500)
    result = fit(density, params, x, epochs=400, batch_size=500, learning_rate=0.1,
                 validation=None, schedule="cosine", patience=None)
    found = result.params["flow"]
    assert np.allclose(found["shift"], x.mean(axis=0), atol=1e-3)
    assert np.allclose(np.exp(found["log_scale"]), x.std(axis=0), atol=1e-3)
    least = np.sum(np.log(x.std(axis=0))) + 1 + LOG_TWO_PI
    assert abs(result.history["train"][-1] - least) < 1e-5


def test_it_finds_the_best_linear_dependence_on_a_context():
    rng = np.random.default_rng(0)
    context = rng.standard_normal((600, 1))
    x = 2 * context + 0.5 * rng.standard_normal((600, 1))
    density = nfref.Density(nfref.MADE(1, (16,), context_dim=1))
    result = fit(density, density.init(rng), x, context=context, epochs=30, learning_rate=2e-2)
    floor = np.log(0.5) + 0.5 * (1 + LOG_TWO_PI)
    without = 0.5 * np.log(4.25) + 0.5 * (1 + LOG_TWO_PI)
    assert abs(result.history["validation"][result.best_epoch] - floor) < 0.2
    assert without - floor > 1


def test_it_comes_near_the_entropy_of_a_banana():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((1500, 2))
    x = np.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0] ** 2], axis=1)
    entropy = 1 + LOG_TWO_PI + np.log(0.5)
    density = nfref.Density(nfref.RealNVP(2, 4, (16,)))
    result = fit(density, density.init(rng), x.astype(np.float32), epochs=30, batch_size=256,
                 learning_rate=1e-2)
    z = rng.standard_normal((4000, 2))
    new = np.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0] ** 2], axis=1)
    truth = -0.5 * np.sum(z ** 2, axis=1) - LOG_TWO_PI - np.log(0.5)
    excess = np.mean(truth - density.log_prob(result.params, new))
    assert 0 < excess < 0.1, f"KL {excess} over an entropy of {entropy}"


def test_history_and_best_epoch_belong_together():
    density, params = normal()
    x, held_out = rows(300), rows(100, seed=1)
    result = fit(density, params, x, validation=held_out, epochs=5, learning_rate=0.1)
    assert len(result.history["train"]) == len(result.history["validation"]) == 5
    assert result.best_epoch == np.argmin(result.history["validation"])
    scored = -np.mean(density.log_prob(result.params, held_out))
    assert np.isclose(scored, result.history["validation"][result.best_epoch], rtol=1e-12)
    assert result.stopped == "epochs"


def test_training_loss_counts_every_row_once():
    # At a vanishing learning rate the mean over batches of any sizes is that over rows.
    density, params = normal()
    x = rows(103)
    result = fit(density, params, x, validation=None, learning_rate=1e-14, epochs=1, batch_size=10)
    assert np.isclose(result.history["train"][0], -np.mean(density.log_prob(params, x)))


def test_a_fraction_holds_out_rows_that_training_never_sees():
    density, params = normal()
    x = np.full((50, 2), 1.0)
    x[:, 0] = np.arange(50)
    seen = []

    def objective(density, params, batch, context, rng):
        seen.extend(batch[:, 0].tolist())
        return -anp.mean(density.log_prob(params, batch))

    result = fit(density, params, x, validation=0.2, objective=objective, epochs=2, batch_size=16)
    assert len(seen) == 80 and sorted(seen[:40]) == sorted(seen[40:])
    assert len(set(seen)) == 40 and seen[:40] != seen[40:]
    held_out = x[sorted(set(range(50)) - set(map(int, seen)))]
    assert np.isclose(-np.mean(density.log_prob(result.params, held_out)),
                      result.history["validation"][result.best_epoch])


def test_validation_in_blocks_is_the_mean_over_all_rows():
    density, params = normal()
    x = rows(2 * train.BLOCK + 17)
    assert np.isclose(train.mean_log_prob(density, params, x),
                      np.mean(density.log_prob(params, x)), rtol=1e-13)


# How a fit ends ---------------------------------------------------------------------------


def test_patience_stops_and_the_best_comes_back():
    # Eight rows to learn by heart: validation soon gets worse.
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.RealNVP(2, 4, (32,)))
    held_out = 3 + rng.standard_normal((200, 2))
    result = fit(density, density.init(rng), 3 + rng.standard_normal((8, 2)), validation=held_out,
                 epochs=300, learning_rate=1e-2, patience=7)
    validation = result.history["validation"]
    assert result.stopped == "patience"
    assert len(validation) == result.best_epoch + 8 < 300
    assert validation[result.best_epoch] == min(validation)
    assert np.isclose(-np.mean(density.log_prob(result.params, held_out)), min(validation))
    assert result.message == ("nothing better in 7 epochs; "
                              f"parameters of epoch {result.best_epoch}")


def test_the_start_competes_for_the_best():
    density, params = normal()
    x = (rows(100) - 3) / 2             # standard normal, which is where it starts
    start = -np.mean(density.log_prob(params, x))
    result = fit(density, params, x, validation=x, epochs=30, learning_rate=3.0, patience=4)
    assert result.stopped == "patience" and len(result.history["validation"]) == 4
    assert min(result.history["validation"]) > start
    assert result.best_epoch is None and result.message.endswith("parameters of the start")
    assert np.array_equal(trees.flatten(result.params)[0], trees.flatten(params)[0])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("validation", [0.2, None])
def test_a_resumed_fit_has_the_bits_of_one_that_never_stopped(backend, validation):
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.RealNVP(2, 2, (8,), batch_norm=True))
    params, x = density.init(rng), rng.standard_normal((150, 2)) ** 3
    options = dict(validation=validation, epochs=9, batch_size=32, patience=4,
                   schedule="cosine", learning_rate=0.02)
    states = []
    with nfref.backend(backend):
        whole = fit(density, params, x, callback=states.append, **options)
        assert [state.epoch for state in states] == list(range(1, len(states) + 1))
        for state in states[::3] + states[-1:]:
            from_file = dataclasses.replace(state, unflatten=None, evaluated=None)
            again = fit(density, params, x, resume=from_file, **options)
            assert same_bits(whole, again)
            assert (again.stopped, again.message) == (whole.stopped, whole.message)
    assert np.array_equal(trees.flatten(states[-1].best_params)[0],
                          trees.flatten(whole.params)[0])


def test_what_cannot_be_resumed_is_told_in_one_line():
    density, params = normal()
    states = []
    fit(density, params, rows(), epochs=1, callback=states.append)
    with pytest.raises(TypeError, match="resume: expected a FitState, got dict"):
        fit(density, params, rows(), resume={})
    with pytest.raises(ValueError, match="resume: expected 6 parameters in float64, got 4"):
        fit(*normal(3), rows(dim=3), resume=states[0])
    with pytest.raises(ValueError, match="resume: expected validation rows exactly where"):
        fit(density, params, rows(), resume=states[0], validation=None)
    with pytest.raises(ValueError, match="rng: expected a generator of PCG64"):
        nfref.fit(density, params, rows(), np.random.Generator(np.random.MT19937(0)),
                  resume=states[0], progress=False)


def test_an_integration_that_fails_ends_the_fit_and_keeps_the_best():
    density, params = normal()
    x = rows(256)
    result = fit(density, params, x, validation=x, epochs=9,
                 objective=stopper(SolverError("gave up"), at=4 * 2 + 1))
    assert result.stopped == "non-finite" and result.best_epoch == 1
    assert result.message == ("an integration that failed (gave up) in epoch 2; "
                              "parameters of epoch 1")


def stopper(error, at):
    """An objective that does something else at its call number ``at``."""
    calls = []

    def objective(density, params, x, context, rng):
        calls.append(1)
        loss = -anp.mean(density.log_prob(params, x))
        if len(calls) != at:
            return loss
        if isinstance(error, BaseException):
            raise error
        return error * loss

    return objective


def test_ctrl_c_returns_the_best_so_far():
    density, params = normal()
    x = rows(256)
    # The same objective for both, so that both take the same way through the twins.
    whole = fit(density, params, x, validation=x, epochs=2, learning_rate=0.1,
                objective=stopper(None, at=0))
    cut = fit(density, params, x, validation=x, epochs=50, learning_rate=0.1,
              objective=stopper(KeyboardInterrupt(), at=4 * 2 + 3))
    assert cut.stopped == "interrupted"
    assert cut.message == "interrupted in epoch 2; parameters of epoch 1"
    assert same_bits(cut, whole)


def test_ctrl_c_in_the_first_epoch_returns_the_start():
    density, params = normal()
    cut = fit(density, params, rows(), objective=stopper(KeyboardInterrupt(), at=2))
    assert cut.best_epoch is None and cut.history == {"train": [], "validation": []}
    assert np.array_equal(trees.flatten(cut.params)[0], trees.flatten(params)[0])
    assert cut.message == "interrupted in epoch 0; parameters of the start"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(bad):
    density, params = normal()
    x = rows(256)
    # The same objective for both, so that both take the same way through the twins.
    whole = fit(density, params, x, validation=x, epochs=2, learning_rate=0.1,
                objective=stopper(None, at=0))
    cut = fit(density, params, x, validation=x, epochs=50, learning_rate=0.1,
              objective=stopper(bad, at=4 * 2 + 1))
    assert cut.stopped == "non-finite"
    assert cut.message == f"a loss of {bad} in epoch 2; parameters of epoch 1"
    assert same_bits(cut, whole)


def test_a_gradient_that_is_not_finite_stops_too():
    density, params = normal()

    def objective(density, params, x, context, rng):
        shift = params["flow"]["shift"]
        return anp.sum(anp.sqrt(shift * shift)) - anp.mean(density.log_prob(params, x))

    result = fit(density, params, rows(), objective=objective)      # 0/0 at shift = 0
    assert result.stopped == "non-finite"
    assert result.message == "a gradient that is not finite in epoch 0; parameters of the start"


def test_a_learning_rate_that_is_far_too_high_is_survived():
    density = nfref.Density(nfref.RealNVP(2, 4, (16,)))
    params = density.init(np.random.default_rng(0))
    result = fit(density, params, rows().astype(np.float32), learning_rate=1e30, epochs=20)
    assert result.stopped == "non-finite"
    assert np.all(np.isfinite(trees.flatten(result.params)[0]))


# Reproducibility, dtypes, progress --------------------------------------------------------


def test_same_seed_same_bits_and_progress_does_not_matter(capsys):
    density = nfref.Density(nfref.RealNVP(2, 2, (16,), batch_norm=True))
    params = density.init(np.random.default_rng(0))
    x = rows(300)
    first = fit(density, params, x, seed=5)
    assert capsys.readouterr().err == ""
    second = fit(density, params, x, seed=5, progress=True)
    shown = capsys.readouterr()
    other = fit(density, params, x, seed=6)
    assert same_bits(first, second)
    assert not same_bits(first, other)
    assert shown.out == ""
    assert "3/3" in shown.err
    last = first.history["train"][-1], first.history["validation"][-1]
    assert "train {:.3f}, validation {:.3f} nats".format(*last) in shown.err


def test_nothing_global_is_drawn_from_or_changed():
    density, params = normal()
    x = rows()
    kept, start = x.copy(), trees.flatten(params)[0]
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    fit(density, params, x)
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(x, kept)
    assert np.array_equal(trees.flatten(params)[0], start)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_rows_is_that_of_the_training(dtype):
    density = nfref.Density(nfref.MAF(2, 2, (8,), batch_norm=True))
    params = density.init(np.random.default_rng(0))
    seen = set()

    def objective(density, params, x, context, rng):
        seen.add(trees.dtype_of(params))
        seen.add(x.dtype)
        loss = -anp.mean(density.log_prob(params, x))
        seen.add(loss.dtype)
        return loss

    result = fit(density, params, rows().astype(dtype), validation=rows(50), objective=objective,
                 schedule="cosine", average=0.9)
    assert seen == {np.dtype(dtype)}
    assert trees.dtype_of(result.params) == dtype
    assert all(type(value) is float for values in result.history.values() for value in values)


def test_integers_fortran_order_and_read_only_rows_work():
    density, params = normal()
    x = np.asfortranarray(np.round(rows()).astype(int))
    x.flags.writeable = False
    result = fit(density, params, x)
    assert trees.dtype_of(result.params) == np.float64
    assert same_bits(result, fit(density, params, np.ascontiguousarray(x, dtype=float)))


# Layers that look at the data -------------------------------------------------------------


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

    result = fit(density, params, rows(40, dim=1), validation=None, batch_size=10, epochs=1,
                 objective=objective, data_dependent_init=False, average=0.0)
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
    # Squared, so that some epoch scores better than the start, which is good for Gaussian rows.
    x, validation = rows(300) ** 2, rows(50, seed=1) ** 2
    given = {"context": x[:, :1] ** 2, "validation_context": validation[:, :1] ** 2}
    given = given if context_dim else {"context": None, "validation_context": None}
    if not held_out:
        validation = given["validation_context"] = None
    states = []
    result = fit(density, params, x, validation=validation, batch_size=50, epochs=4,
                 learning_rate=0.01, callback=states.append, **given)
    assert np.array_equal(trees.flatten(states[-1].best_params)[0],
                          trees.flatten(result.params)[0])
    assert not np.array_equal(trees.flatten(states[-1].best_params)[0], states[-1].best)
    u, own = x, result.params["flow"]
    for layer, theta in list(zip(density.flow.flows, own))[::-1]:
        if isinstance(layer, nfref.BatchNorm):
            np.testing.assert_allclose(theta["running_mean"], u.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(theta["running_variance"], u.var(axis=0), rtol=1e-12)
        u = layer.inverse(theta, u, given["context"] if layer.context_dim else None)[0]
    if held_out:
        score = -train.mean_log_prob(density, result.params, validation,
                                     given["validation_context"])
        # The start competes; where it wins, no epoch scored better.
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
        fit(density, density.init(np.random.default_rng(0)), x, validation=x, batch_size=30,
            epochs=2, patience=None)
        return [entry for entry in asked if entry[1] > 1]

    assert stages() == [("start", 60)]
    assert stages(nfref.BatchNorm(2)) == [("start", 60)] + 4 * [("batch", 30)]
    whole = nfref.BatchNorm(2, statistics="training set")
    # For the scores of the start and of two epochs, and for what is returned.
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
    kept = fit(density, params, x, validation=x, learning_rate=1e-14, epochs=1,
               data_dependent_init=False)
    assert np.allclose(kept.params["flow"]["shift"], 0, atol=1e-12)


def test_parameters_can_be_averaged():
    # A rate this high keeps jumping around the best fit; the average does not.
    density, params = normal()
    x = rows(400)
    options = {"validation": x, "epochs": 20, "learning_rate": 0.3, "patience": None,
               "batch_size": 40}
    plain, averaged = (fit(density, params, x, average=a, **options) for a in (0.0, 0.99))
    least = np.sum(np.log(x.std(axis=0))) + 1 + LOG_TWO_PI
    excess, plain_excess = (np.mean(result.history["validation"][-10:]) - least
                            for result in (averaged, plain))
    assert 0 <= excess < 0.005 and excess < plain_excess / 4
    assert averaged.history["train"] == plain.history["train"]


# Reverse KL -------------------------------------------------------------------------------


def target(x):
    """log of 3 times the density of N((1, -2), diag(0.25, 4))."""
    return np.log(3) - 2 * (x[:, 0] - 1) ** 2 - (x[:, 1] + 2) ** 2 / 8 - LOG_TWO_PI


def test_reverse_kl_finds_a_normal_and_its_normaliser():
    density, params = normal()
    result = nfref.fit_reverse_kl(density, params, target, np.random.default_rng(0), steps=400,
                                  batch_size=200, learning_rate=0.1, progress=False)
    assert np.allclose(result.params["flow"]["shift"], [1, -2], atol=0.02)
    assert np.allclose(result.params["flow"]["log_scale"], np.log([0.5, 2]), atol=0.01)
    assert np.allclose(result.history["train"][-10:], -np.log(3), atol=0.01)
    assert len(result.history["train"]) == 400 and result.best_epoch == 399
    assert result.stopped == "epochs"
    assert result.message == "all 400 steps done; parameters of step 399"


def test_annealing_tempers_the_target():
    density, params = normal()
    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(1), 8)
    result = nfref.fit_reverse_kl(density, params, target, np.random.default_rng(1), steps=1,
                                  batch_size=8, anneal=10_000, progress=False)
    assert np.isclose(result.history["train"][0], np.mean(log_q) - 0.01 * np.mean(target(x)))
    later = nfref.fit_reverse_kl(density, params, lambda x: 0 * x[:, 0] - 1,
                                 np.random.default_rng(1), steps=4, batch_size=8, anneal=2,
                                 learning_rate=1e-14, progress=False)
    entropies = [np.mean(density.sample_and_log_prob(params, rng, 8)[1])
                 for rng in [np.random.default_rng(1)] for _ in range(4)]
    assert np.allclose(np.subtract(later.history["train"], entropies), [0.01, 0.51, 1, 1])


def test_reverse_kl_is_reproducible_and_in_the_dtype_of_the_parameters(capsys):
    density = nfref.Density(nfref.Planar(2, 2))
    params = trees.cast(density.init(np.random.default_rng(0)), np.float32)
    runs = [nfref.fit_reverse_kl(density, params, lambda x: -anp.sum(x ** 4, axis=1),
                                 np.random.default_rng(2), steps=5, progress=shown)
            for shown in (False, True)]
    assert same_bits(*runs)
    assert trees.dtype_of(runs[0].params) == np.float32
    shown = capsys.readouterr()
    assert shown.out == "" and "5/5" in shown.err and "nats" in shown.err


def at_call(number, action):
    calls = []

    def log_target(x):
        calls.append(1)
        return action(x) if len(calls) == number else target(x)

    return log_target


def test_reverse_kl_ends_early_with_the_latest():
    density, params = normal()

    def interrupt(x):
        raise KeyboardInterrupt

    whole = nfref.fit_reverse_kl(density, params, target, np.random.default_rng(0), steps=3,
                                 schedule=None, progress=False)
    for action, stopped, cause in [
            (interrupt, "interrupted", "interrupted"),
            (lambda x: target(x) * np.nan, "non-finite", "a loss of nan")]:
        cut = nfref.fit_reverse_kl(density, params, at_call(4, action), np.random.default_rng(0),
                                   steps=90, schedule=None, progress=False)
        assert cut.stopped == stopped and same_bits(cut, whole)
        assert cut.message == f"{cause} in step 3; parameters of step 2"


# Bad input --------------------------------------------------------------------------------


def nan_rows():
    x = rows(20)
    x[[4, 9], [0, 1]] = np.nan, np.inf
    return x


BAD = [
    ({"learning_rate": -1.0}, "learning_rate: expected a finite number above 0, got -1.0"),
    ({"epochs": 0}, "epochs: expected at least 1, got 0"),
    ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ({"patience": 0}, "patience: expected at least 1, got 0"),
    ({"clip_norm": 0}, "clip_norm: expected a finite number above 0, got 0"),
    ({"average": 1.0}, "average: expected a number in [0, 1), got 1.0"),
    ({"schedule": "linear"}, "schedule: expected one of cosine; got 'linear'"),
    ({"validation": 0.0}, "validation: expected a fraction in (0, 1), rows or None, got 0.0"),
    ({"validation": "all"},
     "validation: expected a fraction in (0, 1), rows or None, got 'all'"),
    ({"validation": 1}, "validation: expected a fraction in (0, 1), rows or None, got 1"),
    ({"validation": np.zeros((4, 3))}, "validation: expected shape (N, 2), got (4, 3)"),
    ({"validation": np.zeros((0, 2))}, "validation: expected at least one row, got none"),
    ({"x": np.zeros((0, 2))}, "x: expected at least one row, got none"),
    ({"x": np.zeros((1, 2))}, "x: expected enough rows to hold out 0.1 of them, got 1"),
    ({"x": np.zeros(5)}, "x: expected shape (N, 2), got (5,)"),
    ({"x": np.zeros((5, 3))}, "x: expected shape (N, 2), got (5, 3)"),
    ({"x": nan_rows()}, "x: expected finite numbers, got 2 rows with NaN or infinity, "
                        "the first is row 4"),
    ({"context": np.zeros((400, 1))}, "context: expected None for a flow with context_dim 0, "
                                      "got shape (400, 1)"),
    ({"validation_context": np.zeros((4, 1))},
     "validation_context: expected None unless validation is an array of rows, got shape (4, 1)"),
]


@pytest.mark.parametrize("options, message", BAD, ids=[message for _, message in BAD])
def test_bad_values_are_told_in_one_line(options, message):
    density, params = normal()
    x = options.get("x", rows())
    with pytest.raises(ValueError) as caught:
        fit(density, params, x, **{k: v for k, v in options.items() if k != "x"})
    assert str(caught.value) == message


def test_bad_types_are_told_in_one_line():
    density, params = normal()
    with pytest.raises(TypeError, match="^epochs: expected a whole number, got 2.5$"):
        fit(density, params, rows(), epochs=2.5)
    with pytest.raises(TypeError, match="^x: expected real numbers, got dtype complex128$"):
        fit(density, params, rows() + 1j)
    with pytest.raises(TypeError, match="^rng: expected a numpy.random.Generator"):
        nfref.fit(density, params, rows(), 0)
    with pytest.raises(TypeError, match="^rng: expected a numpy.random.Generator"):
        nfref.fit_reverse_kl(density, params, target, None)
    with pytest.raises(ValueError, match="^anneal: expected at least 1, got 0$"):
        nfref.fit_reverse_kl(density, params, target, np.random.default_rng(0), anneal=0)


def test_contexts_are_checked_by_their_own_names():
    density = nfref.Density(nfref.Planar(2, 1, context_dim=1))
    params = density.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^context: expected shape \(400, 1\), got None$"):
        fit(density, params, rows())
    with pytest.raises(ValueError,
                       match=r"^validation_context: expected shape \(9, 1\), got None$"):
        fit(density, params, rows(), context=np.zeros((400, 1)), validation=rows(9))
    with pytest.raises(ValueError, match="^context: expected finite numbers, got 400 rows"):
        fit(density, params, rows(), context=np.full((400, 1), np.nan))


def test_nothing_to_fit():
    density = nfref.Density(nfref.Standardise((0, 0), (1, 1)))
    with pytest.raises(ValueError, match="^params: expected parameters to fit, got a density"):
        fit(density, density.init(np.random.default_rng(0)), rows())


# Weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("flow", [nfref.MAF(2, 2, (8,)), nfref.NSF(2, 1, (8,), 4)])
def test_whole_weights_are_repeated_rows(backend, flow):
    """With one batch of all rows: the same steps, in float64 to rounding."""
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
    np.testing.assert_allclose(weighted.history["validation"], repeated.history["validation"],
                               rtol=1e-12)


def test_the_weighted_fit_of_a_normal_is_the_weighted_mean():
    density, params = normal()
    x, rng = rows(300), np.random.default_rng(2)
    weight = rng.gamma(1.0, size=300)
    result = fit(density, params, x, sample_weight=weight, validation=None, epochs=800,
                 batch_size=300, learning_rate=0.05, schedule="cosine", average=0)
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
    # A fraction is held out with its own weights; rows of weight 0 are not there at all.
    one = fit(density, params, x, sample_weight=np.arange(50) % 2, epochs=2)
    other = fit(density, params, x[1::2], epochs=2)
    np.testing.assert_allclose(one.history["validation"], other.history["validation"], rtol=1e-12)


@pytest.mark.parametrize("weight, message", [
    (np.ones(3), r"sample_weight: expected shape \(20,\), one a row; got \(3,\)"),
    (-np.arange(20.0), "sample_weight: expected finite numbers of at least 0, got -1 in row 1"),
    (np.full(20, np.nan), "sample_weight: expected finite numbers of at least 0, got nan in row 0"),
    (np.zeros(20), "sample_weight: expected one above 0, got zero in each of 20 rows"),
])
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        fit(*normal(), rows(20), sample_weight=weight)


def test_weights_where_they_have_no_meaning():
    with pytest.raises(ValueError, match="sample_weight: expected None with an objective"):
        fit(*normal(), rows(20), sample_weight=np.ones(20), objective=lambda *_: 0.0)
    with pytest.raises(ValueError, match="validation_weight: expected None unless validation"):
        fit(*normal(), rows(20), validation_weight=np.ones(2))


def test_a_time_limit_ends_a_fit_and_keeps_the_best():
    density, params = normal()
    result = fit(density, params, rows(), epochs=10 ** 6, time_limit=0.2, patience=None)
    assert result.stopped == "time" and "no time left after" in result.message
    assert len(result.history["train"]) >= 1
    with pytest.raises(ValueError, match="time_limit: expected a finite number above 0, got 0"):
        fit(density, params, rows(), time_limit=0)
