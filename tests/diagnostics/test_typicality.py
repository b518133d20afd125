"""Typicality and detection: against laws whose entropies and areas are known in closed form."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import nfref
from nfref import diagnostics
from nfref.oracle import adapters

DIM = 100
ENTROPY = DIM / 2 * (1 + np.log(2 * np.pi))


def log_p(rows):
    """Return a standard normal's log-density, which ``scipy.stats`` takes a second for."""
    return -0.5 * np.sum(rows**2, axis=1) - rows.shape[1] / 2 * np.log(2 * np.pi)


def normal_rows(n, seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((n, DIM))


TRAINING, VALIDATION = log_p(normal_rows(20_000, 0)), log_p(normal_rows(5000, 1))


# Typicality --------------------------------------------------------------------------------


def test_the_gap_is_the_distance_from_the_entropy():
    """The mode is the most probable row of all, and D / 2 nats from typical."""
    rows = np.zeros((3, DIM))
    gap = diagnostics.typicality_gap(log_p(rows)[:, None], TRAINING)
    np.testing.assert_allclose(gap, DIM / 2, atol=5 * np.sqrt(DIM / 2 / 20_000))
    batch = diagnostics.typicality_gap(log_p(normal_rows(2000, 2))[None], TRAINING)
    assert batch[0] < 5 * np.sqrt(DIM / 2 / 2000)
    assert -TRAINING.mean() == pytest.approx(ENTROPY, abs=5 * np.sqrt(DIM / 2 / 20_000))


def test_p_values_are_uniform_for_batches_of_the_density():
    log_prob = log_p(normal_rows(400 * 10, 3)).reshape(400, 10)
    found = diagnostics.typicality_test(
        log_prob, TRAINING, VALIDATION, np.random.default_rng(4), draws=2000
    )
    assert stats.kstest(found.pvalue, "uniform").pvalue > 1e-3


def test_more_rows_tell_more_and_either_side_is_atypical():
    """Rows of scale 0.95 are more probable than rows of p; the power grows with the batch."""
    power = {}
    for scale in (0.95, 1.05):
        rows = log_p(normal_rows(3000, 5, scale))
        for size in (1, 30):
            found = diagnostics.typicality_test(
                rows.reshape(-1, size), TRAINING, VALIDATION, np.random.default_rng(6)
            )
            power[scale, size] = np.mean(found.pvalue < 0.05)
    assert log_p(normal_rows(3000, 5, 0.95)).mean() > TRAINING.mean()
    # One row's -log p has deviation sqrt(D / 2) = 7.1, and (1 - 0.95^2) D / 2 = 4.9 is the shift.
    assert all(power[scale, 1] < 0.3 and power[scale, 30] > 0.9 for scale in (0.95, 1.05))


def test_other_rows_of_the_same_mean_pass():
    """On a sphere of radius sqrt(D) a single point is typical; the module warns of it."""
    point = np.zeros((1, DIM))
    point[0, 0] = np.sqrt(DIM)
    found = diagnostics.typicality_test(
        log_p(point)[:, None], TRAINING, VALIDATION, np.random.default_rng(7)
    )
    assert found.pvalue[0] > 0.9


def test_a_row_of_density_zero_is_as_atypical_as_can_be():
    found = diagnostics.typicality_test(
        [[-np.inf, 0.0]], TRAINING, VALIDATION, np.random.default_rng(8), draws=99
    )
    assert found.gap[0] == np.inf and found.pvalue[0] == 0.01


@pytest.mark.parametrize("library", ["nfref", pytest.param("zuko", marks=pytest.mark.peers)])
def test_densities_of_nfref_and_of_torch(library):
    """Ask a fresh flow about its own samples and about samples twice as wide."""
    if library == "nfref":
        thing = nfref.Density(nfref.RealNVP(2, layers=2, hidden=(8,)))
    else:
        import torch
        import zuko

        torch.manual_seed(0)
        thing = zuko.flows.NSF(2, 0, transforms=2, hidden_features=(16,))
    rng = np.random.default_rng(9)
    if library == "nfref":
        functions = adapters.of(thing, rng=rng)
    else:
        functions = adapters.from_zuko_distribution(thing)
    x = functions["sample"](rng, 4000)
    training, validation, own = np.split(functions["log_prob"](x), [2000, 3000])
    wide = functions["log_prob"](2 * x[3000:])
    p_own, p_wide = (
        diagnostics.typicality_test(rows.reshape(-1, 50), training, validation, rng).pvalue
        for rows in (own, wide)
    )
    assert np.median(p_own) > 0.05 and np.max(p_wide) < 0.01


# The area under the ROC --------------------------------------------------------------------


def test_the_area_of_two_normal_laws():
    """P(Y > X) = Phi(d / sqrt 2) for X ~ N(0, 1), Y ~ N(d, 1)."""
    rng = np.random.default_rng(10)
    found = diagnostics.auroc(rng.standard_normal(4000), 1 + rng.standard_normal(3000))
    assert found.value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=4 * found.error)
    assert 0.004 < found.error < 0.008


def test_the_area_is_that_of_scikit_learn_with_ties_and_infinities():
    rng = np.random.default_rng(11)
    inside, outside = rng.integers(0, 9, 200).astype(float), rng.integers(2, 12, 150).astype(float)
    labels = np.repeat([0, 1], [200, 150])
    expected = roc_auc_score(labels, np.concatenate([inside, outside]))
    assert diagnostics.auroc(inside, outside).value == pytest.approx(expected)
    assert diagnostics.auroc(-inside, -outside).value == pytest.approx(1 - expected)
    assert diagnostics.auroc([-np.inf, 0.0], [np.inf, 1.0]).value == 1


def test_the_standard_error_is_the_spread_of_repetitions():
    rng = np.random.default_rng(12)
    found = [
        diagnostics.auroc(rng.standard_normal(60), rng.standard_normal(90) + 0.7)
        for _ in range(2000)
    ]
    spread = np.std([area.value for area in found])
    assert np.mean([area.error for area in found]) == pytest.approx(spread, rel=0.06)


# Arguments ---------------------------------------------------------------------------------


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: diagnostics.typicality_gap(np.zeros(3), TRAINING),
            r"log_prob: expected shape \(B",
        ),
        (
            lambda: diagnostics.typicality_gap(np.zeros((3, 0)), TRAINING),
            r"log_prob: expected shape",
        ),
        (
            lambda: diagnostics.typicality_gap([[np.nan]], TRAINING),
            "log_prob: expected numbers, got N",
        ),
        (
            lambda: diagnostics.typicality_gap([[0.0]], []),
            r"training: expected shape \(N,\) with N",
        ),
        (
            lambda: diagnostics.typicality_gap([[0.0]], [-np.inf]),
            "training: expected finite numbers",
        ),
        (
            lambda: diagnostics.typicality_test(np.zeros((1, 5)), TRAINING, np.zeros(4), RNG),
            "validation: expected at least the 5 rows of a batch, got 4",
        ),
        (
            lambda: diagnostics.typicality_test([[0.0]], TRAINING, VALIDATION, RNG, 0),
            "draws: expected at least 1",
        ),
        (lambda: diagnostics.auroc([1.0], [1.0, 2.0]), "inside: expected shape"),
        (
            lambda: diagnostics.auroc([1.0, 2.0], [np.nan, 2.0]),
            "outside: expected numbers, got NaN",
        ),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
