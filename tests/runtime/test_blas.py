"""Limit BLAS libraries to one thread, and check when the limit ends.

Each test runs in a process of its own with two BLAS threads; this process has one.
"""

import pytest

from tests.runtime.processes import run_python

START = """
import threading
import numpy as np
import scipy.linalg     # a library of its own
from threadpoolctl import threadpool_info
import nfref
from nfref.runtime.blas import one_thread

def threads():
    return {library["num_threads"] for library in threadpool_info()
            if library["user_api"] == "blas"}

MANY = threads()
if MANY != {2}:
    raise SystemExit(f"no BLAS here that takes two threads: {MANY}")
"""


def run(code):
    done = run_python(
        START + code, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"
    )
    if "no BLAS here" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


def test_blocks_in_blocks_and_an_error_inside():
    run("""
with one_thread():
    with one_thread():
        assert threads() == {1}
    assert threads() == {1}
assert threads() == MANY
try:
    with one_thread():
        raise KeyError
except KeyError:
    assert threads() == MANY
""")


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_blocks_that_overlap_in_two_threads(first_leaves_first):
    run(f"""
class Inside(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.entered, self.leave = threading.Event(), threading.Event()
        self.start()
        assert self.entered.wait(10)

    def run(self):
        with one_thread():
            self.entered.set()
            self.leave.wait(10)

    def end(self):
        self.leave.set()
        self.join()

both = [Inside(), Inside()]
assert threads() == {{1}}
for inside in both[::{1 if first_leaves_first else -1}]:
    inside.end()
assert threads() == MANY
""")


def test_parameters_are_packed_on_one_thread_where_that_takes_products():
    run("""
from nfref.kernels.chain.primitives import programs

for flow, needed in ((nfref.Sylvester(64), 1), (nfref.ResidualBlock(3), 1),
                     (nfref.LULinear(64), 1), (nfref.LULinear(3), 2),
                     (nfref.Chain([nfref.Linear(64), nfref.MAF(64, layers=1)]), 1),
                     (nfref.MAF(3, layers=1), 2)):
    program, = programs(flow, -1)
    seen = set()
    for _, instruction in program.instructions:
        def watched(*arguments, pack=instruction.pack):
            seen.update(threads())
            return pack(*arguments)
        object.__setattr__(instruction, "pack", watched)
    program.pack(flow.init(np.random.default_rng(0)), np.dtype(np.float64))
    assert seen == {needed} and threads() == MANY, flow
""")
