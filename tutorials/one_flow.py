r"""
One flow in forty lines
=======================

*How little code is a normalizing flow?*

This is one flow in plain NumPy (RealNVP, arXiv:1605.08803, section 3.3, eqs. 7-8, there x to z). A
layer cuts a row into two parts, keeps a, and stretches and shifts b by what a network makes of a:

.. math::

   x_a = z_a, \quad x_b = z_b\, e^{s(z_a)} + t(z_a), \qquad
   \log p(x) = \log p_Z(z) + \log \left|\det \frac{dz}{dx}\right|
             = \log p_Z(z) - \sum_{\text{layers}} \sum_i s_i .

``forward`` takes z to x, to sample; ``inverse`` takes x to z, to find a density. Both take the
parameters first, and return the value and the log-determinant of the direction just taken.
"""

import autograd.numpy as np
import matplotlib.pyplot as plt
from autograd import grad
from autograd.misc.optimizers import adam


# %%
# **The flow.** After each layer the parts change places, so that every coordinate gets its turn.
def shift_and_scale(net, a):
    (first, bias), (last, last_bias) = net
    return np.split(np.tanh(a @ first + bias) @ last + last_bias, 2, axis=1)


def forward(params, z):
    log_det = np.zeros(len(z))
    for net in params:
        a, b = np.split(z, [z.shape[1] // 2], axis=1)
        t, s = shift_and_scale(net, a)
        z, log_det = np.hstack([a, b * np.exp(s) + t])[:, ::-1], log_det + np.sum(s, axis=1)
    return z, log_det


def inverse(params, x):
    log_det = np.zeros(len(x))
    for net in reversed(params):
        a, b = np.split(x[:, ::-1], [x.shape[1] // 2], axis=1)
        t, s = shift_and_scale(net, a)
        x, log_det = np.hstack([a, (b - t) * np.exp(-s)]), log_det - np.sum(s, axis=1)
    return x, log_det


def log_prob(params, x):
    z, log_det = inverse(params, x)
    return -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi) + log_det


# %%
# **The fit.** Six layers learn two half moons, 256 new rows at each step, by Adam (Adam, algorithm
# 1). The last weights start at zero, so that the flow starts as no bend at all.
def moons(rng, n):
    angle, up = np.pi * rng.random(n), rng.choice([-1, 1], n)
    x = np.stack([np.cos(angle) - 0.5 * up, up * (np.sin(angle) - 0.25)], axis=1)
    return 1.5 * x + 0.15 * rng.standard_normal((n, 2))


rng = np.random.default_rng(0)
params = [
    [[rng.standard_normal((1, 32)), rng.standard_normal(32)], [np.zeros((32, 2)), np.zeros(2)]]
    for _ in range(6)
]
gradient = grad(lambda params, step: -np.mean(log_prob(params, moons(rng, 256))))
for rate in (0.02, 0.005):
    params = adam(gradient, params, num_iters=250, step_size=rate)
test = moons(rng, 10_000)
print(f"{np.mean(log_prob(params, test)):.2f} nats, the mean log-density of new rows")  # -1.9

# %%
# The figure: points z, each in the colour of its angle; where the flow takes them; and the density.
#
# .. alt: Left, a round cloud of normal points, coloured by their angle. Middle, the same points
#    bent into two half moons. Right, the density of the flow, dark on the moons.
z, line = rng.standard_normal((3000, 2)), np.linspace(-3, 3, 120)
x, grid = forward(params, z)[0], np.stack(np.meshgrid(line, line), axis=2).reshape(-1, 2)
density = np.exp(log_prob(params, grid))
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.36, 2.7), layout="constrained")
for ax, points, title in ((left, z, "noise z"), (middle, x, "x = f(z)")):
    ax.scatter(*points.T, s=2, c=np.arctan2(*z.T), cmap="hsv", linewidths=0)
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
right.imshow(density.reshape(120, 120), origin="lower", extent=(-3, 3, -3, 3), cmap="Blues")
right.set(title="density of x", xticks=[], yticks=[])
plt.show()

# %%
# What this page claims: it learned more than the best normal density, a density has mass one, and
# the inverse undoes the flow. Six other layers, at the same length each: flows in one file.
normal = -1 - np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(np.cov(test.T))[1]
assert np.mean(log_prob(params, test)) > normal + 0.3
assert abs(np.sum(density) * (line[1] - line[0]) ** 2 - 1) < 0.02
assert np.allclose(inverse(params, x)[0], z, atol=1e-6)
