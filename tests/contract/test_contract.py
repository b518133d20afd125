"""The contract over the table of flows: every flow, every dim it allows, with and without context.

``pytest -s tests/contract/test_contract.py -k table`` prints the largest errors per flow. The
plain run leaves some of the dims out; ``pytest -m thorough`` and ``-m slow`` have them.
"""

import pytest

from tests import contract, flow_table
from tests.contract import quadrature

CASES = flow_table.cases()


def ids(cases):
    return [f"{name}-D{dim}{'-context' if context_dim else ''}"
            for name, dim, context_dim in cases]


def over(cases):
    marked = [pytest.param(*case, marks=marks(*case)) for case in cases]
    return pytest.mark.parametrize("name, dim, context_dim", marked, ids=ids(cases))


def marks(name, dim, context_dim):
    """Of flows of many dims 5 is slow, and 3 and 8 where they are looked at with a context too;
    8 is thorough, and so is 2 without a context where one is looked at; and images of 16 numbers.
    """
    entry = flow_table.flows()[name]
    if dim == 16:
        return pytest.mark.thorough
    if len(entry.dims) <= 3:
        return ()
    twice = entry.context and not context_dim
    if dim == 5 or dim in (3, 8) and twice:
        return pytest.mark.slow
    return pytest.mark.thorough if dim == 8 or dim == 2 and twice else ()


def gradient_cases():
    """Each flow at its smallest and, with its context, at a middling size: one call a parameter."""
    chosen = set()
    for name, entry in flow_table.flows().items():
        allowed = [case for case in flow_table.cases([name]) if case[1] <= 4]
        chosen |= set(allowed[-1:] if entry.costly else allowed[:1] + allowed[-1:])
    return sorted(chosen)


@pytest.mark.parametrize("check", [check for check in contract.CHECKS
                                   if check is not contract.gradients],
                         ids=lambda check: check.__name__)
@over(CASES)
def test_contract(name, dim, context_dim, check):
    finding = check(contract.from_table(name, dim, context_dim))
    assert finding.ok, finding


@over(gradient_cases())
def test_parameter_gradients(name, dim, context_dim):
    finding = contract.gradients(contract.from_table(name, dim, context_dim), together=16)
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


@over(CASES)
def test_samples_come_back_normal(name, dim, context_dim):
    finding = quadrature.samples_come_back(contract.from_table(name, dim, context_dim))
    assert finding.ok, finding


@pytest.mark.slow
def test_table_of_largest_errors():
    table = contract.error_table(dims=(3,))
    print("\n" + table)
    assert len(table.splitlines()) > 30, table
    assert "inf" not in table, table
