"""Attack the weights of rows, of any size and kind: in Python and as a column of a file.

Weights multiplied by any number mean the same.
"""

import numpy as np

import nfref
from tests.fuzz.case import Case, command, refused, require

KINDS = (
    "uniform",
    "whole",
    "with zeros",
    "one row",
    "two sizes",
    "equal",
    "scalar",
    "list",
    "nan",
    "infinite",
    "negative",
    "zeros",
    "short",
    "long",
    "matrix",
    "text",
    "complex",
    "None",
    "dict",
)
BAD = set(KINDS[KINDS.index("nan") :])
N = 60


def cases(rng, number):
    """Weights of a fit and a score, or of the command."""
    for place in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        kind = str(one.choice(KINDS))
        exponent = int(one.choice([-323, -320, -300, -150, -10, 0, 10, 150, 300, 307]))
        way = "command" if place % 5 == 0 else "Python"
        yield Case(
            f"weights: {way}, {kind}, times 1e{exponent}",
            lambda folder, one=one, kind=kind, exponent=exponent, way=way: (
                by_command if way == "command" else in_python
            )(folder, one, kind, exponent),
        )


def weights(rng, kind, exponent):
    """Return (weights, the same weights of ordinary size or None for bad ones)."""
    size = 10.0**exponent
    plain = {
        "uniform": lambda: rng.uniform(0.5, 1, N),
        "whole": lambda: rng.integers(1, 4, N) * 1.0,
        "with zeros": lambda: rng.integers(0, 2, N) * 1.0,
        "one row": lambda: np.eye(N)[0],
        "two sizes": lambda: rng.choice([1.0, 1e-9], N),
        "equal": lambda: np.ones(N),
        "scalar": lambda: np.float64(1),
        "list": lambda: rng.uniform(0.5, 1, N),
    }
    if kind in plain:
        found = plain[kind]()
        scaled = found * size
        return (scaled.tolist() if kind == "list" else scaled), np.asarray(found)
    ones = np.full(N, size)
    spoilt = {"nan": np.nan, "infinite": np.inf, "negative": -size}
    if kind in spoilt:
        ones[rng.integers(N)] = spoilt[kind]
        return ones, None
    return {
        "zeros": np.zeros(N),
        "short": ones[1:],
        "long": np.append(ones, size),
        "matrix": ones[:, None],
        "text": ones.astype(str),
        "complex": ones * 1j,
        "None": [None] * N,
        "dict": {"a": 1},
    }[kind], None


def table(rng):
    x = rng.standard_normal((N, 2))
    return x if rng.random() < 0.7 else np.stack([x[:, 0], rng.integers(0, 3, N)], axis=1)


def in_python(folder, rng, kind, exponent):
    x, (weight, plain) = table(rng), weights(rng, kind, exponent)
    flow = str(rng.choice(["gaussian", "mixture"]))
    model = nfref.FlowDensity(flow, random_state=0)
    try:
        with np.errstate(all="raise", under="ignore"):
            model.fit(x, sample_weight=weight)
    except (ValueError, TypeError) as error:
        fine = plain is not None and kind != "one row" and np.any(np.asarray(weight) > 0)
        require(not fine, f"refused good weights: {error}")
        other = nfref.FlowDensity("gaussian", random_state=0).fit(x)
        if kind != "one row":
            check_score(other, x, weight, plain)
        return refused(error)
    require(plain is not None, "took bad weights")
    if exponent > -310:  # below, numbers have few digits
        expected = nfref.FlowDensity(flow, random_state=0).fit(x, sample_weight=plain)
        np.testing.assert_allclose(
            model.score_samples(x), expected.score_samples(x), rtol=1e-6, atol=1e-6
        )
        require(abs(model.n_rows_effective_ / expected.n_rows_effective_ - 1) < 1e-9, "rows")
    check_score(model, x, weight, plain)
    return "success"


def check_score(model, x, weight, plain):
    """Check that the mean is the weighted mean, or that one line describes the weights."""
    try:
        found = model.score(x, sample_weight=weight)
    except (ValueError, TypeError) as error:
        require(plain is None or not np.any(np.asarray(weight) > 0), f"score refused: {error}")
        refused(error)
        return
    weight = np.broadcast_to(np.asarray(weight), len(x))
    expected = np.average(model.score_samples(x), weights=weight / np.max(weight))
    require(abs(found - expected) <= 1e-9 * max(1, abs(expected)), f"{found}, not {expected}")


def by_command(folder, rng, kind, exponent):
    x, (weight, plain) = table(rng), weights(rng, kind, exponent)
    cells = np.ravel(np.asarray(weight, object))
    if len(cells) != N:
        cells = np.resize(cells, N)
    with open(folder / "t.csv", "w") as file:
        file.write("a,b,w\n")
        for row, cell in zip(x, cells):
            file.write(f"{float(row[0])!r},{float(row[1])!r},{cell}\n")
    status, output, errors = command(
        folder, "fit", "t.csv", "--weights", "w", "--flow", "mixture", "--out", "m.npz"
    )
    if status == 2:
        require(plain is None or np.sum(np.asarray(weight) > 0) < 5, f"refused: {errors}")
        return "refused"
    pool = next(line for line in output.splitlines() if line.startswith("pool"))
    require(abs(float(pool.split()[1])) < 100, pool)
    return "success"
