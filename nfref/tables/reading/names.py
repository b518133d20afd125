"""Decide whether the first line of a text file holds names or numbers."""

import re

from nfref.runtime.annotations import Sequence
from nfref.tables.reading.table import is_number, quoted_names

# Texts that stand for a missing number.
MISSING = {"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing"}
_WHOLE = re.compile(r"\s*\d{1,9}\s*")
_INTEGER = re.compile(r"\s*[-+]?\d+\s*")
_SPOILT_NUMBER = re.compile(r"\s*[-+.]?\d")


def find_names(
    rows: Sequence[tuple[int, list[str]]], lines: Sequence[str], header: str = "auto"
) -> tuple[int, list[str] | None, str, bool]:
    """Find which of the first rows are not data, and the names of the columns.

    ``"yes"`` takes the first row as names, ``"no"`` as data. ``"auto"``:

    - cells that are not numbers are names; all numbers are data;
    - a row quoted throughout above one that is not quoted holds names, numbers or not: nfref and R
      write names in this way;
    - whole numbers that count up by one, or years, are what pandas writes above unnamed columns.
      They are names if some row below holds other than whole numbers, otherwise data;
    - whole numbers and words mixed are names; but fractions and words, or words that stand for a
      missing number, are data with a bad cell.

    The last two are guesses, and the remark says so. Lines that begin with # before all this are
    comments. The last of them holds the names if it fits the numbers below it, as numpy.savetxt
    writes them.

    Parameters
    ----------
    rows : sequence of (line, cells)
        The first records of the file, without blank lines.
    lines : sequence of str
        Its first lines, unchanged.
    header : {"auto", "yes", "no"}

    Returns
    -------
    skipped : int
        How many of the rows are comments or names.
    cells : list of str or None
        The names; None without names.
    remark : str
        The reading of the first line, in words; empty if that is plain.
    doubtful : bool
        True if it is a guess.
    """
    comments = 0
    while comments < len(rows) and _is_comment(rows[comments], _text_of(rows, comments, lines)):
        comments += 1
    if comments == len(rows):
        return comments, None, "", False
    if comments and header != "no":
        line, cells = rows[comments - 1]
        cells = [cells[0].lstrip().lstrip("#").lstrip(), *cells[1:]]
        if (
            len(cells) == len(rows[comments][1])
            and not any(map(is_number, cells))
            and any(map(is_number, rows[comments][1]))
        ):
            doubtful = header == "auto"
            return comments, cells, _as_names(line, cells, doubtful and "no"), doubtful
    line, cells = rows[comments]
    if header == "auto":
        names, doubtful = _are_names(
            cells,
            rows[comments + 1 :],
            _is_quoted(_text_of(rows, comments, lines), cells)
            and not _is_quoted("".join(lines[line : line + 1]), cells),
        )
    else:
        names, doubtful = header == "yes", False
    if names:
        remark = _as_names(line, cells, "no" if doubtful else None)
        return comments + 1, cells, remark, doubtful
    if not doubtful:
        return comments, None, "", False
    remark = f"line {line} looks like names and is taken as data: {quoted_names(cells)}"
    return comments, None, f"{remark}; --header yes takes it as names", True


def is_unmistakable(name: str) -> bool:
    """Return whether a name, unquoted in a first line, can only be a name."""
    return not is_number(name) and name.strip().lower() not in MISSING


def _are_names(cells, below, quoted):
    """Return (whether they are names, whether that is a guess)."""
    if quoted:
        return True, False
    filled = [cell for cell in cells if cell.strip()]
    numbers = [cell for cell in filled if is_number(cell)]
    words = [cell for cell in filled if not is_number(cell)]
    if not filled:
        return False, False
    if not numbers:
        return True, not all(map(is_unmistakable, words))
    if not words:
        if not _count_up(numbers):
            return False, False
        return any(
            is_number(cell) and not _INTEGER.fullmatch(cell) for _, row in below for cell in row
        ), True
    spoilt = not all(_WHOLE.fullmatch(cell) for cell in numbers) or any(
        not is_unmistakable(cell) or _SPOILT_NUMBER.match(cell) for cell in words
    )
    return not spoilt, not spoilt


def _count_up(cells):
    """Return whether cells count up by one, or are different years."""
    if not all(_WHOLE.fullmatch(cell) for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    years = all(1500 <= number <= 2100 for number in numbers)
    if len(numbers) == 1:
        return years or numbers[0] in (0, 1)
    return (
        years
        and len(set(numbers)) == len(numbers)
        or all(after == before + 1 for before, after in zip(numbers, numbers[1:]))
    )


def _text_of(rows, place, lines):
    """Return a record as it is in the file; it has several lines if names hold line breaks."""
    start = rows[place - 1][0] if place else 0
    return "".join(lines[start : rows[place][0]]).strip()


def _is_comment(row, text):
    return row[1][0].lstrip().startswith("#") and not text.startswith('"')


def _is_quoted(text, cells):
    """Return whether every cell of a record is in quotes."""
    text = text.strip()
    return text[:1] == '"' and text[-1:] == '"' and text.count('"') >= 2 * len(cells)


def _as_names(line, cells, otherwise):
    text = f"line {line} is taken as names: {quoted_names(cells)}"
    return text + (f"; --header {otherwise} takes it as data" if otherwise else "")
