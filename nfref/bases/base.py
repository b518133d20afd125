"""The contract of base densities: densities of the latent variable z of a flow.

Like a flow, a base is frozen configuration; its parameters, if it has any, come first in
every call. Each base has a file of its own beside this one.
"""

from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Params
from nfref.runtime.checks import as_rows, check_count, check_rng
from nfref.runtime.configuration import Configuration
from nfref.runtime.param_schema import Structure


class Base(Configuration):
    """A density with closed-form log-probability and exact sampling.

    A subclass is a frozen dataclass with ``dim`` and implements ``_init(rng)``,
    ``_log_prob(params, z)`` and ``_sample(params, rng, n)``.
    """

    dim: int
    _log_prob: Callable[..., Any]
    _sample: Callable[..., Any]

    def init(self, rng: Generator) -> Any:
        """Return initial parameters, some of them random.

        Parameters
        ----------
        rng : numpy.random.Generator
        """
        return self._init(check_rng(rng))

    def log_prob(self, params: Params, z: Array) -> Array:
        """Return the log-density in nats.

        Parameters
        ----------
        params : nested dicts and lists of arrays
        z : (N, D) array

        Returns
        -------
        (N,) array

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or does not hold numbers.
        """
        z = as_rows("z", z, self.dim)
        return self._log_prob(self._structure.checked(params, np.finfo(z.dtype).dtype), z)

    def sample(
        self, params: Params, rng: Generator, n: int, dtype: DTypeLike = np.float64
    ) -> Array:
        """Return ``n`` samples.

        Returns
        -------
        (n, D) array of ``dtype``

        Raises
        ------
        ValueError, TypeError
            If an argument has the wrong shape or type.
        """
        check_count("n", n, minimum=0)
        params = self._structure.checked(params)
        return self._sample(params, check_rng(rng), n).astype(dtype)

    def entropy(self, params: Params) -> float:
        """Return the differential entropy -E log p in nats, where a closed form exists.

        Raises
        ------
        NotImplementedError
            If there is none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form entropy")

    @cached_property
    def _structure(self):
        return Structure.made_by(self._init)

    def _init(self, rng):
        return {}
