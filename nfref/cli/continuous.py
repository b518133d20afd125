"""What ``nfref fit`` asks about continuous flows: the trace, the tolerance, the penalties."""

import argparse
from dataclasses import replace

from nfref.cli.arguments import UsageError, positive
from nfref.continuous.dynamics import EXACT_LAYERS

CONTINUOUS = ("cnf", "fm")


def penalties(text):
    """A type of option: KINETIC,JACOBIAN as two numbers of at least 0."""
    try:
        kinetic, jacobian = (float(part) for part in text.split(","))
    except ValueError:
        kinetic = jacobian = -1.0
    if not (0 <= kinetic < float("inf") and 0 <= jacobian < float("inf")):
        raise argparse.ArgumentTypeError("expected KINETIC,JACOBIAN, two finite numbers of at "
                                         f"least 0, got {text!r}")
    return kinetic, jacobian


def add_options(parser):
    """Add the options of ``--flow cnf`` and ``--flow fm``."""
    parser.add_argument("--trace", choices=("exact", "hutchinson", "brute"),
                        help="cnf: the trace to train with (default: exact, which needs at most "
                             "two hidden layers); scores are exact with either")
    parser.add_argument("--rtol", type=positive, metavar="R",
                        help="cnf, fm: tolerance of the solver, relative and absolute "
                             "(default: 1e-05)")
    parser.add_argument("--regularise", type=penalties, metavar="KINETIC,JACOBIAN",
                        help="cnf: weights of the two path penalties, as in 0.01,0.01 "
                             "(default: none)")


def check_options(name, options):
    """That no option is given to a flow which has no use for it, or cannot do it."""
    for option, flows in (("trace", ("cnf",)), ("rtol", CONTINUOUS), ("regularise", ("cnf",))):
        if getattr(options, option) is not None and name not in flows:
            raise UsageError(f"--{option}: expected none with --flow {name}, "
                             f"only with {' or '.join(flows)}")
    if options.trace == "exact" and len(options.hidden or ()) > EXACT_LAYERS:
        raise UsageError(f"--trace: expected 'brute' or 'hutchinson' for more than {EXACT_LAYERS} "
                         f"hidden layers, got 'exact' with {len(options.hidden)}")


def with_tolerance(flow, options):
    """The flow with the tolerance asked for."""
    if options.rtol is None:
        return flow
    return replace(flow, rtol=options.rtol, atol=options.rtol)


def objective(name, options):
    """What the fit follows: None for the likelihood of the density as it is."""
    if name == "fm":
        from nfref.objectives.flow_matching import FlowMatching
        return FlowMatching()
    if name == "cnf" and (options.trace or options.regularise):
        from nfref.objectives.path_penalties import PathLikelihood
        return PathLikelihood(*(options.regularise or (0.0, 0.0)), trace=options.trace)
    return None
