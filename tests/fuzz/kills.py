"""Fits that are killed or interrupted at random moments, with checkpoints.

kill -9 comes after a checkpoint, of a flow alone and of a search among several candidates, once or
several times: the model is that of an undisturbed fit, byte by byte. Signals that a process can
handle come in the middle of an endless training: the best model is kept, and training resumes.
"""

import functools
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nfref.tables.files.model_file import load_model
from tests.fuzz import case
from tests.fuzz.case import Case, require

CODE = "import sys, nfref_command; sys.exit(nfref_command.main())"
# Decisions of a plan that have no option, and a checkpoint after every epoch.
DECIDED = """if True:
    import functools
    from nfref.cli import fit
    from nfref.tables.fitting import trainings
    fit.Plan = functools.partial(fit.Plan, DECISIONS)
    trainings.CHECKPOINT_SECONDS = 0.0
"""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGINT twice")
SMALL = ("fit", "t.csv", "--flow", "realnvp", "--out", "m.npz")
# Arguments, and decisions of the plan
ENDLESS = (SMALL, "epochs=100_000, learning_rate=1e-9, dtype='float64'")
ONE = (SMALL, "epochs=60, learning_rate=1e-9, dtype='float64'")
SEARCH = (("fit", "t.csv", "--effort", "quick", "--out", "m.npz"), "epochs=6")
MOST_KILLS = 2  # per fit
LOST = []  # seconds of work that each kill -9 lost


def started(folder, *arguments, fit):
    def defaults():  # even if the shell had its background jobs ignore signals
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)

    words, decisions = fit
    code = DECIDED.replace("DECISIONS", decisions) + CODE
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,
    )


def table(folder):
    # Rows are far from normal: each epoch is better than the last, and early stopping never stops.
    rows = np.random.default_rng(0).standard_exponential((300, 2))
    np.savetxt(folder / "t.csv", rows, delimiter=",")
    (folder / "m.npz").write_bytes(b"old")


def epochs(path):
    """Return the number of epochs of all flows in a checkpoint; 0 without one."""

    def count(part):
        if isinstance(part, dict):
            return len(part["train"]) if "train" in part else sum(map(count, part.values()))
        return sum(map(count, part)) if isinstance(part, list) else 0

    if not path.exists():
        return 0
    with np.load(path) as archive:
        return count(json.loads(archive["header"].tobytes())["state"])


def wait_for(number, process, path):
    """Wait until a checkpoint has ``number`` epochs, or the process ends."""
    began = time.monotonic()
    while epochs(path) < number and process.poll() is None:
        require(time.monotonic() - began < case.SECONDS, f"no checkpoint of {number} epochs")
        time.sleep(0.005)


def ended(process):
    """Return what the process wrote on standard error; it must hold no traceback."""
    try:
        _, errors = process.communicate(timeout=case.SECONDS)
    finally:
        process.kill()
    require("Traceback" not in errors, errors)
    return errors


def require_names(folder):
    names = sorted(entry.name for entry in folder.iterdir())
    require(names == ["c.npz", "m.npz", "t.csv"], f"stray files: {names}")


# kill -9 ----------------------------------------------------------------------------------


def cases(rng, number, fit=ONE, name="kills: kill -9"):
    """Kills after a random epoch, each followed by the same command with --resume."""
    undisturbed(fit)  # run before any case, because a case has few seconds
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        yield Case(name, lambda folder, one=one: kill(folder, one, fit))


def searches(rng, number):
    """Yield the same cases for a search."""
    return cases(rng, number, SEARCH, "kills of a search: kill -9")


@functools.cache
def undisturbed(fit):
    """Return (the model file of an undisturbed fit, its number of epochs)."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        table(folder)
        process = started(folder, "--resume", "c.npz", fit=fit)
        _, errors = process.communicate(timeout=300)  # the first one compiles
        require(process.returncode == 0, errors)
        return (folder / "m.npz").read_bytes(), epochs(folder / "c.npz")


def kill(folder, rng, fit):
    expected, total = undisturbed(fit)
    table(folder)
    kills, done, tries = rng.integers(1, MOST_KILLS + 1), 0, 0
    while kills:
        process = started(folder, "--resume", "c.npz", fit=fit)
        wait_for(int(rng.integers(done + 1, max(done + 2, total - 2))), process, folder / "c.npz")
        time.sleep(rng.uniform(0, 0.02))
        seen = time.time()
        process.kill()
        ended(process)
        if process.returncode != -signal.SIGKILL:  # it had already ended
            tries += 1
            require(process.returncode == 0 and tries < 5, f"status {process.returncode}")
            table(folder)
            (folder / "c.npz").unlink()
            done = 0
            continue
        LOST.append(max(0.0, seen - (folder / "c.npz").stat().st_mtime))
        require((folder / "m.npz").read_bytes() == b"old", "old file changed")
        done, kills = epochs(folder / "c.npz"), kills - 1
        require(done > 0, "killed before the first checkpoint")
    process = started(folder, "--resume", "c.npz", fit=fit)
    errors = ended(process)
    require(process.returncode == 0 and not errors, f"{process.returncode} {errors}")
    require((folder / "m.npz").read_bytes() == expected, "another model than without a kill")
    require_names(folder)
    return "success"


# Signals ----------------------------------------------------------------------------------


def interruptions(rng, number):
    """Signals at a random moment, then the same command with --resume."""
    for k in range(number):
        one, name = np.random.default_rng(rng.integers(2**63)), SIGNALS[k % len(SIGNALS)]
        yield Case(
            f"kills: {name}", lambda folder, one=one, name=name: interrupt(folder, one, name)
        )


def interrupt(folder, rng, name):
    table(folder)
    process = started(folder, "--resume", "c.npz", fit=ENDLESS)
    wait_for(1, process, folder / "c.npz")
    time.sleep(rng.uniform(0, 0.5))
    for _ in range(2 if name.endswith("twice") else 1):
        process.send_signal(getattr(signal, name.split()[0]))
        time.sleep(0.01)
    ended(process)
    require(process.returncode in (0, 130, -signal.SIGINT), f"status {process.returncode}")
    require_interrupted(folder / "m.npz")
    process = started(folder, "--resume", "c.npz", fit=ENDLESS)
    wait_for(epochs(folder / "c.npz") + 1, process, folder / "c.npz")
    process.send_signal(signal.SIGTERM)
    ended(process)
    require(process.returncode == 0, f"status {process.returncode}")
    require_interrupted(folder / "m.npz")
    require_names(folder)
    return "interrupted"


def require_interrupted(path):
    message = load_model(path).info["fit"]["candidates"][0]["message"]
    require("interrupted" in message, f"not kept: {message}")
