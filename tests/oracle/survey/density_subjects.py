"""Densities of tables: scikit-learn, scipy.stats, pyvinecopulib, KDEpy, pomegranate, nfref."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nfref.oracle import check_estimator_density
from tests.oracle.survey.subjects import version_of

DENSITIES = []


@dataclass(frozen=True)
class DensitySubject:
    """One density of a library.

    Attributes
    ----------
    library, name : str
    make : callable
        Generator -> (what is checked, its table or None).
    arguments : dict
        Further ones of ``check_estimator_density``.
    """

    library: str
    name: str
    make: Callable
    arguments: dict = field(default_factory=dict)

    @property
    def version(self):
        """The version that is installed; None without one."""
        return version_of(self.library)

    def report(self, seed, dtype, seconds=20.0):
        """The report, or a string saying why there is none."""
        rng = np.random.default_rng(seed)
        try:
            thing, table = self.make(rng)
        except ImportError as error:
            return f"not installed here: {error}"
        return check_estimator_density(
            thing,
            table,
            rng=rng,
            seconds=seconds,
            subject=f"{self.library} {self.name}",
            **self.arguments,
        )


def rows(rng, dim, count=200):
    """A table of correlated columns with a bend, about one wide."""
    found = rng.standard_normal((count, dim)) @ (
        rng.standard_normal((dim, dim)) / dim**0.5 + np.eye(dim)
    )
    found[:, 0] += 0.3 * found[:, -1] ** 2
    return found


def _add(library, name, make, **arguments):
    DENSITIES.append(DensitySubject(library, name, make, arguments))


def _scikit_learn():
    def kernels(kernel, dim, bandwidth=0.5):
        def make(rng):
            from sklearn.neighbors import KernelDensity

            return KernelDensity(bandwidth=bandwidth, kernel=kernel), rows(rng, dim)

        return make

    def mixture(kind, dim, **options):
        def make(rng):
            import sklearn.mixture

            return (
                getattr(sklearn.mixture, kind)(n_components=3, random_state=0, **options),
                rows(rng, dim),
            )

        return make

    for kernel in ("gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"):
        drawn = () if kernel in ("gaussian", "tophat") else ("sample_follows",)
        for dim in (1, 2):
            _add(
                "scikit-learn", f"KernelDensity {kernel} D={dim}", kernels(kernel, dim), skip=drawn
            )
    _add("scikit-learn", "KernelDensity scott D=3", kernels("gaussian", 3, "scott"))
    for covariance in ("full", "tied", "diag", "spherical"):
        _add(
            "scikit-learn",
            f"GaussianMixture {covariance} D=3",
            mixture("GaussianMixture", 3, covariance_type=covariance),
        )
    _add("scikit-learn", "GaussianMixture full D=8", mixture("GaussianMixture", 8))
    _add("scikit-learn", "BayesianGaussianMixture D=2", mixture("BayesianGaussianMixture", 2))


def _scipy():
    one = {
        "norm": (3, 2),
        "t": (3,),
        "gamma": (0.5,),
        "beta": (0.5, 3),
        "cauchy": (),
        "lognorm": (1.5,),
        "weibull_min": (0.7,),
        "expon": (),
        "laplace": (),
        "logistic": (),
        "gumbel_r": (),
        "pareto": (2.5,),
        "skewnorm": (4,),
        "vonmises": (2,),
        "genextreme": (0.2,),
        "nct": (5, 1),
        "norminvgauss": (1, 0.5),
        "triang": (0.3,),
        "uniform": (),
        "truncnorm": (-1, 2),
        "johnsonsu": (1, 2),
        "exponnorm": (2,),
        "ncx2": (3, 2),
        "f": (5, 7),
        "poisson": (3.3,),
        "binom": (10, 0.3),
        "nbinom": (3, 0.4),
        "geom": (0.3,),
        "zipf": (2.5,),
        "skellam": (3, 4),
        "hypergeom": (20, 7, 12),
        "betabinom": (8, 2, 3),
        "logser": (0.6,),
    }
    for name, shapes in one.items():

        def make(rng, name=name, shapes=shapes):
            from scipy import stats

            return getattr(stats, name)(*shapes), None

        _add("scipy", f"stats.{name}", make)
    several = {
        "stats.multivariate_normal": lambda s: s.multivariate_normal([1, 2, 3], np.eye(3) + 0.5),
        "stats.multivariate_t": lambda s: s.multivariate_t([1, 2], [[2, 0.3], [0.3, 1]], df=4),
        "stats.multinomial": lambda s: s.multinomial(5, [0.2, 0.3, 0.5]),
        "stats.Normal": lambda s: s.Normal(mu=3.0, sigma=2.0),
        "stats.Uniform": lambda s: s.Uniform(a=1.0, b=4.0),
    }
    for name, build in several.items():

        def make_several(rng, build=build):
            from scipy import stats

            return build(stats), None

        _add("scipy", name, make_several)
    for dim in (1, 2, 4):

        def make_kernels(rng, dim=dim):
            from scipy import stats

            return stats.gaussian_kde((table := rows(rng, dim)).T), table

        _add("scipy", f"stats.gaussian_kde D={dim}", make_kernels)


def _others():
    def vine(rng):
        import pyvinecopulib

        ranks = np.argsort(np.argsort(rows(rng, 3, 400), axis=0), axis=0)
        table = (ranks + 0.5) / len(ranks)
        return pyvinecopulib.Vinecop.from_data(table), table

    def pair(rng):
        import pyvinecopulib as pv

        return pv.Bicop(pv.BicopFamily.clayton, 0, np.array([[2.0]])), rng.uniform(size=(100, 2))

    def kernels(kind):
        def make(rng):
            import KDEpy

            return getattr(KDEpy, kind)("gaussian", bw=0.5), rows(rng, 1, 50)

        return make

    def normal(rng):
        from pomegranate.distributions import Normal

        return Normal().fit(np.float32(table := rows(rng, 2))), table

    _add("pyvinecopulib", "Vinecop D=3", vine)
    _add("pyvinecopulib", "Bicop Clayton", pair)
    for kind in ("NaiveKDE", "TreeKDE"):
        _add("KDEpy", f"{kind} gaussian D=1", kernels(kind), skip=("sample_follows",))
    _add("pomegranate", "Normal D=2", normal, refit=False)
    for flow in ("gaussian", "mixture", "maf"):

        def make(rng, flow=flow):
            import nfref

            return nfref.FlowDensity(flow, random_state=0, members=1, epochs=20), rows(rng, 3)

        _add("nfref", f"FlowDensity {flow} D=3", make)

    for words, columns in (("a count", None), ("a count that is declared", {"x3": "count"})):

        def mixed(rng, columns=columns):
            import nfref

            table = np.column_stack([rows(rng, 2), rng.choice([0.0, 1, 4], 200)])
            return nfref.FlowDensity("mixture", random_state=0, columns=columns), table

        _add("nfref", f"FlowDensity mixture, {words}", mixed)


_scikit_learn()
_scipy()
_others()
