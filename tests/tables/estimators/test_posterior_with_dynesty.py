"""A posterior as the prior of a nested sampler: the evidence of two experiments, in two steps."""

import numpy as np
import pytest

import nfref

SIZE = 10.0


def first(t):
    """Return the log-likelihood of the first experiment: a bent, narrow ridge."""
    return -0.5 * ((t[..., 0] - 1) ** 2 + ((t[..., 1] - 0.5 * t[..., 0] ** 2) / 0.3) ** 2)


def second(t):
    """Return that of the second experiment, which knows the second parameter."""
    return -0.5 * ((t[..., 1] - 1.2) / 0.5) ** 2


@pytest.mark.peers
def test_two_steps_have_the_evidence_of_the_joint_fit():
    import dynesty

    def run(log_likelihood, transform, seed):
        sampler = dynesty.NestedSampler(
            log_likelihood, transform, 2, nlive=500, rstate=np.random.default_rng(seed)
        )
        sampler.run_nested(print_progress=False)
        return sampler.results

    def box(u):
        return 2 * SIZE * np.asarray(u) - SIZE

    one = run(first, box, 0)
    prior = nfref.Posterior.from_samples(
        one.samples, weights=one.importance_weights(), bounds=[(-SIZE, SIZE)] * 2, effort="quick"
    )
    two = run(second, prior.prior_transform, 1)
    joint = run(lambda t: first(t) + second(t), box, 2)
    found = one.logz[-1] + two.logz[-1]
    error = np.sqrt(sum(result.logzerr[-1] ** 2 for result in (one, two, joint)))
    assert error < 0.3
    assert abs(found - joint.logz[-1]) < 3 * error
    # the exact value, by a grid
    places = np.linspace(-SIZE, SIZE, 1601)
    grid = np.stack(np.meshgrid(places, places), axis=-1)
    exact = np.log(np.mean(np.exp(first(grid) + second(grid))))
    assert abs(found - exact) < 3 * error
