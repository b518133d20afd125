"""Fits that are killed or interrupted at random moments, with checkpoints."""

import json
import signal
import subprocess
import sys
import time

import numpy as np

from nfref.model_file import load_model
from tests.attack.case import SECONDS, Case, require

CODE = "import sys, nfref_command; sys.exit(nfref_command.main())"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGINT twice")
FIT = ("fit", "t.csv", "--flow", "realnvp", "--layers", "1", "--hidden", "8", "--epochs", "100000",
       "--lr", "1e-9", "--quiet", "--out", "m.npz")
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


def started(folder, *arguments):
    return subprocess.Popen([sys.executable, "-c", CODE, *FIT, *arguments], cwd=folder,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def kill(folder, rng, name):
    np.savetxt(folder / "t.csv", np.random.default_rng(0).standard_normal((300, 2)), delimiter=",")
    (folder / "m.npz").write_bytes(b"old")
    process = started(folder, "--checkpoint", "c.npz")
    began = time.monotonic()
    while not (folder / "c.npz").exists() and process.poll() is None:
        require(time.monotonic() - began < SECONDS, "no checkpoint")
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    last = (folder / "c.npz").stat().st_mtime
    if name == "SIGKILL":
        LOST.append(max(0.0, time.time() - last))
    for _ in range(2 if name.endswith("twice") else 1):
        process.send_signal(getattr(signal, name.split()[0]))
        time.sleep(0.01)
    _, errors = process.communicate(timeout=SECONDS)
    require("Traceback" not in errors, errors)
    done = epochs(folder / "c.npz")
    if name == "SIGKILL":
        require((folder / "m.npz").read_bytes() == b"old", "old file changed")
    else:
        require(process.returncode in (0, 130, -signal.SIGINT), f"status {process.returncode}")
        require(load_model(folder / "m.npz").info["fit"]["stopped"] == "interrupted", "not kept")
    again = started(folder, "--resume", "c.npz")
    began = time.monotonic()
    while epochs(folder / "c.npz") <= done and again.poll() is None:
        require(time.monotonic() - began < SECONDS, "no further epoch")
        time.sleep(0.01)
    again.send_signal(signal.SIGTERM)
    _, errors = again.communicate(timeout=SECONDS)
    require(again.returncode == 0 and "Traceback" not in errors, f"{again.returncode} {errors}")
    require(load_model(folder / "m.npz").info["fit"]["stopped"] == "interrupted", "not kept")
    names = sorted(entry.name for entry in folder.iterdir())
    require(names == ["c.npz", "m.npz", "t.csv"], f"stray files: {names}")
    return "success" if name == "SIGKILL" else "interrupted"


def epochs(path):
    with np.load(path) as archive:
        return len(json.loads(archive["header"].tobytes())["history"]["train"])
