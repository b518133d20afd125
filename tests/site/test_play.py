"""docs/static/play.js: numbers against nfref, SciPy and differences; sliders in a browser."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import nfref
from tests.browser import CHROMIUM, Browser
from tests.site.test_playground import by_node

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "docs" / "static"
STATES = {
    "probe": {"z": 0.7, "h": 0.2},
    "fold": {"wu": 1.7},
    "steps": {"layers": 3, "s": 0.8},
    "knots": {"height": 0.55, "slope": 2.3},
    "cobweb": {"L": 0.7, "start": 1.9},
    "paths": {"t": 0.8, "z": 0.35},
    "weights": {"m": 0.6, "s": 2.4},
}
SHOW = """
const found = {};
for (const [name, state] of Object.entries(STATES)) found[name] = PLAYS[name].numbers(state);
const moved = (x, y) => PLAYS.steps.through([x, y], STATES.steps.layers, STATES.steps.s)[0];
const h = 1e-5;
found.columns = [[moved(0.5 + h, -1), moved(0.5 - h, -1)], [moved(0.5, -1 + h), moved(0.5, -1 - h)]]
  .map(([ahead, behind]) => ahead.map((value, i) => (value - behind[i]) / (2 * h)));
show(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if not shutil.which("node"):
        pytest.skip("no node")
    script = (STATIC / "play.js").read_text(encoding="utf-8")
    shown = by_node(
        f"{script}\nconst STATES = {json.dumps(STATES)};\n{SHOW}", tmp_path_factory.mktemp("play")
    )
    return {
        name: list(value.values()) if isinstance(value, dict) else value
        for name, value in shown.items()
    }


def planar(w, u_hat, b):
    """A planar layer in one dimension and its parameters, from the u-hat of the page."""
    return nfref.PlanarLayer(1), {
        "u": np.array([np.log(np.expm1(1 + w * u_hat)) / w]),
        "w": np.array([w]),
        "b": np.array([b]),
    }


def test_the_probe(found):
    flow, params = planar(2.0, 1.5, 0.6)
    z, h = STATES["probe"].values()
    ends, log_det = flow.forward(params, np.array([[z], [z + h / 2], [z - h / 2]]))
    share, length = stats.norm.pdf(z) * h, ends[1, 0] - ends[2, 0]
    formula = nfref.Density(flow).log_prob({"base": {}, "flow": params}, ends[:1])
    np.testing.assert_allclose(
        found["probe"], [ends[0, 0], share, length, share / length, np.exp(formula[0])], rtol=1e-9
    )


def test_the_fold(found):
    wu = STATES["fold"]["wu"]
    flow, params = planar(1.0, wu, 0.0)
    log_det = flow.forward(params, np.zeros((1, 1)))[1][0]
    np.testing.assert_allclose(found["fold"], [np.exp(log_det), log_det, 1], rtol=1e-9)


def test_couplings_by_differences(found):
    assert np.isclose(np.log(np.linalg.det(found["columns"])), found["steps"][2], atol=1e-8)


def test_knots(found):
    height, slope = STATES["knots"].values()
    x_k, y_k = np.array([-3, -1, 0, 1, 3.0]), np.array([-3, -1, height, 1, 3.0])
    knots = [x_k, y_k, np.diff(y_k) / np.diff(x_k), np.array([1, 1, slope, 1, 1.0])]
    z, log_slope = nfref.RationalQuadratic(bins=4, bound=3.0).inverse(
        np.array([-0.5]), [part[:, None] for part in knots]
    )
    masses = np.diff(stats.norm.cdf([-1, height, 1]))
    np.testing.assert_allclose(
        found["knots"], [z[0], np.exp(stats.norm.logpdf(z[0]) + log_slope[0]), *masses], rtol=1e-9
    )


def test_the_walk_ends_where_the_equation_is_solved(found):
    L = STATES["cobweb"]["L"]
    root = optimize.brentq(lambda x: x + L * np.sin(x) - 0.9, -3, 3)
    assert np.isclose(found["cobweb"][1], root, atol=1e-9) and found["cobweb"][2] < 1e-9


def test_paths_have_the_mean_velocity(found):
    weights, means, scale = np.array([0.3, 0.7]), np.array([-2.0, 1.5]), 0.35

    def velocity(t, x):
        """E[x_1 - z | x_t = x], by quadrature over z."""
        z = np.linspace(-9, 9, 20_001)
        x1 = (x - (1 - t) * z) / t
        weight = stats.norm.pdf(z) * (stats.norm.pdf(x1[:, None], means, scale) @ weights)
        return np.sum(weight * (x1 - z)) / np.sum(weight)

    t, z = STATES["paths"].values()
    x, there, density = found["paths"]
    assert np.isclose(there, velocity(t, x), rtol=1e-6)
    start = 0.02  # at t = 0 the quadrature would divide by zero
    first = z + start * (means @ weights - z)
    solved = integrate.solve_ivp(lambda t, x: [velocity(t, x[0])], (start, t), [first], rtol=1e-7)
    assert np.isclose(solved.y[0, -1], x, atol=2e-3)
    spread = np.hypot(t * scale, 1 - t)
    assert np.isclose(density, stats.norm.pdf(x, t * means, spread) @ weights, rtol=1e-9)


def test_weights(found):
    m, s = STATES["weights"].values()
    x = m + s * stats.norm.ppf((np.arange(200) + 0.5) / 200)
    q = nfref.Density(nfref.Standardise([m], [s]))
    log_p = np.logaddexp(*stats.norm.logpdf(x, [[2], [-2]])) - np.log(2)
    w = np.exp(log_p - q.log_prob({"base": {}, "flow": {}}, x[:, None]))
    np.testing.assert_allclose(
        found["weights"], [w.sum() ** 2 / (w**2).sum(), np.log(w.mean())], rtol=1e-6, atol=1e-9
    )


def page_of(names, tmp_path):
    """Write a page with these things to play with, and return its address."""
    figures = "".join(f'<figure class="play" data-play="{name}"></figure>' for name in names)
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><title>t</title><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="{(STATIC / "nfref.css").as_uri()}">'
        f'<script src="{(STATIC / "play.js").as_uri()}"></script>{figures}'
    )
    return page.as_uri()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_handles_are_dragged(tmp_path):
    """A drag by 10 pixels moves the slider, and the handle follows the pointer."""
    with_handles = ["probe", "knots", "cobweb", "paths", "weights"]
    with Browser(tmp_path / "profile") as browser:
        browser.look(800, 1000)
        for name in with_handles:
            assert browser.open(page_of([name], tmp_path)) == []
            places = """[...document.querySelectorAll('.handle')].map(handle => {
                const box = handle.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; })"""
            values = "[...document.querySelectorAll('input')].map(input => input.value)"
            for k in range(2 if name == "knots" else 1):
                before, (x, y) = browser.value(values), browser.value(places)[k]
                for kind, dx, dy in (
                    ("mousePressed", 0, 0),
                    ("mouseMoved", 10, -10),
                    ("mouseReleased", 10, -10),
                    ("mouseMoved", 40, -40),
                ):
                    browser.call(
                        "Input.dispatchMouseEvent",
                        type=kind,
                        x=x + dx,
                        y=y + dy,
                        button="left",
                        clickCount=1,
                    )
                after, there = browser.value(values), browser.value(places)[k]
                assert sum(one != other for one, other in zip(before, after)) == 1, name
                assert abs(there[0] - x - 10) < 2 or abs(there[1] - y + 10) < 2, name


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_sliders_move_by_the_keyboard(tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.look(390, dark=True)
        assert browser.open(page_of(STATES, tmp_path)) == []
        assert browser.value("document.documentElement.scrollWidth") <= 390
        said = "[...document.querySelectorAll('figure.play dl')].map(list => list.textContent)"
        for k, before in enumerate(browser.value(said)):
            browser.value(
                f"document.querySelectorAll('figure.play')[{k}].querySelector('input').focus()"
            )
            for kind in ("keyDown", "keyUp"):
                browser.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key="ArrowRight",
                    code="ArrowRight",
                    windowsVirtualKeyCode=39,
                )
            assert browser.value(said)[k] != before
        assert browser.value(
            "[...document.querySelectorAll('figure.play svg')].every("
            "picture => picture.querySelectorAll('.line, .area').length > 3)"
        )


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_rows_of_the_scoreboard_are_coloured_and_filtered(tmp_path):
    rows = [
        ("MAF", "float32", "ok", *["yes"] * 6, "–"),
        ("NSF", "float64", "failed", "yes", "round_trip", *["yes"] * 5),
        ("NAF", "float32", "inconclusive", "? sweep", *["yes"] * 6),
    ]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><title>t</title><link rel="icon" href="data:,">'
        f'<script src="{(STATIC / "nfref.js").as_uri()}"></script><article>'
        f'<section id="scoreboard"><h1>s</h1><table><tbody>{body}</table></section>'
    )
    with Browser(tmp_path / "profile") as browser:
        assert browser.open(page.as_uri()) == []
        classes = browser.value(
            "[...document.querySelectorAll('tr')].map(row => "
            "[...row.cells].slice(2, 5).map(cell => cell.className))"
        )
        yes, failed, unsure = (f"verdict-{name}" for name in ("yes", "failed", "open"))
        assert classes == [[yes] * 3, [failed, yes, failed], [unsure, unsure, yes]]
        browser.value(
            "input = document.querySelector('label.filter input'); "
            "input.value = 'float32 OK'; input.dispatchEvent(new Event('input'))"
        )
        assert browser.value("[...document.querySelectorAll('tr')].map(row => row.hidden)") == [
            False,
            True,
            True,
        ]
        assert browser.value("document.querySelector('.filter output').textContent") == " 1 of 3"
