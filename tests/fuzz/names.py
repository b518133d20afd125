"""Column names: a name that a file can hold comes back everywhere; others are refused."""

import csv
import warnings

import numpy as np
import pandas as pd

import nfref
from nfref.tables.files.model_file import load_model
from nfref.tables.reading import TableError
from nfref.tables.reading.read import read_quietly
from tests.fuzz import case
from tests.fuzz.case import Case, command, require

PIECES = (
    "a",
    "b",
    "1",
    "2.5",
    "nan",
    "é",
    "日本",
    "😀",
    "\0",
    "\n",
    "\r",
    "\t",
    " ",
    "  ",
    '"',
    "'",
    ",",
    ";",
    "|",
    "=",
    "+",
    "-",
    "@",
    "#",
    "$",
    "%",
    "\\",
    "/",
    "\u2028",
    "\u200f",
    "\ufeff",
    "\u0301",
    "\x1b[31m",
    "\x7f",
    "\xa0",
    "null",
    "...",
    "x1",
    "{0}",
    "%s",
    "<b>",
    "_",
)
SPOILT = ("", " ", " a", "a ", "a\0b", "\ud800", "\udcff", "\xa0a")
N = 40


def cases(rng, number):
    """Yield two columns, by a DataFrame, a csv or a .parquet."""
    for place in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        names = [name_of(one), name_of(one)]
        way = ("frame", "csv", "parquet")[place % 3]
        yield Case(
            f"names: {way}, {names!a}"[:300],
            lambda folder, one=one, names=names, way=way: WAYS[way](folder, one, names),
        )


def name_of(rng):
    if rng.random() < 0.15:
        return str(rng.choice(np.array(SPOILT, object)))
    name = "".join(rng.choice(np.array(PIECES, object), rng.integers(1, 5)))
    return name * int(rng.choice([1, 1, 1, 1, 100, 20_000]))


def is_good(name):
    """Return whether a name is allowed, by an independent formulation of the rule."""
    return (
        name.strip() == name != ""
        and "\0" not in name
        and len(name) <= 2**17
        and sum(character in "\r\n" for character in name) < 10
        and not any(0xD800 <= ord(character) < 0xE000 for character in name)
    )


def by_frame(folder, rng, names):
    frame = pd.DataFrame(rng.standard_normal((N, 2)))
    frame.columns = pd.Index(names, dtype=object)
    model = nfref.FlowDensity("gaussian", random_state=0)
    fine = all(map(is_good, names)) and names[0] != names[1]
    try:
        model.fit(frame)
    except (ValueError, TypeError) as error:
        require(not fine, f"refused: {ascii(str(error))[:300]}")
        require("\n" not in str(error) and len(str(error)) < 500, f"a long message: {error!s:.99}")
        return "refused"
    require(fine, "took names that no file holds")
    model.save(folder / "m.npz")
    require(load_model(folder / "m.npz").columns == tuple(names), "other names")
    require(list(model.sample(2).columns) == names, "other names in samples")
    return "success"


def by_csv(folder, rng, names):
    try:
        with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(names)
            csv.writer(file).writerows(rng.standard_normal((N, 2)).tolist())
    except UnicodeEncodeError:
        return "refused"
    return by_command(folder, names, "t.csv", "--header", "yes")


def by_parquet(folder, rng, names):
    frame = pd.DataFrame(rng.standard_normal((N, 2)))
    frame.columns = pd.Index(names, dtype=object)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame.to_parquet(folder / "t.parquet")
    except ValueError:  # pandas refuses duplicate names and names that are not text
        return "refused"
    return by_command(folder, names, "t.parquet")


def by_command(folder, names, data, *options):
    status, output, errors = command(
        folder, "fit", data, *options, "--flow", "mixture", "--out", "m.npz"
    )
    require(len(errors) < 1500, f"{len(errors)} characters of {errors[:200]!a}")
    if status == 2:
        try:
            read_quietly(folder / data, *options[1:])
        except TableError:
            require(not output and not (folder / "m.npz").exists(), "found out after the work")
            require(not all(map(is_good, names)) or names[0] == names[1], f"refused: {errors}")
            return "refused"
        raise case.Failure(f"refused later: {ascii(errors)[:300]}")
    columns = load_model(folder / "m.npz").columns
    one = next(name for name in columns if name != "--")  # argparse reserves "--"
    for command_line in (
        ("sample", "m.npz", "-n", 5, "--out", "s.csv"),
        ("score", "m.npz", "s.csv"),
        ("info", "m.npz"),
        ("quantile", "m.npz", f"--column={one}"),
    ):
        status, _, errors = command(folder, *command_line)
        require(status == 0, f"{command_line[0]}: {ascii(errors)[:300]}")
    require(read_quietly(folder / "s.csv").columns == columns, "other names in samples")
    return "success"


WAYS = {"frame": by_frame, "csv": by_csv, "parquet": by_parquet}
