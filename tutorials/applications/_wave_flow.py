"""WaveFlow: sound as a picture, autoregressive over its height.

Source: Ping, Peng, Zhao, Song 2019, arXiv:1912.01219 (WaveFlow). A clip of h W samples is folded
into h rows, sample j h + i at row i and column j, so that neighbours in time are vertical
neighbours. A layer takes

    z_ij = (x_ij - t_ij) exp(-s_ij),   t, s from the rows above i,

so sampling needs h passes for a clip of any length. The networks are convolutions, which fit a clip
of any length; so a flow trained on short clips samples long ones.
"""

import wave
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

import nfref
from nfref.flow import Flow
from nfref.flows.autoregressive import autoregressive_forward, autoregressive_inverse
from nfref.flows.composition import Composition
from nfref.networks.convolution import correlate
from nfref.runtime.checks import check_count
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import constrained

# Clips ----------------------------------------------------------------------------------------


def read_wav(path):
    """Return (samples (T,) int16, samples a second) of a file with one channel of 16 bits."""
    with wave.open(str(path)) as file:
        kind = file.getnchannels(), 8 * file.getsampwidth()
        if kind != (1, 16) or not file.getnframes():
            raise ValueError(
                f"{path}: expected one channel of 16 bits with samples in it, got "
                f"{kind[0]} of {kind[1]} bits with {file.getnframes()} samples"
            )
        content = file.readframes(file.getnframes())
        return np.frombuffer(content, dtype="<i2"), file.getframerate()


def write_wav(path, samples, rate):
    """Write one channel of 16 bits; samples beyond its range are clipped."""
    samples = np.asarray(samples)
    if samples.ndim != 1 or not samples.size or not np.all(np.isfinite(samples)):
        raise ValueError(f"samples: expected one axis of finite numbers, got shape {samples.shape}")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes())


def folded(clips, height):
    """Fold (N, T) clips to rows of raveled (h, T / h) pictures."""
    n, length = clips.shape
    return clips.reshape(n, length // height, height).transpose(0, 2, 1).reshape(n, length)


def unfolded(rows, height):
    """The inverse of :func:`folded`."""
    n, length = rows.shape
    return rows.reshape(n, height, length // height).transpose(0, 2, 1).reshape(n, length)


# The network ----------------------------------------------------------------------------------


def lowered(image):
    """Move rows down by one, with zeros above them."""
    above = np.zeros((len(image), 1, *image.shape[2:]), image.dtype)
    return np.concatenate([above, image], axis=1)[:, :-1]


def causal(image, weight, dilation):
    """Convolve each row with itself and the two rows above it.

    A row of zeros goes above the image; in the image moved down by it, a row's lower neighbour is
    the row itself.
    """
    above = np.zeros((len(image), 1, *image.shape[2:]), image.dtype)
    return dilated(np.concatenate([above, image], axis=1), weight, dilation)[:, :-1]


def dilated(image, weight, dilation):
    """Correlate with a 3 x 3 kernel, columns ``dilation`` apart: one plain kernel per phase.

    Shapes: image (N, H, W, C), W divisible by the dilation. Returns (N, H, W, E).
    """
    n, height, width, channels = image.shape
    fan_out, steps = weight.shape[3], width // dilation
    phases = image.reshape((n, height, steps, dilation, channels)).transpose((0, 3, 1, 2, 4))
    out = correlate(phases.reshape((n * dilation, height, steps, channels)), weight)
    out = out.reshape((n, dilation, height, steps, fan_out)).transpose((0, 2, 3, 1, 4))
    return out.reshape((n, height, width, fan_out))


# Flows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WaveLayer(Flow):
    """One layer: each row of a picture affine, given the rows above it.

    Paper:   WaveFlow: autoregressive over the height, all columns at once, by 2-D convolutions that
             are causal in height and dilated in width.
    Differs: residual layers of a tanh in place of gated ones with skip connections; the network
             also reads asinh of the samples, so that it tells silence from nearly silence; the
             log-scale is bounded, see :class:`nfref.Affine`.

    Parameters
    ----------
    shape : (h, W)
        W divisible by the largest dilation.
    channels : int
    dilations : sequence of int
        Of the columns, one a layer. Layer 1 sees three rows above, every further one two more.
    """

    shape: tuple
    channels: int = 24
    dilations: tuple = (1, 2, 4, 8)

    transformer = Affine()

    def __post_init__(self):
        if self.shape[1] % max(self.dilations):
            raise ValueError(
                f"shape: expected a width divisible by {max(self.dilations)}, got {self.shape}"
            )

    @property
    def dim(self):
        return self.shape[0] * self.shape[1]

    def _init(self, rng):
        layers, fan_in = [], 2
        for _ in self.dilations:
            limit = np.sqrt(3 / (9 * fan_in))
            layers.append(
                {
                    "weight": rng.uniform(-limit, limit, (3, 3, fan_in, self.channels)),
                    "bias": np.zeros(self.channels),
                }
            )
            fan_in = self.channels
        return {"layers": layers, "out": {"weight": np.zeros((fan_in, 2)), "bias": np.zeros(2)}}

    def conditioner(self, params, context):
        """Return the function x -> h."""

        def parameters(x):
            image = x.reshape((len(x), *self.shape, 1))
            image = np.concatenate([image, np.arcsinh(300 * image) / 3], axis=3)
            for k, (layer, dilation) in enumerate(zip(params["layers"], self.dilations)):
                seen = causal(image, layer["weight"], dilation)
                new = np.tanh((seen if k else lowered(seen)) + layer["bias"])
                image = image + new if k else new
            outputs = np.dot(image, params["out"]["weight"]) + params["out"]["bias"]
            outputs = outputs.transpose((0, 3, 1, 2)).reshape((len(x), 2 * self.dim))
            return constrained(self.transformer, params, outputs)

        return parameters

    def _forward(self, params, z, context):
        return autoregressive_forward(
            z, self.transformer.forward, self.conditioner(params, context), passes=self.shape[0]
        )

    def _inverse(self, params, x, context):
        return autoregressive_inverse(
            x, self.transformer.inverse, self.conditioner(params, context)
        )


@dataclass(frozen=True)
class WaveFlow(Composition):
    """Layers of :class:`WaveLayer`, the rows turned upside down between them.

    Parameters
    ----------
    shape : (h, W)
        Parameters do not depend on W.
    layers : int
    channels : int
    dilations : sequence of int
        See :class:`WaveLayer`.
    """

    shape: tuple
    layers: int = 4
    channels: int = 24
    dilations: tuple = (1, 2, 4, 8)

    def __post_init__(self):
        check_count("layers", self.layers)

    @property
    def dim(self):
        return self.shape[0] * self.shape[1]

    @cached_property
    def flows(self):
        layer = WaveLayer(self.shape, self.channels, self.dilations)
        upside_down = nfref.Permutation(np.arange(self.dim).reshape(self.shape)[::-1].ravel())
        return (layer, *(upside_down, layer) * (self.layers - 1))
