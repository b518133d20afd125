"""Reverse KL: it finds the best parameters, and how it ends."""

import math
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import special, stats

import nfref
from nfref.continuous.solve import SolverError
from nfref.runtime import params as trees
from tests.training.cases import normal, same_bits, target


def test_reverse_kl_finds_a_normal_and_its_normaliser():
    density, params = normal()
    result = nfref.fit_reverse_kl(
        density,
        params,
        target,
        np.random.default_rng(0),
        steps=400,
        batch_size=200,
        learning_rate=0.1,
        progress=False,
    )
    assert np.allclose(result.params["flow"]["shift"], [1, -2], atol=0.02)
    assert np.allclose(result.params["flow"]["log_scale"], np.log([0.5, 2]), atol=0.01)
    assert np.allclose(result.history["train"][-10:], -np.log(3), atol=0.01)
    assert len(result.history["train"]) == 400 and result.best_epoch == 399
    assert result.stopped == "epochs"
    assert result.message == "all 400 steps done; parameters of step 399"


def test_annealing_tempers_the_target():
    density, params = normal()
    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(1), 8)
    result = nfref.fit_reverse_kl(
        density,
        params,
        target,
        np.random.default_rng(1),
        steps=1,
        batch_size=8,
        anneal=10_000,
        progress=False,
    )
    assert np.isclose(result.history["train"][0], np.mean(log_q) - 0.01 * np.mean(target(x)))
    later = nfref.fit_reverse_kl(
        density,
        params,
        lambda x: 0 * x[:, 0] - 1,
        np.random.default_rng(1),
        steps=4,
        batch_size=8,
        anneal=2,
        learning_rate=1e-14,
        progress=False,
    )
    entropies = [
        np.mean(density.sample_and_log_prob(params, rng, 8)[1])
        for rng in [np.random.default_rng(1)]
        for _ in range(4)
    ]
    assert np.allclose(np.subtract(later.history["train"], entropies), [0.01, 0.51, 1, 1])


def test_reverse_kl_is_reproducible_and_in_the_dtype_of_the_parameters(capsys):
    density = nfref.Density(nfref.Planar(2, 2))
    params = trees.cast(density.init(np.random.default_rng(0)), np.float32)
    runs = [
        nfref.fit_reverse_kl(
            density,
            params,
            lambda x: -anp.sum(x**4, axis=1),
            np.random.default_rng(2),
            steps=5,
            progress=shown,
        )
        for shown in (False, True)
    ]
    assert same_bits(*runs)
    assert trees.dtype_of(runs[0].params) == np.float32
    shown = capsys.readouterr()
    assert shown.out == "" and "5/5" in shown.err and "nats" in shown.err


def at_call(number, action):
    calls = []

    def log_target(x):
        calls.append(1)
        return action(x) if len(calls) == number else target(x)

    return log_target


def test_reverse_kl_ends_early_with_the_latest():
    density, params = normal()

    def interrupt(x):
        raise KeyboardInterrupt

    def fail(x):
        raise SolverError("too many steps")

    whole = nfref.fit_reverse_kl(
        density, params, target, np.random.default_rng(0), steps=3, schedule=None, progress=False
    )
    for action, stopped, cause in [
        (interrupt, "interrupted", "interrupted"),
        (lambda x: target(x) * np.nan, "non-finite", "a loss of nan"),
        (fail, "non-finite", "an integration that failed (too many steps)"),
    ]:
        cut = nfref.fit_reverse_kl(
            density,
            params,
            at_call(4, action),
            np.random.default_rng(0),
            steps=90,
            schedule=None,
            progress=False,
        )
        assert cut.stopped == stopped and same_bits(cut, whole)
        assert cut.message == f"{cause} in step 3; parameters of step 2"


def fit_to(log_target):
    density = nfref.Density(nfref.Scale(2))
    start, rng = density.init(np.random.default_rng(0)), np.random.default_rng(1)
    return nfref.fit_reverse_kl(density, start, log_target, rng, steps=1, progress=False)


def test_a_target_that_is_no_density_is_named():
    density = nfref.Density(nfref.Scale(2))
    with pytest.raises(
        TypeError, match=r"^density: expected a Density, got Scale; nfref.Density\("
    ):
        nfref.fit_reverse_kl(density.flow, {}, np.sum, np.random.default_rng(1), steps=1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="bytecode tells no columns")
@pytest.mark.parametrize(
    "log_target, called",
    [
        (
            lambda x: stats.norm.logpdf(x).sum(axis=1),
            "one that calls scipy.stats.norm.logpdf; write autograd.scipy.stats.norm.logpdf$",
        ),
        (
            stats.multivariate_normal([0, 0]).logpdf,
            "one that calls scipy.stats.multivariate_normal_frozen.logpdf; write it with autograd",
        ),
        (
            lambda x: special.exprel(x[:, 0]),
            "one that calls scipy.special.exprel; write it with autograd.numpy and autograd.scipy$",
        ),
        (
            lambda x: -np.linalg.norm(x, axis=1),
            "one that calls numpy.linalg.norm; write autograd.numpy.linalg.norm$",
        ),
        (
            lambda x: anp.array([-math.exp(row[0]) for row in x]),
            "one that calls math.exp; write autograd.numpy.exp$",
        ),
        (
            lambda x: anp.array([-(float(row[0]) ** 2) for row in x]),
            "one that calls float; write it with autograd.numpy and autograd.scipy$",
        ),
        (
            lambda x: -np.einsum("ij,ij->i", x, x),
            "an array of numpy that holds traced numbers; write autograd.numpy.array, autograd",
        ),
        (
            lambda x: x.__setitem__((0, 0), 0.0) or x[:, 0],
            "one that fails on traced rows .AttributeError: 'ArrayBox' object has no attribute",
        ),
    ],
)
def test_a_target_that_autograd_cannot_follow_is_named(log_target, called):
    start = "^log_target: expected a function written with autograd.numpy, got "
    with pytest.raises(TypeError, match=start + called) as caught:
        fit_to(log_target)
    assert "\n" not in str(caught.value)


def test_a_target_from_a_prompt_is_named():
    """Code without a file; before Python 3.11 the advice is general."""
    names = {"special": special}
    exec("def log_target(x):\n    return special.logsumexp(x, axis=1)", names)
    with pytest.raises(TypeError, match="; write .*autograd.scipy") as caught:
        fit_to(names["log_target"])
    if sys.version_info >= (3, 11):
        assert str(caught.value).endswith("write autograd.scipy.special.logsumexp")


def test_a_mistake_of_a_target_is_named():
    with pytest.raises(
        TypeError, match="^log_target: expected log-densities, got TypeError: unsupported operand"
    ):
        fit_to(lambda x: None + 1)
    with pytest.raises(
        ValueError, match="^log_target: expected log-densities, got ZeroDivisionError: division by"
    ):
        fit_to(lambda x: 1 / 0)
    with pytest.raises(
        ValueError, match=r"^log_target: expected numbers below infinity, got nan in 256 of 256 row"
    ):
        fit_to(lambda x: np.nan * x[:, 0])
    with pytest.raises(ValueError, match=r"^log_target: expected to return shape \(256,\), got \("):
        fit_to(lambda x: x)


def test_the_result_holds_the_evidence_with_its_verdict():
    """The target is three times a normal density."""
    density, _ = normal()
    narrow = {"base": {}, "flow": {"shift": np.zeros(2), "log_scale": np.full(2, -1.0)}}
    fits = [
        nfref.fit_reverse_kl(
            density,
            narrow,
            target,
            np.random.default_rng(0),
            steps=steps,
            batch_size=200,
            learning_rate=0.1,
            progress=False,
        )
        for steps in (400, 1)
    ]
    good, poor = (fit.evidence for fit in fits)
    assert good.believable and abs(good.value - np.log(3)) < max(3 * good.error, 1e-6)
    assert good.samples.shape == (4000, 2) and np.isclose(good.weights.sum(), 1)
    assert not poor.believable and str(poor).startswith("cannot tell: ")


def test_a_target_that_fails_after_the_fit_does_not_lose_it():
    density, params = normal()

    def fail(x):
        raise OSError("gone")

    result = nfref.fit_reverse_kl(
        density, params, at_call(4, fail), np.random.default_rng(0), steps=3, progress=False
    )
    assert result.evidence is None and result.best_epoch == 2
