"""Bodies of one number, shared by the CPU and the CUDA kernels.

They are plain Python; each side compiles them for itself.
"""

import math


def softplus(x):
    """log(1 + e^x)."""
    return max(x, 0) + math.log1p(math.exp(-abs(x)))
