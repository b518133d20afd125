"""Files of every suffix, written by one command and read by another."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import nfref
from nfref.tables.reading.read import READERS, read_quietly
from tests.fuzz.case import Case, command, contents, require

COMMANDS = ("sample", "score", "predict", "impute", "plot", "fit")
OTHERS = (
    "", ".", ".xlsx", ".gz", ".zst", ".csv.zst", ".csv.bz2", ".npz.gz", ".json", ".feather", ".pdf",
    ".html", ".png", ".svgz", ".csvx", ".tar.gz", ".CSV", ".Npz", ".csv.GZ", ".tsv", ".htm", ".h5",
    " .csv", ".csv ", ".csv\n", ".arrow", ".sqlite", ".txt~", ".csv.gz.gz", ".pickle", ".mat",
)  # fmt: skip
PICTURES = (".png", ".pdf", ".svg")


def cases(rng, number):
    """Yield a command, a model with text or of numbers, and a suffix to write."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        what = str(one.choice(COMMANDS, p=[0.4, 0.2, 0.15, 0.15, 0.04, 0.06]))
        kind = str(one.choice([*READERS, *OTHERS]))
        text = bool(one.random() < 0.3)
        yield Case(
            f"formats: {what} to {kind!r}{', text' if text else ''}",
            lambda folder, one=one, what=what, kind=kind, text=text: write(
                folder, one, what, kind, text
            ),
        )


@functools.cache
def models():
    """The bytes of a model of two numbers, and of one that has a column of text too."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((60, 2)), columns=["a", "b"])
    town = rng.choice(["Oslo", "=Rome", "a, b", "7"], 60)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in (frame, frame.assign(town=town)):
            path = Path(folder) / "m.npz"
            nfref.FlowDensity("gaussian", random_state=0).fit(rows).save(path)
            found.append((path.read_bytes(), rows.to_csv(index=False)))
    return found


def arguments_of(what, text):
    """The command without its --out."""
    if what == "fit":  # one of the labels is a number
        more = ("--column", "town=category") if text else ()
        return ("fit", "data.csv", "--flow", "gaussian", *more)
    if what == "sample":
        return "sample", "model.npz", "-n", "7"
    more = ("--column", "a") if what == "predict" else ()
    return (what, "model.npz", *(("--data",) if what == "plot" else ()), "data.csv", *more)


def write(folder, rng, what, kind, text):
    model, data = models()[text]
    (folder / "model.npz").write_bytes(model)
    (folder / "data.csv").write_text(data)
    out = f"out{kind}"
    old = rng.random() < 0.3
    if old:
        (folder / out).write_bytes(b"old")
    before = contents(folder)
    status, _, errors = command(folder, *arguments_of(what, text), "--out", out)
    there = {"fit": (".npz",), "plot": (*PICTURES, ".svgz")}.get(what, tuple(READERS))
    known = kind.lower().endswith(there)
    has_text = text and what in ("sample", "impute")
    if status == 2:
        require(contents(folder) == before, "a refusal changed files")
        fits = known and not (has_text and kind.lower() in (".npy", ".npz"))
        require(not fits, f"refused: {errors}")
        require(", ".join(there[:2]) in errors or "holds text" in errors, f"no formats: {errors}")
        return "refused"
    require(known, f"wrote {out!r}")
    require({*contents(folder)} == {*before, out}, "a stray file")
    if what in ("sample", "impute"):
        check_rows(folder, what, out, text)
    return "success"


def check_rows(folder, what, out, text):
    """The file holds the same cells as a csv."""
    command(folder, *arguments_of(what, text), "--out", "plain.csv")
    texts = ("town",) if text else ()
    expected = read_quietly(folder / "plain.csv", texts=texts)
    found = read_quietly(folder / out, texts=texts)
    for one, other in zip(found.cells(), expected.cells()):
        require(np.array_equal(one, other), f"{out} holds other cells than a csv")
    require(
        found.columns == expected.columns or out.lower().endswith((".npy", ".npz")),
        f"{out} has other names",
    )
