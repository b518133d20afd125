"""The four energies U1-U4 in the plane, the first examples of planar flows.

Source: Rezende and Mohamed 2015, arXiv:1505.05770, table 1 and figure 3.

Each U maps (N, 2) to (N,); the density is proportional to exp(-U). So pass
``log_target = lambda z: -U1(z)`` to ``fit_reverse_kl``. U2, U3 and U4 repeat
along the first coordinate and have no normaliser on the plane; on a box they have one, and
:func:`log_normaliser` computes it.
"""

import autograd.numpy as np
from numpy.polynomial.legendre import leggauss

from nfref.networks.activations import softplus
from nfref.runtime.annotations import Array, Callable
from nfref.runtime.checks import as_rows, check_count, check_positive

# Formulas ---------------------------------------------------------------------------------


def well(a: Array) -> Array:
    """Return a^2 / 2, minus the log of a bump of height one."""
    return 0.5 * a**2


def w1(z: Array) -> Array:
    """Return sin(2 pi z_1 / 4), the wave that U2, U3 and U4 follow."""
    return np.sin(0.5 * np.pi * z[:, 0])


def w2(z: Array) -> Array:
    """Return 3 exp(-((z_1 - 1) / 0.6)^2 / 2), a detour around z_1 = 1."""
    return 3 * np.exp(-well((z[:, 0] - 1) / 0.6))


def w3(z: Array) -> Array:
    """Return 3 sigma((z_1 - 1) / 0.3), a fork at z_1 = 1."""
    return 3 * np.exp(-softplus(-(z[:, 0] - 1) / 0.3))


def U1(z: Array) -> Array:
    """Return the energy of a ring that is dense on its left and right.

    U1 = ((|z| - 2) / 0.4)^2 / 2 - log(exp(-((z_1 - 2) / 0.6)^2 / 2)
                                       + exp(-((z_1 + 2) / 0.6)^2 / 2)).

    Its gradient does not exist at the origin.
    """
    z = as_rows("z", z, 2)
    ring = well((np.sqrt(np.sum(z**2, axis=1)) - 2) / 0.4)
    return ring - np.logaddexp(-well((z[:, 0] - 2) / 0.6), -well((z[:, 0] + 2) / 0.6))


def U2(z: Array) -> Array:
    """Return ((z_2 - w1) / 0.4)^2 / 2, the energy of a wave."""
    z = as_rows("z", z, 2)
    return well((z[:, 1] - w1(z)) / 0.4)


def U3(z: Array) -> Array:
    """Return -log(exp(-((z_2 - w1) / 0.35)^2 / 2) + exp(-((z_2 - w1 + w2) / 0.35)^2 / 2)).

    It is the energy of a wave that splits and joins again.
    """
    z = as_rows("z", z, 2)
    off = z[:, 1] - w1(z)
    return -np.logaddexp(-well(off / 0.35), -well((off + w2(z)) / 0.35))


def U4(z: Array) -> Array:
    """Return -log(exp(-((z_2 - w1) / 0.4)^2 / 2) + exp(-((z_2 - w1 + w3) / 0.35)^2 / 2)).

    It is the energy of a wave that forks.
    """
    z = as_rows("z", z, 2)
    off = z[:, 1] - w1(z)
    return -np.logaddexp(-well(off / 0.4), -well((off + w3(z)) / 0.35))


POTENTIALS = {"U1": U1, "U2": U2, "U3": U3, "U4": U4}


# The box ----------------------------------------------------------------------------------


def box_quadrature(box: float = 4.0, panels: int = 40, nodes: int = 12) -> tuple[Array, Array]:
    """Return points and weights that integrate over the square [-box, box]^2.

    It is a Gauss-Legendre rule with ``nodes`` nodes on each of ``panels`` equal intervals per side.
    For U1-U4 the default is exact to about 14 digits.

    Parameters
    ----------
    box : float
    panels, nodes : int

    Returns
    -------
    points : (M, 2) array
        M = (panels nodes)^2; the second coordinate varies fastest.
    weights : (M,) array
    """
    check_positive("box", box)
    check_count("panels", panels)
    node, weight = leggauss(check_count("nodes", nodes))
    half = box / panels
    centres = half * (2 * np.arange(panels) + 1) - box
    side = (centres[:, None] + half * node).ravel()
    side_weights = np.tile(half * weight, panels)
    first, second = np.meshgrid(side, side, indexing="ij")
    points = np.stack([first.ravel(), second.ravel()], axis=1)
    return points, np.outer(side_weights, side_weights).ravel()


def log_normaliser(
    potential: Callable[[Array], Array], box: float = 4.0, panels: int = 40, nodes: int = 12
) -> float:
    """Return the log of the integral of exp(-U) over [-box, box]^2, by quadrature.

    Parameters
    ----------
    potential : callable
        U: (N, 2) array -> (N,) array.
    box, panels, nodes
        As for :func:`box_quadrature`.

    Returns
    -------
    float
        In nats.
    """
    points, weights = box_quadrature(box, panels, nodes)
    return float(np.log(np.sum(weights * np.exp(-potential(points)))))
