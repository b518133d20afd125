r"""
Flows in one file
=================

Six normalizing flows, one formula each, in plain NumPy; autograd finds the gradients. A flow takes
points z of a simple density to points x that look like data, and says how much it stretched space:

.. math:: \log p_X(x) = \log p_Z(z) + \log \left|\det \frac{dz}{dx}\right|

``forward`` takes z to x, to sample; ``inverse`` takes x to z, to find a density. Both take the
parameters first, and return the value and the log-determinant of the direction just taken.
"""

import autograd.numpy as np
import matplotlib.pyplot as plt
from autograd import grad
from autograd.extend import notrace_primitive
from autograd.misc.optimizers import adam


class Flow:
    """Both directions of one formula, (params, rows, to_x) -> (rows, log_det)."""

    def __init__(self, formula):
        self.forward = lambda params, z, **options: formula(params, z, True, **options)
        self.inverse = lambda params, x, **options: formula(params, x, False, **options)


# %%
# **A density** is a base, here the standard normal, and a flow. **A chain** of flows is a flow; the
# coordinates change order on the way, so that each one gets its turn (RealNVP, section 3.5).
def log_prob(flow, params, x):
    z, log_det = flow.inverse(params, x)
    base = -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
    return base + log_det


def sample(flow, params, rng, n, dim=2):
    return flow.forward(params, rng.standard_normal((n, dim)))[0]


def chain(*flows):
    def formula(params, rows, to_x):
        total = np.zeros(len(rows))
        for flow, own in list(zip(flows, params))[:: 1 if to_x else -1]:
            rows, log_det = (flow.forward if to_x else flow.inverse)(own, rows[:, ::-1])
            total = total + log_det
        return rows[:, ::-1], total

    return Flow(formula)


# %%
# **Planar** pushes the two sides of a plane, w . z + b = 0, apart along u (Rezende and Mohamed,
# arXiv:1505.05770, section 4.1), with w . u > -1, or there would be no inverse (appendix A.1).
#
# .. math:: x = z + u \tanh(w \cdot z + b), \quad \det = 1 + w \cdot u \, \tanh'(w \cdot z + b)
@Flow
def planar(params, rows, to_x):
    u, w, b = params
    c = np.logaddexp(0, w @ u) - 1  # what w . u becomes
    u = u + (c - w @ u) * w / (w @ w)
    a = rows @ w + b
    if not to_x:  # Newton's last step, the one autograd sees
        root = solve(a, c)
        a = root - (root + c * np.tanh(root) - a) / (1 + c * (1 - np.tanh(root) ** 2))
    shift, det = np.outer(np.tanh(a), u), 1 + c * (1 - np.tanh(a) ** 2)
    return (rows + shift, np.log(det)) if to_x else (rows - shift, -np.log(det))


@notrace_primitive
def solve(r, c):  # a + c tanh(a) = r, for a = w . z + b
    a = r / (1 + c) if c > 0 else r - c * np.sign(r)  # from here no step goes too far
    for _ in range(20):
        a = a - (a + c * np.tanh(a) - r) / (1 + c * (1 - np.tanh(a) ** 2))
    return a


# %%
# **NICE** adds to one half what a network t makes of the other. This keeps the volume, so beside
# it stands a scale of each coordinate (NICE, arXiv:1410.8516, sections 3.2 and 3.3, there x to z).
#
# .. math:: x_a = z_a, \quad x_b = z_b + t(z_a), \quad \log \det = 0
@Flow
def nice(net, rows, to_x):
    a, b = halves(rows)
    t = network(net, a)
    return np.hstack([a, b + t if to_x else b - t]), np.zeros(len(rows))


@Flow
def scale(s, rows, to_x):
    s = s if to_x else -s
    return rows * np.exp(s), np.sum(s) + np.zeros(len(rows))


def halves(rows):  # of an odd number the second has one more
    return np.split(rows, [rows.shape[1] // 2], axis=1)


def network(net, rows):
    for weight, bias in net[:-1]:
        rows = np.tanh(rows @ weight + bias)
    return rows @ net[-1][0] + net[-1][1]


# %%
# **RealNVP** stretches it too (RealNVP, arXiv:1605.08803, section 3.3, eqs. 7-8, there x to z).
#
# .. math:: x_a = z_a, \quad x_b = z_b \, e^{s(z_a)} + t(z_a), \quad \log \det = \sum_i s_i
@Flow
def real_nvp(net, rows, to_x):
    a, b = halves(rows)
    t, s = np.split(network(net, a), 2, axis=1)
    if to_x:
        return np.hstack([a, b * np.exp(s) + t]), np.sum(s, axis=1)
    return np.hstack([a, (b - t) * np.exp(-s)]), -np.sum(s, axis=1)


# %%
# **MAF** does both to each coordinate, by all before it (MAF, arXiv:1705.07057, section 3.1). To z
# it is one pass of a masked network (MADE, arXiv:1502.03509, section 4), to x one a coordinate.
#
# .. math:: x_i = z_i \, e^{s_i} + t_i, \quad (s_i, t_i) = h_i(x_{<i}), \quad \log \det = \sum_i s_i
@Flow
def maf(net, rows, to_x):
    if not to_x:
        t, s = np.split(masked_network(net, rows), 2, axis=1)
        return (rows - t) * np.exp(-s), -np.sum(s, axis=1)
    x = np.zeros_like(rows)
    for _ in range(x.shape[1]):  # pass i puts coordinate i right
        t, s = np.split(masked_network(net, x), 2, axis=1)
        x = rows * np.exp(s) + t
    return x, np.sum(s, axis=1)


def masked_network(net, x):  # a unit sees units of its degree or below
    dim, hidden = net[0][0].shape
    order, units = np.arange(dim), 1 + np.arange(hidden) * (dim - 1) // hidden
    degrees = [order + 1] + [units] * (len(net) - 1) + [np.tile(order, 2)]
    masks = [below[:, None] <= above for below, above in zip(degrees, degrees[1:])]
    return network([[weight * mask, bias] for (weight, bias), mask in zip(net, masks)], x)


# %%
# **A spline coupling** bends one half, in bins from (x, y) to (x + w, y + h) of slopes d0 and d1 at
# the ends, s = h / w; xi = (x_b - x) / w (NSF, arXiv:1906.04032, section 3.1, there x to z too).
#
# .. math:: z_b = y + h \frac{s \xi^2 + d_0 \xi (1 - \xi)}{s + (d_0 + d_1 - 2 s) \xi (1 - \xi)}
@Flow
def spline(net, rows, to_x, bins=8, bound=4.0):
    a, b = halves(rows)
    raw = np.reshape(network(net, a), (len(rows), -1, b.shape[1]))
    width, height = [2 * bound * softmax(part) for part in (raw[:, :bins], raw[:, bins : 2 * bins])]
    slope = np.logaddexp(0, raw[:, 2 * bins :] + np.log(np.e - 1))  # 1 where raw is 0
    slope = np.concatenate([np.ones_like(raw[:, :1]), slope, np.ones_like(raw[:, :1])], axis=1)
    left, low = [np.cumsum(size, axis=1) - size - bound for size in (width, height)]
    inside = np.abs(b) < bound  # elsewhere b stays what it is
    inner = np.where(inside, b, 0.0)
    passed = np.sum(inner[:, None] >= (low if to_x else left)[:, 1:], axis=1, keepdims=True)
    here = passed == np.arange(bins)[:, None]  # the bin of each number
    every = left, low, width, height, slope[:, :-1], slope[:, 1:]
    x, y, w, h, d0, d1 = [np.sum(part * here, axis=1) for part in every]
    xi = share_to_xi((inner - y) / h, h / w, d0, d1) if to_x else (inner - x) / w
    share, dz_dx = xi_to_share(xi, h / w, d0, d1)
    log_det = np.sum(np.where(inside, np.log(dz_dx), 0), axis=1)
    moved = np.where(inside, x + w * xi if to_x else y + h * share, b)
    return np.hstack([a, moved]), -log_det if to_x else log_det


def softmax(raw):
    return np.exp(raw) / np.sum(np.exp(raw), axis=1, keepdims=True)


def xi_to_share(xi, s, d0, d1):  # the fraction of the formula, and its slope dz/dx
    below = s + (d0 + d1 - 2 * s) * xi * (1 - xi)
    slope = (d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2) * (s / below) ** 2
    return (s * xi**2 + d0 * xi * (1 - xi)) / below, slope


def share_to_xi(share, s, d0, d1):  # its inverse: p xi^2 + q xi = s share
    bend = d0 + d1 - 2 * s
    p, q = s - d0 + share * bend, d0 - share * bend
    return 2 * s * share / (q + np.sqrt(q**2 + 4 * p * s * share))


# %%
# **CNF** lets all drift in a field f from t = 0 to 1, or back (neural ODE, arXiv:1806.07366,
# theorem 1, eq. 8); here f is a network with one hidden layer, and each step is Runge and Kutta's.
#
# .. math:: \frac{dx}{dt} = f(x, t), \quad \frac{d \log \det}{dt} = \operatorname{tr} \frac{df}{dx}
@Flow
def cnf(params, rows, to_x, steps=4):
    def field(t, state):  # f = tanh(x A + t r + a) C + c and its trace
        u = state[:, :-1] @ A + (t * r + a)
        e = np.exp(-2 * np.abs(u))  # tanh' = 4 e / (1 + e)^2 loses no digits
        return np.hstack([np.tanh(u) @ C + c, ((4 * e / (1 + e) ** 2) @ trace)[:, None]])

    A, r, a, C, c = params
    trace = np.sum(C * A.T, axis=1)
    state = np.hstack([rows, np.zeros((len(rows), 1))])
    t, dt = (0, 1 / steps) if to_x else (1, -1 / steps)
    for _ in range(steps):
        k1 = field(t, state)
        k2 = field(t + dt / 2, state + dt / 2 * k1)
        k3 = field(t + dt / 2, state + dt / 2 * k2)
        k4 = field(t + dt, state + dt * k3)
        t, state = t + dt, state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state[:, :-1], state[:, -1]


# %%
# **All six** learn a pinwheel, sampled again for each step (Adam, arXiv:1412.6980, algorithm 1).
#
# .. alt: Points of six flows, coloured by where they start, and densities: a pinwheel's arms.
def pinwheel(rng, n):
    along, across = 1 + 0.3 * rng.standard_normal(n), 0.1 * rng.standard_normal(n)
    angle = 2 * np.pi / 5 * rng.integers(5, size=n) + np.exp(along) / 4
    x = 2 * (along + 1j * across) * np.exp(1j * angle)
    return np.stack([x.real, x.imag], axis=1)


def fit(flow, params, draw, rng, steps=75):
    gradient = grad(lambda params, step: -np.mean(log_prob(flow, params, draw(rng, 256))))
    for rate in (0.02, 0.005, 0.001):
        params = adam(gradient, params, num_iters=steps, step_size=rate)
    return params


def six_flows(rng):  # formula, flow and first parameters by name
    def net(n, m):
        first, middle = [normal((n, 32)), normal(32)], [normal((32, 32)) / 6, normal(32)]
        return [first, middle, [np.zeros((32, m)), np.zeros(m)]]

    def nets(n, m):
        return [net(n, m) for _ in range(6)]

    normal = rng.standard_normal
    scales, planes = np.zeros(2), [[normal(2) / 10, normal(2), 0.0] for _ in range(8)]
    field = [normal((2, 64)), normal(64), normal(64), np.zeros((64, 2)), np.zeros(2)]
    return {
        "planar": (r"x = z + u\,\tanh(w \cdot z + b)", chain(*8 * [planar]), planes),
        "NICE": ("x_b = z_b + t(z_a)", chain(scale, *6 * [nice]), [scales, *nets(1, 1)]),
        "RealNVP": (r"x_b = z_b\,e^{s(z_a)} + t(z_a)", chain(*6 * [real_nvp]), nets(1, 2)),
        "MAF": (r"x_i = z_i\,e^{s(x_{<i})} + t(x_{<i})", chain(*6 * [maf]), nets(2, 4)),
        "spline": (r"z_b = g(x_b;\,h(x_a))", chain(*2 * [spline]), nets(1, 23)[:2]),
        "CNF": ("dx/dt = f(x, t)", cnf, field),
    }


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    z, test, line = rng.standard_normal((4000, 2)), pinwheel(rng, 10_000), np.linspace(-4, 4, 120)
    grid = np.stack(np.meshgrid(line, line), axis=2).reshape(-1, 2)
    panels = [("base\neach $z$ keeps its colour", z, np.exp(log_prob(chain(), [], grid)))]
    for name, (formula, flow, params) in six_flows(rng).items():
        params = fit(flow, params, pinwheel, rng)
        nats = np.mean(log_prob(flow, params, test))
        print(f"{name:8} {nats:.2f} nats, the mean log-density of new points")
        x, density = flow.forward(params, z)[0], np.exp(log_prob(flow, params, grid))
        panels += [(f"{name}: {nats:.2f} nats\n${formula}$", x, density)]
        assert nats > -3.4, "the best of all normals has -3.62"
        assert abs(np.sum(density) * (line[1] - line[0]) ** 2 - 1) < 0.02, "a density has mass 1"
        assert np.allclose(flow.inverse(params, x)[0], z, atol=0.01), "inverse undoes forward"
    plt.rcParams["image.cmap"] = "Blues"
    window = {"xlim": (-4, 4), "ylim": (-4, 4), "xticks": [], "yticks": [], "aspect": "equal"}
    fig, axes = plt.subplots(4, 4, figsize=(7.36, 7.9), layout="constrained", subplot_kw=window)
    for (title, x, density), above, below in zip(panels, axes[::2].flat, axes[1::2].flat):
        above.set_title(title, fontsize=10)
        above.scatter(*x.T, s=2, c=np.arctan2(*z.T), cmap="hsv", linewidths=0)
        below.imshow(density.reshape(120, 120), origin="lower", extent=(-4, 4, -4, 4), vmax=0.25)
    axes[2, 3].set_title("data\n$x$", fontsize=10)
    axes[2, 3].scatter(*test[:4000].T, s=2, c="black", linewidths=0)
    axes[3, 3].hist2d(*pinwheel(rng, 200_000).T, bins=line)
    plt.show()
