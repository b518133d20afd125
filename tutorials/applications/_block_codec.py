"""Code pictures as bytes: blocks of 4 x 4 pixels through a flow, rounded, and range coded.

A density of blocks is a chain of two flows: a transform, which takes a block x to latents y, and
above it a masked autoregressive layer over the latents. Its transformer takes a latent to the
logistic distribution, so it is the distribution function of y_i given all that came before. The
sigmoid of its values at both ends of a cell gives the cell's cost.

What came before are the latents of the block and the pixels around it that are decoded already: two
rows above, as far as the end of the next block, and two columns to the left. So independent blocks
are coded at once, in all pictures.
"""

import struct
import zlib
from dataclasses import dataclass

import autograd.numpy as np
from _images import check_images
from _range_coder import TOTAL, Decoder, Encoder, counts_of

import nfref
from nfref.networks.activations import sigmoid, softplus
from nfref.networks.masked import masked_mlp
from nfref.networks.mlp import with_context
from nfref.runtime.autograd_internals import getval

SIDE, DIM = 4, 16
MARGIN = 2  # rows and columns around a block that its context has
SEEN = MARGIN * (MARGIN + 2 * SIDE) + SIDE * MARGIN
MIDDLE, UNIT = 128, 64  # the networks read a grey level v as (v - MIDDLE) / UNIT
HEAD = struct.Struct("<2sHHHfI")  # mark, pictures, height, width, step, CRC-32 of the pixels
MARK = b"NF"

# Densities ----------------------------------------------------------------------------------


def density_of_blocks(transform, std, hidden, components):
    """Return a density of blocks of pixels in grey levels.

    ``transform`` takes latents to blocks in the networks' unit; ``std`` (16,) is about the
    deviation of the latents.
    """
    layer = nfref.MADE(
        DIM, hidden, nfref.LogisticMixture(components), context_dim=SEEN + 1, activation="relu"
    )
    latents = nfref.Chain([layer, nfref.Standardise((0,) * DIM, std)])
    levels = nfref.Standardise((MIDDLE,) * DIM, (UNIT,) * DIM)
    return nfref.Density(
        nfref.Chain([latents, nfref.Chain([*transform, levels])]), nfref.Logistic(DIM)
    )


def log_mass(lower, upper, first, last):
    """log(sigmoid(upper) - sigmoid(lower)); the first cell begins, the last ends at infinity.

    sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l - u)).
    """
    below = np.where(last, 0, softplus(-upper))
    above = np.where(first, 0, softplus(lower))
    between = np.log1p(-np.exp(np.minimum(lower - upper, -1e-6)))
    return np.where(np.logical_or(first, last), 0, between) - below - above


def bits_and_error(density, params, x, context, bounds=None):
    """Return the cost of coding a block, in nats, and its squared error.

    The gradient of rounding is replaced by that of the identity. With ``bounds`` the transform maps
    whole numbers to whole numbers, and nothing is rounded. The step of a row is e to the power of
    the last column of its context.

    Returns (N,) nats, (N,) squared errors in the networks' unit, (N, 1) steps in that unit.
    """
    latents, transform = density.flow.flows
    of_latents, of_transform = params["flow"]
    step = np.exp(context[:, -1:]) / UNIT
    y, _ = transform._inverse(of_transform, x, None)
    k = np.rint(getval(y) / step)
    if bounds is None:
        y = y + (step * k - getval(y))
        back, _ = transform._forward(of_transform, y, None)
        first, last, error = False, False, np.sum(((x - back) / UNIT) ** 2, axis=1)
    else:
        first, last, error = k == bounds[0], k == bounds[1], np.zeros(len(x), x.dtype)
    layer, units = latents.flows
    v, _ = units._inverse({}, y, None)
    half = step / 2 / np.array(units.std, x.dtype)
    h = layer.conditioner(of_latents[0], context)(v)
    lower, upper = (layer.transformer.inverse(v + sign * half, h)[0] for sign in (-1, 1))
    return -np.sum(log_mass(lower, upper, first, last), axis=1), error, step


# Blocks -------------------------------------------------------------------------------------


def canvas_of(images):
    """Pictures with their last pixels repeated to whole blocks, and black around them."""
    height, width = images.shape[1:]
    whole = np.pad(images, ((0, 0), (0, -height % SIDE), (0, -width % SIDE)), mode="edge")
    return np.pad(whole, ((0, 0), (MARGIN, 0), (MARGIN, SIDE)))


def waves(height, width):
    """Yield places (i, j) of blocks in groups; a block reads its left and upper neighbours."""
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    return [
        [(i, wave - 2 * i) for i in range(rows) if 0 <= wave - 2 * i < columns]
        for wave in range(2 * rows + columns - 2)
    ]


def block_at(canvas, i, j):
    """A view (N, 4, 4) of a block."""
    top, left = MARGIN + SIDE * i, MARGIN + SIDE * j
    return canvas[:, top : top + SIDE, left : left + SIDE]


def context_at(canvas, i, j, log_step):
    """(N, 29): the pixels above and to the left, in the networks' unit, and the step's log."""
    top, left = SIDE * i, SIDE * j  # of the margin
    above = canvas[:, top : top + MARGIN, left : left + MARGIN + 2 * SIDE]
    before = canvas[:, top + MARGIN : top + MARGIN + SIDE, left : left + MARGIN]
    count = len(canvas)
    around = np.concatenate([above.reshape(count, -1), before.reshape(count, -1)], axis=1)
    return np.concatenate([(around - float(MIDDLE)) / UNIT, np.full((count, 1), log_step)], axis=1)


def blocks_and_contexts(images, log_step):
    """All blocks (M, 16) of pictures and their contexts (M, 29)."""
    canvas = canvas_of(images)
    places = [place for wave in waves(*images.shape[1:]) for place in wave]
    return (
        np.concatenate([block_at(canvas, *place).reshape(-1, DIM) for place in places]),
        np.concatenate([context_at(canvas, *place, log_step) for place in places]),
    )


# The codec ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codec:
    """Pictures of one shape to bytes and back.

    Both sides compute the same probabilities, to the last bit: a file is for machines whose
    floating-point results agree. If they do not, the checksum of the pixels shows it.

    Parameters
    ----------
    density : Density
        As made by :func:`density_of_blocks`.
    params : nested dicts and lists of float64 arrays
    shape : (height, width)
    bounds : (int, int), optional
        Smallest and largest whole number of a latent over its step, for transforms that map whole
        numbers to whole numbers. Without them, a file stores the range of each of the 16.
    """

    density: object
    params: object
    shape: tuple
    bounds: tuple = None

    def compress(self, images, step):
        """uint8 (N, H, W) to bytes; latents are rounded to multiples of ``step`` grey levels."""
        images = check_images(images, self.shape)
        if not 0.5 <= step <= 1024:
            raise ValueError(f"step: expected a number from 0.5 to 1024, got {step}")
        step = float(np.float32(step))
        canvas = canvas_of(images)
        symbols = [
            np.concatenate([self._rounded(block_at(canvas, *place), step) for place in wave])
            for wave in waves(*self.shape)
        ]
        encoder = Encoder()
        sizes = np.ceil(np.log2(np.max(np.abs(np.concatenate(symbols)), axis=0) + 1)).astype(int)
        decoded = self._through(encoder, len(images), step, sizes, symbols)
        head = HEAD.pack(MARK, *decoded.shape, step, zlib.crc32(decoded.tobytes()))
        return head + encoder.finish()

    def decompress(self, content):
        """Bytes to uint8 (N, H, W)."""
        if len(content) < HEAD.size or not content.startswith(MARK):
            raise ValueError(
                f"content: expected bytes that begin with {MARK}, got "
                f"{content[:2]} and {len(content)} bytes"
            )
        _, count, height, width, step, crc = HEAD.unpack_from(content)
        if (height, width) != self.shape:
            raise ValueError(f"content: expected pictures of {self.shape}, got {(height, width)}")
        decoded = self._through(Decoder(content[HEAD.size :]), count, step, [None] * DIM)
        found = zlib.crc32(decoded.tobytes())
        if found != crc:
            raise ValueError(f"content: expected pixels of CRC-32 {crc:08x}, got {found:08x}")
        return decoded

    def _rounded(self, blocks, step):
        transform, params = self.density.flow.flows[1], self.params["flow"][1]
        y, _ = transform.inverse(params, blocks.reshape(-1, DIM).astype(float))
        return np.rint(y * UNIT / step).astype(int)

    def _through(self, coder, count, step, sizes, symbols=None):
        """Run the one path of encoder and decoder, which see the same numbers to the last bit.

        The encoder gets the symbols; the decoder reads them. Returns the decoded pictures.
        """
        transform, params = self.density.flow.flows[1], self.params["flow"][1]
        canvas = canvas_of(np.zeros((count, *self.shape), dtype=np.uint8))
        if self.bounds:
            bounds = [self.bounds] * DIM
        else:
            even = np.arange(17) * (TOTAL // 16)
            sizes = [coder.code(even, size) for size in sizes]
            bounds = [(1 - 2**size, 2**size - 1) for size in sizes]
        for number, wave in enumerate(waves(*self.shape)):
            contexts = np.concatenate([context_at(canvas, *place, np.log(step)) for place in wave])
            k = self._coded(coder, contexts, step, bounds, symbols and symbols[number])
            blocks = transform.forward(params, k * step / UNIT)[0]
            pixels = np.clip(np.rint(blocks), 0, 255).astype(np.uint8)
            for place, block in zip(wave, np.split(pixels, len(wave))):
                block_at(canvas, *place)[:] = block.reshape(-1, SIDE, SIDE)
        inside = canvas[:, MARGIN : MARGIN + self.shape[0], MARGIN : MARGIN + self.shape[1]]
        return np.ascontiguousarray(inside)

    def _coded(self, coder, contexts, step, bounds, symbols):
        """Write, or read, the whole numbers (M, 16) of the blocks of a wave."""
        known = np.zeros((len(contexts), DIM))
        for i, (first, last) in enumerate(bounds):
            if first == last:
                continue  # it is 0 in all blocks
            counts = counts_of(self._below(i, known, contexts, step, np.arange(first, last) + 0.5))
            given = [first] * len(known) if symbols is None else symbols[:, i]
            known[:, i] = [first + coder.code(row, k - first) for row, k in zip(counts, given)]
        return known

    def _below(self, i, known, contexts, step, ends):
        """Return P(latent i < end) for the ``ends``, with 0 before them and 1 behind: (M, E + 2).

        Only the masked network's outputs for coordinate i are computed.
        """
        layer, units = self.density.flow.flows[0].flows
        *inner, outer = self.params["flow"][0][0]["net"]
        columns = np.arange(layer.transformer.size) * DIM + i
        net = [*inner, {"weight": outer["weight"][:, columns], "bias": outer["bias"][columns]}]
        masks = [*layer.masks[:-1], layer.masks[-1][:, columns]]
        v = units.inverse({}, known * step / UNIT)[0]
        raw = masked_mlp(net, masks, with_context(v, contexts), layer.activation)
        h = layer.transformer.constrain(raw.T[:, :, None])
        z, _ = layer.transformer.inverse(ends[None, :] * step / UNIT / units.std[i], h)
        return np.pad(sigmoid(z), ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
