"""Small pictures for the truths: clothes and digits of 28 x 28 pixels, halved to 16 x 16."""

import gzip
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "applications"))
import fetch

SIDE, PIXELS = 16, 256


def halved(pictures):
    """Return (N, 256) whole numbers of (N, 28, 28): a margin of two, then 2 x 2 means."""
    if pictures.shape[1:] != (28, 28):
        raise ValueError(f"pictures: expected shape (N, 28, 28), got {pictures.shape}")
    framed = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))
    means = framed.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4))
    return np.round(means).reshape(-1, PIXELS).astype(np.float32)


def clothes(name):
    """Return Fashion-MNIST, "train" or "t10k", from an IDX file with a head of 16 bytes."""
    (path,) = (path for path in fetch.files("fashion") if path.name.startswith(f"{name}-images"))
    pixels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16)
    return halved(pixels.reshape(-1, 28, 28))


def digits():
    """Return 5000 digits of MNIST from a table of pixels; its last column is the label."""
    (path,) = fetch.files("digits")
    with gzip.open(path) as file:
        pixels = np.loadtxt(file, delimiter=",", dtype=np.uint8)[:, :784]
    return halved(pixels.reshape(-1, 28, 28))
