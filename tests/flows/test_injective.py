"""Injective flows: volumes of surfaces, known densities on them, gradients of the volume."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import nfref
from nfref.flows.free_form import FreeFormFlow, linearised
from nfref.flows.injective import heights, log_volume
from nfref.objectives.free_form import FreeFormLikelihood, log_det_surrogate, orthogonal_probes
from nfref.objectives.injective import InjectiveLikelihood, log_volume_surrogate, solve_gram
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, hidden, made, random_params

# With d = D it is a flow like others: the volume is the determinant.
CONTRACT = {
    "Injective, square": Entry(
        lambda dim, context_dim: nfref.InjectiveFlow(made()(dim, context_dim), dim),
        context=True,
        costly=True,
        integrable=False,
    )
}
test_contract = contract_test(CONTRACT)

# What is left of the contract for d < D. (d, D), by flow.
SIZES = ((1, 2), (1, 3), (2, 3), (2, 5), (5, 8))
INSIDE = {
    "RealNVP": lambda dim, context_dim: nfref.RealNVP(
        dim, 3, hidden(dim), context_dim, activation="tanh"
    ),
    "MADE": made(),
    "Linear": lambda dim, context_dim: nfref.Linear(dim),
    "free form": lambda dim, context_dim: nfref.Chain(
        [FreeFormFlow(dim, 2, hidden(dim), context_dim=context_dim), nfref.ElementwiseAffine(dim)]
    ),
}
CASES = [
    pytest.param(name, kept, dim, context_dim, id=f"{name}-{kept}-{dim}-{context_dim}")
    for name in INSIDE
    for kept, dim in SIZES
    for context_dim in ((0, 2) if (kept, dim) == (2, 3) else (0,))
]


def subject(name, kept, dim, context_dim, rows=4):
    flow = nfref.InjectiveFlow(INSIDE[name](dim, context_dim), kept)
    rng = np.random.default_rng(dim)
    context = rng.standard_normal((rows, flow.context_dim)) if flow.context_dim else None
    return flow, random_params(flow, rng), rng.standard_normal((rows, kept)), context


def differences(function, rows, step=1e-5):
    """The Jacobians of a map of rows, (N, D, d), by central differences."""
    axes = step * np.eye(rows.shape[1])
    return np.stack([(function(rows + e) - function(rows - e)) / (2 * step) for e in axes], axis=2)


@pytest.mark.parametrize("name, kept, dim, context_dim", CASES)
def test_the_log_determinant_is_the_volume_of_differences(name, kept, dim, context_dim):
    flow, params, z, context = subject(name, kept, dim, context_dim)
    x, log_det = flow.forward(params, z, context)
    assert x.shape == (4, dim) and log_det.shape == (4,)
    matrices = differences(lambda rows: flow.forward(params, rows, context)[0], z)
    gram = np.einsum("nij,nik->njk", matrices, matrices)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(gram)[1] / 2, atol=1e-7)


@pytest.mark.parametrize("name, kept, dim, context_dim", CASES)
def test_both_directions_cancel_and_rows_are_independent(name, kept, dim, context_dim):
    flow, params, z, context = subject(name, kept, dim, context_dim)
    x, log_det = flow.forward(params, z, context)
    back, log_det_back = flow.inverse(params, x, context)
    if name != "free form":
        np.testing.assert_allclose(back, z, atol=1e-10)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-10)
        np.testing.assert_allclose(flow.reconstruction_error(params, x, context), 0, atol=1e-10)
    alone = None if context is None else context[2:3]
    np.testing.assert_allclose(flow.forward(params, z[2:3], alone)[0][0], x[2], rtol=1e-13)
    single = flow.inverse(params, x.astype(np.float32), context)
    assert single[0].dtype == single[1].dtype == np.float32
    assert flow.forward(params, z[:0], None if context is None else context[:0])[0].shape == (
        0,
        dim,
    )


@pytest.mark.parametrize("name", INSIDE)
def test_gradients_of_the_likelihood(name):
    flow, params, _, _ = subject(name, 2, 3, 0)
    density = nfref.Density(flow)
    x = np.random.default_rng(5).standard_normal((3, 3))
    vector, unflatten = trees.flatten({"base": {}, "flow": params})

    def total(vector):
        return anp.sum(density.log_prob(unflatten(vector), x))

    step = 1e-6
    numeric = [
        (total(vector + step * e) - total(vector - step * e)) / (2 * step)
        for e in np.eye(len(vector))
    ]
    np.testing.assert_allclose(grad(total)(vector), numeric, atol=2e-7)


# Volumes ------------------------------------------------------------------------------------


def test_heights_of_a_known_parallelepiped():
    matrix = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(heights(matrix[None]), [[3, 2]])
    np.testing.assert_allclose(log_volume(matrix[None]), np.log(6))


def test_the_volume_keeps_the_digits_that_a_determinant_of_the_gram_matrix_loses():
    """Two columns of angle 1e-9: J^T J is singular in float64, the area is 1e-9."""
    matrix = np.array([[1.0, 1.0], [0.0, 1e-9], [0.0, 0.0]])
    assert log_volume(matrix[None])[0] == pytest.approx(np.log(1e-9), rel=1e-14)
    assert np.linalg.det(matrix.T @ matrix) == 0


class Polar(nfref.Flow):
    """(angle, log r) -> the plane; angles within (-pi, pi) come back."""

    dim = 2

    def _forward(self, params, z, context):
        x = anp.exp(z[:, 1:]) * anp.stack([anp.cos(z[:, 0]), anp.sin(z[:, 0])], axis=1)
        return x, 2 * z[:, 1]

    def _inverse(self, params, x, context):
        log_r = anp.log(anp.sum(x**2, axis=1)) / 2
        return anp.stack([anp.arctan2(x[:, 1], x[:, 0]), log_r], axis=1), -2 * log_r


class Spherical(nfref.Flow):
    """(latitude, longitude, log r) -> the space."""

    dim = 3

    def _forward(self, params, z, context):
        across = anp.cos(z[:, 0])
        unit = [across * anp.cos(z[:, 1]), across * anp.sin(z[:, 1]), anp.sin(z[:, 0])]
        log_det = 3 * z[:, 2] + anp.log(across)
        return anp.exp(z[:, 2:]) * anp.stack(unit, axis=1), log_det

    def _inverse(self, params, x, context):
        log_r = anp.log(anp.sum(x**2, axis=1)) / 2
        latitude = anp.arcsin(x[:, 2] / anp.exp(log_r))
        z = anp.stack([latitude, anp.arctan2(x[:, 1], x[:, 0]), log_r], axis=1)
        return z, -3 * log_r - anp.log(anp.cos(latitude))


def test_the_density_on_the_circle_is_that_of_the_angle():
    density = nfref.Density(nfref.InjectiveFlow(Polar(), 1), nfref.VonMises(1, 3.0))
    params = density.init(np.random.default_rng(0))
    angle = np.linspace(-3.1, 3.1, 400)[:, None]
    x = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    expected = nfref.VonMises(1, 3.0).log_prob(params["base"], angle)
    np.testing.assert_allclose(density.log_prob(params, x), expected, rtol=1e-13, atol=1e-13)
    # A circle of radius 2 has twice the length, and half of the density.
    wide = nfref.Chain([Polar(), nfref.Standardise((0, 0), (2, 2))])
    density = nfref.Density(nfref.InjectiveFlow(wide, 1), nfref.VonMises(1, 3.0))
    params = density.init(np.random.default_rng(0))
    np.testing.assert_allclose(density.log_prob(params, 2 * x), expected - np.log(2), rtol=1e-12)


def test_the_density_on_the_sphere_is_that_of_the_angles_over_the_cosine():
    """x is uniform on the sphere if the sine of the latitude is uniform."""
    rng = np.random.default_rng(1)
    flow = nfref.InjectiveFlow(Spherical(), 2)
    box = nfref.Uniform((-np.pi / 2, -np.pi), (np.pi / 2, np.pi))
    x = nfref.UniformSphere(3).sample({}, rng, 100)
    found = nfref.Density(flow, box).log_prob({"base": {}, "flow": {}}, x)
    cosine = np.sqrt(1 - x[:, 2] ** 2)
    np.testing.assert_allclose(
        found, -np.log(2 * np.pi**2) - np.log(cosine), rtol=1e-12, atol=1e-12
    )
    z, log_det = flow.inverse({}, x)
    np.testing.assert_allclose(log_det, -np.log(np.cos(z[:, 0])), rtol=1e-11)


@pytest.mark.parametrize("sphere", [False, True], ids=["circle", "sphere"])
def test_a_learned_surface_has_mass_one(sphere):
    """The density of an injective flow, integrated over its own surface by area."""
    dim, kept = (3, 2) if sphere else (2, 1)
    density = nfref.Density(nfref.InjectiveFlow(nfref.RealNVP(dim, 2, (4,)), kept))
    params = {"base": {}, "flow": random_params(density.flow, np.random.default_rng(2))}
    axis = np.linspace(-7, 7, 281)
    z = np.stack(np.meshgrid(*[axis] * kept), axis=-1).reshape(-1, kept)
    x, log_area = density.flow.forward(params["flow"], z)
    mass = np.sum(np.exp(density.log_prob(params, x) + log_area)) * (axis[1] - axis[0]) ** kept
    assert mass == pytest.approx(1, abs=1e-9)
    rows, log_prob = density.sample_and_log_prob(params, np.random.default_rng(3), 5)
    assert rows.shape == (5, dim)
    np.testing.assert_allclose(density.log_prob(params, rows), log_prob, atol=1e-10)


def test_flows_of_fewer_coordinates_before_it_change_only_the_latent_density():
    chain = nfref.Chain([nfref.Linear(2), nfref.InjectiveFlow(nfref.RealNVP(4, 2, (4,)), 2)])
    assert (chain.latent_dim, chain.dim) == (2, 4)
    params = random_params(chain, np.random.default_rng(4))
    z = np.random.default_rng(5).standard_normal((3, 2))
    matrices = differences(lambda rows: chain.forward(params, rows)[0], z)
    gram = np.einsum("nij,nik->njk", matrices, matrices)
    np.testing.assert_allclose(
        chain.forward(params, z)[1], np.linalg.slogdet(gram)[1] / 2, atol=1e-8
    )


# Objectives ---------------------------------------------------------------------------------


def test_conjugate_gradients_solve():
    rng = np.random.default_rng(6)
    matrices, v = rng.standard_normal((7, 6, 4)), rng.standard_normal((7, 4))
    v[3] = 0
    w = solve_gram(
        lambda v: np.einsum("nij,nj->ni", matrices, v),
        lambda u: np.einsum("nij,ni->nj", matrices, u),
        v,
    )
    gram = np.einsum("nij,nik->njk", matrices, matrices)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", gram, w), v, atol=1e-9)


@pytest.mark.parametrize("name", ["RealNVP", "MADE", "free form"])
def test_the_surrogate_has_the_gradient_of_the_volume(name):
    """With d orthogonal probes the trace is exact, so the gradients agree to rounding."""
    flow, params, _, _ = subject(name, 3, 5, 0)
    density = nfref.Density(flow)
    vector, unflatten = trees.flatten({"base": {}, "flow": params})
    x = np.random.default_rng(7).standard_normal((4, 5))

    def gradient(probes):
        loss = InjectiveLikelihood(beta=2.0, probes=probes)
        return grad(
            lambda vector: loss(density, unflatten(vector), x, None, np.random.default_rng(0))
        )(vector)

    np.testing.assert_allclose(gradient(3), gradient(0), rtol=1e-9, atol=1e-10)
    assert np.max(np.abs(gradient(1) - gradient(0))) > 1e-3
    exact = InjectiveLikelihood(beta=2.0)(density, unflatten(vector), x, None, RNG)
    distance = flow.reconstruction_error(params, x)
    expected = np.mean(2 * distance**2 - density.log_prob(unflatten(vector), x))
    assert exact == pytest.approx(expected, rel=1e-12)


RNG = np.random.default_rng(0)


def test_one_probe_is_unbiased_for_the_gradient():
    """The published estimator, w^T d(J^T J) v / 2, has the same mean."""
    rng = np.random.default_rng(8)
    start, change = rng.standard_normal((2, 5, 3))
    z = np.zeros((4000, 3))

    def decode(shift):
        return lambda z: z @ (start + shift * change).T

    v = orthogonal_probes(rng, len(z), 3, 1, float)[0]
    step = 1e-5
    ours = (
        log_volume_surrogate(decode(step), decode(0), z, v)
        - log_volume_surrogate(decode(-step), decode(0), z, v)
    ) / (2 * step)
    w = v @ np.linalg.inv(start.T @ start)
    published = np.sum(w @ (change.T @ start + start.T @ change) * v, axis=1) / 2
    exact = np.trace(np.linalg.pinv(start) @ change)
    for found in (ours, published):
        assert abs(found.mean() - exact) < 4 * found.std() / len(z) ** 0.5
    assert ours.std() > 0.1
    _, push, _ = linearised(decode(0), z)
    np.testing.assert_allclose(push(v), v @ start.T, rtol=1e-12)


def test_the_encoder_s_surrogate_has_the_gradient_of_its_own_volume():
    """Free-form injective flows: 1/2 log det f' f'^T, if g' is the pseudo-inverse of f'."""
    rng = np.random.default_rng(9)
    start, z = rng.standard_normal((3, 5)), np.zeros((1, 5))
    decode = np.linalg.pinv(start)

    def surrogate(matrix):
        probes = np.sqrt(3) * np.eye(3)[:, None]
        return (
            sum(
                log_det_surrogate(lambda x: x @ matrix.T, lambda z: z @ decode.T, z, v)[1][0]
                for v in probes
            )
            / 3
        )

    def volume(matrix):
        return anp.linalg.slogdet(matrix @ matrix.T)[1] / 2

    np.testing.assert_allclose(grad(surrogate)(start), grad(volume)(start), rtol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["exact", "solve", "encoder"])
def test_a_fit_finds_a_line_in_space(loss):
    """Normal along a line, with noise of 0.05 across: density 0.01 nats from the truth on it."""
    rng = np.random.default_rng(10)
    direction = np.array([2.0, 1.0, -2.0]) / 3
    along = 1.5 * rng.standard_normal(1000)
    x = along[:, None] * direction + 0.05 * rng.standard_normal((1000, 3))
    inner = FreeFormFlow(3, 2, (16,)) if loss == "encoder" else nfref.Linear(3)
    density = nfref.Density(nfref.InjectiveFlow(inner, 1))
    objective = {
        "exact": InjectiveLikelihood(beta=200.0),
        "solve": InjectiveLikelihood(beta=200.0, probes=1),
        "encoder": FreeFormLikelihood(beta=200.0),
    }[loss]
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        epochs=60,
        batch_size=100,
        learning_rate=1e-2,
        schedule="cosine",
        validation=None,
        patience=None,
        progress=False,
        objective=objective,
    )
    error = density.flow.reconstruction_error(result.params["flow"], x)
    assert np.sqrt(np.mean(error**2)) < 0.09  # 0.05 sqrt(2), and what is left to learn
    entropy = 0.5 * (1 + np.log(2 * np.pi * np.mean(along**2)))
    assert -density.log_prob(result.params, x).mean() == pytest.approx(entropy, abs=0.03)


# Use ----------------------------------------------------------------------------------------


def test_a_model_file_keeps_it(tmp_path):
    density = nfref.Density(nfref.InjectiveFlow(nfref.RealNVP(3, 2, (4,)), 2))
    params = density.init(np.random.default_rng(0))
    nfref.save_model(tmp_path / "model.npz", density, params)
    kept = nfref.load_model(tmp_path / "model.npz")
    assert kept.density == density
    x = np.ones((2, 3))
    np.testing.assert_array_equal(
        kept.density.log_prob(kept.params, x), density.log_prob(params, x)
    )


def test_refusals():
    flow = nfref.InjectiveFlow(nfref.Linear(3), 2)
    params = flow.init(np.random.default_rng(0))
    params["weight"] = params["weight"] * 0
    message = "J: expected a Jacobian of rank 2 in every row, got a lower rank in row 0"
    with pytest.raises(ValueError, match=message):
        flow.forward(params, np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"z: expected shape \(N, 2\), got \(4, 3\)"):
        flow.forward(params, np.ones((4, 3)))
    with pytest.raises(ValueError, match="kept: expected at most 3 coordinates, got 4"):
        nfref.InjectiveFlow(nfref.Linear(3), 4)
    message = "expected a flow with as many latent as data coordinates, got 2 and 3"
    for make in (nfref.Invert, lambda flow: nfref.Chain([flow, nfref.Linear(3)])):
        with pytest.raises(ValueError, match=message):
            make(flow)
    with pytest.raises(ValueError, match="flow: " + message):
        nfref.InjectiveFlow(flow, 1)
    with pytest.raises(ValueError, match="Density: expected base and flow of the same dim, got 3"):
        nfref.Density(flow, nfref.StandardNormal(3))
    density = nfref.Density(flow)
    with pytest.raises(ValueError, match="probes: expected at most 2, one a coordinate, got 3"):
        InjectiveLikelihood(probes=3)(density, density.init(RNG), np.ones((2, 3)), None, RNG)
