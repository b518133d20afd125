"""Negative log-likelihood of a batch and its gradient by one kernel, with no tape.

The kernel takes a block of rows through the chain, knows the cotangents of a standard
normal there, and takes them back before the next block starts.
"""

import weakref

import numpy as np
from autograd.extend import Box

from nfref import params as trees
from nfref.backends import threads
from nfref.kernels.chain import execute as run
from nfref.kernels.chain.primitives import cotangent_structure, programs
from nfref.kernels.chain.program import Program
from nfref.kernels.names import twin_of

# unflatten -> whether the long vector is the very vector that the kernels read.
_ALIGNED = weakref.WeakKeyDictionary()


def loss_and_gradient(density, unflatten, vector, x, context=None, weight=None):
    """See :func:`nfref.training.gradient.loss_and_gradient`; None where no kernel does all of it.

    That is any base but the standard normal, and flows that are not one program.
    """
    if twin_of(density.base) != "standard_normal" or not len(x):
        return None
    if isinstance(vector, Box) or vector.dtype != x.dtype or x.dtype.char not in "fd":
        return None
    pieces = programs(density.flow, -1)
    if len(pieces) != 1 or not isinstance(pieces[0], Program):
        return None
    program = pieces[0]
    context = np.empty((len(x), 0), x.dtype) if context is None else context
    if _is_aligned(program, unflatten, vector):
        log_prob, gradient, _, _ = run.normal_loss_cotangents(program, vector, x, context,
                                                              threads(), weight)
        return _loss(log_prob, weight), gradient
    params = unflatten(vector)
    flow_params = params["flow"]
    theta = program.pack(flow_params, x.dtype)
    log_prob, g_theta, _, _ = run.normal_loss_cotangents(program, theta, x, context, threads(),
                                                         weight)
    cotangent = cotangent_structure(flow_params, dict(program.unpack(flow_params, g_theta)))
    parts = []
    trees.tree_map(lambda leaf, g: parts.append(g.ravel()), params,
                   {"base": params["base"], "flow": cotangent})
    return _loss(log_prob, weight), np.concatenate(parts)


def _loss(log_prob, weight):
    return -np.mean(log_prob if weight is None else weight * log_prob)


def _is_aligned(program, unflatten, vector):
    if unflatten not in _ALIGNED:
        aligned = program.plain and program.size == len(vector)
        if aligned:
            places = np.arange(len(vector), dtype=np.float64)
            aligned = np.array_equal(program.pack(unflatten(places)["flow"], np.float64), places)
        _ALIGNED[unflatten] = aligned
    return _ALIGNED[unflatten]
