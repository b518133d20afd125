"""Read delimited text by the csv module of the standard library, some records at a time.

pandas reads a csv four times as fast, but it takes 0.3 s and 50 MB to import, is not always there,
and names neither the line of a bad cell nor a first line that may be names or numbers.
"""

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import re

import numpy as np

from nfref.runtime.annotations import Any, Iterator
from nfref.runtime.checks import plural, shortened
from nfref.tables.reading.table import (
    Choose,
    Table,
    TableError,
    as_number,
    batch_rows,
    coded,
    is_number,
    named_columns,
    numbered_columns,
    quoted_names,
)

HEAD = 200  # first lines and records, which decide delimiter, names and columns of text
CELLS = 1 << 15  # most cells that are text at one time
MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing"}
_LIKE_A_NUMBER = re.compile(r"[-+(]?\s*[^\w\s]?\s*\d")  # -1,5 or $ 3 or 2024-01-01
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")
_THOUSANDS = re.compile(r"\s*[-+]?[1-9]\d{0,2}(,\d{3})+\s*")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(\D.*)?|\d\d?([./])\d\d?\2\d\d.*|\d\d?:\d\d.*")
_OTHER_FORM = re.compile("[-+\N{MINUS SIGN}]?\\d[\\d.,'\\s]*")
_WITH_UNIT = re.compile(r"[$€£¥]\s*\d[\d.,]*|[-+]?\d[\d.,]*\s*[^\d\s.,:/_-]{1,9}")  # $ 3 or 12 kg
# Forms of cells that hold no number, what is wrong, and whether they mean a number.
FAULTS = (
    (_DATE, "write dates and times as numbers, such as days since the first", False),
    (_OTHER_FORM, "write -1234.5; or all with decimal commas where no comma delimits", True),
    (_WITH_UNIT, "numbers are written without a unit: remove it", False),
)


def text_tables(
    path: str, header: str, may_be_empty: bool, size: int | None, choose: Choose
) -> Iterator[Table]:
    """Yield the rows of a .csv, .tsv or .txt file as tables of ``size`` rows.

    The file is read once, some rows at a time, so it may be a pipe. Numbers may be NaN or infinite.
    ``header`` is "yes" if the first line holds names, "no" or "auto".
    """
    with _opened(path) as file:
        head = list(itertools.islice(file, HEAD))
        above = sum(1 for _ in itertools.takewhile(_is_above, head))
        head = head[above:]
        delimiter = _delimiter([line for line in head[:20] if line.strip()], ".txt" in path.lower())
        records = _records(path, itertools.chain(head, file), delimiter, above)
        opening = list(itertools.islice(records, HEAD))
        if not opening:
            raise TableError(f"{path}: expected a table, got an empty file or blank lines")
        number = _number_with_comma if _have_commas(delimiter, opening) else as_number
        named, doubtful, remark = header == "yes", False, ""
        if header == "auto":
            named, doubtful = _are_names(head, opening, delimiter, number)
        if named or doubtful:
            remark = _remark(*opening[0], named, doubtful)
        names = opening.pop(0)[1] if named else ()
        if not opening:
            raise TableError(f"{path}: expected rows below the header, got none")
        rows = enumerate(itertools.chain(opening, records), 1)
        columns = numbered_columns(len(opening[0][1]))
        if named:
            columns = named_columns(path, names)
        first = _by_column(path, columns, list(enumerate(opening, 1)), remark)
        kept, labels, tolerant = choose(columns, named, lambda name: _look_like_text(first[name]))
        padded = tuple(name for name in kept if _are_padded(first[name]))
        refused: dict[str, tuple[str, str, bool]] = {}

        def converted(block):
            """Return the columns that are kept of a block of rows, (M, D)."""
            values = np.empty((len(block), len(kept)))
            cells_of = _by_column(path, columns, block)
            for k, name in enumerate(kept):
                cells = cells_of[name]
                if name in labels:
                    values[:, k] = coded(cells, labels[name])
                    continue
                values[:, k], bad = _numbers(cells, number, may_be_empty)
                if bad is not None and name not in refused:
                    row, (line, _) = block[bad]
                    where, (fault, spoilt) = f"row {row} (line {line})", _fault(cells[bad].strip())
                    refused[name] = where, fault, spoilt
                    if not tolerant:
                        there = f"{path}: {where}, column {name!r}"
                        raise TableError(f"{there}: {fault}", name, cells[bad].strip() != "")
            return values

        size, step = size or batch_rows(len(kept)), max(1, CELLS // len(columns))
        while True:
            parts = (min(step, size - start) for start in range(0, size, step))
            blocks = (list(itertools.islice(rows, part)) for part in parts)
            if not (found := [converted(block) for block in blocks if block]):
                return
            texts = {name: list(places) for name, places in labels.items()}
            values = np.concatenate(found)
            said = remark and f"{path}: {remark}"
            yield Table(values, kept, named, said, doubtful, texts, (), padded, refused)


@contextlib.contextmanager
def _opened(path):
    """Yield the lines of a file in UTF-8, or in UTF-16 if its first bytes say so; also by gzip."""
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(open(path, "rb"))
        if file.peek(2)[:2] == b"\x1f\x8b":
            file = stack.enter_context(gzip.GzipFile(fileobj=file))
        wide = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        try:
            yield io.TextIOWrapper(file, "utf-16" if wide else "utf-8-sig", newline="")
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode("utf-8", "replace")[-20:]
            raise TableError(
                f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} after "
                f"{before!r} (iconv -f WINDOWS-1252 -t UTF-8 turns text of Windows into UTF-8)"
            ) from None


def _is_above(line):
    """Return whether a line is blank or a comment, as those above a table are."""
    return not line.strip() or line.lstrip().startswith("#")


def _delimiter(lines, spaces):
    """Return tab, semicolon, comma or bar: the first that splits all of the lines evenly.

    The order matters for 0,5;0,7, which a comma splits evenly too. If none is even, because rows
    are ragged, spaces are taken if they are allowed and even (as numpy.savetxt writes them),
    otherwise the delimiter that splits the first line most often.
    """
    counts = {}
    for delimiter in "\t;,|":
        try:
            counts[delimiter] = [len(cells) for cells in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:  # all names together are longer than a cell may be
            counts[delimiter] = [1]
    for delimiter, count in counts.items():  # one row of many lines: a quote that is never closed
        if len(set(count)) == 1 and count[0] > 1 and (len(count) > 1 or len(lines) == 1):
            return delimiter
    if spaces and len({len(line.split()) for line in lines} - {1}) == 1:
        return " "
    return max(counts, key=lambda delimiter: (counts[delimiter][:1], delimiter == ","))


def _records(path, lines, delimiter, above):
    """Yield (line, cells) of every record but blank ones; ``above`` lines come before them."""
    if delimiter == " ":  # any run of spaces
        lines = (" ".join(line.split()) + "\n" for line in lines)
    reader, line, gap = csv.reader(lines, delimiter=delimiter, strict=True), above, 0
    try:
        for cells in reader:
            line = above + reader.line_num
            if not cells or len(cells) == 1 and cells[0].isspace():
                gap = gap or line
            elif gap and len(cells) == 1:
                raise TableError(f"{path}: line {gap}: expected a cell, got a blank line")
            else:
                gap = 0
                yield line, cells
    except csv.Error as error:
        expected = "expected quotes that are closed where a cell ends"
        raise TableError(f"{path}: line {line + 1}: {expected}, got: {error}") from None


def _by_column(path, columns, rows, remark=""):
    """Return name -> cells of (row, (line, cells))."""
    for row, (line, cells) in rows:
        if len(cells) != len(columns):
            expected = f"expected {len(columns)} {plural('column', len(columns))}, got {len(cells)}"
            said = f"; {remark}" if remark and row == 1 else ""
            raise TableError(f"{path}: row {row} (line {line}): {expected}{said}")
    return dict(zip(columns, zip(*(cells for _, (_, cells) in rows))))


# Names ------------------------------------------------------------------------------------


def _are_names(head, opening, delimiter, number):
    """Return whether the cells of the first record are names, and whether that is a guess."""
    quotes = csv.reader(head, delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC)
    if _is_quoted(quotes) and not _is_quoted(quotes):  # as nfref and R write names
        return True, False
    cells = opening[0][1]
    filled = [cell.strip() for cell in cells if cell.strip()]
    words = [cell for cell in filled if not is_number(cell, number)]
    if len(words) == len(filled):
        return any(word.lower() not in MISSING for word in words), False
    if not all(cell.isdecimal() for cell in filled if cell not in words):
        return False, False
    if words:  # "year,2019" are names; "7,NA" and "7,1.2.3" are data
        plain = not any(word.lower() in MISSING or _LIKE_A_NUMBER.match(word) for word in words)
        return plain, plain
    # pandas writes 0, 1, ... above columns without names, and others write years.
    first = int(filled[0])
    if cells != [str(first + k) for k in range(len(cells))]:
        return False, False
    if len(cells) == 1 and first not in (0, 1, *range(1900, 2101)):
        return False, False
    return any("." in cell for _, row in opening[1:] for cell in row), True


def _is_quoted(quotes):
    """Return whether every cell of the next record is in quotes: the reader converts others."""
    try:
        return all(isinstance(cell, str) and cell for cell in next(quotes))
    except (ValueError, StopIteration, csv.Error):
        return False


def _remark(line, cells, named, doubtful):
    """Say how the first line is read, and how to change that if it is a guess."""
    taken, other, answer = ("names", "data", "no") if named else ("data", "names", "yes")
    change = f"; --header {answer} takes it as {other}" if doubtful else ""
    return f"line {line} is taken as {taken}: {quoted_names(cells)}{change}"


# Cells ------------------------------------------------------------------------------------


def _have_commas(delimiter, opening):
    """Return whether numbers have a decimal comma in a table that something else delimits.

    So it is if a comma can only be a decimal one, as in 0,5 but not in 1,234, and no number has a
    point.
    """
    cells = [cell for _, cells in opening for cell in cells]
    commas = filter(_DECIMAL_COMMA.fullmatch, cells)
    points = any("." in cell and is_number(cell) for cell in cells)
    return delimiter != "," and not points and not all(map(_THOUSANDS.fullmatch, commas))


def _number_with_comma(cell):
    """Convert a cell whose decimals follow a comma."""
    return as_number(cell.replace(",", ".") if "." not in cell else "")


def _numbers(cells, number, may_be_empty):
    """Return (numbers (N,), NaN for a cell that holds none; the place of the first bad cell)."""
    values, bad = [], None
    for place, cell in enumerate(cells):
        try:
            values.append(number(cell))
        except ValueError:
            values.append(np.nan)
            if bad is None and not (may_be_empty and cell.strip().lower() in MISSING):
                bad = place
    return values, bad


def _fault(cell):
    """Say what is wrong with a cell that holds no number; True if it means one."""
    came = f"expected a number, got {shortened(cell, 40) if cell else 'an empty cell'}"
    for form, words, spoilt in FAULTS:
        if form.fullmatch(cell):
            return f"{came} ({words})", spoilt
    return came, False


def _filled(cells):
    return [cell.strip() for cell in cells if cell.strip().lower() not in MISSING]


def _look_like_text(cells):
    """Return whether some cell of a column is filled, and none begins like a number."""
    filled = _filled(cells)
    return filled != [] and not any(
        is_number(cell) or _LIKE_A_NUMBER.match(cell) for cell in filled
    )


def _are_padded(cells):
    """Return whether cells are digits of one length with a zero in front, as codes have: 00501."""
    filled = _filled(cells)
    even = all(map(str.isdecimal, filled)) and len(set(map(len, filled))) == 1
    return even and any(cell[0] == "0" != cell for cell in filled)
