"""Flows and densities as people write them themselves, in torch, JAX and NumPy."""

from importlib import import_module

import numpy as np


def torch_flow(dtype="float32", layers=4):
    """A module of torch with forward and inverse: affine couplings."""
    import torch

    class Coupling(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)
            )

        def terms(self, first):
            shift, log_scale = self.net(first).chunk(2, dim=1)
            return shift, torch.tanh(log_scale)

        def forward(self, z):
            first, second = z[:, :1], z[:, 1:]
            shift, log_scale = self.terms(first)
            x = torch.cat([second * torch.exp(log_scale) + shift, first], dim=1)
            return x, log_scale.sum(dim=1)

        def inverse(self, x):
            second, first = x[:, :2], x[:, 2:]
            shift, log_scale = self.terms(first)
            z = torch.cat([first, (second - shift) * torch.exp(-log_scale)], dim=1)
            return z, -log_scale.sum(dim=1)

    class OwnFlow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(Coupling() for _ in range(layers))

        def forward(self, z):
            total = 0
            for layer in self.layers:
                z, log_det = layer(z)
                total = total + log_det
            return z, total

        def inverse(self, x):
            total = 0
            for layer in reversed(self.layers):
                x, log_det = layer.inverse(x)
                total = total + log_det
            return x, total

    torch.manual_seed(0)
    return OwnFlow().to(getattr(torch, dtype))


def torch_density(wrong=False, shaped=False):
    """A module of torch with log_prob and sample, of n or of a shape."""
    import torch

    class OwnDensity(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([0.5, 3.0]))

        def log_prob(self, x):
            z = x / self.scale
            log_det = 0 if wrong else torch.log(self.scale).sum()
            return -0.5 * (z**2).sum(dim=1) - np.log(2 * np.pi) - log_det

        def sample(self, n):
            return torch.randn(n, 2) * self.scale

    class Shaped(OwnDensity):
        def sample(self, sample_shape=()):
            return torch.randn(*sample_shape, 2) * self.scale

    return Shaped() if shaped else OwnDensity()


def jax_flow():
    """(forward, inverse) written with JAX."""
    import jax.numpy as jnp

    def forward(z):
        return jnp.sinh(z), jnp.sum(jnp.log(jnp.cosh(z)), axis=1)

    def inverse(x):
        return jnp.arcsinh(x), -0.5 * jnp.sum(jnp.log1p(x**2), axis=1)

    return forward, inverse


def jax_densities():
    """Objects written with JAX, each with another way to draw."""
    import jax
    import jax.numpy as jnp

    class Normal:
        def log_prob(self, x):
            return -0.5 * jnp.sum(x**2, axis=1) - jnp.log(2 * jnp.pi)

        def sample(self, key, n):
            return jax.random.normal(key, (n, 2))

    class KeyLast(Normal):
        def sample(self, n, rng_key):
            return jax.random.normal(rng_key, (n, 2))

    class Shaped(Normal):
        def sample(self, seed, sample_shape=()):
            return jax.random.normal(seed, (*sample_shape, 2))

    class OfNumber(Normal):
        def sample(self, n, seed=0):
            return jax.random.normal(jax.random.key(seed), (n, 2))

    return Normal(), KeyLast(), Shaped(), OfNumber()


class NumpyDensity:
    """An object with log_prob and sample."""

    def log_prob(self, x):
        return -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi)

    def sample(self, n, rng):
        return rng.standard_normal((n, 2))


def of_arrays(library):
    """Return (forward, inverse) and a density that use a library and take NumPy's arrays alone."""

    lib = import_module({"jax": "jax.numpy"}.get(library, library))
    array = {"jax": np.asarray, "torch": getattr(lib, "from_numpy", None)}[library]

    def softened(x):
        return np.asarray(lib.tanh(array(x))) / 2

    def inverse(x):
        return x + softened(x), np.sum(np.log(1.5 - 2 * softened(x) ** 2), axis=1)

    def forward(z):
        x = z.copy()
        for _ in range(80):
            x = z - softened(x)
        return x, -inverse(x)[1]

    class Density:
        def log_prob(self, x):
            z, log_det = inverse(x)
            return log_det - np.sum(0.5 * z**2 + 0.5 * np.log(2 * np.pi), axis=1)

        def sample(self, rng, n):
            return forward(rng.standard_normal((n, 2)))[0]

    return (forward, inverse), Density()


def chain_of_layers(library, log_of_scale=0.4):
    """Return an object of which only the layers use the library."""

    lib = import_module({"jax": "jax.numpy"}.get(library, library))

    class Layer:
        def scaled(self, x, sign):
            factor = lib.exp(lib.zeros_like(x) + sign * log_of_scale)
            return x * factor, lib.log(factor).sum(1)

    class Chain:
        def __init__(self):
            self.layers = [Layer(), Layer()]

        def run(self, x, sign):
            total = 0
            for layer in self.layers:
                x, log_det = layer.scaled(x, sign)
                total = total + log_det
            return x, total

        def forward(self, z):
            return self.run(z, 1)

        def inverse(self, x):
            return self.run(x, -1)

    return Chain()
