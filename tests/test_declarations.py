"""``nfref/__init__.pyi`` declares flows and transformers; these tests name what else they need.

The oracle declares its properties in ``nfref/oracle/checks/properties.py``.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import nfref
from nfref import cli
from nfref.oracle import (
    DENSITY_PROPERTIES,
    FLOW_PROPERTIES,
    adapters,
    check_density,
    check_flow,
    golden_vectors,
)
from tests import flow_table
from tests.high_precision import maps, precision_table
from tests.high_precision.maps.transformers import TRANSFORMERS
from tests.tables.files.test_golden_models import NAMES, classes_in, header_of
from tests.tables.files.test_model_files_page import ENTRY, PAGE

ROOT = Path(__file__).parent.parent
# Of these options the line of --help is enough.
SHORT = {"--discrete", "--event-shape", "--help", "--version"}
# Others are made of these; they have no map of their own.
ABSTRACT = {nfref.Flow, nfref.Composition, nfref.Transformer}


def text_of(*patterns):
    """Return the text of all files of some patterns."""
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def exported(base=nfref.Flow):
    """Return every concrete flow (or transformer) that nfref offers, by name."""
    return {
        name: kind
        for name in nfref.__all__
        if isinstance(kind := getattr(nfref, name), type)
        and issubclass(kind, base)
        and kind not in ABSTRACT
    }


def kinds_within(flow):
    """Return the classes of a flow and of all flows and transformers inside of it."""
    inside = [
        *getattr(flow, "flows", (getattr(flow, "flow", None),)),
        *getattr(flow, "transformers", (getattr(flow, "transformer", None),)),
    ]
    return {type(flow)}.union(*(kinds_within(member) for member in inside if member is not None))


def made(entry):
    return entry.make(entry.dims[-1], 0)


def missing_tests():
    """Yield what is missing in the tests of each family."""
    examined = set().union(*(kinds_within(made(entry)) for entry in flow_table.flows().values()))
    for name, kind in exported().items():
        place = kind.__module__.partition("flows.")[2].replace(".", "/")
        if kind not in examined:
            yield (
                f"tests/flows/test_{place}.py: add an Entry that makes a {name} to CONTRACT, "
                "and below it test_contract = contract_test(CONTRACT)"
            )
    for name, kind in exported(nfref.Transformer).items():
        if kind not in examined:
            yield (
                f"tests/flows/test_autoregressive.py: add an Entry to CONTRACT that makes a MADE "
                f"with a {name}, or to another file there"
            )
    for module in flow_table.modules():
        if hasattr(module, "CONTRACT") and not hasattr(module, "test_contract"):
            path = module.__name__.replace(".", "/")
            yield f"{path}.py: add test_contract = contract_test(CONTRACT) below CONTRACT"


def missing_maps():
    """Yield the maps, golden vectors and meanings that are missing."""
    published = set().union(*(kinds_within(flow) for flow in maps.CONFIGURATIONS.values()))
    for name, kind in exported().items():
        file = f"tests/high_precision/maps/{kind.__module__.rpartition('.')[2]}.py"
        if kind not in maps.MAPS:
            yield f"{file}: add the map of {name} to MAPS, one mpmath number at a time"
        if kind not in published:
            yield f"{file}: add a small {name} to CONFIGURATIONS"
    for name, kind in exported(nfref.Transformer).items():
        if kind not in {*TRANSFORMERS, nfref.ByCoordinate}:
            yield f"tests/high_precision/maps/transformers.py: add {name} to TRANSFORMERS"
        if kind not in published:
            yield (
                f"tests/high_precision/maps/autoregressive.py: add a small MADE with a {name} to "
                "CONFIGURATIONS, or to another file there"
            )
    shipped = set(golden_vectors.shipped())
    for name, flow in maps.CONFIGURATIONS.items():
        if name not in shipped:
            yield (
                f"nfref/oracle/vectors/{name}.json: "
                f"run python -m tests.high_precision.write_vectors {name}"
            )


def missing_files():
    """Yield the model files, and their lines on the page, that are missing."""
    golden = {kind for name in NAMES for kind in classes_in(header_of(name))}
    described = dict(ENTRY.findall(PAGE))
    for name, kind in {**exported(), **exported(nfref.Transformer)}.items():
        fields = ", ".join(f"``{field.name}``" for field in dataclasses.fields(kind)) or "no field"
        if name not in golden:
            yield (
                f"tests/tables/files/golden_models.py: add a density with a {name}, in a new file; "
                "then run python -m tests.tables.files.golden_models"
            )
        if name not in described:
            yield f"docs/model_files.rst: add the line - ``{name}``: {fields}"


def missing_measurements():
    """Yield the lines that are missing on the page of measured errors."""
    errors = text_of("docs/precision.rst")
    for name in precision_table.measured():
        if not re.search(rf"^    {name} ", errors, re.MULTILINE):
            yield (
                "docs/precision.rst: add the lines that python -m "
                f"tests.high_precision.precision_table {name} prints"
            )


def test_every_flow_and_transformer_has_all_that_proves_it():
    missing = [*missing_tests(), *missing_maps(), *missing_files(), *missing_measurements()]
    if missing:
        pytest.fail("\n".join(dict.fromkeys(missing)), pytrace=False)


def test_every_property_in_a_report_of_the_oracle_is_declared():
    rng = np.random.default_rng(0)
    for check, thing, declared in (
        (check_flow, nfref.Scale(1), FLOW_PROPERTIES),
        (check_density, nfref.Density(nfref.Scale(1)), DENSITY_PROPERTIES),
    ):
        report = check(**adapters.of(thing, rng=rng), dim=1, rng=rng)
        new = {row.name for row in report.rows} - set(declared)
        assert not new, f"nfref/oracle/checks/properties.py: add the meaning of {sorted(new)}"


def test_every_library_with_an_adapter_has_a_test():
    peers = text_of("tests/oracle/test_*.py", "tests/diagnostics/*.py")
    for start in adapters.BY_NAME:
        library = start.partition(".")[0]
        assert re.search(rf"\b(import|from|importorskip\(\")\s*{library}\b", peers), (
            f"tests/oracle/test_adapters_peers.py: add a right flow of {library}"
        )


def test_every_option_of_the_command_is_on_a_page_and_in_a_test():
    pages, tests = (
        text_of("README.rst", "docs/**/*.rst"),
        text_of("tests/cli/*.py", "tests/**/test_*.py"),
    )
    (commands,) = (action for action in cli.parser()._actions if action.choices)
    for name, command in commands.choices.items():
        for option in {text for action in command._actions for text in action.option_strings}:
            word = re.compile(rf"(?<![\w-]){option}(?![\w-])")
            assert option in SHORT or len(option) == 2 or word.search(pages), (
                f"docs/command_line.rst: describe nfref {name} {option}"
            )
            assert len(option) == 2 or word.search(tests), f"tests/cli: test nfref {name} {option}"
