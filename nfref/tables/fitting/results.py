"""The result of a fit: its density, scores of rows and candidates; and how far a fit has come."""

import sys
from dataclasses import dataclass, replace
from html import escape
from types import NoneType

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Iterable
from nfref.runtime.checks import require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.pool import mean_and_error, median
from nfref.tables.densities.table_density import TableDensity


@dataclass(frozen=True)
class CandidateResult(Configuration):
    """The scores of one candidate, of the pool or of a baseline.

    Attributes
    ----------
    name : str
    mean, error : float
        Nats per row in the units that it was fitted in, and the standard error.
    weight : float or None
        Its weight in the pool; None for a baseline.
    seconds : float or None
        What it cost; None for a baseline.
    message : str
        Why its training ended.
    history : dict of list of float, or None
        Negative log-likelihoods after every epoch, in the same units.
    median : float
        Median nats per row. Far from the mean, a few rows decide the mean.
    """

    name: str
    mean: float
    error: float
    weight: float | None = None
    seconds: float | None = None
    message: str = ""
    history: dict[str, list[float]] | None = None
    median: float = float("nan")

    @classmethod
    def of(
        cls,
        name: str,
        log_prob: Array,
        row_weight: Array | None,
        weight: float | None = None,
        seconds: float | None = None,
        message: str = "",
        history: dict[str, list[float]] | None = None,
    ) -> "CandidateResult":
        """Return the result for log-likelihoods of rows; NaN marks rows that were not scored."""
        there = ~np.isnan(log_prob)
        scores = log_prob[there], None if row_weight is None else row_weight[there]
        return cls(
            name, *mean_and_error(*scores), weight, seconds, message, history, median(*scores)
        )

    def shifted(self, offset: float) -> "CandidateResult":
        """Return the result in units in which every row has ``offset`` more nats."""
        history = self.history and {
            name: [value - offset for value in values] for name, values in self.history.items()
        }
        return replace(self, mean=self.mean + offset, median=self.median + offset, history=history)

    def _check(self):
        numbers = (self.mean, self.error, self.median, self.weight, self.seconds)
        require(
            isinstance(self.name, str)
            and all(isinstance(one, (float, NoneType)) for one in numbers)
            and None not in numbers[:3],
            "expected a name and numbers, got others",
        )


class CandidateTable(list[CandidateResult]):
    """A list of results that prints as a table, in notebooks too.

    Parameters
    ----------
    results : iterable of CandidateResult
    title : str
        What the scores are.
    """

    _columns = (("mean", 10), ("std. error", 10), ("median", 10), ("weight", 7), ("seconds", 8))

    def __init__(
        self, results: Iterable[CandidateResult] = (), title: str = "held-out nats per row"
    ) -> None:
        super().__init__(results)
        self.title = title

    def _cells(self) -> list[tuple[str, ...]]:
        """Return the text of the header and of each row."""
        rows = [(self.title, *(name for name, _ in self._columns))]
        for one in self:
            rows.append(
                (
                    one.name,
                    nats(one.mean),
                    "-" if np.isnan(one.error) else nats(one.error),
                    nats(one.median),
                    "" if one.weight is None else f"{one.weight:.3f}",
                    "" if one.seconds is None else f"{one.seconds:.1f}",
                )
            )
        return rows

    def __repr__(self) -> str:
        rows = self._cells()
        first = max(24, *(len(row[0]) for row in rows))
        widths = [first, *(width for _, width in self._columns)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        tags = ["th"] + ["td"] * len(self)
        rows = (
            "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(tags, self._cells())
        )
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def nats(value: float) -> str:
    """Format a log-likelihood in ten characters, even one with hundreds of digits."""
    return f"{value:.3f}" if abs(value) < 1e5 else f"{value:.3g}"


# The whole fit ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OutOfFoldScores:
    """Log-likelihoods of rows under densities that were not fitted to them.

    Each row is scored by the candidates that were fitted without it and without its copies
    (:func:`~nfref.tables.fitting.folds.point_mass_rows` excepted), with the weights of the pool.
    Early stopping and the weights used the same rows.

    Attributes
    ----------
    places : (M,) array
        Rows of the table that was fitted to: all of them if they were held out in turn.
    log_prob : (M,) array
        Nats, in the units of the table.
    """

    places: Array
    log_prob: Array

    def of_rows(self, group: Array, whole: Array, used: Array) -> "OutOfFoldScores":
        """Return the scores of the rows of a larger table.

        ``used`` (N,) marks rows that were fitted to, ``group`` (U,) is the scored row that each of
        them equals, and only rows that are ``whole`` (U,) keep a score.
        """
        scores = np.full(np.max(group) + 1, np.nan)
        scores[self.places] = self.log_prob
        found = scores[group]
        kept = whole & ~np.isnan(found)
        return OutOfFoldScores(np.flatnonzero(used)[kept], found[kept])


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Attributes
    ----------
    density : TableDensity
    tried : list of CandidateResult
        Every candidate, and the pool last, in nats per row of the table.
    rows : float
        The effective number of rows, (sum w)^2 / sum w^2.
    distinct, held_out : int
        Distinct rows, and how many of them were held out; 0 if rows or copies were held out in
        turn.
    unseen : OutOfFoldScores
        Of rows without empty cells.
    """

    density: TableDensity
    tried: list[CandidateResult]
    rows: float
    distinct: int
    held_out: int
    unseen: OutOfFoldScores


# While it is made ------------------------------------------------------------------------

Say = Callable[[str], object]


class Progress:
    """The progress of a fit on standard error.

    Parameters
    ----------
    say : callable
        Prints a line that stays, such as that of a finished candidate.
    shown : bool
        Whether to show the line that is rewritten. Without a terminal it is never shown.
    """

    def __init__(self, say: Say = lambda line: None, shown: bool = False) -> None:
        self._say, self._shown = say, shown
        self._bar: Any = None
        self.offset = 0.0  # nats a row from the units of a fit to those of the table

    @classmethod
    def on_stderr(cls, shown: bool) -> "Progress":
        """Return a progress that shows all on standard error, or nothing."""
        return cls(lambda line: print(line, file=sys.stderr), shown=True) if shown else cls()

    def stage(self, text: str) -> None:
        """Show what is being done."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(bar_format="{desc}", disable=None, leave=False, dynamic_ncols=True)
        self._bar.set_description_str(text, refresh=False)
        self._bar.update()

    def epoch(self, name: str, fold: int, folds: int, state: Any, spent: float) -> None:
        """Show the state of a training after an epoch; ``spent`` are the seconds of the search."""
        if not self._shown:
            return
        where = f"fold {fold + 1} of {folds}   " if folds > 1 else ""
        best = self.offset - state.best_score
        self.stage(f"{name}   {where}epoch {state.epoch}   best {best:.2f}   {clock(spent)}")

    def candidate(self, name: str, mean: float, message: str) -> None:
        """Print the line of a candidate whose trainings have ended; ``mean`` is held out."""
        self.say(f"{name}: {mean + self.offset:.3f} nats a row held out; {message}")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.clear()
        self._say(line)

    def close(self) -> None:
        """Remove the line that is rewritten."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
