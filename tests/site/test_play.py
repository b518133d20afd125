"""docs/static/play.js: numbers against nfref, SciPy and differences; sliders in a browser."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, linalg, optimize, special, stats

import nfref
from docs import notebooks
from nfref.objectives.flow_matching import gaussian_velocity
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
    "likely": {"x": 1.7, "s": 0.8},
    "mix": {"a": 1.3, "l": -0.4, "b": 0.7, "u": 0.9},
    "pair": {"first": 0.7, "second": -0.2},
    "carry": {"a": 0.5, "d": -0.9, "turn": 1.3, "t": 1.1, "x": 0.2, "y": -0.4},
    "bend": {"b": -0.6, "n": 5},
    "gap": {"w": 3.0, "g": 1.2},
    "unit": {"x": 1.1, "c": 2.54},
    "given": {"x": 0.4, "y": 1.5},
    "split": {"m": -0.7, "s": 1.6},
    "wrong": {"s": 1.7, "k": 0.3},
    "bits": {"s": 0.4},
    "walk": {"c": 0.7, "z": -0.6, "t": 0.35},
    "guide": {"w": 2.2, "z": -0.4},
    "mean": {"t": 0.2, "d": 0.5, "z": 0.3},
    "blend": {"m": 0.9, "x": -0.3},
    "grow": {"c": 0.3, "beta": 0.7, "alpha": 0.9},
    "almost": {"a": 0.8, "b": 1.1},
    "lost": {"s": 1.7, "n": 4},
    "aside": {"a": 70.0, "x": -1.1},
    "circle": {"u": 0.5, "v": -0.2, "angle": 2.0},
}
# The sliders that each handle moves. A handle with two follows the pointer in both directions.
MOVED = {
    "probe": ["z"],
    "fold": [],
    "steps": [],
    "knots": ["height", "slope"],
    "cobweb": ["start"],
    "paths": ["z"],
    "weights": ["m"],
    "likely": ["x"],
    "mix": ["a l", "b u"],
    "pair": ["first second"],
    "carry": ["x y"],
    "bend": ["b"],
    "gap": ["g"],
    "unit": ["x"],
    "given": ["x y"],
    "split": ["m s"],
    "wrong": ["s"],
    "bits": ["s"],
    "walk": ["z"],
    "guide": ["z"],
    "mean": ["z", "t", "d"],
    "blend": ["m", "x"],
    "grow": ["c"],
    "almost": ["b", "a"],
    "lost": ["s"],
    "aside": ["a x"],
    "circle": ["u v"],
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


def test_one_stretched_row(found):
    x, s = STATES["likely"].values()
    log_p = stats.norm.logpdf(x, 1, s)
    z = (x - 1) / s
    np.testing.assert_allclose(
        found["likely"], [z, stats.norm.logpdf(z), log_p - stats.norm.logpdf(z), log_p], rtol=1e-9
    )


def test_the_mixing_matrix(found):
    a, low, b, u = STATES["mix"].values()
    W = np.array([[1, 0], [low, 1]]) @ [[a, u], [0, b]]
    det = np.linalg.det(W)
    np.testing.assert_allclose(found["mix"], [det, det, np.linalg.slogdet(W)[1]], rtol=1e-9)


def test_one_number_after_the_other(found):
    first, second = STATES["pair"].values()
    own = stats.norm(0.7 * first**2 - 1, np.exp(0.3 * first))
    parts = stats.norm.pdf(first), own.pdf(second)
    z = (second - own.mean()) / own.std()
    np.testing.assert_allclose(found["pair"], [first, z, *parts, np.prod(parts)], rtol=1e-9)


def test_the_carried_area(found):
    a, d, turn, t, _, _ = STATES["carry"].values()
    log_det = np.linalg.slogdet(linalg.expm(t * np.array([[a, -turn], [turn, d]])))[1]
    np.testing.assert_allclose(found["carry"], [a + d, log_det, t * (a + d)], rtol=1e-6)


def test_the_cost_of_a_bend(found):
    b, n = STATES["bend"].values()
    t = (np.arange(10_000) + 0.5) / 10_000
    S = np.mean((b * np.pi * np.cos(np.pi * t)) ** 2)
    off = abs(sum(b * np.pi * np.cos(np.pi * k / n) / n for k in range(n)))
    np.testing.assert_allclose(found["bend"], [S, off], rtol=1e-7)


def test_the_gap(found):
    """A planar layer, then times 0.4, as on the page."""
    w, g = STATES["gap"].values()
    flow, params = planar(w, 7.5, 0.0)
    z = flow.inverse(params, np.array([[g / 0.4]]))[0][0, 0]
    L = 0.4 * np.exp(flow.forward(params, np.zeros((1, 1)))[1][0])
    masses = [2 * stats.norm.cdf(v) - 1 for v in (z, g / L)]
    np.testing.assert_allclose(found["gap"], [L, *masses], rtol=1e-7)


def test_units(found):
    x, c = STATES["unit"].values()
    metres, units = stats.norm.logpdf(x), stats.norm.logpdf(c * x, scale=c)
    np.testing.assert_allclose(
        found["unit"], [metres, units, (metres - units) / np.log(2), np.log2(c)], rtol=1e-9
    )


def test_y_given_x(found):
    x, y = STATES["given"].values()
    own = stats.norm(np.sin(2 * x), 0.2 + 0.5 * (x + 2))
    z = (y - own.mean()) / own.std()
    np.testing.assert_allclose(found["given"], [z, own.pdf(y), own.cdf(y)], rtol=1e-9)


def test_the_loss_is_split(found):
    m, s = STATES["split"].values()
    x = np.linspace(-12, 12, 20_001)
    p, h = stats.norm.pdf(x), x[1] - x[0]
    loss = -np.sum(p * stats.norm.logpdf(x, m, s)) * h
    entropy = stats.norm.entropy()
    np.testing.assert_allclose(found["split"], [entropy, loss - entropy, loss], rtol=1e-7)


def test_a_wrong_log_determinant(found):
    s, k = STATES["wrong"].values()
    x = np.linspace(-30, 30, 100_001)
    claimed = stats.norm.logpdf(x / s) - k * np.log(s)
    h = x[1] - x[0]
    mean = np.sum(stats.norm.pdf(x, scale=s) * claimed) * h
    np.testing.assert_allclose(found["wrong"], [0, 0, mean, np.exp(claimed).sum() * h], rtol=1e-7)


def test_bits_of_whole_numbers(found):
    (s,) = STATES["bits"].values()
    weights = np.array([0.5, 0.2, 0.15, 0.1, 0.05])

    def log_p(x):
        return np.log2(stats.norm.pdf(x[:, None], np.arange(5) + 0.5, s) @ weights)

    raw = -weights @ log_p(np.arange(5) + 0.5)
    noisy = -weights @ [
        integrate.quad(lambda x: log_p(np.array([x]))[0], k, k + 1)[0] for k in range(5)
    ]
    entropy = -weights @ np.log2(weights)
    np.testing.assert_allclose(found["bits"], [raw, noisy, entropy], rtol=1e-4)
    assert noisy >= entropy, "noise makes it a bound"


WEIGHTS, MEANS, SCALE = np.array([0.3, 0.7]), np.array([-2.0, 1.5]), 0.35


def log_density(t, x):
    return np.log(stats.norm.pdf(x, t * MEANS, np.hypot(t * SCALE, 1 - t)) @ WEIGHTS)


def velocity(t, x):
    own = gaussian_velocity(t, x, MEANS, SCALE)
    share = stats.norm.pdf(x, t * MEANS, np.hypot(t * SCALE, 1 - t)) * WEIGHTS
    return share @ own / share.sum()


def test_the_walk_has_the_score(found):
    c, x, t = STATES["walk"].values()
    score = (log_density(t, x + 1e-5) - log_density(t, x - 1e-5)) / 2e-5
    expected = [velocity(t, x), score, velocity(t, x) + c * (1 - t) * score]
    np.testing.assert_allclose(found["walk"], expected, rtol=1e-6)


def path_of(velocity, z, t):
    return integrate.solve_ivp(
        lambda t, x: [velocity(t, x[0])], (0, t), [z], rtol=1e-9, atol=1e-10
    ).y[0, -1]


def test_guidance(found):
    w, z = STATES["guide"].values()

    def guided(t, x):
        own = gaussian_velocity(t, x, MEANS[1], SCALE)
        return velocity(t, x) + w * (own - velocity(t, x))

    np.testing.assert_allclose(
        found["guide"], [guided(0.5, 0.0), path_of(guided, z, 1.0)], rtol=1e-5
    )


def test_the_mean_velocity(found):
    t, d, z = STATES["mean"].values()
    x, y = path_of(velocity, z, t), path_of(velocity, z, t + d)
    off = abs(x + d * velocity(t, x) - y)
    np.testing.assert_allclose(found["mean"], [velocity(t, x), (y - x) / d, off], rtol=1e-4)


def test_the_mean_of_two_densities(found):
    m, x = STATES["blend"].values()
    costs = -stats.norm.logpdf(x, [0, m], [1, 0.7])
    mixed = -np.log(np.mean(np.exp(-costs)))
    np.testing.assert_allclose(found["blend"], [*costs, costs.mean(), mixed], rtol=1e-9)
    assert mixed <= costs.mean()


def test_a_map_of_dual_ascent(found):
    c, beta, alpha = STATES["grow"].values()

    def g(z):
        return z + beta * special.erf((z - c) / alpha)

    slopes = [(g(z + 1e-6) - g(z - 1e-6)) / 2e-6 for z in (0.0, c)]
    np.testing.assert_allclose(found["grow"], [g(0.0), *slopes], rtol=1e-7)


def test_almost_an_inverse(found):
    a, b = STATES["almost"].values()
    slope = (np.log(a + 1e-6) - np.log(a - 1e-6)) / 2e-6
    np.testing.assert_allclose(found["almost"], [slope, b, abs(1 - b * a)], rtol=1e-7)


def test_what_the_way_back_loses(found):
    """Four layers scale a number; the way back divides by what they made of it."""
    s, n = STATES["lost"].values()
    stretch = np.prod(np.exp(np.full(n, s)))
    np.testing.assert_allclose(found["lost"], stretch * np.array([1, 6e-8, 1.1e-16]), rtol=1e-9)
    # Half a unit in the last place, the largest rounding of a number near 1.
    assert np.finfo(np.float32).eps / 2 < 6e-8 < np.finfo(np.float32).eps


def test_a_point_that_steps_aside(found):
    a, x = STATES["aside"].values()
    turned = x * np.exp(1j * np.deg2rad(a))
    other = -x * np.exp(1j * np.deg2rad(a))
    np.testing.assert_allclose(
        found["aside"], [turned.real, turned.imag, abs(turned - other)], rtol=1e-9
    )


def test_a_map_of_the_circle(found):
    """The formula of the page, in complex numbers."""
    u, v, angle = STATES["circle"].values()
    w = u + 1j * v

    def image(angle):
        z = np.exp(1j * angle)
        return np.angle((z - w) / (1 - np.conj(w) * z))

    slope = (image(angle + 1e-6) - image(angle - 1e-6)) / 2e-6
    np.testing.assert_allclose(found["circle"], [image(angle), slope, 1.0], rtol=1e-6)


def test_every_page_has_something_to_drag():
    """The labs, and what collects other pages, have none."""
    pages = [
        page
        for folder, page in notebooks.pages()
        if folder != "labs" and (folder != "lessons" or page.name[0].isdigit())
    ]
    used = {page.stem: re.findall(r"\.\. play: (\w+)", page.read_text("utf-8")) for page in pages}
    assert not [page for page, names in used.items() if not names]
    assert {name for names in used.values() for name in names} == set(STATES)


def page_of(names, tmp_path):
    """Write a page with these things to play with, and return its address."""
    figures = "".join(f'<figure class="play" data-play="{name}"></figure>' for name in names)
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title>'
        '<link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="{(STATIC / "nfref.css").as_uri()}">'
        f'<script src="{(STATIC / "play.js").as_uri()}"></script>{figures}'
    )
    return page.as_uri()


def drag(browser, x, y, dx, dy):
    """Press at a place, move, release, and move on without a button."""
    for kind, share, button in (
        ("mousePressed", 0, "left"),
        ("mouseMoved", 1, "left"),
        ("mouseReleased", 1, "left"),
        ("mouseMoved", 4, "none"),
    ):
        place = {"x": x + share * dx, "y": y + share * dy}
        browser.call("Input.dispatchMouseEvent", type=kind, button=button, clickCount=1, **place)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_handles_are_dragged(tmp_path):
    """A drag by 10 pixels moves its sliders and no other, and the handle follows the pointer."""
    places = """[...document.querySelectorAll('.handle')].map(handle => {
        const box = handle.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; })"""
    values = "[...document.querySelectorAll('input')].map(input => input.value)"
    with Browser(tmp_path / "profile") as browser:
        browser.look(800, 1000)
        for name, handles in MOVED.items():
            assert browser.open(page_of([name], tmp_path)) == []
            assert len(browser.value(places)) == len(handles), name
            for k, sliders in enumerate(handles):
                before, (x, y) = browser.value(values), browser.value(places)[k]
                drag(browser, x, y, 10, -10)
                after, there = browser.value(values), browser.value(places)[k]
                moved = [
                    slider for slider, *pair in zip(STATES[name], before, after) if len({*pair}) > 1
                ]
                assert moved == sliders.split(), name
                follows = [abs(there[0] - x - 10) < 2, abs(there[1] - y + 10) < 2]
                assert sum(follows) >= len(moved), name


LABELS = """[...document.querySelectorAll('figure.play svg')].map(svg => {
    const all = svg.getBoundingClientRect(), found = [];
    const boxes = [...svg.querySelectorAll('text')].map(
        text => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([name, a], k) => {
        if (a.left < all.left || a.right > all.right || a.bottom > all.bottom) found.push(name);
        for (const [other, b] of boxes.slice(k + 1)) {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && tall > 3) found.push(`${name} on ${other}`);
        }
    });
    return found; })"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 800])
def test_labels_are_whole_and_apart(width, tmp_path):
    """No minus sign is cut off, and no label stands on another."""
    with Browser(tmp_path / "profile") as browser:
        browser.look(width)
        assert browser.open(page_of(STATES, tmp_path)) == []
        found = dict(zip(STATES, browser.value(LABELS)))
        assert not {name: labels for name, labels in found.items() if labels}
        sizes = "getComputedStyle(document.querySelector('figure.play text')).fontSize"
        assert browser.value(sizes) == "14px"


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_sliders_move_by_the_keyboard(tmp_path):
    """A step of any slider changes the picture, and one of the sliders also the numbers.

    Not all do: the determinant of a product of triangles does not depend on what stands off their
    diagonals.
    """
    with Browser(tmp_path / "profile") as browser:
        browser.look(390, dark=True)
        assert browser.open(page_of(STATES, tmp_path)) == []
        assert browser.value("document.documentElement.scrollWidth") <= 390
        for k, (name, state) in enumerate(STATES.items()):
            figure = f"document.querySelectorAll('figure.play')[{k}]"
            shown = f"['svg', 'dl'].map(part => {figure}.querySelector(part).innerHTML)"
            assert browser.value(f"{figure}.querySelectorAll('input').length") == len(state), name
            numbers_change = False
            for slider in range(len(state)):
                before = browser.value(shown)
                browser.value(f"{figure}.querySelectorAll('input')[{slider}].focus()")
                for kind in ("keyDown", "keyUp"):
                    browser.call(
                        "Input.dispatchKeyEvent",
                        type=kind,
                        key="ArrowRight",
                        code="ArrowRight",
                        windowsVirtualKeyCode=39,
                    )
                picture, numbers = browser.value(shown)
                assert picture != before[0], (name, slider)
                numbers_change |= numbers != before[1]
            assert numbers_change, name
