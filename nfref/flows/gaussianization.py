"""Gaussianization flows: maps of single coordinates and linear maps in turn, all trained.

Source: Meng, Song, Song, Ermon 2020, arXiv:2003.01941 (Gaussianization flows).

The map of a coordinate is in nfref/transformers/gaussianization.py. No network reads the row: the
linear maps alone carry one coordinate to another. Cost: O(L D (D + K)) per row from x to z for L
layers; from z to x a root search in each coordinate of each layer.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Composition
from nfref.flows.linear import Linear
from nfref.runtime.checks import check_count
from nfref.transformers.gaussianization import Gaussianization
from nfref.transformers.transformer import (
    Transformer,
    check_transformer,
    constrained,
    over_rows,
    with_own,
)


@dataclass(frozen=True)
class Elementwise(Flow):
    """A transformer of each coordinate alone, whose numbers are parameters.

    Parameters
    ----------
    dim : int
        D.
    transformer : Transformer
    """

    dim: int
    transformer: Transformer

    _converters = {"transformer": check_transformer}

    def _init(self, rng):
        raw = np.zeros(self.transformer.size * self.dim)
        return with_own(self.transformer, {"raw": raw}, self.dim)

    def _forward(self, params, z, context):
        return over_rows(*self.transformer.forward(z, self._constrained(params, z)))

    def _inverse(self, params, x, context):
        return over_rows(*self.transformer.inverse(x, self._constrained(params, x)))

    def _constrained(self, params, rows):
        outputs = np.zeros((len(rows), 1), params["raw"].dtype) + params["raw"]
        return constrained(self.transformer, params, outputs)


@dataclass(frozen=True)
class GaussianizationFlow(Composition):
    """Layers of :class:`Elementwise` Gaussianization, with a linear map between two of them.

    Paper:   Gaussianization flows: a trainable kernel layer for each coordinate, then an orthogonal
             matrix, again and again, data to latent.
    Differs: paper: only its opening could be read here. The matrices start as random rotations and
             are then free. Code (zuko, GF): matrices exp(A - A^T), which stay rotations; the
             transformer's differences are in its file.

    Parameters
    ----------
    dim : int
        D.
    layers : int, default 3
        Number of layers of single coordinates.
    components : int, default 8
        Normals in the mixture of each coordinate.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.GaussianizationFlow(2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> x = np.array([[1.0, -2.0]])
    >>> z, log_det = flow.inverse(params, x)
    >>> bool(abs(flow.forward(params, z)[0] - x).max() < 1e-12)
    True
    """

    dim: int
    layers: int = 3
    components: int = 8

    _converters = {"layers": check_count, "components": check_count}

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The layers, from latent to data."""
        layer = Elementwise(self.dim, Gaussianization(self.components))
        return (layer, *(Linear(self.dim, bias=False), layer) * (self.layers - 1))
