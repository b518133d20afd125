"""Fit copies of an estimator and sample from it with a seed, by the methods and options it has."""

import copy
import inspect
import sys
from collections.abc import Mapping

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable


def has(thing: Any, name: str) -> bool:
    """Check that an object has a method of this name."""
    return callable(getattr(thing, name, None))


def as_numbers(answer: Any) -> Array:
    """Return an answer as an array; detach tensors from their graph."""
    return np.asarray(answer.detach() if hasattr(answer, "detach") else answer)


def fitted(thing: Any, score: Callable, table: Array | None) -> Any:
    """Return the object itself, or a copy fitted to the table if it was not fitted."""
    if table is None or not has(thing, "fit"):
        return thing
    try:
        score(thing, table[:2])
        return thing
    except Exception as error:  # each library has its own error for it
        known = ("NotFittedError", "AttributeError", "ValueError", "TypeError")
        if type(error).__name__ not in known:
            raise
        return fit_to(fresh(thing), table, None)


def fresh(thing: Any) -> Any:
    """Return a copy that was not fitted, whose random choices are the same each time."""
    if has(thing, "get_params"):
        options = copy.deepcopy(thing.get_params(deep=False))
        if options.get("random_state", 0) is None:
            options["random_state"] = 0
        return type(thing)(**options)
    return copy.deepcopy(thing)


def fit_to(thing: Any, rows: Array, weights: Array | None) -> Any:
    """Fit an object to rows, with weights if there are some, and return it."""
    given: Any = {} if weights is None else {weight_name(thing.fit): weights}
    found = thing.fit(np.array(rows), **given)
    return thing if found is None else found


def weight_name(fit: Callable) -> str | None:
    """Return the name of the option for weights; None if there is none."""
    return next((name for name in ("sample_weight", "weights") if name in parameters_of(fit)), None)


def lengths_of(thing: Any) -> tuple[str, ...]:
    """Return the options that may be lengths: bandwidths by name or, without any, floats but 0."""
    options = thing.get_params(deep=False) if has(thing, "get_params") else vars(thing)
    bandwidths = tuple(name for name in options if name in ("bandwidth", "bw", "bw_method"))
    numbers = [name for name, value in options.items() if isinstance(value, float) and value != 0]
    return bandwidths or tuple(name for name in numbers if name == name.strip("_"))


def parameters_of(function: Any) -> Mapping[str, Any]:
    """Return the parameters of a function; an empty dictionary if they are unknown."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def size_as(n: int, name: str) -> Any:
    """Return the number of samples as a parameter of that name takes it: a number, or a shape."""
    return (n,) if name.endswith("shape") else n


def by_number(draw: Callable) -> Callable:
    """Return a function of n, for one that takes n or, as torch's distributions, a shape."""
    name = next(iter(parameters_of(draw)), "")
    return lambda n: draw(size_as(n, name))


def sampler(thing: Any) -> Callable | None:
    """Return ``sample(rng, n)``; None if the object cannot sample."""
    found = [getattr(thing, name) for name in ("sample", "rvs", "simulate") if has(thing, name)]
    if not found or _refuses(draw := found[0]):
        return None
    named = parameters_of(draw)
    taken = next((name for name in ("rng", "random_state", "seed") if name in named), None)

    def sample(rng, n):
        seed = int(rng.integers(2**31))
        if taken is not None:
            found = draw(n, **{taken: rng if taken == "rng" else seed})
        elif hasattr(thing, "random_state"):
            seeded = copy.copy(thing)  # mixtures of scikit-learn sample by their own seed
            seeded.random_state = seed
            found = getattr(seeded, draw.__name__)(n)
        else:
            found = _with_global_seeds(by_number(draw), n, seed)
        labelled = isinstance(found, tuple)  # then rows come component by component
        found = as_numbers(found[0] if labelled else found)
        found = found[:, None] if found.ndim == 1 else found
        return rng.permutation(found) if labelled else found

    return sample


def _refuses(draw):
    """Check that sampling is not implemented, as for some kernels of scikit-learn."""
    try:
        draw(1)
    except NotImplementedError:
        return True
    except Exception:  # the check reports it
        return False
    return False


def _with_global_seeds(draw, n, seed):
    """Sample with NumPy's and torch's global generators, and restore their state."""
    state = np.random.get_state()  # noqa: NPY002 (the sampler's own)
    np.random.seed(seed)  # noqa: NPY002
    torch = sys.modules.get("torch")
    try:
        if torch is None:
            return draw(n)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return draw(n)
    finally:
        np.random.set_state(state)  # noqa: NPY002
