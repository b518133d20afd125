"""Changes that no black box can see, each with the reason.

A key is the name of a mutant. Whatever stands here is left out of the score; it is the
business of other tests, which know what the formula is meant to be, where it is anybody's.
"""

_PLUS_ZERO = "zeros are added to give a shape, and subtracting them gives the same numbers"
_SAME_BRANCHES = (
    "both branches are the same function; which end is measured from changes its "
    "last digits alone, which the table of ulps watches"
)
_OTHER_SLACK = (
    "another positive distance 1 + w . u_hat: u_hat is made from it, so this is "
    "another parametrisation of an equally right planar map"
)
_ZERO_W = "matters where w = 0 alone, where the value multiplied by w is of no consequence"
_ZERO_LOG_DET = "the log-determinant is zero, and so is its multiple"
_DIGITS = "changes the last digits of a - tanh(a) alone, which the table of ulps watches"

_REASONS = {
    _PLUS_ZERO: (
        "planar: planar_inverse: slack + np.zeros_like(r) -> slack - np.zeros_like(r)",
        "planar: planar_inverse: slack + np.zeros_like(r) -> slack",
        "linear: linear_forward: np.linalg.slogdet(weight)[1] + np.zeros(len(z), dtype=z.dtype)"
        " -> np.linalg.slogdet(weight)[1] - np.zeros(len(z), dtype=z.dtype)",
        "linear: linear_inverse: -np.linalg.slogdet(weight)[1] + np.zeros(len(x), dtype=x.dtype)"
        " -> -np.linalg.slogdet(weight)[1] - np.zeros(len(x), dtype=x.dtype)",
        "LU linear: lu_linear_forward: np.sum(log_diagonal) + np.zeros(len(z), dtype=z.dtype)"
        " -> np.sum(log_diagonal) - np.zeros(len(z), dtype=z.dtype)",
        "LU linear: lu_linear_inverse: -np.sum(log_diagonal) + np.zeros(len(x), dtype=x.dtype)"
        " -> -np.sum(log_diagonal) - np.zeros(len(x), dtype=x.dtype)",
    ),
    _SAME_BRANCHES: (
        "sigmoid: sigmoid_forward: np.where(z < 0, lower + to_lower, upper - to_upper)"
        " -> np.where(z < 0, upper - to_upper, lower + to_lower)",
        "sigmoid: sigmoid_forward: np.where(z < 0, lower + to_lower, upper - to_upper)"
        " -> lower + to_lower",
        "sigmoid: sigmoid_forward: np.where(z < 0, lower + to_lower, upper - to_upper)"
        " -> upper - to_upper",
        "sigmoid: sigmoid_forward: z < 0 -> z >= 0",
    ),
    _OTHER_SLACK: (
        "planar: constrain_u: np.where(moves, softplus(w_u), 1)"
        " -> np.where(moves, 1, softplus(w_u))",
        "planar: constrain_u: np.where(moves, softplus(w_u), 1) -> 1",
    ),
    _ZERO_W: (
        "planar: constrain_u: np.where(moves, softplus(w_u), 1) -> softplus(w_u)",
        "planar: constrain_u: 1 -> 2",
        "planar: constrain_u: 1 -> 1.000001",
        "planar: constrain_u: np.where(moves, slack - 1 - w_u, 0) -> slack - 1 - w_u",
        "planar: constrain_u: np.where(moves, w_w, 1) -> w_w",
        "planar: constrain_u: 1 -> 2 #3",
        "planar: constrain_u: 1 -> 1.000001 #3",
    ),
    _DIGITS: (
        "planar: minus_tanh: 1 -> 2",
        "planar: minus_tanh: 1 -> 1.000001",
        "planar: minus_tanh: 1 -> 2 #2",
        "planar: minus_tanh: 1 -> 1.000001 #3",
        "planar: minus_tanh: np.where(a < 1, a * fraction / (1 + fraction), a - np.tanh(a))"
        " -> a - np.tanh(a)",
    ),
    _ZERO_LOG_DET: tuple(
        f"additive: additive_{direction}: ({rows} {sign} shift, {zeros}) -> "
        f"({rows} {sign} shift, {wrong})"
        for direction, rows, sign in (("forward", "z", "+"), ("inverse", "x", "-"))
        for zeros in (f"np.zeros_like({rows})",)
        for wrong in (f"-{zeros}", f"{zeros} * 0.5", f"{zeros} * 1.0001")
    ),
}

EQUIVALENT = {name: reason for reason, names in _REASONS.items() for name in names}
