"""The package's layers: who may import whom, read from the sources.

    python -m tests.test_architecture

prints the layers with their lines. An import inside a function counts like any other, and so
do the twins that the dispatch names as "module:function".
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PAGE = ROOT / "nfref", ROOT / "docs/architecture.rst"

# Layer, what of nfref/ it holds, which layers it may import (itself too, but for circles). A
# layer may only name layers above it here, so the table has no circle; "" is nfref/__init__.py.
LAYERS = (
    ("foundations", "checks params files blocks backends", ""),
    ("formulas", "networks transformers continuous", "foundations"),
    ("kernels", "kernels", "foundations formulas"),
    ("dispatch", "dispatch", "foundations kernels"),
    ("contract", "base flow small_matrices", "foundations formulas dispatch"),
    ("flows", "flows", "foundations formulas dispatch contract"),
    ("objectives", "objectives", "foundations formulas contract flows"),
    ("training", "training", "foundations dispatch contract objectives"),
    ("data", "tables datasets", "foundations formulas contract"),
    ("package", "__init__", "foundations contract flows training"),
    ("tools", "plots estimator model_file", "foundations contract flows training data package"),
    ("oracle", "oracle", "foundations formulas contract flows data package tools"),
    ("command line", "cli __main__", "foundations formulas kernels contract flows objectives "
                                     "training data package tools oracle"),
)
HOLDS = {layer: holds.split() for layer, holds, _ in LAYERS}
LAYER_OF = {part: layer for layer, parts in HOLDS.items() for part in parts}
NAMES = sorted(HOLDS, key=len, reverse=True)


def allowed(layer):
    """The layers that ``layer`` may import."""
    text = next(may for name, _, may in LAYERS if name == layer)
    return {name for name in NAMES if name in text} | {layer}


# Reading the sources ----------------------------------------------------------------------


def modules():
    """Dotted name -> file of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module, path, known):
    """(module of the package that is imported, line) for every import in a file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            source = (up + (node.module or "")).rstrip(".")
            # What is imported from a package is a module of it, or a name in its __init__.py.
            targets = [name if (name := f"{source}.{alias.name}") in known else source
                       for alias in node.names]
        elif module == "nfref.dispatch" and isinstance(node, ast.Constant):
            targets = [str(node.value).partition(":")[0]]
        else:
            continue
        for target in targets:
            if target in known and target != module:
                yield target, node.lineno


def layer_of(module):
    return LAYER_OF.get((module.split(".") + ["__init__"])[1])


def circle_in(arrows):
    """Modules that import each other in a ring, as a list that ends where it starts; or None."""
    finished = set()

    def search(module, trail):
        if module in trail:
            return trail[trail.index(module):] + [module]
        if module in finished:
            return None
        for target in sorted(arrows.get(module, ())):
            if ring := search(target, trail + [module]):
                return ring
        finished.add(module)
        return None

    return next((ring for module in sorted(arrows) if (ring := search(module, []))), None)


def offences(known):
    """Imports that the table forbids, in words."""
    for module, path in known.items():
        for target, line in imports(module, path, known):
            own, other = layer_of(module), layer_of(target)
            if own and other and other not in allowed(own):
                yield (f"{path.relative_to(ROOT)}:{line} imports {target}, but {own} may import "
                       f"{', '.join(sorted(allowed(own)))}; {other} is none of them")


def table():
    """The layers as they stand in ``docs/architecture.rst``."""
    rows = [("layer", "in ``nfref/``", "may import"),
            *((layer, " ".join(f"``{part}``" for part in holds.split()), may or "nothing")
              for layer, holds, may in LAYERS)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


# Tests ------------------------------------------------------------------------------------


def test_every_module_is_in_a_layer():
    missing = sorted({name for name in modules() if layer_of(name) is None})
    assert not missing, f"no layer holds {missing}: name one in {Path(__file__).name}"
    assert all((PACKAGE / part).exists() or (PACKAGE / f"{part}.py").exists()
               for part in LAYER_OF if part != "transformers")


def test_a_layer_imports_only_layers_above_it_in_the_table():
    order = [layer for layer, _, _ in LAYERS]
    for k, layer in enumerate(order):
        assert allowed(layer) <= set(order[:k + 1]), layer


def test_no_import_goes_where_the_table_forbids_it():
    assert list(offences(modules())) == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    assert circle_in({module: {target for target, _ in imports(module, path, known)}
                      for module, path in known.items()}) is None


def test_what_the_dispatch_names_is_there():
    from nfref.dispatch import TWINS
    known = modules()
    for twin in TWINS.values():
        for place in filter(None, (twin.numba, twin.cuda)):
            module, function = place.split(":")
            tree = ast.parse(known[module].read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body
                                if isinstance(node, ast.FunctionDef)}, place


def test_the_page_shows_the_same_table():
    assert table() in PAGE.read_text(encoding="utf-8"), f"expected in {PAGE.name}:\n{table()}"


@pytest.mark.parametrize("source, forbidden", [
    ("from nfref.flow import Flow", True), ("import nfref.flows.planar", True),
    ("from nfref import flow", True), ("def f():\n    from ..flow import Flow", True),
    ("from nfref import params", False), ("from ..backends import threads", False)])
def test_the_reading_of_imports(tmp_path, source, forbidden):
    """A kernel with such an import would be found, wherever the import stands."""
    path = tmp_path / "probe.py"
    path.write_text(source)
    targets = {target for target, _ in imports("nfref.kernels.probe", path, modules())}
    assert targets
    assert any(layer_of(target) not in allowed("kernels") for target in targets) == forbidden


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) is None


def main():
    known = modules()
    for layer, _, may in LAYERS:
        own = [path for name, path in known.items() if layer_of(name) == layer]
        count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)
        parts = " ".join(HOLDS[layer])
        print(f"{layer:<14}{count:>6} lines {len(own):>4} files   {parts}\n"
              f"{'':<34}<- {may or 'nothing'}")


if __name__ == "__main__":
    main()
