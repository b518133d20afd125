"""Tables with many columns: fitted in the time that is said, or refused before it is spent."""

import re
import time

import numpy as np

from nfref.tables.schema.column_inference import MOST_REAL, minutes_of_real
from tests.fuzz.case import Case, command, contents, require

KINDS = ("real", "whole", "labels", "mixed")
START = 10  # processor seconds of everything else


def cases(rng, number):
    """Yield tables of few rows and many columns of one kind or of several."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        kind = str(one.choice(KINDS))
        columns = int(10 ** one.uniform(1.5, 2.4 if kind != "real" else 4))
        if 400 < columns <= MOST_REAL:
            columns = 400
        rows = int(one.integers(6, 60))
        yield Case(
            f"wide: {rows} rows of {columns} {kind} columns",
            lambda folder, one=one, kind=kind, columns=columns, rows=rows: fit(
                folder, one, kind, columns, rows
            ),
        )


def fit(folder, rng, kind, columns, rows):
    real = rng.standard_normal((rows, columns)).astype(str)
    whole = rng.integers(0, 3, (rows, columns)).astype(str)
    labels = np.array(["a", "b", "c"])[rng.integers(0, 3, (rows, columns))]
    which = {"real": 0, "whole": 1, "labels": 2}.get(kind, rng.integers(3, size=columns))
    cells = np.choose(np.broadcast_to(which, (rows, columns)), [real, whole, labels])
    lines = [",".join(f"x{k}" for k in range(columns)), *(",".join(row) for row in cells)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    before, began = contents(folder), time.process_time()
    status, output, errors = command(
        folder, "fit", "t.csv", "--flow", str(rng.choice(["gaussian", "mixture"])), "--out", "m.npz"
    )
    took = time.process_time() - began
    if status == 2:
        require(contents(folder) == before, "a refusal left a file")
        too_many = re.search("expected at most 2,000 real ones, got ", errors)
        constant = "expected values that differ" in errors or "linear function" in errors
        require((columns > MOST_REAL) == bool(too_many) or constant, errors)
        require(took < START, f"{took:.0f} s until the refusal")
        return "refused"
    require(columns <= MOST_REAL or kind != "real", "no refusal")
    bound = START + 120 * minutes_of_real(columns)
    require(took < bound, f"{took:.0f} s of a processor, bound {bound:.0f}")
    require(max(map(len, output.splitlines())) < 5000, "a line of a table's width")
    return "success"
