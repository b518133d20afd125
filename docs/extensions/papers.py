"""Build the page of papers from the registry of citations and two lists.

``docs/citations.py`` holds the content of each place of each paper. The tests' reader of citations
lists where nfref uses each place. ``docs/claims.csv`` lists the claims and the pages that show
them, ``docs/survey.csv`` the state of each system in the article that nfref follows.
"""

import csv
from collections import defaultdict
from pathlib import Path

from docs.citations import CITATIONS
from tests.citing import ARXIV, FILES, ROOT, mentions, paragraphs

STATEMENTS = Path(__file__).parents[1] / "claims.csv"
SURVEY = Path(__file__).parents[1] / "survey.csv"
READ = {"read": "read in the paper's text", "quoted": "from texts that quote it"}


def link(path):
    """Link a file of the repository to its page; return its name if it has none."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    if parts[0] == "nfref" and parts[1:2] not in (("cli",), ("kernels",)):
        return f":mod:`{'.'.join(parts)}`"
    if parts[0] == "tutorials" and not parts[-1].startswith("_"):  # these are no pages
        return f":doc:`/{'/'.join(parts[1:]) if parts[2:] else 'lessons/' + parts[1]}`"
    if parts[0] == "docs" and len(parts) == 2:
        return f":doc:`/{parts[1]}`"
    return f"``{path.relative_to(ROOT).as_posix()}``"


def uses():
    """Return (key, place) -> files that name it; (key, None) -> files that name the paper."""
    found = defaultdict(list)
    by_id = {citation.arxiv: key for key, citation in CITATIONS.items() if citation.arxiv}
    for path in FILES:
        for text, _ in paragraphs(path):
            named = [(by_id[match[1]], None) for match in ARXIV.finditer(text)]
            named += [
                (key, None)
                for key, citation in CITATIONS.items()
                if not citation.arxiv and f"{key} {citation.year}" in text
            ]
            for _, key, _, places, _ in mentions(text):
                named += [(key, None), *((key, place) for place in places)]
            for name in named:
                if path not in found[name]:
                    found[name].append(path)
    return found


def used_in(paths):
    pages = [link(path) for path in paths if path.relative_to(ROOT).parts[0] != "tests"]
    tests = [link(path) for path in paths if path.relative_to(ROOT).parts[0] == "tests"]
    return ", ".join(pages + tests)


def entry(citation, found):
    """Return one paper as reStructuredText."""
    where = citation.venue or (
        f"`arXiv:{citation.arxiv} <https://arxiv.org/abs/{citation.arxiv}"
        f"{f'v{citation.version}' if citation.version else ''}>`__"
        + (f", version {citation.version}" if citation.version else "")
    )
    lines = [
        citation.key,
        "~" * len(citation.key),
        "",
        f"{citation.authors} ({citation.year}). *{citation.title}*. {where}.",
        "",
    ]
    for place in citation.places:
        numbers = ""
        if place.equations:
            several = any(mark in place.equations for mark in "-,")
            numbers = f", {'eqs.' if several else 'eq.'} {place.equations}"
        lines += [f"**{place.where}{numbers}**", f"    ``{place.formula}``", ""]
        notes = [
            READ[place.status],
            place.direction,
            place.symbols and f"the paper's letter: nfref's: ``{place.symbols}``",
        ]
        lines += [
            "    " + "; ".join(filter(None, notes)) + ".",
            "",
            f"    Used in {used_in(found[citation.key, place.where])}.",
            "",
        ]
    if not citation.places:
        lines += [f"Used in {used_in(found[citation.key, None])}.", ""]
    return lines


def papers():
    found = uses()
    return "\n".join(line for citation in CITATIONS.values() for line in entry(citation, found))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(widths, heads, rows):
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for first, *others in [heads, *rows]:
        lines += [f"   * - {first}", *(f"     - {other}".rstrip() for other in others)]
    return "\n".join(lines) + "\n"


def statement_table():
    return table(
        "40 30 30",
        ("what", "source", "shown on"),
        [
            (
                row["statement"],
                row["source"],
                ", ".join(f":doc:`/{page}`" for page in row["pages"].split()),
            )
            for row in rows_of(STATEMENTS)
        ],
    )


def survey_table():
    return table(
        "25 30 20 25",
        ("system", "status", "page", "measured there"),
        [
            (row["system"], row["status"], f":doc:`/{row['page']}`", row["number"])
            for row in rows_of(SURVEY)
        ],
    )


def fill_in(app, docname, content):
    if docname == "papers":
        content[0] = content[0].replace(".. the statements", statement_table())
        content[0] = content[0].replace(".. the survey", survey_table())
        content[0] = content[0].replace(".. the papers", papers())


def setup(app):
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
