"""Formula and twin of any declared flow, at parameters and rows of any size."""

import numpy as np

from tests.fuzz.case import Case, require


def cases(rng, number):
    """Flows, directions, scales, sizes and dtypes; see ``tests/kernels/test_agreement.py``."""
    from tests.kernels.test_agreement import TWINNED, check  # imports every kernel

    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        name, direction = TWINNED[one.integers(len(TWINNED))]
        scale, size = 10 ** one.uniform(-1, 3), 10 ** one.uniform(-150, 150)
        size = 1.0 if one.random() < 0.3 else size
        dtype = (np.float64, np.float32)[one.integers(2)]
        check(name, direction, 1.0, 1.0, dtype)  # kernels are compiled before the case begins
        yield Case(
            f"backends: {name}, {direction}, {scale:.3g}, {size:.3g}, {dtype.__name__}",
            lambda folder, asked=(name, direction, scale, size, dtype): compare(*asked),
        )


def compare(*asked):
    from tests.kernels.test_agreement import check

    try:
        check(*asked)
    except AssertionError as error:
        require(False, " ".join(str(error).split())[:300])
    return "success"
