"""VideoFlow: a flow for a frame, given the frames before it.

Source: Kumar et al. 2019, arXiv:1903.01434 (VideoFlow). Every frame goes through the same
multi-scale flow, which knows nothing of time; what is known of the past is in the prior of its
latents,

    p(z_t | past) = prod over levels l of N(z_t^l; m, exp(s)^2),

with m and s from a network that reads z_t of the levels above l and the latents of the frames
before, all at the resolution of level l. Everything is convolutions, so that parameters learned on
small pieces of frames hold for whole ones.
"""

import subprocess
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
import numpy

import nfref
from nfref.flows.composition import Chain
from nfref.flows.data_dependent import Adaptive, adapted
from nfref.networks.convolution import conv_net, init_conv_net
from nfref.transformers.affine import affine_forward, affine_inverse, bounded

# Frames ---------------------------------------------------------------------------------------


def read_video(path, height, width):
    """Return grey frames (T, height, width) uint8 of a video, averaged to that size by ffmpeg."""
    from imageio_ffmpeg import get_ffmpeg_exe

    done = subprocess.run(
        [
            get_ffmpeg_exe(),
            "-v",
            "error",
            "-i",
            str(path),
            "-vf",
            f"scale={width}:{height}:flags=area",
            "-pix_fmt",
            "gray",
            "-f",
            "rawvideo",
            "-",
        ],
        capture_output=True,
    )
    size = height * width
    if done.returncode or not done.stdout or len(done.stdout) % size:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no frames"])[-1]
        raise ValueError(f"{path}: expected a video with frames in it, got: {reason}")
    return numpy.frombuffer(done.stdout, numpy.uint8).reshape(-1, height, width)


def check_frames(frames, past):
    """Check for enough uint8 frames (T, H, W), with H and W divisible by 4."""
    found = numpy.asarray(frames)
    if found.dtype != numpy.uint8 or found.ndim != 3:
        raise ValueError(
            f"frames: expected uint8 of shape (T, H, W), got {found.dtype} of shape {found.shape}"
        )
    if len(found) <= past:
        raise ValueError(f"frames: expected more than {past}, got {len(found)}")
    if found.shape[1] % 4 or found.shape[2] % 4:
        raise ValueError(
            "frames: expected height and width divisible by 4, got "
            f"{found.shape[1]} x {found.shape[2]}"
        )
    return found


def frames_and_past(frames, past):
    """Return frames (T - past, H W), and those before each (T - past, past H W), latest first."""
    rows = check_frames(frames, past).reshape(len(frames), -1).astype(numpy.float32)
    before = [rows[past - k - 1 : len(rows) - k - 1] for k in range(past)]
    return rows[past:], numpy.concatenate(before, axis=1)


# Flow -----------------------------------------------------------------------------------------


def as_image(rows, shape):
    """Raveled (C, H, W) rows with channels last, as networks see them."""
    return rows.reshape((len(rows), *shape)).transpose((0, 2, 3, 1))


@dataclass(frozen=True)
class VideoFlow(Adaptive):
    """A frame from (N, H W) standard normal rows, given the frames before it.

    Paper:   VideoFlow: one flow of Glow's layers for all frames; a Gaussian prior a level,
             conditioned on higher levels and on the latents of earlier frames.
    Differs: two levels; the networks of the prior are plain convolutions where those of the paper
             are residual and dilated. m is the latest frame's latent plus what the network says,
             so that it begins with copying. Frames enter as (x - 128) / 64.

    Parameters
    ----------
    shape : (H, W)
        Divisible by 4; parameters do not depend on it.
    past : int
        How many frames are given, as a context of past H W columns, the latest first.
    steps : int
        Steps of Glow a level.
    hidden : sequence of int
        Of the couplings' networks.
    prior_hidden : sequence of int
        Of the prior's networks.
    """

    shape: tuple
    past: int = 2
    steps: int = 2
    hidden: tuple = (24, 24)
    prior_hidden: tuple = (32, 32)

    @property
    def dim(self):
        return self.shape[0] * self.shape[1]

    @property
    def context_dim(self):
        return self.past * self.dim

    @cached_property
    def shapes(self):
        """Return the picture's shape within each level: (4, H/2, W/2) and (8, H/4, W/4)."""
        height, width = self.shape
        return (4, height // 2, width // 2), (8, height // 4, width // 4)

    @cached_property
    def levels(self):
        """Return each level from inside to outside: steps, then the squeeze undone."""
        height, width = self.shape
        chains = []
        for seed, (outside, shape) in enumerate(
            zip(((1, height, width), (2, *self.shapes[0][1:])), self.shapes)
        ):
            rng = np.random.default_rng(seed)
            steps = [
                flow
                for _ in range(self.steps)
                for flow in (
                    nfref.ChannelCoupling(shape, self.hidden, edge_channel=False),
                    nfref.InvertibleConv(shape, "lu", *nfref.random_pivots(rng, shape[0])),
                    nfref.ActNorm(shape),
                )
            ]
            chains.append(Chain([*steps, nfref.Squeeze(outside)]))
        return tuple(chains)

    def _init(self, rng):
        # Inputs of the priors: past latents of the level; at the outer level also the inner part.
        reads = 2 + 4 * self.past, 8 * self.past
        writes = 4, 16
        return {
            "levels": [level._init(rng) for level in self.levels],
            "priors": [
                init_conv_net(rng, (read, *self.prior_hidden, write))
                for read, write in zip(reads, writes)
            ],
        }

    def _latents(self, params, rows):
        """Return (inner, off, on, log_det) of frames in the networks' unit.

        ``off`` is the half that the outer level splits off, ``on`` the half that goes on to the
        inner level, and ``inner`` that level's latent; each is a row (N, H W / 2).
        """
        inside, log_det = self.levels[0]._inverse(params["levels"][0], rows, None)
        on, off = np.split(inside, 2, axis=1)
        inner, log_det_inner = self.levels[1]._inverse(params["levels"][1], on, None)
        return inner, off, on, log_det + log_det_inner

    def _past(self, params, context):
        """Return latents of the frames before, the latest first: a list of (inner, off, on)."""
        frames = np.split((context - 128) / 64, self.past, axis=1)
        return [self._latents(params, frame)[:3] for frame in frames]

    def _prior(self, params, level, seen, latest):
        """Return (shift, log-scale) of a level's latent, as rows."""
        shape = self.shapes[level]
        images = [
            as_image(rows, (rows.shape[1] // (shape[1] * shape[2]), *shape[1:])) for rows in seen
        ]
        out = conv_net(params["priors"][level], np.concatenate(images, axis=3))
        out = out.transpose((0, 3, 1, 2)).reshape((len(latest), -1))
        shift, log_scale = np.split(out, 2, axis=1)
        return latest + shift, bounded(log_scale, 5.0)

    def _of_inner(self, params, past):
        return self._prior(params, 1, [inner for inner, _, _ in past], past[0][0])

    def _of_outer(self, params, past, on):
        seen = [on] + [rows for _, *rest in past for rows in rest]
        return self._prior(params, 0, seen, past[0][1])

    def _inverse(self, params, x, context):
        past = self._past(params, context)
        inner, off, on, log_det = self._latents(params, (x - 128) / 64)
        z_inner, log_inner = affine_inverse(inner, *self._of_inner(params, past))
        z_off, log_off = affine_inverse(off, *self._of_outer(params, past, on))
        scales = np.sum(log_inner, axis=1) + np.sum(log_off, axis=1) - self.dim * numpy.log(64)
        return np.concatenate([z_inner, z_off], axis=1), log_det + scales

    def _forward(self, params, z, context):
        past = self._past(params, context)
        z_inner, z_off = np.split(z, 2, axis=1)
        inner, log_inner = affine_forward(z_inner, *self._of_inner(params, past))
        on, log_det_on = self.levels[1]._forward(params["levels"][1], inner, None)
        off, log_off = affine_forward(z_off, *self._of_outer(params, past, on))
        x, log_det = self.levels[0]._forward(
            params["levels"][0], np.concatenate([on, off], axis=1), None
        )
        scales = np.sum(log_inner, axis=1) + np.sum(log_off, axis=1) + self.dim * numpy.log(64)
        return 64 * x + 128, log_det + log_det_on + scales

    def _adapt(self, params, x, context, stage):
        first = adapted(self.levels[0], params["levels"][0], (x - 128) / 64, None, stage)
        inside, _ = self.levels[0]._inverse(first, (x - 128) / 64, None)
        second = adapted(
            self.levels[1], params["levels"][1], np.split(inside, 2, axis=1)[0], None, stage
        )
        return {**params, "levels": [first, second]}
