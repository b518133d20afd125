"""Density estimation by dual ascent: add one small map to a flow at a time, if it helps.

Sources: Tabak and Vanden-Eijnden 2010; Tabak and Turner 2013; Laparra, Camps-Valls, Malo 2011
(RBIG).

The rows move towards the normal, x -> z_0 -> z_1 -> ..., first by whitening, then by maps
close to the identity. Each map is chosen to raise the log-likelihood

    sum_n log N(z_n; 0, 1) + log |det dz_n/dx_n|

of the rows at their current places; earlier maps stay fixed. There is no network and no gradient
through the chain: :mod:`nfref.training.local_maps` finds the few parameters of a map. The inverses
of the maps are a flow, with its density in closed form.
"""

from dataclasses import dataclass

import numpy as np

from nfref.bases.standard_normal import standard_normal_log_prob
from nfref.density import Density
from nfref.flow import Flow
from nfref.flows.composition import Chain
from nfref.flows.hinge import Hinge
from nfref.flows.linear import FixedLinear, Linear, random_rotation
from nfref.flows.marginal_spline import quantile_spline
from nfref.flows.radial_expansion import RadialExpansion
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.checks import at_least, check_count, check_positive, check_rng, one_of
from nfref.runtime.configuration import Checked
from nfref.training.local_maps import (
    best_expansions,
    best_hinge,
    normal_width,
    quadratic_expansions,
)
from nfref.training.rows import real_rows


@dataclass(frozen=True)
class Ascent:
    """The result of a dual ascent: a density and its history.

    Attributes
    ----------
    density : Density
        A chain over the standard normal.
    params : nested dicts and lists of arrays
    history : dict of list of float
        ``history["train"][k]``, the mean log-likelihood in nats per row after whitening and k
        maps, rises with every entry. ``history["validation"]`` is the same for held-out rows, if
        there are any.
    maps : int
        Number of maps of ``density``: all, or the number that is best for the held-out rows.
    """

    density: Density
    params: dict[str, Any]
    history: dict[str, list[float]]
    maps: int
    _steps: tuple[tuple[Flow, Any], ...]

    def after(self, maps: int) -> tuple[Density, dict[str, Any]]:
        """Return the density of whitening and the first ``maps`` maps, and its parameters.

        Parameters
        ----------
        maps : int
            From 0 to ``len(history["train"]) - 1``.

        Returns
        -------
        density : Density
        params : nested dicts and lists of arrays
        """
        check_count("maps", maps, minimum=0)
        if maps >= len(self._steps):
            raise ValueError(f"maps: expected at most {len(self._steps) - 1}, got {maps}")
        return _density(self._steps[: maps + 1])


@dataclass(frozen=True)
class DualAscent(Checked):
    """A density estimator of many small maps, each chosen for the rows at their current places.

    It alternates a radial expansion (:class:`nfref.RadialExpansion`, profile "erf") about one of
    several random points, and hinges (:class:`nfref.Hinge`) along random orthogonal directions. A
    map that does not raise the log-likelihood of the rows is dropped. Cost: a step is a few dozen
    passes over the rows, about 10 ms for 3,000 rows of eleven columns; a density of K maps is K
    small passes.

    Parameters
    ----------
    steps : int, default 300
        Number of maps to try after whitening.
    kinds : {"both", "radial", "marginal", "spline"}, default "both"
        Expansions and hinges alternately, or only one kind; "spline" is Gaussianization (RBIG):
        splines that take the quantiles along principal axes, or along random orthogonal ones, to
        those of the normal.
    rule : {"best", "paper"}, default "best"
        The choice of an expansion: the best of several, each with its best beta; or, as in Tabak
        and Turner, one whose width follows from its centre, with the beta of a quadratic
        (:func:`~nfref.training.local_maps.normal_width`,
        :func:`~nfref.training.local_maps.quadratic_expansions`).
    candidates : int, default 16
        Number of random centres and widths from which the best is chosen.
    smallest : float, default 0.02
        The smallest share of the rows within one width of a map's centre; larger is smoother.
    bound : float, default 4
        The largest factor by which a map may stretch or shrink lengths.
    step : float, default 0.5
        The longest move of a row by an expansion of the paper's rule.
    start : {"whitening", "scaling", "spline"}, default "whitening"
        The first map: to mean 0 and covariance I; or, as in a program of others, less the mean and
        over one deviation common to all columns, the root of their mean variance; or each column
        to a normal by a spline.
    bins : int, default 8
        Bins of a spline (:class:`nfref.MarginalSpline`).

    Examples
    --------
    >>> import numpy as np, nfref
    >>> rng = np.random.default_rng(0)
    >>> x = nfref.datasets.two_moons(rng, 500)
    >>> found = nfref.DualAscent(steps=20).fit(x, rng)
    >>> bool(np.all(np.diff(found.history["train"]) > 0))
    True
    >>> found.density.log_prob(found.params, x).shape
    (500,)
    """

    steps: int = 300
    kinds: str = "both"
    candidates: int = 16
    smallest: float = 0.02
    bound: float = 4.0
    rule: str = "best"
    step: float = 0.5
    start: str = "whitening"
    bins: int = 8

    _converters = {
        "steps": at_least(0),
        "kinds": one_of(("both", "radial", "marginal", "spline")),
        "rule": one_of(("best", "paper")),
        "candidates": check_count,
        "step": check_positive,
        "start": one_of(("whitening", "scaling", "spline")),
        "bins": at_least(2),
    }

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.smallest <= 1:
            raise ValueError(f"smallest: expected a share in (0, 1], got {self.smallest}")
        if not 1 < self.bound < np.inf:
            raise ValueError(f"bound: expected a finite number above 1, got {self.bound}")

    def fit(self, x: Array, rng: Generator, validation: Array | None = None) -> Ascent:
        """Start from a normal, by default with the mean and covariance of the rows, and add maps.

        Parameters
        ----------
        x : (N, D) array
            More than D rows that do not lie in one hyperplane.
        rng : numpy.random.Generator
        validation : (M, D) array, optional
            Held-out rows that decide how many maps are kept.

        Returns
        -------
        Ascent

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape, type or value.
        """
        check_rng(rng)
        z = rows_of("x", x)
        parts = {"train": (z, np.zeros(len(z)))}
        if validation is not None:
            held_out = rows_of("validation", validation, z.shape[1])
            parts["validation"] = held_out, np.zeros(len(held_out))
        steps: list[tuple[Flow, Any]] = []
        curves: dict[str, list[float]] = {name: [] for name in parts}
        for flow, params in self._proposals(parts, rng):
            moved = {name: _moved(flow, params, *part) for name, part in parts.items()}
            reached = {name: _mean_log_prob(*part) for name, part in moved.items()}
            if steps and not reached["train"] > curves["train"][-1]:
                continue
            steps.append((flow, params))
            parts.update(moved)
            for name, value in reached.items():
                curves[name].append(value)
        kept = int(np.argmax(curves.get("validation", curves["train"])))
        return Ascent(*_density(steps[: kept + 1]), curves, kept, tuple(steps))

    def _proposals(self, parts, rng):
        """Yield the first map, then ``steps`` maps, each for the current places of the rows."""
        first = {
            "whitening": whitening,
            "scaling": scaling,
            "spline": lambda z: quantile_spline(z, self.bins),
        }[self.start]
        yield first(parts["train"][0])
        kinds = {
            "both": (self._expansion, self._hinges),
            "radial": (self._expansion,),
            "marginal": (self._hinges,),
            "spline": (self._splines,),
        }[self.kinds]
        for step in range(self.steps):
            yield kinds[step % len(kinds)](parts["train"][0], rng)

    def _expansion(self, z, rng):
        """Return the best of some expansions about rows and about samples of the target normal."""
        dim = z.shape[1]
        count = self.candidates if self.rule == "best" else 1
        of_normal = np.arange(count) % 2 == 1 if self.rule == "best" else rng.random(1) < 0.5
        normal, rows = rng.standard_normal((count, dim)), z[rng.integers(len(z), size=count)]
        centres = np.where(of_normal[:, None], normal, rows)
        if self.rule == "paper":
            widths = np.array([normal_width(centres[0], self.smallest)])
            beta = quadratic_expansions(z, centres, widths, self.bound, self.step)
            best = 0
        else:
            distances = np.linalg.norm(z[None] - centres[:, None], axis=2)
            widths = np.array([self._width(rng, row) for row in distances])
            beta, gain = best_expansions(z, centres, widths, self.bound)
            best = int(np.argmax(gain))
        return RadialExpansion(dim, "erf"), {
            "centre": centres[best],
            "log_width": np.log(widths[[best]]),
            "log_slack": np.log1p(beta[[best]]),
        }

    def _hinges(self, z, rng):
        """Return the best hinges along random orthogonal directions, one per direction."""
        dim = z.shape[1]
        rotation = random_rotation(rng, dim)
        margins = z @ rotation
        location = margins[rng.integers(len(z), size=dim), np.arange(dim)]
        width = np.array(
            [self._width(rng, np.abs(margin - m)) for margin, m in zip(margins.T, location)]
        )
        shift, left, right = np.transpose(
            [best_hinge(*column, self.bound) for column in zip(margins.T, location, width)]
        )
        hinges = {
            "location": location,
            "shift": shift,
            "log_left": np.log(left),
            "log_right": np.log(right),
            "log_width": np.log(width),
        }
        return Chain((Hinge(dim), FixedLinear(rotation))), [hinges, {}]

    def _splines(self, z, rng):
        """Return the splines of the quantiles along principal axes, or random orthogonal ones."""
        rotation = random_rotation(rng, z.shape[1])
        if rng.random() < 0.5:
            rotation = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))[1]
        flow, params = quantile_spline(z @ rotation, self.bins)
        return Chain((flow, FixedLinear(rotation))), [params, {}]

    def _width(self, rng, distances):
        """Return the distance within which a random share of the rows lies, at least ``smallest``.

        The share is uniform on a logarithmic scale. If the distance is zero, because rows
        coincide, the smallest distance from other rows replaces it.
        """
        share = np.exp(rng.uniform(np.log(self.smallest), 0))
        width = np.quantile(distances, share)
        return width if width > 0 else np.min(distances[distances > 0])


def whitening(x: Array) -> tuple[Linear, dict[str, Any]]:
    """Return the affine flow that gives the rows mean 0 and covariance I, and its parameters.

    The normal with their mean and covariance has the largest likelihood of all normals. The ascent
    starts there.

    Parameters
    ----------
    x : (N, D) array

    Returns
    -------
    flow : Linear
    params : dict
    """
    mean = np.mean(x, axis=0)
    scale = np.where(np.ptp(x, axis=0) > 0, np.std(x, axis=0), 1)
    # R^T R is the correlation matrix, and R^T its Cholesky factor. Its diagonal holds the part of
    # each column, of 1, that the columns before do not explain.
    r = np.linalg.qr((x - mean) / (scale * np.sqrt(len(x))), mode="r")
    rank = np.sum(np.abs(np.diag(r)) > 1e-10)
    if rank < x.shape[1]:
        raise ValueError(
            "x: expected columns none of which is an affine function of the others, "
            f"got {x.shape[1]} columns of rank {rank}"
        )
    weight = (r * np.sign(np.diag(r))[:, None] * scale).T
    return Linear(x.shape[1]), {"weight": weight, "bias": mean}


def scaling(x: Array) -> tuple[Linear, dict[str, Any]]:
    """Return the flow that gives the rows mean 0 and columns of mean variance 1.

    Shapes: x (N, D). Returns the flow and its parameters.
    """
    if not np.any(np.ptp(x, axis=0) > 0):
        raise ValueError("x: expected rows that differ, got equal ones")
    weight = np.sqrt(np.mean(np.var(x, axis=0))) * np.eye(x.shape[1])
    return Linear(x.shape[1]), {"weight": weight, "bias": np.mean(x, axis=0)}


def _density(steps):
    flows, params = zip(*reversed(steps))
    return Density(Chain(flows)), {"base": {}, "flow": list(params)}


def _moved(flow, params, z, log_det):
    z, change = flow.inverse(params, z)
    return z, log_det + change


def _mean_log_prob(z, log_det):
    return float(np.mean(standard_normal_log_prob(z) + log_det))


def rows_of(name: str, x: Any, dim: int | None = None) -> Array:
    """Return finite rows (N, ``dim``) in float64, at least two; any number of columns if None."""
    if dim is None:
        dim = np.shape(x)[1] if np.ndim(x) == 2 else 1
    return real_rows(name, x, dim, least=2).astype(np.float64)
