r"""Residual flows: the identity plus a contraction.

Sources: Behrmann et al. 2018, arXiv:1811.00995 (i-ResNet); Chen et al. 2019, arXiv:1906.02735
(residual flows).

    .. math::

        z = x + g(x), \qquad |g(x) - g(y)| \le L |x - y| \text{ with } L < 1, \qquad
        \log \left|\det \frac{dz}{dx}\right| = \log \det(I + J),

where J = dg/dx and | | is the Euclidean norm. A contraction makes the map one to one
(Banach): x is the only fixed point of x -> z - g(x). The papers' map is ``inverse`` here,
because it maps data to latent; ``forward`` solves for the fixed point. As |J| <= L < 1, I + J
has a positive determinant.

g is an MLP. Its layers are linear maps with spectral norms scaled down to at most c, and
activations of slope at most 1, so L = c^K for K linear maps. The norm is computed

    evaluation   exactly, from the eigenvalues of the smaller Gram matrix: L is a bound.
    training     by power iteration, from the state ``u`` in the parameters, which ``adapt``
                 updates. That is a lower bound of the norm, so L is then an estimate.

Training may exceed c = 0.97. In a fit of three blocks of 16 units to a normal distribution, at a
learning rate of 1e-3 (1e-2), the largest norm of a weight was 1.15 (1.20) with one iteration per
batch, 1.02 (1.08) with five, 0.99 (1.04) with ten.

Cost of a block: ``inverse`` takes one pass of the network and the log-determinant; ``forward``
typically takes four steps, of one pass and one Jacobian (D passes) each, before its
log-determinant.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import autograd.numpy as np
import numpy
from autograd import make_vjp
from autograd.builtins import tuple as traced_tuple

from nfref.continuous.dynamics import basis, vector_jacobian
from nfref.flows.composition import Composition, with_fields_of
from nfref.flows.data_dependent import Adaptive
from nfref.networks.activations import sigmoid, softplus
from nfref.networks.mlp import init_mlp
from nfref.runtime import params as trees
from nfref.runtime import small_matrices
from nfref.runtime.annotations import Any, Array, DTypeLike, Generator, Sequence
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


def lipschitz_swish(a: Array, beta: Array) -> tuple[Array, Array]:
    """Return s(a) = a sigma(beta a) / 1.1 and its slope, for beta > 0.

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


def squared_norm(weight: Array) -> Array:
    """Return |W|^2, the largest eigenvalue of W W^T or W^T W.

    Shapes: weight (I, O). Returns (). Cost: min(I, O)^3.
    """
    wide = weight.shape[0] <= weight.shape[1]
    return largest_eigenvalue(weight @ weight.T if wide else weight.T @ weight)


@primitive
def largest_eigenvalue(gram: Array) -> Array:
    """Return the largest eigenvalue of a symmetric matrix (D, D).

    Its derivative is v v^T, where |v| = 1 and gram v = value v. Without eigenvectors it takes half
    the time, so only the derivative computes them.
    """
    return numpy.linalg.eigvalsh(gram)[-1]


def _largest_eigenvalue_vjp(answer, gram):
    v = np.linalg.eigh(gram)[1][:, -1]
    return lambda g: g * np.outer(v, v)


defvjp(largest_eigenvalue, _largest_eigenvalue_vjp)


def estimated_squared_norm(weight: Array, u: Array) -> Array:
    """Return |u W|^2 / |u|^2 <= |W|^2, with equality for the leading left singular vector u.

    Its derivative by W equals that of u W v^T with both singular vectors held fixed.

    Shapes: weight (I, O), u (I,). Returns (). Cost: I O.
    """
    image = u @ weight
    return np.dot(image, image) / np.dot(u, u)


def power_iteration(weight: Array, u: Array, steps: int) -> Array:
    """Apply u <- W W^T u / |W W^T u|, ``steps`` times.

    The gap of :func:`estimated_squared_norm` to |W|^2 falls like (s_2 / s_1)^(4 steps), where
    s_1 > s_2 are the two largest singular values. No derivative passes.

    Shapes: weight (I, O), u (I,). Returns (I,).
    """
    weight, u = getval(weight), getval(u)
    for _ in range(steps):
        image = (u @ weight) @ weight.T
        length = numpy.sqrt(numpy.dot(image, image))
        if length == 0:  # W is zero, or u is in its kernel: no information on W
            return u
        u = image / length
    return u


def shrink(weight: Array, squared: Array, coefficient: float) -> Array:
    """Return W min(1, c / |W|), given |W|^2.

    Paper:   i-ResNet, its spectral normalisation: W c / sigma where c / sigma < 1, else W, with
             sigma estimated by power iteration. The residual flows paper does the same.
    Differs: in training nothing; the published code of i-ResNet adds 1e-5 to the divisor
             max(1, sigma / c). In evaluation sigma is exact here.
    """
    above = squared > coefficient**2
    return weight * np.where(above, coefficient / np.sqrt(np.where(above, squared, 1)), 1)


# Map and Jacobian -------------------------------------------------------------------------


def residual(
    net: list[dict[str, Array]], x: Array, context: Array | None = None
) -> tuple[Array, list[Array]]:
    """Return g(x) and the slopes s'(a_l) of the hidden layers, for weights already shrunk.

    h_0 = x, a_l = h_{l-1} W_l + b_l, h_l = s(a_l), g = a_K; a context has its own rows in
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


def jacobian(net: list[dict[str, Array]], slopes: list[Array], rows: Array) -> Array:
    """Return J = dg/dx of each row, (N, D, D), [n, i, j] = dg_i/dx_j. Cost: D passes."""
    dim, dtype = rows.shape[1], rows.dtype
    across = vector_jacobian(net, slopes, basis(dim, dtype) + np.zeros((1, len(rows), 1), dtype))
    return np.transpose(across, (1, 0, 2))


def identity_plus(matrices: Array) -> Array:
    """Return I + A for each matrix A."""
    return np.eye(matrices.shape[-1], dtype=matrices.dtype) + matrices


# Three log-determinants -------------------------------------------------------------------
#
# (net, slopes, rows) -> (N,). The series take ``probes`` (K, N or 1, D), which have mean e e^T = I,
# and ``weights`` (N or 1, n), which multiply their terms.


def exact_log_det(net: list[dict[str, Array]], slopes: list[Array], rows: Array) -> Array:
    """Return log det(I + J) by LU decomposition. Cost: D passes and D^3 per row."""
    return small_matrices.log_abs_det(identity_plus(jacobian(net, slopes, rows)))


def series_log_det(
    net: list[dict[str, Array]], slopes: list[Array], rows: Array, probes: Array, weights: Array
) -> Array:
    """Return sum_{k=1}^n (-1)^(k+1) / k w_k mean_e e^T J^k e. Cost: n passes per probe.

    With all w_k = 1 it is the truncated series of log det(I + J) = tr log(I + J), with an error of
    at most D sum_{k>n} L^k / k = -D (log(1 - L) + sum_{k<=n} L^k / k).

    Paper:   i-ResNet, data to latent: the truncated series with Hutchinson's trace. In
             residual flows n is random and w_k = 1 / P(N >= k), which has no bias.
    Differs: Rademacher probes; the papers' code has normal ones.
    """
    total, v = np.zeros(len(rows), dtype=rows.dtype), probes
    for k in range(1, weights.shape[1] + 1):
        v = vector_jacobian(net, slopes, v)
        total = total + (-1) ** (k + 1) / k * weights[:, k - 1] * quadratic(v, probes)
    return total


def neumann_log_det(
    net: list[dict[str, Array]], slopes: list[Array], rows: Array, probes: Array, weights: Array
) -> Array:
    """Return the same value, with the gradient of the Neumann series: its tape holds one pass.

    d log det(I + J) = tr((I + J)^-1 dJ) = sum_k (-1)^(k+1) tr(J^(k-1) dJ), so the gradient of
    mean_e y^T J e with y = sum_k (-1)^(k+1) w_k (J^T)^(k-1) e held fixed has the expectation
    of the gradient of the series; for exact traces it is that gradient. First derivatives only.

    Paper:   residual flows, memory-efficient backpropagation by the Neumann gradient series.
    Differs: the value is the series of log det(I + J), with the probes and terms of the gradient.
             In training the published code returns y^T J e itself, which estimates
             tr J (I + J)^-1: its gradient is right, but its loss is no log-likelihood. Its y has
             one term more, and term k the weight w_{k-1}, where w_0 = 1.
    """
    fixed, at = trees.tree_map(getval, net), [getval(slope) for slope in slopes]
    value = series_log_det(fixed, at, rows, probes, weights)
    v = probes
    y: Any = 0
    for k in range(1, weights.shape[1] + 1):
        y = y + (-1) ** (k + 1) * weights[:, k - 1, None] * v
        v = vector_jacobian(fixed, at, v)
    carrier = quadratic(vector_jacobian(net, slopes, y), probes)
    return value + (carrier - getval(carrier))


def quadratic(v: Array, probes: Array) -> Array:
    """Return mean_e v_e . e, (N,)."""
    return np.sum(v * probes, axis=(0, 2)) / len(probes)


def trace_probes(dim: int, dtype: DTypeLike) -> Array:
    """Return probes without noise: sqrt(D) e_i, whose mean of e e^T is I. Shape (D, 1, D)."""
    return dim**0.5 * basis(dim, dtype)


def roulette_weights(counts: Any, terms: int, continuation: float) -> Array:
    """Return 1 for the first ``terms`` terms, then 1 / P(N >= k) = q^-(k-1) up to the count N.

    N is geometric: after each further term another one follows with probability q, the
    ``continuation``. The expectation over counts is the whole series. Its variance is finite if
    rho^2 < q for the spectral radius rho of J. Otherwise the mean over any number of counts is
    still unbiased but rarely accurate: a large part of it comes from very rare counts.

    Paper:   residual flows: P(N >= k) = (1 - p)^(k-1) with p = 1/2, after two terms in training and
             twenty in evaluation (published code).
    Differs: every row has its own count, and q is free. The published code has one count for a
             batch, in training on images from a Poisson distribution of mean 2; and in evaluation
             two-dimensional data get the exact determinant instead.

    Shapes: counts (N,). Returns (N, terms + max count).
    """
    further = numpy.arange(numpy.max(counts, initial=0))
    rest = numpy.where(counts[:, None] > further, float(continuation) ** -further, 0.0)
    return numpy.concatenate([numpy.ones((len(counts), terms)), rest], axis=1)


ESTIMATORS = ("exact", "series", "roulette")

# The fixed point --------------------------------------------------------------------------


def unpacked(layers: Sequence[Array]) -> list[dict[str, Array]]:
    """Return the list of dicts from weight, bias, beta, weight, bias, beta, ..., weight, bias."""
    return [
        dict(zip(("weight", "bias", "beta"), layers[k : k + 3])) for k in range(0, len(layers), 3)
    ]


@primitive
def fixed_point(lipschitz: float, z: Array, context: Array | None, *layers: Array) -> Array:
    """Return the x with x + g(x) = z.

    1. A step x <- z - g(x) multiplies the distance from the fixed point by at most L, and also
       the length of the residual r = x + g(x) - z, which is minus that step. Hence the bounds
       |x - x*| <= |r| / (1 - L), and L / (1 - L) |r| after the step.
    2. Newton's step x - (I + J)^-1 r replaces it if it also reduces |r| to at most L |r|. So |r|
       falls at least by the factor L per step: the number of steps has a bound beforehand.
    3. A row is done one step after |r| has fallen to rounding, 64 eps of the terms of r, and is
       then fixed. The bound of 1. holds before that last step, and Newton's error is its square.
       Near the end plain steps would not converge: with g = L x rounding can keep them
       alternating between two points that are eps / (1 - L) apart.

    Paper:   i-ResNet, algorithm 1: x <- y - g(x), a given number of times, from x = y.
    Differs: Newton's steps; the stopping rule. The published code of residual flows stops when
             the square of the last step of every coordinate is below 1e-5 (1 + |z|), or after
             1000 steps, which it logs; that of i-ResNet after a given number of steps.

    Shapes: z (N, D), context (N, C) or None; layers as for :func:`unpacked`. Returns (N, D), with
    NaN for rows that are not finite or have a context that is not.

    Raises
    ------
    ArithmeticError
        If |r| does not fall as fast as L guarantees, which means that L is wrong.
    """
    net = unpacked(layers)
    finite = np.all(np.isfinite(z), axis=1)
    if context is not None:
        finite = finite & np.all(np.isfinite(context), axis=1)
        context = np.where(finite[:, None], context, 0)
    target = np.where(finite[:, None], z, 0)
    eps = np.finfo(z.dtype).eps
    # As layers have norms below 1, no vector inside g is longer than the sum of these lengths.
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


def length(rows: Array) -> Array:
    """Return the length of each row."""
    return np.sqrt(np.sum(rows * rows, axis=1))


def _fixed_point_vjp(argnums, x, arguments, _):
    """Differentiate x + g(x, context, layers) = z: (I + J) dx = dz - dg."""
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


def as_random(name: str, drawn: Any) -> Array:
    """Return the random numbers of ``with_probes`` as an array."""
    return numpy.asarray(drawn)


@dataclass(frozen=True)
class _Options(Adaptive):
    """The common options of a block and a stack of blocks."""

    dim: int
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    coefficient: float = 0.97
    estimator: str = "exact"
    terms: int = 10
    continuation: float = 0.5
    gradient: str = "direct"
    iterations: int = 5
    mode: str = "evaluation"
    probes: Array | None = field(default=None, compare=False, repr=False)
    counts: Array | None = field(default=None, compare=False, repr=False)

    _converters = {
        "hidden": check_hidden,
        "coefficient": positive_below(1),
        "estimator": one_of(ESTIMATORS),
        "terms": at_least(0),
        "continuation": positive_below(1),
        "gradient": one_of(("direct", "neumann")),
        "iterations": at_least(0),
        "mode": one_of(("evaluation", "training")),
        "probes": as_random,
        "counts": as_random,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.estimator != "roulette":
            check_count("terms", self.terms)

    def _in_training(self):
        return replace(self, mode="training") if self.iterations else self

    def _with_probes(self, rng, rows, count, *blocks):
        """Return the flow with random numbers for a block, or for each of ``blocks`` blocks."""
        check_rng(rng)
        check_count("rows", rows, minimum=0)
        check_count("count", count, minimum=0)
        if self.estimator == "exact":
            raise ValueError(
                "estimator: expected 'series' or 'roulette', which take probes; got 'exact'"
            )
        probes = rng.integers(0, 2, (*blocks, count, rows, self.dim)) * 2.0 - 1.0 if count else None
        counts = None
        if self.estimator == "roulette":
            counts = rng.geometric(1 - self.continuation, (*blocks, rows))
        return replace(self, probes=probes, counts=counts)


@dataclass(frozen=True)
class ResidualBlock(_Options):
    """One map z = x + g(x), data to latent.

    It starts as the identity (the last layer of g is zero). :func:`nfref.in_training` takes the
    norms of the weights from power iteration, with its state in ``params["u"]``. Evaluation
    takes the exact norms, so L = coefficient^K is a bound there, to rounding. In training no
    gradient reaches ``params["u"]``; :func:`nfref.adapt` does ``iterations`` steps with each batch
    of a fit, and at the "start" sets it to the singular vectors themselves.

    Paper:   i-ResNet, theorem 1: I + g with Lip(g) < 1, data to latent. Chen et al. in residual
             flows add swish, the unbiased estimate and its gradient.
    Differs: no actnorm between the blocks, an option of the published code; put a
             :class:`nfref.ElementwiseAffine` into a chain instead. Defaults are for tables, not
             for images: the exact log-determinant, and exact norms in evaluation.

    Parameters
    ----------
    dim : int
        D.
    hidden : sequence of int, default (64, 64)
        Hidden widths of g; without any the map is affine.
    context_dim : int, default 0
        Context features C that g also reads; the bound concerns x alone.
    coefficient : float, default 0.97
        c in (0, 1): the largest norm of a linear map in g. g has the Lipschitz constant
        c^(len(hidden) + 1).
    estimator : {"exact", "series", "roulette"}, default "exact"
        Estimator of the log-determinant. ``series`` is truncated and so biased; ``roulette`` has a
        random number of terms, from :meth:`with_probes`, and no bias. Both have exact traces,
        unless :meth:`with_probes` made probes.
    terms : int, default 10
        The terms of ``series``, and those that ``roulette`` always takes.
    continuation : float, default 0.5
        q in (0, 1): the probability that another term of ``roulette`` follows. Its variance is
        guaranteed to be finite if q > L^2.
    gradient : {"direct", "neumann"}, default "direct"
        Gradient of ``series`` and ``roulette``. ``neumann`` stores one pass instead of one per
        term, and has first derivatives only.
    iterations : int, default 5
        Steps of power iteration in each :func:`nfref.adapt`; with 0 there is no ``params["u"]``,
        and training also takes the exact norms.
    mode : {"evaluation", "training"}, default "evaluation"
        The source of the norms, see above.
    probes : (K, N, D) array, optional
    counts : (N,) array of int, optional
        Both made by :meth:`with_probes`, and fixed for that flow.
    """

    _twin = "residual"

    @property
    def lipschitz(self) -> float:
        """The Lipschitz constant L = c^K of g in the Euclidean norm."""
        return float(self.coefficient) ** (len(self.hidden) + 1)

    def with_probes(self, rng: Generator, rows: int, count: int = 1) -> "ResidualBlock":
        """Return the flow with fresh random numbers for its estimator, for ``rows`` rows.

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

    def normalised(self, params: dict[str, Any]) -> list[dict[str, Array]]:
        """Return g's layers with their weights shrunk, as arguments of :func:`residual`."""
        net = []
        for k, (layer, weight) in enumerate(zip(params["net"], self._weights(params["net"]))):
            squared = (
                estimated_squared_norm(weight, getval(params["u"][k]))
                if self.mode == "training"
                else squared_norm(weight)
            )
            # The rows of the first weight that multiply the context need no bound.
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
        """Return the weights with bounded norms: of the first only the rows that multiply x."""
        return [
            layer["weight"][: self.dim] if k == 0 else layer["weight"]
            for k, layer in enumerate(net)
        ]

    def _adapt(self, params, x, context, stage):
        if not self.iterations or stage == "evaluation":
            return params
        weights = self._weights(params["net"])
        if stage == "start":
            return {**params, "u": [leading(weight) for weight in weights]}
        pairs = zip(weights, params["u"])
        return {**params, "u": [power_iteration(*pair, self.iterations) for pair in pairs]}

    def _log_det(self, net, slopes, x):
        """Return log det(I + J) at x, by the estimator."""
        if self.estimator == "exact":
            return exact_log_det(net, slopes, x)
        self._check_rows("counts", self.counts, len(x), self.estimator == "roulette")
        self._check_rows("probes", self.probes, len(x), False)
        weights = numpy.ones((1, self.terms))
        if self.estimator == "roulette":
            weights = roulette_weights(self.counts, self.terms, self.continuation)
        probes = (
            trace_probes(self.dim, x.dtype) if self.probes is None else self.probes.astype(x.dtype)
        )
        estimate = neumann_log_det if self.gradient == "neumann" else series_log_det
        return estimate(net, slopes, x, probes, weights.astype(x.dtype))

    def _check_rows(self, name, array, rows, needed):
        got = None if array is None else array.shape[0 if name == "counts" else 1]
        if got != rows and (needed or got is not None):
            raise ValueError(
                f"{name}: expected {name} for {rows} rows, made by "
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


def leading(weight: Array) -> Array:
    """Return the left singular vector of the largest singular value, (I,)."""
    return numpy.linalg.svd(weight)[0][:, 0]


@dataclass(frozen=True)
class _Layers(Composition):
    """The fields before the options of :class:`ResidualFlow`."""

    dim: int
    layers: int = 8

    _converters = {"layers": check_count}


@dataclass(frozen=True)
class ResidualFlow(_Options, _Layers):
    """A stack of residual blocks.

    To fit with an estimator, write an objective that makes new random numbers for each batch::

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
    def flows(self) -> tuple[ResidualBlock, ...]:
        """The residual blocks, from latent to data."""

        def of_block(array, k):
            return None if array is None else array[k]

        blocks = []
        for k in range(self.layers):
            own = {name: of_block(getattr(self, name), k) for name in ("probes", "counts")}
            blocks.append(with_fields_of(self, ResidualBlock, **own))
        return tuple(blocks)

    def with_probes(self, rng: Generator, rows: int, count: int = 1) -> "ResidualFlow":
        """Return the flow with fresh random numbers; see :meth:`ResidualBlock.with_probes`.

        Every block has its own.
        """
        return self._with_probes(rng, rows, count, self.layers)

    def _adapt(self, params, x, context, stage):
        """Adapt each block by its weights alone: no batch goes through, and no probe is needed."""
        if not self.iterations:
            return params
        return [block._adapt(own, x, context, stage) for block, own in zip(self.flows, params)]
