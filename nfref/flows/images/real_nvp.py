"""RealNVP for images: masked convolutions at several scales.

Source: RealNVP (Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803), sections 3.4 and 3.6.

From x to z, a scale takes three couplings masked by a checkerboard, squeezes the image, takes
three couplings masked by channels, and factors out half of the channels, which become latent;
the other half goes on to the next scale. The last scale has four couplings by checkerboard.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Chain, Composition, with_fields_of
from nfref.flows.coupling import SplitFlow, channel_mask, checkerboard_mask
from nfref.flows.images.glow import OnFirst
from nfref.flows.images.layers import ActNorm, ImageFlow, Squeeze
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.residual_convolution import init_residual_conv_net, residual_conv_net
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import at_least, check_count, one_of
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer, constrained, with_own

MASKS = {"checkerboard": checkerboard_mask, "channels": channel_mask}


@dataclass(frozen=True)
class ImageCoupling(ImageFlow, SplitFlow):
    """A coupling of the numbers of an image, by a mask, with a residual convolution network.

    Paper:   RealNVP v3, section 3.4, (9): y = b * x + (1 - b) * (x * exp(s(b * x)) + t(b * x)),
             data to latent, with s and t from one network; b by checkerboard or by channels.
             Section 4.1: s is a tanh times a learned scale; ``transformer=Affine("tanh")``.
    Differs: the default log-scale is bounded smoothly, see :class:`nfref.Affine`. The network
             reads b * x and b. The published code's reads relu(b * x), relu(-b * x) and, by
             checkerboard, b; by channels only those that stay. Its learned scale is one number.

    Parameters
    ----------
    shape : (C, H, W)
        At least two pixels for a checkerboard, at least two channels for channels.
    mask : {"checkerboard", "channels"}, default "checkerboard"
        The numbers that stay: see :func:`nfref.checkerboard_mask`, :func:`nfref.channel_mask`.
    parity : {0, 1}, default 0
        1 exchanges the numbers that stay and those that change.
    hidden : int, default 32
        Channels of the hidden convolutions.
    blocks : int, default 2
        Residual blocks, see :func:`residual_conv_net
        <nfref.networks.residual_convolution.residual_conv_net>`.
    context_dim : int, default 0
        Context features, which the network reads as constant channels.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map of each number that changes.
    """

    shape: Sequence[int]
    mask: str = "checkerboard"
    parity: int = 0
    hidden: int = 32
    blocks: int = 2
    context_dim: int = 0
    activation: str = "relu"
    transformer: Transformer = Affine()

    _twin = "image_coupling"
    _converters = {
        "mask": one_of(MASKS),
        "parity": at_least(0),
        "hidden": check_count,
        "blocks": at_least(0),
        "activation": one_of(ACTIVATIONS),
        "transformer": check_transformer,
    }

    def __post_init__(self):
        super().__post_init__()
        channels, height, width = self.shape
        if self.parity > 1:
            raise ValueError(f"parity: expected 0 or 1, got {self.parity}")
        what, count = (
            ("pixels", height * width) if self.mask == "checkerboard" else ("channels", channels)
        )
        if count < 2:
            raise ValueError(
                f"shape: expected at least 2 {what} for the mask {self.mask!r}, got {self.shape}"
            )

    @property
    def kept(self) -> int:
        """The number of coordinates that stay; computed without the mask, which may be large."""
        channels, height, width = self.shape
        count = channels // 2 * height * width
        if self.mask == "checkerboard":
            count = channels * (height * width // 2)
        return count if self.parity == 0 else self.dim - count

    @cached_property
    def stays(self) -> Array:
        """The (D,) bool array of the coordinates that stay."""
        return np.array(MASKS[self.mask](self.shape, self.parity))

    def _init(self, rng):
        channels = self.shape[0]
        inputs, outputs = 2 * channels + self.context_dim, self.transformer.size * channels
        net = init_residual_conv_net(rng, inputs, self.hidden, self.blocks, outputs)
        return with_own(self.transformer, {"net": net}, self.dim - self.kept)

    def conditioner(
        self, params: dict[str, Any], kept: Array, context: Array | None
    ) -> tuple[Array, ...]:
        """Return h for the numbers that change, from those that stay."""
        channels, height, width = self.shape
        n, dtype = len(kept), kept.dtype
        masked = self.joined(kept, np.zeros((n, self.dim - kept.shape[1]), dtype=dtype))
        masked = np.transpose(np.reshape(masked, (n, *self.shape)), (0, 2, 3, 1))
        mask = self.stays.reshape(self.shape).transpose(1, 2, 0).astype(dtype)
        seen = [masked, np.broadcast_to(mask, (n, height, width, channels))]
        if context is not None:
            constant = np.ones((1, height, width, 1), dtype=context.dtype)
            seen.append(context[:, None, None, :] * constant)
        outputs = residual_conv_net(params["net"], np.concatenate(seen, axis=3), self.activation)
        rows = np.transpose(outputs, (0, 3, 1, 2)).reshape((n * self.transformer.size, self.dim))
        raw = self.halves(rows)[1]
        return constrained(
            self.transformer, params, np.reshape(raw, (n, self.transformer.size * raw.shape[1]))
        )


@dataclass(frozen=True)
class RealNVPImage(ImageFlow, Composition):
    """RealNVP on raveled (C, H, W) images, as a flow from (N, C*H*W) standard normal rows.

    Latent rows hold the parts in the order of the scales, deepest first: at every scale the
    half that goes on, then the half that is factored out. There is an actnorm on the latent
    side of every coupling; :func:`nfref.adapt` at the stage "start" initialises it from data.

    Paper:   RealNVP v3, section 3.6, (13)-(16): three couplings by checkerboard, a squeeze,
             three by channels, then half is factored out; the last scale is four by
             checkerboard, data to latent. Section 3.5: masks alternate. Section 3.7, (17): batch
             norm on the latent side of every coupling.
    Differs: an actnorm replaces the paper's batch norm; so the density of a row does
             not depend on other rows. The number of hidden channels is the same at every
             scale; in the published code it doubles. The half that is factored out is that of
             the last channels in the order of :func:`nfref.flows.images.layers.squeeze`.

    Parameters
    ----------
    shape : (C, H, W)
        H and W divisible by 2**(levels - 1), with at least two pixels left at the last scale.
    levels : int, default 2
        Number of scales.
    hidden : int, default 32
        Channels of the hidden convolutions.
    blocks : int, default 2
        Residual blocks of each network.
    context_dim : int, default 0
        Context features that every coupling reads.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map of a number in the couplings.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.RealNVPImage((1, 4, 4), levels=2, hidden=8, blocks=1)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 16)))
    >>> x.shape, log_det.shape
    ((3, 16), (3,))
    """

    shape: Sequence[int]
    levels: int = 2
    hidden: int = 32
    blocks: int = 2
    context_dim: int = 0
    activation: str = "relu"
    transformer: Transformer = Affine()

    _converters = {**ImageCoupling._converters, "levels": check_count}

    def __post_init__(self):
        super().__post_init__()
        block, (_, height, width) = 2 ** (self.levels - 1), self.shape
        if height % block or width % block or height * width < 2 * block**2:
            raise ValueError(
                f"shape: expected height and width divisible by {block} for "
                f"{self.levels} levels, and two pixels left, got {self.shape}"
            )

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The layers of all scales, from latent to data."""
        return tuple(self._from_data(self.shape, self.levels))[::-1]

    def _from_data(self, shape, levels):
        """Yield the flows of a scale and of the scales inside it, in the direction x -> z."""
        last = levels == 1
        yield from self._couplings(shape, "checkerboard", 4 if last else 3)
        if last:
            return
        squeeze = Squeeze(shape)
        channels, height, width = squeeze.squeezed_shape
        yield squeeze
        yield from self._couplings(squeeze.squeezed_shape, "channels", 3)
        rest = self._from_data((channels // 2, height, width), levels - 1)
        yield OnFirst(Chain(tuple(rest)[::-1]), squeeze.dim)

    def _couplings(self, shape, mask, count):
        for k in range(count):
            yield with_fields_of(self, ImageCoupling, shape=shape, mask=mask, parity=k % 2)
            yield ActNorm(shape)
