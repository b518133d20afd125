"""python -m tests.oracle.survey: other libraries' transforms, judged by the oracle."""

import argparse
import logging
import time
import warnings
from collections import defaultdict
from pathlib import Path
from statistics import median

from docs import scoreboard_page
from tests.oracle import survey

PROOFS = Path(__file__).with_name("proofs.txt")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracle.survey", description=survey.__doc__
    )
    parser.add_argument("--match", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=["float64", "float32"],
        choices=("float64", "float32"),
        help="(default: one after the other)",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="JAX compiles: give it more")
    parser.add_argument(
        "--reports",
        type=Path,
        help="folder for the reports, as JSON; what is in "
        "it is not asked again, so that a survey that was stopped goes on",
    )
    parser.add_argument("--page", type=Path, help="with --reports: the scoreboard of that folder")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    times, end = defaultdict(list), time.monotonic() + 60 * options.minutes
    for dtype in options.dtype:
        # A density says itself what it computes in.
        densities = survey.DENSITIES if dtype == "float64" else []
        for subject in (*survey.SUBJECTS, *densities, *survey.OWN):
            if options.match in f"{subject.library} {subject.name}" and time.monotonic() < end:
                survey_one(subject, dtype, options, times)
    for library, found in times.items():
        print(f"{library}: {median(found):.1f} s of CPU a check in the median")
    if options.page and options.reports:
        options.page.write_text(
            scoreboard_page.page(
                scoreboard_page.read([options.reports]), proofs=scoreboard_page.read_proofs(PROOFS)
            ),
            encoding="utf-8",
        )


def survey_one(subject, dtype, options, times):
    """Ask one subject, print what came, and write its report."""
    about = dict(library=subject.library, flow=subject.name, dtype=dtype)
    if options.reports and scoreboard_page.path_of(options.reports, **about).exists():
        return
    start = time.process_time()
    report = subject.report(options.seed, dtype, options.seconds)
    seconds = time.process_time() - start
    verdict = report if isinstance(report, str) else report.verdict
    print(
        f"{subject.library} {subject.version} {subject.name} {dtype}: {verdict} "
        f"({seconds:.1f} s of CPU)",
        flush=True,
    )
    if isinstance(report, str):
        return
    times[subject.library].append(seconds)
    for row in (*report.failures, *report.undecided):
        print(*(f"    {line}" for line in str(row).split("\n")), sep="\n", flush=True)
    if options.reports:
        scoreboard_page.write(options.reports, report, version=subject.version, **about)


if __name__ == "__main__":
    main()
