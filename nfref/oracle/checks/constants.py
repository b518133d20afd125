"""Constants and factors that a log-density or a log-determinant is often off by."""

import numpy as np

LOG_2, LOG_2PI = np.log(2), np.log(2 * np.pi)
NEAR = 1 / 3  # of the tolerance of an integral, which its error seldom exceeds


def nearest(
    offset: float, dim: int, tolerance: float, further: dict[str, float] | None = None
) -> tuple[float, str]:
    """Return the one constant that an offset is close to, and its name in parentheses.

    If there is none, or several, return the offset and "". ``further`` are more constants of this
    subject, by name.
    """
    known = {
        "log 2": LOG_2,
        "D log 2": dim * LOG_2,
        "D/2 log 2": 0.5 * dim * LOG_2,
        "D/2 log 2 pi": 0.5 * dim * LOG_2PI,
        "(D - 1)/2 log 2 pi": 0.5 * (dim - 1) * LOG_2PI,
        "1/2 log 2 pi": 0.5 * LOG_2PI,
        "log 2 pi": LOG_2PI,
        "log 10": np.log(10),
        "log 256": np.log(256),
        "D log 256": dim * np.log(256),
        "log D": np.log(dim),
        "log D!": float(np.sum(np.log(np.arange(dim) + 1))),
    }
    found: dict[float, str] = {}
    for words, value in {**known, **(further or {})}.items():
        for sign in (1, -1):
            if abs(value) > 10 * tolerance and abs(offset - sign * value) < tolerance:
                found.setdefault(round(sign * value, 12), f" ({'-' * (sign < 0)}{words})")
    return found.popitem() if len(found) == 1 else (offset, "")
