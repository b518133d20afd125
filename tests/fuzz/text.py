"""Tables as text, in every dialect, whole and spoilt."""

import csv
import io

import numpy as np

from nfref.tables.reading import TableError
from nfref.tables.reading.read import read_quietly
from nfref.tables.reading.table import match_columns
from tests.fuzz.case import Case, refused, require

DIALECTS = {
    "delimiter": (",", ";", "\t"),
    "end": ("\n", "\r\n", "\r"),
    "form": ("{!r}", "{:.17g}", "{:.16e}", "{:.17G}", " {!r}", "{!r} ", "+{!r}"),
    "header": (
        "words",
        "none",
        "count",
        "count from 1",
        "years",
        "mixed",
        "quoted numbers",
        "savetxt",
        "comment and words",
        "comment alone",
    ),
    "damage": (
        "none",
        "none",
        "none",
        "bad cell",
        "bad first cell",
        "empty cell",
        "short row",
        "long row",
        "nan",
        "same names",
        "bytes",
        "utf-16",
        "zero bytes",
    ),
}
BAD = ("tall", "NA", "?", "1.2.3", "12_34", "1,5", "0x10", "--", "n/a", "1e", "TRUE", "2020-01-01")


def cases(rng, number):
    """Yield files of random numbers; reading gives these numbers, a warning or an error."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        what = {name: str(one.choice(choices)) for name, choices in DIALECTS.items()}
        yield Case(f"text: {what}", lambda folder, one=one, what=what: read(folder, one, **what))


def read(folder, rng, header, damage, delimiter, end, form):
    dim, rows = int(rng.integers(1, 6)), int(rng.integers(2, 12))
    values = rng.standard_normal((rows, dim)) * 10.0 ** rng.integers(-5, 6, (rows, dim))
    # A first line of whole numbers could be names; other tests check that.
    cells = [
        [
            form.format(abs(float(value)) if form[0] == "+" else float(value)).replace("++", "+")
            for value in row
        ]
        for row in values
    ]
    values = np.abs(values) if form[0] == "+" else values
    names = names_of(header, dim)
    damaged = spoil(cells, damage, rng)
    if damage == "same names" and dim > 1 and names and not names[1].isdigit():
        names[1], damaged = (
            names[0],
            header != "savetxt",
        )  # a repeated number in the first line makes it a row
    content = assemble(names, cells, header, delimiter, end, rng)
    if damage == "bytes":
        content = content[: len(content) // 2] + b"\xff" + content[len(content) // 2 :]
    elif damage == "utf-16":
        content = content.decode("utf-8-sig").encode("utf-16")
    elif damage == "zero bytes":
        content = content + b"\0" * 4
    path = folder / "t.csv"
    path.write_bytes(content)
    try:
        table = read_quietly(path)
    except TableError as error:
        require(str(error).startswith(str(path)), f"no name in {error}")
        require(damage not in ("none", "utf-16"), f"refused: {error}")
        return refused(error)
    require(
        not damaged and damage not in ("bytes", "zero bytes"),
        f"expected an error after {damage}, got {table.values.shape}",
    )
    if table.doubtful:
        require(table.remark.startswith(str(path)), "a doubt without its file")
        return "success"
    require(np.array_equal(table.values, values), "other numbers")
    if names and header not in ("comment alone", "savetxt"):
        require(table.columns == tuple(names), f"expected names {names}, got {table.columns}")
        require(
            np.array_equal(match_columns("t", table, table.columns[::-1]), values[:, ::-1]),
            "other columns",
        )
    return "success"


def names_of(header, dim):
    if header in ("none", "comment alone"):
        return None
    if header in ("count", "count from 1", "quoted numbers"):
        return [str(k + (header == "count from 1")) for k in range(dim)]
    if header == "years":
        return [str(2015 + k) for k in range(dim)]
    if header == "mixed":
        return ["id", *(str(2015 + k) for k in range(1, dim))]
    return [f"col {'abcde'[k]}" for k in range(dim)]


def spoil(cells, damage, rng):
    """Spoil a cell or a row; return whether that succeeded."""
    row = 0 if damage == "bad first cell" else int(rng.integers(len(cells)))
    column = int(rng.integers(len(cells[0])))
    if damage in ("bad cell", "bad first cell"):
        # A column of one word above numbers is a header, and nothing shows otherwise.
        if len(cells[0]) == 1 and row == 0:
            return False
        cells[row][column] = str(rng.choice(BAD))
    elif damage == "empty cell":
        if row == 0 or row == len(cells) - 1 and len(cells[0]) == 1:
            return False
        cells[row][column] = ""
    elif damage == "short row" and len(cells[0]) > 2 and row:
        del cells[row][column]
    elif damage == "long row" and row:
        cells[row].append("1.5")
    elif damage == "nan":
        cells[row][column] = "nan"
    else:
        return False
    return True


def assemble(names, cells, header, delimiter, end, rng):
    """The bytes of the file."""
    text = io.StringIO()
    if header.startswith("comment"):
        cut = delimiter if header == "comment alone" and rng.random() < 0.5 else " "
        text.write(f"# made by hand{cut} in 2020{end}")
    if names:
        quoting = (
            csv.QUOTE_ALL
            if header == "quoted numbers" or rng.random() < 0.3
            else (csv.QUOTE_MINIMAL)
        )
        if header == "savetxt":
            text.write("# ")
            quoting = csv.QUOTE_MINIMAL
        csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerow(names)
    blank = rng.random() < 0.2 and len(cells[0]) > 1
    for row in cells:
        csv.writer(text, delimiter=delimiter, lineterminator=end).writerow(row)
        if blank:
            text.write(end)
    content = text.getvalue()
    if rng.random() < 0.3:
        content = content.rstrip("\r\n")
    return (b"\xef\xbb\xbf" if rng.random() < 0.2 else b"") + content.encode()
