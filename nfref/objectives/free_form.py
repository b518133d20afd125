r"""Maximum likelihood without a determinant, for an encoder f and a decoder g of any form.

Source: Draxler, Sorrenson, Zimmermann, Rousselot, Koethe 2023, arXiv:2310.16624.

Training needs only the gradient of log |det f'(x)| by the parameters, and that is a trace,

    .. math::

        \frac{d}{d\theta} \log |\det f'|
            = \operatorname{tr}\left(\frac{df'}{d\theta} f'^{-1}\right)
            \approx \operatorname{tr}\left(\frac{df'}{d\theta} g'\right)
            = \frac{d}{d\theta} \mathbb{E}_v \, v^T f' \, \mathrm{SG}[g' v],

Here the Jacobian g'(z) of the decoder replaces the inverse of f', held fixed by SG (stop gradient),
and v is random with E v v^T = I. One vector-Jacobian product and one Jacobian-vector product
replace a determinant. The first step is exact. The second is exact if g is the inverse of f, which
the last part of the loss enforces:

    .. math::

        \mathrm{loss} = \text{mean over rows of } -\log p_Z(f(x))
            - v^T f'(x) \, \mathrm{SG}[g'(z) v]
            + \beta |x - g(f(x))|^2.

Its value is not a likelihood: if g inverts f, the second term is -D for any determinant.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy
from autograd import make_vjp

from nfref.flow import context_for
from nfref.flows.free_form import FreeFormFlow, linearised
from nfref.flows.injective import InjectiveFlow
from nfref.objectives.objective import Objective
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count, check_positive

# Formulas ---------------------------------------------------------------------------------


def log_det_surrogate(
    encode: Callable[[Array], Array], decode: Callable[[Array], Array], x: Array, v: Array
) -> tuple[Array, Array]:
    """Return z = f(x) and v^T f'(x) SG[g'(z) v], whose gradient is that of log |det f'(x)|.

    Paper:   free-form flows v2, algorithm 1, and its published code: v^T f'(x) by reverse mode,
             g'(z) v by forward mode, detached.
    Differs: forward mode is reverse mode applied twice.

    ``encode`` and ``decode`` are functions of rows. Shapes: x (N, D), v (N, d), d = D unless the
    decoder is injective. Returns z (N, d) and the surrogate (N,).
    """
    vjp, z = make_vjp(encode)(x)
    held = getval(linearised(decode, getval(z))[1](v))
    return z, np.sum(vjp(v) * held, axis=1)


def orthogonal_probes(rng: Generator, n: int, dim: int, count: int, dtype: DTypeLike) -> Array:
    """Return ``count`` random v per row, orthogonal and of length sqrt(D): E v v^T = I.

    With ``count`` = D the mean of v^T A v over the probes is tr A itself.

    Returns (count, N, D).
    """
    q, _ = numpy.linalg.qr(rng.standard_normal((n, dim, count)))
    return (dim**0.5 * numpy.moveaxis(q, 2, 0)).astype(dtype)


# Objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreeFormLikelihood(Objective):
    """An objective for :func:`nfref.fit`: the loss at the head of this file.

    The density's flow is a :class:`~nfref.flows.free_form.FreeFormFlow`, or a chain that contains
    some, of at least as many coordinates as there are probes; the other members give their own
    log-determinants. ``history["train"]`` of the fit is the value of this loss, which cannot
    compare epochs. So give the fit validation rows: their exact likelihood under the encoder
    decides which epoch is the best.

    Parameters
    ----------
    beta : float
        Weight of the squared reconstruction error, above zero. If it is too small, g is not the
        inverse of f, and the gradient is not that of the encoder's likelihood.
    probes : int
        Random v per row, at most D; with D of them the trace is exact.
    """

    beta: float = 10.0
    probes: int = 1

    _converters = {"beta": check_positive, "probes": check_count}

    def _loss(self, density, params, x, context, rng):
        if self.probes > density.latent_dim:
            raise ValueError(
                f"probes: expected at most {density.latent_dim}, one a coordinate, "
                f"got {self.probes}"
            )
        loss: Any = 0
        found = False
        for member, direction, path in density.flow.members(-1):
            own, given = trees.at_path(params["flow"], path), context_for(member, context)
            if isinstance(member, (FreeFormFlow, InjectiveFlow)) and direction == -1:
                x, terms = self._terms(member, own, x, given, rng)
                loss, found = loss + terms, True
            else:
                x, log_det = member._apply(direction, own, x, context)
                loss = loss - log_det
        if not found:
            raise ValueError(
                "density: expected a FreeFormFlow or an InjectiveFlow in its flow, "
                f"got {type(density.flow).__name__}"
            )
        return np.mean(loss - density.base.log_prob(params["base"], x))

    def _terms(self, flow, params, x, context, rng):
        """Return z, and -surrogate + beta |x - g(z)|^2 of each row."""
        encode, decode = flow.encoder(params, context), flow.decoder(params, context)
        fixed = flow.decoder(trees.tree_map(getval, params), context)
        probes = orthogonal_probes(rng, len(x), flow.latent_dim, self.probes, getval(x).dtype)
        surrogate = 0
        for v in probes:
            z, value = log_det_surrogate(encode, fixed, x, v)
            surrogate = surrogate + value / self.probes
        return z, self.beta * np.sum((x - decode(z)) ** 2, axis=1) - surrogate
