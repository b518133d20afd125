"""The probability of a label given all other columns: a small network.

    P(y | f) = mean over k of softmax(f A_k + tanh(f W_k + c_k) V_k + b_k)_y

The features f of the given columns are a 1 in the place of a category's label, and numbers in
units, clipped at five of them. Without hidden units a network is multinomial logistic regression.
Weights have a normal prior whose precision is the ridge; biases have none. L-BFGS finds the
posterior mode.

Held-out rows choose the number of hidden units and the ridge. A network is fitted once a fold, and
their mean is the model. One without hidden units has a single mode: it is fitted to all rows
instead, if folds hold out all of them in turn.

Source: Bishop 2006.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import blas
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.encoder import feature_count, features
from nfref.tables.densities.latent_classes import CodedRows, LatentClasses
from nfref.tables.schema.columns import Category, Column

STEPS = 150  # most steps of L-BFGS
FITTED_ROWS = 20_000  # most rows to fit
LARGEST = 5.0  # units at which numbers are clipped
# What is tried: (hidden units, ridge)
TRIED = (
    *((0, ridge) for ridge in (0.003, 0.03, 0.3, 3.0, 30.0)),
    *((24, ridge) for ridge in (0.03, 0.3, 1.0, 10.0)),
)


@dataclass(frozen=True)
class Network(Configuration):
    """softmax(f A + tanh(f W + c) V + b).

    Parameters
    ----------
    direct : (C, L) array
        A.
    inner : (C + 1, H) array
        W, and c below it.
    outer : (H + 1, L) array
        V, and b below it.
    """

    direct: np.ndarray
    inner: np.ndarray
    outer: np.ndarray

    @classmethod
    def fit(
        cls, f: Array, target: Array, weight: Array, hidden: int, ridge: float, rng: Generator
    ) -> "Network":
        """Find the posterior mode, or a local one if there are hidden units, H of them.

        Parameters
        ----------
        f : (N, C) array
        target : (N, L) array
            A 1 in the place of each row's label.
        weight : (N,) array
        hidden : int
        ridge : float
        rng : numpy.random.Generator
            Samples the start.
        """
        from scipy.optimize import minimize

        count, size = f.shape[1], target.shape[1]
        inner = rng.standard_normal((count + 1, hidden)) / np.sqrt(count + 1)
        start = [np.zeros((count, size)), inner, np.zeros((hidden + 1, size))]
        first, parts = trees.flatten(start)

        def loss(vector):
            direct, inner, outer = parts(vector)
            h = np.tanh(f @ inner[:-1] + inner[-1])
            log_prob = log_softmax(f @ direct + h @ outer[:-1] + outer[-1])
            off = weight[:, None] * (np.exp(log_prob) - target)
            of_h = off @ outer[:-1].T * (1 - h**2)
            slopes = (
                f.T @ off + ridge * direct,
                np.concatenate([f.T @ of_h + ridge * inner[:-1], of_h.sum(0, keepdims=True)]),
                np.concatenate([h.T @ off + ridge * outer[:-1], off.sum(0, keepdims=True)]),
            )
            penalty = sum(np.sum(part**2) for part in (direct, inner[:-1], outer[:-1]))
            value = ridge / 2 * penalty - weight @ np.sum(log_prob * target, axis=1)
            return value, np.concatenate([slope.ravel() for slope in slopes])

        with blas.one_thread():  # several threads are much slower for vectors this short
            found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return cls(*parts(found.x))

    def log_probs(self, f: Array) -> Array:
        """Return log P of every label, (N, L)."""
        h = np.tanh(f @ self.inner[:-1] + self.inner[-1])
        return log_softmax(f @ self.direct + h @ self.outer[:-1] + self.outer[-1])

    def _check(self):
        check_floats("direct", self.direct, None, None)
        count, size = self.direct.shape
        check_floats("inner", self.inner, count + 1, None)
        check_floats("outer", self.outer, self.inner.shape[1] + 1, size)


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of probabilities (N, L) proportional to exp(logits)."""
    logits = logits - np.max(logits, axis=1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))


@dataclass(frozen=True)
class LabelNetwork(LatentClasses):
    """P(y | g) of one category given the other columns.

    It is also one latent class, which knows each column by itself: from that labels, and columns to
    try a pool with, are sampled.

    Parameters
    ----------
    columns : tuple of Category, Count or Continuous
    centre, scale : (J,) array
        Units of the codes of numbers.
    networks : tuple of Network
        Their mean is the model.
    """

    columns: tuple = ()
    centre: Any = None
    scale: Any = None
    networks: tuple = ()

    @classmethod
    def fit_by_folds(
        cls,
        rows: CodedRows,
        folds: Array,
        rng: Generator,
        enough: Callable[[], bool] = lambda: False,
    ) -> tuple["LabelNetwork", Array]:
        """Return (the model, log P (N,) of the rows by networks that were not fitted to them).

        Parameters
        ----------
        rows : CodedRows
            All columns but one are given.
        folds : (N,) array
            The fold that holds each row out; -1 if none does.
        rng : numpy.random.Generator
        enough : callable
            No other network is tried once it returns True.
        """
        codes, weight = rows.codes, rows.weight
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
        classes = LatentClasses.fit(rows, 1, rng)
        units = tuple(rows.columns), centre, scale
        made = cls(classes.log_weights, classes.parts, classes.given, *units)
        f, place = made._features(codes), made.target
        label = codes[:, place].astype(np.int64)
        target = np.eye(classes.parts[place].log_prob.shape[1])[label]

        def fit(some, hidden, ridge):
            some = some[:FITTED_ROWS]
            return Network.fit(f[some], target[some], weight[some], hidden, ridge, rng)

        best: Any = None
        held, every = folds >= 0, np.arange(len(codes))
        for hidden, ridge in TRIED:
            if best is not None and enough():
                break
            networks, log_prob = [], np.zeros(len(codes))
            for k in range(np.max(folds) + 1):
                own = folds == k
                left = np.flatnonzero(~own)
                networks.append(fit(left if len(left) else every, hidden, ridge))
                log_prob[own] = np.sum(networks[-1].log_probs(f[own]) * target[own], axis=1)
            score = weight[held] @ log_prob[held]
            if best is None or score > best[0]:
                best = score, hidden, ridge, networks, log_prob
        _, hidden, ridge, networks, log_prob = best
        if not hidden and np.all(held):
            networks = [fit(every, hidden, ridge)]
        return cls(classes.log_weights, classes.parts, classes.given, *units, tuple(networks)), (
            log_prob
        )

    @property
    def target(self) -> int:
        """The place of the column that is not given."""
        return next(j for j in range(len(self.columns)) if j not in self.given)

    def _features(self, codes):
        """Return the features of the given columns, (N, C)."""
        given = list(self.given)
        columns = [self.columns[j] for j in given]
        found = features(columns, codes[:, given], self.centre[given], self.scale[given])
        return np.clip(found, -LARGEST, LARGEST)

    def log_prob(self, codes: Array) -> Array:
        """Return log P, (N,), of codes (N, J); -inf where one is NaN."""
        whole = np.nan_to_num(codes)
        f, label = self._features(whole), whole[:, self.target].astype(np.int64)
        each = [one.log_probs(f)[np.arange(len(f)), label] for one in self.networks]
        found = np.logaddexp.reduce(each, axis=0) - np.log(len(each))
        return np.where(np.any(np.isnan(codes), axis=1), -np.inf, found)

    def describes(self, columns: Sequence[Column], given: Sequence[int]) -> bool:
        """Return whether the model is for such columns, with those places given."""
        return super().describes(columns, given) and self.columns == tuple(columns)

    def _check(self):
        super()._check()
        check_floats("centre", self.centre, len(self.parts))
        check_floats("scale", self.scale, len(self.parts))
        require(np.all(self.scale > 0), "scale: expected numbers above 0")
        target = self.columns[self.target]
        require(
            len(self.columns) == len(self.parts)
            and len(self.given) == len(self.parts) - 1
            and isinstance(target, Category),
            "columns: expected one category that is not given",
        )
        count = feature_count([self.columns[j] for j in self.given])
        shape = count, len(target.labels)
        require(
            len(self.networks) > 0 and all(one.direct.shape == shape for one in self.networks),
            "networks: expected those of the features and labels",
        )
