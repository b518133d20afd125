"""The same work in other libraries, in float32, at the sizes of a case.

Each function returns a call without arguments, or None if its library does not offer the work.
Networks have the same widths, depth and activation. Libraries differ in masks, bounds of scales and
permutations, whose cost is negligible beside the networks'.
"""

import functools
import importlib.util

import numpy as np

NAMES = ("torch", "nflows", "zuko", "normflows", "flowjax", "torchdiffeq")
STACKS = ("RealNVP", "MAF", "NSF", "NSF coupling")
IMAGES = ("Glow", "RealNVPImage")
BINS, BOUND = 8, 5.0  # of splines


def calls(case):
    """Return calls by installed library that offers the work."""
    makers = {
        "torch": _torch,
        "nflows": _nflows,
        "zuko": _zuko,
        "normflows": _normflows,
        "flowjax": _flowjax,
        "torchdiffeq": _torchdiffeq,
    }
    found = {}
    for name, make in makers.items():
        if importlib.util.find_spec(name) is not None:
            call = make(case)
            if call is not None:
                found[name] = call
    return found


def _torch_work(case, log_prob, sample, parameters):
    """The call for a case, from a library built on torch."""
    import torch

    x = torch.from_numpy(case.rows())
    if case.kind == "step":
        optimiser = torch.optim.Adam(parameters(), lr=1e-3)

        def step():
            optimiser.zero_grad()
            (-log_prob(x).mean()).backward()
            optimiser.step()

        return step

    def value():
        with torch.no_grad():
            (log_prob if case.kind == "log_prob" else sample)(x)

    return value


def _torch(case):
    import torch

    if case.family in IMAGES:
        from tests.benchmarks.images import torch_density

        density, params = case.density()
        log_prob, tensors = torch_density(density, params)
        x = case.rows()[:8]
        np.testing.assert_allclose(
            log_prob(torch.from_numpy(x)).detach().numpy(), density.log_prob(params, x), rtol=1e-5
        )
        return _torch_work(case, log_prob, None, lambda: tensors)
    if case.family != "matrices":
        return None
    matrices = torch.from_numpy(case.stack())
    return lambda: torch.linalg.slogdet(matrices)


def _nflows(case):
    if case.family not in STACKS:
        return None
    flow = nflows_flow(case.family, *(case.sizes[key] for key in ("dim", "layers", "hidden")))
    return _torch_work(case, flow.log_prob, lambda z: flow._transform.inverse(z), flow.parameters)


def nflows_flow(family, dim, layers, hidden):
    import torch
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms import (
        AffineCouplingTransform,
        CompositeTransform,
        MaskedAffineAutoregressiveTransform,
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
        PiecewiseRationalQuadraticCouplingTransform,
        ReversePermutation,
    )

    class Net(torch.nn.Sequential):
        def forward(self, x, context=None):
            return super().forward(x)

    def net(inputs, outputs):
        widths = [inputs, *hidden, outputs]
        parts = []
        for a, b in zip(widths[:-1], widths[1:]):
            parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        return Net(*parts[:-1])

    spline = {}
    coupling, masked = AffineCouplingTransform, MaskedAffineAutoregressiveTransform
    if family.startswith("NSF"):
        spline = dict(num_bins=BINS, tails="linear", tail_bound=BOUND)
        coupling = PiecewiseRationalQuadraticCouplingTransform
        masked = MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    if family in ("RealNVP", "NSF coupling"):
        transforms = [
            coupling(torch.tensor([(i + k) % 2 for i in range(dim)]), net, **spline)
            for k in range(layers)
        ]
    else:
        transforms = []
        for _ in range(layers):
            transforms += [
                ReversePermutation(dim),
                masked(
                    dim, hidden[0], num_blocks=len(hidden) - 1, use_residual_blocks=False, **spline
                ),
            ]
    return Flow(CompositeTransform(transforms), StandardNormal([dim]))


def _zuko(case):
    if case.family not in (*STACKS, "CNF"):
        return None
    import zuko

    dim, layers, hidden = (case.sizes[key] for key in ("dim", "layers", "hidden"))
    if case.family == "RealNVP":
        flow = zuko.flows.RealNVP(dim, transforms=layers, hidden_features=hidden)
    elif case.family == "MAF":
        flow = zuko.flows.MAF(dim, transforms=layers, hidden_features=hidden)
    elif case.family == "NSF":  # 5 is NSF's default bound
        flow = zuko.flows.NSF(dim, transforms=layers, bins=BINS, hidden_features=hidden)
    elif case.family == "NSF coupling":
        flow = zuko_coupling_splines(dim, layers, hidden)
    else:
        return _zuko_continuous(case)
    return _torch_work(
        case, lambda x: flow().log_prob(x), lambda z: flow().transform.inv(z), flow.parameters
    )


def zuko_coupling_splines(dim, layers, hidden):
    """Build zuko's RealNVP with its splines; its NSF with ``passes=2`` has a masked network."""
    import torch
    import zuko

    transforms = [
        zuko.flows.GeneralCouplingTransform(
            dim,
            mask=[(i + k) % 2 == 0 for i in range(dim)],
            hidden_features=hidden,
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(BINS,), (BINS,), (BINS - 1,)],
        )
        for k in range(layers)
    ]
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(dim), torch.ones(dim), buffer=True
    )
    return zuko.flows.Flow(transforms, base)


def _normflows(case):
    if case.family in ("Residual", "Residual D=16"):
        return _normflows_residual(case)
    if case.family == "Glow":
        return _normflows_glow(case)
    if case.family != "RealNVP":
        return None
    import normflows
    import torch

    dim, layers, hidden = (case.sizes[key] for key in ("dim", "layers", "hidden"))
    flows = []
    for k in range(layers):
        mask = torch.tensor([float((i + k) % 2) for i in range(dim)])
        nets = [normflows.nets.MLP([dim, *hidden, dim], init_zeros=True) for _ in range(2)]
        flows.append(normflows.flows.MaskedAffineFlow(mask, *nets))
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(dim), flows)
    return _torch_work(case, flow.log_prob, None, flow.parameters)


def _normflows_residual(case):
    """Build eight blocks, without the option that saves memory and costs time.

    In two dimensions it computes the determinant. In more, a density takes the exact trace of
    twenty terms and a random number of further ones; a step takes its default: two terms, a random
    number of further ones, and a probe for the trace.
    """
    import normflows
    import torch

    dim, hidden = case.sizes["dim"], (64, 64)
    options = {"brute_force": True} if dim == 2 else {"exact_trace": case.kind == "log_prob"}
    flows = [
        normflows.flows.Residual(
            normflows.nets.LipschitzMLP(
                [dim, *hidden, dim], init_zeros=False, lipschitz_const=0.97
            ),
            reduce_memory=False,
            **options,
        )
        for _ in range(8)
    ]
    flow = normflows.NormalizingFlow(
        normflows.distributions.DiagGaussian(dim, trainable=False), flows
    )
    flow.train(case.kind == "step")
    flow.log_prob(torch.from_numpy(case.rows()))  # computes its norms
    return _torch_work(
        case, flow.log_prob, None, lambda: [p for p in flow.parameters() if p.requires_grad]
    )


def _normflows_glow(case):
    """Build Glow with the same levels, steps and channels; scales are sigmoids, as in its code."""
    import normflows

    flow = case.density()[0].flow
    levels = [
        [
            *(normflows.flows.GlowBlock(channels, flow.hidden[0]) for _ in range(flow.steps)),
            normflows.flows.Squeeze(),
        ]
        for channels in (8, 4)
    ]
    normals = [normflows.distributions.DiagGaussian(part) for part in ((8, 2, 2), (2, 4, 4))]
    model = normflows.MultiscaleFlow(normals, levels, [normflows.flows.Merge()], class_cond=False)

    def log_prob(x):
        return model.log_prob(x.unflatten(1, flow.shape), None)

    return _torch_work(case, log_prob, None, model.parameters)


def _flowjax(case):
    if case.family not in STACKS:
        return None
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    flow = flowjax_flow(case.family, *(case.sizes[key] for key in ("dim", "layers", "hidden")))
    x = jnp.asarray(case.rows())
    if case.kind == "sample":
        push = eqx.filter_jit(lambda flow, z: jax.vmap(flow.bijection.transform)(z))
        return lambda: jax.block_until_ready(push(flow, x))
    if case.kind == "log_prob":
        score = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
        return lambda: jax.block_until_ready(score(flow, x))
    optimiser = optax.adam(1e-3)
    state = optimiser.init(eqx.filter(flow, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(flow, state, x):
        loss, slope = eqx.filter_value_and_grad(lambda flow: -flow.log_prob(x).mean())(flow)
        change, state = optimiser.update(slope, state)
        return eqx.apply_updates(flow, change), state, loss

    return lambda: jax.block_until_ready(step(flow, state, x)[2])


def flowjax_flow(family, dim, layers, hidden):
    import jax
    from flowjax.bijections import Affine, RationalQuadraticSpline
    from flowjax.distributions import StandardNormal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow

    make = coupling_flow if family in ("RealNVP", "NSF coupling") else masked_autoregressive_flow
    transformer = (
        RationalQuadraticSpline(knots=BINS - 1, interval=BOUND)
        if family.startswith("NSF")
        else Affine()
    )
    return make(
        jax.random.key(0),
        base_dist=StandardNormal((dim,)),
        transformer=transformer,
        flow_layers=layers,
        nn_width=hidden[0],
        nn_depth=len(hidden),
        invert=True,
    )


def _dynamics(case, library):
    """The velocity of a case as a torch module, with nfref's weights; it counts its calls."""
    import torch

    net = case.density()[1]["flow"]["net"]

    class Dynamics(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(
                torch.nn.Linear(*layer["weight"].shape) for layer in net
            )
            with torch.no_grad():
                for linear, layer in zip(self.layers, net):
                    linear.weight.copy_(torch.from_numpy(layer["weight"].T.copy()))
                    linear.bias.copy_(torch.from_numpy(layer["bias"]))

        def forward(self, t, z):
            case.evaluations[library] += 1
            h = torch.cat([z, t.expand(len(z), 1)], dim=1)
            for linear in self.layers[:-1]:
                h = torch.tanh(linear(h))
            return self.layers[-1](h)

    return Dynamics()


def _zuko_continuous(case):
    """The exact trace, by D products with the Jacobian."""
    import torch
    import zuko

    dynamics = _dynamics(case, "zuko")

    def log_prob(x):
        case.evaluations["zuko"] = 0
        transform = zuko.transforms.FreeFormJacobianTransform(
            dynamics,
            torch.tensor(1.0),
            torch.tensor(0.0),
            tuple(dynamics.parameters()),
            atol=1e-5,
            rtol=1e-5,
            exact=True,
        )
        z, log_det = transform.call_and_ladj(x)
        return -0.5 * (z**2).sum(dim=1) + log_det

    return _torch_work(case, log_prob, None, dynamics.parameters)


def _torchdiffeq(case):
    """Use one Hutchinson probe and, for the step, the adjoint, as its FFJORD example does."""
    if case.family != "CNF":
        return None
    import torch
    from torchdiffeq import odeint, odeint_adjoint

    class Joint(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.velocity = _dynamics(case, "torchdiffeq")
            self.probe = None

        def forward(self, t, state):
            z = state[0]
            with torch.enable_grad():
                z = z.requires_grad_(True)
                f = self.velocity(t, z)
                back = torch.autograd.grad(f, z, self.probe, create_graph=case.kind == "step")[0]
            return f, (back * self.probe).sum(dim=1)

    joint = Joint()
    times = torch.tensor([1.0, 0.0])
    solve = odeint_adjoint if case.kind == "step" else odeint

    def log_prob(x):
        case.evaluations["torchdiffeq"] = 0
        joint.probe = torch.randn_like(x)
        z, trace = solve(
            joint, (x, torch.zeros(len(x))), times, rtol=1e-5, atol=1e-5, method="dopri5"
        )
        return -0.5 * (z[-1] ** 2).sum(dim=1) + trace[-1]

    return _torch_work(case, log_prob, None, functools.partial(joint.parameters))
