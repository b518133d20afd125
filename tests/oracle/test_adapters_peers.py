"""Adapters on the libraries themselves, those of the extra ``peers``."""

import numpy as np
import pytest

from nfref.oracle import FLOW_PROPERTIES, adapters, check_density, check_flow

pytestmark = pytest.mark.peers

QUICK = dict(seconds=60.0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def fine(report, but=()):
    """Nothing is wrong with it, but for what the library is known not to do."""
    wrong = [
        str(row)
        for row in report.rows
        if (row.failed or row.inconclusive) and not row.name.startswith(tuple(but))
    ]
    assert not wrong, "\n".join([str(report).split("\n")[0], *wrong])
    return report


NO_EMPTY_BATCH = ("empty_batch", "sample_empty")


def test_zuko_flow_with_context(rng):
    import zuko

    flow = zuko.flows.MAF(3, 2, transforms=2, hidden_features=(16,))
    context = rng.standard_normal((6, 2))
    report = fine(
        check_flow(**adapters.of(flow, rng=rng, context=context), dim=3, rng=rng), NO_EMPTY_BATCH
    )
    for name in ("gradient_inverse", "context_gradient_inverse"):
        assert report[name].verdict == "pass"
    fine(
        check_density(**adapters.from_zuko_distribution(flow, context=context), dim=3, rng=rng),
        NO_EMPTY_BATCH,
    )


def test_nflows_flow_as_density(rng):
    import torch
    from nflows.distributions.normal import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import AffineCouplingTransform

    torch.manual_seed(1)
    transform = AffineCouplingTransform(
        torch.tensor([1, -1, 1]), lambda i, o: ResidualNet(i, o, hidden_features=16, num_blocks=1)
    )
    flow = Flow(transform, StandardNormal([3]))
    report = fine(check_density(**adapters.of(flow, rng=rng), dim=3, rng=rng), NO_EMPTY_BATCH)
    assert report["gradient"].verdict == "pass"


@pytest.mark.filterwarnings("ignore:torch.lu is deprecated:UserWarning")  # normflows calls it
def test_normflows_density_and_scalar_log_det(rng):
    import normflows as nf

    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(3), [nf.flows.LULinearPermute(3)])
    report = check_density(**adapters.of(flow, rng=rng), dim=3, rng=rng)
    assert report["normalised"].verdict == report["sample_follows"].verdict == "pass", report
    # One log_det for all rows is what normflows adds to its log-densities.
    report = check_flow(**adapters.of(nf.flows.InvertibleAffine(3), rng=rng), dim=3, rng=rng)
    assert report["shapes_forward"].verdict == "pass", report


def test_a_log_det_without_gradient_is_found(rng):
    import torch

    def forward(z):
        log_scale = torch.sin(z[:, :1])
        x = torch.cat([z[:, :1], z[:, 1:] * torch.exp(log_scale)], 1)
        return x, log_scale[:, 0].detach()

    def inverse(x):
        log_scale = torch.sin(x[:, :1])
        return torch.cat([x[:, :1], x[:, 1:] * torch.exp(-log_scale)], 1), -log_scale[:, 0]

    report = check_flow(**adapters.of((forward, inverse), rng=rng), dim=2, rng=rng)
    assert [row.name for row in report.failures] == ["gradient_forward"], report
    assert report["gradient_inverse"].verdict == "pass"


def test_flows_that_differentiate_inside(rng):
    import torch

    def forward(z):
        # A gradient map: x = d/dz of sqrt(1 + z^2) + z^2.
        z = z.detach().requires_grad_()
        (x,) = torch.autograd.grad((torch.sqrt(1 + z**2) + z**2).sum(), z)
        return x.detach(), torch.log((1 + z**2) ** -1.5 + 2).sum(1)

    fine(
        check_flow(
            adapters.of((forward, None), rng=rng)["forward"], dim=2, rng=rng, skip=("normalised",)
        )
    )


def test_torch_distributions_are_cast(rng):
    import torch

    d = torch.distributions
    mixture = d.MixtureSameFamily(
        d.Categorical(logits=torch.zeros(2)),
        d.Independent(d.Normal(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.ones(2, 2)), 1),
    )
    fine(check_density(**adapters.of(mixture, rng=rng), dim=2, rng=rng), NO_EMPTY_BATCH)
    fine(
        check_density(
            **adapters.of(d.Normal(torch.tensor(0.3), torch.tensor(2.0)), rng=rng), dim=1, rng=rng
        )
    )


def test_images(rng):
    import torch

    scale = torch.linspace(-0.5, 0.5, 12).reshape(3, 2, 2).double()

    def forward(z):
        assert z.shape[1:] == (3, 2, 2)
        return z * torch.exp(scale), torch.full((len(z),), float(scale.sum()))

    def inverse(x):
        return x * torch.exp(-scale), torch.full((len(x),), -float(scale.sum()))

    functions = adapters.with_event_shape(adapters.of((forward, inverse), rng=rng), (3, 2, 2))
    report = check_flow(**functions, dim=12, rng=rng)
    assert not [row for row in report.failures if not row.name.startswith("dtypes")], report


def test_flowjax_compiled(rng):
    import flowjax.bijections
    import flowjax.distributions
    import flowjax.flows
    import jax

    with jax.enable_x64(True):
        flow = flowjax.flows.coupling_flow(
            jax.random.key(0),
            base_dist=flowjax.distributions.Normal(jax.numpy.zeros(3)),
            cond_dim=2,
            flow_layers=2,
            nn_width=8,
        )
    context = rng.standard_normal((6, 2))
    report = check_flow(
        **adapters.of(flow.bijection, rng=rng, context=context), dim=3, rng=rng, **QUICK
    )
    assert report["gradient_inverse"].verdict == "pass", report
    assert not report.failures, report
    density = check_density(**adapters.of(flow, rng=rng, context=context), dim=3, rng=rng, **QUICK)
    assert not density.failures, density
    assert density["gradient"].verdict == "pass"


def test_in_float32_jax_is_asked_as_its_users_have_it(rng):
    """Without x64. With it, what flowjax adds up from Python's zeros would be float64."""
    import flowjax.bijections
    import flowjax.distributions
    import flowjax.flows
    import jax

    normal = flowjax.distributions.Normal(jax.numpy.zeros(3, np.float32))
    flow = flowjax.flows.coupling_flow(
        jax.random.key(0), base_dist=normal, flow_layers=2, nn_width=8
    )
    functions = adapters.of(flow.bijection, rng=rng, dtype=np.float32)
    z = rng.standard_normal((4, 3)).astype(np.float32)
    for name in ("forward", "inverse"):
        assert [part.dtype for part in functions[name](z)] == [np.float32] * 2
    # The same arrays in float64 are another setting, and neither disturbs the other.
    assert adapters.of(flow.bijection, rng=rng)["forward"](z.astype(float))[1].dtype == float


def test_padding_changes_no_answer(rng):
    import jax.numpy as jnp

    from nfref.oracle.adapters.jax_arrays import jax_function

    def forward(z):
        return jnp.sinh(z), jnp.log(jnp.cosh(z)).sum(1)

    plain, padded = (jax_function(forward, padded=p) for p in (False, True))
    for n in (0, 1, 2, 15, 16, 17, 100):
        z = rng.standard_normal((n, 3))
        for a, b in zip(plain(z), padded(z)):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


# TFP, and distrax with it, reads it while it is imported.
@pytest.mark.filterwarnings("ignore:jax.core.pytype_aval_mappings:DeprecationWarning")
def test_distrax_and_tfp_distributions(rng):
    import distrax
    import jax
    import tensorflow_probability.substrates.jax as tfp

    with jax.enable_x64(True):
        normals = [
            kind(np.zeros(2), np.array([1.0, 2.0]))
            for kind in (distrax.MultivariateNormalDiag, tfp.distributions.MultivariateNormalDiag)
        ]
        scale = tfp.bijectors.Scale(np.float64(2.0))
    for normal in normals:
        fine(check_density(**adapters.of(normal, rng=rng), dim=2, rng=rng, **QUICK))
    # One log_det for all rows is TFP's convention.
    report = check_flow(**adapters.of(scale, rng=rng), dim=2, rng=rng, **QUICK)
    assert report["shapes_forward"].verdict == "pass", report


def test_a_transform_and_a_distribution_of_numpyro(rng):
    import numpyro.distributions as dist

    transform = dist.transforms.AffineTransform(0.5, 2.0)
    fine(check_flow(**adapters.of(transform, rng=rng), dim=2, rng=rng, **QUICK))
    normal = dist.MultivariateNormal(np.zeros(2), np.eye(2))
    fine(check_density(**adapters.of(normal, rng=rng), dim=2, rng=rng, **QUICK), NO_EMPTY_BATCH)


@pytest.mark.parametrize("with_pyro", [False, True])
def test_inverses_of_torch_are_copied_whole(rng, with_pyro):
    import torch
    from torch import distributions as td

    if with_pyro:
        import pyro  # noqa: F401  (it replaces ``Transform.__getstate__``)
    both = td.ComposeTransform([td.ExpTransform().inv, td.AffineTransform(1.0, 2.0)])
    for transform in (td.ExpTransform().inv, both, both.inv.inv):
        fine(check_flow(**adapters.of(transform, rng=rng), dim=2, rng=rng, domain=(0, np.inf)))
    one = torch.ones(1, dtype=torch.float64)
    exponential = td.Independent(td.Exponential(one.repeat(2)), 1)
    for density, dim in (
        (td.Gumbel(0 * one, one), 1),
        (td.TransformedDistribution(exponential, [td.ExpTransform().inv]), 2),
    ):
        # Torch's sum over the columns of an empty batch raises.
        fine(check_density(**adapters.of(density, rng=rng), dim=dim, rng=rng), NO_EMPTY_BATCH)


def test_a_distribution_function_of_torch_on_its_plateaus(rng):
    import torch
    from torch import distributions as td

    normal = td.Normal(*torch.tensor([0.0, 1.0], dtype=torch.float64))
    transform = td.CumulativeDistributionTransform(normal).inv
    fine(check_flow(**adapters.of(transform, rng=rng), dim=2, rng=rng, domain=(0, 1)))


def test_squeezing_changes_the_shape_of_the_latent(rng):
    from FrEIA import modules
    from nflows.transforms import SqueezeTransform

    for thing in (
        SqueezeTransform(),
        modules.IRevNetDownsampling([(1, 4, 4)]),
        modules.Reshape([(1, 4, 4)], output_dims=(16,)),
    ):
        fine(check_flow(**adapters.of(thing, rng=rng, event_shape=(1, 4, 4)), dim=16, rng=rng))


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_adapters_name_the_accuracy_of_root_searches():
    zuko = pytest.importorskip("zuko")
    rng = np.random.default_rng(0)
    for kind, accuracy in (("MAF", 0.0), ("NSF", 0.0), ("SOSPF", 3e-5), ("BPF", 3e-5)):
        flow = getattr(zuko.flows, kind)(2)
        assert adapters.of(flow, rng=rng)["own"]["accuracy"] == pytest.approx(accuracy), kind


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_an_accuracy_of_the_caller_goes_before_that_of_the_library():
    zuko = pytest.importorskip("zuko")
    rng = np.random.default_rng(0)
    given = dict(adapters.of(zuko.flows.MAF(2), rng=rng), dim=2, rng=rng)
    given["own"]["accuracy"] = 1e-3  # as if zuko documented it
    skip = tuple(name for name in FLOW_PROPERTIES if name != "log_det_forward")
    least, most = (
        check_flow(**given, skip=skip, **chosen)["log_det_forward"].tolerance
        for chosen in ({}, {"accuracy": 0.3})
    )
    assert 1e-3 <= least < 1e-2 and 0.3 <= most < 0.4


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_a_flow_of_one_column_that_refuses_no_rows():
    zuko = pytest.importorskip("zuko")
    rng = np.random.default_rng(0)
    report = check_flow(
        **adapters.of(zuko.flows.MAF(1, hidden_features=(8,)), rng=rng),
        dim=1,
        rng=rng,
        skip=("empty_batch_forward", "empty_batch_inverse"),
    )
    assert report.ok, report.summary
