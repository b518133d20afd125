"""Check ``help``: parameters show their defaults, and examples print what they show."""

import dataclasses
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import nfref
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer

SUBJECTS = sorted(
    (
        thing
        for thing in map(nfref.__getattr__, nfref.__all__)
        if isinstance(thing, type)
        and issubclass(thing, (nfref.Flow, Transformer))
        and dataclasses.is_dataclass(thing)
    ),
    key=lambda thing: thing.__name__,
)


def documented(subject):
    """Return name -> the line about it in the section "Parameters"."""
    section = re.search(r"\nParameters\n-+\n(.*?)(\n\n\w+\n-+\n|\Z)", inspect.getdoc(subject), re.S)
    lines = re.findall(r"^([\w*][\w*, ]*?)(?: : (.*))?$", section.group(1) if section else "", re.M)
    return {name: rest for names, rest in lines for name in names.split(", ")}


def shown(default):
    if isinstance(default, str):
        return f'"{default}"'
    return "Affine()" if default == Affine() else repr(default)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_parameters_and_their_defaults(subject):
    found = documented(subject)
    fields = {field.name: field.default for field in dataclasses.fields(subject)}
    assert list(found) == list(fields)
    for name, default in fields.items():
        expected = (
            r"(?!.*default)"
            if default is dataclasses.MISSING
            else r".*, optional$"
            if default is None
            else f".*, default {re.escape(shown(default))}$"
        )
        assert re.match(expected, found[name]), (name, found[name], default)


def test_iaf_says_that_it_is_a_constructor():
    first = inspect.getdoc(nfref.IAF).splitlines()[0]
    assert "constructor" in first and "Invert(MAF(" in first
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(nfref.IAF).parameters.items()
        if parameter.default is not parameter.empty
    }
    assert all(defaults[name] == nfref.MAF.__dataclass_fields__[name].default for name in defaults)
    found = documented(nfref.IAF)
    assert all(
        found[name].endswith(f", default {shown(default)}") for name, default in defaults.items()
    )


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_the_name_of_a_twin_is_not_among_what_help_shows(subject):
    assert not hasattr(subject, "twin")


PACKAGE = Path(nfref.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    "module",
    [  # some examples take seconds
        pytest.param(
            module,
            marks=pytest.mark.thorough
            if module
            in (
                "nfref.oracle.__init__",
                "nfref.oracle.table_density",
                "nfref.tables.estimators.flow_density",
                "nfref.tables.estimators.outlier_detector",
            )
            else (),
        )
        for module in WITH_EXAMPLES
    ],
)
def test_examples_print_what_they_show(module):
    failed, _ = doctest.testmod(importlib.import_module(module.removesuffix(".__init__")))
    assert not failed


def test_classes_that_the_first_pages_name_show_an_example():
    root = Path(__file__).parents[2]
    words = {
        word
        for page in ("README.rst", "docs/which_flow.rst", "docs/commands.rst")
        for word in re.findall(r"[A-Z]\w+", (root / page).read_text(encoding="utf-8"))
    }
    named = words & set(nfref.__all__) | {"MADE", "Coupling", "NICE"}
    assert {"RealNVP", "MAF", "Planar", "FlowDensity", "FlowOutlierDetector"} <= named
    for name in named:
        examples = doctest.DocTestParser().get_examples(getattr(nfref, name).__doc__)
        assert any(example.want for example in examples), name
