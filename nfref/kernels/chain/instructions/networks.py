"""Layers with a conditioner network: couplings and MADE."""

import numpy as np

from nfref.kernels.chain import coupling as couplings
from nfref.kernels.chain import made as masked
from nfref.kernels.chain.instructions.instruction import Instruction
from nfref.kernels.chain.instructions.transformers import operands_of
from nfref.kernels.chain.network import ACTIVATIONS
from nfref.kernels.simd.matmul import ROWS
from nfref.networks.masked import even_degrees

UNITS = 32  # hidden units in one step of a block-triangular weight


def net_arrays(params, dtype):
    """Return the weights and biases of a network, in the order of its layers."""
    return [array for layer in params["net"] for array in (layer["weight"], layer["bias"])]


def net_cotangent(widths, cotangent):
    """{"net": ...} of views into the cotangent of a network's numbers, in their order."""
    layers, at = [], 0
    for fan_in, fan_out in zip(widths[:-1], widths[1:]):
        middle, end = at + fan_in * fan_out, at + (fan_in + 1) * fan_out
        layers.append(
            {"weight": cotangent[at:middle].reshape(fan_in, fan_out), "bias": cotangent[middle:end]}
        )
        at = end
    return {"net": layers}


def net_size(widths):
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(widths[:-1], widths[1:]))


def tape_rows(widths, transformer, count):
    """Return the rows of the tape that a network and the transformer of ``count`` numbers fill.

    A single row puts its layers side by side and P + E rows after them (``transform_all``). Where
    all outputs belong to one number, that takes P / ROWS rows more.
    """
    return sum(widths) + transformer.tape_rows * count + transformer.raw_rows // ROWS


# Coupling ------------------------------------------------------------------------------------


def coupling(flow, direction):
    transformer = operands_of(flow.transformer)
    if transformer is None or flow.periodic:  # the kernels' networks read numbers as they are
        return None
    stay, change = np.flatnonzero(flow.mask), np.flatnonzero(~np.array(flow.mask))
    widths = [len(stay) + flow.context_dim, *flow.hidden, transformer.raw_rows * len(change)]
    numbers = ACTIVATIONS[flow.activation], len(widths), len(stay), len(change)
    return Instruction(
        (couplings.coupling, couplings.coupling_vjp, *transformer.kernels),
        direction,
        [*transformer.whole, *numbers, *widths, *stay, *change, *range(len(change))],
        size=net_size(widths),
        tape=tape_rows(widths, transformer, len(change)),
        scratch=2 * max(widths),
        pack=net_arrays,
        unpack=lambda params, cotangent: net_cotangent(widths, cotangent),
        reals=transformer.reals,
        plain=True,
        skips_columns=True,
    )


# MADE ----------------------------------------------------------------------------------------


def made(flow, direction):
    """Return the instruction of a masked network.

    Context comes first, then coordinates and their outputs by place. Hidden units are in the order
    of rising degree; even degrees are in that order already.
    """
    transformer = operands_of(flow.transformer)
    if transformer is None or not flow.hidden or flow.periodic:
        return None
    dim, order = flow.dim, np.argsort(flow.order)
    sequential = direction == 1
    groups = dim if sequential else max(1, min(dim, max(flow.hidden) // UNITS))
    degrees = (
        even_degrees(dim, flow.hidden, flow.context_dim) if flow.degrees == "even" else flow.degrees
    )
    ends = _group_ends(degrees, np.arange(groups + 1) * dim // groups)
    widths = [flow.context_dim + dim, *flow.hidden, transformer.raw_rows * dim]
    inputs = np.concatenate([dim + np.arange(flow.context_dim), order])
    outputs = (order[:, None] + dim * np.arange(transformer.raw_rows)).ravel()
    units = [inputs, *(np.argsort(layer, kind="stable") for layer in degrees), outputs]
    backs = [_unless_in_order(np.argsort(layer)) for layer in units]
    units = [_unless_in_order(layer) for layer in units]
    # A product with ones and zeros of the same dtype is several times faster than with bools.
    masks = {
        np.dtype(dtype): [
            _taken(mask, rows, columns).astype(dtype)
            for mask, rows, columns in zip(flow.masks, units[:-1], units[1:])
        ]
        for dtype in (np.float32, np.float64)
    }

    def pack(params, dtype):
        for layer, mask, rows, columns in zip(
            params["net"], masks[np.dtype(dtype)], units[:-1], units[1:]
        ):
            weight = _taken(layer["weight"], rows, columns)
            own = weight is not layer["weight"]
            yield np.multiply(weight, mask, out=weight if own else None)
            yield _taken(layer["bias"], columns, None)

    def unpack(params, cotangent):
        layers = net_cotangent(widths, cotangent)["net"]
        for layer, mask, rows, columns in zip(
            layers, masks[cotangent.dtype], backs[:-1], backs[1:]
        ):
            layer["weight"] *= mask
            layer["weight"] = _taken(layer["weight"], rows, columns)
            layer["bias"] = _taken(layer["bias"], columns, None)
        return {"net": layers}

    numbers = int(sequential), ACTIVATIONS[flow.activation], len(widths), dim, groups + 1
    raw = transformer.raw_rows * np.arange(dim)
    return Instruction(
        (masked.made, masked.made_vjp, *transformer.kernels),
        direction,
        [*transformer.whole, *numbers, *widths, *order, *raw, *ends.ravel()],
        size=net_size(widths),
        tape=tape_rows(widths, transformer, dim),
        scratch=sum(widths),
        pack=pack,
        unpack=unpack,
        reals=transformer.reals,
        skips_columns=True,
    )


def _unless_in_order(places):
    """None where nothing changes its place: to take all rows as they are is a copy."""
    return None if np.array_equal(places, np.arange(len(places))) else places


def _taken(array, rows, columns):
    """array[rows][:, columns], itself where both are None; ``take`` needs half the time."""
    array = array if rows is None else array.take(rows, axis=0)
    return array if columns is None else array.take(columns, axis=1)


def _group_ends(degrees, places):
    """Places where groups end, and how many units of each hidden layer stand before each end.

    A unit of degree d waits for the places before place d, so it belongs to the group that
    holds place d.
    """
    rows = [places]
    for layer in degrees:
        rows.append(np.searchsorted(np.sort(layer), places))
        rows[-1][-1] = len(layer)  # with D = 1 there are units that no output looks at
    return np.array(rows)
