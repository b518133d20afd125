"""A page for each class of flow with golden vectors: its map, and the meaning of each parameter.

Sphinx writes them to ``docs/vectors/``. Each class has its map, its parameters with their shapes
and arguments, and the files that hold it with the options that set them apart.
:mod:`tests.high_precision.meaning` describes what a class computes; all else comes from the files.
"""

import json

from nfref.oracle.golden_vectors import FOLDER, is_leaf
from tests.high_precision import manifest
from tests.high_precision.meaning import MEANING

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


def page(kind, names, cases):
    """Return the page of a class, as reStructuredText."""
    meaning = meaning_of(kind, names)
    lines = [
        kind,
        "=" * len(kind),
        "",
        "x = forward(z):",
        "",
        *meaning.map.strip().splitlines(),
        "",
    ]
    if names:
        lines += ["Parameters, with the shape each has in one of the files:", ""]
        for key, shape in names.items():
            lines += [f"``{key}`` {shape}", f"    {meaning.parameters[key]}"]
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
        lines.append(f"- ``{case['file']}``: {case['reason']}; tolerance {case['tolerance']:g}")
    return "\n".join(lines) + "\n"


def pages():
    """Return file name -> its text, the index included."""
    made = {f"{kind}.rst": page(kind, *parts) for kind, parts in sorted(found().items())}
    index = [
        "Golden vectors, class by class",
        "=" * 30,
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {name[:-4]}" for name in made),
    ]
    return {"index.rst": "\n".join(index) + "\n", **made}
