"""The contract over the table of flows: every flow, every dim it allows, with and without context.

``pytest -s tests/finite_differences/test_contract.py -k table`` prints the largest errors per flow.
The plain run has each flow at one size; ``pytest -m thorough`` and ``-m slow`` have the others.
"""

import pytest

from tests import contract, flow_table
from tests.finite_differences import quadrature

CASES = flow_table.cases()
# Through a solver's steps these take seconds; the other checks see its maps in the plain run.
LONG = {
    (name, check)
    for name in ("ProbabilityFlow", "CNF", "UMNN")
    for check in (
        "log_det_against_autograd",
        "log_dets_cancel",
        "extreme_inputs",
        "array_kinds",
        "rows_independent",
    )
}


def ids(cases):
    return [f"{name}-D{dim}{'-context' if context_dim else ''}" for name, dim, context_dim in cases]


def over(cases, long=()):
    """Flows whose names are ``long`` take long here: none of their cases is in the plain run."""
    return pytest.mark.parametrize(
        "name, dim, context_dim", marked(cases, ids(cases), {(name,) for name in long})
    )


def marked(cases, ids, long):
    chosen = plain([case[:3] for case in cases])
    return [
        pytest.param(
            *case,
            id=name,
            marks=(
                ()
                if case[:3] in chosen and (case[0], *case[3:]) not in long
                else pytest.mark.slow
                if is_slow(*case[:3])
                else pytest.mark.thorough
            ),
        )
        for case, name in zip(cases, ids)
    ]


def plain(cases):
    """Of each flow its largest case of up to four numbers, with a context where it takes one; of
    the costly ones the smallest, of two numbers or more where that does not take too long."""
    chosen = set()
    for name, entry in flow_table.flows().items():
        own = [case for case in cases if case[0] == name]
        few = [case for case in own if case[1] <= 4] or [
            case for case in own if case[1] == min(entry.dims)
        ]
        if entry.costly:
            few = [case for case in few if case[1] > 1 or name == "UMNN"][:1]
        chosen |= set(few[-1:])
    return chosen


def is_slow(name, dim, context_dim):
    """Of flows of many dims 5, and 3 and 8 where they are looked at with a context too."""
    entry = flow_table.flows()[name]
    return len(entry.dims) > 3 and (dim == 5 or dim in (3, 8) and entry.context and not context_dim)


def gradient_cases():
    """Each flow at its smallest and, with its context, at a middling size: one call a parameter."""
    chosen = set()
    for name in flow_table.flows():
        allowed = [case for case in flow_table.cases([name]) if case[1] <= 4]
        chosen |= set(allowed[:1] + allowed[-1:])
    return sorted(chosen)


CHECKS = {check.__name__: check for check in contract.CHECKS if check is not contract.gradients}


@pytest.mark.parametrize(
    "name, dim, context_dim, check",
    marked(
        [(*case, check) for case in CASES for check in CHECKS],
        [f"{case}-{check}" for case in ids(CASES) for check in CHECKS],
        LONG,
    ),
)
def test_contract(name, dim, context_dim, check):
    finding = CHECKS[check](contract.from_table(name, dim, context_dim))
    assert finding.ok, finding


@over(gradient_cases(), ("ProbabilityFlow", "RealNVPImage", "Glow, LU"))
def test_parameter_gradients(name, dim, context_dim):
    finding = contract.gradients(contract.from_table(name, dim, context_dim), together=64)
    assert finding.ok, finding


@pytest.mark.slow
@over(gradient_cases())
def test_parameter_gradients_one_by_one(name, dim, context_dim):
    finding = contract.gradients(contract.from_table(name, dim, context_dim))
    assert finding.ok, finding


@over([case for case in flow_table.cases(dims=(1, 2)) if flow_table.flows()[case[0]].integrable])
def test_density_on_a_grid(name, dim, context_dim):
    subject = contract.from_table(name, dim, context_dim, size=0.7)
    area = quadrature.integral(subject)
    for check in (quadrature.integrates_to_one, quadrature.samples_follow_density):
        finding = check(subject, area)
        assert finding.ok, finding


@over(CASES, ("ProbabilityFlow", "Amortized"))
def test_samples_come_back_normal(name, dim, context_dim):
    finding = quadrature.samples_come_back(contract.from_table(name, dim, context_dim))
    assert finding.ok, finding


@pytest.mark.slow
def test_table_of_largest_errors():
    table = contract.error_table(dims=(3,))
    print("\n" + table)
    assert len(table.splitlines()) > 30, table
    assert "inf" not in table, table
