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

A density that is fitted to outliers takes them for normal: a group of them is a component of a
mixture. So the fit is *trimmed*, as robust covariances are (Rousseeuw 1984): first by nearness,
then by nearness and a density of the rows that are left. The smallest components of its mixture,
which together hold no more rows than the contamination, do not count: a tight group of outliers is
one. Training rows are scored out of fold.

Flows are fitted only if you ask for them. They cost a multiple of the seconds: on KEEL's tables
glass6 and cleveland-0_vs_4 twice as many, for areas under the curve of 0.98 and 0.94 in place of
0.97 and 0.92.
"""

import numbers
from dataclasses import replace

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Regressed
from nfref.tables.estimators.flow_density import FlowDensity
from nfref.tables.fitting.plan import BUDGET
from nfref.tables.fitting.row_fingerprints import keys_of
from nfref.tables.queries import missing_cells
from nfref.tables.queries.conditional_sampler import ConditionalSampler
from nfref.tables.queries.outlier_measures import (
    FittedRows,
    Neighbours,
    OutlierMeasures,
    log_tails,
    medians_of_known,
    quantile_of_copies,
    shortfall,
    some_distinct_rows,
    tails_of,
    usual_of,
)
from nfref.tables.schema.columns import is_missing, missing_cells_of, plain, with_gaps
from nfref.tables.schema.distinct_rows import as_counts

CRITERIA = ("combined", "density", "typical", "conditional")
TRIMMING_DRAWS = 200  # samples for rows with gaps
TRIMMING_ROWS = 1000  # distinct rows that the trimming density is fitted to
MARGIN_ROWS = 2000  # distinct values that densities of single columns are fitted to
LEAST_ROWS = 30  # below 30 rows, or three a column, nothing is trimmed
TYPICAL_ROWS = 200  # rows whose median is the typical surprise of a column


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
        the columns, and the nearness of other rows; "density" the log-likelihood; "typical" its
        distance from the median of the training rows, either way, because a row may be too likely
        to be one of them; "conditional" the largest :meth:`surprise` of its columns. Low scores are
        outliers in each.
    trimming : float, optional
        In [0, 0.5]: the share of rows, the least likely ones, that the density is not fitted to.
        None is twice the contamination, but at most half. Nearness trims half of it. Then nearness
        and simple densities of the rows that are left trim the whole. Below 30 rows, or three
        a column, nothing is trimmed.
    members, effort, columns, given, epochs, batch_size, learning_rate, time_budget, validation, \
    random_state, verbose, n_jobs
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

    def __init__(
        self,
        flow: str | Flow = "mixture",
        *,
        contamination: float = 0.1,
        criterion: str = "combined",
        trimming: float | None = None,
        members: Any = None,
        effort: Any = "default",
        columns: Any = None,
        given: Any = None,
        epochs: Any = 200,
        batch_size: Any = None,
        learning_rate: Any = None,
        time_budget: Any = BUDGET,
        validation: Any = 0.1,
        random_state: Any = None,
        verbose: Any = False,
        n_jobs: Any = None,
    ) -> None:
        super().__init__(
            flow,
            members=members,
            effort=effort,
            columns=columns,
            given=given,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            time_budget=time_budget,
            validation=validation,
            random_state=random_state,
            verbose=verbose,
            n_jobs=n_jobs,
        )
        self.contamination = contamination
        self.criterion = criterion
        self.trimming = trimming

    def fit(
        self, X: Any, y: None = None, sample_weight: Array | None = None
    ) -> "FlowOutlierDetector":
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
        self.training_scores_ = scores = self.score_samples(X)
        weight = None
        if sample_weight is not None:
            weight = np.broadcast_to(np.asarray(sample_weight, np.float64), len(scores))
            scores, weight = scores[weight > 0], as_counts(weight[weight > 0])
        self.offset_: float = quantile_of_copies(scores, weight, share)
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

    def _found(self, columns, table, plan, seed, options):
        options = {**options, "weight": as_counts(options["weight"])}
        kept = self._kept(columns, table, plan, seed, options)
        self.n_trimmed_ = int(np.sum(~kept))
        table, options = _some(table, kept), _weighed(options, kept)
        found = super()._found(columns, table, plan, seed, options)
        density, places, log_prob = found.density, found.unseen.places, found.unseen.log_prob
        whole = ~with_gaps(_some(table, places))
        places, log_prob = places[whole], log_prob[whole]
        keys = keys_of(density, _some(table, places))
        margins, log_margins = self._fit_margins(density, table, plan, seed, options)
        tails = tails_of(density.columns, table, options["weight"], density.given)
        neighbours = Neighbours.of(
            density.columns, table, options["weight"], density.given, self.contamination
        )
        scored = density.columns, _some(table, places)
        far = log_tails(scored[0], tails, scored[1])
        near = neighbours.nearness(*scored, density.given)
        measures = log_prob, log_prob - log_margins[places], far, near
        weight = _weighed(options, places)["weight"]
        # By content: neither the order of rows nor copies make a difference.
        _, first, copy = np.unique(keys, return_index=True, return_inverse=True)
        some = (places[first] if len(keys) else np.arange(len(table[0])))[:TYPICAL_ROWS]
        counts = np.bincount(copy, weight)[:TYPICAL_ROWS] if len(keys) else np.ones(len(some))
        self._typical = None
        fitted = FittedRows.of(keys, log_prob, log_margins[places])
        usual = np.array([usual_of(measure, weight) for measure in measures])
        examples = tuple(
            tuple(map(plain, values))
            if column.kind == "category"
            else np.asarray(values, np.float64)
            for column, values in zip(density.columns, _some(table, some))
        )
        self._measures = OutlierMeasures(
            margins, tails, fitted, neighbours, usual, examples, counts.astype(np.float64)
        )
        return found

    def _fit_margins(self, density, table, plan, seed, options):
        """Return densities of single columns, and out-of-fold sum_j log p_j, (N,)."""
        plan = self._simple(plan)
        options = {**options, "given": (), "progress": None}
        total = np.zeros(len(table[0]))
        margins = []
        for column, values in zip(density.columns, table):
            found = None  # a column with a single value says nothing
            part = some_distinct_rows((column,), [values], (), MARGIN_ROWS)
            there = values[part][~is_missing(values[part])]
            if column.name not in density.given and len(set(there.tolist())) > 1:
                found = super()._found(
                    (column,), [values[part]], plan, seed, _weighed(options, part)
                )
                scores = missing_cells.log_marginal(found.density, [values]).log_prob
                scores[part[found.unseen.places]] = found.unseen.log_prob
                total = total + scores
            margins.append(found and found.density)
        return tuple(margins), total

    def _simple(self, plan):
        """Return the plan without flows."""
        flow = "gaussian" if self.flow == "gaussian" else "mixture"
        return replace(plan, flow=flow, members=0, simple=True)

    def _kept(self, columns, table, plan, seed, options):
        """Return which rows are left after trimming the least likely ones, (N,)."""
        kept = np.ones(len(table[0]), bool)
        share = self.trimming
        if share is None:
            share = min(2 * self.contamination, 0.5)
        weight = options["weight"]
        rows = len(kept) if weight is None else np.sum(weight)
        if share == 0 or (1 - share) * rows < max(LEAST_ROWS, 3 * len(columns)):
            return kept
        plan, given = self._simple(plan), options["given"]
        for part in (share / 2, share):
            own, rows = _weighed(options, kept)["weight"], _some(table, kept)
            neighbours = Neighbours.of(columns, rows, own, given, self.contamination)
            measures = [neighbours.nearness(columns, table, given)]
            if part == share:  # a density of all rows takes groups of outliers for normal
                measures.append(self._out_of_fold(columns, table, kept, plan, seed, options))
            scores = shortfall(measures, [usual_of(measure[kept], own) for measure in measures])
            left = scores >= quantile_of_copies(scores, weight, part)
            if all(len(set(values[left].tolist())) == 1 for values in table):
                break  # one row says nothing
            kept = left
        return kept

    def _out_of_fold(self, columns, table, kept, plan, seed, options):
        """Return out-of-fold log-likelihoods of all rows, by densities of the kept rows."""
        part = some_distinct_rows(columns, table, options["given"], TRIMMING_ROWS)
        part = part[kept[part]]
        found = super()._found(columns, _some(table, part), plan, seed, _weighed(options, part))
        scores = np.empty(len(kept))
        at = part[found.unseen.places]
        scores[at] = found.unseen.log_prob
        missing = np.ones(len(kept), bool)
        missing[at] = False
        if np.any(missing):
            scores[missing] = missing_cells.log_marginal(
                found.density, _some(table, missing), TRIMMING_DRAWS
            ).log_prob
        if found.density.pool is None:
            return scores
        large = replace(
            found.density, pool=_of_large_components(found.density.pool, self.contamination)
        )
        return np.minimum(scores, missing_cells.log_marginal(large, table, TRIMMING_DRAWS).log_prob)

    # Scores ---------------------------------------------------------------------------------

    def score_samples(self, X: Array) -> Array:
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
        if self.criterion == "typical":
            return -np.abs(log_prob - self._measures.usual[0, 0])
        if self.criterion == "density":
            return log_prob
        possible = np.isfinite(log_prob)
        margins = np.full(len(log_prob), -np.inf)
        margins[possible] = self._measures.log_margins(_some(table, possible))
        margins[whole] = known.update(keys, 1, margins[whole])
        together = np.where(possible, log_prob - np.where(possible, margins, 0), -np.inf)
        tails = log_tails(self.columns_, self._measures.tails, table)
        near = self._measures.neighbours.nearness(self.columns_, table, self.density_.given)
        return shortfall((log_prob, together, tails, near), self._measures.usual)

    def surprise(self, X: Array) -> Array:
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
            self._typical = medians_of_known(cells, counts, np.nan)
        return self._typical - self._of_cells(table)

    def _of_cells(self, table):
        """Return log p(x_j | x without x_j), (N, D)."""
        found = np.full((len(table[0]), len(table)), np.nan)
        whole = missing_cells.log_marginal(self.density_, table).log_prob
        sampler = ConditionalSampler(self.density_)
        for j, values in enumerate(table):
            here = np.flatnonzero(~is_missing(values))
            if self.columns_[j].name in self.density_.given or not len(here):
                continue
            rest = _some(table, here)
            rest[j] = missing_cells_of(self.columns_[j], len(here))
            found[here, j] = (
                whole[here]
                - missing_cells.log_marginal(self.density_, rest, sampler=sampler).log_prob
            )
        return found

    def decision_function(self, X: Any) -> Array:
        """Return the score less ``offset_``, (N,): negative for outliers."""
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Array:
        """Return 1 for ordinary rows and -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _of_large_components(pool, share):
    """Return the pool without the smallest components of its mixtures, up to a share of rows.

    A group of outliers is a component, and its density is high.
    """

    def large(member):
        if isinstance(member, Regressed):
            return replace(member, density=large(member.density))
        if not isinstance(member, GaussianMixture):
            return member
        order = np.argsort(member.log_weights)
        kept = order[np.cumsum(np.exp(member.log_weights[order])) > share]
        weights = member.log_weights[kept]
        return replace(
            member,
            log_weights=weights - np.logaddexp.reduce(weights),
            means=member.means[kept],
            choleskys=member.choleskys[kept],
        )

    return replace(pool, members=tuple(map(large, pool.members)))


def _some(table, places):
    return [values[places] for values in table]


def _weighed(options, kept):
    weight = options["weight"]
    return {**options, "weight": None if weight is None else weight[kept]}
