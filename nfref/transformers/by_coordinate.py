"""A transformer of its own for every coordinate: angles beside real numbers in one layer.

Other transformers treat all coordinates alike. Coordinates of different kinds, such as angles and
lengths, need a map of their own kind each; one network still serves all.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.runtime.annotations import Array, Sequence
from nfref.runtime.checks import as_tuple
from nfref.transformers.transformer import Transformer, check_transformer


@dataclass(frozen=True)
class ByCoordinate(Transformer):
    """One transformer a coordinate; coordinates with equal ones are transformed in one call.

    Parameters
    ----------
    transformers : sequence of Transformer
        One for each coordinate that the layer changes, in their order. A transformer with
        parameters of its own, such as ``Affine("tanh")``, is not allowed.

    Notes
    -----
    Every coordinate gets as many numbers from the network as the largest transformer takes.
    Smaller transformers leave the last ones unused.

    Examples
    --------
    An angle and a real number:

    >>> import numpy as np, nfref
    >>> kinds = nfref.ByCoordinate([nfref.MoebiusCircle(), nfref.Affine()])
    >>> flow = nfref.MADE(2, transformer=kinds, periodic=(0,))
    >>> x, log_det = flow.forward(flow.init(np.random.default_rng(0)), np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    transformers: Sequence[Transformer]

    _converters = {"transformers": as_tuple}

    def __post_init__(self):
        super().__post_init__()
        if not self.transformers:
            raise ValueError("transformers: expected at least one, got none")
        for transformer in self.transformers:
            if check_transformer("transformer", transformer).init(1):
                raise ValueError(
                    f"transformers: expected none with parameters of its own, got {transformer}"
                )

    @property
    def size(self) -> int:
        """The largest number of raw numbers that a transformer takes."""
        return max(transformer.size for transformer in self.transformers)

    @cached_property
    def groups(self) -> tuple[tuple[Transformer, list[int]], ...]:
        """Pairs (transformer, columns) of every kind, in the order of their first columns."""
        found: dict[Transformer, list[int]] = {}
        for column, transformer in enumerate(self.transformers):
            found.setdefault(transformer, []).append(column)
        return tuple(found.items())

    def init(self, count: int) -> dict[str, Array]:
        """Check that ``count`` coordinates are changed, and return no parameters."""
        if count != len(self.transformers):
            raise ValueError(
                f"transformers: expected {count}, one for each coordinate that the "
                f"layer changes; got {len(self.transformers)}"
            )
        return {}

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return one h for every group, from raw (P, ..., D)."""
        return tuple(
            transformer.constrain(raw[: transformer.size][..., columns])
            for transformer, columns in self.groups
        )

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape (..., D) of z."""
        return self._each("forward", z, h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape (..., D) of x."""
        return self._each("inverse", x, h)

    def _each(self, direction, rows, h):
        parts = [
            getattr(transformer, direction)(rows[..., columns], own)
            for (transformer, columns), own in zip(self.groups, h)
        ]
        back = np.argsort([column for _, columns in self.groups for column in columns])
        return tuple(np.concatenate(part, axis=-1)[..., back] for part in zip(*parts))
