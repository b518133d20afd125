"""The oracle pointed at the public transforms of other libraries' releases.

``python -m tests.oracle.survey [--match TEXT] [--seed S]`` prints every property that failed and
one line a subject. It needs the libraries; what is not installed is named and left out.
``docs/peers.rst`` says what came of it.
"""

import argparse
import importlib.metadata
import time
import warnings

import numpy as np

from nfref.oracle import adapters, check_flow

SUBJECTS = []
INF = float("inf")


def subject(library, name, dim=3, **arguments):
    """Register a constructor; its arguments are (numpy Generator, dtype)."""
    def register(make):
        SUBJECTS.append((library, name, dim, arguments, make))
        return make
    return register


def _moved(module, rng, size=0.3):
    """A torch module with noise on all parameters, so that it is far from the identity."""
    import torch
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and parameter.requires_grad:
                parameter += size * torch.from_numpy(rng.standard_normal(
                    tuple(parameter.shape))).to(parameter.dtype)
    return module


# nflows -----------------------------------------------------------------------------------


def _nflows(name, make, dim=3, size=0.3, **arguments):
    @subject("nflows", name, dim, **arguments)
    def build(rng, dtype):
        import nflows.transforms as transforms
        return adapters.from_nflows(_moved(make(transforms), rng, size), dtype)


def _mask(dim):
    import torch
    return torch.tensor([1 if i % 2 else -1 for i in range(dim)])


def _resnet(inputs, outputs):
    from nflows.nn.nets import ResidualNet
    return ResidualNet(inputs, outputs, hidden_features=16, num_blocks=1)


_nflows("PointwiseAffineTransform", lambda t: t.PointwiseAffineTransform(0.5, 2.0))
_nflows("Sigmoid", lambda t: t.Sigmoid(), codomain=(-INF, INF), domain=(0, 1))
_nflows("Logit", lambda t: t.Logit(), codomain=(0, 1))
_nflows("Tanh", lambda t: t.Tanh(), domain=(-1, 1))
_nflows("LogTanh", lambda t: t.nonlinearities.LogTanh())
_nflows("LeakyReLU", lambda t: t.LeakyReLU())
_nflows("LULinear", lambda t: t.LULinear(3))
_nflows("QRLinear", lambda t: t.QRLinear(3, 3))
_nflows("SVDLinear", lambda t: t.SVDLinear(3, 4))
_nflows("NaiveLinear", lambda t: t.NaiveLinear(3))
_nflows("HouseholderSequence", lambda t: t.HouseholderSequence(3, 3))
_nflows("RandomPermutation", lambda t: t.RandomPermutation(3))
_nflows("BatchNorm", lambda t: t.BatchNorm(3))
_nflows("ActNorm", lambda t: t.ActNorm(3))
_nflows("AffineCouplingTransform", lambda t: t.AffineCouplingTransform(_mask(3), _resnet))
_nflows("AdditiveCouplingTransform", lambda t: t.AdditiveCouplingTransform(_mask(3), _resnet))
_nflows("PiecewiseLinearCoupling", lambda t: t.PiecewiseLinearCouplingTransform(
    _mask(3), _resnet, tails="linear", tail_bound=3.0))
_nflows("PiecewiseQuadraticCoupling", lambda t: t.PiecewiseQuadraticCouplingTransform(
    _mask(3), _resnet, tails="linear", tail_bound=3.0))
_nflows("PiecewiseCubicCoupling", lambda t: t.PiecewiseCubicCouplingTransform(
    _mask(3), _resnet, tails="linear", tail_bound=3.0))
_nflows("PiecewiseRQCoupling", lambda t: t.PiecewiseRationalQuadraticCouplingTransform(
    _mask(3), _resnet, tails="linear", tail_bound=3.0))
_nflows("MaskedAffineAutoregressive", lambda t: t.MaskedAffineAutoregressiveTransform(3, 16))
_nflows("MaskedPiecewiseRQAutoregressive",
        lambda t: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            3, 16, tails="linear", tail_bound=3.0))
_nflows("MaskedPiecewiseQuadraticAutoregressive",
        lambda t: t.MaskedPiecewiseQuadraticAutoregressiveTransform(
            3, 16, tails="linear", tail_bound=3.0))
_nflows("MaskedPiecewiseCubicAutoregressive",
        lambda t: t.MaskedPiecewiseCubicAutoregressiveTransform(5, 3, 16),
        domain=(0, 1), codomain=(0, 1))
_nflows("MaskedPiecewiseLinearAutoregressive",
        lambda t: t.MaskedPiecewiseLinearAutoregressiveTransform(5, 3, 16),
        domain=(0, 1), codomain=(0, 1))
_nflows("PiecewiseRationalQuadraticCDF", lambda t: t.PiecewiseRationalQuadraticCDF(
    (3,), tails="linear", tail_bound=3.0))
_nflows("PiecewiseLinearCDF", lambda t: t.PiecewiseLinearCDF((3,), tails="linear", tail_bound=3.0))
_nflows("PiecewiseQuadraticCDF", lambda t: t.PiecewiseQuadraticCDF(
    (3,), tails="linear", tail_bound=3.0))
_nflows("PiecewiseCubicCDF", lambda t: t.PiecewiseCubicCDF(
    (3,), tails="linear", tail_bound=3.0))


# normflows --------------------------------------------------------------------------------


def _normflows(name, make, dim=3, size=0.3, **arguments):
    @subject("normflows", name, dim, **arguments)
    def build(rng, dtype):
        import normflows
        return adapters.from_normflows(_moved(make(normflows.flows, normflows), rng, size), dtype)


_normflows("Planar tanh", lambda f, nf: f.Planar((3,)))
_normflows("Planar leaky_relu", lambda f, nf: f.Planar((3,), act="leaky_relu"))
_normflows("Radial", lambda f, nf: f.Radial((3,)))
_normflows("AffineConstFlow", lambda f, nf: f.AffineConstFlow((3,)))
_normflows("ActNorm", lambda f, nf: f.ActNorm((3,)))
_normflows("MaskedAffineFlow", lambda f, nf: f.MaskedAffineFlow(
    __import__("torch").tensor([1.0, 0.0, 1.0]), nf.nets.MLP([3, 16, 3]), nf.nets.MLP([3, 16, 3])))
_normflows("AffineCouplingBlock", lambda f, nf: f.AffineCouplingBlock(
    nf.nets.MLP([2, 16, 4])), dim=4)
_normflows("AffineCouplingBlock sigmoid", lambda f, nf: f.AffineCouplingBlock(
    nf.nets.MLP([2, 16, 4]), scale_map="sigmoid"), dim=4)
_normflows("AffineCouplingBlock sigmoid_inv", lambda f, nf: f.AffineCouplingBlock(
    nf.nets.MLP([2, 16, 4]), scale_map="sigmoid_inv"), dim=4)
_normflows("CCAffineConst", lambda f, nf: f.AffineConstFlow((3,), scale=False))
_normflows("Permute", lambda f, nf: f.Permute(3))
_normflows("LULinearPermute", lambda f, nf: f.LULinearPermute(3))
_normflows("InvertibleAffine", lambda f, nf: f.InvertibleAffine(3))
_normflows("InvertibleAffine full", lambda f, nf: f.InvertibleAffine(3, use_lu=False))
_normflows("BatchNorm", lambda f, nf: f.BatchNorm())
_normflows("MaskedAffineAutoregressive", lambda f, nf: f.MaskedAffineAutoregressive(3, 16))
_normflows("CoupledRationalQuadraticSpline", lambda f, nf: f.CoupledRationalQuadraticSpline(
    3, 1, 16))
_normflows("AutoregressiveRationalQuadraticSpline",
           lambda f, nf: f.AutoregressiveRationalQuadraticSpline(3, 1, 16))
_normflows("CircularCoupledRQS", lambda f, nf: f.CircularCoupledRationalQuadraticSpline(
    3, 1, 16, ind_circ=[1]))
_normflows("Residual", lambda f, nf: f.Residual(
    nf.nets.LipschitzMLP([3, 16, 3], lipschitz_const=0.9), reduce_memory=False), size=0.0,
    accuracy=1e-5)
_normflows("Logit transform", lambda f, nf: nf.transforms.Logit(alpha=0.05))


# FrEIA ------------------------------------------------------------------------------------


def _net(inputs, outputs):
    import torch
    return torch.nn.Sequential(torch.nn.Linear(inputs, 16), torch.nn.Tanh(),
                               torch.nn.Linear(16, outputs))


def _freia(name, make, dim=3, size=0.3, **arguments):
    @subject("FrEIA", name, dim, **arguments)
    def build(rng, dtype):
        import FrEIA.modules as modules
        return adapters.from_freia(_moved(make(modules, [(dim,)]), rng, size), dtype)


for _name in ("NICECouplingBlock", "RNVPCouplingBlock", "GLOWCouplingBlock", "GINCouplingBlock",
              "AllInOneBlock"):
    _freia(_name, lambda m, d, name=_name: getattr(m, name)(d, subnet_constructor=_net))
_freia("AffineCouplingOneSided", lambda m, d: m.AffineCouplingOneSided(
    d, subnet_constructor=_net))
_freia("PermuteRandom", lambda m, d: m.PermuteRandom(d))
_freia("FixedLinearTransform", lambda m, d: m.FixedLinearTransform(
    d, M=__import__("torch").eye(3) * 2 + 0.5))
_freia("InvAutoAct", lambda m, d: m.InvAutoActTwoSided(d))
_freia("InvertibleSigmoid", lambda m, d: m.InvertibleSigmoid(d), domain=(0, 1))
_freia("OrthogonalTransform", lambda m, d: m.OrthogonalTransform(d), size=0)
_freia("HouseholderPerm", lambda m, d: m.HouseholderPerm(d, n_reflections=2))


# torch.distributions and Pyro -------------------------------------------------------------


def _torch(library, name, make, dim=3, **arguments):
    @subject(library, name, dim, **arguments)
    def build(rng, dtype):
        import torch
        torch.set_default_dtype(torch.float32 if dtype == np.float32 else torch.float64)
        try:
            if library == "pyro":
                import pyro.distributions.transforms as transforms
            else:
                import torch.distributions.transforms as transforms
            made = make(transforms)
        finally:
            torch.set_default_dtype(torch.float32)
        if isinstance(made, torch.nn.Module):
            _moved(made, rng)
        return adapters.from_torch_transform(made, dtype)


_torch("torch", "AffineTransform", lambda t: t.AffineTransform(0.5, -2.0))
_torch("torch", "ExpTransform", lambda t: t.ExpTransform(), codomain=(0, INF))
_torch("torch", "SigmoidTransform", lambda t: t.SigmoidTransform(), codomain=(0, 1))
_torch("torch", "TanhTransform", lambda t: t.TanhTransform(), codomain=(-1, 1))
_torch("torch", "SoftplusTransform", lambda t: t.SoftplusTransform(), codomain=(0, INF))
_torch("torch", "PowerTransform", lambda t: t.PowerTransform(2.5), domain=(0, INF),
       codomain=(0, INF))
_torch("pyro", "Planar", lambda t: t.Planar(3))
_torch("pyro", "Radial", lambda t: t.Radial(3))
_torch("pyro", "Householder", lambda t: t.Householder(3, 2))
_torch("pyro", "Sylvester", lambda t: t.Sylvester(3, 2))
_torch("pyro", "Polynomial", lambda t: t.polynomial(3))
_torch("pyro", "AffineAutoregressive", lambda t: t.affine_autoregressive(3))
_torch("pyro", "AffineAutoregressive stable", lambda t: t.affine_autoregressive(3, stable=True))
_torch("pyro", "AffineCoupling", lambda t: t.affine_coupling(3))
_torch("pyro", "BatchNorm", lambda t: t.batchnorm(3))
_torch("pyro", "BlockAutoregressive", lambda t: t.block_autoregressive(3))
_torch("pyro", "NeuralAutoregressive", lambda t: t.neural_autoregressive(3))
_torch("pyro", "ELUTransform", lambda t: t.ELUTransform(), codomain=(-1, INF))
_torch("pyro", "LeakyReLUTransform", lambda t: t.LeakyReLUTransform())
_torch("pyro", "GeneralizedChannelPermute vector", lambda t: t.permute(3))
_torch("pyro", "MatrixExponential", lambda t: t.matrix_exponential(3))
_torch("pyro", "Spline", lambda t: t.spline(3))
_torch("pyro", "Spline quadratic", lambda t: t.spline(3, order="quadratic"))
_torch("pyro", "SplineCoupling", lambda t: t.spline_coupling(3))
_torch("pyro", "SplineAutoregressive", lambda t: t.spline_autoregressive(3))
_torch("pyro", "DiscreteCosineTransform", lambda t: t.DiscreteCosineTransform())
_torch("pyro", "HaarTransform", lambda t: t.HaarTransform())
_torch("pyro", "LowerCholeskyAffine", lambda t: t.LowerCholeskyAffine(
    __import__("torch").zeros(3), __import__("torch").tensor(
        [[1.0, 0, 0], [0.5, 2, 0], [-0.3, 0.1, 0.4]])))


# zuko -------------------------------------------------------------------------------------


def _zuko(name, make, dim=3, size=0.2, **arguments):
    @subject("zuko", name, dim, **arguments)
    def build(rng, dtype):
        import zuko
        return adapters.from_zuko(_moved(make(zuko.flows), rng, size), dtype)


_HIDDEN = dict(transforms=2, hidden_features=(16,))
for _name in ("MAF", "NSF", "NICE", "GF", "NAF", "UNAF", "SOSPF", "BPF", "NCSF"):
    _loose = {"accuracy": 1e-5} if _name in ("NAF", "UNAF", "SOSPF", "BPF", "GF") else {}
    _range = {"domain": None, "codomain": None}
    if _name == "NCSF":
        _range = {"domain": (-np.pi, np.pi), "codomain": (-np.pi, np.pi)}
    if _name == "GF":
        _zuko(_name, lambda f: f.GF(3, transforms=2), **_loose)
    else:
        _zuko(_name, lambda f, name=_name: getattr(f, name)(3, **_HIDDEN), **_loose, **_range)
_zuko("RealNVP", lambda f: f.RealNVP(3, **_HIDDEN))
_zuko("CNF", lambda f: f.CNF(3, hidden_features=(16,)), accuracy=1e-4)


def _zuko_transform(name, make, dim=3, **arguments):
    @subject("zuko", name, dim, **arguments)
    def build(rng, dtype):
        import torch
        import zuko
        kind = torch.float32 if dtype == np.float32 else torch.float64

        def numbers(*shape):
            return torch.from_numpy(rng.standard_normal(shape)).to(kind)
        return adapters.from_torch_transform(make(zuko.transforms, numbers), dtype)


_zuko_transform("SoftclipTransform", lambda t, n: t.SoftclipTransform(5.0), codomain=(-5, 5))
_zuko_transform("CircularShiftTransform", lambda t, n: t.CircularShiftTransform(1.0),
                domain=(-1, 1), codomain=(-1, 1))
_zuko_transform("SignedPowerTransform", lambda t, n: t.SignedPowerTransform(n(3) * 0.2))
_zuko_transform("MonotonicAffineTransform", lambda t, n: t.MonotonicAffineTransform(n(3), n(3)))
_zuko_transform("MonotonicRQSTransform", lambda t, n: t.MonotonicRQSTransform(
    n(3, 8), n(3, 8), n(3, 7)))
_zuko_transform("LULinearTransform", lambda t, n: t.LULinearTransform(n(3, 3)))
_zuko_transform("PermutationTransform", lambda t, n: t.PermutationTransform(
    __import__("torch").tensor([2, 0, 1])))
_zuko_transform("RotationTransform", lambda t, n: t.RotationTransform(n(3, 3)))
_zuko_transform("CosTransform", lambda t, n: t.CosTransform(), domain=(0, np.pi),
                codomain=(-1, 1))
_zuko_transform("SinTransform", lambda t, n: t.SinTransform(), domain=(-np.pi / 2, np.pi / 2),
                codomain=(-1, 1))


# JAX --------------------------------------------------------------------------------------


def _flowjax(name, make, dim=3, size=0.2, **arguments):
    @subject("flowjax", name, dim, **arguments)
    def build(rng, dtype):
        import equinox
        import flowjax
        import flowjax.bijections
        import flowjax.flows
        import jax
        with jax.enable_x64(True):
            made = make(flowjax, jax.random.key(int(rng.integers(1000))))
            made = getattr(made, "bijection", made)
            arrays, rest = equinox.partition(made, equinox.is_inexact_array)
            arrays = jax.tree_util.tree_map(
                lambda leaf: leaf + size * rng.standard_normal(leaf.shape), arrays)
            return adapters.from_flowjax(equinox.combine(arrays, rest), dtype)


def _vector(*numbers):
    import jax.numpy
    return jax.numpy.array(numbers)


_flowjax("Affine", lambda f, k: f.bijections.Affine(_vector(1.0, 2, 3), _vector(1.0, 2, 3)))
_flowjax("TriangularAffine", lambda f, k: f.bijections.TriangularAffine(
    _vector(1.0, 2, 3), _vector(1.0, 0, 0, 0.5, 2, 0, 0.1, 0.3, 0.7).reshape(3, 3)), size=0)
_flowjax("Exp", lambda f, k: f.bijections.Exp((3,)), codomain=(0, INF))
_flowjax("SoftPlus", lambda f, k: f.bijections.SoftPlus((3,)), codomain=(0, INF))
_flowjax("Tanh", lambda f, k: f.bijections.Tanh((3,)), codomain=(-1, 1))
_flowjax("LeakyTanh", lambda f, k: f.bijections.LeakyTanh(3.0, (3,)), size=0)
_flowjax("Planar", lambda f, k: f.bijections.Planar(k, dim=3))
_flowjax("Planar leaky", lambda f, k: f.bijections.Planar(k, dim=3, negative_slope=0.1))
_flowjax("Permute", lambda f, k: f.bijections.Permute(_vector(2, 0, 1).astype(int)))
_flowjax("Householder", lambda f, k: f.bijections.Householder(_vector(1.0, 2, -1)), size=0)
_flowjax("RQS coupling flow", lambda f, k: f.flows.coupling_flow(
    k, base_dist=_flowjax_normal(f), transformer=f.bijections.RationalQuadraticSpline(
        knots=5, interval=4), flow_layers=2, nn_width=16))
_flowjax("affine coupling flow", lambda f, k: f.flows.coupling_flow(
    k, base_dist=_flowjax_normal(f), flow_layers=2, nn_width=16))
_flowjax("masked autoregressive flow", lambda f, k: f.flows.masked_autoregressive_flow(
    k, base_dist=_flowjax_normal(f), flow_layers=2, nn_width=16))
_flowjax("block neural autoregressive flow",
         lambda f, k: f.flows.block_neural_autoregressive_flow(
             k, base_dist=_flowjax_normal(f), nn_block_dim=4), accuracy=1e-5, size=0.05)
_flowjax("planar flow", lambda f, k: f.flows.planar_flow(
    k, base_dist=_flowjax_normal(f), flow_layers=2, negative_slope=0.1))
_flowjax("triangular spline flow", lambda f, k: f.flows.triangular_spline_flow(
    k, base_dist=_flowjax_normal(f), flow_layers=2))


def _flowjax_normal(flowjax):
    import flowjax.distributions
    import jax.numpy
    return flowjax.distributions.Normal(jax.numpy.zeros(3))


def _numpyro(name, make, dim=3, **arguments):
    @subject("numpyro", name, dim, **arguments)
    def build(rng, dtype):
        import jax
        import numpyro.distributions.transforms as transforms
        with jax.enable_x64(True):
            return adapters.from_numpyro(make(transforms))


_numpyro("AffineTransform", lambda t: t.AffineTransform(0.5, 2.0))
_numpyro("ExpTransform", lambda t: t.ExpTransform(), codomain=(0, INF))
_numpyro("SigmoidTransform", lambda t: t.SigmoidTransform(), codomain=(0, 1))
_numpyro("SoftplusTransform", lambda t: t.SoftplusTransform(), codomain=(0, INF))
_numpyro("PowerTransform", lambda t: t.PowerTransform(2.5), domain=(0, INF), codomain=(0, INF))
_numpyro("PermuteTransform", lambda t: t.PermuteTransform(_vector(2, 0, 1).astype(int)))
_numpyro("OrderedTransform", lambda t: t.OrderedTransform(), codomain=(
    lambda rng, n: np.cumsum(np.exp(0.5 * rng.standard_normal((n, 3))), axis=1)))
_numpyro("LowerCholeskyAffine", lambda t: t.LowerCholeskyAffine(
    _vector(1.0, 2, 3), _vector(1.0, 0, 0, 0.5, 2, 0, 0.1, 0.3, 0.7).reshape(3, 3)))


def _distrax(name, make, dim=3, **arguments):
    @subject("distrax", name, dim, **arguments)
    def build(rng, dtype):
        import distrax
        import jax
        with jax.enable_x64(True):
            return adapters.from_distrax(make(distrax, lambda *shape: jax.numpy.asarray(
                rng.standard_normal(shape).astype(dtype))))


_distrax("Tanh", lambda d, n: d.Tanh(), codomain=(-1, 1))
_distrax("Sigmoid", lambda d, n: d.Sigmoid(), codomain=(0, 1))
_distrax("ScalarAffine", lambda d, n: d.ScalarAffine(0.5, 2.0))
_distrax("Gumbel CDF", lambda d, n: d.GumbelCDF(), codomain=(0, 1))
_distrax("RationalQuadraticSpline", lambda d, n: d.RationalQuadraticSpline(
    n(3, 16), range_min=-3.0, range_max=3.0))
_distrax("RationalQuadraticSpline identity", lambda d, n: d.RationalQuadraticSpline(
    n(3, 16), range_min=-3.0, range_max=3.0, boundary_slopes="identity"))
_distrax("TriangularLinear", lambda d, n: d.TriangularLinear(n(3, 3)))
_distrax("UnconstrainedAffine", lambda d, n: d.UnconstrainedAffine(n(3, 3), n(3)))
_distrax("LowerUpperTriangularAffine", lambda d, n: d.LowerUpperTriangularAffine(n(3, 3), n(3)))
_distrax("DiagLinear", lambda d, n: d.DiagLinear(n(3)))


def _tfp(name, make, dim=3, **arguments):
    @subject("tensorflow-probability", name, dim, **arguments)
    def build(rng, dtype):
        import jax
        import tensorflow_probability.substrates.jax as tfp
        with jax.enable_x64(True):
            return adapters.from_tfp(make(tfp.bijectors, np.dtype(dtype).type))


for _name, _arguments in {
        "Exp": dict(codomain=(0, INF)), "Sigmoid": dict(codomain=(0, 1)),
        "Softplus": dict(codomain=(0, INF)), "Softsign": dict(codomain=(-1, 1)),
        "Tanh": dict(codomain=(-1, 1)), "NormalCDF": dict(codomain=(0, 1)),
        "GompertzCDF": None, "Expm1": dict(codomain=(-1, INF)), "Log1p": dict(domain=(-1, INF)),
        "Square": dict(domain=(0, INF), codomain=(0, INF)), "Log": dict(domain=(0, INF)),
        "Reciprocal": dict(domain=(0, INF), codomain=(0, INF))}.items():
    if _arguments is not None:
        _tfp(_name, lambda b, t, name=_name: getattr(b, name)(), **_arguments)
_tfp("SinhArcsinh", lambda b, t: b.SinhArcsinh(t(0.3), t(1.2)))
_tfp("LambertWTail", lambda b, t: b.LambertWTail(t(0.0), t(1.0), t(0.1)))
_tfp("MoyalCDF", lambda b, t: b.MoyalCDF(t(0.0), t(1.0)), codomain=(0, 1))
_tfp("GumbelCDF", lambda b, t: b.GumbelCDF(t(0.0), t(1.0)), codomain=(0, 1))
_tfp("WeibullCDF", lambda b, t: b.WeibullCDF(t(1.0), t(1.5)), domain=(0, INF), codomain=(0, 1))
_tfp("KumaraswamyCDF", lambda b, t: b.KumaraswamyCDF(t(1.5), t(2.0)), domain=(0, 1),
     codomain=(0, 1))
_tfp("FrechetCDF", lambda b, t: b.FrechetCDF(t(0.0), t(1.0), t(2.0)), domain=(0, INF),
     codomain=(0, 1))
_tfp("GeneralizedPareto", lambda b, t: b.GeneralizedPareto(t(0.0), t(1.0), t(0.3)),
     codomain=(0, INF))
_tfp("ScaleMatvecTriL", lambda b, t: b.ScaleMatvecTriL(np.array(
    [[1, 0, 0], [0.5, 2, 0], [0.1, 0.3, 0.7]], t)))
_tfp("RationalQuadraticSpline", lambda b, t: b.RationalQuadraticSpline(
    bin_widths=np.array([1, 2, 3], t), bin_heights=np.array([2, 1, 3], t),
    knot_slopes=np.array([0.5, 2], t), range_min=t(-3)))
_tfp("Ascending", lambda b, t: b.Ascending(), codomain=(
    lambda rng, n: np.cumsum(np.exp(0.5 * rng.standard_normal((n, 3))), axis=1)))


def run(entry, seed, dtype, seconds=20.0, skip=()):
    """The report for one entry, or a string saying why there is none."""
    library, name, dim, arguments, make = entry
    rng = np.random.default_rng(seed)
    try:
        functions = make(rng, np.dtype(dtype))
    except ImportError as error:
        return f"not installed here: {error}"
    except Exception as error:
        return f"cannot be constructed: {type(error).__name__}: {str(error)[:120]}"
    return check_flow(**{**functions, **arguments}, dim=dim, rng=rng, dtype=dtype,
                      seconds=seconds, skip=skip, subject=f"{library} {name}")


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.survey", description=__doc__)
    parser.add_argument("--match", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--seconds", type=float, default=20.0, help="JAX compiles: give it more")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import logging
    logging.disable(logging.WARNING)
    for entry in SUBJECTS:
        library, name = entry[:2]
        if options.match not in f"{library} {name}":
            continue
        start = time.monotonic()
        try:
            version = importlib.metadata.version({"pyro": "pyro-ppl"}.get(library, library))
        except importlib.metadata.PackageNotFoundError:
            version = "?"
        # torch draws initial parameters from its global generator.
        try:
            import torch
            torch.manual_seed(options.seed)
        except ImportError:
            pass
        report = run(entry, options.seed, options.dtype, options.seconds)
        verdict = report if isinstance(report, str) else ("ok" if report.ok else "FAIL")
        print(f"{library} {version} {name}: {verdict} ({time.monotonic() - start:.1f} s)",
              flush=True)
        if verdict == "FAIL":
            print(*(f"    {line}" for row in report.failures for line in str(row).split("\n")),
                  sep="\n", flush=True)


if __name__ == "__main__":
    main()
