"""Time the density of one row, stage by stage.

    python -m tests.benchmarks.small_calls [--calls 200] [--wine]

Microseconds of the processor, medians of seven groups of calls, in float64 with the backend
``numba``. *Plain* parameters are checked and packed in every call, *frozen* ones once. The formula
has frozen parameters. ``--wine`` fits the white wines first and times the parts of a score.
"""

import argparse
import statistics
import time

import numpy as np

import nfref
from nfref.kernels.chain import execute
from nfref.kernels.chain.primitives import programs
from nfref.runtime.backends import threads
from nfref.tables.densities.pool import FittedFlow

FLOWS = {
    "RealNVP D=8 8x(2x64)": nfref.RealNVP(8, 8, (64, 64)),
    "MAF D=11": nfref.MAF(11),
    "NSF D=11": nfref.NSF(11),
}


def microseconds(call, calls):
    """Return processor microseconds of a call, the median of seven groups."""
    call()
    found = []
    for _ in range(7):
        started = time.process_time()
        for _ in range(calls):
            call()
        found.append(1e6 * (time.process_time() - started) / calls)
    return statistics.median(found)


def stages_of_flow(flow):
    """Stage -> call."""
    density = nfref.Density(flow)
    params = density.init(np.random.default_rng(0))
    frozen, x = nfref.frozen(params), np.random.default_rng(1).standard_normal((1, flow.dim))
    (program,), context = programs(flow, -1), np.zeros((1, 0))
    theta = program.pack(frozen["flow"], x.dtype)

    def pack():
        program.give_back(program.pack(params["flow"], x.dtype))

    def formula():
        with nfref.backend("numpy"):
            density.log_prob(frozen, x)

    return {
        "plain": lambda: density.log_prob(params, x),
        "frozen": lambda: density.log_prob(frozen, x),
        "check": lambda: density._structure.checked(params, x.dtype),
        "pack": pack,
        "kernel": lambda: execute.value_and_finite(program, theta, x, context, threads()),
        "base": lambda: density.base._log_prob({}, x),
        "formula": formula,
    }


def stages_of_table():
    """Stage -> call, for a row of the white wines."""
    import pandas

    x, _ = nfref.datasets.wine()
    model = nfref.FlowDensity(random_state=0).fit(x)
    row, density = x[:1], model.density_
    table, frame = list(row.T), pandas.DataFrame(row)
    _, u, _ = density.encode(table)
    pool = density.pool.used
    flows, others = (
        [one for one in pool.members if isinstance(one, FittedFlow) == own] for own in (True, False)
    )

    def formulas():
        with nfref.backend("numpy"):
            model.score_samples(row)

    return {
        "score_samples": lambda: model.score_samples(row),
        "of a DataFrame": lambda: model.score_samples(frame),
        "encode": lambda: density.encode(table),
        "cells": lambda: density.cells.averaged(table),
        "pool": lambda: pool.log_prob(u),
        f"{len(flows)} flows": lambda: [flow.log_prob(u) for flow in flows],
        "other members": lambda: [one.log_prob(u) for one in others],
        "by formulas": formulas,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--wine", action="store_true")
    arguments = parser.parse_args()
    tables = {name: stages_of_flow(flow) for name, flow in FLOWS.items()}
    if arguments.wine:
        tables["white wine"] = stages_of_table()
    with nfref.backend("numba"):
        for name, stages in tables.items():
            print(name)
            for stage, call in stages.items():
                print(f"    {stage:<16}{microseconds(call, arguments.calls):>10.1f}")


if __name__ == "__main__":
    main()
