"""Probabilities of discrete columns: a latent class model, fitted by EM.

Within a class the columns are independent; classes make them depend:

    P(d) = sum_r pi_r prod_j P_jr(d_j).

A category has a table of probabilities in each class, shrunk towards that of all rows by as many
rows as it has labels, so that none is zero. A count has such a table of the numbers seen, and also
a Student t of the class, whose mass within half of each whole number is its probability. The number
of rows for each number seen decides the weights of the two. So the probabilities of all whole
numbers sum to one, and none is zero.

Given columns G, which may be real, say how likely each class is, and the class how likely the other
columns are:

    P(d | g) = sum_r pi_r P_r(g) prod_j P_jr(d_j) / sum_r pi_r P_r(g).

Source: Bishop 2006 (EM for mixtures, of which this is one of discrete distributions).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, check_log_shares, check_rng, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.gaussian import LOG_TWO_PI
from nfref.tables.densities.wide import student_log_prob
from nfref.tables.schema.columns import Category, Column, Count

CLASSES = (1, 2, 4, 8, 16)  # numbers of classes that are tried
MOST_COMBINATIONS = 64  # most combinations of labels that have a class each
ITERATIONS = 200  # most steps of EM
TOLERANCE = 1e-5  # gain of the mean log-likelihood, in nats, below which EM stops
STARTS = 5  # starts of EM, of which the likeliest is kept
FEW_ROWS = 100  # distinct rows above which one start is enough
FARTHEST = 1e100  # most deviations that a given real column counts
FREEDOM = 4.0  # degrees of freedom of the Student t of a count


@dataclass(frozen=True)
class LabelProbabilities(Configuration):
    """log P of labels 0 ... L-1 in each class, (R, L)."""

    log_prob: np.ndarray

    @classmethod
    def fit(cls, codes: Array, shares: Array, size: int) -> "LabelProbabilities":
        """Fit codes below ``size``; ``shares`` (N, R) are the weights of rows in each class."""
        counts = np.stack([np.bincount(codes, share, size) for share in shares.T])
        whole = np.sum(counts, axis=0) + 0.5
        whole = whole / np.sum(whole)
        smoothed = counts + whole * size
        return cls(np.log(smoothed / np.sum(smoothed, axis=1, keepdims=True)))

    def of(self, codes: Array) -> Array:
        """Return log P, (N, R)."""
        return self.log_prob.T[codes]

    def sample(self, rng: Generator, classes: Array) -> Array:
        """Sample a code for each class, (N,)."""
        edges = np.cumsum(np.exp(self.log_prob), axis=1)
        u = rng.random(len(classes)) * edges[classes, -1]
        return np.sum(u[:, None] >= edges[classes, :-1], axis=1)

    def describes(self, column: Column, classes: int) -> bool:
        """Return whether this is for such a column and this number of classes."""
        return isinstance(column, Category) and self.log_prob.shape == (classes, len(column.labels))

    def _check(self):
        check_log_shares("log_prob", self.log_prob, None, None)


@dataclass(frozen=True)
class Numbers(Configuration):
    """Whole numbers in each class: a table of those seen, and a Student t cut into unit cells.

    Parameters
    ----------
    low : float
        The smallest whole number; -inf without one.
    seen : (L,) array
        Numbers in the table, ascending.
    log_prob : (R, L) array
        Their log-probabilities in the table.
    table : (R,) array
        The probability of the table.
    middle, scale : (R,) array
        Location and scale of the Student t.
    high : float
        The largest whole number; inf without one.
    """

    low: float
    seen: np.ndarray
    log_prob: np.ndarray
    table: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    high: float = np.inf

    @classmethod
    def fit(cls, numbers: Array, shares: Array, column: Count) -> "Numbers":
        """Fit whole numbers; ``shares`` (N, R) are the weights of rows in each class."""
        seen, codes = np.unique(numbers, return_inverse=True)
        table = LabelProbabilities.fit(codes, shares, len(seen))
        mass = np.sum(shares, axis=0) + 1e-12
        middle = shares.T @ numbers / mass
        spread = np.sum(shares * (numbers[:, None] - middle) ** 2, axis=0) / mass
        scale = np.sqrt((spread + 0.1) * (FREEDOM - 2) / FREEDOM)
        # Rows for each number seen: with few of them the table gets little weight.
        weight = (mass + 1) / (mass + 2 + len(seen) * mass / np.sum(shares))
        return cls(column.low, seen, table.log_prob, weight, middle, scale, column.high)

    def of(self, numbers: Array) -> Array:
        """Return log P, (N, R)."""
        # many rows have few distinct numbers
        numbers, inverse = np.unique(numbers, return_inverse=True)
        place = np.minimum(np.searchsorted(self.seen, numbers), len(self.seen) - 1)
        known = self.seen[place] == numbers
        from_table = np.where(known[:, None], self.log_prob.T[place], -np.inf)
        return np.logaddexp(
            np.log(self.table) + from_table, np.log1p(-self.table) + self._log_cells(numbers)
        )[inverse]

    def _log_cells(self, numbers):
        """Return log P of the Student t within half of each number, given ``low`` to ``high``."""
        from scipy.special import stdtr

        # The upper tail is computed as the lower one, which keeps its digits.
        t = (numbers[:, None] - self.middle) / self.scale
        half = 0.5 / self.scale
        turned = -np.abs(t)
        cell = stdtr(FREEDOM, turned + half) - stdtr(FREEDOM, turned - half)
        narrow = half < 1e-4 * np.abs(t)
        # Far out the two ends agree in all digits, and the middle of the cell is as good.
        flat = student_log_prob(t, FREEDOM)
        with np.errstate(divide="ignore"):
            cells = np.where(narrow, flat + np.log(2 * half), np.log(cell))
        return cells - np.log(self.mass_within())

    def mass_within(self) -> Array:
        """Return the mass of each Student t from ``low`` to ``high``, (R,)."""
        from scipy.special import stdtr

        from_low = stdtr(FREEDOM, (self.middle - self.low + 0.5) / self.scale)
        return from_low - stdtr(FREEDOM, (self.middle - self.high - 0.5) / self.scale)

    def sample(self, rng: Generator, classes: Array) -> Array:
        """Sample a number for each class, (N,)."""
        from scipy.special import stdtr, stdtrit

        place = LabelProbabilities(self.log_prob).sample(rng, classes)
        middle, scale = self.middle[classes], self.scale[classes]
        least = stdtr(FREEDOM, (self.low - 0.5 - middle) / scale)
        most = stdtr(FREEDOM, (self.high + 0.5 - middle) / scale)
        u = least + (most - least) * rng.uniform(1e-12, 1 - 1e-12, len(classes))
        drawn = np.clip(np.round(middle + scale * stdtrit(FREEDOM, u)), self.low, self.high)
        return np.where(rng.random(len(classes)) < self.table[classes], self.seen[place], drawn)

    def describes(self, column: Column, classes: int) -> bool:
        """Return as :meth:`LabelProbabilities.describes` does."""
        own = self.low, self.high, len(self.middle)
        return isinstance(column, Count) and (column.low, column.high, classes) == own

    def _check(self):
        check_floats("middle", self.middle, None)
        check_floats("seen", self.seen, None)
        classes, seen = len(self.middle), len(self.seen)
        check_log_shares("log_prob", self.log_prob, classes, seen)
        check_floats("table", self.table, classes)
        check_floats("scale", self.scale, classes)
        require(
            seen > 0
            and np.all(np.diff(self.seen) > 0)
            and np.all(self.scale > 0)
            and np.all((self.table > 0) & (self.table < 1)),
            "seen, table, scale: expected numbers in order, shares and numbers above 0",
        )
        beyond = np.maximum(
            self.low / FARTHEST - self.middle / FARTHEST,
            self.middle / FARTHEST - self.high / FARTHEST,
        )
        require(  # further away, the mass from low to high would be 0
            np.all(beyond * FARTHEST**0.5 < self.scale) and np.all(self.mass_within() > 0),
            "middle: expected numbers not far below low or above high",
        )


@dataclass(frozen=True)
class Normal(Configuration):
    """A real column in each class: N(u; m_r, s_r^2). Only given columns are of this kind.

    Parameters
    ----------
    middle, spread : (R,) array
        m and s.
    """

    middle: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, u: Array, shares: Array) -> "Normal":
        """Fit moments in each class; a spread is at least a twentieth of that of all rows."""
        mass = np.sum(shares, axis=0) + 1e-12
        middle = shares.T @ u / mass
        variance = np.sum(shares * (u[:, None] - middle) ** 2, axis=0) / mass
        whole = np.sum(shares, axis=1)
        least = np.average((u - np.average(u, weights=whole)) ** 2, weights=whole) / 400
        return cls(middle, np.sqrt(np.maximum(variance, least + 1e-12)))

    def of(self, u: Array) -> Array:
        """Return log N, (N, R)."""
        with np.errstate(over="ignore"):  # a square that overflows would leave no ratio of classes
            z = np.clip((u[:, None] - self.middle) / self.spread, -FARTHEST, FARTHEST)
        return -0.5 * z**2 - np.log(self.spread) - 0.5 * LOG_TWO_PI

    def sample(self, rng: Generator, classes: Array) -> Array:
        """Sample a number for each class, (N,)."""
        return self.middle[classes] + self.spread[classes] * rng.standard_normal(len(classes))

    def describes(self, column: Column, classes: int) -> bool:
        """Return as :meth:`LabelProbabilities.describes` does."""
        return column.kind not in ("category", "count") and len(self.middle) == classes

    def _check(self):
        check_floats("middle", self.middle, None)
        check_floats("spread", self.spread, len(self.middle))
        require(np.all(self.spread > 0), "spread: expected numbers above 0")


def part_of(column: Column, values: Array, shares: Array) -> Any:
    """Fit one column in each class; ``shares`` (N, R) are the weights of rows there."""
    if isinstance(column, Category):
        return LabelProbabilities.fit(values.astype(np.int64), shares, len(column.labels))
    if isinstance(column, Count):
        return Numbers.fit(values, shares, column)
    return Normal.fit(values, shares)


@dataclass(frozen=True)
class CodedRows:
    """Rows of codes to fit to.

    Parameters
    ----------
    codes : (N, J) array
    columns : sequence of Category, Count or Continuous, length J
    weight : (N,) array
    given : sequence of int
        Places of the given columns; they take part in a fit too.
    """

    codes: Array
    columns: Sequence[Column]
    weight: Array
    given: Sequence[int] = ()


@dataclass(frozen=True)
class LatentClasses(Configuration):
    """P(d) = sum_r pi_r prod_j P_jr(d_j), or the same of some columns given the others.

    Parameters
    ----------
    log_weights : (R,) array
        log pi.
    parts : tuple of LabelProbabilities, Numbers or Normal
        One a column.
    given : tuple of int
        Places of the columns that are given.
    """

    log_weights: np.ndarray
    parts: tuple
    given: tuple = ()

    @classmethod
    def fit(cls, rows: CodedRows, classes: int, rng: Generator) -> "LatentClasses":
        """Fit by expectation-maximisation from random classes, R of them."""
        shares = check_rng(rng).dirichlet(np.full(classes, 0.5), len(rows.codes))
        previous = -np.inf
        for _ in range(ITERATIONS if classes > 1 else 1):
            model = cls._of_shares(rows, shares)
            joint = model._joint(rows.codes)
            log_prob = np.logaddexp.reduce(joint, axis=1)
            shares = np.exp(joint - log_prob[:, None])
            mean = np.average(log_prob, weights=rows.weight)
            if mean - previous < TOLERANCE:
                break
            previous = mean
        return model

    def again(self, rows: CodedRows) -> "LatentClasses":
        """Take one more step of EM, with the same classes, on these rows."""
        return self._of_shares(rows, self.shares(rows.codes))

    @classmethod
    def _of_shares(cls, rows, shares):
        """Return the classes in which each row has a share, (N, R)."""
        shares = rows.weight[:, None] * shares
        mass = np.sum(shares, axis=0) + 1e-12
        pairs = zip(rows.columns, rows.codes.T)
        parts = tuple(part_of(column, values, shares) for column, values in pairs)
        return cls(np.log(mass / np.sum(mass)), parts, tuple(rows.given))

    @classmethod
    def choose(
        cls,
        rows: CodedRows,
        validation: CodedRows,
        rng: Generator,
        enough: Callable[[], bool] = lambda: False,
    ) -> "LatentClasses":
        """Fit the number of classes that gives validation rows the highest probability.

        If real columns are given, classes of the discrete columns alone are tried too: classes of
        all columns may model the given ones instead. No larger number is tried once ``enough()``.
        If categories have few combinations of labels, one class for each of these is tried too:
        they hold the shares of all groups.
        """
        best: Any = None
        best_score, (count, width) = -np.inf, rows.codes.shape

        def score(model, of=validation):
            return np.average(model.log_prob(of.codes), weights=of.weight)

        discrete = [j for j, one in enumerate(rows.columns) if one.kind in ("category", "count")]
        for classes in CLASSES if width > 1 else (1,):
            if best is not None and (classes * width > count or enough()):
                break
            # With few distinct rows EM stays near its start, so it has several.
            starts = STARTS if classes > 1 and count <= FEW_ROWS else 1
            models = [cls.fit(rows, classes, rng) for _ in range(starts)]
            models = [max(models, key=lambda one: score(one, rows))]
            if classes > 1 and len(discrete) < width:
                models.append(cls._of_some(rows, discrete, classes, rng))
            scores = list(map(score, models))
            if best is not None and max(scores) <= best_score:
                break
            best, best_score = models[int(np.argmax(scores))], max(scores)
        whole = cls._of_combinations(rows)
        return whole if whole is not None and score(whole) > best_score else best

    @classmethod
    def _of_combinations(cls, rows):
        """Return one class for each combination of labels; None for one category or very many."""
        places = [j for j, column in enumerate(rows.columns) if column.kind == "category"]
        found, place = np.unique(rows.codes[:, places], axis=0, return_inverse=True)
        if len(places) < 2 or len(found) > MOST_COMBINATIONS:
            return None
        return cls._of_shares(rows, np.eye(len(found))[place.reshape(-1)])

    @classmethod
    def _of_some(cls, rows, places, classes, rng):
        """Fit classes to some of the columns, and the other columns in these classes."""
        codes, columns = rows.codes[:, places], [rows.columns[j] for j in places]
        some = LatentClasses.fit(CodedRows(codes, columns, rows.weight), classes, rng)
        return cls._of_shares(rows, some.shares(codes))

    def _joint(self, codes, places=None):
        """Return log pi_r prod_j P_jr, (N, R), over some of the columns."""
        total = np.broadcast_to(self.log_weights, (len(codes), len(self.log_weights)))
        for j in range(len(self.parts)) if places is None else places:
            part, column = self.parts[j], codes[:, j]
            codes_of = column.astype(np.int64) if isinstance(part, LabelProbabilities) else column
            total = total + part.of(codes_of)
        return total

    def shares(self, codes: Array, places: Sequence[int] | None = None) -> Array:
        """Return the probability of each class given some columns, or all of them, (N, R)."""
        joint = self._joint(codes, places)
        return np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])

    def log_prob(self, codes: Array) -> Array:
        """Return log P, (N,), of codes (N, J); -inf where one is NaN."""
        bad = np.any(np.isnan(codes), axis=1)
        codes = np.where(bad[:, None], 0.0, codes)
        found = np.logaddexp.reduce(self._joint(codes), axis=1)
        if self.given:
            found = found - self.log_given(codes)
        return np.where(bad, -np.inf, found)

    def log_given(self, codes: Array) -> Array:
        """Return log P of the given columns, (N,)."""
        return np.logaddexp.reduce(self._joint(codes, self.given), axis=1)

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample codes, (n, J)."""
        weights = np.exp(self.log_weights)
        classes = rng.choice(len(weights), n, p=weights / np.sum(weights))
        return np.stack([part.sample(rng, classes) for part in self.parts], axis=1).astype(
            np.float64
        )

    def describes(self, columns: Sequence[Column], given: Sequence[int]) -> bool:
        """Return whether the classes are for such columns, with those places given."""
        return (
            len(columns) == len(self.parts)
            and self.given == tuple(given)
            and all(
                part.describes(column, len(self.log_weights))
                for part, column in zip(self.parts, columns)
            )
        )

    def _check(self):
        check_log_shares("log_weights", self.log_weights, None)
        require(len(self.log_weights) > 0, "log_weights: expected one a class, got none")
