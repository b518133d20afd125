"""What a toy data set is: a sampler with a name and, where it is known, its density."""

from collections.abc import Callable
from dataclasses import dataclass

from nfref.runtime.annotations import Array
from nfref.runtime.checks import as_rows, check_count, check_rng


@dataclass(frozen=True)
class Toy:
    """A two-dimensional distribution to draw from: ``toy(rng, n)`` gives (n, 2) float64 rows.

    Rows are independent and identically distributed.

    Attributes
    ----------
    name : str
    description : str
        One line.
    dim : int
        2.
    entropy : float or None
        Differential entropy in nats; None where it is not known, see :class:`KnownToy`.
    """

    name: str
    description: str
    draw: Callable

    dim = 2
    entropy = None

    def __call__(self, rng, n):
        """Draw ``n`` rows.

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
    """A toy whose density is known.

    Attributes
    ----------
    entropy : float
        Differential entropy -E log p in nats: the floor under every model's expected
        negative log-likelihood per row.
    """

    log_density: Callable
    entropy: float  # type: ignore[assignment]

    def log_prob(self, x: Array) -> Array:
        """Log-density in nats, differentiable by autograd where it is finite.

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
