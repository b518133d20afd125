"""Images and labels from the files of (Fashion-)MNIST."""

import gzip
import struct

import numpy as np


def idx(path):
    """The numbers of an IDX file: two zero bytes, the type 8 for bytes, the number of axes, their
    lengths, and then the bytes."""
    content = gzip.decompress(path.read_bytes())
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: expected an IDX file of bytes, got one that begins with "
                         f"{content[:4]}")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    numbers = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape))
    if numbers.size != np.prod(shape):
        raise ValueError(f"{path}: expected {shape} numbers, got {numbers.size}")
    return numbers.reshape(shape)


def fashion(paths):
    """((images, labels) to learn from, (images, labels) to test) of Fashion-MNIST's files."""
    found = {path.name[:5] + path.name.split("-")[1][:6]: idx(path) for path in paths}
    return ((found["trainimages"], found["trainlabels"]),
            (found["t10k-images"], found["t10k-labels"]))
