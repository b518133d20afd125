"""How good the density of a table is on rows to test by, beside others."""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any
from nfref.tables.closed_form import Gaussian, KernelDensity
from nfref.tables.columns import Continuous
from nfref.tables.density import TableDensity
from nfref.tables.members import MIXTURE_ROWS, held_out_count
from nfref.tables.mixtures import GaussianMixture
from nfref.tables.pool import FittedFlow, mean_and_error
from nfref.tables.split import Part

KERNELS = 4000              # rows at most that have kernels
FAR = 10                    # standard errors by which a density is worse than a Gaussian, no doubt


@dataclass(frozen=True)
class Compared:
    """A density on test rows: nats per row, their standard error; weight and seconds of a member.
    """

    name: str
    mean: float
    error: float
    weight: float | None = None
    seconds: float | None = None


def candidates_compared(fitted, test):
    """The members of a pool, and the pool where there are several."""
    density, tried = fitted.density, fitted.tried[:-1]
    total, members = density.parts(test.table)
    seconds = sum(one.seconds for one in tried)
    found = []
    if members is not None:
        others = total - density.pool.pooled(members)
        members = density.pool.by_name(members)
        found = [Compared(one.name, *mean_and_error(others + members[:, k], test.weight),
                          one.weight, one.seconds) for k, one in enumerate(tried)]
    if len(found) != 1:
        found.append(Compared(fitted.tried[-1].name, *mean_and_error(total, test.weight), 1.0,
                              seconds))
    return found


def others_compared(density: TableDensity, train: Part, test: Part, truth: Any = None) -> Any:
    """(what else there is to compare with, notes about it), of rows that are all numbers.

    Parameters
    ----------
    density : TableDensity
    train, test : nfref.tables.split.Part
        Without missing cells.
    truth : object, optional
        The density of the table, where it is known.
    """
    found, notes, add = [], [], lambda name, log_prob: found.append(
        Compared(name, *mean_and_error(log_prob, test.weight)))
    rows = np.stack(test.table, axis=1)
    if all(isinstance(column, Continuous) for column in density.columns):
        try:
            with np.errstate(all="ignore"):     # its units are not robust
                gaussian = Gaussian.fit(np.stack(train.table, axis=1), train.weight).log_prob(rows)
            add("full Gaussian", gaussian)
            mean, error = mean_and_error(density.log_prob(test.table) - gaussian, test.weight)
            if mean == -np.inf or mean < -FAR * error:
                notes.append(f"it is worse than the Gaussian by {-mean:.3g} nats per row, more "
                             f"than {FAR} standard errors: it needs more rows, more epochs or a "
                             "lower learning rate")
        except (ValueError, np.linalg.LinAlgError):
            pass
        _, known, _ = density.encode(train.table)
        _, u, log_slope = density.encode(test.table)
        members = () if density.pool is None else density.pool.members
        if all(isinstance(member, FittedFlow) for member in members):
            mixture = _mixture(known[:MIXTURE_ROWS], train.weight[:MIXTURE_ROWS])
            name = f"Gaussian mixture of {mixture.components}"
            if mixture.collapsed:
                name += " (collapsed)"
                notes.append(f"{mixture.collapsed} of the mixture's {mixture.components} "
                             "components have shrunk onto repeated values, as far as they may: its "
                             "figure is no density to compare with")
            add(name, mixture.log_prob(u) + log_slope)
        kernels = KernelDensity.choose(known[:KERNELS], weight=train.weight[:KERNELS])
        add("kernel density", kernels.log_prob(u) + log_slope)
    if truth is not None:
        add("true density", truth.log_prob(rows))
    return found, notes


def _mixture(u, weight):
    """The Gaussian mixture that is likeliest for a tenth of the rows."""
    held = max(held_out_count(len(u), 0.1), 1)
    return GaussianMixture.choose(u[held:], u[:held], np.random.default_rng(0),
                                  weight=weight[held:], validation_weight=weight[:held])
