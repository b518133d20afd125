"""The first line names the cause; hidden state is seen, and named before what follows from it."""

import numpy as np
import pytest
from scipy import stats

from nfref.oracle import check_density, check_flow
from tests.oracle import but, but_of_flows, further_cases, subjects
from tests.oracle.mutants.wrappers import right


def rng(seed=0):
    return np.random.default_rng(seed)


def with_log_det(change):
    """The right flow with both its log-determinants changed: change(log_det, rows)."""

    def changed(function):
        def act(rows):
            values, log_det = function(rows)
            return values, change(log_det, rows)

        return act

    return map(changed, right(rng()))


PATTERNS = {
    "minus the true one": lambda logs, rows: -logs,
    "half the true one everywhere": lambda logs, rows: 0.5 * logs,
    "D times the true one": lambda logs, rows: 3 * logs,
    "the true one over D": lambda logs, rows: logs / 3,
    "1.7 times the true one everywhere": lambda logs, rows: 1.7 * logs,
    "off by 0.693147 everywhere (log 2)": lambda logs, rows: logs + np.log(2),
    "off by -2.75682 everywhere (-D/2 log 2 pi)": lambda logs, rows: logs - 1.5 * np.log(2 * np.pi),
    "zero everywhere": lambda logs, rows: 0 * logs,
    "": lambda logs, rows: logs + 0.1 * np.sin(rows[:, 0]),
}


@pytest.mark.parametrize("words", PATTERNS)
def test_a_log_det_that_is_wrong_in_one_way_everywhere_is_named(words):
    report = check_flow(*with_log_det(PATTERNS[words]), dim=3, rng=rng(), stop_early=True)
    assert report.failures[0].name == "log_det_forward"
    assert words in report.summary and bool(report.failures[0].hint) == bool(words)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_log_det_that_is_wrong_by_little_is_no_factor_of_the_true_one(dim):
    def forward(z):
        return np.sinh(z), np.sum(np.log(np.cosh(z)), axis=1) + 3e-8 * np.sin(3 * z[:, 0])

    report = check_flow(forward, dim=dim, rng=rng(), stop_early=True)
    assert report.failures[0].name == "log_det_forward" and not report.failures[0].hint
    assert "numerically" in report.summary


@pytest.mark.thorough
def test_an_inverse_by_iteration_is_asked_for_its_accuracy():
    forward, inverse = right(rng())

    def rough(x):
        z, log_det = inverse(x)
        return z + 1e-7 * np.sign(np.sin(1e6 * z)), log_det

    report = check_flow(forward, rough, dim=3, rng=rng())
    words = "an inverse found by iteration: if it is intended, pass accuracy=1e-06"
    assert words in report.summary, report.summary


def remembering():
    """Answers are kept under their rows rounded to six digits."""
    forward, inverse = right(rng())
    memory = {}

    def cached(rows):
        return memory.setdefault(np.round(rows, 6).tobytes(), forward(rows))

    return cached, inverse


def sharing():
    """Batches of one size share a scratch."""
    forward, inverse = right(rng())
    scratch = {}

    def shared(rows):
        mine = scratch.setdefault((len(rows), rows.dtype.str), np.empty_like(rows))
        mine[:] = rows
        for _ in range(200):  # long enough for the other thread to come in
            sum(range(20))
        return forward(mine.copy())

    return shared, inverse


def drifting():
    forward, inverse = right(rng())
    calls = []

    def drifts(rows):
        calls.append(None)
        values, log_det = forward(rows)
        return values + 1e-6 * len(calls), log_det

    return drifts, inverse


def normalising():
    """The batch's own mean is taken off."""
    forward, inverse = right(rng())
    return lambda rows: forward(rows - (np.mean(rows, axis=0) if len(rows) else 0)), inverse


@pytest.mark.parametrize("judged, dtype", [("dtypes", np.float32), ("log_det", np.float64)])
def test_what_computes_in_float32_is_told_of_the_dtype(judged, dtype):
    log_det = np.float32(2 * np.log(3)).astype(dtype)
    report = check_flow(
        lambda z: (3 * z, np.full(len(z), log_det)),
        dim=2,
        rng=rng(),
        skip=but_of_flows(f"{judged}_forward"),
    )
    assert "check it with --dtype float32 (dtype=np.float32)" in report.summary


def test_a_refused_batch_of_no_rows_is_a_limit():
    def scale(rows):
        if not len(rows):
            raise ValueError("no rows")
        return 3 * rows, np.full(len(rows), 2 * np.log(3))

    report = check_flow(scale, dim=2, rng=rng(), skip=but_of_flows("empty_batch_forward"))
    assert report.lead.hint.endswith("pass --skip empty_batch_forward (skip=)")


def test_numbers_in_a_column_are_judged_and_the_line_says_what_to_take():
    report = check_density(
        lambda x: -0.5 * np.sum(x**2, axis=1, keepdims=True) - np.log(2 * np.pi),
        lambda rng, n: rng.standard_normal((n, 2)),
        dim=2,
        rng=rng(),
        skip=("sample_follows", "threads", "batch_sizes"),
    )
    assert [row.name for row in report.failures] == ["shapes"]
    assert "log-densities of shape (48, 1), expected (48,): take [:, 0]" in report.summary
    per_column = check_flow(
        lambda z: (3 * z, np.full_like(z, np.log(3))),
        dim=2,
        rng=rng(),
        skip=but_of_flows("shapes_forward"),
    )
    assert "of shape (24, 2), expected (24,): sum over axis 1" in per_column.summary


@pytest.mark.thorough
@pytest.mark.parametrize(
    "build, leading",
    [
        (remembering, "repeatable_forward"),
        (sharing, "threads_forward"),
        (drifting, "repeatable_forward"),
        (normalising, "row_independence_forward"),
    ],
)
def test_state_and_batch_are_named_before_what_follows_from_them(build, leading):
    forward, inverse = build()
    report = check_flow(forward, inverse, dim=3, rng=rng())
    assert report.failures[0].name == leading, report.summary


def normal(log_prob=lambda x: np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=1), scale=1.0):
    return dict(log_prob=log_prob, sample=lambda g, n: scale * g.standard_normal((n, 3)), dim=3)


@pytest.mark.thorough
def test_a_density_whose_rows_pass_through_float32():
    exact = normal()["log_prob"]
    report = check_density(
        **normal(lambda x: exact(x.astype(np.float32).astype(np.float64))), rng=rng()
    )
    assert [row.name for row in report.failures] == ["precision"], report
    assert check_density(**normal(), rng=rng())["precision"].verdict == "pass"


@pytest.mark.thorough
def test_normalised_does_not_blame_a_density_whose_sampler_is_wrong():
    report = check_density(**normal(scale=1.3), rng=rng())
    assert [row.name for row in report.failures] == ["sample_follows"], report
    assert "1.3" in report["sample_follows"].where
    report = check_density(**normal(lambda x: np.sum(-0.5 * x**2, axis=1)), rng=rng())
    assert [row.name for row in report.failures] == ["normalised"]
    assert "off by 2.757 (D/2 log 2 pi)" in report.summary


@pytest.mark.parametrize(
    "words, made",
    [
        (
            "log_prob is a logarithm to base 2",
            normal(lambda x: stats.norm.logpdf(x).sum(1) / np.log(2)),
        ),
        *(
            pytest.param(words, normal(log_prob), marks=pytest.mark.thorough)
            for words, log_prob in (
                (  # off by D/2 log 2 pi, nearly
                    "log_prob is a logarithm to base 10",
                    lambda x: stats.norm.logpdf(x).sum(1) / np.log(10),
                ),
                ("log_prob is the density, not its logarithm", lambda x: stats.norm.pdf(x).prod(1)),
                ("log_prob is minus a log-density", lambda x: -stats.norm.logpdf(x).sum(1)),
                ("column 0 is shifted by -", lambda x: stats.norm.logpdf(x - [2, 0, 0]).sum(1)),
            )
        ),
    ],
)
def test_a_log_prob_that_is_something_else_is_named(words, made):
    assert words in check_density(**made, rng=rng()).summary


@pytest.mark.thorough
def test_state_is_not_explained_by_what_follows_from_it():
    """The errors of a cache may look like those of an iteration."""
    forward, inverse = remembering()
    report = check_flow(forward, inverse, dim=3, rng=rng())
    assert report.summary.partition("; ")[2].startswith("repeatable_forward: "), report.summary


@pytest.mark.thorough
def test_a_map_whose_rows_pass_through_half_precision():
    forward, inverse = right(rng())
    report = check_flow(
        lambda z: forward(z.astype(np.float16).astype(float)), inverse, dim=3, rng=rng()
    )
    assert report.failures[0].name == "precision_forward", report.summary


def test_an_offset_of_a_few_thousandths_in_the_plane():
    """A kernel estimate that divides by one row too few."""
    report = check_density(
        lambda x: stats.norm.logpdf(x).sum(1) + np.log(300 / 299),
        lambda g, n: g.standard_normal((n, 2)),
        dim=2,
        rng=rng(),
        skip=but("normalised"),
    )
    assert report["normalised"].failed


# Flows and densities whose first line named a symptom -------------------------------------


def test_a_point_that_does_not_return_comes_before_its_log_det():
    forward, inverse = right(rng())
    order = [2, 0, 1]

    def permuted(z):
        x, log_det = forward(z)
        return x[:, order], log_det

    def permuted_again(x):
        return inverse(x[:, order])

    report = check_flow(permuted, permuted_again, dim=3, rng=rng(), stop_early=True)
    assert report.lead.name == "round_trip_z" and ", which inverse takes to " in report.summary


CORRELATED = stats.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]])


def in_the_corner(g, n):
    rows = np.zeros((0, 2))
    while len(rows) < n:
        new = CORRELATED.rvs(4 * n + 9, random_state=g)
        rows = np.concatenate([rows, new[np.all(new > 0, axis=1)]])
    return rows[:n]


def test_a_constant_that_the_integral_is_not_is_not_named():
    """Of the mass, 0.3976 is in the corner; log 0.3976 is close to -(D - 1)/2 log 2 pi."""
    report = check_density(
        lambda x: CORRELATED.logpdf(x).reshape(len(x)),
        in_the_corner,
        dim=2,
        rng=rng(),
        domain=(0, np.inf),
    )
    assert "normalised: integrates to exp(-0.922" in report.summary
    assert "2 pi" not in report.summary


def normals(g, n, context=0.0):
    return context + g.standard_normal((n, 2))


def test_a_column_that_log_prob_does_not_read_is_named():
    report = check_density(lambda x: stats.norm.logpdf(x[:, 0]), normals, dim=2, rng=rng())
    assert "log_prob does not change with column 1, which has no bounds, so" in report.summary


def test_a_context_that_log_prob_alone_does_not_read_is_named():
    report = check_density(
        lambda x, context: stats.norm.logpdf(x).sum(1),
        normals,
        dim=2,
        rng=rng(),
        context=rng(1).standard_normal((6, 2)),
    )
    assert "sample_follows: log_prob is the same for every context: column" in report.summary


def test_samples_of_one_call_from_one_part_of_a_mixture_are_no_samples():
    def log_prob(x):
        return np.logaddexp(*(stats.norm.logpdf(x, m).sum(1) for m in (-1, 1))) - np.log(2)

    report = check_density(
        log_prob, lambda g, n: g.choice([-1, 1]) + g.standard_normal((n, 2)), dim=2, rng=rng()
    )
    assert "sample_independent: samples of one call have something in common" in report.summary


def test_a_batch_of_no_rows_does_not_hide_a_wrong_integral():
    def log_prob(x):
        if not len(x):
            raise ValueError("expected at least one row")
        return stats.norm.logpdf(x).sum(1) + 0.1

    report = check_density(log_prob, normals, dim=2, rng=rng())
    assert {row.name for row in report.failures} >= {"empty_batch", "normalised"}
    assert report.lead.name != "empty_batch", report.summary


def test_a_sampler_that_refuses_n_of_zero_is_told_how_to_skip_that():
    def draw(g, n):
        if not n:
            raise ValueError("n: expected at least 1, got 0")
        return normals(g, n)

    skip = but("sample_empty")
    report = check_density(lambda x: stats.norm.logpdf(x).sum(1), draw, dim=2, rng=rng(), skip=skip)
    assert "if it is intended, pass --skip sample_empty (skip=)" in report.summary


def test_a_density_that_raises_beyond_bounds_is_asked_for_them():
    def log_prob(x):
        if np.any(np.abs(x) > 50):
            raise ValueError("expected rows within the support")
        return stats.norm.logpdf(x).sum(1)

    report = check_density(log_prob, normals, dim=2, rng=rng(), stop_early=True)
    assert "answers_far: if its rows have bounds, name them (domain=, codomain=): log_prob " in (
        report.summary
    )


def test_errors_of_log_det_alone_are_not_those_of_an_iteration():
    forward, inverse = with_log_det(lambda logs, rows: logs + 5e-4 * np.sin(3 * rows[:, 0]))
    skip = but_of_flows("round_trip_z", "round_trip_x")
    report = check_flow(forward, inverse, dim=3, rng=rng(), skip=skip)
    assert report.failures and "iteration" not in report.summary, report.summary
    assert "forward has log_det" in report.summary


@pytest.mark.parametrize("dim", [2, 32])
def test_mass_that_a_rough_integral_misses_is_no_fault_of_log_prob(dim):
    """A narrow piece that is drawn too often, and a normal density drawn too wide."""
    skip = but("sample_follows", "normalised")
    if dim == 2:
        narrow = further_cases.WRONG["narrow piece drawn too often"]
        report = further_cases.judge(narrow, 0, skip=skip)
    else:
        pair = subjects.SAMPLERS["variance 10 % too large"](dim)
        report = check_density(*pair, dim=dim, rng=rng(), skip=skip)
    assert report.lead.name == "sample_follows"
    assert "so log_prob is wrong" not in report.summary, report.summary
