"""Six tasks of simulation-based inference, with samples of the exact posterior.

The tasks are those of Lueckmann et al. 2021, arXiv:2101.04653, that need no network to simulate:
two moons, a linear Gaussian, a mixture of Gaussians, SLCP (simple likelihood, complex posterior),
an epidemic (SIR) and predators with prey (Lotka and Volterra). Each has a prior, a simulator, the
bounds of the prior, and a sampler of the exact posterior for one observation.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Callable


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    prior : callable
        (rng, n) -> theta (n, D).
    simulate : callable
        (rng, theta) -> x (n, C).
    exact : callable
        (rng, x (C,), n) -> samples of the posterior (n, D).
    bounds : list of pairs, or None
    """

    prior: Callable[..., Any]
    simulate: Callable[..., Any]
    exact: Callable[..., Any]
    bounds: Any = None


def uniform(low, high, dim):
    return lambda rng, n: rng.uniform(low, high, (n, dim))


def weighted(rng, theta, log_weight, n):
    """Resample rows by their weights; the weights have to be worth many rows."""
    weight = np.exp(log_weight - np.max(log_weight))
    effective = np.sum(weight) ** 2 / np.sum(weight**2)
    if effective < n / 2:
        raise ValueError(f"theta: expected weights worth {n // 2} rows, got {effective:.0f}")
    return theta[rng.choice(len(theta), n, p=weight / np.sum(weight))]


# Two moons --------------------------------------------------------------------------------


def two_moons(rng, theta):
    a, r = rng.uniform(-np.pi / 2, np.pi / 2, len(theta)), rng.normal(0.1, 0.01, len(theta))
    moon = np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], axis=1)
    shift = [-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]]
    return moon + np.stack(shift, axis=1) / np.sqrt(2)


def two_moons_exact(rng, x, n):
    a, r = rng.uniform(-np.pi / 2, np.pi / 2, 50 * n), rng.normal(0.1, 0.01, 50 * n)
    shift = (x - np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], axis=1)) * np.sqrt(2)
    total = -shift[:, 0] * rng.choice([-1, 1], 50 * n)
    theta = np.stack([total - shift[:, 1], total + shift[:, 1]], axis=1) / 2
    fits = (shift[:, 0] < 0) & np.all(np.abs(theta) < 1, axis=1)
    return theta[fits][:n]


# Gaussians --------------------------------------------------------------------------------


def gaussian_mixture(rng, theta):
    scale = np.where(rng.random(len(theta)) < 0.5, 1.0, 0.1)
    return theta + scale[:, None] * rng.standard_normal(theta.shape)


def gaussian_mixture_exact(rng, x, n):
    found = gaussian_mixture(rng, np.repeat(x[None], 8 * n, axis=0))
    return found[np.all(np.abs(found) < 10, axis=1)][:n]


# SLCP -------------------------------------------------------------------------------------


def slcp_factor(theta):
    """Return the lower factor of the covariance, (n, 2, 2)."""
    one, two, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, np.tanh(theta[:, 4])
    factor = np.zeros((len(theta), 2, 2))
    factor[:, 0, 0], factor[:, 1, 0] = one, rho * two
    factor[:, 1, 1] = two * np.sqrt(1 - rho**2)
    return factor


def slcp(rng, theta):
    noise = rng.standard_normal((len(theta), 4, 2))
    return (theta[:, None, :2] + noise @ np.swapaxes(slcp_factor(theta), 1, 2)).reshape(-1, 8)


def slcp_exact(rng, x, n):
    # The mean is normal given the covariance, so only three parameters need weights.
    points, theta, log_weight = x.reshape(4, 2), [], []
    for _ in range(10):
        some = rng.uniform(-3, 3, (300_000, 5))
        factor = slcp_factor(some)
        some[:, :2] = points.mean(axis=0) + np.einsum(
            "nij,nj->ni", factor, rng.standard_normal((len(some), 2)) / 2
        )
        spread = np.einsum("ki,kj->ij", points - points.mean(axis=0), points - points.mean(axis=0))
        det = factor[:, 0, 0] * factor[:, 1, 1]
        inverse = np.zeros_like(factor)
        inverse[:, 0, 0], inverse[:, 1, 1] = 1 / factor[:, 0, 0], 1 / factor[:, 1, 1]
        inverse[:, 1, 0] = -factor[:, 1, 0] / det
        distance = np.einsum("nij,jk,nik->n", inverse, spread, inverse)
        inside = np.all(np.abs(some[:, :2]) < 3, axis=1)
        theta.append(some[inside])
        log_weight.append((-3 * np.log(det) - 0.5 * distance)[inside])
    return weighted(rng, np.concatenate(theta), np.concatenate(log_weight), n)


# Differential equations -------------------------------------------------------------------


def solve(slope, state, end, steps):
    """Return the states at ``steps`` + 1 times by Runge and Kutta's method of order four."""
    h, found = end / steps, [state]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            k1 = slope(state)
            k2 = slope(state + h / 2 * k1)
            k3 = slope(state + h / 2 * k2)
            k4 = slope(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            found.append(state)
    return np.array(found)


def log_normal(middle, spread):
    return lambda rng, n: np.exp(middle + spread * rng.standard_normal((n, len(middle))))


POPULATION = 1e6
SIR_PRIOR = np.log([0.4, 0.125]), np.array([0.5, 0.2])


def infected(theta):
    """Return the share of infected people at ten times, (n, 10)."""
    beta, gamma = theta.T

    def slope(state):
        s, i = state
        new = beta * s * i / POPULATION
        return np.array([-new, new - gamma * i])

    start = np.stack([np.full(len(theta), POPULATION - 1), np.ones(len(theta))])
    return np.clip(solve(slope, start, 160.0, 480)[48::48, 1].T / POPULATION, 0, 1)


def epidemic(rng, theta):
    return rng.binomial(1000, infected(theta)).astype(np.float64)


def epidemic_exact(rng, x, n):
    def log_likelihood(theta):
        share = np.clip(infected(theta), 1e-12, 1 - 1e-12)
        return np.sum(x * np.log(share) + (1000 - x) * np.log1p(-share), axis=1)

    return by_steps(rng, *SIR_PRIOR, log_likelihood, n)


PREY_PRIOR = np.array([-0.125, -3, -0.125, -3]), np.full(4, 0.5)


def predators_and_prey(theta):
    """Return the log of both counts at ten times, (n, 20)."""
    alpha, beta, gamma, delta = theta.T

    def slope(state):
        prey, predators = state
        return np.array(
            [alpha * prey - beta * prey * predators, delta * prey * predators - gamma * predators]
        )

    start = np.stack([np.full(len(theta), 30.0), np.ones(len(theta))])
    found = solve(slope, start, 20.0, 900)[90::90]
    with np.errstate(all="ignore"):
        return np.log(np.clip(found, 1e-10, 1e4)).transpose(2, 0, 1).reshape(len(theta), -1)


def lotka_volterra(rng, theta):
    middle = predators_and_prey(theta)
    return np.exp(middle + 0.1 * rng.standard_normal(middle.shape))


def lotka_volterra_exact(rng, x, n):
    def log_likelihood(theta):
        apart = np.log(x) - predators_and_prey(theta)
        return np.nan_to_num(-0.5 * np.sum(apart**2, axis=1) / 0.1**2, nan=-1e9)

    return by_steps(rng, *PREY_PRIOR, log_likelihood, n)


def by_steps(rng, middle, spread, log_likelihood, n):
    """Sample a posterior of log-normal parameters: rising powers of the likelihood, moved rows."""
    y, power = rng.standard_normal((4000, len(middle))), 0.0

    def target(y):
        return log_likelihood(np.exp(middle + spread * y))

    found = target(y)
    while power < 1:
        step = 1 - power
        while True:  # keep half of the rows
            weight = np.exp(step * (found - np.max(found)))
            if np.sum(weight) ** 2 / np.sum(weight**2) > len(y) / 2:
                break
            step *= 0.7
        power = min(1.0, power + step)
        places = rng.choice(len(y), len(y), p=weight / np.sum(weight))
        y, found = y[places], found[places]
        factor = np.linalg.cholesky(np.cov(y.T) + 1e-12 * np.eye(y.shape[1]))
        for _ in range(40 if power == 1 else 8):
            moved = y + rng.standard_normal(y.shape) @ factor.T * (2.0 / np.sqrt(y.shape[1]))
            new = target(moved)
            gain = power * (new - found) - 0.5 * np.sum(moved**2 - y**2, axis=1)
            kept = np.log(rng.random(len(y))) < gain
            y, found = np.where(kept[:, None], moved, y), np.where(kept, new, found)
    return np.exp(middle + spread * y)[:n]


TASKS = {
    "two moons": Task(uniform(-1, 1, 2), two_moons, two_moons_exact, [(-1, 1)] * 2),
    "gaussian linear": Task(
        lambda rng, n: np.sqrt(0.1) * rng.standard_normal((n, 10)),
        lambda rng, theta: theta + np.sqrt(0.1) * rng.standard_normal(theta.shape),
        lambda rng, x, n: x / 2 + np.sqrt(0.05) * rng.standard_normal((n, 10)),
    ),
    "gaussian mixture": Task(
        uniform(-10, 10, 2), gaussian_mixture, gaussian_mixture_exact, [(-10, 10)] * 2
    ),
    "SLCP": Task(uniform(-3, 3, 5), slcp, slcp_exact, [(-3, 3)] * 5),
    "SIR": Task(log_normal(*SIR_PRIOR), epidemic, epidemic_exact, [(0, None)] * 2),
    "Lotka-Volterra": Task(
        log_normal(*PREY_PRIOR), lotka_volterra, lotka_volterra_exact, [(0, None)] * 4
    ),
}
