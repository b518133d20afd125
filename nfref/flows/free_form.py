r"""Free-form flows: training makes an encoder and a decoder of any form inverse to each other.

Source: Draxler, Sorrenson, Zimmermann, Rousselot, Koethe 2023, arXiv:2310.16624 (Free-form
flows: Make any architecture a normalizing flow).

    .. math::

        z = f(x), \quad \hat x = g(z), \qquad f, g: \mathbb{R}^D \to \mathbb{R}^D, \quad
            g(f(x)) \approx x.

Neither network is one to one by construction. The objective makes it so
(:mod:`nfref.objectives.free_form`): a likelihood whose gradient needs no determinant, and a
penalty on x - g(f(x)). For small D the Jacobian gives the likelihood,

    .. math::

        \log q(x) = \log p_Z(f(x)) + \log |\det f'(x)|,

which is the density of f^-1(Z) if f is one to one. Samples g(Z) follow this density only if g is
the inverse of f; :meth:`FreeFormFlow.reconstruction_error` measures the difference.
"""

from dataclasses import dataclass

import autograd.numpy as np
from autograd import make_vjp

from nfref.flow import Flow
from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import init_mlp, mlp, with_context
from nfref.runtime import small_matrices
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import as_context, as_rows, check_count, check_hidden, one_of

# Formulas ---------------------------------------------------------------------------------


def residual_network(
    params: list[Any], rows: Array, context: Array | None, activation: str
) -> Array:
    """Apply h <- h + mlp_k(h, context) for each block k; no step has to be invertible."""
    for block in params:
        rows = rows + mlp(block, with_context(rows, context), activation)
    return rows


def linearised(function: Callable[..., Any], rows: Array) -> tuple[Array, Any, Any]:
    """Return function(rows), v -> J v and u -> J^T u, where J = function'(rows).

    ``function`` acts on each row alone. J v is the gradient by u of the product u^T J v, so
    reverse mode applied twice replaces forward mode.

    Shapes: rows, v (N, d); u and the value (N, D).
    """
    pull, value = make_vjp(function)(rows)
    return value, make_vjp(pull)(np.zeros_like(value))[0], pull


def jacobian(function: Callable[..., Any], rows: Array) -> tuple[Array, Array]:
    """Return (function(rows), J), where column j is the derivative by coordinate j. d products.

    Shapes: rows (N, d). Returns (N, D) and (N, D, d).
    """
    value, push, _ = linearised(function, rows)
    axes = np.eye(rows.shape[1], dtype=np.finfo(rows.dtype).dtype)
    return value, np.stack([push(axis + np.zeros_like(rows)) for axis in axes], axis=2)


def exact_log_det(function: Callable[..., Any], rows: Array) -> tuple[Array, Array]:
    """Return (function(rows), log |det function'(rows)|), by D x D Jacobians. D products.

    Shapes: rows (N, D). Returns (N, D) and (N,).
    """
    value, matrices = jacobian(function, rows)
    return value, small_matrices.log_abs_det(matrices)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreeFormFlow(Flow):
    """An encoder (``inverse``) and a decoder (``forward``), two separate networks.

    Each log-determinant is exact for the direction taken, but ``forward`` and ``inverse`` are
    inverse to each other only as far as training makes them. That breaks the contract of
    :class:`nfref.Flow`. So ``nfref`` does not list this class among its flows, and
    :func:`nfref.oracle.check_flow` rejects it. To load a model file that contains one, import this
    module first. It starts as the identity, where both are exact.

    Paper:   free-form flows v2: encoder f_theta from data to latent, decoder g_phi back, of any
             architecture; a sample is one pass of the decoder.
    Differs: nothing; the networks here are chains of residual blocks.

    Parameters
    ----------
    dim : int
        D, at least 1.
    blocks : int, default 3
        Residual blocks of either network.
    hidden : sequence of int, default (64, 64)
        Hidden widths of each block.
    activation : {"relu", "tanh", "softplus"}, default "tanh"
    context_dim : int, default 0
        Context features that both networks read.
    """

    dim: int
    blocks: int = 3
    hidden: Sequence[int] = (64, 64)
    activation: str = "tanh"
    context_dim: int = 0

    _converters = {"blocks": check_count, "hidden": check_hidden, "activation": one_of(ACTIVATIONS)}

    def _init(self, rng):
        sizes = (self.dim + self.context_dim, *self.hidden, self.dim)
        return {
            name: [init_mlp(rng, sizes) for _ in range(self.blocks)]
            for name in ("encoder", "decoder")
        }

    def encoder(
        self, params: dict[str, Any], context: Array | None = None
    ) -> Callable[[Array], Array]:
        """Return the function x -> z of rows, unchecked."""
        return lambda x: residual_network(params["encoder"], x, context, self.activation)

    def decoder(
        self, params: dict[str, Any], context: Array | None = None
    ) -> Callable[[Array], Array]:
        """Return the function z -> x of rows, unchecked."""
        return lambda z: residual_network(params["decoder"], z, context, self.activation)

    def _forward(self, params, z, context):
        return exact_log_det(self.decoder(params, context), z)

    def _inverse(self, params, x, context):
        return exact_log_det(self.encoder(params, context), x)

    def reconstruction_error(
        self, params: dict[str, Any], x: Array, context: Array | None = None
    ) -> Array:
        """Return |x - g(f(x))| of each row, in the units of x: the distance from an exact flow.

        Parameters
        ----------
        params : dict
        x : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N,) array
        """
        x = as_rows("x", x, self.dim)
        context = as_context(context, self.context_dim, x)
        back = self.decoder(params, context)(self.encoder(params, context)(x))
        return np.sqrt(np.sum((x - back) ** 2, axis=1))
