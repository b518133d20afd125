"""Measure how cost grows with rows, columns, layers and threads.

    python -m tests.benchmarks.scaling [--only RealNVP MAF NSF CNF] [--axes rows columns ...]
                                       [--quick] [--figure docs/figures/scaling.png]

For each flow three works are timed: the log-density of rows (value), a training step (step), and
samples (sample), in float32, by the twins. Along each axis one number grows and the others keep the
values in ``AT``. Every axis of every work is a process of its own. It calls each point once to
compile, and then takes the least time of nine calls, or of as many as end in three seconds.

A table's last columns are exponents. *Fitted* is the slope of a straight line through the points,
in logarithms of both; *theory* is the slope of a line through the counts of :func:`work_of` at the
same points, which allows for widths and columns of similar size. A fit leaves out points whose time
is mostly the time of the smallest call. *Memory* is the most that a call held beside its rows and
its results, by the kernel's own account (Linux): ``log_prob`` and ``sample`` take their rows in
blocks, so it should not grow with them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from tests.benchmarks.ours import Case, dense, training_step

FAMILIES = ("RealNVP", "MAF", "NSF", "CNF")
WORKS = ("value", "step", "sample")
# The values of the numbers that do not grow.
AT = {"columns": 8, "layers": 4, "hidden": 64, "threads": 2}
ROWS_AT = {"value": 20_000, "step": 1000, "sample": 20_000}
AXES = {
    "rows": {
        "value": (10**3, 10**4, 10**5, 10**6, 10**7),
        "step": (10**2, 10**3, 10**4, 10**5),
        "sample": (10**3, 10**4, 10**5, 10**6),
    },
    "columns": dict.fromkeys(WORKS, (2, 8, 32, 128, 784)),
    "layers": dict.fromkeys(WORKS, (1, 2, 4, 8, 16)),
    "threads": dict.fromkeys(
        WORKS, tuple(n for n in (1, 2, 4, 8, 16) if n <= len(os.sched_getaffinity(0)))
    ),
}
QUICK = {"rows": (10**3, 10**4), "columns": (2, 8), "layers": (1, 2), "threads": (1,)}
# Cost of an activation (relu, for a CNF tanh) and of a transformer, in units of one multiplication
# and addition.
ACTIVATION = {"RealNVP": 1, "MAF": 1, "NSF": 1, "CNF": 10}
TRANSFORMER = {"RealNVP": 20, "MAF": 20, "NSF": 200}
REPEATS, LONG = 9, 3  # calls, or seconds after which no further call starts
FLOOR = 3  # a point enters the fit from this multiple of the smallest call on


@dataclass(frozen=True)
class Point:
    """One call to time: a flow's sizes, the work, rows and threads."""

    family: str
    work: str
    rows: int
    columns: int
    layers: int
    hidden: int
    threads: int


def points(family, work, axis, quick=False):
    """The points along an axis."""
    start = Point(family, work, ROWS_AT[work], **AT)
    values = QUICK[axis] if quick else AXES[axis][work]
    if family == "CNF" and axis == "rows":  # a solve costs some twenty layers
        values = values[:-1]
    if axis != "columns":
        return [replace(start, **{axis: value}) for value in values]
    # Wide rows, so fewer of them; masks need a unit for every column but one.
    return [
        replace(
            start,
            rows=start.rows // 10,
            columns=value,
            hidden=max(start.hidden, value) if family in ("MAF", "NSF") else start.hidden,
        )
        for value in values
    ]


def work_of(point):
    """Count the multiplications, with an addition each, of a point; for a CNF of one evaluation.

    Networks have no masks; a step is three passes. The trace of a network with two hidden layers is
    a product with one H x H matrix for each row, which is made once from D H^2 products.
    """
    dim, hidden, layers, once = point.columns, point.hidden, point.layers, 0
    if point.family == "CNF":
        row, once, layers = 2 * dim * hidden + 2 * hidden**2, dim * hidden**2, 1
    else:
        row = dense(point.family, dim, 1, (hidden, hidden)) / 2
        row += TRANSFORMER[point.family] * (dim // 2 if point.family == "RealNVP" else dim)
    row += 2 * hidden * ACTIVATION[point.family]
    passes = 3 if point.work == "step" else 1
    return passes * layers * (point.rows * row + once) / point.threads


def exponent(at, cost):
    """Slope of a straight line through log(cost) against log(at)."""
    return np.polyfit(np.log(at), np.log(cost), 1)[0]


# One axis, in a process of its own -----------------------------------------------------------


def measure(given):
    """Measure time and memory of each point; write them as lines of JSON at once."""
    import nfref

    for point in given:
        with nfref.backend("numba", threads=point.threads):
            call, count = made(point)
            call()
            times, held = [], None
            while not times or len(times) < REPEATS and sum(times) < LONG:
                before = rest()
                start = time.perf_counter()
                result = call()
                times.append((time.perf_counter() - start) / count)
                if before is not None:
                    held = peak() - before - getattr(result, "nbytes", 0) / 2**20
                del result
        print(
            json.dumps(
                {**asdict(point), "work": work_of(point), "seconds": min(times), "megabytes": held}
            ),
            flush=True,
        )


def made(point):
    """The call of a point, and how many times it does the work."""
    sizes = {
        "dim": point.columns,
        "layers": point.layers,
        "hidden": (point.hidden, point.hidden),
        "rows": point.rows,
    }
    case = Case("", point.work, point.family, sizes)
    density, params = case.density()
    if point.family == "CNF":
        # A fixed number of evaluations, so that no step-size control hides the growth.
        density = replace(density, flow=replace(density.flow, solver="rk4", steps=8))
    if point.work == "sample":
        return lambda: density.sample(params, np.random.default_rng(1), point.rows), 1
    x = case.rows()
    if point.work == "value":
        return lambda: density.log_prob(params, x), 1
    return training_step(density, params, x)


def rest():
    """Reset the kernel's peak; return the megabytes the process holds now, None if unknown."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return status("VmRSS")
    except OSError:
        return None


def peak():
    return status("VmHWM")


def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


# All of them ---------------------------------------------------------------------------------


def found(family, work, axis, quick):
    """The measured points of an axis, from a process of its own."""
    request = json.dumps([family, work, axis, quick])
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scaling", "--run", request],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(results, axis):
    """(fitted exponent, exponent of theory); nan where less than two points count."""
    floor = FLOOR * min(result["seconds"] for result in results)
    # Growing costs soon exceed the smallest call's; with threads they fall from the first point on.
    counted = (
        results
        if axis in ("threads", "layers")
        else [result for result in results if result["seconds"] > floor]
    )
    if len(counted) < 2:
        return np.nan, np.nan
    at = [result[axis] for result in counted]
    return (
        exponent(at, [result["seconds"] for result in counted]),
        exponent(at, [result["work"] for result in counted]),
    )


def table(family, work, axis, results):
    fitted, theory = summary(results, axis)
    cells = "".join(
        f"{result[axis]:>10,}: {1e3 * result['seconds']:>9.2f} ms"
        + ("" if result["megabytes"] is None else f" {max(result['megabytes'], 0):>6.0f} MB")
        for result in results
    )
    return f"{family:<8} {work:<7} {axis:<8} {fitted:>6.2f} {theory:>6.2f}  {cells}"


def figure(everything, path):
    """Time against each axis, in logarithms, with the line of theory through the last point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colors = dict(zip(FAMILIES, ("#4477AA", "#EE6677", "#228833", "#AA3377")))
    axes_shown = [axis for axis in AXES if any(key[2] == axis for key in everything)]
    fig, panels = plt.subplots(
        3,
        len(axes_shown),
        figsize=(3.1 * len(axes_shown), 8),
        layout="constrained",
        squeeze=False,
        sharey="row",
    )
    for line, work in zip(panels, WORKS):
        for ax, axis in zip(line, axes_shown):
            for family, color in colors.items():
                results = everything.get((family, work, axis))
                if not results:
                    continue
                at = np.array([result[axis] for result in results])
                seconds = [result["seconds"] for result in results]
                counts = np.array([result["work"] for result in results])
                ax.loglog(at, seconds, "o-", color=color, markersize=4, label=family)
                ax.loglog(at, seconds[-1] * counts / counts[-1], ":", color=color, linewidth=1)
            ax.grid(alpha=0.3)
            if axis in ("layers", "threads"):  # few and small: label each number
                ax.set_xticks(at, [f"{value:g}" for value in at])
                ax.minorticks_off()
            if work == WORKS[0]:
                ax.set(title=f"against {axis}")
            if work == WORKS[-1]:
                ax.set(xlabel=axis)
        line[0].set(ylabel=f"{work}, seconds")
    panels[0, 0].legend(fontsize=8)
    fig.suptitle(
        "Points: measured. Dotted: what the count of multiplications says, through the last point.",
        fontsize=10,
    )
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--axes", nargs="*", default=list(AXES), choices=AXES)
    parser.add_argument("--quick", action="store_true", help="two small points an axis")
    parser.add_argument("--figure", help="write the picture here")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        measure(points(*json.loads(given.run)))
        return
    print(f"{'flow':<8} {'work':<7} {'axis':<8} {'fitted':>6} {'theory':>6}")
    everything = {}
    for axis in given.axes:
        for family in given.only:
            if family == "CNF" and axis == "layers":
                continue  # it has none
            for work in WORKS:
                results = everything[family, work, axis] = found(family, work, axis, given.quick)
                print(table(family, work, axis, results), flush=True)
    if given.figure:
        figure(everything, given.figure)


if __name__ == "__main__":
    main()
