r"""The root of an increasing function of one number, for inverses that have no formula.

A monotone map z = F(x; h) has one x for every z. Newton's method finds it between two ends
that enclose it. Its derivatives come from the equation itself:

    .. math::

        F(x; h) = z \quad \text{gives} \quad
        dx = \frac{1}{F'(x)} \left(dz - \frac{\partial F}{\partial h} dh\right).

The map provides the ends: for any finite z, each transformer here knows two numbers that enclose
x. So no root is ever outside the search interval.

Source: safeguarded Newton steps are textbook numerics (Press et al., Numerical recipes, the
chapter on root finding).
"""

import autograd.numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import defvjp_argnums, primitive

STEPS = 200  # most steps; 200 halvings shrink any bracket here below one ulp
NEWTON_STEPS = 100  # steps after which all further ones are halvings


@primitive
def increasing_root(
    function: Callable[..., Any], ends: Callable[..., Any], target: Array, *h: Array
) -> Array:
    """Return the x with function(x, *h)[0] = target. Elementwise.

    A number takes Newton's step if that stays within the bracket and the previous step has at
    least halved the residue; otherwise its bracket is halved. Newton's steps shrink ever faster, so
    the step after d_k is below d_k (d_k / d_{k-1}). A number is done when this is less than one
    rounding error of x, relative to x, or when nothing is left between the ends. It is then
    fixed, so its digits do not depend on how long other numbers take. (A rule for the residue
    would need the accuracy of F, and a rule for d_k itself never ends where F is inaccurate.)

    Parameters
    ----------
    function : callable
        (x, *h) -> (value, logarithm of its slope), each like x; increasing in x.
    ends : callable
        (target, *h) -> (low, high) with function(low) <= target <= function(high), both finite.
    target : array (...)
    *h : arrays

    Returns
    -------
    array like ``target``
        NaN where the target is not finite.
    """
    solvable = np.isfinite(target)
    target = np.where(solvable, target, 0)
    low, high = ends(target, *h)
    x, moves = low / 2 + high / 2, solvable
    residue, last = np.full_like(x, np.inf), np.zeros_like(x)
    eps = np.finfo(x.dtype).eps
    with np.errstate(all="ignore"):  # untrusted steps may overflow
        for k in range(STEPS):
            value, log_slope = function(x, *h)
            excess = value - target
            low, high = np.where(excess <= 0, x, low), np.where(excess >= 0, x, high)
            step = -excess * np.exp(-log_slope)
            newton = x + step
            trusted = (
                (newton >= low)
                & (newton <= high)
                & (2 * np.abs(excess) <= residue)
                & (k < NEWTON_STEPS)
            )
            new = np.where(moves, np.where(trusted, newton, low / 2 + high / 2), x)
            ahead = step * (step / last)
            done = (new == x) | (trusted & (np.abs(ahead) <= eps * np.abs(new)))
            residue, last = np.abs(excess), np.where(trusted, step, 0)
            x, moves = new, moves & ~done
            if not np.any(moves):
                break
    return np.where(solvable, x, np.nan)


def inverse_by_root(
    function: Callable[..., Any], ends: Callable[..., Any], target: Array, *h: Array
) -> tuple[Array, Array]:
    """Return the root x of :func:`increasing_root`, and minus the logarithm of the slope there."""
    x = increasing_root(function, ends, target, *h)
    return x, -function(x, *h)[1]


def ends_on_tangents(function: Callable[..., Any], bound: float) -> Callable[..., Any]:
    """Return ``ends`` for a function that is a line outside of [-B, B].

    They are -B and B, or twice the root if the target is on one of the lines.
    """

    def ends(target, *h):
        low, high = (np.full_like(target, end) for end in (-bound, bound))
        for end in (low, high):
            value, log_slope = function(end, *h)
            beyond = (target - value) * np.sign(end) > 0
            along = end + (target - value) * np.exp(-log_slope)
            low, high = np.where(beyond, along, low), np.where(beyond, along, high)
        return low, high

    return ends


def _implicit_vjp(argnums, x, arguments, _):
    """Differentiate F(x; h) = z: dx = (dz - dF/dh dh) / F'."""
    function, _, _, *h = arguments

    def vjp(cotangent):
        pulled = cotangent * np.exp(-function(x, *h)[1])
        pull_back, _ = make_vjp(lambda given: function(x, *given)[0])(traced_tuple(h))
        back = pull_back(-pulled)
        return [pulled if argnum == 2 else back[argnum - 3] for argnum in argnums]

    return vjp


defvjp_argnums(increasing_root, _implicit_vjp)
