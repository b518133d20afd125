"""Check the site with axe-core for barriers to reading: four views of a page of each kind."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser

# A page of each kind.
PAGES = (
    "index.html",
    "lessons/index.html",
    "lessons/00_what_a_flow_is.html",
    "methods/tarflow.html",
    "applications/audio.html",
    "notation.html",
    "which_flow.html",
    "teach/index.html",
    "playground/index.html",
    "playground/learn.html",
)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
RULES = {
    "runOnly": {"type": "tag", "values": WCAG},
    "rules": {name: {"enabled": True} for name in ("landmark-unique", "landmark-one-main")},
}


def axe():
    """The script of axe-core."""
    found = importlib.util.find_spec("axe_core_python")
    if not found:
        pytest.skip("needs the extra course")
    return next(Path(found.origin).parent.rglob("axe.min.js")).read_text(encoding="utf-8")


def violations(browser, script):
    """Return (rule, place) of every violation that axe-core finds on the open page."""
    browser.value(f"{script}; true")
    return [
        tuple(one)
        for one in json.loads(
            browser.value(
                f"axe.run(document, {json.dumps(RULES)}).then(found => JSON.stringify("
                "found.violations.flatMap(rule => rule.nodes.map(node => "
                "[rule.id, node.target.join(' '), node.failureSummary.slice(0, 200)]))))"
            )
        )
    ]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False), (390, True)])
def test_axe_finds_nothing(site, tmp_path, width, dark):
    wrong, script = [], axe()
    with Browser(tmp_path / "profile") as browser:
        browser.look(width, dark=dark)
        for page in PAGES:
            browser.open((site / page).as_uri())
            wrong += [(page, *found) for found in violations(browser, script)]
    assert not wrong, "\n".join(map(str, wrong[:20]))


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_axe_sees_what_is_wrong(tmp_path):
    page, script = tmp_path / "page.html", axe()
    with Browser(tmp_path / "profile") as browser:
        for body, rule in (
            ("<p>good</p>", None),
            ("<img src='data:,'>", "image-alt"),
            ("<p style='color: #999; background: #fff'>pale</p>", "color-contrast"),
            ("<a href='x'></a>", "link-name"),
        ):
            page.write_text(f"<!doctype html><html lang=en><title>t</title><main>{body}</main>")
            browser.open(page.as_uri())
            found = {name for name, *_ in violations(browser, script)}
            assert rule in found if rule else not found
