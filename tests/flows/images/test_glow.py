"""Glow and its layers: each against a slow and obvious version, and all against Jacobians."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from autograd.test_util import check_grads
from scipy.stats import norm

import nfref
from nfref.networks import convolution as conv_nets
from tests.finite_differences.contract import contract_test
from tests.finite_differences.numerics import autograd_jacobian
from tests.flow_table import IMAGE_DIMS, Entry, diagonal, image, stays


def glow(permutation):
    def make(dim, context_dim):
        return nfref.Glow(
            image(dim),
            levels=2 if dim == 16 else 1,
            steps=2,
            hidden=(3,),
            context_dim=context_dim,
            permutation=permutation,
            activation="tanh",
        )

    return make


CONTRACT = {
    "ActNorm": Entry(
        lambda d, c: nfref.ActNorm(image(d)),
        dims=IMAGE_DIMS,
        plain=12,
        log_det="constant",
        pattern=diagonal,
    ),
    "ChannelAffine": Entry(
        lambda d, c: nfref.ChannelAffine(image(d)),
        dims=IMAGE_DIMS,
        plain=12,
        log_det="constant",
        pattern=diagonal,
    ),
    "InvertibleConv, LU": Entry(
        lambda d, c: nfref.InvertibleConv(image(d)), dims=IMAGE_DIMS, plain=12, log_det="constant"
    ),
    "InvertibleConv, full": Entry(
        lambda d, c: nfref.InvertibleConv(image(d), "full"),
        dims=IMAGE_DIMS,
        plain=12,
        log_det="constant",
    ),
    "Squeeze": Entry(
        lambda d, c: nfref.Squeeze(image(d)), dims=(4, 8, 24), plain=24, log_det="zero"
    ),
    "ChannelCoupling": Entry(
        lambda d, c: nfref.ChannelCoupling(image(d), (3,), c, "tanh"),
        dims=IMAGE_DIMS[1:],
        plain=12,
        context=True,
        ignores_context=stays,
    ),
    "SplitPrior": Entry(
        lambda d, c: nfref.SplitPrior(image(d), (), c, "tanh"),
        dims=IMAGE_DIMS[1:],
        plain=12,
        context=True,
        ignores_context=stays,
    ),
    "TopPrior": Entry(
        lambda d, c: nfref.TopPrior(image(d), (), c, "tanh"),
        dims=IMAGE_DIMS,
        plain=12,
        context=True,
        log_det="constant",
        pattern=diagonal,
    ),
    "ChannelCoupling, text": Entry(
        lambda d, c: nfref.ChannelCoupling(
            image(d), (3,), c, "tanh", edge_channel=False, output_gain=False
        ),
        dims=(12,),
        context=True,
        ignores_context=stays,
    ),
    "ChannelCoupling, sigmoid": Entry(
        lambda d, c: nfref.ChannelCoupling(image(d), (3,), c, "tanh", nfref.Affine("sigmoid")),
        dims=IMAGE_DIMS[1:],
        plain=12,
        context=True,
        ignores_context=stays,
    ),
    "Glow, LU": Entry(glow("lu"), dims=(4, 16), context=True, costly=True),
    "Glow, full": Entry(glow("full"), dims=(8,), context=True, costly=True),
}
test_contract = contract_test(CONTRACT)

FLOWS = {
    "actnorm": nfref.ActNorm((3, 2, 2)),
    "channel affine": nfref.ChannelAffine((3, 2, 2)),
    "conv, LU": nfref.InvertibleConv((3, 2, 1), "lu", (2, 0, 1), (1, -1, 1)),
    "conv, full": nfref.InvertibleConv((3, 2, 2), "full"),
    "squeeze": nfref.Squeeze((2, 2, 4)),
    "coupling": nfref.ChannelCoupling((3, 2, 3), (5, 4), 2, "tanh"),
    "coupling, no context": nfref.ChannelCoupling((2, 1, 2), (4,), activation="softplus"),
    "split prior": nfref.SplitPrior((4, 2, 2), context_dim=2),
    "top prior": nfref.TopPrior((3, 2, 2), context_dim=2),
    "on first": nfref.OnFirst(nfref.ChannelCoupling((2, 2, 1), (4,), 2, "tanh"), 6),
    "glow, one level": nfref.Glow((1, 2, 2), 1, 3, (5, 4), activation="tanh"),
    "glow, full": nfref.Glow((2, 2, 2), 1, 2, (5, 4), 2, "full", "tanh"),
    "glow, two levels": nfref.Glow((1, 4, 4), 2, 1, (4, 4), 2, activation="tanh"),
    "glow, wide": nfref.Glow((1, 2, 6), 1, 1, (4,), activation="softplus"),
}


def moved(flow, seed=0):
    """Parameters away from where ``init`` starts, with rows and a context to act on."""
    rng = np.random.default_rng(seed)

    def away(name, node):
        if isinstance(node, dict):
            return {key: away(key, value) for key, value in node.items()}
        if isinstance(node, list):
            return [away(name, value) for value in node]
        fan_in = node.size / node.shape[-1] if node.ndim > 1 else 4
        size = 0.7 / conv_nets.GAIN if name == "log_gain" else 0.7
        return node + size * rng.standard_normal(node.shape) / np.sqrt(fan_in)

    params = away("", flow.init(rng))
    context = rng.standard_normal((7, flow.context_dim)) if flow.context_dim else None
    return params, rng.standard_normal((7, flow.dim)), context


# Both directions of everything --------------------------------------------------------------


# Convolution network ------------------------------------------------------------------------


# Fewer channels on either side, and zero channels: the two ways to multiply.
@pytest.mark.parametrize("fan_in, fan_out", [(2, 3), (4, 1), (0, 2)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_against_loops(size, fan_in, fan_out):
    rng = np.random.default_rng(2)
    image = rng.standard_normal((2, 3, 4, fan_in))
    weight = rng.standard_normal((size, size, fan_in, fan_out))
    bias = rng.standard_normal(fan_out)
    expected = np.zeros((2, 3, 4, fan_out)) + bias
    reach = size // 2
    for i in range(3):
        for j in range(4):
            for a in range(size):
                for b in range(size):
                    row, column = i + a - reach, j + b - reach
                    if 0 <= row < 3 and 0 <= column < 4:
                        expected[:, i, j] += image[:, row, column] @ weight[a, b]
    for order in ("C", "F"):
        out = conv_nets.convolve({"weight": weight, "bias": bias}, np.asarray(image, order=order))
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_neighbours_and_their_transpose(size):
    rng = np.random.default_rng(3)
    image = rng.standard_normal((2, 3, 4, 2))
    copies = rng.standard_normal((24, 2 * size * size))
    np.testing.assert_allclose(
        np.sum(conv_nets.neighbours(image, size) * copies),
        np.sum(image * conv_nets.gathered(copies, image.shape, size)),
        rtol=1e-13,
    )


@pytest.mark.parametrize("fan_in, fan_out", [(2, 3), (3, 1)])
@pytest.mark.parametrize("size", [1, 3])
def test_derivatives_of_the_convolution(size, fan_in, fan_out):
    """Both primitives are bilinear, and each is the derivative of the other, to any order."""
    rng = np.random.default_rng(4)
    image, g = rng.standard_normal((2, 3, 2, fan_in)), rng.standard_normal((2, 3, 2, fan_out))
    weight = rng.standard_normal((size, size, fan_in, fan_out))
    check_grads(conv_nets.correlate, modes=["rev"], order=2)(image, weight)
    check_grads(lambda image, g: conv_nets.weight_gradient(image, g, size), modes=["rev"], order=2)(
        image, g
    )
    # <g, image * W> in three ways.
    total = np.sum(g * conv_nets.correlate(image, weight))
    np.testing.assert_allclose(
        np.sum(weight * conv_nets.weight_gradient(image, g, size)), total, rtol=1e-12
    )
    np.testing.assert_allclose(
        np.sum(image * conv_nets.correlate(g, conv_nets.turned(weight))), total, rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2)])
def test_edge_channel_is_a_channel_of_ones_in_the_padding(shape):
    """Compare with the published code: pad, add the channel, convolve without padding."""
    rng = np.random.default_rng(5)
    image = rng.standard_normal((2, *shape, 2))
    layer = {
        "weight": rng.standard_normal((3, 3, 2, 4)),
        "edge": rng.standard_normal((3, 3, 4)),
        "bias": rng.standard_normal(4),
        "log_gain": rng.standard_normal(4),
    }
    channel = np.pad(np.zeros((2, *shape, 1)), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    padded = np.concatenate([np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))), channel], axis=3)
    weight = np.concatenate([layer["weight"], layer["edge"][:, :, None]], axis=2)
    expected = (
        sum(
            padded[:, a : a + shape[0], b : b + shape[1]] @ weight[a, b]
            for a in range(3)
            for b in range(3)
        )
        + layer["bias"]
    )
    expected = expected * np.exp(3 * layer["log_gain"])
    np.testing.assert_allclose(conv_nets.convolve(layer, image), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("published", [False, True])
def test_conv_net_has_the_sizes_of_the_paper(published):
    params = conv_nets.init_conv_net(np.random.default_rng(4), (2, 5, 6, 3), published, published)
    shapes = [{name: array.shape for name, array in layer.items()} for layer in params]
    edges = [{"edge": (3, 3, width)} if published else {} for width in (5, 3)]
    gain = {"log_gain": (3,)} if published else {}
    assert shapes == [
        {"weight": (3, 3, 2, 5), "bias": (5,), **edges[0]},
        {"weight": (1, 1, 5, 6), "bias": (6,)},
        {"weight": (3, 3, 6, 3), "bias": (3,), **edges[1], **gain},
    ]
    assert not any(np.any(array) for array in params[-1].values())


# Squeeze ------------------------------------------------------------------------------------


def test_squeeze_order():
    image = np.arange(2 * 4 * 6.0).reshape(2, 4, 6)
    flow = nfref.Squeeze((2, 4, 6))
    z, log_det = flow.inverse({}, image.reshape(1, -1))
    squeezed = z.reshape(8, 2, 3)
    for c in range(2):
        for a in range(2):
            for b in range(2):
                np.testing.assert_array_equal(squeezed[4 * c + 2 * a + b], image[c, a::2, b::2])
    assert flow.squeezed_shape == (8, 2, 3) and log_det[0] == 0
    np.testing.assert_array_equal(flow.forward({}, z)[0], image.reshape(1, -1))


# Invertible convolution ---------------------------------------------------------------------


def dense_convolution(weight, shape):
    """The (CHW x CHW) matrix of a 1x1 convolution, entry by entry."""
    channels, height, width = shape
    matrix = np.zeros((channels, height, width, channels, height, width))
    for out in range(channels):
        for seen in range(channels):
            for i in range(height):
                for j in range(width):
                    matrix[out, i, j, seen, i, j] = weight[out, seen]
    return matrix.reshape(channels * height * width, -1)


@pytest.mark.parametrize("form", ["lu", "full"])
@pytest.mark.parametrize("negative", [False, True])
def test_convolution_log_det_is_that_of_the_dense_matrix(form, negative):
    shape = (3, 2, 4)
    if form == "lu":
        flow = nfref.InvertibleConv(shape, "lu", (1, 2, 0), (1, -1 if negative else 1, 1))
    else:
        flow = nfref.InvertibleConv(shape, "full")
    params, rows, _ = moved(flow)
    if form == "full" and (np.linalg.det(params["weight"]) < 0) != negative:
        params["weight"] = params["weight"][::-1]
    # A linear map sends the columns of the identity to those of its matrix.
    weight = flow.linear.forward(params, np.eye(3))[0].T
    assert (np.linalg.det(weight) < 0) == negative
    matrix = dense_convolution(weight, shape)
    sign, expected = np.linalg.slogdet(matrix)
    assert sign == 1  # an even number of pixels hides the sign of W's determinant
    x, log_det = flow.forward(params, rows)
    np.testing.assert_allclose(x, rows @ matrix.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(log_det, expected, rtol=1e-12)
    np.testing.assert_allclose(log_det, 2 * 4 * np.linalg.slogdet(weight)[1], rtol=1e-12)


def test_convolution_starts_as_a_rotation():
    determinants = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for flow in (
            nfref.InvertibleConv((4, 2, 2), "full"),
            nfref.InvertibleConv((4, 2, 2), "lu", *nfref.random_pivots(rng, 4)),
        ):
            params = flow.init(rng)
            weight = flow.linear.forward(params, np.eye(4))[0].T
            np.testing.assert_allclose(weight @ weight.T, np.eye(4), atol=1e-13)
            determinants.append(np.linalg.det(weight))
    for form in (0, 1):
        assert min(determinants[form::2]) < 0 < max(determinants[form::2])


# Actnorm ------------------------------------------------------------------------------------


def per_channel(rows, shape):
    """(C, N*H*W): all numbers of each channel."""
    return np.moveaxis(rows.reshape(-1, *shape), 1, 0).reshape(shape[0], -1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_actnorm_starts_from_the_data(dtype):
    shape = (3, 2, 4)
    flow = nfref.ActNorm(shape)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, 3, 2, 4)) * np.array([0.1, 2, 30]).reshape(3, 1, 1) + 7
    x = x.reshape(20, -1).astype(dtype)
    before = flow.init(rng)
    params = nfref.adapt(flow, before, x, stage="start")
    assert all(not np.any(leaf) for leaf in before.values())
    z, log_det = flow.inverse(params, x)
    channels = per_channel(z.astype(np.float64), shape)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(channels.mean(axis=1), 0, atol=tolerance)
    np.testing.assert_allclose(channels.std(axis=1), 1, atol=tolerance)
    expected = -2 * 4 * np.sum(np.log(per_channel(x.astype(float), shape).std(axis=1)))
    np.testing.assert_allclose(log_det, expected, rtol=1e-5)
    # Only the first batch counts.
    assert nfref.adapt(flow, params, 3 * x) is params or dtype == np.float32
    np.testing.assert_array_equal(nfref.adapt(flow, params, 3 * x)["shift"], params["shift"])


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1, 1)])
def test_actnorm_from_a_single_image(shape):
    flow = nfref.ActNorm(shape)
    x = np.random.default_rng(6).standard_normal((1, flow.dim)) + 0.1
    params = nfref.adapt(flow, flow.init(np.random.default_rng(0)), x, stage="start")
    z, log_det = flow.inverse(params, x)
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_det))
    channels = per_channel(z, shape)
    np.testing.assert_allclose(channels.mean(axis=1), 0, atol=1e-13)
    pixels = shape[1] * shape[2]
    np.testing.assert_allclose(channels.std(axis=1), 1 if pixels > 1 else 0, atol=1e-12)
    assert pixels > 1 or not np.any(params["log_scale"])


def test_actnorm_from_a_constant_channel_and_from_nothing():
    flow = nfref.ActNorm((2, 2, 2))
    start = flow.init(np.random.default_rng(0))
    x = np.random.default_rng(7).standard_normal((5, 2, 2, 2))
    x[:, 1] = 0.1  # its mean is not exactly 0.1, so its std is not exactly 0
    params = nfref.adapt(flow, start, x.reshape(5, -1), stage="start")
    assert params["log_scale"][1] == 0 and params["log_scale"][0] != 0
    np.testing.assert_allclose(params["shift"][1], 0.1, rtol=1e-14)
    assert nfref.adapt(flow, start, x[:0].reshape(0, 8), stage="start") is start


def test_every_actnorm_of_a_glow_starts_from_the_data():
    flow = nfref.Glow((1, 4, 4), levels=2, steps=2, hidden=(4, 4))
    rng = np.random.default_rng(8)
    x = 3 + np.exp(rng.standard_normal((30, 16)))
    params = nfref.adapt(flow, flow.init(rng), x, stage="start")
    seen = []

    def walk(flows, params, rows):
        for layer, layer_params in reversed(list(zip(flows, params))):
            if isinstance(layer, nfref.OnFirst):
                walk(layer.flow.flows, layer_params, rows[:, : layer.flow.dim])
                continue
            rows, _ = layer.inverse(layer_params, rows)
            if isinstance(layer, nfref.ActNorm):
                channels = per_channel(rows, layer.shape)
                np.testing.assert_allclose(channels.mean(axis=1), 0, atol=1e-12)
                np.testing.assert_allclose(channels.std(axis=1), 1, atol=1e-12)
                seen.append(layer.shape)

    walk(flow.flows, params, x)
    assert seen == [(4, 2, 2)] * 2 + [(8, 1, 1)] * 2


def test_the_deepest_prior_is_learned_and_not_started_from_data():
    """Each number has a normal, standard at the start, with a learned mean and scale."""
    flow = nfref.Glow((1, 4, 4), levels=2, steps=1, hidden=(4,))
    prior = flow.flows[0].flow.flows[0]
    assert type(prior) is nfref.TopPrior and prior.shape == (8, 1, 1)
    rng = np.random.default_rng(8)
    params = nfref.adapt(flow, flow.init(rng), 3 + rng.standard_normal((30, 16)), stage="start")
    assert not np.any(nfref.params.flatten(params[0][0])[0])


def test_top_prior_knows_the_context_and_the_edges_and_no_row():
    """Equal contexts have equal normals; pixels differ only near edges."""
    flow = nfref.TopPrior((2, 5, 5), context_dim=3, transformer=nfref.Affine("exp"))
    params, x, context = moved(flow)
    context[1] = context[0]
    mean, log_scale = flow.conditioner(params, x[:, :0], context)
    z, log_det = flow.inverse(params, x, context)
    expected = norm.logpdf(x, mean, np.exp(log_scale)).sum(axis=1)
    np.testing.assert_allclose(norm.logpdf(z).sum(axis=1) + log_det, expected, rtol=1e-12)
    np.testing.assert_array_equal(mean[0], mean[1])
    assert np.all(mean[0] != mean[2])
    mean = mean.reshape(7, 2, 5, 5)
    inner = mean[:, :, 1:4, 1:4]
    np.testing.assert_allclose(inner, inner[:, :, :1, :1] + np.zeros((3, 3)), rtol=1e-13)
    assert np.all(np.abs(mean[:, :, 0, 0] - mean[:, :, 0, 1]) > 1e-3)


# Coupling and split -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coupling", "coupling, no context", "split prior"])
def test_coupling_leaves_the_first_half_alone(name):
    flow = FLOWS[name]
    params, rows, context = moved(flow)
    kept = flow.kept * flow.shape[1] * flow.shape[2]
    jacobian = autograd_jacobian(lambda r: flow.forward(params, r, context)[0], rows)
    for row in jacobian:
        np.testing.assert_array_equal(row[:kept], np.eye(flow.dim)[:kept])
    changed = jacobian[:, kept:, kept:]
    np.testing.assert_array_equal(changed * (1 - np.eye(flow.dim - kept)), 0 * changed)
    assert np.all(np.any(jacobian[:, kept:, :kept] != 0, axis=(0, 1)))


def test_split_prior_scores_the_half_under_its_normal():
    flow = FLOWS["split prior"]
    params, x, context = moved(flow)
    kept, split_off = x[:, :8], x[:, 8:]
    mean, log_scale = flow.conditioner(params, kept, context)
    expected = norm.logpdf(split_off, mean, np.exp(log_scale)).sum(axis=1)
    z, log_det = flow.inverse(params, x, context)
    np.testing.assert_array_equal(z[:, :8], kept)
    np.testing.assert_allclose(norm.logpdf(z[:, 8:]).sum(axis=1) + log_det, expected, rtol=1e-12)


def test_glow_scores_images_as_the_paper_does():
    """The multi-scale density summed up level by level: log p = sum of priors + log-dets."""
    flow = nfref.Glow((1, 4, 4), levels=2, steps=2, hidden=(4, 4), context_dim=2)
    params, x, context = moved(flow)

    def score(flows, params, rows):
        total = 0
        for layer, layer_params in reversed(list(zip(flows, params))):
            if isinstance(layer, nfref.TopPrior):
                mean, log_scale = layer.conditioner(layer_params, rows[:, :0], context)
                return total + norm.logpdf(rows, mean, np.exp(log_scale)).sum(axis=1)
            if isinstance(layer, nfref.SplitPrior):
                half = layer.dim // 2
                mean, log_scale = layer.conditioner(layer_params, rows[:, :half], context)
                total = total + norm.logpdf(rows[:, half:], mean, np.exp(log_scale)).sum(axis=1)
                rows = rows[:, :half]
            elif isinstance(layer, nfref.OnFirst):
                return total + score(layer.flow.flows, layer_params, rows)
            else:
                rows, log_det = layer.inverse(
                    layer_params, rows, context if layer.context_dim else None
                )
                total = total + log_det
        raise AssertionError("expected a prior at the deepest level")

    density = nfref.Density(flow)
    log_prob = density.log_prob({"base": {}, "flow": params}, x, context)
    np.testing.assert_allclose(log_prob, score(flow.flows, params, x), rtol=1e-12)


# Glow ---------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_glow_learns_striped_images():
    """Thirty steps of Adam on images whose columns are alike, from actnorm's own start."""
    rng = np.random.default_rng(9)
    columns = 2 * np.sign(rng.standard_normal((256, 1, 4)))
    x = (np.repeat(columns, 4, axis=1) + 0.3 * rng.standard_normal((256, 4, 4))).reshape(256, 16)
    density = nfref.Density(nfref.Glow((1, 4, 4), levels=2, steps=2, hidden=(16, 16)))
    params = nfref.adapt(density, density.init(rng), x, stage="start")
    vector, unflatten = nfref.params.flatten(params)
    loss = value_and_grad(lambda v: -anp.mean(density.log_prob(unflatten(v), x)))
    first, second, losses = np.zeros_like(vector), np.zeros_like(vector), []
    for step in range(1, 31):
        value, gradient = loss(vector)
        losses.append(value)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        vector = vector - 0.01 * (
            first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        )
    assert losses[-1] < losses[0] - 4
    samples = density.sample(unflatten(vector), rng, 50)
    assert samples.shape == (50, 16) and np.all(np.isfinite(samples))


def test_glow_starts_with_known_determinant():
    """Couplings start as the identity and convolutions as rotations: only actnorm stretches."""
    flow = nfref.Glow((2, 4, 4), levels=2, steps=3, permutation="full")
    params = flow.init(np.random.default_rng(10))
    x = np.random.default_rng(11).standard_normal((4, 32))
    z, log_det = flow.inverse(params, x)
    np.testing.assert_allclose(log_det, 0, atol=1e-11)
    np.testing.assert_allclose(np.sum(z**2, axis=1), np.sum(x**2, axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: nfref.Glow((1, 6, 8), levels=2),
            r"shape: expected height and width divisible by 4 for 2 levels, got \(1, 6, 8\)",
        ),
        (lambda: nfref.Glow((8, 8)), r"shape: expected \(channels, height, width\), got \(8, 8\)"),
        (lambda: nfref.Glow((0, 4, 4)), "shape: expected at least 1, got 0"),
        (lambda: nfref.Glow((1, 4, 4), levels=0), "levels: expected at least 1, got 0"),
        (lambda: nfref.Glow((1, 4, 4), steps=0), "steps: expected at least 1, got 0"),
        (lambda: nfref.Glow((1, 4, 4), permutation="qr"), "permutation: expected one of lu, full"),
        (lambda: nfref.Glow((1, 4, 4), hidden=(0,)), "hidden: expected at least 1, got 0"),
        (lambda: nfref.Glow((1, 4, 4), pivots=[]), "pivots: expected 8, one for each convolution"),
        (lambda: nfref.Glow((1, 4, 4), pivots=-1), "pivots: expected at least 0, got -1"),
        (lambda: nfref.Squeeze((1, 3, 4)), r"shape: expected an even height and width"),
        (lambda: nfref.ChannelCoupling((1, 4, 4)), "shape: expected at least 2 channels"),
        (lambda: nfref.InvertibleConv((3, 1, 1), "qr"), "form: expected one of lu, full"),
        (
            lambda: nfref.InvertibleConv((3, 1, 1), "full", (0, 1, 2)),
            "expected permutation and signs",
        ),
        (lambda: nfref.OnFirst(nfref.Scale(3), 3), "dim: expected at least 4, got 3"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.Glow(64), r"shape: expected \(channels, height, width\), got 64"),
        (lambda: nfref.ActNorm((3, 2.0, 2)), "shape: expected a whole number, got 2.0"),
        (lambda: nfref.OnFirst("scale", 3), "flow: expected a flow, got str"),
        (
            lambda: nfref.Glow((1, 4, 4), transformer="affine"),
            "transformer: expected a Transformer",
        ),
    ],
)
def test_refuses_types(make, message):
    with pytest.raises(TypeError, match=message):
        make()
