"""RealNVP for images: its network by loops, its couplings in the paper's letters, its parts."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.test_util import check_grads
from scipy.signal import correlate2d
from scipy.stats import norm

import nfref
from nfref.networks import residual_convolution as networks
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, image, random_params


def coupling(mask, parity):
    def make(dim, context_dim):
        return nfref.ImageCoupling(image(dim), mask, parity, 3, 1, context_dim, "tanh")

    return make


def stack(dim, context_dim):
    return nfref.RealNVPImage(image(dim), 2 if dim == 16 else 1, 2, 1, context_dim, "tanh")


def stays(flow):
    return flow.stays


CONTRACT = {
    "ImageCoupling, checkerboard": Entry(
        coupling("checkerboard", 0), dims=(4, 12), plain=12, context=True, ignores_context=stays
    ),
    "ImageCoupling, channels": Entry(
        coupling("channels", 1), dims=(2, 3, 12), plain=12, context=True, ignores_context=stays
    ),
    "RealNVPImage": Entry(stack, dims=(4, 16), context=True, costly=True),
}
test_contract = contract_test(CONTRACT)


# Network ------------------------------------------------------------------------------------


def test_network_by_loops_over_channels():
    """Each convolution by scipy, one pair of channels at a time."""
    rng = np.random.default_rng(0)
    params = networks.init_residual_conv_net(rng, 2, 3, 2, 4)
    params = nfref.params.tree_map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), params
    )
    x = rng.standard_normal((2, 4, 5, 2))

    def layer(parameters, h):
        out = []
        for v, g, b in zip(
            np.moveaxis(parameters["direction"], 3, 0), parameters["length"], parameters["bias"]
        ):
            w = g * v / np.linalg.norm(v)
            out.append(b + sum(correlate2d(h[c], w[:, :, c], mode="same") for c in range(len(h))))
        return np.array(out)

    for one, found in zip(x, networks.residual_conv_net(params, x)):
        h = layer(params["first"], np.moveaxis(one, 2, 0))
        skips = [layer(params["skip"], h)]
        for block in params["blocks"]:
            inner = np.maximum(layer(block["first"], np.maximum(h, 0)), 0)
            h = h + layer(block["second"], inner)
            skips.append(layer(block["skip"], h))
        expected = layer(params["last"], np.maximum(sum(skips), 0))
        np.testing.assert_allclose(np.moveaxis(found, 2, 0), expected, rtol=1e-11, atol=1e-12)


def test_normalised_weights_have_the_lengths_they_are_given():
    rng = np.random.default_rng(1)
    layer = {
        "direction": rng.standard_normal((3, 3, 2, 4)),
        "length": rng.standard_normal(4),
        "bias": np.zeros(4),
    }
    weight = networks.weight_normalised(layer)["weight"]
    np.testing.assert_allclose(
        np.sqrt(np.sum(weight**2, axis=(0, 1, 2))), np.abs(layer["length"]), rtol=1e-13
    )
    longer = {**layer, "direction": 7 * layer["direction"]}
    np.testing.assert_allclose(networks.weight_normalised(longer)["weight"], weight, rtol=1e-13)
    for size in (2.0**700, 2.0**-700):  # their squares overflow or underflow
        far = {**layer, "direction": size * layer["direction"]}
        np.testing.assert_array_equal(networks.weight_normalised(far)["weight"], weight)


def test_gradient_of_the_network():
    rng = np.random.default_rng(2)
    params = networks.init_residual_conv_net(rng, 2, 3, 1, 2)
    params["last"]["length"] = rng.standard_normal(2)
    x = rng.standard_normal((2, 2, 3, 2))

    def total(params, x):
        return anp.sum(networks.residual_conv_net(params, x, "tanh") ** 2)

    check_grads(total, modes=["rev"], order=1)(params, x)


# Coupling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize("mask", ["checkerboard", "channels"])
def test_paper_form(mask, parity):
    """y = b * x + (1 - b) * (x * exp(s(b * x)) + t(b * x)), RealNVP, section 3.4, eq. 9."""
    flow = nfref.ImageCoupling((2, 3, 4), mask, parity, 4, 1, transformer=nfref.Affine("tanh"))
    rng = np.random.default_rng(3)
    params, rows = random_params(flow, rng), rng.standard_normal((5, 24))
    y, log_det = flow.inverse(params, rows)
    c, i, j = np.ogrid[:2, :3, :4]
    b = ((i + j + 0 * c) % 2 == 1) if mask == "checkerboard" else (c + 0 * (i + j) == 0)
    b = (b if parity == 0 else ~b).astype(float)
    for n, x in enumerate(rows.reshape(5, 2, 3, 4)):
        seen = np.concatenate([b * x, b]).transpose(1, 2, 0)[None]
        out = networks.residual_conv_net(params["net"], seen)[0].transpose(2, 0, 1)
        factor = np.zeros(24)
        factor[b.ravel() == 0] = params["transformer"]["factor"]
        log_scale = factor.reshape(2, 3, 4) * np.tanh(out[2:])
        # nfref shifts and scales from z to x: s is minus its log-scale, t = -shift exp(s).
        s, t = -log_scale, -out[:2] * np.exp(-log_scale)
        expected = b * x + (1 - b) * (x * np.exp(s) + t)
        np.testing.assert_allclose(y[n], expected.ravel(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(log_det[n], np.sum((1 - b) * s), rtol=1e-11)


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize("mask", ["checkerboard", "channels"])
@pytest.mark.parametrize("shape", [(3, 3, 5), (2, 1, 2), (5, 2, 3)])
def test_numbers_that_stay_are_counted_without_the_mask(mask, parity, shape):
    flow = nfref.ImageCoupling(shape, mask, parity)
    assert flow.kept == np.sum(flow.stays) and 0 < flow.kept < flow.dim
    # An untrusted model file may name any shape: parameters must not take memory for it.
    assert (
        nfref.params.count(
            nfref.ImageCoupling((2, 10**5, 10**5), mask, parity, 2, 1).init(
                np.random.default_rng(0)
            )
        )
        < 500
    )


def test_start_is_the_identity():
    """The last layer's weights have length zero; after the start only actnorm stretches."""
    flow = nfref.RealNVPImage((1, 4, 4), hidden=4, blocks=1)
    rng = np.random.default_rng(4)
    params, x = flow.init(rng), rng.standard_normal((3, 16))
    z, log_det = flow.inverse(params, x)
    np.testing.assert_array_equal(np.sort(z), np.sort(x))
    np.testing.assert_array_equal(log_det, 0)


# Scales -------------------------------------------------------------------------------------


def names(flows):
    """Return the parts from data to latent; each scale holds its parts in place."""
    for flow in flows[::-1]:
        if isinstance(flow, nfref.OnFirst):
            yield "factor out"
            yield from names(flow.flow.flows)
        elif isinstance(flow, nfref.ImageCoupling):
            yield flow.mask, flow.parity, flow.shape
        else:
            yield type(flow).__name__


def test_scales_are_those_of_the_paper():
    """RealNVP, section 3.6: three and three couplings, half goes out; four at the last scale."""

    def couplings(mask, count, shape):
        return [part for k in range(count) for part in ((mask, k % 2, shape), "ActNorm")]

    flow = nfref.RealNVPImage((1, 8, 8), levels=3, hidden=2, blocks=0)
    assert list(names(flow.flows)) == [
        *couplings("checkerboard", 3, (1, 8, 8)),
        "Squeeze",
        *couplings("channels", 3, (4, 4, 4)),
        "factor out",
        *couplings("checkerboard", 3, (2, 4, 4)),
        "Squeeze",
        *couplings("channels", 3, (8, 2, 2)),
        "factor out",
        *couplings("checkerboard", 4, (4, 2, 2)),
    ]


def test_what_is_factored_out_is_scored_as_it_is():
    """(13)-(16) of RealNVP, section 3.6: z holds what each scale gave up, and the rest."""
    flow = nfref.RealNVPImage((1, 4, 4), levels=2, hidden=3, blocks=1)
    rng = np.random.default_rng(5)
    params, x = random_params(flow, rng), rng.standard_normal((4, 16))
    h, total = x, 0
    for layer, theta in reversed(list(zip(flow.flows[1:], params[1:]))):
        h, log_det = layer.inverse(theta, h)
        total = total + log_det
    h1, z1 = h[:, :8], h[:, 8:]
    z2, log_det = flow.flows[0].flow.inverse(params[0], h1)
    expected = norm.logpdf(z1).sum(axis=1) + norm.logpdf(z2).sum(axis=1) + total + log_det
    found = nfref.Density(flow).log_prob({"base": {}, "flow": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_every_actnorm_starts_from_the_data():
    flow = nfref.RealNVPImage((1, 4, 4), levels=2, hidden=3, blocks=1)
    rng = np.random.default_rng(6)
    x = 3 + np.exp(rng.standard_normal((50, 16)))
    params = nfref.adapt(flow, random_params(flow, rng, 0.3), x, stage="start")
    z, _ = flow.inverse(params, x)
    deepest, first = z[:, :8].reshape(50, 2, 4), z[:, 8:].reshape(50, 2, 4)
    for part in (deepest, first):
        np.testing.assert_allclose(part.mean(axis=(0, 2)), 0, atol=1e-12)
        np.testing.assert_allclose(part.std(axis=(0, 2)), 1, atol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: nfref.RealNVPImage((1, 6, 8), levels=3),
            r"shape: expected height and width divisible by 4 for 3 levels, and two pixels left",
        ),
        (lambda: nfref.RealNVPImage((1, 4, 4), levels=3), "and two pixels left, got"),
        (lambda: nfref.RealNVPImage((1, 4, 4), hidden=0), "hidden: expected at least 1, got 0"),
        (lambda: nfref.RealNVPImage((1, 4, 4), blocks=-1), "blocks: expected at least 0, got -1"),
        (lambda: nfref.ImageCoupling((3, 1, 1)), "shape: expected at least 2 pixels for the mask"),
        (lambda: nfref.ImageCoupling((1, 4, 4), "channels"), "shape: expected at least 2 channels"),
        (lambda: nfref.ImageCoupling((1, 4, 4), "rows"), "mask: expected one of checkerboard"),
        (lambda: nfref.ImageCoupling((1, 4, 4), parity=2), "parity: expected 0 or 1, got 2"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
