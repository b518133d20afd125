"""A vine copula with kernel margins: a density made of those of one and of two columns.

    log p(x) = sum_j log f_j(x_j) + log c(F_1(x_1), ..., F_D(x_D))

f_j is the kernel density of a column and F_j its integral. c is a product of D (D - 1) / 2 copulas
of two columns, each given others that do not change its form (a simplified vine). If the columns
depend on each other in that way, it converges as fast as densities of two columns, for any D. It
serves for few rows whose columns have unusual shapes. Kernels end where no rows are, so the wide
density gets one percent.

All of it is pyvinecopulib's: local polynomials for f_j, trees of the strongest dependence first,
and for each pair the best by Akaike's criterion of independence, four families of one parameter,
and kernels. Families of two parameters take twenty times as long, for 0.02 nats.

The library samples nothing here and uses one thread. The score of a row may differ in the last
digits with its place among others: the library takes several at once.

Source: Nagler and Czado 2016, arXiv:1503.03305.
"""

import importlib.util
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Array, Generator
from nfref.runtime.checks import as_rows, check_floats, check_rng, require
from nfref.runtime.configuration import Configuration
from nfref.runtime.interrupts import held
from nfref.tables.densities.wide import REACH, Wide

PACKAGE = "pyvinecopulib"
MOST_COLUMNS = 12  # a pair takes milliseconds, and 15 kB of a file
# Seconds until the package is imported, and of a pair for each row, about (Zen 5).
IMPORT_SECONDS, PAIR_SECONDS = 2.0, 1e-5
MOST_ROWS = 5000  # most rows, copies counted: a vine is for few
FAMILIES = ("indep", "gaussian", "clayton", "gumbel", "frank", "tll")
WIDE_PART = 0.01  # weight of the wide density beside it: kernels end where no rows are
EDGE = 1e-10  # copulas are evaluated no closer to the ends of [0, 1]


def is_installed() -> bool:
    """Return whether the package that vines need is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def seconds_of_fits(fits: int, rows: int, dim: int) -> float:
    """Estimate the seconds of a number of fits, and of the import of the package."""
    return IMPORT_SECONDS + fits * PAIR_SECONDS * min(rows, MOST_ROWS) * dim * (dim - 1) / 2


@dataclass(frozen=True)
class Vine(Configuration):
    """A density whose columns depend on each other by a simplified vine copula.

    Parameters
    ----------
    points, values : (D, G) array
        Ascending points of each column, and the density f_j there. It is cubic in between, and 0
        beyond, where the wide density remains.
    copula : str
        The vine, as pyvinecopulib writes it in JSON.
    reach : float
        Reach of the wide density.
    """

    points: np.ndarray
    values: np.ndarray
    copula: str
    reach: float = math.inf

    @classmethod
    def fit(cls, x: Array) -> "Vine":
        """Fit rows that count once each; repeat a row that counts more often.

        Parameters
        ----------
        x : (N, D) array
        """
        library = _library()
        margins = [library.Kde1d().fit(np.ascontiguousarray(column)) for column in x.T]
        families = [getattr(library.BicopFamily, name) for name in FAMILIES]
        controls = library.FitControlsVinecop(family_set=families, num_threads=1)
        found = cls(
            np.stack([margin.grid_points for margin in margins]),
            np.stack([margin.values for margin in margins]),
            "",
        )
        copula = library.Vinecop.from_data(found._ranks(x), controls=controls)
        return cls(found.points, found.values, copula.to_json(), REACH)

    @cached_property
    def _margins(self):
        return [
            _library().Kde1d.from_grid(*(np.ascontiguousarray(part) for part in own))
            for own in zip(self.points, self.values)
        ]

    @property
    def _wide(self):
        return Wide(len(self.points), reach=self.reach)

    @cached_property
    def _vine(self):
        return _library().Vinecop.from_json(self.copula)

    def _ranks(self, x):
        """Return F_j(x_j), (N, D)."""
        ranks = np.stack(self._of_margins("cdf", x), axis=1)
        return np.clip(np.asfortranarray(ranks), EDGE, 1 - EDGE)

    def _of_margins(self, name, x):
        """Return what a method of each margin gives for its column, a list of (N,)."""
        pairs = zip(self._margins, x.T)
        return [getattr(margin, name)(np.ascontiguousarray(column)) for margin, column in pairs]

    def log_prob(self, x: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D)."""
        x = as_rows("x", x, len(self.points))
        if not len(x):
            return np.zeros(0)
        found = self._vine.logpdf(self._ranks(x)) + sum(self._of_margins("logpdf", x))
        return np.logaddexp(
            np.log1p(-WIDE_PART) + found, np.log(WIDE_PART) + self._wide.log_prob(x)
        )

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample ``n`` rows, (n, D)."""
        uniform = check_rng(rng).random((n, len(self.points)))
        if not n:
            return uniform
        wide = rng.random((n, 1)) < WIDE_PART
        ranks = self._vine.inverse_rosenblatt(np.asfortranarray(np.clip(uniform, EDGE, 1 - EDGE)))
        usual = np.stack(self._of_margins("icdf", ranks), axis=1)
        return np.where(wide, self._wide.sample(rng, n), usual)

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        return (len(self.points), 0) == (dim, context_dim)

    def _check(self):
        check_floats("points", self.points, None, None)
        check_floats("values", self.values, *self.points.shape)
        require(
            self.points.shape[1] > 3
            and np.all(np.diff(self.points) > 0)
            and np.all(self.values >= 0),
            "points: expected ascending ones with densities",
        )
        require(
            self._vine.dim == len(self.points) and isinstance(self._margins, list),
            f"copula: expected one of {len(self.points)} columns, got one of {self._vine.dim}",
        )


def _library():
    """Import pyvinecopulib, and matplotlib with it, which a signal must not leave half imported."""
    try:
        with held():
            from pyvinecopulib import core
    except ImportError:
        raise ValueError(
            "no package pyvinecopulib, which vines need; pip install 'nfref[vines]' brings it"
        ) from None
    return core
