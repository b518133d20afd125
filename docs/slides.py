"""python -m docs.slides FOLDER [LESSON ...]: slides of the lessons, made from their sources.

A lesson gives its title and question, its figure and its formula. Each section gives a slide with
the text above its first code and that code, and the predictions. Exercises and solutions have
slides of their own. The output is HTML that needs no network, and PDF if Chromium is installed.
"""

import argparse
import base64
import html
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from docutils.core import publish_parts

from docs import notebooks

FIGURES = Path(__file__).resolve().parents[1] / "figures"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
ALTERNATIVE = re.compile(r"^\.\. alt: (.*(?:\n   .*)*)", re.MULTILINE)
LINES = 18  # of code that a slide holds
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
narrow();"""


def as_html(text):
    """Return a lesson's reStructuredText as HTML with MathML, without directives of the site."""
    text = re.sub(r"^\.\. (alt|play):.*\n(?:   .*\n?)*", "", text, flags=re.MULTILINE)
    text = re.sub(r":(?:doc|mod|func|class|obj):`([^`<]+?)(?: <[^>]*>)?`", r"``\1``", text)
    return publish_parts(
        text,
        writer="html5",
        settings_overrides={"math_output": "MathML", "report_level": 5, "raw_enabled": False},
    )["body"]


def parts(text):
    """Return (heading or None, text) of each section, without solutions and answers."""
    text = re.sub(r"^\.\. dropdown:: .*\n(?:    ?.*\n?|\n)*", "", text + "\n", flags=re.MULTILINE)
    found = re.split(r"^(.+)\n-{3,}$", text, flags=re.MULTILINE)
    return [(None, found[0].strip())] + [
        (heading, body.strip()) for heading, body in zip(found[1::2], found[2::2])
    ]


def solution_of(text):
    """The text of a folded solution, or None."""
    found = re.search(r"^\.\. dropdown:: Solution\n((?:   .*\n?|\n)*)", text + "\n", re.MULTILINE)
    return re.sub(r"^   ", "", found[1], flags=re.MULTILINE).strip() if found else None


def code(text, lines):
    shown = "\n".join(text.strip("\n").split("\n")[:lines])
    return f"<pre>{html.escape(shown)}</pre>" if shown else ""


def short(text, paragraphs=2):
    """Return the part of a text that fits a slide: the first paragraphs and every prediction."""
    # a formula belongs to the paragraph before it
    found = re.split(r"\n\s*\n(?! )(?!\.\. math)", text)
    kept = found[:paragraphs] + [part for part in found[paragraphs:] if "**Predict.**" in part]
    return "\n\n".join(kept)


def slides(script):
    """(heading, HTML) of each slide of a lesson."""
    cells = notebooks.cells(script)
    title, _, rest = cells[0][1].partition("\n")
    question, *paragraphs = re.split(r"\n\s*\n", rest.split("\n", 1)[1].strip())
    made = [(None, f"<h1>{html.escape(title)}</h1>{as_html(question)}")]
    figure = FIGURES / f"{script.stem}.png"
    if figure.exists():
        data = base64.b64encode(figure.read_bytes()).decode()
        seen = " ".join(ALTERNATIVE.search("\n".join(text for _, text in cells))[1].split())
        made.append((title, f'<img alt="{html.escape(seen)}" src="data:image/png;base64,{data}">'))
    formula = next((k for k, part in enumerate(paragraphs) if ".. math::" in part), 0)
    end = next(
        (k for k in range(formula + 1, len(paragraphs)) if not paragraphs[k].startswith(" ")),
        len(paragraphs),
    )
    made.append(("The formula", as_html("\n\n".join(paragraphs[max(0, formula - 1) : end]))))
    for k, (kind, content) in enumerate(cells[1:], 1):
        if kind == "code":
            continue
        solution = solution_of(content)
        if solution:
            made.append(("Solution", as_html(solution)))
        for heading, body in parts(content):
            following = cells[k + 1][1] if k + 1 < len(cells) and cells[k + 1][0] == "code" else ""
            if heading and body:
                exercise = heading.startswith("Exercise")
                body = body if exercise else short(body)
                aside = "answer_" in following or notebooks.draws(following)
                lines = 0 if aside else LINES - len(body) // 70
                made.append((heading, as_html(body) + code(following, max(lines, 0))))
    return made


def page(script):
    """All slides of a lesson as one page."""
    made = slides(script)
    body = "\n".join(
        f"<section>{f'<h2>{html.escape(heading)}</h2>' if heading else ''}{content}"
        f"<footer>{html.escape(made[0][1][4:].partition('</h1>')[0])} · {k} of {len(made)}</footer>"
        "</section>"
        for k, (heading, content) in enumerate(made, 1)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{script.stem}</title>'
        f"<style>{STYLE}</style>{body}<script>{FIT}</script></html>\n"
    )


def write(folder, names=()):
    """Write HTML, and PDF if Chromium is there, of the lessons of these names, or of all."""
    folder, written = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for script in sorted(notebooks.TUTORIALS.glob("[0-9]*.py")):
        if names and script.stem not in names:
            continue
        path = folder / f"{script.stem}.html"
        path.write_text(page(script), encoding="utf-8")
        written.append(path)
        if CHROMIUM:
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
