"""One column given the others of its row: its density along a line, on an adaptive grid.

With u_O the known cells, t the column's coordinate and w_k the weights of a pool,

    p(t | u_O) = sum_k w_k p_k(u_O, t) / int sum_k w_k p_k(u_O, s) ds

Members in closed form are exact: their part q(t) follows from u_O
(:mod:`nfref.tables.queries.column_components`). The sum f(t) of the other members is evaluated at
nodes of each row. Between nodes log f - log q is a cubic with tangents of parabolas, kept from
overshooting. Where q is right, the cubic is flat. Where q is wrong, nodes are added: in the middle
of the intervals with the largest mass of f times what a straight line through their neighbours
misses. This ends when the sum of these products is below ``TOLERANCE``, or after ``TURNS`` turns.
That sum, times the share of f, is the stated error, in probability. It cannot see a peak between
two nodes that leaves no trace at them. The first nodes are quantiles of all members in closed form,
so none of these members has such a peak.

Flows with one order in all layers that ends in this column have P(t | u_O) = Phi(z_t) exactly;
without other flows, Newton's steps bring quantiles to it.
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Array, Callable, Iterator
from nfref.runtime.batching import context_of
from nfref.tables.densities.gaussian import LOG_TWO_PI
from nfref.tables.densities.pool import FittedFlow, Pool
from nfref.tables.queries.column_components import Components
from nfref.tables.queries.marginals import (
    ClosedForm,
    comes_first,
    is_closed,
    leading_log_prob,
    leading_order,
)

TOLERANCE = 0.012  # stated error of probabilities; most errors are a tenth of it
TURNS = 12  # most turns in which nodes are added
ADDED = 6  # nodes added in a row and turn
WITHIN = 8  # even steps between two nodes
ROWS_AT_ONCE = 2048
NARROW = 1e-4  # spacing of nodes below which single precision is too coarse
LEVELS = np.array([1e-5, 1e-3, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1 - 1e-3, 1 - 1e-5])
EVERYWHERE = np.array([-60.0, -12.0, -6.0, -3.5, -2.0, -0.7, 0.7, 2.0, 3.5, 6.0, 12.0, 60.0])
STEPS = 26  # most steps of Newton
PLACED = 0.01  # weight of closed-form members from which they place nodes
LEAST = -700.0  # log f - log q below its largest: no mass is left there
CLOSEST = 1e-9  # smallest distance of nodes at the start
RISE = 0.5  # nats by which a cubic may pass the highest node, about
CAUTION = 0.2  # most that a cubic misses, as a share of what a straight line misses


# Grids ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """p(t | known cells) of rows, on their grids.

    Parameters
    ----------
    places : (N,) array
        Rows of the table.
    t : (N, G) array
        Ascending.
    edges : (N, G) array
        P(T <= t).
    log_total : (N,) array
        log p of the known cells.
    error : (N,) array
        How far P(T <= t) may be from the pool's.
    exact : callable or None
        (t (N, L)) -> (P(T <= t), p(t)), if these are known exactly.
    """

    places: np.ndarray
    t: np.ndarray
    edges: np.ndarray
    log_total: np.ndarray
    error: np.ndarray
    exact: Callable[[Array], tuple[Array, Array]] | None = None

    def quantiles(self, levels: Array, polished: bool = True) -> Array:
        """Return t (N, L) of levels (L,), or of levels (N, L)."""
        levels = np.broadcast_to(levels, (len(self.t), np.shape(levels)[-1]))
        right = np.stack([np.searchsorted(own, at) for own, at in zip(self.edges, levels)])
        right = np.clip(right, 1, self.t.shape[1] - 1)
        start, end, low, high = (
            np.take_along_axis(part, right - less, axis=1)
            for part, less in ((self.edges, 1), (self.edges, 0), (self.t, 1), (self.t, 0))
        )
        share = np.where(end > start, (levels - start) / np.where(end > start, end - start, 1), 0.5)
        t = low + np.clip(share, 0, 1) * (high - low)
        # The true quantile may be outside the cell of the grid, by the grid's error.
        low, high = (np.broadcast_to(self.t[:, [end]], t.shape) for end in (0, -1))
        for _ in range(STEPS if polished and self.exact is not None else 0):
            below, density = self.exact(t)
            # each row stops by itself, whatever rows are beside it
            left = np.abs(below - levels) >= 1e-12
            if not np.any(left):
                break
            low, high = np.where(below < levels, t, low), np.where(below < levels, high, t)
            step = np.where(density > 0, (levels - below) / np.where(density > 0, density, 1), 0)
            inside = (t + step > low) & (t + step < high)
            t = np.where(left, np.where(inside, t + step, 0.5 * (low + high)), t)
        return t

    def mean(self, decode: Callable[[Array], Array], levels: Array) -> Array:
        """Return the mean of decoded quantiles at even levels, (N,).

        Tails beyond the outermost levels count as these: the wide density has no mean.
        """
        return np.mean(decode(self.quantiles(levels, polished=False)), axis=1)

    def below(self, t: Array) -> Array:
        """Return P(T <= t) of one t a row, (N,)."""
        if self.exact is not None:
            return self.exact(t[:, None])[0][:, 0]
        return np.array([np.interp(at, own, edge) for at, own, edge in zip(t, self.t, self.edges)])


class Line:
    """p(t | known cells) of one column under a pool.

    Parameters
    ----------
    pool : Pool
    column : int
    proposal : callable
        () -> ClosedForm near the pool, for a pool without members in closed form.
    single : bool
        Evaluate flows in single precision unless nodes are very close.

    Attributes
    ----------
    closed : (list, array)
        The members in closed form and their weights, which are q.
    placing : (list, array)
        The members in closed form that place the first nodes, and weights.
    members, coarse : list
        The other members, which are f; and those to evaluate at nodes that are not close.
    log_weights : array
        Of ``members``.
    """

    def __init__(
        self, pool: Pool, column: int, proposal: Callable[[], ClosedForm], single: bool = False
    ) -> None:
        used = [k for k in range(len(pool.members)) if pool.weights[k] > 0]
        every = [k for k in range(len(pool.members)) if is_closed(pool.members[k])]
        closed = [k for k in used if k in every]
        self.column, self.proposal = column, proposal
        self.closed = [pool.members[k] for k in closed], pool.weights[closed]
        asked = [k for k in used if k not in closed]
        self.placing = self.closed
        if asked:
            weights = np.maximum(pool.weights[every], PLACED)
            self.placing = [pool.members[k] for k in every], weights
        self.members = [pool.members[k] for k in asked]
        self.log_weights = np.log(pool.weights[asked])
        self.coarse = [_in_single(member) for member in self.members] if single else self.members

    def takes(self, observed: Array, dim: int) -> bool:
        """Return whether a grid is possible with only ``observed`` of ``dim`` columns known."""
        return not self.members or len(observed) == dim - 1

    def grids(
        self, u: Array, observed: Array, context: Array | None = None, least: float = 1.0
    ) -> Iterator[Grid]:
        """Yield the :class:`Grid` of all rows, some at a time.

        Parameters
        ----------
        u : (N, D) array
            Values of columns that are not observed are ignored.
        observed : (O,) array of int
        context : (N, C) array, optional
        least : float
            The smallest probability that will be asked for.
        """
        context_dim = 0 if context is None else context.shape[1]
        placing, q = (
            ClosedForm.of(*members, context_dim=context_dim) if members[0] else self.proposal()
            for members in (self.placing, self.closed)
        )
        ends = min(LEVELS[0], least / 10)
        levels = np.concatenate([[ends], LEVELS[1:-1], [1 - ends]])
        for start in range(0, len(u), ROWS_AT_ONCE):
            some = np.arange(start, min(start + ROWS_AT_ONCE, len(u)))
            with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
                yield from self._some(
                    some, u[some], context_of(context, some), observed, q, placing, levels
                )

    def _some(self, places, u, context, observed, closed, placing, levels):
        """Yield the grids of some rows, those with few nodes first."""
        q = Components.of(closed, u, observed, self.column, context)
        nodes = Components.of(placing, u, observed, self.column, context).quantiles(levels)
        if not self.members:
            yield _exact_grid(places, q, nodes)
            return
        nodes = _apart(np.concatenate([nodes, np.tile(EVERYWHERE, (len(u), 1))], axis=1))
        log_f = self._asked(u, context, nodes)
        for turn in range(TURNS + 1):
            missed = _missed(nodes, log_f, q.log_density(nodes))
            done = (np.sum(missed, axis=1) < TOLERANCE) | (turn == TURNS)
            if np.any(done):
                given, own = context_of(context, done), q.at(done)
                error = np.sum(missed[done], axis=1)
                yield self._grid(
                    places[done], u[done], given, observed, own, nodes[done], log_f[done], error
                )
            left = ~done
            if not np.any(left):
                return
            places, u, context, q = places[left], u[left], context_of(context, left), q.at(left)
            nodes, log_f = nodes[left], log_f[left]
            worst = np.argsort(-missed[left], axis=1, kind="stable")[:, :ADDED]
            start, end = (np.take_along_axis(nodes, worst + k, axis=1) for k in (0, 1))
            added = 0.5 * (start + end)
            log_f = np.concatenate([log_f, self._asked(u, context, added)], axis=1)
            nodes = np.concatenate([nodes, added], axis=1)
            order = np.argsort(nodes, axis=1, kind="stable")
            nodes, log_f = (np.take_along_axis(part, order, axis=1) for part in (nodes, log_f))

    def _asked(self, u, context, t):
        """Return log f at t (N, G) of rows u (N, D), (N, G)."""
        near = np.min(np.diff(np.sort(t, axis=1), axis=1), axis=1, initial=np.inf) < NARROW
        found = np.empty(t.shape)
        for rows, members in ((near, self.members), (~near, self.coarse)):
            if not np.any(rows):
                continue
            asked = np.repeat(u[rows], t.shape[1], axis=0)
            asked[:, self.column] = t[rows].ravel()
            given = () if context is None else (np.repeat(context[rows], t.shape[1], axis=0),)
            parts = [
                log_weight + member.log_prob(asked, *given)
                for log_weight, member in zip(self.log_weights, members)
            ]
            parts = np.where(np.isnan(parts), -np.inf, parts)
            found[rows] = np.logaddexp.reduce(parts, axis=0).reshape(-1, t.shape[1])
        return found

    def _grid(self, places, u, context, observed, q, nodes, log_f, error):
        """Return the grid of rows whose nodes are complete."""
        ratio = log_f - q.log_density(nodes)
        ratio = np.maximum(ratio, np.max(ratio, axis=1, keepdims=True) + LEAST)
        t, between = _refined(nodes, ratio)
        log_q = q.log_density(t)
        log_p = between + log_q
        if self.closed[0]:
            log_p = np.logaddexp(log_p, log_q)
        top = np.max(log_p, axis=1, keepdims=True)
        mass = _masses(t, np.exp(log_p - top))
        # Beyond the outermost nodes only the exact part counts.
        scale = np.exp(q.log_total - top[:, 0]) if self.closed[0] else np.zeros(len(t))
        start = scale * q.below(t[:, :1])[:, 0]
        rest = scale * (1 - q.below(t[:, -1:])[:, 0])
        edges = start[:, None] + np.concatenate(
            [np.zeros((len(t), 1)), np.cumsum(mass, axis=1)], axis=1
        )
        total = edges[:, -1] + rest
        log_total = top[:, 0] + np.log(total)
        orders = [leading_order(member) for member in self.members]
        if all(order is not None and comes_first(order, observed) for order in orders):
            return self._of_orders(places, t, edges / total[:, None], q, u, context, observed)
        of_f = 1 - scale / total  # the share of the members that are evaluated at nodes
        return Grid(places, t, edges / total[:, None], log_total, error * np.clip(of_f, 0, 1))

    def _of_orders(self, places, t, edges, q, u, context, observed):
        """Return the grid if all flows take this column last: P and p are exact."""
        known = [
            log_weight + leading_log_prob(member, u, observed, context)
            for log_weight, member in zip(self.log_weights, self.members)
        ]
        if self.closed[0]:
            known.append(q.log_total)
        log_total = np.logaddexp.reduce(known, axis=0)
        shares = np.exp(np.array(known) - log_total)

        def exact(t):
            rows = np.repeat(u, t.shape[1], axis=0)
            rows[:, self.column] = t.ravel()
            given = None if context is None else np.repeat(context, t.shape[1], axis=0)
            parts = [_ranks(member, rows, self.column, given) for member in self.members]
            parts = [(below.reshape(t.shape), density.reshape(t.shape)) for below, density in parts]
            if self.closed[0]:
                parts.append((q.below(t), np.exp(q.log_density(t) - q.log_total[:, None])))
            return tuple(
                sum(share[:, None] * part[k] for share, part in zip(shares, parts))
                for k in range(2)
            )

        return Grid(places, t, edges, log_total, np.zeros(len(t)), exact)


def _ranks(member, x, column, context):
    """Return (P(T <= t), p(t)) of the column that a flow takes last, given those before it."""
    from scipy.special import ndtr

    log_density = 0.0
    for layer, params in zip(reversed(member.density.flow.flows), reversed(member.params["flow"])):
        x, log_slope = layer.transformer.inverse(x, layer.conditioner(params, context)(x))
        log_density = log_density + log_slope[:, column]
    z = x[:, column]
    return ndtr(z), np.exp(log_density - 0.5 * (z**2 + LOG_TWO_PI))


def _in_single(member):
    """Return a flow with its parameters in single precision."""
    if not isinstance(member, FittedFlow):
        return member
    return replace(member, params=trees.cast(member.params, np.float32))


def _exact_grid(places, q, nodes):
    t = _refined(_apart(nodes), np.zeros(nodes.shape))[0]

    def exact(t):
        return q.below(t), np.exp(q.log_density(t) - q.log_total[:, None])

    return Grid(places, t, q.below(t), q.log_total, np.zeros(len(t)), exact)


def _apart(nodes):
    """Return sorted nodes, none closer to the one before than ``CLOSEST``."""
    steps = CLOSEST * np.arange(nodes.shape[1])
    return np.maximum.accumulate(np.sort(nodes, axis=1) - steps, axis=1) + steps


def _missed(nodes, log_f, log_q):
    """Return the mass of f in each interval times what a line through its neighbours misses."""
    width = np.diff(nodes, axis=1)
    f = np.exp(log_f - np.max(log_f, axis=1, keepdims=True))
    mass = 0.5 * width * (f[:, 1:] + f[:, :-1])
    mass = np.where(np.isfinite(mass), mass, 0.0)
    mass = mass / np.maximum(np.sum(mass, axis=1, keepdims=True), 1e-300)
    ratio = np.maximum(log_f - log_q, np.max(log_f - log_q, axis=1, keepdims=True) + LEAST)
    part = width[:, :-1] / (width[:, :-1] + width[:, 1:])
    bend = np.abs(ratio[:, 1:-1] - (1 - part) * ratio[:, :-2] - part * ratio[:, 2:])
    bend = np.concatenate([bend[:, :1], bend, bend[:, -1:]], axis=1)
    return mass * np.minimum(1.0, CAUTION * np.maximum(bend[:, 1:], bend[:, :-1]))


def _refined(nodes, values):
    """Return (t (N, G), values there): ``WITHIN`` even steps an interval, by a cubic.

    The cubic is monotone between nodes up to ``RISE``.
    """
    width = np.diff(nodes, axis=1)
    slope = np.diff(values, axis=1) / width
    left, right = slope[:, :-1], slope[:, 1:]
    before, after = width[:, :-1], width[:, 1:]
    parabola = (left * after + right * before) / (before + after)
    bound = 3 * np.minimum(np.abs(left), np.abs(right))
    # At a node above or below both neighbours the cubic may rise a little further.
    bound = np.where(left * right > 0, bound, np.minimum(bound, RISE / np.maximum(before, after)))
    inner = np.clip(parabola, -bound, bound)
    tangent = np.concatenate([slope[:, :1], inner, slope[:, -1:]], axis=1)
    s = np.arange(WITHIN) / WITHIN
    start, end = values[:, :-1, None], values[:, 1:, None]
    found = (
        start * (1 + 2 * s) * (1 - s) ** 2
        + end * s**2 * (3 - 2 * s)
        + width[..., None]
        * (tangent[:, :-1, None] * s * (1 - s) ** 2 - tangent[:, 1:, None] * s**2 * (1 - s))
    )
    t = nodes[:, :-1, None] + width[..., None] * s
    return tuple(
        np.concatenate([inside.reshape(len(nodes), -1), ends[:, -1:]], axis=1)
        for inside, ends in ((t, nodes), (found, values))
    )


def _masses(t, density):
    """Return the integral over each step, (N, G - 1), by parabolas through pairs of steps."""
    h = np.diff(t, axis=1)[:, ::2]
    start, middle, end = density[:, :-1:2], density[:, 1::2], density[:, 2::2]
    halves = np.stack([5 * start + 8 * middle - end, 5 * end + 8 * middle - start], axis=2)
    return np.maximum(h[..., None] * halves / 12, 0.0).reshape(len(t), -1)
