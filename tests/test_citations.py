"""Every citation in the package, its tests and its pages is in the table of docs/citations.py.

That module describes how to write a citation; ``tests/citing.py`` reads it.
"""

import re

import pytest

from docs.citations import _TABLE, CITATIONS, TO_DATA, TO_LATENT
from tests.citing import ARXIV, FILES, KEY, PLACE, ROOT, SUSPECT, expanded, mentions, paragraphs


def complaints(text):
    """Return (position, fault) of every citation in a paragraph that is not in the table."""
    covered = [match.span() for match in PLACE.finditer(text)]
    for match in SUSPECT.finditer(text):
        if not any(start <= match.start() < end for start, end in covered):
            yield match.start(), f"{match.group()}...: not of the form 'KEY, section 3.4, eq. 9'"
    for match in re.finditer(r"\bPaper:", text):
        if not KEY.match(text, match.end() + 1):
            yield match.start(), "Paper: expected a paper's key next"
    for match in ARXIV.finditer(text):
        known = {citation.arxiv: citation for citation in CITATIONS.values()}
        citation = known.get(match.group(1))
        if citation is None:
            yield match.start(), f"{match.group(1)}: no paper with this arXiv id"
        elif match.group(2) and int(match.group(2)) != citation.version:
            yield match.start(), f"version {match.group(2)}, in the table {citation.version}"
    for position, key, version, places, numbers in mentions(text):
        if key is None:
            yield position, f"{', '.join(places)}: no paper is named before it in its paragraph"
            continue
        citation = CITATIONS[key]
        if version and int(version) != citation.version:
            yield position, f"{key} v{version}: in the table version {citation.version}"
        known = {place.where: expanded(place.equations) for place in citation.places}
        for place in places:
            if place not in known:
                yield position, f"{key}, {place}: not in the table"
        missing = numbers - set().union(*(known.get(place, set()) for place in places))
        if missing:
            yield position, f"{key}, {', '.join(places)}: no eq. {', '.join(sorted(missing))}"


def test_every_citation_is_in_the_table():
    wrong = [
        f"{path.relative_to(ROOT)}:{lines[position]}: {complaint}"
        for path in FILES
        for text, lines in paragraphs(path)
        for position, complaint in complaints(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_paper_and_place_in_the_table_is_cited():
    texts = [text for path in FILES for text, _ in paragraphs(path)]
    cited = {
        (key, place)
        for text in texts
        for _, key, _, places, _ in mentions(text)
        for place in places
    }
    ids = {match.group(1) for text in texts for match in ARXIV.finditer(text)}
    for key, citation in CITATIONS.items():
        whole = f"{key} {citation.year}"
        assert citation.places or citation.arxiv in ids or any(whole in text for text in texts), (
            f"{key} is not cited"
        )
        for place in citation.places:
            assert (key, place.where) in cited, f"{key}, {place.where} is not cited"


@pytest.mark.parametrize("citation", CITATIONS.values(), ids=CITATIONS)
def test_an_entry_says_what_was_checked(citation):
    assert bool(citation.arxiv) != bool(citation.venue)
    assert len({place.where for place in citation.places}) == len(citation.places)
    for place in citation.places:
        assert PLACE.fullmatch(place.where), place
        assert citation.place(place.where) is place
        assert place.formula
        assert place.status in ("read", "quoted")
        assert place.direction in ("", TO_DATA, TO_LATENT)
        assert place.status == "read" or not place.equations, place
        assert all(":" in symbol for symbol in place.symbols.split(", ")) or not place.symbols
    with pytest.raises(KeyError, match="section 99: expected a registered place"):
        citation.place("section 99")


def test_keys_and_ids_are_unique():
    ids = [citation.arxiv for citation in CITATIONS.values() if citation.arxiv]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("(RealNVP, section 3.4, eq. 9)", None),
        ("Paper: RealNVP v3, sections 3.3 and 3.4, (7)-(9): y = x", None),
        ("RealNVP, section 3.3, eqs. 6 and 8; section 3.7, (17)-(18)", None),
        ("Rezende and Mohamed (2015, arXiv:1505.05770), section 4.1 and appendix A.1", None),
        ("Paper: MAF v4, section 3.1: layers of MADE; appendix B", None),
        ("Paper: Glow, the split of its published code; section 3.2", None),
        ("algorithm 1 of Adam", "algorithm 1: no paper is named before it in its paragraph"),
        ("the implicit function theorem F = 0, an equation a row, section by section", None),
        ("RealNVP v2", "RealNVP v2: in the table version 3"),
        ("RealNVP, section 3.9", "RealNVP, section 3.9: not in the table"),
        ("RealNVP, section 3.4, eq. 8", "RealNVP, section 3.4: no eq. 8"),
        ("MAF, section 3.1, eq. 4", "MAF, section 3.1: no eq. 4"),
        ("see section 3.4", "section 3.4: no paper is named before it in its paragraph"),
        ("(RealNVP, eq. 9)", "eq. 9...: not of the form 'KEY, section 3.4, eq. 9'"),
        ("RealNVP, fig. 3", "fig. 3...: not of the form 'KEY, section 3.4, eq. 9'"),
        ("Paper: Dinh et al. 2016", "Paper: expected a paper's key next"),
        ("arXiv:1605.08803v1", "version 1, in the table 3"),
        ("arXiv:1234.56789", "1234.56789: no paper with this arXiv id"),
    ],
)
def test_how_citations_are_read(text, complaint):
    assert [what for _, what in complaints(text)] == ([complaint] if complaint else [])


def test_every_key_stands_once():
    assert len(_TABLE) == len(CITATIONS)
