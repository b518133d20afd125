"""Neural autoregressive flows: their conditionals, their reach, and mass one."""

import numpy as np
import pytest
from scipy.integrate import quad

import nfref
from nfref.networks.masked import masked_mlp
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, hidden, made, random_params, stays, triangular

CONTRACT = {
    "MADE, sigmoids": Entry(
        made(transformer=nfref.DeepSigmoid(3)), context=True, pattern=triangular
    ),
    "Coupling, logistics": Entry(
        lambda dim, context_dim: nfref.Coupling(
            tuple(i % 2 == 0 for i in range(dim)),
            nfref.LogisticMixture(3),
            hidden(dim),
            context_dim,
            "tanh",
        ),
        dims=(2, 5),
        context=True,
        ignores_context=stays,
        costly=True,
    ),
    "NAF": Entry(
        lambda dim, context_dim: nfref.NAF(dim, 2, hidden(dim), 3, context_dim), context=True
    ),
    # The maps bend where their tangents begin, so finite differences need rows inside.
    "UMNN": Entry(
        lambda dim, context_dim: nfref.UMNN(dim, 1, (dim + 1,), 2, 32, 4.0, context_dim),
        dims=(1, 2),
        plain=1,
        context=True,
        costly=True,
        integrable=False,
    ),
}
test_contract = contract_test(CONTRACT)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def raw_of(layer, params, row):
    """The raw numbers (P, D) of a layer for one row of data."""
    outputs = masked_mlp(params["net"], layer.masks, row[None], layer.activation)[0]
    return outputs.reshape(layer.transformer.size, -1)


def test_naf_in_the_letters_of_its_paper():
    """y = sigma^-1(w^T sigma(a x + b)) layer after layer, data to latent (NAF)."""
    flow, rng = nfref.NAF(3, layers=2, hidden=(5,), units=4), np.random.default_rng(0)
    params, rows = random_params(flow, rng), rng.standard_normal((3, 3))
    z, log_det = flow.inverse(params, rows)
    for n, x in enumerate(rows):
        total = 0
        for layer, theta in list(zip(flow.flows, params))[::-1]:
            a, b, w = np.split(raw_of(layer, theta, x), 3)
            a = 1e-3 + np.log1p(np.exp(a) * np.expm1(1 - 1e-3))
            b = b + np.linspace(-1, 1, 4)[:, None]
            w = np.exp(w) / np.sum(np.exp(w), axis=0)
            s = sigmoid(a * x + b)
            mean = np.sum(w * s, axis=0)
            total += np.sum(np.log(np.sum(w * a * s * (1 - s), axis=0) / (mean * (1 - mean))))
            x = np.log(mean / (1 - mean))
        np.testing.assert_allclose(z[n], x, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-12, atol=1e-13)


def test_umnn_in_the_letters_of_its_paper():
    """F(x; h) = integral of f(t; h) from 0 to x + beta(h), by scipy's quadrature (UMNN)."""
    flow, rng = nfref.UMNN(2, layers=2, hidden=(5,), units=3), np.random.default_rng(0)
    params, rows = random_params(flow, rng), rng.standard_normal((3, 2))
    z, log_det = flow.inverse(params, rows)
    for n, x in enumerate(rows):
        total = 0
        for layer, theta in list(zip(flow.flows, params))[::-1]:
            raw = raw_of(layer, theta, x)
            alpha, mu, p = np.split(raw[2:], 3)
            alpha = np.exp(alpha / np.sqrt(1 + alpha**2))
            p = p / np.sqrt(1 + 3 * np.sum((p / 8) ** 2, axis=0))

            def log_f(t, i):
                mean = 3 * np.array([-1, 0, 1]) + mu[:, i]
                bends = np.tanh(alpha[:, i] * (t - mean))
                r = raw[1, i] + np.sum(p[:, i] / alpha[:, i] * bends)
                return r / np.sqrt(1 + (r / 5) ** 2)

            total += sum(log_f(x[i], i) for i in range(2))
            x = raw[0] + [
                quad(lambda t: np.exp(log_f(t, i)), 0, x[i], epsabs=1e-13)[0] for i in range(2)
            ]
        np.testing.assert_allclose(z[n], x, rtol=1e-10)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-8, atol=1e-8)


def test_a_fresh_umnn_is_the_identity():
    flow = nfref.UMNN(3)
    x = 4 * np.random.default_rng(0).standard_normal((6, 3))
    z, log_det = flow.inverse(flow.init(np.random.default_rng(1)), x)
    np.testing.assert_allclose(z, x, rtol=1e-14)
    np.testing.assert_allclose(log_det, 0, atol=1e-14)


FLOWS = {"NAF": nfref.NAF(1, 3, (4,), 3), "UMNN": nfref.UMNN(1, 2, (4,), 3, 24, 3.0)}
# UMNN's maps bend where their tangents begin: two bends lie within the quadrature.
CLOSE = {"NAF": 1e-12, "UMNN": 1e-6}


@pytest.mark.parametrize("name", FLOWS)
def test_density_of_a_line_integrates_to_one(name):
    """Integrate over the whole range to which the base gives weight."""
    flow = FLOWS[name]
    params = random_params(flow, np.random.default_rng(3))
    ends, _ = flow.forward(params, np.array([[-9.0], [9.0]]))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = flow.forward(params, np.linspace(-9, 9, 101)[:, None])[0][:, 0]
    half = np.diff(edges) / 2
    x = (edges[:-1] + half)[:, None] + half[:, None] * nodes
    density = np.exp(nfref.Density(flow).log_prob({"base": {}, "flow": params}, x.reshape(-1, 1)))
    mass = np.sum(half[:, None] * weights * density.reshape(x.shape))
    assert mass == pytest.approx(1, abs=CLOSE[name])
    assert ends[0, 0] == edges[0] and ends[1, 0] == edges[-1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FLOWS)
def test_latents_come_back_however_far_they_are_out(name, dtype):
    """Latents up to 1e8, and data as large, lie far beyond any fixed bracket."""
    flow = FLOWS[name]
    params = trees.cast(random_params(flow, np.random.default_rng(4)), np.dtype(dtype))
    z = np.array([[s * 10.0**k] for k in range(-2, 9) for s in (1, -1)], dtype)
    x, log_det = flow.forward(params, z)
    again, back = flow.inverse(params, x)
    eps = np.finfo(dtype).eps
    assert x.dtype == log_det.dtype == dtype
    np.testing.assert_allclose(again, z, rtol=100 * eps, atol=100 * eps)
    np.testing.assert_allclose(back, -log_det, rtol=0, atol=200 * eps)
    assert np.max(np.abs(x)) > 1e5


def test_it_learns_two_modes_with_nothing_between_them():
    """One layer is within 0.1 nats of a mixture whose log-density is known."""
    rng = np.random.default_rng(5)

    def two_modes(n):
        return np.where(rng.random((n, 1)) < 0.5, -1.0, 1.0) + 0.2 * rng.standard_normal((n, 1))

    density = nfref.Density(nfref.NAF(1, 1, (4,)))
    result = nfref.fit(
        density,
        density.init(rng),
        two_modes(1000),
        rng,
        epochs=40,
        batch_size=200,
        learning_rate=3e-2,
        progress=False,
    )
    x = two_modes(2000)
    exact = np.logaddexp(*(-0.5 * ((x[:, 0] - mode) / 0.2) ** 2 for mode in (-1, 1)))
    exact = exact - np.log(2 * 0.2 * np.sqrt(2 * np.pi))
    gap = np.mean(exact - density.log_prob(result.params, x))
    assert -0.05 < gap < 0.1
    drawn = density.sample(result.params, rng, 500)
    assert np.mean(np.abs(np.abs(drawn) - 1) < 0.8) > 0.95


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": 0}, "^layers: expected at least 1, got 0$"),
        ({"units": 0}, "^units: expected at least 1, got 0$"),
        ({"orders": [(0, 1, 2)]}, "^orders: expected 5, one a layer; got 1$"),
        ({"nodes": 65}, "^nodes: expected an even number, got 65$"),
        ({"nodes": 62}, "^nodes: expected at least 8 times the bound, 64, got 62$"),
        ({"hidden": (1,)}, "^hidden: expected at least 2 units a layer"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        (nfref.UMNN if "nodes" in options else nfref.NAF)(**{"dim": 3, **options})
