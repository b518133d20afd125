"""Coupling flows: NICE (additive) and RealNVP (affine).

Sources: Dinh, Krueger, Bengio 2014, arXiv:1410.8516 (NICE); Dinh, Sohl-Dickstein, Bengio
2016, arXiv:1605.08803 (RealNVP).

A mask b splits the coordinates into those that stay (b_i = 1) and those that change
(b_i = 0). The changed ones are shifted and scaled by amounts computed from the ones that
stay, so the Jacobian is triangular whatever network computes them. Cost: one pass of the
network in either direction.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.checks import check_choice, check_count, check_hidden, check_positive
from nfref.flow import Composition, Flow
from nfref.flows.affine import affine_forward, affine_inverse
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.elementwise import Scale
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import bounded, init_mlp, mlp, with_context

# Formulas ---------------------------------------------------------------------------------


def additive_coupling_forward(z, shift):
    """x = z + t(b * z) with t zero where b = 1; log |det dx/dz| = 0 (NICE, eq. 5-6).

    Shapes: z, shift (N, D). Returns (N, D) and (N,).
    """
    return z + shift, np.zeros(len(z), dtype=z.dtype)


def additive_coupling_inverse(x, shift):
    """z = x - t(b * x): the coordinates t looks at are the same in x and z (NICE, eq. 7).

    Shapes: x, shift (N, D). Returns (N, D) and (N,).
    """
    return x - shift, np.zeros(len(x), dtype=x.dtype)


def affine_coupling_forward(z, shift, log_scale):
    """x = b*z + (1-b) * (z exp(s(b*z)) + t(b*z)),  log |det dx/dz| = sum_i s_i.

    RealNVP, eq. 6 and 9. ``shift`` t and ``log_scale`` s hold zeros where b = 1, which
    makes the masked expression the plain affine one.
    Shapes: z, shift, log_scale (N, D). Returns (N, D) and (N,).
    """
    return affine_forward(z, shift, log_scale)


def affine_coupling_inverse(x, shift, log_scale):
    """z = b*x + (1-b) * (x - t(b*x)) exp(-s(b*x)),  log |det dz/dx| = -sum_i s_i.

    RealNVP, eq. 8. Shapes: x, shift, log_scale (N, D). Returns (N, D) and (N,).
    """
    return affine_inverse(x, shift, log_scale)


# Masks ------------------------------------------------------------------------------------


def alternating_mask(dim, parity):
    """True where the coordinate stays: those with index of the given parity (0 or 1)."""
    return tuple(i % 2 == parity % 2 for i in range(dim))


def checkerboard_mask(shape, parity):
    """Checkerboard over the pixels of a (C, H, W) image, raveled (RealNVP, fig. 3)."""
    channels, height, width = shape
    return tuple((row + column) % 2 == parity % 2 for _ in range(channels)
                 for row in range(height) for column in range(width))


def channel_mask(shape, parity):
    """One half of the channels of a (C, H, W) image, raveled (RealNVP, fig. 3)."""
    channels, height, width = shape
    return tuple((channel < channels // 2) == (parity % 2 == 0) for channel in range(channels)
                 for _ in range(height * width))


# Layers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coupling(Flow):
    """What additive and affine coupling share: the mask and the conditioner network.

    The network reads the coordinates that stay (and the context) and gives
    ``outputs_per_dim`` numbers for each coordinate that changes.
    """

    mask: tuple
    hidden: tuple = (64, 64)
    context_dim: int = 0
    activation: str = "relu"

    outputs_per_dim = None

    def __post_init__(self):
        name = type(self).__name__
        mask = tuple(bool(stays) for stays in self.mask)
        if all(mask) or not any(mask):
            raise ValueError(f"{name}: expected a mask with at least one coordinate that stays "
                             f"and one that changes, got {mask}")
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))
        check_count("context_dim", self.context_dim, minimum=0)
        check_choice("activation", self.activation, ACTIVATIONS)

    @property
    def dim(self):
        return len(self.mask)

    @cached_property
    def _take(self):
        """(D, stay) 0/1 matrix that takes the coordinates that stay."""
        return np.eye(self.dim, dtype=bool)[:, np.asarray(self.mask)]

    @cached_property
    def _place(self):
        """(change, D) 0/1 matrix that puts values at the coordinates that change."""
        return np.eye(self.dim, dtype=bool)[~np.asarray(self.mask)]

    def _init(self, rng):
        stay = sum(self.mask)
        outputs = self.outputs_per_dim * (self.dim - stay)
        return {"net": init_mlp(rng, (stay + self.context_dim, *self.hidden, outputs))}

    def conditioner(self, params, u, context):
        """The network's outputs for rows u: ``outputs_per_dim`` arrays (N, D), zero where b = 1."""
        seen = with_context(u @ self._take.astype(u.dtype), context)
        raw = mlp(params["net"], seen, self.activation)
        place = self._place.astype(u.dtype)
        change = len(place)
        return [raw[:, k * change:(k + 1) * change] @ place for k in range(self.outputs_per_dim)]


class AdditiveCoupling(Coupling):
    """Additive coupling, the layer of NICE (Dinh et al. 2014, section 3.2).

    Volume preserving: its log-determinant is exactly zero.

    Parameters
    ----------
    mask : sequence of bool, length D
        True where a coordinate stays, False where it changes; at least one of each.
    hidden : sequence of int
        Hidden widths of the conditioner network.
    context_dim : int
        Context features C the conditioner also reads.
    activation : {"relu", "tanh", "softplus"}
    """

    outputs_per_dim = 1

    def _forward(self, params, z, context):
        return additive_coupling_forward(z, *self.conditioner(params, z, context))

    def _inverse(self, params, x, context):
        return additive_coupling_inverse(x, *self.conditioner(params, x, context))


@dataclass(frozen=True)
class AffineCoupling(Coupling):
    """Affine coupling, the layer of RealNVP (Dinh et al. 2016, section 3.2).

    Differs from the paper: the log-scale is bounded smoothly, s = r / sqrt(1 + (r/B)^2)
    for the network's output r, where the paper multiplies a tanh by a learned factor. So
    no layer stretches a coordinate by more than e^B.

    Parameters
    ----------
    mask : sequence of bool, length D
        True where a coordinate stays, False where it changes; at least one of each.
    hidden : sequence of int
        Hidden widths of the conditioner network.
    context_dim : int
        Context features C the conditioner also reads.
    activation : {"relu", "tanh", "softplus"}
    bound : float
        B: log-scales stay within (-B, B).
    """

    bound: float = 5.0

    outputs_per_dim = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive("bound", self.bound)

    def conditioner(self, params, u, context):
        """(shift, log_scale) for rows u, each (N, D), zero at the coordinates that stay."""
        shift, raw = super().conditioner(params, u, context)
        return shift, bounded(raw, self.bound)

    def _forward(self, params, z, context):
        return affine_coupling_forward(z, *self.conditioner(params, z, context))

    def _inverse(self, params, x, context):
        return affine_coupling_inverse(x, *self.conditioner(params, x, context))


# Stacks -----------------------------------------------------------------------------------


def check_can_couple(name, dim):
    """A coupling flow needs a coordinate to condition on and one to change."""
    if check_count("dim", dim) < 2:
        raise ValueError(f"{name}: expected dim of at least 2, because a coupling layer changes "
                         f"some coordinates by looking at others; got {dim}")


@dataclass(frozen=True)
class NICE(Composition):
    """NICE: additive couplings with alternating masks and a diagonal scaling.

    The scaling (Dinh et al. 2014, section 3.3) sits next to the latent: in ``forward`` it
    acts first. It is the only part with a log-determinant other than zero.

    Parameters
    ----------
    dim : int
        D, at least 2; odd values are fine.
    layers : int
        Number of coupling layers.
    hidden : sequence of int
        Hidden widths of each conditioner network.
    context_dim : int
        Context features C that every conditioner also reads.
    activation : {"relu", "tanh", "softplus"}
    """

    dim: int
    layers: int = 4
    hidden: tuple = (64, 64)
    context_dim: int = 0
    activation: str = "relu"

    def __post_init__(self):
        check_can_couple("NICE", self.dim)
        check_count("layers", self.layers)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))

    @cached_property
    def flows(self):
        couplings = (AdditiveCoupling(alternating_mask(self.dim, k), self.hidden,
                                      self.context_dim, self.activation)
                     for k in range(self.layers))
        return (Scale(self.dim), *couplings)


@dataclass(frozen=True)
class RealNVP(Composition):
    """RealNVP: affine couplings whose masks alternate between even and odd coordinates.

    Parameters
    ----------
    dim : int
        D, at least 2; odd values are fine.
    layers : int
        Number of coupling layers.
    hidden : sequence of int
        Hidden widths of each conditioner network.
    context_dim : int
        Context features C that every conditioner also reads.
    activation : {"relu", "tanh", "softplus"}
    bound : float
        Log-scales of each layer stay within (-bound, bound), see :class:`AffineCoupling`.
    batch_norm : bool
        Put a :class:`BatchNorm` after every coupling (Dinh et al. 2016, section 3.7).

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.RealNVP(2, layers=4)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    layers: int = 8
    hidden: tuple = (64, 64)
    context_dim: int = 0
    activation: str = "relu"
    bound: float = 5.0
    batch_norm: bool = False

    def __post_init__(self):
        check_can_couple("RealNVP", self.dim)
        check_count("layers", self.layers)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))

    @cached_property
    def flows(self):
        couplings = (AffineCoupling(alternating_mask(self.dim, k), self.hidden, self.context_dim,
                                    self.activation, self.bound)
                     for k in range(self.layers))
        if not self.batch_norm:
            return tuple(couplings)
        return tuple(flow for coupling in couplings for flow in (coupling, BatchNorm(self.dim)))
