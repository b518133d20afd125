"""Densities of tables as plain functions: log p of rows, samples, and fits.

The methods of an object decide how it is adapted:

=================================================== ============================================
``score_samples``, ``sample``, ``fit``              scikit-learn's densities, nfref's FlowDensity
``logpdf`` or ``logpmf``, ``rvs`` or ``sample``     scipy.stats, of one column and of several
``logpdf``, ``resample``                            ``scipy.stats.gaussian_kde``
``pdf``, ``sample`` or ``simulate``                 copulas of statsmodels
``evaluate``, ``fit``                               KDEpy
``log_probability``, ``sample``                     pomegranate
``log_prob``, ``sample``                            what :func:`nfref.oracle.adapters.of` takes
``conditional``                                     a chain of p(column | others), as TabPFN's
a list of functions                                 log p(x_j | x_<j) of (x_j, earlier columns)
a dictionary                                        the fields of :class:`Estimator`, or one of them
=================================================== ============================================
"""

from dataclasses import dataclass

import numpy as np

from nfref.oracle.adapters import estimator_protocol as protocol
from nfref.runtime.annotations import Any, Array, Callable

# Distributions of scipy.stats whose rows lie on a surface, or that have no rows.
NO_COLUMNS = (
    "dirichlet wishart invwishart matrix_normal matrix_t vonmises_fisher special_ortho_group "
    "ortho_group unitary_group uniform_direction random_table normal_inverse_gamma"
).split()


@dataclass(frozen=True)
class Estimator:
    """A density of D columns as functions."""

    # (N, D) -> (N,) natural logarithms; of discrete columns, of probabilities. It may take
    # ``order=``, a tuple of columns that a chain is to follow.
    log_prob: Callable[..., Any]
    sample: Callable[..., Any] | None = None  # (rng, n) -> (n, D)
    fit: Callable[..., Any] | None = None  # (rows, weights (N,) or None) -> another Estimator
    conditional: Callable[..., Any] | None = None  # (rows, column, given columns) -> (N,)
    order: tuple[int, ...] | None = None  # of the columns in ``log_prob``, else left to right
    domain: Any = None  # (lower, upper), or None
    seeded: bool = True  # equal generators must give equal samples
    weighted: bool = False  # ``fit`` takes weights
    of_probabilities: bool = False  # log_prob is a probability's logarithm and may underflow
    lengths: tuple[str, ...] = ()  # options that may be a length in the units of the table
    object: Any = None  # to be pickled; None for functions


def estimator(thing: Any, table: Array | None = None) -> Estimator:
    """Return the Estimator of an object that :mod:`nfref.oracle.adapters.estimators` lists.

    A copy is fitted to the table if the object was not fitted.
    """
    if isinstance(thing, Estimator):
        return thing
    if isinstance(thing, dict):
        return _of_functions(thing)
    if isinstance(thing, (list, tuple)) and thing and all(map(callable, thing)):
        return _of_chain(tuple(thing))
    kind = type(thing)
    if kind.__module__.startswith("scipy.stats"):
        return _of_scipy(thing)
    for method in ("score_samples", "log_probability", "logpdf", "evaluate", "pdf"):
        if protocol.has(thing, method):
            return _of_object(thing, method, table)
    if protocol.has(thing, "log_prob"):
        from nfref.oracle import adapters

        found = adapters.of(thing, rng=np.random.default_rng(0))
        return _of_functions({name: found.get(name) for name in ("log_prob", "sample")})
    if callable(thing) and not isinstance(thing, type):
        return Estimator(thing)
    words = "expected an estimator with score_samples, logpdf, pdf, evaluate or log_prob, "
    raise TypeError(f"{words}or a dictionary with log_prob, got {kind.__name__}")


# Kinds of objects -----------------------------------------------------------------------------


def _of_functions(given):
    known = Estimator.__dataclass_fields__
    for unknown in sorted(set(given) - set(known)):
        raise TypeError(f"expected fields of an Estimator ({', '.join(known)}), got {unknown!r}")
    given = dict(given)
    if given.get("log_prob") is None:
        if given.get("conditional") is None:
            raise TypeError("expected log_prob or conditional among the functions, got neither")
        given["log_prob"] = _chained(given["conditional"], given.get("order"))
    if given.get("fit") is not None:
        fit = given["fit"]
        given["weighted"] = given.get("weighted", len(protocol.parameters_of(fit)) > 1)
        given["fit"] = lambda rows, weights=None: estimator(
            fit(rows) if weights is None else fit(rows, weights)
        )
    return Estimator(**given)


def _chained(conditional, order):
    """Return log_prob(rows, order=None): the sum of the factors of the chain rule."""
    natural = order

    def log_prob(rows, order=None):
        taken = order or natural or tuple(range(rows.shape[1]))
        factors = (conditional(rows, column, taken[:k]) for k, column in enumerate(taken))
        return sum(map(protocol.as_numbers, factors))

    return log_prob


def _of_chain(factors):
    """Return the Estimator of factors f(x_j, earlier columns), which have one order."""

    def conditional(rows, column, given):
        return protocol.as_numbers(factors[column](rows[:, column], rows[:, :column]))

    def log_prob(rows):
        return sum(conditional(rows, column, ()) for column in range(len(factors)))

    return Estimator(log_prob, conditional=conditional, order=tuple(range(len(factors))))


def _of_scipy(thing):
    """Adapt frozen and new distributions, of one column or several, and gaussian_kde."""
    name = type(thing).__name__
    if name.removesuffix("_frozen") in NO_COLUMNS:
        words = f"scipy.stats {name}: expected values that fill the space of their columns, got "
        words += "values on a surface; give functions log_prob and sample of free columns"
        raise TypeError(words)
    if name == "gaussian_kde":
        return _of_gaussian_kde(thing)
    several = hasattr(thing, "_dist") and "multivariate" in type(thing).__module__
    log = thing.logpmf if _is_discrete(thing) else thing.logpdf

    def log_prob(rows):
        return np.reshape(log(rows if several else rows[:, 0]), len(rows))

    def sample(rng, n):
        rvs = hasattr(thing, "rvs")
        drawn = thing.rvs(size=n, random_state=rng) if rvs else thing.sample(n, rng=rng)
        return np.reshape(drawn, (n, -1))

    domain = None if several or _is_discrete(thing) else thing.support()
    if getattr(getattr(thing, "dist", None), "name", "") == "vonmises":
        domain = (-np.pi, np.pi)  # once around the circle
    return Estimator(log_prob, sample, object=thing, domain=domain)


def _is_discrete(thing):
    named = any("iscrete" in kind.__name__ for kind in type(thing).__mro__)
    return named or not hasattr(thing, "logpdf")


def _of_gaussian_kde(thing):
    chosen = thing.covariance_factor.__name__.partition("_")[0]  # scotts, silverman
    rule = {"scotts": "scott", "silverman": "silverman"}.get(chosen, float(thing.factor))

    def fit(rows, weights=None):
        return _of_gaussian_kde(type(thing)(rows.T, bw_method=rule, weights=weights))

    def sample(rng, n):
        return thing.resample(n, seed=rng).T

    return Estimator(lambda rows: thing.logpdf(rows.T), sample, fit, weighted=True, object=thing)


def _of_object(thing, method, table):
    def score(thing, rows, **order):
        if method == "log_probability":  # pomegranate's takes tensors of its parameters' dtype
            import torch

            rows = torch.from_numpy(np.array(rows, dtype=np.float32))
        return getattr(thing, method)(rows, **order)

    thing, probabilities = protocol.fitted(thing, score, table), method in ("evaluate", "pdf")

    def log_prob(rows, **order):
        found = protocol.as_numbers(score(thing, rows, **order))
        found = found.reshape(len(rows)) if found.size == len(rows) else found
        if not probabilities:
            return found
        with np.errstate(divide="ignore"):
            return np.log(found)

    def fit(rows, weights=None):
        return _of_object(protocol.fit_to(protocol.fresh(thing), rows, weights), method, None)

    def conditional(rows, column, given):
        return protocol.as_numbers(thing.conditional(rows, column, given))

    takes_order = "order" in protocol.parameters_of(getattr(thing, "score_samples", None))
    fits = protocol.has(thing, "fit")
    return Estimator(
        log_prob if takes_order else lambda rows: log_prob(rows),
        protocol.sampler(thing),
        fit if fits else None,
        conditional if protocol.has(thing, "conditional") else None,
        getattr(thing, "order_", None),
        weighted=fits and protocol.weight_name(thing.fit) is not None,
        of_probabilities=probabilities,
        lengths=protocol.lengths_of(thing) if fits else (),
        object=thing,
    )
