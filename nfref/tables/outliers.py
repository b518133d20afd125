"""Rows that are unlike the others: those whose density is lowest."""

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from nfref.flow import Flow
from nfref.runtime.annotations import Any
from nfref.tables.flow_density import FlowDensity
from nfref.tables.frames import as_counts


class FlowOutlierDetector(OutlierMixin, FlowDensity):
    """Outliers by density: rows whose log-likelihood lies below that of most training rows.

    Parameters
    ----------
    flow : str or Flow, default "auto"
        As for :class:`nfref.FlowDensity`.
    contamination : float, default 0.1
        In (0, 0.5]: the share of training rows that are called outliers.
    members, columns, given, epochs, batch_size, learning_rate, time_budget, validation, \
random_state, verbose, n_jobs
        As for :class:`nfref.FlowDensity`.

    Attributes
    ----------
    offset_ : float
        In nats: rows of a lower log-likelihood are outliers.
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

    def __init__(self, flow: str | Flow = "auto", *, contamination: float = 0.1, members: Any = 4,
                 columns: Any = None, given: Any = None, epochs: Any = 200, batch_size: Any = None,
                 learning_rate: Any = None, time_budget: Any = None, validation: Any = 0.1,
                 random_state: Any = None, verbose: Any = False, n_jobs: Any = None) -> None:
        super().__init__(flow, members=members, columns=columns, given=given, epochs=epochs,
                         batch_size=batch_size, learning_rate=learning_rate,
                         time_budget=time_budget, validation=validation,
                         random_state=random_state, verbose=verbose, n_jobs=n_jobs)
        self.contamination = contamination

    def fit(self, X, y=None, sample_weight=None):
        """Fit a density to rows and find the threshold; see :meth:`nfref.FlowDensity.fit`."""
        share = self.contamination
        if isinstance(share, str) or not 0 < share <= 0.5:
            raise ValueError(f"contamination: expected a number in (0, 0.5], got {share!r}")
        super().fit(X, y, sample_weight)
        scores = super().score_samples(X)
        if sample_weight is None:
            self.offset_ = float(np.percentile(scores, 100 * share))
            return self
        weight = np.broadcast_to(np.asarray(sample_weight, np.float64), len(scores))
        scores, weight = scores[weight > 0], as_counts(weight[weight > 0])
        order = np.argsort(scores, kind="stable")
        self.offset_ = _percentile(scores[order], weight[order], share)
        return self

    def decision_function(self, X):
        """Log-likelihood less ``offset_``, (N,): negative for outliers."""
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """1 for rows like the others, -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _percentile(scores, weight, share):
    """NumPy's percentile of scores in order, each there so often as its weight says."""
    ends = np.cumsum(weight)
    place = share * (ends[-1] - 1)
    low = np.searchsorted(ends, np.floor(place), side="right")
    high = np.searchsorted(ends, np.floor(place) + 1, side="right")
    last = len(scores) - 1
    low, high = scores[min(low, last)], scores[min(high, last)]
    return float(low + (place - np.floor(place)) * (high - low))
