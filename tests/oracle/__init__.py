"""The oracle, held against flows and densities that are wrong, and right."""

import pytest

from nfref.oracle import DENSITY_PROPERTIES, FLOW_PROPERTIES, TABLE_PROPERTIES


def partly(names, *plain):
    """Cases of a test: those of ``plain`` in the plain run, the others are thorough."""
    assert set(plain) <= set(names), plain
    return [
        name if name in plain else pytest.param(name, marks=pytest.mark.thorough) for name in names
    ]


def but(*names, of=DENSITY_PROPERTIES):
    """``skip=`` of a check that judges these properties alone, and so takes less time."""
    return [name for name in of if name not in names]


def but_of_flows(*names):
    """The same for ``check_flow``."""
    return but(*names, of=FLOW_PROPERTIES)


def but_of_tables(*names):
    """The same for ``check_estimator_density``."""
    return but(*names, of={**TABLE_PROPERTIES, **DENSITY_PROPERTIES})
