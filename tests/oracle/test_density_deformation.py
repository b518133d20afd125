"""Samples against their density by the density moved over itself."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from nfref.oracle import check_density, check_flow
from nfref.oracle.instruments import density_deformation
from tests.oracle import but, but_of_flows, further_cases, partly
from tests.oracle.sound import SOUND


def rng(seed=0):
    return np.random.default_rng(seed)


def standard_normal(x):
    return stats.norm.logpdf(x).sum(axis=1)


def steps(x):
    """A density that jumps: twice as high on [0, 1) as on [1, 3)."""
    density = np.where((x >= 0) & (x < 1), 0.5, np.where((x >= 1) & (x < 3), 0.25, 0.0))
    return np.log(density[:, 0])


LINE = {
    "normal": lambda x: stats.norm.logpdf(x[:, 0]),
    "Cauchy": lambda x: stats.cauchy.logpdf(x[:, 0]),
    "exponential": lambda x: stats.expon.logpdf(x[:, 0]),
    "steps": steps,
}


@pytest.mark.parametrize("name", LINE)
def test_terms_have_mean_zero_under_every_density(name):
    """By quadrature: with edges, jumps and tails without moments, for every map."""
    far = np.geomspace(1e-4, 1e7, 2000)
    near = np.linspace(-12, 12, 6001)
    edges = np.unique(np.concatenate([-far, near, far, [0, 1, 3]]))
    t, weight = np.polynomial.legendre.leggauss(4)
    half = 0.5 * np.diff(edges)[:, None]
    x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * t).reshape(-1, 1)
    log_prob = LINE[name]
    with np.errstate(all="ignore"):
        mass = np.exp(log_prob(x)) * (half * weight).ravel()
        assert abs(np.sum(mass) - 1) < 1e-6
        for made in density_deformation.maps_around(rng().exponential(size=(500, 1)), rng(1)):
            terms = density_deformation.terms(made, 0.3, log_prob, x, log_prob(x))
            assert abs(np.sum(mass * terms)) < 1e-3, made.name
            assert made.name != "scale" or np.sum(mass * np.abs(terms)) > 0.05


def test_each_map_is_undone_by_its_other_step_and_knows_its_determinant():
    pilot = rng().standard_normal((500, 3)) @ rng(1).standard_normal((3, 3)) + 2
    x = pilot[:20]
    for made in density_deformation.maps_around(pilot, rng(2)):
        there, log_jacobian = made(x, 0.2)
        back, other = made(there, -0.2)
        np.testing.assert_allclose(back, x, atol=1e-9)
        np.testing.assert_allclose(log_jacobian, -other, atol=1e-9)
        step = 1e-6
        columns = [
            (made(x + step * e, 0.2)[0] - made(x - step * e, 0.2)[0]) / (2 * step)
            for e in np.eye(3)
        ]
        numeric = np.linalg.slogdet(np.stack(columns, axis=2))[1]
        np.testing.assert_allclose(np.median(np.abs(numeric - log_jacobian)), 0, atol=1e-7)


def test_jumps_need_little_memory():
    """Arrays of all terms made a check of a density in three dimensions four times as slow."""
    x = rng().standard_normal((50_000, 3))
    at_x = standard_normal(x)
    tracemalloc.start()
    mean, spread = density_deformation.jump_moments(1.0, x[:4000], standard_normal, x, at_x, rng(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.all(np.abs(mean) < 5 * spread / np.sqrt(len(x)))
    assert peak < 10 * x.nbytes


def normal(change, dim=8):
    return dict(
        log_prob=lambda x: np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=1),
        sample=lambda g, n: change(g.standard_normal((n, dim)), g),
        dim=dim,
    )


WRONG = {
    "variance 5 % too large": (lambda z, g: np.sqrt(1.05) * z, "times as far out"),
    "cut at 3 sd": (lambda z, g: np.where(np.abs(z) > 3, 0.1 * z, z), "scale beyond"),
    "clipped": (lambda z, g: np.clip(z, -2.5, 2.5), "clipped, or drawn from a list"),
    "one column moved": (lambda z, g: z + 0.1 * np.eye(8)[2], "column 2 is shifted by 0."),
    "one column wide": (lambda z, g: z * (1 + 0.08 * np.eye(8)[5]), "times as far out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_samplers_are_told_by_what_is_wrong(name):
    change, words = WRONG[name]
    report = check_density(**normal(change), rng=rng(3), skip=but("sample_follows", "normalised"))
    row = report["sample_follows"]
    assert row.failed and words in row.where, report
    assert not report["normalised"].failed, report


@pytest.mark.thorough
def test_modes_of_other_weights():
    def log_prob(x):
        far = [np.sum(stats.norm.logpdf(x - m), axis=1) for m in (-4, 4)]
        return np.logaddexp(*far) - np.log(2)

    def sample(g, n):
        return np.where(g.random((n, 1)) < 0.6, -4.0, 4.0) + g.standard_normal((n, 8))

    report = check_density(log_prob, sample, dim=8, rng=rng())
    assert report["sample_follows"].failed, report


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["hole, D = 4", "Cauchy density, D = 4", "arcsine density, D = 2"])
def test_right_samplers_without_a_score_are_not_accused(name):
    report = check_density(**SOUND[name](rng()), rng=rng(1))
    assert not report["sample_follows"].failed, report


NARROW = [name for name in further_cases.WRONG if name.startswith("narrow piece")]


@pytest.mark.parametrize(
    "name", partly(["narrow piece", *NARROW], "narrow piece", "narrow piece too heavy")
)
def test_a_narrow_piece_inside_of_a_wide_one_has_its_share(name):
    build = {**further_cases.RIGHT, **further_cases.WRONG}[name]
    row = further_cases.judge(build, 0, skip=but("sample_follows"))["sample_follows"]
    assert row.failed == (name in further_cases.WRONG), row
    assert not row.failed or "other shares" in row.where, row


# What a sampler puts onto an end of its interval, or where there is no density; and right ones.
ENDS = {
    "truncated, samples clipped": "the end of its interval, near which there is hardly any",
    "banana cut in log_prob alone": "log_prob is -inf at",
    "truncated normal of 2 columns": "",
    "Dirichlet of 3": "",
    "beta, U, D = 3": "",
    "banana cut at 2": "",
}


@pytest.mark.parametrize(
    "name",
    partly(
        ENDS,
        "truncated, samples clipped",
        "banana cut in log_prob alone",
        "Dirichlet of 3",
        "beta, U, D = 3",
    ),
)
def test_samples_at_ends_and_where_there_is_no_density(name):
    build = {**further_cases.RIGHT, **further_cases.WRONG}[name]
    row = further_cases.judge(build, 0, skip=but("sample_follows"))["sample_follows"]
    assert row.failed == bool(ENDS[name]) and ENDS[name] in row.where, row


def saturated(z):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("sigma, dtype", [(10, np.float32), (60, np.float64)])
def test_mass_nearer_to_an_end_than_any_number(sigma, dtype):
    def log_prob(x):
        x = x.astype(float)
        z = np.log(x) - np.log1p(-x)
        return (
            np.sum(stats.norm.logpdf(z, scale=sigma) - np.log(x) - np.log1p(-x), axis=1)
        ).astype(dtype)

    report = check_density(
        log_prob,
        lambda g, n: saturated(sigma * g.standard_normal((n, 2))).astype(dtype),
        dim=2,
        dtype=dtype,
        rng=rng(),
        domain=(0, 1),
        skip=but("sample_follows"),
    )
    assert not report["sample_follows"].failed, report


@pytest.mark.thorough
def test_a_floor_under_log_prob_is_no_density():
    def log_prob(x):
        return np.sum(stats.norm.logpdf(x), axis=1)

    def wide(x):  # outliers of a width at which radius 1000 is the middle
        return np.logaddexp(
            np.log(0.9) + log_prob(x), np.log(0.1) + np.sum(stats.norm.logpdf(x, scale=1e6), axis=1)
        )

    def drawn(g, n):
        return g.standard_normal((n, 2)) * np.where(g.random((n, 1)) < 0.1, 1e6, 1.0)

    for made, sample, failed in (
        (log_prob, None, False),
        (wide, drawn, False),
        (lambda x: np.maximum(log_prob(x), -30), None, True),
    ):
        row = check_density(
            made,
            sample or (lambda g, n: g.standard_normal((n, 2))),
            dim=2,
            rng=rng(),
            skip=but("normalised"),
        )["normalised"]
        assert row.failed == failed and ("a floor?" in row.where) == failed, row


@pytest.mark.parametrize(
    "tails, verdict",
    [
        (stats.cauchy(), "inconclusive"),
        (stats.t(1.2, scale=1e3), "inconclusive"),
        (stats.norm(), "fail"),
    ],
)
def test_without_samples_nobody_is_accused_of_mass_far_out(tails, verdict):
    """A part of a heavy tail is beyond what quadrature looks at; a light one is not."""
    row = check_density(
        lambda x: np.sum(tails.logpdf(x), axis=1) - 0.05 * (verdict == "fail"),
        dim=2,
        rng=rng(),
        skip=but("normalised"),
    )["normalised"]
    assert row.verdict == verdict, row


@pytest.mark.parametrize(
    "log_prob, verdict",
    [
        (lambda x: np.sum(stats.norm.logpdf(x.astype(np.float16).astype(float)), axis=1), "fail"),
        (lambda x: 0 * x[:, 0], "not applicable"),
        (lambda x: np.sum(stats.norm.logpdf(np.floor(2 * x) / 2 + 0.25), axis=1), "not applicable"),
    ],
)
def test_rows_that_pass_through_float16_and_wide_bins(log_prob, verdict):
    row = check_density(log_prob, dim=2, rng=rng(), skip=but("precision"))["precision"]
    assert row.verdict == verdict, row


@pytest.mark.thorough
def test_who_answers_on_an_interval_alone_is_not_asked_beyond():
    def log_prob(x):
        if np.any((x < 0) | (x > 1)):
            raise ValueError("all rows must lie in [0, 1]^2")
        return np.zeros(len(x))

    report = check_density(log_prob, lambda g, n: g.random((n, 2)), dim=2, domain=(0, 1), rng=rng())
    assert not report.failures, report


def test_one_seed_whatever_the_generator():
    """Two arrays drawn one after the other: n rows are not the first of more."""

    def sample(g, n):
        g = np.random.default_rng(0)
        return g.standard_normal((n, 2)) / np.sqrt(g.chisquare(5, (n, 1)) / 5)

    row = check_density(
        lambda x: 0 * x[:, 0], sample, dim=2, rng=rng(), skip=but("sample_generator")
    )["sample_generator"]
    assert row.failed and "different generators give equal samples" in row.where


def conditional(**changes):
    """x = c_1 + exp(c_2) z, given two numbers c; ``changes`` to what each function makes of c."""

    def log_prob(x, c):
        mean, log_sigma = changes.get("log_prob", lambda c: c)(c).T[:, :, None]
        z = (x - mean) * np.exp(-log_sigma)
        return np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_sigma, axis=1)

    def sample(g, n, c):
        mean, log_sigma = changes.get("sample", lambda c: c)(c).T[:, :, None]
        return mean + np.exp(log_sigma) * g.standard_normal((n, 3))

    return dict(
        log_prob=log_prob,
        sample=sample,
        dim=3,
        context=np.array([[0, 0], [1, 0.5], [-1, 0.2], [0.5, -0.3], [1, 2.5]], float),
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "changes, wrong",
    [
        ({}, []),
        ({"sample": lambda c: c[::-1]}, ["sample_follows"]),
        ({"log_prob": lambda c: np.minimum(c, 2)}, ["sample_follows"]),
        ({"sample": lambda c: np.broadcast_to(c[:1], c.shape)}, ["sample_follows"]),
    ],
)
def test_several_contexts(changes, wrong):
    report = check_density(
        **conditional(**changes), rng=rng(), skip=but("sample_follows", "normalised")
    )
    assert [row.name for row in report.failures] == wrong, report


def test_several_contexts_of_a_flow():
    def flow(sign):
        def move(rows, c):
            log_sigma = sign * c
            log_det = np.sum(log_sigma, axis=1) + 0.3 * sign * (c[:, 0] > 2)
            return rows * np.exp(log_sigma), log_det

        return move

    report = check_flow(
        flow(1),
        flow(-1),
        dim=2,
        rng=rng(),
        skip=but_of_flows("normalised"),
        context=np.array([[0, 0], [0.3, -0.3], [3.0, 0.0]], float),
    )
    assert report["normalised"].failed and "row 2 of the context" in report["normalised"].why
