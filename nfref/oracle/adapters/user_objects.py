"""The user's own flow or density: a module of torch, functions of JAX, an object with log_prob."""

import sys
import types
from functools import partial

import numpy as np

from nfref.oracle.adapters import jax_arrays
from nfref.oracle.adapters.estimator_protocol import as_numbers, has, parameters_of, sampler
from nfref.oracle.adapters.jax_libraries import from_jax
from nfref.oracle.adapters.shapes import note_of_mode
from nfref.oracle.adapters.torch_arrays import TORCH, in_dtype
from nfref.runtime.annotations import Any, Callable, DTypeLike


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
    if not (has(thing, "log_prob") or has(thing, "inverse")):
        return None
    if has(thing, "log_prob"):
        return _object_density(thing, dtype)
    forward = thing.forward if has(thing, "forward") else None
    return functions_of((forward, thing.inverse), dtype)


def functions_of(pair: Any, dtype: DTypeLike) -> dict[str, Any]:
    """Return arguments of ``check_flow`` from functions (forward, inverse); one may be None."""
    wanted = [part for part in pair if part is not None]
    if any(written_with(part, "jax") for part in wanted):
        return from_jax(*pair, dtype=dtype)
    if any(written_with(part, "torch") for part in wanted):
        forward, inverse = (part and with_dtype_hint(part) for part in pair)
        return TORCH.flow(forward, inverse)
    return {name: part for name, part in zip(("forward", "inverse"), pair) if part is not None}


def _object_density(thing, dtype):
    if written_with(thing.log_prob, "torch"):
        draw = by_number(thing.sample)
        return TORCH.density(with_dtype_hint(thing.log_prob), draw, None, False, dtype)
    found = {"log_prob": thing.log_prob}
    if written_with(thing.log_prob, "jax"):
        found = jax_arrays.JAX.density(thing.log_prob, None, None, True, dtype)
    if has(thing, "sample"):
        found["sample"] = _sample_of(thing, dtype)
    return found


def by_number(draw: Callable) -> Callable:
    """Return a function of n, for one that takes n or, as torch's distributions, a shape."""
    first = next(iter(parameters_of(draw)), "")
    return lambda n, *context: draw(_size(n, first), *context)


def _size(n, name):
    """Return the number of samples as a parameter of that name takes it: a number, or a shape."""
    return (n,) if name.endswith("shape") else n


def _sample_of(thing, dtype):
    """Return a sampler from ``sample(rng, n)``, ``sample(n, key)`` of JAX, or ``sample(n)``."""
    draw, names = thing.sample, list(parameters_of(thing.sample))
    of_jax = written_with(draw, "jax")
    key = next((name for name in names if name.endswith("key")), None)
    if key is None and of_jax and names[:1] in (["rng"], ["seed"]):
        key = names[0]
    if key is not None:
        count = next((name for name in names if name != key), "n")
        return jax_arrays.sampler(
            lambda value, n: draw(**{key: value, count: _size(n, count)}), dtype
        )
    if names and names[0] in ("rng", "generator", "random"):
        return lambda rng, n: as_numbers(draw(rng, n))
    seeded = sampler(thing)
    return jax_arrays.computed_in(dtype, seeded) if of_jax and seeded else seeded


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


def written_with(function: Any, library: str) -> bool:
    """Check that the code of a function, or of one that it calls, names "jax" or "torch"."""
    return library in sys.modules and _names(function, library, set())


def _names(function, library, seen):
    kind = type(function).__module__.partition(".")[0]
    if kind in (library, library + "lib"):  # compiled already
        return True
    function = getattr(function, "func", getattr(function, "__func__", function))  # partial
    if not isinstance(function, types.FunctionType) or id(function) in seen:
        return isinstance(function, partial) and _names(function, library, seen)
    seen.add(id(function))
    cells = zip(function.__code__.co_freevars, function.__closure__ or ())
    filled = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    found = {**function.__globals__, **filled}
    for name in _names_in(function.__code__) & set(found):
        value = found[name]
        module = getattr(value, "__module__", None) or type(value).__module__
        if isinstance(value, types.ModuleType):
            module = value.__name__
        if str(module).partition(".")[0] == library or _names(value, library, seen):
            return True
    return False


def _names_in(code):
    names = {*code.co_names, *code.co_freevars}
    return names.union(*map(_names_in, (c for c in code.co_consts if type(c) is types.CodeType)))
