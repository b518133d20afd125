r"""Residual flows: the identity plus a contraction.

Sources: Behrmann et al. 2018, arXiv:1811.00995 (i-ResNet); Chen et al. 2019, arXiv:1906.02735
(residual flows).

    .. math::

        z = x + g(x), \qquad |g(x) - g(y)| \le L |x - y| \text{ with } L < 1, \qquad
        \log \left|\det \frac{dz}{dx}\right| = \log \det(I + J),

where J = dg/dx and | | is the Euclidean norm. A contraction makes the map one to one
(Banach): x is the only fixed point of x -> z - g(x). The papers' map is ``inverse`` here,
because it takes data to latent; ``forward`` solves for the fixed point. As |J| <= L < 1, I + J
has a positive determinant.

g is an MLP. Its layers are linear maps whose spectral norm is brought down to at most c, and
activations of slope at most 1, so L = c^K for K linear maps. How that norm is known:

    evaluation   exactly, from the eigenvalues of the smaller Gram matrix: L is a bound.
    training     by power iteration, from the state ``u`` in the parameters, which ``adapt``
                 updates. That is a lower bound of the norm, so L is then an estimate.

How far training exceeds c = 0.97, measured in a fit of three blocks of 16 units to a normal
distribution: at a learning rate of 1e-3 (1e-2) the largest norm of a weight was 1.15 (1.20) with
one iteration a batch, 1.02 (1.08) with five, 0.99 (1.04) with ten.

Cost of a block: ``inverse`` one pass of the network and the log-determinant; ``forward`` as a
rule four steps, of one pass and one Jacobian (D passes) each, before its log-determinant.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import autograd.numpy as np
import numpy
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.continuous.dynamics import basis, vector_jacobian
from nfref.flows.composition import Composition
from nfref.flows.data_dependent import Adaptive
from nfref.networks.activations import sigmoid, softplus
from nfref.networks.mlp import init_mlp
from nfref.runtime import params as trees
from nfref.runtime import small_matrices
from nfref.runtime.annotations import Generator
from nfref.runtime.autograd_internals import defvjp, defvjp_argnums, getval, primitive
from nfref.runtime.checks import (
    at_least,
    check_count,
    check_hidden,
    check_rng,
    one_of,
    positive_below,
)

# Lipschitz constants ----------------------------------------------------------------------


def lipschitz_swish(a, beta):
    """s(a) = a sigma(beta a) / 1.1 and its slope, for beta > 0.

    ds/da = sigma (1 + beta a (1 - sigma)) / 1.1 depends on beta a alone. Its largest value is
    1.09984 / 1.1 < 1, its smallest -0.09984 / 1.1.

    Paper:   residual flows, LipSwish: x sigma(beta x) / 1.1 with beta = softplus of a learned
             number that starts at 0.5.
    Differs: nothing.

    Shapes: a (N, H), beta (). Returns (N, H) and (N, H).
    """
    u = beta * a
    gate = sigmoid(u)
    return a * gate / 1.1, gate * (1 + u * sigmoid(-u)) / 1.1


def squared_norm(weight):
    """|W|^2, the square of the largest singular value: the largest eigenvalue of W W^T or W^T W.

    Shapes: weight (I, O). Returns (). Cost: min(I, O)^3.
    """
    wide = weight.shape[0] <= weight.shape[1]
    return largest_eigenvalue(weight @ weight.T if wide else weight.T @ weight)


@primitive
def largest_eigenvalue(gram):
    """Of a symmetric matrix (D, D). Its derivative is v v^T, where |v| = 1 and gram v = value v.

    Without eigenvectors it takes half the time; so they are found where a derivative is taken.
    """
    return numpy.linalg.eigvalsh(gram)[-1]


def _largest_eigenvalue_vjp(answer, gram):
    v = np.linalg.eigh(gram)[1][:, -1]
    return lambda g: g * np.outer(v, v)


defvjp(largest_eigenvalue, _largest_eigenvalue_vjp)


def estimated_squared_norm(weight, u):
    """|u W|^2 / |u|^2 <= |W|^2, with equality for the leading left singular vector u.

    Its derivative by W is that of u W v^T with both singular vectors held fixed.

    Shapes: weight (I, O), u (I,). Returns (). Cost: I O.
    """
    image = u @ weight
    return np.dot(image, image) / np.dot(u, u)


def power_iteration(weight, u, steps):
    """u <- W W^T u / |W W^T u|, ``steps`` times.

    What :func:`estimated_squared_norm` lacks of |W|^2 falls like (s_2 / s_1)^(4 steps), where
    s_1 > s_2 are the two largest singular values. No derivative passes.

    Shapes: weight (I, O), u (I,). Returns (I,).
    """
    weight, u = getval(weight), getval(u)
    for _ in range(steps):
        image = (u @ weight) @ weight.T
        length = numpy.sqrt(numpy.dot(image, image))
        if length == 0:  # W is zero, or u is in its kernel: nothing is learned of W
            return u
        u = image / length
    return u


def shrink(weight, squared, coefficient):
    """W min(1, c / |W|), given |W|^2.

    Paper:   i-ResNet, its spectral normalisation: W c / sigma where c / sigma < 1, else W, with
             sigma estimated by power iteration. The residual flows paper does the same.
    Differs: in training nothing; the published code of i-ResNet adds 1e-5 to the divisor
             max(1, sigma / c). In evaluation sigma is exact here.
    """
    above = squared > coefficient**2
    return weight * np.where(above, coefficient / np.sqrt(np.where(above, squared, 1)), 1)


# Map and Jacobian -------------------------------------------------------------------------


def residual(net, x, context=None):
    """g(x) and the slopes s'(a_l) of the hidden layers, for weights that are shrunk already.

    h_0 = x, a_l = h_{l-1} W_l + b_l, h_l = s(a_l), g = a_K; a context has rows of its own in
    W_1, and these need no bound.

    Shapes: x (N, D), context (N, C); net a list of {"weight", "bias", "beta"}, the last without
    beta. Returns (N, D) and a list of (N, H_l).
    """
    dim, first = x.shape[1], net[0]["weight"]
    a = x @ first[:dim] + net[0]["bias"]
    if context is not None:
        a = a + context @ first[dim:]
    slopes = []
    for before, layer in zip(net, net[1:]):
        h, slope = lipschitz_swish(a, before["beta"])
        slopes.append(slope)
        a = h @ layer["weight"] + layer["bias"]
    return a, slopes


def jacobian(net, slopes, rows):
    """J = dg/dx of each row, (N, D, D), [n, i, j] = dg_i/dx_j. Cost: D passes."""
    dim, dtype = rows.shape[1], rows.dtype
    across = vector_jacobian(net, slopes, basis(dim, dtype) + np.zeros((1, len(rows), 1), dtype))
    return np.transpose(across, (1, 0, 2))


def identity_plus(matrices):
    return np.eye(matrices.shape[-1], dtype=matrices.dtype) + matrices


# Three log-determinants -------------------------------------------------------------------
#
# One signature: (net, slopes, rows, probes, weights) -> (N,). ``probes`` (K, N or 1, D) have
# mean e e^T = I; ``weights`` (N or 1, n) multiply the terms of the series.


def exact_log_det(net, slopes, rows, probes=None, weights=None):
    """log det(I + J) by LU decomposition. Cost: D passes and D^3 a row."""
    return small_matrices.log_abs_det(identity_plus(jacobian(net, slopes, rows)))


def series_log_det(net, slopes, rows, probes, weights):
    """sum_{k=1}^n (-1)^(k+1) / k w_k mean_e e^T J^k e. Cost: n passes a probe.

    With all w_k = 1 it is the truncated series of log det(I + J) = tr log(I + J), which lacks
    at most D sum_{k>n} L^k / k = -D (log(1 - L) + sum_{k<=n} L^k / k).

    Paper:   i-ResNet, data to latent: the truncated series with Hutchinson's trace. In
             residual flows n is random and w_k = 1 / P(N >= k), which has no bias.
    Differs: Rademacher probes, the papers' code draws normal ones.
    """
    total, v = np.zeros(len(rows), dtype=rows.dtype), probes
    for k in range(1, weights.shape[1] + 1):
        v = vector_jacobian(net, slopes, v)
        total = total + (-1) ** (k + 1) / k * weights[:, k - 1] * quadratic(v, probes)
    return total


def neumann_log_det(net, slopes, rows, probes, weights):
    """The same value, with the gradient of the Neumann series: its tape holds one pass.

    d log det(I + J) = tr((I + J)^-1 dJ) = sum_k (-1)^(k+1) tr(J^(k-1) dJ), so the gradient of
    mean_e y^T J e with y = sum_k (-1)^(k+1) w_k (J^T)^(k-1) e held fixed has the expectation
    of the gradient of the series; for exact traces it is that gradient. First derivatives only.

    Paper:   residual flows, memory-efficient backpropagation by the Neumann gradient series.
    Differs: the value is the series of log det(I + J), with the probes and terms of the gradient.
             In training the published code returns y^T J e itself, which estimates
             tr J (I + J)^-1: right by its gradient, but its loss is no log-likelihood. Its y has
             one term more, and term k the weight w_{k-1}, where w_0 = 1.
    """
    fixed, at = trees.tree_map(getval, net), [getval(slope) for slope in slopes]
    value = series_log_det(fixed, at, rows, probes, weights)
    v, y = probes, 0
    for k in range(1, weights.shape[1] + 1):
        y = y + (-1) ** (k + 1) * weights[:, k - 1, None] * v
        v = vector_jacobian(fixed, at, v)
    carrier = quadratic(vector_jacobian(net, slopes, y), probes)
    return value + (carrier - getval(carrier))


def quadratic(v, probes):
    """mean_e v_e . e, (N,)."""
    return np.sum(v * probes, axis=(0, 2)) / len(probes)


def trace_probes(dim, dtype):
    """Probes without noise: sqrt(D) e_i, whose mean of e e^T is I. Shape (D, 1, D)."""
    return dim**0.5 * basis(dim, dtype)


def roulette_weights(counts, terms, continuation):
    """1 for the first ``terms`` terms, then 1 / P(N >= k) = q^-(k-1) up to the drawn count N.

    N is geometric: after each further term another one follows with probability q, the
    ``continuation``. The expectation over counts is the whole series. Its variance is finite where
    rho^2 < q for the spectral radius rho of J; otherwise the mean of any number of draws is still
    unbiased but seldom near: a large part of it stands in counts that are hardly ever drawn.

    Paper:   residual flows: P(N >= k) = (1 - p)^(k-1) with p = 1/2, after two terms in training and
             twenty in evaluation (published code).
    Differs: every row draws its own count, and q is free. The published code draws one count for a
             batch; its training on images draws it from a Poisson distribution of mean 2; and
             in evaluation two-dimensional data get the exact determinant instead.

    Shapes: counts (N,). Returns (N, terms + max count).
    """
    further = numpy.arange(numpy.max(counts, initial=0))
    drawn = numpy.where(counts[:, None] > further, float(continuation) ** -further, 0.0)
    return numpy.concatenate([numpy.ones((len(counts), terms)), drawn], axis=1)


ESTIMATORS = ("exact", "series", "roulette")

# The fixed point --------------------------------------------------------------------------


def unpacked(layers):
    """The list of dicts from weight, bias, beta, weight, bias, beta, ..., weight, bias."""
    return [
        dict(zip(("weight", "bias", "beta"), layers[k : k + 3])) for k in range(0, len(layers), 3)
    ]


@primitive
def fixed_point(lipschitz, z, context, *layers):
    """The x with x + g(x) = z.

    1. A step x <- z - g(x) multiplies the distance from the fixed point by at most L, and also
       the length of the residual r = x + g(x) - z, which is minus that step. Hence the bounds
       |x - x*| <= |r| / (1 - L), and L / (1 - L) |r| after the step.
    2. Newton's step x - (I + J)^-1 r is taken instead wherever it brings |r| down to L |r| too. So
       |r| falls by L a step at least: their number is bounded before the start.
    3. A row is done one step after |r| has come down to rounding, 64 eps of the numbers that r is
       made of, and then stays where it is. The bound of 1. holds before that last step, and
       Newton's error is the square of it. Near the end plain steps would stop short: with
       g = L x rounding can keep them going between two points that are eps / (1 - L) apart.

    Paper:   i-ResNet, algorithm 1: x <- y - g(x), a given number of times, from x = y.
    Differs: Newton's steps; the stopping rule. The published code of residual flows stops where
             the square of the last step of every coordinate is below 1e-5 (1 + |z|), or after
             1000 steps, which it logs; that of i-ResNet after a given number of steps.

    Shapes: z (N, D), context (N, C) or None; layers as for :func:`unpacked`. Returns (N, D).
    A row that is not finite, or whose context is not, comes back as NaN.

    Raises
    ------
    ArithmeticError
        If |r| does not come down as fast as L promises, which means that L is wrong.
    """
    net = unpacked(layers)
    finite = np.all(np.isfinite(z), axis=1)
    if context is not None:
        finite = finite & np.all(np.isfinite(context), axis=1)
        context = np.where(finite[:, None], context, 0)
    target = np.where(finite[:, None], z, 0)
    eps = np.finfo(z.dtype).eps
    # As layers have norms below 1, no number inside of g is longer than these together.
    inside = sum(np.linalg.norm(layer["bias"]) for layer in net)
    if context is not None:
        inside = inside + length(context @ net[0]["weight"][z.shape[1] :])
    steps = 10 + int(np.ceil(np.log(eps) / np.log(lipschitz)))

    def residue(x):
        g, slopes = residual(net, x, context)
        return x + g - target, slopes

    x, moves = target, finite
    r, slopes = residue(x)
    for _ in range(steps):
        last = length(r) <= 64 * eps * (length(x) + length(target) + inside)
        new = x - small_matrices.solve(identity_plus(jacobian(net, slopes, x)), r)
        new_r, new_slopes = residue(new)
        slow = moves & ~last & ~(length(new_r) <= lipschitz * length(r))
        if np.any(slow):
            new = np.where(slow[:, None], x - r, new)
            new_r, new_slopes = residue(new)
        x = np.where(moves[:, None], new, x)
        moves = moves & ~last
        if not np.any(moves):
            return np.where(finite[:, None], x, np.nan)
        r, slopes = new_r, new_slopes
    raise ArithmeticError(
        f"forward: expected a fixed point within {steps} steps, as the Lipschitz "
        f"constant {lipschitz:.3g} promises, got {np.sum(moves)} rows without"
    )


def length(rows):
    return np.sqrt(np.sum(rows * rows, axis=1))


def _fixed_point_vjp(argnums, x, arguments, _):
    """Implicit differentiation of x + g(x, context, layers) = z: (I + J) dx = dz - dg."""
    _, z, context, *layers = arguments

    def vjp(cotangent):
        _, slopes = residual(unpacked(layers), x, context)
        transposed = np.transpose(identity_plus(jacobian(unpacked(layers), slopes, x)), (0, 2, 1))
        pulled = small_matrices.solve(transposed, cotangent)
        pull_back, _ = make_vjp(lambda given: residual(unpacked(given[1:]), x, given[0])[0])(
            traced_tuple((x[:, :0] if context is None else context, *layers))
        )
        back = pull_back(-pulled)
        return [pulled if argnum == 1 else back[argnum - 2] for argnum in argnums]

    return vjp


defvjp_argnums(fixed_point, _fixed_point_vjp)


# Block and stack --------------------------------------------------------------------------


def as_drawn(name, drawn):
    """What ``with_probes`` drew, as an array."""
    return numpy.asarray(drawn)


@dataclass(frozen=True)
class _Options(Adaptive):
    """What a block and a stack of blocks are told alike."""

    dim: int
    hidden: tuple = (64, 64)
    context_dim: int = 0
    coefficient: float = 0.97
    estimator: str = "exact"
    terms: int = 10
    continuation: float = 0.5
    gradient: str = "direct"
    iterations: int = 5
    mode: str = "evaluation"
    probes: object = field(default=None, compare=False, repr=False)
    counts: object = field(default=None, compare=False, repr=False)

    _converters = {
        "hidden": check_hidden,
        "coefficient": positive_below(1),
        "estimator": one_of(ESTIMATORS),
        "terms": at_least(0),
        "continuation": positive_below(1),
        "gradient": one_of(("direct", "neumann")),
        "iterations": at_least(0),
        "mode": one_of(("evaluation", "training")),
        "probes": as_drawn,
        "counts": as_drawn,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.estimator != "roulette":
            check_count("terms", self.terms)

    def _in_training(self):
        return replace(self, mode="training") if self.iterations else self

    def _with_probes(self, rng, rows, count, *blocks):
        """:meth:`with_probes` of a block, or of so many ``blocks``."""
        check_rng(rng)
        check_count("rows", rows, minimum=0)
        check_count("count", count, minimum=0)
        if self.estimator == "exact":
            raise ValueError(
                "estimator: expected 'series' or 'roulette', which take probes; got 'exact'"
            )
        probes = rng.integers(0, 2, (*blocks, count, rows, self.dim)) * 2.0 - 1.0 if count else None
        counts = (
            rng.geometric(1 - self.continuation, (*blocks, rows))
            if self.estimator == "roulette"
            else None
        )
        return replace(self, probes=probes, counts=counts)


@dataclass(frozen=True)
class ResidualBlock(_Options):
    """One map z = x + g(x), data to latent.

    It starts as the identity (the last layer of g is zero). :func:`nfref.in_training` takes the
    norms of the weights from power iteration, whose state stands in ``params["u"]``; evaluation
    takes the exact norms, so L = coefficient^K is a bound there, to rounding. In training no
    gradient reaches ``params["u"]``; :func:`nfref.adapt` does ``iterations`` steps with each batch
    of a fit, and at the "start" sets it to the singular vectors themselves.

    Paper:   i-ResNet, theorem 1: I + g with Lip(g) < 1, data to latent. Chen et al. in residual
             flows add swish, the unbiased estimate and its gradient.
    Differs: no actnorm between the blocks, which the published code has as an option; a
             :class:`nfref.ElementwiseAffine` in a chain does it. Defaults are for tables, not for
             images: the exact log-determinant, and exact norms in evaluation.

    Parameters
    ----------
    dim : int
        D.
    hidden : sequence of int, default (64, 64)
        Hidden widths of g; none at all makes the map affine.
    context_dim : int, default 0
        Context features C that g also reads; the bound concerns x alone.
    coefficient : float, default 0.97
        c in (0, 1): the largest norm of a linear map in g. g has the Lipschitz constant
        c^(len(hidden) + 1).
    estimator : {"exact", "series", "roulette"}, default "exact"
        Of the log-determinant. ``series`` is truncated and so biased; ``roulette`` has a random
        number of terms, from :meth:`with_probes`, and no bias. Both have exact traces, unless
        :meth:`with_probes` gave probes.
    terms : int, default 10
        The terms of ``series``, and those that ``roulette`` always takes.
    continuation : float, default 0.5
        q in (0, 1): the probability that another term of ``roulette`` follows. Its variance is
        finite for certain if q > L^2.
    gradient : {"direct", "neumann"}, default "direct"
        Of ``series`` and ``roulette``. ``neumann`` remembers one pass instead of one a term, and
        has first derivatives only.
    iterations : int, default 5
        Steps of power iteration in each :func:`nfref.adapt`; with 0 there is no ``params["u"]``,
        and training takes the exact norms too.
    mode : {"evaluation", "training"}, default "evaluation"
        Where the norms come from, see above.
    probes : (K, N, D) array, optional
    counts : (N,) array of int, optional
        Both made by :meth:`with_probes`, and fixed for as long as that flow is used.
    """

    _twin = "residual"

    @property
    def lipschitz(self):
        """L = c^K, the Lipschitz constant of g in the Euclidean norm."""
        return float(self.coefficient) ** (len(self.hidden) + 1)

    def with_probes(self, rng: Generator, rows: int, count: int = 1) -> "ResidualBlock":
        """The flow with fresh random numbers of its estimator, for batches of ``rows`` rows.

        Parameters
        ----------
        rng : numpy.random.Generator
        rows : int
            N: every row has its own probes and its own number of terms.
        count : int
            K Rademacher probes for the traces; 0 for exact traces.

        Returns
        -------
        ResidualBlock
        """
        return self._with_probes(rng, rows, count)

    def normalised(self, params):
        """g's layers with their weights shrunk, as :func:`residual` takes them."""
        net = []
        for k, (layer, weight) in enumerate(zip(params["net"], self._weights(params["net"]))):
            squared = (
                estimated_squared_norm(weight, getval(params["u"][k]))
                if self.mode == "training"
                else squared_norm(weight)
            )
            # The rows of the first weight that meet the context need no bound.
            rows = [shrink(weight, squared, self.coefficient), layer["weight"][len(weight) :]]
            net.append({"weight": np.concatenate(rows), "bias": layer["bias"]})
        for layer, beta in zip(net, params["beta"]):
            layer["beta"] = softplus(beta)
        return net

    def _init(self, rng):
        net = init_mlp(rng, (self.dim + self.context_dim, *self.hidden, self.dim))
        params = {"net": net, "beta": [numpy.array(0.5) for _ in self.hidden]}
        return self._adapt(params, None, None, "start")

    def _weights(self, net):
        """The weights whose norms are bounded: of the first only the rows that meet x."""
        return [
            layer["weight"][: self.dim] if k == 0 else layer["weight"]
            for k, layer in enumerate(net)
        ]

    def _adapt(self, params, x, context, stage):
        if not self.iterations or stage == "evaluation":
            return params
        weights = self._weights(params["net"])
        u = (
            [leading(weight) for weight in weights]
            if stage == "start"
            else [
                power_iteration(weight, u, self.iterations)
                for weight, u in zip(weights, params["u"])
            ]
        )
        return {**params, "u": u}

    def _log_det(self, net, slopes, x):
        """log det(I + J) at x, by the estimator."""
        if self.estimator == "exact":
            return exact_log_det(net, slopes, x)
        self._check_rows("counts", self.counts, len(x), self.estimator == "roulette")
        self._check_rows("probes", self.probes, len(x), False)
        weights = (
            roulette_weights(self.counts, self.terms, self.continuation)
            if self.estimator == "roulette"
            else numpy.ones((1, self.terms))
        )
        probes = (
            trace_probes(self.dim, x.dtype) if self.probes is None else self.probes.astype(x.dtype)
        )
        estimate = neumann_log_det if self.gradient == "neumann" else series_log_det
        return estimate(net, slopes, x, probes, weights.astype(x.dtype))

    def _check_rows(self, name, drawn, rows, needed):
        got = None if drawn is None else drawn.shape[0 if name == "counts" else 1]
        if got != rows and (needed or got is not None):
            raise ValueError(
                f"{name}: expected {name} for {rows} rows, drawn by "
                f"flow.with_probes(rng, {rows}); got "
                f"{'none' if got is None else f'{name} for {got} rows'}"
            )

    def _inverse(self, params, x, context):
        net = self.normalised(params)
        g, slopes = residual(net, x, context)
        return x + g, self._log_det(net, slopes, x)

    def _forward(self, params, z, context):
        net = self.normalised(params)
        layers = [layer[name] for layer in net for name in layer]
        x = fixed_point(self.lipschitz, z, context, *layers)
        _, slopes = residual(net, x, context)
        return x, -self._log_det(net, slopes, x)


def leading(weight):
    """The left singular vector of the largest singular value, (I,)."""
    return numpy.linalg.svd(weight)[0][:, 0]


@dataclass(frozen=True)
class _Layers(Composition):
    """The fields that stand before the options of :class:`ResidualFlow`."""

    dim: int
    layers: int = 8

    _converters = {"layers": check_count}


@dataclass(frozen=True)
class ResidualFlow(_Options, _Layers):
    """A stack of residual blocks.

    A fit with an estimator draws new numbers for each batch by an objective of its own::

        def objective(density, params, x, context, rng):
            flow = density.flow.with_probes(rng, len(x))
            return -np.mean(nfref.Density(flow, density.base).log_prob(params, x, context))

    Parameters
    ----------
    dim : int
        D.
    layers : int, default 8
        Number of blocks.
    hidden : sequence of int, default (64, 64)
    context_dim : int, default 0
    coefficient : float, default 0.97
    estimator : {"exact", "series", "roulette"}, default "exact"
    terms : int, default 10
    continuation : float, default 0.5
    gradient : {"direct", "neumann"}, default "direct"
    iterations : int, default 5
    mode : {"evaluation", "training"}, default "evaluation"
        As for :class:`ResidualBlock`.
    probes : (layers, K, N, D) array, optional
    counts : (layers, N) array of int, optional
        Both made by :meth:`with_probes`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.ResidualFlow(2, layers=4, hidden=(32,))
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    @cached_property
    def flows(self):
        def drawn(array, k):
            return None if array is None else array[k]

        options = {field.name: getattr(self, field.name) for field in fields(_Options)}
        return tuple(
            ResidualBlock(
                **options | {"probes": drawn(self.probes, k), "counts": drawn(self.counts, k)}
            )
            for k in range(self.layers)
        )

    def with_probes(self, rng, rows, count=1):
        """The flow with fresh random numbers; see :meth:`ResidualBlock.with_probes`.

        Every block has its own.
        """
        return self._with_probes(rng, rows, count, self.layers)

    def _adapt(self, params, x, context, stage):
        """The weights decide alone, so no batch has to go through, and none needs probes."""
        if not self.iterations:
            return params
        return [block._adapt(own, x, context, stage) for block, own in zip(self.flows, params)]
