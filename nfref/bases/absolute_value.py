"""The absolute value as a layer, in both directions: exact in one, a bound in the other.

Source: Nielsen, Jaini, Hoogeboom, Winther, Welling 2020, arXiv:2007.02731 (SurVAE flows:
surjections to bridge the gap between VAEs and flows).

A surjection is not one to one: |y| = x has up to 2^D solutions y = s x, one for each choice of
signs s_i = +1 or -1. The term that replaces the log-determinant depends on the direction of the
map:

    inference surjection   z = |x|, and x = s z with s sampled from p(s | z):
                           log p(x) = log p(z) + log p(s | z)                       exact
    generative surjection  x = |z|, and z = s x with s sampled from q(s | x):
                           log p(x) >= E_q [log p(z) - log q(s | x)]                a bound

The gap of the bound is KL(q(s | x) || p(s | x)). For small D the 2^D terms of
p(x) = sum_s p(z = s x) can be added up, which gives the exact number beside the bound.

Both layers take a density and are a base, not a flow: each has to sample signs, and the
``forward`` of a flow cannot. :class:`nfref.Density` puts a flow on top.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.bases.normal_mixture import logsumexp
from nfref.density import Density, check_unconditional
from nfref.networks.activations import sigmoid, softplus
from nfref.networks.mlp import init_mlp, mlp
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import as_rows, check_hidden, check_rng

MOST = 12  # most coordinates whose 2^D signs are added up


# Formulas ---------------------------------------------------------------------------------


def signs_log_prob(signs: Array, logits: Array) -> Array:
    """Return sum_i log P(s_i) = -sum_i log(1 + exp(-s_i l_i)), where P(s_i = 1) = sigma(l_i).

    Shapes: signs (..., D) of +1 and -1; logits the same or broadcast. Returns (...).
    """
    return -np.sum(softplus(-signs * logits), axis=-1)


def inference_abs_log_prob(
    x: Array, log_prob: Callable[[Array], Array], logits: Callable[[Array], Array]
) -> Array:
    """Return log p(x) = log p(|x|) + log p(s | |x|), s = sign x. Exact.

    Paper:   SurVAE, the absolute value as an inference surjection: z = |x|, x = s z, with
             the contribution log p(s | z), s a coin that may depend on z. The published code has
             a fair coin, -D log 2.
    Differs: nothing.

    ``log_prob`` and ``logits`` are functions of rows (N, D). Shapes: x (N, D). Returns (N,).
    """
    z, signs = np.abs(x), np.where(getval(x) < 0, -1, 1).astype(getval(x).dtype)
    return log_prob(z) + signs_log_prob(signs, logits(z))


def every_sign(x: Array, log_prob: Callable[[Array], Array], signs: Array) -> Array:
    """Return log p(z = s x) of each row for each of S choices of signs.

    Shapes: x (N, D); signs (S, D). Returns (N, S).
    """
    n, dim = x.shape
    rows = np.reshape(x[:, None, :] * signs, (n * len(signs), dim))
    return np.reshape(log_prob(rows), (n, len(signs)))


def generative_abs_log_prob(x: Array, log_prob: Callable[[Array], Array], signs: Array) -> Array:
    """Return log p(x) = log sum_s p(z = s x) over all signs. Exact, 2^D evaluations a row.

    Shapes as for :func:`every_sign`. Returns (N,).
    """
    return logsumexp(every_sign(x, log_prob, signs))


def generative_abs_bound(
    x: Array, log_prob: Callable[[Array], Array], logits: Callable[[Array], Array], signs: Array
) -> Array:
    """Return sum_s q(s | x) (log p(z = s x) - log q(s | x)), never above log p(x).

    Paper:   SurVAE, the absolute value as a generative surjection: x = |z|, z = s x, with the
             contribution -log q(s | x) under the expectation over s from q(s | x).
    Differs: the expectation is over all signs; the paper samples one of them.

    Shapes as for :func:`every_sign`; ``logits`` maps x to (N, D). Returns (N,).
    """
    log_q = signs_log_prob(signs, logits(x)[:, None, :])
    return np.sum(np.exp(log_q) * (every_sign(x, log_prob, signs) - log_q), axis=1)


def generative_abs_drawn_bound(
    x: Array, log_prob: Callable[[Array], Array], logits: Callable[[Array], Array], signs: Array
) -> Array:
    """Return log p(z = s x) - log q(s | x), one sample s of q a row: unbiased for the bound.

    Shapes: x, signs (N, D). Returns (N,).
    """
    return log_prob(signs * x) - signs_log_prob(signs, logits(x))


# Layers -----------------------------------------------------------------------------------


class _Signs(Base):
    """The common part of both directions: a density, and a network for the signs."""

    density: Base | Density
    hidden: Sequence[int] | None

    _converters = {"density": check_unconditional, "hidden": check_hidden}

    @property
    def dim(self) -> int:
        """The number of coordinates D of the density."""
        return self.density.dim

    def _init(self, rng):
        params = {"density": self.density.init(rng)}
        if self.hidden is not None:
            params["signs"] = init_mlp(rng, (self.dim, *self.hidden, self.dim))
        return params

    def _logits(self, params):
        if self.hidden is None:
            return np.zeros_like
        return lambda rows: mlp(params["signs"], rows, "tanh")

    def _density_log_prob(self, params):
        return lambda rows: self.density.log_prob(params["density"], rows)

    def _sample_signs(self, params, rng, rows):
        """Sample signs (N, D) of +1 and -1, with probabilities given by rows (N, D)."""
        up = rng.uniform(size=rows.shape) < sigmoid(self._logits(params)(rows))
        return np.where(up, 1, -1).astype(rows.dtype)


@dataclass(frozen=True)
class InferenceAbs(_Signs):
    """A density of x = s z with z >= 0 from a density and random signs s; likelihood exact.

    With fair coins it is a density of symmetric data: every point has the density of its 2^D mirror
    images.

    Parameters
    ----------
    density : Base or Density
        Density of the magnitudes z = |x|, without a context. All of its mass has to lie where no
        coordinate is negative, as that of a :class:`GenerativeAbs`, or of a flow with a
        :class:`nfref.Logit` from 0 to a bound at its data end.
    hidden : sequence of int, optional
        Hidden widths of the network that gives the log-odds of each sign from z; fair coins if
        omitted.

    Notes
    -----
    ``params`` has ``density``, and ``signs``, a network, if ``hidden`` is given.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> symmetric = nfref.InferenceAbs(nfref.GenerativeAbs(nfref.Density(nfref.RealNVP(2))))
    >>> params = symmetric.init(np.random.default_rng(0))
    >>> symmetric.log_prob(params, np.zeros((3, 2))).shape
    (3,)
    """

    density: Base | Density
    hidden: Sequence[int] | None = None

    def _log_prob(self, params, z):
        return inference_abs_log_prob(z, self._density_log_prob(params), self._logits(params))

    def _sample(self, params, rng, n):
        magnitudes = self.density.sample(params["density"], rng, n)
        return self._sample_signs(params, rng, magnitudes) * magnitudes


@dataclass(frozen=True)
class GenerativeAbs(_Signs):
    """A density of x = |z|: a bound, and for small D the likelihood itself.

    Parameters
    ----------
    density : Base or Density
        Density of z, without a context.
    hidden : sequence of int, optional
        Hidden widths of the network that estimates the log-odds of each sign of z from x, for the
        bound; fair coins if omitted. Fair coins make the bound exact for a density that is
        symmetric in every coordinate.

    Notes
    -----
    ``log_prob`` is exact, never the bound. It evaluates the density 2^D times for each row and
    rejects more than 12 coordinates.
    """

    density: Base | Density
    hidden: Sequence[int] | None = None

    @cached_property
    def _every_sign(self):
        if self.dim > MOST:
            raise ValueError(
                f"GenerativeAbs: expected at most {MOST} coordinates to add up the "
                f"signs of, got {self.dim}; lower_bound with an rng draws them"
            )
        return np.array(list(product((1.0, -1.0), repeat=self.dim)))

    def _log_prob(self, params, z):
        inside = np.all(getval(z) >= 0, axis=1)
        signs = self._every_sign.astype(getval(z).dtype)
        exact = generative_abs_log_prob(np.abs(z), self._density_log_prob(params), signs)
        return np.where(inside, exact, -np.inf)

    def lower_bound(self, params: dict[str, Any], x: Array, rng: Generator | None = None) -> Array:
        """Return SurVAE's bound on ``log_prob``.

        Parameters
        ----------
        params : dict
        x : (N, D) array
            Numbers of at least zero.
        rng : numpy.random.Generator, optional
            Sample one set of signs for each row, as larger D needs. This estimate of the bound is
            unbiased, but its gradient by the network of the signs is not that of the bound. If
            omitted, take the expectation over all 2^D.

        Returns
        -------
        (N,) array
            In nats.

        Raises
        ------
        ValueError
            If a number of x is negative, or there are too many signs.
        """
        x = as_rows("x", x, self.dim)
        if np.any(getval(x) < 0):
            raise ValueError(
                "x: expected no number below 0, got "
                f"{np.sum(np.any(getval(x) < 0, axis=1))} rows with some"
            )
        log_prob, logits = self._density_log_prob(params), self._logits(params)
        if rng is None:
            return generative_abs_bound(
                x, log_prob, logits, self._every_sign.astype(getval(x).dtype)
            )
        signs = self._sample_signs(getval(params), check_rng(rng), getval(x))
        return generative_abs_drawn_bound(x, log_prob, logits, signs)

    def _sample(self, params, rng, n):
        return np.abs(self.density.sample(params["density"], rng, n))
