"""The site: code of pages runs, tables and links are complete, a browser reports no error.

Blocks of code run in the order of a page, in one namespace, in an empty folder. The slow tests
build the site, check every link within it, and open every page in Chromium.
"""

import ast
import csv
import re
import shlex
import subprocess
import sys
import textwrap
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from docs import draw, notebooks
from docs.citations import CITATIONS
from nfref import cli
from tests.browser import CHROMIUM, Browser
from tests.tutorials.test_notebooks import LOOSE, NUMBER, value_and_unit
from tests.tutorials.test_tutorials import TORCH

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PEERS = [DOCS / "peers.rst", DOCS / "how_to/samples_of_other_packages.rst"]
PAGES = [ROOT / "README.rst", *sorted(DOCS.glob("*.rst")), *sorted(DOCS.glob("how_to/*.rst"))]
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)
LITERAL = re.compile(r"::\n\n((?:    .*\n|\n)+)")

# (page, words in a block) -> why the block does not run.
NOT_RUN = {
    ("golden_vectors", "def test_against_nfref"): "a sketch: the consumer has to write build()",
    (
        "oracle",
        "adapters.of(module",
    ): "other libraries' modules; tests/oracle/test_user_objects.py has their like",
    (
        "oracle",
        "flow_tests(make_coupling",
    ): "a file of somebody else's test suite; tests/oracle/test_adoption.py has its like",
}
HEAVY = {"README"}
# Objects that a page assumes: a flow of the reader's own, or of another library.
FORWARD_AND_INVERSE = """
import numpy as np
def forward(z):
    return 2 * z, np.full(len(z), 3 * np.log(2))
def inverse(x):
    return x / 2, np.full(len(x), -3 * np.log(2))
"""
GIVEN = {
    "oracle": FORWARD_AND_INVERSE,
    "README": FORWARD_AND_INVERSE
    + """
their_transform = forward, inverse
""",
}


def name_of(page):
    return page.relative_to(DOCS).with_suffix("").as_posix() if DOCS in page.parents else page.stem


def blocks(page):
    return [textwrap.dedent(found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def blocks_to_run(page):
    return [
        block
        for block in blocks(page)
        if not any(name == name_of(page) and words in block for name, words in NOT_RUN)
    ]


PAGES_WITH_CODE = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if name_of(page) in HEAVY else [])
    for page in PAGES
    if page not in PEERS and blocks_to_run(page)
]


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(GIVEN.get(name_of(page), ""), names)
    for block in blocks_to_run(page):
        exec(compile(block, f"{page.name}, a block of code", "exec"), names)


@pytest.mark.peers
@pytest.mark.parametrize("page", PEERS, ids=name_of)
def test_the_code_about_other_libraries_runs(page, tmp_path):
    """Run in a process of its own; the code changes settings of those libraries and of Python."""
    for line in command_lines(page):
        command = [sys.executable, "-m", *shlex.split(line, comments=True)]
        subprocess.run(command, cwd=tmp_path, check=True)
    code = "\n".join(blocks_to_run(page))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_no_reason_is_left_over():
    for name, words in NOT_RUN:
        page = next(page for page in PAGES if name_of(page) == name)
        assert any(words in block for block in blocks(page)), (name, words)


def command_lines(page):
    """The lines ``nfref ...`` in literal blocks."""
    return [
        line.strip()
        for found in LITERAL.findall(page.read_text(encoding="utf-8"))
        for line in found.splitlines()
        if re.match(r"nfref (-|[a-z])", line.strip())
    ]


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in command_lines(page)}))
def test_a_command_that_a_page_shows_is_understood(line):
    cli.parser().parse_args(shlex.split(line, comments=True)[1:])


def source_of(page):
    """The file that a page of the site is made from; None if there is none."""
    folder, _, stem = page.rpartition("/")
    if folder == "reference":
        path = ROOT / stem.replace(".", "/")
        candidates = [
            path.with_suffix(".py") if path.suffix != ".py" else path,
            Path(f"{path}.py"),
            path / "__init__.py",
        ]
    elif folder == "lessons":
        candidates = [ROOT / "tutorials" / f"{stem}.py"]
    elif folder in ("methods", "truths", "applications"):
        candidates = [ROOT / "tutorials" / folder / f"{stem}.py"]
    else:
        candidates = [DOCS / f"{page}.rst"]
    return next((path for path in candidates if path.is_file()), None)


def test_every_statement_has_its_page():
    with (DOCS / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 40
    missing = [
        (row["statement"], page)
        for row in rows
        for page in row["pages"].split() or [""]
        if not source_of(page)
    ]
    assert not missing
    assert source_of("lessons/99_nothing") is None


def test_numbers_of_the_table_of_systems_stand_on_their_pages():
    """Look in the page's text and its full run's output; another run may differ slightly."""
    with (DOCS / "survey.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 40
    wrong = []
    for row in rows:
        path = source_of(row["page"])
        printed = ROOT / "figures" / f"{path.stem}.txt"
        text = "".join(
            file.read_text(encoding="utf-8") for file in (path, printed) if file.is_file()
        )
        there = [value_and_unit(found)[0] for found in NUMBER.findall(text)]
        numbers = NUMBER.findall(row["number"])
        wrong += [
            (row["system"], number)
            for number in numbers or ["none"]
            if number == "none"
            or not any(
                abs(value - value_and_unit(number)[0]) <= LOOSE * value_and_unit(number)[1]
                for value in there
            )
        ]
        assert re.match("works|half: ", row["status"]), row
    assert not wrong


@pytest.fixture
def plain_text(monkeypatch):
    """Return the extension of the site; its imports need Pillow."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    import plain_text

    return plain_text


def test_the_page_of_papers_is_complete(monkeypatch):
    """Every paper has a link, and every place a formula and a user."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    import papers

    text = papers.papers()
    for citation in CITATIONS.values():
        address = citation.arxiv and f"arxiv.org/abs/{citation.arxiv}"
        assert (address or citation.venue) in text
        assert all(place.formula in text for place in citation.places)
    assert "Used in ." not in text
    assert "/_" not in "".join(re.findall(":doc:`[^`]*`", text))  # helpers of pages have no page
    assert ":mod:`nfref.flows.radial`" in text


def test_a_docstring_becomes_what_it_means(plain_text):
    lines = [
        "The map, with |det| > 0.",
        "",
        "    x = |z|^2,",
        "    det = 2 |z|",
        "",
        "and ``a|b`` stays.",
        "",
        "====  ====",
        "a     |b|",
        "====  ====",
        "",
        "Paper:   NICE, section 3.2: y = |x|",
        "         and more.",
        "Differs: nothing.",
        "",
        ".. math::",
        "",
        "    |x|",
        "",
        "Parameters",
        "----------",
        "dim : int",
        "    D.",
        "",
        "    At least 1.",
    ]
    assert plain_text.ready(lines) == [
        r"The map, with \|det\| > 0.",
        "",
        "::",
        "",
        "    x = |z|^2,",
        "    det = 2 |z|",
        "",
        "and ``a|b`` stays.",
        "",
        "====  ====",
        "a     |b|",
        "====  ====",
        "",
        r":Paper:   NICE, section 3.2: y = \|x\|",
        "         and more.",
        ":Differs: nothing.",
        "",
        ".. math::",
        "",
        "    |x|",
        "",
        "Parameters",
        "----------",
        "dim : int",
        "    D.",
        "",
        "    At least 1.",
    ]


def test_a_page_has_links_where_its_text_names_files(plain_text):
    content = [
        "See ``docs/oracle.rst``, ``tutorials/methods/torus.py``, ``tutorials/_helper.py`` "
        "and `MAF <MAF.rst>`__."
    ]
    plain_text.in_page(None, "scaling", content)
    assert content == [
        "See :doc:`/oracle`, :doc:`/methods/torus`, ``tutorials/_helper.py`` and :doc:`MAF <MAF>`."
    ]


def test_what_ran_in_full_is_shown_with_its_date_and_command(plain_text):
    import galleries

    date, lines = draw.full_run("tarflow")
    text = galleries.notice("methods/tarflow", True, date, lines)
    assert re.match(r"\d+ \w+ 20\d\d$", date) and date in text
    assert "``python -m docs.draw tarflow --full``" in text and "small size" in text
    assert all(f"      {line}" in text for line in lines)
    assert "did not run" in galleries.notice("methods/tarflow", False, date, lines)


def in_form(galleries, docname, content):
    """Give a page the form that it has on the site, when its code did not run."""
    config = SimpleNamespace(plot_gallery=0, sphinx_gallery_conf={"gallery_dirs": ["lessons"]})
    made = [content]
    galleries.in_form(SimpleNamespace(srcdir=DOCS, config=config), docname, made)
    return made[0]


@pytest.mark.parametrize("page", ["lessons/03_coupling", "methods/tarflow"])
def test_a_figure_stands_where_it_is_drawn(plain_text, page):
    """A reader predicts before the figure gives the answer."""
    import galleries

    content = (
        "A title\n=======\n\n*A question?*\n\n.. alt: A figure.\n\n**Predict.** What?\n\n"
        ".. code-block:: Python\n\n\n    print(1)\n\n\nText.\n\n"
        ".. code-block:: Python\n\n\n    figure(x)\n    plt.show()\n\n\n"
        ".. dropdown:: Answer\n\n   So.\n"
    )
    made = in_form(galleries, page, content)
    assert "   :alt: A figure.\n" in made and "Next:" not in made
    places = [made.index(part) for part in ("Predict", "print(1)", ".. image::", "Answer")]
    assert places == sorted(places)


def test_each_lesson_is_followed_by_the_next(plain_text):
    import galleries

    names = [script.name for script in sorted((ROOT / "tutorials").glob("[!_]*.py"))]
    names.remove("readme_figure.py")
    ordered = sorted(names, key=galleries.reading_order)
    lessons = [name for name in sorted(names) if name[0].isdigit()]
    assert ordered == [*lessons, *galleries.FIRST, "more_exercises.py"]


def test_old_addresses_lead_to_pages():
    text = (DOCS / "conf.py").read_text(encoding="utf-8")
    moved = re.search(r"^MOVED = (\{.*\})", text, re.MULTILINE)[1]
    for old, new in ast.literal_eval(moved).items():
        assert not (ROOT / "tutorials" / f"{old}.py").exists()
        assert (ROOT / "tutorials" / f"{new.removeprefix('lessons/')}.py").exists()


def test_the_first_use_of_a_term_is_linked(plain_text):
    import galleries

    known = galleries.terms((DOCS / "glossary.rst").read_text(encoding="utf-8"))
    assert {"flow matching", "score", "base"} <= set(known) and "verdict" not in known
    text = (
        "The base\n========\n\nFlow matching, a *score*, :doc:`a base </x>`; scores of the base, "
        "flows and flows; the mean\nvelocity.\n"
    )
    assert galleries.with_terms(text, known) == (
        "The base\n========\n\n:term:`Flow matching <flow matching>`, a *score*, "
        ":doc:`a base </x>`; :term:`scores <score>` of the :term:`base <base>`, "
        ":term:`flows <flow>` and flows; the :term:`mean\nvelocity <mean velocity>`.\n"
    )


@pytest.mark.parametrize(
    "gallery, script",
    [pytest.param(*page, id=page[1].stem) for page in notebooks.pages() if page[1] != TORCH],
)
def test_a_page_links_its_terms(plain_text, gallery, script):
    """Each term at most once, and none whose word means something else on the page."""
    import galleries

    content = "\n\n".join(text for kind, text in notebooks.cells(script) if kind == "text")
    links = re.findall(
        r":term:`[^<]*<([^>]*)>`", in_form(galleries, f"{gallery}/{script.stem}", content)
    )
    assert links and len(links) == len(set(links))
    for term, pages in galleries.OTHERWISE.items():
        if script.stem in pages:
            assert term not in links and term in content.lower()


def test_small_pictures_have_alternative_texts(plain_text):
    import galleries

    made = in_form(
        galleries,
        "lessons/index",
        "  .. image:: /lessons/images/thumb/sphx_glr_00_what_a_flow_is_thumb.png\n    :alt:\n\n"
        "  .. image:: /methods/images/thumb/sphx_glr_digits_thumb.png\n    :alt:\n",
    )
    assert re.search(r":alt: Left, a round cloud of normal points .*\n\n", made)
    assert re.search(r":alt: \w.*\n   :class: photograph\n", made)


def test_a_page_runs_again_if_what_it_reads_has_changed(plain_text, tmp_path):
    import galleries

    script, folder = tmp_path / "page.py", tmp_path / "made"
    (tmp_path / "_helper.py").write_text("a = 1\n")
    script.write_text('"""\nPage\n====\n"""\nimport _helper\n')

    def kept(library):
        """Whether the last run is kept; sphinx-gallery writes the file .md5 after each run."""
        galleries.keep_what_is_current(script, folder, library)
        there = (folder / "page.py.md5").exists()
        (folder / "page.py.md5").write_text("md5")
        return there

    assert [kept(b"library") for _ in range(3)] == [False, True, True]
    assert [kept(b"another") for _ in range(2)] == [False, True]
    (tmp_path / "_helper.py").write_text("a = 2\n")
    assert [kept(b"another") for _ in range(2)] == [False, True]


def test_a_page_without_its_data_does_not_run(plain_text, monkeypatch, tmp_path):
    import galleries

    monkeypatch.syspath_prepend(str(ROOT / "tutorials" / "applications"))
    monkeypatch.setenv("NFREF_DATA", str(tmp_path))
    assert galleries.can_run(ROOT / "tutorials" / "methods" / "torus.py")
    assert not galleries.can_run(ROOT / "tutorials" / "applications" / "audio.py")


def test_a_page_without_its_packages_does_not_run(plain_text):
    import galleries

    code = "import json, fetch\n\ndef read():\n    from imageio_of_nobody import frames\n"
    assert galleries.missing(code, {"fetch"}) == {"imageio_of_nobody"}


@pytest.fixture
def mathml(monkeypatch):
    """The extension of the site that translates formulas."""
    pytest.importorskip("sphinx", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    import mathml

    return mathml


def formulas(path):
    """The LaTeX of a script, a module or a page."""
    text = re.sub(r"^ *# ?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = re.findall(r"^( *)\.\. math::(.*\n(?:\1 +.*\n|\n)*)", text, re.MULTILINE)
    return re.findall(r":math:`([^`]+)`", text) + [
        part for _, block in blocks for part in re.split(r"\n\s*\n", block.strip())
    ]


@pytest.mark.parametrize("latex", [r"\frac12)", r"\tfrac1 2)", r"\dfrac{1}{2})"])
def test_digits_of_a_fraction_are_apart(mathml, latex):
    from docutils import nodes

    shown = re.sub(r"\s", "", mathml.translated(nodes.math("", latex), False))
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in re.sub("</?mrow>", "", shown)


def test_every_formula_can_be_read(mathml, caplog):
    from docutils import nodes

    count = 0
    for path in (*ROOT.glob("tutorials/**/*.py"), *ROOT.glob("nfref/**/*.py"), *PAGES):
        for latex in formulas(path):
            shown = mathml.translated(nodes.math_block("", latex), True)
            assert "<code>" not in shown, (path.name, latex)
            count += 1
    assert count > 300
    assert "<code>" in mathml.translated(nodes.math_block("", r"\nothing{x}"), True)


def test_a_formula_becomes_mathml(mathml):
    from docutils import nodes

    shown = mathml.translated(nodes.math_block("", r"\log p = \dfrac{1}{2} \log(x)"), True)
    assert "<mfrac>" in shown and shown.count("rspace") == 1


# The site itself ----------------------------------------------------------------------------


class Links(HTMLParser):
    """The targets of a page's links and pictures, and the anchors in it."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.places = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.targets += [attributes[key] for key in ("href", "src") if attributes.get(key)]


@pytest.mark.slow
def test_no_link_within_the_site_is_dead(site):
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 150
    dead = []

    @cache  # the pages of a folder have most links in common
    def destination(folder, place):
        there = (folder / unquote(place)).resolve()
        return there, there.is_file()

    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there, is_file = destination(path.parent, parts.path) if parts.path else (path, True)
            if not is_file:
                dead.append((path.relative_to(site).as_posix(), target))
            elif there in pages and unquote(parts.fragment) not in pages[there].places:
                dead.append((path.relative_to(site).as_posix(), target))
    assert not dead, dead[:20]


# Formulas that leave the window and stand in nothing that scrolls.
CUT_OFF = """[...document.querySelectorAll('article math')].filter(formula => {
    if (formula.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let part = formula.parentElement; part.tagName !== 'ARTICLE'; part = part.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(part).overflowX)) return false;
    return true;
}).map(formula => formula.textContent)"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)])
def test_a_browser_opens_every_page(site, width, dark, tmp_path):
    """The console has no error, all pictures load, and the page does not scroll sideways."""
    wrong = []
    with Browser(tmp_path / "profile") as browser:
        browser.look(width, dark=dark)
        for path in sorted(site.rglob("*.html")):
            page = path.relative_to(site).as_posix()
            wrong += [(page, complaint) for complaint in browser.open(path.as_uri())]
            broken = browser.value(
                "[...document.images].filter(i => i.complete && "
                "!i.naturalWidth && i.loading !== 'lazy').map(i => i.src)"
            )
            wrong += [(page, "broken picture", source) for source in broken]
            across = browser.value("document.documentElement.scrollWidth")
            if across > width:
                wrong.append((page, f"{across} pixels across in a window of {width}"))
            wrong += [(page, "a formula is cut off", text) for text in browser.value(CUT_OFF)]
    assert not wrong, wrong[:20]


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_browser_sees_what_is_wrong(tmp_path):
    page = tmp_path / "page.html"
    with Browser(tmp_path / "profile") as browser:
        for body, complaint in (
            ("<p>good</p>", None),
            ("<img src='none.png'>", "none.png"),
            ("<script>console.error('so wrong')</script>", "so wrong"),
            ("<script>nothing.at.all()</script>", "nothing is not defined"),
            ("<article><math><mtext>{}</mtext></math></article>".format("wide" * 500), "wide"),
            (
                "<article style='overflow: auto'><p style='overflow: auto'>"
                "<math><mtext>{}</mtext></math></p></article>".format("wide" * 500),
                None,
            ),
        ):
            page.write_text(f"<!doctype html><title>t</title>{body}")
            said = " ".join(browser.open(page.as_uri()) + browser.value(CUT_OFF))
            assert complaint in said if complaint else not said
