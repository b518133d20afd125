"""The page in torch has nfref's loss and log-density with the same weights, in sixty lines.

It also learns the digits as well as lesson 17. The page itself claims that, and
``test_notebooks.py`` runs it.
"""

from pathlib import Path

import numpy as np
import pytest

import nfref
from nfref.objectives.flow_matching import FlowMatching
from tests.tutorials.test_one_flow import lines_of_code

PATH = Path(__file__).parents[2] / "tutorials" / "flow_matching_in_torch.py"
FLOW, _, REST = PATH.read_text(encoding="utf-8").partition("# %%\n# **The digits.**")


def test_flow_fit_and_bits_have_sixty_lines():
    code = lines_of_code(FLOW.split('"""', 2)[2] + REST.partition("# The figure")[0])
    assert 50 < len(code) <= 60
    assert "nfref" not in "".join(code)


@pytest.mark.peers
def test_the_same_weights_give_the_same_loss_and_log_density():
    """The digits of a batch, with nfref's weights in torch's network, in float64."""
    torch = pytest.importorskip("torch")
    from sklearn.datasets import load_digits

    page = {}
    exec(compile(FLOW, str(PATH), "exec"), page)
    rng = np.random.default_rng(0)
    x = (load_digits().data[:100] + rng.random((100, 64))) / 8.5 - 1
    cnf = nfref.CNF(64, (192, 192), rtol=1e-10, atol=1e-10)
    density = nfref.Density(cnf)
    params = nfref.params.tree_map(
        lambda a: a + 0.05 * rng.standard_normal(a.shape), density.init(rng)
    )
    net = page["Velocity"](64).double()
    with torch.no_grad():
        for layer, own in zip(list(net)[::2], params["flow"]["net"]):
            layer.weight.copy_(torch.tensor(own["weight"].T))
            layer.bias.copy_(torch.tensor(own["bias"]))
    draws = np.random.default_rng(1)
    z, t = draws.standard_normal(x.shape), draws.random((len(x), 1))
    loss = page["loss"](net, *map(torch.tensor, (x, z, t))).item()
    expected = FlowMatching()(density, params, x, None, np.random.default_rng(1))
    assert np.isclose(loss, expected, rtol=1e-12)
    log_prob = page["log_prob"](net, torch.tensor(x[:20])).numpy()
    np.testing.assert_allclose(log_prob, density.log_prob(params, x[:20]), rtol=1e-6)
