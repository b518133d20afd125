r"""Flows of the sphere, by splines of its latitudes and its longitude.

Source: Rezende et al. (tori and spheres) 2020, arXiv:2002.02428.

A row x of D numbers has a length :math:`\rho_D` and a direction, a point of the sphere
:math:`S^{D-1}`. With :math:`\rho_k` the length of its first k numbers, the direction has a
longitude and D - 2 latitudes,

    .. math::

        \theta = \operatorname{atan2}(x_2, x_1), \qquad
            \varphi_k = \operatorname{atan2}(x_k, \rho_{k-1}), \quad k = 3 \ldots D.

An autoregressive flow moves them: a spline of :math:`[-\pi/2, \pi/2]` each latitude, a spline of
the circle the longitude. Lengths stay. The area of the sphere is
:math:`\prod_k \cos^{k-2} \varphi_k \, d\varphi_k \, d\theta`, so

    .. math::

        \log \left|\det \frac{dz}{dx}\right| = \log \left|\det
            \frac{d(\theta', \varphi')}{d(\theta, \varphi)}\right|
            + \sum_{k=3}^D (k - 2) \log \frac{\cos \varphi'_k}{\cos \varphi_k}.

A map that keeps lengths, :math:`x \to |x| \, F(x / |x|)`, has the determinant of F on the sphere,
since it is an isometry along x. So a flow of the sphere is a flow of rows like any other. With
:class:`nfref.UniformSphere` as base it has a density on the sphere; with a normal base it has one
on the whole space.

Paper:   Rezende et al. (tori and spheres), the recursive flow of the sphere: the sphere is
         projected to a cylinder, and a spline transforms its height, given the rest or the other
         way round.
Differs: paper: a spline of the height :math:`\sin \varphi`. It loses the digits of points near a
         pole; latitudes keep them. Data to latent, as for density estimation.
"""

from dataclasses import dataclass
from functools import cached_property
from math import pi

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.autoregressive import MAF
from nfref.flows.composition import with_fields_of
from nfref.flows.radial import length
from nfref.runtime.annotations import Array, Sequence
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import at_least, check_count
from nfref.transformers.by_coordinate import ByCoordinate
from nfref.transformers.rational_quadratic import RationalQuadratic

# Formulas ---------------------------------------------------------------------------------


def direction(rows: Array) -> Array:
    """Return rows of length 1; a row of zeros stays."""
    lengths = length(rows)
    return rows / np.where(lengths > 0, lengths, 1)


def angles_of(x: Array) -> tuple[Array, Array, Array]:
    """Return the length of each row, its angles, and the logs of the cosines of its latitudes.

    Shapes: x (N, D). Returns (N, 1); (N, D-1), the latitude of the last coordinate first, then
    those before it, then the longitude; (N, D-2).
    """
    radius, x = length(x), direction(x)
    squares = np.cumsum(x * x, axis=1)[:, 1:]
    at_zero = squares == 0  # all angles of a point at zero are 0
    rho = np.where(at_zero, 0, np.sqrt(np.where(at_zero, 1, squares)))
    before, after = rho[:, :-1], rho[:, 1:]
    nowhere = at_zero[:, 1:]
    cosines = np.where(nowhere, 1, before / np.where(nowhere, 1, after))
    first = np.where(at_zero[:, :1], 1, x[:, :1])
    along = np.concatenate([first, np.where(nowhere, 1, before)], axis=1)
    # NumPy 2.0 may take a column of an array for one that overlaps the result, depending on where
    # both lie, and then uses another loop with other last digits. "1 *" makes a vector of it.
    angles = [np.arctan2(1 * x[:, k + 1], 1 * along[:, k]) for k in range(along.shape[1])]
    return radius, np.stack(angles[::-1], axis=1), log_cosines(cosines)[:, ::-1]


def from_angles(radius: Array, angles: Array) -> tuple[Array, Array]:
    """Return the rows (N, D) of these lengths and angles, and the logs of cosines as above."""
    cosines, sines, rest = np.cos(angles), np.sin(angles), radius
    last: list[Array] = []
    for k in range(angles.shape[1] - 1):
        last.insert(0, rest * sines[:, k : k + 1])
        rest = rest * cosines[:, k : k + 1]
    first = [rest * cosines[:, -1:], rest * sines[:, -1:]]
    return np.concatenate(first + last, axis=1), log_cosines(cosines[:, :-1])


def log_cosines(cosines: Array) -> Array:
    """Return logs; a pole counts as eps away, so that there the quotient of two cosines is one."""
    return np.log(np.maximum(cosines, np.finfo(getval(cosines).dtype).eps))


def log_area(before: Array, after: Array) -> Array:
    """Return sum_k (k - 2) log(cos phi'_k / cos phi_k), (N,), from the logs of both, (N, D-2)."""
    powers = np.arange(before.shape[1], 0, -1, dtype=getval(before).dtype)
    return np.sum((after - before) * powers, axis=1)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SphereSpline(Flow):
    """A flow of the sphere of all directions of D numbers; it keeps the lengths of rows.

    Parameters
    ----------
    dim : int
        D, at least 2: rows are points of the sphere in D - 1 dimensions, times a length.
    layers : int, default 2
        Layers of the autoregressive flow of the angles, in alternate orders.
    hidden : sequence of int, default (64, 64)
        Hidden widths of its networks.
    bins : int, default 8
        Bins of each spline.
    context_dim : int, default 0

    Notes
    -----
    The density is continuous but for the poles of each latitude, where all longitudes meet: there
    it depends on the direction from which a point comes.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> density = nfref.Density(nfref.SphereSpline(3), nfref.UniformSphere(3))
    >>> params = density.init(np.random.default_rng(0))
    >>> density.log_prob(params, np.array([[0.6, 0.0, 0.8]])).round(4)
    array([-2.531])
    """

    dim: int
    layers: int = 2
    hidden: Sequence[int] = (64, 64)
    bins: int = 8
    context_dim: int = 0

    _converters = {"dim": at_least(2), "layers": check_count, "bins": check_count}

    def __post_init__(self):
        super().__post_init__()
        self._set(hidden=self.angles.hidden)

    @cached_property
    def angles(self) -> MAF:
        """The flow of latitudes and longitude."""
        latitude = RationalQuadratic(self.bins, pi / 2)
        longitude = RationalQuadratic(self.bins, pi, "circular")
        angles, last = self.dim - 1, self.dim - 2
        own = ByCoordinate((latitude,) * last + (longitude,))
        return with_fields_of(self, MAF, dim=angles, transformer=own, periodic=(last,))

    def _init(self, rng):
        return self.angles.init(rng)

    def _forward(self, params, z, context):
        return self._moved(self.angles._forward, params, z, context)

    def _inverse(self, params, x, context):
        return self._moved(self.angles._inverse, params, x, context)

    def _moved(self, move, params, rows, context):
        radius, angles, before = angles_of(rows)
        angles, log_det = move(params, angles, context)
        rows, after = from_angles(radius, angles)
        log_det = log_det + log_area(before, after)
        return rows, np.where(radius[:, 0] > 0, log_det, 0 * log_det)  # a row of zeros stays
