"""The processor's vector registers, and the tiles of a matrix product that fit them.

``NFREF_VECTOR_BYTES`` shortens them for a whole process, before Numba compiles anything.
"""

from nfref.kernels.numba_internals import binding, config
from nfref.runtime.backends import vector_bytes

# Names of features that longer registers have, and those that come with them.
_LONGER = {16: ("avx", "evex", "amx", "fma", "f16c"), 32: ("avx512", "avx10", "evex", "amx")}


def _features():
    """Return the features of this processor that kernels may use, name -> bool."""
    features = binding.get_host_cpu_features()
    dropped = [name for name in features if name.startswith(_LONGER.get(vector_bytes() or 64, ()))]
    if any(features[name] for name in dropped):
        features.update(dict.fromkeys(dropped, False))
        config.CPU_NAME, config.CPU_FEATURES = "x86-64", features.flatten()
    return features


_FEATURES = _features()
PROCESSOR = config.CPU_NAME or binding.get_host_cpu_name()  # that Numba compiles for
_MANY = _FEATURES.get("avx512f", False) or _FEATURES.get("neon", False)  # 32 registers, or else 16
BYTES = 64 if _FEATURES.get("avx512f", False) else 32 if _FEATURES.get("avx", False) else 16
# A tile needs TALL * VECTORS registers for sums and a few more. To keep two multiply-adders busy,
# each of which takes four cycles to answer, it needs 8 sums or more.
TALL, VECTORS = (4, 4) if _MANY else (6, 2)
FLAT = 2 * VECTORS  # vectors of a tile of one or two rows: enough sums to hide how long one takes
