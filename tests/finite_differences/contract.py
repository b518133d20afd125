"""The tests of the contract, which each module below ``tests/flows`` collects for its own flows::

    CONTRACT = {"Planar": Entry(lambda d, c: nfref.Planar(d, 3, c), context=True)}
    test_contract = contract_test(CONTRACT)

The plain run has each flow at one size; ``pytest -m thorough`` and ``-m slow`` have the others.
"""

from functools import cache, partial

import pytest

from tests import flow_table
from tests.finite_differences import CHECKS, gradients_in_groups, quadrature
from tests.finite_differences.entry import array_kinds
from tests.finite_differences.maps import (
    extreme_inputs,
    gradients,
    log_det_against_autograd,
    log_dets_cancel,
)
from tests.finite_differences.structure import rows_independent
from tests.finite_differences.subjects import case_id, subject_of

# Through a solver's steps each of these takes seconds.
LONG = (array_kinds, log_det_against_autograd, log_dets_cancel, extreme_inputs, rows_independent)
QUICK = tuple(check for check in CHECKS if check not in LONG)


def contract_test(entries):
    """Return the test of the contract over these entries of the table of flows."""
    cases = flow_table.cases_of(entries)
    small = [case for case in cases if case[1] <= 2 and entries[case[0]].integrable]
    few = gradient_cases(entries)
    run = partial(marked, entries)
    parts = {  # name -> checks, size of the parameters, cases with the marks of their tests
        "map": (QUICK, 1.0, run(cases)),
        "more": (LONG, 1.0, run(cases, ("ProbabilityFlow", "CNF", "EquivariantCNF", "UMNN"))),
        "gradients": (
            [gradients_in_groups],
            1.0,
            run(few, ("ProbabilityFlow", "RealNVPImage", "Glow, LU")),
        ),
        "gradients one by one": ([gradients], 1.0, [(case, pytest.mark.slow) for case in few]),
        "density": ([quadrature.density_on_a_grid], 0.7, run(small)),
        "samples": (
            [quadrature.samples_come_back],
            1.0,
            run(cases, ("ProbabilityFlow", "Amortized")),
        ),
    }

    @cache
    def subject(name, dim, context_dim, size):
        entry = entries[name]
        return subject_of(entry.make(dim, context_dim), entry=entry, size=size)

    @pytest.mark.parametrize(
        "name, dim, context_dim, part",
        [
            pytest.param(*case, part, id=f"{case_id(*case)}-{part}", marks=marks)
            for part, (_, _, chosen) in parts.items()
            for case, marks in chosen
        ],
    )
    def test_contract(name, dim, context_dim, part):
        checks, size, _ = parts[part]
        findings = [check(subject(name, dim, context_dim, size)) for check in checks]
        broken = [str(finding) for finding in findings if not finding.ok]
        if broken:
            pytest.fail("\n".join(broken), pytrace=False)

    return test_contract


def gradient_cases(entries):
    """Return each flow at its smallest size and, with its context, at a middling one."""
    chosen = set()
    for name, entry in entries.items():
        own = flow_table.cases_of({name: entry})
        allowed = [case for case in own if case[1] <= 4 or case[1] == entry.plain]
        chosen |= set(allowed[:1] + allowed[-1:])
    return sorted(chosen)


def marked(entries, cases, long=()):
    """Return (case, marks of its test); the plain run has no case of the flows named ``long``."""
    chosen = plain(entries, cases)
    return [
        (
            case,
            ()
            if case in chosen and case[0] not in long
            else pytest.mark.slow
            if flow_table.shows_least(entries[case[0]], *case[1:])
            else pytest.mark.thorough,
        )
        for case in cases
    ]


def plain(entries, cases):
    """Return one case of each flow: its ``plain`` dim, or the largest of up to four numbers.

    It has a context where the flow takes one. Of a costly flow it is the smallest of two numbers
    or more.
    """
    chosen = set()
    for name, entry in entries.items():
        own = [case for case in cases if case[0] == name]
        few = [case for case in own if case[1] == entry.plain]
        few = few or [case for case in own if case[1] <= 4]
        few = few or [case for case in own if case[1] == min(entry.dims)]
        if entry.costly:
            few = [case for case in few if case[1] > 1][:1] or few[:1]
        chosen |= set(few[-1:])
    return chosen
