"""The names that nfref.objectives offers."""

import inspect
import pkgutil
from importlib import import_module

from nfref import objectives
from nfref.objectives.objective import Objective

BATCH = ["density", "params", "x", "context", "rng"]  # what nfref.fit gives an objective


def is_objective(value):
    if inspect.isclass(value):
        return issubclass(value, Objective) and hasattr(value, "_loss")
    return inspect.isfunction(value) and [*inspect.signature(value).parameters] == BATCH


def test_the_package_offers_every_objective_by_name():
    modules = [
        import_module(f"nfref.objectives.{module.name}")
        for module in pkgutil.iter_modules(objectives.__path__)
    ]
    found = {
        name
        for module in modules
        for name, value in vars(module).items()
        if value.__doc__ and not name.startswith("_") and is_objective(value)
    }
    assert len(found) > 9 and found <= set(objectives.__all__)
    assert all(hasattr(objectives, name) for name in objectives.__all__)
