"""Densities of tables with the mistakes that have been made, and the same without them."""

import numpy as np
from scipy.special import logsumexp


def _log_normal(z):
    return -0.5 * np.sum(z**2, axis=-1) - 0.5 * z.shape[-1] * np.log(2 * np.pi)


class Normal:
    """One normal distribution, found in standardised units; right without a ``fault``."""

    def __init__(self, fault=""):
        self.fault = fault

    def fit(self, X):
        self.center_, self.scale_ = np.mean(X, axis=0), np.std(X, axis=0)
        self.root_ = np.linalg.cholesky(np.corrcoef(X.T).reshape(X.shape[1], -1))
        return self

    def score_samples(self, X):
        z = np.linalg.solve(self.root_, ((X - self.center_) / self.scale_).T).T
        log_prob = (
            _log_normal(z) - np.sum(np.log(np.diag(self.root_))) - np.sum(np.log(self.scale_))
        )
        if self.fault == "log p in standardised units":
            log_prob += np.sum(np.log(self.scale_))
        if self.fault == "missing normaliser":
            log_prob += 0.5 * X.shape[1] * np.log(2 * np.pi)
        return -log_prob if self.fault == "inverted pdf" else log_prob

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.default_rng(random_state)
        z = rng.standard_normal((n_samples, len(self.center_))) @ self.root_.T
        if self.fault == "sample in standardised units":
            return z
        return self.center_ + self.scale_ * z


class Kernels:
    """A kernel estimate whose bandwidth follows each column's width."""

    def __init__(self, fault=""):
        self.fault = fault

    def fit(self, X, sample_weight=None):
        n, dim = X.shape
        weights = (
            np.ones(n)
            if sample_weight is None or self.fault == "weights are not read"
            else (sample_weight)
        )
        self.rows_, self.weights_ = X, weights / np.sum(weights)
        width = 1.06 * n ** (-1 / (dim + 4))
        scale = np.sqrt(
            np.average((X - np.average(X, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        )
        self.bandwidth_ = width * (
            np.ones(dim) if self.fault == "bandwidth in wrong units" else scale
        )
        return self

    def score_samples(self, X):
        h = self.bandwidth_
        terms = _log_normal((X[:, None] - self.rows_) / h) + np.log(self.weights_)
        log_prob = logsumexp(terms, axis=1)
        if self.fault == "one bandwidth for the volume":
            return log_prob - len(h) * np.log(h[0])
        if self.fault != "missing normaliser":
            log_prob = log_prob - np.sum(np.log(h))
        return 1 / log_prob if self.fault == "inverted pdf" else log_prob

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.default_rng(random_state)
        chosen = rng.choice(len(self.rows_), size=n_samples, p=self.weights_)
        width = 1 if self.fault == "sampler's bandwidth in wrong units" else self.bandwidth_
        return self.rows_[chosen] + width * rng.standard_normal((n_samples, self.rows_.shape[1]))


class Chain:
    """Linear regressions of each column on those before it in ``order``: a chain rule."""

    def __init__(self, fault="", order=None):
        self.fault, self.order = fault, order

    def fit(self, X):
        self.mean_, self.covariance_ = np.mean(X, axis=0), np.cov(X.T)
        self.order_ = self.order or tuple(range(X.shape[1]))
        return self

    def conditional(self, rows, column, given):
        given = list(given)
        mean, variance = self.mean_[column], self.covariance_[column, column]
        if given:
            slope = np.linalg.solve(
                self.covariance_[np.ix_(given, given)], self.covariance_[given, column]
            )
            mean = mean + (rows[:, given] - self.mean_[given]) @ slope
            variance = variance - self.covariance_[column, given] @ slope
        deviation = np.sqrt(variance)
        log = _log_normal(((rows[:, column] - mean) / deviation)[:, None]) - np.log(deviation)
        return -log if self.fault == "inverted pdf" else log

    def score_samples(self, X, order=None):
        order = order or self.order_
        factors = [self.conditional(X, column, order[:k]) for k, column in enumerate(order)]
        if self.fault == "first factor always column 0":
            factors[0] = self.conditional(X, 0, ())
        return sum(factors)

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.default_rng(random_state)
        return rng.multivariate_normal(self.mean_, self.covariance_, n_samples)


class Hidden:
    """A Chain that shows neither its factors nor its order."""

    def __init__(self, fault="", order=None):
        self.fault, self.order = fault, order

    def fit(self, X):
        self.inner_ = Chain(self.fault, self.order or tuple(range(X.shape[1]))[::-1]).fit(X)
        return self

    def score_samples(self, X):
        return self.inner_.score_samples(X)

    def sample(self, n_samples=1, random_state=None):
        return self.inner_.sample(n_samples, random_state)


class Mixed:
    """A category in the last column, and one normal distribution for each of its values."""

    def __init__(self, fault=""):
        self.fault = fault

    def fit(self, X):
        self.values_, place = np.unique(X[:, -1], return_inverse=True)
        self.share_ = np.bincount(place) / len(X)
        self.parts_ = [Normal().fit(X[place == k, :-1]) for k in range(len(self.values_))]
        return self

    def _place(self, values):
        place = np.searchsorted(self.values_, values)
        if self.fault == "categories off by one":
            place = (place + 1) % len(self.values_)
        return place

    def score_samples(self, X):
        place = self._place(X[:, -1])
        if self.fault == "last category lost":
            place = np.searchsorted(self.values_, X[:, -1]) + 1
        known = place < len(self.values_)
        share = np.where(known, self.share_[np.minimum(place, len(self.values_) - 1)], 0)
        parts = np.array([part.score_samples(X[:, :-1]) for part in self.parts_])
        with np.errstate(divide="ignore"):
            share = np.log(share)
        return share + parts[np.minimum(place, len(self.values_) - 1), np.arange(len(X))]

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.default_rng(random_state)
        place = rng.choice(len(self.values_), size=n_samples, p=self.share_)
        rows = np.empty((n_samples, self.parts_[0].center_.shape[0] + 1))
        for k, part in enumerate(self.parts_):
            rows[place == k, :-1] = part.sample(int(np.sum(place == k)), int(rng.integers(2**31)))
        rows[:, -1] = self.values_[place]
        if self.fault == "codes are drawn":
            rows[:, -1] = place
        if self.fault == "draws off by one":
            rows[:, -1] = self.values_[(place + 1) % len(self.values_)]
        return rows


# What makes it, its faults, and the property that names each.
FAULTS = (
    (Normal, "inverted pdf", "higher_at_rows"),
    (Kernels, "inverted pdf", "higher_at_rows"),
    (Chain, "inverted pdf", "higher_at_rows"),
    (Chain, "first factor always column 0", "chain_rule"),
    (Hidden, "first factor always column 0", "normalised"),
    (Normal, "missing normaliser", "normalised"),
    (Kernels, "missing normaliser", "normalised"),
    (Normal, "log p in standardised units", "units"),
    (Kernels, "bandwidth in wrong units", "units"),
    (Kernels, "one bandwidth for the volume", "normalised"),
    (Kernels, "sampler's bandwidth in wrong units", "sample_follows"),
    (Normal, "sample in standardised units", "sample_follows"),
    (Kernels, "weights are not read", "weights"),
    (Mixed, "categories off by one", "categories"),
    (Mixed, "last category lost", "normalised"),
    (Mixed, "codes are drawn", "categories"),
    (Mixed, "draws off by one", "categories"),
)


def table(rng, dim, rows=300):
    """Rows in units of very different sizes."""
    mixing = rng.standard_normal((dim, dim)) + 2 * np.eye(dim)
    return rng.standard_normal((rows, dim)) @ mixing * 10.0 ** rng.uniform(
        -2, 3, dim
    ) + 10.0 ** rng.uniform(0, 3, dim)


def table_for(kind, rng, dim, rows=300):
    """A table for a class above; the last column of Mixed's is a category of 3, 5, 6 or 9."""
    found = table(rng, dim, rows)
    if kind is Mixed:
        found = np.c_[found[:, : dim - 1], rng.choice([3.0, 5, 6, 9], rows, p=[0.1, 0.2, 0.3, 0.4])]
    return found
