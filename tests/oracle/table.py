"""The table of ``docs/oracle.rst``: kind of fault by library and D, found, missed or inconclusive.

    python -m tests.oracle.table RUNS.jsonl [--minutes 9] [--seeds 20] [--match TEXT]

adds a line to the file for every case and seed that is not in it yet, first one seed of each, and
stops when its time is over, so that the whole is run in pieces; ``--show`` prints what the file
holds. A line holds all verdicts but passes, and the first line of the report. Wrong ones are
``causes.WRONG``, the mutants, the densities of ten libraries with ``library_densities.FAULTS``, a
fitted MAF with ``fitted.FAULTS``, closed densities with the samplers of ``power``,
``wrong_densities.FAULTS`` and ``further_cases.WRONG``; right ones the same without their faults,
those of ``right_densities``, ``right_families`` and ``right_variations``, ``sound.SOUND`` and the
flows of nfref's table. Faults that leave nothing to chance are run with one seed; seeds beyond the
first ask only what involves chance.
"""

import argparse
import json
import re
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
from nfref.oracle.report import Report, without_direction
from tests.oracle import (
    but,
    causes,
    false_alarms,
    fitted,
    further_cases,
    library_densities,
    power,
    right_densities,
    right_families,
    right_variations,
    usual_mistakes,  # noqa: F401 (adds to causes.WRONG)
    wrong_densities,
)
from tests.oracle.mutants import suite
from tests.oracle.sound import SOUND

LETTERS = {"failed": "f", "inconclusive": "?", "ok": "."}
# Libraries that refuse a batch of no rows, or draw none; each is a fact about them.
EMPTY = ("empty_batch", "sample_empty")
# What involves chance; of further seeds nothing else is asked.
CHANCE = but("sample_follows", "normalised", "sample_independent", "sample_generator")
# D of a library's densities; those on JAX compile for minutes.
DIMS = {"JAX": (2, 3), "distrax": (2,), "flowjax": (2,)}
RIGHT_SEEDS = {"JAX": 3, "distrax": 5, "flowjax": 1}
# Properties that may lead the first line, by kind of fault and name; the first pattern decides.
LEADS = (
    (
        r"usage: (batch|row)|chunked|shuffled|batch statistics|of the first row|rolled|sorted"
        r"|averaged|reversed|centered|of other rows|transposed|half the batch|squeezed"
        r"|less its mean over the batch|batch norm left|of the first row for all|other way round"
        r"|batch_norm_training|all_in_the_tail|log_prob_broadcast",
        r"row_independence|batch_sizes|answers|log_det|round_trip|context_\w+|sample_follows|normalised",
    ),
    (
        r"usage: call|calls of the|drifting|noise|cache|remembered|estimated|reused|in place"
        r"|goes on moving|actnorm|dropout|rounded key",
        r"repeatable|answers_stay|input_unchanged|history|context_memory|row_independence"
        r"|batch_sizes|memory_layout|threads|precision|first_\w+|sample_follows|log_det",
    ),
    (r"threads", r"threads"),
    (r"layout", r"memory_layout"),
    (
        r"usage: context|wrapper: context|context",
        r"context_\w+|precision|log_det|round_trip"
        r"|normalised|sample_follows",
    ),
    (r"gradient|cut off from", r"gradient|context_gradient|finite"),
    (
        r"sample|drawn|draws|base |one column|two columns|a column (drawn|moved)|weights|piece"
        r"|each second|rvs|rounded to 1|earlier epoch"
        r"|clipped at|variance|tempered: scale|cut at|modes|another row's|codes are",
        r"sample_\w+|normalised|categories|weights|units",
    ),
    (
        r"usage: offset|of a fitted flow|log_prob|log p|pdf|normali|density|two_pi|bandwidth"
        r"|categories|category|i0e|tempered"
        r"|factor|mixture|elliptical|ring|copula|wrapped|truncated|Dirichlet|banana|regression"
        r"|temperature|correlation|base_not|constant",
        r"normalised|sample_follows|higher_at_rows|units|chain_rule|categories|far_out"
        r"|precision|gradient|log_det|row_independence|weights|answers|shapes",
    ),
    (r"empty|alone", r"empty_batch|log_det|round_trip|normalised|answers"),
    (r"float32|float16|precision", r"precision|dtypes|log_det|round_trip|finite"),
    (
        r"",
        r"log_det|round_trip|orientation|finite|answers|answers_far|precision|knots|shapes"
        r"|dtypes|stays_inside|normalised|row_independence",
    ),
)


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
    kind : str
        Of the fault.
    leads : callable or None
        report -> True if its first line names the cause; None where LEADS decide.
    """

    fault: str
    library: str
    name: str
    dim: int
    report: Callable
    seeds: int
    kind: str = ""
    leads: Callable | None = None

    def is_named_by(self, report):
        """True if the first line of a report names the cause."""
        if self.leads is not None:
            return self.leads(report)
        text = f"{self.kind}: {self.fault}"
        allowed = next(stems for pattern, stems in LEADS if re.search(pattern, text))
        return report.lead is not None and bool(re.fullmatch(allowed, report.lead.stem))


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
                        "of a library's density",
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
                fault,
                "nfref",
                "a fitted MAF",
                dim,
                partial(report, make=make, dim=dim),
                seeds,
                "of a fitted flow",
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
            report_of = partial(report, pair=pair, dim=dim)
            yield Case(fault, "NumPy", name, dim, report_of, seeds, "of a sampler")


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
                "of an estimator",
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
                "of a family",
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


def variations(seeds):
    def report(seed, stop_early, report_of):
        return report_of(seed)

    for library, name, dim, report_of in right_variations.right_variations():
        yield Case("", library, name, dim, partial(report, report_of=report_of), min(seeds, 2))


def cases_of_causes(seeds):
    def report(seed, stop_early, subject):
        return causes.judge(subject, seed)

    for one in causes.WRONG:
        yield Case(
            f"{one.kind}: {one.name}",
            "NumPy",
            one.name,
            0,
            partial(report, subject=one),
            1,
            one.kind,
            one.is_named_by,
        )


def cases_of_mutants(seeds):
    def report(seed, stop_early, build):
        return suite.judge(build, seed, stop_early=False)

    for one in suite.mutants():
        yield Case(one.name, "nfref", one.name, 0, partial(report, build=one.build), 1, one.kind)
    for name, build in suite.originals().items():
        yield Case("", "nfref", f"original: {name}", 0, partial(report, build=build), 1)


SOURCES = {
    "causes": cases_of_causes,
    "mutants": cases_of_mutants,
    "as sold": as_sold,
    "variations": variations,
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
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(path, cases, seconds):
    """Add what is missing, one seed of all cases after the other; returns how many are left."""
    known = {(r["fault"], r["library"], r["name"], r["D"], r["seed"]) for r in read(path)}
    left = [
        (seed, case)
        for seed in range(max((case.seeds for case in cases), default=0))
        for case in cases
        if seed < case.seeds and (case.fault, case.library, case.name, case.dim, seed) not in known
    ]
    start = time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for done, (seed, case) in enumerate(left):
            if time.monotonic() - start > seconds:
                return len(left) - done
            file.write(json.dumps(line(case, seed)) + "\n")
            file.flush()
    return 0


def line(case, seed):
    """What is written of one case and seed: all verdicts but passes, and the first line."""
    began = time.process_time()
    found = dict(
        kind=case.kind,
        fault=case.fault,
        library=case.library,
        name=case.name,
        D=case.dim,
        seed=seed,
        rows={},
        leads=[],
        named=False,
    )
    try:
        with np.errstate(all="ignore"):
            report = case.report(seed, stop_early=False)
        found.update(
            verdict=report.verdict,
            summary=report.summary,
            rows={row.name: row.verdict for row in report.failures + report.undecided},
            leads=[
                [row.name, case.is_named_by(Report(report.subject, (row,)))]
                for row in report.failures
            ],
            named=case.is_named_by(report),
        )
    except ImportError as error:
        found.update(verdict="not installed", summary=str(error))
    except Exception as error:
        found.update(verdict="broke", summary=f"{type(error).__name__}: {error}"[:200])
    return {**found, "seconds": round(time.process_time() - began, 2)}


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


def by_kind(runs):
    """Lines of a table: a kind of fault each, found, missed, inconclusive, first line right."""
    kinds = defaultdict(list)
    for r in runs:
        kinds[r["kind"]].append(r)
    yield ["kind of fault", "subjects", "found", "missed", "inconclusive", "first line right"]
    for kind, found in (*kinds.items(), ("all", runs)):
        verdicts = Counter(r["verdict"] for r in found)
        numbers = [len(found), *(verdicts[v] for v in ("failed", "ok", "inconclusive"))]
        yield [kind, *map(str, numbers), str(sum(r["named"] for r in found))]


def without_each(runs):
    """Lines of a table: what would change if a property were not judged."""
    stems = sorted({without_direction(name) for r in runs for name, _ in r["leads"]})
    yield ["without", "fails", "wrong ones missed", "other first lines", "wrong first lines"]
    for stem in stems:
        missed = leads = misled = 0
        fails = [r for r in runs if any(without_direction(name) == stem for name, _ in r["leads"])]
        for r in fails:
            others = [one for one in r["leads"] if without_direction(one[0]) != stem]
            missed += not others
            if others and others[0] != r["leads"][0]:
                leads += 1
                misled += r["named"] and not others[0][1]
        yield [stem, *map(str, (len(fails), missed, leads, misled))]


def print_table(title, lines):
    """Print lines of cells as a csv-table."""
    print(f".. csv-table:: {title}\n   :header-rows: 1\n")
    for cells in lines:
        print("   " + ",".join(f'"{cell}"' for cell in cells))
    print()


def show(runs):
    """The tables, and the sums."""
    wrong = [r for r in runs if r["fault"]]
    right = [r for r in runs if not r["fault"]]
    print_table("by kind", by_kind([r for r in wrong if r["kind"]]))
    print_table("if a property were not judged", without_each(wrong))
    for column in ("library", "D"):
        some = [r for r in wrong if not r["kind"]]
        order = sorted({r[column] for r in some})
        print_table(f"found/missed by {column}", by_column(some, column, order))
    cases = {(r["fault"], r["library"], r["name"], r["D"]) for r in wrong}
    print(f"{len(cases)} wrong ones, {len(wrong)} runs: found/missed {_counts(wrong)}")
    print(
        f"{len({(r['library'], r['name'], r['D']) for r in right})} right ones, {len(right)} "
        f"runs: accused/passed {_counts(right)}"
    )
    for r in right + [r for r in wrong if r["verdict"] != "failed" or not r["named"]]:
        if r["fault"] or r["verdict"] != "ok":
            print(f"  {r['library']}, D = {r['D']}, seed {r['seed']}: {r['fault'] or r['name']}")
            print(f"    {r['summary'][:300]}")
    for words, some in (("wrong", wrong), ("right", right)):
        seconds = [r["seconds"] for r in some]
        if seconds:
            print(
                f"seconds of CPU, {words} ones: median {np.median(seconds):.1f}, 95 % below "
                f"{np.quantile(seconds, 0.95):.1f}, worst {max(seconds):.1f}"
            )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.table", description=__doc__)
    parser.add_argument("runs", type=Path, metavar="RUNS.jsonl")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--of", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--only", choices=("right", "wrong"))
    parser.add_argument("--match", default="", help="in a fault, library or name")
    parser.add_argument("--every", type=int, default=1, help="a part of the cases: every so many")
    parser.add_argument("--show", action="store_true", help="print the tables and run nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.show:
        show(read(options.runs))
        return
    cases = [
        case
        for source in options.of
        for case in list(SOURCES[source](options.seeds))[:: options.every]
        if options.only != ("right" if case.fault else "wrong")
        and options.match in f"{case.fault} {case.library} {case.name} D = {case.dim}"
    ]
    print(f"{run(options.runs, cases, 60 * options.minutes)} are left")


if __name__ == "__main__":
    main()
