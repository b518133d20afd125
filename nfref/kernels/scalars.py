"""Bodies of one number, shared by the CPU and the CUDA kernels.

They are plain Python; each side compiles them for itself.
"""

import math


def softplus(a):
    """log(1 + e^a)."""
    return max(a, 0) + math.log1p(math.exp(-abs(a)))
