"""One column given the others, as estimators of scikit-learn answer."""

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import check_count
from nfref.tables.estimators.validation import EstimatorRows
from nfref.tables.queries import missing_cells, quantiles


def _has_labels(estimator):
    """Whether a fitted estimator knows a category, so that there are probabilities to tell."""
    check_is_fitted(estimator)
    return any(column.kind == "category" for column in estimator.columns_)


class Predictions(EstimatorRows):
    """What an estimator whose ``density_`` is fitted says of a column given the others."""

    def predict(self, X: Array, column: str | None = None) -> Array:
        """One column given the other cells of every row: the mean of numbers, the likeliest label.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            What stands in the column itself does not matter, and a DataFrame may lack it; cells
            that are missing (NaN, None) are not known.
        column : str, optional
            Its name; of arrays "x1", "x2", ... None is the last column that is not given.

        Returns
        -------
        (N,) array
            Tails beyond 1 in 2,000 on either side count as if they ended there: the pool's wide
            member has no mean.
        """
        column, table = self._asked(X, column)
        if column.kind == "category":
            found = quantiles.label_probabilities(self.density_, table, column.name)
            return column.decode(np.argmax(found, axis=1))
        return quantiles.predictions(self.density_, table, column.name, ())[0]

    @available_if(_has_labels)
    def predict_proba(self, X: Array, column: str | None = None) -> Array:
        """P(label) of a category given the other cells of every row.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            See :meth:`predict`.
        column : str, optional

        Returns
        -------
        (N, L) array
            In the order of the column's ``labels`` in ``columns_``.
        """
        column, table = self._asked(X, column)
        if column.kind != "category":
            raise ValueError(
                f"column: expected a category, got {column.name!r}, which holds "
                "numbers (predict_quantiles tells their law)"
            )
        return quantiles.label_probabilities(self.density_, table, column.name)

    def predict_quantiles(
        self,
        X: Array,
        column: str | None = None,
        levels: Sequence[float] = (0.05, 0.5, 0.95),
        draws: int = 1000,
        return_error: bool = False,
    ) -> Any:
        """Quantiles of a column given the other cells of every row.

        Two of them are a prediction interval: 0.05 and 0.95 hold nine values of ten.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            See :meth:`predict`.
        column : str, optional
            A column of numbers.
        levels : sequence of float, default (0.05, 0.5, 0.95)
            Each above 0 and below 1.
        draws : int, default 1000
            For each row of which other cells are missing too; the same for all, so that quantiles
            change smoothly with what is given.
        return_error : bool, default False
            Return also how far the probabilities below the quantiles may be from the levels.

        Returns
        -------
        (N, len(levels)) array
            In the units of the data, and like what is drawn points of a lattice, if there is one.
        error : (N,) array
            A bound where the density was followed along the column on a grid, a standard error
            where other cells were drawn, 0 where it is exact. Only if asked for.

        Raises
        ------
        ValueError
            If there is no such column, or it holds categories; if a level does not fit.
        """
        column, table = self._asked(X, column)
        levels = np.asarray(levels, np.float64)
        if levels.ndim != 1 or not np.all((levels > 0) & (levels < 1)):
            raise ValueError(f"levels: expected numbers above 0 and below 1, got {levels}")
        _, found, error = quantiles.predictions(
            self.density_, table, column.name, levels.tolist(), check_count("draws", draws, 2)
        )
        return (found, error) if return_error else found

    def quantile(
        self, X: Array, column: str, levels: Sequence[float] = (0.05, 0.5, 0.95), draws: int = 1000
    ) -> Array:
        """The same as :meth:`predict_quantiles`, of a column that is named."""
        return self.predict_quantiles(X, column, levels, draws)

    def _asked(self, X, name):
        """(the column of that name, the table)."""
        check_is_fitted(self)
        names = [column.name for column in self.columns_]
        if name is None:
            name = [name for name in names if name not in self.density_.given][-1]
        missing_cells.check_known("column", [name], names)
        _, table = self._table(X, name)
        return self.columns_[names.index(name)], table

    def distribution(self, X: Array, column: str, draws: int = 1000) -> Array:
        """P(column <= its value) given the other cells of every row: uniform where the density is
        right.

        Parameters
        ----------
        X : (N, D) array or DataFrame
        column : str
            The name of a column of numbers.
        draws : int, default 1000
            For each row.

        Returns
        -------
        (N,) array
        """
        check_is_fitted(self)
        _, table = self._table(X)
        return quantiles.distribution(self.density_, table, column, check_count("draws", draws, 2))
