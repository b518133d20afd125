"""Columns whose sum has an upper end: all but one of the shares of a whole.

A density of each column's own values also has mass where the sum is too large. It is cut off there:

    p(row) = q(row) / Q if the sum of the columns is at most ``limit``, else 0,

with Q the mass of q within the limit, estimated from samples of q.
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Array, Callable, Generator, Mapping
from nfref.runtime.checks import require
from nfref.runtime.configuration import Configuration

SAMPLES = 100_000  # for the mass: its logarithm has an error below 0.003 up to a half outside
FEWEST = 0.01  # smallest share of samples within the limit


@dataclass(frozen=True)
class LimitedSum(Configuration):
    """The limit of the sum of some columns.

    Attributes
    ----------
    names : tuple of str
    limit : float
        Limit of the sum of rounded values. With rounded columns it lies beyond that of exact ones.
    log_mass : float
        log Q.
    """

    names: tuple
    limit: float
    log_mass: float = 0.0

    def holds(self, values: Mapping[str, Array]) -> Array:
        """Return whether each row is within the limit, (N,); ``values`` has the named columns."""
        return np.sum([values[name] for name in self.names], axis=0) <= self.limit

    def log_factor(self, values: Mapping[str, Array]) -> Array:
        """Return log p - log q, (N,): -log Q, and -inf beyond the limit."""
        return np.where(self.holds(values), -self.log_mass, -np.inf)

    def of_mass(self, sample: Callable[[Generator, int], Mapping[str, Array]]) -> "LimitedSum":
        """Return the limit with the mass of the density that ``sample`` samples from."""
        share = float(np.mean(self.holds(sample(np.random.default_rng(0), SAMPLES))))
        require(
            share >= FEWEST,
            f"columns {', '.join(map(repr, self.names))}: expected a density with sums of at most "
            f"{self.limit:g}, got one with {share:.2g} of its mass there",
        )
        return replace(self, log_mass=float(np.log(share)))

    def __str__(self):
        return f"{' + '.join(map(repr, self.names))} at most {self.limit:.6g}"

    def _check(self):
        require(
            all(isinstance(name, str) for name in self.names)
            and len(set(self.names)) == len(self.names) > 1
            and np.isfinite(self.limit)
            and -np.inf < self.log_mass <= 0,
            "limit: expected names of columns, a largest sum and a mass, got others",
        )


def sample_where(
    sample: Callable[[int], list[Array]], n: int, good: Callable[[list[Array]], Array], why: str
) -> list[Array]:
    """Return the columns' values of n rows that are ``good``; ``sample(n)`` samples rows.

    Raises
    ------
    ValueError
        If fewer than a thousandth are, with ``why`` and their number.
    """
    kept: list[list[Array]] = []
    count = tried = 0
    while not kept or count < n:
        drawn = sample(n - count)
        here = good(drawn)
        kept.append([values[here] for values in drawn])
        tried += n - count
        count += int(np.sum(here))
        if tried > 1000 * (count + 1):
            raise ValueError(f"{why}, in which {count} of {tried} were")
    return [np.concatenate(parts) for parts in zip(*kept)]
