"""The user's own flow or density: a module of torch, functions of JAX, an object with log_prob."""

import sys
from functools import wraps

import numpy as np

from nfref.oracle.adapters import jax_arrays, torch_arrays
from nfref.oracle.adapters.estimator_protocol import (
    as_numbers,
    by_number,
    has,
    parameters_of,
    sampler,
    size_as,
)
from nfref.oracle.adapters.shapes import note_of_mode
from nfref.oracle.adapters.torch_arrays import TORCH, in_dtype, torch_function
from nfref.runtime.annotations import Any, Callable, DTypeLike

GENERATORS = ("rng", "generator", "random")  # names of a sampler's first parameter


def own_functions(thing: Any, dtype: DTypeLike, train: bool = False) -> dict[str, Any] | None:
    """Return arguments of a check; None if the object is none of these.

    An object with ``log_prob`` (and ``sample``) is a density, one with ``forward`` and ``inverse``
    a flow. Modules of torch are copied and cast to the dtype, in evaluation mode unless ``train``.
    Functions that are written with JAX are compiled.
    """
    if isinstance(thing, type):
        return None
    if is_torch_module(thing):
        module = in_dtype(thing, dtype, train)
        if has(module, "log_prob"):
            draw = by_number(module.sample) if has(module, "sample") else None
            found = TORCH.density(with_dtype_hint(module.log_prob), draw, None, False, dtype)
        else:
            inverse = with_dtype_hint(module.inverse) if has(module, "inverse") else None
            found = TORCH.flow(with_dtype_hint(module), inverse)
        return {**found, **note_of_mode(thing, train)}
    if has(thing, "log_prob"):
        log_prob, gradient = of_any_arrays(thing.log_prob, None, dtype)
        found = {"log_prob": log_prob, **({"gradient": gradient} if gradient else {})}
        return {**found, "sample": _sample_of(thing, dtype)} if has(thing, "sample") else found
    if not has(thing, "inverse"):
        return None
    return functions_of((thing.forward if has(thing, "forward") else None, thing.inverse), dtype)


def functions_of(pair: Any, dtype: DTypeLike) -> dict[str, Any]:
    """Return arguments of ``check_flow`` from functions (forward, inverse); one may be None."""
    found: dict[str, Any] = {}
    gradients = []
    for name, function in zip(("forward", "inverse"), pair):
        gradients.append(None)
        if function is not None:
            found[name], gradients[-1] = of_any_arrays(function, 1, dtype)
    return {**found, "gradient": tuple(gradients)} if any(gradients) else found


def of_any_arrays(function: Callable, part: int | None, dtype: DTypeLike) -> tuple[Callable, Any]:
    """Return a function as one of NumPy's arrays, and its gradient: of this part of its answers.

    Its first call finds out if it takes arrays of NumPy, torch or JAX. One that takes NumPy's and
    returns tensors is one of tensors. Of NumPy's arrays alone the gradient is NotImplemented.
    """
    imported = [name for name in ("torch", "jax") if name in sys.modules]
    if not imported:
        return function, None
    plain = jax_arrays.computed_in(dtype, function) if "jax" in imported else function
    calls, gradients = {"numpy": plain}, {"numpy": lambda *arrays: NotImplemented}

    def number(*given):
        return function(*given) if part is None else function(*given)[part]

    if "torch" in imported:
        calls["torch"] = torch_function(with_dtype_hint(function))
        gradients["torch"] = torch_arrays.row_gradient(number)
    if "jax" in imported:
        calls["jax"] = jax_arrays.jax_function(function, True, dtype)
        gradients["jax"] = jax_arrays.row_gradient(number, True, dtype)
    chosen: list[str] = []

    @wraps(function)
    def call(*arrays):
        if chosen:
            return calls[chosen[0]](*arrays)
        errors = []
        for name, candidate in calls.items():
            try:
                answer = candidate(*(array.copy() for array in arrays))
            except Exception as error:
                errors.append(error)
                continue
            chosen.append(_library_of(answer) or name)
            return answer if chosen == [name] else calls[chosen[0]](*arrays)
        # Arrays of the wrong library are a TypeError; another error says more.
        raise next((one for one in errors if not isinstance(one, TypeError)), errors[0])

    def gradient(*arrays):
        return gradients[chosen[0] if chosen else "numpy"](*arrays)

    return call, gradient


def _library_of(answer):
    """Return the library of an answer's arrays, "torch" or "jax"; None for NumPy's."""
    for part in answer if isinstance(answer, (tuple, list)) else (answer,):
        for kind in type(part).__mro__:
            name = kind.__module__.partition(".")[0].removesuffix("lib")
            if name in ("torch", "jax"):
                return name
    return None


def _sample_of(thing, dtype):
    """Return a sampler from ``sample(rng, n)``, ``sample(n, key)`` of JAX, or ``sample(n)``."""
    draw, names = thing.sample, list(parameters_of(thing.sample))
    keys = [name for name in names if name.endswith("key") or name == "seed" == names[0]]
    if keys:
        count = next((name for name in names if name != keys[0]), "n")
        return jax_arrays.sampler(
            lambda key, n: draw(**{keys[0]: key, count: size_as(n, count)}), dtype
        )
    if names and names[0] in GENERATORS:
        return lambda rng, n: as_numbers(draw(rng, n))
    sample = sampler(thing)
    for name, library in (("torch", torch_arrays), ("jax", jax_arrays)):
        if name in sys.modules and sample is not None:
            sample = library.computed_in(dtype, sample)
    return sample


def is_torch_module(thing: Any) -> bool:
    """Check that an object is a module of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def with_twin(make: Callable, thing: Any, dtype: DTypeLike, cast: Callable) -> dict[str, Any]:
    """Return ``make(thing, dtype)``, for a flow in float32 with a twin: the same flow in float64.

    The twin has the float32 parameters, to which ``cast`` casts. It decides where rounding hides
    the answer.
    """
    functions = make(thing, dtype)
    if np.dtype(dtype) != np.float32 or "log_prob" in functions:
        return functions
    made = make(cast(thing, np.float32), np.float64)
    twin = {name: made[name] for name in ("forward", "inverse") if made.get(name) is not None}
    return {**functions, "twin": twin}


def with_dtype_hint(function: Callable) -> Callable:
    """Return the function with an error that names --dtype if it computes in float32."""

    def call(*tensors):
        try:
            return function(*tensors)
        except RuntimeError as error:
            words = str(error)
            both = "ouble" in words and "loat" in words.replace("BFloat16", "")
            if ("dtype" in words or "scalar type" in words) and both:
                advice = "use --dtype float32 (dtype=np.float32)"
                words = f"it computes in float32 but was given float64; {advice}: {words}"
                raise RuntimeError(words) from error
            raise

    return call
