"""Backends: which modules load, how one is chosen, and the notice about compiling."""

import re
import threading

import numpy as np
import pytest

import nfref
from nfref.runtime.backends import chosen, numba_problem
from nfref.runtime.dispatch import CALL
from tests.runtime.processes import run_python


def test_importing_nfref_loads_neither_numba_nor_matplotlib():
    code = (
        "import sys, numpy as np, nfref; flow = nfref.RealNVP(2); "
        "flow.inverse(flow.init(np.random.default_rng(0)), np.zeros((7, 2))); "
        "print([name for name in ('numba', 'matplotlib') if name in sys.modules])"
    )
    done = run_python(code, NFREF_BACKEND="")
    assert done.stdout.strip() == "[]", done.stderr


def test_backend_is_one_of_three_and_ends_with_its_block(monkeypatch):
    monkeypatch.delenv("NFREF_BACKEND", raising=False)
    assert chosen() is None
    with nfref.backend("numpy"):
        with nfref.backend("numba"):
            assert chosen() == "numba"
        assert chosen() == "numpy"
    assert chosen() is None
    with pytest.raises(ValueError, match="backend: expected one of numpy, numba, cuda; got 'gpu'"):
        with nfref.backend("gpu"):
            pass
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        with nfref.backend("numba", threads=0):
            pass


def test_environment_names_a_backend_for_the_process(monkeypatch):
    monkeypatch.setenv("NFREF_BACKEND", "numpy")
    assert chosen() == "numpy"
    with nfref.backend("numba"):
        assert chosen() == "numba"
    monkeypatch.setenv("NFREF_BACKEND", "fast")
    with pytest.raises(ValueError, match="NFREF_BACKEND: expected one of"):
        chosen()


def test_cuda_without_a_device_is_an_error_at_once():
    code = "import nfref\nwith nfref.backend('cuda'): pass"
    done = run_python(code, NUMBA_ENABLE_CUDASIM="0", CUDA_VISIBLE_DEVICES="")
    assert "RuntimeError: backend: expected a CUDA device for 'cuda'" in done.stderr


def test_a_choice_holds_in_its_own_thread_alone(monkeypatch):
    monkeypatch.delenv("NFREF_BACKEND", raising=False)
    seen = []
    with nfref.backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(chosen()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.fixture
def numba_version(monkeypatch):
    """Let the installed Numba say that it is of another version."""
    numba = pytest.importorskip("numba")
    monkeypatch.delenv("NFREF_BACKEND", raising=False)
    yield lambda version: (
        monkeypatch.setattr(numba, "__version__", version),
        numba_problem.cache_clear(),
    )
    monkeypatch.undo()
    numba_problem.cache_clear()


@pytest.mark.parametrize("version", ["0.62.0", "0.65.1rc1", "0.68.1"])
def test_kernels_compute_with_the_versions_of_numba_that_they_are_made_for(numba_version, version):
    numba_version(version)
    assert numba_problem() is None


@pytest.mark.parametrize("version", ["0.61.2", "0.69.0rc1", "0+unknown", "1.0.0"])
def test_with_other_versions_of_numba_formulas_compute(numba_version, version, capsys):
    from nfref.cli import main

    numba_version(version)
    flow, rng = nfref.RealNVP(2), np.random.default_rng(0)
    params = flow.init(rng)
    x = rng.standard_normal((CALL // 1000, 2))
    with nfref.backend("numpy"):
        formula = flow.inverse(params, x)
    assert all(map(np.array_equal, flow.inverse(params, x), formula))
    problem = f"numba {version} is not one of 0.62 to 0.68, which kernels need"
    with pytest.raises(RuntimeError, match=f"expected Numba for 'numba'; {re.escape(problem)}$"):
        with nfref.backend("numba"):
            pass
    assert main(["info", "--system"]) == 0
    assert problem in capsys.readouterr().out


def test_the_command_line_says_in_one_line_that_it_compiles(capsys):
    from nfref.cli import main
    from nfref.kernels.compile_notice import announce

    assert main(["info", "--system"]) == 0
    assert capsys.readouterr().err == ""
    announce()
    announce()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nfref: compiling kernels")
