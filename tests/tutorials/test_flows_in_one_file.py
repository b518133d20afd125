"""The flows of tutorials/flows_in_one_file.py are those of nfref: value, log_det, gradients.

With nfref's formulas (backend "numpy") the bits agree, except for two flows with another formula:
the planar one, and the spline, where a narrow bin magnifies the rounding of its knots. Finite
differences are independent of nfref.
"""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from autograd import grad

import nfref

PATH = Path(__file__).parents[2] / "tutorials" / "flows_in_one_file.py"
SPEC = importlib.util.spec_from_file_location("flows_in_one_file", PATH)
one_file = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(one_file)

DIM, ROWS, HIDDEN = 4, 500, (16, 16)
FIRST_HALF = (True, True, False, False)
TURN = nfref.Permutation((3, 2, 1, 0))
# The paper's spline has the smallest widths, heights and slopes of the published code.
SPLINE = nfref.RationalQuadratic(8, 4.0, min_width=1e-300, min_height=1e-300, min_slope=1e-300)


def network(params):
    return [[layer["weight"], layer["bias"]] for layer in params["net"]]


def field(params):
    (first, bias), last = network(params)
    return [first[:-1], first[-1], bias, *last]


@one_file.Flow
def cnf_of_8_steps(params, rows, to_x):
    return (one_file.cnf.forward if to_x else one_file.cnf.inverse)(params, rows, steps=8)


# name: nfref's flow, the tutorial's, and nfref's parameters as the tutorial takes them.
CASES = {
    "planar": (
        nfref.PlanarLayer(DIM),
        one_file.planar,
        lambda params: [params["u"], params["w"], params["b"]],
    ),
    "scale": (nfref.Scale(DIM), one_file.scale, lambda params: params["log_scale"]),
    "NICE": (nfref.Coupling(FIRST_HALF, nfref.Additive(), HIDDEN), one_file.nice, network),
    "RealNVP": (
        nfref.Coupling(FIRST_HALF, nfref.Affine("exp"), HIDDEN),
        one_file.real_nvp,
        network,
    ),
    "MAF": (nfref.MADE(DIM, HIDDEN, nfref.Affine("exp")), one_file.maf, network),
    "spline": (nfref.Coupling(FIRST_HALF, SPLINE, HIDDEN), one_file.spline, network),
    "CNF": (nfref.CNF(DIM, (16,), solver="rk4", steps=8, gradient="direct"), cnf_of_8_steps, field),
}
APART = {"planar": 4, "spline": 512}  # ulps; all others are the same bits


def chained(flow, its, to):
    """The same for two layers of a kind."""
    return (
        nfref.Chain([TURN, flow, TURN, flow, TURN]),
        one_file.chain(its, its),
        lambda params: [to(params[1]), to(params[3])],
    )


for name in list(CASES):
    CASES[f"{name}, chain"] = chained(*CASES[name])
    APART[f"{name}, chain"] = APART.setdefault(name, 0)

every_case = pytest.mark.parametrize("name", CASES)
both_ways = pytest.mark.parametrize("direction", ["forward", "inverse"])


def drawn(rng, params):
    """Return random parameters shaped like ``params``, far from the identity."""
    if isinstance(params, dict):
        return {name: drawn(rng, value) for name, value in params.items()}
    if isinstance(params, list):
        return [drawn(rng, value) for value in params]
    return params + 0.3 * rng.standard_normal(np.shape(params))


def leaves(params):
    return (
        [leaf for value in params for leaf in leaves(value)]
        if isinstance(params, list)
        else [params]
    )


def case(name):
    rng = np.random.default_rng(0)
    flow, its, to = CASES[name]
    params = drawn(rng, flow.init(rng))
    return flow, params, its, to(params), to, 1.5 * rng.standard_normal((ROWS, DIM))


def ulps(one, other):
    """The largest distance, in ulps of one, or of the number where that is larger."""
    return np.max(np.abs(one - other) / np.maximum(1, np.abs(one))) / np.finfo(float).eps


@both_ways
@every_case
def test_value_and_log_det(name, direction):
    flow, params, its, its_params, _, rows = case(name)
    with nfref.backend("numpy"):
        value, log_det = getattr(flow, direction)(params, rows)
    its_value, its_log_det = getattr(its, direction)(its_params, rows)
    assert its_value.shape == (ROWS, DIM) and its_log_det.shape == (ROWS,)
    assert ulps(value, its_value) <= APART[name]
    assert ulps(log_det, its_log_det) <= APART[name]


@pytest.mark.parametrize(
    "name",
    [  # a chain's are those of its layers, by autograd
        pytest.param(name, marks=pytest.mark.thorough if "chain" in name else ()) for name in CASES
    ],
)
def test_log_prob_and_its_gradients(name):
    flow, params, its, its_params, to, rows = case(name)
    density, weights = nfref.Density(flow), np.cos(np.arange(ROWS))

    def log_prob(params, x):
        return density.log_prob({"base": {}, "flow": params}, x)

    def its_log_prob(params, x):
        return one_file.log_prob(its, params, x)

    def gradients(log_prob, params):
        def weighted(params, x):
            return np.dot(weights, log_prob(params, x))

        return grad(weighted, 0)(params, rows), grad(weighted, 1)(params, rows)

    with nfref.backend("numpy"):
        expected = log_prob(params, rows)
        by_params, by_x = gradients(log_prob, params)
    assert ulps(expected, its_log_prob(its_params, rows)) <= APART[name]
    its_by_params, its_by_x = gradients(its_log_prob, its_params)
    # The order of a gradient's sum depends on the formula: measure in ulps of its largest entry.
    for one, other in zip(
        [by_x, *leaves(to(by_params))], [its_by_x, *leaves(its_by_params)], strict=True
    ):
        largest = np.max(np.abs(one))
        assert largest > 0
        assert ulps(one / largest, other / largest) <= max(32, APART[name])


@every_case
def test_samples(name):
    flow, params, its, its_params, _, _ = case(name)
    with nfref.backend("numpy"):
        samples = nfref.Density(flow).sample(
            {"base": {}, "flow": params}, np.random.default_rng(1), ROWS
        )
    its_samples = one_file.sample(its, its_params, np.random.default_rng(1), ROWS, DIM)
    assert ulps(samples, its_samples) <= APART[name]


@both_ways
@every_case
def test_log_det_by_finite_differences(name, direction):
    _, _, its, params, _, rows = case(name)
    move, rows, step = getattr(its, direction), rows[:50], 1e-5
    columns = [
        (move(params, rows + step * e)[0] - move(params, rows - step * e)[0]) / (2 * step)
        for e in np.eye(DIM)
    ]
    expected = np.linalg.slogdet(np.stack(columns, axis=2))[1]
    # The CNF's value and log_det are integrals, each with an error of its steps.
    tolerance = {"CNF": 1e-5, "spline": 1e-7}.get(name.partition(",")[0], 2e-9)
    np.testing.assert_allclose(move(params, rows)[1], expected, rtol=0, atol=tolerance)


def turned(net):
    """A masked network that reads and writes two coordinates in the other order."""
    (first, bias), *middle, (last, last_bias) = net
    return [[first[::-1], bias], *middle, [last[:, [1, 0, 3, 2]], last_bias[[1, 0, 3, 2]]]]


@pytest.mark.parametrize("name", ["NICE", "RealNVP", "MAF", "CNF"])
def test_a_whole_flow_by_its_name(name):
    """In two coordinates nfref's masks and orders alternate where the tutorial's chain turns."""
    rng = np.random.default_rng(0)
    exp, x = nfref.Affine("exp"), rng.standard_normal((ROWS, 2))
    flow = {
        "NICE": nfref.NICE(2, 4, HIDDEN),
        "RealNVP": nfref.RealNVP(2, 4, HIDDEN, transformer=exp),
        "MAF": nfref.MAF(2, 4, HIDDEN, transformer=exp),
        "CNF": nfref.CNF(2, (64,), solver="rk4", steps=4),
    }[name]
    params = drawn(rng, flow.init(rng))
    with nfref.backend("numpy"):
        expected = nfref.Density(flow).log_prob({"base": {}, "flow": params}, x)
    its, its_params = {
        "NICE": lambda: (
            one_file.chain(one_file.scale, *4 * [one_file.nice]),
            [params[0]["log_scale"][::-1], *map(network, params[1:])],
        ),
        "RealNVP": lambda: (one_file.chain(*4 * [one_file.real_nvp]), list(map(network, params))),
        "MAF": lambda: (
            one_file.chain(*4 * [one_file.maf]),
            [turned(network(own)) if k % 2 == 0 else network(own) for k, own in enumerate(params)],
        ),
        "CNF": lambda: (one_file.cnf, field(params)),
    }[name]()
    found = one_file.log_prob(its, its_params, x[:, ::-1] if name == "MAF" else x)
    assert ulps(expected, found) == 0


@pytest.mark.parametrize("name", ["NICE", "RealNVP", "MAF", "spline"])
@pytest.mark.parametrize("dim", [3, 5])
def test_an_odd_number_of_coordinates(name, dim):
    """The second half has one coordinate more; a chain moves every coordinate."""
    rng = np.random.default_rng(0)
    mask = tuple(k < dim // 2 for k in range(dim))
    flow = {
        "NICE": nfref.Coupling(mask, nfref.Additive(), HIDDEN),
        "RealNVP": nfref.Coupling(mask, nfref.Affine("exp"), HIDDEN),
        "MAF": nfref.MADE(dim, HIDDEN, nfref.Affine("exp")),
        "spline": nfref.Coupling(mask, SPLINE, HIDDEN),
    }[name]
    its, params, x = CASES[name][1], drawn(rng, flow.init(rng)), rng.standard_normal((ROWS, dim))
    with nfref.backend("numpy"):
        expected = flow.inverse(params, x)
    found = its.inverse(network(params), x)
    for one, other in zip(expected, found):
        assert ulps(one, other) <= APART[name]
    chain, own = one_file.chain(its, its), [network(params)] * 2
    z, log_det = chain.inverse(own, x)
    back, log_det_back = chain.forward(own, z)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-9)
    assert np.all(np.max(np.abs(z - x), axis=0) > 0.01)


@pytest.mark.thorough
def test_flows_begin_near_the_identity_and_a_fit_climbs():
    rng = np.random.default_rng(0)
    test = one_file.pinwheel(rng, 2000)
    for name, (_, flow, params) in one_file.six_flows(rng).items():
        before = np.mean(one_file.log_prob(flow, params, test))
        assert name == "planar" or np.max(np.abs(flow.inverse(params, test)[1])) < 1e-14, name
        params = one_file.fit(flow, params, one_file.pinwheel, rng, steps=4)
        assert np.mean(one_file.log_prob(flow, params, test)) > before + 0.05, name


def test_it_is_one_file_of_at_most_222_lines_that_are_not_blank():
    text = PATH.read_text(encoding="utf-8")
    assert sum(map(bool, text.splitlines())) <= 222
    imports = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else name.name
        for node in imports
        for name in node.names
    }
    assert {module.partition(".")[0] for module in modules} == {"autograd", "matplotlib"}
