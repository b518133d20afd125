"""Small densities of tables, one a family that is exported, and rows to score them with."""

import numpy as np

import nfref
from nfref.runtime import params as trees
from nfref.tables.densities.encoder import coded_columns
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.label_network import LabelNetwork, Network
from nfref.tables.densities.latent_classes import CodedRows, LatentClasses
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import FittedFlow, Pool, Regressed
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import REACH, Wide
from nfref.tables.schema.columns import Category, Continuous, Count

REAL = (
    Continuous("a", middle=0.3, scale=2.0),
    Continuous("b", low=0.0, middle=0.5, scale=0.7),
    Continuous("c", low=-1.0, high=2.0, scale=1.5, step=0.01, offset=0.0),
)
# A circle, a column that ends above, a half-line with atoms, and rounded values with atoms.
SUPPORTS = (
    Continuous("turn", 0.0, 360.0, period=360.0, first=-180.0, scale=2.0),
    Continuous("below", high=7.0, middle=-1.0, scale=0.5),
    Continuous("rain", 0.0, middle=1.0, scale=0.8, atoms=(0.5, 2.0)),
    Continuous("price", middle=20.0, scale=9.0, step=0.5, offset=0.25, atoms=(0.0, 19.75)),
)
LABELLED = (Category("label", ("x", "y", "z")), Count("count", 0.0), Count("whole"))
ANSWER = Count("answer", 1.0, 5.0)


def random_flow(rng, flow, context_dim=0):
    """Return a flow whose parameters are all random."""
    density = nfref.Density(flow)
    start = density.init(rng)
    return FittedFlow(
        density, trees.tree_map(lambda p: p + 0.3 * rng.standard_normal(p.shape), start)
    )


def random_mixture(rng, dim, components):
    """Return a mixture of Gaussians."""
    factors = np.tril(0.3 * rng.standard_normal((components, dim, dim)), -1)
    factors += np.eye(dim) * (0.3 + rng.random((components, dim, 1)))
    log_weights = rng.standard_normal(components)
    return GaussianMixture(
        log_weights - np.logaddexp.reduce(log_weights),
        rng.standard_normal((components, dim)),
        factors,
    )


def random_gaussian(rng, dim):
    """Return one Gaussian."""
    one = random_mixture(rng, dim, 1)
    return Gaussian(one.means[0], one.choleskys[0])


def table(rng, columns, members=None, given=(), label_models=False, classes=3):
    """Return the density of a table whose pool ``members(dim, context_dim)`` makes."""
    kinds = coded_columns(columns, given)
    known = tuple(j for j, column in enumerate(kinds) if column.name in given)
    codes = [
        rng.integers(len(one.labels), size=200)
        if one.kind == "category"
        else np.clip(rng.poisson(3, 200), one.low, one.high)
        if one.kind == "count"
        else rng.standard_normal(200)
        for one in kinds
    ]
    discrete = centre = scale = None
    if kinds:
        codes = np.stack(codes, axis=1).astype(float)
        centre, scale = np.mean(codes, axis=0), np.std(codes, axis=0)
    if len(known) < len(kinds):
        discrete = LatentClasses.fit(CodedRows(codes, kinds, np.ones(200), known), classes, rng)
        if label_models:
            discrete = random_label_network(rng, discrete, kinds, centre, scale)
    dim = sum(isinstance(one, Continuous) and one.name not in given for one in columns)
    width = sum(len(one.labels) if one.kind == "category" else 1 for one in kinds)
    pool = None
    if dim:
        parts = tuple(members(dim, width))
        weights = rng.dirichlet(np.ones(len(parts)))
        pool = Pool(parts, weights, tuple(f"member {k}" for k in range(len(parts))))
    return TableDensity(columns, discrete, pool, centre, scale, given)


def random_label_network(rng, classes, columns, centre, scale):
    """Return networks of a label given the other columns."""
    features = sum(
        len(columns[j].labels) if columns[j].kind == "category" else 1 for j in classes.given
    )
    (target,) = [one for j, one in enumerate(columns) if j not in classes.given]
    labels = len(target.labels)
    networks = [
        Network(*(rng.standard_normal(shape) for shape in shapes))
        for shapes in [((features, labels), (features + 1, 4), (5, labels))] * 2
    ]
    return LabelNetwork(
        classes.log_weights, classes.parts, classes.given, columns, centre, scale, tuple(networks)
    )


def families():
    """Return name -> TableDensity."""
    rng = np.random.default_rng(3)

    def of_flow(*options, kind=nfref.MAF, **more):
        return lambda dim, width: [
            random_flow(rng, kind(dim, *options, context_dim=width, hidden=(12, 12), **more))
        ]

    def simple(dim, width):
        slopes = rng.standard_normal((width, dim)) * 0.3
        patterns = np.array([[1.0, 0, 0], [0, 0, 1.0]])
        mixture = random_mixture(rng, dim, 3)
        labels = np.arange(3.0)
        parts = [random_gaussian(rng, dim), Wide(dim, reach=REACH), random_mixture(rng, dim, 4)]
        return [Regressed(part, slopes) for part in parts] + [
            GroupedGaussian(labels, patterns, mixture.means, mixture.choleskys, slopes)
        ]

    found = {
        "gaussian": table(rng, REAL, lambda dim, width: [random_gaussian(rng, dim)]),
        "mixture": table(rng, REAL, lambda dim, width: [random_mixture(rng, dim, 7)]),
        "wide": table(rng, REAL, lambda dim, width: [Wide(dim, reach=REACH)]),
        "many columns": table(
            rng,
            tuple(Continuous(f"x{k}") for k in range(15)),
            lambda dim, width: [random_mixture(rng, dim, 3), random_gaussian(rng, dim)],
        ),
        "maf": table(rng, REAL, of_flow(3)),
        "maf exp": table(rng, REAL, of_flow(2, transformer=nfref.Affine("exp"))),
        "maf tanh": table(rng, REAL, of_flow(2, transformer=nfref.Affine("tanh"))),
        "maf relu": table(rng, REAL, of_flow(2, activation="relu", orders="natural")),
        "nsf": table(rng, REAL, of_flow(2, kind=nfref.NSF, bins=5, bound=(2.0, 3.0, 4.0))),
        "nsf coupling": table(rng, REAL, of_flow(2, kind=nfref.NSF, coupling=True)),
        "realnvp": table(rng, REAL, of_flow(4, kind=nfref.RealNVP)),
        "realnvp sigmoid": table(
            rng, REAL, of_flow(4, kind=nfref.RealNVP, transformer=nfref.Affine("sigmoid"))
        ),
        "nice": table(rng, REAL, of_flow(4, kind=nfref.NICE, activation="softplus")),
        "supports": table(rng, SUPPORTS, of_flow(2)),
        "labels": table(rng, (*LABELLED, ANSWER)),
        "label and numbers": table(rng, LABELLED + REAL, simple),
        "context of a flow": table(rng, LABELLED + SUPPORTS, of_flow(2, kind=nfref.NSF, bins=4)),
        "given": table(
            rng,
            (*LABELLED, *REAL, SUPPORTS[2]),
            lambda dim, width: [
                MixtureRegression(
                    random_mixture(rng, 2 + dim, 3), 0.2 * rng.standard_normal((width - 2, 2 + dim))
                ),
                *of_flow(2)(dim, width),
            ],
            given=("a", "c"),
        ),
        "label given others": table(
            rng, LABELLED + REAL, given=("count", "whole", "a", "b", "c"), label_models=True
        ),
    }
    found["pool"] = table(
        rng,
        REAL,
        lambda dim, width: [
            random_mixture(rng, dim, 3),
            Wide(dim, reach=REACH),
            *of_flow(2)(dim, 0),
            *of_flow(2, kind=nfref.NSF)(dim, 0),
        ],
    )
    return found


def rows_for(density, rng, n):
    """Return n rows of numbers: likely, far out, at atoms and outside of supports."""
    found = []
    for column in density.columns:
        if column.kind == "category":
            found.append(rng.integers(len(column.labels), size=n).astype(float))
            continue
        if column.kind == "count":
            values = np.round(rng.standard_normal(n) * 10.0 ** rng.integers(0, 5, n))
            values = np.where(values < column.low, -values, values)
            found.append(np.clip(values, column.low, column.high))
            continue
        values = column.decode(rng.standard_normal(n) * 3.0 ** rng.integers(-1, 4, n))
        if column.name in density.given:
            found.append(values)
            continue
        values = np.where(rng.random(n) < 0.3, column.rounded(values), values)
        for atom in column.atoms:
            values = np.where(rng.random(n) < 0.2, atom, values)
            beside = atom + 1e-11 * abs(atom) * rng.standard_normal(n)
            values = np.where(rng.random(n) < 0.05, beside, values)
        for end in (column.low, column.high):
            if np.isfinite(end):
                values = np.where(rng.random(n) < 0.01, end + rng.integers(-1, 2, n), values)
        found.append(values)
    return np.stack(found, axis=1)
