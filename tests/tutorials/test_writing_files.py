"""The range coder and the codec of blocks: output decodes, at the cost of its probability."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

import nfref

sys.path.insert(0, str(Path(__file__).parents[2] / "tutorials" / "applications"))
from _block_codec import (
    DIM,
    SEEN,
    Codec,
    bits_and_error,
    blocks_and_contexts,
    density_of_blocks,
    log_mass,
    waves,
)
from _images import check_images, halved, idx, sheet
from _range_coder import TOTAL, Decoder, Encoder, counts_of

SHAPE = (10, 9)


def through(counts, symbols):
    encoder = Encoder()
    for row, symbol in zip(counts, symbols):
        encoder.code(row, symbol)
    content = encoder.finish()
    decoder = Decoder(content)
    return content, [decoder.code(row) for row in counts]


@pytest.mark.parametrize("symbols, concentration", [(1, 1), (2, 0.01), (5, 0.05), (300, 1)])
def test_symbols_come_back_at_their_price(symbols, concentration):
    rng = np.random.default_rng(symbols)
    p = rng.dirichlet(np.full(symbols, concentration), 2000)
    below = np.pad(np.cumsum(p, axis=1)[:, :-1], ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    counts = counts_of(np.clip(below, 0, 1))
    assert np.all(np.diff(counts) > 0)
    assert np.all(counts[:, 0] == 0) and np.all(counts[:, -1] == TOTAL)
    given = [int(rng.choice(symbols, p=row)) for row in p]
    content, found = through(counts, given)
    assert found == given
    price = -np.log2(np.diff(counts)[np.arange(2000), given] / TOTAL).sum() / 8
    assert price - 1e-6 <= len(content) <= price + 1.1


@pytest.mark.parametrize("symbol", [0, 1])
def test_a_long_row_of_one_symbol(symbol):
    """The interval creeps along one end, where a carry runs through all bytes before it."""
    counts = [np.array([0, TOTAL - 1, TOTAL])] * 300 + [np.array([0, 1, TOTAL])] * 300
    given = [symbol] * 300 + [1 - symbol, symbol] * 150
    assert through(counts, given)[1] == given


def codec(transform=None, bounds=None):
    """Return a codec with untrained parameters."""
    rng = np.random.default_rng(3)
    density = density_of_blocks(transform or [], (1.0,) * DIM, (16, 16), 2)
    params = nfref.params.tree_map(
        lambda a: a + 0.1 * rng.standard_normal(a.shape), density.init(rng)
    )
    return Codec(density, params, SHAPE, bounds)


def pictures():
    """Noise, an even picture, and the ends of the range."""
    rng = np.random.default_rng(4)
    return np.stack(
        [rng.integers(0, 256, SHAPE), np.full(SHAPE, 90), 255 * rng.integers(0, 2, SHAPE)]
    ).astype(np.uint8)


def test_lossless_is_equal_to_the_byte_at_the_price_of_the_density():
    one = codec(bounds=(-128, 127))
    content = one.compress(pictures(), 1)
    assert np.array_equal(one.decompress(content), pictures())
    nats, _, _ = bits_and_error(
        one.density,
        one.params,
        *[a.astype(float) for a in blocks_and_contexts(pictures(), 0.0)],
        one.bounds,
    )
    price = np.sum(nats) / np.log(2) / 8 + 18
    # Nearly impossible symbols cost less than their probability says: it is at least 2^-24.
    assert 0.99 * price < len(content) < price + 3


@pytest.mark.parametrize("step", [2.0, 40.0])
def test_lossy_stays_within_half_a_step(step):
    """The transform is the identity, so every pixel is off by half a step at most."""
    one = codec()
    found = one.decompress(one.compress(pictures(), step)).astype(float)
    assert np.max(np.abs(found - pictures())) <= step / 2 + 0.5


def test_a_learned_bijection_is_undone():
    """The only loss is fine rounding."""
    one = codec([nfref.NICE(DIM, 2, (8,))])
    found = one.decompress(one.compress(pictures(), 0.5)).astype(float)
    assert np.max(np.abs(found - pictures())) <= 4


def test_blocks_see_what_is_decoded_and_nothing_else():
    """A pixel changes no context of a block that is coded before its own."""
    order = [place for wave in waves(*SHAPE) for place in wave]
    image = pictures()[:1]
    before = blocks_and_contexts(image, 0.0)[1]
    for row, column in ((0, 0), (4, 3), (5, 8), (9, 4)):
        other = image.copy()
        other[0, row, column] ^= 255
        changed = np.any(blocks_and_contexts(other, 0.0)[1] != before, axis=1)
        own = order.index((row // 4, column // 4))
        assert not np.any(changed[: own + 1])
    assert before.shape[1] == SEEN + 1


def test_masses_of_all_cells_are_one():
    ends = np.linspace(-40, 40, 400)
    first = np.arange(401) == 0
    lower, upper = np.concatenate([[0], ends]), np.concatenate([ends, [0]])
    mass = np.exp(log_mass(lower, upper, first, first[::-1]))
    assert abs(mass.sum() - 1) < 1e-12


@pytest.mark.parametrize(
    "images, got",
    [
        (np.zeros((2, 10, 8), np.uint8), r"got uint8 of shape \(2, 10, 8\)"),
        (np.zeros((0, 10, 9), np.uint8), r"got uint8 of shape \(0, 10, 9\)"),
        (np.zeros((2, 10, 9)), r"got float64 of shape \(2, 10, 9\)"),
        (np.zeros((10, 9), np.uint8), r"got uint8 of shape \(10, 9\)"),
    ],
)
def test_pictures_of_another_kind_are_named(images, got):
    with pytest.raises(ValueError, match=r"^images: expected uint8 of shape \(N, 10, 9\).*" + got):
        codec().compress(images, 2)
    with pytest.raises(ValueError, match="^images: expected uint8"):
        check_images(images, SHAPE)


def test_bad_steps_and_contents_are_named():
    one = codec()
    with pytest.raises(ValueError, match="^step: expected a number from 0.5 to 1024, got 0"):
        one.compress(pictures(), 0)
    content = one.compress(pictures(), 16)
    with pytest.raises(ValueError, match="^content: expected bytes that begin with b'NF', got"):
        one.decompress(b"PK" + content[2:])
    with pytest.raises(ValueError, match="^content: .* and 10 bytes"):
        one.decompress(content[:10])
    with pytest.raises(ValueError, match="^content: expected pixels of CRC-32 .*, got"):
        one.decompress(content[:40] + bytes([content[40] ^ 85]) + content[41:])
    other = Codec(one.density, one.params, (8, 8))
    with pytest.raises(ValueError, match=r"^content: expected pictures of \(8, 8\), got \(10, 9\)"):
        other.decompress(content)


def test_images_are_read_halved_and_laid_out(tmp_path):
    path = tmp_path / "images-idx3-ubyte.gz"
    numbers = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    head = bytes([0, 0, 8, 3]) + b"".join(int(n).to_bytes(4, "big") for n in numbers.shape)
    path.write_bytes(gzip.compress(head + numbers.tobytes()))
    assert np.array_equal(idx(path), numbers)
    assert halved(numbers)[0].reshape(16, 16)[1, 1] == np.rint(numbers[0, :2, :2].mean())
    assert np.array_equal(sheet(numbers, 2)[:, 28:], numbers[1])
    path.write_bytes(gzip.compress(head + numbers.tobytes()[:-1]))
    with pytest.raises(ValueError, match=r"idx3.*expected \(2, 28, 28\) numbers, got 1567"):
        idx(path)
    path.write_bytes(gzip.compress(b"\x89PNG"))
    with pytest.raises(ValueError, match="idx3.*expected an IDX file of bytes, got"):
        idx(path)
    with pytest.raises(ValueError, match=r"^images: expected .* \(N, 28, 28\)"):
        halved(numbers[:, :14])
