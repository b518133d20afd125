"""Frozen configuration as plain data and arrays, for files, and back.

``describe`` turns it into JSON data and named arrays. ``rebuild`` turns these back, and builds
only a :class:`~nfref.runtime.configuration.Configuration` of this package, or of a class that its
caller passes: a description names another class by its module, which nothing ever imports.
``docs/model_files.rst`` describes the format.

A description may come from an untrusted file. :func:`check_sizes` compares it with the arrays of
the file before anything is built, and every class checks its fields. Every problem is a
ValueError of one line.
"""

import dataclasses
import itertools
import math
from typing import get_args

import numpy as np

import nfref
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import one_line, shortened
from nfref.runtime.configuration import Configuration

DEEPEST = 50  # most nested levels of a description
SLACK = 4096  # numbers that a description may always ask for, beyond those in its file
LARGEST = 2**128  # bound on whole numbers; the state of a random generator is below it
RESERVED = ("class", "array", "float")


def described_classes() -> dict[str, Any]:
    """Return name -> class of all classes that a description may name.

    These are the public dataclasses of this package, so a new flow needs no entry in a list.
    """
    for name in nfref.__all__:
        if name[0].isupper():  # the names of classes
            _offered(name)
    return _imported()


def _can_be_described(kind):
    return _of_package(kind) and not kind.__name__.startswith("_") and _is_configuration(kind)


def _of_package(kind):
    return kind.__module__.startswith("nfref.")


def _is_configuration(kind):
    is_kind = isinstance(kind, type) and issubclass(kind, Configuration)
    return is_kind and dataclasses.is_dataclass(kind)


def qualified_name(kind: type) -> str:
    """Return the name of a class outside of this package in descriptions: MODULE.CLASS."""
    return f"{kind.__module__}.{kind.__qualname__}"


def own_classes(thing: Any) -> list[Any]:
    """Return the classes outside of this package of all configurations in a thing."""
    found: dict[Any, None] = {}
    pending = [thing]
    while pending:
        part = pending.pop()
        if isinstance(part, Configuration):
            if not _of_package(type(part)) and _is_configuration(type(part)):
                found[type(part)] = None
            pending += [getattr(part, field.name) for field in dataclasses.fields(part)]
        elif isinstance(part, (list, tuple, dict)):
            pending += part.values() if isinstance(part, dict) else part
    return list(found)


def _offered(name):
    """Return nfref's public class of that name if a description may name it; else None."""
    kind = getattr(nfref, name) if name in nfref.__all__ else None
    return kind if isinstance(kind, type) and _can_be_described(kind) else None


def _imported():
    """Return the :func:`described_classes` of the imported modules."""
    found: dict[str, Any] = {}
    pending: list[Any] = [Configuration]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if _can_be_described(kind):
            found[kind.__name__] = kind
    return dict(sorted(found.items()))


# Taking apart -----------------------------------------------------------------------------


def describe(thing: Any) -> tuple[Any, dict[str, Array]]:
    """Return a configuration, or nested dicts and lists of them, as plain data and arrays.

    Parameters
    ----------
    thing : Configuration, dict, list, tuple, array, number, str or None
        It and all configurations inside it are of the :func:`described_classes`, or of classes
        that can be imported; of these :func:`rebuild` needs to be given the class.

    Returns
    -------
    description : dict or other JSON data
        A configuration is ``{"class": name, field: value, ...}``, an array ``{"array": name}``.
    arrays : dict of str to array
        Named by their places, such as ``pool/weights``.

    Raises
    ------
    TypeError
        If something inside has no description.
    """
    arrays: dict[str, Array] = {}
    return _plain(thing, "", arrays, _imported()), arrays


def _plain(value, place, arrays, known):
    def inner(value, key):
        return _plain(value, f"{place}/{key}" if place else str(key), arrays, known)

    if isinstance(value, Configuration):
        name = _name_of(type(value), known, place or "describe")
        names = [field.name for field in dataclasses.fields(value)]
        return {"class": name, **{field: inner(getattr(value, field), field) for field in names}}
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or key in RESERVED]
        if wrong:
            raise TypeError(
                f"{place}: expected names other than {', '.join(RESERVED)}, "
                f"got {shortened(wrong[0])}"
            )
        return {key: inner(item, key) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [inner(item, key) for key, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    raise TypeError(
        f"{place}: expected numbers, text, arrays or what is made of them, "
        f"got {type(value).__name__}"
    )


def _name_of(kind, known, place):
    """Return the name of a class in a description."""
    if known.get(kind.__name__) is kind:
        return kind.__name__
    name = qualified_name(kind)
    if _of_package(kind) or "<locals>" in name or not _is_configuration(kind):
        raise TypeError(
            f"{place}: expected a class of nfref, or a dataclass of a module, got {name}"
        )
    return name


# And back ---------------------------------------------------------------------------------


def rebuild(
    description: Any, arrays: dict[str, Array] | None = None, classes: Sequence[Any] = ()
) -> Any:
    """Return the object that :func:`describe` described.

    Parameters
    ----------
    description : dict or other JSON data
    arrays : dict of str to array, optional
    classes : sequence of classes
        Outside of this package, which the description may name.

    Raises
    ------
    ValueError
        If a class is unknown or has other fields in this version; if an array is missing,
        used twice or not used.
    """
    left = dict(arrays or {})
    known = {**_imported(), **{qualified_name(kind): kind for kind in classes}}
    found = _built(description, left, known, list)
    if left:
        raise ValueError(f"{next(iter(left))}: expected no such array, got one")
    return found


def _built(plain, arrays, known, kind=tuple):
    """Rebuild a part; lists become ``kind``: tuples in fields, lists in dicts."""
    if isinstance(plain, list):
        return kind(_built(item, arrays, known, kind) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if "class" in plain:
        return _built_class(plain, arrays, known)
    if "array" in plain:
        name = plain["array"]
        if not isinstance(name, str) or name not in arrays:
            raise ValueError(f"{shortened(name)}: expected an array of that name, got none")
        return arrays.pop(name)
    if "float" in plain:
        if plain["float"] not in ("inf", "-inf", "nan"):
            raise ValueError(f"float: expected inf, -inf or nan, got {shortened(plain['float'])}")
        return float(plain["float"])
    return {key: _built(item, arrays, known, list) for key, item in plain.items()}


def _built_class(plain, arrays, known):
    name = plain["class"]
    kind = known.get(name) or _offered(name) if isinstance(name, str) else None
    if kind is None:
        advice = ""
        if isinstance(name, str) and "." in name:
            last = shortened(name.rpartition(".")[2])[1:-1]
            advice = f"; load_model(path, classes=[{last}]) loads it, if you trust that class"
        raise ValueError(
            f"class: expected one of nfref that files hold, got {shortened(name)}{advice}"
        )
    values = {key: _built(item, arrays, known) for key, item in plain.items() if key != "class"}
    try:
        for field in dataclasses.fields(kind):  # other programs may write 1.0 as 1
            is_float = float in (field.type, *get_args(field.type))
            if is_float and type(values.get(field.name)) is int:
                values[field.name] = float(values[field.name])
        thing = kind(**values)
        thing._check()
    except Exception as error:  # fields of an untrusted file may fail in any way
        raise ValueError(
            f"{name}: expected fields that describe one, got {one_line(error)}"
        ) from None
    return thing


# Sizes ------------------------------------------------------------------------------------


def check_sizes(description: Any, arrays: dict[str, Array], length: int = 0) -> None:
    """Check that no size in a description exceeds the contents of its file.

    The contents are the arrays, and ``length`` bytes of text. Each layer has at least one array,
    and each coordinate of a flow at least one number. Only bases and flows of images can have more
    coordinates than parameters, and these allocate nothing for them.
    """
    most = 8 * len(arrays) + SLACK  # a layer has an array or more, and some parts have none
    if next(itertools.islice(_classes(description), most, None), None) is not None:
        raise ValueError(f"expected at most {most:,} parts beside {len(arrays):,} arrays, got more")
    numbers = sum(array.size for array in arrays.values()) + length + SLACK
    _check_sizes(description, numbers, len(arrays) + DEEPEST, 0)


def _classes(plain, depth=0):
    """Yield the descriptions of all configurations."""
    if isinstance(plain, dict) and "class" in plain:
        yield plain
    if depth <= DEEPEST and isinstance(plain, (dict, list)):
        for item in plain.values() if isinstance(plain, dict) else plain:
            if isinstance(item, (dict, list)):
                yield from _classes(item, depth + 1)


def _check_sizes(plain, numbers_held, arrays_held, depth):
    if depth > DEEPEST:
        raise ValueError(f"expected at most {DEEPEST} descriptions inside each other, got more")
    if isinstance(plain, int) and abs(plain) >= LARGEST:
        raise ValueError("expected whole numbers below 2^128, got a larger one")
    if isinstance(plain, list):
        for item in plain:
            _check_sizes(item, numbers_held, arrays_held, depth + 1)
    if not isinstance(plain, dict):
        return

    def count(key):
        value = plain.get(key, 1)
        return value if isinstance(value, int) else 1

    layers = count("layers") * count("levels") * max(count("blocks"), 1)
    if plain.get("class") == "Glow":
        layers *= count("steps")
    sizeless = ("StandardNormal", "Logistic", "Laplace", "OnFirst")
    dim = 1 if plain.get("class") in sizeless else count("dim")
    widths = plain.get("hidden", [])
    widths = widths if isinstance(widths, list) else [widths]
    widest = max((width for width in widths if isinstance(width, int)), default=1)
    for name, size, most in (
        ("layers", layers, arrays_held),
        ("dim", max(layers, 1) * dim, 2 * numbers_held),
        ("hidden", max(layers, 1) * widest, numbers_held),
        ("context_dim", count("context_dim"), numbers_held),
        ("components", count("components"), numbers_held),
        ("bins", count("bins"), numbers_held),
    ):
        if size > most:
            raise ValueError(
                f"{name}: expected at most what the file's arrays hold, "
                f"got a flow that needs {size:,}"
            )
    for value in plain.values():
        _check_sizes(value, numbers_held, arrays_held, depth + 1)
