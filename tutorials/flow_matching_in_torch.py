r"""
Flow matching in torch, sixty lines
===================================

*How much code is lesson 17 in the library that you will use at work?*

This is lesson 17 in PyTorch, alone: the same digits, the same network, the same loss, and the bits
of the same test set. A test puts nfref's weights into this network and compares the loss of one
batch and the log-density of its rows. The loss is

.. math:: E\left|f(x_t, t) - (x_1 - (1 - \epsilon) z)\right|^2,
          \qquad x_t = t x_1 + (1 - (1 - \epsilon) t) z, \quad \epsilon = 10^{-4},

and the likelihood comes from Runge and Kutta's steps back from the data, with the trace along the
way. The page needs torch and scikit-learn, and not nfref.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.func import jacrev, vmap


# %%
# **The velocity.** Inputs x and t, two hidden layers of 192 tanh units, and a last layer of zeros.
class Velocity(torch.nn.Sequential):
    def __init__(self, dim, hidden=192):
        sizes = (dim + 1, hidden), (hidden, hidden), (hidden, dim)
        first, second, last = (torch.nn.Linear(*size) for size in sizes)
        torch.nn.init.zeros_(last.weight), torch.nn.init.zeros_(last.bias)
        super().__init__(first, torch.nn.Tanh(), second, torch.nn.Tanh(), last)

    def forward(self, x, t):
        return super().forward(torch.cat([x, t.expand(len(x), 1)], dim=1))


def loss(net, x, z, t, least=1e-4):
    x_t, u = t * x + (1 - (1 - least) * t) * z, x - (1 - least) * z
    return ((net(x_t, t) - u) ** 2).sum(dim=1).mean()


@torch.no_grad()
def solve(net, x, start, end, steps=20):
    """Runge and Kutta's steps from one time to another: x, and the integral of the trace."""

    def rates(x, t):
        jacobian = vmap(jacrev(lambda row: net(row[None], t)[0]))(x)
        return torch.cat([net(x, t), torch.einsum("nii->n", jacobian)[:, None]], dim=1)

    total, h = torch.zeros_like(x[:, 0]), (end - start) / steps
    for k in range(steps):
        t = torch.tensor([[start + k * h]], dtype=x.dtype)
        a = rates(x, t)
        b = rates(x + h / 2 * a[:, :-1], t + h / 2)
        c = rates(x + h / 2 * b[:, :-1], t + h / 2)
        step = h / 6 * (a + 2 * b + 2 * c + rates(x + h * c[:, :-1], t + h))
        x, total = x + step[:, :-1], total + step[:, -1]
    return x, total


def log_prob(net, x):
    z, log_det = solve(net, x, 1, 0)
    return -0.5 * (z**2).sum(dim=1) - 0.5 * z.shape[1] * np.log(2 * np.pi) + log_det


# %%
# **The digits.** A logit opens a pixel with its noise to the line; its log-determinant counts.
digits = load_digits().data[np.random.default_rng(0).permutation(1797)]
rng = np.random.default_rng(1)
known = (np.tile(digits[:1400], (8, 1)) + rng.random((11_200, 64)) + 0.5) / 18
known = np.log(known) - np.log1p(-known)
mean, scale = known.mean(axis=0), known.std(axis=0)
rows = torch.tensor((known - mean) / scale, dtype=torch.float32)

# %%
# **The fit.** Thirty epochs of Adam, with a cosine schedule.
torch.manual_seed(0)
net = Velocity(64)
adam = torch.optim.Adam(net.parameters(), lr=5e-3)
cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 30 * 43)
for _ in range(30):
    for batch in torch.randperm(len(rows)).split(256)[:43]:
        x = rows[batch]
        value = loss(net, x, torch.randn_like(x), torch.rand(len(x), 1))
        adam.zero_grad(), value.backward(), adam.step(), cosine.step()

# %%
# **The bits** of the 397 test digits. Lesson 17 has 2.19.
share = (digits[1400:] + rng.random((397, 64)) + 0.5) / 18
y = (np.log(share) - np.log1p(-share) - mean) / scale
log_det = -np.sum(np.log(18 * share * (1 - share) * scale), axis=1)
log_p = log_prob(net.double(), torch.tensor(y)).numpy() + log_det
bits = -log_p.mean() / 64 / np.log(2)
print(f"{bits:.2f} bits per dimension")

# %%
# The figure.
#
# .. alt: Two strips of digits: ten test digits, and ten that the network drew.
drawn = solve(net, torch.randn(10, 64, dtype=torch.float64), 0, 1)[0].numpy() * scale + mean
shown = np.concatenate([digits[1400:1410], np.clip(18 / (1 + np.exp(-drawn)) - 0.5, 0, 17) // 1])
strips = [
    np.hstack([np.pad(one, 1) for one in part.reshape(-1, 8, 8)])
    for part in (shown[:10], shown[10:])
]
fig, axes = plt.subplots(2, 1, figsize=(7.36, 2.4), layout="constrained")
for ax, strip, title in zip(axes, strips, ("test digits", f"drawn by torch, {bits:.2f} bits")):
    ax.imshow(strip, cmap="gray_r", vmin=0, vmax=16)
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# What this page claims: the bits of lesson 17, where a histogram a pixel has 2.43; a whole density;
# and a way back.
back, there = solve(net, torch.tensor(drawn - mean) / scale, 1, 0)
assert abs(bits - 2.19) < 0.05
assert torch.isfinite(there).all()
assert torch.allclose(solve(net, back, 0, 1)[1], -there, atol=1e-2)
