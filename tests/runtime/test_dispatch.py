"""The dispatch: formula or twin, fallbacks, threads, forks."""

import inspect
import os
import threading
import time
from contextlib import suppress

import autograd
import autograd.numpy as anp
import numba
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple
from autograd.test_util import check_grads

import nfref
from nfref.kernels import jit
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.training import adam, gradient

FLOW = nfref.RealNVP(2, layers=2, hidden=(8, 8), activation="tanh")


def problem(n=200, flow=FLOW, dtype=np.float64):
    rng = np.random.default_rng(0)
    params = trees.tree_map(
        lambda leaf: (leaf + 0.3 * rng.standard_normal(leaf.shape)).astype(dtype), flow.init(rng)
    )
    return params, rng.standard_normal((n, flow.dim)).astype(dtype)


def test_unasked_small_calls_take_the_formula_and_large_ones_the_twin(monkeypatch):
    monkeypatch.delenv("NFREF_BACKEND", raising=False)
    params, _ = problem()
    n = dispatch.CALL // trees.count(params)
    for rows_, taken in ((7, "numpy"), (n + 1, "numba")):
        x = np.random.default_rng(1).standard_normal((rows_, 2))
        z, log_det = FLOW.inverse(params, x)
        with nfref.backend(taken):
            same = FLOW.inverse(params, x)
        assert np.array_equal(z, same[0]) and np.array_equal(log_det, same[1])


# Falling back -----------------------------------------------------------------------------


def test_second_derivatives_are_those_of_the_formula():
    params, x = problem(3)

    def total(p, x):
        z, log_det = FLOW.inverse(p, x)
        return anp.sum(z**3) + anp.sum(anp.sin(log_det))

    results = []
    for name in ("numpy", "numba"):
        with nfref.backend(name):
            hessian = autograd.hessian(total, 1)(params, x)
            mixed = autograd.grad(lambda p: anp.sum(autograd.grad(total, 1)(p, x) ** 2))(params)
        results.append((hessian, *trees.leaves(mixed)))
    for one, other in zip(*results):
        assert np.allclose(one, other, rtol=1e-11, atol=1e-11)


def test_forward_mode_is_that_of_the_formula():
    flow = nfref.ElementwiseAffine(2)
    params, x = problem(5, flow)
    tangents = []
    for name in ("numpy", "numba"):
        with nfref.backend(name):
            tangents.append(autograd.make_jvp(lambda x: flow.inverse(params, x)[0])(x)(x)[1])
    assert np.array_equal(*tangents)


def test_gradients_of_twins_pass_autograds_own_check():
    params, x = problem(5)
    with nfref.backend("numba"):
        check_grads(lambda p, x: traced_tuple(FLOW.forward(p, x)), modes=["rev"], order=2)(
            params, x
        )


def test_complex_rows_take_the_formula():
    params, x = problem(5)
    step = 1e-30
    moved = x + 1j * step * np.ones_like(x)
    with nfref.backend("numba"):
        z, log_det = FLOW.inverse(params, moved)
    with nfref.backend("numpy"):
        expected = FLOW.inverse(params, moved)
    assert np.array_equal(z, expected[0]) and np.array_equal(log_det, expected[1])
    assert np.any(z.imag)


def test_a_subclass_with_its_own_formula_is_never_run_by_the_twin():
    class Doubled(nfref.ElementwiseAffine):
        def _forward(self, params, z, context):
            return 2 * z, np.full(len(z), self.dim * np.log(2.0))

    flow = Doubled(2)
    with nfref.backend("numba"):
        x, _ = flow.forward(flow.init(np.random.default_rng(0)), np.ones((3, 2)))
    assert np.array_equal(x, np.full((3, 2), 2.0))


def test_every_twin_that_a_flow_names_is_known_to_the_kernels_and_no_other():
    from nfref.kernels.chain.instructions import ENCODERS

    flows = {
        value
        for value in map(nfref.__getattr__, nfref.__all__)
        if isinstance(value, type) and issubclass(value, nfref.Flow)
    }
    assert {vars(flow)["_twin"] for flow in flows if "_twin" in vars(flow)} == set(ENCODERS)


def test_a_twin_without_an_answer_leaves_it_to_the_formula(monkeypatch):
    asked = []
    monkeypatch.setattr(dispatch, "_load", lambda place: lambda *arguments: asked.append(place))
    params, x = problem(3)
    with nfref.backend("numba"):
        z, _ = FLOW.inverse(params, x)
    assert asked == [dispatch.TWINS["flow"].numba]
    assert np.array_equal(z, FLOW._inverse(params, x, None)[0])


def test_inputs_of_any_layout_and_read_only_parameters():
    params, x = problem(9)
    for array in trees.leaves(params):
        array.flags.writeable = False
    with nfref.backend("numba"):
        z, log_det = FLOW.inverse(params, x)
        for same in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
            again = FLOW.inverse(params, same)
            assert np.array_equal(again[0], z) and np.array_equal(again[1], log_det)
        x.flags.writeable = False
        assert np.array_equal(FLOW.inverse(params, x)[0], z)


def test_rows_do_not_depend_on_their_neighbours():
    params, x = problem(200)
    with nfref.backend("numba"):
        z, log_det = FLOW.inverse(params, x)
        for k in (0, 127, 128, 199):
            alone = FLOW.inverse(params, x[k : k + 1])
            assert np.array_equal(alone[0][0], z[k]) and alone[1][0] == log_det[k]


def test_a_nan_stays_in_its_row():
    params, x = problem(100)
    x[70] = np.nan
    with nfref.backend("numba"):
        z, log_det = FLOW.inverse(params, x)
    assert np.isnan(log_det[70]) and np.isfinite(np.delete(log_det, 70)).all()
    assert np.isnan(z[70]).any() and np.isfinite(np.delete(z, 70, axis=0)).all()


# Training ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flow",
    [
        FLOW,
        nfref.MAF(3, layers=2, hidden=(9,)),
        nfref.RealNVP(2, 2, (5,), context_dim=2),
        nfref.Chain([nfref.RealNVP(2, 2, (5,)), nfref.Standardise((1.0, 2.0), (3.0, 4.0))]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_loss_and_gradient_of_a_training_step(flow, dtype):
    density = nfref.Density(flow)
    params, x = problem(300, flow, dtype)
    context = np.sin(np.arange(300 * flow.context_dim).reshape(300, -1)).astype(dtype)
    context = context if flow.context_dim else None
    vector, unflatten = trees.flatten({"base": {}, "flow": params})
    results = []
    for name in ("numpy", "numba"):
        with nfref.backend(name):
            results.append(gradient.loss_and_gradient(density, unflatten, vector, x, context))
    (loss, slope), (twin_loss, twin_slope) = results
    eps = np.finfo(dtype).eps
    assert twin_loss.dtype == loss.dtype == twin_slope.dtype == slope.dtype == dtype
    assert abs(twin_loss - loss) <= 100 * eps * abs(loss)
    assert np.max(np.abs(twin_slope - slope)) <= 200 * eps * np.max(np.abs(slope))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adam_update(dtype):
    from nfref.kernels.adam import adam_update

    rng = np.random.default_rng(0)
    vector, slope, m = (rng.standard_normal(1001).astype(dtype) for _ in range(3))
    slope[0] = m[0] = 0
    v = (m**2).astype(dtype)
    for t in (1, 2, 1000):
        expected = adam.adam_update(vector, slope, m, v, t, 0.01)
        twin = adam_update(vector, slope, m, v, t, 0.01)
        for one, other in zip(twin, expected):
            assert one.dtype == dtype
            assert np.allclose(one, other, rtol=10 * np.finfo(dtype).eps, atol=0)
        assert twin[0][0] == vector[0]


def test_a_twin_has_the_name_and_the_arguments_of_its_formula():
    """This holds for twins of one formula. The others take a whole layer or chain at once."""
    from nfref.flows import planar
    from nfref.kernels import adam as adam_twins
    from nfref.kernels.chain import network
    from nfref.kernels.chain import planar as planar_twins
    from nfref.kernels.simd import small_matrices as matrix_twins
    from nfref.networks import activations as nets
    from nfref.runtime import small_matrices
    from nfref.transformers import additive, affine

    pairs = [
        (adam, adam_twins, ["adam_update"]),
        (planar, planar_twins, ["planar_slope", "planar_root", "minus_tanh"]),
        (nets, network, ["softplus"]),
        (nets, planar_twins, ["sech_squared"]),
        (small_matrices, matrix_twins, ["log_abs_det", "solve"]),
    ]
    with suppress(ImportError):
        from nfref.kernels.cuda import coupling as device_twins

        for kind, module in (("affine", affine), ("additive", additive)):
            twin = list(inspect.signature(getattr(device_twins, f"{kind}_coupling")).parameters)
            for way in ("forward", "inverse"):  # one twin with the direction as argument
                formula = inspect.signature(getattr(module, f"{kind}_{way}")).parameters
                assert twin[:2] == ["direction", "rows"] and twin[2:] == list(formula)[1:]
    for formulas, twins, names in pairs:
        for name in names:
            formula, twin = getattr(formulas, name), getattr(twins, name)
            # Look below the wrappers of autograd and of Numba.
            formula, twin = (
                getattr(function, "fun", getattr(function, "py_func", function))
                for function in (formula, twin)
            )
            arguments, same = (
                list(inspect.signature(function).parameters) for function in (formula, twin)
            )
            assert arguments == same, name


# Threads, forks ---------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [FLOW, nfref.MAF(3, layers=2, hidden=(9,))])
def test_any_number_of_threads_gives_the_same_bits(flow):
    params, x = problem(1500, flow)
    results = []
    for threads in (1, 2, 5):
        with nfref.backend("numba", threads=threads):
            slope = autograd.grad(lambda p: anp.sum(flow.inverse(p, x)[0] ** 2))(params)
            results.append([*flow.inverse(params, x), *trees.leaves(slope)])
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_calls_from_many_threads_at_once():
    params, x = problem(1000)
    with nfref.backend("numba"):
        expected, _ = FLOW.inverse(params, x)
    found = []

    def work():
        with nfref.backend("numba", threads=2):
            for _ in range(10):
                found.append(np.array_equal(FLOW.inverse(params, x)[0], expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_computes_and_ends():
    params, x = problem(1000)
    with nfref.backend("numba", threads=2):
        expected, _ = FLOW.inverse(params, x)
        child = os.fork()
        if child == 0:
            same = np.array_equal(FLOW.inverse(params, x)[0], expected)
            os._exit(0 if same else 1)
        for _ in range(600):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert done and os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, it is a function like others")
def test_a_part_of_kernels_refuses_calls_from_python_even_once_it_is_compiled():
    @jit.body
    def double(x):
        return 2 * x

    @numba.njit
    def quadruple(x):
        return double(double(x))

    for call in (lambda: None, lambda: quadruple(3.0)):
        call()
        with pytest.raises(TypeError, match="double: expected to be called by a kernel"):
            double(3.0)
    assert quadruple(3.0) == 12
