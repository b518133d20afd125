"""The oracle, held against flows and densities that are wrong, and right."""

from nfref.oracle import DENSITY_PROPERTIES, FLOW_PROPERTIES, TABLE_PROPERTIES


def but(*names, of=DENSITY_PROPERTIES):
    """``skip=`` of a check that judges these properties alone, and so takes less time."""
    return [name for name in of if name not in names]


def but_of_flows(*names):
    """The same for ``check_flow``."""
    return but(*names, of=FLOW_PROPERTIES)


def but_of_tables(*names):
    """The same for ``check_estimator_density``."""
    return but(*names, of={**TABLE_PROPERTIES, **DENSITY_PROPERTIES})
