"""``nfref report``: one page that asks for nothing else, with the library's numbers."""

import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from nfref.cli import main
from nfref.model_file import load_model
from tests.app.test_estimator_cli import COLUMNS, QUICK, people

pytest.importorskip("jinja2")


class Page(HTMLParser):
    """Every element with its attributes, and figures by class."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def classes(self, tag):
        return [given.get("class") for name, given in self.elements if name == tag]

    def value(self, identifier):
        return float(next(given["data-value"] for _, given in self.elements
                          if given.get("id") == identifier))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data, model, page = (str(folder / name) for name in ("people.csv", "m.npz", "m.html"))
    people().drop(columns="w").to_csv(data, index=False)
    assert main(["fit", data, *COLUMNS, *QUICK, "--out", model]) == 0
    assert main(["report", model, "--data", data, "--out", page]) == 0
    return folder


def test_the_page_holds_all_and_fetches_nothing(written):
    page = Page((written / "m.html").read_text(encoding="utf-8"))
    assert not [given for _, given in page.elements if "src" in given]
    assert [given["href"] for _, given in page.elements if "href" in given] == ["data:,"]
    figures = page.classes("figure")
    for kind, count in (("shares", 4), ("pit", 4), ("calibration", 1), ("likelihoods", 1),
                        ("curve", 1), ("layers", 1)):
        assert figures.count(kind) == count, kind
    assert all(given.get("aria-label") for tag, given in page.elements if tag == "svg")


def test_numbers_are_those_of_the_library(written):
    page = Page((written / "m.html").read_text(encoding="utf-8"))
    model, data = load_model(written / "m.npz"), people().drop(columns="w")
    scores = model.density.log_prob([data[name].to_numpy() for name in data])
    assert page.value("mean") == pytest.approx(np.mean(scores), abs=1e-9)
    lowest = [float(given["data-value"]) for tag, given in page.elements
              if tag == "td" and "data-value" in given]
    np.testing.assert_allclose(lowest, np.sort(scores)[:10], atol=1e-9)


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_a_browser_opens_it_without_a_complaint(written):
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={written / 'profile'}", (written / "m.html").as_uri()],
        capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('<path d="M') == 400
