"""Compare labels by ``nfref.FlowDensity`` given all other columns with classifiers.

    python -m tests.benchmarks.labels [--only NAME ...] [--seeds 0 1]

The protocol, fixed before any measurement: seven rows of ten are fitted, the rest are tested; nfref
with its defaults on columns as they are, logistic regression of scikit-learn on standardised
columns and its histogram gradient boosting, both with their defaults. The table shows log loss
(nats, probabilities at least 1e-6) and the share of right labels, and for both the difference from
nfref's with its standard error over test rows: positive where nfref is better. Rows of all seeds,
each a split, count together.
"""

from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd

from tests.benchmarks.named_tables import arguments, asked_for, mean_and_error, split, timed

ROWS = 1500


def _shipped(loader):
    def table(rng):
        import sklearn.datasets

        found = getattr(sklearn.datasets, loader)()
        return found.data, found.target

    return table


def rings(rng):
    """Sample three rings in two of five columns; the label names the ring."""
    label = rng.integers(3, size=ROWS)
    angle, radius = rng.uniform(0, 2 * np.pi, ROWS), 1 + label + 0.35 * rng.standard_normal(ROWS)
    return np.column_stack(
        [radius * np.cos(angle), radius * np.sin(angle), rng.standard_normal((ROWS, 3))]
    ), label


def products(rng):
    """Sample the sign of a product, which no single column predicts."""
    x = rng.standard_normal((ROWS, 4))
    return x, (x[:, 0] * x[:, 1] + 0.3 * rng.standard_normal(ROWS) > 0).astype(int)


def steps(rng):
    """Sample boxes, which suit trees."""
    x = rng.random((ROWS, 5))
    label = 2 * (x[:, 0] > 0.4) + ((x[:, 1] > 0.7) | (x[:, 2] < 0.2))
    wrong = rng.random(ROWS) < 0.1
    return x, np.where(wrong, rng.integers(4, size=ROWS), label)


def lines(rng):
    """Sample a logistic regression in ten columns."""
    x = rng.standard_normal((ROWS, 10))
    logit = x @ rng.standard_normal(10)
    return x, (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(int)


def long_tails(rng):
    """Sample columns over four orders of magnitude."""
    x = np.exp(1.5 * rng.standard_normal((ROWS, 4)))
    logit = 2 * np.log(x[:, 0] / x[:, 1])
    return x, (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(int)


def rare(rng):
    """Return a table whose label is 1 in one row of twenty."""
    x = rng.standard_normal((ROWS, 6))
    logit = 1.5 * x[:, 0] + x[:, 1] ** 2 - 4.8
    return x, (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(int)


TABLES = {
    "iris": _shipped("load_iris"),
    "wine": _shipped("load_wine"),
    "breast cancer": _shipped("load_breast_cancer"),
    "digits": _shipped("load_digits"),
    "rings": rings,
    "products": products,
    "steps": steps,
    "lines": lines,
    "long tails": long_tails,
    "rare": rare,
}


def nfref_probabilities(x, y, new, seed):
    import nfref

    names = [f"x{k}" for k in range(x.shape[1])]
    data = pd.DataFrame(x, columns=names).assign(label=[f"{value:03d}" for value in y])
    model = nfref.FlowDensity(given=names, random_state=seed).fit(data)
    return model.predict_proba(pd.DataFrame(new, columns=names).assign(label=data.label[0]))


def logistic(x, y, new, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        .fit(x, y)
        .predict_proba(new)
    )


def boosting(x, y, new, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed).fit(x, y).predict_proba(new)


CLASSIFIERS = {"nfref": nfref_probabilities, "logistic": logistic, "boosting": boosting}


def main():
    options = arguments(__doc__, TABLES).parse_args()
    print(
        f"{'table':<14} {'':<9} {'log loss':>9} {'nfref better by':>18} {'right':>7} "
        f"{'nfref better by':>18} {'s':>6}"
    )
    for name, splits in groupby(asked_for(TABLES, options), key=itemgetter(0)):
        found = {classifier: [] for classifier in CLASSIFIERS}
        for _, seed, rng in splits:
            x, y = TABLES[name](rng)
            fit, test = split(len(x), rng)
            x = x[:, np.ptp(x[fit], axis=0) > 0]
            for classifier, probabilities in CLASSIFIERS.items():
                p, seconds = timed(probabilities, x[fit], y[fit], x[test], seed)
                loss = -np.log(np.maximum(p[np.arange(len(test)), y[test]], 1e-6))
                right = np.argmax(p, axis=1) == y[test]
                found[classifier].append((loss, right, np.full(len(test), seconds)))
        found = {classifier: np.concatenate(parts, axis=1) for classifier, parts in found.items()}
        for classifier, (loss, right, seconds) in found.items():
            print(
                f"{name:<14} {classifier:<9} {loss.mean():>9.3f} "
                f"{mean_and_error(loss - found['nfref'][0]):>18} {right.mean():>7.3f} "
                f"{mean_and_error(found['nfref'][1] - right):>18} {seconds.mean():>6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
