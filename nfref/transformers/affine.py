"""The affine transformer: a coordinate is scaled and shifted, in the forms of four papers.

Sources: Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803 (RealNVP); Papamakarios, Pavlakou,
Murray 2017, arXiv:1705.07057 (MAF); Kingma and Dhariwal 2018, arXiv:1807.03039 (Glow);
Kingma et al. 2016, arXiv:1606.04934 (IAF).

All are x = z exp(s) + t. They differ in how they compute the shift t and the log-scale s from the
two raw numbers (p, r) of a network. ``scale`` selects the form:

    "bounded"   t = p              s = r / sqrt(1 + (r/B)^2)
    "exp"       t = p              s = r
    "tanh"      t = p              s = f tanh(r), with one learned factor f a coordinate
    "sigmoid"   t = p              s = -log sigma(r + c)
    "gate"      t = -p e^-(r + c)  s = -log sigma(r + c)

The slope dz/dx = exp(-s) of the last two is sigma(r + c), below 1; so they are not the identity
at raw zeros. "gate" is computed as z = x sigma(r + c) + p (1 - sigma(r + c)): t could overflow,
and would cancel in the slopes by r.

Paper:   RealNVP v3, section 3.2: y = x exp(s) + t, data to latent; x there is x here, y is z,
         so s is -s and t is -t exp(-s) of here. Section 4.1: s is a tanh times a learned scale.
         MAF v4, section 3.1: x_i = u_i exp(alpha_i) + mu_i, latent to data; u is z, alpha is s,
         mu is t: "exp".
         IAF v2, section 4, algorithm 1: z' = sigma(s) z + (1 - sigma(s)) m, noise to z. As the
         ``inverse`` of "gate": z there is x here, z' is z, s is r + c, m is p.
Differs: "bounded" is of nfref: near zero s is r, and no layer stretches a coordinate by more
         than e^B. "tanh" starts with f = 1. RealNVP adds its shift after scaling x, here t is
         added after scaling z. "sigmoid" is Glow's published code, z = (x + p') sigma(r + 2),
         where t is -p'; the text, Glow, section 3.3 and table 1, has exp.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.networks.activations import sigmoid, softplus, tanh
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defjvp, defvjp, primitive
from nfref.runtime.checks import check_positive, one_of
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def affine_forward(z: Array, shift: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return x = z exp(s) + t and log dx/dz = s. Elementwise; shift and log_scale broadcast."""
    return z * np.exp(log_scale) + shift, log_scale


def affine_inverse(x: Array, shift: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return z = (x - t) exp(-s) and log dz/dx = -s. Elementwise; shift, log_scale broadcast."""
    return (x - shift) * np.exp(-log_scale), -log_scale


def gate_forward(z: Array, p: Array, raw: Array) -> tuple[Array, Array]:
    """Return x = z + (z - p) e^-r and log dx/dz = -log sigma(r). Elementwise."""
    return z + (z - p) * np.exp(-raw), softplus(-raw)


def gate_inverse(x: Array, p: Array, raw: Array) -> tuple[Array, Array]:
    """Return z = x sigma(r) + p sigma(-r) and log dz/dx = log sigma(r). Elementwise."""
    return x * sigmoid(raw) + p * sigmoid(-raw), -softplus(-raw)


@primitive
def bounded(raw: Array, bound: float) -> Array:
    """Squash the line smoothly onto (-B, B): return r / sqrt(1 + (r/B)^2). Elementwise.

    Near zero it is the identity. Unlike the slope of a clamp or a tanh, its slope
    (1 + (r/B)^2)^(-3/2) falls off slowly, so no scale gets stuck at the bound. If (r/B)^2
    overflows, the value is B or -B.
    """
    with np.errstate(over="ignore"):
        root = np.sqrt(1 + (raw / bound) ** 2)
    return np.where(np.isinf(root), bound * np.sign(np.real(raw)), raw / root)


def bounded_slope(raw: Array, bound: float) -> Array:
    """Return the slope of :func:`bounded`; autograd would subtract nearly equal numbers."""
    inner = 1 + (raw / bound) ** 2
    return 1 / (inner * np.sqrt(inner))


defvjp(bounded, lambda ans, raw, bound: lambda g: g * bounded_slope(raw, bound))
defjvp(bounded, lambda g, ans, raw, bound: g * bounded_slope(raw, bound))


def log_scale_of_sigmoid(raw: Array, offset: float) -> Array:
    """Return s = log(1 + e^-(r + c)), so that exp(-s) = sigma(r + c). Elementwise."""
    return softplus(-(raw + offset))


# Transformer ------------------------------------------------------------------------------

SCALES = ("bounded", "tanh", "sigmoid", "exp", "gate")


@dataclass(frozen=True)
class Affine(Transformer):
    """x = z exp(s) + t, with two raw numbers (p, r) a coordinate.

    Parameters
    ----------
    scale : {"bounded", "tanh", "sigmoid", "exp", "gate"}, default "bounded"
        The formulas of t and s in (p, r), at the head of this file. "tanh" is RealNVP's, "exp" is
        MAF's, "sigmoid" that of Glow's published code, "gate" IAF's.
    bound : float, default 5.0
        B of "bounded": log-scales stay within (-B, B).
    offset : float, default 2.0
        c of "sigmoid" and "gate". Glow's published code has 2, IAF's paper names 1 or 2.
    """

    scale: str = "bounded"
    bound: float = 5.0
    offset: float = 2.0

    size = 2
    _twin = "affine"
    _converters = {"scale": one_of(SCALES), "bound": check_positive, "offset": check_positive}

    def init(self, count: int) -> dict[str, Array]:
        """Return the learned factor of "tanh", one a coordinate; it starts at 1."""
        return {"factor": np.ones(count)} if self.scale == "tanh" else {}

    def constrain(self, raw: Array, own: dict[str, Array] | None = None) -> tuple[Array, ...]:
        """Return (t, s), for "gate" (p, r + c); "tanh" needs its ``{"factor": ...}`` as ``own``."""
        # np.split, because autograd makes its gradient faster than that of two slices.
        shift, raw = (np.reshape(part, raw.shape[1:]) for part in np.split(raw, 2))
        if self.scale == "bounded":
            return shift, bounded(raw, self.bound)
        if self.scale == "exp":
            return shift, raw
        if self.scale == "tanh":
            assert own is not None
            return shift, own["factor"] * tanh(raw)
        if self.scale == "gate":
            return shift, raw + self.offset
        return shift, log_scale_of_sigmoid(raw, self.offset)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz)."""
        return (gate_forward if self.scale == "gate" else affine_forward)(z, *h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx)."""
        return (gate_inverse if self.scale == "gate" else affine_inverse)(x, *h)
