"""The contract of a transformer: a monotone map of one coordinate, with parameters h.

Couplings and autoregressive flows differ in the coordinates that their network reads. The
transformer is the map that they apply to a coordinate; they take any transformer. A transformer
does not depend on the inputs of h.
"""

import autograd.numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.runtime.configuration import Configuration


class Transformer(Configuration):
    """A monotone map x = T(z; h) of one coordinate, with its log-slope.

    A subclass is a frozen dataclass. The arrays of ``constrain`` hold parameters first: axis 0
    counts them, the trailing axes ``(...)`` are those of the coordinates, most often (N, D).
    Raw zeros give the identity if the paper's form allows it, since the last layer of a network
    starts at zero.

    Attributes
    ----------
    size : int
        P, the raw numbers that a coordinate takes.
    _twin : str or None
        The name of its compiled body. A subclass does not inherit it.
    """

    size: int
    _twin: str | None = None

    def init(self, count: int) -> dict[str, Array]:
        """Return the transformer's own parameters, beside those of a network.

        Parameters
        ----------
        count : int
            Number of coordinates.

        Returns
        -------
        dict of arrays
            Their last axis has ``count`` entries. Most transformers have none.
        """
        return {}

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return h from the raw outputs of a network, which may be any real numbers.

        A transformer with parameters of its own takes them as a second argument.

        Parameters
        ----------
        raw : (P, ...) array

        Returns
        -------
        tuple of arrays (...) or (K, ...)
        """
        raise NotImplementedError(f"{type(self).__name__} has no constrain")

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape (...) of z; elementwise."""
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape (...) of x; elementwise."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")


def check_transformer(name: str, transformer: Any) -> Transformer:
    """Return the transformer itself; raise a TypeError for anything else."""
    if not isinstance(transformer, Transformer):
        raise TypeError(
            f"{name}: expected a Transformer such as nfref.Affine(), "
            f"got {type(transformer).__name__}"
        )
    return transformer


def with_own(transformer: Transformer, params: dict[str, Any], count: int) -> dict[str, Any]:
    """Return a layer's ``params``, with the transformer's own parameters beside them, if any."""
    own = transformer.init(count)
    return {**params, "transformer": own} if own else params


def constrained(
    transformer: Transformer, params: dict[str, Any], outputs: Array
) -> tuple[Array, ...]:
    """Return h from network outputs (N, P*D), whose columns come in P blocks of D.

    ``params`` are those of the layer, as made by :func:`with_own`.
    """
    n, columns = outputs.shape
    raw = np.reshape(outputs, (n, transformer.size, columns // transformer.size))
    own = [params["transformer"]] if "transformer" in params else []
    return transformer.constrain(np.transpose(raw, (1, 0, 2)), *own)


def over_rows(mapped: Array, log_slope: Array) -> tuple[Array, Array]:
    """Turn a map of each coordinate into a map of rows: the Jacobian is diagonal.

    log |det| = sum_i log_slope_i.

    Shapes: mapped (N, D); log_slope (N, D), (D,) or (). Returns (N, D) and (N,).
    """
    return mapped, np.sum(log_slope + np.zeros_like(mapped), axis=1)
