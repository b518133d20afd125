"""One BLAS thread a process: the arrays of the tests are too small for more to be of use."""

import os

import pytest

# Read when NumPy and SciPy load their libraries, which is after this file.
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


@pytest.fixture(autouse=os.environ.get("NUMBA_ENABLE_CUDASIM") == "1")
def patience(monkeypatch):
    """In the simulator of CUDA a kernel takes so long that the oracle would give it up."""
    from nfref.oracle.instruments import calling
    monkeypatch.setattr(calling, "load", lambda: 30.0)
