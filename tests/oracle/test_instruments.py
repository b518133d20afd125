"""The oracle's instruments against closed forms: derivatives, kinks, integrals, statistics."""

import numpy as np
import pytest
from scipy import stats

from nfref.oracle import check_density, check_flow, check_parameter_gradients
from nfref.oracle.checks import normalisation, sampler
from nfref.oracle.checks.sampler import independent
from nfref.oracle.instruments.guarded_calls import TimedOut
from nfref.oracle.instruments.importance import bridge, bumps
from nfref.oracle.instruments.jacobian import differentiate, log_determinants
from nfref.oracle.instruments.kinks import find_kinks
from nfref.oracle.instruments.probes import as_domain, make_probes
from nfref.oracle.instruments.quadrature import line_integral
from nfref.oracle.report import failed, inconclusive
from tests.oracle import but, but_of_flows


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_error_estimates_cover_the_error(dtype):
    """Over smooth functions of very different scales the estimate is right or too large."""
    points = rng().standard_normal((200, 2)).astype(dtype)

    def function(rows, owner):
        x, y = rows.T
        columns = [np.exp(3 * x) * np.sin(y), np.tanh(20 * x) + y**2, 1e3 * x + y, x * y]
        return np.stack(columns, axis=1).astype(np.float64)

    x, y = points.T.astype(np.float64)
    exact = np.stack(
        [
            np.stack([3 * np.exp(3 * x) * np.sin(y), np.exp(3 * x) * np.cos(y)], axis=1),
            np.stack([20 / np.cosh(20 * x) ** 2, 2 * y], axis=1),
            np.stack([1e3 + 0 * x, 1 + 0 * x], axis=1),
            np.stack([y, x], axis=1),
        ],
        axis=1,
    )
    found = differentiate(function, points, np.maximum(np.abs(points.astype(float)), 1))
    error = np.abs(found.jacobian - exact)
    assert np.all(error <= 4 * found.error + 1e-300)
    limit = 1e-7 if dtype == np.float64 else 1e-1
    assert np.quantile(found.error / (1 + np.abs(exact)), 0.9) < limit


def test_a_kink_at_the_point_is_not_mistaken_for_a_slope():
    found = differentiate(lambda rows, owner: np.abs(rows), np.zeros((1, 1)), np.ones((1, 1)))
    assert found.error[0, 0, 0] > 0.5


@pytest.mark.parametrize("size, at", [(0.005, 1.0), (0.005, 2.0), (0.01, 1.0)])
def test_a_kink_that_curvature_hides_at_long_steps(size, at):
    """In float32 the steps that are shorter than the distance to the kink show only rounding."""

    def curved(rows, owner):
        x = rows.astype(np.float64)
        return (0.3 + np.sin(at + x) + size * np.abs(x - 3e-5)).astype(np.float32).astype(float)

    found = differentiate(curved, np.zeros((1, 1), np.float32), np.ones((1, 1)))
    assert abs(found.jacobian[0, 0, 0] - np.cos(at) + size) < 2 * found.error[0, 0, 0]


def test_log_determinants_know_their_error():
    jacobian = rng().standard_normal((50, 4, 4)) * 10.0 ** rng(1).integers(-6, 6, (50, 4, 1))
    error = 1e-9 * np.abs(jacobian)
    moved = jacobian + error * rng(2).uniform(-1, 1, error.shape)
    found = log_determinants(moved, error, 1e-15)
    exact = np.linalg.slogdet(jacobian)
    assert np.all(np.abs(found.value - exact[1]) <= 1.01 * found.error)
    np.testing.assert_array_equal(found.sign, exact[0])
    singular = log_determinants(np.ones((1, 2, 2)), np.full((1, 2, 2), 1e-9), 1e-15)
    assert not singular.error[0] < 1


def test_kinks_are_found_where_they_are():
    def function(rows, context_row):
        return np.where(rows > 1.25, 3 * rows - 2.5, rows)

    domain = as_domain("domain", None, 1)
    kinks = find_kinks(function, domain, rng(), np.zeros((1, 1)), np.zeros(1, dtype=int))
    assert any(abs(kink.row[0] - 1.25) < 1e-6 for kink in kinks)
    assert not find_kinks(
        lambda rows, context_row: np.sinh(rows / 3),
        domain,
        rng(),
        np.zeros((1, 1)),
        np.zeros(1, dtype=int),
    )


def test_probes_stay_inside_of_every_kind_of_domain():
    for ends in (
        (0, 1),
        (0, np.inf),
        (-np.inf, 2),
        (1e3, 1e3 + 1e-3),
        (np.array([0, -np.inf]), np.array([1, np.inf])),
    ):
        domain = as_domain("domain", ends, 2)
        for dtype in (np.float64, np.float32):
            probes = make_probes(rng(), domain, 2, np.dtype(dtype), 3)
            assert np.all(domain.contains(probes.rows.astype(np.float64)))
            assert probes.rows.dtype == dtype and len(probes) > 5
            assert set(probes.context_row) <= {0, 1, 2}


@pytest.mark.parametrize(
    "distribution, domain",
    [
        (stats.norm(1, 2), None),
        (stats.expon(), (0, np.inf)),
        (stats.beta(2, 3), (0, 1)),
        (stats.t(5), None),
        (stats.gamma(0.7), (0, np.inf)),
    ],
    ids=["normal", "exponential", "beta", "t", "gamma"],
)
def test_line_integrals(distribution, domain):
    box = as_domain("domain", domain, 1)
    pilot = distribution.rvs(size=(2000, 1), random_state=rng())
    integral = line_integral(lambda x: distribution.logpdf(x[:, 0]), box, pilot, pilot)
    assert abs(integral.value - 1) < 10 * integral.error + 2e-4


def whole_of(log_prob, samples, box):
    return normalisation.Whole(log_prob, box.contains, box, samples[:4000], samples[4000:], rng())


@pytest.mark.parametrize("dim", [2, 3, 5, 10])
def test_integrals_of_a_correlated_normal(dim):
    matrix = np.tril(rng(dim).standard_normal((dim, dim))) + 2 * np.eye(dim)
    normal = stats.multivariate_normal(np.arange(dim), matrix @ matrix.T)
    samples = normal.rvs(size=20000, random_state=rng())
    row = normalisation.normalised(
        "normalised", whole_of(normal.logpdf, samples, as_domain("domain", None, dim))
    )
    assert row.verdict == "pass" and row.tolerance < 0.1, str(row)


def funnel(dim):
    """Neal's funnel: (log-density, samples)."""

    def log_prob(x):
        scale = np.exp(x[:, :1] / 2)
        return stats.norm.logpdf(x[:, 0], scale=3) + np.sum(
            stats.norm.logpdf(x[:, 1:], scale=scale), axis=1
        )

    def sample(generator, n):
        first = 3 * generator.standard_normal((n, 1))
        others = np.exp(first / 2) * generator.standard_normal((n, dim - 1))
        return np.concatenate([first, others], axis=1)

    return log_prob, sample


@pytest.mark.parametrize(
    "offset",
    [0.7, *(pytest.param(offset, marks=pytest.mark.thorough) for offset in (0.0, -5.0, 40.0))],
)
@pytest.mark.parametrize(
    "name, dim", [("funnel", 4), ("funnel", 10), ("student", 3), ("exponential", 4), ("normal", 20)]
)
def test_bridge_finds_the_constant_of_densities_of_all_kinds(name, dim, offset):
    log_prob, sample = {
        "funnel": funnel(dim),
        "student": (
            lambda x: np.sum(stats.t(2).logpdf(x), axis=1),
            lambda g, n: g.standard_t(2, (n, dim)),
        ),
        "exponential": (
            lambda x: np.where(np.all(x > 0, axis=1), -np.sum(x, axis=1), -np.inf),
            lambda g, n: g.exponential(size=(n, dim)),
        ),
        "normal": (
            lambda x: np.sum(stats.norm.logpdf(x), axis=1),
            lambda g, n: g.standard_normal((n, dim)),
        ),
    }[name]
    x = sample(rng(), 12000)
    pilot, x = x[:2000], x[2000:]
    proposal = bumps(pilot, log_prob(pilot) + offset, rng(1))
    y = proposal.sample(rng(2), len(x))
    found = bridge(
        log_prob(x) + offset, proposal.log_prob(x), log_prob(y) + offset, proposal.log_prob(y)
    )
    assert abs(found.log_z - offset) < found.tolerance < 0.3


def test_bridge_knows_when_it_sees_nothing():
    x, y = rng(0).standard_normal((2000, 30)), 9 + rng(1).standard_normal((2000, 30))
    p, q = (lambda rows, m=m: np.sum(stats.norm.logpdf(rows - m), axis=1) for m in (0, 9))
    assert bridge(p(x), q(x), p(y), q(y)).tolerance == np.inf


DENSITIES = {
    "normal": (stats.norm(), None),
    "gamma": (stats.gamma(2.0), (0, np.inf)),
    "beta": (stats.beta(2, 3), (0, 1)),
    "logistic": (stats.logistic(), None),
}


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [1, 2, 4])
@pytest.mark.parametrize("name", DENSITIES)
def test_right_densities_are_accepted(name, dim):
    distribution, domain = DENSITIES[name]
    check_density(
        lambda x: np.sum(distribution.logpdf(x), axis=1),
        lambda g, n: distribution.rvs(size=(n, dim), random_state=g),
        dim=dim,
        rng=rng(),
        domain=domain,
    ).raise_if_failed()


@pytest.mark.parametrize(
    "dim", [1, *(pytest.param(dim, marks=pytest.mark.thorough) for dim in (2, 3))]
)
@pytest.mark.parametrize(
    "wrong, row",
    [
        (dict(offset=0.05), "normalised"),
        (dict(scale=1.1), "sample_follows"),
        (dict(shift=0.15), "sample_follows"),
        (dict(skew=True), "sample_follows"),
    ],
)
def test_wrong_densities_are_rejected(dim, wrong, row):
    def log_prob(x):
        return np.sum(stats.norm.logpdf(x), axis=1) + wrong.get("offset", 0)

    def sample(g, n):
        x = g.standard_normal((n, dim))
        if wrong.get("skew"):  # the right mean and variance, another shape
            x = g.exponential(size=(n, dim)) - 1
        return wrong.get("scale", 1) * x + wrong.get("shift", 0)

    report = check_density(
        log_prob,
        sample,
        dim=dim,
        rng=rng(),
        skip=but("sample_follows", "normalised", "sample_independent", "sample_shape"),
    )
    assert [failure.name for failure in report.failures] == [row]


def loss(params):
    a, b = params["a"], params["b"][0]
    return np.sum(np.tanh(a) @ b) + np.sum(b**3)


def gradient(params):
    a, b = params["a"], params["b"][0]
    return {"a": b / np.cosh(a) ** 2, "b": [np.sum(np.tanh(a), axis=0) + 3 * b**2]}


def parameters(dtype=np.float64):
    return {
        "a": rng(1).standard_normal((3, 2)).astype(dtype),
        "b": [rng(2).standard_normal(2).astype(dtype)],
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_right_gradients_are_accepted(dtype):
    check_parameter_gradients(loss, gradient, parameters(dtype), rng=rng()).raise_if_failed()


@pytest.mark.parametrize(
    "wrong, row",
    [
        (lambda g: {**g, "a": g["a"] * (1 + 1e-7)}, "entries"),
        (lambda g: {**g, "a": -g["a"]}, "entries"),
        (lambda g: {"a": g["a"]}, "structure"),
        (lambda g: {**g, "a": g["a"].T}, "structure"),
        (lambda g: {**g, "a": g["a"].astype("f"), "b": [g["b"][0].astype("f")]}, "structure"),
        (lambda g: {**g, "a": g["a"] * np.nan}, "finite"),
        (lambda g: None, "structure"),
        (lambda g: 1 // 0, "answers"),
    ],
)
def test_wrong_gradients_are_rejected(wrong, row):
    report = check_parameter_gradients(loss, lambda p: wrong(gradient(p)), parameters(), rng=rng())
    assert report[row].failed


def test_a_report_on_gradients_says_what_was_skipped():
    report = check_parameter_gradients(loss, gradient, parameters(), rng=rng(), skip=("entries",))
    assert report.skipped == ("entries",) and "entries" not in [row.name for row in report.rows]
    assert report.ok and report.summary.endswith("skipped: entries")


def test_time_is_that_of_a_machine_with_nothing_else_to_do(monkeypatch):
    from nfref.oracle.instruments import guarded_calls

    cores = guarded_calls.os.cpu_count()
    for average, factor in ((0.1 * cores, 1), (3 * cores, 3)):
        monkeypatch.setattr(guarded_calls.os, "getloadavg", lambda average=average: (average,) * 3)
        stopwatch = guarded_calls.Stopwatch(10.0)
        assert stopwatch.spent.load == factor and 9 * factor < stopwatch.left() <= 10 * factor
    monkeypatch.delattr(guarded_calls.os, "getloadavg")  # as on Windows
    assert guarded_calls.load() == 1


@pytest.mark.parametrize("cpu", [1.0, 0.0, 6.0], ids=["waits for a core", "sleeps", "six threads"])
def test_a_timer_leaves_out_the_time_of_other_processes(cpu, monkeypatch):
    from nfref.oracle.instruments import guarded_calls

    monkeypatch.setattr(guarded_calls, "load", lambda: 3.0)
    timer = guarded_calls.Timer()
    monkeypatch.setattr(guarded_calls.time, "monotonic", lambda: timer.wall + 3.0)
    monkeypatch.setattr(guarded_calls.time, "process_time", lambda: timer.cpu + cpu)
    assert timer() == pytest.approx(min(max(cpu, 1.0), 3.0))


def test_a_slow_flow_is_asked_for_few_rows(monkeypatch):
    """Derivatives are taken at fewer points, with every second step."""
    from nfref.oracle.instruments import guarded_calls

    monkeypatch.setattr(guarded_calls.Timer, "__call__", lambda self: 1.0)
    rows = []

    def forward(z):
        rows.append(len(z))
        return 2 * z, np.full(len(z), 8 * np.log(2))

    def inverse(x):
        return x / 2, np.full(len(x), -8 * np.log(2))

    report = check_flow(forward, inverse, dim=8, rng=rng(), skip=("batch_sizes_forward",))
    assert not report.failures and report["log_det_forward"].verdict == "pass"
    assert max(rows) < 1200  # of the derivatives; all steps at twelve points are 2893 rows


def test_a_round_trip_asks_once_for_values_and_log_determinants():
    asked = []

    def inverse(x):
        asked.append(x.tobytes())
        return x / 2, np.full(len(x), -2 * np.log(2))

    def forward(z):
        return 2 * z, np.full(len(z), 2 * np.log(2))

    report = check_flow(forward, inverse, dim=2, rng=rng(), skip=but_of_flows("round_trip_z"))
    assert report.ok and len(asked) == len(set(asked))


def test_what_explains_a_failure_is_looked_for_within_one_allowance():
    calls = []

    def slow(x):
        calls.append(len(x))
        raise TimedOut("no answer within 20 s")

    pilot = rng().standard_normal((500, 1))
    whole = normalisation.Whole(
        slow,
        lambda x: np.ones(len(x), dtype=bool),
        as_domain("domain", None, 1),
        pilot,
        pilot,
        rng(),
    )
    row, mass = failed("sample_follows", ""), inconclusive("normalised", "")
    with pytest.raises(TimedOut):
        normalisation.mistaken("sample_follows", whole, row, mass)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "arrange, words",
    [
        (lambda x: np.sort(x, axis=0), "of the sample 1 before it"),
        (lambda x: np.concatenate([x, -x]), "of the sample 2000 before it"),
        (lambda x: np.tile(x[:100], (40, 1)), "samples repeat every 100"),
    ],
)
def test_samples_that_depend_on_others_are_said_to_repeat_only_if_they_do(arrange, words):
    x = arrange(np.random.default_rng(0).standard_normal((2000, 2)))
    assert words in independent("sample_independent", x).where


@pytest.mark.parametrize("call, each, expected", [(0.6, 1e-6, 20000), (0.0, 0.02, 200)])
def test_how_many_samples_are_affordable(monkeypatch, call, each, expected):
    """A call of a sampler may cost more than its samples, as where a library traces it anew."""
    clock = [0.0]

    def timer():
        start = clock[0]
        return lambda: clock[0] - start

    def draw(count):
        clock[0] += call + each * count

    monkeypatch.setattr(sampler, "Timer", timer)
    assert sampler.affordable(draw) == expected
