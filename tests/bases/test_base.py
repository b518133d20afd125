"""Base densities against scipy.stats, quadrature, their own samples and finite differences."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy import integrate, stats

import nfref
from nfref.runtime import params as trees

BASES = {
    "StandardNormal-1": nfref.StandardNormal(1),
    "StandardNormal-3": nfref.StandardNormal(3),
    "DiagonalNormal-1": nfref.DiagonalNormal(1),
    "DiagonalNormal-3": nfref.DiagonalNormal(3),
    "FullNormal-1": nfref.FullNormal(1),
    "FullNormal-3": nfref.FullNormal(3),
    "Logistic-1": nfref.Logistic(1),
    "Logistic-3": nfref.Logistic(3),
    "Uniform-1": nfref.Uniform([-1], [0.5]),
    "Uniform-3": nfref.Uniform([-1, 0, 2], [0.5, 3, 2.25]),
    "NormalMixture-1": nfref.NormalMixture(1, 4),
    "NormalMixture-3": nfref.NormalMixture(3, 4),
    "Laplace-1": nfref.Laplace(1),
    "Laplace-3": nfref.Laplace(3),
    "StudentT-1": nfref.StudentT(1),
    "StudentT-3": nfref.StudentT(3),
    "VonMises-1": nfref.VonMises(1),
    "VonMises-3": nfref.VonMises(3),
    "Product-3": nfref.Product([nfref.VonMises(1), nfref.Laplace(1), nfref.StudentT(1)]),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
not_constant = pytest.mark.parametrize(
    "base",
    [base for base in BASES.values() if not isinstance(base, nfref.Uniform)],
    ids=lambda base: f"{type(base).__name__}-{base.dim}",
)
with_params = pytest.mark.parametrize(
    "base",
    [base for base in BASES.values() if trees.leaves(base.init(np.random.default_rng(0)))],
    ids=lambda base: f"{type(base).__name__}-{base.dim}",
)


def drawn(base, seed=0):
    """Parameters far from where ``init`` puts them."""
    rng = np.random.default_rng(seed)
    return trees.tree_map(lambda leaf: leaf + 0.5 * rng.standard_normal(leaf.shape), base.init(rng))


def angles(base):
    """The coordinates that are angles."""
    if isinstance(base, nfref.Product):
        return [i for i, part in enumerate(base.bases) if isinstance(part, nfref.VonMises)]
    return range(base.dim) if isinstance(base, nfref.VonMises) else []


def scipy_log_prob(base, params, z):
    """Return the same log-density by scipy.stats."""
    name = type(base).__name__
    if name == "StandardNormal":
        return stats.norm.logpdf(z).sum(axis=1)
    if name == "DiagonalNormal":
        return stats.norm(params["location"], np.exp(params["log_scale"])).logpdf(z).sum(axis=1)
    if name == "FullNormal":
        lower = np.tril(params["lower"], -1) + np.diag(np.exp(params["log_diagonal"]))
        return stats.multivariate_normal(params["location"], lower @ lower.T).logpdf(z)
    if name == "Logistic":
        return stats.logistic.logpdf(z).sum(axis=1)
    if name == "Uniform":
        width = np.subtract(base.upper, base.lower)
        return stats.uniform(base.lower, width).logpdf(z).sum(axis=1)
    if name == "Laplace":
        return stats.laplace.logpdf(z).sum(axis=1)
    if name == "StudentT":
        return stats.t(np.exp(params["log_degrees"])).logpdf(z).sum(axis=1)
    if name == "VonMises":
        concentration = np.exp(params["log_concentration"])
        return stats.vonmises(concentration, params["location"]).logpdf(z).sum(axis=1)
    if name == "Product":
        return sum(
            scipy_log_prob(part, own, z[:, i : i + 1])
            for i, (part, own) in enumerate(zip(base.bases, params))
        )
    weights = np.exp(params["logits"]) / np.exp(params["logits"]).sum()
    parts = [
        weight * np.exp(stats.norm(mean, np.exp(log_scale)).logpdf(z).sum(axis=1))
        for weight, mean, log_scale in zip(weights, params["means"], params["log_scales"])
    ]
    return np.log(np.sum(parts, axis=0))


@every_base
@pytest.mark.parametrize("n", [0, 1, 7])
def test_shapes_and_dtypes(base, n):
    params = drawn(base)
    for dtype in (np.float32, np.float64):
        z = base.sample(params, np.random.default_rng(0), n, dtype=dtype)
        assert z.shape == (n, base.dim) and z.dtype == dtype
        log_p = base.log_prob(params, z)
        assert log_p.shape == (n,) and log_p.dtype == dtype
        assert np.all(np.isfinite(log_p))


@every_base
def test_log_prob_against_scipy(base):
    params = drawn(base)
    z = base.sample(params, np.random.default_rng(1), 200)
    assert np.allclose(base.log_prob(params, z), scipy_log_prob(base, params, z), rtol=1e-12)


@every_base
def test_float32_is_the_float64_answer_rounded(base):
    params = drawn(base)
    z = base.sample(params, np.random.default_rng(2), 200, dtype=np.float32)
    single, double = base.log_prob(params, z), base.log_prob(params, z.astype(np.float64))
    assert np.allclose(single, double, rtol=2e-5, atol=2e-5)


@every_base
def test_integrates_to_one(base):
    """Integrate by quadrature at D = 1, else by importance sampling with a wide Student t.

    Angles are sampled uniformly from one turn, their whole support.
    """
    params = drawn(base)
    if base.dim == 1:

        def density(z):
            return np.exp(base.log_prob(params, np.array([[z]]))[0])

        if isinstance(base, nfref.Uniform):
            total, _ = integrate.quad(density, -1, 0.5)
        elif isinstance(base, nfref.VonMises):
            total, _ = integrate.quad(density, 1, 1 + 2 * np.pi, epsabs=1e-11)
        else:
            total, _ = integrate.quad(density, -np.inf, np.inf, epsabs=1e-11, limit=200)
        assert abs(total - 1) < 1e-8
    else:
        centre = base.sample(params, np.random.default_rng(3), 500).mean(axis=0)
        rng = np.random.default_rng(3)
        wide = stats.t(df=3, loc=centre, scale=1.5)
        z = wide.rvs(size=(100000, base.dim), random_state=rng)
        log_q = wide.logpdf(z)
        for i in angles(base):
            z[:, i] = rng.uniform(-np.pi, np.pi, len(z))
            log_q[:, i] = -np.log(2 * np.pi)
        ratio = np.exp(base.log_prob(params, z) - log_q.sum(axis=1))
        error = ratio.std() / np.sqrt(len(ratio))
        assert error < 0.03 and abs(ratio.mean() - 1) < 4 * error


@every_base
def test_samples_follow_the_density(base):
    """Each coordinate against the marginal distribution function: Kolmogorov-Smirnov."""
    params = drawn(base)
    z = base.sample(params, np.random.default_rng(4), 5000)
    for i in range(base.dim):
        assert stats.kstest(z[:, i], marginal_cdf(base, params, i)).pvalue > 1e-3


def marginal_cdf(base, params, i):
    name = type(base).__name__
    if name == "StandardNormal":
        return stats.norm.cdf
    if name == "DiagonalNormal":
        return stats.norm(params["location"][i], np.exp(params["log_scale"][i])).cdf
    if name == "FullNormal":
        row = np.append(params["lower"][i, :i], np.exp(params["log_diagonal"][i]))
        return stats.norm(params["location"][i], np.linalg.norm(row)).cdf
    if name == "Logistic":
        return stats.logistic.cdf
    if name == "Uniform":
        return stats.uniform(base.lower[i], base.upper[i] - base.lower[i]).cdf
    if name == "Laplace":
        return stats.laplace.cdf
    if name == "StudentT":
        return stats.t(np.exp(params["log_degrees"][i])).cdf
    if name == "VonMises":
        turned = stats.vonmises(np.exp(params["log_concentration"][i]), params["location"][i])
        return lambda z: turned.cdf(z) - turned.cdf(-np.pi)
    if name == "Product":
        return marginal_cdf(base.bases[i], params[i], 0)
    weights = np.exp(params["logits"]) / np.exp(params["logits"]).sum()
    normals = stats.norm(params["means"][:, i], np.exp(params["log_scales"][:, i]))
    return lambda z: normals.cdf(np.asarray(z)[:, None]) @ weights


def test_full_normal_samples_have_its_covariance():
    base = nfref.FullNormal(3)
    params = drawn(base)
    lower = np.tril(params["lower"], -1) + np.diag(np.exp(params["log_diagonal"]))
    z = base.sample(params, np.random.default_rng(5), 20000)
    whitened = np.linalg.solve(lower, (z - params["location"]).T)
    # Sums of n products of standard normals: variance n off the diagonal, 2 n on it.
    moments = whitened @ whitened.T / 20000 - np.eye(3)
    assert np.all(np.abs(moments) < 4.5 * np.sqrt((1 + np.eye(3)) / 20000))


@every_base
def test_mean_log_prob_is_minus_entropy(base):
    params = drawn(base)
    if isinstance(base, nfref.NormalMixture):
        with pytest.raises(NotImplementedError, match="NormalMixture has no closed-form entropy"):
            base.entropy(params)
        return
    log_p = base.log_prob(params, base.sample(params, np.random.default_rng(6), 40000))
    error = log_p.std() / np.sqrt(len(log_p))
    assert abs(log_p.mean() + base.entropy(params)) <= 4 * error + 1e-12


@not_constant
def test_gradient_in_z_against_finite_differences(base):
    params = drawn(base)
    z = base.sample(params, np.random.default_rng(7), 20)
    gradient = autograd.grad(lambda z: anp.sum(base.log_prob(params, z)))(z)
    steps = 1e-5 * np.eye(base.dim)
    numeric = np.stack(
        [(base.log_prob(params, z + h) - base.log_prob(params, z - h)) / 2e-5 for h in steps],
        axis=1,
    )
    assert np.allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


@with_params
def test_gradients_in_parameters_against_finite_differences(base):
    """Check gradients of log p, of the entropy, and of samples that are smooth in the parameters.

    Angles are sampled by rejection; test_von_mises.py checks their gradients.
    """
    vector, unflatten = trees.flatten(drawn(base))
    z = base.sample(unflatten(vector), np.random.default_rng(8), 20)
    functions = [lambda v: anp.sum(anp.sin(base.log_prob(unflatten(v), z)))]
    if not isinstance(base, nfref.NormalMixture):
        functions.append(lambda v: base.entropy(unflatten(v)))
        if not angles(base):
            functions.append(
                lambda v: anp.sum(anp.sin(base.sample(unflatten(v), np.random.default_rng(9), 5)))
            )
    for function in functions:
        gradient = autograd.grad(function)(vector)
        numeric = np.array(
            [
                (function(vector + h) - function(vector - h)) / 2e-5
                for h in 1e-5 * np.eye(len(vector))
            ]
        )
        assert np.allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


@every_base
def test_same_seed_same_bits(base):
    params = drawn(base)
    first, again = (base.sample(params, np.random.default_rng(10), 20) for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("family", [nfref.DiagonalNormal, nfref.FullNormal])
def test_learned_normals_start_as_the_standard_normal(family, dim):
    z = np.random.default_rng(11).normal(size=(10, dim))
    base = family(dim)
    params = base.init(np.random.default_rng(0))
    assert np.allclose(
        base.log_prob(params, z), nfref.StandardNormal(dim).log_prob({}, z), rtol=1e-14
    )


def test_far_tails_stay_finite():
    """The density underflows at |z| = 500; its logarithm is exact."""
    z = np.array([[500.0], [-500.0]])
    assert np.allclose(nfref.Logistic(1).log_prob({}, z), -500.0, rtol=1e-14)
    base = nfref.NormalMixture(1, 2)
    params = {"logits": np.zeros(2), "means": np.zeros((2, 1)), "log_scales": np.zeros((2, 1))}
    assert np.allclose(base.log_prob(params, z), stats.norm.logpdf(500), rtol=1e-14)
    # In float32 too, where the squares are near the largest number.
    z = np.array([[1e18]], dtype=np.float32)
    assert np.isfinite(nfref.StandardNormal(1).log_prob({}, z)[0])
    assert nfref.Logistic(1).log_prob({}, z)[0] == -np.float32(1e18)


def test_a_product_gives_each_base_its_coordinates():
    parts = [nfref.VonMises(2), nfref.FullNormal(3), nfref.Uniform([0], [1])]
    base = nfref.Product(parts)
    params = drawn(base)
    z = base.sample(params, np.random.default_rng(0), 50)
    cut = np.split(z, [2, 5], axis=1)
    expected = sum(part.log_prob(own, own_z) for part, own, own_z in zip(parts, params, cut))
    assert np.allclose(base.log_prob(params, z), expected, rtol=1e-14)
    with pytest.raises(TypeError, match="^Product: expected bases, got int$"):
        nfref.Product([1])


@pytest.mark.parametrize(
    "base",
    [
        nfref.DiagonalNormal(2),
        nfref.FullNormal(2),
        nfref.Logistic(2),
        nfref.Uniform([0, 0], [1, 1]),
        nfref.NormalMixture(2, 3),
        nfref.Laplace(2),
        nfref.StudentT(2),
        nfref.VonMises(2),
        nfref.Product([nfref.Laplace(1), nfref.StudentT(1)]),
    ],
    ids=lambda base: type(base).__name__,
)
def test_a_flow_takes_any_base(base):
    density = nfref.Density(nfref.RealNVP(2, layers=2, hidden=8), base)
    params = density.init(np.random.default_rng(0))
    x, log_p = density.sample_and_log_prob(params, np.random.default_rng(1), 50)
    assert np.allclose(density.log_prob(params, x), log_p, rtol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.DiagonalNormal(0), "dim: expected at least 1, got 0"),
        (lambda: nfref.FullNormal(0), "dim: expected at least 1, got 0"),
        (lambda: nfref.Logistic(-1), "dim: expected at least 1, got -1"),
        (lambda: nfref.NormalMixture(2, 0), "components: expected at least 1, got 0"),
        (lambda: nfref.Laplace(0), "dim: expected at least 1, got 0"),
        (lambda: nfref.StudentT(0), "dim: expected at least 1, got 0"),
        (lambda: nfref.StudentT(2, 0), "degrees: expected a finite number above 0, got 0"),
        (lambda: nfref.VonMises(2, np.inf), "concentration: expected a finite number above 0"),
        (lambda: nfref.UniformSphere(1), "dim: expected at least 2, got 1"),
        (lambda: nfref.CentredNormal(6, 1), "particles: expected at least 2, got 1"),
        (lambda: nfref.CentredNormal(6, 4), "particles: expected a divisor of dim 6, got 4"),
        (lambda: nfref.VonMisesFisher(1), "dim: expected at least 2, got 1"),
        (lambda: nfref.VonMisesFisher(3, 0), "concentration: expected a finite number above 0"),
        (lambda: nfref.Product([]), "Product: expected at least one base, got none"),
        (lambda: nfref.Uniform([0, 1], [1]), r"lower and upper of one length.*\(2,\) and \(1,\)"),
        (lambda: nfref.Uniform([], []), "of at least 1"),
        (lambda: nfref.Uniform(0, 1), "of one length"),
        (lambda: nfref.Uniform([0, 1], [1, 1]), r"finite lower < upper, got \[0.0, 1.0\] and"),
        (lambda: nfref.Uniform([0], [np.inf]), "finite lower < upper"),
        (
            lambda: nfref.Logistic(2).log_prob({}, np.zeros((3, 1))),
            r"z: expected shape \(N, 2\), got \(3, 1\)",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
