"""The additive transformer of NICE: a coordinate is shifted.

Source: Dinh, Krueger, Bengio 2014, arXiv:1410.8516.

Paper:   NICE, section 3.2 (additive coupling law): y = g(x; m) = x + m and x = y - m, data to
         latent. x there is x here, y is z, so m is -t.
Differs: nothing but the sign of m.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.runtime.annotations import Array
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def additive_forward(z: Array, shift: Array) -> tuple[Array, Array]:
    """Return x = z + t and log dx/dz = 0. Elementwise."""
    return z + shift, np.zeros_like(z)


def additive_inverse(x: Array, shift: Array) -> tuple[Array, Array]:
    """Return z = x - t and log dz/dx = 0. Elementwise."""
    return x - shift, np.zeros_like(x)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Additive(Transformer):
    """A shift x = z + t with log-slope zero; one number t a coordinate."""

    size = 1
    _twin = "additive"

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return (t,) from raw (1, ...)."""
        return (np.reshape(raw, raw.shape[1:]),)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z + t, 0)."""
        return additive_forward(z, *h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x - t, 0)."""
        return additive_inverse(x, *h)
