"""Variables of the environment with any value: success, or one line that names the variable."""

import os
import subprocess
import sys

import numpy as np

from tests.fuzz.case import Case, contents, require

NUMBERS = ("0", "1", "2", "-1", "1000", "1.5", "x", "", " ", "1e3", "\u0663", "9" * 30)
PLACES = ("", "/nonexistent", "/dev/null", ".", "relative", "/proc/1", "a b", "\u00fc")
VARIABLES = {
    **dict.fromkeys(
        (
            "NUMBA_NUM_THREADS", "NUMBA_OPT", "NUMBA_CAPTURED_ERRORS", "NUMBA_LOOP_VECTORIZE",
            "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT",
            "TQDM_MININTERVAL", "TQDM_MINITERS", "TQDM_DISABLE", "TQDM_NCOLS", "COLUMNS", "LINES",
            "ARROW_NUM_THREADS", "SOURCE_DATE_EPOCH",
        ),
        NUMBERS,
    ),
    **dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "JOBLIB_TEMP_FOLDER"), PLACES
    ),
    "MPLBACKEND": (
        "module://matplotlib_inline.backend_none", "module://none", "tkagg", "x", "", "agg", "pgf",
    ),
    "NFREF_BACKEND": ("numpy", "numba", "cuda", "x", "", "NUMPY"),
    "NUMBA_CPU_NAME": ("generic", "x"),
    "LC_ALL": ("C", "xx", "C.UTF-8", "de_DE.UTF-8"),
    "TERM": ("dumb", "", "x"),
    "TZ": ("x", "UTC"),
    "DISPLAY": (":99", ""),
    "ARROW_DEFAULT_MEMORY_POOL": ("x", "system", ""),
    "PYTHONOPTIMIZE": ("1", "2"),
    "PYTHONUNBUFFERED": ("1",),
    "PYTHONIOENCODING": ("ascii", "latin-1", "utf-16"),
}  # fmt: skip
COMMANDS = (
    ("fit", "t.csv", "--flow", "mixture", "--out", "m.npz", "--plot", "p.png"),
    ("fit", "t.csv", "--flow", "gaussian", "--out", "m.npz"),
    ("info", "--system"),
)


def cases(rng, number):
    """Yield a command with one to three variables of odd values, in a process of its own."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        names = one.choice(list(VARIABLES), int(one.integers(1, 4)), replace=False)
        found = {str(name): str(one.choice(VARIABLES[name])) for name in names}
        arguments = COMMANDS[int(one.integers(len(COMMANDS)))]
        yield Case(
            f"environment: {found} {arguments[0]}",
            lambda folder, one=one, found=found, arguments=arguments: run(
                folder, one, found, arguments
            ),
        )


def run(folder, rng, variables, arguments):
    rows = rng.standard_normal((40, 2)).tolist()
    (folder / "t.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "nfref", *arguments],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, **variables},
    )
    errors = done.stderr.decode("utf-8", "replace")
    require("Traceback" not in errors, errors)
    require(done.returncode in (0, 2), f"status {done.returncode}: {errors}")
    if done.returncode == 0:
        require("p.png" not in arguments or (folder / "p.png").exists(), "no picture")
        return "success"
    lines = [line for line in errors.splitlines() if line.startswith("nfref: error: ")]
    require(len(lines) == 1, errors)
    require(any(name in lines[0] for name in variables), f"no variable is named: {lines[0]}")
    require(set(contents(folder)) == {"t.csv"}, "a refusal left a file")
    return "refused"
