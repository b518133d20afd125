"""The oracle over the table of flows, where every alarm is a false one.

``python -m tests.false_alarms [--seeds 20] [--match TEXT]`` prints a line for every flow and
dtype: how many reports failed, and the time of one check.
"""

import argparse
import sys
import time
import warnings

import numpy as np

from nfref.oracle import adapters, check_flow
from tests import flow_table


def report_on(entry, dim, seed, dtype):
    """The oracle's report on one flow at random parameters."""
    rng = np.random.default_rng(seed)
    context_dim = 2 if entry.context and seed % 2 else 0
    flow = entry.make(dim, context_dim)
    params = flow_table.random_params(flow, rng, size=0.7)
    context = rng.standard_normal((5, context_dim)) if context_dim else None
    arguments = {}
    if entry.data_rows:
        arguments["codomain"] = lambda generator, n: entry.data_rows(generator, n, flow.dim)
    # A solver's own tolerance is what it promises, for log_det as well as for values.
    eps = float(np.finfo(np.float64).eps)
    if entry.precision > eps:
        arguments["accuracy"] = 100 * entry.precision
    return check_flow(**adapters.from_nfref(flow, params, context), dim=flow.dim, rng=rng,
                      dtype=dtype, **arguments)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.false_alarms", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--match", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    alarms = 0
    for name, entry in flow_table.FLOWS.items():
        if options.match not in name:
            continue
        dim = next((dim for dim in (3, 4, 2, 8) if dim in entry.dims), entry.dims[0])
        for dtype in (np.float64, np.float32):
            start, failed = time.monotonic(), []
            for seed in range(options.seeds):
                report = report_on(entry, dim, seed, dtype)
                failed += [(seed, row) for row in report.failures]
            seconds = (time.monotonic() - start) / options.seeds
            alarms += len({seed for seed, _ in failed})
            print(f"{name:<28} D = {dim} {np.dtype(dtype)}: {len(failed)} alarms, "
                  f"{seconds:.2f} s a check", flush=True)
            for seed, row in failed[:4]:
                print(f"    seed {seed}: {row}", flush=True)
    print(f"{alarms} false alarms")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
