"""Right densities of many parameters and of what is made of them; every alarm is a false one.

``right_families()`` yields what ``right_densities.right_densities()`` does: families of scipy.stats
at other shapes, in mixtures and truncated; chains of torch's transforms and its mixtures; pair
copulas and vines; kernels and mixtures of scikit-learn; transforms of nflows; flows
of nfref's table at other scales, in more columns, in float32 and one after the other.

Two that stood here are wrong, and were found so: scipy's ``vonmises_line`` with ``loc`` and
``scale`` draws outside of its own support, and pyvinecopulib's BB7 copula is nan within 1e-10 of a
corner where its density is 2e13.
"""

from functools import partial

import numpy as np
from scipy import stats

import nfref
from nfref.oracle import adapters
from nfref.runtime.params import cast
from tests import flow_table
from tests.oracle.library_densities import (
    _matrix,
    _moved,
    _scikit_learn,
    _scipy,
    _seed,
    _seeded,
    _table,
)
from tests.oracle.right_densities import COLUMNS, TABLE, _place_and_width

# scipy.stats ------------------------------------------------------------------------------------

FACTORS = (0.6, 1.5)  # times the shapes of COLUMNS
MORE = {
    "argus": (1.3,),
    "crystalball": (2, 3),
    "genextreme": (0.2,),
    "levy_l": (),
    "ncx2": (3, 2),
    "norminvgauss": (1.2, 0.5),
    "powerlognorm": (2.1, 0.45),
    "recipinvgauss": (0.63,),
    "rel_breitwigner": (36.5,),
    "rice": (0.8,),
    "skewnorm": (4,),
    "truncpareto": (1.8, 5.3),
    "truncweibull_min": (2.5, 0.25, 1.75),
    "wrapcauchy": (0.3,),
    "kappa4": (0.1, 0.2),
    "nct": (5, 0.5),
}
WHOLE_LINE = (
    "cauchy",
    "dgamma",
    "exponnorm",
    "genlogistic",
    "gennorm",
    "gumbel_l",
    "gumbel_r",
    "hypsecant",
    "johnsonsu",
    "laplace",
    "laplace_asymmetric",
    "logistic",
    "norm",
    "skewcauchy",
    "t",
)


def of_columns(made, dim, domain=None):
    """Independent columns of one distribution."""
    return dict(
        dim=dim,
        domain=made.support() if domain is None else domain,
        log_prob=lambda x: np.sum(made.logpdf(x), axis=1),
        sample=lambda g, n: made.rvs(size=(n, dim), random_state=g).reshape(n, dim),
    )


def columns(name, shapes, dim, seed):
    place, width = _place_and_width(np.random.default_rng(seed))
    return of_columns(getattr(stats, name)(*shapes, loc=place, scale=width), dim)


def two_places(name, dim, seed):
    """A mixture of one distribution at two places, column by column."""
    rng = np.random.default_rng(seed)
    share, apart = rng.uniform(0.2, 0.8), rng.uniform(2, 12)
    parts = [
        getattr(stats, name)(*COLUMNS.get(name, ()), loc=loc, scale=scale)
        for loc, scale in ((0, 1), (apart, rng.uniform(0.3, 3)))
    ]

    def log_prob(x):
        terms = [part.logpdf(x) + np.log(p) for part, p in zip(parts, (share, 1 - share))]
        return np.sum(np.logaddexp(*terms), axis=1)

    def sample(g, n):
        drawn = [part.rvs(size=(n, dim), random_state=g) for part in parts]
        return np.where(g.random((n, dim)) < share, *drawn)

    return dict(dim=dim, log_prob=log_prob, sample=sample)


def truncated(name, dim, seed):
    """Between two quantiles."""
    rng = np.random.default_rng(seed)
    made = getattr(stats, name)(*COLUMNS.get(name, ()), scale=np.exp(rng.normal()))
    low, high = rng.uniform(0.02, 0.4), rng.uniform(0.6, 0.98)
    ends = made.ppf(low), made.ppf(high)
    mass = np.log(made.cdf(ends[1]) - made.cdf(ends[0]))
    return dict(
        dim=dim,
        domain=ends,
        log_prob=lambda x: np.sum(made.logpdf(x) - mass, axis=1),
        sample=lambda g, n: np.clip(made.ppf(g.uniform(low, high, (n, dim))), *ends),
    )


def elliptical(degrees, kind, dim, seed):
    rng = np.random.default_rng(seed)
    matrix = {
        "round": np.eye(dim),
        "correlated": 0.1 * np.eye(dim) + 0.9,
        "any": _matrix(rng, dim),
        "scales": np.diag(10.0 ** np.linspace(-4, 4, dim)),
    }[kind]
    place = rng.normal(0, 3, dim)
    return _scipy(
        stats.multivariate_t(place, matrix, df=degrees)
        if degrees
        else stats.multivariate_normal(place, matrix),
        dim,
    )


def scipy_kernels(factor, dim, seed):
    made = stats.gaussian_kde(_table(np.random.default_rng(seed), dim, 80).T, bw_method=factor)
    return dict(
        log_prob=lambda x: made.logpdf(x.T) if len(x) else np.zeros(0),
        dim=dim,
        sample=lambda g, n: made.resample(n, seed=g).T,
    )


def of_scipy():
    for name, shapes in COLUMNS.items():
        for factor in FACTORS if shapes else ():
            changed = tuple(round(factor * shape, 4) for shape in shapes)
            if np.all(getattr(stats, name)._argcheck(*changed)):
                for dim in (1, 2, 5):
                    yield (
                        "scipy.stats",
                        f"{name} columns {changed}",
                        dim,
                        partial(columns, name, changed, dim),
                    )
    for name, shapes in MORE.items():
        for dim in (1, 2):
            yield ("scipy.stats", f"{name} columns", dim, partial(columns, name, shapes, dim))
    for name in WHOLE_LINE:
        for dim in (1, 3):
            yield "scipy.stats", f"{name} at two places", dim, partial(two_places, name, dim)
        for dim in (1, 2):
            yield "scipy.stats", f"{name} truncated", dim, partial(truncated, name, dim)
    for degrees in (0, 1, 2.5, 30):
        for kind in ("round", "correlated", "any", "scales"):
            for dim in (2, 5, 12):
                words = f"t of {degrees} degrees" if degrees else "normal"
                yield (
                    "scipy.stats",
                    f"{words}, {kind}",
                    dim,
                    partial(elliptical, degrees, kind, dim),
                )
    for factor in (0.1, 0.4, 1.5):
        for dim in (1, 2, 3, 5):
            yield (
                "scipy.stats",
                f"gaussian_kde {factor}",
                dim,
                partial(scipy_kernels, factor, dim),
            )


# PyTorch ----------------------------------------------------------------------------------------

CHAINS = {
    "exp": "exp",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "affine, exp, affine": "affine exp affine",
    "tanh, affine": "tanh affine",
    "affine, sigmoid, affine": "affine sigmoid affine",
    "sigmoid, exp": "sigmoid exp",
    "softplus, affine": "softplus affine",
    "affine, affine, affine": "affine affine affine",
}
BASES = {"Normal": (0.0, 0.7), "Laplace": (0.0, 0.5), "Gumbel": (0.0, 0.5), "StudentT": (3.0,)}


def torch_chain(base, chain, dim, seed):
    torch = _seeded(np.random.default_rng(seed))
    kinds, rng = torch.distributions, np.random.default_rng(seed)
    ones = torch.ones(dim).double()
    made = {
        "exp": kinds.ExpTransform,
        "sigmoid": kinds.SigmoidTransform,
        "tanh": kinds.TanhTransform,
        "softplus": kinds.SoftplusTransform,
        "affine": lambda: kinds.AffineTransform(
            float(rng.normal()) * ones, float(np.exp(0.5 * rng.normal())) * ones
        ),
    }
    parts = [made[name]() for name in CHAINS[chain].split()]
    one = getattr(kinds, base)(*(number * ones for number in BASES[base]))
    ends = torch.tensor([-np.inf, np.inf]).double()[:, None] * ones
    for part in parts:
        ends = part(ends)
    moved = kinds.TransformedDistribution(one, parts, validate_args=False)
    return dict(
        adapters.of(kinds.Independent(moved, 1, validate_args=False), rng=rng),
        dim=dim,
        domain=tuple(float(end[0]) for end in ends),
    )


def torch_mixture(kind, parts, dim, seed):
    torch = _seeded(np.random.default_rng(seed))
    kinds, rng = torch.distributions, np.random.default_rng(seed)
    place, width = (
        torch.from_numpy(array)
        for array in (3 * rng.standard_normal((parts, dim)), rng.uniform(0.3, 2, (parts, dim)))
    )
    component = {
        "Normal": lambda: kinds.Independent(kinds.Normal(place, width), 1),
        "Laplace": lambda: kinds.Independent(kinds.Laplace(place, width), 1),
        "StudentT": lambda: kinds.Independent(kinds.StudentT(3 + 0 * place, place, width), 1),
        "LowRankMultivariateNormal": lambda: kinds.LowRankMultivariateNormal(
            place, place[:, :, None], width
        ),
    }[kind]()
    weights = kinds.Categorical(torch.from_numpy(rng.dirichlet(np.ones(parts) * 3)))
    return dict(adapters.of(kinds.MixtureSameFamily(weights, component), rng=rng), dim=dim)


def torch_normal(given, dim, seed):
    torch = _seeded(np.random.default_rng(seed))
    matrix = _matrix(np.random.default_rng(seed), dim)
    matrix = {
        "covariance_matrix": matrix,
        "precision_matrix": np.linalg.inv(matrix),
        "scale_tril": np.linalg.cholesky(matrix),
    }[given]
    made = torch.distributions.MultivariateNormal(
        torch.arange(float(dim)).double(), **{given: torch.from_numpy(matrix)}, validate_args=False
    )  # an inverse is symmetric but for rounding
    return dict(adapters.of(made, rng=np.random.default_rng(seed)), dim=dim)


def of_torch():
    for base in BASES:
        for chain in CHAINS:
            for dim in (1, 3):
                yield "torch", f"{chain} of {base}", dim, partial(torch_chain, base, chain, dim)
    for kind in ("Normal", "Laplace", "StudentT", "LowRankMultivariateNormal"):
        for parts in (2, 7):
            for dim in (1, 2, 5):
                yield (
                    "torch",
                    f"MixtureSameFamily of {parts} {kind}",
                    dim,
                    partial(torch_mixture, kind, parts, dim),
                )
    for given in ("covariance_matrix", "precision_matrix", "scale_tril"):
        for dim in (1, 2, 6, 16):
            yield ("torch", f"MultivariateNormal, {given}", dim, partial(torch_normal, given, dim))


# Copulas, kernels, mixtures ---------------------------------------------------------------------

PAIRS = {
    "indep": [()],
    "gaussian": [(0.3,), (-0.9,)],
    "student": [(0.5, 4.0), (-0.7, 12.0)],
    "frank": [(3.0,), (-12.0,)],
    "clayton": [(0.8,), (4.0,)],
    "gumbel": [(1.3,), (3.5,)],
    "joe": [(1.5,), (4.0,)],
    "bb1": [(0.6, 1.4), (2.0, 2.0)],
    "bb6": [(1.5, 1.3)],
    "bb8": [(3.0, 0.7)],
}
TURNS = {"clayton", "gumbel", "joe", "bb1", "bb6", "bb8"}


def _copula(made, dim):
    def log_prob(u):
        with np.errstate(divide="ignore"):
            return np.log(made.pdf(np.asfortranarray(u))) if len(u) else np.zeros(0)

    return dict(
        log_prob=log_prob,
        dim=dim,
        domain=(0, 1),
        sample=lambda g, n: np.array(made.simulate(max(n, 1), seeds=[_seed(g) for _ in range(4)]))[
            :n
        ],
    )


def pair(family, turn, numbers, seed):
    import pyvinecopulib as pv

    return _copula(
        pv.Bicop(getattr(pv.BicopFamily, family), turn, np.array(numbers).reshape(-1, 1)), 2
    )


def vine(families, dim, seed):
    import pyvinecopulib as pv

    uniform = stats.rankdata(_table(np.random.default_rng(seed), dim), axis=0) / 401
    controls = pv.FitControlsVinecop(
        family_set=[getattr(pv.BicopFamily, name) for name in families.split()]
    )
    return _copula(pv.Vinecop.from_data(uniform, controls=controls), dim)


def kernels(kernel, bandwidth, dim, seed):
    from sklearn.neighbors import KernelDensity

    model = KernelDensity(bandwidth=bandwidth, kernel=kernel)
    model.fit(_table(np.random.default_rng(seed), dim, 60))
    return dict(
        log_prob=lambda x: model.score_samples(x) if len(x) else np.zeros(0),
        dim=dim,
        sample=lambda g, n: model.sample(max(n, 1), random_state=_seed(g))[:n],
    )


def mixture(covariance, parts, dim, seed):
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(parts, covariance_type=covariance, random_state=seed)
    return _scikit_learn(model.fit(_table(np.random.default_rng(seed), dim)), dim)


def of_tables():
    for family, settings in PAIRS.items():
        for turn in (0, 90, 180, 270) if family in TURNS else (0,):
            for numbers in settings:
                yield (
                    "pyvinecopulib",
                    f"{family} {numbers} by {turn} degrees",
                    2,
                    partial(pair, family, turn, numbers),
                )
    for families in ("gaussian", "clayton gumbel", "frank joe", "bb1 bb7"):
        for dim in (3, 5):
            yield "pyvinecopulib", f"vine of {families}", dim, partial(vine, families, dim)
    for kernel in ("gaussian", "tophat"):
        for bandwidth in (0.1, 0.5, 2.0):
            for dim in (1, 2, 3, 5):
                yield (
                    "scikit-learn",
                    f"KernelDensity {kernel}, {bandwidth} wide",
                    dim,
                    partial(kernels, kernel, bandwidth, dim),
                )
    for covariance in ("full", "tied", "diag", "spherical"):
        for parts in (2, 12):
            for dim in (2, 4, 10):
                yield (
                    "scikit-learn",
                    f"GaussianMixture {covariance}, {parts} parts",
                    dim,
                    partial(mixture, covariance, parts, dim),
                )


# Flows ------------------------------------------------------------------------------------------


def nflows_flow(name, dim, seed):
    from nflows import transforms
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow

    _seeded(np.random.default_rng(seed))
    make = {
        "LULinear": lambda: transforms.LULinear(dim),
        "HouseholderSequence": lambda: transforms.HouseholderSequence(dim, 3),
        "MaskedAffineAutoregressiveTransform": lambda: (
            transforms.MaskedAffineAutoregressiveTransform(dim, 16)
        ),
        "MaskedPiecewiseRationalQuadraticAutoregressiveTransform": lambda: (
            transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                dim, 16, num_bins=5, tails="linear", tail_bound=3.0
            )
        ),
    }[name]
    made = Flow(
        transforms.CompositeTransform([make(), transforms.ReversePermutation(dim), make()]),
        StandardNormal([dim]),
    )
    return dict(adapters.of(_moved(made, 0.2).eval(), rng=np.random.default_rng(seed)), dim=dim)


def nfref_flow(name, size, dtype, dim, seed):
    rng = np.random.default_rng(seed)
    flow = flow_table.flows()[name].make(dim, 0)
    density = nfref.Density(flow)
    params = {**density.init(rng), "flow": flow_table.random_params(flow, rng, size=size)}
    return dict(
        adapters.from_nfref_density(density, cast(params, dtype)), dim=dim, dtype=np.dtype(dtype)
    )


def nfref_chain(number, dim, seed):
    """Three flows of the table, one after the other."""
    names = np.random.default_rng(number).choice(
        [name for name in TABLE if dim in flow_table.flows()[name].dims], 3
    )
    rng = np.random.default_rng(seed)
    flows = [flow_table.flows()[name].make(dim, 0) for name in names]
    density = nfref.Density(nfref.Chain(flows))
    params = density.init(rng)
    params["flow"] = [flow_table.random_params(flow, rng, size=0.3) for flow in flows]
    return dict(adapters.from_nfref_density(density, params), dim=dim)


def of_flows():
    for name in (
        "LULinear",
        "HouseholderSequence",
        "MaskedAffineAutoregressiveTransform",
        "MaskedPiecewiseRationalQuadraticAutoregressiveTransform",
    ):
        for dim in (2, 4, 7):
            yield "nflows", name, dim, partial(nflows_flow, name, dim)
    entries = flow_table.flows()
    for name in TABLE:
        for size, dtype, dims in (
            (0.1, "float64", (2, 4)),
            (1.0, "float64", (2, 3)),
            (0.3, "float32", (2, 5)),
            (0.3, "float64", (12,)),
        ):
            if dtype == "float32" and name == "Permutation":
                continue  # without parameters it draws in float64
            for dim in (dim for dim in dims if dim in entries[name].dims or dim > 8):
                yield (
                    "nfref",
                    f"{name} of size {size}, {dtype}",
                    dim,
                    partial(nfref_flow, name, size, dtype, dim),
                )
    for number in range(30):
        for dim in (2, 5):
            yield ("nfref", f"chain {number} of three", dim, partial(nfref_chain, number, dim))


def right_families():
    """(library, name, D, function of a seed) of each."""
    for some in (of_scipy, of_torch, of_tables, of_flows):
        yield from some()
