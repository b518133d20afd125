"""Transformers as operands: an opcode, P, E, and what the kind of transformer needs."""

from collections import namedtuple

from nfref.kernels.chain.transformers import (
    ADDITIVE,
    AFFINE,
    INTEGRAL,
    SIGMOIDS,
    SPLINE,
    additive,
    affine,
    monotone_integral,
    sigmoid_mixture,
    spline,
)
from nfref.kernels.twin_lookup import twin_of
from nfref.transformers.monotone_integral import clenshaw_curtis

# A transformer among the operands of an instruction: ``whole`` numbers, as many as OPERANDS of
# ``transformers``; ``reals``; P and E, for one coordinate; ``needs``, as those of an instruction.
Operands = namedtuple("Operands", "whole reals raw_rows tape_rows needs")


def operands_of(transformer):
    """Return the operands of a transformer; None if it has no compiled body."""
    encode = ENCODERS.get(twin_of(transformer))
    return None if encode is None else encode(transformer)


def _operands(opcode, raw_rows, tape_rows, form, reals, needs=()):
    return Operands([opcode, raw_rows, tape_rows, form], reals, raw_rows, tape_rows, needs)


def _additive(transformer):
    return _operands(ADDITIVE, 1, additive.TAPE_ROWS, 0, ())


def _affine(transformer):
    if transformer.scale not in affine.SCALES:
        return None
    form = affine.SCALES[transformer.scale]
    real = transformer.bound if form == affine.BOUNDED else transformer.offset
    return _operands(AFFINE, 2, affine.TAPE_ROWS, form, (real,))


def _spline(transformer):
    form = spline.CIRCULAR if transformer.circular else spline.LINEAR
    bounds = transformer.bound
    if isinstance(bounds, tuple):
        form = spline.LINEAR_EACH
    else:
        bounds = (bounds,)
    reals = (transformer.min_width, transformer.min_height, transformer.min_slope, *bounds)
    return _operands(SPLINE, transformer.size, spline.TAPE_ROWS, form, reals, ("splines",))


def _deep_sigmoid(transformer):
    rows, reals = sigmoid_mixture.tape_rows(transformer.units), (transformer.min_slope,)
    form = sigmoid_mixture.NAF
    return _operands(SIGMOIDS, transformer.size, rows, form, reals, ("mixtures",))


def _logistic_mixture(transformer):
    rows, reals = sigmoid_mixture.tape_rows(transformer.components), (transformer.bound,)
    form = sigmoid_mixture.FLOW_PLUS_PLUS
    return _operands(SIGMOIDS, transformer.size, rows, form, reals, ("mixtures",))


def _monotone_integral(transformer):
    fractions, weights = clenshaw_curtis(transformer.nodes)
    reals = (transformer.bound, transformer.nodes / transformer.bound, *fractions, *weights)
    rows, nodes = monotone_integral.tape_rows(transformer.units), transformer.nodes
    return _operands(INTEGRAL, transformer.size, rows, nodes, reals, ("mixtures",))


ENCODERS = {
    "additive": _additive,
    "affine": _affine,
    "deep_sigmoid": _deep_sigmoid,
    "logistic_mixture": _logistic_mixture,
    "monotone_integral": _monotone_integral,
    "spline": _spline,
}
