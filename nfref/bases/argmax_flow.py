r"""Argmax flows: a category is the largest of K numbers of a density.

Source: Hoogeboom, Nielsen, Jaini, Forre, Welling 2021, arXiv:2102.05379.

    .. math::

        x_i = \operatorname{argmax}_k v_{ik}, \qquad
        P(x) = \int p(v) \, 1[\operatorname{argmax} v = x] \, dv
            = \mathbb{E}_{q(v | x)} \left[\frac{p(v)}{q(v | x)}\right],

where q(v | x) has all of its mass on the v whose argmax is x. It is a flow on free numbers u,
followed by a map that moves all others below the one that has to be the largest:

    .. math::

        v_{ix_i} = u_{ix_i}, \qquad v_{ik} = u_{ix_i} - \log(1 + e^{u_{ix_i} - u_{ik}}),
        \qquad \frac{\partial v_{ik}}{\partial u_{ik}} = \sigma(u_{ix_i} - u_{ik}).

One sample of the quotient is unbiased for P(x); its logarithm is a lower bound on average.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.normal_mixture import logsumexp
from nfref.bases.standard_normal import standard_normal_log_prob
from nfref.density import Density, check_unconditional
from nfref.flow import Flow, check_square
from nfref.networks.activations import softplus
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.checks import as_rows, check_count, check_rng, check_whole


def below_chosen(u: Array, chosen: Array) -> tuple[Array, Array]:
    """Return v, whose largest number is the chosen one, and log |det dv/du|.

    Paper:   argmax flows: thresholding, v_k = T - softplus(T - u_k) with T = u_x.
    Differs: nothing.

    Shapes: u (N, D, K); chosen the same, one-hot. Returns (N, D, K) and (N,).
    """
    gap = np.sum(u * chosen, axis=2, keepdims=True) - u
    v = np.where(chosen, u, u + gap - softplus(gap))
    return v, -np.sum(softplus(-gap) * ~chosen, axis=(1, 2))


@dataclass(frozen=True)
class ArgmaxFlow(Base):
    """Rows of D categories 0 ... K - 1, the argmax of a density of D K numbers.

    There is no formula for its mass; ``lower_bound`` has samples of it. Train it with
    :func:`nfref.objectives.dequantisation.argmax_bound`.

    Parameters
    ----------
    density : Base or Density
        The density of D K numbers, the K of each coordinate together; without a context.
    levels : int
        K.
    noise : Flow
        From standard normal numbers to u, D K of them; its context, one-hot x, has as many.

    Notes
    -----
    Parameters in ``params``: ``density`` and ``noise``.
    """

    density: Base | Density
    levels: int
    noise: Flow

    _converters = {"density": check_unconditional, "levels": check_count, "noise": check_square}

    def __post_init__(self):
        super().__post_init__()
        width = self.density.dim
        if width % self.levels:
            raise ValueError(f"density: expected a multiple of {self.levels} numbers, got {width}")
        if (self.noise.dim, self.noise.context_dim) != (width, width):
            raise ValueError(
                f"noise: expected dim and context_dim {width}, "
                f"got {self.noise.dim} and {self.noise.context_dim}"
            )

    @property
    def dim(self) -> int:
        """The number of categories D in a row."""
        return self.density.dim // self.levels

    def _init(self, rng):
        return {"density": self.density.init(rng), "noise": self.noise.init(rng)}

    def _log_prob(self, params, z):
        raise NotImplementedError("ArgmaxFlow has no formula for log_prob; use lower_bound")

    def lower_bound(
        self, params: dict[str, Any], x: Array, rng: Generator, samples: int = 1
    ) -> Array:
        """Return log of the mean over samples of p(v) / q(v | x): at most log P(x) on average.

        It rises with the number of samples, and tends to log P(x).

        Parameters
        ----------
        params : dict
        x : (N, D) array
            Whole numbers from 0 to K - 1.
        rng : numpy.random.Generator
        samples : int, default 1

        Returns
        -------
        (N,) array
            In nats.
        """
        x = check_whole("x", as_rows("x", x, self.dim), self.levels)
        check_rng(rng)
        chosen = x[:, :, None] == numpy.arange(self.levels)
        check_count("samples", samples)
        ratios = [self._log_ratio(params, chosen, rng) for _ in range(samples)]
        return logsumexp(np.stack(ratios, axis=1)) - np.log(samples)

    def _log_ratio(self, params, chosen, rng):
        seen = chosen.reshape(len(chosen), self.density.dim).astype(float)
        e = rng.standard_normal(seen.shape)
        u, log_det = self.noise.forward(params["noise"], e, seen)
        v, below = below_chosen(np.reshape(u, chosen.shape), chosen)
        log_q = standard_normal_log_prob(e) - log_det - below
        return self.density.log_prob(params["density"], np.reshape(v, seen.shape)) - log_q

    def _sample(self, params, rng, n):
        v = self.density.sample(params["density"], rng, n)
        return numpy.argmax(v.reshape(n, self.dim, self.levels), axis=2)
