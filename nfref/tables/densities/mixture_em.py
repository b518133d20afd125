"""EM for mixtures of Gaussians, under a prior without units, in several searches at once.

The searches are the starts of one table, or of several, such as the training rows of each fold: a
step of small tables costs more in calls of NumPy than in arithmetic.

A component's likelihood has no bound where it shrinks onto a few rows, and a mixture of many
components has few rows for each. So covariances are at their posterior mode. The prior takes its
scale from the components themselves, because a cluster may be 1e6 times narrower than the table.
With n_k = sum_i w_i r_ik rows and C_k their covariance about the mean of the component,

    p(S_k)  ~  |S_k|^(-v/2) exp(-v tr(S_0 S_k^-1) / 2)      v = D + 2
    S_0     =  (sum_k a_k S_k^-1)^-1        a_k = n_k / (n_k + v) * n_k / sum_l n_l
    S_k    <-  (n_k C_k + v S_0) / (n_k + v)

an inverse Wishart density of v rows of covariance S_0, the harmonic mean of all of them. For
components that are alike this is what they share; beside a narrow component it is narrow, so a wide
or distant cluster does not widen another. The inverse covariance of n + v normal rows is too large
by (n + v) / n on average, hence the first factor of a_k. S_0 has no larger variance than the mean
of C_k, and a single component is left as it is.

With q factors a covariance is S_k = A_k A_k^T + P_k, A_k (D, q) and P_k diagonal, the likeliest
such matrix. It serves when there are too few rows for full covariances.

Sources: Bishop 2006 (EM); Fraley and Raftery 2007 (inverse Wishart prior of covariances); Arthur
and Vassilvitskii 2007 (where EM starts); Ghahramani and Hinton 1996 (mixtures of factor analysers);
Zhao, Yu and Jiang 2008 (their covariances by eigenvectors).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nfref.runtime import interrupts
from nfref.runtime.annotations import Any, Array, Generator, Places, Sequence
from nfref.tables.densities.gaussian import LOG_TWO_PI

# Share of a component's variance in each column that is the column's own, however similar columns
# are; ten times what rounding of 1,000 columns takes from it.
OWN_PART = 1e-11
TIED = 1e-3  # smallest deviation along repeated values, in deviations of the column
FACTOR_PART = 5e-3  # smallest share of a variance that no factor explains

NOTHING = 10 * np.finfo(float).eps  # rows of a component without rows: its weight stays above zero
STEPS_OF_A_START = 8  # steps after which only the likeliest start continues
ROWS_OF_A_START = 2000  # rows that starts see; more rows follow after convergence
AT_ONCE = 2**15  # most numbers of an array that EM works on: they fit in the cache of a core


@dataclass(frozen=True)
class EMState:
    """The state of EM in each of S searches."""

    log_weights: np.ndarray  # (S, K)
    means: np.ndarray  # (S, K, D)
    choleskys: np.ndarray  # (S, K, D, D)
    inverses: np.ndarray  # (S, K, D, D), of the Cholesky factors
    shared: Any  # (S, D, D), S_0, with several components
    own: Any  # (S, K, D), P, with factors
    collapsed: np.ndarray  # (S, K)

    def at(self, places: Places) -> "EMState":
        """Return some of the searches."""
        found: list[Any] = [
            None if value is None else value[places] for value in vars(self).values()
        ]
        return EMState(*found)

    @classmethod
    def joined(cls, parts: Sequence["EMState"]) -> "EMState":
        """Return the searches of several states, one after the other."""
        fields = zip(*(vars(part).values() for part in parts))
        found: list[Any] = [None if one[0] is None else np.concatenate(one) for one in fields]
        return cls(*found)


@dataclass(frozen=True)
class EMRows:
    """The rows of EM, of one table for all searches or of a table each; what holds for all steps.

    Attributes
    ----------
    z : (B, D, N) array
        The rows, transposed so that sums over columns add long vectors.
    weight : (B, N) array
        0 for the copies of the last row that fill up a table with fewer rows than others.
    gaps : (B, N, D) array
        The squared gaps between values and their neighbours in the column.
    factors : int or None
        q; None for full covariances.
    prior_rows : float
        v.
    """

    z: np.ndarray
    weight: np.ndarray
    gaps: np.ndarray
    factors: int | None
    prior_rows: float

    @classmethod
    def of(
        cls,
        tables: Sequence[Array],
        weights: Sequence[Array | None],
        factors: int | None,
        prior_rows: float,
    ) -> "EMRows":
        """Return the EMRows of (N, D) arrays with weights of their rows, (N,)."""
        rows = max(map(len, tables))
        places = [np.minimum(np.arange(rows), len(z) - 1) for z in tables]
        weight = np.zeros((len(tables), rows))
        for own, z, given in zip(weight, tables, weights):
            own[: len(z)] = 1.0 if given is None else given
        return cls(
            np.stack([np.ascontiguousarray(z[place].T) for z, place in zip(tables, places)]),
            weight,
            np.stack([_gaps(z)[place] ** 2 for z, place in zip(tables, places)]),
            factors,
            prior_rows,
        )

    def at(self, searches: Places) -> "EMRows":
        """Return the rows of some of the searches."""
        if len(self.z) == 1:
            return self
        z, weight, gaps = (one[searches] for one in (self.z, self.weight, self.gaps))
        return replace(self, z=z, weight=weight, gaps=gaps)

    def first(self, number: int) -> "EMRows":
        """Return the first rows of each table, or all."""
        if number >= self.weight.shape[1]:
            return self
        tables = [z[:, :number].T for z in self.z]
        return EMRows.of(tables, list(self.weight[:, :number]), self.factors, self.prior_rows)

    @cached_property
    def share(self) -> Array:
        """The weight of each row as a share of its table."""
        return self.weight / np.sum(self.weight, axis=1, keepdims=True)

    def improve(self, found: EMState, steps: int, tolerance: float) -> tuple[EMState, Array]:
        """Return (found, mean log-likelihoods (S,) before the last step) after so many steps.

        A search ends sooner if its log-likelihood changes by less than the tolerance.
        """
        searches, size = len(found.means), max(1, AT_ONCE // self.z[0].size)
        parts = [slice(start, start + size) for start in range(0, searches, size)]
        each = [self.at(part)._improve(found.at(part), steps, tolerance) for part in parts]
        return EMState.joined([one for one, _ in each]), np.concatenate([one for _, one in each])

    def _improve(self, found, steps, tolerance):
        """Return as :meth:`improve` does, for as many searches as have a good size together."""
        rows, places, ended = self, np.arange(len(found.means)), []
        previous = np.full(len(places), -np.inf)
        for _ in range(steps):
            shares, score = rows.expect(found)
            done = (np.abs(score - previous) < tolerance) | interrupts.came()
            if np.any(done):
                ended.append((places[done], found.at(done), score[done]))
                rows, found = rows.at(~done), found.at(~done)
                places, shares, score = places[~done], shares[~done], score[~done]
                if not len(places):
                    break
            found, previous = rows.maximise(shares, found), score
        else:
            ended.append((places, found, previous))
        order = np.argsort(np.concatenate([one for one, *_ in ended]))
        whole = EMState.joined([one for _, one, _ in ended])
        return whole.at(order), np.concatenate([one for *_, one in ended])[order]

    def _chunks(self, found_or_mass):
        """Yield slices of the K components whose arrays have a good size."""
        searches, components = found_or_mass.shape[:2]
        size = max(1, AT_ONCE // (searches * self.z[0].size))
        return [slice(start, start + size) for start in range(0, components, size)]

    def expect(self, found: EMState) -> tuple[Array, Array]:
        """Return (shares of components in rows (S, K, N), mean log-likelihoods (S,))."""
        joint = np.concatenate(
            [self._squares(found, part) for part in self._chunks(found.means)], axis=1
        )
        diagonal = np.diagonal(found.choleskys, axis1=-2, axis2=-1)
        joint *= -0.5
        joint += (
            found.log_weights
            - np.sum(np.log(diagonal), axis=-1)
            - 0.5 * self.z.shape[1] * LOG_TWO_PI
        )[..., None]
        largest = np.max(joint, axis=1, keepdims=True)
        shares = np.exp(joint - largest)
        total = np.sum(shares, axis=1, keepdims=True)
        shares /= total
        return shares, np.sum((largest + np.log(total))[:, 0] * self.share, axis=-1)

    def _squares(self, found, part):
        """Return |L^-1 (z - m)|^2, (S, k, N)."""
        scaled = found.inverses[:, part] @ (self.z[:, None] - found.means[:, part, :, None])
        scaled *= scaled
        return np.sum(scaled, axis=-2)

    def maximise(self, shares: Array, found: EMState | None = None) -> EMState:
        """Return the next EMState for the shares (S, K, N) of components in rows."""
        shares = shares * self.weight[:, None]
        mass = np.sum(shares, axis=-1) + NOTHING
        means = shares @ np.swapaxes(self.z, 1, 2) / mass[..., None]
        covariance = np.concatenate(
            [self._covariances(shares[:, part], means[:, part]) for part in self._chunks(mass)],
            axis=1,
        )
        covariance /= mass[..., None, None]
        variance = _diagonal(covariance)
        least = (shares @ self.gaps + self._least) / mass[..., None]
        collapsed = np.any(variance < least, axis=-1)
        covariance = covariance + _matrix(np.maximum(least - variance, 0))
        own = None if found is None else found.own
        part = mass / np.sum(mass, axis=-1, keepdims=True)
        pooled = np.sum(part[..., None] * _diagonal(covariance), axis=1)
        if mass.shape[1] > 1:
            # At first components share nothing: each has its own variances.
            shared = _matrix(_diagonal(covariance)) if found is None else found.shared[:, None]
            n = mass[..., None, None]
            covariance = (n * covariance + self.prior_rows * shared) / (n + self.prior_rows)
        covariance = covariance + _matrix(OWN_PART * _diagonal(covariance))
        if self.factors is not None:
            covariance, own = _by_factors(covariance, self.factors, own)
        choleskys = np.linalg.cholesky(covariance)
        inverses = np.linalg.inv(choleskys)
        shared = None
        if mass.shape[1] > 1:
            known = part * mass / (mass + self.prior_rows)
            shared = _inverse(
                np.sum(known[..., None, None] * (np.swapaxes(inverses, -1, -2) @ inverses), axis=1)
            )
            shared *= np.minimum(1, np.min(pooled / _diagonal(shared), axis=-1))[:, None, None]
        return EMState(np.log(part), means, choleskys, inverses, shared, own, collapsed)

    @cached_property
    def _least(self):
        """The squared gaps of NOTHING rows, (B, 1, D)."""
        return NOTHING * np.mean(self.gaps, axis=1, keepdims=True)

    def _covariances(self, shares, means):
        """Return n_k C_k, (S, k, D, D)."""
        centred = self.z[:, None] - means[..., None]
        return (shares[:, :, None] * centred) @ np.swapaxes(centred, -1, -2)


def _diagonal(matrices):
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _matrix(diagonals):
    """Return diagonal matrices (..., D, D)."""
    return diagonals[..., None] * np.eye(diagonals.shape[-1])


def _inverse(precision):
    """Return inverses of symmetric matrices (S, D, D), whose columns may differ much in units."""
    units = 1 / np.sqrt(_diagonal(precision))
    units = units[..., None] * units[..., None, :]
    found = np.linalg.inv(precision * units) * units
    return (found + np.swapaxes(found, -1, -2)) / 2


def _by_factors(covariance, factors, own):
    """Return (A A^T + P, P) near covariances (S, K, D, D), by steps from P or a guess.

    With C = P^-1/2 S P^-1/2 = U diag(e) U^T, A = P^1/2 U_q (e_q - 1)^1/2 is the likeliest for P,
    and what it leaves of the variances is the next P (Zhao, Yu and Jiang 2008).
    """
    variance = _diagonal(covariance)
    steps, own = (3, 0.5 * variance) if own is None else (1, own)
    for _ in range(steps):
        root = np.sqrt(own)
        values, vectors = np.linalg.eigh(covariance / (root[..., None] * root[..., None, :]))
        loadings = (
            root[..., None]
            * vectors[..., -factors:]
            * np.sqrt(np.maximum(values[..., None, -factors:] - 1, 0))
        )
        own = np.maximum(variance - np.sum(loadings**2, axis=-1), FACTOR_PART * variance)
    return loadings @ np.swapaxes(loadings, -1, -2) + _matrix(own), own


def fit_by_em(
    rows: EMRows,
    components: int,
    rngs: Sequence[Generator],
    starts: int,
    iterations: int,
    tolerance: float,
) -> EMState:
    """Return the likeliest of several starts of each table, improved until it changes little.

    A start gives each row to the nearest of K rows, sampled far apart as k-means++ does.

    Parameters
    ----------
    rows : EMRows
    components : int
        K.
    rngs : sequence of numpy.random.Generator
        One for each of the B tables.
    starts : int
    iterations : int
        At most.
    tolerance : float
        EM stops when the log-likelihood changes by less, in nats per row.
    """
    some = rows.first(max(ROWS_OF_A_START, components))
    # Starts have full covariances: factors take twice as long.
    full, table = replace(some, factors=None), [k for k in range(len(rngs)) for _ in range(starts)]
    nearest = [
        _nearest(some.z[k], _spread_rows(some.z[k], some.weight[k], components, rngs[k]))
        for k in table
    ]
    searches = full.at(table)
    found, left = searches.maximise(np.stack(nearest)), iterations
    if starts > 1:
        steps = min(STEPS_OF_A_START, left)
        found, score = searches.improve(found, steps, tolerance)
        best = np.argmax(score.reshape(-1, starts), axis=1)
        found, left = found.at(best + starts * np.arange(len(best))), left - steps
    if rows.factors is not None:
        found = some.maximise(some.expect(found)[0], found)
    found, _ = some.improve(found, left, tolerance)
    if some is not rows:
        found, _ = rows.improve(found, max(left, 1), tolerance)
    return found


# Where it starts --------------------------------------------------------------------------


def _gaps(z):
    """Return how far the nearest other value of its column is from each value, (N, D).

    A value says no more than a cell of that size. A value that repeats has as many cells, up to
    ``TIED`` in columns of variance 1, so that repeating is not rewarded.
    """
    found = np.ones(z.shape)
    for j, column in enumerate(z.T):
        values, place, count = np.unique(column, return_inverse=True, return_counts=True)
        if len(values) > 1:
            apart = np.diff(values)
            near = np.minimum(np.append(apart, np.inf), np.append(np.inf, apart))
            found[:, j] = np.clip(near * count, near, np.maximum(near, TIED))[place.reshape(-1)]
    return found


def _spread_rows(z, weight, number, rng):
    """Sample rows of z (D, N), with chances that grow as the squared distance to the others."""
    distance = np.ones(len(weight))
    centres: list[Any] = []
    while len(centres) < number:
        edges = np.cumsum(distance * weight)
        if not edges[-1] > 0:  # only copies are left
            edges = np.cumsum(weight)
        place = np.searchsorted(edges, rng.random() * edges[-1], side="right")
        centres.append(z[:, min(place, len(distance) - 1)])
        apart = np.sum((z - centres[-1][:, None]) ** 2, axis=0)
        distance = apart if len(centres) == 1 else np.minimum(distance, apart)
    return np.array(centres)


def _nearest(z, centres):
    """Return shares (K, N) that give each of the rows z (D, N) to the centre nearest to it."""
    # Not by squares and products: distant clusters would leave no digits for near ones.
    distance = np.stack([np.sum((z - centre[:, None]) ** 2, axis=0) for centre in centres])
    return (np.arange(len(centres))[:, None] == np.argmin(distance, axis=0)).astype(np.float64)
