r"""Maximum likelihood on a surface that has to be found: the density on it, and the distance to it.

Sources: Caterini, Loaiza-Ganem, Pleiss, Cunningham 2021, arXiv:2106.01413; Sorrenson, Draxler,
Rousselot, Hummerich, Zimmermann, Koethe 2023, arXiv:2306.01843.

    .. math::

        \mathrm{loss} = \text{mean over rows of } -\log p_Z(f(x)) + \tfrac12 \log \det J^T J
            + \beta |x - g(f(x))|^2, \qquad J = g'(z), \quad z = f(x).

beta = 1 / (2 s^2) is the likelihood, up to a constant, of rows that lie off the surface by normal
noise of deviation s in each coordinate. The gradient of the volume is a trace,

    .. math::

        \tfrac12 \, d \log \det J^T J = \operatorname{tr}\left((J^T J)^{-1} J^T dJ\right)
            = \mathbb{E}_v \, (J w)^T dJ \, v, \qquad J^T J \, w = v,

with random v, E v v^T = I. So one product with J on the tape replaces the d of the determinant.
Conjugate gradients solve for w; each step takes one product with J and one with J^T, without a
tape.

Where the encoder is a network of its own, f'(x) is near the pseudo-inverse of J once g(f(x)) is the
nearest point of the surface. Then the volume is -1/2 log det f' f'^T, and its gradient needs no
solve: :class:`nfref.objectives.free_form.FreeFormLikelihood` takes an injective free-form flow.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.flows.free_form import linearised
from nfref.objectives.free_form import FreeFormLikelihood, orthogonal_probes
from nfref.runtime import params as trees
from nfref.runtime.annotations import Array, Callable
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import at_least, check_positive

# Formulas ---------------------------------------------------------------------------------


def solve_gram(push: Callable[[Array], Array], pull: Callable[[Array], Array], v: Array) -> Array:
    """Return the w with J^T J w = v of each row, by conjugate gradients from w = 0.

    Without rounding it ends after d steps. It stops earlier if all residuals are below rounding.

    ``push`` maps v (N, d) to J v (N, D), ``pull`` maps u (N, D) to J^T u (N, d). Returns (N, d).
    """
    w, residual, step = numpy.zeros_like(v), v, v
    size = numpy.sum(v**2, axis=1, keepdims=True)
    enough = numpy.finfo(v.dtype).eps ** 2 * size
    for _ in range(2 * v.shape[1]):
        moves = size > enough
        if not moves.any():
            break
        image = pull(push(step))
        curvature = numpy.sum(step * image, axis=1, keepdims=True)
        length = numpy.divide(size, curvature, out=numpy.zeros_like(size), where=moves)
        w, residual = w + length * step, residual - length * image
        before, size = size, numpy.sum(residual**2, axis=1, keepdims=True)
        step = residual + step * numpy.divide(size, before, out=numpy.zeros_like(size), where=moves)
    return w


def log_volume_surrogate(
    decode: Callable[[Array], Array], fixed: Callable[[Array], Array], z: Array, v: Array
) -> Array:
    """Return (J w)^T J v with J w held, whose gradient has the mean of that of 1/2 log det J^T J.

    Its value is |v|^2 for every J.

    Paper:   rectangular flows, in its published code: half of w^T J^T J v with w held, by forward
             and reverse mode; w by conjugate gradients up to a given tolerance.
    Differs: J w is held instead of w: one product on the tape, not two. Both terms of d(J^T J)
             have the same mean, so one of them needs no 1/2.

    ``decode`` and ``fixed`` are g with traced and with plain parameters. Shapes: z, v (N, d).
    Returns (N,).
    """
    _, push, pull = linearised(fixed, getval(z))
    held = push(solve_gram(push, pull, v))
    return np.sum(held * linearised(decode, z)[1](v), axis=1)


# Objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class InjectiveLikelihood(FreeFormLikelihood):
    """An objective for :func:`nfref.fit`: the loss at the head of this file.

    The last flow of the density is a :class:`nfref.InjectiveFlow`. The fit takes the epoch of the
    best score. With ``probes=0`` and without validation rows this is the loss itself. Scores of
    validation rows are their likelihood alone, without the distance from the surface.

    Parameters
    ----------
    beta : float
        Weight of the squared distance from the surface, above zero.
    probes : int, default 0
        Random v per row, at most d. With 0 the volume is exact, by d products.
    """

    probes: int = 0

    _converters = {"beta": check_positive, "probes": at_least(0)}

    def _terms(self, flow, params, x, context, rng):
        """Return z, and the volume (or its surrogate) + beta |x - g(z)|^2 of each row."""
        z = flow.encoder(params, context)(x)
        decode = flow.decoder(params, context)
        distance = self.beta * np.sum((x - decode(z)) ** 2, axis=1)
        if self.probes == 0:
            return z, flow._forward(params, z, context)[1] + distance
        fixed = flow.decoder(trees.tree_map(getval, params), context)
        volume = 0
        for v in orthogonal_probes(rng, len(x), flow.latent_dim, self.probes, getval(x).dtype):
            volume = volume + log_volume_surrogate(decode, fixed, z, v) / self.probes
        return z, volume + distance
