"""Forward regression: a flow learns the images of noise rows, without its determinant.

Source: Rehman et al. 2025, arXiv:2506.01158 (FORT).

A flow maps noise to data in one step. Likelihood trains it backwards: rows go to the noise, and the
log-determinant counts. Here each noise row z has a partner x among the data, and the flow learns
forward(z) = x by least squares. The best map takes z to the mean of its partners, so partners must
be a function of z: those of optimal transport, or the ends of a continuous flow's paths.

The log-likelihood of the result is exact, as that of any flow. It is not what was minimised.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.objectives.flow_matching import noise_rows, pair_by_transport
from nfref.objectives.rectified_flow import OnPairs, chosen_pairs


@dataclass(frozen=True)
class ForwardRegression(OnPairs):
    """An objective: the mean of |forward(z) - x|^2 over pairs, not in nats.

    Any flow without a context will do: pairs that ignore one would make the noise depend on it.

    Paper:   FORT: an l2 regression of the flow's image of prior samples on targets, by optimal
             transport or by a continuous flow, latent to data as here.
    Differs: only the paper's opening could be read here. Partners by transport are those of each
             batch, by :func:`nfref.objectives.flow_matching.pair_by_transport`.

    Parameters
    ----------
    pairs : (z, x), optional
        Two (M, D) arrays, such as those of :func:`nfref.objectives.rectified_flow.reflow_pairs`.
        Without them every batch is paired with new noise by optimal transport. With them each call
        samples as many pairs as the batch has rows, and ignores the rows themselves.
    """

    def _loss(self, density, params, x, context, rng):
        if context is not None:
            raise ValueError("context: expected none for a regression on pairs, got some")
        if self.pairs is None:
            z = noise_rows(density, params, rng, len(x))
            z = pair_by_transport(z, x)
        else:
            z, x = chosen_pairs(self.pairs, rng, len(x))
        found, _ = density.flow.forward(params["flow"], z.astype(np.finfo(x.dtype).dtype))
        return np.mean(np.sum((found - x) ** 2, axis=1))
