"""The anomaly page: its map of gradients, its areas under curves, R's files, and bad input."""

import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

PAGE = Path(__file__).parents[2] / "tutorials" / "applications" / "anomaly.py"
sys.path.insert(0, str(PAGE.parent))
import _patches  # noqa: E402
import _r_data  # noqa: E402


@pytest.fixture
def pictures():
    """Smooth random pictures, in which every patch has something to judge."""
    noise = np.random.default_rng(0).random((40, _patches.SIDE, _patches.SIDE))
    return gaussian_filter(noise, (0, 1, 1)) * 3


def quadratic(rows):
    return (rows**2).sum(axis=1)


def test_the_gradient_is_that_of_the_score(pictures, monkeypatch):
    monkeypatch.setattr(_patches, "gaussian_filter", lambda found, _: found)
    features = _patches.Features.learned(pictures, np.random.default_rng(1))
    picture, h = pictures[:1], 1e-3
    found = _patches.gradient_map(quadratic, features, picture)
    where = _patches.to_judge(picture)
    assert where.all()
    for place in ((0, 0), (5, 17), (14, 14), (27, 3)):
        step = np.zeros_like(picture)
        step[0][place] = h
        up, down = (
            quadratic(features(picture + sign * step, where).astype(float)).sum()
            for sign in (1, -1)
        )
        assert found[0][place] == pytest.approx(abs(up - down) / (2 * h), rel=2e-2, abs=2e-2)


def test_a_scratch_stays_on_the_garment(pictures):
    garment = np.where(np.arange(_patches.SIDE) < 14, 0.8, 0.0) * np.ones((_patches.SIDE, 1))
    picture, covered = _patches.scratched(garment, np.random.default_rng(0))
    assert covered[:, :14].any() and not covered[:, 14:].any()
    assert np.array_equal(picture[:, 14:], garment[:, 14:])


@pytest.mark.parametrize("shape", [(2, 32, 32), (28, 28), (0, 28, 28)])
def test_pictures_of_another_size_are_named(shape):
    with pytest.raises(ValueError, match=rf"pictures: expected shape .*, got \({shape[0]}"):
        _patches.map_of(quadratic, None, np.zeros(shape))


def test_blank_pictures_are_named():
    with pytest.raises(ValueError, match="pictures: expected one with something on it, got all"):
        _patches.map_of(quadratic, None, np.zeros((2, 28, 28)))


# Version 2: a pair list with one table t, of a column a with two doubles.
TABLE = (
    b"RDX2\nX\n"
    + bytes(12)
    + bytes.fromhex("00000402 00000001 00040009 00000001")
    + b"t"
    + bytes.fromhex(
        "00000213 00000001 0000000e 00000002 3ff0000000000000 4000000000000000"
        "00000402 00000001 00040009 00000005"
    )
    + b"names"
    + bytes.fromhex("00000010 00000001 00040009 00000001")
    + b"a"
    + bytes.fromhex("000000fe 000000fe")
)


def test_a_table_of_r_is_read(tmp_path):
    path = tmp_path / "t.rda"
    path.write_bytes(lzma.compress(TABLE))
    assert _r_data.read_tables(path)["t"]["a"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xz",
        lzma.compress(b"RDX3\nX\n"),
        lzma.compress(TABLE[:60]),
        lzma.compress(TABLE[:20]),
    ],
)
def test_a_file_that_is_no_table_of_r_is_named(tmp_path, content):
    path = tmp_path / "t.rda"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.rda: expected an xz-compressed R data file.*, ") as e:
        _r_data.read_tables(path)
    assert "\n" not in str(e.value)
