"""Supports that are chosen against real columns: test nats, and samples that are impossible.

    python -m tests.benchmarks.supports [--only TABLE ...] [--seeds 0 1 2 3]

The tables are scikit-learn's (tumours: means, errors, worst values; wines of three cultivars), the
first rows of them, and made ones, whose columns are gamma, log-normal, beta or normal with the
dependence of a normal law. The rules of :mod:`nfref.tables.fitting.supports` were made with other
tables. Seven rows of ten are fitted with ``flow="mixture"``, once with every column real and once
with the default; the others are scored. A sample of 5,000 is impossible where it is negative in a
column that has no negative value.
"""

import numpy as np
import pandas

import nfref
from tests.benchmarks.named_tables import arguments, asked_for, split, timed

SAMPLES = 5000


def tumours(start):
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True).frame
    return table[[name for name in table if name.startswith(start) or name.endswith(start)]]


def cultivars():
    from sklearn.datasets import load_wine

    return load_wine(as_frame=True).data


def made(rows, dim, seed):
    """Sample a table whose columns have different laws, and depend on each other."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, dim)) @ (np.eye(dim) + 0.5 * rng.standard_normal((dim, dim))).T
    u = stats.norm.cdf(z / np.std(z, axis=0))
    columns = {}
    for k in range(dim):
        law = (
            stats.gamma(rng.uniform(0.8, 5)),
            stats.lognorm(rng.uniform(0.2, 1)),
            stats.beta(*rng.uniform(0.7, 4, 2)),
            stats.norm(5, 1),
        )[rng.integers(4)]
        columns[f"c{k}"] = law.ppf(u[:, k])
    return pandas.DataFrame(columns)


TABLES = {
    "tumour means": lambda: tumours("mean"),
    "tumour errors": lambda: tumours("error"),
    "tumour worst": lambda: tumours("worst"),
    "cultivars": cultivars,
    "means of 150": lambda: tumours("mean")[:150],
    "made 200 x 3": lambda: made(200, 3, 3),
    "made 400 x 4": lambda: made(400, 4, 1),
    "made 1,500 x 5": lambda: made(1500, 5, 4),
    "made 120 x 8": lambda: made(120, 8, 5),
    "made 150 x 10": lambda: made(150, 10, 6),
    "made 220 x 12": lambda: made(220, 12, 7),
}


def main():
    parser = arguments(__doc__, TABLES)
    parser.set_defaults(seeds=[0, 1, 2, 3])
    options = parser.parse_args()
    print(f"{'table':16}{'nats gained':>12}{'+-':>7}{'impossible, real':>18}{'chosen':>8}")
    found: dict[str, list[tuple]] = {}
    for name, _, rng in asked_for(TABLES, options):
        found.setdefault(name, []).append(timed(compared, TABLES[name](), rng)[0])
        if len(found[name]) == len(options.seeds):
            gain, real, chosen = np.array(found[name]).T
            error = np.std(gain, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
            print(
                f"{name:16}{np.mean(gain):+12.3f}{error:7.3f}{np.mean(real):18.2%}"
                f"{np.mean(chosen):8.2%}",
                flush=True,
            )


def compared(table, rng):
    """Return (nats that the choice gains, impossible shares of both) on one split."""
    fit, rest = (table.iloc[part] for part in split(len(table), rng))
    positive = (table.min() >= 0).to_numpy()
    means, impossible = [], []
    for columns in (dict.fromkeys(table.columns, "real"), None):
        density = nfref.FlowDensity("mixture", random_state=0, columns=columns).fit(fit)
        scores = density.score_samples(rest)
        means.append(np.mean(scores))
        drawn = np.asarray(density.sample(SAMPLES, random_state=0))
        impossible.append(np.mean(np.any((drawn < 0) & positive, axis=1)))
    return means[1] - means[0], *impossible


if __name__ == "__main__":
    main()
