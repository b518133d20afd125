"""Checks of arguments: once, where a user's call enters, and nowhere else.

Every message is one line: the argument's name, the expected value and the given value.
"""

import numbers
from functools import partial

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Iterable
from nfref.runtime.autograd_internals import Box, getval

FLOATS = np.dtype(np.float32), np.dtype(np.float64)  # in the byte order of this machine
LARGEST_EXPONENT = 400  # of a weight: sums of squares stay finite


def plural(noun: str, number: int) -> str:
    """Return the noun for a message, with an s unless the number is 1."""
    return noun if number == 1 else f"{noun}s"


def as_array(name: str, value: Any) -> Array:
    """Return a float array in C order; float32 and complex stay, other numbers become float64.

    One memory order means one order of additions in BLAS. So the same rows give the same bits
    for any layout of the caller's array. Values traced by autograd pass through unchanged.
    """
    if isinstance(value, Box):
        return value
    if type(value) is np.ndarray and value.dtype in FLOATS and value.flags.c_contiguous:
        return value  # early, for calls with one row
    if np.ma.is_masked(value):
        raise TypeError(
            f"{name}: expected numbers, got a masked array with "
            f"{np.ma.count_masked(value)} masked ones"
        )
    try:
        array = np.asarray(value, order="C")
    except RuntimeError as error:  # a tensor that requires gradients
        raise TypeError(f"{name}: expected numbers, got {one_line(error)}") from None
    except ValueError:
        raise ValueError(f"{name}: expected an array, got rows of different lengths") from None
    if array.dtype.kind not in "buifcO":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    if array.dtype.kind == "O" and any(number is None for number in array.flat):
        raise TypeError(f"{name}: expected numbers, got None")
    if array.dtype.char in "fdFD":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(
            f"{name}: expected numbers that float64 can hold, got larger ones"
        ) from None
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: expected numbers, got dtype {array.dtype} with {_first_non_number(array)}"
        ) from None


def _first_non_number(array):
    """Return the first object of an array that is no number, for a message."""
    for value in array.flat:
        try:
            float(value)
        except (TypeError, ValueError):
            return shortened(value)
    return "a sequence"


def as_rows(name: str, value: Any, dim: int) -> Array:
    """Return an (N, ``dim``) float array."""
    if isinstance(value, dict) or (
        isinstance(value, (list, tuple)) and any(isinstance(one, dict) for one in value)
    ):
        raise TypeError(
            f"{name}: expected rows, got a {type(value).__name__} of parameters; parameters come "
            f"first, as in log_prob(params, {name})"
        )
    rows = as_array(name, value)
    if rows.ndim != 2 or rows.shape[1] != dim:
        advice = ""
        if rows.ndim == 1 and dim in (1, len(rows)):
            advice = (
                f"; one row is {name}[None]"
                if dim == len(rows)
                else f"; a column is {name}[:, None]"
            )
        raise ValueError(f"{name}: expected shape (N, {dim}), got {rows.shape}{advice}")
    return rows


def as_context(context: Any, context_dim: int, rows: Array, name: str = "context") -> Array | None:
    """Return the context as an (N, ``context_dim``) array in the dtype of ``rows``, or None."""
    if context_dim == 0:
        if context is not None:
            raise ValueError(
                f"{name}: expected None for a flow with context_dim 0, "
                f"got shape {np.shape(context)}"
            )
        return None
    expected = f"{name}: expected shape ({len(rows)}, {context_dim})"
    if context is None:
        raise ValueError(f"{expected}, got None")
    context = as_array(name, context)
    if context.shape != (len(rows), context_dim):
        raise ValueError(f"{expected}, got {context.shape}")
    dtype = np.finfo(rows.dtype).dtype
    return context if context.dtype == dtype else context.astype(dtype)


def check_finite_rows(name: str, rows: Array) -> Array:
    """Return the rows themselves if every number in them is finite."""
    bad = np.flatnonzero(~np.all(np.isfinite(rows), axis=1))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite numbers, got {len(bad)} "
            f"{plural('row', len(bad))} with NaN or infinity, "
            f"the first is row {bad[0]}"
        )
    return rows


def check_whole(name: str, rows: Array, levels: int | None = None) -> Array:
    """Return plain rows of whole numbers, from 0 to ``levels`` - 1 if levels are given."""
    plain = getval(rows)
    bad = plain != np.rint(plain)
    expected = "whole numbers"
    if levels is not None:
        bad = bad | ~((plain >= 0) & (plain < levels))
        expected = f"whole numbers from 0 to {levels - 1}"
    if bad.any():
        row = np.flatnonzero(bad.any(axis=1))[0]
        raise ValueError(f"{name}: expected {expected}, got {plain[bad][0]} in row {row}")
    return plain


def as_weight(name: str, value: Any, n: int, first: int = 0) -> Array | None:
    """Return the weights of ``n`` rows, (n,) in float64, at least 0 and not all 0; or None.

    Weights whose sum or squares would overflow or vanish are multiplied by a power of two, which
    keeps their ratios. Messages count rows from ``first``.
    """
    if value is None:
        return None
    weight = as_array(name, value)
    if weight.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), one a row; got {weight.shape}")
    if weight.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {weight.dtype}")
    weight = weight.astype(np.float64, copy=False)
    check_weights(name, weight, first)
    if not np.any(weight > 0):
        raise ValueError(f"{name}: expected one above 0, got zero in each of {n} rows")
    exponent = np.frexp(np.max(weight))[1]
    return np.ldexp(weight, -exponent) if abs(exponent) > LARGEST_EXPONENT else weight


def check_weights(name: str, weight: Array, first: int = 0) -> None:
    """Check that row weights (N,) are finite and at least 0; messages count rows from ``first``."""
    bad = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite numbers of at least 0, got {weight[bad[0]]:g} "
            f"in row {bad[0] + first}"
        )


def check_rng(rng: Any) -> np.random.Generator:
    """Return the generator itself; raise a TypeError for anything else."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng: expected a numpy.random.Generator (numpy.random.default_rng(seed)), "
            f"got {type(rng).__name__}"
        )
    return rng


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """Return a whole number, which must be at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected a whole number, got {shortened(value)}")
    if int(value) < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {value}")
    return int(value)


def at_least(minimum: int) -> Callable[[str, Any], int]:
    """Return :func:`check_count` with a minimum, as a function of name and value."""
    return partial(check_count, minimum=minimum)


def check_positive(name: str, value: Any, below: float = np.inf) -> float:
    """Return a finite number, which must be above zero and below ``below``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {shortened(value)}")
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError(f"{name}: expected a finite number above 0, got {value}")
    if number >= below:
        raise ValueError(f"{name}: expected a number below {below:.4g}, got {value}")
    return number


def positive_below(limit: float) -> Callable[[str, Any], float]:
    """Return :func:`check_positive` with a limit, as a function of name and value."""
    return partial(check_positive, below=limit)


def check_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return the value itself, which must be callable."""
    if not callable(value):
        raise TypeError(f"{name}: expected a callable, got {type(value).__name__}")
    return value


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Return the value itself, which must be one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}; got {shortened(value)}")
    return value


def one_of(choices: Iterable[Any]) -> Callable[[str, Any], Any]:
    """Return :func:`check_choice` among ``choices``, as a function of name and value."""
    return partial(check_choice, choices=choices)


def as_tuple(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values as a tuple."""
    return tuple(values)


def check_hidden(name: str, hidden: Any) -> tuple[int, ...]:
    """Return hidden layer widths as a tuple of whole numbers of at least 1."""
    widths = (hidden,) if isinstance(hidden, numbers.Integral) else tuple(hidden)
    return tuple(check_count(name, width) for width in widths)


def check_columns(name: str, columns: Iterable[Any], dim: int) -> tuple[int, ...]:
    """Return distinct columns among 0 ... ``dim``-1, maybe none, as a tuple in rising order."""
    columns = tuple(columns)
    whole = all(isinstance(one, numbers.Integral) and 0 <= int(one) < dim for one in columns)
    if not whole or len(set(columns)) < len(columns):
        raise ValueError(f"{name}: expected different columns of 0 ... {dim - 1}, got {columns}")
    return tuple(sorted(int(column) for column in columns))


def check_permutation(name: str, order: Iterable[Any], dim: int | None = None) -> tuple[int, ...]:
    """Return a permutation of 0 ... ``dim``-1 as a tuple; ``dim`` is its length if omitted."""
    order = tuple(order)
    dim = len(order) if dim is None else dim
    whole = all(isinstance(place, numbers.Integral) for place in order)
    if dim < 1 or not whole or sorted(order) != list(range(dim)):
        expected = f"0 ... {dim - 1}" if dim > 1 else "0" if dim else "0 ... D-1, D at least 1"
        raise ValueError(f"{name}: expected a permutation of {expected}, got {order}")
    return tuple(int(place) for place in order)


def check_image_shape(name: str, shape: Iterable[Any]) -> tuple[int, int, int]:
    """Return channels, height and width of an image as whole numbers of at least 1."""
    try:
        sizes = tuple(shape)
    except TypeError:
        raise TypeError(f"{name}: expected (channels, height, width), got {shape!r}") from None
    if len(sizes) != 3:
        raise ValueError(f"{name}: expected (channels, height, width), got {sizes}")
    channels, height, width = (check_count(name, size) for size in sizes)
    return channels, height, width


def check_floats(name: str, value: Any, *shape: int | None) -> None:
    """Check that a value is an array of finite floats of that shape; None allows any length."""
    expected = ", ".join("any" if size is None else str(size) for size in shape)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise ValueError(f"{name}: expected an array of floats, got {shortened(value)}")
    if value.ndim != len(shape) or any(
        size not in (None, length) for size, length in zip(shape, value.shape)
    ):
        raise ValueError(f"{name}: expected shape ({expected}), got {value.shape}")
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name}: expected finite numbers, got {value[~np.isfinite(value)][0]}")


def check_log_shares(name: str, value: Any, *shape: int | None) -> None:
    """Check an array of logarithms of shares, which add up to 1 along the last axis."""
    check_floats(name, value, *shape)
    if not np.all(np.abs(np.logaddexp.reduce(value, axis=-1)) < 1e-6):
        raise ValueError(f"{name}: expected logarithms of numbers with sum 1, got others")


def require(fine: Any, message: str) -> None:
    """Raise a ValueError with the message unless ``fine`` is true."""
    if not fine:
        raise ValueError(message)


def one_line(error: object, length: int = 300) -> str:
    """Return an error's message as one line of at most ``length`` characters."""
    text = " ".join(f"{error}".split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 3] + "..."


def shortened(value: Any, length: int = 60) -> str:
    """Return the start of a value's repr, in one line."""
    text = " ".join(line.strip() for line in repr(value).splitlines())
    return text if len(text) <= length else text[: length - 3] + "..."
