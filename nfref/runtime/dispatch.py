"""Formula or twin: the one module that knows both sides.

Flows, losses, Adam, small matrices and continuous solves all come here by the name of their
twin. What was asked for by ``nfref.backend`` is done. Unasked, the choice is left to the size
of the problem: twins where there is work for them, formulas for a handful of rows, where
compiling or loading a kernel would take longer than the answer. It depends on sizes alone,
never on what happens to be compiled, so that the same call gives the same bits in every process.

A twin takes the arguments of its formula. For those that it is not made for (complex numbers,
forward mode, a solver without a twin), it returns None, and the formula computes the answer.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import NamedTuple

from nfref.runtime import params as trees
from nfref.runtime.backends import chosen, numba_problem

CALL = 2_000_000  # multiplications from which on an unasked call uses twins
REPEATED = 50_000  # the same for a step of training, which is one of many
LONG = 20_000  # numbers in a vector of parameters that are worth a kernel
MANY = 1 << 17  # numbers in rows that are worth a second thread
EVALUATIONS = 50  # of a continuous flow's network, about, in a call that solves it
_REPEATING: ContextVar[bool] = ContextVar("nfref_repeating", default=False)


class Twin(NamedTuple):
    """Where the twins of a formula are, and from which size on they are worth it.

    ``size`` takes the arguments of the formula. ``numba`` and ``cuda`` are "module:function".
    """

    size: object
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
def many_calls():
    """Calls inside the block are each one of many, as steps of training are."""
    token = _REPEATING.set(True)
    try:
        yield
    finally:
        _REPEATING.reset(token)


def run(name, formula, *arguments):
    """``formula(*arguments)``, or what the twin of that name makes of them."""
    backend, twin = chosen(), TWINS[name]
    worth_it = min(twin.worth_it, REPEATED) if _REPEATING.get() else twin.worth_it
    if backend is None and twin.size(*arguments) >= worth_it and not numba_problem():
        backend = "numba"
    if backend == "cuda" and twin.cuda:
        result = _load(twin.cuda)(*arguments)
        if result is not None:
            return result
    if backend in ("numba", "cuda") and _kernels_work():
        result = _load(twin.numba)(*arguments)
        if result is not None:
            return result
    return formula(*arguments)


def for_each(task, count, size):
    """task(k) for k = 0 ... count-1, which have ``size`` numbers together and do not depend on each
    other: on all threads where that is worth it.
    """
    run("for_each", _one_after_another, task, count, size)


def _one_after_another(task, count, size):
    for k in range(count):
        task(k)


def prepare(wanted):
    """Have the twins of fits compiled, in other processes, while this one does something else.

    wanted : list of (density, vector, unflatten, rows of a step, rows scored at once)
        In the order of need: the parameters as a vector of the dtype, and the way back from it;
        0 rows where there is no such call.
    """
    backend, likely = chosen(), []
    for density, vector, unflatten, step, scored in wanted:
        value, gradient = (
            rows * len(vector) >= (1 if backend else worth_it)
            for rows, worth_it in ((scored, REPEATED if step else CALL), (step, REPEATED))
        )
        likely += (
            [(density, vector, unflatten, value, step if gradient else 0)]
            if value or gradient
            else []
        )
    if likely and backend != "numpy" and not numba_problem() and _kernels_work():
        _load("nfref.kernels.background_compilation:start")(likely)


def threads_of_steps(density, vector, unflatten, rows):
    """How many threads share steps of so many rows; 0 where no twin makes many in one call."""
    backend, twin = chosen(), TWINS["steps"]
    if backend == "numpy" or backend is None and rows * len(vector) < twin.worth_it:
        return 0
    return (
        _load("nfref.kernels.chain.fused_steps:threads_of_steps")(density, vector, unflatten, rows)
        if not numba_problem() and _kernels_work()
        else 0
    )


@cache
def _kernels_work():
    """Whether the kernels can do with the Numba at hand; who loses them is told once."""
    return _load("nfref.kernels.availability:kernels_work")()


def _load(place):
    """The function at "module:function"; kernels are not imported before they are needed."""
    module, function = place.split(":")
    return getattr(import_module(module), function)
