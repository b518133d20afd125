"""Check what the package says of itself to those who install, cite and run it."""

import configparser
import re
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import nfref

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def requirements():
    """Every dependency that setup.cfg names, of the core and of the extras."""
    lines = "\n".join(
        [SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()]
    ).splitlines()
    named = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [requirement for requirement in named if requirement.name != "nfref"]


def test_lowest_versions_are_those_that_setup_cfg_declares():
    declared = {
        (requirement.name, str(requirement.specifier).replace(">=", "=="))
        for requirement in requirements()
        if requirement.specifier
    }
    ours, theirs = (ROOT / ".ci/lowest.txt").read_text(encoding="utf-8").split("\n\n")
    pinned = [Requirement(line) for line in ours.splitlines() if not line.startswith("#")]
    assert {(pin.name, str(pin.specifier)) for pin in pinned} == declared
    assert len(pinned) == len(declared)  # a dependency of two extras has one lowest version
    names = {requirement.name for requirement in requirements()}
    assert not names & {Requirement(line).name for line in theirs.splitlines() if line[0] != "#"}


@pytest.mark.parametrize("name", ["numba", "llvmlite"])
def test_numba_is_asked_for_where_there_is_one(name):
    (marker,) = [requirement.marker for requirement in requirements() if requirement.name == name]
    asked = {
        (system, python)
        for system in ("linux", "darwin", "win32", "emscripten")
        for python in ("3.10", "3.15", "3.16")
        if marker.evaluate({"sys_platform": system, "python_version": python})
    }
    assert asked == {
        (system, python) for system in ("linux", "darwin", "win32") for python in ("3.10", "3.15")
    }


@pytest.mark.thorough
def test_no_python_that_numba_supports_is_left_out():
    """Compare with the classifiers of the installed Numba."""
    pytest.importorskip("numba")
    bound = SETUP["options"]["install_requires"].split('python_version < "')[1].split('"')[0]
    supported = re.findall(
        r"Python :: (3\.\d+)$",
        "\n".join(metadata.metadata("numba").get_all("Classifier")),
        re.MULTILINE,
    )
    assert max(map(Version, supported)) < Version(bound)


def test_every_module_is_told_of_types():
    assert (ROOT / "nfref/py.typed").is_file()
    assert "py.typed" in SETUP["options.package_data"]["nfref"]


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {nfref.__version__}\n" in text


def test_programs_among_the_tests_are_listed():
    done = subprocess.run(
        [sys.executable, "-m", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = re.findall(r"^  python -m ([\w.]+) +\w", done.stdout, re.MULTILINE)
    programs = [
        path
        for path in (ROOT / "tests").glob("*/**/*.py")
        if path.name == "__main__.py" or "\nif __name__ == " in path.read_text("utf-8")
    ]
    assert {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in programs
    } <= set(listed)


WITHOUT_SCIKIT_LEARN = """
import sys
sys.modules["sklearn"] = None
import inspect, pydoc
import nfref
from nfref import *
assert not hasattr(nfref, "FlowDensity") and "FlowDensity" not in nfref.__all__
assert set(nfref.__all__) <= set(dir(nfref)) and len(nfref.__all__) > 90
assert "MAF" in dict(inspect.getmembers(nfref)) and "Begin with" in pydoc.render_doc(nfref)
try:
    nfref.FlowOutlierDetector
except AttributeError as error:
    print(error)
"""


def test_nfref_is_whole_without_scikit_learn():
    """A browser's Python may lack it."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SCIKIT_LEARN], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == (
        "nfref.FlowOutlierDetector needs scikit-learn, which is not installed: "
        "pip install scikit-learn\n"
    )


def test_help_begins_with_a_beginning_that_runs(monkeypatch):
    lines = nfref.__doc__.splitlines()
    code = "\n".join(line.strip() for line in lines if line.startswith("    "))
    assert len(lines) < 16 and "nfref.fit(" in code
    monkeypatch.setattr(nfref, "fit", partial(nfref.fit, epochs=1, progress=False))
    exec(code, {"np": np, "nfref": nfref})


@pytest.mark.skipif(sys.platform != "linux", reason="the command is for GNU sed")
def test_the_readme_of_the_index_has_no_relative_address(tmp_path):
    """The command of RELEASING.rst makes every link and image absolute."""
    releasing = (ROOT / "RELEASING.rst").read_text(encoding="utf-8")
    command = re.search(r"^    (sed -i (?:.*\\\n)*.*README\.rst)$", releasing, re.MULTILINE)[1]
    readme = tmp_path / "README.rst"
    readme.write_text((ROOT / "README.rst").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    text = readme.read_text(encoding="utf-8")
    addresses = re.findall(r"image:: (\S+)", text) + re.findall(r"<([^<>\s]+)>`_", text)
    assert len(addresses) >= 6
    assert all(address.startswith(("REPOSITORY/", "https://")) for address in addresses), addresses


def test_a_tag_is_published_by_its_identity():
    """The workflow stores no password, and publishes the version that the tag names."""
    workflow = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert 'tags: ["v*"]' in workflow and "id-token: write" in workflow
    assert "pypa/gh-action-pypi-publish" in workflow and "environment: pypi" in workflow
    assert "password" not in workflow.partition("on:")[2] and "secrets." not in workflow
