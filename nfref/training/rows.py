"""Rows for training and validation, with their context and weights."""

import numbers
from typing import NamedTuple

import numpy as np

from nfref.density import Density
from nfref.runtime.annotations import Any, Array, Generator, Places
from nfref.runtime.checks import as_context, as_rows, as_weight, check_finite_rows, plural


class Rows(NamedTuple):
    """Rows (N, D) with their context (N, C) and weight (N,), which may be None."""

    x: Any  # an array
    context: Array | None = None
    weight: Array | None = None

    def at(self, places: Places) -> "Rows":
        """Return some of the rows."""
        return Rows(*(None if array is None else array[places] for array in self))


def training_and_validation(
    density: Density,
    rows: Rows,
    validation: Any,
    validation_context: Array | None,
    validation_weight: Array | None,
    rng: Generator,
) -> tuple[Rows, Rows | None]:
    """Return training and validation rows, checked, in the dtype of x; the second may be None."""
    rows = _checked_rows(density, ("x", "context", "sample_weight"), rows)
    if validation is None or np.ndim(validation) == 0:
        for name, given in (
            ("validation_context", validation_context),
            ("validation_weight", validation_weight),
        ):
            if given is not None:
                raise ValueError(
                    f"{name}: expected None unless validation is an array of rows, "
                    f"got shape {np.shape(given)}"
                )
    if validation is None:
        return _balanced(rows), None
    if np.ndim(validation):
        held_out = _checked_rows(
            density,
            ("validation", "validation_context", "validation_weight"),
            Rows(validation, validation_context, validation_weight),
        )
        cast = (
            None if array is None else array.astype(rows.x.dtype, copy=False)
            for array in held_out[:2]
        )
        return _balanced(rows), Rows(*cast, held_out.weight)
    if not isinstance(validation, numbers.Real) or not 0 < float(validation) < 1:
        raise ValueError(
            f"validation: expected a fraction in (0, 1), rows or None, got {validation!r}"
        )
    count = max(1, round(float(validation) * len(rows.x)))
    if count >= len(rows.x):
        raise ValueError(
            f"x: expected enough rows to hold out {validation} of them, got {len(rows.x)}"
        )
    order = rng.permutation(len(rows.x))
    return _balanced(rows.at(np.sort(order[count:]))), rows.at(np.sort(order[:count]))


def _balanced(rows):
    """Return the rows with weights of mean 1, in their dtype."""
    if rows.weight is None:
        return rows
    return rows._replace(weight=(rows.weight / np.mean(rows.weight)).astype(rows.x.dtype))


def real_rows(name: str, x: Any, dim: int, least: int = 1) -> Array:
    """Return an (N, ``dim``) array of finite real numbers, with N of at least ``least``."""
    rows = as_rows(name, x, dim)
    if rows.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {rows.dtype}")
    if len(rows) < least:
        raise ValueError(
            f"{name}: expected at least {least} {plural('row', least)}, got {len(rows)}"
        )
    return check_finite_rows(name, rows)


def _checked_rows(density, names, given):
    name, context_name, weight_name = names
    rows = real_rows(name, given.x, density.dim)
    context = as_context(given.context, density.context_dim, rows, context_name)
    if context is not None:
        check_finite_rows(context_name, context)
    rows = Rows(rows, context, as_weight(weight_name, given.weight, len(rows)))
    return rows if rows.weight is None else rows.at(rows.weight > 0)
