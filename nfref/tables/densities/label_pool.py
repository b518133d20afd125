"""The probability of a label given other columns: a pool of latent classes, networks and trees.

Latent classes model the given columns as well as the label, so they have less left for the label
where many columns are given. Networks and trees (:mod:`nfref.tables.densities.label_models`) model
the label alone. All form one pool, linear and logarithmic,

    Q(y | f) = a sum_k w_k P_k(y | f) + (1 - a) prod_k P_k(y | f)^w_k / Z(f)
    P(y | f) = Q(y | f)^r / sum_y' Q(y' | f)^r

The features f of the given columns are a 1 in the place of a category's label, and numbers in
units, clipped at five of them. Out-of-fold rows decide w, then a, and then r
(:func:`nfref.tables.densities.pool.stacking_weights`). A mean of probabilities is less certain than
a member that is right; a product is not. What remains of the mean bounds what a label can cost.
Priors keep every member, and so the pool, from being certain: r corrects that. It is at least 1,
because the final members know more rows than when r is found, and are right more often.

A model is fitted once a fold, and the mean of these is the member. A network without hidden units
is fitted to all rows in the end, if folds hold out all of them in turn.

Sources: Smyth and Wolpert 1997; Guo et al. 2017 (r, the inverse of their temperature).
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.label_models import LabelledRows, LabelNetwork, LabelTrees, log_softmax
from nfref.tables.densities.latent_classes import CodedRows, LatentClasses
from nfref.tables.densities.pool import SMALLEST_WEIGHT, stacking_weights
from nfref.tables.schema.columns import Column

FITTED_ROWS = 20_000  # most rows to fit
LARGEST = 5.0  # units at which numbers are clipped
PRIOR_ROWS = 0.3  # prior rows of each member when it is weighed
POWER_SPREAD = 0.5  # standard deviation of log r in its prior

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
        rows: CodedRows,
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
        rows : CodedRows
        parts : (N,) array
            The fold that holds each row out; -1 if none does.
        rng : numpy.random.Generator
        enough : callable
            No other model is tried once it returns True.
        """
        codes, weight = rows.codes, rows.weight
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
        made = cls(classes, (), np.ones(1), _sizes_of(rows.columns), centre, scale)
        target, size = codes[:, made.target].astype(np.int64), made.sizes[made.target]
        labelled = LabelledRows(made._features(codes), target, weight, size)
        scores, networks = _fit_models(labelled, parts, rng, enough)
        held = parts >= 0
        scores, weight = np.stack([log_classes, *scores])[:, held], weight[held]
        own = np.arange(len(weight)), target[held]
        weights = _member_weights(scores[:, own[0], own[1]].T, weight)
        pools = _pools(scores, weights)
        likely = np.stack([pool[own] for pool in pools], axis=1)
        linear = float(stacking_weights(likely, weight, np.ones(2))[0])
        pooled = _mixed(*pools, linear)
        power = _power(pooled, own, weight)
        log_prob = np.zeros(len(codes))
        log_prob[held] = log_softmax(power * pooled)[own]
        used = [k for k in range(len(networks)) if weights[k + 1] > 0]
        found = replace(
            made,
            networks=tuple(networks[k] for k in used),
            weights=weights[[0] + [k + 1 for k in used]],
            linear=linear,
            power=power,
        )
        return found, log_prob

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
            pooled = log_softmax(self.power * pooled)
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

    def describes(self, columns: Sequence[Column], given: Sequence[int]) -> bool:
        """Return whether the pool is for such columns, with those places given."""
        return (
            self.classes.describes(columns, given)
            and self.sizes == _sizes_of(columns)
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


# A fit ------------------------------------------------------------------------------------


def _sizes_of(columns):
    """Return the number of labels of each column, 0 for numbers."""
    return tuple(len(column.labels) if column.kind == "category" else 0 for column in columns)


def _fit_models(rows, parts, rng, enough):
    """Return (log P of held-out rows (N, L), the models) of each of ``TRIED``, fitted by fold."""
    every = np.arange(len(parts))

    def fit(kind, options, places):
        places = places[:FITTED_ROWS] if len(places) else every
        with blas.one_thread():  # several threads are much slower for vectors this short
            return kind.fit(rows.at(places), *options, rng)

    scores, networks = [], []
    for kind, *options in TRIED:
        if enough():
            break
        score, own = np.zeros((len(parts), rows.size)), []
        for k in range(np.max(parts) + 1):
            out = parts == k
            own.append(fit(kind, options, np.flatnonzero(~out)))
            score[out] = own[-1].log_probs(rows.features[out])
        scores.append(score)
        # A model with a single mode is better fitted to all rows than as a mean over folds.
        if not options[0] and np.all(parts >= 0):
            own = [fit(kind, options, every)]
        networks.append(tuple(own))
    return scores, networks


def _member_weights(log_densities, weight):
    """Return w by held-out rows: log P (M, K) of their own labels, and their weights (M,)."""
    prior = np.full(log_densities.shape[1], PRIOR_ROWS)
    weights = stacking_weights(log_densities, weight, prior)
    weights = np.where(weights < SMALLEST_WEIGHT, 0.0, weights)
    weights[0] = max(weights[0], SMALLEST_WEIGHT)  # for labels that no network has seen
    return weights / np.sum(weights)


def _pools(log_probs, weights):
    """Return the linear and the logarithmic pool, (N, L) each, of log P_k (K, N, L)."""
    some = weights > 0
    mean = np.logaddexp.reduce(np.log(weights[some])[:, None, None] + log_probs[some], axis=0)
    return mean, log_softmax(np.tensordot(weights, log_probs, 1))


def _mixed(mean, product, linear):
    """Return log Q of every label, (N, L), from both pools."""
    if linear == 1:
        return mean
    return np.logaddexp(np.log(linear) + mean, np.log1p(-linear) + product)


def _power(log_probs, own, weight):
    """Return r at its posterior mode, from log Q of every label (N, L) and the labels' places."""
    from scipy.optimize import minimize_scalar

    def loss(log_power):
        likely = log_softmax(np.exp(log_power) * log_probs)[own]
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
    return np.log(classes.shares(codes, classes.given) @ np.exp(part.log_prob))
