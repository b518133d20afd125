"""``nfref info --system``."""

import numpy as np
import pytest

import nfref
from tests.cli.commands import nfref_command, succeeds


def test_info_about_the_system(tmp_path):
    numba = pytest.importorskip("numba")
    lines = dict(line.split(": ", 1) for line in succeeds("info", "--system",
                                                          cwd=tmp_path).splitlines())
    lines = {name: text.strip() for name, text in lines.items()}
    assert list(lines) == ["nfref", "python", "numpy", "numba", "processor", "threads", "backend",
                           "cuda", "cache"]
    assert lines["nfref"] == nfref.__version__ and lines["numpy"] == np.__version__
    assert lines["numba"] == numba.__version__
    for arguments in ((), ("people.npz", "--system")):
        done = nfref_command("info", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
