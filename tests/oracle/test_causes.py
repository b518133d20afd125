"""Rules of the first line, and right subjects that were accused."""

import numpy as np
import pytest

from nfref.oracle import check_density, check_flow
from nfref.oracle.checks.constants import nearest
from tests.oracle import but, causes


@pytest.mark.parametrize(
    "offset, dim, tolerance, words",
    [
        (np.log(2), 3, 1e-4, " (log 2)"),
        (-3 * np.log(2), 3, 1e-4, " (-D log 2)"),
        (1.5 * np.log(2 * np.pi), 4, 1e-4, " ((D - 1)/2 log 2 pi)"),
        (-np.log(2 * np.pi), 4, 1e-4, " (-log 2 pi)"),
        (1.5 * np.log(2 * np.pi), 4, 0.02, ""),  # D log 2 is as close
        (4 * np.log(256), 4, 1e-3, " (D log 256)"),
        (0.123, 4, 1e-3, ""),
    ],
)
def test_a_constant_is_named_where_it_is_the_only_one(offset, dim, tolerance, words):
    assert nearest(offset, dim, tolerance)[1] == words


def test_only_the_row_on_empty_batches_asks_for_no_rows():
    def refusing(function):
        def act(rows):
            if not len(rows):
                raise ValueError("no rows")
            return function(rows)

        return act

    report = check_flow(
        refusing(lambda z: (np.sinh(z), np.sum(np.log(np.cosh(z)), axis=1))),
        refusing(lambda x: (np.arcsinh(x), -0.5 * np.sum(np.log1p(x**2), axis=1))),
        dim=1,
        rng=np.random.default_rng(0),
        skip=("empty_batch_forward", "empty_batch_inverse"),
    )
    assert report.ok, report.summary


@pytest.mark.parametrize("with_support", [False, True])
def test_a_support_may_depend_on_the_context(with_support):
    """A density uniform on [0, c] for a context c."""

    def inside(x, c):
        return (x[:, 0] > 0) & (x[:, 0] < c[:, 0])

    def log_prob(x, c):
        return np.where(inside(x, c), -np.log(c[:, 0]), -np.inf)

    rng = np.random.default_rng(0)
    report = check_density(
        log_prob,
        lambda g, n, c: c * g.random((n, 1)),
        dim=1,
        rng=rng,
        domain=(0, np.inf),
        context=np.exp(rng.standard_normal((5, 1))),
        support=inside if with_support else None,
        skip=but("answers", "finite", "normalised", "sample_follows", "context_read"),
    )
    assert not report.failures, report.summary


@pytest.mark.parametrize("size, verdict", [(3e-5, "inconclusive"), (3e-2, "fail")])
def test_a_known_loose_inverse_is_not_accused(size, verdict):
    """Errors are a few hundred times the accuracy that a root finder documents."""

    def inverse(x):
        z = np.arcsinh(x)
        return z + size * np.sign(np.sin(1e6 * z)), -0.5 * np.sum(np.log1p(x**2), axis=1)

    report = check_flow(
        lambda z: (np.sinh(z), np.sum(np.log(np.cosh(z)), axis=1)),
        inverse,
        dim=2,
        rng=np.random.default_rng(0),
        accuracy=1e-7,
    )
    assert report["round_trip_z"].verdict == verdict, report["round_trip_z"]
    if verdict == "inconclusive":
        assert "at accuracy 1e-07" in report["round_trip_z"].why


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(4))
def test_a_langevin_sampler_of_two_modes(seed):
    (subject,) = [one for one in causes.WRONG if "Langevin with" in one.name]
    assert causes.judge(subject, seed, skip=("threads", "history"))["sample_follows"].failed
