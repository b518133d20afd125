"""Adam on one long vector, with clipped gradients and a schedule of learning rates.

The formulas are above, the optimiser that combines them is below.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import dispatch
from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, check_positive, one_of
from nfref.runtime.configuration import Checked

# Formulas ---------------------------------------------------------------------------------


def adam_update(
    vector: Array,
    gradient: Array,
    m: Array,
    v: Array,
    t: int,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """Apply step t = 1, 2, ... of Adam (Kingma and Ba 2014, arXiv:1412.6980), algorithm 1.

    m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
    theta <- theta - alpha (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    A coordinate whose gradient has always been exactly zero does not move.
    Shapes: vector (theta), gradient (g), m, v (P,). Returns the new (theta, m, v).
    """
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return vector - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v


def clip_by_norm(gradient: Array, limit: float) -> Array:
    """Return g min(1, limit / |g|) (Pascanu et al. 2012, arXiv:1211.5063, algorithm 1)."""
    # The square of a large float32 overflows long before the number does. NumPy adds in blocks
    # of fixed size; np.linalg.norm calls BLAS, where the sum depends on the number of threads.
    norm = np.sqrt(np.sum(np.square(gradient, dtype=np.float64)))
    return gradient * float(limit / norm) if norm > limit else gradient


def cosine_decay(t: float, steps: int) -> float:
    """Return (1 + cos(pi t / T)) / 2: from 1 at step 0 to 0 at step T.

    SGDR (Loshchilov and Hutter 2016, arXiv:1608.03983), section 3, eq. 5, without restarts.
    """
    return float(0.5 * (1 + np.cos(np.pi * t / steps)))


def running_average(average: Array, vector: Array, decay: float, t: int) -> Array:
    """Return d a + (1 - d) theta after step t = 1, 2, ..., where d is at most ``decay``.

    Polyak and Juditsky 1992 average all steps equally; here the past fades, so that the
    average follows the parameters. See :func:`decay_of`.
    """
    decay = decay_of(decay, t)
    return decay * average + (1 - decay) * vector


def decay_of(most: float, t: int) -> float:
    """Return min(most, t / (t + 9)), which lets an average forget the start of a short run."""
    return min(most, t / (t + 9))


# Optimiser --------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdamState:
    """Running moments m and v of the gradient, (P,) each, after ``steps`` steps."""

    m: Array
    v: Array
    steps: int


@dataclass(frozen=True)
class Adam(Checked):
    """The settings of Adam.

    Parameters
    ----------
    learning_rate : float
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``steps``; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    steps : int
        Length of the schedule.
    """

    learning_rate: float
    schedule: str | None = None
    clip_norm: float | None = None
    steps: int = 1

    _converters = {
        "learning_rate": check_positive,
        "schedule": one_of(("cosine",)),
        "clip_norm": check_positive,
        "steps": check_count,
    }

    def start(self, vector: Array) -> AdamState:
        """Return the state before the first step, in the dtype of the parameters (P,)."""
        return AdamState(np.zeros_like(vector), np.zeros_like(vector), 0)

    def step(self, vector: Array, gradient: Array, state: AdamState) -> tuple[Array, AdamState]:
        """Return the parameters and the state after one more step."""
        if self.clip_norm is not None:
            gradient = clip_by_norm(gradient, self.clip_norm)
        t = state.steps + 1
        vector, m, v = dispatch.run(
            "adam_update", adam_update, vector, gradient, state.m, state.v, t, self.rate_of(t)
        )
        return vector, AdamState(m, v, t)

    def rate_of(self, t: int) -> float:
        """Return the learning rate of step t = 1, 2, ..."""
        if self.schedule == "cosine":
            return self.learning_rate * cosine_decay(t - 1, self.steps)
        return self.learning_rate
