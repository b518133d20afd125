"""Disks that fill: files may grow to a random size only."""

import resource
import signal
import subprocess
import sys

import numpy as np

from nfref.tables.reading.read import read_quietly
from tests.fuzz import case
from tests.fuzz.case import Case, contents, require
from tests.fuzz.kills import CODE
from tests.fuzz.options import prepare

COMMANDS = (
    ("sample", "model.npz", "-n", "2000", "--out", "old.csv"),
    ("score", "model.npz", "t.csv", "--out", "old.csv"),
    ("plot", "model.npz", "--out", "old.png"),
    ("fit", "t.csv", "--flow", "realnvp", "--out", "old.npz", "--resume", "c.npz"),
)


def cases(rng, number):
    """Yield commands that write, in a process with a limit on the size of files."""
    for k in range(number):
        size = int(10 ** rng.uniform(0, 6))
        arguments = COMMANDS[k % len(COMMANDS)]
        yield Case(
            f"disks: {size} bytes for {arguments[0]}",
            lambda folder, size=size, arguments=arguments: run(folder, size, arguments),
        )


def run(folder, size, arguments):
    prepare(folder)
    target = arguments[arguments.index("--out") + 1]
    (folder / target).write_bytes(b"old")
    before = contents(folder)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        [sys.executable, "-B", "-c", CODE, *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=case.SECONDS,
        preexec_fn=limit,
    )
    require("Traceback" not in done.stderr, done.stderr)
    after = contents(folder)
    require(set(after) <= {*before, "c.npz"}, f"stray files {set(after) - set(before)}")
    require(all(after[name] == before[name] for name in before if name != target), "other files")
    if done.returncode == 2:
        require(after[target] == b"old", "the old file changed")
        require(done.stderr.count("nfref: error: ") == 1, done.stderr)
        return "refused"
    require(done.returncode == 0, f"status {done.returncode}: {done.stderr}")
    if target.endswith("csv"):
        values = read_quietly(folder / target).values
        require(
            len(values) == (2000 if arguments[0] == "sample" else 60)
            and np.all(np.isfinite(values)),
            "rows are missing",
        )
    return "success"
