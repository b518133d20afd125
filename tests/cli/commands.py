"""Run the command, installed or in this process; make a table of people for it."""

import contextlib
import functools
import io
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import warnings

import numpy as np

import nfref
from nfref.cli import fit, main
from nfref.runtime.interrupts import SIGNALS
from nfref.tables.files.model_file import save_model
from nfref.tables.fitting.plan import Plan

COMMAND = shutil.which("nfref", path=sysconfig.get_path("scripts"))
MAF = ("--flow", "maf")  # a fraction of a second for a small table
COLUMNS = ("height", "body weight", "age")
REAL = tuple(part for name in COLUMNS for part in ("--column", f"{name}=real"))


def nfref_command(*arguments, cwd, environment=None, **options):
    """Run ``nfref ARGUMENTS`` in a folder; return status, stdout and stderr as text."""
    assert COMMAND, "the command nfref is not installed beside this Python"
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environment or {})},
        **options,
    )


def in_process(*arguments, cwd):
    """Run ``nfref ARGUMENTS`` in a folder, in this process; return what :func:`nfref_command` does.

    Starting Python costs half a second. It is needed for signals, limits, real streams, variables
    that libraries read when they are imported, and bits that another process has to find.
    """
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    before = os.getcwd()
    os.chdir(cwd)
    try:
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("default")
            status = main([str(argument) for argument in arguments])
    finally:
        os.chdir(before)
    for stream in (output, errors):
        stream.seek(0)
    return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def succeeds(*arguments, cwd):
    """Return the output of ``nfref ARGUMENTS`` in a folder, run in this process."""
    done = in_process(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def people(n=200, seed=0):
    """Three correlated columns of very different size, rounded as people round."""
    rng = np.random.default_rng(seed)
    height = rng.normal(1.7, 0.1, n)
    return np.round(
        np.stack([height, 1000 * rng.normal(22 * height**2, 5), rng.gamma(4, 10, n)], axis=1), 5
    )


def write_people(path, delimiter=",", rows=None, header=COLUMNS):
    rows = people() if rows is None else rows
    lines = [delimiter.join(f'"{name}"' for name in header)] if header else []
    lines += [delimiter.join(map(repr, row)) for row in rows.tolist()]
    path.write_text("\n".join(lines) + "\n")


def bare_flow(path, **about):
    """A model file of a flow with its parameters, as ``nfref.fit`` leaves one; returns both."""
    rows = people()
    density = nfref.Density(nfref.in_units_of(nfref.MAF(3, 1, (8,)), rows))
    found = nfref.fit(
        density,
        density.init(np.random.default_rng(0)),
        rows,
        np.random.default_rng(1),
        epochs=1,
        progress=False,
    )
    save_model(path, density, found.params, **about)
    return density, found.params


def table_of(output):
    """The last lines of ``fit`` as {name: (mean, standard error)}."""
    lines = output.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("test nats per row"))
    end = next((k for k, line in enumerate(lines) if k > start and line.startswith("note: ")), None)
    rows = [(line[:24].strip(), line[24:].split()) for line in lines[start + 1 : end]]
    return {name: (float(numbers[0]), float(numbers[1])) for name, numbers in rows}


def plan_with(monkeypatch, **decisions):
    """Let ``nfref fit`` in this process decide what has no option."""
    monkeypatch.setattr(fit, "Plan", functools.partial(Plan, **decisions))


# Trainings that never end: in double precision each of these epochs is better than the last, so
# early stopping never stops.
ENDLESS = """if True:
    import functools
    from nfref.cli import fit
    endless = {"epochs": 1_000_000, "learning_rate": 1e-12, "dtype": "float64"}
    fit.Plan = functools.partial(fit.Plan, **endless)
"""

# The command, which writes a line to standard error after every epoch.
SAYS_EPOCHS = """if True:
    import sys
    import nfref_command
    from nfref.tables.fitting import trainings
    from nfref.tables.fitting.results import Progress
    trainings.CHECKPOINT_SECONDS = EVERY
    def epoch(self, name, fold, *rest):
        if fold == 0:
            print("epoch", file=sys.stderr, flush=True)
    Progress.epoch = epoch
    sys.exit(nfref_command.main())
"""


def started(*arguments, cwd, every=60.0, endless=False):
    """Start a command that signals reach, even if the tests run in the background.

    It writes a checkpoint once in ``every`` seconds. If ``endless``, its trainings never end.
    A shell makes its background jobs ignore SIGINT, nohup SIGHUP, and child processes inherit that.
    """

    def defaults():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    code = ENDLESS * endless + SAYS_EPOCHS.replace("EVERY", str(every))
    with warnings.catch_warnings():  # Python 3.12 warns of a fork in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=cwd,
            env={
                # output that Python holds back is part of what the tests are about
                **{name: it for name, it in os.environ.items() if name != "PYTHONUNBUFFERED"},
                "PYTHONPATH": os.path.dirname(os.path.dirname(nfref.__file__)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=defaults,
        )


def ended(process, timeout=60):
    """Return the output of a command; kill it at the timeout."""
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.kill()


def wait_for_an_epoch(process):
    """Wait until the first epoch of the first fold is done; other folds may be faster."""
    while (line := process.stderr.readline()) != "epoch\n":
        assert line, "training ended by itself"
