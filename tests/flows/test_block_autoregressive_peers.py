"""Block neural autoregressive flow against pyro's, with the parameters of either.

pyro adds 1e-8 to norms, and to their squares in the log-determinant; without it the maps agree.
"""

import sys

import numpy as np
import pytest

import nfref
from tests.flow_table import random_params
from tests.high_precision.test_vectors_peers import torch_double

pytestmark = pytest.mark.peers
CLOSE = dict(rtol=1e-13, atol=1e-13)


def pyro_columns(dim, width):
    """Return nfref's place of each unit of pyro, whose units of a coordinate are neighbours."""
    return np.arange(width * dim).reshape(width, dim).T.ravel()


@pytest.fixture
def pyro_flow(monkeypatch):
    import torch
    from pyro.distributions.transforms import BlockAutoregressive

    def made(dim, hidden):
        torch.manual_seed(0)
        return BlockAutoregressive(dim, list(hidden), "tanh", "gated").double()

    monkeypatch.setattr(sys.modules[BlockAutoregressive.__module__], "eps", 0.0)
    return made


def assert_same(flow, params, theirs):
    import torch

    x = 2 * np.random.default_rng(1).standard_normal((40, flow.dim))
    z, log_det = flow.inverse(params, x)
    with torch.no_grad():
        rows = torch_double(x)
        image = theirs(rows)
        other_log_det = theirs.log_abs_det_jacobian(rows, image)
    np.testing.assert_allclose(z, image.numpy(), **CLOSE)
    np.testing.assert_allclose(log_det, other_log_det.numpy(), **CLOSE)
    back, _ = flow.forward(params, image.numpy())
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)


def orders(flow):
    return [pyro_columns(flow.dim, width) for width in (1, *flow.hidden, 1)]


@pytest.mark.parametrize("hidden", [(3,), (4, 2)])
def test_pyro_with_our_parameters(pyro_flow, hidden):
    import torch

    flow = nfref.BlockNAF(3, hidden)
    params, theirs = random_params(flow, np.random.default_rng(0)), pyro_flow(3, hidden)
    places = orders(flow)
    with torch.no_grad():
        for mine, other, read, made in zip(params["net"], theirs.layers, places, places[1:]):
            other._weight.copy_(torch_double(mine["weight"][np.ix_(read, made)].T))
            other._diag_weight.copy_(torch_double(mine["log_scale"][made, None]))
            other.bias.copy_(torch_double(mine["bias"][made]))
        theirs.gate.fill_(float(params["gate"]))
    assert_same(flow, params, theirs)


@pytest.mark.parametrize("hidden", [(3,), (4, 2)])
def test_our_flow_with_the_parameters_of_pyro(pyro_flow, hidden):
    flow, theirs = nfref.BlockNAF(3, hidden), pyro_flow(3, hidden)
    places, net = orders(flow), []
    for other, read, made in zip(theirs.layers, places, places[1:]):
        weight, scale, bias = (
            part.detach().numpy() for part in (other._weight, other._diag_weight, other.bias)
        )
        read, made = np.argsort(read), np.argsort(made)
        net.append(
            {
                "weight": weight.T[np.ix_(read, made)],
                "log_scale": scale[made, 0],
                "bias": bias[made],
            }
        )
    assert_same(flow, {"net": net, "gate": theirs.gate.detach().numpy()[0]}, theirs)
