r"""Maximum likelihood without a determinant, for an encoder f and a decoder g of any form.

Source: Draxler, Sorrenson, Zimmermann, Rousselot, Koethe 2023, arXiv:2310.16624.

Of log |det f'(x)| training needs the gradient by the parameters alone, and that is a trace,

    .. math::

        \frac{d}{d\theta} \log |\det f'|
            = \operatorname{tr}\left(\frac{df'}{d\theta} f'^{-1}\right)
            \approx \operatorname{tr}\left(\frac{df'}{d\theta} g'\right)
            = \frac{d}{d\theta} \mathbb{E}_v \, v^T f' \, \mathrm{SG}[g' v],

with the Jacobian g'(z) of the decoder for the inverse of f', held fixed by SG, stop gradient, and
random v with E v v^T = I. One vector-Jacobian product and one Jacobian-vector product take the
place of a determinant. The first step is exact, the second as good as g is an inverse, and the last
part of the loss makes it one:

    .. math::

        \mathrm{loss} = \text{mean over rows of } -\log p_Z(f(x))
            - v^T f'(x) \, \mathrm{SG}[g'(z) v]
            + \beta |x - g(f(x))|^2.

Its value is not a likelihood: where g inverts f, the second term is -D whatever the determinant.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy
from autograd import make_vjp

from nfref.flow import context_for
from nfref.flows.free_form import FreeFormFlow
from nfref.runtime import params as trees
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count, check_positive, check_rng
from nfref.runtime.configuration import Checked

# Formulas ---------------------------------------------------------------------------------


def pushforward(function, rows, v):
    """function'(rows) v: the gradient, by u, of the vector-Jacobian product u^T function' v.

    Shapes: rows, v (N, D). Returns (N, D).
    """
    vjp, value = make_vjp(function)(rows)
    return make_vjp(vjp)(np.zeros_like(value))[0](v)


def log_det_surrogate(encode, decode, x, v):
    """v^T f'(x) SG[g'(z) v] with z = f(x). Its gradient is that of log |det f'(x)|, not its value.

    Paper:   free-form flows v2, algorithm 1, and its published code: v^T f'(x) by reverse mode,
             g'(z) v by forward mode, detached.
    Differs: forward mode is reverse mode taken twice.

    ``encode`` and ``decode`` are functions of rows. Shapes: x, v (N, D). Returns z (N, D) and
    the surrogate (N,).
    """
    vjp, z = make_vjp(encode)(x)
    held = getval(pushforward(decode, getval(z), v))
    return z, np.sum(vjp(v) * held, axis=1)


def orthogonal_probes(rng, n, dim, count, dtype):
    """``count`` random v a row, orthogonal to each other and of length sqrt(D): E v v^T = I.

    With ``count`` = D the mean of v^T A v over the probes is tr A itself.

    Returns (count, N, D).
    """
    q, _ = numpy.linalg.qr(rng.standard_normal((n, dim, count)))
    return (dim**0.5 * numpy.moveaxis(q, 2, 0)).astype(dtype)


# Objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreeFormLikelihood(Checked):
    """An objective for :func:`nfref.fit`: the loss at the head of this file.

    It is called with ``(density, params, x, context, rng)``, where the density's flow is a
    :class:`~nfref.flows.free_form.FreeFormFlow`, or a chain with some in it, whose other members
    give their own log-determinants. ``history["train"]`` of the fit is the value of this loss, by
    which no two epochs can be compared: give the fit validation rows, which are scored by their
    exact likelihood under the encoder and say which epoch is the best.

    Parameters
    ----------
    beta : float
        Weight of the squared reconstruction error, above zero. Where it is too small, g is no
        inverse of f and the gradient not that of the encoder's likelihood.
    probes : int
        Random v a row, at most D, where the trace is exact.
    """

    beta: float = 10.0
    probes: int = 1

    _converters = {"beta": check_positive, "probes": check_count}

    def __call__(self, density, params, x, context, rng):
        """The loss of a batch.

        Parameters
        ----------
        density : Density
        params : dict
        x : (N, D) array
        context : (N, C) array or None
        rng : numpy.random.Generator

        Returns
        -------
        scalar

        Raises
        ------
        ValueError
            If no free-form flow is in the density, or it has fewer coordinates than probes.
        """
        check_rng(rng)
        params, x, context = density._checked(params, "x", x, context)
        if self.probes > density.dim:
            raise ValueError(
                f"probes: expected at most {density.dim}, one a coordinate, got {self.probes}"
            )
        loss, found = 0, False
        for member, direction, path in density.flow.members(-1):
            own, given = trees.at_path(params["flow"], path), context_for(member, context)
            if isinstance(member, FreeFormFlow) and direction == -1:
                x, terms = self._terms(member, own, x, given, rng)
                loss, found = loss + terms, True
            else:
                x, log_det = member._apply(direction, own, x, context)
                loss = loss - log_det
        if not found:
            raise ValueError(
                f"density: expected a FreeFormFlow in its flow, got {type(density.flow).__name__}"
            )
        return np.mean(loss - density.base.log_prob(params["base"], x))

    def _terms(self, flow, params, x, context, rng):
        """z, and -surrogate + beta |x - g(z)|^2 of each row."""
        encode, decode = flow.encoder(params, context), flow.decoder(params, context)
        fixed = flow.decoder(trees.tree_map(getval, params), context)
        probes = orthogonal_probes(rng, *x.shape, self.probes, getval(x).dtype)
        surrogate = 0
        for v in probes:
            z, value = log_det_surrogate(encode, fixed, x, v)
            surrogate = surrogate + value / self.probes
        return z, self.beta * np.sum((x - decode(z)) ** 2, axis=1) - surrogate
