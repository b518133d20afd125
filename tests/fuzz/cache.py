"""Cache folders of compiled kernels in any state: they may only cost time."""

import os
import subprocess
import sys

import numpy as np

from tests.fuzz.case import Case, require

STEP = (
    "import numpy as np\n"
    "from nfref.kernels.adam import adam_update\n"
    "a = np.ones(3)\n"
    "print(adam_update(a, a, a, a, 1, 0.1)[0])\n"
)
STATES = (
    "none",
    "file",
    "read-only",
    "closed",
    "of another",
    "link to nothing",
    "link to itself",
    "device",
    "long",
    "relative",
    "empty name",
    "cut",
    "flipped",
    "emptied",
    "grown",
    "folders for entries",
    "swapped",
    "stale turn",
    "control characters",
)
DAMAGES = STATES[STATES.index("cut") :]


def cases(rng, number):
    """Yield one state of the folder for each case."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        state = str(one.choice(STATES))
        yield Case(f"cache: {state}", lambda folder, one=one, state=state: run(folder, one, state))


def step(cache, cwd):
    """Return what a process prints if its cache folder is ``cache``."""
    return subprocess.run(
        [sys.executable, "-c", STEP],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": str(cwd)},
    )


def run(folder, rng, state):
    cache = folder / "cache"
    if state in DAMAGES:
        step(str(cache), folder)
        for entry in sorted(cache.rglob("*")):
            if entry.is_file():
                damage(entry, rng, state)
    cache = make(cache, state)
    done = step(str(cache), folder)
    require(done.returncode == 0, done.stderr[-500:])
    require(done.stdout.strip() == "[0.96837722 0.96837722 0.96837722]", f"printed {done.stdout!r}")
    require("Traceback" not in done.stderr, done.stderr[-500:])
    return "success"


def damage(entry, rng, state):
    content = entry.read_bytes()
    if state == "folders for entries":
        entry.unlink()
        entry.mkdir()
    elif state == "stale turn":
        (entry.parent / (entry.name + ".turn")).write_text("1")
    elif content:
        place = int(rng.integers(len(content)))
        entry.write_bytes(
            {
                "cut": content[:place],
                "emptied": b"",
                "grown": content + bytes(place),
                "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
                "swapped": content[::-1],
            }.get(state, content)
        )


def make(cache, state):
    """Make the folder, or something else in its place."""
    if state == "file":
        cache.write_text("mine")
    elif state in ("read-only", "closed", "of another"):
        cache.mkdir(mode={"read-only": 0o500, "closed": 0, "of another": 0o700}[state])
        if state == "of another" and os.getuid() == 0:
            os.chown(cache, 65534, 65534)
    elif state.startswith("link"):
        cache.symlink_to("nowhere/at/all" if state == "link to nothing" else "cache")
    elif state == "control characters":
        return cache.parent / "a\n\x01\t'é"
    return {
        "device": "/dev/null",
        "long": cache / ("n" * 300),
        "relative": "here/../there",
        "empty name": "",
    }.get(state, cache)
