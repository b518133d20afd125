"""Glow: a multi-scale flow for images.

Source: Kingma and Dhariwal 2018, arXiv:1807.03039; the multi-scale architecture is that of
Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803 (RealNVP).

From x to z, a level squeezes the image, takes K steps (actnorm, invertible 1x1 convolution,
affine coupling), and splits off half of the channels; the other half goes on to the next
level. Chains are listed in the direction z -> x, in the reverse order:

    level = [rest of the levels on the first half, split prior, (coupling, convolution,
             actnorm) K times, squeeze undone]

At the deepest level, its learned prior replaces the rest.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow, check_flow, maps_as
from nfref.flows.composition import Chain, Composition, Wrapped, with_fields_of
from nfref.flows.data_dependent import Adaptive, adapted, keeps_statistics
from nfref.flows.images import layers
from nfref.flows.linear import random_pivots
from nfref.runtime.annotations import Any, Sequence
from nfref.runtime.checks import check_count, one_of
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer


@dataclass(frozen=True)
class OnFirst(Wrapped, Adaptive):
    """A flow on the first coordinates; the others pass through.

    A multi-scale flow uses it to transform one part further and leave the other unchanged.

    Parameters
    ----------
    flow : Flow
        Acts on the first ``flow.dim`` coordinates.
    dim : int
        D, more than ``flow.dim``.
    """

    flow: Flow
    dim: int

    _twin = "on_first"
    _converters = {"flow": check_flow}

    def __post_init__(self):
        super().__post_init__()
        check_count("dim", self.dim, minimum=self.flow.dim + 1)

    def members(self, direction: int = 1) -> list[tuple[Flow, int, tuple]]:
        """Return the members of the flow inside, each on the first coordinates."""
        inner = self.flow.members(direction)
        if not maps_as(self, OnFirst) or inner[0][0] is self.flow:
            return super().members(direction)
        return [(OnFirst(flow, self.dim), sign, path) for flow, sign, path in inner]

    def _forward(self, params, z, context):
        first, rest = np.split(z, [self.flow.dim], axis=1)
        first, log_det = self.flow._forward(params, first, context)
        return np.concatenate([first, rest], axis=1), log_det

    def _inverse(self, params, x, context):
        first, rest = np.split(x, [self.flow.dim], axis=1)
        first, log_det = self.flow._inverse(params, first, context)
        return np.concatenate([first, rest], axis=1), log_det

    def _adapt(self, params, x, context, stage):
        return adapted(self.flow, params, x[:, : self.flow.dim], context, stage)

    @property
    def _keeps_statistics(self):
        return keeps_statistics(self.flow)


@dataclass(frozen=True)
class Glow(layers.ImageFlow, Composition):
    """Glow on raveled (C, H, W) images, as a flow from (N, C*H*W) standard normal rows.

    Latent rows hold the parts in the order of the levels, deepest first: at every level the
    half that goes on, then the half that is split off. Learned priors inside the flow score all
    parts, see :class:`SplitPrior` and :class:`TopPrior`.

    :func:`nfref.adapt` at the stage "start" initialises every actnorm from data.

    Paper:   Glow v2, sections 3.1, 3.2, 3.3: squeeze, then K steps of actnorm, 1x1 convolution
             and coupling, then a split, data to latent. RealNVP v3, section 3.6, (13)-(16).
             Glow, section 3.2: W = P L (U + diag(s)) starts as a random rotation; P and, in the
             published code, the signs of s stay as they are in its LU decomposition.
    Differs: log-scales are bounded smoothly by default: ``transformer=Affine("sigmoid")`` and
             ``split_transformer=Affine("exp")`` are the published code's. Its edge channel and
             output gain are the default; without them the networks are the text's. P and the signs
             are random, and come before the rotation instead of from it. The distribution is the
             same: P of a uniform rotation is uniform and independent of P^T W, and so are the
             signs of W's columns. They are configuration, so that all parameters are trained.
             The code learns the deepest prior on request (``learntop``), and
             trains the full matrices (``permutation="full"``): its LU form is switched off.

    Parameters
    ----------
    shape : (C, H, W)
        H and W divisible by 2**levels.
    levels : int, default 2
        L, the number of scales.
    steps : int, default 4
        K, the number of steps at each scale.
    hidden : sequence of int, default (64, 64)
        Hidden channels of the coupling networks, see :class:`ChannelCoupling`.
    context_dim : int, default 0
        Context features that every coupling and every prior read.
    permutation : {"lu", "full"}, default "lu"
        Form of the invertible 1x1 convolutions, see :class:`InvertibleConv`.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map of a number in the couplings.
    split_transformer : Transformer, default Affine()
        The map of a number in the priors.
    pivots : int, or one (permutation, signs) for each convolution, default 0
        The fixed parts of the LU forms, first those of the level next to the data. A number is
        the seed for random ones; the field then holds these.
    edge_channel, output_gain : bool, default True
        Two additions of the published code to the networks, see :class:`ChannelCoupling`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.Glow((1, 4, 4), levels=2, steps=2, hidden=(16, 16))
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 16)))
    >>> x.shape, log_det.shape
    ((3, 16), (3,))
    """

    shape: Sequence[int]
    levels: int = 2
    steps: int = 4
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    permutation: str = "lu"
    activation: str = "relu"
    transformer: Transformer = Affine()
    split_transformer: Transformer = Affine()
    pivots: Any = 0
    edge_channel: bool = True
    output_gain: bool = True

    _converters = {
        **layers.ChannelCoupling._converters,
        "levels": check_count,
        "steps": check_count,
        "permutation": one_of(("lu", "full")),
        "split_transformer": check_transformer,
    }

    def __post_init__(self):
        super().__post_init__()
        block = 2**self.levels
        if self.shape[1] % block or self.shape[2] % block:
            raise ValueError(
                f"shape: expected height and width divisible by {block} for "
                f"{self.levels} levels, got {self.shape}"
            )
        self._set(pivots=self._checked_pivots())

    def _checked_pivots(self):
        """Return one (permutation, signs) for each convolution; none for the full form."""
        if self.permutation == "full":
            return ()
        if isinstance(self.pivots, int):
            rng = np.random.default_rng(check_count("pivots", self.pivots, minimum=0))
            return tuple(
                random_pivots(rng, 2 ** (level + 2) * self.shape[0])
                for level in range(self.levels)
                for _ in range(self.steps)
            )
        pivots = tuple((tuple(order), tuple(signs)) for order, signs in self.pivots)
        if len(pivots) != self.levels * self.steps:
            raise ValueError(
                f"pivots: expected {self.levels * self.steps}, one for each "
                f"convolution; got {len(pivots)}"
            )
        return pivots

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The layers of all levels, from latent to data."""
        return self._level(self.shape, 0)

    def _level(self, shape, level):
        """Return the flows of a level and of the levels inside it, in the direction z -> x."""
        unsqueezed = layers.Squeeze(shape)
        channels, height, width = squeezed = unsqueezed.squeezed_shape
        coupling = with_fields_of(self, layers.ChannelCoupling, shape=squeezed)
        steps: list[Flow] = []
        for step in range(self.steps):
            pivots = self.pivots[level * self.steps + step] if self.pivots else ()
            convolution = layers.InvertibleConv(squeezed, self.permutation, *pivots)
            steps += [coupling, convolution, layers.ActNorm(squeezed)]
        if level + 1 == self.levels:
            return (self._prior(layers.TopPrior, squeezed), *steps, unsqueezed)
        rest = Chain(self._level((channels // 2, height, width), level + 1))
        prior = self._prior(layers.SplitPrior, squeezed)
        return (OnFirst(rest, unsqueezed.dim), prior, *steps, unsqueezed)

    def _prior(self, kind, shape):
        return with_fields_of(
            self, kind, shape=shape, hidden=(), transformer=self.split_transformer
        )
