"""The rows of a posterior: samples, simulations and bounds as the user gives them."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nfref.diagnostics.chains import effective_size
from nfref.runtime.annotations import Any, Array, ArrayLike, Mapping, Sequence
from nfref.runtime.checks import as_array, as_weight, check_finite_rows, shortened
from nfref.tables.files.estimator_records import PosteriorRecord
from nfref.tables.reading.table import check_name
from nfref.tables.schema.columns import is_frame
from nfref.tables.schema.dataframes import frame_columns
from nfref.tables.schema.distinct_rows import effective_rows

# name -> (low, high), or a pair for each parameter; an end may be None.
Bounds: TypeAlias = Mapping[str, Any] | Sequence[Any] | Array | None

FEWEST = 50.0  # smallest effective size of samples


def named_rows(name: str, value: Any, names: Sequence[str] | None, letter: str) -> Any:
    """Return (names, rows (N, D)) of an array or a DataFrame of numbers.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : (N, D) array, (N,) array of one column, or DataFrame
    names : sequence of str or None
        Names of the columns; those of the DataFrame, or ``letter`` and a number, if None.
    letter : str
    """
    if is_frame(value):
        columns, _ = frame_columns(value)
        text = [column for column, values in columns.items() if values.dtype.kind == "O"]
        if text or not columns:
            raise TypeError(f"{name}: expected columns of numbers, got {shortened(text)}")
        found, rows = [*columns], np.stack([*columns.values()], axis=1).astype(np.float64)
    else:
        rows = real_array(name, value)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or not rows.shape[1]:
            raise ValueError(f"{name}: expected shape (N, D), got {rows.shape}")
        found = [f"{letter}{k + 1}" for k in range(rows.shape[1])]
    if names is not None:
        names = [names] if isinstance(names, str) else [*names]
        if len(names) != len(found) or not all(isinstance(one, str) for one in names):
            raise ValueError(f"names: expected {len(found)} of text, got {shortened(names)}")
        found = names
    for one in found:
        check_name("names", one)
        if found.count(one) > 1:
            raise ValueError(f"names: expected names that differ, got {one!r} twice")
    return found, rows


def real_array(name: str, value: Any) -> Array:
    """Return an array in float64; complex numbers are refused."""
    found = as_array(name, value)
    if found.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {found.dtype}")
    return found.astype(np.float64)


def supports_of(bounds: Bounds, names: Sequence[str]) -> dict[str, Any]:
    """Return name -> (low, high) of bounds: a mapping of names, or a pair for each parameter."""
    if bounds is None:
        bounds = {}
    if not isinstance(bounds, Mapping):
        pairs = np.asarray(bounds, object)
        if pairs.shape != (len(names), 2):
            raise ValueError(
                "bounds: expected a dictionary, name -> (low, high), or a pair for each of "
                f"{len(names)} parameters, got {shortened(bounds)}"
            )
        bounds = dict(zip(names, pairs.tolist()))
    unknown = [name for name in bounds if name not in names]
    if unknown:
        raise ValueError(
            f"bounds: expected names among {', '.join(names)}, got {shortened(unknown[0])}"
        )
    found = {}
    for name in names:
        low, high = _pair(name, bounds.get(name, (None, None)))
        found[name] = "real" if np.isinf(low) and np.isinf(high) else (low, high)
    return found


def _pair(name, value):
    """Return (low, high), with infinite ends in place of None."""
    try:
        low, high = value
        low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
    except (TypeError, ValueError):
        raise ValueError(
            f"bounds[{name!r}]: expected (low, high), got {shortened(value)}"
        ) from None
    if not low < high:
        raise ValueError(f"bounds[{name!r}]: expected low < high, got {low:g} and {high:g}")
    return low, high


def check_inside(name: str, rows: Array, names: Sequence[str], supports: Mapping[str, Any]) -> None:
    """Check that rows are strictly between the bounds."""
    for one, values in zip(names, rows.T):
        if supports[one] == "real":
            continue
        low, high = supports[one]
        out = np.flatnonzero(~((values > low) & (values < high)))
        if len(out):
            raise ValueError(
                f"{name}: expected {one!r} strictly between {low:g} and {high:g}, got "
                f"{values[out[0]]:g} in row {out[0]} and {len(out)} such rows in all"
            )


def record_of_samples(
    samples: ArrayLike, names: Sequence[str] | None, weights: Any
) -> tuple[list[str], PosteriorRecord]:
    """Return the names of the parameters, and the record of samples that are checked.

    The arguments are those of :meth:`nfref.Posterior.from_samples`. The rows of a chain are
    repeated as its weights say.
    """
    chains, shape = 1, getattr(samples, "shape", ())
    if len(shape) == 3:
        chains, steps = shape[:2]
        if steps < 4:
            raise ValueError(f"samples: expected at least 4 steps a chain, got {steps}")
        samples = np.asarray(samples).reshape(-1, shape[2])
    names, rows = named_rows("samples", samples, names, "theta")
    n, dim = rows.shape
    if n <= dim + 1:
        raise ValueError(f"samples: expected more than {dim + 1} of {dim} parameters, got {n}")
    check_finite_rows("samples", rows)
    if weights is not None:
        weights = as_weight("weights", np.ravel(real_array("weights", weights)), n)
    if weights is not None:
        whole = chains == 1 and np.all(weights == np.round(weights))
        times = weights.astype(np.int64) if whole else (weights > 0).astype(np.int64)
        rows = np.repeat(rows, times, axis=0)
        chains, weights = (1, None) if whole else (0, weights[weights > 0])
    effective = _effective(names, rows, weights, chains)
    return names, PosteriorRecord({}, rows, weights, chains, effective)


@dataclass(frozen=True)
class Simulations:
    """Parameters and simulated data, checked, without the simulations that failed.

    Attributes
    ----------
    names, observed_names : list of str
    theta, x : (N, D), (N, C) arrays
    failed : int
        How many had a number that is not finite.
    """

    names: list[str]
    theta: Array
    observed_names: list[str]
    x: Array
    failed: int

    @classmethod
    def of(cls, theta: ArrayLike, x: ArrayLike, names: Sequence[str] | None) -> "Simulations":
        """Return the simulations of :meth:`nfref.Posterior.from_simulations`."""
        names, theta = named_rows("theta", theta, names, "theta")
        observed_names, x = named_rows("x", x, None, "x")
        if len(theta) != len(x):
            raise ValueError(f"x: expected {len(theta):,} rows, as theta has, got {len(x):,}")
        both = [name for name in observed_names if name in names]
        if both:
            raise ValueError(f"x: expected other names than theta has, got {both[0]!r} in both")
        whole = np.all(np.isfinite(np.concatenate([theta, x], axis=1)), axis=1)
        if np.sum(whole) <= len(names) + 1:
            raise ValueError(
                f"theta: expected more than {len(names) + 1} simulations of {len(names)} "
                f"parameters, got {np.sum(whole)} of {len(whole)} that did not fail"
            )
        return cls(names, theta[whole], observed_names, x[whole], int(np.sum(~whole)))

    @property
    def seen(self) -> Array:
        """The lowest and highest value and the interquartile range of each column of x, (3, C)."""
        low, high = np.quantile(self.x, [0.25, 0.75], axis=0)
        return np.stack([np.min(self.x, axis=0), np.max(self.x, axis=0), high - low])


def _effective(names, rows, weights, chains):
    """Return the smallest effective size of a column, if it is large enough."""
    sizes = (
        effective_size(rows.reshape(chains, -1, rows.shape[1]))
        if chains
        else np.array([effective_rows(weights, len(rows))])
    )
    worst = int(np.argmin(sizes))
    if sizes[worst] < FEWEST:
        where = f" for {names[worst]!r}" if len(sizes) > 1 else ""
        raise ValueError(
            f"samples: expected an effective size of at least {FEWEST:.0f}, got "
            f"{sizes[worst]:.0f}{where} from {len(rows):,} samples"
        )
    return float(min(sizes[worst], len(rows)))
