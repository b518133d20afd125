"""The oracle: point it at anybody's flow.

>>> import numpy as np
>>> from nfref.oracle import check_flow
>>> report = check_flow(lambda z: (2 * z, np.full(len(z), 3 * np.log(2))),
...                     lambda x: (x / 2, np.full(len(x), -3 * np.log(2))),
...                     dim=3, rng=np.random.default_rng(0))
>>> report.ok
True
"""

from nfref.oracle.checks.density import check_density
from nfref.oracle.checks.flow import check_flow
from nfref.oracle.checks.gradients import check_parameter_gradients
from nfref.oracle.checks.properties import DENSITY_PROPERTIES, FLOW_PROPERTIES, GRADIENT_PROPERTIES
from nfref.oracle.checks.tables import TABLE_PROPERTIES
from nfref.oracle.report import OracleError, Report, Row
from nfref.oracle.table_density import check_estimator_density

__all__ = [
    "DENSITY_PROPERTIES",
    "FLOW_PROPERTIES",
    "GRADIENT_PROPERTIES",
    "TABLE_PROPERTIES",
    "OracleError",
    "Report",
    "Row",
    "check_density",
    "check_estimator_density",
    "check_flow",
    "check_parameter_gradients",
]
