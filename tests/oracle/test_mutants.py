"""A sample of the mutants, and every original; ``python -m tests.oracle.mutants`` runs them all.

The plain run takes half of the sample, less what takes a second each.
"""

import warnings

import pytest

from tests.oracle.mutants.suite import judge, mutants, originals

# Source mutants of root finders take long; every eighth of those is in the plain run.
ALL = mutants()
EVERY = {"source": 12, "wrapper": 8, "usage": 16, "by hand": 2, "released bug": 1}
# What takes a second or more each.
LONG = (
    "actnorm_first",
    "batch of 64",
    "call after 200",
    "clipped_sigmoids",
    "minus_tanh: 1 -> 2",
    "minus_tanh(a)",
    "missing_two_pi",
    "not_onto",
    "offset",
    "planar_slope",
    "sampler shifted",
    "temperature",
)
SAMPLE = [mutant for k, mutant in enumerate(ALL) if k % EVERY[mutant.kind] == 0]


def test_there_are_enough_of_them():
    kinds = [mutant.kind for mutant in ALL]
    assert len(ALL) >= 800 and len({mutant.name for mutant in ALL}) == len(ALL)
    assert all(kinds.count(kind) >= 25 for kind in EVERY)


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(
            mutant,
            id=f"{mutant.kind}: {mutant.name}",
            marks=[pytest.mark.thorough]
            if k % 2 or any(part in mutant.name for part in LONG)
            else [],
        )
        for k, mutant in enumerate(SAMPLE)
    ],
)
def test_mutants_are_rejected(mutant):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what wrong formulas warn of
        report = judge(mutant.build, seed=0)
    assert report is None or report.failures, f"not rejected:\n{report}"


@pytest.mark.parametrize(
    "name",
    [
        # The others are as many seconds of the same.
        pytest.param(
            name, marks=[] if k == 0 else pytest.mark.thorough if k % 3 == 0 else pytest.mark.slow
        )
        for k, name in enumerate(originals())
    ],
)
def test_originals_are_accepted(name):
    judge(originals()[name], seed=1, stop_early=False).raise_if_failed()
