"""Negative log-likelihood of a batch and its gradient by one kernel, with no tape.

The kernel takes a block of rows through the chain, computes the cotangents of a standard normal
there, and takes them back before the next block starts.
"""

import weakref
from typing import NamedTuple

import numpy as np

from nfref.kernels.chain import execute as run
from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.chain.primitives import cotangent_structure, programs
from nfref.kernels.chain.program import Program
from nfref.kernels.thread_pool import in_pieces
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any
from nfref.runtime.autograd_internals import Box
from nfref.runtime.backends import threads

# program -> {(unflatten, dtype) -> Layout or None}
_LAYOUTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def loss_and_gradient(density, unflatten, vector, x, context=None, weight=None):
    """Compute :func:`nfref.training.gradient.loss_and_gradient`; return None if kernels cannot.

    Kernels support the standard normal base alone, and flows that are one program. Layers without
    parameters may precede it.
    """
    if twin_of(density.base) != "standard_normal" or not len(x):
        return None
    if isinstance(vector, Box) or vector.dtype != x.dtype or x.dtype.char not in "fd":
        return None
    *before, program = programs(density.flow, -1)
    if not isinstance(program, Program) or any(
        isinstance(piece, Program) or piece[0]._structure.shapes != {} for piece in before
    ):
        return None
    log_det = 0
    for member, sign, _ in before:
        x, more = member._apply(sign, {}, x, context)
        log_det = log_det + more
    context = np.empty((len(x), 0), x.dtype) if context is None else context
    layout = _layout(program, unflatten, vector)
    if layout is None:
        theta = program.pack(unflatten(vector)["flow"], x.dtype)
    else:
        theta = layout.packed(vector)
    log_prob, g_theta, _, _ = run.normal_loss_cotangents(
        program, theta, x, context, threads(), weight
    )
    log_prob += log_det
    loss = -np.mean(log_prob if weight is None else weight * log_prob)
    if layout is not None:
        return _if_finite(loss, layout.unpacked(g_theta))
    program.give_back(theta)
    return _if_finite(loss, _unpacked(program, unflatten, vector, g_theta))


def _if_finite(loss, gradient):
    """Return both; None if one is not finite, and the formula decides."""
    return (loss, gradient) if np.isfinite(loss) and np.isfinite(np.sum(gradient)) else None


def _unpacked(program, unflatten, vector, g_theta):
    """Return the gradient (P,) of the long vector from that of the kernels' numbers."""
    params = unflatten(vector)
    flow_params = params["flow"]
    cotangent = cotangent_structure(flow_params, program.unpack(flow_params, g_theta))
    parts = trees.matching(params, {"base": params["base"], "flow": cotangent})
    return np.concatenate([part.ravel() for part in parts])


# Where numbers stand ------------------------------------------------------------------------


class Layout(NamedTuple):
    """Places of the Q numbers that the kernels read, theta, in the vector of P that is trained.

        theta = mask * vector[places],    gradient = counts * g_theta[back].

    A layout exists if packing the parameters only moves numbers and sets some to zero. These two
    lines then do in one step the work of unflattening and packing, array by array. For a masked
    network of 128 units that work takes as long as the kernel.

    Attributes
    ----------
    places : (Q,) array
        Of each number in theta, its index in the vector; 0 where it is masked.
    mask : (Q,) array
        1, or 0 where it is masked; in the dtype of the vector.
    back : (P,) array
        Of each number in the vector, its index in theta; its own index and Q where no kernel reads
        it.
    counts : (P,) array
        1, or 0 where no kernel reads it. All four are None where theta is the vector itself.
    """

    places: np.ndarray | None = None
    mask: np.ndarray | None = None
    back: Any = None
    counts: np.ndarray | None = None

    def packed(self, vector):
        return vector if self.places is None else _gathered(vector, self.places, self.mask)

    def unpacked(self, g_theta):
        return g_theta if self.places is None else _gathered(g_theta, self.back, self.counts)

    def replaced(self, vector, theta):
        """Return the vector, with the kernels' numbers from theta."""
        if self.places is None:
            return theta.copy()
        return np.concatenate([theta, vector]).take(self.back, mode="clip")


def _gathered(numbers, places, factors):
    """Return numbers[places] * factors, on all threads."""
    found = np.empty(len(places), numbers.dtype)

    def task(first, last):
        # Not to check the places halves the time; all are there.
        numbers.take(places[first:last], out=found[first:last], mode="clip")
        found[first:last] *= factors[first:last]

    in_pieces(task, len(found), threads())
    return found


def _layout(program, unflatten, vector):
    """Return the Layout of a program in a long vector; None if packing also computes."""
    known, key = _LAYOUTS.setdefault(program, {}), (unflatten, vector.dtype)
    if key not in known:
        with np.errstate(all="ignore"):
            known[key] = _found_layout(program, unflatten, vector)
    return known[key]


def _found_layout(program, unflatten, vector):
    size, dtype = len(vector), vector.dtype
    numbered = np.arange(1.0, size + 1)
    try:
        packed = program.pack(unflatten(numbered)["flow"], np.float64)
    except ValueError:  # computed from such numbers, matrices may have no inverse
        return None
    if program.structure is not None and np.array_equal(packed, numbered):
        return Layout()
    whole = packed.astype(np.intp)
    if not np.all((whole == packed) & (whole >= 0) & (whole <= size)):
        return None
    used = np.flatnonzero(whole)
    places, back = np.zeros(program.size, np.intp), program.size + np.arange(size)
    places[used] = whole[used] - 1
    back[places[used]] = used
    mask, counts = np.zeros(program.size, dtype), np.zeros(size, dtype)
    mask[used], counts[places[used]] = 1, 1
    layout = Layout(places, mask, back, counts)
    # Fractions of both signs tell whether packing does anything else to numbers.
    most = max(size, program.size)
    fractions = (1 / (np.arange(most) - most // 2 - 0.25)).astype(dtype)
    some, g_theta = fractions[:size], fractions[: program.size]
    same = np.array_equal(
        program.pack(unflatten(some)["flow"], dtype), layout.packed(some)
    ) and np.array_equal(
        _unpacked(program, unflatten, some, g_theta.copy()), layout.unpacked(g_theta)
    )
    return layout if same else None
