r"""Whole numbers as data: uniform and variational dequantisation, and bits per dimension.

Sources: Theis, van den Oord, Bethge 2015, arXiv:1511.01844; Ho, Chen, Srinivas, Duan, Abbeel
2019, arXiv:1902.00275 (Flow++).

A pixel is a whole number n, a flow has a density p on the line. The probability of n is the mass
of its cell,

    .. math::

        P(n) = \int_{[n, n + 1)^D} p(x) \, dx = \mathbb{E}_u \, p(n + u),
        \qquad u \text{ uniform on } [0, 1)^D,

and Jensen's inequality bounds it: log P(n) >= E_u log p(n + u), with equality only where p is
flat in every cell. Noise from any other density q(u | n) on the cell gives a bound as well,

    .. math::

        \log P(n) \ge \mathbb{E}_q [\log p(n + u) - \log q(u | n)],

which is tight if q is near p(n + u) / P(n). Write u = T_n(e) with e uniform: then
-log q(u | n) = log |det dT_n/de|, and the bound is

    E_e [log p(n + T_n(e)) + log |det dT_n/de|],

the uniform bound of another density: that of x = n + e, where n + T_n(e) has the density p. So
variational dequantisation is a layer at the data end of a flow. It maps every cell onto
itself, changes no P(n), and learns by maximum likelihood with the other layers.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.normal_mixture import logsumexp
from nfref.density import Density
from nfref.flow import Flow, check_flow
from nfref.flows.elementwise import sigmoid_forward, sigmoid_inverse
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.checks import as_context, as_rows, check_count, check_rng

# Formulas ---------------------------------------------------------------------------------


def inside_cells(x: Array, n: Array) -> Array:
    """Return x, moved inwards by one number where it is not strictly within (n, n + 1)."""
    return np.clip(x, numpy.nextafter(n, n + 1), numpy.nextafter(n + 1, n))


def within_cells(x: Array, transform: Callable[..., Any]) -> tuple[Array, Array]:
    """Map n + e to n + u with u = sigma(v'), v' = transform(v), v = logit(e); n stays.

    log |det| = sum log dv/de + log |det dv'/dv| + sum log du/dv'.

    Paper:   Flow++, section 3.1: u = q_n(eps), eps standard normal, with q_n a flow that sees n
             and ends in a sigmoid; then log p(n + u) - log q(u | n) is maximised.
    Differs: the flow starts at a logit of uniform noise instead of a normal.

    ``transform`` maps (v, n) to v' and its log-determinant. Shapes: x (N, D). Returns (N, D)
    and (N,).
    """
    n = np.floor(x)
    # Uniform noise has steps of half an epsilon; clip, so that the logit is finite at 0 and 1.
    half = numpy.finfo(x.dtype).eps / 2
    zero, one = x.dtype.type(0), x.dtype.type(1)
    v, log_det_in = sigmoid_inverse(np.clip(x - n, half, one - half), zero, one)
    v, log_det = transform(v, n)
    u, log_det_out = sigmoid_forward(v, zero, one)
    return inside_cells(n + u, n), log_det_in + log_det + log_det_out


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VariationalDequantisation(Flow):
    """Learned noise inside the cells of whole numbers, as a layer at the data end of a flow.

    ``inverse`` (data to latent) maps uniform noise to learned noise. Fit a density with this layer
    to rows x = n + e of :func:`dequantised`, and floor its samples. The layer has no derivative
    where a number of the row is whole.

    Parameters
    ----------
    noise : Flow
        A flow whose ``forward`` maps v = logit(e) to logit(u). Its context is n, scaled to
        (-1, 1), followed by the context of the layer: ``noise.context_dim`` is at least
        ``noise.dim``. It starts as uniform noise if ``noise`` starts as the identity.
    levels : int, default 256
        Numbers are 0 ... levels - 1; used only to scale them to (-1, 1).

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
    def dim(self) -> int:
        """The number of coordinates D."""
        return self.noise.dim

    @property
    def context_dim(self) -> int:
        """The context features of the noise beyond the whole numbers."""
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


# Rows and bits ------------------------------------------------------------------------------


def dequantised(rng: Generator, n: Array) -> Array:
    """Return n + u with u uniform on (0, 1): a row of whole numbers as a row for a density.

    On average log p(n + u) is at most log P(n) (Theis et al. 2015).

    Parameters
    ----------
    rng : numpy.random.Generator
    n : (N, D) array
        Whole numbers; other numbers are floored, so that you can give rows new noise.

    Returns
    -------
    (N, D) array
        float32 for float32, otherwise float64; its floor is n.
    """
    check_rng(rng)
    whole = numpy.floor(as_rows("n", n, numpy.shape(n)[-1] if numpy.ndim(n) else 1))
    return inside_cells(whole + rng.random(whole.shape, dtype=whole.dtype), whole)


def bits_per_dim(
    density: Density,
    params: Params,
    n: Array,
    rng: Generator,
    samples: int = 1,
    context: Array | None = None,
) -> Array:
    """Return bits per dimension of rows of whole numbers: on average at least -log2 P(n) / D.

    It is -log2 of 1/K sum_k p(n + u_k), over D, with K samples of u. Its expectation is an upper
    bound on -log2 P(n) / D, with P(n) the mass of the cell; it falls with K, and tends to that
    number. Neighbours are 1 apart: if a flow works in other units, put a :class:`nfref.Logit` or
    :class:`nfref.Standardise` at its data end.

    One sample gives the bound of Theis et al. 2015; the mean of several inside the logarithm gives
    that of Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519.

    Parameters
    ----------
    density : Density
        A density of n + u.
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
        If an argument has the wrong shape or type.

    Examples
    --------
    Eight bits for each of 256 equally likely numbers:

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
