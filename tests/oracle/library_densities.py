"""Right densities of ten libraries at any D, and ways in which a density or its sampler is wrong.

``DENSITIES[library][name](dim, rng)`` returns the arguments of ``check_density`` for a density with
parameters from the generator, and ``FAULTS[name]`` is what changes them: (arguments, rows to
measure by) -> arguments. ``BY_CHANCE`` names the faults that a check may miss or find by chance.
"""

import numpy as np
from scipy import stats

from nfref.oracle import adapters

DENSITIES = {}


def _of(library, name):
    def register(make):
        DENSITIES.setdefault(library, {})[name] = make
        return make

    return register


def _matrix(rng, dim):
    """A covariance matrix of correlated columns of different widths."""
    root = rng.standard_normal((dim, dim)) / np.sqrt(dim) + np.diag(1 + np.arange(dim) / dim)
    return root @ root.T


def _table(rng, dim, rows=400):
    found = rng.multivariate_normal(np.zeros(dim), _matrix(rng, dim), rows)
    found[:, 0] += 0.3 * found[:, -1] ** 2 + 3 * (rng.random(rows) < 0.3)
    return found


# scipy.stats, scikit-learn, pyvinecopulib -------------------------------------------------------


def _scipy(made, dim, **more):
    return dict(
        log_prob=lambda x: np.reshape(made.logpdf(x), len(x)),
        dim=dim,
        **more,
        sample=lambda g, n: np.reshape(made.rvs(max(n, 1), random_state=g), (-1, dim))[:n],
    )


@_of("scipy.stats", "normal")
def scipy_normal(dim, rng):
    return _scipy(stats.multivariate_normal(np.arange(dim), _matrix(rng, dim)), dim)


@_of("scipy.stats", "t")
def scipy_t(dim, rng):
    return _scipy(stats.multivariate_t(np.arange(dim), _matrix(rng, dim), df=4), dim)


@_of("scipy.stats", "kernels")
def scipy_kernels(dim, rng):
    made = stats.gaussian_kde(_table(rng, dim, 60).T)
    return dict(
        log_prob=lambda x: made.logpdf(x.T) if len(x) else np.zeros(0),
        dim=dim,
        sample=lambda g, n: made.resample(n, seed=g).T,
    )


def _seed(g):
    return int(g.integers(2**31))


def _scikit_learn(model, dim):
    def sample(g, n):
        model.random_state = _seed(g)
        drawn = model.sample(max(n, 1))
        drawn = drawn[0] if isinstance(drawn, tuple) else drawn
        return g.permutation(drawn)[:n]  # a mixture's rows come sorted by component

    return dict(
        log_prob=lambda x: model.score_samples(x) if len(x) else np.zeros(0), sample=sample, dim=dim
    )


@_of("scikit-learn", "GaussianMixture")
def scikit_learn_mixture(dim, rng):
    from sklearn.mixture import GaussianMixture

    return _scikit_learn(GaussianMixture(3, random_state=0).fit(_table(rng, dim)), dim)


@_of("scikit-learn", "KernelDensity")
def scikit_learn_kernels(dim, rng):
    from sklearn.neighbors import KernelDensity

    model = KernelDensity(bandwidth=0.5).fit(_table(rng, dim, 60))
    return dict(
        log_prob=lambda x: model.score_samples(x) if len(x) else np.zeros(0),
        dim=dim,
        sample=lambda g, n: model.sample(max(n, 1), random_state=_seed(g))[:n],
    )


@_of("pyvinecopulib", "Vinecop")
def pyvinecopulib_vine(dim, rng):
    import pyvinecopulib as pv

    uniform = stats.rankdata(_table(rng, dim), axis=0) / 401
    controls = pv.FitControlsVinecop(
        family_set=[
            pv.BicopFamily.gaussian,
            pv.BicopFamily.clayton,
            pv.BicopFamily.gumbel,
            pv.BicopFamily.frank,
        ]
    )
    vine = pv.Vinecop.from_data(uniform, controls=controls)

    def log_prob(u):
        with np.errstate(divide="ignore"):
            return np.log(vine.pdf(np.asfortranarray(u))) if len(u) else np.zeros(0)

    return dict(
        log_prob=log_prob,
        dim=dim,
        domain=(0, 1),
        sample=lambda g, n: np.array(vine.simulate(max(n, 1), seeds=[_seed(g) for _ in range(4)]))[
            :n
        ],
    )


# PyTorch ----------------------------------------------------------------------------------------


def _seeded(rng):
    """torch, its generator set from rng."""
    import torch

    torch.manual_seed(_seed(rng))
    torch.set_num_threads(1)
    return torch


def _moved(module, size=0.3):
    torch = _seeded(np.random.default_rng(0))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(
                size * torch.randn_like(parameter) / max(parameter.shape[-1:] or (1,)) ** 0.5
            )
    return module


@_of("torch", "MultivariateNormal")
def torch_normal(dim, rng):
    torch = _seeded(rng)
    return dict(
        **adapters.of(
            torch.distributions.MultivariateNormal(
                torch.arange(float(dim)).double(), torch.from_numpy(_matrix(rng, dim))
            ),
            rng=rng,
        ),
        dim=dim,
    )


@_of("torch", "MixtureSameFamily")
def torch_mixture(dim, rng):
    torch = _seeded(rng)
    kinds, number = torch.distributions, torch.from_numpy
    parts = kinds.Independent(
        kinds.Normal(
            number(2 * rng.standard_normal((3, dim))), number(rng.uniform(0.5, 2, (3, dim)))
        ),
        1,
    )
    weights = kinds.Categorical(number(np.array([0.2, 0.5, 0.3])))
    return dict(**adapters.of(kinds.MixtureSameFamily(weights, parts), rng=rng), dim=dim)


@_of("zuko", "MAF")
def zuko_maf(dim, rng):
    import zuko

    _seeded(rng)
    made = zuko.flows.MAF(dim, transforms=2, hidden_features=(16,))
    return dict(**adapters.from_zuko_distribution(_moved(made)), dim=dim)


@_of("zuko", "NSF")
def zuko_nsf(dim, rng):
    import zuko

    _seeded(rng)
    made = zuko.flows.NSF(dim, transforms=1, bins=5, hidden_features=(16,))
    return dict(**adapters.from_zuko_distribution(_moved(made)), dim=dim)


@_of("nflows", "MAF")
def nflows_maf(dim, rng):
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import (
        CompositeTransform,
        MaskedAffineAutoregressiveTransform,
        ReversePermutation,
    )

    _seeded(rng)
    made = Flow(
        CompositeTransform(
            [
                part
                for _ in range(2)
                for part in (
                    MaskedAffineAutoregressiveTransform(dim, 16, use_residual_blocks=False),
                    ReversePermutation(dim),
                )
            ]
        ),
        StandardNormal([dim]),
    )
    return dict(**adapters.of(_moved(made), rng=rng), dim=dim)


@_of("normflows", "affine couplings")
def normflows_couplings(dim, rng):
    import normflows

    _seeded(rng)
    layers = []
    for _ in range(2):
        net = normflows.nets.MLP([dim - dim // 2, 16, 2 * (dim // 2)], init_zeros=False)
        layers += [
            normflows.flows.AffineCouplingBlock(net, scale_map="exp"),
            normflows.flows.Permute(dim, mode="swap"),
        ]
    made = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(dim), layers)
    return dict(**adapters.of(_moved(made, 0.1), rng=rng), dim=dim)


# JAX --------------------------------------------------------------------------------------------


@_of("JAX", "functions")
def jax_functions(dim, rng):
    """An object of one's own with log_prob and sample: a banana with correlated columns."""
    import jax
    import jax.numpy as jnp

    root = np.linalg.cholesky(_matrix(rng, dim))

    class Banana:
        def log_prob(self, x):
            y = x.at[:, 0].add(-0.3 * x[:, -1] ** 2) if dim > 1 else x
            z = jax.scipy.linalg.solve_triangular(jnp.asarray(root), y.T, lower=True).T
            return (
                -0.5 * jnp.sum(z**2, axis=1)
                - 0.5 * dim * jnp.log(2 * jnp.pi)
                - jnp.sum(jnp.log(jnp.diag(jnp.asarray(root))))
            )

        def sample(self, key, n):
            x = jax.random.normal(key, (n, dim)) @ root.T
            return x.at[:, 0].add(0.3 * x[:, -1] ** 2) if dim > 1 else x

    return dict(**adapters.of(Banana(), rng=rng), dim=dim)


@_of("distrax", "MultivariateNormalTri")
def distrax_normal(dim, rng):
    import distrax
    import jax

    with jax.enable_x64(True):
        made = distrax.MultivariateNormalTri(
            np.arange(float(dim)), np.linalg.cholesky(_matrix(rng, dim))
        )
    return dict(**adapters.of(made, rng=rng), dim=dim)


@_of("flowjax", "masked autoregressive flow")
def flowjax_maf(dim, rng):
    import flowjax.distributions
    import flowjax.flows
    import jax

    with jax.enable_x64(True):
        made = flowjax.flows.masked_autoregressive_flow(
            jax.random.key(_seed(rng)),
            flow_layers=2,
            nn_width=16,
            base_dist=flowjax.distributions.Normal(jax.numpy.zeros(dim)),
        )
    return dict(**adapters.of(made, rng=rng), dim=dim)


# Faults -----------------------------------------------------------------------------------------


def _log_prob(change):
    """log_prob changed: change(values, x, log_prob of rows, rows to measure by)."""

    def act(arguments, rows):
        right = arguments["log_prob"]
        return {
            **_without_gradient(arguments),
            "log_prob": lambda x: change(right(x), x, right, rows),
        }

    return act


def _sample(change):
    """What is drawn changed: change(x, generator, rows to measure by)."""

    def act(arguments, rows):
        right = arguments["sample"]
        return {**arguments, "sample": lambda g, n: change(right(g, n), g, rows)}

    return act


def _without_gradient(arguments):
    return {name: value for name, value in arguments.items() if name != "gradient"}


def _around(x, rows, factor):
    center = np.mean(rows, axis=0)
    return (center + factor * (x - center)).astype(x.dtype)


def _column(x, new, j=0):
    x = np.array(x)
    x[:, j] = new
    return x


def _cached(arguments, rows):
    """The answer to the last batch of as many rows, where its first row is the same to 1e-6."""
    right, stored = arguments["log_prob"], {}

    def log_prob(x):
        key = (len(x), tuple(np.round(x[0], 6))) if len(x) else None
        if key not in stored:
            stored.clear()
            stored[key] = right(x)
        return stored[key]

    return {**_without_gradient(arguments), "log_prob": log_prob}


def _same_seed(arguments, rows):
    right = arguments["sample"]
    return {**arguments, "sample": lambda g, n: right(np.random.default_rng(0), n)}


def _kept(x, g, rows, share=0.7):
    """Rows below the median of the first column replaced by others, some of the time."""
    low = (x[:, 0] < np.median(rows[:, 0])) & (g.random(len(x)) > share)
    return np.where(low[:, None], x[::-1], x)


def _mean(values):
    return values - np.mean(values) if len(values) > 1 else values


FAULTS = {
    "log p + log 1.03": _log_prob(lambda f, x, right, rows: f + np.log(1.03)),
    "(2 pi)^(-D/2) missing": _log_prob(
        lambda f, x, right, rows: f + 0.5 * x.shape[1] * np.log(2 * np.pi)
    ),
    "log p in standardised units": _log_prob(
        lambda f, x, right, rows: f + np.sum(np.log(np.std(rows, axis=0)))
    ),
    "tempered: 0.9 log p": _log_prob(lambda f, x, right, rows: 0.9 * f),
    "-log p": _log_prob(lambda f, x, right, rows: -f),
    "log p less its mean over the batch": _log_prob(lambda f, x, right, rows: _mean(f)),
    "a floor under log p": _log_prob(
        lambda f, x, right, rows: np.maximum(f, np.quantile(right(rows), 0.2))
    ),
    "log p of x in float32": _log_prob(
        lambda f, x, right, rows: right(x.astype(np.float32).astype(x.dtype))
    ),
    "log p of x moved by 0.1 sd": _log_prob(
        lambda f, x, right, rows: right(_column(x, x[:, 0] + 0.1 * np.std(rows[:, 0])))
    ),
    "log p by a rounded key from a cache": _cached,
    "sampler: 1.1 times as wide": _sample(lambda x, g, rows: _around(x, rows, 1.1)),
    "sampler: a column moved by 0.2 sd": _sample(
        lambda x, g, rows: _column(x, x[:, 0] + 0.2 * np.std(rows[:, 0]))
    ),
    "sampler: columns the other way round": _sample(lambda x, g, rows: x[:, ::-1]),
    "sampler: a column drawn by itself": _sample(
        lambda x, g, rows: _column(x, g.permutation(x[:, -1]), -1)
    ),
    "sampler: noise of 0.3 sd": _sample(
        lambda x, g, rows: (x + 0.3 * np.std(rows, axis=0) * g.standard_normal(x.shape)).astype(
            x.dtype
        )
    ),
    "sampler: clipped at 2 sd": _sample(
        lambda x, g, rows: np.clip(
            x, *(np.mean(rows, axis=0) + k * np.std(rows, axis=0) for k in (-2, 2))
        ).astype(x.dtype)
    ),
    "sampler: one half too seldom": _sample(_kept),
    "sampler: each second row repeats": _sample(
        lambda x, g, rows: np.repeat(x, 2, axis=0)[: len(x)]
    ),
    "sampler: the generator is not read": _same_seed,
}
# Faults in which each row is off by very much leave nothing to chance.
BY_CHANCE = [
    name
    for name in FAULTS
    if name.startswith("sampler")
    or name
    in (
        "log p + log 1.03",
        "tempered: 0.9 log p",
        "a floor under log p",
        "log p of x moved by 0.1 sd",
    )
]
# Columns that are drawn as they come, or of which there is one, are exchanged without harm.
NEEDS_COLUMNS = ("sampler: columns the other way round", "sampler: a column drawn by itself")


def wrong(library, name, fault, dim, rng):
    """Arguments of ``check_density`` with one fault."""
    arguments = DENSITIES[library][name](dim, rng)
    rows = np.asarray(arguments["sample"](np.random.default_rng(1), 4000), dtype=float)
    return FAULTS[fault](arguments, rows)
