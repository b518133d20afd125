"""Continuous flows with the exact trace: right-hand sides, their derivatives, and whole solves.

Each public function is a twin that ``nfref/runtime/dispatch.py`` names. It returns None for dtypes
other than float32 and float64, for solvers without a twin, and for a solve that cannot be finished.
The formula then raises the error.
"""

import numpy as np

from nfref.continuous.dynamics_vjp import add_matrix_vjp
from nfref.kernels.chain.network import ACTIVATIONS
from nfref.kernels.continuous.dynamics import Net, State, Step, squared_norms, stages, stages_back
from nfref.kernels.continuous.runge_kutta import ONE_STAGE, solve
from nfref.kernels.simd.matmul import ROWS, ensure_compiled
from nfref.kernels.thread_pool import aligned, share
from nfref.runtime import blas
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any
from nfref.runtime.backends import threads

CHUNK = 4  # blocks that a thread takes at a time when nothing is summed over rows
MOST_SUMS = 16  # partial sums over rows, if they have at most
LARGEST_SUMS = 1 << 24  # numbers


def derivative(net, context, fixed, activation, t, state):
    """Compute :func:`nfref.continuous.dynamics.right_hand_side` with the exact trace."""
    if not _has_twin(net, state):
        return None
    problem = Values(net, context, fixed, activation, state)
    problem.evaluate(ONE_STAGE, t, 0.0, 0, 1)
    return problem.rows_of(problem.k_last)


def derivative_vjp(net, context, fixed, activation, t, state, cotangent):
    """Compute :func:`nfref.continuous.dynamics_vjp.exact_vjp` without penalties."""
    if not _has_twin(net, state) or cotangent.shape[1] != state.shape[1]:
        return None
    problem = Derivatives(net, context, fixed, activation, state, cotangent)
    problem.evaluate(ONE_STAGE, t, 0.0, 0, 1)
    g_net = problem.net_of(-problem.totals[0].astype(state.dtype))
    k = problem.rows_of(problem.k_last)
    dim = problem.dim
    return (k[:, :dim], -k[:, dim : 2 * dim], None if context is None else -k[:, 2 * dim :], g_net)


def solution(net, context, fixed, activation, start, end, state, options):
    """Return the last state of :func:`nfref.continuous.solve.solve`."""
    if not _has_twin(net, state) or not np.isfinite(state).all():
        return None
    problem = Values(net, context, fixed, activation, state)
    if solve(problem, start, end, options, state.dtype) is None:
        return None
    return problem.rows_of(problem.y).astype(state.dtype)


def adjoint(net, context, fixed, activation, start, end, last, cotangent, options):
    """Compute :meth:`nfref.continuous.adjoint.System.solve_back`."""
    if not _has_twin(net, last) or not np.isfinite(last).all():
        return None
    with blas.one_thread():
        problem = Derivatives(net, context, fixed, activation, last, cotangent)
        evaluations = solve(problem, end, start, options, last.dtype)
        if evaluations is None:
            return None
        g_net = problem.net_of(problem.sums)
    dim, rows = problem.dim, problem.rows_of(problem.y).astype(last.dtype)
    g_arguments = [g.astype(last.dtype, copy=False) for g in trees.leaves(g_net)]
    if context is not None:
        g_arguments = [rows[:, 2 * dim :], *g_arguments]
    return rows[:, dim : 2 * dim], g_arguments, evaluations


def _has_twin(net, state):
    return (
        state.dtype in (np.float32, np.float64)
        and len(state)
        and all(array.dtype == state.dtype for layer in net for array in layer.values())
    )


# Rows in blocks ------------------------------------------------------------------------------


def in_blocks(rows, dtype):
    """Return (N, S) rows as (blocks, S, ROWS); the last row fills the last block."""
    blocks = -(-len(rows) // ROWS)
    padded = np.empty((blocks * ROWS, rows.shape[1]), dtype)
    padded[: len(rows)] = rows
    padded[len(rows) :] = rows[-1:]
    return np.ascontiguousarray(padded.reshape(blocks, ROWS, -1).transpose(0, 2, 1))


class Values:
    """The joint state [z, log_det] of all rows, and two slopes.

    They are the slope of a step's first stage and the one evaluated last.
    """

    def __init__(self, net, context, fixed, activation, state):
        self.n, self.dim = len(state), net[-1]["bias"].shape[0]
        self.net, self.dtype = net, state.dtype
        ensure_compiled(self.dtype)
        self.theta = np.concatenate(
            [
                *(layer[name].ravel() for layer in net for name in ("weight", "bias")),
                np.ravel(fixed.matrix),
            ]
        ).astype(self.dtype, copy=False)
        self.widths = np.array([len(net[0]["weight"]), *(len(layer["bias"]) for layer in net)])
        self.layers = Net(self.theta, self.widths, ACTIVATIONS[activation])
        self.y = in_blocks(state, float)
        self.y_new = np.empty_like(self.y)
        self.context = in_blocks(np.empty((self.n, 0)) if context is None else context, self.dtype)
        # Zeros, because a norm multiplies the parts that it leaves out by zero.
        self.k_first, self.k_last = np.zeros((2, *self.y.shape), self.dtype)

    def rows_of(self, blocks):
        """Return (N, S) rows from (blocks, S, ROWS)."""
        return blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[: self.n]

    # The interface of the solver

    @property
    def size(self):
        """The number of numbers in the state."""
        return self.n * self.y.shape[1]

    def is_finite(self):
        """Check that all numbers of the state are finite."""
        return np.isfinite(self.y).all()

    def squared_norm(self, weights, rtol, atol):
        """Return sum (v / scale)^2 over all numbers, see :func:`squared_norms`."""
        sums = np.empty(len(self.y))
        factors = np.array(weights)
        self.over_blocks(
            lambda begin, end: squared_norms(
                self.y, self.k_first, self.k_last, factors, rtol, atol, self.n, begin, end, sums
            )
        )
        return sums.sum()

    def evaluate(self, method, t, h, first, last):
        """Compute slopes ``first`` ... ``last`` - 1 of a step from the state."""
        self.run(Step(t, h, first, last, 0.0, 0.0, *method), np.empty(0))

    def step(self, method, t, h, first, rtol, atol):
        """Compute slopes from ``first`` on and the state; return the sum of (error / scale)^2."""
        errors = np.empty(len(self.y))
        self.run(Step(t, h, first, len(method.c), rtol, atol, *method), errors)
        return errors.sum()

    def accept(self):
        """Replace the state by the new state."""
        self.y, self.y_new = self.y_new, self.y

    def reuse(self):
        """Take the slope evaluated last for the first one of the next step."""
        self.k_first, self.k_last = self.k_last, self.k_first

    def workspace(self, count, slopes):
        """Return working memory for a kernel.

        It is ``count`` times all layers but the last and twice the widest layer; two columns of a
        block of the state; and ``slopes`` slopes of a block.
        """
        size = count * self.widths[:-1].sum() + 2 * self.widths.max()
        return (
            aligned(size * ROWS, self.dtype),
            np.empty((2, ROWS)),
            np.empty((slopes, self.y.shape[1], ROWS), self.dtype),
        )

    def over_blocks(self, task):
        """Call task(begin, end) for some blocks at a time."""
        blocks = len(self.y)
        chunk = max(1, min(CHUNK, -(-blocks // threads())))
        share(
            lambda i: task(i * chunk, min((i + 1) * chunk, blocks)), -(-blocks // chunk), threads()
        )

    def state(self, errors):
        """Return the State that kernels take."""
        return State(self.n, self.y, self.k_first, self.k_last, self.y_new, errors, self.context)

    def run(self, step, errors):
        """Compute the slopes of a step and, if ``errors`` are asked for, finish it."""
        state = self.state(errors)
        self.over_blocks(
            lambda begin, end: stages(
                self.layers, state, step, begin, end, *self.workspace(2, step.last)
            )
        )


class Derivatives(Values):
    """[z, its adjoint, cotangent of the context] of all rows, and the cotangents of the net.

    The latter are sums over rows in the kernel's form: for weights, biases, and the matrix of the
    trace. :meth:`net_of` adds the matrix to the weights.
    """

    def __init__(self, net, context, fixed, activation, state, cotangent):
        n, dim = len(state), net[-1]["bias"].shape[0]
        wide = 0 if context is None else context.shape[1]
        rows = np.concatenate([state[:, :dim], cotangent[:, :dim], np.zeros((n, wide))], axis=1)
        super().__init__(net, context, fixed, activation, rows.astype(state.dtype, copy=False))
        q = in_blocks(cotangent[:, dim:], self.dtype)[:, 0]
        missing = len(self.y) * ROWS - n
        if missing:  # missing rows must not be summed
            q[-1, ROWS - missing :] = 0
            self.y[-1, dim:, ROWS - missing :] = 0
        self.q = q
        self.sums = self.sums_new = np.zeros(len(self.theta))
        self.vector = self.vector_new = self.vector_of(self.sums)
        self.totals: Any = None  # until the number of stages is known
        self.latest = 0

    @property
    def size(self):
        return super().size + sum(array.size for layer in self.net for array in layer.values())

    def net_of(self, sums):
        """Return cotangents of the net as a list of layers."""
        g_net: list = []
        at = 0
        for layer in self.net:
            g_net.append({})
            for name in ("weight", "bias"):
                g_net[-1][name] = sums[at : at + layer[name].size].reshape(layer[name].shape).copy()
                at += layer[name].size
        shape = self.net[1]["weight"].shape if len(self.net) == 3 else (-1,)[: len(self.net) - 1]
        add_matrix_vjp(g_net, self.net, sums[at:].reshape(shape), self.dim)
        return g_net

    def vector_of(self, sums):
        return np.concatenate(
            [layer[name].ravel() for layer in self.net_of(sums) for name in ("weight", "bias")]
        )

    def is_finite(self):
        return super().is_finite() and np.isfinite(self.vector).all()

    def squared_norm(self, weights, rtol, atol):
        slopes = weights[1] * self.totals[0] + weights[2] * self.totals[self.latest]
        v = weights[0] * self.vector + self.vector_of(slopes)
        scale = atol + np.abs(self.vector) * rtol
        return super().squared_norm(weights, rtol, atol) + np.sum((v / scale) ** 2)

    def step(self, method, t, h, first, rtol, atol):
        total = super().step(method, t, h, first, rtol, atol)
        self.sums_new = self.sums + h * (method.b @ self.totals)
        self.vector_new = self.vector_of(self.sums_new)
        error = self.vector_of(h * (method.e @ self.totals))
        scale = atol + np.maximum(np.abs(self.vector), np.abs(self.vector_new)) * rtol
        return total + np.sum((error / scale) ** 2)

    def accept(self):
        super().accept()
        self.sums, self.vector = self.sums_new, self.vector_new

    def reuse(self):
        super().reuse()
        self.totals[0] = self.totals[self.latest]

    def allocate(self, count):
        """Allocate sums over rows for this number of stages."""
        blocks, size = len(self.y), len(self.theta)
        most = min(MOST_SUMS, max(2, LARGEST_SUMS // (count * size)))
        self.blocks_per_sum = -(-blocks // min(blocks, most))
        self.partial_sums = np.empty((-(-blocks // self.blocks_per_sum), count, size), self.dtype)
        self.totals = np.zeros((count, size))

    def run(self, step, errors):
        if self.totals is None:
            self.allocate(len(step.c))
        blocks, chunk, state = len(self.y), self.blocks_per_sum, self.state(errors)

        def task(i):
            begin, end = i * chunk, min((i + 1) * chunk, blocks)
            work = self.workspace(3, step.last)
            stages_back(self.layers, state, self.q, step, begin, end, *work, self.partial_sums[i])

        share(task, len(self.partial_sums), threads())
        first, last = step.first, step.last
        self.totals[first:last] = -self.partial_sums[:, first:last].sum(axis=0)
        self.latest = last - 1
