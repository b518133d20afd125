"""All mutants, all originals, and the verdict of the oracle on each."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from nfref.oracle import check_density, check_flow
from tests.oracle.mutants.equivalent import EQUIVALENT
from tests.oracle.mutants.formulas import BY_HAND, FAMILIES
from tests.oracle.mutants.released_bugs import RELEASED_BUGS
from tests.oracle.mutants.syntax import variants
from tests.oracle.mutants.usage import USAGE
from tests.oracle.mutants.wrappers import WRAPPERS, right


@dataclass(frozen=True)
class Mutant:
    """Something wrong.

    Attributes
    ----------
    kind : {"source", "by hand", "wrapper", "usage", "released bug"}
    name : str
    build : callable
        rng -> arguments of check_flow or, with "log_prob" among them, of check_density.
    """

    kind: str
    name: str
    build: object


def mutants():
    """Every mutant but the equivalent ones, in a fixed order."""
    found = []
    for title, family in FAMILIES.items():
        for function in family.functions:
            for label, source in variants(family.source, function):
                found.append(Mutant("source", f"{title}: {label}", _from_source(family, source)))
    for title, old, new in BY_HAND:
        family = FAMILIES[title]
        if family.source.count(old) < 1:
            raise ValueError(f"{title}: {old!r} is not in {family.module} any more")
        found.append(
            Mutant(
                "by hand",
                f"{title}: {old} -> {new}",
                _from_source(family, partial(family.source.replace, old, new, 1)),
            )
        )
    found += [Mutant("wrapper", name, build) for name, build in WRAPPERS.items()]
    found += [Mutant("usage", name, build) for name, build in USAGE.items()]
    found += [Mutant("released bug", name, build) for name, build in RELEASED_BUGS.items()]
    return [mutant for mutant in found if not is_equivalent(mutant.name)]


def is_equivalent(name):
    return name in EQUIVALENT


def _from_source(family, source):
    """``source`` is a function that gives it: few of them are asked for at a time."""

    def build(rng):
        return family.build(family.namespace(source()), rng)

    return build


def originals():
    """Every formula unmutated, and the flow that the wrappers wrap, in both dtypes."""
    found = {
        title: (lambda rng, family=family: family.build(family.namespace(), rng))
        for title, family in FAMILIES.items()
    }

    def wrapped(dtype, context_dim):
        def build(rng):
            forward, inverse = right(rng, dtype=dtype, context_dim=context_dim)
            context = {"context": rng.standard_normal((5, 2))} if context_dim else {}
            return dict(dim=3, dtype=dtype, forward=forward, inverse=inverse, **context)

        return build

    for dtype in (np.float64, np.float32):
        for context_dim in (0, 2):
            found[f"RealNVP {np.dtype(dtype)} context {context_dim}"] = wrapped(dtype, context_dim)
    return found


def judge(build, seed, stop_early=True):
    """The oracle's report on what ``build`` makes, None when it cannot even be made."""
    rng = np.random.default_rng(seed)
    try:
        with np.errstate(all="ignore"):
            arguments = build(rng)
    except Exception:
        return None
    check = check_density if "log_prob" in arguments else check_flow
    return check(**arguments, rng=rng, seconds=30.0, stop_early=stop_early)


@dataclass(frozen=True)
class Score:
    """How often one mutant was rejected, and by which property first.

    Attributes
    ----------
    mutant : Mutant
    rejected, seeds : int
    by : tuple of str
        Names of the first failed properties.
    seconds : float
    """

    mutant: Mutant
    rejected: int
    seeds: int
    by: tuple
    seconds: float


def score(mutant, seeds):
    """Judge one mutant with several seeds."""
    start, by, rejected = time.monotonic(), set(), 0
    for seed in seeds:
        report = judge(mutant.build, seed)
        rejected += report is None or bool(report.failures)
        by |= {"cannot be built"} if report is None else {row.name for row in report.failures}
    return Score(mutant, rejected, len(seeds), tuple(sorted(by)), time.monotonic() - start)
