"""Types of what is public: every function whose docstring lists its parameters says them.

Formulas are not annotated: they are plain functions on whatever computes like an array, one number,
a box of autograd's, a number of sixty digits.
"""

import importlib
import inspect
import pkgutil

import nfref

# What users import from is what the reference documents.
APART = ("nfref.kernels", "nfref.cli", "nfref.__main__", "nfref.oracle.pytest_plugin")


def documented(thing):
    return "Parameters\n" in (inspect.getdoc(thing) or "")


def public_functions():
    """name -> function or method of nfref whose docstring has a section of parameters."""
    found = {}
    for module in pkgutil.walk_packages(nfref.__path__, "nfref."):
        if module.name.startswith(APART):
            continue
        try:
            things = vars(importlib.import_module(module.name))
        except ModuleNotFoundError as error:  # an extra that is not installed
            assert not error.name.startswith("nfref"), error
            continue
        for name, thing in things.items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.name:
                continue
            members = (
                {name: thing}
                if inspect.isfunction(thing)
                else {
                    f"{name}.{key}": value
                    for key, value in vars(thing).items()
                    if not key.startswith("_")
                }
                if inspect.isclass(thing)
                else {}
            )
            found.update(
                {
                    f"{module.name}.{key}": value
                    for key, value in members.items()
                    if inspect.isfunction(value) and documented(value)
                }
            )
    return found


def lacking(function):
    """Names of parameters without a type, and "return"."""
    signature = inspect.signature(inspect.unwrap(function))
    names = [
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    return names + (["return"] if signature.return_annotation is signature.empty else [])


def test_what_is_public_says_its_types():
    functions = public_functions()
    assert len(functions) > 150
    untyped = {name: gaps for name, function in functions.items() if (gaps := lacking(function))}
    assert not untyped, untyped


def test_annotations_name_types():
    """They are evaluated where they stand, so a wrong name shows on import; here is one of each."""
    hints = inspect.signature(nfref.Density.log_prob).parameters
    assert "ndarray" in str(hints["x"].annotation)
    assert inspect.signature(nfref.fit).parameters["density"].annotation is nfref.Density
