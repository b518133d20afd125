r"""Radial expansions: space grows or shrinks around a point, smoothly and locally.

Source: Tabak and Turner 2013, who build densities from many such maps, one after the other.

From data to latent, as there, every point moves away from a centre c by a share of its distance.
With s = |x - c| / width, and e^a the factor by which lengths grow at the centre itself,

    .. math::

        z &= c + (x - c) (1 + \beta f(s)), \qquad \beta = e^a - 1, \\
        \det \frac{dz}{dx} &= (1 + \beta f(s))^{D-1} (1 + \beta g(s)), \qquad
            g(s) = \frac{d}{ds} s f(s).

f falls from 1 at the centre to 0 far away. There are two profiles, the paper's and nfref's own:

    .. math::

        \text{erf:} \quad f = \frac{\sqrt\pi}{2} \frac{\operatorname{erf} s}{s}, \; g = e^{-s^2};
        \qquad \text{algebraic:} \quad f = (1 + s^2)^{-1/2}, \; g = f^3.

It is a diffeomorphism for every a, and smooth at the centre, where the radial map of Rezende and
Mohamed (``nfref/flows/radial.py``) has a kink. No point moves further than |beta| width. Cost: one
pass from data to latent; the other way one root of one scalar equation per row, for any D.
"""

from dataclasses import dataclass
from math import factorial

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.radial import log_of_sum
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.runtime.checks import one_of

PROFILES = ("algebraic", "erf")
# The coefficients of 1 - f in powers of s^2, for the profile erf: -(-1)^k / (k! (2k + 1)).
SERIES = tuple(-((-1) ** k) / (factorial(k) * (2 * k + 1)) for k in range(1, 18))

# Formulas ---------------------------------------------------------------------------------


def shares(square: Array, profile: str) -> tuple[Array, Array, Array, Array]:
    """Return f and g = d(s f)/ds of a profile, each with its distance from 1.

    Shapes: square, s^2, (N, 1). Returns four (N, 1): f, 1 - f, g, 1 - g.
    """
    if profile == "algebraic":
        log_f = -0.5 * np.log1p(square)
        return np.exp(log_f), -np.expm1(log_f), np.exp(3 * log_f), -np.expm1(3 * log_f)
    from autograd.scipy.special import erf  # slow to import, so only on use

    # 1 - f = u/3 - u^2/10 + ... with u = s^2 where s < 1, and no cancellation elsewhere.
    near = square < 1
    inside, s = np.where(near, square, 0), np.sqrt(np.where(near, 1, square))
    series = inside * (0.0 * inside + SERIES[-1])
    for term in SERIES[-2::-1]:
        series = inside * (term + series)
    outside = 0.5 * np.pi**0.5 * erf(s) / s
    return (
        np.where(near, 1 - series, outside),
        np.where(near, series, 1 - outside),
        np.exp(-square),
        -np.expm1(-square),
    )


def grown(rows: Array, centre: Array, share: Array, rest: Array, log_slack: Array) -> Array:
    """Return c + v (1 + beta share) for v = rows - c.

    The bracket is rest + e^a share, with rest = 1 - share. If it is not small, the equal form
    rows + v beta share keeps the digits of the rows for a centre far away.

    Shapes: rows (N, D); centre (D,); share, rest (N, 1); log_slack (1,). Returns (N, D).
    """
    v = rows - centre
    factor = rest + np.exp(log_slack) * share
    return np.where(factor < 0.5, centre + v * factor, rows + v * (np.expm1(log_slack) * share))


def expansion_log_det(square: Array, log_slack: Array, dim: int, profile: str) -> Array:
    """Return log det dz/dx = (D - 1) log(1 + beta f) + log(1 + beta g).

    Lengths across the radius grow like the radius itself, by 1 + beta f; lengths along it by its
    derivative. Both brackets are means of 1 and e^a with weights 1 - f and f, or 1 - g and g.

    Shapes: square, s^2, (N, 1); log_slack (1,). Returns (N,).
    """
    f, f_rest, g, g_rest = shares(square, profile)
    slack, beta = np.exp(log_slack), np.expm1(log_slack)
    across = log_of_sum(beta * f, f_rest + slack * f)
    along = log_of_sum(beta * g, g_rest + slack * g)
    return ((dim - 1) * across + along)[:, 0]


def expansion_inverse(
    x: Array, centre: Array, log_width: Array, log_slack: Array, profile: str
) -> tuple[Array, Array]:
    """Return z = c + (x - c) (1 + beta f(s)) and its log-det, with s = |x - c| / width.

    Paper:   Tabak and Turner, as implemented in a program based on it: data to latent, with
             r = |x - c|, z = x + beta' (x - c) erf(r / alpha) / r; the letters of the program are
             alpha: width, beta': beta sqrt(pi) width / 2.
    Differs: nothing with the profile "erf"; "algebraic" is nfref's own.

    Shapes: x (N, D); centre (D,); log_width, log_slack (1,). Returns (N, D) and (N,).
    """
    square = np.sum(((x - centre) * np.exp(-log_width)) ** 2, axis=1, keepdims=True)
    f, f_rest, _, _ = shares(square, profile)
    return (
        grown(x, centre, f, f_rest, log_slack),
        expansion_log_det(square, log_slack, x.shape[1], profile),
    )


def expansion_forward(
    z: Array, centre: Array, log_width: Array, log_slack: Array, profile: str
) -> tuple[Array, Array]:
    """Return x = c + (z - c) / (1 + beta f(s)), where s solves one scalar equation.

    Lengths: |z - c| / width = s (1 + beta f(s)), which :func:`expansion_root` solves for s.

    Shapes as for :func:`expansion_inverse`. Returns (N, D) and (N,).
    """
    v = (z - centre) * np.exp(-log_width)
    square = expansion_root(np.sum(v**2, axis=1, keepdims=True), log_slack, profile)
    f, f_rest, _, _ = shares(square, profile)
    slack, beta = np.exp(log_slack), np.expm1(log_slack)
    factor = f_rest + slack * f
    x = np.where(factor > 2, centre + (z - centre) / factor, z - (z - centre) * (beta * f / factor))
    return x, -expansion_log_det(square, log_slack, z.shape[1], profile)


@primitive
def expansion_root(target: Array, log_slack: Array, profile: str) -> Array:
    """Return the square of the s that solves s (1 - f(s)) + e^a s f(s) = sqrt(target).

    The left-hand side grows with s, with the slope (1 - g) + e^a g; it bends down for a > 0
    and up for a < 0. Newton's steps never overshoot, from the left for a > 0 and from the right
    for a < 0. |beta s f| <= |beta| and a slope of at least min(1, e^a) give the start. A row stops
    when its step changes direction or is only a few ulp.

    The equation is in squares, because they have derivatives at the centre and lengths do not.

    Shapes: target (N, 1), at least 0; log_slack (1,). Returns (N, 1).
    """
    slack = np.exp(log_slack)
    length = np.sqrt(target)
    below = np.minimum(length + (1 - slack), length / np.minimum(slack, 1))
    s = np.where(slack < 1, below, np.maximum(length - (slack - 1), length / slack))
    moves = np.isfinite(length)
    s = np.where(moves, s, length)
    for _ in range(200):
        f, f_rest, g, g_rest = shares(s**2, profile)
        step = (length - s * (f_rest + slack * f)) / (g_rest + slack * g)
        onward = np.where(slack < 1, step < 0, step > 0)
        moves = moves & onward & (np.abs(step) > np.finfo(s.dtype).eps * s)
        if not np.any(moves):
            break
        s = np.where(moves, s + step, s)
    return s**2


def _root_slopes(square, log_slack, profile):
    """Return d square / d target and d square / d a for target = square (1 + beta f)^2.

    (1 + beta f) (1 + beta g) dsquare + 2 square (1 + beta f) f e^a da = dtarget.
    """
    f, f_rest, g, g_rest = shares(square, profile)
    slack = np.exp(log_slack)
    along = g_rest + slack * g
    return 1 / ((f_rest + slack * f) * along), -2 * square * f * slack / along


defvjp(
    expansion_root,
    lambda square, target, log_slack, profile: (
        lambda g: g * _root_slopes(square, log_slack, profile)[0]
    ),
    lambda square, target, log_slack, profile: (
        lambda g: np.sum(g * _root_slopes(square, log_slack, profile)[1], axis=0)
    ),
)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RadialExpansion(Flow):
    """One radial expansion; ``inverse`` is explicit, as for fitting a density.

    Parameters
    ----------
    dim : int
        D, at least 1.
    profile : {"algebraic", "erf"}, default "algebraic"
        The profile f; "erf" is that of the paper.

    Notes
    -----
    Parameters in ``params``: ``centre`` (D,); ``log_width`` (1,); ``log_slack`` a, (1,), the
    logarithm of the factor by which ``inverse`` lets lengths grow at the centre.
    """

    dim: int
    profile: str = "algebraic"

    _converters = {"profile": one_of(PROFILES)}

    def _init(self, rng):
        # a = 0 is the identity; start near it.
        return {
            "centre": rng.standard_normal(self.dim),
            "log_width": np.zeros(1),
            "log_slack": rng.uniform(-0.1, 0.1, 1),
        }

    def _forward(self, params, z, context):
        return expansion_forward(z, **params, profile=self.profile)

    def _inverse(self, params, x, context):
        return expansion_inverse(x, **params, profile=self.profile)
