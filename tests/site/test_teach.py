"""The lecturer's kit: assignments hold every exercise with its solution, and slides fit."""

import json
import re
import zipfile

import numpy as np
import pytest
from scipy import linalg

from docs import assignments, instructor
from docs.assignments import HIDDEN_TESTS, LABS
from tests.browser import CHROMIUM, Browser

with_key = pytest.mark.skipif(not instructor.KEY.exists(), reason="the sdist has no key")


@with_key
@pytest.mark.thorough
def test_assignments_hold_all_exercises(tmp_path):
    count = hidden = 0
    for path in assignments.write(tmp_path):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        marks = [
            (cell, cell["metadata"]["nbgrader"]) for cell in cells if "nbgrader" in cell["metadata"]
        ]
        answers = [cell["source"] for cell, mark in marks if mark["solution"]]
        checks = [cell["source"] for cell, mark in marks if mark["grade"] and mark["points"] == 1]
        assert len(answers) == len(checks) > 0
        assert all("### BEGIN SOLUTION\n" in answer and "answer_" in answer for answer in answers)
        visible = [check.partition("### BEGIN HIDDEN TESTS")[0] for check in checks]
        assert all(check.rstrip().endswith(")") and "def check_" in check for check in visible)
        hidden += sum(check.endswith("### END HIDDEN TESTS") for check in checks)
        assert "Solution" not in "".join(
            cell["source"] for cell in cells if cell["cell_type"] == "markdown"
        )
        count += len(answers)
    assert count >= 60 and hidden == len(HIDDEN_TESTS)


@pytest.fixture
def slides():
    pytest.importorskip("docutils", reason="needs the extra docs")
    from docs import slides

    return slides


def test_slides_of_a_lesson(slides):
    made = slides.slides(slides.notebooks.TUTORIALS / "03_coupling.py")
    headings = [one.heading for one in made]
    assert headings[1:3] == ["After this lesson you can", "The formula"]
    assert headings.count("Solution") == 2 and headings.count("Answer") == 2
    text = "".join(one.content for one in made)
    assert "<math" in text and "Predict." in text and ":math:" not in text and ".. " not in text
    assert any(one.notes for one in made) and "Think of a deck of thin cards" in text


LESSONS = sorted(assignments.notebooks.TUTORIALS.glob("[0-9]*.py"))


@pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
def test_slides_lose_no_formula_and_no_answer(slides, script):
    """Every display formula of the page is on a slide, and every prediction has its answer."""
    text = re.sub("^# ?", "", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = re.findall(r"^( *)\.\. math::(.*\n(?:\1 +.*\n|\n)*)", text, re.MULTILINE)
    formulas = sum(len(re.split(r"\n\s*\n", block.strip())) for _, block in blocks)
    made = slides.slides(script)
    shown = "".join(one.content for one in made)
    assert shown.count('display="block"') == formulas > 0
    assert "problematic" not in shown and "system-message" not in shown
    assert shown.count("Predict.") == text.count("**Predict.**")
    headings = [one.heading for one in made]
    assert headings.count("Answer") == text.count("dropdown:: Answer")
    assert headings.count("Solution") == text.count("dropdown:: Solution")
    asked = [
        one.heading == "Answer"
        for one in made
        if one.heading == "Answer" or "Predict." in one.content
    ]
    assert not asked[0] and asked[-1], "an answer follows its prediction"


def test_every_lesson_has_objectives(slides):
    assert sorted(slides.objectives()) == sorted(slides.notebooks.lesson_names())
    assert all(goals.count("- ") >= 2 for goals in slides.objectives().values())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_slides_fit(slides, tmp_path):
    long = {}
    with Browser(tmp_path / "profile") as browser:
        browser.look(1310, 800)
        for number, name in sorted(slides.notebooks.lesson_names().items()):
            path = tmp_path / f"{name}.html"
            path.write_text(slides.page(slides.notebooks.TUTORIALS / f"{name}.py"), "utf-8")
            assert browser.open(path.as_uri()) == []
            long[name] = browser.value(
                "[...document.querySelectorAll('section')].filter("
                "one => one.scrollHeight > 722).map(one => one.innerText)"
            )
    assert not any(long.values()), {
        name: [text[:60] for text in texts] for name, texts in long.items() if texts
    }


@with_key
def test_the_answers_of_the_exam():
    """Question 2: the determinant changes its sign, and three points have one image. Question 5."""
    u, w = np.array([-2.0, 1.0]), np.array([1.0, 0.0])

    def layer(z):
        return z + np.outer(np.tanh(z @ w), u)

    def det(z_1):
        return 1 + w @ u * (1 - np.tanh(z_1) ** 2)

    assert det(0.0) == -1 and det(5.0) > 0.99 and abs(det(0.881)) < 1e-3
    three = np.array([[0, 0], [1.915, -0.9575], [-1.915, 0.9575]])
    np.testing.assert_allclose(layer(three), np.zeros((3, 2)), atol=1e-4)
    A = np.array([[1, 5], [0, -3]])
    assert np.isclose(np.linalg.slogdet(linalg.expm(2 * A))[1], -4)
    text = instructor.KEY.read_text(encoding="utf-8")
    assert "\\pm 0.881" in text and "(1.915, -0.9575)" in text and "the sign changes" in text


QUESTION = re.compile(r"^(\d)\. (.*\n(?:   .*\n|\n(?=   ))*)", re.MULTILINE)


@with_key
def test_the_marks_of_the_key_add_up_to_the_points_of_the_exam():
    exam = dict(QUESTION.findall(instructor.EXAM.read_text(encoding="utf-8")))
    key = dict(QUESTION.findall(instructor.KEY.read_text(encoding="utf-8")))
    points = {number: int(re.search(r"\((\d)\)\s*$", text)[1]) for number, text in exam.items()}
    marks = {
        number: sum(map(int, re.findall(r"(?<=[-;] )(\d)(?=: )", text)))
        for number, text in key.items()
    }
    assert points == marks and sum(points.values()) == 40


@with_key
def test_the_instructor_has_what_the_site_has_not(slides, tmp_path):
    names = instructor.write(tmp_path / "instructor.zip")
    assert {"README.txt", "exam.html", "exam_key.html", "slides/03_coupling.html"} <= set(names)
    with zipfile.ZipFile(tmp_path / "instructor.zip") as archive:
        assert "Carry an early slip through" in archive.read("exam_key.html").decode()
        assert "BEGIN HIDDEN TESTS" in archive.read("source/12_energies/12_energies.ipynb").decode()
    assert "Answer" not in instructor.EXAM.read_text(encoding="utf-8")
    conf = (instructor.KEY.parents[1] / "conf.py").read_text(encoding="utf-8")
    assert '"instructor",' in conf.partition("exclude_patterns")[2].partition("]")[0]


@with_key
@pytest.mark.thorough
def test_a_lecturer_packs_an_exam_of_their_own(slides, tmp_path):
    (tmp_path / "exam_key.rst").write_text("A key\n=====\n\n1. A private yes. (1)\n")
    instructor.write(tmp_path / "instructor.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "instructor.zip") as archive:
        assert "A private yes" in archive.read("exam_key.html").decode()
        lab = archive.read("source/lab_trace/lab_trace.ipynb").decode()
    assert "### BEGIN SOLUTION\\ndef answer_1(net, t, x):" in lab


def test_a_lab_has_no_solution_in_public():
    for name, codes in LABS.items():
        script = assignments.notebooks.TUTORIALS / "labs" / f"{name}.py"
        text = script.read_text(encoding="utf-8")
        assert "Solution" not in text and not any(code in text for code in codes)
        made = json.dumps(assignments.notebooks.notebook(script))
        assert "BEGIN SOLUTION" not in made and "return t, t * x + (1 - t) * z" not in made
    manifest = (instructor.KEY.parents[2] / "MANIFEST.in").read_text(encoding="utf-8")
    for path in ("exam_key.rst", "hidden_tests.py", "labs.py"):
        assert f"docs/instructor/{path}" in manifest


def test_the_hours_of_the_syllabi_add_up():
    """Each week has 120 minutes in class and 120 at home, a lesson twice those of the map."""
    docs = instructor.KEY.parents[1]
    table = (docs / "galleries" / "lessons.rst").read_text(encoding="utf-8")
    minutes = {
        number: int(found)
        for number, found in re.findall(r"\* - lesson (\d\d): .*\n     - .*\n     - (\d+)", table)
    }
    syllabi = (docs / "teach" / "index.rst").read_text(encoding="utf-8").partition("Syllabi")[2]
    weeks = re.findall(r"   \* - \d+\n     - (.*)\n     - (.*)\n", syllabi)
    assert len(weeks) == 3 + 6 + 14 and len(minutes) == 21
    for cells in weeks:
        for cell in cells:
            assert sum(map(int, re.findall(r"\((\d+)\)", cell))) == 120, cell
        for number, given in re.findall(r"lesson (\d\d) \((\d+)\)", cells[0]):
            assert int(given) == 2 * minutes[number]
    taught = {number for cells in weeks[-14:] for number in re.findall(r"lesson (\d\d)", cells[0])}
    assert taught == set(minutes)
