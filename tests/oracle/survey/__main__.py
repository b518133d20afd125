"""python -m tests.oracle.survey: other libraries' transforms, judged by the oracle."""

import argparse
import logging
import time
import warnings
from collections import defaultdict
from pathlib import Path
from statistics import median

from nfref.oracle import scoreboard
from tests.oracle import survey


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.survey",
                                     description=survey.__doc__)
    parser.add_argument("--match", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"))
    parser.add_argument("--seconds", type=float, default=20.0, help="JAX compiles: give it more")
    parser.add_argument("--reports", type=Path, help="folder for the reports, as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    times = defaultdict(list)
    # A density says itself what it computes in.
    densities = survey.DENSITIES if options.dtype == "float64" else []
    for subject in (*survey.SUBJECTS, *densities, *survey.OWN):
        title = f"{subject.library} {subject.name}"
        if options.match not in title:
            continue
        start = time.process_time()
        report = subject.report(options.seed, options.dtype, options.seconds)
        seconds = time.process_time() - start
        verdict = report if isinstance(report, str) else report.verdict
        print(f"{subject.library} {subject.version} {subject.name}: {verdict} "
              f"({seconds:.1f} s of CPU)", flush=True)
        if isinstance(report, str):
            continue
        times[subject.library].append(seconds)
        for row in (*report.failures, *report.undecided):
            print(*(f"    {line}" for line in str(row).split("\n")), sep="\n", flush=True)
        if options.reports:
            scoreboard.write(options.reports, report, library=subject.library,
                             version=subject.version, flow=subject.name, dtype=options.dtype)
    for library, found in times.items():
        print(f"{library}: {median(found):.1f} s of CPU a check in the median")


if __name__ == "__main__":
    main()
