"""Every flow again, written from its paper: one family a file, one row and number at a time.

These are the third, independent derivation: plain loops over mpmath numbers at whatever
precision is set, no arrays, no masks by multiplication, no log-determinants. They share nothing
with the formulas but the layout of the parameters. A module of a family has

``MAPS``            for each class of flow the function (flow, params, z, context) -> x, where
                    z, context and x are lists of mpmath numbers
``CONFIGURATIONS``  name -> flow: the small flows whose golden vectors are published

and is found by being here. A flow without a map fails a test that says so.
"""

from importlib import import_module
from pkgutil import iter_modules

from tests.high_precision.maps.lookup import MAPS, forward

__all__ = ["CONFIGURATIONS", "MAPS", "forward"]

CONFIGURATIONS = {}
for _module in iter_modules(__path__):
    _family = import_module(f"{__name__}.{_module.name}")
    if hasattr(_family, "CONFIGURATIONS"):
        MAPS.update(_family.MAPS)
        CONFIGURATIONS.update(_family.CONFIGURATIONS)
