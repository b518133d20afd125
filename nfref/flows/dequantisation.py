r"""Whole numbers as data: uniform and variational dequantisation, and bits per dimension.

Sources: Theis, van den Oord, Bethge 2015, arXiv:1511.01844; Ho, Chen, Srinivas, Duan, Abbeel
2019, arXiv:1902.00275 (Flow++).

A pixel is a whole number n, a flow has a density p on the line. What the density says of n is
the mass of its cell,

    .. math::

        P(n) = \int_{[n, n + 1)^D} p(x) \, dx = \mathbb{E}_u \, p(n + u),
        \qquad u \text{ uniform on } [0, 1)^D,

and Jensen's inequality bounds it: log P(n) >= E_u log p(n + u), with equality only where p is
flat in every cell. Noise from any other density q(u | n) on the cell gives a bound as well,

    .. math::

        \log P(n) \ge \mathbb{E}_q [\log p(n + u) - \log q(u | n)],

which is as tight as q is near to p(n + u) / P(n). Write u = T_n(e) with e uniform: then
-log q(u | n) = log |det dT_n/de|, and the bound is

    E_e [log p(n + T_n(e)) + log |det dT_n/de|],

the uniform bound of another density: that of x = n + e, where n + T_n(e) has the density p. So
variational dequantisation is a layer at the data end of a flow. It maps every cell onto
itself, changes no P(n), and learns by maximum likelihood with the rest.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.normal_mixture import logsumexp
from nfref.density import Density
from nfref.flow import Flow, check_flow
from nfref.flows.elementwise import sigmoid_forward, sigmoid_inverse
from nfref.runtime.annotations import Array, Generator, Params
from nfref.runtime.checks import as_context, as_rows, check_count, check_rng

# Formulas ---------------------------------------------------------------------------------


def inside_cells(x, n):
    """x, and the next number towards the inside where it is not strictly within (n, n + 1)."""
    return np.clip(x, numpy.nextafter(n, n + 1), numpy.nextafter(n + 1, n))


def within_cells(x, transform):
    """n + e -> n + u with u = sigma(v'), v' = transform(v), v = logit(e); n stays.

    log |det| = sum log dv/de + log |det dv'/dv| + sum log du/dv'.

    Paper:   Flow++, section 3.1: u = q_n(eps), eps standard normal, with q_n a flow that sees n
             and ends in a sigmoid; then log p(n + u) - log q(u | n) is maximised.
    Differs: the flow starts at a logit of uniform noise instead of a normal.

    ``transform`` maps (v, n) to v' and its log-determinant. Shapes: x (N, D). Returns (N, D)
    and (N,).
    """
    n = np.floor(x)
    # Uniform noise has steps of half an epsilon: the logit sees nothing nearer to 0 or 1 than one.
    half = numpy.finfo(x.dtype).eps / 2
    zero, one = x.dtype.type(0), x.dtype.type(1)
    v, log_det_in = sigmoid_inverse(np.clip(x - n, half, one - half), zero, one)
    v, log_det = transform(v, n)
    u, log_det_out = sigmoid_forward(v, zero, one)
    return inside_cells(n + u, n), log_det_in + log_det + log_det_out


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VariationalDequantisation(Flow):
    """Learned noise inside of the cells of whole numbers, as a layer at the data end of a flow.

    ``inverse`` (data to latent) takes uniform noise to learned noise. Rows x = n + e that
    :func:`dequantised` makes are what a density with this layer is to be fitted to; samples
    are floored. The layer has no derivative where a number of the row is whole.

    Parameters
    ----------
    noise : Flow
        From v = logit(e) to logit(u), in its direction ``forward``. Its context is n, brought
        to (-1, 1), and behind that the context of the layer: ``noise.context_dim`` is at least
        ``noise.dim``. It starts as uniform noise if ``noise`` starts as the identity.
    levels : int, default 256
        Numbers are 0 ... levels - 1; used only to bring them to (-1, 1).

    Examples
    --------
    >>> import numpy as np, nfref
    >>> noise = nfref.RealNVP(2, layers=2, context_dim=2)
    >>> flow = nfref.Chain([nfref.MAF(2), nfref.VariationalDequantisation(noise, levels=16)])
    >>> flow.inverse(flow.init(np.random.default_rng(0)), [[3.2, 15.7]])[1].shape
    (1,)
    """

    noise: Flow
    levels: int = 256

    _converters = {"noise": check_flow, "levels": check_count}

    def __post_init__(self):
        super().__post_init__()
        if self.noise.context_dim < self.noise.dim:
            raise ValueError(
                f"noise: expected a context_dim of at least {self.noise.dim}, for the "
                f"whole numbers, got {self.noise.context_dim}"
            )

    @property
    def dim(self):
        return self.noise.dim

    @property
    def context_dim(self):
        return self.noise.context_dim - self.noise.dim

    def _init(self, rng):
        return self.noise._init(rng)

    def _within(self, formula, params, rows, context):
        def transform(v, n):
            seen = (2 * n + 1) / rows.dtype.type(self.levels) - 1
            if context is not None:
                seen = np.concatenate([seen, context], axis=1)
            return formula(params, v, seen)

        return within_cells(rows, transform)

    def _forward(self, params, z, context):
        return self._within(self.noise._inverse, params, z, context)

    def _inverse(self, params, x, context):
        return self._within(self.noise._forward, params, x, context)


# Rows, and what they cost -------------------------------------------------------------------


def dequantised(rng: Generator, n: Array) -> Array:
    """n + u with u uniform on (0, 1): a row of whole numbers as a row for a density.

    On average log p(n + u) is at most log P(n) (Theis et al. 2015).

    Parameters
    ----------
    rng : numpy.random.Generator
    n : (N, D) array
        Whole numbers; of others the floor is taken, so that rows may be given new noise.

    Returns
    -------
    (N, D) array
        float32 for float32, otherwise float64; its floor is n.
    """
    check_rng(rng)
    n = numpy.floor(as_rows("n", n, numpy.shape(n)[-1] if numpy.ndim(n) else 1))
    return inside_cells(n + rng.random(n.shape, dtype=n.dtype), n)


def bits_per_dim(
    density: Density,
    params: Params,
    n: Array,
    rng: Generator,
    samples: int = 1,
    context: Array | None = None,
) -> Array:
    """Bits per dimension of rows of whole numbers: on average at least -log2 P(n) / D.

    -log2 of 1/K sum_k p(n + u_k), over D, with K draws of u. On average over the draws that is
    an upper bound on the cost of P(n), the mass of the cell; it falls with K, and its limit is
    the cost itself. Neighbours are 1 apart: where a flow works in other units, a
    :class:`nfref.Logit` or :class:`nfref.Standardise` at its data end counts for that.

    One draw is the bound of Theis et al. 2015; the mean of more inside of the logarithm is that
    of Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519.

    Parameters
    ----------
    density : Density
        Of n + u.
    params : nested dicts and lists of arrays
    n : (N, D) array
        Whole numbers.
    rng : numpy.random.Generator
    samples : int, default 1
        K.
    context : (N, C) array, optional

    Returns
    -------
    (N,) array

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or is of another kind.

    Examples
    --------
    Eight bits for each of 256 numbers that are equally likely:

    >>> import numpy as np, nfref
    >>> density = nfref.Density(nfref.Logit((0,), (256,)), nfref.Logistic(1))
    >>> rng = np.random.default_rng(0)
    >>> n = np.array([[0], [17], [255]])
    >>> print(nfref.bits_per_dim(density, density.init(rng), n, rng).round(12))
    [8. 8. 8.]
    """
    check_count("samples", samples)
    n = as_rows("n", n, density.dim)
    context = as_context(context, density.context_dim, n)
    log_probs = [density.log_prob(params, dequantised(rng, n), context) for _ in range(samples)]
    log_mean = logsumexp(numpy.stack(log_probs, axis=1)) - numpy.log(samples)
    return -log_mean / (density.dim * numpy.log(2))
