"""The only dispatch: which implementation runs behind the door of a flow.

``numpy``   the formulas, as they stand in ``nfref/flows/``
``numba``   compiled twins on all processors, see ``nfref/kernels/``
``cuda``    couplings and log |det| of small matrices on a CUDA device, the networks and other
            members of a flow with couplings by their formulas; all else, gradients too, by
            the ``numba`` twins

Outside of any ``with`` the choice is left to the size of the problem: twins where there is
work for them, formulas for a handful of rows, where compiling or loading a kernel would
take longer than the answer. It depends on sizes alone, never on what happens to be
compiled, so that the same call gives the same bits in every process. ``NFREF_BACKEND`` in
the environment names a backend for a whole process.

Members of a chain without a twin run by their formula, between twins. What asks for more
than a twin gives (complex numbers, second derivatives, forward mode) gets the formula.
"""

import os
from contextlib import contextmanager
from contextvars import ContextVar

from nfref import params as trees
from nfref.checks import check_choice, check_count

BACKENDS = ("numpy", "numba", "cuda")
WORTH_IT = 2_000_000        # multiplications from which on an unasked call uses twins

EVALUATIONS = 50            # of a continuous flow's network, about, in a call that solves it
REPEATED = 50_000           # the same for a step of training, which is one of many
LONG = 20_000               # numbers in a vector of parameters that are worth a kernel

_TELL = []
_CHOSEN = ContextVar("nfref_backend", default=None)
_THREADS = ContextVar("nfref_threads", default=None)


@contextmanager
def backend(name, threads=None):
    """Choose the implementation for everything inside a ``with`` block, in this thread.

    Parameters
    ----------
    name : {"numpy", "numba", "cuda"}
    threads : int, optional
        How many threads the ``numba`` twins may use; all processors if omitted. Results are
        the same to the last bit whatever the number.

    Raises
    ------
    ValueError
        If the name is not one of the three.
    RuntimeError
        If ``cuda`` is asked for and there is no numba-cuda or no device.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.RealNVP(2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> with nfref.backend("numpy"):
    ...     z, log_det = flow.inverse(params, np.zeros((3, 2)))
    """
    check_choice("backend", name, BACKENDS)
    if threads is not None:
        check_count("threads", threads)
    if name == "cuda":
        require_cuda()
    chosen, limit = _CHOSEN.set(name), _THREADS.set(threads)
    try:
        yield
    finally:
        _CHOSEN.reset(chosen)
        _THREADS.reset(limit)


def chosen():
    """The backend asked for, by ``with`` or by the environment; None where it is left open."""
    name = _CHOSEN.get()
    if name is None and os.environ.get("NFREF_BACKEND"):
        name = check_choice("NFREF_BACKEND", os.environ["NFREF_BACKEND"], BACKENDS)
        if name == "cuda":
            require_cuda()
    return name


def threads():
    """How many threads twins may use."""
    limit = _THREADS.get()
    if limit is None:
        from nfref.kernels.rows import available
        return available()
    return limit


def require_cuda():
    """Raise a RuntimeError in one line unless a CUDA device (or its simulator) can be used."""
    try:
        from numba import cuda
        if cuda.is_available():
            return
        problem = "found no CUDA device"
    except ImportError:
        problem = "numba-cuda is not installed (pip install 'nfref[cuda]')"
    raise RuntimeError(f"backend: expected a CUDA device for 'cuda'; {problem}")


def when_compiling(tell):
    """Have ``tell()`` called once, when the first kernel of this process is compiled.

    Kernels that come from the cache on disk are not compiled.
    """
    _TELL[:] = [tell]


def announce():
    """Called by the kernels when one is about to be compiled."""
    while _TELL:
        _TELL.pop()()


# Where the twins are called from --------------------------------------------------------------


def dispatch(flow, direction, params, rows, context):
    """``flow._forward`` (direction 1) or ``flow._inverse`` (-1), by the chosen implementation.

    Arguments have passed the door.
    """
    formula = flow._forward if direction == 1 else flow._inverse
    if not _twins_for(lambda: len(rows) * trees.count(params), WORTH_IT):
        return formula(params, rows, context)
    from nfref.kernels.chain.primitives import run
    return run(flow, direction, params, rows, context, formula)


def dispatch_loss(density, unflatten, vector, x, context, formula):
    """See :func:`nfref.training.gradient.loss_and_gradient`; ``formula`` computes it."""
    if not _twins_for(lambda: len(x) * len(vector), REPEATED):
        return formula()
    from nfref.kernels.chain.training import loss_and_gradient
    result = loss_and_gradient(density, unflatten, vector, x, context)
    return formula() if result is None else result


def dispatch_adam(formula, vector, *others):
    """``formula`` is :func:`nfref.training.adam.adam_update`, ``others`` its other arguments."""
    if not _twins_for(lambda: len(vector), LONG):
        return formula(vector, *others)
    from nfref.kernels.adam import adam_update as twin
    return twin(vector, *others)


def dispatch_matrices(formula, matrices, *others):
    """``formula`` is one of :mod:`nfref.small_matrices`, ``others`` its other arguments."""
    n, dim = matrices.shape[:2]
    if not _twins_for(lambda: n * dim ** 3, WORTH_IT):
        return formula(matrices, *others)
    from nfref.kernels.simd.small_matrices import run
    return run(formula, matrices, *others)


def dispatch_continuous(formula, name, work, others, *arguments):
    """``formula(*others)``, or the twin ``name`` of (*arguments, *others).

    ``work``: multiplications of one evaluation of the network.
    """
    if _twins_for(lambda: EVALUATIONS * work, WORTH_IT):
        from nfref.kernels.continuous import solves as continuous
        result = getattr(continuous, name)(*arguments, *others)
        if result is not None:
            return result
    return formula(*others)


def _twins_for(size, worth_it):
    """Whether twins were asked for, or nothing was and the problem is large enough."""
    name = chosen()
    return name != "numpy" and (name is not None or size() >= worth_it)
