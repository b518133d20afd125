"""Matrix products on a block: exact with whole numbers, and the same bits however few columns."""

import ast
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock

from nfref.kernels.jit import kernel
from nfref.kernels.simd import matmul
from nfref.kernels.simd.matmul import ROWS, add_outer, ensure_compiled, times, times_transposed
from nfref.runtime.abandonable import Call

AT, APART = 3, 5  # where a part of a weight begins, and what stands between its rows


@kernel
def multiplied(weight, stride, fan_in, fan_out, h, out, width, columns, keep):
    times(weight, AT, stride, fan_in, fan_out, h, 0, out, 0, width, keep, columns)


def problem(fan_in, fan_out, dtype, draw):
    """A weight among NaN, what it multiplies, and what the result is added to."""
    weight = np.full((fan_in + 1, fan_out + APART), np.nan, dtype)
    flat = weight.ravel()
    part = np.lib.stride_tricks.as_strided(flat[AT:], (fan_in, fan_out), weight.strides)
    part[:] = draw((fan_in, fan_out))
    return flat, part, draw((fan_in, ROWS)).astype(dtype), draw((fan_out, ROWS)).astype(dtype)


def product_of(flat, h, before, columns, keep):
    width = 1 if columns == 1 else ROWS  # the features of a single row stand side by side
    h, (fan_in, fan_out) = np.ascontiguousarray(h[:, :width]), (len(h), len(before))
    out = np.full((fan_out, width), np.nan, before.dtype)
    out[:, :columns] = before[:, :columns] if keep else np.nan
    stride, to = fan_out + APART, out.reshape(-1)
    ensure_compiled(out.dtype)
    multiplied(flat, stride, fan_in, fan_out, h.ravel(), to, width, columns, keep)
    return out


# Rows of the last are 128 numbers apart: with 16 registers, full blocks pack them.
SIZES = [
    *((1, 1), (7, 3), (64, 8), (4, 64), (5, 15), (9, 16), (33, 17), (64, 70), (130, 203)),
    (300, 128 - APART),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("fan_in, fan_out", SIZES)
def test_whole_numbers_come_out_exact(fan_in, fan_out, keep, dtype):
    rng = np.random.default_rng(0)
    flat, part, h, before = problem(
        fan_in, fan_out, dtype, lambda shape: rng.integers(-9, 10, shape)
    )
    for columns in (1, 16, 48, ROWS):
        out = product_of(flat, h, before, columns, keep)
        expected = (part.T @ h + keep * before)[:, :columns]
        assert np.array_equal(out[:, :columns], expected)
        assert np.all(np.isnan(out[:, columns:]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("fan_in, fan_out", SIZES)
def test_few_columns_have_the_bits_of_all(fan_in, fan_out, keep, dtype):
    flat, _, h, before = problem(fan_in, fan_out, dtype, np.random.default_rng(0).standard_normal)
    all_of_them = product_of(flat, h, before, ROWS, keep)
    for columns in (1, 16, 48):
        out = product_of(flat, h, before, columns, keep)
        assert np.array_equal(out[:, :columns], all_of_them[:, :columns])


@kernel
def backward(weight, fan_in, fan_out, h, g, through, outer, columns):
    times_transposed(weight, 0, fan_out, fan_in, fan_out, g, 0, through, 0, 0, ROWS, columns)
    add_outer(h, 0, fan_in, g, 0, fan_out, outer, 0, fan_out, ROWS, columns)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fan_in, fan_out", SIZES)
def test_columns_without_rows_are_not_read(fan_in, fan_out, dtype):
    """Zeros there change sums along the rows by rounding, and sums of whole numbers not at all."""
    for draw in (
        np.random.default_rng(0).standard_normal,
        lambda shape: np.random.default_rng(0).integers(-9, 10, shape),
    ):
        weight, h, g, before = (
            draw(shape).astype(dtype)
            for shape in ((fan_in, fan_out), (fan_in, ROWS), (fan_out, ROWS), (fan_in, fan_out))
        )
        ensure_compiled(h.dtype)
        for there in (16, 48, ROWS):
            found = []
            for columns, rest in ((there, np.nan), (ROWS, 0)):
                h[:, there:] = g[:, there:] = rest
                through, outer = np.full_like(h, np.nan), before.copy()
                backward(
                    weight.ravel(),
                    fan_in,
                    fan_out,
                    h.ravel(),
                    g.ravel(),
                    through.reshape(-1),
                    outer.reshape(-1),
                    columns,
                )
                assert np.all(np.isnan(through[:, columns:]))
                found.append((through[:, :there], outer))
            assert np.array_equal(found[0][0], found[1][0])
            errors = np.abs(found[0][1] - found[1][1])
            terms = np.abs(before) + np.abs(h) @ np.abs(g).T
            assert np.all(errors <= 4 * np.finfo(dtype).eps * terms)
            if draw.__name__ == "<lambda>":
                assert np.array_equal(found[0][0], (weight @ g)[:, :there])
                assert np.array_equal(found[0][1], before + h @ g.T)
            h, g = (draw((units, ROWS)).astype(dtype) for units in (fan_in, fan_out))


def test_kernels_of_values_call_no_outer_products():
    """They are linked without them: a call would end the process."""
    callers = {
        (path.name, function.name): {argument.arg for argument in function.args.args}
        for path in Path(matmul.__file__).parents[1].glob("ch*/**/*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef) and "add_outer" in names_in(function)
    }
    assert len(callers) > 6
    assert [name for name, given in callers.items() if not given & {"g_theta", "cotangents"}] == []


def names_in(function):
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, there is no lock")
def test_threads_that_need_products_at_once_never_block_each_other(monkeypatch):
    """One holds the compiler's lock, since it compiles a kernel; another one holds nothing yet."""
    monkeypatch.setattr(matmul, "_COMPILED", set())
    begun = threading.Event()

    def address(*arguments, found=matmul.address):
        begun.set()
        return found(*arguments)

    monkeypatch.setattr(matmul, "address", address)
    dtype = np.dtype(np.float32)
    other = Call(ensure_compiled, (dtype,))

    def compiling():
        with global_compiler_lock:
            other.start()
            begun.wait()
            ensure_compiled(dtype)

    one = Call(compiling, ())
    one.start()
    assert one.ended.wait(60) and other.ended.wait(60) and one.error is other.error is None
