"""Bases side by side, each for some of the coordinates."""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.runtime.annotations import Any, Sequence
from nfref.runtime.checks import as_tuple


@dataclass(frozen=True)
class Product(Base):
    """Independent bases side by side: log p(z) is the sum of their log-densities.

    Parameters
    ----------
    bases : sequence of Base
        The first base has the first coordinates, as many as its ``dim``, and so on.

    Notes
    -----
    ``params`` is the list of the parameters of the bases.

    Examples
    --------
    Two angles and a real coordinate with heavy tails:

    >>> import numpy as np, nfref
    >>> base = nfref.Product([nfref.VonMises(2), nfref.StudentT(1)])
    >>> base.sample(base.init(np.random.default_rng(0)), np.random.default_rng(1), 5).shape
    (5, 3)
    """

    bases: Sequence[Base]

    _converters = {"bases": as_tuple}

    def __post_init__(self):
        super().__post_init__()
        for base in self.bases:
            if not isinstance(base, Base):
                raise TypeError(f"Product: expected bases, got {type(base).__name__}")
        if not self.bases:
            raise ValueError("Product: expected at least one base, got none")

    @property
    def dim(self) -> int:
        """The sum of the dims of the bases."""
        return sum(base.dim for base in self.bases)

    @cached_property
    def _ends(self):
        return np.cumsum([base.dim for base in self.bases]).tolist()

    def _init(self, rng):
        return [base._init(rng) for base in self.bases]

    def _log_prob(self, params, z):
        return sum(
            base._log_prob(own, z[:, end - base.dim : end])
            for base, own, end in zip(self.bases, params, self._ends)
        )

    def _sample(self, params, rng, n):
        return np.concatenate(
            [base._sample(own, rng, n) for base, own in zip(self.bases, params)], axis=1
        )

    def entropy(self, params: list[Any]) -> float:
        """Return the sum of the entropies of the bases, in nats."""
        return sum(base.entropy(own) for base, own in zip(self.bases, params))
