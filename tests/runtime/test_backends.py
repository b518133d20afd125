"""Backends: which modules load, how one is chosen, and the notice about compiling."""

import threading

import pytest

import nfref
from nfref.runtime.backends import chosen
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


def test_the_command_line_says_in_one_line_that_it_compiles(capsys):
    from nfref.cli import main
    from nfref.kernels.compile_notice import announce

    assert main(["info", "--system"]) == 0
    assert capsys.readouterr().err == ""
    announce()
    announce()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nfref: compiling kernels")
