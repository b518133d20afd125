"""The layers of Glow: actnorm, invertible 1x1 convolution, squeeze, channel coupling, priors.

Sources: Kingma and Dhariwal 2018, arXiv:1807.03039 (Glow); Dinh, Sohl-Dickstein, Bengio 2016,
arXiv:1605.08803 (RealNVP).

A row is a raveled (C, H, W) image: first all pixels of channel 0, row by row, then those of
channel 1. So the first half of the channels is the first half of the row.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.coupling import SplitFlow
from nfref.flows.data_dependent import Adaptive
from nfref.flows.elementwise import AffineFlow
from nfref.flows.linear import Linear, LULinear
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.convolution import conv_net, init_conv_net
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import check_hidden, check_image_shape, one_of
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer, constrained, with_own

# Formulas ---------------------------------------------------------------------------------
# Actnorm is affine, see nfref/transformers/affine.py; for couplings see nfref/flows/coupling.py.


def at_every_pixel(
    linear: Callable[[Array], tuple[Array, Array]], rows: Array, shape: Sequence[int]
) -> tuple[Array, Array]:
    """Apply a linear map of the channels at every pixel, which is a 1x1 convolution.

    x_ij = W z_ij for every pixel ij, so log |det dx/dz| = H W log |det W|.

    Paper:   Glow v2, section 3.2 and table 1: y_ij = W x_ij, log-determinant h w log |det W|,
             data to latent; y is z, so W there is the inverse of W here.
    Differs: nothing but the inverse.

    ``linear`` maps (M, C) to (M, C) and M times log |det W|; shape is (C, H, W).
    Shapes: rows (N, C*H*W). Returns (N, C*H*W) and (N,).
    """
    channels, height, width = shape
    images = rows.reshape((len(rows), channels, height * width))
    pixels = images.transpose((0, 2, 1)).reshape((len(rows) * height * width, channels))
    mapped, log_dets = linear(pixels)
    mapped = mapped.reshape((len(rows), height * width, channels)).transpose((0, 2, 1))
    return mapped.reshape(rows.shape), np.sum(log_dets.reshape((len(rows), height * width)), axis=1)


def squeeze(rows: Array, shape: Sequence[int]) -> Array:
    """Turn every 2x2 block of pixels into four channels: (C, H, W) -> (4C, H/2, W/2).

    out[4 c + 2 a + b, i, j] = image[c, 2 i + a, 2 j + b]. A permutation: log |det| = 0.

    Paper:   RealNVP v3, section 3.6: 2 x 2 x c to 1 x 1 x 4c, data to latent.
    Differs: the order of the channels is that of Glow's published code.

    Shapes: rows (N, C*H*W). Returns (N, C*H*W).
    """
    channels, height, width = shape
    blocks = rows.reshape((len(rows), channels, height // 2, 2, width // 2, 2))
    return blocks.transpose((0, 1, 3, 5, 2, 4)).reshape(rows.shape)


def unsqueeze(rows: Array, shape: Sequence[int]) -> Array:
    """Apply the inverse of :func:`squeeze`; ``shape`` is (C, H, W) of the resulting image."""
    channels, height, width = shape
    blocks = rows.reshape((len(rows), channels, 2, 2, height // 2, width // 2))
    return blocks.transpose((0, 1, 4, 2, 5, 3)).reshape(rows.shape)


# Layers -----------------------------------------------------------------------------------


class ImageFlow(Flow):
    """A flow on raveled images of a ``shape`` (C, H, W)."""

    shape: Sequence[int]

    _converters = {"shape": check_image_shape}

    @property
    def dim(self) -> int:
        """The number of coordinates C H W."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class ChannelAffine(ImageFlow, AffineFlow):
    """A map x = z exp(s) + t with one learned s and t per channel; starts as the identity.

    Parameters
    ----------
    shape : (C, H, W)
    """

    shape: Sequence[int]

    _twin = "act_norm"

    def _init(self, rng):
        return {"shift": np.zeros(self.shape[0]), "log_scale": np.zeros(self.shape[0])}

    def _affine(self, params, dtype):
        pixels = self.shape[1] * self.shape[2]
        return np.repeat(params["shift"], pixels), np.repeat(params["log_scale"], pixels)


@dataclass(frozen=True)
class ActNorm(Adaptive, ChannelAffine):
    """Actnorm: x = z exp(s) + t with one learned s and t per channel, initialised from data.

    ``init`` gives the identity. ``adapt(params, x, stage="start")`` returns the s and t for which
    every channel of z has mean 0 and standard deviation 1 on a batch of data; no other call
    changes anything. A channel that does not vary in the batch (a constant channel, or a single
    image of one pixel) gets its mean, and s = 0. A batch without rows leaves the parameters as
    they are.

    Paper:   Glow v2, section 3.1 and table 1: y_ij = s * x_ij + b, log-determinant
             h w sum log |s|, data to latent; y is z, s there is exp(-s) here, b is -t exp(-s).
    Differs: from the text: s there may be negative. From the published code, z = (x + b) exp(3 l):
             b is -t and 3 l is -s, so its log-scales learn three times as fast; and it starts
             from exp(3 l) = 1 / (std + 1e-6), which is finite for a constant channel, too.

    Parameters
    ----------
    shape : (C, H, W)
    """

    _twin = "act_norm"

    def _adapt(self, params, x, context, stage):
        if stage != "start" or len(x) == 0:
            return params
        channels = x.reshape((len(x), self.shape[0], -1)).astype(np.float64)
        mean, std = np.mean(channels, axis=(0, 2)), np.std(channels, axis=(0, 2))
        # A constant channel has a tiny std from rounding, which must not become a scale.
        rounding = np.finfo(x.dtype).eps * np.max(np.abs(channels), axis=(0, 2))
        log_scale = np.log(np.where(std > 4 * rounding, std, 1))
        return {"shift": mean.astype(x.dtype), "log_scale": log_scale.astype(x.dtype)}


@dataclass(frozen=True)
class InvertibleConv(ImageFlow):
    """An invertible 1x1 convolution: one C x C matrix at every pixel.

    It starts as a random rotation of the channels. The determinant may have either sign. In the
    LU form its sign is fixed by permutation and signs, and is + if you give neither. See
    :func:`at_every_pixel` for the formula and the paper.

    Parameters
    ----------
    shape : (C, H, W)
    form : {"lu", "full"}, default "lu"
        "full" learns the matrix itself (:class:`Linear`), with C^3 operations for its
        determinant; "lu" learns its LU factors (:class:`LULinear`) and is never singular.
    permutation, signs : sequences, optional
        The fixed parts of the LU form, as for :class:`LULinear`; :func:`random_pivots` makes
        random ones.
    """

    shape: Sequence[int]
    form: str = "lu"
    permutation: Sequence[int] | None = None
    signs: Sequence[int] | None = None

    _twin = "invertible_conv"
    _converters = {"form": one_of(("lu", "full"))}

    def __post_init__(self):
        super().__post_init__()
        linear = self.linear
        if isinstance(linear, LULinear):
            self._set(permutation=linear.permutation, signs=linear.signs)
        elif self.permutation is not None or self.signs is not None:
            raise ValueError(
                "InvertibleConv: expected permutation and signs None for form "
                f"'full', got {self.permutation} and {self.signs}"
            )

    @cached_property
    def linear(self) -> Linear | LULinear:
        """The linear flow that acts on the channels of one pixel."""
        if self.form == "full":
            return Linear(self.shape[0], bias=False)
        return LULinear(self.shape[0], self.permutation, self.signs, bias=False)

    def _init(self, rng):
        return self.linear._init(rng)

    def _forward(self, params, z, context):
        return at_every_pixel(partial(self.linear._forward, params, context=None), z, self.shape)

    def _inverse(self, params, x, context):
        return at_every_pixel(partial(self.linear._inverse, params, context=None), x, self.shape)


@dataclass(frozen=True)
class Squeeze(ImageFlow):
    """A trade of space for channels: ``inverse`` maps (C, H, W) images to (4C, H/2, W/2).

    A fixed permutation, see :func:`squeeze` for the order; log-determinant exactly zero.

    Parameters
    ----------
    shape : (C, H, W)
        Shape on the data side; H and W even.
    """

    shape: Sequence[int]

    _twin = "squeeze"

    def __post_init__(self):
        super().__post_init__()
        if self.shape[1] % 2 or self.shape[2] % 2:
            raise ValueError(f"shape: expected an even height and width, got {self.shape}")

    @property
    def squeezed_shape(self) -> tuple[int, int, int]:
        """The shape (4C, H/2, W/2)."""
        channels, height, width = self.shape
        return (4 * channels, height // 2, width // 2)

    def _forward(self, params, z, context):
        return unsqueeze(z, self.shape), np.zeros(len(z), dtype=z.dtype)

    def _inverse(self, params, x, context):
        return squeeze(x, self.shape), np.zeros(len(x), dtype=x.dtype)


@dataclass(frozen=True)
class ChannelCoupling(ImageFlow, SplitFlow):
    """A coupling of the two halves of the channels, with a convolution network.

    Paper:   Glow v2, section 3.3 and table 1: y_a = exp(log s) * x_a + t, y_b = x_b, with
             (log s, t) = NN(x_b), data to latent; y is z.
    Differs: the network reads the first half and the second is changed, as in the published code;
             table 1 has the reverse. The default log-scale is bounded smoothly, see
             :class:`nfref.Affine`; the published code's scale is
             ``transformer=Affine("sigmoid")``. The network's outputs hold all shifts before all
             log-scales; those of the code alternate. Hidden convolutions have a bias where
             those of the code have an actnorm.

    Parameters
    ----------
    shape : (C, H, W)
        C at least 2; for odd C the second half gets one more.
    hidden : sequence of int, default (64, 64)
        Hidden channels. The first and the last convolution are 3x3, those between are 1x1.
        So two hidden layers give the paper's 3x3, 1x1, 3x3, and none a single 3x3.
    context_dim : int, default 0
        Context features, which the network reads as constant channels.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map of each number that changes.
    edge_channel : bool, default True
        The 3x3 convolutions detect the edge of the image; see :func:`convolve
        <nfref.networks.convolution.convolve>` for this option and the next.
    output_gain : bool, default True
        A learned factor exp(3 g) on each output of the network. False for both is the text.
    """

    shape: Sequence[int]
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    activation: str = "relu"
    transformer: Transformer = Affine()
    edge_channel: bool = True
    output_gain: bool = True

    _twin = "channel_coupling"
    _converters = {
        "hidden": check_hidden,
        "activation": one_of(ACTIVATIONS),
        "transformer": check_transformer,
    }
    _fewest_channels = 2

    def __post_init__(self):
        super().__post_init__()
        if self.shape[0] < self._fewest_channels:
            raise ValueError(
                "shape: expected at least 2 channels, because a channel coupling "
                f"changes some by looking at others; got {self.shape}"
            )

    @property
    def kept(self) -> int:
        """The number of channels that stay: the first kept * H * W numbers of a row."""
        return self.shape[0] // 2

    def _init(self, rng):
        changed = self.shape[0] - self.kept
        channels = (self.kept + self.context_dim, *self.hidden, self.transformer.size * changed)
        net = init_conv_net(rng, channels, self.edge_channel, self.output_gain)
        return with_own(self.transformer, {"net": net}, changed * self.shape[1] * self.shape[2])

    def halves(self, rows: Array) -> list[Array]:
        """Return the numbers that stay and the numbers that change."""
        # np.split, because autograd makes its gradient faster than that of two slices.
        return np.split(rows, [self.kept * self.shape[1] * self.shape[2]], axis=1)

    def joined(self, kept: Array, changed: Array) -> Array:
        """Return the rows that :func:`halves` took apart."""
        return np.concatenate([kept, changed], axis=1)

    def conditioner(
        self, params: dict[str, Any], kept: Array, context: Array | None
    ) -> tuple[Array, ...]:
        """Return h for the numbers that change, from those that stay."""
        _, height, width = self.shape
        image = kept.reshape((len(kept), self.kept, height, width)).transpose((0, 2, 3, 1))
        if context is not None:
            constant = np.ones((1, height, width, 1), dtype=context.dtype)
            image = np.concatenate([image, context[:, None, None, :] * constant], axis=3)
        outputs = conv_net(params["net"], image, self.activation).transpose((0, 3, 1, 2))
        columns = self.transformer.size * (self.dim - kept.shape[1])
        return constrained(self.transformer, params, outputs.reshape((len(kept), columns)))


@dataclass(frozen=True)
class SplitPrior(ChannelCoupling):
    """The learned prior of the channels that a multi-scale flow splits off.

    Glow scores the split-off half x_b under N(mean(x_a), exp(log_scale(x_a))^2), with mean
    and log_scale from one 3x3 convolution of the half x_a that goes on. To sample from that
    density, map a standard normal z_b to x_b = mean(x_a) + exp(log_scale(x_a)) z_b. This map is a
    :class:`ChannelCoupling`. With the prior as a layer, a multi-scale flow is a flow from one
    standard normal to the image, and

        log N(x_b; mean, exp(log_scale)^2) = log N(z_b; 0, 1) - sum log_scale.

    Paper:   Glow, the split of the published code; latent to data.
    Differs: the default log_scale is bounded smoothly; the code's is
             ``transformer=Affine("exp")``.

    Parameters
    ----------
    shape : (C, H, W)
        At least two channels.
    hidden : sequence of int, default ()
        Hidden channels of the network; without any it is one convolution.
    context_dim : int, default 0
        Context features C that it also reads.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map from z_b to x_b.
    edge_channel, output_gain : bool, default True
        As for :class:`ChannelCoupling`.
    """

    hidden: Sequence[int] = ()

    _twin = "channel_coupling"


@dataclass(frozen=True)
class TopPrior(SplitPrior):
    """The learned prior of the channels that are left at the deepest level.

    It is a :class:`SplitPrior` that splits everything off. No half is left to read, so its
    convolution reads only the context and the edges. Without a context it is a mean and a log
    standard deviation for each channel, which differ only for pixels at the edges.

    Paper:   Glow, the published code with ``learntop`` and ``ycond``: mean and logs are a
             convolution of zeros, with its edge channel and factor exp(3 logs), plus a linear
             function of the class with a factor of its own; latent to data.
    Differs: the class is the context, and the convolution reads it as constant channels. The
             default log_scale is bounded smoothly; the code's is ``transformer=Affine("exp")``.

    Parameters
    ----------
    shape : (C, H, W)
    hidden : sequence of int, default ()
        Hidden channels of the network; without any it is one convolution.
    context_dim : int, default 0
        Context features C that it reads.
    activation : {"relu", "tanh", "softplus"}, default "relu"
    transformer : Transformer, default Affine()
        The map from z to x.
    edge_channel, output_gain : bool, default True
        As for :class:`ChannelCoupling`.
    """

    kept = 0
    _fewest_channels = 1

    _twin = "channel_coupling"
