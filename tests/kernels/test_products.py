"""Matrix products on a block: exact with whole numbers, and the same bits however few columns."""

import numpy as np
import pytest

from nfref.kernels.jit import kernel
from nfref.kernels.simd.products import ROWS, ensure_compiled, times_first

AT, APART = 3, 5        # where a part of a weight begins, and what stands between its rows


@kernel
def multiplied(weight, stride, fan_in, fan_out, h, out, columns, keep):
    times_first(weight, AT, stride, fan_in, fan_out, h, 0, out, 0, columns, keep)


def problem(fan_in, fan_out, dtype, draw):
    """A weight among NaN, what it multiplies, and what the result is added to."""
    weight = np.full((fan_in + 1, fan_out + APART), np.nan, dtype)
    flat = weight.ravel()
    part = np.lib.stride_tricks.as_strided(flat[AT:], (fan_in, fan_out), weight.strides)
    part[:] = draw((fan_in, fan_out))
    return flat, part, draw((fan_in, ROWS)).astype(dtype), draw((fan_out, ROWS)).astype(dtype)


def product_of(flat, h, before, columns, keep):
    fan_in, fan_out = len(h), len(before)
    out = np.full_like(before, np.nan)
    out[:, :columns] = before[:, :columns] if keep else np.nan
    ensure_compiled(out.dtype)
    multiplied(flat, fan_out + APART, fan_in, fan_out, h.ravel(), out.reshape(-1), columns, keep)
    return out


SIZES = [(1, 1), (7, 3), (64, 8), (4, 64), (5, 15), (9, 16), (33, 17), (64, 70), (130, 203)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("fan_in, fan_out", SIZES)
def test_whole_numbers_come_out_exact(fan_in, fan_out, keep, dtype):
    rng = np.random.default_rng(0)
    flat, part, h, before = problem(fan_in, fan_out, dtype,
                                    lambda shape: rng.integers(-9, 10, shape))
    for columns in (1, 16, 48, ROWS):
        out = product_of(flat, h, before, columns, keep)
        expected = (part.T @ h + keep * before)[:, :columns]
        assert np.array_equal(out[:, :columns], expected)
        assert np.all(np.isnan(out[:, columns:]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("fan_in, fan_out", SIZES)
def test_few_columns_have_the_bits_of_all(fan_in, fan_out, keep, dtype):
    flat, _, h, before = problem(fan_in, fan_out, dtype,
                                 np.random.default_rng(0).standard_normal)
    all_of_them = product_of(flat, h, before, ROWS, keep)
    for columns in (1, 16, 48):
        out = product_of(flat, h, before, columns, keep)
        assert np.array_equal(out[:, :columns], all_of_them[:, :columns])
