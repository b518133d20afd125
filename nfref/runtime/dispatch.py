"""The choice between formula and twin, in the one module that knows both sides.

Flows, losses, Adam, small matrices and continuous solves call :func:`run` with the name of their
twin. ``nfref.backend`` decides if it is used. Otherwise the size of the problem decides: twins
for much work, formulas for a handful of rows, for which compiling or loading a kernel would take
longer than the answer. The choice depends on sizes alone, never on which kernels are compiled.
So the same call gives the same bits in every process.

A twin takes the arguments of its formula. It returns None for arguments that it does not support
(complex numbers, forward mode, a solver without a twin), and the formula computes the answer.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import NamedTuple

from nfref.runtime import params as trees
from nfref.runtime.abandonable import Abandoned
from nfref.runtime.annotations import Any, Array, Callable, Iterator
from nfref.runtime.backends import chosen, numba_problem

# Fewest multiplications etc. for which a call without a chosen backend uses twins.
CALL = 2_000_000  # multiplications of a single call
REPEATED = 50_000  # multiplications of a training step, which is one of many
LONG = 20_000  # numbers in a vector of parameters
MANY = 1 << 17  # numbers in rows, for a second thread
EVALUATIONS = 50  # typical network evaluations in one solve of a continuous flow
_REPEATING: ContextVar[bool] = ContextVar("nfref_repeating", default=False)


class Twin(NamedTuple):
    """The twins of a formula, and the smallest size at which they are used by default.

    ``size`` takes the arguments of the formula. ``numba`` and ``cuda`` are "module:function".
    """

    size: Callable[..., int]
    worth_it: int
    numba: str
    cuda: str | None = None


def _entries(matrices, *others):
    return len(matrices) * matrices.shape[1] ** 3


def _network(net, context, fixed, activation, t, state, *others):
    return EVALUATIONS * len(state) * trees.count(net)


def _solve(net, context, fixed, activation, start, end, state, *others):
    return EVALUATIONS * len(state) * trees.count(net)


_MATRICES = "nfref.kernels.simd.small_matrices"
_SOLVES = "nfref.kernels.continuous.solves"

TWINS = {
    "flow": Twin(
        lambda flow, direction, params, rows, context: len(rows) * trees.count(params),
        CALL,
        "nfref.kernels.chain.primitives:apply",
        "nfref.kernels.cuda.flows:apply",
    ),
    "inverses": Twin(
        lambda flows, params, x, context: len(x) * min(map(trees.count, params)),
        CALL,
        "nfref.kernels.chain.several_flows:inverses",
    ),
    "loss_and_gradient": Twin(
        lambda density, unflatten, vector, x, *others: len(x) * len(vector),
        REPEATED,
        "nfref.kernels.chain.training:loss_and_gradient",
    ),
    "batch_moments": Twin(
        lambda flow, params, x, context: len(x) * trees.count(params),
        REPEATED,
        "nfref.kernels.chain.primitives:batch_moments",
    ),
    "for_each": Twin(lambda task, count, size: size, MANY, "nfref.kernels.thread_pool:at_once"),
    "steps": Twin(
        lambda density, unflatten, now, rows, batches, *others: len(batches[0]) * now.size,
        REPEATED,
        "nfref.kernels.chain.fused_steps:steps",
    ),
    "mean_log_prob": Twin(
        lambda density, unflatten, now, rows: len(rows.x) * now.size,
        REPEATED,
        "nfref.kernels.chain.fused_steps:mean_log_prob",
    ),
    "adam_update": Twin(
        lambda vector, *others: len(vector), LONG, "nfref.kernels.adam:adam_update"
    ),
    "log_abs_det": Twin(
        _entries,
        CALL,
        f"{_MATRICES}:log_abs_det_or_none",
        "nfref.kernels.cuda.small_matrices:log_abs_det_or_none",
    ),
    "solve": Twin(_entries, CALL, f"{_MATRICES}:solve_or_none"),
    "derivative": Twin(_network, CALL, f"{_SOLVES}:derivative"),
    "derivative_vjp": Twin(_network, CALL, f"{_SOLVES}:derivative_vjp"),
    "solution": Twin(_solve, CALL, f"{_SOLVES}:solution"),
    "adjoint": Twin(_solve, CALL, f"{_SOLVES}:adjoint"),
}


@contextmanager
def many_calls() -> Iterator[None]:
    """Treat each call inside the block as one of many, like a step of training."""
    token = _REPEATING.set(True)
    try:
        yield
    finally:
        _REPEATING.reset(token)


def run(name: str, formula: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``formula(*arguments)``, computed by the formula or by the twin ``name``."""
    backend, twin = chosen(), TWINS[name]
    worth_it = min(twin.worth_it, REPEATED) if _REPEATING.get() else twin.worth_it
    if backend is None and twin.size(*arguments) >= worth_it and not numba_problem():
        backend = "numba"
    if backend == "cuda" and twin.cuda:
        result = _load(twin.cuda)(*arguments)
        if result is not None:
            return result
    if backend in ("numba", "cuda") and not numba_problem():
        try:
            result = _load(twin.numba)(*arguments)
        except Abandoned:  # an interrupted fit keeps what it has, and waits for no compilation
            result = None
        if result is not None:
            return result
    return formula(*arguments)


def for_each(task: Callable[[int], Any], count: int, size: int) -> None:
    """Call ``task(k)`` for k = 0 ... count-1, on all threads if ``size`` is large enough.

    The tasks are independent of each other, and ``size`` counts the numbers in all of them.
    """
    run("for_each", _one_after_another, task, count, size)


def _one_after_another(task, count, size):
    for k in range(count):
        task(k)


def threads_of_steps(density: Any, vector: Array, unflatten: Callable[..., Any], rows: int) -> int:
    """Return how many threads share a step; 0 if no twin makes many such steps in one call."""
    backend, twin = chosen(), TWINS["steps"]
    if backend == "numpy" or backend is None and rows * len(vector) < twin.worth_it:
        return 0
    if numba_problem():
        return 0
    twin_threads = _load("nfref.kernels.chain.fused_steps:threads_of_steps")
    return twin_threads(density, vector, unflatten, rows)


def _load(place):
    """Return the function at "module:function", importing its module at first use."""
    module, function = place.split(":")
    return getattr(_module(module), function)


_module = cache(import_module)  # import_module alone takes a microsecond for every call
