"""How good the density of a table is on rows to test by, beside others."""

from dataclasses import dataclass

import numpy as np

from nfref.cli.split import Part
from nfref.runtime.annotations import Any
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import FittedFlow, mean_and_error, median
from nfref.tables.densities.simple_densities import Gaussian, KernelDensity
from nfref.tables.densities.table_density import TableDensity, spread_rows
from nfref.tables.fitting.candidates import MIXTURE_ROWS, held_out_count
from nfref.tables.schema.columns import Continuous

KERNELS = 4000  # rows at most that have kernels
FAR = 10  # standard errors by which a density is worse than a Gaussian, no doubt


@dataclass(frozen=True)
class Compared:
    """A density on test rows: nats per row, their standard error, the row in the middle; weight and
    seconds of a member."""

    name: str
    mean: float
    error: float
    median: float
    weight: float | None = None
    seconds: float | None = None


class Candidates(list):
    """A list of :class:`nfref.tables.fitting.plan.CandidateResult` that shows itself as a table."""

    columns = ("candidate", "nats per row", "std. error", "median", "weight", "seconds")

    @property
    def cells(self):
        """The text of each row."""
        return [
            (
                one.name,
                *(f"{value:.3f}" for value in (one.mean, one.error, one.median, one.weight)),
                f"{one.seconds:.1f}",
            )
            for one in self
        ]

    def __repr__(self):
        width = max(len(row[0]) for row in (self.columns, *self.cells))
        return "\n".join(
            "  ".join([row[0].ljust(width), *(cell.rjust(12) for cell in row[1:])])
            for row in (self.columns, *self.cells)
        )

    def _repr_html_(self):
        from html import escape

        rows = [
            f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
            for tag, row in [("th", self.columns), *(("td", row) for row in self.cells)]
        ]
        return f"<table>{''.join(rows)}</table>"


def compare_candidates(fitted, test):
    """The members of a pool, and the pool where there are several."""
    density, tried = fitted.density, fitted.tried[:-1]
    test = spread_over_cells(density, test)
    total, members = density.parts(test.table)
    seconds = sum(one.seconds for one in tried)
    found = []
    if members is not None:
        others = total - density.pool.pooled(members)
        members = density.pool.by_name(members)
        found = [
            _compared(one.name, others + members[:, k], test, one.weight, one.seconds)
            for k, one in enumerate(tried)
        ]
    if len(found) != 1:
        found.append(_compared(fitted.tried[-1].name, total, test, 1.0, seconds))
    return found


def _compared(name, log_prob, test, weight=None, seconds=None):
    return Compared(
        name, *mean_and_error(log_prob, test.weight), median(log_prob, test.weight), weight, seconds
    )


def spread_over_cells(density, part):
    """Return a Part with rounded values dequantised, as densities are fitted to them."""
    _, _, table = spread_rows(density.columns, part.table, np.ones(len(part)), 0, density.given)
    return Part(table, part.weight)


def compare_baselines(density: TableDensity, train: Part, test: Part, truth: Any = None) -> Any:
    """(what else there is to compare with, notes about it), of rows that are all numbers.

    Parameters
    ----------
    density : TableDensity
    train, test : nfref.cli.split.Part
        Without missing cells.
    truth : object, optional
        The density of the table, where it is known.
    """
    train, test = (spread_over_cells(density, part) for part in (train, test))
    found, notes, add = [], [], lambda name, log_prob: found.append(_compared(name, log_prob, test))
    rows = np.stack(test.table, axis=1)
    if all(isinstance(column, Continuous) for column in density.columns):
        try:
            with np.errstate(all="ignore"):  # its units are not robust
                gaussian = Gaussian.fit(np.stack(train.table, axis=1), train.weight).log_prob(rows)
            add("full Gaussian", gaussian)
            mean, error = mean_and_error(density.log_prob(test.table) - gaussian, test.weight)
            if mean == -np.inf or mean < -FAR * error:
                notes.append(
                    f"it is worse than the Gaussian by {-mean:.3g} nats per row, more "
                    f"than {FAR} standard errors: it needs more rows, more epochs or a "
                    "lower learning rate"
                )
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
                notes.append(
                    f"{mixture.collapsed} of the mixture's {mixture.components} "
                    "components have shrunk onto repeated values, as far as they may: its "
                    "figure is no density to compare with"
                )
            add(name, mixture.log_prob(u) + log_slope)
        kernels = KernelDensity.choose(known[:KERNELS], weight=train.weight[:KERNELS])
        add("kernel density", kernels.log_prob(u) + log_slope)
    if truth is not None:
        add("true density", truth.log_prob(rows))
    return found, notes


def _mixture(u, weight):
    """The Gaussian mixture that is likeliest for a tenth of the rows."""
    held = max(held_out_count(len(u), 0.1), 1)
    return GaussianMixture.choose(
        u[held:],
        u[:held],
        np.random.default_rng(0),
        weight=weight[held:],
        validation_weight=weight[:held],
    )
