"""The truths: full runs; and pictures of another size, refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tutorials" / "truths"), str(ROOT / "tutorials" / "applications")]
import _pictures  # noqa: E402
import fetch  # noqa: E402

PAGES = sorted((ROOT / "tutorials" / "truths").glob("[!_]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_claims_of_a_full_run(page, tmp_path):
    """Check what the pages assert of their committed figures: a minute of one core each."""
    done = subprocess.run(
        [sys.executable, str(page), "--full"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    if "applications/fetch.py" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shape", [(5, 27, 28), (5, 784), (28, 28)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"^pictures: expected shape \(N, 28, 28\), got \("):
        _pictures.halved(np.zeros(shape))


def test_halving_keeps_the_mean():
    """A margin of two is black: 784 of 1024 pixels count, and rounding moves half a level."""
    pictures = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    halved = _pictures.halved(pictures)
    assert halved.shape == (20, 256) and halved.dtype == np.float32
    np.testing.assert_allclose(halved.mean(), pictures.sum() / 20 / 1024, atol=0.1)
    single = np.zeros((1, 28, 28))
    single[0, 0, 0] = 200  # row 2, column 2 of the framed picture: tile (1, 1)
    assert _pictures.halved(single).reshape(16, 16)[1, 1] == 50


def test_the_readers_take_what_is_pinned():
    try:
        clothes, digits = _pictures.clothes("t10k"), _pictures.digits()
    except fetch.DataMissing as missing:
        pytest.skip(str(missing))
    assert clothes.shape == (10_000, 256) and digits.shape == (5000, 256)
    for pictures in (clothes, digits):
        assert pictures.min() == 0 and 200 < pictures.max() <= 255
        assert np.all(pictures == np.round(pictures))
