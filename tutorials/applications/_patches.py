"""Patches of small grey pictures: scratches, features at two scales, maps of their scores."""

from dataclasses import dataclass

import numpy as np
from autograd import grad
from scipy.ndimage import gaussian_filter, uniform_filter

SIDE = 28
WIDTH, COMPONENTS, SCALES = 5, 12, (1, 2)  # patches of 5 x 5, and of 10 x 10 at half the resolution


def checked(pictures):
    """Return valid pictures; raise an error that describes anything else."""
    shape = np.shape(pictures)
    if len(shape) != 3 or shape[1:] != (SIDE, SIDE) or not shape[0]:
        raise ValueError(f"pictures: expected shape (N, {SIDE}, {SIDE}) with N > 0, got {shape}")
    return pictures


def scratched(picture, rng):
    """Return the picture with a scratch, and the scratch's mask."""
    rows, columns = np.nonzero(picture > 0.2)
    start = rng.integers(len(rows))
    angle, length = rng.uniform(0, np.pi), rng.uniform(10, 16)
    centre = np.array([rows[start], columns[start]], float)
    direction = np.array([np.sin(angle), np.cos(angle)])
    place = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1) - centre
    along = np.clip(place @ direction, -length / 2, length / 2)
    distance = np.linalg.norm(place - along[..., None] * direction, axis=-1)
    cover = 0.8 * np.clip(1.2 - distance, 0, 1) * (picture > 0.1)
    level = 0.0 if picture[rows[start], columns[start]] > 0.5 else 1.0
    return (1 - cover) * picture + cover * level, cover > 0.2


def patches(pictures, scale):
    """Return patches around all pixels, (N, 28, 28, 25); their entries average scale^2 pixels."""
    margin = WIDTH // 2 * scale
    blurred = uniform_filter(pictures, (0, scale, scale)) if scale > 1 else pictures
    padded = np.pad(blurred, ((0, 0), (margin, margin), (margin, margin)))
    reach = (WIDTH - 1) * scale + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (reach, reach), (1, 2))
    return windows[..., ::scale, ::scale].reshape(*pictures.shape, WIDTH**2)


def to_judge(pictures):
    """Return which patches are not of one grey, (N, 28, 28)."""
    where = patches(checked(pictures), 1).std(axis=-1) > 0.02
    if not where.any():
        raise ValueError("pictures: expected one with something on it, got all of one grey")
    return where


@dataclass(frozen=True)
class Features:
    """Principal components of patches: one (mean, components) per scale."""

    parts: list

    @classmethod
    def learned(cls, pictures, rng):
        where = to_judge(pictures)
        parts = []
        for scale in SCALES:
            rows = rng.choice(patches(pictures, scale)[where], 20_000, replace=False)
            mean = rows.mean(axis=0)
            components = np.linalg.svd(rows - mean, full_matrices=False)[2][:COMPONENTS].T
            parts.append((mean, components))
        return cls(parts)

    def __call__(self, pictures, where):
        """Return (M, 24) features of the patches at the M places that ``where`` selects."""
        return np.concatenate(
            [
                (patches(pictures, scale)[where] - mean) @ components
                for scale, (mean, components) in zip(SCALES, self.parts)
            ],
            axis=1,
        ).astype(np.float32)


def map_of(judge, features, pictures):
    """Return every patch's score at its pixel, (N, 28, 28); the lowest where none is judged."""
    where = to_judge(pictures)
    scores = judge(features(pictures, where))
    found = np.full(pictures.shape, scores.min())
    found[where] = scores
    return found


def gradient_map(judge, features, pictures):
    """|d score / d pixel|, smoothed over a pixel, (N, 28, 28)."""
    where = to_judge(pictures)
    at_features = grad(lambda rows: judge(rows).sum())(features(pictures, where))
    units = np.eye(SIDE**2).reshape(-1, SIDE, SIDE)
    total = np.zeros((len(pictures), SIDE**2))
    for k, (scale, (_, components)) in enumerate(zip(SCALES, features.parts)):
        at_patches = np.zeros((*pictures.shape, WIDTH**2))
        at_patches[where] = at_features[:, k * COMPONENTS : (k + 1) * COMPONENTS] @ components.T
        total += (
            at_patches.reshape(len(pictures), -1) @ patches(units, scale).reshape(SIDE**2, -1).T
        )
    return gaussian_filter(np.abs(total).reshape(pictures.shape), (0, 1, 1))
