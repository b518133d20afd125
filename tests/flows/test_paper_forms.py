"""Each flow against a few lines in the letters and the direction of its paper.

A function named after a paper computes the paper's formula, one row at a time. It takes only the
networks' numbers from nfref. The symbol maps stand in the flows' docstrings.
"""

import numpy as np
import pytest
from numpy.linalg import slogdet
from scipy.linalg import lu

import nfref
from nfref.networks.masked import masked_mlp
from nfref.networks.mlp import mlp
from tests.flow_table import random_params


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def case(flow, n=3, seed=0):
    rng = np.random.default_rng(seed)
    return random_params(flow, rng), rng.standard_normal((n, flow.dim))


def assert_inverse_is(flow, params, x, paper, tolerance=1e-12):
    """``paper``: a row of data to (a row of latents, log-determinant)."""
    z, log_det = flow.inverse(params, x)
    for n, row in enumerate(x):
        latent, total = paper(row)
        np.testing.assert_allclose(z[n], latent, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(log_det[n], total, rtol=tolerance, atol=tolerance)


def net_of(layer, params):
    """The network of a coupling: a row of what stays to its raw outputs in blocks."""

    def net(row):
        outputs = mlp(params["net"], row[None], layer.activation)[0]
        return outputs.reshape(layer.transformer.size, -1)

    return net


# Coupling flows -----------------------------------------------------------------------------


def test_nice():
    """h = f(x): y_I1 = x_I1, y_I2 = x_I2 + m(x_I1), layer after layer; S_ii last (3.2, 3.3)."""
    flow = nfref.NICE(3, layers=3, hidden=(4,))
    params, x = case(flow)

    def nice(x):
        y = x.copy()
        for layer, theta in list(zip(flow.flows, params))[:0:-1]:
            one, two = np.array(layer.mask), ~np.array(layer.mask)
            y[two] = y[two] + -net_of(layer, theta)(y[one])[0]  # m is -t
        S = np.exp(-params[0]["log_scale"])
        return S * y, np.sum(np.log(np.abs(S)))

    assert_inverse_is(flow, params, x, nice)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_real_nvp(batch_norm):
    """x to y: y2 = x2 exp(s(x1)) + t(x1) (3.2), batch norm behind every coupling (3.7, 17-18).

    s is tanh times a learned scale (4.1). RealNVP's (s, t) are (-s, -t exp(-s)) of nfref.
    """
    flow = nfref.RealNVP(
        3, layers=3, hidden=(4,), transformer=nfref.Affine("tanh"), batch_norm=batch_norm
    )
    params, x = case(flow)

    def real_nvp(x):
        y, log_det = x.copy(), 0
        for layer, theta in list(zip(flow.flows, params))[::-1]:
            if isinstance(layer, nfref.BatchNorm):
                mu, variance = theta["running_mean"], theta["running_variance"]
                normed = (y - mu) / np.sqrt(variance + layer.epsilon)
                # the paper has 1 and 0 here
                y = normed * np.exp(theta["log_scale"]) + theta["shift"]
                log_det += np.sum(theta["log_scale"]) - 0.5 * np.sum(
                    np.log(variance + layer.epsilon)
                )
                continue
            b = np.array(layer.mask)
            p, r = net_of(layer, theta)(y[b])
            s = -theta["transformer"]["factor"] * np.tanh(r)
            t = -p * np.exp(s)
            y[~b] = y[~b] * np.exp(s) + t
            log_det += np.sum(s)
        return y, log_det

    assert_inverse_is(flow, params, x, real_nvp)
    kinds = [type(layer).__name__ for layer in flow.flows[::-1]]  # from data to latent
    assert kinds == (["Coupling", "BatchNorm"] if batch_norm else ["Coupling"]) * 3


def test_masks_of_real_nvp():
    """3.4: 1 where the sum of the coordinates is odd; 1 for the first half of the channels."""
    board = np.reshape(nfref.checkerboard_mask((2, 3, 4)), (2, 3, 4))
    for channel, row, column in np.ndindex(2, 3, 4):
        assert board[channel, row, column] == ((row + column) % 2 == 1)
    assert list(nfref.channel_mask((4, 1, 1))) == [True, True, False, False]


# Autoregressive flows -------------------------------------------------------------------------


def maf(flow, params):
    """u_i = (x_i - mu_i) exp(-alpha_i), data to u, layer after layer, batch norm behind each."""

    def rows(x):
        u, log_det = x.copy(), 0
        for layer, theta in list(zip(flow.flows, params))[::-1]:
            if isinstance(layer, nfref.BatchNorm):
                m, v = theta["running_mean"], theta["running_variance"]
                beta, gamma = theta["shift"], theta["log_scale"]
                u = (u - m) * (v + layer.epsilon) ** -0.5 * np.exp(gamma) + beta
                log_det += np.sum(gamma - 0.5 * np.log(v + layer.epsilon))
                continue
            outputs = masked_mlp(theta["net"], layer.masks, u[None], layer.activation)[0]
            mu, alpha = outputs.reshape(2, -1)
            u = (u - mu) * np.exp(-alpha)
            log_det -= np.sum(alpha)
        return u, log_det

    return rows


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_maf(layers):
    """MAF, section 3.1 and appendix B; the layer next to the data has the natural order."""
    flow = nfref.MAF(3, layers, (5,), transformer=nfref.Affine("exp"), batch_norm=True)
    params, x = case(flow)
    assert_inverse_is(flow, params, x, maf(flow, params))
    from_data = flow.flows[::-1]
    assert [type(layer).__name__ for layer in from_data] == ["MADE", "BatchNorm"] * layers
    assert [layer.order for layer in from_data[::2]] == [(0, 1, 2), (2, 1, 0), (0, 1, 2)][:layers]


def test_batch_norm_of_maf_is_evaluated_with_the_statistics_of_the_training_set():
    """MAF, appendix B: from data to latent, each layer with m and v of all its rows."""
    flow = nfref.MAF(2, 2, (4,), transformer=nfref.Affine("exp"), batch_norm=True)
    params, x = case(flow, n=200)
    params = nfref.adapt(flow, params, x, stage="evaluation")
    u = x
    for layer, theta in list(zip(flow.flows, params))[::-1]:
        if isinstance(layer, nfref.BatchNorm):
            np.testing.assert_allclose(theta["running_mean"], u.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(theta["running_variance"], u.var(axis=0), rtol=1e-12)
        u = layer.inverse(theta, u)[0]


@pytest.mark.parametrize("degrees", ["even", "random"])
def test_made_masks(degrees):
    """MADE, section 4: M^W_kd = 1 where m(k) >= d, M^V_dk = 1 where d > m(k), d from 1."""
    made = nfref.MADE(4, (6,), degrees=degrees)
    W, V = (mask.T for mask in made.masks)
    m = {"even": [1, 1, 2, 2, 3, 3], "random": made.degrees[0]}[degrees]
    for k, d in np.ndindex(6, 4):
        assert W[k, d] == (m[k] >= d + 1)
        assert V[d, k] == V[4 + d, k] == (d + 1 > m[k])


def test_iaf():
    """IAF, algorithm 1: z <- sigma z + (1 - sigma) m, sigma = sigmoid(s), noise to z; reversed."""
    flow = nfref.IAF(3, 2, (5,), transformer=nfref.Affine("gate"))
    params, noise = case(flow)
    x, log_det = flow.forward(params, noise)
    for n, z in enumerate(noise):
        total = 0
        for layer, theta, order in zip(flow.flow.flows[::-1], params[::-1], [(0, 1, 2), (2, 1, 0)]):
            assert layer.order == order
            outputs = masked_mlp(theta["net"], layer.masks, z[None], layer.activation)[0]
            m, s = outputs[:3], outputs[3:] + 2  # the bias that keeps gates open
            z = sigmoid(s) * z + (1 - sigmoid(s)) * m
            total += np.sum(np.log(sigmoid(s)))
        np.testing.assert_allclose(x[n], z, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-12)


# Neural spline flows ----------------------------------------------------------------------------


def spline(x, widths, heights, slopes, bound):
    """g(x) and g'(x) of NSF, section 3.1, with linear tails."""
    if abs(x) >= bound:
        return x, 1.0
    K = len(widths)
    x_k, y_k = (
        bound
        * (
            2
            * np.concatenate(
                [[0], np.cumsum(1e-3 + (1 - 1e-3 * K) * np.exp(raw) / np.sum(np.exp(raw)))]
            )
            - 1
        )
        for raw in (widths, heights)
    )
    delta = np.concatenate([[1], 1e-3 + np.log1p(np.exp(slopes + np.log(np.expm1(1 - 1e-3)))), [1]])
    k = np.searchsorted(x_k, x, "right") - 1
    s = (y_k[k + 1] - y_k[k]) / (x_k[k + 1] - x_k[k])
    xi = (x - x_k[k]) / (x_k[k + 1] - x_k[k])
    under = s + (delta[k + 1] + delta[k] - 2 * s) * xi * (1 - xi)
    g = y_k[k] + (y_k[k + 1] - y_k[k]) * (s * xi**2 + delta[k] * xi * (1 - xi)) / under
    slope = (
        s**2 * (delta[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + delta[k] * (1 - xi) ** 2) / under**2
    )
    return g, slope


@pytest.mark.parametrize("coupling", [False, True])
def test_nsf(coupling):
    """Data to latent: a linear map, splines, a linear map, splines, and a linear map at the end."""
    flow = nfref.NSF(3, 2, (5,), bins=4, coupling=coupling, activation="tanh", linear="lu")
    params, x = case(flow, n=6)

    def nsf(x):
        u, log_det = x.copy(), 0
        for layer, theta in list(zip(flow.flows, params))[::-1]:
            if isinstance(layer, nfref.LULinear):
                lower, upper = layer.factors(theta)
                weight = np.linalg.inv(lower @ upper)
                u, log_det = weight @ (u - theta["bias"]), log_det + slogdet(weight)[1]
                continue
            changed = ~np.array(layer.mask) if coupling else np.ones(3, bool)
            raw = (
                net_of(layer, theta)(u[~changed])
                if coupling
                else masked_mlp(theta["net"], layer.masks, u[None], layer.activation)[0].reshape(
                    11, 3
                )
            )
            pairs = [
                spline(value, h[:4], h[4:8], h[8:], flow.bound)
                for value, h in zip(u[changed], raw.T)
            ]
            u[changed], slopes = np.transpose(pairs)
            log_det += np.sum(np.log(slopes))
        return u, log_det

    assert_inverse_is(flow, params, x, nsf, 1e-9)
    kinds = [type(layer).__name__ for layer in flow.flows]
    assert kinds == ["LULinear", "Coupling" if coupling else "MADE"] * 2 + ["LULinear"]
    if coupling:  # the published code changes even coordinates first
        assert [layer.mask for layer in flow.flows[::-1][1::2]] == [
            (False, True, False),
            (True, False, True),
        ]


# Glow -------------------------------------------------------------------------------------------


def test_glow():
    """Squeeze, K steps of actnorm, 1x1 convolution and coupling, split; the published code's way.

    z2 = (z2 + shift) * sigmoid(h + 2); the half that is split off and what is left at the end
    are scored under learned normals.
    """
    flow = nfref.Glow(
        (1, 4, 4),
        levels=2,
        steps=1,
        hidden=(3, 3),
        transformer=nfref.Affine("sigmoid"),
        split_transformer=nfref.Affine("exp"),
    )
    params, images = case(flow)
    from_data = [type(layer).__name__ for layer in flow.flows[::-1]]
    assert from_data == [
        "Squeeze",
        "ActNorm",
        "InvertibleConv",
        "ChannelCoupling",
        "SplitPrior",
        "OnFirst",
    ]
    deepest = [type(layer).__name__ for layer in flow.flows[0].flow.flows[::-1]]
    assert deepest == ["Squeeze", "ActNorm", "InvertibleConv", "ChannelCoupling", "TopPrior"]

    def conv_net(net, image):
        """3x3 relu, 1x1 relu, 3x3; (channels, H, W) to (channels, H, W).

        The padding of a 3x3 has a channel of its own, which is 1 there; the last output is
        multiplied by exp(3 logs).
        """
        for k, layer in enumerate(net):
            weight = layer.get("weight", np.zeros((3, 3, 0, len(layer["bias"]))))
            reach = len(weight) // 2
            around = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
            if reach:
                edge = np.pad(
                    np.zeros((1, *image.shape[1:])), ((0, 0), (1, 1), (1, 1)), constant_values=1
                )
                around = np.concatenate([around, edge])
                weight = np.concatenate([weight, layer["edge"][:, :, None]], axis=2)
            out = np.zeros((len(layer["bias"]), *image.shape[1:])) + layer["bias"][:, None, None]
            for i, j in np.ndindex(weight.shape[:2]):
                seen = around[:, i : i + image.shape[1], j : j + image.shape[2]]
                out += np.einsum("chw,ce->ehw", seen, weight[i, j])
            image = np.maximum(out, 0) if k + 1 < len(net) else out
        return image * np.exp(3 * net[-1]["log_gain"])[:, None, None]

    def level(h, flows, params):
        """log p of an image (C, H, W)."""
        squeezed = [h[c, a::2, b::2] for c in range(len(h)) for a in (0, 1) for b in (0, 1)]
        h, pixels, objective = np.array(squeezed), h[0].size / 4, 0
        *rest, coupling, convolution, actnorm, _ = params
        s = np.exp(-actnorm["log_scale"])
        h = s[:, None, None] * (h - actnorm["shift"][:, None, None])
        lower, upper = flows[-3].linear.factors(convolution)
        W = np.linalg.inv((lower @ upper)[list(flows[-3].permutation)])
        h = np.einsum("ij,jhw->ihw", W, h)
        objective += pixels * (np.sum(np.log(s)) + slogdet(W)[1])
        z1, z2 = np.split(h, 2)
        shift, scale = np.split(conv_net(coupling["net"], z1), 2)
        z2 = (z2 + -shift) * sigmoid(scale + 2)
        objective += np.sum(np.log(sigmoid(scale + 2)))
        if len(rest) == 1:
            mean, logs = np.split(conv_net(rest[0]["net"], np.zeros((0, *z1.shape[1:]))), 2)
            return objective + normal(np.concatenate([z1, z2]), mean, logs)
        mean, logs = np.split(conv_net(rest[1]["net"], z1), 2)
        return objective + normal(z2, mean, logs) + level(z1, flows[0].flow.flows, rest[0])

    def normal(value, mean, logs):
        return np.sum(
            -0.5 * (np.log(2 * np.pi) + 2 * logs + (value - mean) ** 2 / np.exp(2 * logs))
        )

    log_prob = nfref.Density(flow).log_prob({"base": {}, "flow": params}, images)
    for n, image in enumerate(images):
        np.testing.assert_allclose(
            log_prob[n], level(image.reshape(1, 4, 4), flow.flows, params), rtol=1e-10
        )


def test_glow_convolutions_start_as_rotations_of_any_permutation_and_sign():
    """Glow, section 3.2: W = P L U is the LU decomposition of a rotation, of either determinant."""
    flow = nfref.Glow((1, 4, 4), levels=2, steps=4)
    convolutions = [
        layer
        for layer in (*flow.flows, *flow.flows[0].flow.flows)
        if isinstance(layer, nfref.InvertibleConv)
    ]
    assert len({(layer.permutation, layer.signs) for layer in convolutions}) == 8
    determinants = []
    for layer in convolutions:
        W = layer.linear.forward(layer.init(np.random.default_rng(1)), np.eye(layer.shape[0]))[0].T
        np.testing.assert_allclose(W @ W.T, np.eye(layer.shape[0]), atol=1e-12)
        P, _, U = lu(W)
        assert tuple(np.argmax(P, axis=1)) == layer.permutation
        assert tuple(np.sign(np.diag(U))) == layer.signs
        determinants.append(slogdet(W)[0])
    assert set(determinants) == {-1, 1}
    assert nfref.Glow((1, 4, 4), pivots=flow.pivots, levels=2, steps=4) == flow
    assert nfref.Glow((1, 4, 4), pivots=1, levels=2, steps=4) != flow


# Planar -------------------------------------------------------------------------------------------


def test_planar():
    """z' = z + u_hat h(w'z + b), det 1 + u_hat' psi(z), latent to data (4.1, A.1)."""
    flow = nfref.Planar(3, layers=2)
    params, rows = case(flow)
    x, log_det = flow.forward(params, rows)
    for n, z in enumerate(rows):
        total = 0
        for theta in params:
            u, w, b = theta["u"], theta["w"], theta["b"][0]
            u_hat = u + (-1 + np.log1p(np.exp(w @ u)) - w @ u) * w / (w @ w)
            psi = (1 - np.tanh(w @ z + b) ** 2) * w
            z = z + u_hat * np.tanh(w @ z + b)
            total += np.log(np.abs(1 + u_hat @ psi))
        np.testing.assert_allclose(x[n], z, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-11)
