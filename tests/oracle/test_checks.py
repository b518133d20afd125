"""The oracle on things known to be right, and on things that behave badly."""

import re
import time

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.oracle import FLOW_PROPERTIES, OracleError, adapters, check_density, check_flow
from nfref.oracle.testing import property_tests
from tests.oracle import but, but_of_flows, partly
from tests.oracle.sound import SOUND


def rng(seed=0):
    return np.random.default_rng(seed)


def softplus(x):
    return np.logaddexp(x, 0)


# Right ------------------------------------------------------------------------------------


def elementwise(forward, inverse, log_slope, **arguments):
    """An elementwise map from its scalar formulas; log_slope is that of forward at z."""
    return dict(
        forward=lambda z: (forward(z), np.sum(log_slope(z), axis=1)),
        inverse=lambda x: (inverse(x), -np.sum(log_slope(inverse(x)), axis=1)),
        **arguments,
    )


def leaky(slope):
    return elementwise(
        lambda z: np.where(z < 0, z.dtype.type(slope) * z, z),
        lambda x: np.where(x < 0, x / x.dtype.type(slope), x),
        lambda z: np.where(z < 0, np.log(z.dtype.type(slope)), 0 * z),
    )


def steep_bins(dtype, slopes=(1e-3, 1.997)):
    """Piecewise linear on [-1, 1] with slopes from 1e-3 to 2, the identity outside.

    In float32 a round trip through the flat part loses three digits, which is right.
    """
    knots = np.array([-1, 0, 1], dtype=dtype)
    heights = np.array([-1, -1 + slopes[0], 1], dtype=dtype)
    steps = np.diff(heights) / np.diff(knots)

    def through(rows, here, there, log_steps):
        bins = np.clip(np.searchsorted(here, rows, side="right") - 1, 0, 1)
        inside = np.abs(rows) < 1
        slope = (np.diff(there) / np.diff(here))[bins]
        values = np.where(inside, there[bins] + (rows - here[bins]) * slope, rows)
        return values, np.sum(np.where(inside, log_steps[bins], 0), axis=1, dtype=dtype)

    return dict(
        forward=lambda z: through(z, knots, heights, np.log(steps)),
        inverse=lambda x: through(x, heights, knots, -np.log(steps)),
    )


def rotation():
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = turn @ np.diag([3.0, -0.2])

    def along(matrix):
        log_det = np.linalg.slogdet(matrix)[1]
        return lambda rows: (
            rows @ matrix.T.astype(rows.dtype),
            np.full(len(rows), log_det, rows.dtype),
        )

    return dict(forward=along(flip), inverse=along(np.linalg.inv(flip)))


RIGHT = {
    "exp": lambda dtype: elementwise(np.exp, np.log, lambda z: z, codomain=(0, np.inf)),
    "sigmoid": lambda dtype: elementwise(
        lambda z: np.exp(-softplus(-z)),
        lambda x: np.log(x) - np.log1p(-x),
        lambda z: -softplus(z) - softplus(-z),
        codomain=(0, 1),
    ),
    "minus cube root": lambda dtype: elementwise(
        lambda z: -z - z**3, lambda x: -solve_cubic(x), lambda z: np.log(1 + 3 * z**2)
    ),
    "leaky": lambda dtype: leaky(0.1),
    "very leaky": lambda dtype: leaky(1e-3),
    "steep bins": steep_bins,
    "rotation": lambda dtype: rotation(),
    "square on the half line": lambda dtype: elementwise(
        lambda z: z**2, np.sqrt, lambda z: np.log(2 * z), domain=(0, np.inf), codomain=(0, np.inf)
    ),
}


def solve_cubic(x):
    """The real root of t + t^3 = x, by Cardano in the form without cancellation."""
    y = 2 / np.sqrt(x.dtype.type(3))
    return y * np.sinh(np.arcsinh(1.5 * np.sqrt(x.dtype.type(3)) * x) / 3)


BOTH = [np.float64, pytest.param(np.float32, marks=pytest.mark.thorough)]


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("name", partly(RIGHT, "exp"))
@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_right_maps_are_accepted(seed, name, dtype):
    check_flow(**RIGHT[name](dtype), dim=2, rng=rng(seed), dtype=dtype).raise_if_failed()


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize(
    "flow",
    [
        *(
            pytest.param(flow, marks=pytest.mark.thorough)
            for flow in (
                nfref.NICE(3, layers=2, hidden=(8,)),
                nfref.RealNVP(3, layers=3, hidden=(8,)),
                nfref.MAF(3, layers=2, hidden=(8,)),
                nfref.IAF(2, layers=2, hidden=(8,)),
                nfref.MAF(1, layers=2, hidden=(4,)),
                nfref.PlanarLayer(3),
                nfref.RealNVP(2, layers=2, hidden=(8,), context_dim=2),
            )
        ),
        nfref.ElementwiseAffine(2),
    ],
    ids=lambda flow: type(flow).__name__,
)
def test_nfref_flows_are_accepted(flow, dtype):
    generator = rng(1)
    params = nfref.params.tree_map(
        lambda leaf: (leaf + 0.3 * generator.standard_normal(leaf.shape)).astype(dtype),
        flow.init(generator),
    )
    context = generator.standard_normal((5, 2)) if flow.context_dim else None
    report = check_flow(
        **adapters.from_nfref(flow, params, context), dim=flow.dim, rng=generator, dtype=dtype
    )
    report.raise_if_failed()
    assert report["log_det_forward"].verdict == report["round_trip_z"].verdict == "pass"


def test_one_direction_values_alone_and_missing_methods():
    report = check_flow(lambda z: 2 * z, dim=2, rng=rng())
    assert report.verdict == "inconclusive" and not report.failures
    assert report["log_det_forward"].inconclusive and report["normalised"].inconclusive
    assert report["round_trip_z"].verdict == "not applicable"
    assert report.summary.startswith("inconclusive: flow, D = 2, float64: not judged: log_det")
    report = check_flow(lambda z: 2 * z, dim=2, rng=rng(), skip=("log_det_forward", "normalised"))
    assert report.ok and report.skipped == ("log_det_forward", "normalised")

    def missing(x):
        raise NotImplementedError("no algebraic inverse")

    report = check_flow(
        lambda z: (2 * z, np.full(len(z), 2 * np.log(2))), missing, dim=2, rng=rng()
    )
    assert report.undecided == (report["normalised"],) and not report.failures
    assert report["answers_inverse"].verdict == "not applicable"
    report = check_flow(None, lambda x: (x / 2, np.full(len(x), -2 * np.log(2))), dim=2, rng=rng())
    assert report.ok and report["normalised"].verdict == "pass"


@pytest.mark.thorough
def test_domains_known_by_samples():
    """Ordered vectors: a domain that is no box."""

    def forward(z):
        return np.concatenate(
            [z[:, :1], z[:, :1] + np.cumsum(np.exp(z[:, 1:]), axis=1)], axis=1
        ), np.sum(z[:, 1:], axis=1)

    def inverse(x):
        steps = np.log(np.diff(x, axis=1))
        return np.concatenate([x[:, :1], steps], axis=1), -np.sum(steps, axis=1)

    def ordered(generator, n):
        return np.cumsum(np.exp(generator.standard_normal((n, 3))), axis=1)

    check_flow(
        forward,
        inverse,
        dim=3,
        rng=rng(),
        domain=lambda g, n: g.standard_normal((n, 3)),
        codomain=ordered,
    ).raise_if_failed()


def test_overflow_is_not_a_failure_but_nan_is():
    exp = RIGHT["exp"](np.float32)
    assert check_flow(**exp, dim=1, rng=rng(), dtype=np.float32, skip=("normalised",)).ok
    report = check_flow(
        lambda z: (np.where(z > 50, np.nan, z), np.zeros(len(z))),
        dim=1,
        rng=rng(),
        skip=but_of_flows("finite_forward"),
    )
    assert report["finite_forward"].failed


test_every_property_is_a_case = property_tests(
    lambda: check_flow(**RIGHT["leaky"](np.float64), dim=2, rng=rng()), FLOW_PROPERTIES
)


@pytest.mark.parametrize("offset", [pytest.param(0.0, marks=pytest.mark.thorough), 1.0])
def test_mass_that_rounds_onto_an_end_is_not_missed(offset):
    """x = exp(-1 / z^2) is 0 in float64 below z = 0.037, for a tenth of the rows at D = 3."""

    def forward(z):
        return np.exp(-(z**-2)), np.sum(np.log(2) - 3 * np.log(z) - z**-2, axis=1)

    def inverse(x):
        z = (-np.log(x)) ** -0.5
        return z, -np.sum(np.log(2) - 3 * np.log(z) - z**-2, axis=1) + offset

    with np.errstate(all="ignore"):
        report = check_flow(
            forward,
            inverse,
            dim=3,
            rng=rng(),
            domain=(0, np.inf),
            codomain=(0, 1),
            skip=but_of_flows("normalised") if offset else (),
        )
    found = report["normalised"]
    assert "of all samples on an end" in found.why
    assert found.failed if offset else not report.failures, report


def test_there_are_enough_of_them():
    assert len(SOUND) >= 150


def test_a_random_log_det_is_judged_by_its_mean():
    def estimated(bias):
        def forward(z, generator=np.random.default_rng(1)):
            return 2 * z, 2 * np.log(2) + bias + 0.1 * generator.standard_normal(len(z))

        def inverse(x, generator=np.random.default_rng(2)):
            return x / 2, -2 * np.log(2) - bias + 0.1 * generator.standard_normal(len(x))

        return check_flow(forward, inverse, dim=2, rng=rng(), stochastic=True, skip=("normalised",))

    report = estimated(0.0)
    assert report.ok, report.summary
    noise = re.search("noise of one call is (.*?) nats", report["log_det_forward"].why)
    assert float(noise[1]) == pytest.approx(0.1, rel=0.1)
    assert {row.name for row in estimated(0.3).failures} == {"log_det_forward", "log_det_inverse"}


def test_digits_that_float32_loses_are_seen():
    def good(z):
        return softplus(z), np.sum(-softplus(-z), axis=1)

    arguments = dict(dim=2, rng=rng(), dtype=np.float32, codomain=(0, np.inf), skip=("normalised",))
    assert check_flow(good, **arguments).ok

    def naive(z):
        return good(z)[0], np.sum(np.log(1 - np.exp(-softplus(z))), axis=1)

    assert check_flow(naive, **arguments).lead.name == "finite_forward"


def broken_on_knots(fault):
    """A monotone map of straight pieces, right everywhere but on its knots."""
    knots, images = np.array([-2.0, -0.5, 1.0, 2.0]), np.array([-2.0, -1.0, 0.8, 2.0])

    def mapped(rows, knots, images):
        slopes = np.diff(images) / np.diff(knots)
        k = np.clip(np.searchsorted(knots, rows, side="right") - 1, 0, len(slopes) - 1)
        outside = (rows < knots[0]) | (rows > knots[-1])
        values = np.where(outside, rows, images[k] + slopes[k] * (rows - knots[k]))
        log_slope = np.where(outside, 0, np.log(slopes[k]))
        return fault(values, log_slope, np.isin(rows, knots), rows == knots[-1])

    return lambda z: mapped(z, knots, images), lambda x: mapped(x, images, knots)


@pytest.mark.parametrize(
    "fault",
    [
        lambda x, slope, on, last: (x, np.sum(np.where(last, np.nan, slope), axis=1)),
        lambda x, slope, on, last: (x, np.sum(np.where(on, -5, slope), axis=1)),
        lambda x, slope, on, last: (x + 0.3 * on, np.sum(slope, axis=1)),
    ],
    ids=["nan at the end", "log_det", "value"],
)
def test_a_flow_that_is_wrong_on_its_knots_alone_is_seen(fault):
    right = broken_on_knots(lambda x, slope, on, last: (x, np.sum(slope, axis=1)))
    assert check_flow(*right, dim=2, rng=rng()).ok
    report = check_flow(*broken_on_knots(fault), dim=2, rng=rng())
    assert {row.name for row in report.failures} == {"knots_forward", "knots_inverse"}


def test_parameters_that_change_are_seen():
    params = {"scale": np.array([2.0])}

    def forward(z):
        params["scale"] += 1e-12
        return params["scale"] * z, np.full(len(z), 2 * np.log(params["scale"][0]))

    report = check_flow(
        forward, dim=2, rng=rng(), parameters=params, skip=but_of_flows("parameters_unchanged")
    )
    assert report["parameters_unchanged"].failed


@pytest.mark.thorough
def test_support_says_where_the_density_is():
    report = check_density(**SOUND["simplex-like corner, D = 3"](rng()), rng=rng())
    assert report.ok and report["normalised"].verdict == "pass"


@pytest.mark.slow
def test_hundreds_of_coordinates_fit_into_memory():
    """Numerical Jacobians are made in blocks: at once they would take 1 GB here."""
    scale = np.exp(rng(1).uniform(-1, 1, 200))
    total = np.sum(np.log(scale))
    report = check_flow(
        lambda z: (z * scale, np.full(len(z), total)),
        lambda x: (x / scale, np.full(len(x), -total)),
        dim=200,
        rng=rng(),
        seconds=120.0,
    )
    report.raise_if_failed()
    assert report["log_det_forward"].verdict == "pass"


# Badly behaved ----------------------------------------------------------------------------


def hang(z):
    while len(z) and np.max(np.abs(z)) > 500:
        time.sleep(0.01)
    return z.copy(), np.zeros(len(z))


def sometimes(z, generator=np.random.default_rng(5)):
    return z + generator.standard_normal(z.shape), np.zeros(len(z))


def leave(z):
    raise SystemExit(3)


def clip(z):
    np.minimum(z, 3, out=z)
    return z.copy(), np.zeros(len(z))


BAD = {
    "raises": (lambda z: 1 // 0, "answers_forward", "ZeroDivisionError"),
    "leaves": (leave, "answers_forward", "SystemExit"),
    "none": (lambda z: None, "answers_forward", "returned None"),
    "a dict": (lambda z: {"values": z}, "answers_forward", "returned a dict, expected (values, "),
    "three things": (lambda z: (z, z, z), "answers_forward", "returned a tuple of 3"),
    "text": (lambda z: "x", "answers_forward", "expected an array"),
    "narrow": (lambda z: (z[:, :1], z[:, 0]), "answers_forward", "of shape (24, 1)"),
    "column": (lambda z: (z.copy(), 0 * z[:, :1]), "shapes_forward", "of shape (24, 1)"),
    "scalar": (lambda z: (z.copy(), 0.0), "shapes_forward", "of shape ()"),
    "single": (lambda z: (z.astype("f"), 0 * z[:, 0]), "dtypes_forward", "values float32"),
    "writes": (clip, "input_unchanged_forward", "(counted from 0): 5.4049 became 3"),
    "hangs": (hang, "answers_far_forward", "ran out of time"),
    "random": (sometimes, "repeatable_forward", "then"),
}


def test_a_sum_over_the_batch_that_overflows_is_a_dependence_on_the_batch():
    report = check_flow(
        lambda z: (np.sinh(z), np.full(len(z), np.sum(np.log(np.cosh(z))))),
        lambda x: (np.arcsinh(x), -0.5 * np.sum(np.log1p(x * x), axis=1)),
        dim=3,
        rng=rng(),
    )
    assert report["row_independence_forward"].failed
    assert "log_det inf, then" in str(report).splitlines()[0]


@pytest.mark.parametrize("name", BAD)
def test_bad_behaviour_gets_a_row_and_no_traceback(name):
    function, row, words = BAD[name]
    report = check_flow(function, dim=2, rng=rng(), seconds=1.0, skip=("normalised",))
    judged = report[row].inconclusive if name == "hangs" else report[row].failed
    assert judged and words in report[row].where
    assert words in str(report)
    with pytest.raises(OracleError, match=row):
        report.raise_unless_ok()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(forward=None), "at least one callable"),
        (dict(forward=3), "forward: expected a callable, got int"),
        (dict(dim=0), "dim: expected at least 1"),
        (dict(rng=0), "rng: expected a numpy.random.Generator"),
        (dict(dtype=np.float16), "dtype: expected float64 or float32"),
        (dict(domain=(1, 0)), "domain: expected lower < upper"),
        (dict(codomain=7), "codomain: expected None, a pair"),
        (dict(context=np.zeros(3)), "context: expected shape"),
        (dict(seconds=-1.0), "seconds: expected"),
    ],
)
def test_wrong_questions_are_errors(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        check_flow(**{"forward": lambda z: z, "dim": 2, "rng": rng(), **arguments})


def test_nothing_is_printed_and_the_same_generator_gives_the_same_report(capsys):
    reports = [check_flow(**rotation(), dim=2, rng=rng(3)) for _ in range(2)]
    assert str(reports[0]) == str(reports[1])
    assert capsys.readouterr() == ("", "")


def test_report_can_be_read():
    report = check_flow(lambda z: (2 * z, np.full(len(z), np.log(2))), dim=2, rng=rng())
    row = report["log_det_forward"]
    assert row.failed and row in report.failures and not report.ok
    assert row.error == pytest.approx(np.log(2), rel=1e-6)
    assert 0 < row.tolerance < 1e-9
    assert "numerically 1.386" in row.where
    with pytest.raises(KeyError):
        report["nonsense"]
    assert check_flow(
        lambda z: (2 * z, np.full(len(z), np.log(2))),
        dim=2,
        rng=rng(),
        skip=("log_det_forward", "normalised"),
    ).ok


def self_initialising(kind):
    """An activation normalisation that takes mean and deviation from its first batch."""
    state = {}

    def inverse(x):
        if not state:
            spread = x.std(axis=0)
            state.update(
                shift=x.mean(axis=0),
                scale=np.where(spread > 0, spread, 1.0) if kind == "guarded" else spread,
            )
            if kind == "late":
                return x.copy(), np.zeros(len(x))
        return (x - state["shift"]) / state["scale"], np.full(
            len(x), -np.sum(np.log(state["scale"]))
        )

    def forward(z):
        scale, shift = state.get("scale", np.ones(2)), state.get("shift", np.zeros(2))
        return z * scale + shift, np.full(len(z), np.sum(np.log(scale)))

    return forward, inverse


@pytest.mark.parametrize(
    "kind, wrong",
    [
        ("guarded", []),
        ("plain", ["first_row_inverse"]),
        ("late", ["first_row_inverse", "first_batch_inverse"]),
    ],
)
def test_first_calls_of_a_flow_that_was_just_made(kind, wrong):
    rng = np.random.default_rng(0)
    forward, inverse = self_initialising(kind)
    inverse(1 + 2 * rng.standard_normal((64, 2)))
    report = check_flow(
        forward,
        inverse,
        dim=2,
        rng=rng,
        make=adapters.maker(lambda: self_initialising(kind), rng=rng),
        skip=but_of_flows(
            *(
                f"first_{what}_{direction}"
                for what in ("row", "batch")
                for direction in ("forward", "inverse")
            )
        ),
    )
    assert [row.name for row in report.failures] == wrong


def shear(cut_off=False):
    """x2 = z2 exp(sin z1) + c z1, its own derivatives written down; or as if detached."""

    def forward(z, c):
        log_scale = np.sin(z[:, :1])
        return (
            np.concatenate([z[:, :1], z[:, 1:] * np.exp(log_scale) + c * z[:, :1]], axis=1),
            log_scale[:, 0] + 0 * c[:, 0],
        )

    def inverse(x, c):
        log_scale = np.sin(x[:, :1])
        return (
            np.concatenate([x[:, :1], (x[:, 1:] - c * x[:, :1]) * np.exp(-log_scale)], axis=1),
            -log_scale[:, 0],
        )

    def gradient(rows, c):
        by_row = np.zeros_like(rows)
        if not cut_off:
            by_row[:, 0] = np.cos(rows[:, 0])
        return by_row, np.zeros_like(c)

    return forward, inverse, (gradient, lambda *given: tuple(-part for part in gradient(*given)))


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_flow_s_own_gradients(cut_off):
    rng = np.random.default_rng(0)
    forward, inverse, gradient = shear(cut_off)
    report = check_flow(
        forward,
        inverse,
        dim=2,
        rng=rng,
        gradient=gradient,
        context=rng.standard_normal((5, 1)),
        skip=but_of_flows(
            *(
                f"{what}_{direction}"
                for what in ("gradient", "context_gradient")
                for direction in ("forward", "inverse")
            )
        ),
    )
    expected = ["gradient_forward", "gradient_inverse"] if cut_off else []
    assert [row.name for row in report.failures] == expected
    assert report["context_gradient_forward"].verdict == "pass"


def test_an_own_gradient_beside_the_end_of_a_domain():
    """Rounding of 1 - x^2 is not noise there: differences have a smooth curve of another slope."""

    def forward(x):
        return np.arctanh(x), -np.sum(np.log(1 - x**2), axis=1)

    def inverse(y):
        y = np.clip(y, -15, 15)
        return np.tanh(y), np.sum(2 * (np.log(2) - y - np.log1p(np.exp(-2 * y))), axis=1)

    for factor, verdict in ((1.0, "pass"), (1.0 + 1e-6, "fail")):
        report = check_flow(
            forward,
            inverse,
            dim=3,
            rng=np.random.default_rng(0),
            domain=(-1, 1),
            gradient=(lambda x, factor=factor: factor * 2 * x / (1 - x**2), None),
            skip=but_of_flows("gradient_forward"),
        )
        assert report["gradient_forward"].verdict == verdict


def test_a_map_that_is_clipped_far_out_and_one_that_rounding_stops():
    def clipped(z):
        return np.clip(z, -5, 5), np.zeros(len(z), z.dtype)

    def tanh(z):
        size = np.abs(z)
        log_det = np.sum(2 * (np.log(2) - size - np.log1p(np.exp(-2 * size))), axis=1)
        return np.tanh(z), log_det.astype(z.dtype)

    skip = but_of_flows("log_det_forward")
    for dtype in (np.float64, np.float32):
        for map_of, verdict in ((clipped, "fail"), (tanh, "pass")):
            report = check_flow(map_of, dim=3, rng=rng(), dtype=dtype, skip=skip)
            assert report["log_det_forward"].verdict == verdict, report


@pytest.mark.parametrize("floor", [1e-5, 1e-8, 1e-12])
def test_a_floor_of_any_height(floor):
    report = check_density(
        lambda x: np.log(np.exp(np.sum(stats.norm.logpdf(x), axis=1)) + floor),
        lambda g, n: g.standard_normal((n, 3)),
        dim=3,
        rng=rng(),
    )
    assert report["normalised"].failed, report


def test_an_own_gradient_where_values_underflow():
    """The cube of 9e-14 has few digits in float32, and 1 / x^3 overflows."""

    def forward(z):
        return z**3, np.sum(np.log(3 * z**2), axis=1)

    for least, verdict in ((0, "pass"), (1e-3, "fail")):
        report = check_flow(
            forward,
            dim=2,
            rng=np.random.default_rng(0),
            dtype=np.float32,
            domain=(0, np.inf),
            codomain=(0, np.inf),
            gradient=(
                lambda z, least=least: np.where((z**3 < 1e-38) | (z < least), np.inf, 2 / z),
                None,
            ),
            skip=but_of_flows("gradient_forward"),
        )
        assert report["gradient_forward"].verdict == verdict


def test_an_own_gradient_where_knots_of_two_layers_meet():
    """A layer has slope 1 below its knot at 1, 1 + c tanh((z - 1) / 5) above; the next undoes some.

    Beside the knot log_det has the slopes 0 and 0.13. On it either layer may be taken from either
    side, which makes 0.32 of it.
    """
    first, second = 1.6, -0.95

    def layer(c, z):
        above = np.maximum(z - 1, 0)
        return z + 5 * c * np.log(np.cosh(above / 5)), np.log1p(c * np.tanh(above / 5))

    def forward(z):
        y, one = layer(first, z)
        x, other = layer(second, y)
        return x, (one + other)[:, 0]

    def part(c, z, inside):
        above = (z - 1) / 5
        return np.where(inside, c / (5 * np.cosh(above) ** 2 * (1 + c * np.tanh(above))), 0.0)

    def gradient(on_knot, width):
        def by_row(z):
            y, one = layer(first, z)
            slopes = part(first, z, z > 1) + part(second, y, y > 1) * np.exp(one)
            return np.where(np.abs(z - 1) < width, on_knot, slopes)

        return by_row

    for on_knot, width, verdict in (
        (first / 5, 1e-15, "inconclusive"),
        (0.0, 1e-15, "pass"),
        (np.nan, 1e-15, "fail"),
        (np.nan, 1e-7, "fail"),
    ):
        report = check_flow(
            forward,
            dim=1,
            rng=rng(),
            gradient=(gradient(on_knot, width), None),
            skip=but_of_flows("gradient_forward"),
        )
        assert report["gradient_forward"].verdict == verdict, report["gradient_forward"]


def test_a_density_s_own_gradient_by_its_context():
    rng = np.random.default_rng(0)

    def log_prob(x, c):
        return -0.5 * np.sum((x - c) ** 2, axis=1) - np.log(2 * np.pi)

    def sample(rng, n, c):
        return c + rng.standard_normal((n, 2))

    for right in (True, False):
        report = check_density(
            log_prob,
            sample,
            dim=2,
            rng=rng,
            context=rng.standard_normal((4, 2)),
            gradient=lambda x, c, right=right: (c - x, x - c if right else c - x),
            skip=but("gradient", "context_gradient"),
        )
        assert [row.name for row in report.failures] == ([] if right else ["context_gradient"])


@pytest.mark.thorough
def test_events_that_are_no_vectors():
    rng = np.random.default_rng(0)
    scale = np.linspace(-0.5, 0.5, 12).reshape(3, 2, 2)

    def forward(z):
        assert z.shape[1:] == (3, 2, 2)
        return z * np.exp(scale), np.full(len(z), np.sum(scale))

    def inverse(x):
        return x * np.exp(-scale), np.full(len(x), -np.sum(scale))

    report = check_flow(
        **adapters.of((forward, inverse), rng=rng, event_shape=(3, 2, 2)), dim=12, rng=rng
    )
    assert report.ok, report
