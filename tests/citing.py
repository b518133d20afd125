"""Read citations: the keys, places and numbers in a paragraph of prose.

A cited key (one followed by a version or a place, or one after "Paper:") holds for the places that
follow in its paragraph, until the next key. ``tests/test_citations.py`` compares all of nfref with
the table in this way, and the site's page of papers lists where each place is used.
"""

import re
from pathlib import Path

from docs.citations import CITATIONS

ROOT = Path(__file__).parent.parent
FILES = sorted(
    {
        path
        for pattern in (
            "*.rst",
            "docs/*.rst",
            "nfref/**/*.py",
            "tests/**/*.py",
            "tutorials/**/*.py",
        )
        for path in ROOT.glob(pattern)
    }
    - {Path(__file__), ROOT / "tests" / "test_citations.py"}
)

SINGULAR = {
    "sections": "section",
    "appendices": "appendix",
    "algorithms": "algorithm",
    "theorems": "theorem",
    "tables": "table",
    "figures": "figure",
}
WORD = (
    r"(?i:appendix|appendices)(?= [A-Z])"
    r"|(?i:sections?|algorithms?|theorems?|tables?|figures?)(?= (?:[IVX]+\.)?\d)"
)
LABEL = r"(?:(?:[A-Z]+\.)?\d+(?:\.\d+)*|[A-Z])\b"
NUMBER = r"\d+[a-z]?"
PLACE = re.compile(
    rf"\b(?P<word>{WORD}) (?P<labels>{LABEL}(?:(?:, | and |-){LABEL})*)"
    rf"(?:, (?P<numbers>eqs?\. {NUMBER}(?:(?:-|, | and ){NUMBER})*"
    rf"|\({NUMBER}\)(?:(?:-|, | and )\({NUMBER}\))*))?"
)
# A key opens a citation if it has a version, if a place follows its year, authors or arXiv id,
# or after "Paper:".
KEY = re.compile(
    rf"(?<![\w-])(?P<key>{'|'.join(sorted(map(re.escape, CITATIONS), reverse=True))})(?![\w-])"
    r"(?: v(?P<version>\d+)\b|(?P<place>"
    rf"(?=(?:,? \d{{4}})?(?: \([^()]*\))?(?:, arXiv:[\d.]+)?,? (?:{WORD}) {LABEL})))?"
)
# Anything that looks like a place, in any spelling; PLACE has to read all of it.
SUSPECT = re.compile(
    r"(?i:\b(?:eqs?\.?|eqns?\.?|equations?)) ?\(?\d|(?i:\bappendi(?:x|ces)) [A-Z]\b"
    r"|(?i:\b(?:sections?|sec\.|algorithms?|theorems?|thm\.|lemma|proposition|tables?|tab\."
    r"|figures?|figs?\.)) (?:\d|[IVX]+\.)"
)
ARXIV = re.compile(r"arxiv(?::|\.org/\w+/)\s*(\d{4}\.\d{4,5})(?:v(\d+))?", re.IGNORECASE)


def paragraphs(path):
    """(text, line of each character) of every run of lines without a blank one between them."""
    text, lines = "", []
    for line, content in enumerate(path.read_text(encoding="utf-8").splitlines() + [""], 1):
        content = " ".join(content.strip().lstrip("#").split())
        if content:
            text += content + " "
            lines += [line] * (len(content) + 1)
        elif text:
            yield text, lines
            text, lines = "", []


def expanded(numbers):
    """The numbers of "eqs. 7-9 and 12" or "(7)-(9), (12)" as a set of strings."""
    result = set()
    for first, last in re.findall(rf"({NUMBER})\)?(?:-\(?({NUMBER}))?", numbers):
        result |= {first, last} - {""}
        if first.isdigit() and last.isdigit():
            result |= set(map(str, range(int(first), int(last))))
    return result


def mentions(text):
    """(position, key or None, version or None, places, numbers) of every mention in a text."""
    key = None
    matches = [*KEY.finditer(text), *PLACE.finditer(text)]
    for match in sorted(matches, key=lambda match: match.start()):
        if match.re is KEY:
            version, place = match.group("version", "place")
            if version or place is not None or text.endswith("Paper: ", 0, match.start()):
                key = match.group("key")
                yield match.start(), key, version, (), set()
        else:
            word = match.group("word").lower()
            places = tuple(
                f"{SINGULAR.get(word, word)} {label}"
                for label in re.findall(LABEL, match.group("labels"))
            )
            yield match.start(), key, None, places, expanded(match.group("numbers") or "")
