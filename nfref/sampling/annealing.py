"""Samples of a target along a path of densities, with weights whose mean is its normaliser.

The path leads from a density q that can be sampled to the target p~, which need not be normalised:

    log pi_k = (1 - t_k) log q + t_k log p~,    t_k = k / K.

Each level k applies a flow T_k and a Markov kernel to the rows. Their log-weights add up

    log pi_k(T_k(x)) + log |det dT_k/dx| - log pi_{k-1}(x)

and the work of a kernel that does not leave pi_k as it is. Then E[w h(x_K)] = int p~ h, for every
h with a finite mean: the mean of w is Z, without bias. This holds if q is above zero where p~ is,
and if flows and kernels do not depend on the rows that they move.

Without flows this is annealed importance sampling (Neal 2001); with them a stochastic normalizing
flow (Wu, Koehler and Noe 2020, arXiv:2002.06707). Rows resampled by their weights make it a
sequential Monte Carlo sampler: annealed flow transport (Arbel, Matthews and Doucet 2021,
arXiv:2102.07501), or CRAFT (Matthews, Arbel, Rezende and Doucet 2022, arXiv:2201.13117).

Resampled rows depend on each other. So the standard error counts the rows at the start as
independent, each with the weight of all its descendants (Lee and Whiteley 2015, arXiv:1509.00394).
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import autograd.numpy as np
from autograd import make_vjp

from nfref.bases.base import Base
from nfref.density import Density
from nfref.diagnostics.evidence import importance_sampling
from nfref.flow import Flow
from nfref.objectives.divergences import ImportanceEstimate
from nfref.objectives.targets import check_values, log_density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.autograd_internals import isbox
from nfref.runtime.checks import check_count, check_positive, check_rng, require
from nfref.runtime.configuration import Checked
from nfref.runtime.param_schema import Structure
from nfref.sampling.markov_kernels import Langevin, Metropolis, log_weight_change, move

# Formulas ---------------------------------------------------------------------------------


def at_level(parts: Array, t: float) -> Array:
    """Return log pi_t = (1 - t) log q + t log p~; at the ends, one of them alone.

    At an end the other one may be infinite. Shapes: parts (2, n). Returns (n,).
    """
    if t in (0, 1):
        return parts[int(t)]
    return (1 - t) * parts[0] + t * parts[1]


def effective_share(log_weights: Array) -> float:
    """Return the effective size over n: (sum w)^2 / (n sum w^2)."""
    weights = np.exp(log_weights - np.max(log_weights))
    return float(np.mean(weights) ** 2 / np.mean(weights**2))


def log_weights_of_ancestors(log_weights: Array, ancestors: Array) -> Array:
    """Return the log of the sum of weights of each ancestor's descendants, -inf for none.

    Shapes: log_weights, ancestors (row numbers of the start) (n,). Returns (n,).
    """
    largest = np.max(log_weights)
    sums = np.bincount(ancestors, np.exp(log_weights - largest), len(log_weights))
    with np.errstate(divide="ignore"):
        return largest + np.log(sums)


def independent_rows(log_weights: Array, resamplings: int) -> float:
    """Return how many independent draws n ancestors are worth, from the weights of each family.

    The variance of the mean of n weights is V / n with V their relative variance. Each multinomial
    resampling adds 1 to V that the mean does not have, so n counts as n V / (V - R).

    Paper:   Lee and Whiteley: 1 - (1 - sum W^2) (n / (n - 1))^(R + 1), of shares W.
    Differs: to first order in 1 / n, and V - R is at least V / 2. The formula was read in programs
             that cite the paper; a test compares it with the spread over 200 seeds.

    Shapes: log_weights (n,). Returns a float.
    """
    variance = 1 / effective_share(log_weights) - 1
    if not resamplings:
        return len(log_weights)
    return len(log_weights) * variance / max(variance - resamplings, variance / 2)


# Sampler ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows on their way: x (n, D); parts (log q, log p~) (2, n); log_weights, ancestors (n,).

    ``resamplings`` counts how often they have been resampled.
    """

    x: Array
    parts: Array
    log_weights: Array
    ancestors: Array
    resamplings: int = 0


@dataclass(frozen=True)
class AnnealedSampler(Checked):
    """Weighted samples of a target, by flows and Markov kernels along a path of densities.

    Parameters
    ----------
    start : Base or Density
        The density q at the start of the path. It needs mass where the target has it.
    kernel : Metropolis or Langevin
    levels : int
        Number K of levels.
    flow : Flow, optional
        The flow before each kernel; every level has its own parameters. None: no flow.
    resample : float, optional
        Resample the rows by their weights after a level, except the last, if their effective
        size is below this share of their number. None: never.

    Notes
    -----
    Parameters in ``params``: ``start``, those of the density; ``flows``, a list of K; and
    ``log_step`` (K,), the logarithm of the kernel's step at each level.

    Examples
    --------
    >>> import autograd.numpy as np, nfref
    >>> sampler = nfref.AnnealedSampler(nfref.StandardNormal(2), nfref.Langevin(0.5), levels=8)
    >>> rng = np.random.default_rng(0)
    >>> found = sampler.estimate(sampler.init(rng), lambda x: -np.sum(x**2, axis=1), rng, 2000)
    >>> bool(abs(found.value - np.log(np.pi)) < 3 * found.error)
    True
    """

    start: Any
    kernel: Any
    levels: int = 10
    flow: Flow | None = None
    resample: float | None = None

    _converters = {"levels": check_count, "resample": check_positive}

    def __post_init__(self):
        super().__post_init__()
        for name, kinds in (
            ("start", (Base, Density)),
            ("kernel", (Metropolis, Langevin)),
            ("flow", (Flow, type(None))),
        ):
            if not isinstance(getattr(self, name), kinds):
                expected = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
                raise TypeError(
                    f"{name}: expected a {expected}, got {type(getattr(self, name)).__name__}"
                )
        if self.flow is not None and self.flow.dim != self.start.dim:
            raise ValueError(
                "AnnealedSampler: expected start and flow of the same dim, "
                f"got {self.start.dim} and {self.flow.dim}"
            )

    def init(self, rng: Generator) -> dict[str, Any]:
        """Return initial parameters ``{"start": ..., "flows": [...], "log_step": ...}``.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        check_rng(rng)
        flows = [self.flow.init(rng) if self.flow else {} for _ in range(self.levels)]
        log_step = np.full(self.levels, np.log(self.kernel.step))
        return {"start": self.start.init(rng), "flows": flows, "log_step": log_step}

    def estimate(
        self, params: Params, log_target: Callable[..., Any], rng: Generator, n: int
    ) -> ImportanceEstimate:
        """Return weighted samples of the target and log Z, with its reliability.

        Parameters
        ----------
        params : dict
            As made by :meth:`init`, or fitted by :func:`nfref.sampling.fitting.fit_annealed`.
        log_target : callable
            log p~: (n, D) array -> (n,) array. For Langevin steps autograd must follow it.
        rng : numpy.random.Generator
        n : int
            Number of samples.

        Returns
        -------
        ImportanceEstimate
            ``value`` is log Z in nats. With resampling, ``effective`` and ``error`` count
            ancestors at the start, since rows with a common ancestor depend on each other.

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape, type or value; if the target fails, is NaN or +inf
            at a row, or has no finite gradient there.
        """
        check_rng(rng)
        check_count("n", n, minimum=2)
        with np.errstate(all="ignore"):
            rows = Path(self, params, log_target).walk(rng, n)
            require(
                np.max(rows.log_weights) > -np.inf,
                f"log_target: expected a way to it from the start, got -inf for each of {n} rows",
            )
            families = log_weights_of_ancestors(rows.log_weights, rows.ancestors)
            size = independent_rows(families, rows.resamplings)
            method = "sequential Monte Carlo" if self.resample else "annealed importance sampling"
            found = replace(importance_sampling(families, size), method=method)
            return ImportanceEstimate.of(found, rows.x, rows.log_weights)

    @cached_property
    def _structure(self):
        start = self.start._structure.shapes
        flow = self.flow._structure.shapes if self.flow else {}
        flows = [flow] * self.levels
        return Structure({"start": start, "flows": flows, "log_step": (self.levels,)})


class Path:
    """The path of a sampler from its density at the start to one target, and the way along it.

    Parameters
    ----------
    sampler : AnnealedSampler
    params : dict
    log_target : callable

    Attributes
    ----------
    strict : bool
        Raise an error at a row where the target is NaN; otherwise its density counts as 0.
    """

    def __init__(
        self, sampler: AnnealedSampler, params: Params, log_target: Callable[..., Any]
    ) -> None:
        self.sampler, self.log_target = sampler, log_target
        self.params = sampler._structure.checked(params)
        self.dtype = trees.dtype_of(self.params)
        self.strict = True

    def walk(self, rng: Generator, n: int) -> Rows:
        """Return n rows that have gone the whole path."""
        rows = self.first_rows(rng, n)
        for k in range(self.sampler.levels):
            moved = self.transported(self.params["flows"][k], rows, k)
            rows, _ = self.refreshed(moved, self.params["log_step"][k], k, rng)
        return rows

    def first_rows(self, rng: Generator, n: int) -> Rows:
        """Return n samples of q, of weight 1."""
        x = self.sampler.start.sample(self.params["start"], rng, n).astype(self.dtype)
        return Rows(x, self.parts(x), np.zeros(n), np.arange(n))

    def parts(self, x: Array) -> Array:
        """Return log q and log p~ of rows, (2, n)."""
        log_p = log_density(self.log_target, x)
        if self.strict and not isbox(x):
            check_values(x, log_p)
        return np.stack([self.sampler.start.log_prob(self.params["start"], x), log_p])

    def transported(self, flow_params: Params, rows: Rows, k: int) -> Rows:
        """Return the rows after the flow of level k = 0 ... K-1, with their new weights."""
        flow, x, parts, log_det = self.sampler.flow, rows.x, rows.parts, np.zeros(())
        if flow is not None:
            x, log_det = flow.forward(flow_params, x)
            parts = self.parts(x)
        before, after = at_level(rows.parts, self._t(k - 1)), at_level(parts, self._t(k))
        log_weights = rows.log_weights + log_weight_change(before, after, log_det)
        return replace(rows, x=x, parts=parts, log_weights=log_weights)

    def refreshed(
        self, rows: Rows, log_step: float, k: int, rng: Generator, resample: bool = True
    ) -> tuple[Rows, float]:
        """Return the rows after resampling and the kernel of level k, and its acceptance."""
        share, t = (self.sampler.resample or 0) * resample, self._t(k)
        if share and t < 1 and effective_share(rows.log_weights) < share:
            rows = _resampled(rows, rng)
        kernel, start = self.sampler.kernel, (rows.parts, at_level(rows.parts, t), 0.0)
        evaluate = partial(self._evaluated, t=t)
        start = evaluate(rows.x) if kernel._drifts else start
        x, parts, log_weights, acceptance = move(
            kernel, evaluate, rows.x, start, np.exp(log_step), rng
        )
        log_weights = rows.log_weights + log_weights
        return replace(rows, x=x, parts=parts, log_weights=log_weights), acceptance

    def _t(self, k):
        """Return the level after the flow of index k; 0 for k = -1."""
        return (k + 1) / self.sampler.levels

    def _evaluated(self, x, t):
        """Return log q and log p~; log pi_t; and its gradient, 0 if the kernel does not drift."""
        if not self.sampler.kernel._drifts:
            parts = self.parts(x)
            return parts, at_level(parts, t), 0.0
        vjp, parts = make_vjp(self.parts)(x)
        level, force = at_level(parts, t), vjp(np.ones((1, len(x))) * [[1 - t], [t]])
        if self.strict and not isbox(x):
            check_values(x, parts[1])
            largest = np.max(np.abs(force), axis=1)
            check_values(x, np.where(np.isfinite(level), largest, 0), "gradient of log_target")
        return parts, level, force


def _resampled(rows, rng):
    """Return rows sampled by their weights, each with the mean weight."""
    n, largest = len(rows.x), np.max(rows.log_weights)
    weights = np.exp(rows.log_weights - largest)
    kept = rng.choice(n, n, p=weights / np.sum(weights))
    mean = np.full(n, largest + np.log(np.mean(weights)))
    done = rows.resamplings + 1
    return Rows(rows.x[kept], rows.parts[:, kept], mean, rows.ancestors[kept], done)
