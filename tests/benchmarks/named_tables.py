"""Share arguments, generators and differences with errors among benchmarks on named tables."""

import argparse
import time
import warnings

import numpy as np


def arguments(doc, tables):
    """Return a parser of tables and seeds."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(tables), choices=tables)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    return parser


def asked_for(tables, options):
    """Yield (name, seed, rng) of the requested tables, each with a generator of its own."""
    for name in options.only:
        for seed in options.seeds:
            yield name, seed, np.random.default_rng([seed, list(tables).index(name)])


def split(rows, rng):
    """Return (seven rows of ten to fit, the rest to test), in random order."""
    order = rng.permutation(rows)
    return np.split(order, [round(0.7 * rows)])


def timed(call, *arguments):
    """Return (the result, processor seconds) of a call, without warnings."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call(*arguments)
    return found, time.process_time() - began


def mean_and_error(values):
    """Format mean and standard error; return "" if all are 0, a difference from itself."""
    if not np.any(values):
        return ""
    return f"{np.mean(values):+.4f} +- {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"
