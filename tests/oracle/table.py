"""The table of ``docs/oracle.rst``: kind of fault by library and D, found, missed or inconclusive.

    python -m tests.oracle.table RUNS.csv [--minutes 9] [--seeds 20] [--match TEXT]

adds a line to the file for every case and seed that is not in it yet, first one seed of each, and
stops when its time is over, so that the whole is run in pieces; ``--show`` prints what the file
holds. Wrong ones are the densities of ten libraries with ``library_densities.FAULTS``, a fitted MAF
with ``fitted.FAULTS``, closed densities with the samplers of ``power``, ``wrong_densities.FAULTS``
and ``further_cases.WRONG``; right ones the same without their faults, those of
``right_densities`` and of ``right_families``, ``sound.SOUND`` and the flows of nfref's table.
Faults that leave nothing to chance are run with one seed; seeds beyond the first ask only what
involves chance.
"""

import argparse
import csv
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nfref.oracle import check_density, check_estimator_density
from tests.oracle import (
    but,
    false_alarms,
    fitted,
    further_cases,
    library_densities,
    power,
    right_densities,
    right_families,
    wrong_densities,
)
from tests.oracle.sound import SOUND

COLUMNS = ("fault", "library", "name", "D", "seed", "verdict", "by", "seconds")
LETTERS = {"failed": "f", "inconclusive": "?", "ok": "."}
# Libraries that refuse a batch of no rows, or draw none; each is a fact about them.
EMPTY = ("empty_batch", "sample_empty")
# What involves chance; of further seeds nothing else is asked.
CHANCE = but("sample_follows", "normalised", "sample_independent", "sample_generator")
# D of a library's densities; those on JAX compile for minutes.
DIMS = {"JAX": (2, 3), "distrax": (2,), "flowjax": (2,)}
RIGHT_SEEDS = {"JAX": 3, "distrax": 5, "flowjax": 1}


@dataclass(frozen=True)
class Case:
    """A density or a flow, right where ``fault`` is empty.

    Attributes
    ----------
    fault, library, name : str
    dim : int
    report : callable
        (seed, stop_early=) -> Report, or None where there is nothing to be judged.
    seeds : int
        No more of them than these.
    """

    fault: str
    library: str
    name: str
    dim: int
    report: Callable
    seeds: int


def _of_library(seed, stop_early, library, name, fault, dim):
    start = zlib.crc32(f"{library} {name} {dim}".encode()) if fault else seed
    rng = np.random.default_rng(start)
    arguments = (
        library_densities.wrong(library, name, fault, dim, rng)
        if fault
        else library_densities.DENSITIES[library][name](dim, rng)
    )
    return check_density(
        **arguments,
        rng=np.random.default_rng(seed),
        stop_early=stop_early,
        skip=CHANCE if seed else EMPTY,
    )


def library_cases(seeds):
    for library, densities in library_densities.DENSITIES.items():
        for name in densities:
            for dim in DIMS.get(library, (2, 5)):
                for fault in library_densities.FAULTS:
                    if (name, fault) == ("Vinecop", "sampler: clipped at 2 sd"):
                        continue  # uniform columns end before two standard deviations
                    yield Case(
                        fault,
                        library,
                        name,
                        dim,
                        partial(_of_library, library=library, name=name, fault=fault, dim=dim),
                        seeds if fault in library_densities.BY_CHANCE else 1,
                    )
                yield Case(
                    "",
                    library,
                    name,
                    dim,
                    partial(_of_library, library=library, name=name, fault="", dim=dim),
                    RIGHT_SEEDS.get(library, seeds),
                )


def fitted_cases(seeds):
    def report(seed, stop_early, make, dim):
        return fitted.judge(make, dim, seed, stop_early=stop_early, skip=CHANCE if seed else ())

    for dim in (3, 5, 8, 16):
        for fault, make in {**fitted.FAULTS, "": fitted.Wrong}.items():
            yield Case(
                fault, "nfref", "a fitted MAF", dim, partial(report, make=make, dim=dim), seeds
            )


def sampler_cases(seeds):
    def report(seed, stop_early, pair, dim):
        return check_density(
            *pair(dim),
            dim=dim,
            rng=np.random.default_rng(seed),
            stop_early=stop_early,
            skip=CHANCE if seed else (),
        )

    for name, pair in power.SAMPLERS.items():
        fault = "" if name.startswith("(right") else name
        for dim in (1, 2, 4, 8, 16, 32):
            yield Case(fault, "NumPy", name, dim, partial(report, pair=pair, dim=dim), seeds)


def table_cases(seeds):
    def report(seed, stop_early, kind, fault, dim):
        rng = np.random.default_rng(seed)
        return check_estimator_density(
            kind(fault), wrong_densities.table_for(kind, rng, dim), rng=rng, stop_early=stop_early
        )

    for dim in (2, 3):
        for kind, fault, _ in (
            *wrong_densities.FAULTS,
            *(
                (kind, "", "")
                for kind in (
                    wrong_densities.Normal,
                    wrong_densities.Kernels,
                    wrong_densities.Chain,
                    wrong_densities.Hidden,
                    wrong_densities.Mixed,
                )
            ),
        ):
            yield Case(
                fault,
                "an estimator",
                kind.__name__,
                dim,
                partial(report, kind=kind, fault=fault, dim=dim),
                1 if fault else min(seeds, 5),
            )


def further(seeds):
    def report(seed, stop_early, build):
        return further_cases.judge(build, seed, stop_early=stop_early)

    for cases in (further_cases.WRONG, further_cases.RIGHT):
        for name, build in cases.items():
            made = build(np.random.default_rng(0))
            dim = made.get("dim") or np.shape(made.get("table", [[0]]))[1]
            yield Case(
                name if cases is further_cases.WRONG else "",
                "NumPy",
                name,
                dim,
                partial(report, build=build),
                min(seeds, 5),
            )


def right_flows(seeds):
    """Nasty ones, and nfref's."""

    def report(seed, stop_early, report_of, dtype):
        return report_of(seed, dtype)

    for library, cases, most in (
        ("NumPy", false_alarms.nasty_cases(), 3),
        ("nfref", false_alarms.table_cases(), 2),
    ):
        for name, dim, report_of in cases:
            dtype = np.float64
            if library == "NumPy":
                dtype = SOUND[name](np.random.default_rng(0)).get("dtype", np.float64)
            yield Case(
                "",
                library,
                name,
                dim,
                partial(report, report_of=report_of, dtype=np.dtype(dtype)),
                min(seeds, most),
            )


def as_sold(seeds, densities=right_densities.right_densities):
    def report(seed, stop_early, make):
        return check_density(
            **make(seed),
            rng=np.random.default_rng(seed),
            stop_early=stop_early,
            skip=CHANCE if seed else EMPTY,
        )

    for library, name, dim, make in densities():
        yield Case("", library, name, dim, partial(report, make=make), seeds)


SOURCES = {
    "as sold": as_sold,
    "families": partial(as_sold, densities=right_families.right_families),
    "further": further,
    "tables": table_cases,
    "libraries": library_cases,
    "fitted": fitted_cases,
    "samplers": sampler_cases,
    "flows": right_flows,
}


def read(path):
    """The runs of a file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(path, cases, seconds):
    """Add what is missing, one seed of all cases after the other; returns how many are left."""
    known = {(r["fault"], r["library"], r["name"], r["D"], r["seed"]) for r in read(path)}
    left = [
        (seed, case)
        for seed in range(max(case.seeds for case in cases))
        for case in cases
        if seed < case.seeds
        and (case.fault, case.library, case.name, str(case.dim), str(seed)) not in known
    ]
    start = time.monotonic()
    with path.open("a", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        if not known:
            lines.writerow(COLUMNS)
        for done, (seed, case) in enumerate(left):
            if time.monotonic() - start > seconds:
                return len(left) - done
            lines.writerow(line(case, seed))
            file.flush()
    return 0


def line(case, seed):
    """What is written of one case and seed."""
    began = time.process_time()
    try:
        with np.errstate(all="ignore"):
            report = case.report(seed, stop_early=bool(case.fault))
        verdict = report.verdict
        rows = report.failures or report.undecided
        by = " ".join(row.name for row in (rows[:1] if case.fault else rows))
    except ImportError as error:
        verdict, by = "not installed", str(error)
    except Exception as error:
        verdict, by = "broke", f"{type(error).__name__}: {error}"[:200]
    return (
        case.fault,
        case.library,
        case.name,
        case.dim,
        seed,
        verdict,
        by,
        f"{time.process_time() - began:.2f}",
    )


# What is shown --------------------------------------------------------------------------------


def _counts(runs):
    """found/missed, and what is inconclusive where anything is."""
    letters = Counter(LETTERS.get(r["verdict"], "!") for r in runs)
    words = f"{letters['f']}/{letters['.']}"
    return words + "".join(f"/{letters[k]}{k}" for k in "?!" if letters[k]) if runs else ""


def by_column(runs, column, order):
    """Lines of a table: a fault each, and counts for every value of a column."""
    faults = defaultdict(lambda: defaultdict(list))
    for r in runs:
        faults[r["fault"]][r[column]].append(r)
    yield ["fault", *order]
    for fault, found in faults.items():
        yield [fault, *(_counts(found[value]) for value in order)]


def show(runs):
    """The tables as csv-tables, and in sum."""
    wrong = [r for r in runs if r["fault"]]
    right = [r for r in runs if not r["fault"]]
    for column in ("library", "D"):
        order = list(dict.fromkeys(r[column] for r in wrong))
        if column == "D":
            order.sort(key=int)
        print(f".. csv-table:: found/missed by {column}\n   :header-rows: 1\n")
        for cells in by_column(wrong, column, order):
            print("   " + ",".join(f'"{cell}"' for cell in cells))
        print()
    cases = {(r["fault"], r["library"], r["name"], r["D"]) for r in wrong}
    print(f"{len(cases)} wrong ones, {len(wrong)} runs: found/missed {_counts(wrong)}")
    print(
        f"{len({(r['library'], r['name'], r['D']) for r in right})} right ones, {len(right)} "
        f"runs: accused/passed {_counts(right)}"
    )
    for r in right:
        if r["verdict"] != "ok":
            print(
                f"  {r['library']} {r['name']}, D = {r['D']}, seed {r['seed']}: {r['verdict']}: "
                f"{r['by']}"
            )
    for words, some in (("wrong", wrong), ("right", right)):
        seconds = [float(r["seconds"]) for r in some]
        if seconds:
            print(
                f"seconds of CPU, {words} ones: median {np.median(seconds):.1f}, 95 % below "
                f"{np.quantile(seconds, 0.95):.1f}, worst {max(seconds):.1f}"
            )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.table", description=__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS.csv")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--of", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--only", choices=("right", "wrong"))
    parser.add_argument("--match", default="", help="in a fault, library or name")
    parser.add_argument("--show", action="store_true", help="print the tables and run nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.show:
        show(read(options.runs))
        return
    cases = [
        case
        for source in options.of
        for case in SOURCES[source](options.seeds)
        if options.only != ("right" if case.fault else "wrong")
        and options.match in f"{case.fault} {case.library} {case.name} D = {case.dim}"
    ]
    print(f"{run(options.runs, cases, 60 * options.minutes)} are left")


if __name__ == "__main__":
    main()
