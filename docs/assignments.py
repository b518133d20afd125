"""python -m docs.assignments FOLDER [PAGE ...]: pages with exercises as assignments for nbgrader.

Each page becomes FOLDER/source/PAGE/PAGE.ipynb, from which ``nbgrader generate_assignment PAGE``
makes the students' copy: an answer is a cell to fill in, its check a locked cell that gives a
point. Solutions, and hidden tests of answers that are functions, are where nbgrader strips them.
The rest of the page stays as it is.
"""

import argparse
import json
import re
from pathlib import Path

from docs import notebooks

try:
    from docs.instructor.hidden_tests import HIDDEN_TESTS
    from docs.instructor.labs import LABS
except ImportError:  # the sdist has neither
    HIDDEN_TESTS, LABS = {}, {}

HIDDEN = "\n### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"
OPEN = re.compile(r"^answer_(\d+) = \.\.\..*$", re.MULTILINE)
SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\n+```python\n(.*?)\n```.*?</details>", re.DOTALL
)
GRADE = re.compile(r"^nfref\.exercises\.grade\((check_\d+), (answer_\d+)\);$", re.MULTILINE)


def marked(grade_id, **what):
    """Return the metadata that nbgrader reads from a cell."""
    return {
        "nbgrader": {
            "schema_version": 3,
            "grade_id": grade_id,
            "grade": False,
            "solution": False,
            "locked": False,
            "task": False,
            **what,
        }
    }


def assignment(script):
    """A page as a notebook for nbgrader."""
    made = notebooks.notebook(script)
    answers = [
        found[1]
        for cell in made["cells"]
        if cell["cell_type"] == "markdown"
        for found in SOLUTION.finditer(cell["source"])
    ] or [code.strip("\n") for code in LABS.get(script.stem, ())]
    cells = []
    for cell in made["cells"]:
        found = OPEN.search(cell["source"]) if cell["cell_type"] == "code" else None
        if cell["cell_type"] == "markdown":
            source = re.sub(
                r"<details><summary>Solution</summary>.*?</details>",
                "",
                cell["source"],
                flags=re.DOTALL,
            ).strip("\n")
            cells += [cell | {"source": source}] if source else []
        elif not found:
            cells.append(cell)
        else:
            number, before = found[1], cell["source"][: found.start()].strip("\n")
            cells += [cell | {"source": before}] if before else []
            solved = f"### BEGIN SOLUTION\n{answers.pop(0)}\n### END SOLUTION"
            checked = GRADE.sub(r"\1(\2)", cell["source"][found.end() :].strip("\n"))
            hidden = HIDDEN_TESTS.get((script.stem, int(number)))
            checked += HIDDEN.format(hidden.strip("\n")) if hidden else ""
            cells.append(
                notebooks.cell("code", solved, **marked(f"answer-{number}", solution=True))
            )
            cells.append(
                notebooks.cell(
                    "code", checked, **marked(f"check-{number}", grade=True, locked=True, points=1)
                )
            )
    for k, cell in enumerate(cells):
        cell["id"] = f"cell-{k}"
    return made | {"cells": cells}


def with_exercises():
    """Name -> script of every page that has exercises."""
    return {
        script.stem: script
        for _, script in notebooks.pages()
        if OPEN.search(script.read_text(encoding="utf-8"))
        and (script.parent.name != "labs" or script.stem in LABS)
    }


def write(folder, names=()):
    """Write the assignments of these pages, or of all that have exercises."""
    written = []
    for name, script in with_exercises().items():
        if not names or name in names:
            path = Path(folder, "source", name, f"{name}.ipynb")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(assignment(script), indent=1) + "\n", encoding="utf-8")
            written.append(path)
    return written


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("pages", nargs="*", choices=[[], *with_exercises()], metavar="PAGE")
    options = parser.parse_args()
    for path in write(options.folder, options.pages):
        print(path)


if __name__ == "__main__":
    main()
