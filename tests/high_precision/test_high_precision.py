"""The float64 formulas against sixty-digit maps that share no code with them."""

import sys

import mpmath as mp
import numpy as np
import pytest

import nfref
from nfref.flows.data_dependent import Adaptive, AdaptiveMembers
from nfref.flows.free_form import FreeFormFlow
from nfref.runtime import params as trees
from tests.high_precision.calculus import exact, integrate, jacobian, log_abs_det, solve
from tests.high_precision.configurations import configuration, configurations
from tests.high_precision.high_precision import DIGITS, measure, truth
from tests.high_precision.maps import MAPS

CONFIGURATIONS = configurations()

# Each layer rounds its network's sums, an exponential and a product: errors of an ulp or two,
# beyond what one-ulp changes of the input would do. No formula may lose more than that.
MOST_ULPS = 4


def ulps_of_parameters(c, rows, direction):
    """Return the ulp by which value and log-det move if every parameter moves by one ulp."""
    rng, nudge = np.random.default_rng(0), 2.0**-40
    nudged = [
        trees.tree_map(lambda leaf: leaf * (1 + nudge * rng.choice([-1, 1], leaf.shape)), c.params)
        for _ in range(4)
    ]
    moved = np.zeros(2)
    for row in rows:
        value, log_det = truth(c.flow, c.params, row, direction)
        for params in nudged:
            near, near_log_det = truth(c.flow, params, row, direction)
            moved = np.maximum(
                moved,
                [
                    max(float(abs(a - b) / max(1, abs(b))) for a, b in zip(near, value)) / nudge,
                    float(abs(near_log_det - log_det) / max(1, abs(log_det))) / nudge,
                ],
            )
    return moved


BOTH_WAYS = [
    (name, direction)
    for name, c in CONFIGURATIONS.items()
    if not hasattr(c.flow, "rtol")
    for direction in ("forward", "inverse")
]


# One direction of each, alternating.
@pytest.mark.parametrize(
    "name, direction", [case for k, case in enumerate(BOTH_WAYS) if k % 4 in (0, 3)]
)
def test_formula_loses_no_digits_far_out(name, direction):
    loses_no_digits(name, direction, slice(-1, None))


@pytest.mark.thorough
@pytest.mark.parametrize("name, direction", BOTH_WAYS)
def test_formula_loses_no_digits(name, direction):
    loses_no_digits(name, direction, slice(None))


def loses_no_digits(name, direction, part):
    c = CONFIGURATIONS[name]
    rows = c.z if direction == "forward" else c.flow.forward(c.params, c.z, c.context)[0]
    rows, context = rows[part], None if c.context is None else c.context[part]
    errors = measure(c.flow, c.params, rows, direction, context)
    # A spline is steep in narrow bins, and rounding a parameter moves its knots: like the steepness
    # of the map itself, this is not an error of the formula.
    spline = isinstance(c.flow, nfref.NSF) or "spline" in name
    moved = ulps_of_parameters(c, rows, direction) if spline else np.zeros(2)
    assert errors.value_conditioned < MOST_ULPS * (1 + moved[0])
    assert errors.log_det_conditioned < MOST_ULPS * (1 + moved[1])


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_glow_of_two_levels_loses_no_digits(direction):
    c = configuration(nfref.Glow((1, 4, 4), levels=2, steps=1, hidden=(2,)), seed=7)
    rows = c.z if direction == "forward" else c.flow.forward(c.params, c.z)[0]
    errors = measure(c.flow, c.params, rows[:1], direction)
    assert errors.value_conditioned < MOST_ULPS
    assert errors.log_det_conditioned < MOST_ULPS


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_continuous_flow_is_as_right_as_its_solver_is_told_to_be(direction):
    flow = nfref.CNF(2, hidden=(3,), solver="dop853", rtol=1e-12, atol=1e-12)
    c = configuration(flow, seed=5)
    value, log_det = getattr(flow, direction)(c.params, c.z[:2])
    for n in range(2):
        exact_value, exact_log_det = truth(flow, c.params, c.z[n], direction)
        np.testing.assert_allclose(value[n], np.array(exact_value, float), rtol=0, atol=1e-11)
        np.testing.assert_allclose(log_det[n], float(exact_log_det), rtol=0, atol=1e-11)


def test_every_flow_of_the_package_has_a_scalar_map():
    def concrete(cls):
        for child in cls.__subclasses__():
            yield child
            yield from concrete(child)

    # Classes without a map of their own, and two networks that only training makes inverse.
    abstract = {
        Adaptive,
        AdaptiveMembers,
        nfref.Composition,
        nfref.flows.composition.Wrapped,
        nfref.flows.coupling.SplitFlow,
        FreeFormFlow,
        nfref.flows.images.layers.ImageFlow,
        nfref.flows.elementwise.AffineFlow,
        nfref.flows.velocity_flow.VelocityFlow,
    }
    # Other tests make mutated copies of a module with its name; they are not the package.
    public = {
        cls
        for cls in concrete(nfref.Flow)
        if cls.__module__.startswith("nfref.")
        and not cls.__name__.startswith("_")
        and getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
    }
    assert {nfref.PlanarLayer, nfref.MADE, nfref.LULinear, nfref.CNF} <= public
    missing = {cls.__name__ for cls in public - abstract - set(MAPS)}
    assert not missing, f"tests/high_precision/maps: add to MAPS a map of {sorted(missing)}"


def test_every_configuration_differs_from_the_identity():
    for name, c in CONFIGURATIONS.items():
        x, log_det = c.flow.forward(c.params, c.z, c.context)
        assert np.max(np.abs(x[:, : c.flow.latent_dim] - c.z)) > 0.1, name


def test_jacobian_and_solve_are_right_to_the_digits_they_promise():
    def spiral(z):
        return [mp.exp(z[0]) * mp.cos(z[1]), mp.exp(z[0]) * mp.sin(z[1])]

    with mp.workdps(2 * DIGITS):
        point = exact(np.array([0.25, 1.5]))
        # The complex exponential: its determinant is |e^z|^2.
        assert abs(log_abs_det(jacobian(spiral, point)) - 2 * point[0]) < mp.mpf(10) ** -55
        back = solve(spiral, spiral(point), [mp.mpf("0.26"), mp.mpf("1.49")])
        assert max(abs(a - b) for a, b in zip(back, point)) < mp.mpf(10) ** -55


def test_integrate_meets_a_closed_form():
    def damped_and_driven(t, z):
        return [-2 * z[0] + mp.sin(5 * t)]

    with mp.workdps(2 * DIGITS):
        [end] = integrate(damped_and_driven, [mp.mpf(1)])
        constant = 1 + mp.mpf(5) / 29
        exact_end = constant * mp.exp(-2) + (2 * mp.sin(5) - 5 * mp.cos(5)) / 29
        assert abs(end - exact_end) < mp.mpf(10) ** -60


def test_truth_of_an_inverted_flow_is_the_truth_of_the_other_direction():
    c = CONFIGURATIONS["iaf"]
    value, log_det = truth(c.flow, c.params, c.z[0], "forward")
    other, other_log_det = truth(c.flow.flow, c.params, c.z[0], "inverse")
    assert value == other and log_det == other_log_det


def test_a_formula_that_loses_digits_is_seen():
    class Careless(nfref.Scale):
        """log_det off by one part in 10^13: invisible to finite differences, not here."""

        def _forward(self, params, z, context):
            x, log_det = super()._forward(params, z, context)
            return x, log_det * (1 + 1e-13)

    c = CONFIGURATIONS["scale"]
    careless = Careless(3)
    MAPS[Careless] = MAPS[nfref.Scale]
    try:
        wrong = measure(careless, {"log_scale": 8 * c.params["log_scale"]}, c.z)
    finally:
        del MAPS[Careless]
    assert wrong.log_det_conditioned > 100


def test_the_table_of_ulps():
    from tests.high_precision.precision_table import lines

    _, _, bulk, extreme = lines(["planar_layer"])
    for line in (bulk, extreme):
        name, kind, *errors = line.split()
        assert name == "planar_layer" and kind in ("bulk", "extreme")
        assert 0 < max(map(float, errors[2:])) < MOST_ULPS
