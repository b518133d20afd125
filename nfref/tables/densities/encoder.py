"""The rows of a table as numbers: codes of discrete columns, and u of continuous ones.

:class:`~nfref.tables.densities.table_density.TableDensity` describes codes and u. Given columns
have codes too. :func:`features` turns codes into the context of a pool.
"""

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.schema.columns import Category, Column, ColumnError, Continuous, alike, as_numbers

FEW_ROWS = 256  # up to which columns with the same kind of map are encoded together


def places_of(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple[list[int], list[int]]:
    """Return (places of the columns with codes, places of the columns of the pool)."""
    real = [k for k, column in enumerate(columns) if isinstance(column, Continuous)]
    pooled = [k for k in real if columns[k].name not in given]
    return (
        [k for k in range(len(columns)) if k not in real]
        + [k for k in pooled if columns[k].atoms]
        + [k for k in real if k not in pooled],
        pooled,
    )


def coded_columns(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple:
    """Return the columns of the codes: discrete ones, those with atoms, then real given ones."""
    coded, pooled = places_of(columns, given)
    return tuple(columns[k].codes if k in pooled else columns[k] for k in coded)


class Encoder:
    """Encodes tables with certain columns.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
    given : sequence of str
        Names of the given columns.
    """

    def __init__(self, columns: Sequence[Column], given: Sequence[str] = ()) -> None:
        self.columns, self.given = columns, given
        self.places = places_of(columns, given)
        self.alike = alike(columns, self.places[1])

    def __call__(self, table: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Return (codes (N, J), u (N, D), log-slope (N,)) of a sequence of columns' values.

        The codes are those of :func:`coded_columns`, u the other columns in robust units.
        """
        rows, (coded, pooled) = len(table[0]), self.places
        total, codes, u = np.zeros(rows), {}, {}
        together = self._together(table) if rows <= FEW_ROWS else {}
        for k, (column, values) in enumerate(zip(self.columns, table)):
            if k in together:
                u[k], log_slope = together[k]
                total = total + log_slope
                continue
            if column.kind != "category":
                values = as_numbers(column.name, values)
            if not isinstance(column, Continuous):
                codes[k] = column.encode(values).astype(np.float64)
                bad = np.isnan(codes[k])
            else:
                u[k], log_slope = column.encode(values)
                bad = log_slope == -np.inf
                if k in pooled:
                    total = total + log_slope
                    codes[k] = column.code(values)
                else:
                    codes[k] = u[k]
            if column.name in self.given and np.any(bad):
                check_can_be_given(column, values)
        stacked = [
            np.stack([found[k] for k in some], axis=1) if some else np.zeros((rows, 0))
            for found, some in ((codes, coded), (u, pooled))
        ]
        return stacked[0], stacked[1], total

    def _together(self, table):
        """Return place -> (u, log-slope) of columns that are encoded by a call for each group.

        It is empty if one of them does not hold finite floats: then :meth:`__call__` encodes column
        by column, and the message is about the first column with a fault.
        """
        found: dict[int, tuple[Array, Array]] = {}
        for places, column in self.alike:
            some = [np.asarray(table[k]) for k in places]
            if any(values.dtype.kind != "f" for values in some):
                return {}
            x = np.array(some, np.float64)
            if not np.isfinite(x).all():
                return {}
            found.update(zip(places, zip(*column.encode(x))))
        return found


def check_can_be_given(column: Column, values: Array, first: int = 0) -> None:
    """Check that a column can take its given values, NaN excepted.

    ``first`` is the number of the first row in messages. Labels are checked where they are encoded.
    """
    if isinstance(column, Category):
        return
    values = np.asarray(values, np.float64)
    if isinstance(column, Continuous):
        bad = column.encode(values)[1] == -np.inf
        expected = f"values strictly between {column.low:g} and {column.high:g}"
    else:
        bad = np.isnan(column.encode(values))
        expected = f"whole numbers{column.bounds}"
    bad = np.flatnonzero(bad & ~np.isnan(values))
    if len(bad):
        raise ColumnError(
            column.name,
            f"expected {expected}, for the others are given it; got "
            f"{values[bad[0]]:g} in row {bad[0] + first}",
        )


# Context ----------------------------------------------------------------------------------


def features(columns: Sequence[Column], codes: Array, centre: Any, scale: Any) -> Array:
    """Return codes (N, J) as features for a network, (N, C)."""
    found = []
    for k, column in enumerate(columns):
        if isinstance(column, Continuous):
            found.append(codes[:, k, None])
        elif isinstance(column, Category):
            found.append(codes[:, k, None] == np.arange(len(column.labels)))
        else:
            found.append(np.clip((codes[:, k, None] - centre[k]) / scale[k], -5, 5))
    return np.concatenate(found, axis=1).astype(np.float64)


def feature_count(columns: Sequence[Column]) -> int:
    """Return C, the number of :func:`features` of the columns."""
    return sum(len(column.labels) if isinstance(column, Category) else 1 for column in columns)
