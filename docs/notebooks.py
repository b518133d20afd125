"""python -m docs.notebooks FOLDER [OWNER/NAME]: pages of tutorials/ as notebooks, and their zip.

A notebook stands alone. Its first cell installs nfref if it is missing: from the wheel that lies
beside it in the zip, otherwise from the package index. The scripts that a page imports are cells of
it; solutions, answers and cells that draw are folded. Its text is the page's reStructuredText,
translated to Markdown.

A release pushes the folder to the branch "notebooks" of a repository. With the address of that
repository, LAUNCH.md lists where Colab and Binder open each notebook, and the folder tells Binder
what to install.
"""

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

from docs import draw

TUTORIALS = Path(__file__).resolve().parents[1] / "tutorials"
FOLDERS = {
    "lessons": TUTORIALS,
    **{name: TUTORIALS / name for name in ("labs", "methods", "truths", "applications")},
}
TITLE = re.compile(r'r?"""\n(.+)\n=+\n')
EXTRA = {"applications": "[applications]"}
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})(v\d+)?")
LESSON = re.compile(r"\b([Pp]age|[Ll]esson) (\d\d?)\b(?!\.\w)")
INSTALL = """# Installs nfref where it is missing: from the wheel in the archive of all notebooks,
# beside this one or a folder up, otherwise from the package index.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("nfref") is None:
    wheels = sorted(path for place in (".", "..") for path in Path(place).glob("nfref-*.whl"))
    nfref_source = str(wheels[-1].resolve()) if wheels else "nfref"
    %pip install --quiet "{{nfref_source}}{extra}"
"""
PACKAGED = ("nfref", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE", "MANIFEST.in")
TORCH = """# Installs torch where it is missing.
if importlib.util.find_spec("torch") is None:
    %pip install --quiet torch
"""
# Embed an imported script as a module of the notebook.
HELPER = """#@title The script {name}.py, which this page uses {{display-mode: "form"}}
import sys
import types

{name} = sys.modules["{name}"] = types.ModuleType("{name}")
{name}.__file__ = "{name}.py"
exec(compile(r'''
{text}
''', "{name}.py", "exec"), {name}.__dict__)
"""
COLAB = "https://colab.research.google.com/github/{address}/blob/notebooks/{path}"
BINDER = "https://mybinder.org/v2/gh/{address}/notebooks?labpath={path}"
GRADED = re.compile(r"^(nfref\.exercises\.grade\(.*\))$", re.MULTILINE)
FULL = """
Numbers of the text are of the full run of {date}, `FULL = True`; as it stands the code runs at a
small size.
"""
PRINTED = """
<details><summary>What the full run printed</summary>

```text
{lines}
```

</details>
"""
BRING = """# Brings the data that are missing, by the package managers.
for name in {names}:
    try:
        fetch.files(name)
    except fetch.DataMissing:
        fetch.fetch(name)
"""


def pages():
    """(folder of the site, script) of every page, in reading order."""
    return [
        (folder, script)
        for folder, there in FOLDERS.items()
        for script in sorted(there.glob("[!_]*.py"))
        if script.name != "readme_figure.py" and TITLE.match(script.read_text("utf-8"))
    ]


def lesson_names():
    """Number of a lesson -> the name of its script."""
    return {int(path.stem[:2]): path.stem for path in TUTORIALS.glob("[0-9]*.py")}


def cells(script):
    """(kind, text) of a script's cells: its docstring, then texts and code in turn."""
    text = script.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text), clean=False).strip("\n")
    found = [("text", docstring)]
    for part in re.split(r"^# %%\n", text, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        length = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
        found.append(("text", "\n".join(line[2:] for line in lines[:length])))
        found.append(("code", "\n".join(lines[length:]).strip("\n")))
    # The code before the first cell (imports of the one file) counts too.
    rest = text.split('"""', 2)[2].split("\n# %%\n")[0].strip("\n")
    found[1:1] = [("code", rest)] if rest else []
    return [(kind, content) for kind, content in found if content.strip()]


def inline(text):
    """Translate inline markup of a paragraph."""
    parts = re.split(r"(``.*?``|:math:`.*?`)", text, flags=re.DOTALL)
    for k, part in enumerate(parts):
        if part.startswith(":math:"):
            parts[k] = f"${' '.join(part[7:-1].split())}$"
        elif part.startswith("``"):
            parts[k] = part[1:-1]
        else:
            part = re.sub(r"`([^`<]+?)\s+<([^>`]+)>`__?", r"[\1](\2)", part)
            part = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", part)
            part = ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1\2)", part)
            names = lesson_names()
            parts[k] = LESSON.sub(
                lambda found: (
                    f"[{found[0]}]({names[int(found[2])]}.ipynb)"
                    if int(found[2]) in names
                    else found[0]
                ),
                part,
            )
    return "".join(parts)


def block_at(lines, start):
    """Return the dedented block after ``start``, and the line where it ends."""
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    return textwrap.dedent("\n".join(lines[start + 1 : end])).strip("\n"), end


def markdown(text):
    """Translate the reStructuredText of the tutorials into Markdown."""
    lines, out, k = text.split("\n"), [], 0
    while k < len(lines):
        line = lines[k]
        directive = re.match(r"\.\. (math|dropdown|code-block)::\s*(.*)", line)
        if directive:
            body, k = block_at(lines, k)
            kind, argument = directive.groups()
            if kind == "math":
                formulas = re.split(r"\n\s*\n", "\n".join(filter(None, (argument, body))))
                out += [f"\n$$\n{formula.strip()}\n$$\n" for formula in formulas]
            elif kind == "code-block":
                out += [f"\n```{argument}", body, "```\n"]
            else:
                out += [
                    f"\n<details><summary>{argument}</summary>\n",
                    markdown(body),
                    "\n</details>\n",
                ]
        elif line.startswith((".. alt:", ".. play:")):
            _, k = block_at(lines, k)
        elif re.match(r"=+( +=+)+ *$", line):  # a table stays as it is
            end = max(j for j in range(k, len(lines)) if re.match(r"=+( +=+)+ *$", lines[j]))
            out += ["\n```text", *lines[k : end + 1], "```\n"]
            k = end + 1
        elif k + 1 < len(lines) and line and re.match(r"(-{3,}|={3,})$", lines[k + 1]):
            out += [f"{'#' if lines[k + 1][0] == '=' else '##'} {inline(line)}"]
            k += 2
        else:
            end = k + 1  # one paragraph, so that marks may span lines
            while end < len(lines) and lines[end].strip() and not lines[end].startswith(".. "):
                end += 1
            part = "\n".join(lines[k:end])
            out.append(part if line.startswith("    ") else inline(part))
            k = end
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n") + "\n"


def draws(code):
    """Return whether a cell draws the page's picture; such a cell is folded."""
    return "plt.show()" in code


def helpers(code, folder):
    """Return the scripts beside a page that its code imports, dependencies first."""
    found = []
    for node in ast.walk(ast.parse(code)):
        names = (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        for name in filter(None, names):
            path = next(
                (
                    there / f"{name}.py"
                    for there in (folder, FOLDERS["applications"])
                    if (there / f"{name}.py").is_file()
                ),
                None,
            )
            if path:
                found += [*helpers(path.read_text(encoding="utf-8"), path.parent), path]
    return list(dict.fromkeys(found))


def data_of(code, paths):
    """Return the names of the data that a page and its imported scripts read."""
    texts = [code, *(path.read_text(encoding="utf-8") for path in paths)]
    return tuple(dict.fromkeys(re.findall(r"fetch\.files\(\"(\w+)\"\)", "".join(texts))))


def cell(kind, source, **metadata):
    made = {"cell_type": kind, "metadata": metadata, "source": source.rstrip("\n"), "id": ""}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def printed_by_full_run(stem):
    """Return the note below the title of a page that has a full run."""
    found = draw.full_run(stem)
    if not found:
        return ""
    date, lines = found
    return FULL.format(date=date) + (PRINTED.format(lines="\n".join(lines)) if lines else "")


def notebook(script):
    """Return a script as a notebook: a dict for JSON."""
    folder = script.parent.name
    made = [cell("code", INSTALL.format(extra=EXTRA.get(folder, "")))]
    code = "\n".join(content for kind, content in cells(script) if kind == "code")
    if "\nimport torch\n" in code:
        made.append(cell("code", TORCH))
    paths = helpers(code, script.parent)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        text = text.split('\n\nif __name__ == "__main__":')[0].strip("\n")
        made.append(
            cell(
                "code",
                HELPER.format(name=path.stem, text=text),
                jupyter={"source_hidden": True},
                cellView="form",
            )
        )
    data = data_of(code, paths)
    if data:
        made.append(cell("code", BRING.format(names=data)))
    full = printed_by_full_run(script.stem)
    for kind, content in cells(script):
        if kind == "text":
            made.append(cell("markdown", markdown(content) + full))
            full = ""  # below the title
            continue
        content = GRADED.sub(r"\1;", content)  # hide the return value
        if draws(content):
            made.append(
                cell(
                    "code",
                    f"#@title The figure\n{content}",
                    jupyter={"source_hidden": True},
                    cellView="form",
                )
            )
        else:
            made.append(cell("code", content))
    names = lesson_names()
    number = next((k for k, name in names.items() if name == script.stem), None)
    if number is not None and number + 1 in names:
        made.append(cell("markdown", f"Next: [lesson {number + 1}]({names[number + 1]}.ipynb)."))
    for k, one in enumerate(made):
        one["id"] = f"{script.stem.replace('_', '-')[:50]}-{k}"
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "cells": made,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    }


def build_wheel(folder):
    """Build nfref's wheel into a folder; return its path, or None if pip cannot build it."""
    root, folder = TUTORIALS.parent, Path(folder)
    with tempfile.TemporaryDirectory() as copy:  # the build leaves files beside its sources
        for path in (*(root / name for name in PACKAGED), *root.glob("nfref_*.py")):
            take = shutil.copytree if path.is_dir() else shutil.copy2
            take(path, Path(copy) / path.name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, copy]
        done = subprocess.run(command, capture_output=True, text=True)
    made = sorted(folder.glob("nfref-*.whl"))
    return made[-1] if done.returncode == 0 and made else None


def write(folder, wheel=None):
    """Write every notebook into ``folder``/GALLERY/, and nfref_notebooks.zip beside them.

    The zip holds the wheel too, if one is given, so that the notebooks need no package index for
    nfref itself.
    """
    folder = Path(folder)
    paths = []
    for name, script in pages():
        path = folder / name / f"{script.stem}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(notebook(script), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        paths.append(path)
    with zipfile.ZipFile(folder / "nfref_notebooks.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder))
        if wheel:
            archive.write(wheel, wheel.name)
    return paths


def write_launchers(folder, paths, address):
    """Write LAUNCH.md and Binder's requirements for notebooks from ``write``."""
    folder = Path(folder)
    rows = [
        f"| {path.stem} | [Colab]({COLAB.format(address=address, path=there)}) "
        f"| [Binder]({BINDER.format(address=address, path=there)}) |"
        for path in paths
        for there in [path.relative_to(folder).as_posix()]
    ]
    (folder / "LAUNCH.md").write_text(
        "\n".join(["| notebook | | |", "| --- | --- | --- |", *rows]) + "\n", encoding="utf-8"
    )
    (folder / "requirements.txt").write_text("nfref[applications]\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].partition(": ")[2])
    parser.add_argument("folder", help="folder to write")
    parser.add_argument("address", nargs="?", help="OWNER/NAME of the repository for LAUNCH.md")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(options.folder)
    paths = write(options.folder, wheel)
    if options.address:
        write_launchers(options.folder, paths, options.address)
    print(f"{len(paths)} notebooks, {wheel.name if wheel else 'no wheel: pip could not build it'}")


if __name__ == "__main__":
    main()
