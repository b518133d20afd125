"""Models of a label given features: networks and boosted trees.

    P(y | f) = softmax(f A + tanh(f W + c) V + b)_y

Without hidden units the network is multinomial logistic regression. Weights have a normal prior
whose precision is the ridge; biases have none. L-BFGS finds the posterior mode. Where a label
changes at edges of a few columns among many, boosted trees find it sooner.

Sources: Bishop 2006; Friedman 2001 (boosting), Prokhorenkova et al. 2018 (trees whose levels ask
one question).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Array, Generator, Places
from nfref.runtime.checks import check_floats
from nfref.runtime.configuration import Configuration

STEPS = 150  # most steps of L-BFGS
RATE = 0.1  # share of each boosting step that is taken
SEEN = 20_000  # most rows that a tree sees, times the number of labels
ASKED = 200  # most questions that a tree can choose from
EDGES = 63  # most edges of a feature


@dataclass(frozen=True)
class LabelledRows:
    """Rows to fit to.

    Parameters
    ----------
    features : (N, C) array
    codes : (N,) array of int
        Labels, below ``size``.
    weight : (N,) array
    size : int
        L.
    """

    features: Array
    codes: Array
    weight: Array
    size: int

    def at(self, places: Places) -> "LabelledRows":
        """Return some of the rows."""
        some = self.features[places], self.codes[places], self.weight[places]
        return LabelledRows(*some, self.size)


# A network --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelNetwork(Configuration):
    """P(y | f) = softmax(f A + tanh(f W + c) V + b).

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
    def fit(cls, rows: LabelledRows, hidden: int, ridge: float, rng: Generator) -> "LabelNetwork":
        """Find the posterior mode, or a local one if there are hidden units, H of them.

        The generator samples the start.
        """
        from scipy.optimize import minimize

        features, codes, weight, size = rows.features, rows.codes, rows.weight, rows.size
        count, target = features.shape[1], np.eye(size)[codes]
        inner = rng.standard_normal((count + 1, hidden)) / np.sqrt(count + 1)
        start = [np.zeros((count, size)), inner, np.zeros((hidden + 1, size))]
        first, parts = trees.flatten(start)

        def loss(vector):
            direct, inner, outer = parts(vector)
            h = np.tanh(features @ inner[:-1] + inner[-1])
            log_prob = log_softmax(features @ direct + h @ outer[:-1] + outer[-1])
            off = weight[:, None] * (np.exp(log_prob) - target)
            of_h = off @ outer[:-1].T * (1 - h**2)
            slopes = (
                features.T @ off + ridge * direct,
                np.concatenate(
                    [features.T @ of_h + ridge * inner[:-1], of_h.sum(axis=0, keepdims=True)]
                ),
                np.concatenate([h.T @ off + ridge * outer[:-1], off.sum(axis=0, keepdims=True)]),
            )
            penalty = sum(np.sum(part**2) for part in (direct, inner[:-1], outer[:-1]))
            value = -np.sum(weight * log_prob[np.arange(len(codes)), codes]) + ridge / 2 * penalty
            return value, np.concatenate([slope.ravel() for slope in slopes])

        found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return cls(*parts(found.x))

    def log_probs(self, features: Array) -> Array:
        """Return log P of every label, (N, L)."""
        h = np.tanh(features @ self.inner[:-1] + self.inner[-1])
        return log_softmax(features @ self.direct + h @ self.outer[:-1] + self.outer[-1])

    def takes(self, count: int, size: int) -> bool:
        """Return whether the model has these numbers of features and labels."""
        return self.direct.shape == (count, size)

    def _check(self):
        check_floats("direct", self.direct, None, None)
        count, size = self.direct.shape
        check_floats("inner", self.inner, count + 1, None)
        check_floats("outer", self.outer, self.inner.shape[1] + 1, size)


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of probabilities (N, L) proportional to exp(logits)."""
    logits = logits - np.max(logits, axis=1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))


# Trees ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelTrees(Configuration):
    """P(y | f) = softmax(b + sum_t V_t[leaf_t(f)])_y of oblivious trees.

    All nodes of one level of such a tree ask the same: is one feature above one edge?

    Parameters
    ----------
    asked : (T, K, 2) array
        The place of the feature and the edge.
    value : (T, 2^K, L) array
        V. The number of a leaf has a bit for each answer, the first the lowest.
    start : (L,) array
        b.
    """

    asked: np.ndarray
    value: np.ndarray
    start: np.ndarray

    @classmethod
    def fit(
        cls, rows: LabelledRows, trees: int, depth: int, ridge: float, rng: Generator
    ) -> "LabelTrees":
        """Boost trees by Newton's steps with a ridge.

        Each tree sees a sample of very many rows, and of the questions.
        """
        features, codes, weight, size = rows.features, rows.codes, rows.weight, rows.size
        every = np.array(
            [(j, edge) for j, column in enumerate(features.T) for edge in _edges(np.unique(column))]
        )
        above, target, asked, value = _answers(features, every), np.eye(size)[codes], [], []
        start = np.log((weight @ target + 1) / (np.sum(weight) + size))
        logits = np.tile(start, (len(codes), 1))
        for _ in range(trees):
            sampled = rng.permutation(len(codes))[: SEEN // size + 1]
            some = rng.permutation(len(every))[:ASKED]
            own: list[int] = []
            seen, p = 1.0 * above[np.ix_(sampled, some)], np.exp(log_softmax(logits[sampled]))
            sums = np.stack([target[sampled] - p, p * (1 - p)], axis=1)
            slopes = weight[sampled, None, None] * sums
            for level in range(depth):
                leaf = np.eye(2**level)[_leaves(seen[:, own])]
                parts = leaf[:, :, None, None] * slopes[:, None]
                right = np.tensordot(seen.T, parts, 1)
                gain = sum(
                    np.sum(side[:, :, 0] * _step(side, ridge), axis=(1, 2))
                    for side in (right, np.sum(parts, axis=0) - right)
                )
                own.append(int(np.argmax(gain)))
            leaf = np.eye(2**depth)[_leaves(seen[:, own])]
            asked.append(every[some[own]])
            value.append(RATE * _step(np.tensordot(leaf.T, slopes, 1), ridge))
            logits = logits + value[-1][_leaves(above[:, some[own]])]
        return cls(np.array(asked), np.array(value), start)

    def log_probs(self, features: Array) -> Array:
        """Return log P of every label, (N, L)."""
        logits = np.tile(self.start, (len(features), 1))
        for asked, value in zip(self.asked, self.value):
            logits = logits + value[_leaves(_answers(features, asked))]
        return log_softmax(logits)

    def takes(self, count: int, size: int) -> bool:
        """Return whether the trees can take ``count`` features and have ``size`` labels."""
        return len(self.start) == size and bool(
            np.all(np.isin(self.asked[..., 0], np.arange(count)))
        )

    def _check(self):
        check_floats("asked", self.asked, None, None, 2)
        check_floats("start", self.start, None)
        check_floats(
            "value", self.value, len(self.asked), 2 ** self.asked.shape[1], len(self.start)
        )


def _edges(values):
    """Return at most ``EDGES`` + 1 of the sorted values; nothing is above the last one."""
    last = len(values) - 1
    place = np.unique(np.linspace(0, last, EDGES + 1).astype(np.int64))
    return 0.5 * (values[place] + values[np.minimum(place + 1, last)])


def _answers(features, asked):
    """Return which questions (Q, 2) are answered by yes, (N, Q)."""
    return features[:, asked[:, 0].astype(np.int64)] > asked[:, 1]


def _leaves(answers):
    """Return the numbers of leaves, (N,), of answers (N, K)."""
    return answers.astype(np.int64) @ 2 ** np.arange(answers.shape[1])


def _step(sums, ridge):
    """Return slope over curvature of logits, (..., L), from their sums (..., 2, L)."""
    return sums[..., 0, :] / (np.maximum(sums[..., 1, :], 0.0) + ridge)
