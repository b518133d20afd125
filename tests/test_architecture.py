"""Check the package's layers: which module may import which, read from the sources.

    python -m tests.test_architecture

prints the layers with their lines of code, without docstrings, comments and blank lines, and the
reference's share of them. An import inside a function counts like any other, and so do the twins
that the dispatch names as "module:function".
"""

import ast
import io
import re
import textwrap
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PAGE = ROOT / "nfref", ROOT / "docs/architecture.rst"

# Layer, its part of nfref/ ("__init__" is the code that ``import nfref`` runs), and its imports
# besides itself, and the most lines of code that it may have: later changes may lower this number,
# never raise it. A layer can name only those above it, so the layers have no circle. A module
# belongs to the layer that names it, else to its package's layer: so layers split a package, too.
LAYERS = (
    ("foundations", "runtime", "nothing", 948),
    ("formulas", "networks transformers continuous", "foundations", 1813),
    ("kernels", "kernels", "foundations, formulas", 6550),
    ("dispatch", "runtime.dispatch runtime.small_matrices", "foundations, kernels", 161),
    (
        "contract",
        "flow density bases.base bases.standard_normal",
        "foundations, formulas, dispatch",
        231,
    ),
    ("diagnostics", "diagnostics", "foundations, formulas, contract", 495),
    ("bases", "bases", "foundations, formulas, contract", 775),
    ("flows", "flows", "all above but kernels", 3524),
    ("objectives", "objectives", "all above but kernels, dispatch", 635),
    ("training", "training", "all above but kernels", 959),
    ("sampling", "sampling", "all above but kernels, dispatch", 347),
    ("datasets", "datasets", "foundations, formulas, contract, bases", 244),
    ("package", "__init__ runtime.serialization", "all above but kernels, dispatch", 225),
    ("plots", "plots", "all above but kernels, dispatch", 492),
    ("reading", "tables tables.reading", "foundations", 706),
    ("schema", "tables.schema", "all above but kernels, dispatch", 1076),
    ("densities", "tables.densities", "all above but kernels, dispatch", 1719),
    ("queries", "tables.queries", "all above but kernels, dispatch", 1064),
    ("fitting", "tables.fitting", "all above but kernels, dispatch", 1664),
    ("model files", "tables.files", "all above but kernels, dispatch", 394),
    ("estimators", "tables.estimators", "all above but kernels, dispatch", 1290),
    (
        "oracle",
        "oracle",
        "all above but kernels, dispatch, reading, schema, densities, queries, fitting, "
        "model files, estimators",
        5599,
    ),
    ("command line", "cli __main__", "all above but dispatch", 2049),
)
LINES_OF_TESTS = 59_835  # in tests/, with comments and blank lines; this number only falls
ORDER = [layer for layer, *_ in LAYERS]
LAYER_OF = {part: layer for layer, holds, *_ in LAYERS for part in holds.split()}


def allowed(layer):
    """The layers that ``layer`` may import."""
    above, text = set(ORDER[: ORDER.index(layer)]), LAYERS[ORDER.index(layer)][2]
    listed = {name for name in ORDER if name in text}
    assert listed <= above, f"{layer} may only import layers above it, got {text!r}"
    return {layer} | (above - listed if text.startswith("all above") else listed)


# Reading the sources ----------------------------------------------------------------------


def modules():
    """Dotted name -> file of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def nodes(path):
    """All nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(module, path, known):
    """(module of the package that is imported, line) for every import in a file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            source = (up + (node.module or "")).rstrip(".")
            # A name imported from a package is a module of it, or a name in its __init__.py.
            targets = [
                name if (name := f"{source}.{alias.name}") in known else source
                for alias in node.names
            ]
        elif module == "nfref.runtime.dispatch" and isinstance(node, ast.Constant):
            targets = [str(node.value).partition(":")[0]]
        else:
            continue
        for target in targets:
            if target in known and target != module:
                yield target, node.lineno


# Undocumented parts of Numba and autograd, and the one module that may name each and tests it.
INSIDES = re.compile(
    r"(llvmlite|numba\.(core|np|cuda\.simulator)|"
    r"autograd\.(tracer|core|extend|util))(\.|$)"
)
INSIDERS = ("nfref.runtime.autograd_internals", "nfref.kernels.numba_internals")


def insides(path):
    """Return the line numbers where a file names internals of Numba or autograd."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [ast.unparse(node)] if isinstance(node, ast.Attribute) else []
        if any(map(INSIDES.match, names)):
            yield node.lineno


def layer_of(module):
    """The layer that names the module, or the nearest package around it."""
    parts = module.split(".")[1:] or ["__init__"]
    return next(
        (
            LAYER_OF[name]
            for k in range(len(parts), 0, -1)
            if (name := ".".join(parts[:k])) in LAYER_OF
        ),
        None,
    )


def circle_in(arrows):
    """Return modules that import each other in a circle, from start to start; or None."""
    finished = set()

    def search(module, trail):
        if module in trail:
            return trail[trail.index(module) :] + [module]
        if module in finished:
            return None
        for target in sorted(arrows.get(module, ())):
            if ring := search(target, trail + [module]):
                return ring
        finished.add(module)
        return None

    return next((ring for module in sorted(arrows) if (ring := search(module, []))), None)


def offences(known):
    """Describe the imports that the table forbids."""
    for module, path in known.items():
        for target, line in imports(module, path, known):
            own, other = layer_of(module), layer_of(target)
            if own and other and other not in allowed(own):
                yield (
                    f"{path.relative_to(ROOT)}:{line} imports {target}: {own} may import "
                    f"{LAYERS[ORDER.index(own)][2]}, got {other}"
                )


def table():
    """Return the layers as ``docs/architecture.rst`` shows them."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 14 44 32 10", ""]
    for row in (
        ("layer", "in ``nfref/``", "may import", "most lines"),
        *(
            (layer, " ".join(f"``{part}``" for part in holds.split()), may, f"{budget:,}")
            for layer, holds, may, budget in LAYERS
        ),
    ):
        for k, cell in enumerate(row):
            start = "   " + ("  - " if k else "* - ")
            lines += textwrap.wrap(
                cell, 100, initial_indent=start, subsequent_indent=" " * 7, break_on_hyphens=False
            )
    return "\n".join(lines) + "\n"


# Tests ------------------------------------------------------------------------------------


def test_every_module_is_in_a_layer():
    missing = [name for name in modules() if layer_of(name) is None]
    assert not missing, f"no layer in {Path(__file__).name} holds {missing}"
    places = {part: PACKAGE / part.replace(".", "/") for part in LAYER_OF}
    gone = [
        part
        for part, place in places.items()
        if not place.exists() and not place.with_suffix(".py").exists()
    ]
    assert not gone, f"nfref/ holds no {gone}"


def test_the_tests_have_no_more_lines_than_their_budget():
    lines = sum(path.read_bytes().count(b"\n") for path in (ROOT / "tests").rglob("*.py"))
    assert lines <= LINES_OF_TESTS


def test_no_layer_has_more_lines_than_its_budget():
    counts = counts_of_layers()
    over = {
        layer: f"expected at most {budget} lines of code, got {sum(counts[layer])}"
        for layer, _, _, budget in LAYERS
        if sum(counts[layer]) > budget
    }
    assert not over


def test_no_import_goes_where_the_table_forbids_it():
    assert list(offences(modules())) == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    assert (
        circle_in(
            {
                module: {target for target, _ in imports(module, path, known)}
                for module, path in known.items()
            }
        )
        is None
    )


def test_what_the_dispatch_names_is_there():
    from nfref.runtime.dispatch import TWINS

    known = modules()
    for twin in TWINS.values():
        for place in filter(None, (twin.numba, twin.cuda)):
            module, function = place.split(":")
            tree = ast.parse(known[module].read_text(encoding="utf-8"))
            assert function in {
                node.name for node in tree.body if isinstance(node, ast.FunctionDef)
            }, place


def test_a_module_is_in_the_layer_that_names_it():
    assert layer_of("nfref.tables.files.model_file") == "model files"
    assert layer_of("nfref.tables.reading.text") == layer_of("nfref.tables") == "reading"
    assert "estimators" not in allowed("model files") and "model files" in allowed("estimators")


def test_the_page_shows_the_same_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(table()) == 1, f"expected once in {PAGE.name}:\n{table()}"
    assert page.count("* - foundations\n") == 1


@pytest.mark.parametrize(
    "source, forbidden",
    [
        ("from nfref.flow import Flow", True),
        ("import nfref.flows.planar", True),
        ("from nfref import flow", True),
        ("def f():\n    from ..flow import Flow", True),
        ("from nfref.runtime import params", False),
        ("from ..runtime.backends import threads", False),
        ("from nfref.runtime import dispatch", True),
    ],
)
def test_the_reading_of_imports(tmp_path, source, forbidden):
    """A kernel with such an import is found, at any place of the import."""
    path = tmp_path / "probe.py"
    path.write_text(source)
    targets = {target for target, _ in imports("nfref.kernels.probe", path, modules())}
    assert targets
    assert any(layer_of(target) not in allowed("kernels") for target in targets) == forbidden


def test_insides_of_others_are_named_in_one_module_each():
    found = {module: list(insides(path)) for module, path in modules().items()}
    assert {module for module, lines in found.items() if lines} <= set(INSIDERS), found


@pytest.mark.parametrize(
    "source, named",
    [
        ("from numba.core import cgutils", True),
        ("from numba import core", True),
        ("import llvmlite.ir", True),
        ("import numba\nnumba.core.caching.NullCache()", True),
        ("from autograd.tracer import getval", True),
        ("from autograd import extend", True),
        ("from numba import types\ntypes.core", False),
        ("import autograd.numpy as np", False),
    ],
)
def test_the_reading_of_insides(tmp_path, source, named):
    path = tmp_path / "probe.py"
    path.write_text(source)
    assert bool(list(insides(path))) == named


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) is None


def test_lines_of_code():
    """Neither a docstring nor a comment counts, nor a blank line; each line of a statement does."""
    assert lines_of_code('''"""A module.

Its docstring."""

import os  # not a line of its own


# A comment.
class Kind:
    """A class."""

    name: str = """text
    of two lines"""

    def method(self):
        """A method."""
        return (os.sep,
                # why
                self.name)
''') == {5, 9, 12, 13, 15, 17, 19}


# Counting ---------------------------------------------------------------------------------

# Readers of the mathematics read these; all else is built on them or runs them.
REFERENCE = (
    "flow density flows transformers networks continuous bases objectives training"
).split()
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def lines_of_code(source):
    """Return numbers of the lines with a part of a statement that is not a docstring."""
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def counts_of_modules():
    """Name -> lines of code of every module."""
    return {
        name: len(lines_of_code(path.read_text(encoding="utf-8")))
        for name, path in modules().items()
    }


def counts_of_layers():
    """Layer -> lines of code of each of its files."""
    found = {layer: [] for layer in ORDER}
    for name, count in counts_of_modules().items():
        found[layer_of(name)].append(count)
    return found


def main():
    counts, layers = counts_of_modules(), counts_of_layers()
    for layer, holds, may, budget in LAYERS:
        own = layers[layer]
        print(f"{layer:<13}{sum(own):>6} of {budget:>5} lines{len(own):>4} files   {holds}")
        print(f"{'':<43}<- {may}")
    reference = [
        count
        for name, count in counts.items()
        if name.split(".")[1:2] and name.split(".")[1] in REFERENCE
    ]
    for what, found in (("reference", reference), ("nfref", list(counts.values()))):
        print(f"{what:<13}{sum(found):>15} lines{len(found):>4} files")


if __name__ == "__main__":
    main()
