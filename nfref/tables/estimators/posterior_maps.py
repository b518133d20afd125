"""Gradients of a pool, and the pool as a map of the unit cube.

    grad log p(u) = sum_k r_k(u) grad log p_k(u),    r_k = w_k p_k / sum_l w_l p_l

Closed forms have their gradients by hand, flows by autograd.

A pool has no single map from noise to rows, but its members have. The first coordinate of the cube
chooses the member: its interval [0, 1] is cut into pieces as long as the weights, and the place
within the piece is uniform again. So uniform points become rows of the pool, exactly.
"""

import numpy as np
from autograd import make_vjp

from nfref.bases.standard_normal import StandardNormal
from nfref.runtime import params as trees
from nfref.runtime.annotations import Array
from nfref.runtime.batching import context_of
from nfref.tables.densities.pool import FittedFlow, Pool
from nfref.tables.densities.wide import Wide
from nfref.tables.queries.closed_form import ClosedForm, chosen_part, is_closed

EDGE = 2.0**-54  # smallest distance of a coordinate from the ends of the cube


def log_prob_gradient(pool: Pool, u: Array, context: Array | None = None) -> Array:
    """Return the gradient of log p with respect to rows u, (N, D).

    Parameters
    ----------
    pool : Pool
    u : (N, D) array
    context : (N, C) array, optional

    Raises
    ------
    TypeError
        If a member is neither a flow nor a closed form.
    """
    closed, flows = _parts("gradient", pool, context)
    gradients = []
    for part, slopes in zip(closed.parts, closed.slopes):
        rest = u if slopes is None else u - context @ slopes
        if isinstance(part, Wide):
            gradients.append(part.gradient(rest))
        else:
            z = np.linalg.solve(part.cholesky, (rest - part.mean).T)
            gradients.append(-np.linalg.solve(part.cholesky.T, z).T)
    arguments = () if context is None else (context,)
    scores = [closed.log_joint(u, np.arange(u.shape[1]), context)]
    for flow, log_weight in flows:
        params = trees.cast(flow.params, np.float64)
        pull_back, score = make_vjp(lambda u: flow.density.log_prob(params, u, *arguments))(u)
        scores.append(log_weight + score[:, None])
        gradients.append(pull_back(np.ones_like(score)))
    log_share = np.concatenate(scores, axis=1)
    share = np.exp(log_share - np.logaddexp.reduce(log_share, axis=1)[:, None])
    return np.einsum("rk,krd->rd", share, np.stack(gradients))


def from_unit_cube(pool: Pool, cube: Array, context: Array | None = None) -> Array:
    """Return the rows (N, D) of a pool at points of the unit cube (N, D).

    Parameters
    ----------
    pool : Pool
    cube : (N, D) array
        In [0, 1].
    context : (N, C) array, optional

    Raises
    ------
    TypeError
        If a member is neither a closed form nor a flow over a standard normal base.
    """
    from scipy.special import ndtri  # slow to import, so only on use

    closed, flows = _parts("unit cube", pool, context, StandardNormal)
    log_weights = closed.log_joint(cube, np.arange(0), context)
    log_weights = np.concatenate(
        [log_weights, *(np.full((len(cube), 1), log_weight) for _, log_weight in flows)], axis=1
    )
    chosen, place = chosen_part(log_weights, cube[:, :1])
    chosen, parts = chosen[:, 0], len(closed.parts)
    noise = ndtri(np.clip(np.column_stack([place, cube[:, 1:]]), EDGE, 1 - 2 * EDGE))
    every, found = np.arange(cube.shape[1]), np.empty_like(cube)
    some = chosen < parts
    given = context_of(context, some)
    found[some] = closed.fill(cube[some], every, chosen[some], noise[some], given)
    for k, (flow, _) in enumerate(flows, parts):
        some = chosen == k
        params = trees.cast(flow.params, np.float64)["flow"]
        given = context_of(context, some)
        found[some] = flow.density.flow.forward(params, noise[some], given)[0]
    return found


def _parts(what, pool, context, base=object):
    """Return (the ClosedForm of the closed members, [(FittedFlow, log-weight)])."""
    members = [(m, w) for m, w in zip(pool.members, pool.weights) if w > 0]
    closed = [(m, w) for m, w in members if is_closed(m)]
    flows = [(m, np.log(w)) for m, w in members if isinstance(m, FittedFlow)]
    bases = [flow.density.base for flow, _ in flows]
    unknown = [m for m, _ in members if not (is_closed(m) or isinstance(m, FittedFlow))]
    unknown += [one for one in bases if not isinstance(one, base)]
    if unknown:
        found = getattr(unknown[0], "density", unknown[0])
        raise TypeError(
            f"{what}: expected flows over a standard normal base, Gaussians, mixtures and "
            f"wide densities, got a {type(found).__name__}"
        )
    width = 0 if context is None else context.shape[1]
    parts, weights = [m for m, _ in closed], np.array([w for _, w in closed])
    return ClosedForm.of(parts, weights, width), flows
