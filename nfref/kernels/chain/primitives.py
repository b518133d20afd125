"""Twins as autograd primitives, and formulas where there is no twin.

A primitive is a whole program, and its variables are rows, context and parameters. Parameters come
as a nested structure: boxed as one, if a gradient is taken with respect to the structure, or as a
structure of boxed arrays. The first is one variable, because taking a boxed structure apart costs
more than the arithmetic; the second is a variable for each array.
"""

import numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.kernels.chain import execute as kernels
from nfref.kernels.chain.program import Program, pieces_of
from nfref.kernels.simd.matmul import ROWS
from nfref.runtime import params as trees
from nfref.runtime.autograd_internals import (
    Box,
    boxes,
    defvjp_argnums,
    is_forward_mode,
    parts,
    primitive,
)
from nfref.runtime.backends import threads
from nfref.runtime.batching import context_of
from nfref.runtime.frozen_params import is_frozen
from nfref.runtime.params import at_path


def apply(flow, direction, params, rows, context):
    """Apply a flow in a direction by its twins; return None for arguments without one."""
    traced = boxes(rows, context, params)
    if rows.dtype.char not in "fd" or any(is_forward_mode(box) for box in traced):
        return None
    pieces = programs(flow, direction)
    if not any(isinstance(piece, Program) for piece in pieces):
        return None
    total = None
    for piece in pieces:
        if isinstance(piece, Program):
            rows, log_det = _through(piece, params, rows, context, bool(traced))
        else:
            member, sign, path = piece
            rows, log_det = member._apply(sign, at_path(params, path), rows, context)
        total = log_det if total is None else total + log_det
    return rows, total


def batch_moments(flow, params, x, context):
    """Return path -> (2, D), mean and variance of the input of each batch norm in training.

    Return None if a number is not finite, and for rows that have no kernel.
    """
    if x.dtype.char not in "fd":
        return None
    found: dict = {}
    for piece in programs(flow, -1):
        if not isinstance(piece, Program):
            member, sign, path = piece
            x, _ = member._apply(sign, at_path(params, path), x, context)
        elif not piece.couples_rows:
            x, _ = _through(piece, params, x, context, False)
        else:
            theta = piece.pack(params, x.dtype)
            rows, values = kernels.inputs_and_values(x, context)
            moments = kernels.moments(piece, theta, rows, values, threads())
            piece.give_back(theta, params)
            found.update(
                zip([piece.members[k][2] for k in piece.parts[1:-1]], moments.astype(x.dtype))
            )
            x = values.value
    return found if all(np.isfinite(moments).all() for moments in found.values()) else None


def programs(flow, direction):
    """Return the pieces of a flow, made once for each flow object."""
    made = flow.__dict__.setdefault("_pieces", {})
    if direction not in made:
        made[direction] = pieces_of(flow, direction)
    return made[direction]


def _through(program, params, rows, context, traced):
    if not traced:
        return _value(program, params, rows, context)
    if context is None:
        context = np.zeros((len(rows), 0), rows.dtype)
    if isinstance(params, Box) or is_frozen(params):
        result = chain(program, None, rows, context, params)
    else:
        params = program.own(params)
        result = chain(program, params, rows, context, *parts(params))
    return result[0], result[1]


# The primitive -------------------------------------------------------------------------------


def _value(program, params, rows, context):
    theta = program.pack(params, rows.dtype)
    # One block needs one thread, and no look at the processors, which takes microseconds.
    limit = threads() if len(rows) > ROWS else 1
    result, finite = kernels.value_and_finite(program, theta, rows, context, limit)
    program.give_back(theta, params)
    if not finite:
        where = np.flatnonzero(~(np.isfinite(result[0]).all(axis=1) & np.isfinite(result[1])))
        where = slice(None) if program.couples_rows else where
        with np.errstate(all="ignore"):
            found = program.formula(params, rows[where], context_of(context, where))
        for array, some in zip(result, found):
            array[where] = some
    return result


@primitive
def chain(program, structure, rows, context, *leaves):
    """Apply a program to (rows, context, *leaves), in the order of the structure.

    Without a structure, the one leaf is all parameters.
    """
    return _value(program, trees.filled(structure, leaves), rows, context)


def _cotangents(program, params, rows, context, g):
    """Return cotangents of params, rows and context, by the kernel or the formula.

    The formula is used if a cotangent is traced: then a second derivative is being taken, and the
    result of the kernel could not be differentiated. If the kernel's result is not finite, the
    formula decides too: for the parameters, and for the rows where either is not.
    """
    if boxes(tuple(g), rows, context, params):
        return _cotangents_of_formula(program, params, rows, context, g)
    theta = program.pack(params, rows.dtype)
    g_theta, g_rows, g_context = kernels.cotangents(program, theta, rows, context, *g, threads())
    program.give_back(theta, params)
    fine = np.isfinite(g_rows).all(axis=1) & np.isfinite(g_context).all(axis=1)
    if fine.all() and np.isfinite(g_theta).all():
        if is_frozen(params):  # nobody asks for their cotangents
            return None, g_rows, g_context
        return cotangent_structure(params, program.unpack(params, g_theta)), g_rows, g_context
    with np.errstate(all="ignore"):
        found, *of_rows = _cotangents_of_formula(program, params, rows, context, g)
    for some in of_rows:
        fine &= np.isfinite(some).all(axis=1)
    for array, some in zip((g_rows, g_context), of_rows):
        array[~fine] = some[~fine]
    return found, g_rows, g_context


def _cotangents_of_formula(program, params, rows, context, g):
    if is_frozen(params):  # autograd does not know their containers
        params = trees.filled(params, trees.leaves(params))
    back, _ = make_vjp(lambda variables: traced_tuple(program.formula(*variables)))(
        traced_tuple((params, rows, context))
    )
    return back(traced_tuple(tuple(g)))


def cotangent_structure(params, found, path=()):
    """Return cotangents by path as one structure shaped like params, with zeros elsewhere."""
    if path in found:
        return trees.tree_map(lambda leaf, g: g.astype(leaf.dtype, copy=False), params, found[path])
    if isinstance(params, dict):
        return {
            key: cotangent_structure(value, found, path + (key,)) for key, value in params.items()
        }
    if isinstance(params, (list, tuple)):
        return [cotangent_structure(value, found, path + (k,)) for k, value in enumerate(params)]
    return np.zeros_like(params)


def _chain_vjp(argnums, answer, arguments, options):
    program, structure, rows, context, *leaves = arguments

    def back(g):
        params = trees.filled(structure, leaves)
        g_params, *others = _cotangents(program, params, rows, context, g)
        g_leaves = trees.matching(structure, g_params)
        return tuple(
            others[number - 2] if number < 4 else g_leaves[number - 4] for number in argnums
        )

    return back


defvjp_argnums(chain, _chain_vjp)
