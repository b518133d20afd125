"""Build the pages of tutorials/: run each at a small size, or show the committed run.

A page without its data shows the committed figure and output, and says so.

sphinx-gallery takes a folder for a gallery and each of its subfolders for a section of the same
page. Lessons and methods are pages of their own, so their scripts are first copied to one folder
per gallery; the text above a gallery's pictures stands in ``docs/galleries/``. A gallery without
scripts is left out. This module then gives sphinx-gallery's page its form: the committed figure at
the cell that draws it, so that predictions come first, folded cells that draw, links for numbers of
lessons, papers and names of nfref, and the notebook. A page runs again only if its script, a script
that it imports, or nfref has changed.
"""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from PIL import Image

import nfref
from docs import draw, notebooks

FIRST = ("one_flow.py", "flows_in_one_file.py", "flow_matching_in_torch.py")
SCRIPTS = {
    "lessons": (*FIRST, "[0-9]*.py", "more_exercises.py"),
    "labs": ("labs/[!_]*.py",),
    "methods": ("methods/[!_]*.py",),
    "truths": ("truths/[!_]*.py",),
    "applications": ("applications/[!_]*.py",),
}
# Pages whose figures show pictures of things, which stay as they are on a dark page.
PHOTOGRAPHS = {
    *("17_digits", "18_scores", "19_guidance", "20_one_step", "flow_matching_in_torch"),
    *("digits", "noise_and_guidance", "no_compression", "out_of_distribution", "images", "video"),
    *("anomaly", "differnet", "writing_files"),
}
# Words of the glossary that mean something else on these pages.
OTHERWISE = {
    "batch": {"out_of_distribution"},
    "chain": {"09_flow_matching", "evidence", "insured_weights", "tarflow"},
    "context": {"conditionals"},
    "forward": {"15_likelihood_and_training", "20_one_step"},
    "mean velocity": {"10_straightness", "17_digits"},
    "score": {
        *("05_autoregression", "15_likelihood_and_training", "free_form", "sphere"),
        *("anomaly", "differnet", "out_of_distribution"),
    },
    "transformer": {"noise_and_guidance", "tarflow"},
}
RUN = set()  # pages whose data are there, so that they run when the site is built
THUMBNAIL = (400, 280)
PICTURE = re.compile(r"^\.\. image-sg:: .*\n(?: +.*\n)*(?: +:class: .*\n)?", re.MULTILINE)
DRAWN = re.compile(r"^    (figure\(|plt\.show\(\))|^ +plt\.show\(\)$", re.MULTILINE)
CODE = re.compile(r"^\.\. code-block:: Python\n\n+((?:    .*\n|\n)+)", re.MULTILINE)
ALTERNATIVE = re.compile(r"^\.\. alt: (.*\n(?:   .*\n)*)", re.MULTILINE)
SMALL = "The same at a small size, from which less was learned. Of the full run: "
THUMBNAIL_OF = re.compile(
    r"^( *\.\. image:: \S*/sphx_glr_(\w+)_thumb\.png\n) +:alt:.*\n", re.MULTILINE
)
PLAY = re.compile(r"^\.\. play: (\w+)\n", re.MULTILINE)
FOOTER = re.compile(
    r"^    \.\. container:: sphx-glr-download sphx-glr-download-(?:jupyter|zip)\n"
    r"(?:\n|      .*\n)*",
    re.MULTILINE,
)
MARKED = re.compile(r"(``[^`]*``|:[\w:]+:`[^`]*`|`[^`]*`_{0,2})")
# Markup and headings, in which no term is linked.
LEFT_ALONE = re.compile(
    rf"({MARKED.pattern[1:-1]}|\*[^*]+\*|^.+\n(?:={{3,}}|-{{3,}})$|^ *\.\. .*$)", re.MULTILINE
)
API = re.compile(r"``(nfref(?:\.\w+)+)(\([^`]*\))?``")


def is_page(script):
    """Return whether a script is a page: its docstring begins with a title."""
    return re.match(r'r?"""\n.+\n=+\n', script.read_text(encoding="utf-8"))


def missing(code, known):
    """Return the packages that some code imports, within functions too, and that are not there."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return {name for name in names - known if importlib.util.find_spec(name) is None}


def can_run(script):
    """Return whether the scripts and packages that a page imports and its data are there."""
    code = script.read_text(encoding="utf-8")
    paths = notebooks.helpers(code, script.parent)
    helpers = {path.stem for path in paths}
    if any(missing(path.read_text(encoding="utf-8"), helpers) for path in paths):
        return False
    with contextlib.suppress(ImportError, SystemExit):  # fetch.DataMissing ends a process
        for path in paths:
            importlib.import_module(path.stem)
        for name in notebooks.data_of(code, paths):
            sys.modules["fetch"].files(name)
        return True
    return False


def reading_order(script):
    """The lessons, each followed by the next, then the files to look into at any time."""
    return not script[:1].isdigit(), FIRST.index(script) if script in FIRST else len(FIRST), script


def code_of(package):
    """Return the code of a package as bytes, in the order of its files."""
    return b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))


def keep_what_is_current(script, folder, library):
    """Let sphinx-gallery keep the last run of a page if nothing that it reads has changed.

    sphinx-gallery compares the script alone, with its file .md5; a page also reads the scripts
    that it imports and nfref itself, whose code is ``library``.
    """
    helpers = notebooks.helpers(script.read_text(encoding="utf-8"), script.parent)
    digest = hashlib.sha256(library)
    for path in (script, *helpers):
        digest.update(path.read_bytes())
    stamp = folder / f"{script.stem}.inputs"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != digest.hexdigest():
        (folder / f"{script.name}.md5").unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest.hexdigest(), encoding="utf-8")


def staged(docs, tutorials):
    """Copy scripts and write notebooks; return sphinx-gallery's input and output folders."""
    library = code_of(Path(nfref.__file__).parent)
    shutil.rmtree(docs / "_galleries", ignore_errors=True)
    written = docs / "_galleries" / "notebooks"
    written.mkdir(parents=True)
    notebooks.write(written, notebooks.build_wheel(written))
    sys.path += [str(tutorials / name) for name in ("applications", "truths")]
    names, run = [], []
    for name, patterns in SCRIPTS.items():
        scripts = [
            script for pattern in patterns for script in tutorials.glob(pattern) if is_page(script)
        ]
        for page in (docs / name).glob("*.rst"):  # pages of scripts that no longer exist
            if page.stem not in ("index", *(script.stem for script in scripts)):
                page.unlink()
        if scripts:
            names.append(name)
            folder = docs / "_galleries" / name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(docs / "galleries" / f"{name}.rst", folder / "GALLERY_HEADER.rst")
            for script in scripts:
                shutil.copy2(script, folder)
                keep_what_is_current(script, docs / name, library)
                quick = script.name[0].isdigit() or script.name == FIRST[0]
                if quick or name != "lessons" and can_run(script):
                    run.append(f"{name}/{script.stem}")
    RUN.update(run)
    return {
        "examples_dirs": [f"_galleries/{name}" for name in names],
        "gallery_dirs": names,
        "filename_pattern": rf"/({'|'.join(run)})\.py$",
    }


def committed_figure(app, docname):
    """The path of the committed figure of a page of a gallery, or None."""
    gallery, _, stem = docname.partition("/")
    figure = app.srcdir.parent / "figures" / f"{stem}.png"
    return figure if gallery in SCRIPTS and figure.exists() else None


# The form of a page -----------------------------------------------------------------------


def linked(text):
    """Link numbers of lessons, papers and names of nfref, except inside other markup."""
    names = notebooks.lesson_names()

    def lesson(found):
        name = names.get(int(found[2]))
        return f":doc:`{found[0]} </lessons/{name}>`" if name else found[0]

    parts = MARKED.split(text)
    parts[::2] = [
        notebooks.LESSON.sub(
            lesson, notebooks.ARXIV.sub(r"`arXiv:\1 <https://arxiv.org/abs/\1\2>`__", part)
        )
        for part in parts[::2]
    ]
    return API.sub(as_link, "".join(parts))


def terms(glossary):
    """Return the terms of the glossary's first section, the longest first."""
    section = glossary.partition(".. glossary::")[2].partition(".. glossary::")[0]
    found = set(re.findall(r"^   (\S.*)$", section, re.MULTILINE)) - {"step"}  # also a solver's
    return sorted(found, key=lambda term: -len(term))


def with_terms(text, known):
    """Link the first use of each term to the glossary; ``known`` loses the terms found."""

    def link(found):
        term = " ".join(found[1].lower().split())
        if term not in known:
            return found[0]
        known.remove(term)
        return f":term:`{found[0]} <{term}>`"

    if not known:
        return text
    words = "|".join(r"\s+".join(map(re.escape, term.split())) for term in known)
    uses = re.compile(rf"\b({words})(?:s|es)?\b(?!-)", re.IGNORECASE)
    parts = LEFT_ALONE.split(text)
    parts[::2] = [uses.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def as_link(found):
    """Link a name of nfref to its description; return it unchanged if it has none."""
    thing = nfref
    for name in found[1].split(".")[1:]:
        thing = getattr(thing, name, None)
    if thing is None or not hasattr(thing, "__module__") or not hasattr(thing, "__qualname__"):
        return found[0]
    return f":obj:`{found[1]}{found[2] or ''} <{found[1]}>`"


def in_texts(text, change):
    """Apply ``change`` to the paragraphs of a page, not to its blocks of code."""
    lines = text.split("\n")
    inside, kept = None, []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if inside is not None and line.strip() and indent <= inside:
            inside = None
        code = inside is not None or line.startswith("..") and "dropdown" not in line
        kept.append((code, line))
        if re.match(r" *\.\. (code-block|math|image|raw|image-sg|only|_|rst-class)", line):
            inside = indent
    # Paragraphs are changed whole, since markup may span lines.
    out, part = [], []
    for code, line in [*kept, (True, None)]:
        if code:
            out += [change("\n".join(part))] if part else []
            part = []
            out += [line] if line is not None else []
        else:
            part.append(line)
    return "\n".join(out)


def folded(found):
    """Fold a cell that draws behind a line to click."""
    body = found[1].rstrip("\n")
    if not notebooks.draws(re.sub("^    ", "", body, flags=re.MULTILINE)):
        return found[0]
    inner = "\n".join("   " + line if line else line for line in body.split("\n"))
    return f".. dropdown:: How the figure is drawn\n\n   .. code-block:: Python\n\n{inner}\n\n"


def notice(docname, executed, date, lines):
    """Return the note below the figure of a full run: when and how it ran, and what it printed."""
    stem = docname.rpartition("/")[2]
    ran = (
        "The code ran when this page was built, at a small size."
        if executed
        else "The code did not run when this page was built."
    )
    said = (
        ".. rst-class:: figure-note\n\n"
        f"The figure, and numbers of the text, are of the full run of {date}, "
        f"``{draw.COMMAND.format(stem)}``. {ran}\n\n"
    )
    if lines:
        said += (
            ".. dropdown:: What the full run printed\n\n   .. code-block:: none\n\n"
            + "".join(f"      {line}\n" if line else "\n" for line in lines)
            + "\n"
        )
    return said


def with_alternative(found):
    """Give a small picture of a gallery the alternative text of its figure."""
    script = draw.scripts()[found[2]].read_text(encoding="utf-8")
    text = ALTERNATIVE.search(re.sub("^# ?", "", script, flags=re.MULTILINE))
    alt = " ".join(text[1].split()) if text else "A placeholder: this page has no figure"
    kind = "   :class: photograph\n" if found[2] in PHOTOGRAPHS else ""
    return f"{found[1]}   :alt: {alt}\n{kind}"


def in_form(app, docname, content):
    """Give a page of a gallery its form."""
    gallery, _, stem = docname.partition("/")
    if gallery not in SCRIPTS or stem == "index":
        if gallery in ("notation", "teach") or stem == "index" and gallery in SCRIPTS:
            content[0] = THUMBNAIL_OF.sub(with_alternative, in_texts(content[0], linked))
        return
    text = content[0]
    alternative = ALTERNATIVE.search(text)
    alt = " ".join(alternative[1].split()) if alternative else f"The figure of the page {stem}"
    text = ALTERNATIVE.sub("", text)
    figure = committed_figure(app, docname)
    if figure:
        full = draw.full_run(stem)
        if not full:  # without a full run the new picture equals the committed figure
            text = PICTURE.sub("", text)
        text = PICTURE.sub(
            lambda found: (
                "At a small size:\n\n" + re.sub(r":alt: .*", f":alt: {SMALL}{alt}", found[0])
            ),
            text,
        )
        kind = " photograph" if stem in PHOTOGRAPHS else ""
        image = (
            f".. image:: /../figures/{figure.name}\n   :alt: {alt}\n   :class: enlarge{kind}\n\n"
        )
        if full:
            executed = docname in RUN and str(app.config.plot_gallery) not in ("0", "False")
            image += notice(docname, executed, *full)
        drawing = [found for found in CODE.finditer(text) if DRAWN.search(found[0])]
        place = drawing[-1].end() if drawing else len(text)
        text = f"{text[:place]}{image}{text[place:]}"
    text = PLAY.sub(r'.. raw:: html\n\n   <figure class="play" data-play="\1"></figure>\n', text)
    text = in_texts(text, linked)
    glossary = (app.srcdir / "glossary.rst").read_text(encoding="utf-8")
    known = [term for term in terms(glossary) if stem not in OTHERWISE.get(term, ())]
    text = in_texts(text, lambda part: with_terms(part, known))
    text = CODE.sub(folded, text)
    text = FOOTER.sub("", text)
    text += (
        "\n.. only:: html\n\n  .. container:: page-end\n\n    "
        f":download:`This page as a notebook </_galleries/notebooks/{gallery}/{stem}.ipynb>`"
    )
    names = notebooks.lesson_names()
    if stem == names[max(names)]:
        text += (
            " · That was the last lesson: go on with :doc:`methods </methods/index>`, "
            ":doc:`truths </truths/index>` or :doc:`applications </applications/index>`"
        )
    content[0] = text + "\n"


def leave_out_absent(app, docname, content):
    """Remove galleries without scripts from tables of contents."""
    for name in set(SCRIPTS) - set(app.config.sphinx_gallery_conf["gallery_dirs"]):
        content[0] = content[0].replace(f"   {name}/index\n", "")


def committed_thumbnails(app):
    """Replace sphinx-gallery's thumbnails by small copies of the committed figures."""
    for name in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for page in (app.srcdir / name).glob("*.rst"):
            figure = committed_figure(app, f"{name}/{page.stem}")
            if figure:
                with Image.open(figure) as picture:
                    picture.thumbnail(THUMBNAIL)
                    picture.save(
                        page.parent / "images" / "thumb" / f"sphx_glr_{page.stem}_thumb.png"
                    )


def setup(app):
    app.connect("builder-inited", committed_thumbnails, priority=900)
    app.connect("source-read", in_form, priority=400)
    app.connect("source-read", leave_out_absent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
