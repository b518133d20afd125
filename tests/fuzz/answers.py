"""Questions to the density of a table: predict, quantile, impute, sample, score.

Its columns are of every kind, labels are awkward texts, and questions and given values are good,
odd and absurd.
"""

import csv
import io

import numpy as np

from tests.fuzz.case import command, command_lines, contents, require
from tests.fuzz.options import values_of

LABELS = ("red", "it's", "light blue", "3", "é")
NAMES = ("size", "share", "kids", "kind", "angle of it")
TABLES = (
    "t.csv",
    "t.csv",
    "t.csv",
    "gaps.csv",
    "gaps.csv",
    "unseen.csv",
    "absent.csv",
    "words.csv",
    "outside.csv",
    "more.csv",
    "header.csv",
    "hollow.csv",
    "t.parquet",
    "old.txt",
    "table.npz",
    ".",
    "",
    "missing.csv",
    "wine",
    "two-moons",
)
COLUMNS = (*NAMES, *NAMES, "Size", "", "z", "w", "1", "kind ")
VALUES = (
    "1",
    "0.5",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "",
    " ",
    "red",
    "RED",
    "it's",
    "pink",
    "3",
    "3.0",
    "1_0",
    "2.5",
    "1e300",
    "0x2",
    "é",
)
MODELS = ("table.npz", "table.npz", "table.npz", "given.npz", "given.npz", "flow.npz", "t.csv", "")
TAKES = {
    "predict": ("--column", "--interval", "--header", "--out"),
    "quantile": ("--column", "--given", "--given", "--levels"),
    "impute": ("--header", "--seed", "--out"),
    "sample": ("-n", "--given", "--given", "--seed", "--out"),
    "score": ("--header", "--errors", "--out"),
}
POOLS = {
    "--column": COLUMNS,
    "--interval": ("0.5", "0.99", "0", "1", "nan", "x", "1e-12"),
    "--levels": ("0.5", "0.1,0.9", "0.9,0.1", "0.5,0.5", "0", "1", "nan", ",", "", "0.5,x", "1e-9"),
    "--header": ("auto", "yes", "no", "maybe"),
    "--seed": ("1", "-1", "x", "9" * 30),
    "-n": ("0", "1", "2", "-1", "x", "1.5"),
    "--out": (
        "new.csv",
        "new.parquet",
        "new.html",
        "old.txt",
        "t.csv",
        "table.npz",
        ".",
        "no/new.csv",
        "",
        "n" * 300,
    ),
}


def cases(rng, number):
    """Questions of one command with some options, each from its pool."""
    return command_lines("answers", line, run, rng, number, repr)


def line(rng):
    def one_of(pool):
        return str(pool[rng.integers(len(pool))])

    name = one_of(tuple(TAKES))
    arguments = [name, one_of(MODELS)]
    if name in ("predict", "impute", "score"):
        arguments.append(one_of(TABLES))
    given = {
        "predict": ("--column", one_of(NAMES)),
        "quantile": ("--column", one_of(NAMES)),
        "impute": ("--out", "new.csv"),
        "sample": ("-n", "2"),
        "score": (),
    }[name]
    options = list(given)
    for _ in range(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])):
        option = one_of(TAKES[name])
        if option == "--errors":
            options.append(option)
        elif option == "--given":
            options += [option, f"{one_of(COLUMNS)}={one_of(VALUES)}"]
        else:
            options += [option, one_of(POOLS[option])]
    return arguments + options


_FILES = {}


def rows(rng, n):
    """Text of n rows: real, in (0, 1), whole, a label, on a circle."""
    kind = rng.integers(len(LABELS), size=n)
    return [
        [
            f"{rng.gamma(3) + code:.4f}",
            f"{rng.uniform(0.01, 0.99):.4f}",
            str(rng.integers(3)),
            LABELS[code],
            f"{rng.uniform(0, 360):.2f}",
        ]
        for code in kind
    ]


def with_cells(table, places):
    """The rows with other cells at some (row, column)."""
    table = [list(row) for row in table]
    for (row, column), cell in places.items():
        table[row][column] = cell
    return table


def prepare(folder):
    if not _FILES:
        make(folder)
    for name, content in _FILES.items():
        (folder / name).write_bytes(content)


def make(folder):
    """Make the tables and models of the questions once."""
    table = rows(np.random.default_rng(0), 80)
    few = table[:6]
    tables = {
        "t.csv": (NAMES, table),
        "gaps.csv": (
            NAMES,
            with_cells(
                few,
                {
                    (0, 0): "",
                    (1, 3): "",
                    (2, 2): "",
                    (3, 4): "",
                    (4, 1): "",
                    (4, 3): "",
                    (4, 0): "",
                },
            ),
        ),
        "unseen.csv": (NAMES, with_cells(few, {(2, 3): "pink"})),
        "absent.csv": (NAMES[:3], [row[:3] for row in few]),
        "words.csv": (NAMES, with_cells(few, {(1, 0): "big"})),
        "outside.csv": (NAMES, with_cells(few, {(0, 1): "1.5", (1, 2): "0.5", (2, 0): "1e300"})),
        "more.csv": ((*NAMES, "w"), [[*row, str(k % 2)] for k, row in enumerate(few)]),
        "hollow.csv": (NAMES, [[""] * 5] * 2 + few),
        "header.csv": (NAMES, []),
    }
    for name, (names, cells) in tables.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([names, *cells])
        (folder / name).write_text(text.getvalue(), encoding="utf-8")
    (folder / "old.txt").write_text("old")
    import pandas as pd

    pd.read_csv(folder / "t.csv", dtype={"kind": str}).head(6).to_parquet(folder / "t.parquet")
    fit = (
        "fit",
        "t.csv",
        "--flow",
        "mixture",
        "--column",
        "kind=category",
        "--column",
        "share=0:1",
        "--column",
        "angle of it=period 360",
        "--column",
        "kids=count",
    )
    for options in (
        (*fit, "--out", "table.npz"),
        (*fit, "--given", "kind,size", "--out", "given.npz"),
        ("fit", "two-moons", "--flow", "realnvp", "--time", "1", "--out", "flow.npz"),
    ):
        status, _, errors = command(folder, *options)
        require(status == 0, errors)
    _FILES.update(contents(folder))


def run(folder, arguments):
    prepare(folder)
    before = contents(folder)
    status, output, errors = command(folder, *arguments)
    after = contents(folder)
    outs = values_of(arguments, "--out")[-1:]
    wrote = {name for name in after if after[name] != before.get(name)}
    read = {*arguments[1:3], *values_of(arguments, "--data")}
    require(wrote <= set(outs) - read, f"wrote {wrote}, asked for {outs}")
    require(set(before) <= set(after), "a file is gone")
    if status == 2:
        require(not wrote, f"wrote {wrote} and failed: {errors}")
        require(
            not output or arguments[0] in ("sample", "predict", "score"),
            f"printed {output[:80]!r} and failed: {errors}",
        )
        return "refused"
    require(wrote == set(outs) or arguments[-1] in ("-h", "--help"), f"wrote {wrote}, not {outs}")
    for name in wrote:
        check(arguments, after[name], name)
    if arguments[0] == "quantile":
        levels = [float(line.split()[1]) for line in output.splitlines()]
        require(np.all(np.isfinite(levels)), f"quantiles {levels}")
    return "success"


def check(arguments, content, name):
    """Check that the output is what the arguments asked for."""
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as columns:
            require(len({len(columns[key]) for key in columns}) == 1, "columns of several lengths")
    elif not name.endswith(".parquet"):
        table = list(csv.reader(io.StringIO(content.decode())))
        require(len({len(row) for row in table}) == 1, "rows of several lengths")
        if arguments[0] == "impute":
            require(all(cell.strip() for row in table for cell in row), "an empty cell")
