"""Small grey images: read from the files of MNIST and Fashion-MNIST, checked, halved, shown."""

import gzip
import io
import struct

import numpy as np
from PIL import Image


def idx(path):
    """Return the numbers of an IDX file.

    It holds two zero bytes, the type 8 for bytes, the number of axes, their lengths, and the bytes.
    """
    content = gzip.decompress(path.read_bytes())
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(
            f"{path}: expected an IDX file of bytes, got one that begins with {content[:4]}"
        )
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    numbers = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape))
    if numbers.size != np.prod(shape):
        raise ValueError(f"{path}: expected {shape} numbers, got {numbers.size}")
    return numbers.reshape(shape)


def fashion(paths):
    """Return ((training images, labels), (test images, labels)) from Fashion-MNIST's files."""
    found = {path.name[:5] + path.name.split("-")[1][:6]: idx(path) for path in paths}
    return (
        (found["trainimages"], found["trainlabels"]),
        (found["t10k-images"], found["t10k-labels"]),
    )


def mnist(path):
    """Return (images (N, 28, 28), labels) from a table with 784 pixels and a label per line."""
    table = np.loadtxt(gzip.open(path), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def check_images(images, shape):
    """Return uint8 pictures (N, H, W) of one shape; else raise an error of one line."""
    found = np.asarray(images)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[1:] != shape or not len(found):
        raise ValueError(
            f"images: expected uint8 of shape (N, {shape[0]}, {shape[1]}) with N at "
            f"least 1, got {found.dtype} of shape {found.shape}"
        )
    return found


def halved(images):
    """Pad 28 x 28 pixels with two of black, and average 2 x 2: (N, 256) of 0..255."""
    wide = np.pad(check_images(images, (28, 28)), ((0, 0), (2, 2), (2, 2)))
    return np.rint(wide.reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4))).reshape(-1, 256)


def sheet(images, columns):
    """Pictures (N, H, W) side by side, ``columns`` in a row; N is a multiple of it."""
    n, height, width = images.shape
    return (
        images.reshape(n // columns, columns, height, width)
        .transpose(0, 2, 1, 3)
        .reshape(n // columns * height, columns * width)
    )


def encoded(picture, form, **options):
    """The bytes of a uint8 picture in one of Pillow's formats."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, form, **options)
    return stream.getvalue()
