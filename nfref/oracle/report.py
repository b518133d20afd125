"""The result of a check: one row for each property, and the report that holds the rows.

There are three verdicts. A property passes, fails, or is inconclusive: it applies, but the
measurements do not decide it. A report is ok only if no row failed *and* none is inconclusive. So
"ok" says that every property was seen to hold, not merely that no fault was found.
"""

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Sequence

FORMAT, FORMAT_VERSION = "nfref oracle report", "1.3.0"
PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE = "pass", "fail", "inconclusive", "not applicable"
VERDICTS = (FAIL, INCONCLUSIVE, PASS, NOT_APPLICABLE)  # the worst first
OK, FAILED = "ok", "failed"
EXIT_STATUS = {OK: 0, FAILED: 1, INCONCLUSIVE: 3}
# Causes before symptoms: a hidden state makes derivatives wrong, too, and wrong derivatives
# give a wrong density. Other properties follow in the order in which they were judged.
CAUSES = (
    "answers structure input_unchanged parameters_unchanged repeatable answers_stay context_memory "
    "first_row first_batch row_independence batch_sizes memory_layout history threads shapes "
    "dtypes context_read answers_far finite precision stays_inside log_det orientation round_trip"
).split()
ALONE = ("empty_batch", "sample_empty")  # these faults cause no other; first lines name them last


class OracleError(AssertionError):
    """An error whose message is the table of the failures."""


@dataclass(frozen=True)
class Row:
    """The verdict on one property: "pass", "fail", "inconclusive" or "not applicable".

    :data:`nfref.oracle.FLOW_PROPERTIES` and the other tables of properties explain each name.
    """

    name: str  # such as "log_det_forward"
    verdict: str
    why: str = ""  # the reason for the tolerance, or for a verdict without one
    where: str = ""  # the offending row: its input, the answer and the expected answer
    error: float | None = None  # the worst one measured
    tolerance: float | None = None  # the largest error allowed there
    hint: str = ""  # the likely mistake, if the errors show it

    @property
    def stem(self) -> str:
        """The name without a direction."""
        return without_direction(self.name)

    @property
    def cause(self) -> int:
        """The index of the property in CAUSES, or their number; one more for those ALONE."""
        if self.stem in CAUSES:
            return CAUSES.index(self.stem)
        return len(CAUSES) + (self.name.startswith(ALONE))

    @property
    def failed(self) -> bool:
        """True when the verdict is "fail"."""
        return self.verdict == FAIL

    @property
    def inconclusive(self) -> bool:
        """True when the verdict is "inconclusive"."""
        return self.verdict == INCONCLUSIVE

    def __str__(self) -> str:
        numbers = f"{_number(self.error):>10}{_number(self.tolerance):>11}"
        lines = [f"{self.name:<26}{self.verdict:<16}{numbers}  {self.why}"]
        if self.verdict in (FAIL, INCONCLUSIVE):
            lines += [f"{'':<26}{text}" for text in (self.where, self.hint) if text]
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """All rows of one check, in the order in which they were made. It prints as a table."""

    subject: str  # the thing that was checked
    rows: tuple
    skipped: tuple = ()  # names of properties that the caller left out
    note: str = ""  # a line of the adapter about what it changed

    @property
    def verdict(self) -> str:
        """The verdict: "failed" if a row failed, else "inconclusive" if a row is, else "ok"."""
        if self.failures:
            return FAILED
        return INCONCLUSIVE if self.undecided else OK

    @property
    def ok(self) -> bool:
        """True when every property that applies was judged and passed."""
        return self.verdict == OK

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that failed, as a tuple; causes before symptoms."""
        return tuple(sorted((row for row in self.rows if row.failed), key=lambda row: row.cause))

    @property
    def lead(self) -> Row | None:
        """The failure that the first line explains: the first in the order of causes."""
        return next(iter(self.failures), None)

    @property
    def undecided(self) -> tuple[Row, ...]:
        """The rows that are inconclusive, as a tuple."""
        return tuple(row for row in self.rows if row.inconclusive)

    @property
    def summary(self) -> str:
        """One line: the verdict, the subject, and the reason."""
        if self.lead is not None:
            words = self.lead.hint or self.lead.where
            why = ", ".join(row.name for row in self.failures) + " failed"
            why += f"; {self.lead.name}: {words}" * bool(words)
        elif self.undecided:
            why = "not judged: " + "; ".join(f"{row.name} ({row.why})" for row in self.undecided)
        else:
            why = f"{sum(row.verdict == PASS for row in self.rows)} properties judged, all pass"
        skipped = f"; skipped: {', '.join(self.skipped)}" if self.skipped else ""
        return f"{self.verdict}: {self.subject}: {why}{skipped}"

    @property
    def heading(self) -> str:
        """The summary and, if there is one, the note under it."""
        return f"{self.summary}\n{self.note}" if self.note else self.summary

    def __getitem__(self, name: str) -> Row:
        return {row.name: row for row in self.rows}[name]

    @property
    def counts(self) -> str:
        """One line: how many properties have each verdict."""
        count = Counter(row.verdict for row in self.rows)
        order = (PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE)
        return ", ".join(f"{count[verdict]} {verdict}" for verdict in order if count[verdict])

    def __str__(self) -> str:
        head = f"{'property':<26}{'verdict':<16}{'error':>10}{'tolerance':>11}  why"
        return "\n".join([self.heading, head, *map(str, self.rows), self.counts])

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data.

        Its schema is ``nfref/oracle/oracle_report.schema.json``. Numbers that JSON does not know
        (nan and infinities) become null.
        """
        from nfref import __version__

        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "nfref": __version__,
            "subject": self.subject,
            "verdict": self.verdict,
            "summary": self.summary,
            "skipped": list(self.skipped),
            "note": self.note,
            "rows": [
                {**asdict(row), "error": _finite(row.error), "tolerance": _finite(row.tolerance)}
                for row in self.rows
            ],
        }

    def raise_if_failed(self) -> None:
        """Raise an :class:`OracleError` with the table of the failures, if a property failed."""
        self._raise(self.failures)

    def raise_unless_ok(self) -> None:
        """Raise an error if a property failed or is inconclusive."""
        self._raise(self.failures + self.undecided)

    def _raise(self, rows):
        if rows:
            raise OracleError("\n".join([self.summary, *map(str, rows)]))


def without_direction(name: str) -> str:
    """Return the part of a property's name that both directions have in common."""
    return re.sub("_(forward|inverse|z|x)$", "", name)


def _finite(value):
    return float(value) if value is not None and math.isfinite(value) else None


def _number(value):
    return "" if value is None else f"{value:.1e}"


def passed(name: str, why: str, error: float | None = None, tolerance: float | None = None) -> Row:
    """Return the row of a property that passed."""
    return Row(name, PASS, why, "", error, tolerance)


def failed(name: str, why: str, *more: Any) -> Row:
    """Return the row of a property that failed; ``more`` are where, error and tolerance."""
    return Row(name, FAIL, why, *more)


def inconclusive(name: str, why: str, *more: Any) -> Row:
    """Return the row of a property that could not be decided."""
    return Row(name, INCONCLUSIVE, why, *more)


def not_applicable(name: str, why: str) -> Row:
    """Return the row of a property that does not apply."""
    return Row(name, NOT_APPLICABLE, why)


def held(name: str, why: str, where: str = "") -> Row:
    """Return a row that failed if ``where`` describes a fault, and passed otherwise."""
    return failed(name, why, where) if where else passed(name, why)


def judged(name: str, why: str, where: str, error: float, tolerance: float) -> Row:
    """Return a row that failed if the error exceeds the tolerance, and passed otherwise."""
    if error > tolerance:
        return failed(name, why, where, error, tolerance)
    return passed(name, why, error, tolerance)


def verdict(
    name: str, error: Array, tolerance: Array, why: str, describe: Callable[..., str]
) -> Row:
    """Return a row from (P,) or (P, K) errors; NaN is infinite, ``describe(p)`` the message."""
    error = np.where(np.isnan(error), np.inf, error)
    excess = error / np.maximum(tolerance, 1e-300)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if excess[worst] > 1:
        return failed(name, why, describe(worst[0]), float(error[worst]), float(tolerance[worst]))
    return passed(name, why, float(error[worst]), float(tolerance[worst]))


def show(row: Array | Sequence[float]) -> str:
    """Return a row of numbers as short text: six digits, at most six numbers."""
    numbers = [f"{value:.6g}" for value in list(row)[:6]]
    return "[" + ", ".join(numbers) + (", ..." if len(row) > 6 else "") + "]"
