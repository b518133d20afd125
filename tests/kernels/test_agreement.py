"""Formula and twin of every declared flow, at parameters and rows of any size.

They are finite together, end in the same error, and are as near to each other as the problem lets
them be. The unit is how far a relative change of one rounding error, up or down at random, moves
the truth: of every parameter, of every cotangent, and of every number of a row as it comes to each
layer; it is measured by the formula in float64 with changes so large that its own roundings do not
count. One rounding error of the result itself is added: of the largest number of a row, of the
largest entry of a gradient by the parameters of a layer, and, as a log-determinant stands for a
factor, of 1 for it. Of a continuous flow the tolerance of its solver stands for the rounding error.
"""

import re
from dataclasses import replace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple

import nfref
from nfref.flows.composition import context_for
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.runtime import params as trees
from nfref.runtime.params import at_path
from tests.high_precision.configurations import configurations

MOST = 100  # units
NEAR = 16  # ulp of the largest number: then nobody has to measure a unit
DRAWS = 4
CHANGE = 2.0**-40  # of which 2^-12 in float64, and float32's own rounding error
DIRECTIONS = {"forward": 1, "inverse": -1}
# What a dtype can meet at any scale: below, the rounding of the dynamics chooses the steps, and in
# float32 both are up to a thousand times 1e-6 from the truth at a scale of 1e3.
TOLERANCES = {np.float64: 1e-6, np.float32: 1e-4}
CONFIGURATIONS = configurations()
TWINNED = [
    (name, direction)
    for name, c in CONFIGURATIONS.items()
    for direction, sign in DIRECTIONS.items()
    if hasattr(c.flow, "rtol")
    or any(isinstance(piece, Program) for piece in programs(c.flow, sign))
]
# Layers of each kind, by kernels that other tests compile as well; the first six in float32.
PLAIN = [
    ("affine_coupling_context", "forward"),
    ("iaf_gate", "inverse"),
    ("made", "inverse"),
    ("permutation", "inverse"),
    ("real_nvp", "inverse"),
    ("sylvester_householder", "inverse"),
    ("actnorm", "forward"),
    ("channel_affine", "forward"),
    ("fixed_linear", "inverse"),
    ("invertible_conv_lu", "inverse"),
    ("maf", "inverse"),
    ("naf", "inverse"),
    ("nsf_autoregressive", "inverse"),
    ("probability_flow", "inverse"),
    ("residual_flow", "inverse"),
    ("squeeze", "inverse"),
    ("top_prior", "inverse"),
]
# (scale of the parameters, size of the rows)
USUAL = [(0.1, 1e150), (1.0, 1e-150), (10.0, 1.0), (1e3, 1.0), (1e3, 1e150)]
SWEEP = [
    (scale, size)
    for scale in (0.1, 1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6)
    for size in (1e-300, 1e-150, 1e-30, 1.0, 1e3, 1e30, 1e150, 1e300)
]


def scaled(params, scale):
    """Parameters times a factor; variances stay what they are."""
    if isinstance(params, dict):
        return {
            key: value if key == "running_variance" else scaled(value, scale)
            for key, value in params.items()
        }
    return (
        [scaled(value, scale) for value in params] if isinstance(params, list) else (params * scale)
    )


def problem(name, scale, size, dtype):
    """[params, rows, context, cotangents]: all numbers of a row of that size, and one alone.

    Float32 has an eighth of the exponents of float64; its rows end where squares would overflow.
    """
    c, rng = CONFIGURATIONS[name], np.random.default_rng(1)
    size = size if dtype == np.float64 else np.clip(size**0.125, 1e-30, 1e150**0.125)
    one = c.z.copy()
    one[:, 0] *= size
    rows = np.concatenate([c.z * size, one])
    context = np.zeros(0) if c.context is None else np.concatenate([c.context, c.context])
    return trees.tree_map(
        lambda leaf: leaf.astype(dtype),
        [
            scaled(c.params, scale),
            rows,
            context,
            rng.standard_normal(rows.shape),
            rng.standard_normal(len(rows)),
        ],
    )


def results(call, arguments, backend="numpy", size=1):
    """Value, log-det, and the gradients by the rows and by each parameter; or the error.

    ``call`` takes params, rows and context. Gradients are found with cotangents of that size.
    """
    params, rows, context, g_value, g_log_det = arguments
    context = context if context.size else None

    def weighted(variables):
        value, log_det = call(*variables, context)
        return anp.sum(value * (size * g_value)) + anp.sum(log_det * (size * g_log_det))

    try:
        with nfref.backend(backend), np.errstate(all="ignore"):
            value, log_det = call(params, rows, context)
            g_params, g_rows = autograd.grad(weighted)(traced_tuple((params, rows)))
    except Exception as error:
        return type(error), re.sub(r"t = .*?;", "", str(error))  # when a solver has given up
    gradients = [g_rows, *(g.reshape(1, -1) for g in trees.leaves(g_params))]
    with np.errstate(over="ignore"):
        return [value, log_det[:, None], *(g / size for g in gradients)]


def units(flow, direction, arguments, eps):
    """See the head of this file: (rows, 1) for each of the results."""
    rng, change = np.random.default_rng(2), max(eps, CHANGE)
    steps = flow.members(DIRECTIONS[direction])

    def factor(array):
        return 1 + change * rng.choice([-1, 1], array.shape)

    def by_layers(params, rows, context):
        total = 0
        for (member, sign, path), moves in zip(steps, between):
            rows, log_det = member._apply(
                sign, at_path(params, path), rows * moves, context_for(member, context)
            )
            total = total + log_det
        return rows, total

    arguments = trees.tree_map(lambda leaf: leaf.astype(float), arguments)
    found = results(getattr(flow, direction), arguments)
    moved = [np.zeros((len(array), 1)) for array in found]
    for _ in range(DRAWS):
        between = [factor(arguments[1]) for _ in steps]
        others = results(by_layers, trees.tree_map(lambda leaf: leaf * factor(leaf), arguments))
        with np.errstate(all="ignore"):
            moved = [
                np.maximum(far, eps / change * largest(other - array))
                for far, other, array in zip(moved, others, found)
            ]
    value, log_det, g_rows, *g_params = (eps * largest(array) for array in found)
    beside = layers(arguments[0])
    g_params = [max(g for g, other in zip(g_params, beside) if other == layer) for layer in beside]
    rounded = [value, log_det + eps, g_rows, *g_params]
    return [far + one for far, one in zip(moved, rounded)]


def layers(params, path=()):
    """Return the path to the layer of each array."""
    if not isinstance(params, (dict, list)):
        return [path[:-1]]
    items = params.items() if isinstance(params, dict) else enumerate(params)
    return [layer for key, value in items for layer in layers(value, (*path, key))]


def largest(array):
    """Of each row, among what is finite."""
    return np.max(np.where(np.isfinite(array), np.abs(array), 0), axis=1, initial=0, keepdims=True)


def distance(one, other, unit):
    """The largest in units, where both are finite; what is not even a normal number is nothing."""
    info = np.finfo(one.dtype)
    with np.errstate(all="ignore"):
        far = largest(one - other)
        return np.max(np.where(far > info.tiny / info.eps, far / unit, 0), initial=0)


def worst(some, others, unit):
    return max(map(distance, some, others, unit))


def check(name, direction, scale, size, dtype):
    flow, eps = CONFIGURATIONS[name].flow, float(np.finfo(dtype).eps)
    if hasattr(flow, "rtol"):
        eps = TOLERANCES[dtype]
        flow = replace(flow, rtol=eps, atol=eps, max_evaluations=1000)
    arguments = problem(name, scale, size, dtype)
    formula, twin = (
        results(getattr(flow, direction), arguments, backend) for backend in ("numpy", "numba")
    )
    if isinstance(formula, tuple) or isinstance(twin, tuple):
        assert formula == twin
        return
    if not all(np.isfinite(one).all() for one in formula):
        # Gradients are linear in the cotangents: the smaller these, the later a sum overflows.
        smaller = results(getattr(flow, direction), arguments, size=dtype(2.0**-40))
        formula = [
            np.where(np.isfinite(one) | ~np.isfinite(other), one, again)
            for one, other, again in zip(formula, twin, smaller)
        ]
    for one, other in zip(formula, twin, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))
    if worst(twin, formula, [eps * largest(array) for array in formula]) > NEAR:
        assert worst(twin, formula, units(flow, direction, arguments, eps)) <= MOST


@pytest.mark.parametrize("k", range(len(PLAIN)))
def test_formula_and_twin_agree(k):
    """At one of the sizes, in turns; the rest is thorough."""
    check(*PLAIN[k], *USUAL[k % len(USUAL)], np.float32 if k < 6 else np.float64)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name, direction", TWINNED)
def test_formula_and_twin_agree_at_every_usual_size(name, direction, dtype):
    for scale, size in USUAL:
        check(name, direction, scale, size, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name, direction", TWINNED)
def test_formula_and_twin_agree_at_any_size(name, direction, dtype):
    for scale, size in SWEEP:
        check(name, direction, scale, size, dtype)


def test_a_sum_that_overflows_is_infinite_whatever_its_gain():
    """A gain in the weights would leave it finite, and wrong."""
    check("channel_coupling", "inverse", 10.0, 1e300, np.float64)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "name", ["linear", "lu_linear", "invertible_conv", "invertible_conv_lu", "glow", "nsf_coupling"]
)
def test_of_no_rows_both_make_no_rows(name, direction):
    params, rows, context, *cotangents = problem(name, 1.0, 1.0, np.float64)
    arguments = [params, rows[:0], context, *(array[:0] for array in cotangents)]
    call = getattr(CONFIGURATIONS[name].flow, direction)
    for one, other in zip(
        *(results(call, arguments, backend) for backend in ("numpy", "numba")), strict=True
    ):
        assert one.shape == other.shape and not np.any(one) and not np.any(other)
