"""nfref: normalizing flows as formulas, with explicit log-determinants.

``__init__.pyi`` lists the public names and their modules, for this file, editors and type
checkers. A module is imported when you first use one of its names.
"""

import ast as _ast
from importlib import import_module as _import_module
from pathlib import Path as _Path

__version__ = "0.1.0"

_MODULES = {
    alias.name: line.module
    for line in _ast.parse(_Path(__file__).with_suffix(".pyi").read_bytes()).body
    if isinstance(line, _ast.ImportFrom)
    for alias in line.names
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'nfref' has no attribute {name!r}")
    place = _MODULES[name]
    try:
        inside = vars(_import_module(place))
        value = inside[name] if name in inside else _import_module(f"{place}.{name}")
    except ModuleNotFoundError as error:  # such as scikit-learn, which is an extra
        raise ModuleNotFoundError(
            f"nfref.{name} needs {error.name}, which is not installed: pip install nfref[sklearn]"
        ) from None
    globals()[name] = value
    return value


def __dir__():
    return __all__
