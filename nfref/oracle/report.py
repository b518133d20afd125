"""What a check gives back: one row a property, and the report that holds them."""

from dataclasses import dataclass

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "not applicable"


class OracleError(AssertionError):
    """Raised by :meth:`Report.raise_if_failed`; its message is the table of the failures."""


@dataclass(frozen=True)
class Row:
    """The verdict on one property.

    Attributes
    ----------
    name : str
        The property, for instance ``"log_det_forward"``; :data:`nfref.oracle.FLOW_PROPERTIES`
        and its like say what each one means.
    verdict : {"pass", "fail", "not applicable"}
    error : float or None
        The worst error measured (the one largest relative to its tolerance).
    tolerance : float or None
        What was allowed there.
    why : str
        Why that tolerance; or why the property failed or does not apply.
    where : str
        The offending row: its input, what came and what was expected.
    """

    name: str
    verdict: str
    error: float = None
    tolerance: float = None
    why: str = ""
    where: str = ""

    @property
    def failed(self):
        return self.verdict == FAIL

    def __str__(self):
        lines = [f"{self.name:<26}{self.verdict:<16}{_number(self.error):>10}"
                 f"{_number(self.tolerance):>11}  {self.why}"]
        if self.where and self.verdict == FAIL:
            lines.append(f"{'':<26}{self.where}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """All rows of one check, in the order they were made. Prints as a table.

    Attributes
    ----------
    subject : str
        What was checked.
    rows : tuple of Row
    """

    subject: str
    rows: tuple

    @property
    def ok(self):
        """True when no property failed."""
        return not self.failures

    @property
    def failures(self):
        """The rows that failed, as a tuple."""
        return tuple(row for row in self.rows if row.failed)

    def __getitem__(self, name):
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self):
        counts = {verdict: sum(row.verdict == verdict for row in self.rows)
                  for verdict in (PASS, FAIL, NOT_APPLICABLE)}
        head = f"{'property':<26}{'verdict':<16}{'error':>10}{'tolerance':>11}  why"
        foot = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return "\n".join([self.subject, head, *map(str, self.rows), foot])

    def raise_if_failed(self):
        """Do nothing when ``ok``; otherwise raise with the table of the failures.

        Raises
        ------
        OracleError
            An AssertionError, so that test runners count it as a failed test.
        """
        if not self.ok:
            raise OracleError("\n".join([f"{self.subject}: {len(self.failures)} properties failed",
                                         *map(str, self.failures)]))


def _number(value):
    return "" if value is None else f"{value:.1e}"


def passed(name, why, error=None, tolerance=None):
    return Row(name, PASS, error, tolerance, why)


def failed(name, why, where="", error=None, tolerance=None):
    return Row(name, FAIL, error, tolerance, why, where)


def not_applicable(name, why):
    return Row(name, NOT_APPLICABLE, why=why)


def show(row):
    """A row of numbers, short: six digits, and at most six of them."""
    numbers = [f"{value:.6g}" for value in list(row)[:6]]
    return "[" + ", ".join(numbers) + (", ..." if len(row) > 6 else "") + "]"
