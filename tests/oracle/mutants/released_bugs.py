"""Bugs that released flow libraries have had, rebuilt in a few lines each.

Each entry says where the bug was met. The arguments are those of check_flow, or, with
``log_prob``, of check_density.
"""

import numpy as np


def softplus(x):
    return np.logaddexp(x, 0)


def planar_u_hat_by_norm(rng):
    """u-hat divided by |w| instead of |w|^2 (several planar implementations; Pyro #2192)."""
    w, u, b = np.array([0.3, 0.1, 0.0]), np.array([-6.0, 1.0, 0.5]), 0.1
    w_u = w @ u
    u = u + (softplus(w_u) - 1 - w_u) * w / np.linalg.norm(w)

    def forward(z):
        t = np.tanh(z @ w + b)
        return z + u * t[:, None], np.log(np.abs(1 + (w @ u) * (1 - t**2)))

    return dict(dim=3, forward=forward)


def planar_leaky(rng):
    """Leaky ReLU planar with the slope of the positive side everywhere (flowjax #169)."""
    w, u = np.array([1.0, -0.5]), np.array([0.4, 0.3])

    def forward(z):
        a = (z @ w)[:, None]
        return z + u * np.where(a > 0, a, 0.1 * a), np.full(len(z), np.log(abs(1 + w @ u)))

    return dict(dim=2, forward=forward)


def planar_epsilon(rng):
    """log(abs(det) + 1e-6), the tutorial's guard."""
    w, u = np.array([1.0, -0.5]), np.array([0.4, 0.3])

    def forward(z):
        t = np.tanh(z @ w)
        return z + u * t[:, None], np.log(np.abs(1 + (w @ u) * (1 - t**2)) + 1e-6)

    return dict(dim=2, forward=forward)


def radial_power(rng):
    """Radial flow with (1 + b h)^D in place of ^(D-1)."""
    center, alpha, beta = np.array([0.3, -0.2, 0.1]), 1.2, 0.8

    def forward(z):
        d = z - center
        r = np.linalg.norm(d, axis=1)
        h = 1 / (alpha + r)
        log_det = 3 * np.log1p(beta * h) + np.log1p(beta * h - beta * r * h**2)
        return z + beta * h[:, None] * d, log_det

    return dict(dim=3, forward=forward)


def inverse_sign(rng):
    """The inverse returns the forward's log-determinant (pytorch-flows #16, normflows #27)."""
    s = np.array([0.5, -1.0, 0.3])
    return dict(
        dim=3,
        forward=lambda z: (z * np.exp(s), np.full(len(z), np.sum(s))),
        inverse=lambda x: (x * np.exp(-s), np.full(len(x), np.sum(s))),
    )


def half_flow(rng):
    """Even and odd slots swapped on the way back, seen for D > 2 only (karpathy #10)."""

    def split(u):
        return u[:, ::2], u[:, 1::2]

    def forward(z):
        kept, moved = split(z)
        moved = np.exp(0.3 * np.sin(kept)) * moved + kept
        return np.concatenate([kept, moved], axis=1), 0.3 * np.sum(np.sin(kept), axis=1)

    def inverse(x):
        kept, moved = split(x)
        moved = (moved - kept) * np.exp(-0.3 * np.sin(kept))
        return np.concatenate([kept, moved], axis=1), -0.3 * np.sum(np.sin(kept), axis=1)

    return dict(dim=4, forward=forward, inverse=inverse)


def leaky_tails(jump=0.0, log_det_inside_only=False, crash=False):
    """Piecewise linear inside [-3, 3], identity outside: slopes 2 and 1/2 about its knot."""

    def pieces(x, inner):
        inside = np.abs(x) < 3
        y = np.where(inside, inner(x), x + jump * np.sign(x))
        return inside, y

    def forward(z):
        if crash and len(z) and not np.any(np.abs(z) < 3):
            raise RuntimeError("min(): expected a non-empty array")
        inside, x = pieces(z, lambda z: np.where(z < -1, 2 * z + 3, 0.5 * z + 1.5))
        slope = np.where(z < -1, 2, 0.5)
        if not log_det_inside_only:
            slope = np.where(inside, slope, 1)
        return x, np.sum(np.log(slope), axis=1)

    return forward


def all_in_the_tail(rng):
    """Splines that crash when no row is inside (nflows #23)."""
    return dict(dim=2, forward=leaky_tails(crash=True))


def tail_slope(rng):
    """The slope of the last bin is used in the tails as well."""
    return dict(dim=2, forward=leaky_tails(log_det_inside_only=True))


def boundary_comparison(rng):
    """Exactly on the boundary neither branch applies: log_det zero plus nonsense."""
    right = leaky_tails()

    def forward(z):
        x, log_det = right(z)
        return x, np.where(np.any(np.abs(z) == 3, axis=1), log_det - 5, log_det)

    return dict(dim=2, forward=forward)


def log_of_negative_det(rng):
    """log(det W) of a matrix with a negative determinant is nan (glow-tts #17)."""
    w = np.array([[0.0, 2.0], [1.0, 0.3]])
    return dict(dim=2, forward=lambda z: (z @ w.T, np.full(len(z), np.log(np.linalg.det(w)))))


def lu_diagonal(rng):
    """diag().sum() of LU factors of a stack of matrices (Pyro #2246)."""
    w = np.array([[2.0, 0.5], [0.0, 0.3]])
    return dict(dim=2, forward=lambda z: (z @ w.T, np.full(len(z), np.sum(np.diag(w)))))


def missing_pixels(rng):
    """1x1 convolution whose log-determinant lacks the factor H W."""
    w = np.array([[1.5, 0.4], [0.2, 0.8]])

    def forward(z):
        images = z.reshape(len(z), 2, 3)
        x = np.einsum("ij,njp->nip", w, images).reshape(z.shape)
        return x, np.full(len(z), np.linalg.slogdet(w)[1])

    return dict(dim=6, forward=forward)


def tanh_inverse(rng):
    """arctanh clipped to float32's range in a float64 path (distrax #216, PyTorch #19802)."""

    def inverse(x):
        x = np.clip(x, -1 + 1e-6, 1 - 1e-6)
        return np.arctanh(x), -np.sum(np.log1p(-(x**2)), axis=1)

    return dict(
        dim=2,
        codomain=(-1, 1),
        inverse=inverse,
        forward=lambda z: (np.tanh(z), np.sum(2 * (np.log(2) - z - softplus(-2 * z)), axis=1)),
    )


def naive_tanh_log_det(rng):
    """log(1 - tanh^2), -inf from |z| = 20 on."""
    return dict(
        dim=2,
        codomain=(-1, 1),
        forward=lambda z: (np.tanh(z), np.sum(np.log(1 - np.tanh(z) ** 2), axis=1)),
    )


def actnorm_again(rng):
    """Actnorm that initialises itself at every call (FrEIA #172)."""

    def forward(z):
        if len(z) < 2:
            return z.copy(), np.zeros(len(z))
        scale = 1 / np.std(z, axis=0)
        return (z - np.mean(z, axis=0)) * scale, np.full(len(z), np.sum(np.log(scale)))

    return dict(dim=2, forward=forward)


def actnorm_first(rng):
    """Actnorm that initialises itself at the first call: what was right before is not after."""
    state = {}

    def forward(z):
        if not state:
            x = z.copy(), np.zeros(len(z))
            state["scale"] = 1 / np.std(z, axis=0)
            return x
        return z * state["scale"], np.full(len(z), np.sum(np.log(state["scale"])))

    return dict(
        dim=2,
        forward=forward,
        inverse=lambda x: (x / state["scale"], np.full(len(x), -np.sum(np.log(state["scale"])))),
    )


def batch_norm_training(rng):
    """Batch norm left in training mode (kamenbliznashki #13)."""
    running = np.array([0.3, -0.2]), np.array([1.5, 0.7])

    def inverse(x):
        mean, std = (np.mean(x, axis=0), np.std(x, axis=0) + 1e-5) if len(x) > 1 else running
        return (x - mean) / std, np.full(len(x), -np.sum(np.log(std)))

    return dict(dim=2, inverse=inverse)


def logit_constant(rng):
    """The rescaling of a logit, (1 - 2 alpha) x + alpha, is not counted (nessai #105)."""
    alpha = 0.05

    def inverse(x):
        y = alpha + (1 - 2 * alpha) * x
        return np.log(y) - np.log1p(-y), -np.sum(np.log(y) + np.log1p(-y), axis=1)

    return dict(dim=2, codomain=(0, 1), inverse=inverse)


def cnf_sign(rng):
    """The integral of the trace with the wrong sign (en_flows #1): x' = A x."""
    from scipy.linalg import expm

    a = np.array([[0.3, 1.0], [-0.4, 0.2]])
    e = expm(a)
    return dict(
        dim=2,
        forward=lambda z: (z @ e.T, np.full(len(z), -np.trace(a))),
        inverse=lambda x: (x @ np.linalg.inv(e).T, np.full(len(x), np.trace(a))),
    )


def cnf_symmetric(rng):
    """Back through expm(-A^T): right for symmetric A alone."""
    from scipy.linalg import expm

    a = np.array([[0.3, 1.0], [-0.4, 0.2]])
    return dict(
        dim=2,
        forward=lambda z: (z @ expm(a).T, np.full(len(z), np.trace(a))),
        inverse=lambda x: (x @ expm(-a), np.full(len(x), -np.trace(a))),
    )


def elementwise_shape(rng):
    """The log-determinant of an elementwise map, not summed over coordinates (FrEIA #176)."""
    return dict(dim=2, codomain=(0, np.inf), forward=lambda z: (np.exp(np.clip(z, -30, 30)), z))


def made_first_dimension(rng):
    """Scales of MADE that see their own coordinate (flowjax #147 and its like)."""
    w = np.triu(np.array([[0.5, 0.3, -0.2], [0.1, 0.4, 0.6], [0.2, 0.3, 0.5]]))

    def inverse(x):
        s = np.tanh(x @ w)
        return x * np.exp(-s), -np.sum(s, axis=1)

    return dict(dim=3, inverse=inverse)


def bounded_bracket(rng):
    """A bisection whose bracket ends at 10 (zuko #20, numpyro #1655)."""

    def inverse(x):
        low, high = np.full_like(x, -10.0), np.full_like(x, 10.0)
        for _ in range(80):
            middle = (low + high) / 2
            above = middle + 0.5 * np.tanh(middle) > x
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return (low + high) / 2, -np.sum(np.log1p(0.5 / np.cosh(high) ** 2), axis=1)

    return dict(
        dim=2,
        inverse=inverse,
        forward=lambda z: (
            z + 0.5 * np.tanh(z),
            np.sum(np.log1p(0.5 / np.cosh(np.clip(z, -300, 300)) ** 2), axis=1),
        ),
    )


def not_onto(rng):
    """A neural flow that ends in a bounded activation: mass is missing (zuko #55)."""
    return dict(
        dim=1,
        inverse=lambda x: (
            2.5 * np.tanh(x / 2.5),
            np.sum(2 * (np.log(2) - x / 2.5 - softplus(-2 * x / 2.5)), axis=1),
        ),
    )


def sigmoids(x):
    """logit(S) and the log of its slope, for S = 0.3 sigma(2 x - 1) + 0.7 sigma(x + 1)."""
    u, a, w = np.stack([2 * x - 1, x + 1]), np.array([2.0, 1.0]), np.array([0.3, 0.7])
    a, w = (part.reshape(-1, *[1] * x.ndim) for part in (a, w))
    log_s = np.logaddexp.reduce(np.log(w) - softplus(-u))
    log_c = np.logaddexp.reduce(np.log(w) - softplus(u))
    log_slope = np.logaddexp.reduce(np.log(w * a) - softplus(u) - softplus(-u))
    return log_s - log_c, log_slope - log_s - log_c


def bisected(function, y, low, high, steps=200):
    low, high = np.full_like(y, low), np.full_like(y, high)
    for _ in range(steps):
        middle = (low + high) / 2
        above = function(middle) > y
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def sigmoids_without_logs(rng):
    """log S - log(1 - S) of an S that is computed: infinite from x = 37 on (NAF's code clips)."""

    def inverse(x):
        s, t = 1 / (1 + np.exp(1 - 2 * x)), 1 / (1 + np.exp(-1 - x))
        S = 0.3 * s + 0.7 * t
        slope = 0.6 * s * (1 - s) + 0.7 * t * (1 - t)
        return np.log(S) - np.log(1 - S), np.sum(np.log(slope / (S * (1 - S))), axis=1)

    return dict(dim=2, inverse=inverse)


def clipped_sigmoids(rng):
    """S moved into [d/2, 1 - d/2], as NAF's code does: bounded, and its log-slope falls off."""

    def inverse(x):
        s, t = 1 / (1 + np.exp(1 - 2 * x)), 1 / (1 + np.exp(-1 - x))
        S = (0.3 * s + 0.7 * t) * (1 - 1e-6) + 0.5e-6
        slope = (0.6 * s * (1 - s) + 0.7 * t * (1 - t)) * (1 - 1e-6)
        return np.log(S) - np.log(1 - S), np.sum(np.log(slope / (S * (1 - S))), axis=1)

    return dict(
        dim=2,
        inverse=inverse,
        forward=lambda z: (
            x := bisected(lambda x: sigmoids(x)[0], z, -1e9, 1e9),
            -np.sum(sigmoids(x)[1], axis=1),
        ),
    )


def clipped_probability(rng):
    """A mixture of logistics inverted for S in [1e-5, 1 - 1e-5] alone (Flow++'s code)."""

    def forward(z):
        bound = np.log(1e5 - 1)
        x = bisected(lambda x: sigmoids(x)[0], np.clip(z, -bound, bound), -1e3, 1e3)
        return x, -np.sum(sigmoids(x)[1], axis=1)

    return dict(
        dim=2, forward=forward, inverse=lambda x: (sigmoids(x)[0], np.sum(sigmoids(x)[1], axis=1))
    )


def absolute_tolerance(rng):
    """A bisection down to an interval of 1e-6, however small or steep things are (zuko)."""

    def forward(z):
        x = bisected(lambda x: sigmoids(x)[0], z, -1e3, 1e3, steps=31)
        return x, -np.sum(sigmoids(x)[1], axis=1)

    return dict(
        dim=2, forward=forward, inverse=lambda x: (sigmoids(x)[0], np.sum(sigmoids(x)[1], axis=1))
    )


def squared_stopping_rule(rng):
    """Steps that end when the square of the residue is below a tolerance meant for the residue."""

    def inverse(x):
        z = x.copy()
        for _ in range(200):
            residue = z + 0.5 * np.tanh(z) - x
            moves = np.sum(residue**2, axis=1, keepdims=True) > 1e-9
            z = np.where(moves, z - residue, z)
        return z, -np.sum(np.log1p(0.5 * (1 - np.tanh(z) ** 2)), axis=1)

    return dict(
        dim=2,
        inverse=inverse,
        forward=lambda z: (
            z + 0.5 * np.tanh(z),
            np.sum(np.log1p(0.5 * (1 - np.tanh(z) ** 2)), axis=1),
        ),
    )


def slope_of_the_integral(rng):
    """log g(x) as the log-slope of a quadrature of g that is coarse (UMNN's code)."""
    tau, q = np.array([0, 0.5, 1]), np.array([1, 4, 1]) / 6

    def g(t):
        return 0.1 + np.exp(-2 * (t - 1) ** 2)

    return dict(dim=1, inverse=lambda x: (x * (g(x * tau) @ q)[:, None], np.log(g(x))[:, 0]))


def log_of_a_product(rng):
    """The logarithm of the product of eight scales, which is beyond float64 (zunis #28)."""
    s = np.array([95.0, 80.0, 99.0, 90.0, 98.0, 93.0, 97.0, 96.0])
    return dict(
        dim=8, forward=lambda z: (z * np.exp(s), np.full(len(z), np.log(np.prod(np.exp(s)))))
    )


def unclamped_discriminant(rng):
    """A spline's b^2 - 4 a c that rounding makes negative, in single precision (nflows #87).

    So it is just below the knot at 1e-9: the origin and rows near it have no image.
    """
    x_k = np.array([-3, -0.5, -0.1, 1.0, 3], np.float32)
    y_k = np.array([-3, -2.9, 1e-9, 2.1, 3], np.float32)
    d = np.array([1, 1e-3, 1e-3, 0.5, 1], np.float32)

    def forward(z):
        inside = np.abs(z) < 3
        y = np.where(inside, z, np.float32(0))
        k = np.sum(y[..., None] >= y_k[1:-1], axis=-1)
        width, height = x_k[k + 1] - x_k[k], y_k[k + 1] - y_k[k]
        s, y = height / width, y - y_k[k]
        bend = d[k + 1] + d[k] - 2 * s
        a, b, c = height * (s - d[k]) + y * bend, height * d[k] - y * bend, -s * y
        xi = 2 * c / (-b - np.sqrt(b * b - 4 * a * c))
        bottom = s + bend * xi * (1 - xi)
        top = s * s * (d[k + 1] * xi * xi + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2)
        log_slope = 2 * np.log(bottom) - np.log(top)
        return (
            np.where(inside, x_k[k] + xi * width, z),
            np.sum(np.where(inside, log_slope, np.float32(0)), axis=1),
        )

    return dict(dim=2, forward=forward, dtype=np.float32)


def end_slopes(rng):
    """A spline whose inverse has other slopes at the ends than its map: a padding forgotten."""
    from nfref.transformers.rational_quadratic import RationalQuadratic, curve, curve_inverse

    raw = rng.standard_normal((23, 1))
    x_k, y_k, s, d = (part[..., 0] for part in RationalQuadratic().constrain(raw))
    other = np.concatenate([[0.5], d[1:-1], [0.5]])

    def acting(formula, slopes):
        def act(v):
            h = [part.reshape(-1, 1, 1) + np.zeros(v.shape) for part in (x_k, y_k, s, slopes)]
            inside = np.abs(v) < 3
            value, log_slope = formula(np.where(inside, v, 0), h)
            return (np.where(inside, value, v), np.sum(np.where(inside, log_slope, 0), axis=1))

        return act

    return dict(dim=2, inverse=acting(curve, d), forward=acting(curve_inverse, other))


def residual_not_contracting(rng):
    """x + g(x) with a Lipschitz constant above 1 folds space."""

    def forward(z):
        return z - 1.3 * np.sin(z), np.sum(np.log(np.abs(1 - 1.3 * np.cos(z))), axis=1)

    return dict(dim=1, forward=forward)


def power_series(rng):
    """log det(I + J) from three terms of its power series, without saying so."""
    a = np.array([[0.4, 0.2], [-0.1, 0.5]])
    series = sum((-1) ** (k + 1) * np.trace(np.linalg.matrix_power(a, k)) / k for k in (1, 2, 3))
    return dict(dim=2, forward=lambda z: (z + z @ a.T, np.full(len(z), series)))


def permutation_not_inverted(rng):
    """A permutation applied twice instead of undone: fine for reversals, wrong in general."""
    order = [1, 2, 0]
    return dict(
        dim=3,
        forward=lambda z: (z[:, order], np.zeros(len(z))),
        inverse=lambda x: (x[:, order], np.zeros(len(x))),
    )


def masked_log_det(rng):
    """The log-scale of masked coordinates is added as well."""

    def scale(u):
        return np.tanh(u[:, :1] * np.array([0.5, 1.0]))

    def forward(z):
        s = scale(z)
        return np.column_stack([z[:, 0], z[:, 1] * np.exp(s[:, 1])]), np.sum(s, axis=1)

    return dict(dim=2, forward=forward)


def scale_not_log(rng):
    """A scale where its logarithm belongs."""

    def forward(z):
        s = 0.5 + 1 / (1 + np.exp(-z[:, 0]))
        return np.column_stack([z[:, 0], z[:, 1] * s]), s

    return dict(dim=2, forward=forward)


def context_forgotten(rng):
    """log_prob without the context that the sampler used (nflows #24)."""
    return dict(
        dim=1,
        context=np.array([[1.0]]),
        log_prob=lambda x, c: -0.5 * x[:, 0] ** 2 - 0.5 * np.log(2 * np.pi),
        sample=lambda g, n, c: c + g.standard_normal((n, 1)),
    )


def missing_two_pi(rng):
    return dict(
        dim=3,
        log_prob=lambda x: -0.5 * np.sum(x**2, axis=1),
        sample=lambda g, n: g.standard_normal((n, 3)),
    )


def base_not_counted(rng):
    """An affine flow whose density forgets log_det."""
    return dict(
        dim=2,
        log_prob=lambda x: -0.5 * np.sum((x / 1.2) ** 2, axis=1) - np.log(2 * np.pi),
        sample=lambda g, n: 1.2 * g.standard_normal((n, 2)),
    )


def temperature(rng):
    """Samples at temperature 0.9, densities at 1."""
    return dict(
        dim=2,
        log_prob=lambda x: -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi),
        sample=lambda g, n: 0.9 * g.standard_normal((n, 2)),
    )


def sample_seeded(rng):
    """A seed inside: the same samples at every call."""
    return dict(
        dim=2,
        log_prob=lambda x: -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi),
        sample=lambda g, n: np.random.default_rng(0).standard_normal((n, 2)),
    )


def sample_global(rng):
    """The global generator: the one that was handed over is ignored."""
    hidden = np.random.default_rng(3)
    return dict(
        dim=2,
        log_prob=lambda x: -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi),
        sample=lambda g, n: hidden.standard_normal((n, 2)),
    )


def correlation_sign(rng):
    """Samples through the Cholesky factor's transpose."""
    root = np.array([[1.0, 0.0], [0.9, 0.4]])
    inverse, log_det = np.linalg.inv(root), np.linalg.slogdet(root)[1]
    return dict(
        dim=2,
        log_prob=lambda x: (
            -0.5 * np.sum((x @ inverse.T) ** 2, axis=1) - np.log(2 * np.pi) - log_det
        ),
        sample=lambda g, n: g.standard_normal((n, 2)) @ root,
    )


def log_prob_broadcast(rng):
    return dict(
        dim=2,
        log_prob=lambda x: -0.5 * x**2 - 0.5 * np.log(2 * np.pi),
        sample=lambda g, n: g.standard_normal((n, 2)),
    )


def mixture_weights(rng):
    """A mixture whose log-weights are not normalised."""

    def log_prob(x):
        parts = [-0.5 * (x[:, 0] - m) ** 2 - 0.5 * np.log(2 * np.pi) for m in (-2, 2)]
        return np.logaddexp(*parts)

    return dict(
        dim=1,
        log_prob=log_prob,
        sample=lambda g, n: np.where(g.random((n, 1)) < 0.5, -2, 2) + g.standard_normal((n, 1)),
    )


RELEASED_BUGS = {
    name: value
    for name, value in dict(globals()).items()
    if callable(value) and name not in ("softplus", "leaky_tails", "sigmoids", "bisected")
}
