"""Every page as a notebook: it runs from an empty folder and prints its comments' numbers.

It also accepts its own solutions and rejects wrong answers.

``pytest -m notebooks`` executes them, in a kernel of the Python that NFREF_NOTEBOOK_PYTHON names;
CI uses one with only the built wheel installed. The page in torch, which needs no nfref, runs with
``pytest -m peers``, where torch is. The plain run checks the notebooks' cells.
"""

import ast
import io
import json
import os
import re
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest

import nfref
from docs import draw, notebooks
from docs.assignments import LABS
from tests.tutorials import forked_kernels
from tests.tutorials.test_exercises import exercises, solutions
from tests.tutorials.test_tutorials import TORCH
from tests.tutorials.wrong_answers import WRONG_ANSWERS

PAGES = [pytest.param(script, id=script.stem) for _, script in notebooks.pages()]
RUN = [
    pytest.param(
        script,
        id=script.stem,
        marks=pytest.mark.peers if script == TORCH else pytest.mark.notebooks,
    )
    for _, script in notebooks.pages()
]
# Allowed difference in units of the last digit: training carries each rounding on, and another
# processor gives another fit.
LOOSE = 3.001
NUMBER = re.compile(r"(?<![\w.,])[-+−]?\d+(?:,\d{3})*(?:\.\d*)?(?:e[-+]?\d+)?(?![\w])")

JUDGED = """
_tried = dict(globals())
exec({solution!r}, _tried)
check_{number}(_tried["answer_{number}"])
for _expression in {wrong!r}:
    try:
        check_{number}(eval(_expression, dict(globals())))
    except AssertionError as _refusal:
        assert str(_refusal), f"a hint, not a bare assert: {{_expression}}"
    else:
        raise ValueError(f"exercise {number}: accepted the wrong answer {{_expression}}")
"""


def value_and_unit(text):
    """A number as it is written, and one unit of its last digit."""
    text = text.replace(",", "").replace("−", "-")
    mantissa, _, power = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(text), 10.0 ** (int(power or 0) - decimals)


def promised(code):
    """The comments of a cell that stand beside a print or below it."""
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(code).body:
        calls = [
            part
            for part in ast.walk(node)
            if isinstance(part, ast.Call)
            and isinstance(part.func, ast.Name)
            and part.func.id == "print"
        ]
        lines = {line for call in calls for line in range(call.lineno, call.end_lineno + 1)}
        below = node.end_lineno + 1
        while calls and re.match(r" *#", (code.split("\n") + [""] * 2)[below - 1]):
            lines.add(below)
            below += 1
        found += [comments[line] for line in sorted(lines) if line in comments]
    return found


def not_printed(code, said):
    """Return the numbers in a cell's comments that its output lacks."""
    printed = [value_and_unit(text)[0] for text in NUMBER.findall(said)]
    missing = []
    for comment in promised(code):
        for text in NUMBER.findall(comment):
            value, unit = value_and_unit(text)
            if not any(abs(value - other) <= LOOSE * unit for other in printed):
                missing.append(f"{text} of {comment!r}")
    return missing


def test_the_reading_of_comments():
    code = (
        "print(a, b)     # 1.25 and -3e-05\n# 1,000 rows\nx = 2   # 7\n"
        "for k in y:\n    print(k)   # 4.\n"
    )
    assert promised(code) == ["# 1.25 and -3e-05", "# 1,000 rows", "# 4."]
    assert not_printed(code, "1.254 -3.2e-05 1000 4.0") == []
    assert not_printed(code, "1.29 -3.2e-05 1000 4.0") == ["1.25 of '# 1.25 and -3e-05'"]


@pytest.mark.parametrize("script", PAGES)
def test_a_notebook_is_whole(script):
    """Its code is Python, its texts hold no reStructuredText, and it needs no other file."""
    made = notebooks.notebook(script)
    json.dumps(made)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            ast.parse(
                re.sub(r"^( *)%", r"\1#%", cell["source"], flags=re.MULTILINE).replace(
                    "    #%pip", "    pass #%pip"
                )
            )
        else:
            text = re.sub(r"```.*?```", "", cell["source"], flags=re.DOTALL)
            assert not re.search(r":math:|:doc:|^\.\. |``", text, re.MULTILINE), text
            assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize("place", [".", "..", None])
def test_the_first_cell_installs_from_the_wheel_beside(place, tmp_path, monkeypatch):
    """A notebook lies in a folder of the archive, or beside the wheel, or alone."""
    monkeypatch.chdir((tmp_path / "lessons").mkdir() or tmp_path / "lessons")
    if place:
        Path(place, "nfref-1.2.3-py3-none-any.whl").touch()
    cell = notebooks.notebook(notebooks.TUTORIALS / "applications" / "audio.py")["cells"][0][
        "source"
    ]
    names = {"asked": []}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(re.sub(r"%pip install --quiet (.*)", r"asked.append(f\1)", cell), names)
    (asked,) = names["asked"]
    assert asked.endswith("[applications]")
    source = Path(asked.removesuffix("[applications]"))
    assert source.is_file() if place else str(source) == "nfref"


@pytest.mark.slow
def test_the_archive_holds_a_wheel(tmp_path):
    wheel = notebooks.build_wheel(tmp_path)
    if not wheel:
        pytest.skip("pip cannot build a wheel here")
    notebooks.write(tmp_path, wheel)
    with zipfile.ZipFile(tmp_path / "nfref_notebooks.zip") as archive:
        names = archive.namelist()
    assert f"nfref-{nfref.__version__}-py3-none-any.whl" in names
    assert {"lessons/00_what_a_flow_is.ipynb", "methods/tarflow.ipynb"} <= set(names)
    with zipfile.ZipFile(wheel) as built:
        files = built.namelist()
    assert {"nfref/__init__.py", "nfref_command.py", "nfref/oracle/vectors_manifest.json"} <= set(
        files
    )


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The name of a kernel of the Python that is asked for, forked for each page."""
    python = os.environ.get("NFREF_NOTEBOOK_PYTHON") or sys.executable
    folder = tmp_path_factory.mktemp("jupyter")
    place = folder / "kernels" / "nfref"
    place.mkdir(parents=True)
    command = [python, forked_kernels.__file__]
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        port = server.stdout.readline().strip()
        ask = [python, "-S", "-E", "-c", forked_kernels.ASK, port, "{connection_file}"]
        (place / "kernel.json").write_text(
            json.dumps({"argv": ask, "display_name": "nfref", "language": "python"})
        )
        patch.setenv("JUPYTER_PATH", str(folder))
        yield "nfref"
        server.terminate()


@pytest.mark.filterwarnings("ignore")  # Jupyter's own warnings
@pytest.mark.parametrize("script", RUN)
def test_a_notebook_runs(script, kernel, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="needs the extra course")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra course")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    text = script.read_text(encoding="utf-8")
    made = notebooks.notebook(script)
    for number, solution in zip(exercises(text), solutions(script), strict=bool(LABS)):
        made["cells"].append(
            notebooks.cell(
                "code",
                JUDGED.format(
                    number=number,
                    solution=solution,
                    wrong=WRONG_ANSWERS.get((script.stem, number), []),
                ),
            )
        )
        made["cells"][-1]["id"] = f"judged-{number}"
    made = nbformat.from_dict(made)
    nbformat.validate(made)
    client = nbclient.NotebookClient(
        made, kernel_name=kernel, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
        if re.search("DataMissing|No module named '(rdkit|imageio_ffmpeg|torch)", reason):
            pytest.skip(reason)  # the page's own requirement
        raise
    assert list(tmp_path.iterdir()) == [], "nothing is written beside a notebook"
    outputs = [
        (cell.source, output)
        for cell in made.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert any("image/png" in output.get("data", {}) for _, output in outputs)
    said = {}
    for code, output in outputs:
        said[code] = said.get(code, "") + output.get("text", "")
    if not draw.full_run(script.stem):  # a page with a full run prints other numbers
        wrong = [
            line
            for code, output in said.items()
            for line in not_printed(re.sub(r"^ *%.*", "", code, flags=re.M), output)
        ]
        assert not wrong, "\n".join(wrong)
