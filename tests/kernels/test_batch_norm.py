"""Batch norm in training, whose rows depend on each other: the twin against the formula."""

import threading

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple

import nfref
from nfref.kernels import phase_barrier
from nfref.kernels.chain import execute
from nfref.kernels.chain.primitives import programs
from nfref.runtime import params as trees
from nfref.training.gradient import loss_and_gradient
from tests.kernels.test_chain import assert_close, fill

FLOWS = {
    "couplings": nfref.RealNVP(3, 3, (16, 9), activation="tanh", batch_norm=True),
    "beside others": nfref.Chain(
        [
            nfref.BatchNorm(2, epsilon=0.1, momentum=0.3),
            nfref.MADE(2, (9,), context_dim=2),
            nfref.BatchNorm(2),
            nfref.BatchNorm(2, statistics="training set"),
            nfref.Standardise((0.5, 1.0), (2.0, 3.0)),
            nfref.Logit((-50.0, None), (50.0, None)),
        ]
    ),
}


def problem(name, n, dtype):
    flow, rng = FLOWS[name], np.random.default_rng(n)
    density = nfref.Density(flow)
    params = trees.tree_map(
        lambda leaf: (leaf + 0.2 * rng.random(leaf.shape)).astype(dtype), density.init(rng)
    )
    x = (1 + 2 * rng.standard_normal((n, flow.dim))).astype(dtype)
    context = rng.standard_normal((n, flow.context_dim)).astype(dtype) if flow.context_dim else None
    return density, params, x, context


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("couplings", "float64"),
        pytest.param("couplings", "float32", marks=pytest.mark.thorough),
        pytest.param("beside others", "float64", marks=pytest.mark.thorough),
    ],
)
def test_values_derivatives_and_statistics_are_those_of_the_formula(name, dtype):
    for n in (1, 7, 300):
        density, params, x, context = problem(name, n, dtype)
        training, (vector, unflatten) = nfref.in_training(density), trees.flatten(params)
        weight = np.random.default_rng(0).uniform(0.5, 2, n).astype(dtype)
        found = []
        for backend in ("numpy", "numba"):
            with nfref.backend(backend):

                def score(variables):
                    z, log_det = training.flow.inverse(*variables, context)
                    return anp.sum(anp.sin(z)) + anp.sum(log_det * weight)

                loss, gradient = loss_and_gradient(training, unflatten, vector, x, context, weight)
                found.append(
                    [
                        training.flow.inverse(params["flow"], x, context),
                        (np.array(loss, dtype),),
                        (gradient,),
                        autograd.grad(score)(traced_tuple((params["flow"], x))),
                        *(
                            nfref.adapt(density, params, x, context, stage)
                            for stage in ("start", "batch")
                        ),
                    ]
                )
        for formula, twin in zip(*found, strict=True):
            assert_close([twin], [formula], dtype)


def test_no_second_pass_by_formulas():
    """All that learns from a batch comes from the kernel, and the layers see it in training."""
    density, params, x, context = problem("couplings", 50, "float64")
    with nfref.backend("numba"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nfref.BatchNorm, "_inverse", None)
        loss_and_gradient(nfref.in_training(density), *trees.flatten(params)[::-1], x)
        assert nfref.adapt(density, params, x) is not params


@pytest.mark.parametrize(
    "n, dtype",
    [
        (130, "float64"),
        (1000, "float64"),
        pytest.param(1000, "float32", marks=pytest.mark.thorough),
    ],
)
def test_any_number_of_threads_and_what_stood_before_give_the_same_bits(n, dtype):
    density, params, x, context = problem("couplings", n, dtype)
    (program,) = programs(nfref.in_training(density).flow, -1)
    theta = program.pack(params["flow"], x.dtype)
    context = np.zeros((n, 0), x.dtype)
    results = []
    for threads, stood in ((1, 0.0), (2, np.nan), (5, np.nan)):
        fill(program.workspace, stood)
        results.append(
            [
                *execute.value_and_finite(program, theta, x, context, threads)[0],
                *execute.cotangents(program, theta, x, context, x, x[:, 0], threads),
                *execute.normal_loss_cotangents(program, theta, x, context, threads),
            ]
        )
    for some in results[1:]:
        for one, other in zip(results[0], some, strict=True):
            assert np.array_equal(one, other)


def test_a_batch_that_is_not_finite_is_left_to_the_formula():
    density, params, x, _ = problem("couplings", 20, "float64")
    x[3, 1] = 1e308  # its square overflows
    for call in (
        lambda: nfref.in_training(density).flow.inverse(params["flow"], x),
        lambda: trees.leaves(nfref.adapt(density, params, x)),
    ):
        with np.errstate(all="ignore"):
            with nfref.backend("numpy"):
                formula = call()
            with nfref.backend("numba"):
                twin = call()
        for one, other in zip(formula, twin, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_part_begins_when_the_one_before_is_done():
    """Uncompiled, with more threads than tasks; nobody is late, and one thread alone gets on."""
    for threads in (1, 4):
        counts, done = phase_barrier.make_counts(5), []

        def work():
            while True:
                part, task = divmod(phase_barrier.add_one(counts, 0), 3)
                if part >= 5:
                    return
                phase_barrier.wait_for(counts, 6 + part)
                assert len(done) >= 3 * part
                done.append((part, task))
                if phase_barrier.add_one(counts, 1 + part) == 2 and part < 4:
                    phase_barrier.add_one(counts, 7 + part)

        some = [threading.Thread(target=work) for _ in range(threads)]
        for thread in some:
            thread.start()
        for thread in some:
            thread.join()
        assert sorted(done) == [(part, task) for part in range(5) for task in range(3)]
