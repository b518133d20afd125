"""The contract of a transformer: a monotone map of one coordinate, with parameters h.

Couplings and autoregressive flows differ in which coordinates their network reads. What they
do to a coordinate is the transformer's business, and they take any. A transformer does not know
what h was computed from.
"""

import autograd.numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.runtime.configuration import Configuration


class Transformer(Configuration):
    """A monotone map x = T(z; h) of one coordinate, with its log-slope.

    A subclass is a frozen dataclass. The arrays of ``constrain`` hold parameters first: axis 0
    counts them, the trailing axes ``(...)`` are those of the coordinates, most often (N, D).
    Raw zeros are the identity, wherever the form of the paper allows it, since the last layer
    of a network starts at zero.

    Attributes
    ----------
    size : int
        P, the raw numbers that a coordinate takes.
    _twin : str or None
        The name of its compiled body; looked up in the class itself and not inherited.
    """

    size: int
    _twin: str | None = None

    def init(self, count: Any) -> dict[str, Any]:
        """Parameters of its own, beside those a network gives, for ``count`` coordinates.

        Returns
        -------
        dict of arrays whose last axis has ``count`` entries; empty for most
        """
        return {}

    def constrain(self, raw: Array) -> tuple[Any, ...]:
        """h from the raw outputs of a network, whatever real numbers these are.

        A transformer with parameters of its own takes them as a second argument.

        Parameters
        ----------
        raw : (P, ...) array

        Returns
        -------
        tuple of arrays (...) or (K, ...)
        """
        raise NotImplementedError(f"{type(self).__name__} has no constrain")

    def forward(self, z, h):
        """(x, log dx/dz), each in the shape (...) of z; elementwise."""
        raise NotImplementedError(f"{type(self).__name__} has no forward map")

    def inverse(self, x, h):
        """(z, log dz/dx), each in the shape (...) of x; elementwise."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse map")


def check_transformer(name, transformer):
    """The transformer itself; anything else is a TypeError."""
    if not isinstance(transformer, Transformer):
        raise TypeError(
            f"{name}: expected a Transformer such as nfref.Affine(), "
            f"got {type(transformer).__name__}"
        )
    return transformer


def with_own(transformer, params, count):
    """``params`` of a layer with the transformer's own ones beside them, if it has any."""
    own = transformer.init(count)
    return {**params, "transformer": own} if own else params


def constrained(transformer, params, outputs):
    """h from network outputs (N, P*D), whose columns come in P blocks of D.

    ``params`` are those of the layer, as made by :func:`with_own`.
    """
    n, columns = outputs.shape
    raw = np.reshape(outputs, (n, transformer.size, columns // transformer.size))
    own = [params["transformer"]] if "transformer" in params else []
    return transformer.constrain(np.transpose(raw, (1, 0, 2)), *own)


def over_rows(mapped, log_slope):
    """A map of each coordinate alone as one of rows: the Jacobian is diagonal.

    log |det| = sum_i log_slope_i.

    Shapes: mapped (N, D); log_slope (N, D), (D,) or (). Returns (N, D) and (N,).
    """
    return mapped, np.sum(log_slope + np.zeros_like(mapped), axis=1)
