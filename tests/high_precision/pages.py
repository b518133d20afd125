"""The page ``docs/vector_classes.rst``: each class of flow with golden vectors.

Each class has its map, its parameters with their shapes and meaning, and the files that hold it.
:mod:`tests.high_precision.meaning` describes what a class computes; all else comes from the files.
``python -m tests.high_precision.write_vectors`` writes the page again after the files.
"""

import json
import textwrap
from pathlib import Path

from nfref.oracle.golden_vectors import FOLDER, is_leaf
from tests.high_precision import manifest
from tests.high_precision.meaning import MEANING

PAGE = Path(__file__).parents[2] / "docs" / "vector_classes.rst"
TOP = """Golden vectors, class by class
==============================

The files of :doc:`golden_vectors` hold these classes. Every map is that of ``forward``, from latent
z to data x. ``python -m tests.high_precision.write_vectors`` writes this page.

.. contents::
   :local:
"""
NETWORK = """A network is a list of layers ``{weight (in, out), bias (out,)}``: h @ weight + bias,
and all but the last are followed by ``activation``. A context is appended to its input."""


def members(flow, params):
    """Return (description, parameters) of a flow and of every flow in its list."""
    yield flow, params
    inside = flow.get("flows") or ([flow["flow"]] if isinstance(flow.get("flow"), dict) else [])
    if flow["class"] == "Amortized":
        yield from members(flow["flow"], params["flow"])
    elif isinstance(params, list) and len(inside) == len(params):
        for one, its in zip(inside, params):
            yield from members(one, its)
    elif len(inside) == 1 and isinstance(params, (dict, list)):
        yield from members(inside[0], params)


def shapes(params):
    """Return name -> shape of every parameter of one flow, in words."""
    if not isinstance(params, dict):
        return {}
    return {
        key: f"({', '.join(map(str, value['shape']))}{',' * (len(value['shape']) == 1)})"
        if is_leaf(value)
        else "nested"
        for key, value in params.items()
    }


def found():
    """Return class -> (its parameters' names and shapes, the manifest's cases with it)."""
    classes = {}
    for case in manifest.read()["cases"]:
        golden = json.loads((FOLDER / case["file"]).read_text())
        for flow, params in members(golden["flow"], golden["params"]):
            names, cases = classes.setdefault(flow["class"], ({}, []))
            for key, shape in shapes(params).items():
                names.setdefault(key, shape)
            if case not in cases:
                cases.append(case)
    return classes


def meaning_of(kind, names):
    """Return the meaning of a class with parameters of these names; an error says what it lacks."""
    if kind not in MEANING:
        raise LookupError(f"tests/high_precision/meaning.py: add {kind} to MEANING")
    lacking = ", ".join(name for name in names if name not in MEANING[kind].parameters)
    if lacking:
        raise LookupError(
            f"tests/high_precision/meaning.py: add the parameters of {kind}: {lacking}"
        )
    return MEANING[kind]


def wrapped(text, first, rest):
    """Return the lines of a text, with their indents."""
    return textwrap.wrap(
        text, 100, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def section(kind, names, cases):
    """Return the section of a class, as reStructuredText."""
    meaning = meaning_of(kind, names)
    lines = ["", kind, "-" * len(kind), "", "x = forward(z):", ""]
    lines += [*meaning.map.strip().splitlines(), ""]
    if names:
        lines += ["Parameters, with the shape each has in one of the files:", ""]
        for key, shape in names.items():
            lines += [f"``{key}`` {shape}", *wrapped(meaning.parameters[key], "    ", "    ")]
        lines += [""]
        if kind in ("Amortized", "CNF", "Coupling", "MADE", "ResidualBlock"):
            lines += [*NETWORK.splitlines(), ""]
    else:
        lines += [
            "It has no parameters of its own."
            if meaning.members is None
            else f"Its parameters are a list: {meaning.members}.",
            "",
        ]
    lines += ["Files:", ""]
    for case in cases:
        words = f"``{case['file']}``: {case['reason']}; tolerance {case['tolerance']:g}"
        lines += wrapped(words, "- ", "  ")
    return "\n".join(lines) + "\n"


def page():
    """Return the text of the page."""
    return TOP + "".join(section(kind, *parts) for kind, parts in sorted(found().items()))


def write():
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
