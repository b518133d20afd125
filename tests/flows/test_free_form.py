"""Free-form flows: the surrogate's gradient against that of the determinant itself."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian

import nfref
from nfref.flows.free_form import FreeFormFlow, exact_log_det, linearised
from nfref.objectives.free_form import FreeFormLikelihood, log_det_surrogate, orthogonal_probes
from nfref.oracle import check_flow
from nfref.runtime import params as trees
from tests.flow_table import random_params

FLOWS = {
    "RealNVP": nfref.RealNVP(3, layers=3, hidden=(5,)),
    "MAF": nfref.MAF(3, layers=2, hidden=(4,)),
    "Planar": nfref.PlanarLayer(3),
    "Linear": nfref.Linear(3),
}


def directions(flow, params):
    """Encoder and decoder of an invertible flow: exact inverses."""
    return (
        lambda x: flow._inverse(params, x, None)[0],
        lambda z: flow._forward(params, z, None)[0],
    )


def gradients(flow, x, probes, perturb=lambda decode: decode):
    """Gradients, as vectors, of the mean surrogate over probes and of the log-determinant."""
    vector, unflatten = trees.flatten(random_params(flow, np.random.default_rng(0)))
    decode = perturb(directions(flow, unflatten(vector))[1])

    def surrogate(vector):
        encode = directions(flow, unflatten(vector))[0]
        return sum(anp.mean(log_det_surrogate(encode, decode, x, v)[1]) for v in probes) / len(
            probes
        )

    def log_det(vector):
        return anp.mean(flow._inverse(unflatten(vector), x, None)[1])

    return grad(surrogate)(vector), grad(log_det)(vector)


def axes(x):
    """sqrt(D) e_i for every row: their mean of v v^T is the identity."""
    return [np.sqrt(x.shape[1]) * np.tile(axis, (len(x), 1)) for axis in np.eye(x.shape[1])]


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_the_expected_gradient_is_that_of_the_log_determinant(flow):
    """If the decoder is the inverse, a mean over basis vectors gives it exactly."""
    x = np.random.default_rng(1).standard_normal((5, 3))
    found, expected = gradients(flow, x, axes(x))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert np.max(np.abs(expected)) > 0.05


def test_one_random_probe_is_unbiased():
    x = np.tile(np.random.default_rng(1).standard_normal((1, 3)), (4000, 1))
    flow = FLOWS["RealNVP"]
    direction = np.random.default_rng(2).standard_normal(
        trees.flatten(flow.init(np.random.default_rng(0)))[0].size
    )
    vector, unflatten = trees.flatten(random_params(flow, np.random.default_rng(0)))
    v = orthogonal_probes(np.random.default_rng(3), 4000, 3, 1, float)[0]

    def rows_of(shift):  # the directional derivative of each row, by differences
        encode, decode = (
            directions(flow, unflatten(vector + shift * direction))[0],
            directions(flow, unflatten(vector))[1],
        )
        return log_det_surrogate(encode, decode, x, v)[1]

    step = 1e-5
    slopes = (rows_of(step) - rows_of(-step)) / (2 * step)
    _, expected = gradients(flow, x[:1], axes(x[:1]))
    error = slopes.std() / len(slopes) ** 0.5
    assert error > 1e-3
    assert abs(slopes.mean() - expected @ direction) < 4 * error


def test_the_error_is_linear_in_what_the_decoder_misses():
    """The error is tr(df' (g' - f'^-1)): ten times as near, ten times as small."""
    x = np.random.default_rng(1).standard_normal((5, 3))
    misses = []
    for size in (1e-2, 1e-3):
        found, expected = gradients(
            FLOWS["MAF"],
            x,
            axes(x),
            lambda decode: lambda z: decode(z) + size * anp.sin(z[:, ::-1]),
        )
        misses.append(np.linalg.norm(found - expected))
    assert misses[0] > 1e-4
    assert misses[0] / misses[1] == pytest.approx(10, rel=1e-6)


def test_paper_form():
    """v^T f'(x) g'(z) v with the Jacobians written out; its value is |v|^2 for inverses."""
    flow = FLOWS["RealNVP"]
    params = random_params(flow, np.random.default_rng(0))
    encode, decode = directions(flow, params)
    rng = np.random.default_rng(4)
    x, v = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    z, value = log_det_surrogate(encode, lambda z: decode(z) + 0.1 * z**2, x, v)
    for n in range(2):
        f = jacobian(lambda row: encode(row[None])[0])(x[n])
        g = jacobian(lambda row: decode(row[None])[0] + 0.1 * row**2)(z[n])
        assert value[n] == pytest.approx(v[n] @ f @ g @ v[n], rel=1e-10)
        np.testing.assert_allclose(
            linearised(decode, z)[1](v)[n], np.linalg.solve(f, v[n]), rtol=1e-9
        )
    np.testing.assert_allclose(
        log_det_surrogate(encode, decode, x, v)[1], np.sum(v**2, axis=1), rtol=1e-10
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_probes(count):
    v = orthogonal_probes(np.random.default_rng(5), 3000, 4, count, np.float64)
    gram = np.einsum("kni,lni->nkl", v, v)
    np.testing.assert_allclose(gram, np.tile(4 * np.eye(count), (3000, 1, 1)), atol=1e-12)
    outer = np.einsum("kni,knj->nij", v, v) / count
    error = outer.std(axis=0) / 3000**0.5 + 1e-13
    assert np.all(np.abs(outer.mean(axis=0) - np.eye(4)) < 4.5 * error)


# The flow -----------------------------------------------------------------------------------


def small(dim=2, context_dim=0):
    return FreeFormFlow(dim, 2, (8,), context_dim=context_dim)


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_each_log_det_is_that_of_its_own_direction(direction, context_dim):
    flow = small(3, context_dim)
    rng = np.random.default_rng(6)
    params, rows = random_params(flow, rng), rng.standard_normal((4, 3))
    context = rng.standard_normal((4, 2)) if context_dim else None
    _, log_det = getattr(flow, direction)(params, rows, context)
    step = 1e-5
    for n, row in enumerate(rows):
        given = None if context is None else np.tile(context[n], (3, 1))
        ends = [
            getattr(flow, direction)(params, row + sign * step * np.eye(3), given)[0]
            for sign in (1, -1)
        ]
        matrix = (ends[0] - ends[1]) / (2 * step)
        assert log_det[n] == pytest.approx(np.linalg.slogdet(matrix)[1], abs=1e-7)


def test_gradient_of_the_exact_likelihood():
    density = nfref.Density(small())
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3, 2))
    vector, unflatten = trees.flatten({"base": {}, "flow": random_params(density.flow, rng)})

    def total(vector):
        return anp.sum(density.log_prob(unflatten(vector), x))

    step = 1e-6
    numeric = [
        (total(vector + step * e) - total(vector - step * e)) / (2 * step)
        for e in np.eye(len(vector))
    ]
    np.testing.assert_allclose(grad(total)(vector), numeric, atol=1e-7)


@pytest.mark.thorough
def test_starts_as_the_identity_and_the_oracle_says_what_it_is_later():
    """The start is a flow, other parameters are not; the report names the failing property."""
    flow = small()
    start = flow.init(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((5, 2))
    np.testing.assert_array_equal(flow.inverse(start, x)[0], x)
    np.testing.assert_array_equal(flow.reconstruction_error(start, x), 0)
    params = random_params(flow, np.random.default_rng(2), 0.3)
    report = check_flow(
        lambda z: flow.forward(params, z),
        lambda x: flow.inverse(params, x),
        dim=2,
        rng=np.random.default_rng(3),
        skip=("normalised",),
    )
    assert not report.ok
    assert "round_trip" in str(report)
    error = flow.reconstruction_error(params, x)
    back = flow.forward(params, flow.inverse(params, x)[0])[0]
    np.testing.assert_allclose(error, np.linalg.norm(x - back, axis=1), rtol=1e-12)
    assert np.all(error > 1e-3)


def test_dtype():
    flow = small()
    params = flow.init(np.random.default_rng(0))
    for part in flow.inverse(params, np.zeros((2, 2), np.float32)):
        assert part.dtype == np.float32


# The objective ------------------------------------------------------------------------------


def test_the_gradient_of_the_loss_is_that_of_the_likelihood_and_the_penalty():
    """Check with D probes, and by parts: at the start decoder and encoder are inverses."""
    flow = small()
    density = nfref.Density(nfref.Chain((flow, nfref.ElementwiseAffine(2))))
    rng = np.random.default_rng(8)
    vector, unflatten = trees.flatten(density.init(rng))
    x = rng.standard_normal((6, 2)) + 1
    loss = FreeFormLikelihood(beta=3.0, probes=2)

    def exact(vector):
        params = unflatten(vector)
        middle, _ = density.flow.flows[1]._inverse(params["flow"][1], x, None)
        own = params["flow"][0]
        back = flow.decoder(own)(flow.encoder(own)(middle))
        penalty = 3 * anp.mean(anp.sum((middle - back) ** 2, axis=1))
        return penalty - anp.mean(density.log_prob(params, x))

    found = grad(
        lambda vector: loss(density, unflatten(vector), x, None, np.random.default_rng(0))
    )(vector)
    np.testing.assert_allclose(found, grad(exact)(vector), rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(found) > 0.1


@pytest.mark.thorough
def test_a_fit_reaches_the_entropy_and_makes_the_networks_inverses():
    """On a sheared normal the likelihood is within 0.01 nats of the entropy, x returns to 0.02."""
    rng = np.random.default_rng(9)
    x = rng.standard_normal((1000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.5]]) + [1.0, -0.5]
    density = nfref.Density(FreeFormFlow(2, 2, (16,)))
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        epochs=40,
        batch_size=100,
        learning_rate=5e-3,
        schedule="cosine",
        progress=False,
        objective=FreeFormLikelihood(beta=10.0),
        validation=x,
        patience=None,
    )
    sample = np.cov(x.T, bias=True)
    best = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * sample)[1]
    assert -density.log_prob(result.params, x).mean() == pytest.approx(best, abs=0.01)
    error = density.flow.reconstruction_error(result.params["flow"], x)
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_refusals():
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.RealNVP(2, layers=2))
    with pytest.raises(ValueError, match="density: expected a FreeFormFlow .* got RealNVP"):
        FreeFormLikelihood()(density, density.init(rng), np.zeros((2, 2)), None, rng)
    density = nfref.Density(small())
    with pytest.raises(ValueError, match="probes: expected at most 2, one a coordinate, got 3"):
        FreeFormLikelihood(probes=3)(density, density.init(rng), np.zeros((2, 2)), None, rng)
    with pytest.raises(ValueError, match="beta: expected a finite number above 0"):
        FreeFormLikelihood(beta=0)


def test_exact_log_det_of_a_known_map():
    value, log_det = exact_log_det(lambda rows: 3 * rows[:, ::-1], np.ones((2, 3)))
    np.testing.assert_allclose(log_det, 3 * np.log(3))
    np.testing.assert_array_equal(value, 3)
