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
        return _or_of_arrays(from_jax(*pair, dtype=dtype), pair, dtype)
    if any(written_with(part, "torch") for part in wanted):
        forward, inverse = (part and with_dtype_hint(part) for part in pair)
        return _or_of_arrays(TORCH.flow(forward, inverse), pair, dtype)
    return {name: part for name, part in zip(("forward", "inverse"), pair) if part is not None}


def _or_of_arrays(found, pair, dtype):
    """Return the arguments of a flow, for functions of which each may take NumPy's arrays alone."""
    gradients = list(found["gradient"])
    for k, name in enumerate(("forward", "inverse")):
        if name in found:
            found[name], gradients[k] = _either(found[name], gradients[k], pair[k], dtype)
    return {**found, "gradient": tuple(gradients)}


def _either(adapted, gradient, function, dtype):
    """Return the function of a library's arrays and its gradient, or else the function of arrays.

    A function that uses a library may take and return NumPy's arrays, or may not be traced. Then
    the library's arrays have no answer and NumPy's have one; the gradient is NotImplemented.
    """
    plain = jax_arrays.computed_in(dtype, function) if "jax" in sys.modules else function
    chosen: list[Callable] = []  # the one that had an answer

    def call(*arrays):
        if chosen:
            return chosen[0](*arrays)
        try:
            answer = adapted(*arrays)
            chosen.append(adapted)
        except Exception:
            try:
                answer = plain(*(array.copy() for array in arrays))
            except Exception:
                answer = None
            if answer is None:
                raise
            chosen.append(plain)
        return answer

    def derivative(*arrays):
        of_arrays = chosen == [plain] or _is_of_arrays(function, arrays)
        return NotImplemented if of_arrays else gradient(*arrays)

    return call, derivative


def _is_of_arrays(function, arrays):
    """Return whether a function takes NumPy's arrays, and has no tensor in its answer to tensors.

    One that takes tensors alone is cut off from them; its gradient is the one to judge.
    """
    if not written_with(function, "torch"):
        return False
    torch = sys.modules["torch"]
    try:
        answers = [function(*map(of, arrays)) for of in (torch.from_numpy, np.copy)]
    except Exception:
        return False
    parts = [part for one in answers for part in (one if isinstance(one, (tuple, list)) else [one])]
    return not any(map(torch.is_tensor, parts))


def _object_density(thing, dtype):
    found = {"log_prob": thing.log_prob}
    if written_with(thing.log_prob, "torch"):
        found = TORCH.density(with_dtype_hint(thing.log_prob), None, None, False, dtype)
    elif written_with(thing.log_prob, "jax"):
        found = jax_arrays.JAX.density(thing.log_prob, None, None, True, dtype)
    if "gradient" in found:
        found["log_prob"], found["gradient"] = _either(
            found["log_prob"], found["gradient"], thing.log_prob, dtype
        )
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
        by_key = jax_arrays.sampler(
            lambda value, n: draw(**{key: value, count: _size(n, count)}), dtype
        )
        if key not in GENERATORS:
            return by_key

        def sample(rng, n):
            try:
                return by_key(rng, n)
            except AttributeError:  # a key has no methods of a generator
                return as_numbers(draw(rng, n))

        return sample
    if names and names[0] in GENERATORS:
        return lambda rng, n: as_numbers(draw(rng, n))
    if written_with(thing.log_prob, "torch"):
        return TORCH.sampler(by_number(draw), dtype)
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


def _names(thing, library, seen):
    kinds = {kind.__module__.partition(".")[0] for kind in type(thing).__mro__}
    if kinds & {library, library + "lib"}:  # an array, a module, or compiled already
        return True
    thing = thing.func if isinstance(thing, partial) else thing
    owner, thing = getattr(thing, "__self__", None), getattr(thing, "__func__", thing)
    if isinstance(thing, (type, types.ModuleType)) or id(thing) in seen:
        return False
    seen.add(id(thing))
    if not isinstance(thing, types.FunctionType):
        parts = thing if isinstance(thing, (list, tuple)) else _parts(thing)
        return any(_names(part, library, seen) for part in parts)
    cells = zip(thing.__code__.co_freevars, thing.__closure__ or ())
    filled = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    found = {**thing.__globals__, **filled}
    names = _names_in(thing.__code__)
    if any(name.partition(".")[0] == library for name in names):  # it imports the library itself
        return True
    for value in [found[name] for name in names & set(found)] + _parts(owner, names):
        module = getattr(value, "__module__", None) or type(value).__module__
        if isinstance(value, types.ModuleType):
            module = value.__name__
        if str(module).partition(".")[0] == library or _names(value, library, seen):
            return True
    return False


def _parts(owner, names=None):
    """Return what an object keeps and its class's own methods, bound; those of some names."""
    functions = vars(type(owner)) if hasattr(owner, "__dict__") else {}
    parts = {
        name: types.MethodType(part, owner)
        for name, part in functions.items()
        if isinstance(part, types.FunctionType)
    }
    parts.update(getattr(owner, "__dict__", {}))
    return [part for name, part in parts.items() if names is None or name in names]


def _names_in(code):
    names = {*code.co_names, *code.co_freevars}
    return names.union(*map(_names_in, (c for c in code.co_consts if type(c) is types.CodeType)))
