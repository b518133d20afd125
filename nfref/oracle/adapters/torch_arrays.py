"""PyTorch's functions of tensors as functions of arrays, with PyTorch's own gradients."""

import copy
import copyreg
from functools import partial

import numpy as np

from nfref.oracle.adapters.shapes import ArrayLibrary, cast_attributes
from nfref.runtime.annotations import Any, Callable, DTypeLike


def torch_function(function: Callable, *unused: Any) -> Callable:
    """Return a function of tensors as one of arrays; tensors share the arrays' memory.

    Gradients stay switched on: flows that differentiate internally need them.
    """

    def call(*arrays):
        import torch

        with torch.enable_grad():
            answer = function(*(torch.from_numpy(array) for array in arrays))
        if isinstance(answer, (tuple, list)):
            return tuple(to_numpy(part) for part in answer)
        return to_numpy(answer)

    return call


def to_numpy(part: Any) -> Any:
    """Return a tensor as an array, detached from its graph."""
    return part.detach().numpy() if hasattr(part, "detach") else part


def row_gradient(number: Callable[..., Any], *unused: Any) -> Callable[..., Any]:
    """Return torch's derivative of one number a row by that row and by its context, if any.

    It is zero if torch knows of no dependence; the check finds out if there is one.
    """

    def gradient(*arrays):
        import torch

        with torch.enable_grad():
            inputs = [torch.from_numpy(array).requires_grad_() for array in arrays]
            total = number(*inputs)
            total = torch.sum(total) if torch.is_tensor(total) else total
            if getattr(total, "requires_grad", False):  # else another row judges it
                found = torch.autograd.grad(total, inputs, materialize_grads=True)
            else:
                found = map(torch.zeros_like, inputs)
        found = tuple(to_numpy(part).copy() for part in found)
        return found if len(found) > 1 else found[0]

    return gradient


def computed_in(dtype: DTypeLike, function: Callable) -> Callable:
    """Return the function with ``dtype`` as torch's default, in which bases sample."""

    def call(*arguments):
        import torch

        default = torch.get_default_dtype()
        torch.set_default_dtype(torch_dtype(dtype))
        try:
            return function(*arguments)
        finally:
            torch.set_default_dtype(default)

    return call


def sampler(draw: Callable, dtype: DTypeLike = np.float64) -> Callable:
    """Return sample(rng, n) for a function of n that uses torch's global generator.

    The state of the generator is restored.
    """

    def sample(rng, n, *context):
        import torch

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(rng.integers(2**62)))
            return to_numpy(draw(n, *(torch.from_numpy(part) for part in context)))

    return computed_in(dtype, sample)


def torch_dtype(dtype: DTypeLike) -> Any:
    """Return torch's name of a dtype."""
    import torch

    return torch.float32 if np.dtype(dtype) == np.float32 else torch.float64


def in_dtype(thing: Any, dtype: DTypeLike, train: bool = False) -> Any:
    """Return a copy whose floating parameters, buffers and other tensors have ``dtype``.

    Modules are set to evaluation, unless ``train``, and their parameters are frozen, so that torch
    keeps no graphs. Distributions and transforms keep their tensors in plain attributes; those are
    cast too, also in their parts.
    """
    import torch

    thing = _copied(thing)
    if isinstance(thing, torch.nn.Module):
        thing = thing.train(train).to(torch_dtype(dtype))
        for parameter in thing.parameters():  # scripted modules have no requires_grad_
            parameter.detach_()
    libraries = ("torch", "pyro", "zuko", "nflows", "normflows", "FrEIA")
    cast_attributes(thing, partial(_cast, dtype=torch_dtype(dtype)), libraries, set())
    return thing


def _copied(thing):
    """Return a deep copy; torch drops ``_inv``, the state of an inverse, and Pyro keeps it."""
    from torch.distributions import transforms

    kind = transforms._InverseTransform
    known = copyreg.dispatch_table.get(kind)
    copyreg.pickle(kind, lambda inverse: (object.__new__, (kind,), dict(vars(inverse))))
    try:
        return copy.deepcopy(thing)
    finally:
        if known is None:
            del copyreg.dispatch_table[kind]
        else:
            copyreg.dispatch_table[kind] = known


def _cast(value, dtype):
    import torch

    if not isinstance(value, torch.Tensor) or isinstance(value, torch.nn.Parameter):
        return value
    casts = value.is_floating_point() and value.dtype != dtype
    return value.detach().to(dtype) if casts else value


TORCH = ArrayLibrary(in_dtype, torch_function, row_gradient, sampler)
