"""Packed arrays: the same bits back, and no array that its file does not account for."""

import numpy as np
import pytest

from nfref.tables.files.packing import pack, unpack


def arrays():
    """One array of each kind that is packed in its own way."""
    rng = np.random.default_rng(0)
    single = rng.standard_normal((16, 16)).astype(np.float32)
    mask = rng.random((16, 16)) < 0.5
    return {
        "float32": single,
        "float64 of float32": single.astype(np.float64),
        "float64": rng.standard_normal((16, 16)),
        "masked": np.where(mask, single, 0).astype(np.float64),
        "masked float64": np.where(mask, rng.standard_normal((16, 16)), 0),
        "signed zeros": np.where(mask, -0.0, 1.0),
        "nearly empty": np.where(np.arange(256) == 3, 1.0, 0.0),
        "not finite": np.array([np.nan, np.inf, -np.inf, 1e300]),
        "too large": np.array([1e39]),
        "by columns": np.asfortranarray(np.where(mask, single, 0)),
        "whole": np.arange(5),
        "none": np.zeros((0, 3)),
        "scalar": np.array(2.5),
    }


def test_the_same_bits_back():
    stored, packed = pack(arrays())
    found = unpack(stored, packed)
    assert set(found) == set(arrays())
    for name, array in arrays().items():
        own = found[name]
        assert own.dtype == array.dtype and own.shape == array.shape, name
        assert own.tobytes() == array.tobytes(), name
        assert own.flags.c_contiguous == array.flags.c_contiguous, name


def test_what_is_stored_is_small():
    stored, packed = pack(arrays())
    assert packed["float64 of float32"] == {"dtype": "float64"}
    assert packed["masked"] == {"dtype": "float64", "shape": [16, 16]}
    assert packed["masked float64"] == {"shape": [16, 16]}
    assert not {"float32", "float64", "by columns", "whole", "none", "too large"} & set(packed)
    assert stored["masked"].nbytes < 700 and stored["masked/nonzero"].nbytes == 32


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda stored, packed: (stored, []), "packed: expected names"),
        (lambda stored, packed: (stored, {"none": {"dtype": "float64"}}), "dtype and shape of an"),
        (lambda stored, packed: (stored, {"masked": {"size": 3}}), "dtype and shape of an array"),
        (lambda stored, packed: (stored, {"masked": {"dtype": "float32"}}), "that stands for"),
        (lambda stored, packed: (stored, {"masked/nonzero": {"dtype": "float64"}}), "stands for"),
        (lambda stored, packed: (stored, {"masked": {"shape": [2**60, 2**60]}}), "that fit in"),
        (lambda stored, packed: (stored, {"masked": {"shape": [-16, -16]}}), "that fit in"),
        (lambda stored, packed: (stored, {"masked": {"shape": 256}}), "that fit in 'masked'"),
        (lambda stored, packed: (stored, {"masked": {"shape": [255]}}), "as many numbers as"),
        (
            lambda stored, packed: (
                {**stored, "masked/nonzero": np.full(10**6, 255, np.uint8)},
                {"masked": {"shape": [8 * 10**6]}},
            ),
            "that fit in 'masked'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    mask = np.arange(256) % 2 == 1
    mask[-1], mask[0] = True, False
    stored, packed = change(*pack({"masked": mask * 1.5}))
    with pytest.raises(ValueError, match=message):
        unpack(stored, packed)
