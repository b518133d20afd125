"""A range coder: whole numbers into bytes at the cost of their probabilities, and back.

Arithmetic coding divides an interval in proportion to the probabilities of the next symbol,
continues in the part of the actual symbol, and writes the digits on which all of that part agrees.
A symbol of probability P costs -log2 P bits, and the end at most one byte.

Probabilities are cumulative counts out of TOTAL: symbol k has the part from counts[k] to counts[k +
1], with counts[0] = 0 and counts[-1] = TOTAL. Both sides need the same counts.
"""

import numpy as np

TOTAL = 1 << 24  # the sum of all counts of a symbol
TOP, TAIL = 1 << 64, 1 << 56  # the interval's length is kept between these two


class Encoder:
    """Symbols in, bytes out."""

    def __init__(self):
        self.written, self.low, self.length = bytearray(), 0, TOP - 1

    def code(self, counts, symbol):
        """Write one symbol, and return it."""
        unit = self.length // TOTAL
        self.low += unit * int(counts[symbol])
        self.length = unit * int(counts[symbol + 1] - counts[symbol])
        self._carry()
        while self.length < TAIL:
            self._shift()
            self.length <<= 8
        return symbol

    def finish(self):
        """Return the bytes of the interval's first number that ends in zeros, without these."""
        self.low += TAIL - 1
        self._carry()
        self._shift()
        return bytes(self.written)

    def _shift(self):
        self.written.append(self.low >> 56)
        self.low = self.low % TAIL << 8

    def _carry(self):
        if self.low >= TOP:
            place = len(self.written) - 1
            while self.written[place] == 255:
                self.written[place] = 0
                place -= 1
            self.written[place] += 1
            self.low -= TOP


class Decoder:
    """The other direction; ``code`` recovers the encoder's symbol."""

    def __init__(self, content):
        self.content, self.place = content, 0
        self.above, self.length = 0, TOP - 1  # how far the number is above the interval's low
        for _ in range(8):
            self._shift()

    def code(self, counts, symbol=None):
        """Read one symbol; its argument is ignored."""
        unit = self.length // TOTAL
        target = min(self.above // unit, TOTAL - 1)
        symbol = int(np.searchsorted(counts, target, side="right")) - 1
        self.above -= unit * int(counts[symbol])
        self.length = unit * int(counts[symbol + 1] - counts[symbol])
        while self.length < TAIL:
            self._shift()
            self.length <<= 8
        return symbol

    def finish(self):
        """Do nothing, for symmetry with the encoder."""

    def _shift(self):
        following = self.content[self.place] if self.place < len(self.content) else 0
        self.above = self.above << 8 | following
        self.place += 1


def counts_of(below):
    """Return counts from probabilities: every symbol gets at least one, so it can be written.

    Parameters
    ----------
    below : (..., A + 1) array
        The probability of all symbols before the k-th; nondecreasing from 0 to 1.

    Returns
    -------
    (..., A + 1) array of int
    """
    symbols = below.shape[-1] - 1
    return np.floor(below * (TOTAL - symbols)).astype(np.int64) + np.arange(symbols + 1)
