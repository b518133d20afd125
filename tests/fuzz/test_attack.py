"""A sample of every attack; all of them with ``-m slow``."""

import pytest

from tests.fuzz import KINDS
from tests.fuzz.__main__ import run


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample(kind):
    counts, failures = run(kind, seed=0, number=KINDS[kind][2])
    assert not failures, "\n".join(failures[:5])
    assert sum(counts.values()) == KINDS[kind][2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all(kind):
    counts, failures = run(kind, seed=1, number=KINDS[kind][1])
    assert not failures, "\n".join(failures[:20])
    assert sum(count for count in counts.values()) == KINDS[kind][1]
