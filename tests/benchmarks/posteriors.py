"""Posteriors from simulations beside exact ones: nfref, and sbi's default NPE.

    python -m tests.benchmarks.posteriors [--only TASK ...] [--rows 1000 10000] [--peer sbi]
        [--tests 500]

Protocol. The tasks are those of :mod:`tests.benchmarks.posterior_tasks`. Each posterior is fitted
once to N simulations with seed 0. It is judged by

- C2ST: the accuracy, by five folds, of a network that tells 2,000 of its samples from 2,000 exact
  ones (scikit-learn's MLP of two layers of 10 D units, 300 epochs); 0.5 is perfect. The mean
  over three observations, simulated with seeds 1, 2 and 3 from the prior;
- coverage: the share of 500 other simulations whose parameters lie in the region of highest
  density of mass 0.5 and 0.9 (samples: 199). Standard errors are 0.022 and 0.013;
- nats: the mean log-density of the true parameters of these 500;
- processor seconds of the fit.

sbi's peer is ``NPE(prior)`` with its defaults, which need a prior of torch.
"""

import argparse
import time
import warnings

import numpy as np

import nfref
from tests.benchmarks.posterior_tasks import TASKS

SAMPLES, OBSERVATIONS, DRAWS = 2000, (1, 2, 3), 199


def c2st(found, exact):
    """Return the accuracy of a classifier of two samples, by five folds."""
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    rows, label = np.concatenate([exact, found]), np.repeat([0, 1], [len(exact), len(found)])
    rows = (rows - exact.mean(axis=0)) / exact.std(axis=0)
    rows = np.clip(rows, -1e3, 1e3)
    units = 10 * rows.shape[1]
    network = MLPClassifier((units, units), max_iter=300, random_state=0)
    order = np.random.default_rng(0).permutation(len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.mean(cross_val_score(network, rows[order], label[order], cv=5)))


class OfNfref:
    """The posterior of nfref."""

    def __init__(self, task, theta, x):
        self.fitted = nfref.Posterior.from_simulations(theta, x, bounds=task.bounds)

    def sample(self, x, n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.fitted.given(x).rvs(n, random_state=0)

    def judge(self, theta, x):
        found = self.fitted.calibration(theta, x, DRAWS)
        return found.coverage[[4, 8]], np.mean(self.fitted.density.log_prob([*theta.T, *x.T]))


class OfSbi:
    """The posterior of sbi's NPE with its defaults."""

    def __init__(self, task, theta, x):
        import torch
        from sbi.inference import NPE
        from sbi.utils import BoxUniform

        torch.manual_seed(0)
        self.torch = torch
        if task.bounds is not None and np.all(np.isfinite(np.array(task.bounds, float))):
            low, high = np.array(task.bounds, float).T
            prior = BoxUniform(torch.tensor(low).float(), torch.tensor(high).float())
        else:
            prior = None
        self.log = task.bounds is not None and prior is None  # log-normal priors: fit the logs
        theta = np.log(theta) if self.log else theta
        fit = NPE(prior, show_progress_bars=False)
        fit.append_simulations(torch.tensor(theta).float(), torch.tensor(x).float())
        network = fit.train()
        self.posterior = network if prior is None else fit.build_posterior(network)

    def sample(self, x, n):
        x = self.torch.tensor(x[None]).float()
        drawn = (
            self.posterior.sample((n,), x)[:, 0]
            if not hasattr(self.posterior, "prior")
            else self.posterior.sample((n,), x=x, show_progress_bars=False)
        )
        drawn = drawn.detach().numpy()
        return np.exp(drawn) if self.log else drawn

    def judge(self, theta, x):
        inner, torch = np.log(theta) if self.log else theta, self.torch
        masses, scores = [], []
        for own, seen in zip(inner, x):
            seen = torch.tensor(seen[None]).float()
            own = torch.tensor(own[None]).float()
            drawn = torch.tensor(self.sample(seen[0].numpy(), DRAWS)).float()
            drawn, leaked = torch.log(drawn) if self.log else drawn, torch.ones(())
            if hasattr(self.posterior, "prior"):
                at = self.posterior.log_prob(own, x=seen, norm_posterior=False)
                others = self.posterior.log_prob(drawn, x=seen, norm_posterior=False)
                leaked = self.posterior.leakage_correction(seen, num_rejection_samples=1000)
            else:
                at = self.posterior.log_prob(own[None], seen)[0]
                others = self.posterior.log_prob(drawn[:, None], seen)[:, 0]
            masses.append(float((others > at).float().mean()))
            jacobian = float(own.sum()) if self.log else 0.0
            scores.append(float(at) - float(torch.log(leaked)) - jacobian)
        return np.mean(np.array(masses)[:, None] <= [0.5, 0.9], axis=0), np.mean(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--tests", type=int, default=500, help="simulations of the coverage")
    parser.add_argument("--peer", choices=["sbi"])
    asked = parser.parse_args()
    kind = OfSbi if asked.peer else OfNfref
    print(f"{'task':18}{'N':>7}  C2ST   coverage 0.5, 0.9    nats  CPU s", flush=True)
    for name in asked.only:
        task = TASKS[name]
        tests = np.random.default_rng(4)
        others = task.prior(tests, asked.tests)
        seen = task.simulate(tests, others)
        for n in asked.rows:
            rng = np.random.default_rng(0)
            theta = task.prior(rng, n)
            x = task.simulate(rng, theta)
            start = time.process_time()
            fitted = kind(task, theta, x)
            seconds = time.process_time() - start
            scores = []
            for seed in OBSERVATIONS:
                rng = np.random.default_rng(seed)
                observed = task.simulate(rng, task.prior(rng, 1))[0]
                exact = task.exact(rng, observed, SAMPLES)
                scores.append(c2st(fitted.sample(observed, SAMPLES), exact))
            coverage, nats = fitted.judge(others, seen)
            print(
                f"{name:18}{n:7}  {np.mean(scores):.3f}  {coverage[0]:8.3f} {coverage[1]:8.3f}"
                f"  {nats:8.3f}  {seconds:5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
