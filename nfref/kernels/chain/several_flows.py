"""Several flows on the same rows, which fit into one block: the members of a pool.

The way of a single row from a flow to its kernel takes as long as the kernel. Here it is done once
for all flows, and only the calls remain.
"""

import numpy as np

from nfref.kernels.chain import interpreter
from nfref.kernels.chain.execute import inputs_and_values, working_arrays
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.kernels.simd.matmul import ROWS
from nfref.runtime.backends import chosen
from nfref.runtime.frozen_params import once


def inverses(flows, params, x, context):
    """Return z (K, N, D) and log |det dz/dx| (K, N) of K flows; None where each needs its own call.

    ``params`` are frozen and belong to these flows alone.
    """
    if chosen() == "cuda" or len(x) > ROWS or x.dtype.char not in "fd":
        return None
    prepared = once(params, x.dtype, lambda: _prepared(flows, params, x.dtype))
    if prepared is None:
        return None
    widest, calls = prepared
    rows, _ = inputs_and_values(x, context)
    z = np.empty((len(calls), *x.shape), x.dtype)
    log_det = np.empty((len(calls), len(x)), x.dtype)
    arrays, zeros = working_arrays(widest, rows, 1, widest.longest), 0.0
    for (chain, theta), *values in zip(calls, z, log_det):
        given = chain, theta, rows, interpreter.Values(*values), *arrays, 0, 1
        zeros += interpreter.evaluate(*given)
    widest.workspace.give_back(*arrays)
    return (z, log_det) if zeros == 0 else None  # for the formula, where one is not finite


def _prepared(flows, params, dtype):
    """Return the program with the longest tape, and what the kernel needs of each flow."""
    found = [programs(flow, -1) for flow in flows]
    if not all(len(some) == 1 and isinstance(some[0], Program) for some in found):
        return None
    every = [program for (program,) in found]
    if any(program.couples_rows for program in every):
        return None
    calls = [
        (program.linked(dtype, gradient=False), program.pack(own, dtype))
        for program, own in zip(every, params)
    ]
    return max(every, key=lambda program: program.longest), calls
