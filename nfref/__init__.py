"""nfref: normalizing flows as formulas, with explicit log-determinants.

Begin with rows ``x``, an array (N, D)::

    rng = np.random.default_rng(0)
    x = nfref.datasets.two_moons(rng, 5000)
    density = nfref.Density(nfref.in_units_of(nfref.RealNVP(2), x))
    params = nfref.fit(density, density.init(rng), x, rng).params
    density.log_prob(params, x[:5])         # nats, in the units of x
    density.sample(params, rng, 1000)
    z, log_det = density.flow.inverse(params["flow"], x)

``nfref.FlowDensity().fit(table)`` fits a table or a DataFrame, as ``nfref fit FILE`` does.
"""

# ``__init__.pyi`` lists the public names and their modules, for this file, editors and type
# checkers. A module is imported when you first use one of its names.

import ast as _ast
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

__version__ = "0.1.0"

_MODULES = {
    alias.name: line.module
    for line in _ast.parse(_Path(__file__).with_suffix(".pyi").read_bytes()).body
    if isinstance(line, _ast.ImportFrom)
    for alias in line.names
}
_ESTIMATORS = "nfref.tables.estimators."  # they need scikit-learn, which a browser may lack

__all__ = sorted(
    name
    for name, place in _MODULES.items()
    if not place.startswith(_ESTIMATORS) or _find_spec("sklearn")
)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'nfref' has no attribute {name!r}")
    place = _MODULES[name]
    try:
        inside = vars(_import_module(place))
        value = inside[name] if name in inside else _import_module(f"{place}.{name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0].replace("sklearn", "scikit-learn")
        raise AttributeError(
            f"nfref.{name} needs {package}, which is not installed: pip install {package}"
        ) from None
    globals()[name] = value
    return value


def __dir__():
    return __all__
