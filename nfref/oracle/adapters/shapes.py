"""Common parts of the adapters: log-determinants, libraries of arrays, shapes of events."""

import math
from dataclasses import dataclass
from functools import partial, update_wrapper

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Sequence

BY_NAME: dict[str, Any] = {}  # prefix of a class's full name, and its adapter


def summed(log_det: Any) -> Any:
    """Return one number a row; sum the derivatives of a transform of single numbers."""
    return log_det.sum(-1) if getattr(log_det, "ndim", 0) == 2 else log_det


def for_all_rows(log_det: Any, rows: Array) -> Any:
    """Return one number a row, for a library that gives one number for all rows.

    Maps of constant Jacobian may do so; use this only if the library documents it. The dtype does
    not change, because a check judges it.
    """
    if not hasattr(log_det, "ndim"):
        if hasattr(rows, "new_full"):  # torch
            return rows.new_full((len(rows),), log_det)
        import jax

        return jax.numpy.full(len(rows), log_det, rows.dtype)
    if log_det.ndim == 0 or (log_det.ndim == 1 and len(log_det) == 1 != len(rows)):
        if hasattr(log_det, "expand"):  # torch
            return log_det.reshape(1).expand(len(rows))
        return log_det.reshape(1).repeat(len(rows))  # JAX
    return log_det


def row_by_row(act: Callable, sums: bool = True) -> Callable:
    """Return a map rows -> (values, log_det): one a row, the sum over columns if ``sums``."""

    def run(rows, *context):
        values, log_det = act(rows, *context)
        return values, for_all_rows(summed(log_det) if sums else log_det, rows)

    return run


def transformed(transform: Any, rows: Any) -> Any:
    """Return (values, log_det) by the methods of a transform of torch, Pyro, zuko or NumPyro."""
    if hasattr(transform, "call_and_ladj"):
        return transform.call_and_ladj(rows)
    values = transform(rows)
    return values, transform.log_abs_det_jacobian(rows, values)


def of_rows(distribution: Any, sample: Callable) -> tuple[Callable, Callable]:
    """Return (log_prob, draw) of a distribution, whose single numbers become rows of one column."""
    width = len(distribution.event_shape)

    def log_prob(x):
        return distribution.log_prob(x if width else x[:, 0])

    def draw(*given):
        x = sample(*given)
        return x if width or x.ndim == 2 else x[:, None]

    return log_prob, draw


@dataclass(frozen=True)
class ArrayLibrary:
    """A library of arrays with derivatives, by functions that take its objects and arrays.

    ``options`` are (padded, dtype) of :func:`nfref.oracle.adapters.jax_arrays.jax_function`.
    """

    in_dtype: Callable  # (object, dtype, train) -> a copy that computes in the dtype
    function: Callable  # (function of its arrays, *options) -> function of NumPy's arrays
    row_gradient: Callable  # the same -> its derivatives by rows and context
    sampler: Callable  # (draw, dtype) -> sample(rng, n)

    def flow(
        self, forward: Any, inverse: Any = None, context: Array | None = None, *options: Any
    ) -> dict[str, Any]:
        """Return arguments of ``check_flow`` from functions of its arrays -> (values, log_det)."""
        found: dict[str, Any] = {}
        gradients = []
        for name, function in (("forward", forward), ("inverse", inverse)):
            gradients.append(None)
            if function is not None:
                found[name] = self.function(function, *options)
                gradients[-1] = self.row_gradient(partial(_log_det, function), *options)
        found["gradient"] = tuple(gradients)
        return found if context is None else {**found, "context": np.asarray(context)}

    def density(
        self, log_prob: Callable, draw: Any, context: Array | None = None, *options: Any
    ) -> dict[str, Any]:
        """Return arguments of ``check_density`` from functions of its arrays."""
        found = {
            "log_prob": self.function(log_prob, *options),
            "sample": None if draw is None else self.sampler(draw, *options[1:]),
            "gradient": self.row_gradient(log_prob, *options),
        }
        return found if context is None else {**found, "context": np.asarray(context)}

    def adapter(
        self, *names: str, density: bool = False, conditional: bool = False, documented: Any = None
    ) -> Callable:
        """Return a decorator that turns a description of a library's objects into their adapter.

        ``names`` are prefixes of the full names of their classes. The description takes an object
        and returns functions of arrays, (log_prob, draw) of a ``density``, else (forward, inverse),
        which take rows of a context if ``conditional``. ``documented`` takes an object and returns
        domains or an accuracy, as its library documents them; those of a caller go first. The
        adapter carries the description's text.
        """

        def adapted(functions):
            def adapt(
                thing: Any,
                dtype: DTypeLike = np.float64,
                context: Array | None = None,
                train: bool = False,
                padded: bool = True,
            ) -> dict[str, Any]:
                made = functions(self.in_dtype(thing, dtype, train and not density))
                arguments = (self.density if density else self.flow)(*made, context, padded, dtype)
                arguments |= note_of_mode(thing, train and not density)
                return {**arguments, "own": documented(thing)} if documented else arguments

            made: Any = update_wrapper(adapt, functions, ("__module__", "__name__", "__doc__"))
            made.library, made.conditional = self, conditional
            BY_NAME.update(dict.fromkeys(names, made))
            return made

        return adapted


def note_of_mode(thing: Any, train: bool) -> dict[str, str]:
    """Return the ``note`` of a check of a module whose copy leaves training mode, if it does."""
    if train or getattr(thing, "training", False) is not True:
        return {}
    words = "checked in evaluation mode; the object itself is in training mode, where dropout and "
    return {"note": f"{words}batch statistics may make it another map"}


def _log_det(function, *given):
    return function(*given)[1]


def cast_attributes(thing: Any, cast: Callable, libraries: Sequence[str], seen: set[int]) -> None:
    """Apply ``cast`` to arrays in attributes of an object and of its parts."""
    if id(thing) in seen or not hasattr(thing, "__dict__"):
        return
    seen.add(id(thing))
    for name, value in list(vars(thing).items()):
        found = cast(value)
        if found is not value:
            vars(thing)[name] = found
        elif isinstance(value, (list, tuple)):
            for part in value:
                cast_attributes(part, cast, libraries, seen)
        elif type(value).__module__.split(".")[0] in libraries:
            cast_attributes(value, cast, libraries, seen)


def with_event_shape(functions: dict[str, Any], event_shape: Any) -> dict[str, Any]:
    """Return functions of ``(N, *event_shape)``, such as images, as functions of rows (N, D).

    ``functions`` are arguments of ``check_flow`` or ``check_density``. ``event_shape`` is the shape
    of the data x; a pair gives the shape of the latent z first. If z has another shape than x
    (squeezing, downsampling) and you give one shape, one call of ``inverse`` finds the other.
    """
    latent_shape, event_shape = event_shapes(functions, event_shape)
    size = math.prod(event_shape)

    def to_rows(values):
        shape = getattr(values, "shape", None)
        if shape is not None and len(shape) > 1 and math.prod(shape[1:]) == size:
            return values.reshape(len(values), size)
        return values

    def given(function, shape):
        def call(rows, *context):
            answer = function(rows.reshape(len(rows), *shape), *context)
            if isinstance(answer, (tuple, list)):
                return (to_rows(answer[0]), *answer[1:])
            return to_rows(answer)

        return None if function is None else call

    shaped = dict(functions)
    shapes = {"forward": latent_shape, "inverse": event_shape, "log_prob": event_shape}
    for name in set(shapes) & set(functions):
        shaped[name] = given(functions[name], shapes[name])
    if shaped.get("sample") is not None:
        shaped["sample"] = lambda rng, n, *context: to_rows(functions["sample"](rng, n, *context))
    if isinstance(shaped.get("gradient"), tuple):
        shaped["gradient"] = tuple(map(given, functions["gradient"], (latent_shape, event_shape)))
    elif "gradient" in shaped:
        shaped["gradient"] = given(functions["gradient"], event_shape)
    if shaped.get("twin"):
        shaped["twin"] = with_event_shape(functions["twin"], (latent_shape, event_shape))
    return shaped


def event_shapes(functions: dict[str, Any], event_shape: Any) -> tuple[tuple, tuple]:
    """Return the shapes of one latent and one event from those of :func:`with_event_shape`."""
    event_shape = tuple(event_shape)
    if event_shape and isinstance(event_shape[0], (tuple, list)):
        latent_shape, event_shape = map(tuple, event_shape)
        return latent_shape, event_shape
    if functions.get("inverse") is None:
        return event_shape, event_shape
    # Inside of every usual domain, and no two alike, for layers that depend on their first batch.
    rows = np.random.default_rng(0).uniform(0.25, 0.75, (32, *event_shape))
    context = functions.get("context")
    given = [] if context is None else [np.resize(context, (32, np.shape(context)[1]))]
    for dtype in (np.float64, np.float32):
        try:
            answer = functions["inverse"](*(array.astype(dtype) for array in (rows, *given)))
            found = np.shape(answer[0] if isinstance(answer, (tuple, list)) else answer)[1:]
        except Exception:
            continue  # the check reports the failure
        if math.prod(found) == math.prod(event_shape):
            return found, event_shape
    return event_shape, event_shape
