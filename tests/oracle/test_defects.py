"""Every report on a defect of a released library still reproduces it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
REPORTS = sorted((DOCS / "defects").glob("*.md"))
PARTS = (
    "# ",
    "**Versions:**",
    "## Minimal",
    "## Expected",
    "## Found",
    "## Two independent proofs",
)


def numbers(text):
    """The words of a text, those that are numbers rounded to three digits."""
    words = re.sub(r"[\[\],]", " ", text).split()
    return [
        f"{float(word):.2e}" if re.fullmatch(r"-?[\d.]+(e-?\d+)?", word) else word for word in words
    ]


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_is_ready_to_be_filed(path):
    text = path.read_text(encoding="utf-8")
    places = [text.find(part) for part in PARTS]
    assert 0 <= places[0] and places == sorted(places), path
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.splitlines()) <= 18 and "nfref" not in code
    page = " ".join((DOCS / "defects.rst").read_text(encoding="utf-8").split())
    assert f"<defects/{path.name}>" in page and text[2:].partition("\n")[0] in page


@pytest.mark.peers
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_defect_is_still_there(path):
    text = path.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    found = re.search(r"```text\n(.*?)```", text, re.DOTALL)[1]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300
    )
    if "ModuleNotFoundError" in run.stderr:
        pytest.skip("the library is not installed")
    assert run.returncode == 0, run.stderr
    assert numbers(run.stdout) == numbers(found)
