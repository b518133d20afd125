"""Run one case of an attack, and watch that it ends in an allowed way."""

import contextlib
import io
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LONGEST = 700  # characters of a message
SECONDS = 20  # a longer case hangs; --patience raises the limit


class Failure(AssertionError):
    """A bad outcome."""


class Hang(BaseException):
    """Raised in a case that takes longer than ``SECONDS``; no error handler catches it."""


@dataclass(frozen=True)
class Case:
    """``run(folder)`` in an empty folder returns "success" or "refused"."""

    name: str
    run: Callable


def attack(case, folder):
    """Return (outcome, why): a good outcome and "", or "failed" and the reason."""

    def hang(number, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        outcome = case.run(folder)
        assert outcome in ("success", "refused"), outcome
        return outcome, ""
    except Hang:
        return "failed", f"more than {SECONDS} seconds"
    except Failure as failure:
        return "failed", str(failure)
    except Exception:
        return "failed", traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def command_lines(kind, line, run, rng, number, show=str):
    """Yield cases of ``run(folder, arguments)`` with arguments ``line(rng)``, one seed each."""
    for _ in range(number):
        arguments = line(np.random.default_rng(rng.integers(2**63)))
        yield Case(
            f"{kind}: nfref {' '.join(map(show, arguments))}"[:300],
            lambda folder, arguments=arguments: run(folder, arguments),
        )


def require(condition, text):
    """Fail the case unless the condition holds."""
    if not condition:
        raise Failure(text)


def refused(error):
    """Return the outcome of a library error, whose message has to be one short line."""
    text = str(error)
    require(text and "\n" not in text, f"expected one line, got {text!r}")
    require(len(text) <= LONGEST, f"{len(text)} characters: {text[:200]}")
    return "refused"


def command(folder, *arguments):
    """Run ``nfref ARGUMENTS`` here; return (status, stdout, stderr); errors must be one line."""
    from nfref.cli import main

    output, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else _chdir(folder):
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = main([str(argument) for argument in arguments])
            except SystemExit as end:  # --help
                status = end.code
    output, errors = output.getvalue(), errors.getvalue()
    require("Traceback" not in errors, errors)
    require(status in (0, 2), f"status {status}")
    lines = [line for line in errors.splitlines() if line.startswith("nfref: error: ")]
    require(len(lines) == (status == 2), f"status {status}, {errors!r}")
    return status, output, errors


@contextlib.contextmanager
def _chdir(folder):
    """contextlib.chdir of Python 3.11."""
    import os

    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def contents(folder):
    """name -> bytes of the files in a folder."""
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
