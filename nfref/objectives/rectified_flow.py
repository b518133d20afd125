"""Rectified flow: learn straight lines between pairs, then again between the flow's own pairs.

Source: Liu, Gong, Liu 2022, arXiv:2209.03003 (rectified flow).

The line x_t = t x + (1 - t) z joins noise z and data x, and a network learns the mean of x - z
given x_t. Lines cross and solutions of a differential equation do not, so the learned flow has
curved paths. But it makes pairs of its own, each z with the end of its path, and the lines between
these cross less. Learning from them is a *reflow*. It keeps the density, increases no mean
distance, and makes paths straighter, until one Euler step of length 1 equals the solver's result.

The likelihood is that of the CNF, with its exact trace, before and after.
"""

from dataclasses import dataclass, field

import autograd.numpy as np

from nfref.density import Density
from nfref.flows.continuous import CNF
from nfref.objectives.flow_matching import end_of_cnf, noise_rows
from nfref.objectives.objective import Objective
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.checks import as_array, check_count, check_rng

# Formulas ---------------------------------------------------------------------------------


def straight_path(t: Array, z: Array, x: Array) -> tuple[Array, Array]:
    """Return position x_t = t x + (1 - t) z and velocity x - z between noise and data.

    Paper:   rectified flow: X_t = t X_1 + (1 - t) X_0, and the loss E |X_1 - X_0 - v(X_t, t)|^2 for
             t uniform in [0, 1]; latent to data as here.
    Differs: nothing. It is flow matching's optimal-transport path with sigma_min = 0.

    Shapes: t (N, 1); z, x (N, D). Returns two (N, D) arrays.
    """
    return t * x + (1 - t) * z, x - z


def excess_energy(kinetic: Array, start: Array, end: Array) -> Array:
    """Return a path's energy beyond the straight line: integral of |dz/dt - (z(1) - z(0))|^2 dt.

    1. The mean of dz/dt over t in [0, 1] is z(1) - z(0).
    2. So the integral is a variance over t: integral of |dz/dt|^2 dt - |z(1) - z(0)|^2.

    It is zero exactly for straight lines at constant speed.

    Paper:   rectified flow, its straightness S(Z), the mean of this over z.
    Differs: the form; and for each row, not their mean.

    Shapes: kinetic (N,), start and end (N, D). Returns (N,).
    """
    return kinetic - np.sum((end - start) ** 2, axis=1)


# Use --------------------------------------------------------------------------------------


def straightness(
    flow: CNF, params: dict[str, Any], z: Array, context: Array | None = None
) -> tuple[Array, Array]:
    """Return the excess energy of a CNF's paths from z, and the squared distances.

    Parameters
    ----------
    flow : CNF
    params : dict
    z : (N, D) array
    context : (N, C) array, optional

    Returns
    -------
    excess : (N,) array
        :func:`excess_energy`, whose mean is the paper's straightness S; 0 for a straight path.
    cost : (N,) array
        |x - z|^2, whose mean no reflow increases.

    Raises
    ------
    TypeError
        If the flow is not a CNF.
    """
    if not isinstance(flow, CNF):
        raise TypeError(f"flow: expected a CNF, got {type(flow).__name__}")
    path = flow.trajectory(params, z, context=context, norm="brute")
    start, end = path.values
    assert path.kinetic is not None  # with a norm, a trajectory has the energies
    return excess_energy(path.kinetic[-1], start, end), np.sum((end - start) ** 2, axis=1)


def reflow_pairs(
    density: Density, params: dict[str, Any], rng: Generator, n: int
) -> tuple[Array, Array]:
    """Return noise and the image of it under the density's CNF, to train a reflow on.

    Parameters
    ----------
    density : Density
        Its flow is a CNF without context, or a chain whose first member is one.
    params : dict
    rng : numpy.random.Generator
    n : int

    Returns
    -------
    z, x : (n, D) array
        x at the end of the CNF; the other members of a chain are not applied.
    """
    check_rng(rng)
    check_count("n", n, minimum=0)
    z = density.base.sample(params["base"], rng, n)
    cnf, own, _ = end_of_cnf(density.flow, params["flow"], z, None)
    return z, cnf.forward(own, z)[0]


def chosen_pairs(pairs: tuple[Array, Array], rng: Generator, n: int) -> tuple[Array, Array]:
    """Return n of the pairs (z, x), with repetitions, (n, D) both."""
    z, x = pairs
    chosen = rng.integers(len(z), size=n)
    return z[chosen], x[chosen]


def check_pairs(name: str, pairs: Any) -> tuple[Array, Array]:
    """Return pairs (z, x), two (M, D) arrays of one shape."""
    z, x = (as_array(name, rows) for rows in pairs)
    if z.shape != x.shape or z.ndim != 2 or not len(z):
        raise ValueError(
            f"{name}: expected two (M, D) arrays of one shape, M at least 1, "
            f"got {z.shape} and {x.shape}"
        )
    return z, x


@dataclass(frozen=True)
class OnPairs(Objective):
    """An objective on given pairs (z, x), two (M, D) arrays, or on none."""

    pairs: tuple[Array, Array] | None = field(default=None, compare=False, repr=False)

    _converters = {"pairs": check_pairs}


@dataclass(frozen=True)
class RectifiedFlow(OnPairs):
    """An objective: the mean of |v(x_t, t) - (x - z)|^2 on straight lines, which needs no solve.

    It is not in nats, and for the same densities as
    :class:`nfref.objectives.flow_matching.FlowMatching`; for a flow with a context only without
    ``pairs``.

    Parameters
    ----------
    pairs : (z, x), optional
        Two (M, D) arrays from :func:`reflow_pairs`. Without them every row of a batch is paired
        with new noise. With them each call samples as many pairs as the batch has rows, and
        ignores the rows themselves.

    Examples
    --------
    A reflow continues from the parameters of the first fit::

        z, x = reflow_pairs(density, first.params, rng, 20_000)
        second = nfref.fit(density, first.params, x, rng, objective=RectifiedFlow((z, x)))
    """

    def _loss(self, density, params, x, context, rng):
        """Return the loss of a batch: one t per pair."""
        if self.pairs is not None and context is not None:
            raise ValueError("pairs: expected none for a flow with a context, got some")
        flow, own, end = end_of_cnf(density.flow, params["flow"], x, context)
        if self.pairs is None:
            z = noise_rows(density, params, rng, len(x))
        else:
            z, end = chosen_pairs(self.pairs, rng, len(x))
        t = rng.random((len(x), 1))
        x_t, u_t = straight_path(*(rows.astype(x.dtype) for rows in (t, z, end)))
        v = flow._velocity(own, t.astype(x.dtype), x_t, context)
        return np.mean(np.sum((v - u_t) ** 2, axis=1))
