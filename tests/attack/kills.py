"""Fits that are killed or interrupted at random moments, with checkpoints.

Of one flow alone, killed in the middle of training that has no end: what is lost, and that it goes
on. Of a search among several candidates, killed at any moment from its start to its last byte, once
or several times: that the model is that of a search nobody killed, byte by byte.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nfref.tables.model_file import load_model
from tests.attack import case
from tests.attack.case import Case, require

CODE = "import sys, nfref_command; sys.exit(nfref_command.main())"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGINT twice")
FIT = ("fit", "t.csv", "--flow", "realnvp", "--layers", "1", "--hidden", "8", "--epochs", "100000",
       "--lr", "1e-9", "--dtype", "float64", "--quiet", "--out", "m.npz")
SEARCH = ("fit", "t.csv", "--members", "2", "--epochs", "6", "--quiet", "--out", "m.npz")
MOST_KILLS = 2          # of one search
LOST = []               # seconds of work that each kill -9 took away


def cases(rng, number, names=("SIGKILL",)):
    """Kills after a random time, then the same command with --resume."""
    for k in range(number):
        one = np.random.default_rng(rng.integers(2 ** 63))
        name = names[k % len(names)]
        yield Case(f"kills: {name}", lambda folder, one=one, name=name: kill(folder, one, name))


def interruptions(rng, number):
    """The same with signals that a process may answer."""
    return cases(rng, number, SIGNALS)


def started(folder, *arguments, fit=FIT):
    return subprocess.Popen([sys.executable, "-c", CODE, *fit, *arguments], cwd=folder,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def kill(folder, rng, name):
    # Rows that are far from normal: each epoch is better than the last, and patience ends none.
    rows = np.random.default_rng(0).standard_exponential((300, 2))
    np.savetxt(folder / "t.csv", rows, delimiter=",")
    (folder / "m.npz").write_bytes(b"old")
    process = started(folder, "--checkpoint", "c.npz")
    began = time.monotonic()
    while not (folder / "c.npz").exists() and process.poll() is None:
        require(time.monotonic() - began < case.SECONDS, "no checkpoint")
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    last = (folder / "c.npz").stat().st_mtime
    if name == "SIGKILL":
        LOST.append(max(0.0, time.time() - last))
    for _ in range(2 if name.endswith("twice") else 1):
        process.send_signal(getattr(signal, name.split()[0]))
        time.sleep(0.01)
    _, errors = process.communicate(timeout=case.SECONDS)
    require("Traceback" not in errors, errors)
    done = epochs(folder / "c.npz")
    if name == "SIGKILL":
        require((folder / "m.npz").read_bytes() == b"old", "old file changed")
    else:
        require(process.returncode in (0, 130, -signal.SIGINT), f"status {process.returncode}")
        require_interrupted(folder / "m.npz")
    again = started(folder, "--resume", "c.npz")
    began = time.monotonic()
    while epochs(folder / "c.npz") <= done and again.poll() is None:
        require(time.monotonic() - began < case.SECONDS, "no further epoch")
        time.sleep(0.01)
    again.send_signal(signal.SIGTERM)
    _, errors = again.communicate(timeout=case.SECONDS)
    require(again.returncode == 0 and "Traceback" not in errors, f"{again.returncode} {errors}")
    require_interrupted(folder / "m.npz")
    names = sorted(entry.name for entry in folder.iterdir())
    require(names == ["c.npz", "m.npz", "t.csv"], f"stray files: {names}")
    return "success" if name == "SIGKILL" else "interrupted"


def epochs(path):
    with np.load(path) as archive:
        state = json.loads(archive["header"].tobytes())["state"]
        return len(state["current"]["history"]["train"])


def require_interrupted(path):
    message = load_model(path).info["fit"]["candidates"][0]["message"]
    require("interrupted" in message, f"not kept: {message}")


# Searches ---------------------------------------------------------------------------------


def searches(rng, number):
    """Kills of a search at any moment, each followed by the same command with what it left."""
    whole = undisturbed()
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2 ** 63))
        yield Case("kills of a search", lambda folder, one=one: kill_search(folder, one, *whole))


def table(folder):
    np.savetxt(folder / "t.csv", np.random.default_rng(0).standard_normal((400, 2)), delimiter=",")


def undisturbed():
    """(the model file of a search that nobody kills, seconds that it takes)."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        table(folder)
        for _ in range(2):          # the first one compiles
            began = time.monotonic()
            process = started(folder, fit=SEARCH)
            _, errors = process.communicate(timeout=300)
            require(process.returncode == 0, errors)
        return (folder / "m.npz").read_bytes(), time.monotonic() - began


def kill_search(folder, rng, expected, seconds):
    table(folder)
    (folder / "m.npz").write_bytes(b"old")
    for _ in range(rng.integers(1, MOST_KILLS + 1)):
        process = going_on(folder)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        _, errors = process.communicate(timeout=case.SECONDS)
        require("Traceback" not in errors, errors)
        require((folder / "m.npz").read_bytes() in (b"old", expected), "half of a model")
    process = going_on(folder)
    _, errors = process.communicate(timeout=case.SECONDS)
    require(process.returncode == 0 and not errors, f"{process.returncode} {errors}")
    require((folder / "m.npz").read_bytes() == expected, "another model than without a kill")
    names = sorted(entry.name for entry in folder.iterdir())
    require(names == ["c.npz", "m.npz", "t.csv"], f"stray files: {names}")
    return "success"


def going_on(folder):
    """The search, from its checkpoint if there is one."""
    option = "--resume" if (folder / "c.npz").exists() else "--checkpoint"
    return started(folder, option, "c.npz", fit=SEARCH)
