"""Flows of angles: no seam, mass one on the circle and the torus, angles beside real numbers."""

import json

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.networks.masked import made_masks
from nfref.networks.mlp import angles_as_points
from nfref.runtime.serialization import describe, rebuild
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, hidden, random_params, stays, triangular
from tests.flows.test_coupling import COUPLING_DIMS, coupled

TURN = 2 * np.pi
SPLINE = nfref.RationalQuadratic(4, np.pi, "circular")


def made(transformer):
    return lambda dim, context_dim: nfref.MADE(
        dim, hidden(dim), transformer, None, context_dim, "tanh", periodic=range(dim)
    )


def every_other(dim, context_dim):
    """The first coordinate and every second after it are angles, which condition the others."""
    return nfref.Coupling(
        nfref.alternating_mask(dim, 0),
        nfref.Affine(),
        hidden(dim),
        context_dim,
        "tanh",
        range(0, dim, 2),
    )


def by_coordinate(count):
    kinds = [nfref.MoebiusCircle(3), nfref.Affine()]
    return nfref.ByCoordinate([kinds[i % 2] for i in range(count)])


# A flow of the line over a standard normal base is not a density of angles.
CONTRACT = {
    "MADE, Moebius": Entry(
        made(nfref.MoebiusCircle(3)),
        context=True,
        log_det="varies",
        pattern=triangular,
        integrable=False,
    ),
    "MADE, circular": Entry(
        made(SPLINE), dims=(2, 3), context=True, pattern=triangular, integrable=False
    ),
    "Coupling, Moebius": Entry(
        lambda d, c: nfref.Coupling(
            nfref.alternating_mask(d, 0), nfref.MoebiusCircle(3), hidden(d), c, "tanh", range(d)
        ),
        dims=COUPLING_DIMS,
        context=True,
        pattern=coupled,
        ignores_context=stays,
        integrable=False,
    ),
    "Coupling, angles decide": Entry(
        every_other, dims=(2, 5), context=True, pattern=coupled, ignores_context=stays
    ),
    "MADE, by coordinate": Entry(
        lambda d, c: nfref.MADE(
            d, hidden(d), by_coordinate(d), None, c, "tanh", periodic=range(0, d, 2)
        ),
        dims=(2, 3, 5),
        context=True,
        pattern=triangular,
        integrable=False,
    ),
}
test_contract = contract_test(CONTRACT)


def torus(dim, transformer, layers=2):
    """Return autoregressive layers with alternating orders."""
    return nfref.MAF(dim, layers, (8,), transformer=transformer, periodic=range(dim))


def box(dim):
    return nfref.Uniform([-np.pi] * dim, [np.pi] * dim, periodic=True)


def log_density(flow, base, params):
    density = nfref.Density(flow, base)
    own = {"base": base.init(np.random.default_rng(0)), "flow": params}
    return lambda x: density.log_prob(own, x)


FLOWS = {
    "MAF, Moebius": torus(2, nfref.MoebiusCircle(4)),
    "MAF, spline": torus(2, SPLINE),
    "RealNVP, Moebius": nfref.RealNVP(
        2, 3, (8,), transformer=nfref.MoebiusCircle(4), periodic=(0, 1)
    ),
}
every_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
every_base = pytest.mark.parametrize(
    "base", [box(2), nfref.VonMises(2)], ids=["uniform", "von Mises"]
)


@every_base
@every_flow
def test_density_on_the_torus_integrates_to_one(flow, base):
    """Integrate by the trapezoid, which converges exponentially if all is smooth across the seam.

    At their knots splines have kinks of the second derivative; there it converges like h^3.
    """
    log_prob = log_density(flow, base, random_params(flow, np.random.default_rng(1), 0.5))
    smooth = "spline" not in next(name for name, other in FLOWS.items() if other is flow)
    totals = []
    for count in (96, 192):
        axis = -2 + TURN * np.arange(count) / count  # from anywhere to one turn on
        rows = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        totals.append(np.exp(log_prob(rows)).sum() * (TURN / count) ** 2)
    assert totals[1] == pytest.approx(1, abs=1e-10 if smooth else 2e-4)
    assert abs(totals[0] - totals[1]) < (1e-8 if smooth else 1e-3)


@every_base
@every_flow
def test_density_has_no_seam(flow, base):
    """Whole turns change nothing, and both sides of the seam agree."""
    log_prob = log_density(flow, base, random_params(flow, np.random.default_rng(2)))
    rng = np.random.default_rng(3)
    x = rng.uniform(-np.pi, np.pi, (100, 2))
    np.testing.assert_allclose(
        log_prob(x + TURN * rng.integers(-2, 3, x.shape)), log_prob(x), atol=1e-10
    )
    for i in range(2):
        left, right = x.copy(), x.copy()
        left[:, i], right[:, i] = np.pi - 1e-9, -np.pi + 1e-9
        np.testing.assert_allclose(log_prob(left), log_prob(right), atol=1e-5)


def test_without_periodic_there_is_a_seam():
    """A network that reads angles as plain numbers tears the torus open."""
    flow = nfref.MADE(2, (8,), nfref.MoebiusCircle(4), order=(0, 1))
    log_prob = log_density(flow, box(2), random_params(flow, np.random.default_rng(2)))
    left, right = np.array([[np.pi - 1e-9, 0.3]]), np.array([[-np.pi + 1e-9, 0.3]])
    assert abs(log_prob(left) - log_prob(right)) > 0.1


@pytest.mark.parametrize("transformer", [nfref.MoebiusCircle(5), SPLINE], ids=["Moebius", "spline"])
def test_density_on_the_circle_integrates_to_one(transformer):
    flow = nfref.MADE(1, (4,), transformer, periodic=(0,))
    x = -1 + TURN * np.arange(2**14) / 2**14
    for seed in range(3):
        log_prob = log_density(flow, box(1), random_params(flow, np.random.default_rng(seed), 2))
        total = np.exp(log_prob(x[:, None])).mean() * TURN
        assert total == pytest.approx(1, abs=1e-12 if transformer is not SPLINE else 1e-7)


# An angle and a real number in one flow: each coupling changes coordinates of one kind.


def cylinder():
    spline = nfref.RationalQuadratic(4, np.pi, "circular")
    return nfref.Chain(
        [
            nfref.Coupling((False, True), nfref.MoebiusCircle(3), (8,), periodic=(0,)),
            nfref.Coupling((True, False), nfref.Affine(), (8,), periodic=(0,)),
            nfref.Coupling((False, True), spline, (8,), periodic=(0,)),
            nfref.Coupling((True, False), nfref.Affine(), (8,), periodic=(0,)),
        ]
    )


MIXED_BASE = nfref.Product([nfref.VonMises(1), nfref.StandardNormal(1)])


def test_an_angle_beside_a_real_number():
    """Mass one on the cylinder, no seam around it."""
    flow = cylinder()
    log_prob = log_density(flow, MIXED_BASE, random_params(flow, np.random.default_rng(4), 0.4))
    around = -1 + TURN * np.arange(200) / 200
    along = np.linspace(-30, 30, 401)
    rows = np.stack(np.meshgrid(around, along), axis=-1).reshape(-1, 2)
    total = np.exp(log_prob(rows)).sum() * (TURN / 200) * (along[1] - along[0])
    assert total == pytest.approx(1, abs=2e-4)  # the splines' knots
    x = np.random.default_rng(5).standard_normal((50, 2))
    np.testing.assert_allclose(log_prob(x + [TURN, 0]), log_prob(x), atol=1e-10)
    left, right = np.array([[np.pi - 1e-9, 0.4]]), np.array([[-np.pi + 1e-9, 0.4]])
    assert abs(log_prob(left) - log_prob(right)) < 1e-6


@pytest.mark.slow  # the page on tori trains one in the plain suite
def test_a_torus_is_learned():
    """Angles follow each other around the torus, across both seams; the fit is near their entropy.

    a is uniform and b - a is von Mises, so the entropy is log 2 pi + that of von Mises, 1.27 nats
    below that of the uniform density, where training starts.
    """
    rng, c = np.random.default_rng(6), 6.0
    law = nfref.VonMises(1, c)
    law_params = law.init(rng)

    def rows(n):
        a = rng.uniform(-np.pi, np.pi, (n, 1))
        b = a + law.sample(law_params, rng, n)
        return np.concatenate([a, (b + np.pi) % TURN - np.pi], axis=1)

    flow = nfref.MADE(2, (32,), nfref.MoebiusCircle(6), periodic=(0, 1))
    density = nfref.Density(flow, box(2))
    result = nfref.fit(
        density,
        density.init(rng),
        rows(4000),
        rng,
        validation=None,
        epochs=30,
        batch_size=500,
        learning_rate=0.02,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    test = rows(4000)
    exact = -np.log(TURN) + law.log_prob(law_params, test[:, 1:] - test[:, :1])
    behind = exact - density.log_prob(result.params, test)
    assert -4 * behind.std() / np.sqrt(4000) < behind.mean() < 0.1


def test_an_angle_and_real_numbers_in_one_layer():
    """Each coordinate has its own kind of map, in a dense layer of three with one angle."""
    kinds = nfref.ByCoordinate([nfref.MoebiusCircle(3), nfref.Affine(), nfref.MoebiusCircle(3)])
    flow = nfref.MAF(3, 2, (8,), transformer=kinds, periodic=(0, 2))
    base = nfref.Product([nfref.VonMises(1), nfref.Laplace(1), nfref.VonMises(1)])
    log_prob = log_density(flow, base, random_params(flow, np.random.default_rng(9), 0.4))
    x = np.random.default_rng(10).standard_normal((50, 3))
    np.testing.assert_allclose(log_prob(x + [TURN, 0, -TURN]), log_prob(x), atol=1e-10)
    # Importance sampling: two uniform angles and a wide number.
    rng, n = np.random.default_rng(11), 40_000
    rows = np.concatenate(
        [
            rng.uniform(-np.pi, np.pi, (n, 1)),
            3 * rng.standard_t(3, (n, 1)),
            rng.uniform(-np.pi, np.pi, (n, 1)),
        ],
        axis=1,
    )
    ratio = np.exp(log_prob(rows) + 2 * np.log(TURN) - stats.t(3, scale=3).logpdf(rows[:, 1]))
    error = ratio.std() / np.sqrt(n)
    assert error < 0.02 and abs(ratio.mean() - 1) < 4 * error


def test_each_coordinate_has_its_own_map():
    kinds = [nfref.MoebiusCircle(2), nfref.Affine(), SPLINE, nfref.Affine()]
    mixed = nfref.ByCoordinate(kinds)
    rng = np.random.default_rng(12)
    raw, v = rng.standard_normal((mixed.size, 6, 4)), rng.standard_normal((6, 4))
    for direction in ("forward", "inverse"):
        found = getattr(mixed, direction)(v, mixed.constrain(raw))
        for i, kind in enumerate(kinds):
            own = kind.constrain(raw[: kind.size, :, i])
            for got, expected in zip(found, getattr(kind, direction)(v[:, i], own)):
                np.testing.assert_allclose(got[:, i], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.ByCoordinate([]), "^transformers: expected at least one, got none$"),
        (
            lambda: nfref.ByCoordinate([nfref.Affine("tanh")]),
            "expected none with parameters of its",
        ),
        (
            lambda: nfref.MADE(3, transformer=nfref.ByCoordinate([nfref.Affine()])).init(
                np.random.default_rng(0)
            ),
            "^transformers: expected 3, one for each .*; got 1$",
        ),
    ],
)
def test_transformers_that_are_not(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    with pytest.raises(TypeError, match="^transformer: expected a Transformer"):
        nfref.ByCoordinate([3])


# What networks read ------------------------------------------------------------------------


def test_networks_read_points():
    x = np.random.default_rng(0).standard_normal((5, 4))
    read = angles_as_points(x, (1, 3))
    expected = np.stack(
        [x[:, 0], x[:, 2], np.cos(x[:, 1]), np.cos(x[:, 3]), np.sin(x[:, 1]), np.sin(x[:, 3])],
        axis=1,
    )
    np.testing.assert_array_equal(read, expected)
    assert angles_as_points(x, ()) is x


def test_masks_of_angles():
    """Cosine and sine come with the degree of their angle."""
    plain = made_masks((2, 0, 1), ((1, 2, 2),), 2)
    first, last = made_masks((2, 0, 1), ((1, 2, 2),), 2, periodic=(0, 1))
    np.testing.assert_array_equal(first, plain[0][[2, 0, 1, 0, 1]])
    np.testing.assert_array_equal(last, plain[1])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_backend_reads_points(backend):
    """The compiled networks read numbers as they are, so periodic layers go by the formula."""
    flow = nfref.Chain(
        [
            nfref.MAF(3, 2, (8,), transformer=SPLINE, periodic=(0, 2)),
            nfref.RealNVP(3, 2, (8,), transformer=SPLINE, periodic=(0, 1, 2)),
        ]
    )
    params = random_params(flow, np.random.default_rng(7))
    z = np.random.default_rng(8).uniform(-3, 3, (50, 3))
    with nfref.backend("numpy"):
        expected = flow.forward(params, z)
    with nfref.backend(backend):
        found = flow.forward(params, z)
        turned = flow.forward(params, z + [TURN, 0, -TURN])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-11)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-11)
    np.testing.assert_allclose(turned[1], expected[1], atol=1e-9)


def test_the_option_reaches_every_layer():
    for flow in (
        nfref.MAF(3, 2, (4,), periodic=[2, 0]),
        nfref.RealNVP(3, 2, periodic=[2, 0]),
        nfref.IAF(3, 2, (4,), periodic=[2, 0]).flow,
    ):
        assert [layer.periodic for layer in flow.flows] == [(0, 2)] * 2


def test_descriptions_come_back():
    """Model files hold a flow's angles, its kinds of maps and the bases side by side."""
    kinds = nfref.ByCoordinate([nfref.MoebiusCircle(3), nfref.Affine()])
    density = nfref.Density(
        nfref.MAF(2, 2, (4,), transformer=kinds, periodic=(0,)),
        nfref.Product([box(1), nfref.StudentT(1, 3.0)]),
    )
    again = rebuild(json.loads(json.dumps(describe(density)[0])))
    assert again == density and again.flow.flows[0].periodic == (0,)


@pytest.mark.parametrize("periodic", [(2,), (-1,), (0, 0), (0.5,)])
@pytest.mark.parametrize(
    "make",
    [
        lambda periodic: nfref.Coupling((True, False), periodic=periodic),
        lambda periodic: nfref.MADE(2, periodic=periodic),
        lambda periodic: nfref.MAF(2, periodic=periodic),
        lambda periodic: nfref.RealNVP(2, periodic=periodic),
    ],
)
def test_columns_that_are_not(make, periodic):
    with pytest.raises(ValueError, match=r"^periodic: expected different columns of 0 \.\.\. 1"):
        make(periodic)
