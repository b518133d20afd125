"""docs/playground: its formulas against golden vectors, its page in a browser against nfref."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nfref
from tests.browser import CHROMIUM, Browser

PAGE = Path(__file__).parents[2] / "docs" / "playground"
VECTORS = Path(nfref.__file__).parent / "oracle" / "vectors"
NAMES = ("planar_layer", "planar", "affine_coupling", "nsf_coupling")

# Runs every golden vector through flows.js, both ways. Cases that the page does not need (a chain,
# a linear layer of a 3 x 3 matrix) are written here. Prints {name: {forward: [[x, log_det], ...],
# ...}}.
CHECK = """
const MAPS = {
  PlanarLayer(direction, row, flow, { u, w, b }) {
    return { forward: planarForward, inverse: planarInverse }[direction](
      row, ...constrainU(u, w), w, b[0]);
  },
  Coupling: coupling,
  LULinear(direction, row, flow, { lu, bias }) {
    const n = row.length, change = sum(lu.map((line, i) => line[i]));
    const x = row.slice();
    if (direction === "forward") {
      const upper = lu.map((line, i) => Math.exp(line[i]) * row[i]
        + sum(row.map((v, j) => j > i ? line[j] * v : 0)));
      return [lu.map((line, i) => upper[i] + bias[i]
        + sum(upper.map((v, j) => j < i ? line[j] * v : 0))), change];
    }
    for (let i = 0; i < n; i++) {
      x[i] -= bias[i];
      for (let j = 0; j < i; j++) x[i] -= lu[i][j] * x[j];
    }
    for (let i = n - 1; i >= 0; i--) {
      for (let j = i + 1; j < n; j++) x[i] -= lu[i][j] * x[j];
      x[i] /= Math.exp(lu[i][i]);
    }
    return [x, -change];
  },
};

function run(direction, row, steps) {
  let total = 0;
  for (const [flow, params] of direction === "forward" ? steps : steps.slice().reverse()) {
    const [value, logDet] = MAPS[flow.class](direction, row, flow, params);
    row = value;
    total += logDet;
  }
  return [row, total];
}

const found = {};
for (const [name, { steps, z, x }] of Object.entries(GOLDEN)) {
  found[name] = { forward: z.map((row) => run("forward", row, steps)),
    inverse: x.map((row) => run("inverse", row, steps)) };
}
show(JSON.stringify(found));
"""

# Moves every control of the page; prints each layer's Python code and its numbers.
DRIVE = """
const found = {};
document.body.style.width = "390px";      // the narrowest that is looked at
function set(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input"));
}
for (const name of ["planar", "affine", "spline"]) {
  get(name).click();
  get("identity").click();
  const identity = get("log-det").textContent;
  get("start").click();
  [...document.querySelectorAll("#sliders input[type=range]")].forEach((input, k) =>
    set(input, Number(input.value) + 0.15 * (-1) ** k));
  if (name === "spline") {
    get("high").click();
    set(get("knot1y"), 99);      // as far as its neighbour lets it
  }
  set(get("z1"), 0.7);
  const data = get("data").getBoundingClientRect();
  get("data").dispatchEvent(new PointerEvent("pointermove",
    { clientX: data.left + 0.6 * data.width, clientY: data.top + 0.35 * data.height }));
  found[name] = { identity, python: get("python").textContent, labels:
    [...document.querySelectorAll("input")].every((input) => input.labels.length === 1),
    width: document.body.scrollWidth };
}
document.body.replaceChildren(Object.assign(document.createElement("pre"),
  { id: "found", textContent: JSON.stringify(found) }));
"""

needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")


def in_chromium(page, folder):
    """Return the text of ``<pre id="found">``; a message on the console is a failure."""
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--window-size=500,900",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1]
    return json.loads(found.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))


def numbers(node):
    """Arrays of a golden vector as nested lists of float64."""
    if isinstance(node, dict) and "hex" in node:
        flat = [float.fromhex(text) for text in node["hex"]]
        return np.reshape(flat, node["shape"]).tolist()
    if isinstance(node, dict):
        return {key: numbers(value) for key, value in node.items()}
    return [numbers(value) for value in node]


def golden():
    """Return by name the (flow, parameters) of each step of ``forward``, rows, and their truths."""
    read = {}
    for name in NAMES:
        vector = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
        fields, params = vector["flow"], numbers(vector["params"])
        if fields["class"] == "Planar":
            steps = [({"class": "PlanarLayer"}, one) for one in params]
        elif fields["class"] == "NSF":
            flow = nfref.NSF(**{key: value for key, value in fields.items() if key != "class"})
            steps = [
                (
                    {
                        "class": type(one).__name__,
                        "mask": getattr(one, "mask", None),
                        "transformer": {
                            "class": "RationalQuadratic",
                            "bins": flow.bins,
                            "bound": flow.bound,
                        },
                    },
                    given,
                )
                for one, given in zip(flow.flows, params)
            ]
        else:
            steps = [(fields, params)]
        read[name] = {
            "steps": steps,
            **{
                key: numbers(vector[key])
                for key in ("z", "x", "log_det_forward", "log_det_inverse")
            },
        }
    return read


def by_node(scripts, folder):
    path = folder / "check.js"
    path.write_text("function show(text) { console.log(text); }\n" + scripts, encoding="utf-8")
    done = subprocess.run(["node", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_chromium(scripts, folder):
    path = folder / "check.html"
    path.write_text(
        '<!DOCTYPE html><link rel="icon" href="data:,"><pre id="found"></pre><script>'
        "function show(text) { document.getElementById('found').textContent = text; }"
        f"\n{scripts}</script>",
        encoding="utf-8",
    )
    return in_chromium(path, folder)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(by_node, marks=pytest.mark.skipif(not shutil.which("node"), reason="no node")),
        pytest.param(by_chromium, marks=needs_chromium),
    ],
)
def test_formulas_agree_with_golden_vectors(engine, tmp_path):
    vectors = golden()
    formulas = (PAGE / "flows.js").read_text(encoding="utf-8")
    found = engine(f"{formulas}\nconst GOLDEN = {json.dumps(vectors)};\n{CHECK}", tmp_path)
    assert set(found) == set(NAMES)
    for name, vector in vectors.items():
        for direction, wanted in (("forward", vector["x"]), ("inverse", vector["z"])):
            rows, log_det = zip(*found[name][direction])
            truth = vector[f"log_det_{direction}"]
            np.testing.assert_allclose(rows, wanted, rtol=1e-12, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(log_det, truth, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.thorough
@needs_chromium
def test_page_shows_what_nfref_computes(tmp_path):
    """The Python code of each layer gives the x and log_det printed below it."""
    page = shutil.copytree(PAGE, tmp_path / "playground") / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "http" not in text
    page.write_text(text.replace("</body>", f"<script>{DRIVE}</script></body>"), encoding="utf-8")
    found = in_chromium(page, tmp_path)
    assert list(found) == ["planar", "affine", "spline"]
    for name, shown in found.items():
        assert shown["identity"].lstrip("−") == "0.000"
        assert shown["labels"] and shown["width"] <= 390
        names = {}
        exec(re.sub(r"print\(.*", "", shown["python"]), names)
        *x, log_det = (
            float(number)
            for number in re.findall(r"-?\d+\.\d{6}", shown["python"].splitlines()[-1])
        )
        np.testing.assert_allclose(names["x"], [x], atol=6e-7)
        np.testing.assert_allclose(names["log_det"], [log_det], atol=6e-7)
        # The pointer was at (0.6, 0.65) of the data plane, from the lower left.
        np.testing.assert_allclose(x, [0.8, 1.2], atol=0.05)


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_an_address_holds_what_is_seen(tmp_path):
    address = (PAGE / "index.html").as_uri()
    with Browser(tmp_path / "profile") as browser:
        browser.look(1280)
        assert browser.open(address) == []
        browser.value(
            "get('spline').click(); set = (id, v) => { get(id).value = v; "
            "get(id).dispatchEvent(new Event('input')); }; "
            "set('gate', 3.5); set('z1', -1)"
        )
        seen = browser.value("get('python').textContent")
        held = browser.value("get('address').href")
        below = browser.value("get('sliders').getBoundingClientRect().top")
        assert below < browser.value("get('data').getBoundingClientRect().bottom"), "beside it"
        browser.open("about:blank")
        assert browser.open(held) == [] and browser.value("get('python').textContent") == seen
        for broken in ("#", "#{}", "#%7B%22layer%22%3A%22none%22%7D", "#%E0"):
            browser.open("about:blank")
            assert browser.open(address + broken) == []
            assert browser.value("get('planar').checked")


def test_samples_are_those_of_nfref():
    made = runpy.run_path(str(PAGE / "draws.py"))["draws"]()
    assert (PAGE / "draws.js").read_text(encoding="utf-8") == made
    assert len(made) < 100_000
