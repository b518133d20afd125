"""The golden vectors against other libraries with the same map, in float64.

The libraries are those of the extra ``peers``. Networks get the weights of the file; the tests
compare the other library's map and its log-determinant.
"""

import warnings

import numpy as np
import pytest

from nfref.flows.autoregressive import natural_order
from nfref.flows.linear import LULinear
from nfref.oracle import golden_vectors
from nfref.transformers.affine import Affine
from nfref.transformers.rational_quadratic import slope_offset
from nfref.transformers.transformer import constrained

pytestmark = pytest.mark.peers
CLOSE = dict(rtol=1e-11, atol=1e-11)


def assert_same_map(golden, x, log_det):
    assert_close((x, log_det), (golden["x"], golden["log_det_forward"]))


def assert_close(pair, expected):
    for got, wanted in zip(pair, expected):
        np.testing.assert_allclose(np.asarray(got), wanted, **CLOSE)


def torch_double(array):
    import torch

    return torch.from_numpy(np.array(array, dtype=np.float64))


def torch_network(layers, activation, masks=None):
    """The conditioner of a file as a torch function of rows."""
    import torch

    activate = {"relu": torch.relu, "tanh": torch.tanh, "softplus": torch.nn.functional.softplus}[
        activation
    ]

    def network(rows):
        for k, layer in enumerate(layers):
            weight = layer["weight"] if masks is None else layer["weight"] * masks[k]
            rows = rows @ torch_double(weight) + torch_double(layer["bias"])
            rows = activate(rows) if k + 1 < len(layers) else rows
        return rows

    return network


def torch_affine(raw, bound):
    """torch's own affine transform with the shift and the bounded log-scale of the outputs."""
    from torch.distributions import AffineTransform

    shift, raw = raw.chunk(2, dim=-1)
    log_scale = raw / (1 + (raw / bound) ** 2) ** 0.5
    return AffineTransform(shift, log_scale.exp())


# torch.distributions --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scale", "elementwise_affine", "standardise"])
def test_torch_affine_transform(name):
    from torch.distributions import AffineTransform, IndependentTransform

    golden = golden_vectors.load(name)
    flow, params, z = golden["flow"], golden["params"], torch_double(golden["z"])
    shift = params.get("shift", getattr(flow, "mean", 0)) if params else flow.mean
    scale = np.exp(params["log_scale"]) if params else flow.std
    shift = shift if "shift" in params or not params else np.zeros(flow.dim)
    transform = IndependentTransform(AffineTransform(torch_double(shift), torch_double(scale)), 1)
    x = transform(z)
    assert_same_map(golden, x, transform.log_abs_det_jacobian(z, x))


def test_torch_sigmoid_transform():
    from torch.distributions import AffineTransform, ComposeTransform, SigmoidTransform

    golden = golden_vectors.load("logit")
    flow, z = golden["flow"], golden["z"]
    x, log_det = z.copy(), np.zeros(len(z))
    for k, (low, high) in enumerate(zip(flow.lower, flow.upper)):
        if low is not None:
            transform = ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])
            column = torch_double(z[:, k])
            x[:, k] = transform(column)
            log_det += np.asarray(transform.log_abs_det_jacobian(column, transform(column)))
    assert_same_map(golden, x, log_det)


# normflows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["planar_layer", "planar"])
def test_normflows_planar(name):
    import normflows

    golden = golden_vectors.load(name)
    z, total = torch_double(golden["z"]), 0
    layers = golden["params"] if isinstance(golden["params"], list) else [golden["params"]]
    for layer in layers:
        planar = normflows.flows.Planar(
            (golden["flow"].dim,),
            u=torch_double(layer["u"][None]),
            w=torch_double(layer["w"][None]),
            b=torch_double(layer["b"]),
        )
        z, log_det = planar(z)
        total = total + log_det
    assert_same_map(golden, z.detach(), total.detach())


@pytest.mark.parametrize("name", ["radial_layer", "radial"])
def test_normflows_radial(name):
    import normflows

    golden = golden_vectors.load(name)
    z, total = torch_double(golden["z"]), 0
    layers = golden["params"] if isinstance(golden["params"], list) else [golden["params"]]
    for layer in layers:
        radial = normflows.flows.Radial((golden["flow"].dim,), torch_double(layer["z0"][None]))
        radial.alpha.data = torch_double(np.log1p(np.exp(layer["alpha"])))
        radial.beta.data = torch_double(layer["beta"])
        z, log_det = radial(z)
        total = total + log_det
    assert_same_map(golden, z.detach(), total.detach())


# nflows ---------------------------------------------------------------------------------------


def test_nflows_additive_coupling():
    from nflows.transforms.coupling import AdditiveCouplingTransform

    golden = golden_vectors.load("additive_coupling")
    flow = golden["flow"]
    network = torch_network(golden["params"]["net"], flow.activation)
    transform = AdditiveCouplingTransform(
        [not stays for stays in flow.mask],
        lambda fan_in, fan_out: lambda rows, context: network(rows),
    )
    assert_same_map(golden, *transform(torch_double(golden["z"])))


def test_nflows_permutation():
    import torch
    from nflows.transforms.permutations import Permutation

    golden = golden_vectors.load("permutation")
    transform = Permutation(torch.tensor(golden["flow"].order))
    assert_same_map(golden, *transform(torch_double(golden["z"])))


def nflows_conditioner(flow, params):
    """Return the file's network as a module that outputs the numbers of nflows' splines.

    nflows keeps the numbers of a coordinate together, nfref those of a bin. Its slopes are minimum
    + softplus(raw); nfref's are the same of raw plus a constant. nflows divides widths and heights
    by the root of a network's ``hidden_features``; a module without it keeps them.
    """
    import torch

    network = torch_network(params["net"], flow.activation, getattr(flow, "masks", None))
    bins, size = flow.transformer.bins, flow.transformer.size

    class Conditioner(torch.nn.Module):
        def forward(self, rows, context=None):
            raw = network(rows).unflatten(1, (size, -1)).transpose(1, 2).clone()
            raw[..., 2 * bins :] += slope_offset(flow.transformer.min_slope)
            return raw.flatten(1)

    return Conditioner()


def nflows_spline_layer(flow, params):
    """Return a layer of an NSF; nflows goes from data to latent, as the paper does."""
    from nflows.transforms.autoregressive import (
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform as Autoregressive,
    )
    from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform as Coupling

    spline = flow.transformer
    options = dict(
        num_bins=spline.bins,
        tails="linear",
        tail_bound=spline.bound,
        min_bin_width=spline.min_width,
        min_bin_height=spline.min_height,
        min_derivative=spline.min_slope,
    )
    conditioner = nflows_conditioner(flow, params)
    if hasattr(flow, "mask"):
        return Coupling([not stays for stays in flow.mask], lambda *sizes: conditioner, **options)
    transform = Autoregressive(flow.dim, flow.dim, **options)
    transform.autoregressive_net = conditioner
    return transform


def assert_spline_flow(name, layer_forward):
    """Check a library's spline layer: ``layer_forward(flow, params, z) -> (x, log_det)``.

    The linear maps between couplings are multiplied out here; ``test_tfp_lu`` tests them alone.
    """
    golden = golden_vectors.load(name)
    x, total = golden["z"], 0
    for flow, params in zip(golden["flow"].flows, golden["params"]):
        if isinstance(flow, LULinear):
            lower, upper = flow.factors(params)
            matrix = (lower @ upper)[list(flow.permutation)]
            x, log_det = x @ matrix.T + params["bias"], np.linalg.slogdet(matrix)[1]
        else:
            x, log_det = layer_forward(flow, params, x)
        x, total = np.asarray(x), total + np.asarray(log_det)
    assert_same_map(golden, x, total)


NSFS = pytest.mark.parametrize("name", ["nsf_autoregressive", "nsf_coupling"])


# This network is not nflows' own, whose outputs would be divided by a root.
@pytest.mark.filterwarnings("ignore:Inputs to the softmax are not scaled down:UserWarning")
@NSFS
def test_nflows_spline_flow(name):
    assert_spline_flow(
        name, lambda flow, params, z: nflows_spline_layer(flow, params).inverse(torch_double(z))
    )


# zuko -----------------------------------------------------------------------------------------


def zuko_spline(transformer, h):
    """Return zuko's spline, data to latent, with the knots of h instead of its own.

    zuko has no smallest width or height but squashes the raw numbers, and its slopes are
    exponentials; so it gets the raw numbers that give nfref's knots.
    """
    import torch
    from zuko.transforms import MonotonicRQSTransform

    x_k, y_k, _, d_k = (torch_double(np.moveaxis(values, 0, -1)) for values in h)
    spline = MonotonicRQSTransform(*(torch.zeros(n) for n in (1, 1, 0)), transformer.bound)
    spline.horizontal, spline.vertical, spline.derivatives = x_k, y_k, d_k
    return spline


def zuko_transformer(flow, params, outputs):
    """Return the transformer of a layer, latent to data, from the network's outputs."""
    if isinstance(flow.transformer, Affine):
        return torch_affine(outputs, flow.transformer.bound)
    h = constrained(flow.transformer, params, outputs.numpy())
    return zuko_spline(flow.transformer, h).inv


def zuko_coupling(flow, params, context):
    import torch
    from zuko.transforms import CouplingTransform, DependentTransform

    network = torch_network(params["net"], flow.activation)

    def meta(kept):
        seen = kept if context is None else torch.cat([kept, torch_double(context)], dim=1)
        return DependentTransform(zuko_transformer(flow, params, network(seen)), 1)

    return CouplingTransform(meta, torch.tensor(flow.mask))


def zuko_made(flow, params, context):
    """Invert zuko's transform from x to z in D passes; it is nfref's forward."""
    import torch
    from zuko.transforms import AutoregressiveTransform, DependentTransform

    network = torch_network(params["net"], flow.activation, flow.masks)

    def meta(x):
        seen = x if context is None else torch.cat([x, torch_double(context)], dim=1)
        return DependentTransform(zuko_transformer(flow, params, network(seen)).inv, 1)

    return AutoregressiveTransform(meta, passes=flow.dim).inv


@pytest.mark.parametrize(
    "name, build",
    [
        ("affine_coupling", zuko_coupling),
        ("affine_coupling_context", zuko_coupling),
        ("real_nvp", zuko_coupling),
        ("made", zuko_made),
        ("made_context", zuko_made),
        ("maf", zuko_made),
    ],
)
def test_zuko(name, build):
    golden = golden_vectors.load(name)
    flow, params = golden["flow"], golden["params"]
    x, total = torch_double(golden["z"]), 0
    members = zip(flow.flows, params) if isinstance(params, list) else [(flow, params)]
    for layer, parameters in members:
        x, log_det = build(layer, parameters, golden["context"]).call_and_ladj(x)
        total = total + log_det
    assert_same_map(golden, x, total)


@NSFS
def test_zuko_spline_flow(name):
    build = zuko_coupling if name == "nsf_coupling" else zuko_made
    assert_spline_flow(
        name, lambda flow, params, z: build(flow, params, None).call_and_ladj(torch_double(z))
    )


# flowjax --------------------------------------------------------------------------------------


def flowjax_spline(transformer):
    """Return flowjax's spline, data to latent. Its smallest width is a length, not a part of 2B."""
    from flowjax.bijections import RationalQuadraticSpline

    assert transformer.min_width == transformer.min_height
    return RationalQuadraticSpline(
        knots=transformer.bins - 1,
        interval=transformer.bound,
        min_derivative=transformer.min_slope,
        min_width=2 * transformer.bound * transformer.min_width,
    )


def flowjax_raw(transformer, raw):
    """Return raw (P, ...) with zeros for the slopes at -B and B, (..., P + 2).

    flowjax learns those slopes too. Zeros are slopes of 1, as in nfref.
    """
    import jax.numpy as jnp

    bins, end = transformer.bins, jnp.zeros_like(raw[:1])
    return jnp.moveaxis(jnp.concatenate([raw[: 2 * bins], end, raw[2 * bins :], end]), 0, -1)


def flowjax_layer(flow, params):
    """Return (layer, order): a layer of an NSF, data to latent, of the columns in that order.

    flowjax's coupling changes the last columns, its autoregressive layer has the natural order.
    """
    import equinox as eqx
    import jax
    from flowjax.bijections import Coupling, MaskedAutoregressive

    options = dict(
        key=jax.random.key(0),
        transformer=flowjax_spline(flow.transformer),
        dim=flow.dim,
        nn_width=flow.dim,
        nn_depth=1,
    )
    if hasattr(flow, "mask"):
        order = np.argsort(~np.array(flow.mask), kind="stable")
        seen, changed = np.arange(sum(flow.mask)), np.arange(flow.dim - sum(flow.mask))
        layer, place = Coupling(untransformed_dim=len(seen), **options), "conditioner"
    else:
        order = np.argsort(flow.order)
        seen, changed = np.argsort(order), order
        layer, place = MaskedAutoregressive(**options), "masked_autoregressive_mlp"
    masks = getattr(flow, "masks", [1] * len(params["net"]))
    activate = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[flow.activation]

    def network(row):
        h = row[seen]
        for k, (dense, mask) in enumerate(zip(params["net"], masks)):
            h = h @ (dense["weight"] * mask) + dense["bias"]
            h = activate(h) if k + 1 < len(masks) else h
        raw = h.reshape(flow.transformer.size, -1)[:, changed]
        return flowjax_raw(flow.transformer, raw).ravel()

    return eqx.tree_at(lambda layer: getattr(layer, place), layer, network), order


@NSFS
def test_flowjax_spline_flow(name):
    import jax
    from paramax import unwrap

    def forward(flow, params, z):
        layer, order = flowjax_layer(flow, params)
        x, log_det = jax.jit(jax.vmap(unwrap(layer).inverse_and_log_det))(z[:, order])
        return np.asarray(x)[:, np.argsort(order)], log_det

    with jax.enable_x64(True):
        assert_spline_flow(name, forward)


# TensorFlow Probability on JAX ----------------------------------------------------------------


@pytest.fixture
def bijectors():
    import jax

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "jax.core.pytype_aval_mappings", DeprecationWarning)
        from tensorflow_probability.substrates import jax as tfp

        loaded = tfp.bijectors  # TFP imports its modules at the first access
    with jax.enable_x64(True):
        yield loaded


def assert_bijector(golden, bijector):
    import jax.numpy as jnp

    z = jnp.asarray(golden["z"])
    log_det = bijector.forward_log_det_jacobian(z, event_ndims=1)
    assert_same_map(golden, bijector.forward(z), np.broadcast_to(log_det, len(z)))


def test_tfp_lu(bijectors):
    golden = golden_vectors.load("lu_linear")
    lower, upper = golden["flow"].factors(golden["params"])
    # nfref puts row permutation[i] of L U at place i, TFP row i at place permutation[i].
    permutation = np.argsort(golden["flow"].permutation)
    import jax.numpy as jnp

    assert_bijector(
        golden,
        bijectors.Chain(
            [
                bijectors.Shift(jnp.asarray(golden["params"]["bias"])),
                bijectors.ScaleMatvecLU(
                    jnp.asarray(np.tril(lower, -1) + upper), jnp.asarray(permutation)
                ),
            ]
        ),
    )


def test_tfp_masked_autoregressive_flow(bijectors):
    import jax.numpy as jnp

    golden = golden_vectors.load("made")
    flow = golden["flow"]
    assert flow.order == natural_order(flow.dim)

    def shift_and_log_scale(x):
        for k, (layer, mask) in enumerate(zip(golden["params"]["net"], flow.masks)):
            x = x @ (layer["weight"] * mask) + layer["bias"]
            x = jnp.maximum(x, 0) if k + 1 < len(flow.masks) else x
        shift, raw = x[..., : flow.dim], x[..., flow.dim :]
        return shift, raw / jnp.sqrt(1 + (raw / flow.transformer.bound) ** 2)

    assert_bijector(golden, bijectors.MaskedAutoregressiveFlow(shift_and_log_scale))
