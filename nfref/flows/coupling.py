"""Coupling flows: NICE (additive), RealNVP (affine), and any other transformer.

Sources: Dinh, Krueger, Bengio 2014, arXiv:1410.8516 (NICE); Dinh, Sohl-Dickstein, Bengio
2016, arXiv:1605.08803 (RealNVP).

A mask b splits the coordinates into those that stay (b_i = 1) and those that change
(b_i = 0). The latter pass a transformer whose parameters a network computes from the former. So
the Jacobian is triangular for any network. Cost: one pass of the network in either direction.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.batch_norm import check_batch_norm, with_batch_norm
from nfref.flows.composition import Composition, with_fields_of
from nfref.flows.elementwise import Scale
from nfref.flows.linear import permute
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import angles_as_points, init_mlp, mlp, with_context
from nfref.runtime.annotations import Any, Array, Callable, Iterable, Sequence
from nfref.runtime.checks import check_columns, check_count, check_hidden, one_of
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer, constrained, with_own

# Formula ----------------------------------------------------------------------------------


def couple(
    kept: Array, changed: Array, transform: Callable[..., Any], conditioner: Callable[..., Any]
) -> tuple[Array, Array]:
    """Return x_b = T(z_b; h(z_a)) and log |det dx/dz| = sum_i log dT/dz_i, where x_a = z_a.

    This one function serves both directions, since z_a = x_a determines h: ``transform`` is the
    transformer's ``forward`` (z to x) or ``inverse`` (x to z), and ``conditioner`` maps z_a to h.

    Paper:   RealNVP v3, section 3.3, (7)-(8): y_1 = x_1, y_2 = x_2 exp(s(x_1)) + t(x_1) and
             back, data to latent; 1 is a, 2 is b. NICE, section 3.2: y_2 = g(x_2; m(x_1)).
             RealNVP section 3.4, (9), writes the same with a mask b, 1 where a coordinate stays.
    Differs: nothing.

    Shapes: kept (N, A); changed (N, B). Returns the changed ones (N, B) and (N,).
    """
    changed, log_slope = transform(changed, conditioner(kept))
    return changed, np.sum(log_slope, axis=1)


# Masks ------------------------------------------------------------------------------------


def alternating_mask(dim: int, parity: int) -> tuple[bool, ...]:
    """Return True where the coordinate stays: at indices of the given parity (0 or 1)."""
    return tuple(i % 2 == parity % 2 for i in range(dim))


def checkerboard_mask(shape: Sequence[int], parity: int = 0) -> tuple[bool, ...]:
    """Return a checkerboard over the pixels of a (C, H, W) image, raveled.

    Paper:   RealNVP v3, section 3.4: 1 where the sum of the spatial coordinates is odd. That is
             parity 0; parity 1 is the other half.
    Differs: nothing.
    """
    channels, height, width = shape
    return tuple(
        (row + column + parity) % 2 == 1
        for _ in range(channels)
        for row in range(height)
        for column in range(width)
    )


def channel_mask(shape: Sequence[int], parity: int = 0) -> tuple[bool, ...]:
    """Return a mask of one half of the channels of a (C, H, W) image, raveled.

    Paper:   RealNVP v3, section 3.4: 1 for the first half. That is parity 0; parity 1 is the
             other half.
    Differs: nothing.
    """
    channels, height, width = shape
    return tuple(
        (channel < channels // 2) == (parity % 2 == 0)
        for channel in range(channels)
        for _ in range(height * width)
    )


# Layers -----------------------------------------------------------------------------------


class SplitFlow(Flow):
    """The common part of all couplings: some numbers of a row stay, the others are transformed.

    A subclass has ``transformer``, and ``stays``, the (D,) bool array of the numbers that stay. It
    computes h from them (``conditioner``).
    """

    transformer: Transformer
    stays: Array
    conditioner: Callable[..., Any]

    @cached_property
    def _order(self):
        """The places of the numbers that stay, then of those that change."""
        return np.concatenate([np.flatnonzero(self.stays), np.flatnonzero(~self.stays)])

    def halves(self, rows: Array) -> list[Array]:
        """Return the numbers that stay (N, A) and those that change (N, B)."""
        return np.split(permute(rows, self._order), [int(np.sum(self.stays))], axis=1)

    def joined(self, kept: Array, changed: Array) -> Array:
        """Return the rows (N, D) that :func:`halves` took apart."""
        return permute(np.concatenate([kept, changed], axis=1), np.argsort(self._order))

    def _forward(self, params, z, context):
        return self._couple(params, z, context, self.transformer.forward)

    def _inverse(self, params, x, context):
        return self._couple(params, x, context, self.transformer.inverse)

    def _couple(self, params, rows, context, transform):
        kept, changed = self.halves(rows)
        changed, log_det = couple(
            kept, changed, transform, lambda kept: self.conditioner(params, kept, context)
        )
        return self.joined(kept, changed), log_det


def check_mask(name: str, mask: Iterable[Any]) -> tuple[bool, ...]:
    """Return a mask as a tuple of bool: some coordinates stay, and some change."""
    mask = tuple(map(bool, mask))
    if all(mask) or not any(mask):
        raise ValueError(
            "Coupling: expected a mask with at least one coordinate that stays "
            f"and one that changes, got {mask}"
        )
    return mask


@dataclass(frozen=True)
class Coupling(SplitFlow):
    """A coupling layer: coordinates that stay determine the transformation of the others.

    With :class:`nfref.Additive` it is the layer of NICE, whose log-determinant is exactly zero;
    with :class:`nfref.Affine` that of RealNVP; with a spline that of neural spline flows.

    Parameters
    ----------
    mask : sequence of bool, length D
        True where a coordinate stays, False where it changes; at least one of each.
    transformer : Transformer, default Affine()
        The map of each coordinate that changes.
    hidden : sequence of int, default (64, 64)
        Hidden widths of the conditioner network.
    context_dim : int, default 0
        Context features C that the conditioner also reads.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    periodic : sequence of int, default ()
        The coordinates that are angles, in radians. The network reads their cosine and sine, so
        densities have no seam where a turn ends. The transformer of an angle has to be a map of
        the circle, :class:`nfref.MoebiusCircle` or a circular spline with bound pi.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.Coupling((True, False), nfref.Affine("exp"))
    >>> params = flow.init(np.random.default_rng(0))            # the identity
    >>> params["net"][-1]["bias"] = np.array([1.0, 0.5])        # shift and log-scale
    >>> x, log_det = flow.forward(params, np.array([[2.0, 3.0]]))
    >>> x.round(3), log_det
    (array([[2.   , 5.946]]), array([0.5]))
    """

    mask: Sequence[bool]
    transformer: Transformer = Affine()
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    activation: str = "tanh"
    periodic: Sequence[int] = ()

    _twin = "coupling"
    _converters = {
        "mask": check_mask,
        "transformer": check_transformer,
        "hidden": check_hidden,
        "activation": one_of(ACTIVATIONS),
    }

    def __post_init__(self):
        super().__post_init__()
        self._set(periodic=check_columns("periodic", self.periodic, len(self.mask)))

    @property
    def dim(self) -> int:
        """The number of coordinates D."""
        return len(self.mask)

    @cached_property
    def stays(self) -> Array:
        """The mask as a (D,) bool array."""
        return np.array(self.mask)

    @cached_property
    def _angles_that_stay(self):
        """The angles among the coordinates that stay, counted among those that stay."""
        stay = np.flatnonzero(self.mask).tolist()
        return tuple(stay.index(column) for column in self.periodic if column in stay)

    def _init(self, rng):
        stay = sum(self.mask)
        change = self.dim - stay
        read = stay + len(self._angles_that_stay)
        sizes = (read + self.context_dim, *self.hidden, self.transformer.size * change)
        return with_own(self.transformer, {"net": init_mlp(rng, sizes)}, change)

    def conditioner(
        self, params: dict[str, Any], kept: Array, context: Array | None
    ) -> tuple[Array, ...]:
        """Return h for the coordinates that change, from those that stay."""
        inputs = with_context(angles_as_points(kept, self._angles_that_stay), context)
        return constrained(self.transformer, params, mlp(params["net"], inputs, self.activation))


# Stacks -----------------------------------------------------------------------------------


def check_can_couple(name: str, dim: int) -> None:
    """Check that there is a coordinate to condition on and one to change."""
    if dim < 2:
        raise ValueError(
            f"{name}: expected dim of at least 2, because a coupling layer changes "
            f"some coordinates by looking at others; got {dim}"
        )


@dataclass(frozen=True)
class NICE(Composition):
    """NICE: additive couplings with alternating masks and a diagonal scaling.

    The scaling is next to the latent: in ``forward`` it acts first. It is the only part with
    a log-determinant other than zero.

    Paper:   NICE, section 3.3: x_i -> S_ii x_i as the last map of data to latent, with
             S_ii = exp(s_ii) in section 5; so s_ii is minus the log-scale here. Section 3.2:
             couplings that alternate between the two halves; section 5 has four, whose halves
             are the odd and the even coordinates.
    Differs: nothing but signs.

    Parameters
    ----------
    dim : int
        D, at least 2; odd values are fine.
    layers : int, default 4
        Number of coupling layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each conditioner network.
    context_dim : int, default 0
        Context features C that every conditioner also reads.
    activation : {"relu", "tanh", "softplus"}, default "tanh"

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.NICE(4)
    >>> params = flow.init(np.random.default_rng(0))
    >>> params[0]["log_scale"] = np.full(4, 0.5)        # couplings have log-determinant 0
    >>> flow.forward(params, np.ones((3, 4)))[1]
    array([2., 2., 2.])
    """

    dim: int
    layers: int = 4
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    activation: str = "tanh"

    _converters = {**Coupling._converters, "layers": check_count}

    def __post_init__(self):
        super().__post_init__()
        check_can_couple("NICE", self.dim)

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The scaling and the couplings, from latent to data."""
        couplings = (
            with_fields_of(
                self, Coupling, mask=alternating_mask(self.dim, k), transformer=Additive()
            )
            for k in range(self.layers)
        )
        return (Scale(self.dim), *couplings)


@dataclass(frozen=True)
class RealNVP(Composition):
    """RealNVP: affine couplings whose masks alternate between even and odd coordinates.

    Paper:   RealNVP v3, section 3.5: masks alternate from layer to layer. Section 3.7, (17):
             from data to latent every coupling is followed by a batch norm; so the first map
             of ``forward`` is a batch norm, and none is next to the data. Section 4.1: s is a
             tanh times a learned scale; ``transformer=Affine("tanh")``.
    Differs: the default log-scale is bounded smoothly, see :class:`nfref.Affine`. One network
             gives shift and scale. Statistics of batch norm: see :class:`nfref.BatchNorm`. The
             paper's masks for images are :func:`nfref.checkerboard_mask` and
             :func:`nfref.channel_mask`.

    Parameters
    ----------
    dim : int
        D, at least 2; odd values are fine.
    layers : int, default 8
        Number of coupling layers.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each conditioner network.
    context_dim : int, default 0
        Context features C that every conditioner also reads.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    transformer : Transformer, default Affine()
        The map of the coordinates that a coupling changes.
    batch_norm : bool, "running" or "training set", default False
        Put a :class:`nfref.BatchNorm` on the latent side of every coupling. A string names
        the statistics of evaluation; True means the paper's, "running".
    periodic : sequence of int, default ()
        The coordinates that are angles, see :class:`Coupling`.

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
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    activation: str = "tanh"
    transformer: Transformer = Affine()
    batch_norm: bool | str = False
    periodic: Sequence[int] = ()

    _converters = {**Coupling._converters, "layers": check_count, "batch_norm": check_batch_norm}

    def __post_init__(self):
        super().__post_init__()
        check_can_couple("RealNVP", self.dim)
        self._set(periodic=check_columns("periodic", self.periodic, self.dim))

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The couplings and their batch norms, from latent to data."""
        masks = [alternating_mask(self.dim, k) for k in range(self.layers)]
        couplings = (with_fields_of(self, Coupling, mask=mask) for mask in masks)
        return with_batch_norm(self.batch_norm, couplings, "running")
