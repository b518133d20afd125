"""Rows of an estimator: arrays and DataFrames, columns by name and by place."""

from typing import TypeAlias

import numpy as np
from sklearn.utils.validation import validate_data

from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import as_array, as_weight
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.scoring import stacked
from nfref.tables.schema.columns import DISCRETE, ColumnError, is_frame
from nfref.tables.schema.dataframes import frame_columns, like_frame, with_empty_column

Rows: TypeAlias = Any  # an array (N, D), or a DataFrame like the one that was fitted to


class EstimatorRows:
    """Convert an estimator's rows to columns' values, and back to rows like those fitted to."""

    columns: dict[str, Any] | None
    columns_: tuple
    density_: TableDensity

    def _first_table(self, X):
        """Return what :func:`find_columns` finds columns by.

        These are: names; columns' values; name -> support; names of whole numbers; name -> error of
        each column that a DataFrame cannot give as numbers or labels.
        """
        asked = dict(self.columns or {})
        refused: dict[str, ColumnError] = {}
        if is_frame(X):
            categories = [
                name
                for name, support in asked.items()
                if isinstance(support, str) and support == "category"
            ]
            found, whole = self._columns_of(X, categories, refused, reset=True)
            self._frame = X[:0]
            return list(found), list(found.values()), asked, whole, refused
        self._frame = None
        values = self._array_of(X, ensure_min_samples=2)
        names = [f"x{k + 1}" for k in range(values.shape[1])]
        whole = ()
        kind = getattr(getattr(X, "dtype", None), "kind", None)
        if kind == "b":
            values = values.astype(bool)
        elif kind in ("i", "u"):
            # An array has one type for all columns, which says little about each.
            whole, asked = names, {**dict.fromkeys(names), **asked}
        return names, list(values.T), asked, whole, refused

    def _table(self, X, asked=None):
        """Return a list of columns' values: a DataFrame by names, an array by places.

        A DataFrame may lack the column ``asked``.
        """
        if is_frame(X):
            if asked is not None:
                X = with_empty_column(X, asked, [column.name for column in self.columns_])
            found, _ = self._columns_of(
                X, [column.name for column in self.columns_ if column.kind == "category"]
            )
            return list(found.values())
        return list((X if self._is_plain(X) else self._array_of(X, reset=False)).T)

    def _is_plain(self, X):
        """Return whether scikit-learn would return X itself; to ask it takes a tenth of a ms."""
        return (
            type(X) is np.ndarray
            and X.dtype == np.float64
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
            and not np.isinf(X).any()
        )

    def _columns_of(self, X, categories, refused=None, reset=False):
        """Return :func:`frame_columns` of a DataFrame with the columns that were fitted to."""
        _validated(self, X, reset=reset, skip_check_array=True)
        found, whole = frame_columns(X, categories, refused)
        if not found or not len(next(iter(found.values()))):
            raise ValueError(
                "X: expected at least one row and one column, got a table "
                f"without {'rows' if found else 'columns'}"
            )
        if reset and len(X) < 2:
            raise ValueError("X: expected at least 2 rows, got 1")
        return found, whole

    def _array_of(self, X, **options):
        """Return an array of numbers, by scikit-learn's rules."""
        kind = getattr(getattr(X, "dtype", None), "kind", None)
        if kind in ("m", "M"):
            raise TypeError(
                f"X: expected numbers, got dtype {X.dtype}; (X - X.min()) / "
                "numpy.timedelta64(1, 's') makes numbers of them"
            )
        if kind == "O" and any(
            isinstance(cell, (np.datetime64, np.timedelta64)) for cell in np.ravel(X)
        ):  # float() takes them, in any unit
            raise TypeError(
                "X: expected numbers, got dates or durations among dtype object; a "
                "DataFrame says which column they are"
            )
        if isinstance(X, np.ma.MaskedArray):
            X = np.ma.filled(X.astype(np.float64), np.nan)
        return _validated(self, X, dtype=np.float64, ensure_all_finite="allow-nan", **options)

    def _like_data(self, columns, rows=None):
        """Return columns' values as an array or a DataFrame, whichever was fitted to.

        A DataFrame of pandas gets the index of ``rows``.
        """
        if self._frame is None:
            return stacked(columns)
        made = like_frame(
            self._frame,
            {column.name: values for column, values in zip(self.columns_, columns)},
            [column.name for column in self.columns_ if column.kind in DISCRETE],
        )
        if isinstance(rows, type(made)) and hasattr(made, "index"):
            made.index = rows.index
        return made


def _validated(estimator, X, **options):
    """Validate X by scikit-learn; an error becomes one line, without the array."""
    try:
        return validate_data(estimator, X, **options)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        lines = str(error).splitlines()
        advice = [
            line if line.startswith("Reshape") else line[:60]
            for line in lines[1:]
            if line.startswith(("Reshape", "Feature names", "- "))
        ]
        text = "; ".join([lines[0].removesuffix(" instead:"), *advice])
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(text if "X" in text else f"X: {text}") from None


def weight_of(value: Any, rows: int) -> Array | None:
    """Return the weight of each row; a single number is the weight of all."""
    if value is None:
        return None
    value = as_array("sample_weight", value)
    return as_weight("sample_weight", value if value.ndim else np.full(rows, value), rows)
