"""Toy data sets: samplers with a name and, where it is known, a density."""

from dataclasses import dataclass

from nfref.runtime.annotations import Array, Callable, Generator
from nfref.runtime.checks import as_rows, check_count, check_rng


@dataclass(frozen=True)
class Toy:
    """A two-dimensional distribution to sample: ``toy(rng, n)`` returns (n, 2) float64 rows.

    Rows are independent and identically distributed.

    Attributes
    ----------
    name : str
    description : str
        One line.
    dim : int
        2.
    entropy : float or None
        Differential entropy in nats; None if it is not known, see :class:`KnownToy`.
    """

    name: str
    description: str
    draw: Callable[[Generator, int], Array]

    dim = 2
    entropy = None

    def __call__(self, rng: Generator, n: int) -> Array:
        """Return ``n`` samples.

        Parameters
        ----------
        rng : numpy.random.Generator
        n : int
            0 or more.

        Returns
        -------
        (n, 2) float64 array
        """
        return self.draw(check_rng(rng), check_count("n", n, minimum=0))


@dataclass(frozen=True)
class KnownToy(Toy):
    """A toy with a known density.

    Attributes
    ----------
    entropy : float
        Differential entropy -E log p in nats: a lower bound on every model's expected
        negative log-likelihood per row.
    """

    log_density: Callable[[Array], Array]
    entropy: float  # type: ignore[assignment]

    def log_prob(self, x: Array) -> Array:
        """Return the log-density in nats, differentiable by autograd where it is finite.

        Parameters
        ----------
        x : (N, 2) array
            Float32 stays float32; every other real dtype becomes float64.

        Returns
        -------
        (N,) array
            -inf where the density is zero.
        """
        return self.log_density(as_rows("x", x, self.dim))
