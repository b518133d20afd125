"""Twins against their formulas: values, and derivatives against autograd of the formula."""

import autograd
import autograd.numpy as anp
import numba
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple

import nfref
from nfref.kernels import jit
from nfref.kernels.chain import execute, interpreter
from nfref.kernels.chain.block import Block, Chain, Storage, call_layer
from nfref.kernels.chain.instructions import instruction_of
from nfref.kernels.chain.program import Program, pieces_of
from nfref.kernels.chain.transformers.spline import TAPE_ROWS
from nfref.kernels.simd import small_matrices
from nfref.runtime import params as trees
from nfref.runtime.small_matrices import log_abs_det
from nfref.transformers.rational_quadratic import RationalQuadratic

IMAGE = (3, 2, 2)
BOUND = 1.5  # some rows are in the tails of a spline, some inside
TRANSFORMERS = {
    "additive": nfref.Additive(),
    **{scale: nfref.Affine(scale) for scale in ("bounded", "exp", "sigmoid", "gate")},
    "spline": RationalQuadratic(bins=5, bound=BOUND, min_width=0.02, min_slope=0.1),
    "spline, circular": RationalQuadratic(bins=4, bound=BOUND, tails="circular"),
    "sigmoids": nfref.DeepSigmoid(5),
    "one sigmoid": nfref.DeepSigmoid(1, min_slope=0.2),
    "mixture": nfref.LogisticMixture(4, bound=2.0),
    "integral": nfref.MonotoneIntegral(2, nodes=4, bound=0.5),
}
MATRIX = ((1.0, 2.0, 0.0), (0.0, 1.0, 3.0), (-1.0, 0.0, 2.0))

FLOWS = {
    "RealNVP": nfref.RealNVP(3, layers=3, hidden=(9, 70)),
    "RealNVP tanh, context": nfref.RealNVP(
        5, layers=2, hidden=(9, 7, 4), activation="tanh", context_dim=2
    ),
    "RealNVP softplus": nfref.RealNVP(
        2, layers=2, hidden=(7,), activation="softplus", transformer=nfref.Affine(bound=2.0)
    ),
    "RealNVP without hidden layers": nfref.RealNVP(3, layers=2, hidden=()),
    "RealNVP, batch norm, Standardise": nfref.Chain(
        [
            nfref.RealNVP(2, layers=2, hidden=(5,), batch_norm=True),
            nfref.Standardise((1.0, 2.0), (0.1, 3.0)),
        ]
    ),
    "NICE": nfref.NICE(4, layers=3, hidden=(6, 6)),
    "MAF": nfref.MAF(5, layers=2, hidden=(70, 130)),
    "MAF, one group": nfref.MAF(3, layers=2, hidden=(8,), orders="natural", activation="tanh"),
    "MAF, odd orders, context": nfref.MAF(
        5, layers=2, hidden=(130, 9), context_dim=3, orders=((2, 0, 1, 4, 3), (4, 3, 1, 0, 2))
    ),
    "MAF, one coordinate": nfref.MAF(1, layers=2, hidden=(4, 4)),
    "IAF, many layers": nfref.IAF(3, layers=2, hidden=(8, 200, 70), activation="softplus"),
    "MADE, random degrees": nfref.MADE(
        4, (9, 70), order=(2, 0, 1, 3), degrees="random", context_dim=1
    ),
    # A single row puts its coordinates side by side, as many as a block has columns.
    "RealNVP, 300 coordinates": nfref.RealNVP(300, layers=1, hidden=()),
    "NSF, a bound each": nfref.NSF(3, 2, (6,), 4, context_dim=1, bound=(0.7, 1.5, 4.0)),
    "Planar": nfref.Planar(3, layers=4),
    "Radial, Sylvester": nfref.Chain(
        [
            nfref.Radial(3, layers=3),
            nfref.Sylvester(3, layers=2, bottleneck=2),
            nfref.Sylvester(3, layers=1, kind="householder"),
            nfref.Sylvester(3, layers=2, kind="triangular"),
        ]
    ),
    "Radial, one coordinate": nfref.Radial(1, layers=2),
    "Residual": nfref.Chain(
        [
            nfref.ResidualFlow(3, layers=2, hidden=(6, 9)),
            nfref.ResidualBlock(3, (4,)),
            nfref.ResidualBlock(3, (5, 4, 3)),
            nfref.ResidualBlock(3, (5,), estimator="series", terms=4),
        ]
    ),
    "Residual, context": nfref.ResidualFlow(
        2, layers=2, hidden=(70,), context_dim=2, mode="training"
    ),
    "linear layers": nfref.Chain(
        [
            nfref.Scale(3),
            nfref.ElementwiseAffine(3),
            nfref.Permutation((2, 0, 1)),
            nfref.Linear(3),
            nfref.Linear(3, bias=False),
            nfref.FixedLinear(MATRIX),
            nfref.LULinear(3, (2, 0, 1), (1, -1, 1)),
            nfref.LULinear(3, bias=False),
        ]
    ),
    "image layers": nfref.Chain(
        [
            nfref.ActNorm(IMAGE),
            nfref.InvertibleConv(IMAGE, "full"),
            nfref.InvertibleConv(IMAGE, "lu", (2, 0, 1), (1, -1, 1)),
            nfref.Squeeze(IMAGE),
            nfref.OnFirst(nfref.NICE(4, layers=1, hidden=(3,)), 12),
        ]
    ),
    "Glow": nfref.Glow((1, 4, 8), levels=2, steps=1, hidden=(7, 6), context_dim=2),
    "Glow, as in the text": nfref.Glow(
        (3, 2, 4),
        levels=1,
        steps=2,
        hidden=(70,),
        permutation="full",
        activation="tanh",
        edge_channel=False,
        output_gain=False,
    ),
    "RealNVP on images": nfref.RealNVPImage((1, 4, 6), levels=2, hidden=5, blocks=2),
    "RealNVP on images, tanh, context": nfref.RealNVPImage(
        (2, 3, 2), levels=1, hidden=9, blocks=1, activation="tanh", context_dim=2
    ),
    "coupling on images, no blocks": nfref.ImageCoupling((2, 2, 3), hidden=4, blocks=0),
    "with members that have no twin": nfref.Chain(
        [
            nfref.RealNVP(2, layers=2, hidden=(5,)),
            nfref.Logit((-50.0, None), (50.0, None)),
            nfref.Invert(nfref.RealNVP(2, layers=1, hidden=(5,), context_dim=1)),
            nfref.Planar(2, layers=1, context_dim=1),
            nfref.ResidualBlock(2, ()),
            nfref.Invert(nfref.ConvexPotentialFlow(2, (3,))),
        ]
    ),
}
for _name, _transformer in TRANSFORMERS.items():
    FLOWS[f"coupling, {_name}"] = nfref.Coupling(
        (True, False, False, True, False), _transformer, (7,), context_dim=1
    )
    FLOWS[f"MADE, {_name}"] = nfref.MADE(4, (9, 70), _transformer, order=(2, 0, 1, 3))
# What only few flows need is compiled for them alone, which takes seconds. Of these some are in
# every run, in float64, and the rest is slow.
RARE = ("Radial", "Residual", "Glow", "on images", "sigmoid", "mixture", "integral", "image layers")
IN_EVERY_RUN = ("Radial, Sylvester", "MADE, mixture", "MADE, integral", "image layers")
# 300 rows are 2 blocks of 128 and 44 rows.
ROWS = (0, 1, 7, 300)
# In units of the last place of the largest entry: sums over rows and units, a few layers deep.
ULPS = {"float32": 200, "float64": 1000}


def cases(names):
    """(name, dtype), for parametrize."""
    return [
        pytest.param(name, dtype, marks=pytest.mark.slow if is_slow(name, dtype) else ())
        for name in names
        for dtype in ULPS
    ]


def is_slow(name, dtype):
    return is_rare(name) and (dtype == "float32" or name not in IN_EVERY_RUN)


def is_rare(name):
    return any(word in name for word in RARE)


def problem(name, n, dtype, seed=0):
    """A flow with parameters away from the identity, rows, and context or None."""
    flow, rng = FLOWS[name], np.random.default_rng(seed)
    params = trees.tree_map(
        lambda leaf: (leaf + 0.2 * rng.standard_normal(leaf.shape)).astype(dtype), flow.init(rng)
    )
    x = rng.standard_normal((n, flow.dim)).astype(dtype)
    context = rng.standard_normal((n, flow.context_dim)).astype(dtype) if flow.context_dim else None
    return flow, _valid(params), x, context


def each_program(name, n, dtype):
    """(program, theta, rows, context) in both directions, where all of a flow has twins."""
    flow, params, x, context = problem(name, n, dtype)
    context = np.zeros((n, 0), dtype) if context is None else context
    for direction in (1, -1):
        program = pieces_of(flow, direction)[0]
        if isinstance(program, Program):  # sampling from residual blocks has none
            yield program, program.pack(params, np.dtype(dtype)), x, context


def _valid(params):
    """Running variances stay positive."""
    if isinstance(params, dict):
        return {
            key: abs(value) if key == "running_variance" else _valid(value)
            for key, value in params.items()
        }
    return [_valid(value) for value in params] if isinstance(params, list) else params


def assert_close(twin, formula, dtype):
    """Two structures, entry by entry, in units of the largest entry of all."""
    twin, formula = trees.leaves(twin), trees.leaves(formula)
    scale = max(np.max(np.abs(array), initial=0) for array in formula)
    for one, other in zip(twin, formula, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype == dtype
        error = np.max(np.abs(one - other), initial=0)
        assert error <= ULPS[dtype] * np.finfo(dtype).eps * scale, (error, scale)


def both(name, n, dtype, direction):
    """Value, log-det and gradients of sum(value * a + log_det * b): by formula and by twin."""
    flow, params, x, context = problem(name, n, dtype)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(x.shape).astype(dtype), rng.standard_normal(n).astype(dtype)
    results = []
    for backend in ("numpy", "numba"):
        with nfref.backend(backend):
            call = getattr(flow, direction)
            value, log_det = call(params, x, context)

            def weighted(variables):
                out, out_log_det = call(
                    variables[0], variables[1], variables[2] if context is not None else None
                )
                return anp.sum(out * a) + anp.sum(out_log_det * b)

            variables = traced_tuple((params, x) if context is None else (params, x, context))
            results.append((value, log_det, autograd.grad(weighted)(variables)))
    return results


# A formula's product with five units in float32: OpenBLAS notes operations on lanes that nobody has
# written, see docs/kernels.rst. Values that are not numbers would fail here without the warning.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul")
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name, dtype", cases(FLOWS))
def test_value_and_derivative_of_twin_and_formula(name, dtype, direction):
    for n in ROWS:
        formula, twin = both(name, n, dtype, direction)
        assert_close(twin[0], formula[0], dtype)
        assert_close(twin[1], formula[1], dtype)
        for one, other in zip(twin[2], formula[2], strict=True):
            assert_close(one, other, dtype)


# Transformers --------------------------------------------------------------------------------


def has_twin(flow, direction):
    return instruction_of(flow, direction) is not None


def test_which_flows_have_an_instruction():
    for name, transformer in TRANSFORMERS.items():
        for direction in (1, -1):
            assert has_twin(FLOWS[f"coupling, {name}"], direction)
            assert has_twin(FLOWS[f"MADE, {name}"], direction)
    # It has parameters of its own, which the network does not give.
    assert not has_twin(nfref.Coupling((True, False), nfref.Affine("tanh")), 1)


@pytest.mark.parametrize(
    "name, dtype",
    cases(name for name in FLOWS if "spline" in name or "gate" in name or is_rare(name)),
)
def test_one_and_two_threads_give_the_same_bits(name, dtype):
    for program, theta, x, context in each_program(name, 1000, dtype):
        results = [
            [
                *execute.value_and_finite(program, theta, x, context, threads)[0],
                *execute.cotangents(program, theta, x, context, x, x[:, 0], threads),
            ]
            for threads in (1, 2)
        ]
        for one, other in zip(*results, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name, dtype", cases(FLOWS))
def test_rows_alone_have_the_bits_that_they_have_among_others(name, dtype):
    """A network leaves out columns without rows. What stands there before is not read."""
    for program, theta, x, context in each_program(name, 130, dtype):
        among_others = execute.value_and_finite(program, theta, x, context, 1)[0]
        for n in (1, 16, 17, 100, 129):
            fill(program.workspace, np.nan)
            alone = execute.value_and_finite(program, theta, x[:n], context[:n], 1)[0]
            for one, other in zip(alone, among_others, strict=True):
                assert np.array_equal(one, other[:n])


def test_a_coordinate_may_have_more_outputs_than_a_block_has_columns(monkeypatch):
    flow = nfref.Coupling((True, False), RationalQuadratic(bins=60), hidden=())
    monkeypatch.setitem(FLOWS, "of one coordinate", flow)
    test_rows_alone_have_the_bits_that_they_have_among_others("of one coordinate", np.float64)
    outputs, columns = flow.transformer.size, execute.ROWS
    row = 1 + outputs + (outputs + TAPE_ROWS) * columns
    assert outputs > columns and instruction_of(flow, -1).tape * columns >= row


@pytest.mark.parametrize("name, dtype", cases(FLOWS))
def test_derivatives_read_nothing_that_they_did_not_write(name, dtype):
    for program, theta, x, context in each_program(name, 130, dtype):
        for n in (130, 20):
            results, given = [], (x[:n], context[:n], x[:n], x[:n, 0])
            for stood in (0.0, np.nan):
                fill(program.workspace, stood)
                results.append(execute.cotangents(program, theta, *given, 1))
            for one, other in zip(*results, strict=True):
                assert np.array_equal(one, other)


def fill(workspace, number):
    for arrays in workspace.free.values():
        for array in arrays:
            array.fill(number)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("kind", ["coupling", "MADE"])
def test_rows_on_knots_beside_them_and_in_the_tails(kind, direction):
    """With biases alone all rows have the same knots.

    Value and slope meet there. The slope of the log-slope jumps, so it is no business of a place
    that rounds to either side.
    """
    flow = FLOWS[f"{kind}, spline"]
    params, rng = flow.init(np.random.default_rng(0)), np.random.default_rng(1)
    last = params["net"][-1]
    last["weight"] = np.zeros_like(last["weight"])
    last["bias"] = rng.standard_normal(last["bias"].shape)
    changed = np.flatnonzero(~np.array(flow.mask)) if kind == "coupling" else np.arange(flow.dim)
    h = flow.transformer.constrain(last["bias"].reshape(flow.transformer.size, len(changed)))
    knots = h[1 if direction == "forward" else 0]
    rows = np.concatenate(
        [
            np.nextafter(knots, -np.inf),
            knots,
            np.nextafter(knots, np.inf),
            [[-100.0] * len(changed), [100.0] * len(changed)],
        ]
    )
    x = rng.standard_normal((len(rows), flow.dim))
    x[:, changed] = rows
    context = np.zeros((len(x), 1)) if flow.context_dim else None
    results = []
    for backend in ("numpy", "numba"):
        with nfref.backend(backend):

            def loss(variables):
                return anp.sum(anp.sin(getattr(flow, direction)(*variables, context)[0]))

            results.append(
                [
                    *getattr(flow, direction)(params, x, context),
                    autograd.grad(loss)(traced_tuple((params, x)))[1],
                ]
            )
    for formula, twin in zip(*results, strict=True):
        assert np.all(np.isfinite(twin))
        np.testing.assert_allclose(twin, formula, rtol=1e-9, atol=1e-12)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, there are no signatures")
def test_no_kernel_is_compiled_again_for_arrays_that_are_read_only():
    flow, rng = nfref.ElementwiseAffine(3), np.random.default_rng(0)
    params, rows = flow.init(rng), rng.standard_normal((1, 3))
    kernels = interpreter.evaluate, interpreter.vjp, small_matrices._log_abs_det

    def results(kind):
        cotangents = kind(np.ones((1, 3))), kind(np.ones(1))
        back, value = autograd.make_vjp(lambda rows: traced_tuple(flow.inverse(params, rows)))(
            kind(rows)
        )
        return *value, back(traced_tuple(cotangents)), log_abs_det(kind(rows.T[None] @ rows[None]))

    with nfref.backend("numba"):
        expected = results(np.copy)
        known = [set(kernel.overloads) for kernel in kernels]
        found = results(read_only)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected))
    assert known == [set(kernel.overloads) for kernel in kernels]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, types do not matter")
def test_a_kernel_that_calls_a_layer_with_other_types_is_not_compiled():
    @jit.kernel
    def run(chain, storage, rows):
        call_layer(0, (chain, 0, storage, Block(rows[::2], rows[::2], rows[0])))

    flat, whole = np.zeros(0), np.zeros(0, np.int64)
    with pytest.raises(TypeError, match="layer: expected"):
        run(Chain(whole, whole, flat, True), Storage(flat, 0, flat, 0, flat, 0), np.zeros((4, 4)))
