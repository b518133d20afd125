"""Tables that R packages ship: the part of R's file format (.rda) for a data frame.

The format is that of R's ``serialize``, version 2, in big-endian (XDR) numbers: every item begins
with four bytes of flags, whose lowest byte is its kind; then follow its length and its content, in
depth-first order.
"""

import lzma
import struct

import numpy as np

MAGIC = b"RDX2\nX\n"
HEAD = len(MAGIC) + 12  # three versions of four bytes
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400
SYMBOL, PAIRS, TEXT, STRINGS, LIST = 1, 2, 9, 16, 19
NUMBERS = {10: ">i4", 13: ">i4", 14: ">f8"}  # logical, integer, double
NIL, REFERENCE = 254, 255


def read_tables(path):
    """Return a file's data frames: {name: {column: array}}; a factor is an array of its labels.

    Raises
    ------
    ValueError
        If the file is not an xz-compressed .rda of version 2, or ends early.
    """
    try:
        content = lzma.decompress(path.read_bytes())
        if not content.startswith(MAGIC):
            raise ValueError(f"got one that begins with {content[:7]!r}")
        stored = _Reader(content).item()
        return {
            name: {column: _labels(values) for column, values in _columns(frame)}
            for name, frame in stored.items()
        }
    except (lzma.LZMAError, struct.error, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{path.name}: expected an xz-compressed R data file of version 2 with "
            f"data frames, {error}"
        ) from None


def _columns(frame):
    values, attributes = frame
    return zip(attributes["names"], values)


def _labels(column):
    if not isinstance(column, tuple):
        return column
    codes, attributes = column
    return np.array(attributes["levels"])[codes - 1]


class _Reader:
    """Items in sequence; an item with attributes is a pair (value, attributes)."""

    def __init__(self, content):
        self.content, self.at, self.symbols = content, HEAD, []

    def whole(self):
        self.at += 4
        return struct.unpack_from(">i", self.content, self.at - 4)[0]

    def item(self):
        flags = self.whole()
        kind = flags & 0xFF
        if kind == NIL:
            return None
        if kind == REFERENCE:  # to an earlier symbol
            return self.symbols[(flags >> 8) - 1]
        if kind == SYMBOL:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == PAIRS:
            return self.pairs(flags)
        value = self.vector(kind)
        return (value, self.item()) if flags & HAS_ATTRIBUTES and kind != TEXT else value

    def pairs(self, flags):
        """A linked list of tagged values, {tag: value}; its last link is nil."""
        found = {}
        while flags & 0xFF == PAIRS:
            if flags & HAS_ATTRIBUTES:
                self.item()
            tag = self.item() if flags & HAS_TAG else None
            found[tag] = self.item()
            flags = self.whole()
        return found

    def vector(self, kind):
        length = self.whole()
        if kind in (STRINGS, LIST):
            return [self.item() for _ in range(length)]
        if kind == TEXT:
            return self.taken(max(length, 0)).decode()  # a missing text has length -1
        if kind in NUMBERS:
            dtype = np.dtype(NUMBERS[kind])
            values = np.frombuffer(self.taken(length * dtype.itemsize), dtype)
            return values.astype(dtype.newbyteorder("="))
        raise ValueError(f"got an item of kind {kind}")

    def taken(self, count):
        self.at += count
        if self.at > len(self.content):
            raise ValueError("got one that ends early")
        return self.content[self.at - count : self.at]
