"""Outliers: rows whose density is lowest, or whose cells are furthest out.

Density alone has weaknesses as a measure of outliers. It depends on the scale of a column: far out
in a long tail, or beside a spike, it is low for ordinary rows. And a tight group has a high density
wherever it is. So there are four measures. Monotone maps of single columns do not change the second
and the third:

    log p(x)                        the density
    log p(x) - sum_j log p_j(x_j)   how well the cells go together
    sum_j log min(1, 2 P(X_j <= x_j), 2 P(X_j >= x_j))
                                    the tails: how far out cells are, on the rarer side, as in ECOD
                                    (Li et al. 2022)
    -|x - x_(k)|                    the nearness of its neighbours: k is the contamination's share
                                    of the rows, so a smaller group is far from them

Each counts by how far it is below its median over the training rows, in units of the distance from
the median to the lower quartile; a measure above its median counts as the median.

The density is fitted to the rows that :mod:`nfref.tables.estimators.trimming` leaves. Training rows
are scored out of fold.

Flows are fitted only if you ask for them. They cost a multiple of the seconds: on KEEL's tables
glass6 and cleveland-0_vs_4 twice as many, for areas under the curve of 0.98 and 0.94 in place of
0.97 and 0.92.
"""

import numbers
from dataclasses import KW_ONLY, dataclass, replace
from typing import TypeVar

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from nfref.flow import Flow
from nfref.runtime.annotations import Array, ArrayLike
from nfref.tables.estimators.flow_density import FlowDensity
from nfref.tables.estimators.trimming import kept_rows
from nfref.tables.fitting.fit import fit_table
from nfref.tables.queries import outlier_measures
from nfref.tables.queries.answers import log_marginal
from nfref.tables.schema.columns import is_missing, missing_cells_of, plain, with_gaps
from nfref.tables.schema.distinct_rows import as_counts, keys_of

CRITERIA = ("combined", "density", "conditional")
MARGIN_ROWS = 2000  # distinct values that densities of single columns are fitted to
TYPICAL_ROWS = 200  # rows whose median is the typical surprise of a column

Own = TypeVar("Own", bound="FlowOutlierDetector")


@dataclass(eq=False, repr=False)
class FlowOutlierDetector(OutlierMixin, FlowDensity):
    """Outliers by density: rows that score below most training rows.

    Training rows are recognised by their content and scored out of fold: by densities that were not
    fitted to them.

    Parameters
    ----------
    flow : str or Flow, default "mixture"
        As for :class:`nfref.FlowDensity`; "mixture" fits no flows, and takes a fraction of
        the seconds.
    contamination : float, default 0.1
        In (0, 0.5]: the share of training rows that are called outliers.
    criterion : str, default "combined"
        "combined" uses the log-likelihood, how well the cells of a row go together, the tails of
        the columns, and the nearness of other rows; "density" the log-likelihood; "conditional" the
        largest :meth:`surprise` of its columns. Low scores are outliers in each.
    trimming : float, optional
        In [0, 0.5]: the share of rows, the least likely ones, that the density is not fitted to.
        None is twice the contamination, but at most half. Nearness trims half of it. Then nearness
        and simple densities of the rows that are left trim the whole. Below 30 rows, or three
        a column, nothing is trimmed.
    members, effort, columns, given, epochs, batch_size, learning_rate, time_budget, validation, \
    random_state, verbose
        As for :class:`nfref.FlowDensity`.

    Attributes
    ----------
    offset_ : float
        Rows with a lower score are outliers.
    training_scores_ : (N,) array
        Scores of the training rows, out of fold.
    n_trimmed_ : int
        How many rows were trimmed.
    criterion_ : str
        The criterion of ``offset_``. Another one needs another fit.
    density_, candidates_, columns_, weights_, n_features_in_, feature_names_in_
        As for :class:`nfref.FlowDensity`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> rows = np.random.default_rng(0).standard_normal((200, 2))
    >>> detector = nfref.FlowOutlierDetector(random_state=0).fit(rows)
    >>> detector.predict(np.array([[0.0, 0.0], [9.0, 9.0]]))
    array([ 1, -1])
    """

    flow: str | Flow = "mixture"
    _: KW_ONLY
    contamination: float = 0.1
    criterion: str = "combined"
    trimming: float | None = None

    def fit(self: Own, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Own:
        """Fit a density to rows and find the threshold; see :meth:`nfref.FlowDensity.fit`."""
        share = self.contamination
        if not isinstance(share, numbers.Real) or not 0 < share <= 0.5:
            raise ValueError(f"contamination: expected a number in (0, 0.5], got {share!r}")
        if self.trimming is not None and (
            not isinstance(self.trimming, numbers.Real) or not 0 <= self.trimming <= 0.5
        ):
            raise ValueError(f"trimming: expected a number in [0, 0.5], got {self.trimming!r}")
        if self.criterion not in CRITERIA:
            raise ValueError(
                f"criterion: expected one of {', '.join(CRITERIA)}, got {self.criterion!r}"
            )
        super().fit(X, y, sample_weight)
        self.criterion_: str = self.criterion
        self.training_scores_: Array = self.score_samples(X)
        scores, weight = self.training_scores_, None
        if sample_weight is not None:
            weight = np.broadcast_to(np.asarray(sample_weight, np.float64), len(scores))
            scores, weight = scores[weight > 0], as_counts(weight[weight > 0])
        self.offset_: float = outlier_measures.quantile_of_copies(scores, weight, share)
        return self

    # Files ----------------------------------------------------------------------------------

    _fitted = (*FlowDensity._fitted, "criterion_", "offset_", "training_scores_", "n_trimmed_")

    def _restore(self, found):
        if found is None or found.outliers is None:
            raise ValueError(
                "expected the file of a FlowOutlierDetector, got that of a density alone"
            )
        super()._restore(found)
        self._measures, self._typical = found.outliers, None

    # Fitting --------------------------------------------------------------------------------

    _chooses_supports = False  # a value beyond the others is an outlier, not impossible

    def _found(self, fit):
        fit = replace(fit, weight=as_counts(fit.weight))
        flow = "gaussian" if self.flow == "gaussian" else "mixture"
        simple = replace(fit, plan=replace(fit.plan, flow=flow, members=0, simple=True))
        share = min(2 * self.contamination, 0.5) if self.trimming is None else self.trimming
        kept = kept_rows(simple, share, self.contamination)
        self.n_trimmed_: int = int(np.sum(~kept))
        found = super()._found(fit.at(kept))
        self._measures = _measures_of(found, simple.at(kept), self.contamination)
        self._typical = None
        return found

    # Scores ---------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike) -> Array:
        """Return the score of every row by the criterion, (N,): outliers have low scores.

        Training rows are scored out of fold, except by the criterion "conditional".

        Parameters
        ----------
        X : (N, D) array or DataFrame

        Returns
        -------
        (N,) array
        """
        check_is_fitted(self)
        if self.criterion != self.criterion_:
            raise ValueError(
                f"criterion: expected {self.criterion_!r}, with which the threshold was found, "
                f"got {self.criterion!r}: fit again"
            )
        if self.criterion == "conditional":
            return -np.max(np.nan_to_num(self.surprise(X), nan=-np.inf), axis=1)
        log_prob = super().score_samples(X, cells=False)
        table = self._table(X)
        whole = np.flatnonzero(~with_gaps(table) & np.isfinite(log_prob))
        keys = keys_of(self.density_, _some(table, whole)) if len(whole) else np.zeros(0, np.uint64)
        known = self._measures.fitted
        log_prob[whole] = known.update(keys, 0, log_prob[whole])
        if self.criterion == "density":
            return log_prob
        possible = np.isfinite(log_prob)
        margins = np.full(len(log_prob), -np.inf)
        margins[possible] = self._measures.log_margins(_some(table, possible))
        margins[whole] = known.update(keys, 1, margins[whole])
        together = np.where(possible, log_prob - np.where(possible, margins, 0), -np.inf)
        tails = outlier_measures.log_tails(self.columns_, self._measures.tails, table)
        near = self._measures.neighbours.nearness(self.columns_, table, self.density_.given)
        return outlier_measures.shortfall((log_prob, together, tails, near), self._measures.usual)

    def surprise(self, X: ArrayLike) -> Array:
        """Return how much less likely each cell is, given its row, than cells of its column are.

        For a column this is m_j - log p(x_j | x without x_j), with m_j the median of the same
        log-likelihood over training rows: at most 200, without gaps if there are such.

        Parameters
        ----------
        X : (N, D) array or DataFrame

        Returns
        -------
        (N, D) array
            In nats; NaN for missing cells and given columns.
        """
        check_is_fitted(self)
        table = self._table(X)
        if self._typical is None:
            counts = self._measures.example_weight
            cells = self._of_cells(self._measures.example_table).T
            self._typical = outlier_measures.medians_of_known(cells, counts, np.nan)
        return self._typical - self._of_cells(table)

    def _of_cells(self, table):
        """Return log p(x_j | x without x_j), (N, D)."""
        found = np.full((len(table[0]), len(table)), np.nan)
        whole = log_marginal(self.density_, table).log_prob
        for j, values in enumerate(table):
            here = np.flatnonzero(~is_missing(values))
            if self.columns_[j].name in self.density_.given or not len(here):
                continue
            rest = _some(table, here)
            rest[j] = missing_cells_of(self.columns_[j], len(here))
            found[here, j] = whole[here] - log_marginal(self.density_, rest).log_prob
        return found

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the score less ``offset_``, (N,): negative for outliers."""
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> Array:
        """Return 1 for ordinary rows and -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _some(table, places):
    return [values[places] for values in table]


# Measures of the training rows ------------------------------------------------------------


def _measures_of(found, fit, share):
    """Return the OutlierMeasures of a Fitted and of its rows, which are those of ``fit``."""
    density, table, weight = found.density, fit.table, fit.weight
    columns, given = density.columns, density.given
    whole = ~with_gaps(_some(table, found.unseen.places))
    places, log_prob = found.unseen.places[whole], found.unseen.log_prob[whole]
    scored = _some(table, places)
    keys = keys_of(density, scored)
    margins, log_margins = _fit_margins(density, fit)
    tails = outlier_measures.tails_of(columns, table, weight, given)
    neighbours = outlier_measures.Neighbours.of(columns, table, weight, given, share)
    measures = (
        log_prob,
        log_prob - log_margins[places],
        outlier_measures.log_tails(columns, tails, scored),
        neighbours.nearness(columns, scored, given),
    )
    weight = None if weight is None else weight[places]
    # By content: neither the order of rows nor copies make a difference.
    _, first, copy = np.unique(keys, return_index=True, return_inverse=True)
    some = (places[first] if len(keys) else np.arange(len(table[0])))[:TYPICAL_ROWS]
    counts = np.bincount(copy, weight)[:TYPICAL_ROWS] if len(keys) else np.ones(len(some))
    examples = tuple(
        tuple(map(plain, values)) if column.kind == "category" else np.asarray(values, np.float64)
        for column, values in zip(columns, _some(table, some))
    )
    return outlier_measures.OutlierMeasures(
        margins,
        tails,
        outlier_measures.FittedRows.of(keys, log_prob, log_margins[places]),
        neighbours,
        np.array([outlier_measures.usual_of(measure, weight) for measure in measures]),
        examples,
        counts.astype(np.float64),
    )


def _fit_margins(density, fit):
    """Return densities of single columns, and out-of-fold sum_j log p_j, (N,)."""
    total = np.zeros(len(fit.table[0]))
    margins = []
    for column, values in zip(density.columns, fit.table):
        found = None  # a column with a single value says nothing
        part = outlier_measures.some_distinct_rows((column,), [values], (), MARGIN_ROWS)
        there = values[part][~is_missing(values[part])]
        if column.name not in density.given and len(set(there.tolist())) > 1:
            alone = replace(fit, columns=(column,), table=[values], given=(), progress=None)
            found = fit_table(alone.at(part))
            scores = log_marginal(found.density, [values]).log_prob
            scores[part[found.unseen.places]] = found.unseen.log_prob
            total = total + scores
        margins.append(found and found.density)
    return tuple(margins), total
