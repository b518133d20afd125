"""DataFrames with columns of every kind: fitted, scored, sampled, saved and loaded.

The expected kind of a column stands beside the values that it is made of.
"""

import datetime
import importlib.util
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow

import nfref
from tests.fuzz.case import Case, refused, require

# Kind of cells -> expected column: numbers, a count if they repeat, labels, or nothing.
KINDS = {
    "float": "number",
    "float32": "number",
    "Decimal": "number",
    "Fraction": "number",
    "objects": "number",
    "wide": "number",
    "int8": "number",
    "uint8": "count",
    "count": "count",
    "objects of counts": "count",
    "bool": "label",
    "text": "label",
    "mixed": "label",
    "ordered": "label",
    "categories of numbers": "label",
    "cut": "label",
    "ids": None,
    "category ids": None,
    "dates": None,
    "durations": None,
    "times": None,
    "complex": None,
    "periods": None,
    "intervals": None,
    "bytes": None,
    "lists": None,
    "stamps": None,
    "huge": None,
    "constant": None,
    "nothing": None,
    "True and 1": None,
    "infinite": None,
}
OF_PANDAS = {
    "ordered",
    "categories of numbers",
    "cut",
    "category ids",
    "periods",
    "intervals",
    "complex",
    "mixed",
    "True and 1",
    "huge",
}
ASKED = (None, None, None, None, "category", "real", "count", "positive", "0:1", "period 7", "odd")
LIBRARIES = ("pandas", "pandas", "pandas", "pyarrow") + (
    ("polars",) if importlib.util.find_spec("polars") else ()
)


def cases(rng, number):
    """Yield tables of one to four columns from some library; cells may be missing."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        library = str(one.choice(LIBRARIES))
        kinds = [
            str(one.choice(list(KINDS), p=_shares(library))) for _ in range(one.integers(1, 4))
        ]
        yield Case(
            f"frames: {library}, {kinds}",
            lambda folder, one=one, library=library, kinds=kinds: fit(folder, one, library, kinds),
        )


def _shares(library):
    """Return probabilities of the kinds: half of all columns are good ones."""
    good = np.array([kind is not None for kind in KINDS.values()])
    chances = np.where(good, 0.8 / good.sum(), 0.2 / (~good).sum())
    chances *= [library == "pandas" or kind not in OF_PANDAS for kind in KINDS]
    return chances / chances.sum()


def cells(rng, kind, n):
    """Values of a column."""
    k = np.arange(n)
    few = rng.integers(0, 3, n)
    texts = np.array(["red", "blue", "1"], object)
    drawn = rng.standard_normal(n)
    return {
        "float": lambda: drawn,
        "float32": lambda: drawn.astype(np.float32),
        "Decimal": lambda: [Decimal(repr(float(value))) for value in drawn],
        "Fraction": lambda: [Fraction(float(value)) for value in drawn],
        "objects": lambda: drawn.tolist(),
        "wide": lambda: rng.integers(-(10**9), 10**9, n),
        "int8": lambda: rng.integers(-120, 120, n).astype(np.int8),
        "uint8": lambda: few.astype(np.uint8),
        "count": lambda: few,
        "objects of counts": lambda: few.tolist(),
        "bool": lambda: few > 0,
        "text": lambda: texts[few].tolist(),
        "mixed": lambda: pd.Series(np.array([1, "1", 2.5], object)[few], dtype=object),
        "ordered": lambda: pd.Categorical(texts[few], ["1", "red", "blue", "none"], ordered=True),
        "categories of numbers": lambda: pd.Categorical(few),
        "cut": lambda: pd.cut(drawn, 3),
        "ids": lambda: [f"id {value}" for value in k],
        "category ids": lambda: pd.Categorical([f"id {value}" for value in k]),
        "dates": lambda: [datetime.date(2020, 1, 1) + datetime.timedelta(int(d)) for d in k],
        "durations": lambda: [datetime.timedelta(int(d)) for d in k],
        "times": lambda: [datetime.time(int(d) % 24, int(d) % 60) for d in k],
        "stamps": lambda: [datetime.datetime(2020, 1, 1) + datetime.timedelta(int(d)) for d in k],
        "complex": lambda: drawn * 1j,
        "periods": lambda: pd.period_range("2020", periods=n),
        "intervals": lambda: pd.interval_range(0, n),
        "bytes": lambda: [b"%d" % d for d in k],
        "lists": lambda: [[int(d)] for d in k],
        "huge": lambda: pd.Series([10**400 + int(d) for d in k], dtype=object),
        "constant": lambda: np.ones(n),
        "nothing": lambda: [None] * n,
        "True and 1": lambda: pd.Series([True, 1, 0] * (n // 3), dtype=object),
        "infinite": lambda: np.where(k == 3, np.inf, drawn),
    }[kind]()


def made(rng, library, kinds, n):
    """Return the table, and which of its columns have missing cells."""
    columns, gaps = {}, set()
    for place, kind in enumerate(kinds):
        name, values = f"c{place}", cells(rng, kind, n)
        if rng.random() < 0.25 and isinstance(values, (list, np.ndarray)) and kind != "infinite":
            values = [
                None if gap else value
                for gap, value in zip(
                    rng.random(n) < 0.1,
                    np.asarray(values).tolist() if isinstance(values, np.ndarray) else values,
                )
            ]
            gaps.add(name)
        columns[name] = values
    if library == "pandas":
        frame = pd.DataFrame(
            {
                name: pd.Series(values, dtype=object)
                if name in gaps or kind in ("objects", "objects of counts")
                else values
                for (name, values), kind in zip(columns.items(), kinds)
            }
        )
        for (name, values), kind in zip(columns.items(), kinds):
            if name in gaps and kind in ("count", "uint8", "wide") and rng.random() < 0.5:
                frame[name] = frame[name].astype(str(rng.choice(["Int64", "int64[pyarrow]"])))
        return frame
    if library == "pyarrow":
        return pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    import polars

    return polars.DataFrame(
        {
            name: polars.Series(values, dtype=polars.Object) if kind == "Fraction" else values
            for (name, values), kind in zip(columns.items(), kinds)
        }
    )


def fit(folder, rng, library, kinds):
    n = 60
    try:
        X = made(rng, library, kinds, n)
    except (pyarrow.ArrowException, TypeError):  # that library cannot hold these values
        return "refused"
    asked = {
        f"c{place}": ask
        for place in range(len(kinds))
        if (ask := rng.choice(np.array(ASKED, object))) is not None
    }
    names = [f"c{place}" for place in range(len(kinds))]
    model = nfref.FlowDensity("gaussian", columns=asked, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            model.fit(X)
        except (ValueError, TypeError) as error:
            require(
                asked or None in [KINDS[kind] for kind in kinds] or "linear function" in str(error),
                f"refused good columns: {error}",
            )
            return refused(error)
    for name, kind, column in zip(names, kinds, model.columns_):
        require(name in asked or KINDS[kind] is not None, f"{kind} became {column}")
        if name in asked:
            require(column.kind == "category" or asked[name] != "category", f"{name}: {column}")
        elif KINDS[kind] == "label":
            require(column.kind == "category" and len(column.labels) <= 4, f"{kind}: {column}")
        else:
            require(
                column.kind == ("real" if KINDS[kind] == "number" else "count"), f"{kind}: {column}"
            )
    scores, drawn = model.score_samples(X, draws=20), model.sample(7, random_state=0)
    require(np.all(np.isfinite(scores)), f"scores {scores[~np.isfinite(scores)][:2]}")
    require(type(drawn) is type(X), f"drawn as {type(drawn)}")
    require(np.all(np.isfinite(model.score_samples(drawn))), "draws that are impossible")
    check_types(
        X,
        drawn,
        [
            name
            for name, column in zip(names, model.columns_)
            if column.kind in ("category", "count") and name not in asked
        ],
    )
    model.save(folder / "m.npz")
    again = nfref.FlowDensity.load(folder / "m.npz")
    require(np.array_equal(again.score_samples(X, draws=20), scores), "others once saved")
    return "success"


def check_types(X, drawn, names):
    """Check that labels and counts come back with their types."""
    import narwhals

    was, found = (narwhals.from_native(frame, eager_only=True) for frame in (X, drawn))
    for name in names:
        require(
            found[name].dtype == was[name].dtype or "float" in str(was[name].dtype).lower(),
            f"{name}: {was[name].dtype} came back as {found[name].dtype}",
        )
        cells = {repr(value) for value in was[name].to_list()}
        if (
            str(was[name].dtype) not in ("Int64", "UInt8", "Object")
            and not was[name].dtype.is_numeric()
        ):
            require({repr(value) for value in found[name].to_list()} <= cells, f"{name}: others")
