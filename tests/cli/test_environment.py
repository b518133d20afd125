"""``nfref info --system``."""

import sys

import numpy as np
import pytest

import nfref
from nfref.tables.fitting.flow_kinds import size_of
from tests.cli.commands import in_process, nfref_command, succeeds


def test_info_about_the_system(tmp_path):
    numba = pytest.importorskip("numba")
    lines = dict(
        line.split(": ", 1) for line in succeeds("info", "--system", cwd=tmp_path).splitlines()
    )
    lines = {name: text.strip() for name, text in lines.items()}
    assert list(lines) == [
        "nfref",
        "python",
        "numpy",
        "numba",
        "processor",
        "threads",
        "backend",
        "cuda",
        "cache",
    ]
    assert lines["nfref"] == nfref.__version__ and lines["numpy"] == np.__version__
    assert lines["numba"] == numba.__version__
    for arguments in ((), ("people.npz", "--system")):
        done = in_process("info", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_library_that_cannot_be_loaded_is_one_line(monkeypatch, capsys):
    import builtins
    import signal

    import nfref_command

    plain = builtins.__import__

    def failing(name, *rest, **options):
        if name == "nfref.cli":
            raise ImportError("many lines\n\nOriginal error was: failed to map segment\n")
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", failing)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # main handles signals to the end
    assert nfref_command.main() == 2
    assert capsys.readouterr().err == (
        "nfref: error: a dependency failed to import: Original error was: failed to map segment\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no such limit holds")
def test_too_little_address_space_is_one_line_and_no_endless_loop(tmp_path):
    import resource

    done = nfref_command(
        "quantile",
        "m.npz",
        "--column",
        "a",
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (200 * 1024**2, -1)),
    )
    assert done.returncode == 2 and done.stderr == (
        "nfref: error: address space (ulimit -v): expected 800 MB or more, got a limit of 210 MB\n"
    )


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_none", "none", "tkagg"])
def test_pictures_need_no_backend(folder, tmp_path, backend):
    """In Jupyter's shell MPLBACKEND names a module that the command's Python may lack."""
    model, data = folder / "people.npz", folder / "people.csv"
    done = nfref_command(
        "plot",
        model,
        "--data",
        data,
        "--out",
        "p.png",
        cwd=tmp_path,
        environment={"MPLBACKEND": backend},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("NUMBA_NUM_THREADS", "0", "NUMBA_NUM_THREADS: expected at least 1, got 0"),
        ("NUMBA_NUM_THREADS", "-3", "NUMBA_NUM_THREADS: expected at least 1, got -3"),
        ("NUMBA_NUM_THREADS", "x", "NUMBA_NUM_THREADS: expected at least 1, got x"),
        ("SOURCE_DATE_EPOCH", "x", "SOURCE_DATE_EPOCH: expected at least 0, got x"),
        ("NUMBA_OPT", "x", "NUMBA_OPT: expected values that numba can read; Environment variable"),
        ("TQDM_MININTERVAL", "x", "TQDM_MININTERVAL: expected values that tqdm can read; could"),
        ("NFREF_BACKEND", "x", "NFREF_BACKEND: expected one of numpy, numba, cuda; got 'x'"),
        ("NFREF_VECTOR_BYTES", "8", "NFREF_VECTOR_BYTES: expected one of 16, 32, 64; got '8'"),
    ],
)
def test_a_variable_that_a_library_cannot_read_is_one_line(
    tmp_path, monkeypatch, name, value, message
):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    done = nfref_command("info", "--system", cwd=tmp_path, environment={name: value})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"nfref: error: {message}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (2048, "2.0 KiB"),
        (3 << 20, "3.0 MiB"),
        (5 << 40, "5,120.0 GiB"),
    ],
)
def test_sizes_are_told_in_a_unit_that_says_something(count, text):
    """Small sizes once read "0.0 GiB free, takes 0.0 GiB"."""
    assert size_of(count) == text
