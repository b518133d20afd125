"""Fitting: it finds the best parameters, and how it ends."""

import dataclasses

import autograd.numpy as anp
import numpy as np
import pytest

import nfref
from nfref.continuous.solve import SolverError
from nfref.runtime import params as trees
from nfref.training import fitting as train
from nfref.training.loop import message
from tests.training.cases import LOG_TWO_PI, fit, normal, rows, same_bits, target

# What a fit finds -------------------------------------------------------------------------


def test_it_finds_the_maximum_likelihood_normal():
    density, params = normal()
    x = rows(500)
    result = fit(
        density,
        params,
        x,
        epochs=400,
        batch_size=500,
        learning_rate=0.1,
        validation=None,
        schedule="cosine",
        patience=None,
    )
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
    result = fit(
        density,
        density.init(rng),
        x.astype(np.float32),
        epochs=30,
        batch_size=256,
        learning_rate=1e-2,
    )
    z = rng.standard_normal((4000, 2))
    new = np.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0] ** 2], axis=1)
    truth = -0.5 * np.sum(z**2, axis=1) - LOG_TWO_PI - np.log(0.5)
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


@pytest.mark.parametrize(
    "objective, words",
    [
        (lambda density, params, *_: density.log_prob(params, rows(9)), "one number, got shape"),
        (lambda *_: None, "a number that autograd.numpy computes from params, got NoneType"),
        (lambda density, params, *_: (anp.sum(params["flow"]["shift"]), 0), "got tuple"),
    ],
)
def test_an_objective_that_is_no_number(objective, words):
    density, params = normal()
    with pytest.raises((ValueError, TypeError), match=f"^objective: expected .*{words}"):
        fit(density, params, rows(), objective=objective, epochs=1)


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
    assert np.isclose(
        -np.mean(density.log_prob(result.params, held_out)),
        result.history["validation"][result.best_epoch],
    )


def test_validation_in_blocks_is_the_mean_over_all_rows():
    density, params = normal()
    x = rows(2 * train.BLOCK + 17)
    assert np.isclose(
        train.mean_log_prob(density, params, x), np.mean(density.log_prob(params, x)), rtol=1e-13
    )


# How a fit ends ---------------------------------------------------------------------------


def test_patience_stops_and_the_best_comes_back():
    # Eight rows are easily memorised: validation soon gets worse.
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.MAF(2, 4, (32,)))
    held_out = 3 + rng.standard_normal((200, 2))
    result = fit(
        density,
        density.init(rng),
        3 + rng.standard_normal((8, 2)),
        validation=held_out,
        epochs=300,
        learning_rate=1e-2,
        patience=7,
    )
    validation = result.history["validation"]
    assert result.stopped == "patience"
    assert len(validation) == result.best_epoch + 8 < 300
    assert validation[result.best_epoch] == min(validation)
    assert np.isclose(-np.mean(density.log_prob(result.params, held_out)), min(validation))
    assert result.message == (
        f"nothing better in 7 epochs; parameters of epoch {result.best_epoch}"
    )


def test_one_epoch_is_no_epochs():
    said = message("patience", "", "epoch", 3, 2, 1)
    assert said == "nothing better in 1 epoch; parameters of epoch 2"


def test_the_start_competes_for_the_best():
    density, params = normal()
    x = (rows(100) - 3) / 2  # standard normal, the start's own density
    start = -np.mean(density.log_prob(params, x))
    result = fit(density, params, x, validation=x, epochs=30, learning_rate=3.0, patience=4)
    assert result.stopped == "patience" and len(result.history["validation"]) == 4
    assert min(result.history["validation"]) > start
    assert result.best_epoch is None
    assert result.message == (
        "4 epochs done; none improved on the starting parameters, which are returned"
    )
    assert np.array_equal(trees.flatten(result.params)[0], trees.flatten(params)[0])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("validation", [0.2, None])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_resumed_fit_has_the_bits_of_one_that_never_stopped(backend, validation, batch_norm):
    """Its states are read after its end, and are those of their epochs."""
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.RealNVP(2, 2, (8,), batch_norm=batch_norm))
    params, x = density.init(rng), rng.standard_normal((150, 2)) ** 3
    options = dict(
        validation=validation,
        epochs=9,
        batch_size=32,
        patience=4,
        schedule="cosine",
        learning_rate=0.02,
    )
    states = []
    with nfref.backend(backend):
        whole = fit(density, params, x, callback=states.append, **options)
        assert [state.epoch for state in states] == list(range(1, len(states) + 1))
        for state in states[::3] + states[-1:]:
            from_file = dataclasses.replace(state, unflatten=None, evaluated=None)
            again = fit(density, params, x, resume=from_file, **options)
            assert same_bits(whole, again)
            assert (again.stopped, again.message) == (whole.stopped, whole.message)
    assert np.array_equal(trees.flatten(states[-1].best_params)[0], trees.flatten(whole.params)[0])


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
        nfref.fit(
            density,
            params,
            rows(),
            np.random.Generator(np.random.MT19937(0)),
            resume=states[0],
            progress=False,
        )


def test_an_integration_that_fails_ends_the_fit_and_keeps_the_best():
    density, params = normal()
    x = rows(256)
    result = fit(
        density,
        params,
        x,
        validation=x,
        epochs=9,
        objective=stopper(SolverError("gave up"), at=4 * 2 + 1),
    )
    assert result.stopped == "non-finite" and result.best_epoch == 1
    assert result.message == (
        "an integration that failed (gave up) in epoch 2; parameters of epoch 1"
    )


def stopper(error, at):
    """Return an objective that misbehaves at its call number ``at``."""
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
    # The same objective for both, so that both run through the twins.
    whole = fit(
        density, params, x, validation=x, epochs=2, learning_rate=0.1, objective=stopper(None, at=0)
    )
    cut = fit(
        density,
        params,
        x,
        validation=x,
        epochs=50,
        learning_rate=0.1,
        objective=stopper(KeyboardInterrupt(), at=4 * 2 + 3),
    )
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
    # The same objective for both, so that both run through the twins.
    whole = fit(
        density, params, x, validation=x, epochs=2, learning_rate=0.1, objective=stopper(None, at=0)
    )
    cut = fit(
        density,
        params,
        x,
        validation=x,
        epochs=50,
        learning_rate=0.1,
        objective=stopper(bad, at=4 * 2 + 1),
    )
    assert cut.stopped == "non-finite"
    assert cut.message == f"a loss of {bad} in epoch 2; parameters of epoch 1"
    assert same_bits(cut, whole)


def test_a_gradient_that_is_not_finite_stops_too():
    density, params = normal()

    def objective(density, params, x, context, rng):
        shift = params["flow"]["shift"]
        return anp.sum(anp.sqrt(shift * shift)) - anp.mean(density.log_prob(params, x))

    result = fit(density, params, rows(), objective=objective)  # 0/0 at shift = 0
    assert result.stopped == "non-finite"
    assert result.message == "a gradient that is not finite in epoch 0; parameters of the start"


def test_a_learning_rate_that_is_far_too_high_is_survived():
    density = nfref.Density(nfref.RealNVP(2, 4, (16,)))
    params = density.init(np.random.default_rng(0))
    result = fit(density, params, rows().astype(np.float32), learning_rate=1e30, epochs=20)
    assert result.stopped == "non-finite"
    assert np.all(np.isfinite(trees.flatten(result.params)[0]))


def test_a_time_limit_ends_a_fit_and_keeps_the_best():
    density, params = normal()
    result = fit(density, params, rows(), epochs=10**6, time_limit=0.2, patience=None)
    assert result.stopped == "time" and "no time left after" in result.message
    assert len(result.history["train"]) >= 1
    with pytest.raises(ValueError, match="time_limit: expected a finite number above 0, got 0"):
        fit(density, params, rows(), time_limit=0)


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
    density = nfref.Density(nfref.RealNVP(2, 2, (8,), batch_norm=True))
    params = density.init(np.random.default_rng(0))
    seen = set()

    def objective(density, params, x, context, rng):
        seen.add(trees.dtype_of(params))
        seen.add(x.dtype)
        loss = -anp.mean(density.log_prob(params, x))
        seen.add(loss.dtype)
        return loss

    result = fit(
        density,
        params,
        rows().astype(dtype),
        validation=rows(50),
        objective=objective,
        schedule="cosine",
        average=0.9,
    )
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


def test_parameters_can_be_averaged():
    # A rate this high keeps jumping around the best fit; the average does not.
    density, params = normal()
    x = rows(400)
    options = {
        "validation": x,
        "epochs": 20,
        "learning_rate": 0.3,
        "patience": None,
        "batch_size": 40,
    }
    plain, averaged = (fit(density, params, x, average=a, **options) for a in (0.0, 0.99))
    least = np.sum(np.log(x.std(axis=0))) + 1 + LOG_TWO_PI
    excess, plain_excess = (
        np.mean(result.history["validation"][-10:]) - least for result in (averaged, plain)
    )
    assert 0 <= excess < 0.005 and excess < plain_excess / 4
    assert averaged.history["train"] == plain.history["train"]


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
    ({"validation": "all"}, "validation: expected a fraction in (0, 1), rows or None, got 'all'"),
    ({"validation": 1}, "validation: expected a fraction in (0, 1), rows or None, got 1"),
    ({"validation": np.zeros((4, 3))}, "validation: expected shape (N, 2), got (4, 3)"),
    ({"validation": np.zeros((0, 2))}, "validation: expected at least 1 row, got 0"),
    ({"x": np.zeros((0, 2))}, "x: expected at least 1 row, got 0"),
    ({"x": np.zeros((1, 2))}, "x: expected enough rows to hold out 0.1 of them, got 1"),
    ({"x": np.zeros(5)}, "x: expected shape (N, 2), got (5,)"),
    ({"x": np.zeros((5, 3))}, "x: expected shape (N, 2), got (5, 3)"),
    (
        {"x": nan_rows()},
        "x: expected finite numbers, got 2 rows with NaN or infinity, the first is row 4",
    ),
    (
        {"context": np.zeros((400, 1))},
        "context: expected None for a flow with context_dim 0, got shape (400, 1)",
    ),
    (
        {"validation_context": np.zeros((4, 1))},
        "validation_context: expected None unless validation is an array of rows, got shape (4, 1)",
    ),
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
    with pytest.raises(
        ValueError, match=r"^validation_context: expected shape \(9, 1\), got None$"
    ):
        fit(density, params, rows(), context=np.zeros((400, 1)), validation=rows(9))
    with pytest.raises(ValueError, match="^context: expected finite numbers, got 400 rows"):
        fit(density, params, rows(), context=np.full((400, 1), np.nan))


def test_nothing_to_fit():
    density = nfref.Density(nfref.Standardise((0, 0), (1, 1)))
    with pytest.raises(ValueError, match="^params: expected parameters to fit, got a density"):
        fit(density, density.init(np.random.default_rng(0)), rows())
