"""Delimited text: reading it whatever its delimiter, writing it with all digits."""

import csv
import io
import itertools

import numpy as np

from nfref.files import replacing
from nfref.tables.table import Table, TableError, named_columns, numbered_columns

# Reading ----------------------------------------------------------------------------------


def read_text(path):
    """The table in a .csv, .tsv or .txt file; its numbers may be NaN or infinite."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: expected UTF-8 text, got byte "
                         f"0x{error.object[error.start]:02x} at position {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        # (line, cells); the line of a row whose quotes span several is its last.
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: expected delimited text, "
                         f"got {error}") from None
    rows = _without_blank_lines(rows)
    if not rows:
        raise TableError(f"{path}: expected a table, got blank lines")
    first = rows[0][1]
    named = not all(_is_number(cell) for cell in first)
    columns = named_columns(path, first) if named else numbered_columns(len(first))
    rows = rows[1:] if named else rows
    if not rows:
        raise TableError(f"{path}: expected rows below the header, got none")
    for k, (line, cells) in enumerate(rows):
        if len(cells) != len(columns):
            raise TableError(f"{path}: row {k + 1} (line {line}): expected {len(columns)} "
                             f"columns, got {len(cells)}")
    try:
        values = np.array([[_number(cell) for cell in cells] for _, cells in rows])
    except ValueError:
        raise _bad_cell(path, columns, rows) from None
    return Table(values, columns, named)


def _delimiter(text):
    """Tab, semicolon or comma: the first that cuts all of the first lines into equally many.

    The order matters for 0,5;0,7 where a comma does as well; if none is even, because rows
    are ragged, it is the one that cuts the first line most often.
    """
    head = [line for line in itertools.islice(io.StringIO(text), 200) if line.strip()][:20]
    counts = {}
    for delimiter in "\t;,":
        try:
            counts[delimiter] = [len(cells) for cells in csv.reader(head, delimiter=delimiter)]
        except csv.Error:
            counts[delimiter] = [1]
    for delimiter, count in counts.items():
        if count and count[0] > 1 and len(set(count)) == 1:
            return delimiter
    return max(counts, key=lambda delimiter: (counts[delimiter][:1], delimiter == ","))


def _without_blank_lines(rows):
    """Rows without blank lines; in a table of one column an inner one is an empty cell."""
    filled = [k for k, (_, cells) in enumerate(rows) if cells]
    rows = rows[filled[0]:filled[-1] + 1] if filled else []
    if all(len(cells) <= 1 for _, cells in rows):
        return [(line, cells or [""]) for line, cells in rows]
    return [(line, cells) for line, cells in rows if cells]


def _number(cell):
    """The number in a cell; unlike ``float`` it doesn't read 12_34 as one."""
    if "_" in cell:
        raise ValueError
    return float(cell)


def _is_number(cell):
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _bad_cell(path, columns, rows):
    """The error for the first cell that is no number."""
    for k, (line, cells) in enumerate(rows):
        for column, cell in zip(columns, cells):
            if not _is_number(cell):
                came = repr(_short(cell)) if cell.strip() else "an empty cell"
                hint = (" (decimals are written with a point)"
                        if _is_number(cell.replace(",", ".")) else "")
                return TableError(f"{path}: row {k + 1} (line {line}), column {column!r}: "
                                  f"expected a number, got {came}{hint}")


def _short(text, length=40):
    return text if len(text) <= length else text[:length - 3] + "..."


# Writing ----------------------------------------------------------------------------------


def write_csv(target, table):
    """Write a table as comma-separated text, every number with all its digits.

    A file is written whole or not at all.

    Parameters
    ----------
    target : path-like or text file
        A text file, such as standard output, is written to and left open.
    table : Table
        Float32 values are written with the digits that float32 needs.
    """
    if hasattr(target, "write"):
        return _write_rows(target, table)
    with replacing(target) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        _write_rows(text, table)
        text.flush()
        text.detach()


def _write_rows(file, table):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    for start in range(0, len(table.values), 4096):
        # A float's repr is its shortest text that reads back as the same number; NumPy's
        # strings are that too, for each width of float.
        writer.writerows(table.values[start:start + 4096].astype(str).tolist())
