"""The oracle over flows that are right, where every alarm is a false one.

``python -m tests.oracle.false_alarms [--seeds 20] [--match TEXT]`` prints a line for every flow of
the table and dtype: how many rows failed, how many were inconclusive, and the processor's seconds
of one check; at the end how many alarms there were, and the median of these seconds.
``--nasty`` takes the suite of ``tests/oracle/sound.py`` instead, ``--peers`` transforms of other
libraries, where those are installed.
"""

import argparse
import sys
import time
import warnings

import numpy as np

from nfref.oracle import adapters, check_density, check_flow
from tests import flow_table
from tests.oracle.sound import SOUND

# A flow that comes back from no farther than this is asked within its reach alone: the exponential
# of a network that is not bounded leaves the range of floating point beyond.
REACH = 2.0
# Its log-determinant jumps from cell to cell, as it should.
JUMPS = {"VariationalDequantisation": ("knots_forward", "knots_inverse")}


def report_on(entry, dim, seed, dtype, skip=(), size=0.7, with_context=None):
    """The oracle's report on one flow, ``size`` away from its first parameters."""
    rng = np.random.default_rng(seed)
    if with_context is None:
        with_context = seed % 2
    flow = entry.make(dim, 2 if entry.context and with_context else 0)
    context_dim = flow.context_dim  # some have one whether asked or not
    params = flow_table.random_params(flow, rng, size=size)
    context = rng.standard_normal((5, context_dim)) if context_dim else None
    arguments = {}
    if entry.data_rows is flow_table.rows_in_bounds:
        ends = np.array(flow_table.bounds(flow.dim), dtype=float)  # nan where there is none
        arguments["codomain"] = tuple(np.where(np.isnan(ends), [[-np.inf], [np.inf]], ends))
    elif entry.data_rows:
        arguments["codomain"] = lambda generator, n: entry.data_rows(generator, n, flow.dim)
    elif entry.reach <= REACH:

        def images(generator, n):
            z = generator.uniform(-entry.reach, entry.reach, (n, flow.dim))
            return flow.forward(params, z, None if context is None else context[[0] * n])[0]

        arguments.update(domain=(-entry.reach, entry.reach), codomain=images)
        skip = (*skip, "normalised")  # a part of the base's mass is all that is there
    # A solver's own tolerance is what it promises, for log_det as well as for values; in float32
    # tolerances below ten roundings act as that (nfref.continuous.solve).
    if entry.precision > np.finfo(np.float64).eps:
        arguments["accuracy"] = 100 * (
            entry.precision
            if dtype == np.float64
            else max(entry.precision, 10 * float(np.finfo(dtype).eps))
        )
    return check_flow(
        **adapters.from_nfref(flow, params, context),
        dim=flow.dim,
        rng=rng,
        dtype=dtype,
        skip=skip,
        **arguments,
    )


# Transforms of other libraries that are right, by the survey and by what they are. Many of
# their networks refuse a batch of no rows, which is no false alarm and is left out.
EMPTY = ("empty_batch_forward", "empty_batch_inverse")
SOUND_PEERS = {
    "torch": ("AffineTransform", "ExpTransform", "SigmoidTransform", "TanhTransform"),
    "nflows": (
        "PointwiseAffineTransform",
        "LULinear",
        "QRLinear",
        "SVDLinear",
        "HouseholderSequence",
        "RandomPermutation",
        "AffineCouplingTransform",
        "AdditiveCouplingTransform",
        "PiecewiseRQCoupling",
        "AffineCouplingTransform, context",
        "MaskedAffineAutoregressive",
        "MaskedAffineAutoregressive, context",
        "MaskedPiecewiseRQAutoregressive",
        "PiecewiseQuadraticCDF",
        "PiecewiseCubicCDF",
        "PiecewiseRationalQuadraticCDF",
    ),
    "FrEIA": (
        "AffineCouplingOneSided",
        "GLOWCouplingBlock",
        "GLOWCouplingBlock, context",
        "InvAutoAct",
        "RNVPCouplingBlock",
    ),
    "flowjax": ("LeakyTanh", "Planar leaky", "masked autoregressive flow, context"),
    "numpyro": ("AffineTransform", "LowerCholeskyAffine", "SigmoidTransform"),
    "normflows": ("AffineCouplingBlock", "LULinearPermute", "CoupledRationalQuadraticSpline"),
    "zuko": (
        "MAF",
        "MAF, context",
        "NICE",
        "RealNVP",
        "NSF",
        "MonotonicAffineTransform",
        "MonotonicRQSTransform",
        "LULinearTransform",
        "PermutationTransform",
        "RotationTransform",
    ),
    "pyro": ("Householder", "LowerCholeskyAffine"),  # most others cache, and fail for two threads
}


def peer_cases():
    """(name, D, function of (seed, dtype) that reports) for each of the sound transforms."""
    from tests.oracle.survey import SUBJECTS, run

    for subject in SUBJECTS:
        if subject.name in SOUND_PEERS.get(subject.library, ()):

            def report(seed, dtype, subject=subject):
                return run(subject, seed, dtype, skip=EMPTY)

            yield f"{subject.library} {subject.name}", subject.dim, report


def table_cases():
    """The same for each flow of the table."""
    for name, entry in flow_table.flows().items():
        dim = next((dim for dim in (4, 3, 2, 8) if dim in entry.dims), entry.dims[0])

        def report(seed, dtype, entry=entry, dim=dim, skip=JUMPS.get(name, ())):
            return report_on(entry, dim, seed, dtype, skip)

        yield name, dim, report


def nasty_cases():
    """The suite of flows and densities that are nasty on purpose; each has its own dtype."""
    for name, build in SOUND.items():

        def report(seed, dtype, build=build):
            rng = np.random.default_rng(seed)
            with np.errstate(all="ignore"):
                arguments = build(rng)
            if np.dtype(arguments.get("dtype", np.float64)) != dtype:
                return None
            check = check_density if "log_prob" in arguments else check_flow
            return check(**arguments, rng=rng)

        yield name, build(np.random.default_rng(0))["dim"], report


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracle.false_alarms", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--match", default="")
    parser.add_argument("--nasty", action="store_true", help="flows and densities made to be nasty")
    parser.add_argument("--peers", action="store_true", help="other libraries' sound transforms")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    alarms, times = 0, []
    cases = peer_cases() if options.peers else nasty_cases() if options.nasty else table_cases()
    for name, dim, report_of in cases:
        if options.match not in name:
            continue
        for dtype in (np.float64, np.float32):
            start, failed, undecided = time.process_time(), [], []
            reports = [report_of(seed, dtype) for seed in range(options.seeds)]
            if None in reports:
                continue
            for seed, report in enumerate(reports):
                failed += [(seed, row) for row in report.failures]
                undecided += [row.name for row in report.undecided]
            seconds = (time.process_time() - start) / options.seeds
            times.append(seconds)
            alarms += len({seed for seed, _ in failed})
            names = f" ({', '.join(sorted(set(undecided)))})" if undecided else ""
            print(
                f"{name:<36} D = {dim} {np.dtype(dtype)}: {len(failed)} alarms, "
                f"{len(undecided)} inconclusive{names}, {seconds:.2f} s a check",
                flush=True,
            )
            for seed, row in failed[:4]:
                print(f"    seed {seed}: {row}", flush=True)
    print(f"{alarms} false alarms; a check takes {np.median(times or [0]):.1f} s in the median")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
