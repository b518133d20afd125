"""Compare samples with their table: does a classifier tell them apart, can a model train on them?

    python -m tests.benchmarks.synthetic [--rows 2000] [--seeds 0 1 2] [--flow auto]
                                         [--table abalones | --file CSV]

*abalones* imitates that table: three lengths in multiples of 0.005, four weights in multiples of
0.0005 that follow them, whole rings; *amounts* has two columns that are often exactly zero, on no
rounding grid, and one that follows. A CSV file of numbers with a header replaces it, its last
column replaces the rings. Half of the rows are fitted, the others are held out.

The protocol, fixed before any measurement:

- *AUC* of a random forest (200 trees, leaves of three rows) and of gradient boosting (defaults),
  cross-validated in five folds, that tell samples from held-out rows, as many of each: 0.5 means
  not at all. Beside it stands the AUC of fitted rows against held-out rows.
- *R2* on held-out rows of gradient boosting that predicts the last column from the others,
  trained on samples, as many as fitted rows, and on these rows.

Contenders: *FlowDensity* with defaults, the same *without lattices* (its samples are not rounded),
scikit-learn's *mixture* (1 to 16 components by BIC), a *Gaussian copula* of normal scores with the
columns' own values, *neighbours* (SMOTE: between a row and one of its five nearest, columns
standardised), *ARF* (the leaves of arfpy's adversarial forest, if installed), and *columns apart*,
each shuffled by itself. The table shows means over seeds with their standard errors.
"""

import argparse
import importlib.util
from dataclasses import replace

import numpy as np

import nfref
from nfref.tables.schema.columns import Continuous
from tests.benchmarks.named_tables import timed

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000, help="to fit to, and to hold out")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--flow", default="auto")
    parser.add_argument("--table", default="abalones", choices=TABLES)
    parser.add_argument("--file", help="a CSV file of numbers with a header")
    options = parser.parse_args()
    found = {}
    for seed in options.seeds:
        rng = np.random.default_rng(seed)
        rows = (
            TABLES[options.table](rng, 2 * options.rows)
            if options.file is None
            else rng.permutation(np.loadtxt(options.file, delimiter=",", skiprows=1))
        )
        rows = rows[: 2 * options.rows]
        train, test = np.array_split(rows, 2)
        made = {"rows fitted to": (train, 0.0), **samples(train, options.flow, seed)}
        for name, (drawn, seconds) in made.items():
            found.setdefault(name, []).append(
                [
                    *(told_apart(drawn, test, kind, seed) for kind in ("forest", "boosting")),
                    r2(drawn, test, seed),
                    seconds,
                ]
            )
    print(f"{'':24}{'AUC, forest':>16}{'AUC, boosting':>16}{'R2':>16}{'cpu (s)':>9}")
    for name, values in found.items():
        mean, error = np.mean(values, axis=0), _error(values)
        shown = "".join(f"{m:9.3f} +- {e:.3f}" for m, e in zip(mean[:3], error))
        print(f"{name:24}{shown}{mean[3]:9.1f}", flush=True)


def _error(values):
    return (
        np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        if len(values) > 1
        else (np.full(len(values[0]), np.nan))
    )


def abalones(rng, n):
    """Sample (n, 8): length, diameter, height, four weights, rings; each on a rounding grid."""
    size = 0.05 + 0.8 * rng.beta(5, 2.5, n)
    diameter = 0.8 * size * np.exp(0.04 * rng.standard_normal(n))
    height = 0.27 * size * np.exp(0.1 * rng.standard_normal(n))
    whole = 10 * size * diameter * height * np.exp(0.12 * rng.standard_normal(n))
    parts = [
        share * whole * np.exp(spread * rng.standard_normal(n))
        for share, spread in ((0.43, 0.15), (0.22, 0.18), (0.28, 0.17))
    ]
    rings = np.round(np.exp(1.3 + 1.6 * size + 0.22 * rng.standard_normal(n)))
    lengths = [np.round(200 * value) / 200 for value in (size, diameter, height)]
    weights = [np.round(2000 * value) / 2000 for value in (whole, *parts)]
    return np.stack([*lengths, *weights, rings], axis=1)


def amounts(rng, n):
    """Sample (n, 3): amounts missing in three rows of five and three of ten, and a number."""
    first = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(size=n))
    second = np.where(rng.random(n) < 0.3, 0.0, rng.normal(5.0, 1.0, n))
    return np.stack([first, second, 10 - 2 * (first > 0) + 3 * rng.standard_normal(n)], axis=1)


TABLES = {"abalones": abalones, "amounts": amounts}


def flow_density(train, seed, flow):
    """Return two sets of samples of one fit: rounded, and not rounded to the columns' grids."""
    density = nfref.FlowDensity(flow, random_state=seed).fit(train)
    columns = tuple(
        replace(column, step=None, offset=0.0) if isinstance(column, Continuous) else column
        for column in density.columns_
    )
    table = replace(density.density_, columns=columns).sample(
        np.random.default_rng(seed), len(train)
    )
    return density.sample(len(train), random_state=seed), np.stack(table, axis=1)


def mixture(train, seed):
    from sklearn.mixture import GaussianMixture

    tried = [
        GaussianMixture(number, random_state=seed, reg_covar=1e-9).fit(train)
        for number in COMPONENTS
    ]
    return min(tried, key=lambda one: one.bic(train)).sample(len(train))[0]


def gaussian_copula(train, seed):
    from scipy import stats

    scores = stats.norm.ppf(stats.rankdata(train, axis=0) / (len(train) + 1))
    drawn = np.random.default_rng(seed).multivariate_normal(
        np.zeros(train.shape[1]), np.corrcoef(scores.T), len(train)
    )
    return np.stack(
        [
            np.quantile(column, stats.norm.cdf(z), method="inverted_cdf")
            for column, z in zip(train.T, drawn.T)
        ],
        axis=1,
    )


def between_neighbours(train, seed):
    from sklearn.neighbors import NearestNeighbors

    rng, z = np.random.default_rng(seed), train / np.std(train, axis=0)
    _, nearest = NearestNeighbors(n_neighbors=6).fit(z).kneighbors(z)
    rows = rng.integers(len(train), size=len(train))
    others = nearest[rows, rng.integers(1, 6, len(train))]
    return train[rows] + rng.random((len(train), 1)) * (train[others] - train[rows])


def adversarial_forest(train, seed):
    from scipy.stats import truncnorm

    from tests.benchmarks.density_peers import adversarial_forest

    rng, mean, std = np.random.default_rng(seed), np.mean(train, axis=0), np.std(train, axis=0)
    _, trees = adversarial_forest((train - mean) / std, seed)
    share, *leaves = (np.concatenate(parts) for parts in zip(*trees))
    chosen = rng.choice(len(share), len(train), p=share / np.sum(share))
    centre, spread, low, high = (part[chosen] for part in leaves)
    return mean + std * truncnorm.rvs(
        (low - centre) / spread, (high - centre) / spread, centre, spread, random_state=rng
    )


PEERS = {
    "mixture": mixture,
    "Gaussian copula": gaussian_copula,
    "neighbours": between_neighbours,
    "ARF": adversarial_forest,
    "columns apart": lambda train, seed: np.random.default_rng(seed).permuted(train, axis=0),
}


def samples(train, flow, seed):
    """name -> (as many samples as rows, seconds of the processors)."""
    (rounded, plain), seconds = timed(flow_density, train, seed, flow)
    made = {"FlowDensity": (rounded, seconds), "without lattices": (plain, seconds)}
    for name, draw in PEERS.items():
        if name != "ARF" or importlib.util.find_spec("arfpy"):
            made[name] = timed(draw, train, seed)
    return made


def told_apart(drawn, rows, kind, seed):
    """The cross-validated AUC of a classifier that tells two sets of rows apart."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    classifier = (
        RandomForestClassifier(200, min_samples_leaf=3, random_state=seed)
        if kind == "forest"
        else HistGradientBoostingClassifier(random_state=seed)
    )
    label = np.repeat([0, 1], [len(drawn), len(rows)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    told = cross_val_predict(
        classifier, np.concatenate([drawn, rows]), label, cv=folds, method="predict_proba"
    )
    return roc_auc_score(label, told[:, 1])


def r2(train, test, seed):
    """Return R^2 on test rows of a model that predicts the last column from the others."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(random_state=seed).fit(train[:, :-1], train[:, -1])
    return model.score(test[:, :-1], test[:, -1])


if __name__ == "__main__":
    main()
