r"""The root of an increasing function of one number, for inverses that have no formula.

A monotone map z = F(x; h) has one x for every z. It is found by Newton's method between two ends
that enclose it, and its derivatives come from the equation itself:

    .. math::

        F(x; h) = z \quad \text{gives} \quad
        dx = \frac{1}{F'(x)} \left(dz - \frac{\partial F}{\partial h} dh\right).

The ends are given by the map: each transformer here knows two numbers, for any z that floating
point can hold, between which x must be. So there is no interval that a root could be outside of.

Source: safeguarded Newton steps are textbook numerics (Press et al., Numerical recipes, the
chapter on root finding).
"""

import autograd.numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.runtime.annotations import Any, Callable
from nfref.runtime.autograd_internals import defvjp_argnums, primitive

STEPS = 200  # at most; as many halvings take any bracket that occurs below one ulp
NEWTON_STEPS = 100  # of these, after which only halvings are taken


@primitive
def increasing_root(
    function: Callable[..., Any], ends: Callable[..., Any], target: Any, *h: Any
) -> Any:
    """The x with function(x, *h)[0] = target. Elementwise.

    Newton's step is taken where it stays within the bracket and the step before has halved the
    residue at least; elsewhere the bracket is halved. Newton's steps shrink ever faster, so the
    step after d_k is below d_k (d_k / d_{k-1}). A number is done when that is less than one
    rounding error of x, relative to x, or when nothing is left between the ends. It then stays
    what it is, so that its digits do not depend on how long others take. (A rule for the residue
    would have to know how exact F is, and a rule for d_k itself never ends where F is not.)

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
    array like ``target``; NaN where that is not finite
    """
    solvable = np.isfinite(target)
    target = np.where(solvable, target, 0)
    low, high = ends(target, *h)
    x, moves = low / 2 + high / 2, solvable
    residue, last = np.full_like(x, np.inf), np.zeros_like(x)
    eps = np.finfo(x.dtype).eps
    with np.errstate(all="ignore"):  # steps that are not trusted may be anything
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


def _implicit_vjp(argnums, x, arguments, _):
    """F(x; h) = z differentiated: dx = (dz - dF/dh dh) / F'."""
    function, _, _, *h = arguments

    def vjp(cotangent):
        pulled = cotangent * np.exp(-function(x, *h)[1])
        pull_back, _ = make_vjp(lambda given: function(x, *given)[0])(traced_tuple(h))
        back = pull_back(-pulled)
        return [pulled if argnum == 2 else back[argnum - 3] for argnum in argnums]

    return vjp


defvjp_argnums(increasing_root, _implicit_vjp)
