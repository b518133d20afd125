"""Steps in one call: what they compute, where they stop, and which steps are made so."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import nfref
from nfref.kernels.chain import fused_steps
from nfref.runtime import params as trees
from nfref.training import fitting
from tests.training.cases import fit, same_bits

FLOWS = {
    "theta is the vector": nfref.ElementwiseAffine(3),
    "masked": nfref.MAF(3, 1, (8,)),
    "context": nfref.MAF(3, 1, (8,), context_dim=2),
    "many pieces": nfref.MAF(3, 2, (256, 256)),
}


def fitted(name="masked", dtype=np.float64, backend="numba", threads=None, x=None, **options):
    """A fit of five epochs of 7 batches of 28 or 29 rows."""
    rng = np.random.default_rng(0)
    flow = FLOWS[name]
    density = nfref.Density(flow)
    params = trees.tree_map(lambda leaf: (leaf + 0.1).astype(dtype), density.init(rng))
    x = rng.standard_normal((200, 3)).astype(dtype) if x is None else x
    if flow.context_dim:
        context = rng.standard_normal((200, flow.context_dim)).astype(dtype)
        options.update(context=context, validation_context=context[:20])
    with nfref.backend(backend, threads=threads):
        return fit(
            density,
            params,
            x,
            **{
                "epochs": 5,
                "batch_size": 29,
                "learning_rate": 1e-2,
                "validation": x[:20],
                **options,
            },
        )


# What they compute -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_weight": np.random.default_rng(2).gamma(1.0, size=200)},
        {"clip_norm": 0.02},
        {"clip_norm": None, "schedule": "cosine"},
        {"average": 0.0, "patience": 1, "learning_rate": 0.5},
    ],
    ids=["plain", "weights", "clipped", "cosine", "impatient"],
)
@pytest.mark.parametrize(
    "name, batch_size",
    [*((name, 29) for name in list(FLOWS)[:3]), ("masked", 129), ("context", 200)],
)
def test_they_are_the_steps_of_the_formula(name, batch_size, options, dtype):
    """With batches of one block; of one or two, in turns; and of two."""
    found, expected = (
        fitted(name, dtype, backend, batch_size=batch_size, **options)
        for backend in ("numba", "numpy")
    )
    scale = 2e4 * np.finfo(dtype).eps
    for history in ("train", "validation"):
        np.testing.assert_allclose(
            found.history[history], expected.history[history], rtol=scale, atol=scale
        )
    for one, other in zip(trees.leaves(found.params), trees.leaves(expected.params)):
        np.testing.assert_allclose(one, other, rtol=scale, atol=scale)
    assert (found.best_epoch, found.message) == (expected.best_epoch, expected.message)


@pytest.mark.parametrize(
    "name, batch_size",
    [("masked", 29), ("masked", 129), ("context", 200), ("many pieces", 100), ("many pieces", 200)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_threads_nor_the_number_of_calls_change_a_bit(name, batch_size, dtype, monkeypatch):
    def fit_again(threads=None):
        return fitted(name, dtype, batch_size=batch_size, threads=threads, epochs=3)

    expected, others = fit_again(1), [fit_again(2), fit_again(3)]
    tasks = [threading.Thread(target=lambda: others.append(fit_again())) for _ in range(2)]
    for task in tasks:  # at once
        task.start()
    for task in tasks:
        task.join()
    for most in (1, 3):
        monkeypatch.setattr(fused_steps, "MOST", most)
        others.append(fit_again())
    assert len(others) == 6
    for other in others:
        assert same_bits(expected, other)


@pytest.mark.parametrize("name", FLOWS)
def test_states_on_the_way_are_those_of_the_formula_and_lead_to_the_same_end(name):
    states = {"numba": [], "numpy": []}
    for backend, found in states.items():
        fitted(name, backend=backend, callback=found.append, epochs=3)
    for one, other in zip(*states.values(), strict=True):
        for vector in ("vector", "averaged", "m", "v", "best"):
            np.testing.assert_allclose(
                getattr(one, vector), getattr(other, vector), rtol=1e-8, atol=1e-10
            )
        assert one.steps == other.steps
    assert same_bits(fitted(name, epochs=3), fitted(name, epochs=3, resume=states["numba"][1]))


# Where they stop ---------------------------------------------------------------------------


def test_what_a_kernel_leaves_is_a_step_of_the_formula_and_then_it_goes_on(monkeypatch):
    expected, calls, kernel = fitted(), [], fused_steps.make_steps

    def stopping(chain, rows, loss, mask, schedule, state, found, *others):
        """As if the third batch were not finite."""
        if len(calls) in (1, 2):
            found.done[0] = 2 - len(calls)
        calls.append(len(schedule.ends) - 1)
        return kernel(chain, rows, loss, mask, schedule, state, found, *others)

    monkeypatch.setattr(fused_steps, "make_steps", stopping)
    monkeypatch.setattr(fused_steps, "SECONDS", 1e9)
    monkeypatch.setitem(FLOWS, "masked", nfref.MAF(3, 1, (8,)))  # of which no call is known yet
    found = fitted()
    # A step, one of two, that of the formula where none of two is made, two, and the last two.
    assert calls == [1, 2, 2, 2, 2, 7, 7, 7, 7]
    np.testing.assert_allclose(found.history["train"], expected.history["train"], rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_that_is_not_finite_ends_a_fit_as_ever(dtype):
    x = np.random.default_rng(0).standard_normal((200, 3)).astype(dtype)
    x[150] = 0.1 * np.finfo(dtype).max
    found, expected = (
        fitted(dtype=dtype, backend=backend, x=x, validation=x[:20])
        for backend in ("numba", "numpy")
    )
    assert found.stopped == expected.stopped == "non-finite"
    assert found.message == expected.message and same_bits(found, expected)


# Which steps -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "in_one_call, base, options",
    [
        (True, None, {"batch_size": 128}),
        (True, None, {"batch_size": 516}),
        (False, nfref.StudentT(3), {}),
        (
            False,
            None,
            {
                "objective": lambda density, params, x, context, rng: (
                    -np.mean(density.log_prob(params, x))
                )
            },
        ),
    ],
    ids=["small", "large", "base", "objective"],
)
def test_steps_are_made_in_one_call(in_one_call, base, options, monkeypatch):
    def refuse(*arguments):
        raise SystemError("a step by itself")

    monkeypatch.setattr(fitting._Run, "_step", refuse)
    density = nfref.Density(FLOWS["masked"], *([] if base is None else [base]))
    x = np.random.default_rng(0).standard_normal((516, 3))
    try:
        with nfref.backend("numba"):
            fit(
                density,
                density.init(np.random.default_rng(0)),
                x,
                epochs=1,
                validation=None,
                **options,
            )
    except SystemError:
        assert not in_one_call
    else:
        assert in_one_call


def test_other_packings_are_steps_by_themselves():
    density = nfref.Density(nfref.LULinear(3))
    vector, unflatten = trees.flatten(density.init(np.random.default_rng(0)))
    rows = fitting.Rows(np.zeros((4, 3)))
    now = SimpleNamespace(vector=vector, size=len(vector))
    assert fused_steps.steps(density, unflatten, now, rows, [np.arange(4)], None, 0.9) is None
