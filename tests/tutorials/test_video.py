"""VideoFlow: a flow given the past, by finite differences; and unsuitable frames."""

import sys
from pathlib import Path

import numpy as np
import pytest

import nfref

sys.path.insert(0, str(Path(__file__).parents[2] / "tutorials" / "applications"))
from _video_flow import VideoFlow, check_frames, frames_and_past, read_video


def made(flow, size):
    rng = np.random.default_rng(0)
    return nfref.params.tree_map(lambda a: a + size * rng.standard_normal(a.shape), flow.init(rng))


def test_log_det_and_inverse():
    flow = VideoFlow((4, 4), 2, 1, (3,), (4,))
    params = made(flow, 0.1)
    rng = np.random.default_rng(1)
    x, context = rng.uniform(0, 255, (4, 16)), rng.uniform(0, 255, (4, 32))
    z, log_det = flow.inverse(params, x, context)
    back, log_det_back = flow.forward(params, z, context)
    assert np.max(np.abs(back - x)) < 1e-8
    assert np.max(np.abs(log_det + log_det_back)) < 1e-8
    h = 1e-4
    jacobians = np.stack(
        [
            (
                flow.inverse(params, x + h * e, context)[0]
                - flow.inverse(params, x - h * e, context)[0]
            )
            / (2 * h)
            for e in np.eye(16)
        ],
        axis=-1,
    )
    assert np.max(np.abs(np.linalg.slogdet(jacobians)[1] - log_det)) < 1e-6


def test_it_begins_with_copying():
    """The start predicts the latest frame as the mode of the next, for any earlier frames."""
    flow = VideoFlow((8, 4))
    params = flow.init(np.random.default_rng(2))
    context = np.random.default_rng(3).uniform(0, 255, (3, 64))
    x, _ = flow.forward(params, np.zeros((3, 32)), context)
    assert np.allclose(x, context[:, :32], atol=1e-9)


def test_adapting_gives_every_channel_mean_0_and_deviation_1():
    flow = VideoFlow((8, 8), steps=1)
    rng = np.random.default_rng(4)
    x, context = rng.uniform(0, 255, (40, 64)), rng.uniform(0, 255, (40, 128))
    params = nfref.adapt(flow, flow.init(rng), x, context, stage="start")
    inner, off, _, _ = flow._latents(params, (x - 128) / 64)
    # The convolutions that follow are rotations of the channels: they keep the trace.
    assert abs(np.mean(inner) ** 2) < 0.05
    assert abs(np.var(inner) - 1) < 1e-6
    assert off.shape == (40, 32)


def test_the_past_is_the_latest_first():
    frames = np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)
    rows, past = frames_and_past(frames, 2)
    assert rows.shape == (3, 16) and past.shape == (3, 32)
    assert np.array_equal(past[0], np.concatenate([frames[1].ravel(), frames[0].ravel()]))
    assert np.array_equal(rows[0], frames[2].ravel())


@pytest.mark.parametrize(
    "frames, complaint",
    [
        (np.zeros((5, 4, 4)), r"expected uint8 of shape \(T, H, W\), got float64"),
        (
            np.zeros((4, 4), np.uint8),
            r"expected uint8 of shape \(T, H, W\), got uint8 of shape \(4, 4",
        ),
        (np.zeros((2, 4, 4), np.uint8), "expected more than 2, got 2"),
        (np.zeros((5, 4, 6), np.uint8), "expected height and width divisible by 4, got 4 x 6"),
    ],
)
def test_frames_of_another_kind_are_named(frames, complaint):
    with pytest.raises(ValueError, match=f"^frames: {complaint}"):
        check_frames(frames, 2)


def test_a_file_that_is_no_video_is_named(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="the extra applications is not installed")
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"clip.mp4: expected a video with frames in it, got: \S"):
        read_video(path, 8, 8)
