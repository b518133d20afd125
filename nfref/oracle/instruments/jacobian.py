"""Numerical derivatives with an error estimate.

Central differences d(h) = (f(p + h e_j) - f(p - h e_j)) / 2h have an error that falls like h^2
until the rounding of f, divided by h, dominates. Over a ladder of falling steps h_0 > h_1 > ...,
Richardson's combination of two neighbours

    R_k = (r^2 d(h_k+1) - d(h_k)) / (r^2 - 1),   r = h_k / h_k+1,

removes the h^2 term.

The choice of R_k starts from the small end. At the smallest step every R is true up to the rounding
of f, which is measured there. Going up, each next R has to agree with all those below it within the
effect of rounding. If one does not, the step is longer than the features of f (an oscillation, a
kink, chaos), and agreement among larger steps counts for nothing. Of the run below, the R whose
neighbours disagree with it least is taken, and the disagreement joins its error estimate.

A kink at p would fool even that: all d(h) agree on the mean of two slopes. So does a kink so near
that only rounding shows at the shorter steps. The one-sided slopes differ there by an amount that
does not shrink with h, and that amount joins the error estimate.

nfref's own tests have a second, simpler engine (``tests/finite_differences/numerics.py``). It is
kept apart so that no fault of this one can hide in both.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Callable, DTypeLike


@dataclass(frozen=True)
class Derivatives:
    """Values and first derivatives of f: R^D -> R^K at P points, each with its error.

    The noise is the distance of f's values at the smallest steps from a smooth curve. If f is
    constant there but not at larger steps (a number that passed through a shorter format), its
    noise is measured at those.
    """

    value: np.ndarray  # (P, K)
    jacobian: np.ndarray  # (P, K, D): d f_k / d p_j
    error: np.ndarray  # (P, K, D), absolute; inf where it is unknown
    noise: np.ndarray  # (P, K): measured rounding error of f


# Exponents of the steps, relative to the scale of a coordinate. Steps of ratio 4 find the best
# compromise between truncation and rounding; the wider ones below reach slopes of 1e8 and
# features of 1e-8, and measure the rounding of f.
EXPONENTS = {
    "float64": (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 25, 29, 33, 37, 41),
    "float32": (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20, 21),
}
BLOCK = 1 << 21  # numbers of one call, at most
NOTICED = 1e-3  # part of an accuracy; less noise is none of a root search


def ladder(dtype: DTypeLike) -> Array:
    """Return the steps relative to the scale of a coordinate, largest first."""
    return 2.0 ** -np.array(EXPONENTS[np.dtype(dtype).name], dtype=float)


def differentiate(
    function: Callable, points: Array, scale: Array, accuracy: float = 0.0, stride: int = 1
) -> Derivatives:
    """Return Richardson central differences at points (P, D).

    ``function`` maps (rows (M, D), owner (M,)) to (M, K) values; owner[m] is the index of the point
    that row m was made from. ``scale`` (P, D) is the length over which f is expected to vary.
    ``accuracy`` is the absolute accuracy of f, if it is known: the least noise of each component
    that shows NOTICED of it. With a ``stride`` of 2 every second step is left out: half the rows,
    and fewer digits where f is rough.
    """
    count, dim = points.shape
    steps = ladder(points.dtype)[::stride]
    parts = [
        _by_coordinates(function, points, scale, block, steps, accuracy)
        for block in np.array_split(np.arange(dim), -(-count * dim**2 * len(steps) // BLOCK))
        if len(block)
    ]
    jacobian, error = (
        np.concatenate([getattr(part, name) for part in parts], axis=2)
        for name in ("jacobian", "error")
    )
    noise = np.max([part.noise for part in parts], axis=0)
    return Derivatives(parts[0].value, jacobian, error, noise)


def _by_coordinates(function, points, scale, j, steps, accuracy):
    """Return the derivatives by the coordinates ``j`` alone."""
    count, dim = len(points), len(j)
    dtype = points.dtype
    sign = np.array([1.0, -1.0])
    moved = points.astype(np.float64)[:, None, None, None, :] * np.ones((1, dim, len(steps), 2, 1))
    moved[:, np.arange(dim), :, :, j] += scale.T[j][:, :, None, None] * steps[:, None] * sign
    moved = moved.astype(dtype)
    owner = np.broadcast_to(np.arange(count)[:, None, None, None], moved.shape[:4])
    rows = np.concatenate([points, moved.reshape(-1, points.shape[1])])
    owners = np.concatenate([np.arange(count), owner.ravel()])
    values = function(rows, owners)
    center = values[:count]
    values = values[count:].reshape(count, dim, len(steps), 2, -1)
    at = moved.astype(np.float64)[:, np.arange(dim), :, :, j]  # (D, P, steps, 2)
    at = at.transpose(1, 0, 2, 3)
    width = (at[..., 0] - at[..., 1])[..., None]
    with np.errstate(all="ignore"):
        slope = (values[..., 0, :] - values[..., 1, :]) / width  # (P, D, steps, K)
        here = points.astype(np.float64)[:, j, None, None]
        right = (values[..., 0, :] - center[:, None, None, :]) / (at[..., 0][..., None] - here)
        left = (center[:, None, None, :] - values[..., 1, :]) / (here - at[..., 1][..., None])
        bend = (right - left) / 2
        bent = (values[..., 0, :] + values[..., 1, :]) / 2 - center[:, None, None, :]
        noise = _noise(slope, width, bent)
        # A few differences may agree by chance at a single point, not at half of all points.
        noise = np.maximum(noise, np.median(noise, axis=0))
        noise = np.where(noise > NOTICED * accuracy, np.maximum(noise, accuracy), noise)
        rounding = noise + np.finfo(dtype).eps * np.abs(center)[:, None, :]
        estimate, error = _choose(slope, bend, 2 * rounding[:, :, None, :] / width, steps)
    noise = np.max(noise, axis=1)
    return Derivatives(center, estimate.transpose(0, 2, 1), error.transpose(0, 2, 1), noise)


def _noise(slope, width, bent):
    """Return the rounding of f (P, D, K), from differences at the smallest steps.

    A smooth f is straight there: its slopes are equal, and so are the means of its values on both
    sides, less f(p). What is left of their differences is noise. Another value of f at p alone
    changes neither.
    """

    def rough(part):
        size = np.abs(np.diff(slope[:, :, part], axis=2)) * width[:, :, part][:, :, 1:] / 2
        size = np.concatenate([size, np.abs(np.diff(bent[:, :, part], axis=2))], axis=2)
        return np.max(np.where(np.isfinite(size), size, 0), axis=2)

    half = (slope.shape[2] - 1) // 2
    middle, smallest = slice(half, half + 3), slice(slope.shape[2] - 3, None)
    stands_still = np.all(slope[:, :, smallest] == 0, axis=2)
    return np.where(stands_still, rough(middle), rough(smallest))


def _choose(slope, bend, rounding, steps):
    """Return the best Richardson value along the axis of steps, and its error estimate.

    The arguments are (P, D, steps, K): central slopes, half the differences of one-sided slopes,
    and the effect of rounding on a slope. ``steps`` is (S,).
    """
    weight = ((steps[:-1] / steps[1:]) ** 2)[:, None]
    richardson = (weight * slope[:, :, 1:] - slope[:, :, :-1]) / (weight - 1)
    bar = 2 * rounding[:, :, 1:]
    known = np.isfinite(richardson) & np.isfinite(bar)
    # If f is constant at small steps, its differences there carry no information.
    still = np.all(slope[:, :, -3:] == 0, axis=2, keepdims=True)
    moves = np.max(np.abs(slope), axis=2, keepdims=True) > 0
    silent = still & (np.abs(richardson) <= bar) & moves
    low = np.where(known & ~silent, richardson - bar, -np.inf)
    high = np.where(known & ~silent, richardson + bar, np.inf)
    # From the smallest step up: the run lasts while all intervals have a point in common.
    low = np.maximum.accumulate(low[:, :, ::-1], axis=2)[:, :, ::-1]
    high = np.minimum.accumulate(high[:, :, ::-1], axis=2)[:, :, ::-1]
    in_run = (low <= high)[:, :, :-2] & known[:, :, :-2]
    change = np.abs(np.diff(richardson, axis=2))
    # Three neighbours have to agree: two may do so by chance.
    error = np.maximum(change[:, :, :-1], change[:, :, 1:]) + rounding[:, :, 1:-2]
    error = np.where(in_run & np.isfinite(error), error, np.inf)
    best = np.argmin(error, axis=2)[:, :, None]
    estimate = np.take_along_axis(richardson, best, axis=2)[:, :, 0]
    error = np.take_along_axis(error, best, axis=2)[:, :, 0]
    # One-sided slopes approach each other in proportion to h where f is smooth. Beside a kink they
    # stay apart by a fixed amount, which a curved f hides at a long step: so it is extrapolated.
    parts = (bend, best + 2), (bend, best + 1), (rounding, best + 2)
    near, far, noise = (np.take_along_axis(part, k, axis=2)[:, :, 0] for part, k in parts)
    ratio = (steps[best + 1] / steps[best + 2])[:, :, 0]
    fixed, near, far = np.abs([(ratio * near - far) / (ratio - 1), near, far])
    fixed = np.where(fixed > np.maximum(0.1 * near, 3 * noise), fixed, 0)
    error = error + np.where(near > 0.6 * far, near, fixed)
    broken = ~np.isfinite(estimate)
    return np.where(broken, np.nan, estimate), np.where(broken, np.inf, error)


@dataclass(frozen=True)
class LogDeterminants:
    """log |det J| of each Jacobian, with its error and the sign of det J."""

    value: np.ndarray  # (P,), in nats
    error: np.ndarray  # (P,), inf where J is singular to working precision
    sign: np.ndarray  # (P,)


def log_determinants(jacobian: Array, error: Array, digits: float) -> LogDeterminants:
    """Return log |det J| and its error.

    d log |det J| = tr(J^-1 dJ), so errors e of J's entries give at most sum |J^-1|^T e. An entry
    has an error of ``digits`` at least, relative to the largest entry of its row.
    """
    dim = jacobian.shape[2]
    finite = np.all(np.isfinite(jacobian) & np.isfinite(error), axis=(1, 2))
    # Rows and columns may differ by many powers of ten (a coordinate far out in a tail).
    safe = np.where(finite[:, None, None], jacobian, np.eye(dim))
    row_size = np.max(np.abs(safe), axis=2, keepdims=True)
    row_size = np.where(row_size > 0, row_size, 1)
    scaled = safe / row_size
    column_size = np.max(np.abs(scaled), axis=1, keepdims=True)
    column_size = np.where(column_size > 0, column_size, 1)
    scaled = scaled / column_size
    sign, value = np.linalg.slogdet(scaled)
    value = value + np.sum(np.log(row_size), axis=(1, 2)) + np.sum(np.log(column_size), axis=(1, 2))
    # inv finds no pivot of zero in these matrices: it makes the same LU decomposition. LAPACK, not
    # nfref.runtime.small_matrices: the code of the flows must not judge them.
    regular = finite & (sign != 0)
    one_each = regular[:, None, None]
    scaled_inverse = np.abs(np.linalg.inv(np.where(one_each, scaled, np.eye(dim))))
    # Rows of the scaled matrix have largest entries of at most 1 / column_size.
    relative = np.maximum(np.where(one_each, error, 0) / row_size, digits) / column_size
    total = np.sum(scaled_inverse.transpose(0, 2, 1) * relative, axis=(1, 2))
    return LogDeterminants(np.where(regular, value, np.nan), np.where(regular, total, np.inf), sign)
