"""Mix the bits of 64-bit integers: random keys of rows, and fingerprints of what rows hold."""

import numpy as np

from nfref.runtime.annotations import Array

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 adds it between two numbers


def mixed(bits: Array) -> Array:
    """Return the finaliser of splitmix64: every input bit changes every bit of the result."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
