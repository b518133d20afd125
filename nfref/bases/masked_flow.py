r"""Discrete flow matching from masks: categories appear one after the other, in random order.

Sources: Gat, Remez, Shaul, Kreuk, Chen, Synnaeve, Adi, Lipman 2024, arXiv:2407.15595 (discrete flow
matching); Campbell, Yim, Barzilay, Rainforth, Jaakkola 2024, arXiv:2402.04997 (discrete flow
models).

At time 0 all D coordinates are masked, at time 1 none. On the path to a row x each coordinate is
revealed by time t with probability kappa_t, independently of the others. A network learns
p_i(x_i | what is revealed); the jump process that samples reveals coordinate i at the rate
kappa'_t / (1 - kappa_t) p_i. If the network does not see t, every order of the coordinates has the
same probability, whatever kappa, so the mass of a row is known exactly:

    .. math::

        P(x) = \frac{1}{D!} \sum_{\text{orders } o} \prod_k
            p_{o_k}(x_{o_k} | x_{o_1 \ldots o_{k-1}}).

With f(S) the mean of these products over the orders of a set S of coordinates,

    .. math:: f(S) = \frac{1}{|S|} \sum_{i \in S} f(S \setminus i) \, p_i(x_i | x_{S \setminus i}),

so that 2^D - 1 passes of the network give P(x) = f(all). For a larger D there is the mass in one
order, which a coder needs, and the bound of training.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.normal_mixture import logsumexp
from nfref.networks.mlp import init_mlp, mlp
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import as_rows, check_count, check_hidden, check_permutation, check_whole

MOST = 12  # most coordinates whose 2^D sets are added up


@dataclass(frozen=True)
class MaskedFlow(Base):
    """Rows of D categories 0 ... K - 1, revealed in random order; ``log_prob`` is a log mass.

    Train it with :func:`nfref.objectives.discrete_flow_matching.discrete_flow_matching`.

    Paper:   discrete flow matching: masks as the source, the mixture path of kappa_t, the
             denoiser p(x_1 | x_t).
    Differs: the denoiser does not see t, and samples follow the jumps themselves, without steps in
             time. So the mass is exact.

    Parameters
    ----------
    dim : int
    levels : int
        K.
    hidden : sequence of int, default (64,)
        Hidden widths of the network, which reads D K numbers: one-hot rows, zeros for masks.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.MaskedFlow(2, levels=3)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x = [[a, b] for a in range(3) for b in range(3)]
    >>> print(np.exp(flow.log_prob(params, x)).sum().round(12))
    1.0
    """

    dim: int
    levels: int
    hidden: Sequence[int] = (64,)

    _converters = {"levels": check_count, "hidden": check_hidden}

    def _init(self, rng):
        width = self.dim * self.levels
        return {"net": init_mlp(rng, (width, *self.hidden, width))}

    def log_denoiser(self, params: dict[str, Any], x: Array, revealed: Array) -> Array:
        """Return log p_i(k | the revealed part of x), unchecked.

        Shapes: x whole numbers (N, D); revealed bool (N, D). Returns (N, D, K).
        """
        hot = (x[:, :, None] == numpy.arange(self.levels)) & revealed[:, :, None]
        dtype = params["net"][0]["weight"].dtype
        seen = hot.reshape(len(x), self.dim * self.levels).astype(dtype)
        logits = np.reshape(mlp(params["net"], seen, "tanh"), (*x.shape, self.levels))
        return logits - logsumexp(logits)[:, :, None]

    def log_probs(self, params: dict[str, Any], x: Array, revealed: Array) -> Array:
        """Return log p_i(x_i | the revealed part of x), (N, D), unchecked."""
        hot = x[:, :, None] == numpy.arange(self.levels)
        return np.sum(self.log_denoiser(params, x, revealed) * hot, axis=2)

    def _log_prob(self, params, z):
        if self.dim > MOST:
            raise ValueError(
                f"MaskedFlow: expected at most {MOST} coordinates to add up the orders of, "
                f"got {self.dim}; log_prob_in_order takes one order"
            )
        x = check_whole("z", z, self.levels)
        bits = 1 << numpy.arange(self.dim)
        found = {0: np.zeros(len(x), x.dtype)}
        steps: dict[int, Any] = {}
        for members in range(1, 1 << self.dim):
            terms = []
            for i in numpy.flatnonzero(members & bits):
                before = members - int(bits[i])
                if before not in steps:
                    revealed = numpy.broadcast_to((before & bits) > 0, x.shape)
                    steps[before] = self.log_probs(params, x, revealed)
                terms.append(found[before] + steps[before][:, i])
            found[members] = logsumexp(np.stack(terms, axis=1)) - float(np.log(len(terms)))
        return found[members]

    def log_prob_in_order(self, params: dict[str, Any], x: Array, order: Sequence[int]) -> Array:
        """Return the log mass of rows if their coordinates are revealed in a given order.

        Its sum over all rows is 1 for every order; P(x) is the mean of the mass over the orders.

        Parameters
        ----------
        params : dict
        x : (N, D) array
            Whole numbers from 0 to K - 1.
        order : sequence of int
            A permutation of 0 ... D - 1.

        Returns
        -------
        (N,) array
        """
        x = check_whole("x", as_rows("x", x, self.dim), self.levels)
        order = check_permutation("order", order, self.dim)
        total, revealed = np.zeros(len(x)), numpy.zeros(x.shape, bool)
        for i in order:
            total = total + self.log_probs(params, x, revealed)[:, i]
            revealed = revealed | (numpy.arange(self.dim) == i)
        return total

    def _sample(self, params, rng, n):
        x = numpy.zeros((n, self.dim))
        order = numpy.argsort(rng.random((n, self.dim)), axis=1)
        revealed, rows = numpy.zeros((n, self.dim), bool), numpy.arange(n)
        for places in order.T:
            logits = self.log_denoiser(params, x, revealed)[rows, places]
            x[rows, places] = numpy.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
            revealed[rows, places] = True
        return x
