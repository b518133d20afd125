"""Every tutorial runs, from any folder, and ends in asserts; so running it is testing it.

Lessons run in ``test_exercises.py``, and here, as processes of their own, among the slow tests;
of the other pages the plain run takes the first of each folder, CI all of them.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "tutorials" / "flows_in_one_file.py"
LESSONS = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
METHODS = sorted((ROOT / "tutorials" / "methods").glob("[!_]*.py"))     # a page a method
TRUTHS = sorted((ROOT / "tutorials" / "truths").glob("[!_]*.py"))
APPLICATIONS = [path for path in sorted((ROOT / "tutorials" / "applications").glob("[!_]*.py"))
                if path.name != "fetch.py"]
SCRIPTS = [FIRST] + LESSONS + METHODS + TRUTHS + APPLICATIONS

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def run(script, folder, *arguments):
    """Run a script from ``folder``, which also takes its figures."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "NFREF_FIGURES": str(folder / "figures")}
    return subprocess.run([sys.executable, str(script), *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=300)


def committed_figures():
    return {path.name: path.read_bytes() for path in (ROOT / "figures").glob("*.png")}


def when_it_runs(script):
    if script in LESSONS:
        return [pytest.mark.slow]
    return [] if script in (METHODS[0], TRUTHS[0], APPLICATIONS[0]) else [pytest.mark.thorough]


@pytest.mark.parametrize("script", [
    pytest.param(script, marks=when_it_runs(script), id=script.stem) for script in SCRIPTS])
def test_tutorial_runs(script, tmp_path):
    before = committed_figures()
    done = run(script, tmp_path)
    if "applications/fetch.py" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])       # the line that brings the data
    assert done.returncode == 0, done.stderr
    assert committed_figures() == before
    if script == FIRST or "figure_path(" in script.read_text(encoding="utf-8"):
        figure = tmp_path / "figures" / f"{script.stem}.png"
        assert figure.read_bytes().startswith(b"\x89PNG")


WITHOUT_NUMBA = """import runpy, sys, time
sys.modules.update(numba=None, llvmlite=None)       # what stands as None cannot be imported
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
print(time.process_time())
"""


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_lesson_without_numba(lesson, tmp_path):
    """Formulas alone show the same, in under 30 s of one core."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "NFREF_BACKEND": "", "OMP_NUM_THREADS": "1",
                   "OPENBLAS_NUM_THREADS": "1", "NFREF_FIGURES": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_NUMBA, lesson.as_posix()],
                          cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 30


@every_script
def test_tutorial_is_a_page(script):
    """A docstring that starts with a reST title, cells, asserts; and its figure is committed."""
    text = script.read_text(encoding="utf-8")
    tree = ast.parse(text)
    title, underline = ast.get_docstring(tree).splitlines()[:2]
    assert len(underline) >= len(title) and set(underline) == {"="}
    assert text.count("\n# %%\n") >= 3
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 3
    assert (ROOT / "figures" / f"{script.stem}.png").exists()


@pytest.mark.thorough
def test_readme_figure(tmp_path):
    """The script behind the README's figures, with one epoch, too few for good ones."""
    done = run(ROOT / "tutorials" / "readme_figure.py", tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "nats" in done.stdout
    assert (tmp_path / "figures" / "readme.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures" / "flow.gif").read_bytes().startswith(b"GIF89a")
    assert (ROOT / "figures" / "flow.gif").stat().st_size < 1_000_000
