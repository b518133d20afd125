"""The probability of a label given other columns: networks and trees beside the latent classes.

Latent classes explain what is given as well as the label, and spend themselves on it where much is
given. A network is of the label alone,

    P(y | f) = softmax(f A + tanh(f W + c) V + b)_y

with f the features of what is given: of a category a 1 in the place of its label, of a number its
code in units, drawn in at five of them. Without hidden units it is multinomial logistic regression.
Weights have a normal prior, whose precision is the ridge; biases have none. It is fitted by L-BFGS
to the posterior mode. Where a label changes at edges of a few columns among many, boosted trees
find it sooner.

Several such models and the latent classes are one pool, linear and logarithmic,

    Q(y | f) = a sum_k w_k P_k(y | f) + (1 - a) prod_k P_k(y | f)^w_k / Z(f)
    P(y | f) = Q(y | f)^r / sum_y' Q(y' | f)^r

with w, then a, and then r from rows that no model was fitted to
(:func:`nfref.tables.densities.pool.stacking_weights`). A mean of probabilities is less sure than
each that is right, their product is not; what remains of the mean bounds what a label can cost.
Priors keep every member from being sure, and so the pool of them: r makes up for that. It is at
least 1, since members know more rows in the end than when r is found, and are right more often. A
model is fitted once a fold, and the mean of these is the member; a network without hidden units is
fitted to all rows in the end, where folds hold out all.

Sources: Bishop 2006; Smyth and Wolpert 1997; Friedman 2001 (boosting), Prokhorenkova et al. 2018
(trees whose levels ask one question); Guo et al. 2017 (r, the inverse of their temperature).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.latent_classes import LatentClasses
from nfref.tables.densities.pool import stacking_weights

STEPS = 150  # of L-BFGS at most
FITTED_ROWS = 20_000  # so many rows at most
LARGEST = 5.0  # units of a number: further out it counts as so far
RATE = 0.1  # of a step that is taken
SEEN = 20_000  # over the number of labels: rows that a tree sees at most
ASKED = 200  # questions that it may ask
EDGES = 63  # of a feature that are asked about
PRIOR_ROWS = 0.3  # that are thought to have come from each member when it is weighed
POWER_SPREAD = 0.5  # standard deviation of log r, by its prior


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
        """The posterior mode, or a local one where there are hidden units.

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
            Where it begins.
        """
        from scipy.optimize import minimize

        count = features.shape[1]
        shapes = ((count, size), (count + 1, hidden), (hidden + 1, size))
        start = [
            np.zeros(shapes[0]),
            rng.standard_normal(shapes[1]) / np.sqrt(count + 1),
            np.zeros(shapes[2]),
        ]
        ends = np.cumsum([0] + [np.prod(shape) for shape in shapes])
        target = np.eye(size)[codes]

        def parts(vector):
            return [
                vector[first:last].reshape(shape)
                for first, last, shape in zip(ends, ends[1:], shapes)
            ]

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

        found = minimize(
            loss,
            np.concatenate([part.ravel() for part in start]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": STEPS},
        )
        return cls(*parts(found.x))

    def log_probs(self, features):
        """log P of every label, (N, L)."""
        h = np.tanh(features @ self.inner[:-1] + self.inner[-1])
        return _log_softmax(features @ self.direct + h @ self.outer[:-1] + self.outer[-1])

    def takes(self, count, size):
        """Whether it is of so many features and labels."""
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

    All nodes of a level of such a tree ask the same: whether one feature is above one edge.

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
        """Gradient boosting by Newton's steps with a ridge; the rest as of :class:`LabelNetwork`.

        Of very many rows, and of what may be asked, each tree sees some.
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

    def log_probs(self, features):
        """log P of every label, (N, L)."""
        logits = np.tile(self.start, (len(features), 1))
        for asked, value in zip(self.asked, self.value):
            logits = logits + value[_leaves(_answers(features, asked))]
        return _log_softmax(logits)

    def takes(self, count, size):
        """Whether it can be of so many features, and is of so many labels."""
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
    """At most ``EDGES`` + 1 among values in order; above the last one there is none."""
    last = len(values) - 1
    place = np.unique(np.linspace(0, last, EDGES + 1).astype(np.int64))
    return 0.5 * (values[place] + values[np.minimum(place + 1, last)])


def _answers(features, asked):
    """Which questions (Q, 2) are answered by yes, (N, Q)."""
    return features[:, asked[:, 0].astype(np.int64)] > asked[:, 1]


def _leaves(answers):
    """The numbers of leaves, (N,), of answers (N, K)."""
    return answers.astype(np.int64) @ 2 ** np.arange(answers.shape[1])


def _step(sums, ridge):
    """Slope over curvature of logits, (..., L), of their sums (..., 2, L)."""
    return sums[..., 0, :] / (np.maximum(sums[..., 1, :], 0.0) + ridge)


# With latent classes ----------------------------------------------------------------------

# What is tried: networks (hidden units, ridge), and trees (their number, depth, ridge).
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
        Each a member, the mean of its models.
    weights : (1 + M,) array
        At least 0, with sum 1.
    sizes : tuple of int
        Of each column the number of labels, 0 for numbers.
    centre, scale : (J,) array
        Of codes: the units of numbers.
    linear : float
        a, above 0: how much the mean counts beside the product.
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
    ) -> tuple["LabelPool", Array]:
        """(LabelPool, log P of rows by members that were not fitted to them).

        Parameters
        ----------
        classes : LatentClasses
        log_classes : (N, L) array
            log P of every label by classes that were not fitted to the rows.
        codes : (N, J) array
        columns : sequence of columns, length J
        weight : (N,) array
        parts : (N,) array
            The fold that holds each row out; -1 where none does.
        rng : numpy.random.Generator
        """
        sizes = tuple(len(column.labels) if column.kind == "category" else 0 for column in columns)
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
        made = cls(classes, (), np.ones(1), sizes, centre, scale)
        features, target = made._features(codes), codes[:, made.target].astype(np.int64)
        size, held = sizes[made.target], parts >= 0
        scores, networks = [log_classes[held]], []
        for kind, *options in TRIED:

            def fitted(rest, kind=kind, options=options):
                rest = rest[:FITTED_ROWS] if len(rest) else np.arange(len(codes))
                with blas.one_thread():  # several are much slower for vectors as short as these
                    return kind.fit(features[rest], target[rest], weight[rest], size, *options, rng)

            score, own = np.zeros((len(codes), size)), []
            for k in range(np.max(parts) + 1):
                out = parts == k
                own.append(fitted(np.flatnonzero(~out)))
                score[out] = own[-1].log_probs(features[out])
            scores.append(score[held])
            # What has one mode needs no mean of several, and is better for all rows.
            if not options[0] and np.all(held):
                own = [fitted(np.arange(len(codes)))]
            networks.append(tuple(own))
        scores, weight = np.stack(scores), weight[held]
        own = np.arange(len(weight)), target[held]
        prior = np.full(len(scores), PRIOR_ROWS)
        weights = stacking_weights(scores[(slice(None), *own)].T, weight, prior)
        weights = np.where(weights < 1e-3, 0.0, weights)
        weights[0] = max(weights[0], 1e-3)  # of labels that no network has seen
        weights /= np.sum(weights)
        pools = _pools(scores, weights)
        likely = np.stack([pool[own] for pool in pools], axis=1)
        linear = float(stacking_weights(likely, weight, np.ones(2))[0])
        pooled = _mixed(*pools, linear)
        power = _power(pooled, own, weight)
        log_prob = np.zeros(len(codes))
        log_prob[held] = _log_softmax(power * pooled)[own]
        used = [k for k in range(len(networks)) if weights[k + 1] > 0]
        found = cls(
            classes,
            tuple(networks[k] for k in used),
            weights[[0] + [k + 1 for k in used]],
            sizes,
            centre,
            scale,
            linear,
            power,
        )
        return found, log_prob

    @property
    def target(self):
        """The place of the column that is not given."""
        return next(j for j in range(len(self.sizes)) if j not in self.given)

    def _features(self, codes):
        """(N, C) of the columns that are given."""
        found = []
        for j in self.given:
            found.append(
                codes[:, j, None] == np.arange(self.sizes[j])
                if self.sizes[j]
                else np.clip(
                    (codes[:, j, None] - self.centre[j]) / self.scale[j], -LARGEST, LARGEST
                )
            )
        return np.concatenate(found, axis=1).astype(np.float64)

    def log_prob(self, codes):
        """log P, (N,), of codes (N, J); -inf where one is NaN."""
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

    # What latent classes tell besides.

    @property
    def given(self):
        return self.classes.given

    @property
    def parts(self):
        return self.classes.parts

    @property
    def log_weights(self):
        return self.classes.log_weights

    def log_given(self, codes):
        """See :meth:`LatentClasses.log_given`."""
        return self.classes.log_given(codes)

    def sample(self, rng, n):
        """See :meth:`LatentClasses.sample`."""
        return self.classes.sample(rng, n)

    def describes(self, columns, given):
        """Whether it is of such columns, with those places given."""
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
    """The linear and the logarithmic pool of log P_k of every label (K, N, L), (N, L) each."""
    some = weights > 0
    mean = np.logaddexp.reduce(np.log(weights[some])[:, None, None] + log_probs[some], axis=0)
    return mean, _log_softmax(np.tensordot(weights, log_probs, 1))


def _mixed(mean, product, linear):
    """log Q of every label, (N, L), of both pools."""
    if linear == 1:
        return mean
    return np.logaddexp(np.log(linear) + mean, np.log1p(-linear) + product)


def _power(log_probs, own, weight):
    """r by the posterior mode, of log Q of every label (N, L) and the places of those that are."""
    from scipy.optimize import minimize_scalar

    def loss(log_power):
        likely = _log_softmax(np.exp(log_power) * log_probs)[own]
        return 0.5 * (log_power / POWER_SPREAD) ** 2 - weight @ likely

    return float(np.exp(minimize_scalar(loss, bounds=(0.0, 4 * POWER_SPREAD), method="bounded").x))


def log_labels(classes: LatentClasses, codes: Array) -> Array:
    """log P of every label of the one column that is not given, (N, L), by latent classes.

    Parameters
    ----------
    classes : LatentClasses
    codes : (N, J) array
    """
    part = next(part for j, part in enumerate(classes.parts) if j not in classes.given)
    joint = classes._joint(codes, classes.given)
    shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    return np.log(shares @ np.exp(part.log_prob))


def is_of_a_label(columns, given):
    """Whether just one column with a code is not given, and that is a category."""
    own = [column for j, column in enumerate(columns) if j not in given]
    return bool(given) and len(own) == 1 and own[0].kind == "category"
