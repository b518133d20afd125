"""Transformers as operands: their kernels, P, E, and what the kind of transformer needs."""

from collections import namedtuple

from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.chain.transformers import (
    additive,
    affine,
    monotone_integral,
    sigmoid_mixture,
    spline,
)
from nfref.transformers.monotone_integral import clenshaw_curtis

# A transformer among the operands of an instruction: ``kernels`` and ``whole`` numbers, which begin
# with the addresses of these; ``reals``; P and E, for one coordinate.
Operands = namedtuple("Operands", "kernels whole reals raw_rows tape_rows")


def operands_of(transformer):
    """Return the operands of a transformer; None if it has no compiled body."""
    encode = ENCODERS.get(twin_of(transformer))
    return None if encode is None else encode(transformer)


def _operands(kernels, raw_rows, tape_rows, form, reals):
    return Operands(kernels, [0, 0, raw_rows, tape_rows, form], reals, raw_rows, tape_rows)


def _additive(transformer):
    return _operands((additive.shift, additive.shift_vjp), 1, additive.TAPE_ROWS, 0, ())


def _affine(transformer):
    if transformer.scale not in affine.SCALES:
        return None
    form = affine.SCALES[transformer.scale]
    real = transformer.bound if form == affine.BOUNDED else transformer.offset
    kernels = affine.scale_and_shift, affine.scale_and_shift_vjp
    return _operands(kernels, 2, affine.TAPE_ROWS, form, (real,))


def _spline(transformer):
    form = spline.CIRCULAR if transformer.circular else spline.LINEAR
    bounds = transformer.bound
    if isinstance(bounds, tuple):
        form = spline.LINEAR_EACH
    else:
        bounds = (bounds,)
    reals = (transformer.min_width, transformer.min_height, transformer.min_slope, *bounds)
    kernels = spline.rational_quadratic, spline.rational_quadratic_vjp
    return _operands(kernels, transformer.size, spline.TAPE_ROWS, form, reals)


def _deep_sigmoid(transformer):
    reals, form = (transformer.min_slope,), sigmoid_mixture.NAF
    return _sigmoids(transformer.size, transformer.units, form, reals)


def _logistic_mixture(transformer):
    reals, form = (transformer.bound,), sigmoid_mixture.FLOW_PLUS_PLUS
    return _sigmoids(transformer.size, transformer.components, form, reals)


def _sigmoids(size, units, form, reals):
    kernels = sigmoid_mixture.sigmoids, sigmoid_mixture.sigmoids_vjp
    return _operands(kernels, size, sigmoid_mixture.tape_rows(units), form, reals)


def _monotone_integral(transformer):
    fractions, weights = clenshaw_curtis(transformer.nodes)
    reals = (transformer.bound, transformer.nodes / transformer.bound, *fractions, *weights)
    rows, kernels = (
        monotone_integral.tape_rows(transformer.units),
        (monotone_integral.integral, monotone_integral.integral_vjp),
    )
    return _operands(kernels, transformer.size, rows, transformer.nodes, reals)


ENCODERS = {
    "additive": _additive,
    "affine": _affine,
    "deep_sigmoid": _deep_sigmoid,
    "logistic_mixture": _logistic_mixture,
    "monotone_integral": _monotone_integral,
    "spline": _spline,
}
