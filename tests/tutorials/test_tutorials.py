"""Every tutorial runs, from any folder, and ends in asserts; so a run is a test.

CI runs them as notebooks (``test_notebooks.py``); here they run as scripts, the cheapest in the
plain run and the others among the slow tests.
"""

import ast
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = [ROOT / "tutorials" / name for name in ("one_flow.py", "flows_in_one_file.py")]
TORCH = ROOT / "tutorials" / "flow_matching_in_torch.py"  # test_notebooks.py runs it, with -m peers
LESSONS = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
METHODS = sorted((ROOT / "tutorials" / "methods").glob("[!_]*.py"))  # a page a method
TRUTHS = sorted((ROOT / "tutorials" / "truths").glob("[!_]*.py"))
APPLICATIONS = [
    path
    for path in sorted((ROOT / "tutorials" / "applications").glob("[!_]*.py"))
    if path.name != "fetch.py"
]
SCRIPTS = FIRST + LESSONS + METHODS + TRUTHS + APPLICATIONS

every_script = pytest.mark.parametrize("script", [*SCRIPTS, TORCH], ids=lambda script: script.stem)


def run(*command, folder):
    """Run Python from ``folder``, which also takes the figures."""
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(ROOT),
        "NFREF_FIGURES": str(folder / "figures"),
    }
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "script",
    [
        script
        if script.stem == "probability_flow"
        else pytest.param(script, marks=pytest.mark.slow)
        for script in SCRIPTS
    ],
    ids=lambda script: script.stem,
)
def test_tutorial_runs(script, tmp_path):
    done = run(script, folder=tmp_path)
    if "applications/fetch.py" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])  # the command that fetches the data
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is written beside a page"


@pytest.mark.thorough
def test_a_figure_is_drawn_at_twice_the_width_of_a_page(tmp_path):
    done = run("-m", "docs.draw", "01_stretching", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (width,) = struct.unpack(">I", (tmp_path / "figures" / "01_stretching.png").read_bytes()[16:20])
    assert abs(width - 2 * 736) <= 1


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
    """The formulas alone give the same, in under 30 s of one core."""
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "NFREF_BACKEND": "",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_NUMBA, lesson.as_posix()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 30


@every_script
def test_tutorial_is_a_page(script):
    """It has a docstring with a reST title, cells and asserts; its figure is committed."""
    text = script.read_text(encoding="utf-8")
    tree = ast.parse(text)
    title, underline = ast.get_docstring(tree).splitlines()[:2]
    assert len(underline) >= len(title) and set(underline) == {"="}
    assert text.count("\n# %%\n") >= 3 and "\n#\n# %%\n" not in text
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 3
    assert (ROOT / "figures" / f"{script.stem}.png").exists()
    assert text.count("plt.show()") <= 1, "the site keeps one figure of a page"
    texts = re.findall(r"^# \.\. alt: .*\n(?:#    .*\n)*(.*)", text, re.MULTILINE)
    assert texts and not any(after.startswith("# ") for after in texts), (
        "a figure has an alternative text, which goes on with an indent"
    )


@every_script
def test_a_page_asks_before_it_answers(script):
    """Each prediction has an answer that unfolds, below it and before the next.

    Pages other than lessons have an exercise too, and no page is a program with options.
    """
    text = script.read_text(encoding="utf-8")
    asked = re.findall(r"\*\*Predict\.\*\*|dropdown:: Answer", text)
    assert asked == ["**Predict.**", "dropdown:: Answer"] * (len(asked) // 2)
    assert "argparse" not in text and "def main(" not in text
    if script in METHODS + TRUTHS + APPLICATIONS:
        assert "# What can go wrong\n" in text
        assert text.count("\nnfref.exercises.grade(") >= 2 and "# On paper: " in text
        assert asked and re.search("^nfref.exercises.grade", text, re.MULTILINE)


DECIMAL = re.compile(r"(?<![\w.])\d+\.\d{2,}(?![\w.])")


@every_script
def test_no_text_answers_before_the_question(script):
    """The numbers of an answer do not stand in the text or the comments above its prediction."""
    text = script.read_text(encoding="utf-8")
    text = re.sub(r"^# \.\. alt: .*\n(?:#    .*\n)*", "", text, flags=re.MULTILINE)
    for asked in re.finditer(r"\*\*Predict\.\*\*", text):
        answer = re.search(
            r"^# \.\. dropdown:: Answer\n((?:#    .*\n|#\n)+)", text[asked.end() :], re.MULTILINE
        )
        above = "".join(
            line for line in text[: asked.start()].splitlines(True) if "#" in line or line[0] != " "
        )
        assert not set(DECIMAL.findall(answer[1])) & set(DECIMAL.findall(above))


@pytest.mark.thorough
def test_readme_figure(tmp_path):
    """The script behind the README's figures, with one epoch, too few for good ones."""
    done = run(ROOT / "tutorials" / "readme_figure.py", "--epochs", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nats" in done.stdout
    assert (tmp_path / "figures" / "readme.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures" / "flow.gif").read_bytes().startswith(b"GIF89a")
    assert (ROOT / "figures" / "flow.gif").stat().st_size < 1_000_000
