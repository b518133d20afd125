"""The common class of objectives: it checks a batch before its loss."""

from nfref.density import Density
from nfref.runtime.annotations import Array, Callable, Generator, Params
from nfref.runtime.checks import check_rng
from nfref.runtime.configuration import Checked


class Objective(Checked):
    """A loss of a batch for :func:`nfref.fit`, called with ``(density, params, x, context, rng)``.

    A subclass implements ``_loss`` of the same arguments, which are checked before.
    """

    _loss: Callable[..., float]

    def __call__(
        self, density: Density, params: Params, x: Array, context: Array | None, rng: Generator
    ) -> float:
        """Return the loss of a batch.

        Parameters
        ----------
        density : Density
        params : nested dicts and lists of arrays
        x : (N, D) array
        context : (N, C) array or None
        rng : numpy.random.Generator

        Returns
        -------
        scalar
            The mean over rows.

        Raises
        ------
        ValueError, TypeError
            If the objective is not for such a density, or an argument does not fit it.
        """
        check_rng(rng)
        params, x, context = density._checked(params, "x", x, context)
        return self._loss(density, params, x, context, rng)
