"""``nfref info --system``."""

import sys

import numpy as np
import pytest

import nfref
from nfref.tables.fitting.flow_kinds import size_of
from tests.cli.commands import nfref_command, succeeds


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
        done = nfref_command("info", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_library_that_cannot_be_loaded_is_one_line(monkeypatch, capsys):
    import builtins

    import nfref_command

    plain = builtins.__import__

    def failing(name, *rest, **options):
        if name == "nfref.cli":
            raise ImportError("many lines\n\nOriginal error was: failed to map segment\n")
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", failing)
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
