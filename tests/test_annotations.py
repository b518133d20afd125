"""Public functions annotate all parameters and their result."""

import functools
import importlib
import inspect
import pkgutil
import typing

import nfref
from nfref.runtime.annotations import Array, ArrayLike

# Users do not import from these.
APART = ("nfref.kernels", "nfref.__main__")


def annotated_parts(thing):
    """Return name -> function: a function itself, or the methods and properties of a class."""
    if inspect.isfunction(inspect.unwrap(thing)):
        return {"": thing}
    if not inspect.isclass(thing):
        return {}
    parts = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
    for key, value in parts.items():
        if isinstance(value, property):
            parts[key] = value.fget
        elif isinstance(value, functools.cached_property):
            parts[key] = value.func
        elif isinstance(value, (classmethod, staticmethod)):
            parts[key] = value.__func__
    return {f".{key}": value for key, value in parts.items() if inspect.isfunction(value)}


def public_functions():
    """Return name -> function of the public functions, methods and properties of nfref."""
    found = {}
    for module in [nfref, *pkgutil.walk_packages(nfref.__path__, "nfref.")]:
        name = module.__name__ if module is nfref else module.name
        if name.startswith(APART):
            continue
        try:
            things = vars(importlib.import_module(name))
        except ModuleNotFoundError as error:  # an extra is not installed
            assert not error.name.startswith("nfref"), error
            continue
        for key, thing in things.items():
            thing = getattr(thing, "fun", thing)  # the function of an autograd primitive
            if key.startswith("_") or getattr(thing, "__module__", None) != name:
                continue
            for part, function in annotated_parts(thing).items():
                found[f"{name}.{key}{part}"] = function
    return found


def lacking(function):
    """Return the names of parameters without an annotation, and "return"."""
    signature = inspect.signature(inspect.unwrap(function))
    names = [
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    return names + (["return"] if signature.return_annotation is signature.empty else [])


def test_public_functions_are_annotated():
    functions = public_functions()
    assert len(functions) > 1300
    untyped = {name: gaps for name, function in functions.items() if (gaps := lacking(function))}
    assert not untyped, untyped


def test_annotations_name_types():
    """Annotations are evaluated on import, so a wrong name fails there; here are two kinds."""
    hints = inspect.signature(nfref.Density.log_prob).parameters
    assert hints["x"].annotation == Array
    assert inspect.signature(nfref.fit).parameters["density"].annotation is nfref.Density


def test_arguments_of_estimators_have_types():
    kinds = (nfref.FlowDensity, nfref.FlowOutlierDetector, nfref.Posterior)
    untyped = {
        f"{kind.__name__}{name}: {key}"
        for kind in kinds
        for name, function in annotated_parts(kind).items()
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is typing.Any
    }
    assert not untyped, untyped
    loaded = inspect.signature(nfref.FlowDensity.load).return_annotation
    assert loaded.__bound__.__forward_arg__ == "FlowDensity"  # a subclass loads itself


def test_estimators_take_lists_and_frames_of_typed_code():
    found = {
        name: parameter.annotation
        for name, function in public_functions().items()
        for parameter in inspect.signature(function).parameters.values()
        if name.startswith("nfref.tables.estimators.") and parameter.name == "X"
    }
    assert len(found) > 10
    assert {name for name, kind in found.items() if kind != ArrayLike} == set()
