"""A smooth bound on rows: :func:`nfref.transformers.affine.bounded` and its derivative."""

import math

from nfref.kernels.jit import body


@body
def squash(bound, raw, row, tape, by_raw, columns):
    """Compute r / sqrt(1 + (r/B)^2), and its derivative on the tape; see ``bounded``."""
    number = raw.dtype.type
    zero, one, infinity = number(0), number(1), number(math.inf)
    for r in range(columns):
        ratio = raw[row, r] / bound
        inner = one + ratio * ratio
        root = math.sqrt(inner)
        most = bound if ratio > zero else -bound
        raw[row, r] = most if root == infinity else raw[row, r] / root
        tape[by_raw, r] = one / (inner * root)
