"""python -m docs.slides FOLDER [LESSON ...]: slides of the lessons, made from their sources.

A lesson gives its title and question, its objectives and every display formula. Each section gives
the text above its first code and that code, and the predictions; answers, exercises and solutions
have slides of their own. What the text says beyond the slide is in the speaker's notes: the key n
shows them. The output is HTML that needs no network, and PDF if Chromium is installed.
"""

import argparse
import base64
import html
import re
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

from docutils.core import publish_parts

from docs import notebooks
from docs.latex import for_docutils

FIGURES = Path(__file__).resolve().parents[1] / "figures"
OBJECTIVES = Path(__file__).parent / "teach" / "objectives.rst"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
ALTERNATIVE = re.compile(r"^\.\. alt: (.*(?:\n   .*)*)", re.MULTILINE)
LINES = 18  # of code that a slide holds
CHARACTERS = 900  # of text that a slide holds beside code
STYLE = """
@page { size: 1280px 720px; margin: 0; }
* { box-sizing: border-box; }
body { margin: 0; font: 26px/1.4 system-ui, sans-serif; color: #1c1c1c; background: #eee; }
section { width: 1280px; height: 720px; padding: 44px 70px; margin: 12px auto; background: #fff;
  overflow: hidden; page-break-after: always; position: relative; }
h1 { font-size: 54px; margin: 150px 0 20px; }
h2 { font-size: 38px; margin: 0 0 20px; color: #36648f; }
pre { font-size: 0.7em; line-height: 1.3; background: #f4f5f7; padding: 14px 18px; margin: 12px 0; }
img { display: block; max-width: 100%; max-height: 560px; margin: auto; }
em { color: #36648f; } p { margin: 10px 0; }
math[display=block] { font-size: 1.15em; margin: 14px 0; }
aside { display: none; border-top: 1px solid; margin-top: 20px; font-size: 20px; }
body.notes section { height: auto; min-height: 720px; } body.notes aside { display: block; }
footer { position: absolute; right: 70px; bottom: 18px; font-size: 16px; color: #595959; }
@media screen and (prefers-color-scheme: dark) {
  body { background: #000; color: #e4e4e4; } section { background: #1b1d20; }
  pre { background: #2a2d31; } h2, em { color: #6ce; } footer { color: #aaa; } }
@media print { body { background: none; zoom: 1 !important; } section { margin: 0; } }
"""

# A long text gets smaller letters, and slides shrink in a window narrower than they are.
FIT = """for (const slide of document.querySelectorAll("section"))
  for (let size = 26; slide.scrollHeight > 720 && size > 12; size--)
    slide.style.fontSize = `${size}px`;
const narrow = () => {
  document.body.style.zoom = Math.min(1, document.documentElement.clientWidth / 1280);
};
addEventListener("resize", narrow);
addEventListener("keydown", (event) => {
  if (event.key === "n") document.body.classList.toggle("notes");
});
narrow();"""


def as_html(text):
    """Return a lesson's reStructuredText as HTML with MathML, without directives of the site."""
    text = re.sub(r"^\.\. (alt|play):.*\n(?:   .*\n?)*", "", text, flags=re.MULTILINE)
    text = re.sub(r":(?:doc|mod|func|class|obj):`([^`<]+?)(?: <[^>]*>)?`", r"``\1``", text)
    return publish_parts(
        for_docutils(text),
        writer="html5",
        settings_overrides={"math_output": "MathML", "report_level": 5, "raw_enabled": False},
    )["body"]


def paragraphs(text):
    """Return the paragraphs of a text; a formula belongs to the paragraph before it."""
    return re.split(r"\n\s*\n(?! )(?!\.\. math)", text.strip())


def parts(text):
    """Return (heading or None, text) of each section."""
    found = re.split(r"^(.+)\n-{3,}$", text, flags=re.MULTILINE)
    made = [(None, found[0].strip()), *zip(found[1::2], map(str.strip, found[2::2]))]
    return [(heading, body) for heading, body in made if heading or body]


def folded(text):
    """Return (kind, text) of the parts of a cell: "text", "Answer" or "Solution"."""
    found = re.split(
        r"^\.\. dropdown:: (Answer|Solution)\n((?:   .*\n|\n)*)", text + "\n", flags=re.MULTILINE
    )
    made = [("text", found[0])]
    for kind, inside, after in zip(found[1::3], found[2::3], found[3::3]):
        made += [(kind, re.sub("^   ", "", inside, flags=re.MULTILINE)), ("text", after)]
    return [(kind, part.strip()) for kind, part in made if part.strip()]


def code(text, lines):
    shown = "\n".join(text.strip("\n").split("\n")[:lines])
    return f"<pre>{html.escape(shown)}</pre>" if shown else ""


def split(text, first=2):
    """Return the paragraphs for slides and those for the speaker.

    Slides hold the first ones, every prediction and every formula.
    """
    shown, spoken = [], []
    for k, part in enumerate(paragraphs(text)):
        on_slide = k < first or "**Predict.**" in part or ".. math::" in part
        (shown if on_slide else spoken).append(part)
    return shown, spoken


def on_slides(shown):
    """Return the texts of as many slides as these paragraphs need."""
    texts = [""]
    for part in shown:
        if texts[-1] and len(texts[-1]) + len(part) > CHARACTERS:
            texts.append("")
        texts[-1] += f"{part}\n\n"
    return texts


def objectives():
    """Number of a lesson -> what a student can do after it, as reStructuredText."""
    text = OBJECTIVES.read_text(encoding="utf-8")
    found = re.findall(r"^lesson (\d\d): .*\n((?:   - .*\n(?:     .*\n)*)+)", text, re.MULTILINE)
    return {int(number): textwrap.dedent(goals) for number, goals in found}


class Slide(NamedTuple):
    """A slide, and what the speaker says beside it."""

    heading: str | None
    content: str
    notes: str = ""


def picture(script, cells):
    """The slide with the figure of a page, or none."""
    figure = FIGURES / f"{script.stem}.png"
    if not figure.exists():
        return []
    data = base64.b64encode(figure.read_bytes()).decode()
    seen = " ".join(ALTERNATIVE.search("\n".join(text for _, text in cells))[1].split())
    image = f'<img alt="{html.escape(seen)}" src="data:image/png;base64,{data}">'
    return [Slide("The figure", image, f"<p>{html.escape(seen)}</p>")]


def slides(script):
    """The slides of a lesson: an answer follows its prediction, the figure the code that draws."""
    cells = notebooks.cells(script)
    title, _, rest = cells[0][1].partition("\n")
    question, text = re.split(r"\n\s*\n", rest.split("\n", 1)[1].strip(), maxsplit=1)
    made = [Slide(None, f"<h1>{html.escape(title)}</h1>{as_html(question)}")]
    goals = objectives().get(int(script.stem[:2]))
    if goals:
        made.append(Slide("After this lesson you can", as_html(goals)))
    made += section("The formula", text, "", first=1)
    heading = "The formula"
    for k, (kind, content) in enumerate(cells[1:], 1):
        if kind == "code":
            made += picture(script, cells) if notebooks.draws(content) else []
            continue
        following = cells[k + 1][1] if k + 1 < len(cells) and cells[k + 1][0] == "code" else ""
        for what, part in folded(content):
            if what != "text":
                made.append(Slide(what, as_html(part)))
                continue
            for new, body in parts(part):
                first = 100 if (new or "").startswith("Exercise") else 2 if new else 0
                heading = new or heading
                if body and (new or split(body, 0)[0]):
                    made += section(heading, body, following, first)
                elif body:  # a remark: for the speaker
                    made[-1] = made[-1]._replace(notes=made[-1].notes + as_html(body))
    return made


def section(heading, body, following, first):
    """The slides of a section: its text, and the code below it on the last one."""
    shown, spoken = split(body, first)
    texts = on_slides(shown)
    aside = "answer_" in following or notebooks.draws(following) or not first
    lines = 0 if aside else max(LINES - len(texts[-1]) // 70, 0)
    made = [Slide(heading, as_html(text)) for text in texts]
    return made[:-1] + [
        Slide(heading, made[-1].content + code(following, lines), as_html("\n\n".join(spoken)))
    ]


def page(script):
    """All slides of a lesson as one page."""
    made = slides(script)
    title = made[0].content[4:].partition("</h1>")[0]
    body = "\n".join(
        f"<section>{f'<h2>{html.escape(one.heading)}</h2>' if one.heading else ''}{one.content}"
        f"{f'<aside>{one.notes}</aside>' if one.notes else ''}"
        f"<footer>{title} · {k} of {len(made)}</footer></section>"
        for k, one in enumerate(made, 1)
    )
    return as_page(script.stem, body, STYLE, FIT)


def as_page(title, body, style="", script=""):
    """Return HTML as a page that needs no network."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{style}</style>{body}<script>{script}</script></html>\n"
    )


def write(folder, names=(), pdf=bool(CHROMIUM)):
    """Write HTML, and PDF if Chromium is there, of the lessons of these names, or of all."""
    folder, written = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for script in sorted(notebooks.TUTORIALS.glob("[0-9]*.py")):
        if names and script.stem not in names:
            continue
        path = folder / f"{script.stem}.html"
        path.write_text(page(script), encoding="utf-8")
        written.append(path)
        if pdf:
            with tempfile.TemporaryDirectory() as profile:
                subprocess.run(
                    [
                        CHROMIUM,
                        "--headless",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--no-pdf-header-footer",
                        f"--user-data-dir={profile}",
                        f"--print-to-pdf={path.with_suffix('.pdf')}",
                        path.as_uri(),
                    ],
                    check=True,
                    capture_output=True,
                    timeout=120,
                )
            written.append(path.with_suffix(".pdf"))
    return written


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument(
        "lessons", nargs="*", choices=[[], *notebooks.lesson_names().values()], metavar="LESSON"
    )
    options = parser.parse_args()
    for path in write(Path(options.folder).resolve(), options.lessons):
        print(path)


if __name__ == "__main__":
    main()
