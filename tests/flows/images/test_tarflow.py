"""TarFlow against its published code's form, written with prefixes in place of a mask."""

import numpy as np
import pytest
from autograd import grad
from autograd import numpy as anp
from autograd.test_util import check_grads
from scipy.special import erf

import nfref
from nfref.flows.images import tarflow
from nfref.networks import attention
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params

# Scales stay so near to one that finite differences can follow the maps.
MILD = nfref.Affine(bound=1.0)


def token_width(dim):
    return 2 if dim == 8 else 1


def block(reverse):
    return lambda dim, context_dim: nfref.TarFlowBlock(
        dim, token_width(dim), 4, 2, 1, 1, MILD, reverse, context_dim
    )


def order_of_tokens(flow):
    place = np.arange(flow.dim) // flow.width
    return -place if flow.reverse else place


def triangular_by_tokens(flow):
    """A coordinate depends on itself and on the tokens read before its own."""
    order = order_of_tokens(flow)
    return np.eye(flow.dim, dtype=bool) | (order[:, None] > order[None, :])


def first_token(flow):
    order = order_of_tokens(flow)
    return order == order.min()


CONTRACT = {
    "TarFlowBlock": Entry(
        block(False),
        (2, 5),
        context=True,
        costly=True,
        pattern=triangular_by_tokens,
        ignores_context=first_token,
    ),
    "TarFlowBlock reversed": Entry(
        block(True),
        (8,),
        context=True,
        costly=True,
        pattern=triangular_by_tokens,
        ignores_context=first_token,
    ),
    # Neither network nor exponential is bounded: only near rows stay finite.
    "TarFlowBlock exp": Entry(
        lambda dim, context_dim: nfref.TarFlowBlock(dim, 1, 4, 2, 1, 1, nfref.Affine("exp")),
        (3,),
        pattern=triangular_by_tokens,
        reach=2.0,
    ),
    "TarFlow": Entry(
        lambda dim, context_dim: nfref.TarFlow(
            dim, 2, token_width(dim), 4, 2, 1, 1, MILD, context_dim
        ),
        (2, 3, 8),
        context=True,
        costly=True,
    ),
}
test_contract = contract_test(CONTRACT)


# The published code's form ------------------------------------------------------------------


def affine(parameters, tokens):
    return tokens @ parameters["weight"] + parameters["bias"]


def normed(parameters, tokens):
    mean, variance = tokens.mean(-1, keepdims=True), tokens.var(-1, keepdims=True)
    return (tokens - mean) / np.sqrt(variance + 1e-5) * parameters["gain"] + parameters["offset"]


def attention_of_all(parameters, tokens, heads):
    """Attention without a mask: every token attends to all given tokens."""
    whole = (affine(parameters[name], tokens) for name in ("query", "key", "value"))
    parts = []
    for q, k, v in zip(*(np.split(part, heads, axis=1) for part in whole)):
        weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        parts.append(weights / weights.sum(1, keepdims=True) @ v)
    return affine(parameters["output"], np.concatenate(parts, axis=1))


def output_at_the_last(params, prefix, heads, context):
    """Apply the network to a prefix, layer by layer on shorter prefixes; it needs no mask."""
    tokens = affine(params["embed"], prefix) + params["position"][: len(prefix)]
    tokens = tokens + context @ params["from_context"]
    for layer in params["layers"]:
        seen = np.array(
            [
                attention_of_all(layer["attention"], normed(layer["norm"], tokens[: t + 1]), heads)[
                    -1
                ]
                for t in range(len(tokens))
            ]
        )
        tokens = tokens + seen
        hidden = affine(layer["mlp"][0], normed(layer["mlp_norm"], tokens))
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        tokens = tokens + affine(layer["mlp"][1], hidden)
    return affine(params["output"], tokens)[-1]


def test_paper_form():
    """z_0 = x_0, z_i = (x_i - mu_i(x_<i)) exp(-alpha_i(x_<i)), log|det| = -sum alpha."""
    rng = np.random.default_rng(0)
    flow = nfref.TarFlow(6, 3, 2, 8, 2, 2, 2, nfref.Affine("exp"), context_dim=2)
    params = random_params(flow, rng, 0.3)
    rows, context = rng.standard_normal((4, 6)), rng.standard_normal((4, 2))
    z, log_det = flow.inverse(params, rows, context)
    for n, x in enumerate(rows.reshape(4, 3, 2)):
        total = 0
        for k, parameters in enumerate(reversed(params)):  # data to latent, as in the paper
            x = x[::-1] if k % 2 else x
            latent = [x[0]]
            for i in range(1, len(x)):
                mu, alpha = np.split(output_at_the_last(parameters["net"], x[:i], 2, context[n]), 2)
                latent.append((x[i] - mu) * np.exp(-alpha))
                total -= alpha.sum()
            x = np.array(latent)[::-1] if k % 2 else np.array(latent)
        np.testing.assert_allclose(z[n], x.ravel(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(log_det[n], total, rtol=1e-11)


def test_takes_any_transformer():
    """Splines replace the affine map in a round trip."""
    flow = nfref.TarFlow(4, 2, 2, 8, 2, 1, 1, nfref.RationalQuadratic(4, 3.0))
    rng = np.random.default_rng(1)
    params, z = random_params(flow, rng), rng.standard_normal((5, 4))
    x, log_det = flow.forward(params, z)
    back, log_det_back = flow.inverse(params, x)
    np.testing.assert_allclose(back, z, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-9)


def test_starts_as_the_identity():
    flow = nfref.TarFlow(6, width=3)
    x = np.random.default_rng(0).standard_normal((4, 6))
    z, log_det = flow.inverse(flow.init(np.random.default_rng(1)), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, 0)


def test_two_blocks_let_every_token_see_every_other():
    flow = nfref.TarFlow(6, 2, 2, 8, 2, 1, 1)
    params = random_params(flow, np.random.default_rng(2))
    x = np.random.default_rng(3).standard_normal((1, 6))
    step = 1e-6
    moved = flow.inverse(params, x + step * np.eye(6))[0] - flow.inverse(params, x)[0]
    seen = np.abs(moved / step).reshape(3, 2, 3, 2).max(axis=(1, 3))
    assert np.all(seen > 1e-5), seen


def test_sixty_four_tokens_come_back():
    flow = nfref.TarFlow(64, 2, channels=8, heads=2, expansion=1)
    params = random_params(flow, np.random.default_rng(4), 0.1)
    z = np.random.default_rng(5).standard_normal((4, 64))
    x, log_det = flow.forward(params, z)
    back, log_det_back = flow.inverse(params, x)
    np.testing.assert_allclose(back, z, atol=1e-12)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-12)
    assert np.ptp(log_det) > 0.1


def test_blocks_alternate_and_the_one_at_the_data_reads_forwards():
    assert [flow.reverse for flow in nfref.TarFlow(4, 3).flows] == [False, True, False]
    assert [flow.reverse for flow in nfref.TarFlow(4, 4).flows] == [True, False, True, False]


# The network --------------------------------------------------------------------------------


def test_gelu():
    x = np.linspace(-30, 30, 41)
    np.testing.assert_allclose(attention.gelu(x), x * (1 + erf(x / np.sqrt(2))) / 2, atol=1e-15)
    assert attention.gelu(np.array([-12.0]))[0] == pytest.approx(-12 * 1.7764821120776762e-33)
    check_grads(attention.gelu, order=2)(np.array([-3.0, -0.2, 0.0, 1.5]))
    assert attention.gelu(np.float32([1])).dtype == np.float32


def test_scores_may_be_huge():
    """A weight of one and zeros, no overflow, and a gradient that is finite."""
    rng = np.random.default_rng(4)
    params = attention.init_causal_transformer(rng, 3, 1, 4, 1, 1, 2)["layers"][0]["attention"]
    h = 1e4 * rng.standard_normal((2, 3, 4))
    with np.errstate(all="raise", under="ignore"):
        out = attention.causal_attention(params, h, 2)
    slope = grad(lambda h: anp.sum(attention.causal_attention(params, h, 2)))(h)
    assert np.all(np.isfinite(out)) and np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 1}, "dim: expected at least 2, got 1"),
        (
            {"dim": 6, "width": 4},
            "width: expected a divisor of dim 6 that makes at least two tokens",
        ),
        (
            {"dim": 6, "width": 6},
            "width: expected a divisor of dim 6 that makes at least two tokens",
        ),
        ({"dim": 6, "channels": 6}, "channels: expected a multiple of heads 4, got 6"),
        ({"dim": 6, "layers": 1}, "layers: expected at least 2, got 1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.TarFlow(**options)


# Guidance -----------------------------------------------------------------------------------


def guided_in_the_letters_of_the_code(block, net, z, y, guidance, annealed, attn_temp):
    """``reverse`` of the published code: one patch after the other, with and without a label."""
    T, W = block.length, block.width
    x = z.reshape(len(z), T, W)[:, ::-1] if block.reverse else z.reshape(len(z), T, W)
    x, class_embed = np.array(x), net["from_context"]

    def reverse_step(i, embed, temp):
        # The code adds the embedding of a class itself; here the position carries it.
        shifted = {k: v for k, v in net.items() if k != "from_context"}
        shifted["embed"] = {**net["embed"], "bias": net["embed"]["bias"] + embed}
        layers = []
        for layer in net["layers"]:
            query = {k: v / temp for k, v in layer["attention"]["query"].items()}
            layers.append({**layer, "attention": {**layer["attention"], "query": query}})
        out = attention.causal_transformer({**shifted, "layers": layers}, x, block.heads)
        xb, xa = np.split(out[:, i], 2, axis=1)
        return xa, xb

    for i in range(T - 1):
        za, zb = reverse_step(i, class_embed[y], 1.0)
        za_u, zb_u = reverse_step(i, class_embed.mean(axis=0), attn_temp)
        g = (i + 1) / (T - 1) * guidance if annealed else guidance
        za, zb = za + g * (za - za_u), zb + g * (zb - zb_u)
        x[:, i + 1] = x[:, i + 1] * np.exp(za) + zb
    return (x[:, ::-1] if block.reverse else x).reshape(len(z), -1)


@pytest.mark.parametrize("annealed", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_guidance_in_the_letters_of_the_published_code(annealed, temperature):
    flow = nfref.TarFlow(8, 2, 2, 4, 2, 1, 1, nfref.Affine("exp"), context_dim=3)
    rng = np.random.default_rng(0)
    params = random_params(flow, rng, 0.7)
    z, label = rng.standard_normal((1, 8)), 2
    found, _ = tarflow.guided(flow, 1.5, annealed=annealed, temperature=temperature).forward(
        params, z, np.eye(3)[[label]]
    )
    x = z
    for block, own in zip(flow.flows, params):
        x = guided_in_the_letters_of_the_code(
            block, own["net"], x, label, 1.5, annealed, temperature
        )
    np.testing.assert_allclose(found, x, rtol=1e-11, atol=1e-11)


def test_no_label_is_the_mean_of_all():
    """With embeddings of mean zero it is a context of zeros, too; in general it is not."""
    flow = nfref.TarFlow(4, 2, 1, 4, 2, 1, 1, MILD, context_dim=3)
    rng = np.random.default_rng(1)
    params, z, context = (
        random_params(flow, rng),
        rng.standard_normal((5, 4)),
        np.eye(3)[[0, 1, 2, 0, 1]],
    )
    ways = [tarflow.guided(flow, 1.0, without) for without in ("mean", "zero")]
    mean, zero = (way.forward(params, z, context)[0] for way in ways)
    assert np.max(np.abs(mean - zero)) > 0.01
    for own in params:
        own["net"]["from_context"] = own["net"]["from_context"] - np.mean(
            own["net"]["from_context"], axis=0
        )
    mean, zero = (way.forward(params, z, context)[0] for way in ways)
    np.testing.assert_allclose(mean, zero, atol=1e-12)


def test_guidance_of_weight_zero_is_the_flow():
    flow = nfref.TarFlow(4, 2, 1, 4, 2, 1, 1, MILD, context_dim=2)
    rng = np.random.default_rng(2)
    params, z, context = random_params(flow, rng), rng.standard_normal((3, 4)), np.eye(2)[[0, 1, 0]]
    for found, expected in zip(
        tarflow.guided(flow, 0.0).forward(params, z, context), flow.forward(params, z, context)
    ):
        np.testing.assert_allclose(found, expected, atol=1e-13)
    single = trees.cast([params, z, context], np.dtype(np.float32))
    assert tarflow.guided(flow, 1.0, annealed=True).forward(*single)[0].dtype == np.float32


@pytest.mark.parametrize(
    "options, message",
    [
        ({"without": "none"}, "^without: expected one of mean, zero; got 'none'$"),
        ({"temperature": 0}, "^temperature: expected a finite number above 0, got 0$"),
    ],
)
def test_guidance_that_is_not(options, message):
    with pytest.raises(ValueError, match=message):
        tarflow.guided(nfref.TarFlow(4, channels=4, heads=2, context_dim=2), 1.0, **options)
    with pytest.raises(ValueError, match="^flow: expected a context_dim, the number of labels"):
        tarflow.guided(nfref.TarFlow(4, channels=4, heads=2), 1.0)
