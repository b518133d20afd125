"""``nfref report``: one self-contained page with the library's numbers."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.tables.files.model_file import load_model
from nfref.tables.schema.distinct_rows import keys_of, of_text
from tests.browser import CHROMIUM, Browser
from tests.cli.mixed import COLUMNS, QUICK, people

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
        return float(
            next(given["data-value"] for _, given in self.elements if given.get("id") == identifier)
        )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data, model, page = (str(folder / name) for name in ("people.csv", "m.npz", "m.html"))
    people().drop(columns="w").to_csv(data, index=False)
    assert main(["fit", data, *COLUMNS, *QUICK, "--out", model]) == 0
    assert main(["report", model, data, "--out", page]) == 0
    return folder


def test_the_page_holds_all_and_fetches_nothing(written):
    page = Page((written / "m.html").read_text(encoding="utf-8"))
    assert not [given for _, given in page.elements if "src" in given]
    assert [given["href"] for _, given in page.elements if "href" in given] == ["data:,"]
    figures = page.classes("figure")
    for kind, count in (
        ("shares", 4),
        ("pit", 4),
        ("calibration", 1),
        ("likelihoods", 1),
        ("curve", 1),
        ("layers", 1),
    ):
        assert figures.count(kind) == count, kind
    assert all(given.get("aria-label") for tag, given in page.elements if tag == "svg")


def test_numbers_are_those_of_the_library(written):
    page = Page((written / "m.html").read_text(encoding="utf-8"))
    model, data = load_model(written / "m.npz"), people().drop(columns="w")
    scores = model.density.log_prob([data[name].to_numpy() for name in data])
    tested = np.isin(
        keys_of(model.density, [data[name].to_numpy() for name in data]),
        of_text(model.info["fit"]["tested"]),
    )
    assert np.sum(tested) == model.info["fit"]["rows"]["test"]
    # The page starts with the mean of the test rows; the mean of the others follows.
    assert page.value("mean") == pytest.approx(np.mean(scores[tested]), abs=1e-9)
    assert page.value("mean") == pytest.approx(model.info["fit"]["test"]["mean"], abs=1e-9)
    assert page.value("fitted") == pytest.approx(np.mean(scores[~tested]), abs=1e-9)
    lowest = [
        float(given["data-value"])
        for tag, given in page.elements
        if tag == "td" and "data-value" in given
    ]
    np.testing.assert_allclose(lowest, np.sort(scores)[:10], atol=1e-9)


@pytest.mark.thorough
def test_values_of_any_turn_are_compared_with_draws_of_one(tmp_path, monkeypatch):
    """A model of hours with a mode at midnight, fitted from 0 to 24, meets hours beyond 24."""
    monkeypatch.chdir(tmp_path)
    hours = np.mod(np.random.default_rng(0).normal(0, 3, 600), 24)
    np.savetxt("fitted.csv", hours, header="hour", comments="")
    np.savetxt("later.csv", hours + 24 * (np.arange(600) % 5), header="hour", comments="")
    assert (
        main(
            [
                "fit",
                "fitted.csv",
                "--column",
                "hour=period 24",
                "--epochs",
                "1",
                "--quiet",
                "--out",
                "m.npz",
            ]
        )
        == 0
    )
    for data in ("fitted.csv", "later.csv"):
        assert main(["report", "m.npz", data, "--out", "m.html"]) == 0
        (distance,) = re.findall(
            r"hour: p = [^,]*, distance ([0-9.]+)",
            (tmp_path / "m.html").read_text(encoding="utf-8"),
        )
        assert float(distance) < 1.63 / np.sqrt(60)  # p = 0.01 with 60 test rows


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_a_browser_opens_it_without_a_complaint(written):
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--enable-logging=stderr",
            "--dump-dom",
            f"--user-data-dir={written / 'profile'}",
            (written / "m.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('class="q') == 400


@pytest.mark.thorough
def test_columns_that_are_given_are_not_compared(written):
    """Samples copy the data's own values there; the listed rows show them anyway."""
    data, model, page = (str(written / name) for name in ("people.csv", "g.npz", "g.html"))
    assert main(["fit", data, *COLUMNS, *QUICK, "--given", "age,town", "--out", model]) == 0
    assert main(["report", model, data, "--out", page]) == 0
    text = (written / "g.html").read_text(encoding="utf-8")
    assert "The model describes these columns given age, town" in text
    page = Page(text)
    figures = page.classes("figure")
    assert figures.count("shares") == figures.count("pit") == 2
    worst = text[text.index('<table id="worst">') :]
    names = [f'<th scope="col">{name}</th>' for name in ("age", "share", "town", "children")]
    assert "".join(names) in worst[: worst.index("</thead>")]
    assert page.value("mean") == pytest.approx(
        load_model(model).info["fit"]["test"]["mean"], abs=1e-9
    )


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason="no chromium")
def test_a_telephone_shows_it_and_the_keyboard_works(written, tmp_path):
    def press(key, code):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    with Browser(tmp_path) as browser:
        browser.look(390)
        assert browser.open((written / "m.html").as_uri()) == []
        assert browser.value("document.documentElement.scrollWidth") == 390
        places = (
            "Array.from(document.getElementById('points').children, "
            "point => point.style.transform).join()"
        )
        before = browser.value(places)
        reached = []
        while not reached or reached[-1] != "stage":
            assert len(reached) < 20
            press("Tab", 9)
            reached.append(browser.value("document.activeElement.id"))
            if reached[-1] == "across":
                press("ArrowDown", 40)  # the other column
                assert browser.value(places) != before
        assert {"across", "up"} <= set(reached)
        press("ArrowRight", 39)
        assert browser.value("document.getElementById('stage').value") == "1"
        name = browser.value("document.getElementById('stage-name').textContent")
        assert name.startswith("layer 1 of ")


def test_a_saved_estimator_knows_what_it_was_fitted_to(tmp_path, capsys):
    x = np.random.default_rng(0).standard_normal((300, 2))
    model, data, page = (tmp_path / name for name in ("m.npz", "x.npy", "m.html"))
    nfref.FlowDensity("gaussian", random_state=0).fit(x[:200]).save(model)
    scores = load_model(model).density.log_prob(list(x.T))
    for rows, told, mean in (
        (x, False, np.mean(scores[200:])),
        (x[:200], True, np.mean(scores[:200])),
    ):
        np.save(data, rows)
        assert main(["report", str(model), str(data), "--out", str(page)]) == 0
        found = Page(page.read_text(encoding="utf-8"))
        assert found.value("mean") == pytest.approx(mean, abs=1e-9)
        assert ("fitted to all of these rows" in capsys.readouterr().err) == told
    assert main(["info", str(model)]) == 0 and "fitted_to" not in capsys.readouterr().out
