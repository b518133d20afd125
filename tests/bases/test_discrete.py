"""Masses of whole numbers and categories: they sum to 1, and samples have these frequencies."""

from itertools import permutations, product

import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest
from autograd import grad
from scipy import stats
from scipy.integrate import solve_ivp

import nfref
from nfref.bases.argmax_flow import below_chosen
from nfref.bases.discretised_logistic import logistic_log_mass
from nfref.objectives.dequantisation import argmax_bound
from nfref.objectives.discrete_flow_matching import discrete_flow_matching, masked_loss
from nfref.runtime import params as trees
from nfref.transformers.rounded import Rounded, rounded
from tests.flow_table import random_params


def moved(base, seed=0, size=1.0):
    return random_params(base, np.random.default_rng(seed), size)


def every_row(levels, dim):
    return np.array(list(product(range(levels), repeat=dim)), float)


def agree(x, rows, log_mass):
    """Compare the frequencies of samples with masses of all rows, by the chi-square test."""
    counts = np.array([np.sum(np.all(x == row, axis=1)) for row in rows])
    assert counts.sum() == len(x)
    expected = len(x) * np.exp(log_mass)
    assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.ppf(1 - 1e-6, len(rows) - 1)


# Whole numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [-300, -3, 0, 1, 40])
@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 2.5])
def test_the_mass_of_a_cell_to_sixty_digits(n, log_scale):
    with mp.workdps(6000):  # the difference of the two values loses thousands of digits
        scale = mp.exp(mp.mpf(log_scale))
        law = [1 / (1 + mp.exp(-(n - mp.mpf(0.25) + s) / scale)) for s in (0.5, -0.5)]
        exact = mp.log(law[0] - law[1])
    found = logistic_log_mass(np.array([float(n)]), np.array([0.25]), np.array([log_scale]))[0]
    assert found == pytest.approx(float(exact), rel=1e-14)


def test_masses_of_a_mixture_are_those_of_scipy_and_sum_to_one():
    base = nfref.DiscretisedLogistic(2, components=3)
    params = moved(base)
    n = np.arange(-200.0, 201)
    table = []
    for i in range(2):
        w = np.exp(params["logits"][:, i])
        parts = [
            stats.logistic(params["location"][k, i], np.exp(params["log_scale"][k, i]))
            for k in range(3)
        ]
        masses = [part.cdf(n + 0.5) - part.cdf(n - 0.5) for part in parts]
        table.append(w @ masses / w.sum())
    rows = np.array([[-2.0, 1.0], [0.0, 0.0], [3.0, -4.0]])
    expected = [np.log(table[0][int(a) + 200]) + np.log(table[1][int(b) + 200]) for a, b in rows]
    np.testing.assert_allclose(base.log_prob(params, rows), expected, rtol=1e-11)
    grid = np.stack(np.meshgrid(n, n), axis=-1).reshape(-1, 2)
    assert np.exp(base.log_prob(params, grid)).sum() == pytest.approx(1, abs=1e-10)
    x = base.sample(params, np.random.default_rng(1), 4000)
    near = every_row(5, 2) - 2
    inside = x[np.all(np.abs(x) <= 2, axis=1)]
    log_mass = base.log_prob(params, near)
    agree(inside, near, log_mass - np.log(np.exp(log_mass).sum()))


FLOWS = {
    "coupling": lambda: nfref.RealNVP(3, 3, (8,), activation="tanh", transformer=Rounded()),
    "autoregressive": lambda: nfref.MADE(3, (8,), Rounded(), order=(2, 0, 1)),
}


@pytest.mark.parametrize("name", FLOWS)
def test_an_integer_flow_is_one_to_one_and_moves_masses_unchanged(name):
    flow, base = FLOWS[name](), nfref.DiscretisedLogistic(3)
    density = nfref.Density(flow, base)
    params = {"flow": moved(flow, 3, 3.0), "base": moved(base, 4)}
    z = every_row(7, 3) - 3
    x, log_det = flow.forward(params["flow"], z)
    assert np.all(x == np.rint(x)) and np.all(log_det == 0)
    assert len(np.unique(x, axis=0)) == len(z) and np.max(np.abs(x - z)) >= 2
    back, log_det = flow.inverse(params["flow"], x)
    np.testing.assert_array_equal(back, z)
    assert np.all(log_det == 0)
    np.testing.assert_array_equal(density.log_prob(params, x), base.log_prob(params["base"], z))
    params["base"] = base.init(np.random.default_rng(0))
    window = every_row(61, 3) - 30
    assert np.exp(density.log_prob(params, window)).sum() == pytest.approx(1, abs=1e-5)


def test_gradients_pass_straight_through():
    """The gradient of the shift without rounding, at the rounded z."""
    assert grad(lambda t: rounded(3 * t))(0.3) == 3
    flow, base = FLOWS["coupling"](), nfref.DiscretisedLogistic(3)
    density = nfref.Density(flow, base)
    vector, unflatten = trees.flatten({"base": moved(base), "flow": moved(flow, 3)})
    x = np.random.default_rng(5).integers(-4, 5, (20, 3)).astype(float)
    slope = grad(lambda v: anp.mean(density.log_prob(unflatten(v), x)))(vector)
    parts = unflatten(slope)
    assert np.any(trees.flatten(parts["flow"])[0] != 0)
    own, restore = trees.flatten(unflatten(vector)["base"])
    step = 1e-6
    numeric = [
        np.mean(
            density.log_prob({**unflatten(vector), "base": restore(own + step * e)}, x)
            - density.log_prob({**unflatten(vector), "base": restore(own - step * e)}, x)
        )
        / (2 * step)
        for e in np.eye(len(own))
    ]
    np.testing.assert_allclose(trees.flatten(parts["base"])[0], numeric, atol=1e-8)


@pytest.mark.thorough
def test_a_fit_of_whole_numbers_nears_their_entropy():
    rng = np.random.default_rng(6)
    a = rng.integers(0, 12, 3000)
    x = np.stack([a, 2 * a + rng.integers(0, 2, 3000)], axis=1).astype(float)
    flow = nfref.RealNVP(2, 2, (16,), transformer=Rounded())
    density = nfref.Density(flow, nfref.DiscretisedLogistic(2, 4))
    result = nfref.fit(
        density, density.init(rng), x, rng, epochs=60, batch_size=100, learning_rate=1e-2,
        schedule="cosine", validation=None, patience=None, progress=False,
    )  # fmt: skip
    behind = -density.log_prob(result.params, x).mean() - np.log(24)
    assert 0 < behind < 0.6


# Masks --------------------------------------------------------------------------------------


def masked(dim=3, levels=3):
    flow = nfref.MaskedFlow(dim, levels, (7,))
    return flow, moved(flow, 7)


def test_the_mass_is_the_mean_over_all_orders_and_sums_to_one():
    flow, params = masked()
    rows = every_row(3, 3)
    log_mass = flow.log_prob(params, rows)
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-13)
    orders = [flow.log_prob_in_order(params, rows, order) for order in permutations(range(3))]
    for one in orders:
        assert np.exp(one).sum() == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(log_mass, np.log(np.mean(np.exp(orders), axis=0)), rtol=1e-12)
    assert np.ptp(orders, axis=0).max() > 0.1
    agree(flow.sample(params, np.random.default_rng(8), 5000), rows, log_mass)


@pytest.mark.parametrize("power", [1, 3])
def test_the_jump_process_ends_in_that_mass_for_any_schedule(power):
    """Kolmogorov's forward equation over all states with masks, kappa_t = t^power."""
    flow, params = masked(2, 3)
    states = list(product([0, 1, 2, None], repeat=2))
    rates = np.zeros((len(states), len(states)))  # without kappa' / (1 - kappa)
    for j, state in enumerate(states):
        x = np.array([[0.0 if s is None else s for s in state]])
        revealed = np.array([[s is not None for s in state]])
        p = np.exp(flow.log_denoiser(params, x, revealed))[0]
        for i in range(2):
            for k in range(3) if state[i] is None else ():
                to = states.index(tuple(k if c == i else s for c, s in enumerate(state)))
                rates[to, j] += p[i, k]
                rates[j, j] -= p[i, k]
    start = np.zeros(len(states))
    start[-1] = 1

    def change(t, mass):
        return power * t ** (power - 1) / (1 - t**power) * (rates @ mass)

    end = solve_ivp(change, (0, 1 - 1e-7), start, rtol=1e-9, atol=1e-12).y[:, -1]
    rows = every_row(3, 2)
    whole = [end[states.index(tuple(row.astype(int)))] for row in rows]
    np.testing.assert_allclose(whole, np.exp(flow.log_prob(params, rows)), atol=1e-5)


def test_the_loss_is_the_mean_of_minus_log_p_over_the_orders():
    flow, params = masked()
    rows = every_row(3, 3)[[0, 5, 17]]
    total = 0
    for members in range(1, 8):
        hidden = np.array([[bool(members >> i & 1) for i in range(3)]] * 3)
        k = hidden[0].sum()
        share = 1 / 3 / len([m for m in range(1, 8) if bin(m).count("1") == k])
        total = total + share * masked_loss(flow.log_probs(params, rows, ~hidden), hidden)
    orders = [flow.log_prob_in_order(params, rows, order) for order in permutations(range(3))]
    np.testing.assert_allclose(total, -np.mean(orders, axis=0), rtol=1e-12)
    assert np.all(total > -flow.log_prob(params, rows))
    # The integral over t that the paper has, with kappa_t = t: the weights are 1 / k.
    density = nfref.Density(nfref.Permutation((0, 1, 2)), flow)
    rng = np.random.default_rng(9)
    drawn = [
        discrete_flow_matching(density, {"base": params, "flow": {}}, rows, None, rng)
        for _ in range(2000)
    ]
    assert abs(np.mean(drawn) - total.mean()) < 4 * np.std(drawn) / 2000**0.5


def test_gradients_of_masks():
    flow, params = masked(2, 2)
    vector, unflatten = trees.flatten(params)
    rows = every_row(2, 2)

    def total(vector):
        return anp.sum(flow.log_prob(unflatten(vector), rows))

    step = 1e-6
    numeric = [
        (total(vector + step * e) - total(vector - step * e)) / (2 * step)
        for e in np.eye(len(vector))
    ]
    np.testing.assert_allclose(grad(total)(vector), numeric, atol=1e-8)


# Argmax -------------------------------------------------------------------------------------


def argmax_flow(levels=3, dim=1):
    width = levels * dim
    noise = nfref.MAF(width, 1, (6,), context_dim=width)
    return nfref.ArgmaxFlow(nfref.DiagonalNormal(width), levels, noise)


def test_thresholding_keeps_the_chosen_largest_with_the_determinant_of_differences():
    rng = np.random.default_rng(10)
    u = 1.5 * rng.standard_normal((20, 2, 3))
    chosen = rng.integers(3, size=(20, 2))[:, :, None] == np.arange(3)
    v, log_det = below_chosen(u, chosen)
    np.testing.assert_array_equal(np.argmax(v, axis=2), np.argmax(chosen, axis=2))
    step = 1e-6 * np.eye(6).reshape(6, 2, 3)
    matrices = np.stack(
        [(below_chosen(u + e, chosen)[0] - below_chosen(u - e, chosen)[0]) / 2e-6 for e in step],
        axis=-1,
    ).reshape(20, 6, 6)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrices)[1], atol=1e-6)


def test_the_quotient_is_unbiased_for_a_mass_that_is_known():
    """Two numbers N(m, s^2): the second is larger with probability Phi((m_2 - m_1) / |s|)."""
    flow = argmax_flow(2)
    params = flow.init(np.random.default_rng(11))
    location, scale = np.array([0.4, -0.3]), np.array([0.5, 0.9])
    params["density"] = {"location": location, "log_scale": np.log(scale)}
    second = stats.norm.cdf((location[1] - location[0]) / np.hypot(*scale))
    rng, n = np.random.default_rng(12), 40_000
    for x, p in ((0, 1 - second), (1, second)):
        ratios = np.exp(flow.lower_bound(params, np.full((n, 1), x), rng))
        assert abs(ratios.mean() - p) < 4 * ratios.std() / n**0.5
        assert np.log(ratios).mean() < np.log(p)
        better = flow.lower_bound(params, np.full((400, 1), x), rng, samples=200)
        assert np.log(ratios).mean() < better.mean() - 0.1 < better.mean() < np.log(p)
    x = flow.sample(params, rng, 4000)
    agree(x, every_row(2, 1), np.log([1 - second, second]))


def test_masses_of_an_argmax_flow_sum_to_one():
    flow = argmax_flow(3, 2)
    params = moved(flow, 13, 0.3)
    rng, n = np.random.default_rng(14), 20_000
    ratios = np.array(
        [np.exp(flow.lower_bound(params, np.tile(row, (n, 1)), rng)) for row in every_row(3, 2)]
    )
    assert abs(ratios.mean(axis=1).sum() - 1) < 4 * np.sqrt(np.sum(ratios.var(axis=1) / n))
    log_mass = np.log(ratios.mean(axis=1) / ratios.mean(axis=1).sum())
    agree(flow.sample(params, rng, 5000), every_row(3, 2), log_mass)
    density = nfref.Density(nfref.Permutation((1, 0)), flow)
    x = density.sample({"base": params, "flow": {}}, rng, 5000)
    agree(x[:, ::-1], every_row(3, 2), log_mass)


def test_gradient_of_the_argmax_bound():
    flow = argmax_flow(3, 2)
    density = nfref.Density(nfref.Permutation((1, 0)), flow)
    vector, unflatten = trees.flatten({"base": moved(flow, 15, 0.3), "flow": {}})
    rows = every_row(3, 2)

    def loss(vector):
        return argmax_bound(density, unflatten(vector), rows, None, np.random.default_rng(0))

    slope, step = grad(loss)(vector), 1e-6
    for k in range(0, len(vector), 7):
        e = step * (np.arange(len(vector)) == k)
        assert slope[k] == pytest.approx((loss(vector + e) - loss(vector - e)) / 2e-6, abs=1e-7)


# Sorting and the maximum --------------------------------------------------------------------


def test_there_and_back_any_density_is_the_mean_over_its_orders():
    inner = nfref.Density(nfref.RealNVP(3, 2, (4,)))
    base = nfref.InferenceSort(nfref.GenerativeSort(inner))
    params = moved(base)
    x = np.random.default_rng(16).standard_normal((10, 3))
    own = params["density"]["density"]
    images = [inner.log_prob(own, x[:, order]) for order in map(list, permutations(range(3)))]
    np.testing.assert_allclose(
        base.log_prob(params, x), np.log(np.mean(np.exp(images), axis=0)), rtol=1e-12
    )
    drawn = base.sample(params, np.random.default_rng(17), 4000)
    share = np.mean(drawn[:, 0] > drawn[:, 1])
    assert abs(share - 0.5) < 4 * 0.5 / 4000**0.5
    assert np.all(
        np.diff(base.density.sample(params["density"], np.random.default_rng(0), 50)) >= 0
    )


def test_order_statistics_of_normals():
    base = nfref.GenerativeSort(nfref.StandardNormal(3))
    x = np.array([[-1.0, 0.2, 0.7], [0.2, -1.0, 0.7]])
    found = base.log_prob({"density": {}}, x)
    assert found[0] == pytest.approx(np.log(6) + stats.norm.logpdf(x[0]).sum())
    assert found[1] == -np.inf


def test_the_maximum_and_the_drops_have_mass_one():
    drops = nfref.GenerativeAbs(nfref.DiagonalNormal(1))
    base = nfref.InferenceMax(nfref.DiagonalNormal(1), drops)
    params = moved(base, 18, 0.3)
    axis = np.linspace(-9, 6, 1501)
    rows = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    rows = rows[rows[:, 0] != rows[:, 1]]
    mass = np.exp(base.log_prob(params, rows)) * (axis[1] - axis[0]) ** 2
    assert mass.sum() == pytest.approx(1, abs=0.01)
    x = base.sample(params, np.random.default_rng(19), 4000)
    first = mass[rows[:, 0] > rows[:, 1]].sum()
    assert abs(np.mean(x[:, 0] > x[:, 1]) - first) < 4 * 0.5 / 4000**0.5 + 0.01
    observed, expected = base.log_prob(params, x), base.log_prob(params, rows) @ mass
    assert abs(observed.mean() - expected) < 4 * observed.std() / 4000**0.5 + 0.03


def test_paper_form_of_the_maximum():
    """log p(x) = log p(max x) - log D + log r(max x - others)."""
    base = nfref.InferenceMax(nfref.StandardNormal(1), nfref.GenerativeAbs(nfref.StandardNormal(2)))
    params = base.init(np.random.default_rng(0))
    x = np.array([[0.3, 1.1, -2.0]])
    expected = (
        stats.norm.logpdf(1.1)
        - np.log(3)
        + base.drops.log_prob(params["drops"], np.array([[0.8, 3.1]]))[0]
    )
    assert base.log_prob(params, x)[0] == pytest.approx(expected, rel=1e-13)


# Use ----------------------------------------------------------------------------------------

BASES = {
    "logistic": nfref.DiscretisedLogistic(2, 2),
    "masks": nfref.MaskedFlow(2, 3, (4,)),
    "argmax": argmax_flow(2, 2),
    "sorted": nfref.InferenceSort(nfref.GenerativeSort(nfref.StandardNormal(2))),
    "maximum": nfref.InferenceMax(nfref.StandardNormal(1), nfref.StandardNormal(1)),
}


@pytest.mark.parametrize("name", BASES)
def test_model_files_keep_them(name, tmp_path):
    density = nfref.Density(nfref.Permutation((1, 0)), BASES[name])
    params = density.init(np.random.default_rng(0))
    nfref.save_model(tmp_path / "model.npz", density, params)
    kept = nfref.load_model(tmp_path / "model.npz")
    assert kept.density == density
    for one, other in zip(trees.leaves(kept.params), trees.leaves(params)):
        np.testing.assert_array_equal(one, other)


def test_refusals():
    rng = np.random.default_rng(0)
    density = nfref.Density(FLOWS["coupling"](), nfref.DiscretisedLogistic(3))
    params = density.init(rng)
    with pytest.raises(ValueError, match="z: expected whole numbers, got 0.5 in row 1"):
        density.log_prob(params, [[1, 2, 3], [1, 0.5, 3]])
    flow, params = masked()
    message = "z: expected whole numbers from 0 to 2, got 3.0 in row 0"
    with pytest.raises(ValueError, match=message):
        flow.log_prob(params, [[0, 3, 1]])
    with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 2, got -1.0 in row"):
        flow.log_prob_in_order(params, [[0, -1, 1]], (0, 1, 2))
    wide = nfref.MaskedFlow(13, 2)
    with pytest.raises(ValueError, match="expected at most 12 coordinates .* got 13"):
        wide.log_prob(wide.init(rng), np.zeros((1, 13)))
    argmax = argmax_flow(3)
    with pytest.raises(NotImplementedError, match="use lower_bound"):
        argmax.log_prob(argmax.init(rng), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="x: expected whole numbers from 0 to 2, got 1.5 in row 0"):
        argmax.lower_bound(argmax.init(rng), [[1.5]], rng)
    with pytest.raises(ValueError, match="density: expected a multiple of 3 numbers, got 4"):
        nfref.ArgmaxFlow(nfref.StandardNormal(4), 3, nfref.MAF(4, 1, context_dim=4))
    with pytest.raises(ValueError, match="noise: expected dim and context_dim 3, got 3 and 0"):
        nfref.ArgmaxFlow(nfref.StandardNormal(3), 3, nfref.MAF(3, 1))
    with pytest.raises(ValueError, match="density: expected one coordinate, got 2"):
        nfref.InferenceMax(nfref.StandardNormal(2), nfref.StandardNormal(2))
    sort = nfref.GenerativeSort(nfref.StandardNormal(8))
    with pytest.raises(ValueError, match="expected at most 7 coordinates .* got 8"):
        sort.log_prob(sort.init(rng), np.zeros((1, 8)))
    plain = nfref.Density(nfref.Permutation((1, 0)))
    for objective, name in ((argmax_bound, "ArgmaxFlow"), (discrete_flow_matching, "MaskedFlow")):
        message = f"density: expected the base {name}, got StandardNormal"
        with pytest.raises(TypeError, match=message):
            objective(plain, plain.init(rng), np.zeros((1, 2)), None, rng)
