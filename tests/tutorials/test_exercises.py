"""Every lesson runs; its exercises accept their solutions and reject wrong answers, with a hint.

The plain run takes the cheapest lesson; ``test_notebooks.py`` checks the same for all pages.
"""

import re
import runpy
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from docs.assignments import HIDDEN_TESTS, LABS
from tests.tutorials.wrong_answers import WRONG_ANSWERS

ROOT = Path(__file__).parents[2]
OPEN_ANSWER = re.compile(r"^answer_(\d+) = \.\.\. ", re.MULTILINE)
SOLUTION = re.compile(
    r"^# \.\. dropdown:: Solution.*\n#\n#    \.\. code-block:: python\n#\n"
    r"((?:#       .*\n|#\n)+)",
    re.MULTILINE,
)


def exercises(text):
    """The numbers of the exercises of a lesson, from its lines ``answer_1 = ...``."""
    return [int(number) for number in OPEN_ANSWER.findall(text)]


def solutions(script):
    """The folded solutions of a page, or those of a lab, as code."""
    text = script.read_text(encoding="utf-8")
    return LABS.get(script.stem) or [
        textwrap.dedent(re.sub("^#", "", found, flags=re.MULTILINE))
        for found in SOLUTION.findall(text)
    ]


LESSONS = {
    path.stem: path
    for path in sorted((ROOT / "tutorials").rglob("[!_]*.py"))
    if exercises(path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize(
    "lesson",
    [
        name if name == "01_stretching" else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(LESSONS)
    ],
)
def test_exercises(lesson, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(LESSONS[lesson])])
    monkeypatch.syspath_prepend(LESSONS[lesson].parent)
    text = LESSONS[lesson].read_text(encoding="utf-8")
    numbers = exercises(text)
    if lesson.startswith("lab_") and not LABS:
        pytest.skip("the sdist has no solutions of labs")
    assert len(solutions(LESSONS[lesson])) == len(numbers), "one solution an exercise"
    assert not (lesson.startswith("lab_") and "Solution" in text)

    names = runpy.run_path(str(LESSONS[lesson]), run_name="__main__")
    assert plt.get_fignums(), "a figure"
    plt.close("all")
    said = capsys.readouterr().out
    for number, solution in zip(numbers, solutions(LESSONS[lesson])):
        assert f"exercise {number}: type your answer" in said
        check, tried = names[f"check_{number}"], dict(names)
        exec(solution, tried)
        check(tried[f"answer_{number}"])
        exec(HIDDEN_TESTS.get((lesson, number), ""), tried)
        wrong = WRONG_ANSWERS[lesson, number]
        assert wrong
        for expression in wrong:
            with pytest.raises(AssertionError) as refusal:
                check(eval(expression, dict(names)))
            assert str(refusal.value), "a hint, not a bare assert"


@pytest.mark.skipif(not HIDDEN_TESTS, reason="the sdist has no hidden tests")
def test_hidden_tests_belong_to_exercises():
    assert set(HIDDEN_TESTS) <= set(WRONG_ANSWERS) and len(HIDDEN_TESTS) >= 10
    for (_, number), code in HIDDEN_TESTS.items():
        assert f"answer_{number}(" in code and "assert " in code


def test_no_wrong_answer_is_left_over():
    known = {
        (lesson, number)
        for lesson, path in LESSONS.items()
        for number in exercises(path.read_text(encoding="utf-8"))
    }
    assert set(WRONG_ANSWERS) == known
