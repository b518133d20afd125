"""Predict one column from the others, in the manner of scikit-learn's estimators."""

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from nfref.runtime.annotations import Array, ArrayLike, Sequence
from nfref.runtime.checks import check_count
from nfref.tables.estimators.validation import EstimatorRows
from nfref.tables.queries import answers
from nfref.tables.queries.known_cells import check_known


def _has_labels(estimator):
    """Return whether a fitted estimator has a category to predict."""
    check_is_fitted(estimator)
    return any(column.kind == "category" for column in estimator.columns_)


class Predictions(EstimatorRows):
    """Predictions of an estimator whose ``density_`` is fitted."""

    def predict(self, X: ArrayLike, column: str | None = None) -> Array:
        """Predict a column from the others: the mean of numbers, or the likeliest label.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            Values of the column itself are ignored, and a DataFrame may lack it; missing cells
            (NaN, None) are unknown.
        column : str, optional
            Its name; columns of arrays are "x1", "x2", ... None is the last column that is not
            given.

        Returns
        -------
        (N,) array
            Tails beyond 1 in 2,000 on either side count as if they ended there: the pool's wide
            member has no mean.
        """
        column, table = self._asked(X, column)
        if column.kind == "category":
            found = answers.label_probabilities(self.density_, table, column.name)
            return column.decode(np.argmax(found, axis=1))
        return answers.predictions(self.density_, table, column.name, ())[0]

    @available_if(_has_labels)
    def predict_proba(self, X: ArrayLike, column: str | None = None) -> Array:
        """Return P(label) of a category given the other cells of every row.

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
                "numbers (predict_quantiles gives their quantiles)"
            )
        return answers.label_probabilities(self.density_, table, column.name)

    def predict_quantiles(
        self,
        X: ArrayLike,
        column: str | None = None,
        levels: Sequence[float] = (0.05, 0.5, 0.95),
        draws: int = 1000,
    ) -> Array:
        """Return quantiles of a column given the other cells of every row.

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
            Samples for each row; all rows share their noise, so that quantiles change smoothly with
            the given cells.

        Returns
        -------
        (N, len(levels)) array
            In the units of the data; of rounded columns, rounded values.

        Raises
        ------
        ValueError
            If there is no such column, if it holds categories, or if a level does not fit.
        """
        column, table = self._asked(X, column)
        levels = np.asarray(levels, np.float64)
        if levels.ndim != 1 or not np.all((levels > 0) & (levels < 1)):
            raise ValueError(f"levels: expected numbers above 0 and below 1, got {levels}")
        return answers.predictions(
            self.density_, table, column.name, levels.tolist(), check_count("draws", draws, 2)
        )[1]

    def _asked(self, X, name):
        """Return (the column of that name, the table)."""
        check_is_fitted(self)
        names = [column.name for column in self.columns_]
        if name is None:
            name = [name for name in names if name not in self.density_.given][-1]
        check_known("column", [name], names)
        table = self._table(X, name)
        return self.columns_[names.index(name)], table

    def distribution(self, X: ArrayLike, column: str, draws: int = 1000) -> Array:
        """Return P(column <= its value) given the other cells of every row.

        It is uniform if the density is right.

        Parameters
        ----------
        X : (N, D) array or DataFrame
        column : str
            The name of a column of numbers.
        draws : int, default 1000
            Samples for each row.

        Returns
        -------
        (N,) array
        """
        check_is_fitted(self)
        table = self._table(X)
        return answers.distribution(self.density_, table, column, check_count("draws", draws, 2))
