"""Compare ``nfref.FlowOutlierDetector`` with others: AUC on tables with labels, in one run.

    python -m tests.benchmarks.outliers [--only NAME ...] [--seeds 0 1]

The protocol, fixed before any measurement: each detector is fitted to all rows of a table, outliers
among them, without labels, with its defaults, and scores the same rows, as in practice. nfref's
scores are out-of-fold (``training_scores_``). Other detectors get standardised columns. The area
under the curve is the probability that an outlier scores odder than an ordinary row; standard
errors are those of Hanley and McNeil (1982). In tables that scikit-learn and nfref ship, the
outliers are a class, thinned until it is rare. The other tables are synthetic: each has one way of
being odd.
"""

import numpy as np
from scipy import stats

from tests.benchmarks.named_tables import arguments, asked_for, timed

ROWS = 800


# Tables -----------------------------------------------------------------------------------


def _rare(x, odd, share, rng):
    """Return rows with ``share`` odd ones, at most ``ROWS``."""
    common, rare = np.flatnonzero(~odd), np.flatnonzero(odd)
    common = rng.permutation(common)[:ROWS]
    rare = rng.permutation(rare)[: max(8, round(share * len(common)))]
    x = x[np.concatenate([common, rare])]
    return x[:, np.ptp(x, axis=0) > 0], np.arange(len(x)) >= len(common)


def breast_cancer(rng):
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return _rare(found.data, found.target == 0, 0.08, rng)


def wine(rng):
    from sklearn.datasets import load_wine

    found = load_wine()
    return _rare(found.data, found.target == 2, 0.08, rng)


def iris(rng):
    from sklearn.datasets import load_iris

    found = load_iris()
    return _rare(found.data, found.target == 0, 0.1, rng)


def digits(rng):
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = found.data[np.isin(found.target, (0, 1, 6))]
    label = found.target[np.isin(found.target, (0, 1, 6))]
    x, odd = _rare(kept, label == 1, 0.05, rng)
    return x, odd


def moons(rng):
    """Two moons, and odd rows between and around them."""
    from sklearn.datasets import make_moons

    x = make_moons(ROWS, noise=0.06, random_state=int(rng.integers(2**31)))[0]
    return (
        np.concatenate([x, rng.uniform([-1.5, -1], [2.5, 1.5], (40, 2))]),
        np.arange(ROWS + 40) >= ROWS,
    )


def clusters(rng):
    """Odd rows lie far from three clusters of unequal spread."""
    centres = np.array([[0, 0, 0, 0], [8, 8, 0, 0], [0, 8, 8, 0.0]])
    scale = np.array([0.3, 1.0, 2.0])
    which = rng.integers(3, size=ROWS)
    x = centres[which] + scale[which, None] * rng.standard_normal((ROWS, 4))
    return np.concatenate([x, rng.uniform(-6, 14, (40, 4))]), np.arange(ROWS + 40) >= ROWS


def local(rng):
    """Odd rows lie beside a narrow cluster, by more than its spread and less than another's."""
    which = rng.integers(2, size=ROWS)
    scale = np.where(which[:, None] == 0, 0.2, 3.0)
    x = scale * rng.standard_normal((ROWS, 3)) + 9 * which[:, None]
    odd = rng.standard_normal((40, 3))
    odd = 1.6 * odd / np.linalg.norm(odd, axis=1, keepdims=True)
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


def all_over(rng):
    """Odd rows lie anywhere in the range of ten dependent columns."""
    mix = rng.standard_normal((10, 10))
    x = rng.standard_normal((ROWS, 10)) @ mix
    odd = rng.uniform(1.1 * x.min(axis=0), 1.1 * x.max(axis=0), (40, 10))
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


def dependency(rng):
    """Each column of an odd row is ordinary, but not their combination."""
    a, b = rng.uniform(-2, 2, (2, ROWS))
    x = np.stack(
        [
            a,
            b,
            np.sin(2 * a) + 0.1 * rng.standard_normal(ROWS),
            a * b + 0.2 * rng.standard_normal(ROWS),
        ],
        axis=1,
    )
    odd = np.stack([rng.permutation(column)[:40] for column in x.T], axis=1)
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


def irrelevant(rng):
    """Two of twenty columns show odd rows; the others have long tails."""
    x = rng.standard_normal((ROWS + 40, 20))
    x[:, 2:] = np.exp(x[:, 2:])
    x[ROWS:, :2] = 4.5 + 0.5 * rng.standard_normal((40, 2))
    return x, np.arange(ROWS + 40) >= ROWS


def discrete(rng):
    """Counts and binary columns; rare values are odd."""
    rate = rng.choice([2.0, 5.0], ROWS)
    x = np.stack(
        [
            rng.poisson(rate),
            rng.poisson(rate),
            rng.binomial(1, 0.02, ROWS),
            rng.binomial(3, 0.5, ROWS),
            rng.geometric(0.5, ROWS),
            rng.binomial(1, 0.5, ROWS),
        ],
        axis=1,
    )
    odd = np.stack(
        [
            rng.poisson(9, 40),
            rng.poisson(1, 40),
            rng.binomial(1, 0.6, 40),
            rng.binomial(3, 0.5, 40),
            rng.geometric(0.25, 40),
            rng.binomial(1, 0.5, 40),
        ],
        axis=1,
    )
    return np.concatenate([x, odd]).astype(float), np.arange(ROWS + 40) >= ROWS


def masked(rng):
    """Return one tight group of one row in ten, far from all others."""
    x = rng.standard_normal((ROWS, 6)) @ (np.eye(6) + 0.3)
    odd = 5 + 0.1 * rng.standard_normal((80, 6))
    return np.concatenate([x, odd]), np.arange(ROWS + 80) >= ROWS


def spikes(rng):
    """Columns are mostly zero; odd rows are too, and their other values are large."""
    x = np.where(rng.random((ROWS, 8)) < 0.6, 0.0, rng.gamma(2.0, 1.0, (ROWS, 8)))
    odd = np.where(rng.random((40, 8)) < 0.75, 0.0, rng.gamma(2.0, 5.0, (40, 8)))
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


def heavy(rng):
    """Five columns are Student t of two degrees of freedom; odd rows break their sum."""
    x = rng.standard_t(2.0, (ROWS, 4))
    x = np.column_stack([x, x.sum(axis=1) + 0.3 * rng.standard_normal(ROWS)])
    odd = rng.standard_t(2.0, (40, 5))
    odd[:, 4] = odd[:, :4].sum(axis=1) + rng.choice([-3, 3], 40)
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


# These tables were not used during development: written, and run once, afterwards.


def benign(rng):
    """Odd rows are a few benign among the malignant."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return _rare(found.data, found.target == 1, 0.08, rng)


def eights(rng):
    """Odd rows are a few 8 among the digits 3 and 9."""
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = np.isin(found.target, (3, 8, 9))
    return _rare(found.data[kept], found.target[kept] == 8, 0.05, rng)


def ring(rng):
    """Return outliers in the empty middle of a ring."""
    angle = rng.uniform(0, 2 * np.pi, ROWS)
    x = (
        np.stack([np.cos(angle), np.sin(angle)], axis=1)
        * (3 + 0.3 * rng.standard_normal(ROWS))[:, None]
    )
    x = np.concatenate([x, 0.8 * rng.standard_normal((40, 2))])
    return np.column_stack([x, rng.standard_normal((ROWS + 40, 3))]), np.arange(ROWS + 40) >= ROWS


def rounded(rng):
    """Columns have two decimals; in odd rows a column in ten has another unit."""
    x = rng.gamma(3.0, 1.0, (ROWS + 40, 1)) * rng.lognormal(0, 0.2, (ROWS + 40, 10))
    x[np.arange(ROWS, ROWS + 40), rng.integers(10, size=40)] *= 2.54
    return np.round(x, 2), np.arange(ROWS + 40) >= ROWS


def few(rng):
    """Sixty rows of eight dependent columns, and four odd rows of independent ones."""
    mix = rng.standard_normal((8, 8)) * np.array([3.0, 2, 1, 0.5, 0.3, 0.2, 0.1, 0.1])
    x = rng.standard_normal((60, 8)) @ mix.T
    odd = x.std(axis=0) * rng.standard_normal((4, 8))
    return np.concatenate([x, odd]), np.arange(64) >= 60


def constant_but_for(rng):
    """Sensors rest and move together; in odd rows one moves alone."""
    moves = rng.random(ROWS) < 0.3
    x = (
        20
        + 0.05 * rng.standard_normal((ROWS, 6))
        + np.where(moves[:, None], rng.normal(0, 3, (ROWS, 1)), 0.0)
    )
    odd = 20 + 0.05 * rng.standard_normal((40, 6))
    odd[np.arange(40), rng.integers(6, size=40)] += rng.choice([-1, 1], 40) * rng.uniform(1, 4, 40)
    return np.concatenate([x, odd]), np.arange(ROWS + 40) >= ROWS


def amounts(rng):
    """Log-normal amounts over five orders of magnitude; odd ones are ten times their partner."""
    first = np.exp(2.5 * rng.standard_normal(ROWS + 40))
    x = np.stack(
        [
            first,
            first * np.exp(0.3 * rng.standard_normal(ROWS + 40)),
            np.exp(2.5 * rng.standard_normal(ROWS + 40)),
            rng.poisson(3.0, ROWS + 40),
        ],
        axis=1,
    )
    x[ROWS:, 1] *= 10
    return x, np.arange(ROWS + 40) >= ROWS


def two_groups(rng):
    """Two small tight groups, one between clusters, and one beyond them."""
    centres = 6 * rng.standard_normal((4, 5))
    x = centres[rng.integers(4, size=ROWS)] + rng.standard_normal((ROWS, 5))
    between = centres.mean(axis=0) + 0.2 * rng.standard_normal((15, 5))
    beyond = 1.8 * centres[0] + 0.2 * rng.standard_normal((15, 5))
    return np.concatenate([x, between, beyond]), np.arange(ROWS + 30) >= ROWS


# Groups of odd rows; written after the smallest components were discounted, and run once.


def with_groups(x, *groups):
    """Return rows followed by the odd ones."""
    return np.concatenate([x, *groups]), np.arange(len(x) + sum(map(len, groups))) >= len(x)


def pockets(rng):
    """Three tight groups of eight in the hollow of a bent cloud."""
    first = 2 * rng.standard_normal(600)
    x = np.column_stack(
        [first, first**2 / 2 + 0.5 * rng.standard_normal(600), rng.standard_normal((600, 2))]
    )
    return with_groups(
        x,
        *(
            np.array([place, 4.0, 0, 0]) + 0.15 * rng.standard_normal((8, 4))
            for place in (-0.8, 0.0, 0.8)
        ),
    )


def large_group(rng):
    """A tenth of the rows, half as wide as the others, four deviations from them."""
    mix = rng.standard_normal((8, 8)) + 2 * np.eye(8)
    aside = rng.standard_normal(8)
    odd = 0.5 * rng.standard_normal((100, 8)) + 4 * aside / np.linalg.norm(aside)
    return with_groups(rng.standard_normal((1000, 8)) @ mix, odd @ mix)


def many_columns(rng):
    """Two groups of ten that are 1.2 deviations off in twelve of twenty columns each."""
    groups = []
    for _ in range(2):
        middle = 1.2 * rng.choice([-1, 1], 20) * (rng.permutation(20) < 12)
        groups.append(middle + 0.3 * rng.standard_normal((10, 20)))
    return with_groups(rng.standard_normal((400, 20)), *groups)


def among_tails(rng):
    """A group of thirty lies within the tails of Student's t of three degrees of freedom."""
    aside = rng.standard_normal(3)
    return with_groups(
        rng.standard_t(3.0, (1500, 3)),
        6 * aside / np.linalg.norm(aside) + 0.3 * rng.standard_normal((30, 3)),
    )


def off_the_plane(rng):
    """Six columns have three causes; twenty-five rows lie on a short line beside that subspace."""
    causes = rng.standard_normal((3, 6))
    x = rng.standard_normal((500, 3)) @ causes + 0.1 * rng.standard_normal((500, 6))
    aside = np.linalg.svd(causes)[2][3]
    odd = rng.uniform(-0.5, 0.5, (25, 1)) * causes[0] + aside + 0.05 * rng.standard_normal((25, 6))
    return with_groups(x, odd)


def copied(rng):
    """Orders have counts and amounts; forty are one order with amounts a per cent apart."""
    number = rng.poisson(4.0, 900) + 1
    price = rng.lognormal(3.0, 0.6, 900)
    x = np.column_stack(
        [
            number,
            price,
            number * price * rng.lognormal(0, 0.05, 900),
            rng.poisson(1.5, 900),
            rng.gamma(2.0, 10.0, 900),
        ]
    )
    one = np.array([3.0, 55.0, 300.0, 4.0, 12.0])
    odd = np.tile(one, (40, 1))
    odd[:, [1, 2, 4]] *= rng.lognormal(0, 0.01, (40, 3))
    return with_groups(x, odd)


GROUPS = {
    "pockets": pockets,
    "large group": large_group,
    "many columns": many_columns,
    "among tails": among_tails,
    "off the plane": off_the_plane,
    "copied": copied,
}
NEW = {
    "benign": benign,
    "eights": eights,
    "ring": ring,
    "rounded": rounded,
    "few": few,
    "constant but for": constant_but_for,
    "amounts": amounts,
    "two groups": two_groups,
}
TABLES = {
    "breast cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "digits": digits,
    "moons": moons,
    "clusters": clusters,
    "local": local,
    "all over": all_over,
    "dependency": dependency,
    "irrelevant": irrelevant,
    "discrete": discrete,
    "masked": masked,
    "spikes": spikes,
    "heavy": heavy,
    **NEW,
    **GROUPS,
}


# Detectors: larger is odder ---------------------------------------------------------------


def isolation_forest(x, seed):
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=seed).fit(x).score_samples(x)


def local_outlier_factor(x, seed):
    from sklearn.neighbors import LocalOutlierFactor

    return -LocalOutlierFactor().fit(x).negative_outlier_factor_


def ecod(x, seed):
    """Li et al. 2022: the larger of the sums of log tails, left, right, and by skewness."""
    left = stats.rankdata(x, method="max", axis=0) / len(x)
    right = stats.rankdata(-x, method="max", axis=0) / len(x)
    by_skewness = np.where(stats.skew(x, axis=0) < 0, left, right)
    return np.max([-np.log(tail).sum(axis=1) for tail in (left, right, by_skewness)], axis=0)


def minimum_covariance(x, seed):
    from sklearn.covariance import EllipticEnvelope

    return -EllipticEnvelope(random_state=seed).fit(x).score_samples(x)


def neighbours(x, seed):
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)[0][:, -1]


def nfref_detector(x, seed):
    import nfref

    return -nfref.FlowOutlierDetector(random_state=seed).fit(x).training_scores_


DETECTORS = {
    "nfref": nfref_detector,
    "isolation forest": isolation_forest,
    "LOF": local_outlier_factor,
    "ECOD": ecod,
    "MCD": minimum_covariance,
    "kNN": neighbours,
}


def area(score, odd):
    """Return (AUC, its standard error)."""
    rank = stats.rankdata(score)
    n, m = int(odd.sum()), int((~odd).sum())
    found = (rank[odd].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = found / (2 - found), 2 * found**2 / (1 + found)
    variance = found * (1 - found) + (n - 1) * (q1 - found**2) + (m - 1) * (q2 - found**2)
    return found, np.sqrt(max(variance, 0) / (n * m))


def main():
    parser = arguments(__doc__, TABLES)
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), choices=DETECTORS)
    options = parser.parse_args()
    print(f"{'table':<16}" + "".join(f"{name:>18}" for name in options.detectors) + f"{'s':>7}")
    ranks = []
    for name, seed, rng in asked_for(TABLES, options):
        x, odd = TABLES[name](rng)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        found, seconds = zip(
            *(
                timed(DETECTORS[detector], x if detector == "nfref" else z, seed)
                for detector in options.detectors
            )
        )
        found = [area(score, odd) for score in found]
        ranks.append(stats.rankdata([-value for value, _ in found]))
        print(
            f"{name:<16}"
            + "".join(f"{f'{value:.3f} +- {error:.3f}':>18}" for value, error in found)
            + f"{sum(seconds):>7.1f}",
            flush=True,
        )
    print(f"{'mean rank':<16}" + "".join(f"{value:>18.2f}" for value in np.mean(ranks, axis=0)))


if __name__ == "__main__":
    main()
