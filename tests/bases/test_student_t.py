"""Student's t: digits of its logarithms, gradients in the degrees, and degrees that are learned."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad

import nfref
from nfref.bases import student_t

DEGREES = (0.1, 0.5, 1.0, 3.0, 15.9, 16.1, 40.0, 1e3, 1e6, 1e12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_step_of_log_gamma_keeps_its_digits(order):
    """Large logarithms cancel: the expected difference is computed with 40 digits."""
    x = np.array([1e-3, 0.1, 1.0, 3.0, 7.99, 8.0, 8.01, 30.0, 1e3, 1e8, 1e15])
    found = student_t.log_gamma_step(x, order)
    with mpmath.workdps(60):
        for value, at in zip(found, map(mpmath.mpf, x)):
            truth = (
                mpmath.loggamma(at + 0.5) - mpmath.loggamma(at)
                if order == 0
                else mpmath.polygamma(order - 1, at + 0.5) - mpmath.polygamma(order - 1, at)
            )
            assert abs(value - truth) <= 1e-14 * abs(truth), at


def test_the_log_of_one_plus_a_square():
    """Check values and slopes, up to rows whose square overflows."""
    u = np.array([0.0, 1e-200, 1e-9, -0.3, 1.0, -1.0, 1.5, 1e9, -1e200])
    with mpmath.workdps(450):
        exact = [mpmath.mpf(v) for v in u]
        values = [float(mpmath.log(1 + v * v)) for v in exact]
        slopes = [float(2 * v / (1 + v * v)) for v in exact]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        np.testing.assert_allclose(student_t.log_one_plus_square(u), values, rtol=4e-16)
        slope = elementwise_grad(student_t.log_one_plus_square)(u)
    np.testing.assert_allclose(slope, slopes, rtol=4e-16)
    small = u[2:-1].astype(np.float32)
    assert student_t.log_one_plus_square(small).dtype == np.float32


@pytest.mark.parametrize("degrees", DEGREES)
def test_log_prob_against_fifty_digits(degrees):
    base = nfref.StudentT(1, degrees)
    params = base.init(np.random.default_rng(0))
    z = np.array([0.0, 1e-3, 0.7, -4.0, 1e3, -1e30])
    found = base.log_prob(params, z[:, None])
    with mpmath.workdps(60):
        v = mpmath.exp(mpmath.mpf(params["log_degrees"][0]))
        peak = mpmath.loggamma((v + 1) / 2) - mpmath.loggamma(v / 2) - mpmath.log(v * mpmath.pi) / 2
        for value, at in zip(found, map(mpmath.mpf, z)):
            truth = peak - (v + 1) / 2 * mpmath.log(1 + at**2 / v)
            # exp(log v) itself is off by |log v| ulp, which moves z^2 / v as much.
            assert abs(value - truth) <= 1e-14 * (1 + abs(truth)), at


def test_many_degrees_are_the_normal():
    z = np.random.default_rng(0).standard_normal((50, 2))
    base = nfref.StudentT(2, 1e14)
    params = base.init(np.random.default_rng(0))
    normal = nfref.StandardNormal(2)
    np.testing.assert_allclose(base.log_prob(params, z), normal.log_prob({}, z), rtol=1e-13)
    assert base.entropy(params) == pytest.approx(normal.entropy({}), rel=1e-12)


def test_the_gradient_of_samples_is_that_of_the_mean():
    """The slope of E |t| is that of its closed form, within four standard errors."""
    base = nfref.StudentT(1)

    def mean_size(log_degrees, n=200_000):
        rows = base.sample({"log_degrees": log_degrees}, np.random.default_rng(1), n)
        return anp.mean(anp.abs(rows))

    def exact(log_v):
        v = mpmath.exp(log_v)
        return (
            2
            * mpmath.sqrt(v)
            * mpmath.gamma((v + 1) / 2)
            / (mpmath.sqrt(mpmath.pi) * (v - 1) * mpmath.gamma(v / 2))
        )

    at = np.log([5.0])
    slope = grad(mean_size)(at)[0]
    parts = [grad(lambda a: mean_size_of(base, a, seed))(at)[0] for seed in range(20)]
    error = np.std(parts) / np.sqrt(10)  # a part has a tenth of the rows
    assert abs(slope - float(mpmath.diff(exact, at[0]))) < 4 * error


def mean_size_of(base, log_degrees, seed):
    rows = base.sample({"log_degrees": log_degrees}, np.random.default_rng(100 + seed), 20_000)
    return anp.mean(anp.abs(rows))


@pytest.mark.thorough
def test_degrees_are_learned():
    """Maximum likelihood finds the degrees of the rows in every coordinate.

    The standard error of log v is 1 / sqrt(n I), with I the Fisher information, measured here as
    the variance of the score of the rows.
    """
    true = np.log([1.5, 6.0])
    base = nfref.StudentT(2)
    rng = np.random.default_rng(2)
    x = base.sample({"log_degrees": true}, rng, 4000)
    density = nfref.Density(nfref.Permutation((0, 1)), base)
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=60,
        batch_size=500,
        learning_rate=0.05,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    found = result.params["base"]["log_degrees"]
    for i in range(2):
        one = nfref.StudentT(1)
        score = elementwise_grad(lambda v: one.log_prob({"log_degrees": v}, x[:1, i : i + 1]))
        scores = [score(true[i : i + 1])[0]] + [
            grad(lambda v, row=row: one.log_prob({"log_degrees": v}, row[None, None])[0])(
                true[i : i + 1]
            )[0]
            for row in x[1:800, i]
        ]
        error = 1 / np.sqrt(len(x) * np.var(scores))
        assert abs(found[i] - true[i]) < 4 * error < 0.4
