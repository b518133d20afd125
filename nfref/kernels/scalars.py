"""Bodies of one number, shared by the CPU and the CUDA kernels.

They are plain Python; each side compiles them for itself.
"""

import math


def bounded(raw, bound):
    """raw / sqrt(1 + (raw/bound)^2), see :func:`nfref.nets.bounded`."""
    ratio = raw / bound
    return raw / math.sqrt(1 + ratio * ratio)


def bounded_slope(raw, bound):
    """d bounded / d raw = (1 + (raw/bound)^2)^(-3/2)."""
    ratio = raw / bound
    inner = 1 + ratio * ratio
    return 1 / (inner * math.sqrt(inner))


def softplus(a):
    """log(1 + e^a)."""
    return max(a, 0) + math.log1p(math.exp(-abs(a)))
