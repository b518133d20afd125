"""A fit of a table, with or without missing cells, before it is made."""

from dataclasses import dataclass, replace

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.fitting.fit import Fitted
from nfref.tables.fitting.gaps import fit_incomplete_table
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.progress import Progress


@dataclass(frozen=True)
class TableFit:
    """The arguments of :func:`~nfref.tables.fitting.gaps.fit_incomplete_table`."""

    columns: Sequence[Any]
    table: list[Array]
    plan: Plan
    seed: int
    weight: Array | None
    validation: float
    progress: Progress | None
    given: tuple[str, ...] = ()
    limit: LimitedSum | None = None

    def at(self, rows: Array) -> "TableFit":
        """Return the fit of some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, table=[values[rows] for values in self.table], weight=weight)

    def run(self) -> Fitted:
        """Fit the table."""
        return fit_incomplete_table(
            self.columns,
            self.table,
            self.plan,
            self.seed,
            weight=self.weight,
            validation=self.validation,
            progress=self.progress,
            given=self.given,
            limit=self.limit,
        )
