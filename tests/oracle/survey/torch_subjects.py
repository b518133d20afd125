"""nflows, normflows, FrEIA, torch.distributions, Pyro and zuko."""

import numpy as np

from nfref.oracle import adapters
from tests.oracle.survey.subjects import INF, add


def _moved(size):
    """Noise of that size on all parameters, so that a module is far from the identity."""

    def move(module, rng):
        import torch

        if isinstance(module, torch.nn.Module):
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.is_floating_point() and parameter.requires_grad:
                        parameter += size * torch.from_numpy(
                            rng.standard_normal(tuple(parameter.shape))
                        ).to(parameter.dtype)
        return module

    return move


# nflows -----------------------------------------------------------------------------------


def _nflows(name, make, dim=3, size=0.3, features=0, **arguments):
    def construct(rng, dtype):
        import nflows.transforms as transforms

        return make(transforms)

    add(
        "nflows",
        name,
        dim,
        construct,
        _moved(size),
        adapters.from_nflows,
        features,
        True,
        arguments,
    )


def _mask(dim):
    import torch

    return torch.tensor([1 if i % 2 else -1 for i in range(dim)])


def _resnet(inputs, outputs, context_features=None):
    from nflows.nn.nets import ResidualNet

    return ResidualNet(
        inputs, outputs, hidden_features=16, num_blocks=1, context_features=context_features
    )


def _resnet_given_2(inputs, outputs):
    return _resnet(inputs, outputs, 2)


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
_nflows(
    "PiecewiseLinearCoupling",
    lambda t: t.PiecewiseLinearCouplingTransform(_mask(3), _resnet, tails="linear", tail_bound=3.0),
)
_nflows(
    "PiecewiseQuadraticCoupling",
    lambda t: t.PiecewiseQuadraticCouplingTransform(
        _mask(3), _resnet, tails="linear", tail_bound=3.0
    ),
)
_nflows(
    "PiecewiseCubicCoupling",
    lambda t: t.PiecewiseCubicCouplingTransform(_mask(3), _resnet, tails="linear", tail_bound=3.0),
)
_nflows(
    "PiecewiseRQCoupling",
    lambda t: t.PiecewiseRationalQuadraticCouplingTransform(
        _mask(3), _resnet, tails="linear", tail_bound=3.0
    ),
)
_nflows("MaskedAffineAutoregressive", lambda t: t.MaskedAffineAutoregressiveTransform(3, 16))
_nflows(
    "MaskedPiecewiseRQAutoregressive",
    lambda t: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        3, 16, tails="linear", tail_bound=3.0
    ),
)
_nflows(
    "MaskedPiecewiseQuadraticAutoregressive",
    lambda t: t.MaskedPiecewiseQuadraticAutoregressiveTransform(
        3, 16, tails="linear", tail_bound=3.0
    ),
)
_nflows(
    "MaskedPiecewiseCubicAutoregressive",
    lambda t: t.MaskedPiecewiseCubicAutoregressiveTransform(5, 3, 16),
    domain=(0, 1),
    codomain=(0, 1),
)
_nflows(
    "MaskedPiecewiseLinearAutoregressive",
    lambda t: t.MaskedPiecewiseLinearAutoregressiveTransform(5, 3, 16),
    domain=(0, 1),
    codomain=(0, 1),
)
_nflows(
    "PiecewiseRationalQuadraticCDF",
    lambda t: t.PiecewiseRationalQuadraticCDF((3,), tails="linear", tail_bound=3.0),
)
_nflows("PiecewiseLinearCDF", lambda t: t.PiecewiseLinearCDF((3,), tails="linear", tail_bound=3.0))
_nflows(
    "PiecewiseQuadraticCDF", lambda t: t.PiecewiseQuadraticCDF((3,), tails="linear", tail_bound=3.0)
)
_nflows("PiecewiseCubicCDF", lambda t: t.PiecewiseCubicCDF((3,), tails="linear", tail_bound=3.0))
_nflows(
    "AffineCouplingTransform, context",
    lambda t: t.AffineCouplingTransform(_mask(3), _resnet_given_2),
    features=2,
)
_nflows(
    "PiecewiseRQCoupling, context",
    lambda t: t.PiecewiseRationalQuadraticCouplingTransform(
        _mask(3), _resnet_given_2, tails="linear", tail_bound=3.0
    ),
    features=2,
)
_nflows(
    "MaskedAffineAutoregressive, context",
    lambda t: t.MaskedAffineAutoregressiveTransform(3, 16, context_features=2),
    features=2,
)
_nflows(
    "MaskedPiecewiseRQAutoregressive, context",
    lambda t: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        3, 16, context_features=2, tails="linear", tail_bound=3.0
    ),
    features=2,
)


# normflows --------------------------------------------------------------------------------


def _normflows(name, make, dim=3, size=0.3, features=0, **arguments):
    def construct(rng, dtype):
        import normflows

        return make(normflows.flows, normflows)

    add(
        "normflows",
        name,
        dim,
        construct,
        _moved(size),
        adapters.from_normflows,
        features,
        True,
        arguments,
    )


_normflows("Planar tanh", lambda f, nf: f.Planar((3,)))
_normflows("Planar leaky_relu", lambda f, nf: f.Planar((3,), act="leaky_relu"))
_normflows("Radial", lambda f, nf: f.Radial((3,)))
_normflows("AffineConstFlow", lambda f, nf: f.AffineConstFlow((3,)))
_normflows("ActNorm", lambda f, nf: f.ActNorm((3,)))
_normflows(
    "MaskedAffineFlow",
    lambda f, nf: f.MaskedAffineFlow(
        __import__("torch").tensor([1.0, 0.0, 1.0]),
        nf.nets.MLP([3, 16, 3]),
        nf.nets.MLP([3, 16, 3]),
    ),
)
_normflows(
    "AffineCouplingBlock", lambda f, nf: f.AffineCouplingBlock(nf.nets.MLP([2, 16, 4])), dim=4
)
_normflows(
    "AffineCouplingBlock sigmoid",
    lambda f, nf: f.AffineCouplingBlock(nf.nets.MLP([2, 16, 4]), scale_map="sigmoid"),
    dim=4,
)
_normflows(
    "AffineCouplingBlock sigmoid_inv",
    lambda f, nf: f.AffineCouplingBlock(nf.nets.MLP([2, 16, 4]), scale_map="sigmoid_inv"),
    dim=4,
)
_normflows("CCAffineConst", lambda f, nf: f.AffineConstFlow((3,), scale=False))
_normflows("Permute", lambda f, nf: f.Permute(3))
_normflows("LULinearPermute", lambda f, nf: f.LULinearPermute(3))
_normflows("InvertibleAffine", lambda f, nf: f.InvertibleAffine(3))
_normflows("InvertibleAffine full", lambda f, nf: f.InvertibleAffine(3, use_lu=False))
_normflows("BatchNorm", lambda f, nf: f.BatchNorm())
_normflows("MaskedAffineAutoregressive", lambda f, nf: f.MaskedAffineAutoregressive(3, 16))
_normflows(
    "CoupledRationalQuadraticSpline", lambda f, nf: f.CoupledRationalQuadraticSpline(3, 1, 16)
)
_normflows(
    "AutoregressiveRationalQuadraticSpline",
    lambda f, nf: f.AutoregressiveRationalQuadraticSpline(3, 1, 16),
)
_normflows(
    "CircularCoupledRQS",
    lambda f, nf: f.CircularCoupledRationalQuadraticSpline(3, 1, 16, ind_circ=[1]),
)
_normflows(
    "Residual",
    lambda f, nf: f.Residual(
        nf.nets.LipschitzMLP([3, 16, 3], lipschitz_const=0.9), reduce_memory=False
    ),
    size=0.0,
    accuracy=1e-5,
    stochastic=True,
)
_normflows(
    "MaskedAffineAutoregressive, context",
    lambda f, nf: f.MaskedAffineAutoregressive(3, 16, context_features=2),
    features=2,
)
_normflows(
    "CoupledRationalQuadraticSpline, context",
    lambda f, nf: f.CoupledRationalQuadraticSpline(3, 1, 16, num_context_channels=2),
    features=2,
)
_normflows(
    "AutoregressiveRationalQuadraticSpline, context",
    lambda f, nf: f.AutoregressiveRationalQuadraticSpline(3, 1, 16, num_context_channels=2),
    features=2,
)
_normflows(
    "Logit transform",
    lambda f, nf: nf.transforms.Logit(alpha=0.05),
    codomain=(-0.05 / 0.9, 0.95 / 0.9),
)


# FrEIA ------------------------------------------------------------------------------------


def _net(inputs, outputs):
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 16), torch.nn.Tanh(), torch.nn.Linear(16, outputs)
    )


def _freia(name, make, dim=3, size=0.3, features=0, **arguments):
    def construct(rng, dtype):
        import FrEIA.modules as modules

        return make(modules, [(dim,)])

    add("FrEIA", name, dim, construct, _moved(size), adapters.from_freia, features, True, arguments)


for _name in (
    "NICECouplingBlock",
    "RNVPCouplingBlock",
    "GLOWCouplingBlock",
    "GINCouplingBlock",
    "AllInOneBlock",
):
    _freia(_name, lambda m, d, name=_name: getattr(m, name)(d, subnet_constructor=_net))
_freia("AffineCouplingOneSided", lambda m, d: m.AffineCouplingOneSided(d, subnet_constructor=_net))
_freia("PermuteRandom", lambda m, d: m.PermuteRandom(d))
_freia(
    "FixedLinearTransform",
    lambda m, d: m.FixedLinearTransform(d, M=__import__("torch").eye(3) * 2 + 0.5),
)
_freia("InvAutoAct", lambda m, d: m.InvAutoActTwoSided(d))
_freia("InvertibleSigmoid", lambda m, d: m.InvertibleSigmoid(d), domain=(0, 1))
_freia("OrthogonalTransform", lambda m, d: m.OrthogonalTransform(d), size=0)
_freia("HouseholderPerm", lambda m, d: m.HouseholderPerm(d, n_reflections=2))
for _name in (
    "NICECouplingBlock",
    "RNVPCouplingBlock",
    "GLOWCouplingBlock",
    "GINCouplingBlock",
    "AllInOneBlock",
):
    _freia(
        f"{_name}, context",
        lambda m, d, name=_name: getattr(m, name)(d, [(2,)], subnet_constructor=_net),
        features=2,
    )
_freia("ActNorm", lambda m, d: m.ActNorm(d))
_freia(
    "IResNetLayer",
    lambda m, d: m.IResNetLayer(d, internal_size=16, n_internal_layers=1),
    size=0,
    accuracy=1e-4,
    stochastic=True,
)


# torch.distributions and Pyro -------------------------------------------------------------


def _torch(library, name, make, dim=3, features=0, **arguments):
    def construct(rng, dtype):
        import torch

        torch.set_default_dtype(torch.float32 if dtype == np.float32 else torch.float64)
        try:
            if library == "pyro":
                import pyro.distributions.transforms as transforms
            else:
                import torch.distributions.transforms as transforms
            return make(transforms)
        finally:
            torch.set_default_dtype(torch.float32)

    add(
        library,
        name,
        dim,
        construct,
        _moved(0.3),
        adapters.from_torch_transform,
        features,
        True,
        arguments,
    )


_torch("torch", "AffineTransform", lambda t: t.AffineTransform(0.5, -2.0))
_torch("torch", "ExpTransform", lambda t: t.ExpTransform(), codomain=(0, INF))
_torch("torch", "SigmoidTransform", lambda t: t.SigmoidTransform(), codomain=(0, 1))
_torch("torch", "TanhTransform", lambda t: t.TanhTransform(), codomain=(-1, 1))
_torch("torch", "SoftplusTransform", lambda t: t.SoftplusTransform(), codomain=(0, INF))
_torch(
    "torch", "PowerTransform", lambda t: t.PowerTransform(2.5), domain=(0, INF), codomain=(0, INF)
)
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
_torch(
    "pyro",
    "LowerCholeskyAffine",
    lambda t: t.LowerCholeskyAffine(
        __import__("torch").zeros(3),
        __import__("torch").tensor([[1.0, 0, 0], [0.5, 2, 0], [-0.3, 0.1, 0.4]]),
    ),
)
for _name in (
    "affine_autoregressive",
    "affine_coupling",
    "householder",
    "matrix_exponential",
    "neural_autoregressive",
    "planar",
    "radial",
    "spline",
    "spline_autoregressive",
):
    _torch(
        "pyro",
        f"conditional_{_name}, context",
        lambda t, name=_name: getattr(t, f"conditional_{name}")(3, 2),
        features=2,
    )


# zuko -------------------------------------------------------------------------------------


def _zuko(name, make, dim=3, size=0.2, features=0, **arguments):
    def construct(rng, dtype):
        import zuko

        return make(zuko.flows)

    add("zuko", name, dim, construct, _moved(size), adapters.from_zuko, features, True, arguments)


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
for _name in ("MAF", "NSF", "RealNVP"):
    _zuko(f"{_name}, context", lambda f, name=_name: getattr(f, name)(3, 2, **_HIDDEN), features=2)
_zuko("CNF", lambda f: f.CNF(3, hidden_features=(16,)), accuracy=1e-4)


def _zuko_transform(name, make, dim=3, **arguments):
    def construct(rng, dtype):
        import torch
        import zuko

        kind = torch.float32 if dtype == np.float32 else torch.float64

        def numbers(*shape):
            return torch.from_numpy(rng.standard_normal(shape)).to(kind)

        return make(zuko.transforms, numbers)

    add(
        "zuko", name, dim, construct, _moved(0.0), adapters.from_torch_transform, 0, True, arguments
    )


_zuko_transform("SoftclipTransform", lambda t, n: t.SoftclipTransform(5.0), codomain=(-5, 5))
_zuko_transform(
    "CircularShiftTransform",
    lambda t, n: t.CircularShiftTransform(1.0),
    domain=(-1, 1),
    codomain=(-1, 1),
)
_zuko_transform("SignedPowerTransform", lambda t, n: t.SignedPowerTransform(n(3) * 0.2))
_zuko_transform("MonotonicAffineTransform", lambda t, n: t.MonotonicAffineTransform(n(3), n(3)))
_zuko_transform(
    "MonotonicRQSTransform", lambda t, n: t.MonotonicRQSTransform(n(3, 8), n(3, 8), n(3, 7))
)
_zuko_transform("LULinearTransform", lambda t, n: t.LULinearTransform(n(3, 3)))
_zuko_transform(
    "PermutationTransform",
    lambda t, n: t.PermutationTransform(__import__("torch").tensor([2, 0, 1])),
)
_zuko_transform("RotationTransform", lambda t, n: t.RotationTransform(n(3, 3)))
_zuko_transform("CosTransform", lambda t, n: t.CosTransform(), domain=(0, np.pi), codomain=(-1, 1))
_zuko_transform(
    "SinTransform", lambda t, n: t.SinTransform(), domain=(-np.pi / 2, np.pi / 2), codomain=(-1, 1)
)
