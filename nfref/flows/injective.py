r"""Injective flows: densities on surfaces of d dimensions in a space of D dimensions.

Sources: Caterini, Loaiza-Ganem, Pleiss, Cunningham 2021, arXiv:2106.01413 (rectangular flows);
Sorrenson, Draxler, Rousselot, Hummerich, Zimmermann, Koethe 2023, arXiv:2306.01843 (free-form
injective flows).

A flow h of D coordinates, on rows padded with zeros, maps d coordinates into D, one to one:

    .. math::

        x = g(z) = h([z, 0]), \qquad f(x) = \text{the first } d \text{ coordinates of } h^{-1}(x),
        \qquad \log p(x) = \log p_Z(z) - \tfrac12 \log \det J^T J, \quad J = dg/dz.

J has D rows and d columns. The density is that with respect to length, area or volume of dimension
d on the surface g(R^d); in the space of D dimensions there is none. The square root of det J^T J is
the volume of the parallelepiped of the columns of J, the product of its heights.

A row off the surface gets the density of its neighbour g(f(x)) on it. So a likelihood alone does
not pull the surface to the data; :mod:`nfref.objectives.injective` adds their distance.

Cost: ``forward`` and ``inverse`` take d products with J beside their pass.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.flow import Flow, check_square, context_for
from nfref.flows.composition import Wrapped
from nfref.flows.free_form import FreeFormFlow, jacobian
from nfref.runtime import params as trees
from nfref.runtime.annotations import Array, Callable, Params
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count

# Formulas ---------------------------------------------------------------------------------


def heights(matrices: Array) -> Array:
    """Return the distance of each column from the span of those before it.

    Their product is sqrt(det J^T J). Gram-Schmidt on J itself rounds less than a determinant of
    J^T J, whose condition is the square of that of J.

    Shapes: matrices (N, D, d). Returns (N, d).
    """
    axes: list[Array] = []
    found = []
    for k in range(matrices.shape[2]):
        height = matrices[:, :, k]
        for axis in axes:
            height = height - axis * np.sum(axis * height, axis=1, keepdims=True)
        length = np.sqrt(np.sum(height**2, axis=1, keepdims=True))
        axes.append(height / np.where(length == 0, 1, length))
        found.append(length)
    return np.concatenate(found, axis=1)


def log_volume(matrices: Array) -> Array:
    """Return 1/2 log det J^T J of each matrix; log |det J| if d = D.

    Paper:   rectangular flows: the volume term of injective flows, -1/2 log det J^T J. The
             published code takes it from a Cholesky factor of J^T J, to which it adds multiples of
             the identity until there is one.
    Differs: Gram-Schmidt; a matrix of lower rank is an error.

    Shapes: matrices (N, D, d). Returns (N,).

    Raises
    ------
    ValueError
        If the columns of a matrix are linearly dependent, to rounding.
    """
    found, values = heights(matrices), getval(matrices)
    rounding = values.shape[1] * np.finfo(values.dtype).eps * np.sqrt(np.sum(values**2, axis=1))
    flat = np.flatnonzero(np.any(getval(found) <= rounding, axis=1))
    if len(flat):
        raise ValueError(
            f"J: expected a Jacobian of rank {values.shape[2]} in every row, "
            f"got a lower rank in row {flat[0]}"
        )
    return np.sum(np.log(found), axis=1)


def mapped(flow: Flow, direction: int, params: Params, rows: Array, context: Array | None) -> Array:
    """Apply a flow without its log-determinant, which costs a free-form flow D products."""
    for member, sign, path in flow.members(direction):
        own = trees.at_path(params, path)
        if isinstance(member, FreeFormFlow):
            network = member.decoder if sign == 1 else member.encoder
            rows = network(own, context_for(member, context))(rows)
        else:
            rows = member._apply(sign, own, rows, context)[0]
    return rows


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InjectiveFlow(Wrapped):
    """A flow from ``kept`` coordinates into the D of another flow, with zeros for the rest.

    ``forward`` maps (N, d) to (N, D) and ``inverse`` (N, D) to (N, d), d = ``kept``. The
    log-determinant is 1/2 log det J^T J of ``forward``, and its negative at z = f(x) for
    ``inverse``. A density on it has a base of d coordinates; flows of d coordinates may stand
    before it in a :class:`nfref.Chain`, none behind it.

    Paper:   rectangular flows: x = h(pad(z)) with an invertible h. Free-form injective flows: two
             networks of any form, of which training makes f a left inverse of g; give a
             :class:`~nfref.flows.free_form.FreeFormFlow` for that.
    Differs: the paper's second flow, of d coordinates, is a member of the chain here.

    Parameters
    ----------
    flow : Flow
        h, of D coordinates. Its parameters are those of this flow.
    kept : int
        d, at most D.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> density = nfref.Density(nfref.InjectiveFlow(nfref.RealNVP(3), kept=2))
    >>> params = density.init(np.random.default_rng(0))
    >>> density.log_prob(params, np.zeros((5, 3))).shape
    (5,)
    """

    flow: Flow
    kept: int

    _converters = {"flow": check_square, "kept": check_count}

    def __post_init__(self):
        super().__post_init__()
        if self.kept > self.dim:
            raise ValueError(f"kept: expected at most {self.dim} coordinates, got {self.kept}")

    @property
    def dim(self) -> int:
        """The number of coordinates D of x."""
        return self.flow.dim

    @property
    def latent_dim(self) -> int:
        """The number of coordinates d of z."""
        return self.kept

    def encoder(self, params: Params, context: Array | None = None) -> Callable[[Array], Array]:
        """Return the function x -> z of rows, unchecked."""
        return lambda x: mapped(self.flow, -1, params, x, context)[:, : self.kept]

    def decoder(self, params: Params, context: Array | None = None) -> Callable[[Array], Array]:
        """Return the function z -> x of rows, unchecked."""

        def decode(z):
            zeros = np.zeros((len(z), self.dim - self.kept), dtype=getval(z).dtype)
            return mapped(self.flow, 1, params, np.concatenate([z, zeros], axis=1), context)

        return decode

    def _forward(self, params, z, context):
        x, matrices = jacobian(self.decoder(params, context), z)
        return x, log_volume(matrices)

    def _inverse(self, params, x, context):
        z = self.encoder(params, context)(x)
        return z, -self._forward(params, z, context)[1]

    def reconstruction_error(self, params: Params, x: Array, context: Array | None = None) -> Array:
        """Return |x - g(f(x))| of each row, in the units of x: the distance from its neighbour.

        Parameters
        ----------
        params : nested dicts and lists of arrays
        x : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N,) array
        """
        params, x, context = self._checked(params, "x", x, context)
        back = self.decoder(params, context)(self.encoder(params, context)(x))
        return np.sqrt(np.sum((x - back) ** 2, axis=1))
