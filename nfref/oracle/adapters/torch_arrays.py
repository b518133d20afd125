"""PyTorch's functions of tensors as functions of arrays, with PyTorch's own gradients."""

import copy
import copyreg
from functools import partial

import numpy as np

from nfref.oracle.adapters.shapes import ArrayLibrary, cast_attributes
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike


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
            found = _derivatives(torch.sum(total) if torch.is_tensor(total) else total, inputs)
        return found if len(found) > 1 else found[0]

    return gradient


def _derivatives(total, inputs):
    """Return torch's derivatives of a number as arrays, zero where it knows of no dependence."""
    import torch

    if getattr(total, "requires_grad", False):  # it may be no tensor, which another row judges
        found = torch.autograd.grad(total, inputs, materialize_grads=True)
    else:
        found = map(torch.zeros_like, inputs)
    return tuple(to_numpy(part).copy() for part in found)


def sampler(draw: Callable, dtype: DTypeLike = np.float64) -> Callable:
    """Return sample(rng, n) for a function of n that uses torch's global generator.

    The state of the generator is restored. Bases sample in torch's default dtype, which is set to
    ``dtype`` for the call.
    """

    def sample(rng, n, *context):
        import torch

        default = torch.get_default_dtype()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(rng.integers(2**62)))
            torch.set_default_dtype(torch_dtype(dtype))
            try:
                return to_numpy(draw(n, *(torch.from_numpy(part) for part in context)))
            finally:
                torch.set_default_dtype(default)

    return sample


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


def parameter_gradient(
    module: Any, number: Callable[..., Any], dtype: DTypeLike, *arrays: Array
) -> dict[str, Any]:
    """Return arguments of ``check_parameter_gradients``: of a copied module's number of arrays."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"parameters: cannot be reached in {type(module).__name__}")
    module = in_dtype(module, dtype)
    every = dict(module.named_parameters())
    parameters = {name: value for name, value in every.items() if value.is_floating_point()}
    start = {name: to_numpy(value).copy() for name, value in parameters.items()}

    def evaluate(params, wanted):
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(torch.from_numpy(np.asarray(params[name])))
        for value in parameters.values():
            value.requires_grad_(wanted)
        return number(module, *map(torch.from_numpy, arrays))

    def loss(params):
        with torch.enable_grad():
            return float(evaluate(params, False).detach())

    def gradient(params):
        with torch.enable_grad():
            found = _derivatives(evaluate(params, True), list(parameters.values()))
        return dict(zip(parameters, found))

    return {"loss": loss, "gradient": gradient, "params": start}


TORCH = ArrayLibrary(in_dtype, torch_function, row_gradient, sampler, parameter_gradient)
