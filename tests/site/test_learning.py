"""docs/playground/learn.js: its gradient by differences, its density by nfref, and the page."""

import json
import shutil

import numpy as np
import pytest

import nfref
from tests.browser import CHROMIUM, Browser
from tests.site.test_playground import PAGE, by_node

RUN = """
const rows = twoMoons(200, generator(1)), chain = newChain(4, generator(7)), step = adam(chain);
const losses = Array.from({ length: 150 }, () => step(rows));
const [loss, gradient] = lossAndGradient(chain, rows), values = parameters(chain);
const meanOf = (list) => {
  setParameters(chain, list);
  return -sum(rows.map((row) => chainLogProb(chain, row))) / rows.length;
};
const h = 1e-5, differences = values.map((_, i) => {
  const [ahead, behind] = [h, -h].map((d) => meanOf(values.map((v, j) => i === j ? v + d : v)));
  return (ahead - behind) / (2 * h);
});
setParameters(chain, values);
show(JSON.stringify({ losses, loss, gradient, differences, rows, chain,
  log_p: rows.map((row) => chainLogProb(chain, row)) }));
"""


def density(layers):
    """nfref's density of the chain, and how its parameters are read."""
    return nfref.Density(
        nfref.Chain(
            [
                nfref.Coupling((k % 2 == 0, k % 2 == 1), nfref.Affine(), hidden=(8,))
                for k in range(layers)
            ]
        )
    )


def params_of(chain):
    return {
        "base": {},
        "flow": [
            {
                "net": [
                    {name: np.array(part, float) for name, part in layer.items()}
                    for layer in own["net"]
                ]
            }
            for own in chain
        ],
    }


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_it_learns_what_nfref_would_say(tmp_path):
    scripts = "\n".join(
        (PAGE / name).read_text(encoding="utf-8") for name in ("flows.js", "learn.js")
    )
    found = by_node(f"{scripts}\n{RUN}", tmp_path)
    np.testing.assert_allclose(found["gradient"], found["differences"], rtol=1e-5, atol=1e-7)
    log_p = density(4).log_prob(params_of(found["chain"]), np.array(found["rows"]))
    np.testing.assert_allclose(found["log_p"], log_p, rtol=1e-10)
    assert np.isclose(found["loss"], -log_p.mean(), rtol=1e-10)
    rows = np.array(found["rows"])
    normal = 1 + np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(np.cov(rows.T))[1]
    assert found["loss"] < normal - 0.2 < found["losses"][0], "better than one normal density"


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_page_trains(tmp_path):
    """Stopped in between or not, the same points and layers end at the same parameters."""
    with Browser(tmp_path / "profile") as browser:
        browser.look(390, dark=True)
        assert browser.open((PAGE / "learn.html").as_uri()) == []
        assert browser.value("document.documentElement.scrollWidth") <= 390
        assert browser.value("document.querySelectorAll('main').length") == 1
        said, again = browser.value("""(async () => {
            const get = (id) => document.getElementById(id);
            const until = async (wanted) => {
              const steps = () => Number(get("said").textContent.match(/(\\d+) of/)[1]);
              for (let k = 0; k < 800 && steps() < wanted; k++)
                await new Promise(d => setTimeout(d, 50));
              return [get("said").textContent, get("learned").textContent];
            };
            get("moons").click();
            get("train").click();
            const said = await until(1000);
            get("train").click();
            await until(5);
            get("train").click();
            await new Promise(d => setTimeout(d, 200));
            get("train").click();
            return [said, await until(1000)]; })()""")
        assert said[0].startswith("300 points, 1000 of 1000 steps, mean log p")
        assert said == again
        mass = (
            np.exp(
                density(6).log_prob(
                    params_of(json.loads(said[1])),
                    np.stack(np.meshgrid(*[np.linspace(-9, 9, 181)] * 2), axis=-1).reshape(-1, 2),
                )
            ).sum()
            * 0.1**2
        )
        assert abs(mass - 1) < 0.02
