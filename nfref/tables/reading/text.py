"""Read delimited text, whatever its delimiter."""

import csv
import itertools
import re

import numpy as np

from nfref.runtime.annotations import Any, Array, Iterator
from nfref.runtime.checks import plural
from nfref.tables.reading.encoding import opened
from nfref.tables.reading.names import MISSING, find_names
from nfref.tables.reading.table import (
    DATES_AS_NUMBERS,
    Keep,
    Table,
    TableError,
    Texts,
    is_number,
    named_columns,
    numbered_columns,
)

HEAD = 200  # lines that decide delimiter and names
_LIKE_A_NUMBER = re.compile(r"\s*[-+(]?\s*[^\w\s]?\s*\d")  # -1,5 or $ 3 or 2024-01-01
_DIGITS = re.compile(r"[-+]?\d+")
_PADDED = re.compile(r"0\d+")
_AMOUNT = r"[-+]?\d+([.,]\d+)*"
_WITH_UNIT = re.compile(rf"[$€£¥]\s*{_AMOUNT}|{_AMOUNT}\s*[^\d\s.,:/_-]{{1,9}}")  # $ 3 or 12 kg
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(\D.*)?|\d\d?([./])\d\d?\2\d\d.*|\d\d?:\d\d.*")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}([,.'\s]\d{3})+([,.]\d*)?")
_MINUS = "\N{MINUS SIGN}"  # as typeset tables have it
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")
_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?\s*', re.I)  # as Excel writes it above a table
BLOCK_CELLS = 1 << 16  # most cells that are text at one time
MOST_BLANK = 100_000  # most blank lines in a row


def are_whole(values: Array) -> Array:
    """Return which columns hold only whole numbers and NaN, (D,)."""
    return np.all((values == np.round(values)) | np.isnan(values), axis=0)


def text_tables(
    path: str, header: str, texts: Texts, may_be_empty: bool, keep: Keep | None
) -> Iterator[Table]:
    """Yield the rows of a .csv, .tsv or .txt file as tables; numbers may be NaN or infinite.

    The file is read once, some rows at a time, so it may be a pipe.

    Parameters
    ----------
    path : str
    header : {"auto", "yes", "no"}
        "yes" if the first line holds names; see :func:`nfref.tables.reading.names.find_names`.
    texts : sequence of str, or callable
        Names of columns whose cells are text, or ``texts(columns, named)`` that gives them. ``...``
        stands for columns in whose first rows no cell begins like a number.
    may_be_empty : bool
        Accept empty cells. Among numbers, words such as NA count as empty.
    keep : callable or None
        ``keep(columns, named)`` returns the names of the columns to read; all if None.
    """
    with opened(path) as lines:
        yield from _tables(path, lines, header, texts, may_be_empty, keep)


def _tables(path, file, header, texts, may_be_empty, keep):
    head = list(itertools.islice(file, HEAD))
    said = _SEPARATOR.fullmatch(head[0]) if head else None
    if said:
        head[0], delimiter = "\n", said[1]
    else:
        delimiter = _delimiter(head, path.lower().endswith((".txt", ".txt.gz")))
    lines = itertools.chain(head, file)
    if delimiter == " ":  # any run of spaces
        lines = (" ".join(line.split()) + "\n" for line in lines)
    rows = _filled(path, _records(path, lines, delimiter))
    opening = list(itertools.islice(rows, HEAD))
    if not opening:
        raise TableError(f"{path}: expected a table, got blank lines")
    commas = delimiter != "," and _have_decimal_commas(opening)
    readable = [(line, _with_points(cells)) for line, cells in opening] if commas else opening
    skipped, cells, remark, doubtful = find_names(readable, head, header)
    rows = itertools.chain(opening[skipped:], rows)
    columns = numbered_columns(len(opening[skipped][1]) if skipped < len(opening) else 0)
    if cells is not None:
        columns = named_columns(path, cells)
        for line, row in opening[skipped : skipped + 1]:
            _check_length(path, row, columns, 0, line, f"; {remark}")
    named = cells is not None
    if not named and delimiter == ",":
        remark = "; ".join(filter(None, [remark, _about_commas([row for _, row in opening])]))
    kept = columns if keep is None else tuple(keep(columns, named))
    if kept != columns:
        rows, columns = _picked(path, rows, columns, kept), kept
    if callable(texts):
        texts = texts(columns, named)
    opening = list(itertools.islice(rows, HEAD))
    rows = itertools.chain(opening, rows)
    refused: dict[str, tuple[str, str, bool]] | None = None
    if ... in texts:
        refused = {}
        whole_rows = [row for _, row in opening if len(row) == len(columns)]
        cells_of = {name: [row[k] for row in whole_rows] for k, name in enumerate(columns)}
        texts = [name for name in columns if name in texts or _look_like_text(cells_of[name])]
    padded = tuple(name for k, name in enumerate(columns) if _are_padded(opening, k))
    labels: dict[str, list[str]] = {name: [] for name in columns if name in texts}
    if labels:
        rows = _coded(rows, columns, labels)
    remark = remark and f"{path}: {remark}"
    for values in _numbers(path, rows, columns, may_be_empty, commas, refused):
        whole = (name for name, here in zip(columns, are_whole(values)) if here)
        names = tuple(name for name in whole if name not in labels)
        yield Table(values, columns, named, remark, doubtful, labels, names, padded, refused or {})


def _about_commas(rows):
    """Warn of a table without names whose commas may be decimal commas."""
    width = len(rows[0])
    cells = [cell for row in rows for cell in (row if width == 2 else row[1:])]
    of_digits = width > 1 and all(map(_DIGITS.fullmatch, cells))
    if of_digits and (width == 2 or all(len(cell) == 3 for cell in cells)):
        return (
            f"digits and commas alone are read as {width} columns of whole numbers; decimals "
            "are written with a point, thousands without commas"
        )
    return ""


def _have_decimal_commas(rows):
    """Return whether numbers have a decimal comma in a table that something else delimits.

    So it is if a comma can only be a decimal one, as in 0,5 but not in 1,234, and no number has a
    point.
    """
    cells = [cell for _, row in rows for cell in row]
    commas = [cell.strip() for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    points = any("." in cell and is_number(cell) for cell in cells)
    return not points and not all(map(_THOUSANDS.fullmatch, commas))


def _with_points(cells):
    """Return the cells with a decimal point in place of a decimal comma."""
    return [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]


def _picked(path, rows, columns, kept):
    """Return the cells of some columns."""
    places = [columns.index(name) for name in kept]
    for k, (line, cells) in enumerate(rows):
        _check_length(path, cells, columns, k, line)
        yield line, [cells[place] for place in places]


def _look_like_text(cells):
    """Return whether some cell of a column is not empty, and none begins like a number."""
    filled = _filled_cells(cells)
    return bool(filled) and not any(
        is_number(cell) or _LIKE_A_NUMBER.match(cell) for cell in filled
    )


def _filled_cells(cells):
    """Return the cells, without blanks around them, that are neither empty nor a word for it."""
    return [cell.strip() for cell in cells if cell.strip() and cell.strip().lower() not in MISSING]


def _are_padded(rows, k):
    """Return whether the numbers of a column have one length, and a zero in front makes it so."""
    cells = [cells[k] for _, cells in rows if k < len(cells)]
    filled = _filled_cells(cells)
    return (
        all(map(_DIGITS.fullmatch, filled))
        and len(set(map(len, filled))) == 1
        and any(map(_PADDED.fullmatch, filled))
    )


def _check_length(path, cells, columns, k, line, remark=""):
    if len(cells) != len(columns):
        expected = f"{len(columns)} {plural('column', len(columns))}"
        where = f"row {k + 1} ({_lines(line, cells)})"
        raise TableError(f"{path}: {where}: expected {expected}, got {len(cells)}{remark}")


def _lines(line, cells):
    """Say where a row is that ends in this line; a quote may have opened in an earlier one."""
    breaks = sum(cell.count("\n") for cell in cells)
    return f"line {line}" + (f", from a quote in line {line - breaks}" if breaks else "")


def _coded(rows, columns, labels):
    """Return the rows with text replaced by its place in ``labels``, which grow.

    Blank cells stay.
    """
    places: dict[int, tuple[list[str], dict[str, Any]]] = {
        columns.index(name): (texts, {}) for name, texts in labels.items()
    }
    for line, cells in rows:
        if len(cells) == len(columns):
            cells = list(cells)
            for k, (texts, known) in places.items():
                text = cells[k].strip()
                if text not in known and text:
                    known[text] = str(len(texts))
                    texts.append(text)
                cells[k] = known.get(text, "")
        yield line, cells


def _records(path, lines, delimiter):
    """Yield (line, cells) of every record; if quotes span lines, the last line counts."""
    ended = False

    def every():
        nonlocal ended
        yield from _well_quoted(path, lines, delimiter)
        ended = True

    reader = csv.reader(every(), delimiter=delimiter)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num == start:
                raise TableError(
                    f"{path}: line {start}: expected delimited text, got {error}"
                ) from None
            ended = True
        if ended:  # the reader looks for more lines only within quotes
            raise TableError(f"{path}: line {start}: a quote is never closed")
        yield reader.line_num, cells


def _well_quoted(path, lines, delimiter):
    """Yield the lines; refuse a quoted number that continues: the reader would read "1"2 as 12."""
    bad = re.compile(rf'(?:^|{re.escape(delimiter)})\s*("[-+.\d]+"[^"\s{re.escape(delimiter)}]*)')
    for number, line in enumerate(lines, 1):
        if '"' in line:
            for cell in bad.findall(line):
                if not cell.endswith('"'):
                    raise TableError(
                        f"{path}: line {number}: expected a delimiter after a quoted "
                        f"number, got {_short(cell)!r}"
                    )
        yield line


def _filled(path, records):
    """Yield records without blank lines; in a table of one column an inner one is an empty cell."""
    blank: list[tuple[int, list[str]]] = []
    started = False
    for line, cells in records:
        if not cells or len(cells) == 1 and not cells[0].strip():
            if len(blank) == MOST_BLANK:
                raise TableError(
                    f"{path}: expected a table, got {MOST_BLANK:,} blank lines one "
                    f"after the other, up to line {line}"
                )
            blank.append((line, [""]))
            continue
        if started and len(cells) == 1:
            yield from blank
        blank, started = [], True
        yield line, cells


def _delimiter(head, spaces=False):
    """Return tab, semicolon, comma or bar: the first that splits all of the first lines evenly.

    The order matters for 0,5;0,7, which a comma splits evenly too. If none is even, because rows
    are ragged, spaces are taken if they are allowed and even (as numpy.savetxt writes them),
    otherwise the delimiter that splits the first line most often. Comments do not count.
    """
    lines = [line for line in head if line.strip() and not line.lstrip().startswith("#")]
    counts = {}
    for delimiter in "\t;,|":
        try:
            counts[delimiter] = [
                len(cells) for cells in csv.reader(lines[:20], delimiter=delimiter)
            ]
        except csv.Error:
            counts[delimiter] = [1]
    for delimiter, count in counts.items():  # one row of many lines: a quote that is never closed
        if count and count[0] > 1 and len(set(count)) == 1 and (len(count) > 1 or len(lines) == 1):
            return delimiter
    if spaces and len({len(line.split()) for line in lines[:20]} - {1}) == 1:
        return " "
    return max(counts, key=lambda delimiter: (counts[delimiter][:1], delimiter == ","))


def _numbers(path, rows, columns, may_be_empty, commas, refused):
    """Yield the rows as (M, D) arrays, converted block by block.

    With ``commas`` numbers have a decimal comma, and a point in one is an error. The first bad cell
    of each column goes into ``refused``, and all of them count as empty; without it one raises.
    """
    size = max(1, BLOCK_CELLS // max(1, len(columns)))
    first = 0
    while block := list(itertools.islice(rows, size)):
        for k, (line, cells) in enumerate(block):
            _check_length(path, cells, columns, first + k, line)
        if may_be_empty:
            block = [(line, [_or_nan(cell) for cell in cells]) for line, cells in block]
        try:
            texts = ("".join(cells) for _, cells in block)
            if any("_" in text or commas and "." in text for text in texts):
                raise ValueError
            rows_of_cells = (_with_points(cells) if commas else cells for _, cells in block)
            cells = itertools.chain.from_iterable(rows_of_cells)
            flat = np.fromiter(map(float, cells), np.float64, len(block) * len(columns))
        except ValueError:
            flat = np.full((len(block), len(columns)), np.nan)
            for place, cell, where in _cells(block, first):
                column = columns[place[1]]
                if _is_readable(cell, commas):
                    flat[place] = float(_with_points([cell])[0] if commas else cell)
                elif refused is None:
                    words = f"{path}: {where}, column {column!r}: {_complaint(cell, commas)[0]}"
                    raise TableError(words, column, bool(cell.strip())) from None
                elif column not in refused:
                    refused[column] = (where, *_complaint(cell, commas))
        first += len(block)
        del block, texts, rows_of_cells, cells  # text takes much memory, and the next block as much
        yield flat.reshape(-1, len(columns))
    if not first:
        raise TableError(f"{path}: expected rows below the header, got none")


def _or_nan(cell):
    """Return the cell, or "nan" for an empty one or a word for it."""
    word = cell.strip().lower()
    return "nan" if not word or word in MISSING else cell


def _is_readable(cell, commas):
    """Return whether a cell is a number; with ``commas`` one without a point."""
    if commas and _DECIMAL_COMMA.fullmatch(cell):
        return True
    return is_number(cell) and not (commas and "." in cell)


def _cells(rows, first):
    """Yield (place, cell, where) of each cell, after ``first`` other rows."""
    for k, (line, cells) in enumerate(rows):
        where = f"row {first + k + 1} ({_lines(line, cells)})"
        for column, cell in enumerate(cells):
            yield (k, column), cell, where


def _complaint(cell, commas):
    """Say what is wrong with a cell that is not a number, and whether it is a spoilt number."""
    came = repr(_short(cell)) if cell.strip() else "an empty cell"
    hint = kind = ""
    if _THOUSANDS.fullmatch(cell.strip()):
        thousands = "thousands are not set apart by commas, points or blanks"
        hint = f" ({thousands}; {_decimals(commas)})"
    elif is_number(cell.replace(",", ".")):
        hint = f" ({_decimals(commas)})"
    elif is_number(cell.replace(_MINUS, "-")):
        hint = " (a minus sign is written as a hyphen)"
    elif _DATE.fullmatch(cell.strip()):
        kind = f" ({DATES_AS_NUMBERS})"
    elif _WITH_UNIT.fullmatch(cell.strip()):
        kind = " (numbers are written without a unit: remove it)"
    return f"expected a number, got {came}{hint}{kind}", bool(hint)


def _decimals(commas):
    if commas:
        return "decimals are written with a comma here, as in the first rows"
    return (
        "decimals are written with a point; with a comma if semicolons or tabs delimit, and the "
        f"first {HEAD} rows leave no doubt"
    )


def _short(text, length=40):
    return text if len(text) <= length else text[: length - 3] + "..."
