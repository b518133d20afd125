"""WaveFlow: finite differences, the rows that a row depends on, and unsuitable sound files."""

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import nfref

sys.path.insert(0, str(Path(__file__).parents[2] / "tutorials" / "applications"))
from _wave_flow import WaveFlow, WaveLayer, folded, read_wav, unfolded, write_wav


def made(flow, seed=0):
    rng = np.random.default_rng(seed)
    return nfref.params.tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), flow.init(rng))


def jacobians(function, rows, h=1e-5):
    return np.stack(
        [
            (function(rows + e)[0] - function(rows - e)[0]) / (2 * h)
            for e in h * np.eye(rows.shape[1])
        ],
        axis=-1,
    )


def test_log_det_and_inverse():
    flow = WaveFlow((3, 4), 2, 3, (1, 2))
    params = made(flow)
    x = np.random.default_rng(1).standard_normal((4, 12))
    z, log_det = flow.inverse(params, x)
    back, log_det_back = flow.forward(params, z)
    assert np.max(np.abs(back - x)) < 1e-9
    assert np.max(np.abs(log_det + log_det_back)) < 1e-9
    found = np.linalg.slogdet(jacobians(lambda rows: flow.inverse(params, rows), x))[1]
    assert np.max(np.abs(found - log_det)) < 1e-6


def test_a_row_sees_all_rows_above_and_none_below():
    """Eight rows, four layers of convolutions: a row reaches 3 + 2 + 2 + 2 rows."""
    flow = WaveLayer((8, 16), 4, (1, 2, 4, 8))
    x = np.random.default_rng(2).standard_normal((1, 128))
    seen = np.abs(jacobians(lambda rows: flow.inverse(made(flow), rows), x)[0]) > 1e-12
    by_row = seen.reshape(8, 16, 8, 16).any(axis=(1, 3))
    assert np.array_equal(by_row, np.tril(np.ones((8, 8), dtype=bool)))
    within = seen.reshape(8, 16, 8, 16)[np.arange(8), :, np.arange(8)]
    assert np.array_equal(within, np.broadcast_to(np.eye(16, dtype=bool), (8, 16, 16)))


def test_parameters_do_not_depend_on_the_width():
    """In the middle, a wide picture with silence on both sides equals a narrow one."""
    narrow, wide = WaveFlow((4, 32), 2, 3, (1, 2)), WaveFlow((4, 64), 2, 3, (1, 2))
    params = made(narrow)
    x = np.random.default_rng(3).standard_normal((1, 4, 64))
    middle = x[:, :, 16:48].reshape(1, -1)
    z = wide.inverse(params, x.reshape(1, -1))[0].reshape(4, 64)[:, 16:48]
    z_narrow = narrow.inverse(params, middle)[0].reshape(4, 32)
    assert np.allclose(z[:, 12:-12], z_narrow[:, 12:-12], atol=1e-9)


def test_folding():
    clip = np.arange(12.0)[None]
    rows = folded(clip, 3)
    assert np.array_equal(rows.reshape(3, 4)[:, 0], [0, 1, 2])
    assert np.array_equal(unfolded(rows, 3), clip)


def test_sound_files(tmp_path):
    path = tmp_path / "sound.wav"
    write_wav(path, [-40000.0, -1.4, 0.0, 7.6, 40000.0], 8000)
    samples, rate = read_wav(path)
    assert rate == 8000 and samples.tolist() == [-32768, -1, 0, 8, 32767]
    for samples in ([], [[1.0]], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="^samples: expected one axis of finite numbers, got"):
            write_wav(tmp_path / "other.wav", samples, 8000)
    assert not (tmp_path / "other.wav").exists()


@pytest.mark.parametrize(
    "channels, content, got",
    [(1, b"", "1 of 16 bits with 0 samples"), (2, bytes(8), "2 of 16 bits with 2 samples")],
)
def test_clips_of_another_kind_are_named(channels, content, got, tmp_path):
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(content)
    with pytest.raises(ValueError, match=f"clip.wav: expected one channel of 16 bits .*{got}"):
        read_wav(path)


def test_a_width_that_dilations_do_not_divide():
    with pytest.raises(ValueError, match="^shape: expected a width divisible by 8, got"):
        WaveLayer((8, 60))
