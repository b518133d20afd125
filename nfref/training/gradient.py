"""Loss and gradient of one batch, with the parameters as one long vector."""

import threading
import weakref

from autograd import value_and_grad

from nfref.density import Density
from nfref.flows.data_dependent import in_training
from nfref.objectives.divergences import negative_log_likelihood
from nfref.runtime import dispatch
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.checks import as_context, as_rows

ONE_AT_A_TIME = threading.RLock()  # autograd counts its traces for all threads at once
# unflatten -> (density, length of the vector) for which the parameters have passed the check.
_FITTING: weakref.WeakKeyDictionary[Any, tuple[Density, int]] = weakref.WeakKeyDictionary()


def loss_and_gradient(
    density: Density,
    unflatten: Callable[..., Any],
    vector: Array,
    x: Array,
    context: Array | None = None,
    weight: Array | None = None,
) -> tuple[float, Array]:
    """Return the negative log-likelihood of a batch and its gradient.

    Parameters
    ----------
    density : Density
    unflatten : callable
        From a (P,) vector to parameters, as made by :func:`nfref.runtime.params.flatten`.
    vector : (P,) array
    x : (N, D) array
    context : (N, C) array, optional
    weight : (N,) array, optional
        The weight of each row, 1 if omitted; in the dtype of x.

    Returns
    -------
    loss : scalar
        -1/N sum_n w_n log p(x_n), in nats per row.
    gradient : (P,) array

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or does not hold numbers.
    """
    known, length = _FITTING.get(unflatten, (None, None))
    if known is not density or length != len(vector):
        density._structure.checked(unflatten(vector))
        _FITTING[unflatten] = density, len(vector)
    x = as_rows("x", x, density.dim)
    context = as_context(context, density.context_dim, x)
    return dispatch.run(
        "loss_and_gradient", _by_tape, density, unflatten, vector, x, context, weight
    )


def threads_of_steps(
    density: Density, vector: Array, unflatten: Callable[..., Any], rows: int
) -> int:
    """Return how many threads share the steps of a fit; 0 if each step is a call by itself.

    Parameters
    ----------
    density : Density
    vector : (P,) array
        Parameters, in the dtype of the training.
    unflatten : callable
    rows : int
        Number of rows in a step.
    """
    return dispatch.threads_of_steps(in_training(density), vector, unflatten, rows)


def _by_tape(density, unflatten, vector, x, context, weight):
    return value_and_gradient(
        lambda params: negative_log_likelihood(density, params, x, context, weight),
        unflatten,
        vector,
    )


def value_and_gradient(
    objective: Callable[..., Any], unflatten: Callable[..., Any], vector: Array
) -> tuple[float, Array]:
    """Return the value of ``objective(unflatten(vector))``, and its (P,) gradient."""
    with ONE_AT_A_TIME:
        return value_and_grad(lambda vector: objective(unflatten(vector)))(vector)
