"""The golden vectors against other libraries, where they have the same map, in float64.

Needs the libraries of the extra ``peers``; each test skips where its library is missing.
Networks get the weights of the file; what is compared is the other library's map and its
log-determinant.
"""

import numpy as np
import pytest

from nfref.flows.autoregressive import natural_order
from nfref.oracle.truth import vectors

# Loading another library may warn about that library's own dependencies.
pytestmark = pytest.mark.filterwarnings("default")
CLOSE = dict(rtol=1e-11, atol=1e-11)


def assert_same_map(golden, x, log_det):
    np.testing.assert_allclose(np.asarray(x), golden["x"], **CLOSE)
    np.testing.assert_allclose(np.asarray(log_det), golden["log_det_forward"], **CLOSE)


def torch_double(array):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.array(array, dtype=np.float64))


def torch_network(layers, activation, masks=None):
    """The conditioner of a file as a torch function of rows."""
    import torch
    activate = {"relu": torch.relu, "tanh": torch.tanh,
                "softplus": torch.nn.functional.softplus}[activation]

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
    pytest.importorskip("torch")
    from torch.distributions import AffineTransform, IndependentTransform
    golden = vectors.load(name)
    flow, params, z = golden["flow"], golden["params"], torch_double(golden["z"])
    shift = params.get("shift", getattr(flow, "mean", 0)) if params else flow.mean
    scale = np.exp(params["log_scale"]) if params else flow.std
    shift = shift if "shift" in params or not params else np.zeros(flow.dim)
    transform = IndependentTransform(AffineTransform(torch_double(shift), torch_double(scale)), 1)
    x = transform(z)
    assert_same_map(golden, x, transform.log_abs_det_jacobian(z, x))


def test_torch_sigmoid_transform():
    pytest.importorskip("torch")
    from torch.distributions import AffineTransform, ComposeTransform, SigmoidTransform
    golden = vectors.load("logit")
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
    normflows = pytest.importorskip("normflows")
    golden = vectors.load(name)
    z, total = torch_double(golden["z"]), 0
    layers = golden["params"] if isinstance(golden["params"], list) else [golden["params"]]
    for layer in layers:
        planar = normflows.flows.Planar(
            (golden["flow"].dim,), u=torch_double(layer["u"][None]),
            w=torch_double(layer["w"][None]), b=torch_double(layer["b"]))
        z, log_det = planar(z)
        total = total + log_det
    assert_same_map(golden, z.detach(), total.detach())


@pytest.mark.parametrize("name", ["radial_layer", "radial"])
def test_normflows_radial(name):
    normflows = pytest.importorskip("normflows")
    golden = vectors.load(name)
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
    pytest.importorskip("nflows")
    from nflows.transforms.coupling import AdditiveCouplingTransform
    golden = vectors.load("additive_coupling")
    flow = golden["flow"]
    network = torch_network(golden["params"]["net"], flow.activation)
    transform = AdditiveCouplingTransform([not stays for stays in flow.mask],
                                          lambda fan_in, fan_out: lambda rows, context:
                                          network(rows))
    assert_same_map(golden, *transform(torch_double(golden["z"])))


def test_nflows_permutation():
    pytest.importorskip("nflows")
    import torch
    from nflows.transforms.permutations import Permutation
    golden = vectors.load("permutation")
    transform = Permutation(torch.tensor(golden["flow"].order))
    assert_same_map(golden, *transform(torch_double(golden["z"])))


# zuko -----------------------------------------------------------------------------------------


def zuko_coupling(flow, params, context):
    import torch
    from zuko.transforms import CouplingTransform, DependentTransform
    network = torch_network(params["net"], flow.activation)

    def meta(kept):
        seen = kept if context is None else torch.cat([kept, torch_double(context)], dim=1)
        return DependentTransform(torch_affine(network(seen), flow.transformer.bound), 1)
    return CouplingTransform(meta, torch.tensor(flow.mask))


def zuko_made(flow, params, context):
    """zuko's transform goes from x to z, so nfref's forward is its inverse, in D passes."""
    import torch
    from zuko.transforms import AutoregressiveTransform, DependentTransform
    network = torch_network(params["net"], flow.activation, flow.masks)

    def meta(x):
        seen = x if context is None else torch.cat([x, torch_double(context)], dim=1)
        return DependentTransform(torch_affine(network(seen), flow.transformer.bound).inv, 1)
    return AutoregressiveTransform(meta, passes=flow.dim).inv


@pytest.mark.parametrize("name, build", [
    ("affine_coupling", zuko_coupling), ("affine_coupling_context", zuko_coupling),
    ("real_nvp", zuko_coupling),
    ("made", zuko_made), ("made_context", zuko_made), ("maf", zuko_made)])
def test_zuko(name, build):
    pytest.importorskip("zuko")
    golden = vectors.load(name)
    flow, params = golden["flow"], golden["params"]
    x, total = torch_double(golden["z"]), 0
    members = zip(flow.flows, params) if isinstance(params, list) else [(flow, params)]
    for layer, parameters in members:
        x, log_det = build(layer, parameters, golden["context"]).call_and_ladj(x)
        total = total + log_det
    assert_same_map(golden, x, total)


# TensorFlow Probability on JAX ----------------------------------------------------------------


def tfp_bijectors():
    jax = pytest.importorskip("jax")
    pytest.importorskip("tensorflow_probability")
    jax.config.update("jax_enable_x64", True)
    from tensorflow_probability.substrates import jax as tfp
    return tfp.bijectors


def assert_bijector(golden, bijector):
    import jax.numpy as jnp
    z = jnp.asarray(golden["z"])
    log_det = bijector.forward_log_det_jacobian(z, event_ndims=1)
    assert_same_map(golden, bijector.forward(z), np.broadcast_to(log_det, len(z)))


def test_tfp_lu():
    bijectors = tfp_bijectors()
    golden = vectors.load("lu_linear")
    lower, upper = golden["flow"].factors(golden["params"])
    # nfref puts row permutation[i] of L U at place i, TFP row i at place permutation[i].
    permutation = np.argsort(golden["flow"].permutation)
    import jax.numpy as jnp
    assert_bijector(golden, bijectors.Chain([
        bijectors.Shift(jnp.asarray(golden["params"]["bias"])),
        bijectors.ScaleMatvecLU(jnp.asarray(np.tril(lower, -1) + upper),
                                jnp.asarray(permutation))]))


def test_tfp_masked_autoregressive_flow():
    bijectors = tfp_bijectors()
    import jax.numpy as jnp
    golden = vectors.load("made")
    flow = golden["flow"]
    assert flow.order == natural_order(flow.dim)

    def shift_and_log_scale(x):
        for k, (layer, mask) in enumerate(zip(golden["params"]["net"], flow.masks)):
            x = x @ (layer["weight"] * mask) + layer["bias"]
            x = jnp.maximum(x, 0) if k + 1 < len(flow.masks) else x
        shift, raw = x[..., :flow.dim], x[..., flow.dim:]
        return shift, raw / jnp.sqrt(1 + (raw / flow.transformer.bound) ** 2)
    assert_bijector(golden, bijectors.MaskedAutoregressiveFlow(shift_and_log_scale))
