"""Right flows and densities that were accused once, each by the rule that was wrong."""

import time

import numpy as np
import pytest
from scipy import special, stats

from nfref.oracle import adapters, check_density, check_flow
from nfref.oracle.instruments import guarded_calls
from nfref.oracle.instruments.importance import Proposal, bridge, root_of
from nfref.oracle.instruments.probes import as_domain
from nfref.oracle.instruments.quadrature import mass_beyond
from tests.oracle import partly


def rng(seed=0):
    return np.random.default_rng(seed)


def lognormal(dim, sigma):
    distribution = stats.lognorm(sigma)
    return dict(
        log_prob=lambda x: np.sum(distribution.logpdf(x), axis=1),
        dim=dim,
        sample=lambda g, n: distribution.rvs(size=(n, dim), random_state=g),
        domain=(0, np.inf),
    )


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [2, 3])
def test_tails_over_many_powers_of_ten(dim):
    report = check_density(**lognormal(dim, 8.0), rng=rng())
    assert report["normalised"].verdict == report["sample_follows"].verdict == "pass", report


def test_log_z_is_found_among_log_ratios_of_any_size():
    ratio = np.concatenate([rng().standard_normal(2000), [-1e24]])
    found = bridge(np.zeros(2001), -ratio, ratio, np.zeros(2001))
    of_samples = np.mean(special.expit(found.log_z - ratio))
    of_proposal = np.mean(special.expit(ratio - found.log_z))
    assert abs(found.log_z) < 0.2 and of_samples == pytest.approx(of_proposal, rel=1e-9)


def test_a_mixture_keeps_its_digits_where_centers_are_far_apart():
    centers = np.exp(8 * rng().standard_normal((60, 2)))
    centers[0] = 1e11
    proposal = Proposal(centers, np.eye(2), np.inf)
    x = proposal.sample(rng(1), 300)
    direct = np.log(
        np.mean([np.exp(-0.5 * np.sum((x - c) ** 2, axis=1)) for c in centers], axis=0)
    ) - np.log(2 * np.pi)
    np.testing.assert_allclose(proposal.log_prob(x), direct, atol=1e-6)


def squeeze(matrix):
    """(1, 4, 4) -> (4, 2, 2), as nflows' Squeeze; with one log_det for all rows."""

    def inverse(x):
        assert x.shape[1:] == (1, 4, 4)
        z = x.reshape(-1, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3).reshape(-1, 4, 2, 2)
        return np.einsum("ij,njkl->nikl", matrix, z), np.full(
            len(x), 4 * np.linalg.slogdet(matrix)[1]
        )

    def forward(z):
        assert z.shape[1:] == (4, 2, 2)
        back = np.linalg.inv(matrix)
        z = np.einsum("ij,njkl->nikl", back, z).reshape(-1, 2, 2, 2, 2)
        return z.transpose(0, 3, 1, 4, 2).reshape(-1, 1, 4, 4), np.full(
            len(z), 4 * np.linalg.slogdet(back)[1]
        )

    return forward, inverse


@pytest.mark.thorough
def long_and_short():
    """Return a matrix that makes rows 10^8 times as long in one direction as in another."""
    turn = np.linalg.qr(rng().standard_normal((3, 3)))[0]
    return turn * [1e4, 1, 1e-4] @ turn[[1, 2, 0]]


@pytest.mark.parametrize("length", [1.0, 1e-200, 1e200])
def test_the_root_of_a_covariance_of_columns_that_nearly_depend_on_each_other(length):
    matrix = long_and_short()
    root = root_of(length * (rng(1).standard_normal((20_000, 3)) @ matrix.T))
    expected = np.linalg.qr(matrix.T, mode="r").T
    assert np.all(np.diag(root) > 0)
    np.testing.assert_allclose(np.diag(root) / length, np.abs(np.diag(expected)), rtol=0.03)


def test_a_linear_flow_of_condition_10_to_the_8():
    matrix = long_and_short()
    inverse, log_det = np.linalg.inv(matrix), np.linalg.slogdet(matrix)[1]
    report = check_flow(
        lambda z: (z @ matrix.T, np.full(len(z), log_det)),
        lambda x: (x @ inverse.T, np.full(len(x), -log_det)),
        dim=3,
        rng=rng(),
    )
    assert report.ok, report


def test_the_latent_may_have_another_shape():
    pair = squeeze(np.eye(4) + 0.1 * rng(1).standard_normal((4, 4)))
    for event_shape in ((1, 4, 4), ((4, 2, 2), (1, 4, 4))):
        made = adapters.maker(lambda: pair, rng=rng(), event_shape=event_shape)()
        x, log_det = made["forward"](made["inverse"](np.ones((3, 16)))[0])
        np.testing.assert_allclose(x, 1.0)
        assert log_det.shape == (3,)
    check_flow(**made, dim=16, rng=rng()).raise_if_failed()


def piecewise_linear(seed, knots=5000):
    here, there = (np.sort(rng(seed + k).uniform(-4, 4, knots)) for k in (0, 1000))
    here[[0, -1]] = there[[0, -1]] = -4, 4

    def through(t, a, b):
        slope = np.diff(b) / np.diff(a)
        k = np.clip(np.searchsorted(a, t[:, 0], side="right") - 1, 0, knots - 2)
        inside = np.abs(t[:, 0]) < 4
        return (
            np.where(inside, b[k] + (t[:, 0] - a[k]) * slope[k], t[:, 0])[:, None],
            np.where(inside, np.log(slope[k]), 0.0),
        )

    return lambda z: through(z, here, there), lambda x: through(x, there, here)


@pytest.mark.thorough
def test_thousands_of_knots():
    forward, inverse = piecewise_linear(2)
    check_flow(forward, inverse, dim=1, rng=rng(2)).raise_if_failed()

    def wrong(x):
        z, log_det = inverse(x)
        return z, log_det + 0.1 * ((x[:, 0] > 1) & (x[:, 0] < 1.01))

    # It integrates to exp(0.00015). No integral over 5,000 steps is as exact, but some of the 6,000
    # rows that go there and back lie where log_det is wrong.
    assert check_flow(forward, wrong, dim=1, rng=rng())["round_trip_x"].failed


@pytest.mark.thorough
def test_own_gradients_on_plateaus_of_rounding_and_beyond_the_largest_number():
    """Near 0, 2 x - 1 takes steps of 1e-16, as torch's distribution function of the normal."""

    def forward(u):
        z = special.erfinv(2 * u - 1) * np.sqrt(2)
        return z, np.sum(0.5 * z**2 + 0.5 * np.log(2 * np.pi), axis=1)

    def gradient(u):
        z = special.erfinv(2 * u - 1) * np.sqrt(2)
        return z * np.exp(0.5 * z**2) * np.sqrt(2 * np.pi)

    for seed in range(2):
        report = check_flow(forward, dim=2, rng=rng(seed), domain=(0, 1), gradient=(gradient, None))
        assert not report["gradient_forward"].failed, report

    def steep(z):
        return np.exp(z), np.sum(z, axis=1)

    report = check_flow(
        steep,
        dim=2,
        rng=rng(),
        codomain=(0, np.inf),
        gradient=(lambda z: np.where(z > 709, 0.0, 1.0), None),
    )
    assert report["gradient_forward"].verdict == "pass"


@pytest.mark.thorough
def test_what_is_slow_is_not_wrong(monkeypatch):
    """One call takes longer than a property may; it is waited for, and all else is judged."""
    monkeypatch.setattr(guarded_calls, "load", lambda: 1.0)
    slow = []

    def forward(z):
        if len(z) > 30 and not slow:
            slow.append(time.sleep(2.2))
        return 2 * z, np.full(len(z), 2 * np.log(2))

    report = check_flow(forward, dim=2, rng=rng(), seconds=1.5, skip=("normalised",))
    assert slow and not report.failures, report
    late = [row for row in report.undecided if row.why == "out of time"]
    assert len(late) <= 2 and "seconds=" in late[0].where, report


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [0.5, 3.0])
def test_mass_beyond_the_last_float(shape):
    """The distribution function of Weibull is 1 in float64 for 2 to 4 percent of a base's mass."""

    def forward(z):
        u = z**shape
        return -np.expm1(-u), (np.log(shape) + (shape - 1) * np.log(z) - u)[:, 0]

    def inverse(x):
        z = (-np.log1p(-x)) ** (1 / shape)
        return z, -forward(z)[1]

    arguments = dict(dim=1, rng=rng(), domain=(0, np.inf), codomain=(0, 1))
    check_flow(forward, inverse, **arguments).raise_if_failed()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "distribution, ends",
    [(stats.laplace(), None), (stats.dgamma(1.1), None), (stats.cosine(), (-np.pi, np.pi))],
)
def test_densities_that_underflow_or_are_zero_at_a_point(distribution, ends):
    """SciPy takes the logarithm of what is 0 in float64; and 0 is right in a single point."""

    def log_prob(x):
        return np.sum(distribution.logpdf(x), axis=1)

    def sample(g, n):
        return distribution.rvs(size=(n, 2), random_state=g)

    report = check_density(log_prob, sample, dim=2, rng=rng(), domain=ends)
    assert report.ok, report
    report = check_density(
        lambda x: np.where(np.max(np.abs(x), axis=1) > 2.9, -np.inf, log_prob(x)),
        sample,
        dim=2,
        rng=rng(),
        domain=ends,
    )
    assert report["sample_follows"].failed


def uniform_on_a_triangle(g, n):
    x = g.random((n, 2))
    over = np.sum(x, axis=1) > 1
    x[over] = 1 - x[over]
    return x


WIDTHS = np.array([1e-6, 1.0, 1e6])
# Right densities: name -> (log_prob, sample, further arguments).
DENSITIES = {
    "no density in a part of the domain": (
        lambda x: np.where((np.min(x, axis=1) >= 0) & (np.sum(x, axis=1) <= 1), np.log(2), -np.inf),
        uniform_on_a_triangle,
        dict(dim=2, domain=(0, 1)),
    ),
    "in order": (
        lambda x: np.where(np.all(np.diff(x, axis=1) >= 0, axis=1), np.log(6.0), -np.inf),
        lambda g, n: np.sort(g.random((n, 3)), axis=1),
        dict(dim=3, domain=(0, 1)),
    ),
    "columns of other widths": (
        lambda x: np.sum(stats.norm.logpdf(x, scale=WIDTHS), axis=1),
        lambda g, n: WIDTHS * g.standard_normal((n, 3)),
        dict(dim=3),
    ),
    # A part of a thousandth is a ridge that grids of points pass by.
    "a ridge between points": (
        lambda x: np.logaddexp(
            np.log(0.997) + np.sum(stats.norm.logpdf(x), axis=1),
            np.log(0.003) + np.sum(stats.norm.logpdf(x, scale=[1e-5, 1.0]), axis=1),
        ),
        lambda g, n: (
            g.standard_normal((n, 2)) * np.where(g.random((n, 1)) < 0.003, [1e-5, 1.0], 1.0)
        ),
        dict(dim=2),
    ),
}


@pytest.mark.parametrize("name", partly(DENSITIES, "a ridge between points"))
def test_right_densities(name):
    log_prob, sample, arguments = DENSITIES[name]
    report = check_density(log_prob, sample, **arguments, rng=rng())
    assert report.ok, report


@pytest.mark.thorough
@pytest.mark.parametrize(
    "made, pole",
    [
        (stats.rdist(1.6, loc=0.4, scale=3.0), np.nextafter(3.4, 0)),  # beside the end
        (stats.dgamma(0.6612, loc=0.62865, scale=0.88), 0.62865),  # in the middle
        (stats.pearson3(-2.5, scale=0.5), np.nextafter(0.4, 1)),
    ],
)  # where it ends, as no one says
def test_poles(made, pole):
    assert np.isposinf(made.logpdf(pole))
    report = check_density(
        lambda x: made.logpdf(x[:, 0]),
        lambda g, n: made.rvs(size=(n, 1), random_state=g),
        dim=1,
        rng=rng(),
        domain=made.support(),
    )
    assert report.ok, report


@pytest.mark.parametrize(
    "made", [stats.gamma(0.01), stats.beta(0.02, 0.03), stats.beta(2, 0.05)], ids="012"
)
def test_poles_that_hold_mass_among_the_last_floats(made):
    """exp(log_prob) overflows there, and without a sampler no sample is on an end of the domain."""
    arguments = dict(dim=1, rng=rng(), domain=made.support(), skip=("sample_follows",))
    assert check_density(lambda x: made.logpdf(x[:, 0]), **arguments).ok
    for offset in (-1.0, 0.5):
        report = check_density(lambda x, by=offset: made.logpdf(x[:, 0]) + by, **arguments)
        assert report["normalised"].failed, report


def test_digits_beside_an_end_where_small_steps_change_no_row():
    made = stats.beta(2, 0.05)
    report = check_density(
        lambda x: made.logpdf(x[:, 0]),
        lambda g, n: made.rvs(size=(n, 1), random_state=g),
        dim=1,
        rng=rng(1),
        domain=(0, 1),
    )
    assert report.ok, report


def test_a_density_underflows_just_at_a_point():
    """log_prob is -inf at the farthest point, and finite a millionth of the way before it."""
    farthest = []

    def log_prob(x, limit=np.inf):
        far = np.max(np.abs(x), axis=1)
        farthest.append(np.max(far, initial=0))
        found = -np.sum(np.abs(x), axis=1) - 8 * np.log(2)
        return np.where(far < limit, found, -np.inf)

    def checked(limit):
        given = dict(dim=8, rng=rng(), skip=("normalised",))
        return check_density(lambda x: log_prob(x, limit), **given)["finite"]

    assert checked(np.inf).verdict == "pass"
    # of the probes themselves, which come first
    far = np.max(farthest[:2])
    assert far > 720
    assert "rightly infinite" in checked(far * (1 - 1e-7)).why


class LogT:
    """exp(t) of Student's t of three degrees: a thousandth of a percent of its mass is beyond 1e18,
    and as much below 1e-18."""

    t = stats.t(3)

    def logpdf(self, x):
        return self.t.logpdf(np.log(x)) - np.log(x)

    def rvs(self, size, random_state):
        return np.exp(self.t.rvs(size=size, random_state=random_state))


@pytest.mark.thorough
def test_a_tail_of_many_decades():
    made = LogT()
    report = check_density(
        lambda x: made.logpdf(x[:, 0]),
        lambda g, n: made.rvs((n, 1), g),
        dim=1,
        rng=rng(),
        domain=(0, np.inf),
    )
    assert report.ok and report["normalised"].tolerance < 1e-4, report


@pytest.mark.thorough
@pytest.mark.parametrize("kernels, width", [(60, 0.1), (400, 0.02), (3000, 0.05)])
def test_steps_that_lie_between_the_nodes(kernels, width):
    """Sums of uniform densities: between two of their ends the density may be another."""
    g = rng(1)
    ends = np.concatenate(
        [g.standard_normal(kernels // 2), 3 + 0.3 * g.standard_normal(kernels // 2)]
    )[:, None] + width * np.array([-1, 1])
    low, high = np.sort(ends[:, 0]), np.sort(ends[:, 1])

    def log_prob(x):
        inside = np.searchsorted(low, x[:, 0], "right") - np.searchsorted(high, x[:, 0], "right")
        return np.log(inside / (kernels * 2 * width))

    def sample(g, n):
        return g.uniform(*ends[g.integers(kernels, size=n)].T)[:, None]

    with np.errstate(divide="ignore"):
        report = check_density(log_prob, sample, dim=1, rng=rng())
    assert report.ok and report["normalised"].tolerance < 0.01, report


@pytest.mark.thorough
def test_what_is_moved_a_little_stays_inside_of_its_ends():
    """The tanh of a tail: rows within 1e-9 of an end, beyond which log_prob is refused."""

    def log_prob(x):
        assert np.all(np.abs(x) < 1)
        return np.sum(stats.t(3).logpdf(np.arctanh(x)) - np.log1p(-x) - np.log1p(x), axis=1)

    def sample(g, n):
        return np.tanh(stats.t(3).rvs(size=(n, 3), random_state=g))

    report = check_density(log_prob, sample, dim=3, rng=rng(), domain=(-1, 1))
    assert report.ok, report


def test_mass_beyond_is_that_of_closed_forms():
    for distribution, ends, beyond in (
        (stats.norm(), None, 0.0),
        (stats.beta(2, 3), (0, 1), 0.0),
        (stats.gamma(0.01), (0, np.inf), stats.gamma(0.01).cdf(np.finfo(float).tiny)),
        (stats.pareto(0.01), (1, np.inf), stats.pareto(0.01).sf(np.finfo(float).max)),
    ):
        with np.errstate(all="ignore"):
            found = mass_beyond(
                lambda x, d=distribution: d.logpdf(x[:, 0]), as_domain("domain", ends, 1)
            )
        assert found == pytest.approx(beyond, rel=0.1, abs=1e-12)
