"""Limit BLAS to one thread per process, and print one line on tests that did not run.

More threads do not help with arrays as small as those of the tests.
"""

import os
import re
import signal
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

# Read when NumPy and SciPy load their libraries, which is after this file.
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# Without Numba, skip modules that test only Numba code.
NO_NUMBA = find_spec("numba") is None
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
KERNELS = re.compile(r"^(import numba|from (numba|llvmlite|nfref\.kernels)\b)", re.MULTILINE)
collect_ignore = [
    path
    for path in Path(__file__).parent.rglob("test_*.py")
    if NO_NUMBA and KERNELS.search(path.read_text(encoding="utf-8"))
]


def pytest_configure(config):
    """Import nfref as it is.

    pytest rewrites the assertions of every package that has a plugin. For nfref's modules, which
    have few, a process would spend seven seconds on it in a new clone.
    """
    getattr(config.pluginmanager.rewrite_hook, "_must_rewrite", set()).discard("nfref")
    if SIMULATED:
        from tests.kernels.cuda_simulator import complete_simulator

        complete_simulator()


@pytest.fixture
def ctrl_c():
    """Let SIGINT raise KeyboardInterrupt; a job in the background of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def torch_seed(request):
    """Seed torch for tests with other libraries: they start alike alone and in the suite."""
    if request.node.get_closest_marker("peers") and find_spec("torch"):
        import torch

        torch.manual_seed(0)


@pytest.fixture(autouse=NO_NUMBA)
def skip_twins(monkeypatch):
    """Skip a test that asks for twins if Numba is not installed."""
    from nfref.runtime import backends

    require = backends._require
    monkeypatch.setattr(
        backends,
        "_require",
        lambda name: pytest.skip("Numba is not installed") if name == "numba" else require(name),
    )


@pytest.fixture(autouse=SIMULATED)
def patience(monkeypatch):
    """Raise the oracle's time limit in CUDA's simulator, where kernels are slow."""
    from nfref.oracle.instruments import guarded_calls

    monkeypatch.setattr(guarded_calls, "load", lambda: 30.0)


# What did not run ---------------------------------------------------------------------------

NOT_ASKED = Counter()


def pytest_deselected(items):
    NOT_ASKED.update(
        mark.name
        for item in items
        for mark in item.iter_markers()
        if mark.name in ("gpu", "peers", "slow", "thorough")
    )


def pytest_sessionfinish(session):
    """Send the count from a pytest-xdist worker to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_asked"] = dict(NOT_ASKED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    NOT_ASKED.update(Counter(getattr(node, "workeroutput", {}).get("not_asked")) - NOT_ASKED)


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get("skipped", [])
    if "NFREF_SKIPPED" in os.environ:  # a file for their names: .ci/run installs what they need
        names = sorted({report.nodeid for report in reports})
        Path(os.environ["NFREF_SKIPPED"]).write_text("\n".join(names), encoding="utf-8")
    skipped = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    told = [
        f"{what}: " + ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        for what, found in (("not asked for (-m NAME)", NOT_ASKED), ("cannot run here", skipped))
        if found
    ]
    if told:
        terminalreporter.write_line("; ".join(told))
