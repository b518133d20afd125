"""One BLAS thread a process: the arrays of the tests are too small for more to be of use."""

import os

# Read when NumPy and SciPy load their libraries, which is after this file.
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
