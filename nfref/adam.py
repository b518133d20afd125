"""Adam on one long vector.

Source: Kingma and Ba 2014, arXiv:1412.6980, algorithm 1.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AdamState:
    """Running moments of the gradient.

    Attributes
    ----------
    first, second : (P,) arrays
        m and v of the paper.
    steps : int
        t of the paper.
    """

    first: np.ndarray
    second: np.ndarray
    steps: int

    @classmethod
    def zeros(cls, vector):
        """The state before the first step, in the dtype of the parameters."""
        return cls(np.zeros_like(vector), np.zeros_like(vector), 0)


def adam_step(vector, gradient, state, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """One step of algorithm 1.

    m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
    theta <- theta - alpha (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    A coordinate whose gradient has always been exactly zero does not move.

    Parameters
    ----------
    vector, gradient : (P,) arrays
    state : AdamState
    learning_rate, beta1, beta2, epsilon : float

    Returns
    -------
    vector : (P,) array
    state : AdamState
    """
    t = state.steps + 1
    m = beta1 * state.first + (1 - beta1) * gradient
    v = beta2 * state.second + (1 - beta2) * gradient ** 2
    m_hat = m / (1 - beta1 ** t)
    v_hat = v / (1 - beta2 ** t)
    return vector - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), AdamState(m, v, t)


def clip_by_norm(gradient, limit):
    """The gradient, scaled down to Euclidean norm ``limit`` where it is longer.

    Pascanu et al. 2012, arXiv:1211.5063, algorithm 1.
    """
    norm = np.linalg.norm(gradient)
    return gradient * (limit / norm).astype(gradient.dtype) if norm > limit else gradient


def cosine_learning_rate(learning_rate, step, steps):
    """alpha_t = alpha/2 (1 + cos(pi t / T)) (Loshchilov and Hutter 2016, arXiv:1608.03983, eq. 5).

    From ``learning_rate`` at step 0 to zero at step ``steps``.
    """
    return float(0.5 * learning_rate * (1 + np.cos(np.pi * step / steps)))
