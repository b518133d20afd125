"""python -m tests.oracle.mutants [--seeds 20] [--match TEXT]: which wrong flows it rejects."""

import argparse
import statistics
import sys
import time
import warnings

from tests.oracle.mutants.equivalent import EQUIVALENT
from tests.oracle.mutants.suite import judge, mutants, originals, score


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--match", default="", help="only mutants whose name or kind has this")
    parser.add_argument("--verbose", action="store_true", help="a line for every mutant")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = range(options.first, options.first + options.seeds)
    start, survivors, totals, by = time.monotonic(), [], {}, {}
    for mutant in mutants():
        if options.match not in f"{mutant.kind}: {mutant.name}":
            continue
        result = score(mutant, seeds)
        caught = result.rejected == result.seeds
        totals.setdefault(mutant.kind, []).append(result)
        for name in result.by:
            by[name] = by.get(name, 0) + 1
        if not caught:
            survivors.append(result)
        if options.verbose or not caught:
            print(
                f"{result.rejected:>3}/{result.seeds:<3} {result.seconds:6.1f} s  "
                f"{mutant.kind}: {mutant.name}  {', '.join(result.by)}",
                flush=True,
            )
    print(f"\n{'kind':<14}{'always':>8}{'sometimes':>11}{'never':>7}{'seconds':>9}")
    everything = [result for results in totals.values() for result in results]
    for kind, results in (*totals.items(), ("all", everything)):
        if not results:
            continue
        always = sum(result.rejected == result.seeds for result in results)
        never = sum(result.rejected == 0 for result in results)
        seconds = statistics.median(result.seconds / result.seeds for result in results)
        print(f"{kind:<14}{always:>8}{len(results) - always - never:>11}{never:>7}{seconds:>9.2f}")
    print(
        f"({len(seeds)} seeds each; {len(EQUIVALENT)} left out as equivalent; seconds: a check, "
        "median)"
    )
    print(
        "\nfirst rejected by: "
        + ", ".join(
            f"{name} {count}" for name, count in sorted(by.items(), key=lambda pair: -pair[1])
        )
    )
    alarms, judged = 0, 0
    for name, build in originals().items():
        if options.match not in f"original: {name}":
            continue
        judged += 1
        for seed in seeds:
            report = judge(build, seed, stop_early=False)
            if report is None or not report.ok:
                alarms += 1
                print(f"false alarm: {name}, seed {seed}\n{report}")
    print(f"\n{judged} originals, {len(seeds)} seeds each: {alarms} false alarms")
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if survivors or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
