"""The probability of a label given other columns: networks and trees beside latent classes.

Latent classes model the given columns as well as the label, so they have less left for the label
where many columns are given. A network models the label alone,

    P(y | f) = softmax(f A + tanh(f W + c) V + b)_y

The features f of the given columns are a 1 in the place of a category's label, and numbers in
units, clipped at five of them. Without hidden units this is multinomial logistic regression.
Weights have a normal prior whose precision is the ridge; biases have none. L-BFGS finds the
posterior mode. Where a label changes at edges of a few columns among many, boosted trees find it
sooner.

Several such models and the latent classes form one pool, linear and logarithmic,

    Q(y | f) = a sum_k w_k P_k(y | f) + (1 - a) prod_k P_k(y | f)^w_k / Z(f)
    P(y | f) = Q(y | f)^r / sum_y' Q(y' | f)^r

Out-of-fold rows decide w, then a, and then r
(:func:`nfref.tables.densities.pool.stacking_weights`). A mean of probabilities is less certain than
a member that is right; a product is not. What remains of the mean bounds what a label can cost.
Priors keep every member, and so the pool, from being certain: r corrects that. It is at least 1,
because the final members know more rows than when r is found, and are right more often. A model is
fitted once a fold, and the mean of these is the member. A network without hidden units is fitted to
all rows in the end, if folds hold out all of them in turn.

Sources: Bishop 2006; Smyth and Wolpert 1997; Friedman 2001 (boosting), Prokhorenkova et al. 2018
(trees whose levels ask one question); Guo et al. 2017 (r, the inverse of their temperature).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import blas
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.latent_classes import LatentClasses
from nfref.tables.densities.pool import stacking_weights

STEPS = 150  # most steps of L-BFGS
FITTED_ROWS = 20_000  # most rows to fit
LARGEST = 5.0  # units at which numbers are clipped
RATE = 0.1  # share of each boosting step that is taken
SEEN = 20_000  # most rows that a tree sees, times the number of labels
ASKED = 200  # most questions that a tree can choose from
EDGES = 63  # most edges of a feature
PRIOR_ROWS = 0.3  # prior rows of each member when it is weighed
POWER_SPREAD = 0.5  # standard deviation of log r in its prior


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
    def fit(
        cls,
        features: Array,
        codes: Array,
        weight: Array,
        size: int,
        hidden: int,
        ridge: float,
        rng: Generator,
    ) -> "LabelNetwork":
        """Find the posterior mode, or a local one if there are hidden units.

        Parameters
        ----------
        features : (N, C) array
        codes : (N,) array of int
            Labels, below ``size``.
        weight : (N,) array
        size, hidden : int
            L and H.
        ridge : float
        rng : numpy.random.Generator
            Samples the start.
        """
        from scipy.optimize import minimize

        count, target = features.shape[1], np.eye(size)[codes]
        inner = rng.standard_normal((count + 1, hidden)) / np.sqrt(count + 1)
        start = [np.zeros((count, size)), inner, np.zeros((hidden + 1, size))]
        first, parts = trees.flatten(start)

        def loss(vector):
            direct, inner, outer = parts(vector)
            h = np.tanh(features @ inner[:-1] + inner[-1])
            log_prob = _log_softmax(features @ direct + h @ outer[:-1] + outer[-1])
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
        return _log_softmax(features @ self.direct + h @ self.outer[:-1] + self.outer[-1])

    def takes(self, count: int, size: int) -> bool:
        """Return whether the model has these numbers of features and labels."""
        return self.direct.shape == (count, size)

    def _check(self):
        check_floats("direct", self.direct, None, None)
        count, size = self.direct.shape
        check_floats("inner", self.inner, count + 1, None)
        check_floats("outer", self.outer, self.inner.shape[1] + 1, size)


def _log_softmax(logits):
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
        cls,
        features: Array,
        codes: Array,
        weight: Array,
        size: int,
        trees: int,
        depth: int,
        ridge: float,
        rng: Generator,
    ) -> "LabelTrees":
        """Boost trees by Newton's steps with a ridge; parameters as for :class:`LabelNetwork`.

        Each tree sees a sample of very many rows, and of the questions.
        """
        every = np.array(
            [(j, edge) for j, column in enumerate(features.T) for edge in _edges(np.unique(column))]
        )
        above, target, asked, value = _answers(features, every), np.eye(size)[codes], [], []
        start = np.log((weight @ target + 1) / (np.sum(weight) + size))
        logits = np.tile(start, (len(codes), 1))
        for _ in range(trees):
            rows = rng.permutation(len(codes))[: SEEN // size + 1]
            some = rng.permutation(len(every))[:ASKED]
            own: list[int] = []
            seen, p = 1.0 * above[np.ix_(rows, some)], np.exp(_log_softmax(logits[rows]))
            slopes = weight[rows, None, None] * np.stack([target[rows] - p, p * (1 - p)], axis=1)
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
        return _log_softmax(logits)

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


# With latent classes ----------------------------------------------------------------------

# The candidates: networks (hidden units, ridge), and trees (their number, depth, ridge).
TRIED = (
    *((LabelNetwork, 0, ridge) for ridge in (0.003, 0.03, 0.3, 3.0, 30.0)),
    (LabelNetwork, 24, 1.0),
    (LabelNetwork, 24, 10.0),
    (LabelTrees, 100, 4, 1.0),
    (LabelTrees, 100, 2, 0.1),
)


@dataclass(frozen=True)
class LabelPool(Configuration):
    """P(y | g) of one category given other columns: w_0 of latent classes, the rest of members.

    Parameters
    ----------
    classes : LatentClasses
    networks : tuple of tuple of LabelNetwork or LabelTrees
        Each inner tuple is a member, the mean of its models.
    weights : (1 + M,) array
        At least 0, with sum 1.
    sizes : tuple of int
        The number of labels of each column, 0 for numbers.
    centre, scale : (J,) array
        Units of the codes of numbers.
    linear : float
        a, above 0: the weight of the mean beside the product.
    power : float
        r, at least 1.
    """

    classes: LatentClasses
    networks: tuple
    weights: np.ndarray
    sizes: tuple
    centre: np.ndarray
    scale: np.ndarray
    linear: float = 1.0
    power: float = 1.0

    @classmethod
    def fit(
        cls,
        classes: LatentClasses,
        log_classes: Array,
        codes: Array,
        columns: Sequence[Any],
        weight: Array,
        parts: Array,
        rng: Generator,
        enough: Callable[[], bool] = lambda: False,
    ) -> tuple["LabelPool", Array]:
        """Return (LabelPool, log P of rows by members that were not fitted to them).

        Parameters
        ----------
        classes : LatentClasses
        log_classes : (N, L) array
            log P of every label by classes that were not fitted to the rows.
        codes : (N, J) array
        columns : sequence of columns, length J
        weight : (N,) array
        parts : (N,) array
            The fold that holds each row out; -1 if none does.
        rng : numpy.random.Generator
        enough : callable
            No other model is tried once it returns True.
        """
        sizes = tuple(len(column.labels) if column.kind == "category" else 0 for column in columns)
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
        made = cls(classes, (), np.ones(1), sizes, centre, scale)
        features, target = made._features(codes), codes[:, made.target].astype(np.int64)
        size, held = sizes[made.target], parts >= 0
        scores, networks = [log_classes[held]], []
        for kind, *options in TRIED:
            if enough():
                break

            def fitted(rest, kind=kind, options=options):
                rest = rest[:FITTED_ROWS] if len(rest) else np.arange(len(codes))
                with blas.one_thread():  # several threads are much slower for vectors this short
                    return kind.fit(features[rest], target[rest], weight[rest], size, *options, rng)

            score, own = np.zeros((len(codes), size)), []
            for k in range(np.max(parts) + 1):
                out = parts == k
                own.append(fitted(np.flatnonzero(~out)))
                score[out] = own[-1].log_probs(features[out])
            scores.append(score[held])
            # A model with a single mode is better fitted to all rows than as a mean over folds.
            if not options[0] and np.all(held):
                own = [fitted(np.arange(len(codes)))]
            networks.append(tuple(own))
        scores, weight = np.stack(scores), weight[held]
        own = np.arange(len(weight)), target[held]
        prior = np.full(len(scores), PRIOR_ROWS)
        weights = stacking_weights(scores[(slice(None), *own)].T, weight, prior)
        weights = np.where(weights < 1e-3, 0.0, weights)
        weights[0] = max(weights[0], 1e-3)  # for labels that no network has seen
        weights /= np.sum(weights)
        pools = _pools(scores, weights)
        likely = np.stack([pool[own] for pool in pools], axis=1)
        linear = float(stacking_weights(likely, weight, np.ones(2))[0])
        pooled = _mixed(*pools, linear)
        power = _power(pooled, own, weight)
        log_prob = np.zeros(len(codes))
        log_prob[held] = _log_softmax(power * pooled)[own]
        used = [k for k in range(len(networks)) if weights[k + 1] > 0]
        kept, weights = tuple(networks[k] for k in used), weights[[0] + [k + 1 for k in used]]
        return cls(classes, kept, weights, sizes, centre, scale, linear, power), log_prob

    @property
    def target(self) -> int:
        """The place of the column that is not given."""
        return next(j for j in range(len(self.sizes)) if j not in self.given)

    def _features(self, codes):
        """Return the features of the given columns, (N, C)."""
        found = []
        for j in self.given:
            column = codes[:, j, None]
            if self.sizes[j]:
                found.append(column == np.arange(self.sizes[j]))
            else:
                found.append(np.clip((column - self.centre[j]) / self.scale[j], -LARGEST, LARGEST))
        return np.concatenate(found, axis=1).astype(np.float64)

    def log_prob(self, codes: Array) -> Array:
        """Return log P, (N,), of codes (N, J); -inf where one is NaN."""
        whole = np.nan_to_num(codes)
        features, target = self._features(whole), whole[:, self.target].astype(np.int64)
        log_probs = [log_labels(self.classes, whole)]
        for member in self.networks:
            parts = [network.log_probs(features) for network in member]
            log_probs.append(np.logaddexp.reduce(parts, axis=0) - np.log(len(member)))
        pooled = _mixed(*_pools(np.stack(log_probs), self.weights), self.linear)
        if self.power != 1:
            pooled = _log_softmax(self.power * pooled)
        return np.where(
            np.any(np.isnan(codes), axis=1), -np.inf, pooled[np.arange(len(codes)), target]
        )

    # The other answers come from the latent classes.

    @property
    def given(self) -> tuple[int, ...]:
        """Places of the given columns."""
        return self.classes.given

    @property
    def parts(self) -> tuple:
        """The columns in each class."""
        return self.classes.parts

    @property
    def log_weights(self) -> Array:
        """Log-weights of the classes, log pi."""
        return self.classes.log_weights

    def log_given(self, codes: Array) -> Array:
        """Return as :meth:`LatentClasses.log_given` does."""
        return self.classes.log_given(codes)

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample as :meth:`LatentClasses.sample` does."""
        return self.classes.sample(rng, n)

    def describes(self, columns: Sequence[Any], given: Sequence[int]) -> bool:
        """Return whether the pool is for such columns, with those places given."""
        return (
            self.classes.describes(columns, given)
            and self.sizes
            == tuple(len(column.labels) if column.kind == "category" else 0 for column in columns)
            and len(columns) - len(given) == 1
        )

    def _check(self):
        require(
            isinstance(self.classes, LatentClasses),
            f"classes: expected LatentClasses, got {type(self.classes).__name__}",
        )
        columns = len(self.classes.parts)
        check_floats("weights", self.weights, 1 + len(self.networks))
        check_floats("centre", self.centre, columns)
        check_floats("scale", self.scale, columns)
        require(
            len(self.sizes) == columns
            and len(self.given) == columns - 1
            and self.sizes[self.target] > 0,
            "sizes: expected one a column, of one category that is not given",
        )
        require(0 < self.linear <= 1, "linear: expected a share above 0")
        require(1 <= self.power < np.inf, "power: expected a number of at least 1")
        require(
            np.all(self.weights >= 0)
            and self.weights[0] > 0
            and abs(np.sum(self.weights) - 1) < 1e-6
            and np.all(self.scale > 0),
            "weights: expected numbers of at least 0 with sum 1",
        )
        count = sum(self.sizes[j] or 1 for j in self.given)
        require(
            all(
                isinstance(model, (LabelNetwork, LabelTrees))
                and model.takes(count, self.sizes[self.target])
                for member in self.networks
                for model in member
            )
            and all(len(member) for member in self.networks),
            "networks: expected those of its features and labels",
        )


def _pools(log_probs, weights):
    """Return the linear and the logarithmic pool, (N, L) each, of log P_k (K, N, L)."""
    some = weights > 0
    mean = np.logaddexp.reduce(np.log(weights[some])[:, None, None] + log_probs[some], axis=0)
    return mean, _log_softmax(np.tensordot(weights, log_probs, 1))


def _mixed(mean, product, linear):
    """Return log Q of every label, (N, L), from both pools."""
    if linear == 1:
        return mean
    return np.logaddexp(np.log(linear) + mean, np.log1p(-linear) + product)


def _power(log_probs, own, weight):
    """Return r at its posterior mode, from log Q of every label (N, L) and the labels' places."""
    from scipy.optimize import minimize_scalar

    def loss(log_power):
        likely = _log_softmax(np.exp(log_power) * log_probs)[own]
        return 0.5 * (log_power / POWER_SPREAD) ** 2 - weight @ likely

    return float(np.exp(minimize_scalar(loss, bounds=(0.0, 4 * POWER_SPREAD), method="bounded").x))


def log_labels(classes: LatentClasses, codes: Array) -> Array:
    """Return log P of every label of the one column that is not given, (N, L).

    Parameters
    ----------
    classes : LatentClasses
    codes : (N, J) array
    """
    part = next(part for j, part in enumerate(classes.parts) if j not in classes.given)
    joint = classes._joint(codes, classes.given)
    shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    return np.log(shares @ np.exp(part.log_prob))


def is_of_a_label(columns: Sequence[Any], given: Sequence[int]) -> bool:
    """Return whether exactly one column with codes is not given, and it is a category."""
    own = [column for j, column in enumerate(columns) if j not in given]
    return bool(given) and len(own) == 1 and own[0].kind == "category"
