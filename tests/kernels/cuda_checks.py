"""Checks of the CUDA kernels that run on a device or, when told so, in Numba's simulator.

    NUMBA_ENABLE_CUDASIM=1 python -m tests.kernels.cuda_checks

``test_cuda.py`` runs them both ways. The simulator is chosen when Numba is imported, so it
needs a process of its own.
"""

import threading
import time

import numpy as np
from numba import config, cuda

import nfref
from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.cuda import arrays as device_arrays
from nfref.kernels.cuda import coupling as twins
from nfref.kernels.cuda import flows as by_flow
from nfref.kernels.cuda import small_matrices as device
from nfref.runtime import small_matrices
from nfref.transformers import additive, affine
from nfref.transformers.rational_quadratic import RationalQuadratic
from nfref.transformers.transformer import over_rows

SIMULATED = bool(config.ENABLE_CUDASIM)
if SIMULATED:
    from tests.kernels.cuda_simulator import complete_simulator

    complete_simulator()
DTYPES = (np.float64, np.float32)
SIGNS = {"forward": 1, "inverse": -1}
TRANSFORMERS = [
    *(nfref.Affine(scale) for scale in affine.SCALES),
    RationalQuadratic(),
    RationalQuadratic(tails="circular"),
    nfref.DeepSigmoid(3),
    nfref.LogisticMixture(2),
]


def draw(*shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def arguments_of(kind, n, dim, dtype):
    arrays = [draw(n, dim, dtype=dtype, seed=k) for k in range(3)]
    return arrays if kind == "affine" else arrays[:2]


def assert_close(found, expected, dtype, scale, what):
    """Shapes, dtypes, and values within a few roundings of numbers of the given size."""
    assert found.shape == expected.shape and found.dtype == expected.dtype == dtype, what
    assert np.all(np.abs(found - expected) <= 4 * np.finfo(dtype).eps * scale), what


def check_couplings_against_the_formulas():
    sizes = [(0, 3), (1, 1), (7, 3), (5, 33), (2, 64), (70, 2)]
    sizes += [] if SIMULATED else [(1000, 63), (1001, 129), (65537, 2), (3, 1000)]
    for dtype in DTYPES:
        # Four roundings of what is added, whatever cancels.
        for n, dim in sizes + ([(1000, 2)] if dtype == np.float32 else []):
            arrays = arguments_of("affine", n, dim, dtype)
            z, shift, log_scale = (np.abs(array) for array in arrays)
            scale = (z + shift) * np.exp(log_scale) + shift
            for kind in ("affine", "additive"):
                for direction in SIGNS:
                    given = arrays if kind == "affine" else arrays[:2]
                    out, log_det = getattr(twins, f"{kind}_coupling")(SIGNS[direction], *given)
                    formulas = affine if kind == "affine" else additive
                    expected = over_rows(*getattr(formulas, f"{kind}_{direction}")(*given))
                    what = (kind, direction, n, dim, dtype.__name__)
                    assert_close(out, expected[0], dtype, scale, what)
                    assert_close(log_det, expected[1], dtype, log_scale.sum(axis=1), what)


def check_spline_couplings_against_the_formula():
    sizes = [(0, 3), (1, 1), (7, 3), (3, 33)] + ([] if SIMULATED else [(1000, 63), (65537, 2)])
    for transformer in (
        RationalQuadratic(bins=5, bound=1.5),
        RationalQuadratic(bins=4, bound=1.5, tails="circular"),
    ):
        for dtype in DTYPES:
            for n, dim in sizes:
                u, raw = draw(n, dim, dtype=dtype), draw(transformer.size, n, dim, dtype=dtype)
                h = transformer.constrain(raw)
                if n > 1:  # on a knot, and in the tails
                    u[0] = h[0][2, 0]
                    u[1, 0], u[1, -1] = -100, 100
                for direction in SIGNS:
                    expected = over_rows(*getattr(transformer, direction)(u, h))
                    found = twins.spline_coupling(
                        SIGNS[direction], u, h, transformer.bound, transformer.circular
                    )
                    for one, other in zip(found, expected):
                        assert one.shape == other.shape and one.dtype == other.dtype == dtype
                        assert np.allclose(
                            one,
                            other,
                            rtol=500 * np.finfo(dtype).eps,
                            atol=500 * np.finfo(dtype).eps,
                        ), (direction, n, dim)


def check_mixture_couplings_against_the_formulas():
    sizes = [(0, 3), (1, 1), (7, 3), (3, 33)] + ([] if SIMULATED else [(1000, 63), (65537, 2)])
    for transformer in (nfref.DeepSigmoid(5), nfref.LogisticMixture(4)):
        for dtype in DTYPES:
            eps = np.finfo(dtype).eps
            for n, dim in sizes:
                u, raw = draw(n, dim, dtype=dtype), draw(transformer.size, n, dim, dtype=dtype)
                if n > 1:  # far out, where one unit is all that is left
                    u[1, 0], u[1, -1] = -300, 300
                if n > 6:
                    u[3, 1], u[4, 0] = np.inf, np.nan
                    raw[2, 5, 2] = np.nan
                h = transformer.constrain(raw)
                for direction, sign in (("forward", 1), ("inverse", -1)):
                    with np.errstate(all="ignore"):
                        expected = over_rows(*getattr(transformer, direction)(u, h))
                    found = by_flow.TWINS[twin_of(transformer)](transformer, sign, u, h)
                    for one, other in zip(found, expected):
                        assert one.shape == other.shape and one.dtype == other.dtype == dtype
                        assert np.allclose(
                            one, other, rtol=200 * eps, atol=200 * eps, equal_nan=True
                        ), (direction, n, dim, one, other)


def check_a_nan_stays_in_its_row():
    arrays = arguments_of("affine", 9, 5, np.float64)
    arrays[0][4, 2] = np.nan
    arrays[2][6, 1] = np.nan
    for direction in SIGNS:
        out, log_det = twins.affine_coupling(SIGNS[direction], *arrays)
        assert np.array_equal(np.flatnonzero(np.isnan(out).any(axis=1)), [4, 6])
        assert np.array_equal(np.flatnonzero(np.isnan(log_det)), [6])


def check_determinants_against_the_formula():
    sizes = [(0, 3), (1, 1), (7, 3), (2, 16), (1, 34)]
    sizes += [] if SIMULATED else [(1000, 8), (1001, 17), (333, 32), (100, 33), (77, 64)]
    for dtype in DTYPES:
        for n, dim in sizes:
            matrices = draw(n, dim, dim, dtype=dtype)
            values = device.log_abs_det(matrices)
            assert values.dtype == dtype and values.shape == (n,)
            if n == 0:
                continue
            exact = np.linalg.slogdet(matrices.astype(np.float64))[1]
            eps = np.finfo(dtype).eps
            bound = 4 * dim * eps * np.linalg.cond(matrices.astype(np.float64))
            assert np.all(np.abs(values - exact) <= bound + 4 * eps * np.abs(exact)), (n, dim)


def check_singular_matrices_pivots_and_nan():
    matrices = draw(6, 4, 4, dtype=np.float64)
    matrices[1] = 0
    matrices[2, :, 3] = 0
    matrices[3] = np.eye(4)[[2, 0, 3, 1]] * np.array([1.0, 2.0, 3.0, 4.0])
    matrices[4, 1, 2] = np.nan
    matrices[5] = 1e200 * np.eye(4)
    values = device.log_abs_det(matrices)
    assert values[1] == values[2] == -np.inf
    assert np.isnan(values[4])
    exact = [np.linalg.slogdet(matrices[0])[1], np.log(24.0), 800 * np.log(10.0)]
    assert np.allclose(values[[0, 3, 5]], exact, rtol=1e-13)


def check_a_thread_that_fails_ends_the_others_of_its_block():
    if not SIMULATED:  # a device does not raise
        return

    @cuda.jit
    def kernel(out):
        if cuda.threadIdx.x == 3:
            out[cuda.threadIdx.x] = 1 // (cuda.threadIdx.x - 3)
        cuda.syncthreads()
        out[cuda.threadIdx.x] = 1

    out, before = np.zeros(6), threading.active_count()
    try:
        kernel[1, 6](out)
    except ZeroDivisionError as problem:
        assert "tid=[3, 0, 0]" in str(problem)
    else:
        raise AssertionError("the failure was not raised")
    assert not out.any() and threading.active_count() == before


def check_arrays_on_the_device_stay_there():
    arrays = arguments_of("affine", 7, 3, np.float32)
    expected = twins.affine_coupling(1, *arrays)
    there = [cuda.to_device(array) for array in arrays]
    results = twins.affine_coupling(1, *there)
    for result, value in zip(results, expected):
        assert not isinstance(result, np.ndarray)
        assert np.array_equal(result.copy_to_host(), value)
    # The second and third argument may lie anywhere; the first decides.
    results = twins.affine_coupling(1, arrays[0], there[1], arrays[2])
    assert all(np.array_equal(result, value) for result, value in zip(results, expected))
    matrices = draw(5, 3, 3, dtype=np.float64)
    values = device.log_abs_det(cuda.to_device(matrices)).copy_to_host()
    assert np.array_equal(values, device.log_abs_det(matrices))


def check_flows_run_their_couplings_on_the_device():
    launched = []
    launch = device_arrays.launch

    def counted(kernel, *arguments, **options):
        launched.append(kernel)
        launch(kernel, *arguments, **options)

    device_arrays.launch = counted
    try:
        for dtype in DTYPES:
            for flow, couplings in (
                (nfref.RealNVP(3, 2, (5,)), 2),
                (nfref.NICE(2, 3, (4,)), 3),
                (nfref.Invert(nfref.RealNVP(2, 2, (5,), context_dim=1)), 2),
                *(
                    (nfref.Coupling((True, False, False), transformer, (5,)), 1)
                    for transformer in TRANSFORMERS
                ),
                (nfref.MAF(3, 2, (5,)), 0),
            ):
                rng = np.random.default_rng(0)
                params = nfref.params.tree_map(
                    lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), flow.init(rng)
                )
                u = draw(9, flow.dim, dtype=dtype)
                context = draw(9, 1, dtype=dtype) if flow.context_dim else None
                for direction in SIGNS:
                    launched.clear()
                    with nfref.backend("cuda"):
                        found = getattr(flow, direction)(params, u, context)
                    assert len(launched) == couplings, (flow, len(launched))
                    with nfref.backend("numpy"):
                        expected = getattr(flow, direction)(params, u, context)
                    for one, other in zip(found, expected):
                        assert one.dtype == dtype
                        assert np.allclose(
                            one,
                            other,
                            rtol=200 * np.finfo(dtype).eps,
                            atol=200 * np.finfo(dtype).eps,
                        )
    finally:
        device_arrays.launch = launch


def check_gradients_and_small_matrices_by_the_public_names():
    from autograd import grad

    flow = nfref.RealNVP(2, 2, (4,))
    params = flow.init(np.random.default_rng(0))
    u, matrices = draw(5, 2, dtype=np.float64), draw(6, 3, 3, dtype=np.float64)
    slopes = []
    for name in ("cuda", "numba"):
        with nfref.backend(name):
            slopes.append(
                (
                    grad(lambda u: flow.inverse(params, u)[1].sum())(u),
                    grad(lambda a: small_matrices.log_abs_det(a).sum())(matrices),
                )
            )
    assert all(np.array_equal(one, other) for one, other in zip(*slopes))
    with nfref.backend("cuda"):
        values = small_matrices.log_abs_det(matrices)
    assert np.array_equal(values, device.log_abs_det(matrices))


CHECKS = {name: function for name, function in list(globals().items()) if name.startswith("check_")}


def main():
    for name, check in CHECKS.items():
        begin = time.perf_counter()
        try:
            check()
            print(f"passed {name} in {time.perf_counter() - begin:.1f} s", flush=True)
        except Exception as problem:
            print("failed", name, type(problem).__name__, problem, flush=True)


if __name__ == "__main__":
    main()
