"""Right densities of libraries as they are sold, at several D: every alarm is a false one.

``right_densities()`` yields (library, name, D, function of a seed that returns the arguments of
``check_density``): columns of scipy.stats and of torch with a place and a width from the seed,
mixtures and kernel estimates of scikit-learn, flows of zuko, nflows and normflows with random
parameters, the flows of nfref's table as densities, and flows fitted for a few epochs and for more.
"""

from functools import cache, partial

import numpy as np
from scipy import stats

import nfref
from nfref.oracle import adapters
from nfref.training import fit
from tests import flow_table
from tests.oracle import fitted
from tests.oracle.library_densities import _moved, _scikit_learn, _seeded, _table

# Shapes of distributions of scipy.stats whose log-density and sampler take no long.
COLUMNS = {
    "alpha": (3.57,),
    "anglit": (),
    "arcsine": (),
    "beta": (2.31, 0.627),
    "betaprime": (5, 6),
    "bradford": (0.299,),
    "burr": (10.5, 4.3),
    "burr12": (10, 4),
    "cauchy": (),
    "chi": (78,),
    "chi2": (5,),
    "cosine": (),
    "dgamma": (1.102,),
    "dweibull": (2.069,),
    "erlang": (10,),
    "expon": (),
    "exponnorm": (2,),
    "exponpow": (2.697,),
    "exponweib": (2.892, 1.950),
    "f": (29, 18),
    "fatiguelife": (29,),
    "fisk": (3.086,),
    "foldcauchy": (4.716,),
    "foldnorm": (1.953,),
    "gamma": (1.993,),
    "gengamma": (4.417, 3.119),
    "genhalflogistic": (0.773,),
    "genlogistic": (0.412,),
    "gennorm": (1.298,),
    "genpareto": (0.1,),
    "gibrat": (),
    "gompertz": (0.947,),
    "gumbel_l": (),
    "gumbel_r": (),
    "halfcauchy": (),
    "halfgennorm": (0.675,),
    "halflogistic": (),
    "halfnorm": (),
    "hypsecant": (),
    "invgamma": (4.07,),
    "invgauss": (0.145,),
    "invweibull": (10.58,),
    "jf_skew_t": (8, 4),
    "johnsonsb": (4.32, 3.18),
    "johnsonsu": (2.55, 2.25),
    "kappa3": (1,),
    "laplace": (),
    "laplace_asymmetric": (2,),
    "levy": (),
    "loggamma": (0.414,),
    "logistic": (),
    "loglaplace": (3.25,),
    "lognorm": (0.954,),
    "loguniform": (0.01, 1.25),
    "lomax": (1.877,),
    "maxwell": (),
    "mielke": (10.4, 4.6),
    "moyal": (),
    "nakagami": (4.967,),
    "norm": (),
    "pareto": (2.621,),
    "pearson3": (-2,),
    "powerlaw": (1.66,),
    "powernorm": (4.453,),
    "rayleigh": (),
    "rdist": (1.6,),
    "semicircular": (),
    "skewcauchy": (0.5,),
    "t": (2.74,),
    "trapezoid": (0.2, 0.8),
    "triang": (0.158,),
    "truncexpon": (4.69,),
    "truncnorm": (0.1, 2),
    "uniform": (),
    "wald": (),
    "weibull_max": (2.869,),
    "weibull_min": (1.787,),
}


def _place_and_width(rng):
    return float(rng.normal(0, 5)), float(np.exp(rng.normal(0, 1)))


def scipy_columns(name, dim, seed):
    place, width = _place_and_width(np.random.default_rng(seed))
    made = getattr(stats, name)(*COLUMNS[name], loc=place, scale=width)
    return dict(
        dim=dim,
        domain=made.support(),
        log_prob=lambda x: np.sum(made.logpdf(x), axis=1),
        sample=lambda g, n: made.rvs(size=(n, dim), random_state=g).reshape(n, dim),
    )


TORCH = {
    "Normal": (0.0, 2.0),
    "Laplace": (1.0, 0.5),
    "Gumbel": (0.0, 1.5),
    "Cauchy": (2.0, 1.0),
    "StudentT": (3.0,),
    "LogNormal": (0.0, 0.7),
    "Gamma": (2.0, 3.0),
    "Chi2": (4.0,),
    "Exponential": (1.5,),
    "Beta": (2.0, 3.0),
    "HalfNormal": (2.0,),
    "HalfCauchy": (1.0,),
    "InverseGamma": (3.0, 2.0),
    "Uniform": (-1.0, 3.0),
    "FisherSnedecor": (7.0, 9.0),
}


def torch_columns(name, dim, seed):
    torch = _seeded(np.random.default_rng(seed))
    kinds, rng = torch.distributions, np.random.default_rng(seed)
    numbers = [torch.from_numpy(float(value) * np.ones(dim)) for value in TORCH[name]]
    one = getattr(kinds, name)(*numbers, validate_args=False)  # an end may round outwards
    place, width = _place_and_width(rng)
    ones = torch.ones(dim).double()  # one number for all columns counts once: docs/peers.rst
    moved = kinds.TransformedDistribution(
        kinds.Independent(one, 1), [kinds.AffineTransform(place * ones, width * ones, 1)]
    )
    low, high = (
        float(torch.as_tensor(getattr(one.support, side, value)).flatten()[0])
        for side, value in (("lower_bound", -np.inf), ("upper_bound", np.inf))
    )
    return dict(
        adapters.of(moved, rng=rng), dim=dim, domain=(place + width * low, place + width * high)
    )


def mixture(covariance, parts, steps, dim, seed):
    """After so many steps of expectation maximisation, converged or not."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(parts, covariance_type=covariance, max_iter=steps, random_state=seed)
    return _scikit_learn(model.fit(_table(np.random.default_rng(seed), dim)), dim)


def kernels(kernel, dim, seed):
    from sklearn.neighbors import KernelDensity

    rng = np.random.default_rng(seed)
    model = KernelDensity(bandwidth=float(np.exp(rng.normal(-0.7, 0.4))), kernel=kernel)
    model.fit(_table(rng, dim, 60))
    return dict(
        log_prob=lambda x: model.score_samples(x) if len(x) else np.zeros(0),
        dim=dim,
        sample=lambda g, n: model.sample(max(n, 1), random_state=int(g.integers(2**31)))[:n],
    )


ZUKO = {
    "MAF": dict(transforms=3),
    "NICE": dict(transforms=3),
    "RealNVP": dict(transforms=3),
    "NSF": dict(transforms=1, bins=4),
}


def zuko_flow(name, dim, seed):
    import zuko

    _seeded(np.random.default_rng(seed))
    made = getattr(zuko.flows, name)(dim, hidden_features=(16,), **ZUKO[name])
    return dict(adapters.from_zuko_distribution(_moved(made, 0.2)), dim=dim)


def nfref_flow(name, dim, seed):
    rng = np.random.default_rng(seed)
    flow = flow_table.flows()[name].make(dim, 0)
    density = nfref.Density(flow)
    params = {**density.init(rng), "flow": flow_table.random_params(flow, rng, size=0.4)}
    return dict(adapters.from_nfref_density(density, params), dim=dim)


# Flows of the table that are densities of their own at any D, and quick.
TABLE = (
    "MADE",
    "MADE, reversed",
    "MADE, random order",
    "MADE, additive",
    "MADE, exp",
    "MADE, spline",
    "MAF",
    "MAF, relu",
    "IAF",
    "Coupling",
    "Coupling, additive",
    "Coupling, tanh",
    "Coupling, gate",
    "Coupling, halves",
    "NICE",
    "RealNVP",
    "RealNVP, relu",
    "Scale",
    "ElementwiseAffine",
    "Linear",
    "LULinear",
    "Permutation",
    "NSF",
    "NSF, coupling",
)
FITTED = {
    "MAF": lambda dim: nfref.MAF(dim, layers=2, hidden=(16,)),
    "RealNVP": lambda dim: nfref.RealNVP(dim, layers=4, hidden=(16,)),
    "NSF": lambda dim: nfref.NSF(dim, layers=2, hidden=(16,)),
}


@cache
def _trained(name, dim, epochs):
    density = nfref.Density(FITTED[name](dim))
    start = density.init(np.random.default_rng(0))
    rows = fitted.data(dim, np.random.default_rng(dim), 600)
    return density, start if not epochs else fit(
        density, start, rows, rng=np.random.default_rng(1), epochs=epochs, progress=False
    ).params


def gradually_fitted(name, epochs, dim, seed):
    return dict(adapters.from_nfref_density(*_trained(name, dim, epochs)), dim=dim)


def right_densities():
    """(library, name, D, function of a seed) of each."""
    for name in COLUMNS:
        for dim in (1, 3):
            yield "scipy.stats", f"{name} columns", dim, partial(scipy_columns, name, dim)
    for name in TORCH:
        for dim in (1, 3):
            yield "torch", f"{name} columns", dim, partial(torch_columns, name, dim)
    for covariance in ("full", "tied", "diag", "spherical"):
        for parts, steps in ((1, 100), (3, 1), (3, 10), (8, 100)):
            for dim in (1, 3, 6):
                name = f"GaussianMixture {covariance}, {parts} parts, {steps} steps"
                yield ("scikit-learn", name, dim, partial(mixture, covariance, parts, steps, dim))
    for kernel in ("gaussian", "tophat"):
        for dim in (1, 2, 4):
            yield "scikit-learn", f"KernelDensity {kernel}", dim, partial(kernels, kernel, dim)
    for name in ZUKO:
        for dim in (2, 4, 8):
            yield "zuko", f"{name} of random parameters", dim, partial(zuko_flow, name, dim)
    entries = flow_table.flows()
    for name in TABLE:
        for dim in (dim for dim in (2, 3, 5, 8) if dim in entries[name].dims):
            yield "nfref", f"{name} as a density", dim, partial(nfref_flow, name, dim)
    for name in FITTED:
        for epochs in (0, 1, 5, 20):
            for dim in (2, 5):
                yield (
                    "nfref",
                    f"{name}, {epochs} epochs",
                    dim,
                    partial(gradually_fitted, name, epochs, dim),
                )
