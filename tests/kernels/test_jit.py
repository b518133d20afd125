"""What compiled code may do with memory: it owns none, and so counts no references."""

import numba
import numpy as np
import pytest

from nfref.kernels import jit
from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.compiler_pipeline import BodyLibrary
from nfref.kernels.simd.matmul import ROWS
from nfref.kernels.thread_pool import LINE, aligned
from tests.runtime.processes import run_python

compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, Python counts")


@jit.kernel
def double_units(flat, at, units, shape):
    """Twice the numbers of a view, and what the view says of itself."""
    view = units_of(flat, at, units)
    shape[0], shape[1], shape[2], shape[3] = (
        view.shape[0],
        view.shape[1],
        view.strides[0],
        view.size,
    )
    for j in range(len(view)):
        for r in range(ROWS):
            view[j, r] *= 2
    part = view[-1]
    part[ROWS - 1] += 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_are_a_view_of_the_numbers_from_a_place_on(dtype):
    flat, shape = np.arange(5 * ROWS + 7, dtype=dtype), np.zeros(4, int)
    double_units(flat, 7 + ROWS, np.int32(3), shape)
    expected = np.arange(5 * ROWS + 7, dtype=dtype)
    expected[7 + ROWS : 7 + 4 * ROWS] *= 2
    expected[7 + 4 * ROWS - 1] += 1
    assert np.array_equal(flat, expected)
    assert shape.tolist() == [3, ROWS, ROWS * flat.itemsize, 3 * ROWS]


@compiled_only
def test_no_references_are_counted():
    total = jit.reduction(lambda row: np.sum(row))  # too long to be made part of its callers

    def sums(flat, at, units, out):
        view, tail = units_of(flat, at, units), flat[at:]
        for j in range(units):
            out[j] = total(view[j]) + total(tail[j:])

    def counts(compile_as):
        compiled = compile_as(sums)
        compiled.compile("void(f8[::1], intp, intp, f8[::1])")
        (text,) = compiled.inspect_asm().values()
        return text.count("NRT_incref")

    assert counts(numba.njit) > 0
    assert counts(numba.njit(**jit.OPTIONS)) == 0


@compiled_only
@pytest.mark.parametrize("allocate", [np.empty_like, np.copy, np.zeros_like])
def test_a_kernel_that_allocates_is_not_compiled(allocate):
    @jit.kernel
    def total(x):
        copy = allocate(x)
        return copy[0]

    with pytest.raises(
        (numba.core.errors.NumbaError, NotImplementedError),
        match="NRT required|Only accept returning of array",
    ):
        total(np.ones(3))


@compiled_only
def test_a_body_that_returns_an_array_of_its_own_is_not_compiled():
    @jit.body
    def tail(x):
        return x[1:]

    @jit.kernel
    def second(x):
        return tail(x)[0]

    with pytest.raises(numba.core.errors.NumbaError, match="Only accept returning of array"):
        second(np.ones(3))


@pytest.mark.parametrize("size", [1, 1000, 100_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_to_work_in_starts_a_line_of_the_cache(size, dtype):
    for array in [aligned(size, dtype) for _ in range(5)]:
        assert array.shape == (size,) and array.dtype == dtype
        assert array.ctypes.data % LINE == 0
        array[:] = 1  # it is writable to its end


@compiled_only
def test_bodies_are_optimised_in_kernels_only_and_every_kernel_holds_its_own():
    @jit.body
    def square(x):
        return x * x

    @jit.kernel
    def fourth(x):
        return square(square(x))

    @jit.kernel
    def cube(x):
        return x * square(x)

    assert fourth(3.0) == 81.0 and cube(3.0) == 27.0 and fourth(np.float32(2)) == 16.0
    for result in square.overloads.values():
        assert isinstance(result.library, BodyLibrary)
        assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) == 0
    with pytest.raises(TypeError, match="square: expected to be called by a kernel"):
        square(3.0)


@compiled_only
def test_kernels_are_compiled_for_shorter_registers_on_request(tmp_path):
    code = """
import numpy as np, nfref
from nfref.kernels import registers
flow = nfref.RealNVP(3, hidden=(40, 40))
params = nfref.params.cast(flow.init(np.random.default_rng(0)), np.dtype("float32"))
x = np.random.default_rng(1).standard_normal((500, 3)).astype("float32")
with nfref.backend("numba"):
    twin = flow.inverse(params, x)
with nfref.backend("numpy"):
    formula = flow.inverse(params, x)
for ours, theirs in zip(twin, formula):
    assert np.max(np.abs(ours - theirs)) < 1e-4
print(registers.BYTES)
"""
    done = run_python(code, NFREF_VECTOR_BYTES="16", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout.strip() == "16", done.stderr


@compiled_only
def test_a_body_is_compiled_once_whatever_numbers_its_callers_write_out():
    @jit.body
    def add(x, number):
        x[0] += number

    @jit.kernel
    def adds(x, number):
        add(x, 1)
        add(x, 2)
        add(x, number)

    x = np.zeros(1)
    adds(x, 3)
    assert x[0] == 6 and len(add.overloads) == 1
