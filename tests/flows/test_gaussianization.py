"""Gaussianization flows: the contract, single coordinates, zuko's flow, and a fit."""

import numpy as np
import pytest

import nfref
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, diagonal

CONTRACT = {
    "GaussianizationFlow": Entry(
        lambda d, c: nfref.GaussianizationFlow(d, 2, 3), dims=(1, 2, 3, 5)
    ),
    "Elementwise": Entry(
        lambda d, c: nfref.Elementwise(d, nfref.Gaussianization(3)), dims=(1, 3), pattern=diagonal
    ),
    "Elementwise, spline": Entry(
        lambda d, c: nfref.Elementwise(d, nfref.RationalQuadratic(4)),
        dims=(2,),
        pattern=diagonal,
        integrable=False,
    ),
}
test_contract = contract_test(CONTRACT)


def test_elementwise_is_made_of_one_coordinate():
    """A MADE of one coordinate has the same numbers as biases of its network."""
    transformer, rng = nfref.Gaussianization(4), np.random.default_rng(0)
    raw = rng.standard_normal((8, 3))
    x = rng.standard_normal((10, 3))
    z, log_det = nfref.Elementwise(3, transformer).inverse({"raw": raw.ravel()}, x)
    made = nfref.MADE(1, (), transformer)
    total = np.zeros(10)
    for k in range(3):
        params = made.init(rng)
        params["net"][-1]["bias"] = raw[:, k]
        one, change = made.inverse(params, x[:, k : k + 1])
        np.testing.assert_allclose(z[:, k : k + 1], one, rtol=1e-13)
        total += change
    np.testing.assert_allclose(log_det, total, rtol=1e-12, atol=1e-13)


def test_likelihood_learns_a_mixture_that_no_linear_map_makes():
    rng = np.random.default_rng(0)
    signs = np.where(rng.random((1000, 2)) < 0.5, -2.0, 2.0)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    x = (signs + 0.5 * rng.standard_normal((1000, 2))) @ turn
    density = nfref.Density(nfref.GaussianizationFlow(2, 3, 6))
    fitted = nfref.fit(
        density, density.init(rng), x, rng, epochs=20, learning_rate=0.03, progress=False
    )
    entropy = 2 * (np.log(2) + np.log(0.5) + 0.5 * (1 + np.log(2 * np.pi)))
    gaussian = 0.5 * np.linalg.slogdet(np.cov(x.T))[1] + 1 + np.log(2 * np.pi)
    found = -density.log_prob(fitted.params, x).mean()
    assert found < entropy + 0.1 < gaussian - 0.5


def zuko_in_nfref(other):
    """Return nfref's chain and parameters of zuko's GF of float64; a rotation is a fixed matrix."""
    flows, params = [], []
    for k, layer in enumerate(other.transform.transforms):
        if k % 2:
            matrix = layer().R.detach().numpy()
            flows.append(nfref.FixedLinear(matrix.T))
            params.append({})
        else:
            shift, scale = (part.detach().numpy() for part in layer.phi)
            components = shift.shape[1]
            bound = 10.0
            places = np.linspace(-1, 1, components)
            raw = np.concatenate(
                [(scale / np.sqrt(1 - (scale / bound) ** 2)).T, (shift - places).T]
            )
            flows.append(nfref.Elementwise(len(shift), nfref.Gaussianization(components, bound)))
            params.append({"raw": raw.ravel()})
    return nfref.Chain(flows[::-1]), params[::-1]


@pytest.mark.peers
@pytest.mark.parametrize("reach", [1, 8])
@pytest.mark.parametrize("dim, layers", [(1, 1), (2, 3), (5, 2)])
def test_zuko_transplanted(dim, layers, reach):
    """Its S is multiplied by 1 - 1e-6 about 1/2; without that factor, from the nearer tail."""
    torch = pytest.importorskip("torch")
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    other = zuko.flows.GF(dim, transforms=layers, components=4).double()
    flow, params = zuko_in_nfref(other)
    x = reach * np.random.default_rng(1).standard_normal((200, dim))

    class Exact(zuko.transforms.GaussianizationTransform):
        def f(self, x):
            u = x[..., None] * self.scale + self.shift
            # torch's own ndtr has lost seven digits at -6.
            below, above = (torch.erfc(v / 2**0.5).mean(dim=-1) / 2 for v in (-u, u))
            ndtri = torch.special.ndtri
            return torch.where(below < above, ndtri(below), -ndtri(above))

    def theirs(univariate):
        for layer in other.transform.transforms[::2]:
            layer.univariate = univariate
        z, log_det = other().transform.call_and_ladj(torch.from_numpy(x))
        return z.detach().numpy(), log_det.detach().numpy()

    z, log_det = flow.inverse(params, x)
    exact_z, exact_log_det = theirs(Exact)
    np.testing.assert_allclose(z, exact_z, rtol=1e-13, atol=1e-13)
    known = np.isfinite(exact_log_det)  # its autograd underflows far out
    assert np.all(np.isfinite(log_det)) and np.mean(known) > 0.5
    np.testing.assert_allclose(log_det[known], exact_log_det[known], rtol=1e-13, atol=1e-13)
    for mine, other in zip((z, log_det), theirs(zuko.transforms.GaussianizationTransform)):
        assert reach > 1 or np.median(np.abs(mine - other)) < 1e-4
    back, there = flow.forward(params, z)
    np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(there + log_det, 0, atol=1e-13)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.GaussianizationFlow(0), "^dim: expected at least 1, got 0$"),
        (lambda: nfref.GaussianizationFlow(2, 0), "^layers: expected at least 1, got 0$"),
        (lambda: nfref.GaussianizationFlow(2, 1, 0), "^components: expected at least 1, got 0$"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
